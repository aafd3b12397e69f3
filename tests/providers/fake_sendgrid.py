"""A SendGrid that runs on loopback and speaks the wire protocol, with faults on demand.

What it demands of a request is not our belief but SendGrid's own published spec (twilio/sendgrid-oai,
spec/json/tsg_mail_v3.json, `PostMailSend`; in the words of reference/email-and-notifications.md section 3.1):
required fields, types, bounds, the headers that may not be set, an address once across to/cc/bcc, text/plain before
text/html, custom_args as an object only inside a personalization. Whatever breaks a rule is answered 400, as there.

Faults are taken from `script`, one per request, each once; an empty script answers 202:

    202 200 400 401 401_credits 403 404 408 413 422 451 500 500_empty 502 503 503_empty 524 3xx
    429:<seconds>            asks the account to wait, by X-RateLimit-Reset
    429_after:<seconds>      by Retry-After; so does 503_after:<seconds>
    429_bare                 says nothing about when
    refuse:<subject>         503 for mails of that subject, and takes all others
    slow:<seconds>           accepts, and answers after that time
    hold                     accepts, and answers when `release()` is called
    reset_before_reading     closes with a reset, without reading a byte of the request
    reset_mid_body           reads the head only, then resets
    reset_after_reading      reads everything, does not accept, resets
    accept_then_reset        reads everything, accepts, resets
    half_response            accepts, sends half a status line, closes
    half_body                202 with a body that is cut off

`accepted` is every mail that was taken, in order; `requests` every body that was read whole. Run as a program it serves
on the port given and prints what it takes.
"""

import json
import re
import socket
import struct
import sys
import time
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import h11
import trio

HEADERS_REFUSED = frozenset(
    {"x-sg-id", "x-sg-eid", "received", "dkim-signature", "content-type", "content-transfer-encoding"}
    | {"to", "from", "subject", "reply-to", "cc", "bcc"}
)
TOP_LEVEL = frozenset(
    {"personalizations", "from", "reply_to", "reply_to_list", "subject", "content", "attachments", "template_id"}
    | {"headers", "categories", "custom_args", "send_at", "batch_id", "asm", "ip_pool_name", "mail_settings"}
    | {"tracking_settings"}
)
EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
ERRORS = {
    "400": (400, "invalid request"),
    "401": (401, "The provided authorization grant is invalid, expired, or revoked"),
    "401_credits": (401, "Maximum credits exceeded"),
    "403": (403, "The from address does not match a verified Sender Identity."),
    "404": (404, "not found"),
    "408": (408, "request timeout"),
    "422": (422, "unprocessable"),
    "524": (524, "a timeout occurred"),
    "413": (413, "content too large"),
    "451": (451, "unavailable for legal reasons"),
    "500": (500, "internal server error"),
    "503": (503, "service unavailable"),
}


