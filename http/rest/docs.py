"""The description of the interface, and a page of our own that shows it. Nothing is loaded from anywhere else."""

import json
from functools import cache
from importlib.resources import files
from typing import Any, Final, cast

import trio
from quart import Quart, current_app

from greenroom.http import asyncapi
from greenroom.http.errors import ApiError
from greenroom.http.openapi import document
from greenroom.http.route import Answer, Call, Operations

operations = Operations("documentation")

PAGE_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}


@operations.get("/openapi.json", auth="nobody", is_hidden=True)
async def get_openapi(_: Call) -> Answer:
    """This interface as OpenAPI 3.1."""
    app = cast("Quart", cast("Any", current_app)._get_current_object())  # a weak reference to a proxy is none
    if "OPENAPI" not in app.config:
        app.config["OPENAPI"] = json.dumps(document(app), ensure_ascii=False).encode()
    return Answer(whole=app.config["OPENAPI"])


@operations.get("/asyncapi.json", auth="nobody", is_hidden=True)
async def get_asyncapi(_: Call) -> Answer:
    """The WebSocket as AsyncAPI 3.0."""
    return Answer(whole=await trio.to_thread.run_sync(_asyncapi))  # the first time it takes half a second


@cache
def _asyncapi() -> bytes:
    return json.dumps(asyncapi.document(), ensure_ascii=False).encode()


@operations.get("/docs", auth="nobody", is_hidden=True)
async def get_docs(_: Call) -> Answer:
    """The page that shows /openapi.json."""
    return page("docs.html")


@operations.get("/static/{name}", auth="nobody", is_hidden=True)
async def get_static(call: Call) -> Answer:
    """A script, style sheet or picture of our pages."""
    name = call.text("name")
    if name.endswith(".html") or name not in _static_files():
        raise ApiError("NOT_FOUND", "there is nothing at this address")
    return page(name)


def page(name: str) -> Answer:
    """A file of http/console/static as it is, with the policy that our pages live under."""
    return Answer(
        whole=_static_files()[name],
        content_type=_TYPES[name[name.rindex(".") :]],
        headers={"Content-Security-Policy": PAGE_POLICY, "Cache-Control": "no-cache"},
    )


@cache
def _static_files() -> dict[str, bytes]:
    folder = files("greenroom.http") / "console" / "static"
    return {
        entry.name: entry.read_bytes()
        for entry in folder.iterdir()
        if entry.is_file() and entry.name[entry.name.rfind(".") :] in _TYPES
    }
