"""The page at `/`: talk in rooms, and watch the runtime do it. For development only (http/development.py).

With the gate closed `/` answers a short page that says how to get in, always the same one, so that nothing can be
learnt from it; all else here is 404. The key that came in the printed link goes into a cookie, and the page takes it
out of the address bar.
"""

import hashlib
from functools import cache, partial
from importlib.resources import files
from typing import Final

import trio
from werkzeug.http import dump_cookie

from greenroom.http.console.caught_mail import HTML_POLICY, CaughtLine, CaughtMail, list_mails, read_html, read_mail
from greenroom.http.console.live_view import LiveView, live_view
from greenroom.http.development import KEY_COOKIE, KEY_PARAMETER
from greenroom.http.errors import ApiError
from greenroom.http.models import Output
from greenroom.http.route import Answer, Call, Operations

operations = Operations("development")

PAGE_POLICY: Final = (
    "default-src 'self'; connect-src 'self' ws:; img-src 'self' data:; object-src 'none'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
CLOSED_POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_TYPES: Final = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}


class CaughtMails(Output):
    """The newest caught mails, newest first."""

    mails: list[CaughtLine]


@operations.get("/", auth="nobody", is_hidden=True)
async def get_page(call: Call) -> Answer:
    """The page; to whoever has no key, how to get in."""
    if not call.allow_development():
        return _html("closed.html", CLOSED_POLICY)
    headers = {}
    if KEY_PARAMETER in call.request.args:
        key = call.services.development.key
        headers["Set-Cookie"] = dump_cookie(KEY_COOKIE, key, httponly=True, samesite="Strict", path="/")
    return _html("index.html", PAGE_POLICY, **headers)


@operations.get("/console/static/{name}", auth="nobody", is_development=True)
async def get_static(call: Call) -> Answer:
    """A module, style sheet or picture of the page."""
    name = call.text("name")
    content_type = _TYPES.get(name[name.rfind(".") :])
    if content_type is None or name not in _files():
        raise ApiError("NOT_FOUND", "there is nothing at this address")
    content, tag = _files()[name]
    headers = {"ETag": tag, "Cache-Control": "no-cache"}
    if tag in call.request.headers.get("If-None-Match", ""):
        return Answer(whole=b"", status=304, headers=headers, content_type=content_type)
    return Answer(whole=content, headers=headers, content_type=content_type)


@operations.get("/api/dev/statistics", auth="nobody", answer=LiveView, is_development=True)
async def get_statistics(call: Call) -> Answer:
    """The runtime at this moment: actors, sockets, storage, and the rooms that are worth a look."""
    return Answer(live_view(call.services.room_services))


@operations.get("/api/dev/mail", auth="nobody", answer=CaughtMails, is_development=True)
async def get_mails(call: Call) -> Answer:
    """The mail that was caught instead of being sent."""
    mails = await trio.to_thread.run_sync(list_mails, call.services.room_services.mail_directory)
    return Answer(CaughtMails(mails=mails))


@operations.get("/api/dev/mail/{name}", auth="nobody", answer=CaughtMail, is_development=True)
async def get_mail(call: Call) -> Answer:
    """One caught mail, its HTML apart."""
    directory = call.services.room_services.mail_directory
    mail = await trio.to_thread.run_sync(partial(read_mail, directory, call.text("name")))
    if mail is None:
        raise ApiError("NOT_FOUND", "no such mail was caught")
    return Answer(mail)


@operations.get("/api/dev/mail/{name}/html", auth="nobody", is_development=True)
async def get_mail_html(call: Call) -> Answer:
    """The HTML of one caught mail, as a document that can run nothing and load nothing."""
    directory = call.services.room_services.mail_directory
    html = await trio.to_thread.run_sync(partial(read_html, directory, call.text("name")))
    if html is None:
        raise ApiError("NOT_FOUND", "no such mail was caught, or it has no HTML")
    headers = {
        "Content-Security-Policy": HTML_POLICY,
        "X-Frame-Options": "SAMEORIGIN",
        "X-DNS-Prefetch-Control": "off",
    }
    return Answer(whole=html, content_type="text/html; charset=utf-8", headers=headers)


def _html(name: str, content_policy: str, **headers: str) -> Answer:
    return Answer(
        whole=_files()[name][0],
        content_type="text/html; charset=utf-8",
        headers={"Content-Security-Policy": content_policy, **headers},
    )


@cache
def _files() -> dict[str, tuple[bytes, str]]:
    """Every file of the page with its entity tag, read once: nothing else can be asked for."""
    folder = files("greenroom.http") / "console" / "page"
    contents = {entry.name: entry.read_bytes() for entry in folder.iterdir() if entry.is_file()}
    return {name: (data, f'"{hashlib.sha256(data).hexdigest()[:20]}"') for name, data in contents.items()}