class FakeSendGrid:
    """One account. key: the only API key it knows."""

    def __init__(self, key: str = "SG.fake") -> None:
        self.key = key
        self.port = 0
        self.script: deque[str] = deque()
        self.otherwise = "202"  # what an empty script answers
        self.requests: list[dict] = []
        self.accepted: list[dict] = []
        self.connections = 0
        self._released = trio.Event()

    @property
    def url(self) -> str:
        """What SENDGRID_API_URL is set to."""
        return f"http://127.0.0.1:{self.port}"

    def accepted_by_email(self) -> Counter:
        """How often each of our mails was taken. More than once is a duplicate."""
        return Counter(body["personalizations"][0]["custom_args"]["gr_email"] for body in self.accepted)

    def release(self) -> None:
        """Let every held request be answered, from now on."""
        self._released.set()

    async def serve(self, stream: trio.SocketStream) -> None:
        self.connections += 1
        try:
            async with stream:
                await self._serve(stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError, h11.RemoteProtocolError):
            return

    async def _serve(self, stream: trio.SocketStream) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=64 * 1024)
        while True:
            if self.script and self.script[0] == "reset_before_reading":
                await stream.socket.recv(1, socket.MSG_PEEK)
                self.script.popleft()
                return _reset(stream)
            request = await _event(connection, stream)
            if not isinstance(request, h11.Request):
                return None
            fault = self.script.popleft() if self.script else self.otherwise
            if fault == "reset_mid_body":
                return _reset(stream)
            body = await _body(connection, stream)
            if not await self._answer(connection, stream, request, body, fault):
                return None
            connection.start_next_cycle()

    async def _answer(self, connection, stream, request, body: bytes, fault: str) -> bool:
        """False when the connection ends with it."""
        if (refusal := self._refusal(request, body)) is not None:
            await _send(connection, stream, *refusal)
            return True
        self.requests.append(json.loads(body))
        name, _, argument = fault.partition(":")
        if name == "refuse":
            name = "503" if self.requests[-1]["subject"] == argument else "202"
        if name == "reset_after_reading":
            _reset(stream)
            return False
        if name in ERRORS:
            status, message = ERRORS[name]
            await _send(connection, stream, status, _errors(message))
        elif name in ("500_empty", "503_empty", "502", "3xx"):
            status = 302 if name == "3xx" else int(name[:3])
            await _send(connection, stream, status, b"", Location="http://127.0.0.1:1/")
        elif name == "429":
            reset = str(int(time.time() + float(argument)))
            await _send(connection, stream, 429, _errors("too many requests"), **{"X-RateLimit-Reset": reset})
        elif name in ("429_after", "503_after"):
            await _send(connection, stream, int(name[:3]), _errors("later"), **{"Retry-After": argument})
        elif name == "429_bare":
            await _send(connection, stream, 429, _errors("too many requests"))
        else:
            return await self._accept(connection, stream, name, argument)
        return True

    async def _accept(self, connection, stream, name: str, argument: str) -> bool:
        self.accepted.append(self.requests[-1])
        message_id = f"fake-{len(self.accepted)}"
        if name == "accept_then_reset":
            _reset(stream)
            return False
        if name == "half_response":
            await stream.send_all(b"HTTP/1.1 20")
            return False
        if name == "half_body":
            await stream.send_all(
                b"HTTP/1.1 202 Accepted\r\nX-Message-Id: %b\r\nContent-Length: 100\r\n\r\nhalf" % message_id.encode()
            )
            return False
        if name == "slow":
            await trio.sleep(float(argument))
        elif name == "hold":
            await self._released.wait()
        else:
            assert name in ("202", "200"), f"no fault is called {name!r}"
        await _send(connection, stream, 200 if name == "200" else 202, b"", **{"X-Message-Id": message_id})
        return True

    def _refusal(self, request: h11.Request, body: bytes) -> tuple[int, bytes] | None:
        headers = {name.decode().lower(): value.decode() for name, value in request.headers}
        if request.target != b"/v3/mail/send":
            return 404, _errors("not found")
        if request.method != b"POST":
            return 405, _errors("method not allowed")
        if headers.get("authorization") != f"Bearer {self.key}":
            return 401, _errors("The provided authorization grant is invalid, expired, or revoked")
        if headers.get("content-type", "").partition(";")[0] != "application/json":
            return 415, _errors("unsupported content type")
        try:
            broken = broken_rule(json.loads(body))
        except ValueError:
            broken = "Bad Request: not JSON"
        return (400, _errors(broken)) if broken else None


# -- the rules of the published spec ------------------------------------------------------------------------------


def broken_rule(body: object) -> str | None:
    """The first rule of the spec that *body* breaks."""
    if not isinstance(body, dict):
        return "the body is an object"
    if not set(body) <= TOP_LEVEL:
        return f"unknown fields {sorted(set(body) - TOP_LEVEL)}"
    return (
        _broken_personalizations(body.get("personalizations"))
        or _broken_address(body.get("from"), "from")
        or _broken_content(body)
        or _broken_headers(body.get("headers", {}))
        or _broken_rest(body)
        or _broken_attachments(body.get("attachments", []))
    )


def _broken_personalizations(value: object) -> str | None:
    if not isinstance(value, list) or not 1 <= len(value) <= 1000:
        return "personalizations: 1 to 1000"
    for personalization in value:
        if not isinstance(personalization, dict) or not personalization.get("to"):
            return "personalizations.to is required"
        seen = set()
        for field in ("to", "cc", "bcc"):
            group = personalization.get(field)
            if group is None:
                continue
            if not isinstance(group, list) or not 1 <= len(group) <= 1000:
                return f"personalizations.{field}: 1 to 1000"
            for address in group:
                if (broken := _broken_address(address, field)) is not None:
                    return broken
                if address["email"].lower() in seen:
                    return "Each email address in the personalization block should be unique between to, cc, and bcc."
                seen.add(address["email"].lower())
        arguments = personalization.get("custom_args", {})
        if not isinstance(arguments, dict) or len(json.dumps(arguments)) > 10_000:
            return "personalizations.custom_args: an object of at most 10000 bytes"
        if (broken := _broken_headers(personalization.get("headers", {}))) is not None:
            return broken
    return None


def _broken_address(value: object, field: str) -> str | None:
    if not isinstance(value, dict) or not set(value) <= {"email", "name"}:
        return f"{field}: an object with email and name"
    if not isinstance(value.get("email"), str) or not EMAIL.fullmatch(value["email"]):
        return f"{field}.email: does not contain a valid address"
    return None if isinstance(value.get("name", ""), str) else f"{field}.name: a string"


def _broken_content(body: dict) -> str | None:
    subjects = [personalization.get("subject") for personalization in body["personalizations"]]
    if "template_id" not in body and not all(subjects) and not _is_text(body.get("subject")):
        return "The subject is required."
    content = body.get("content")
    if content is None:
        return None if "template_id" in body else "content is required"
    if not isinstance(content, list) or not content:
        return "content: at least one"
    for part in content:
        if not isinstance(part, dict) or not _is_text(part.get("type")) or not _is_text(part.get("value")):
            return "The content value must be a string at least one character in length."
    order = [part["type"] for part in content]
    if "text/html" in order and "text/plain" in order and order.index("text/html") < order.index("text/plain"):
        return "If present, text/plain must be first, followed by text/html."
    return None


def _broken_headers(headers: object) -> str | None:
    if not isinstance(headers, dict) or not all(isinstance(value, str) for value in headers.values()):
        return "headers: an object of strings"
    refused = sorted(name for name in headers if name.lower() in HEADERS_REFUSED)
    return f"headers: {refused} may not be set" if refused else None


def _broken_rest(body: dict) -> str | None:
    if "reply_to" in body and "reply_to_list" in body:
        return "reply_to and reply_to_list: not both"
    if "reply_to" in body and (broken := _broken_address(body["reply_to"], "reply_to")) is not None:
        return broken
    categories = body.get("categories", [])
    if not isinstance(categories, list) or len(categories) > 10 or len(set(categories)) != len(categories):
        return "categories: at most 10, each once"
    if any(not isinstance(category, str) or len(category) > 255 for category in categories):
        return "categories: strings of at most 255 characters"
    return "custom_args: a string" if not isinstance(body.get("custom_args", ""), str) else None


def _broken_attachments(attachments: object) -> str | None:
    if not isinstance(attachments, list):
        return "attachments: a list"
    for attachment in attachments:
        if not _is_text(attachment.get("content")) or not isinstance(attachment.get("filename"), str):
            return "attachments: content and filename are required"
        if not re.fullmatch(r"[A-Za-z0-9+/]+={0,2}", attachment["content"]):
            return "attachments.content: must be base64 encoded"
        if attachment.get("disposition", "attachment") not in ("inline", "attachment"):
            return "attachments.disposition: inline or attachment"
    return None


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value)


# -- the wire -----------------------------------------------------------------------------------------------------


async def _event(connection: h11.Connection, stream: trio.SocketStream) -> object:
    while (event := connection.next_event()) is h11.NEED_DATA:
        connection.receive_data(await stream.receive_some(65536))
    return event


async def _body(connection: h11.Connection, stream: trio.SocketStream) -> bytes:
    body = b""
    while isinstance(event := await _event(connection, stream), h11.Data):
        body += bytes(event.data)
    return body


async def _send(connection, stream, status: int, body: bytes, **headers: str) -> None:
    fields = {"Content-Length": str(len(body)), "Content-Type": "application/json", **headers}
    response = h11.Response(status_code=status, headers=list(fields.items()))
    data = connection.send(response) + (connection.send(h11.Data(data=body)) if body else b"")
    await stream.send_all(data + connection.send(h11.EndOfMessage()))


def _errors(message: str) -> bytes:
    return json.dumps({"errors": [{"message": message, "field": None, "help": None}]}).encode()


def _reset(stream: trio.SocketStream) -> None:
    """Close with RST: what is unread or unsent is lost, and the peer is told so."""
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.socket.close()


@asynccontextmanager
async def open_fake_sendgrid(key: str = "SG.fake", port: int = 0) -> AsyncIterator[FakeSendGrid]:
    """Serve on loopback while the block lasts."""
    fake = FakeSendGrid(key)
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(port, host="127.0.0.1")
        fake.port = listeners[0].socket.getsockname()[1]
        nursery.start_soon(trio.serve_listeners, fake.serve, listeners)
        yield fake
        nursery.cancel_scope.cancel()


async def _main() -> None:
    async with open_fake_sendgrid(sys.argv[2] if len(sys.argv) > 2 else "SG.fake", int(sys.argv[1])) as fake:
        print(f"a SendGrid that is none, on {fake.url}", flush=True)
        seen = 0
        while True:
            await trio.sleep(0.1)
            for body in fake.accepted[seen:]:
                print(json.dumps(body), flush=True)
            seen = len(fake.accepted)


if __name__ == "__main__":
    trio.run(_main)
