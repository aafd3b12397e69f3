"""The head of a request: what is refused of it before anybody else sees the request.

h11 reads heads as leniently as RFC 9112 allows, and one that means one thing to a proxy before us and another to us is
how a request is smuggled past it (section 11.2). So here everything in doubt is 400, and the connection ends: nothing
behind it is read as a request. Decided are also the protocol's version, the form of the target, and whether a WebSocket
is asked for.
"""

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

import h11

Refusal = tuple[HTTPStatus, str]  # and a sentence
Headers = list[tuple[bytes, bytes]]  # each name in small letters, with its value
Fields = Mapping[bytes, bytes]  # of each name the last value, which is the one that Hypercorn looks at

# What decides who is asking, and for what (RFC 9110 section 5.3: a sender must not repeat a field that is no list).
SINGLE_FIELDS: Final = frozenset(
    {
        b"authorization",
        b"content-type",
        b"idempotency-key",
        b"origin",
        b"sec-websocket-key",
        b"sec-websocket-version",
        b"x-act-as",
    }
)

# A name in labels, IPv4, or IPv6 in brackets; empty where the target has no authority.
_HOST: Final = re.compile(
    r"((?:[\w-]{1,63}\.)*[\w-]{1,63}\.?|\[[0-9a-f:.]{2,45}\])?(:[0-9]{0,5})?", re.ASCII | re.IGNORECASE
)
# What is answered without end, or at a moment that the engine chooses: it takes the connection (`adoption.take_over`).
STREAM_PATHS: Final = frozenset({b"/events", b"/poll"})
_EXTENSIONS: Final = b"sec-websocket-extensions"
_HANDSHAKE_FIELDS: Final = frozenset({b"connection", b"sec-websocket-protocol", b"sec-websocket-version", b"upgrade"})
_WORD: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]++"
_EXTENSION: Final = re.compile(rf'{_WORD}(?:[ \t]*+;[ \t]*+{_WORD}(?:[ \t]*+=[ \t]*+(?:{_WORD}|"{_WORD}"))?+)*+')
_WEBSOCKET_KEY: Final = re.compile(r"[A-Za-z0-9+/]{22}==")


class StrictHeads(h11.Connection):
    """h11, which also looks at the head of a request as it came: `fault` says what is wrong with the newest one."""

    def __init__(self, head_bytes_max: int) -> None:
        super().__init__(h11.SERVER, max_incomplete_event_size=head_bytes_max)
        self._head_bytes_max = head_bytes_max
        self.fault: Refusal | None = None

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        """As in h11."""
        if self.their_state is not h11.IDLE:
            return super().next_event()
        before = self.trailing_data[0]
        event = super().next_event()
        if type(event) is h11.Request:
            self.fault = self._fault_of(before[: len(before) - len(self.trailing_data[0])])
        return event

    def _fault_of(self, head: bytes) -> Refusal | None:
        if len(head) > self._head_bytes_max:
            # h11 counts what is incomplete only.
            text = f"the request's header is longer than {self._head_bytes_max} bytes"
            return HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, text
        if head.count(b"\n") != head.count(b"\r\n"):
            # RFC 9112 section 2.2 lets a reader take a bare LF for the end of a line; it need not.
            return HTTPStatus.BAD_REQUEST, "a line of the header ends without CR"
        if b"\n " in head or b"\n\t" in head:
            return HTTPStatus.BAD_REQUEST, "a line of the header is folded (RFC 9112 section 5.2)"
        return None


def asks_for_websocket(request: h11.Request, headers: Headers) -> bool:
    """Whether it does by RFC 6455 section 4.2.1; several fields of one name are one list (RFC 9110 section 5.3).

    H11Protocol._create_stream looks at the last of them, and must find no upgrade that is none here: it would read the
    frames. tests/http/test_canary.py compares the two.
    """
    if request.method.upper() != b"GET":
        return False
    upgrade: list[bytes] = []
    connection: list[bytes] = []
    for name, value in headers:
        if name == b"upgrade":
            upgrade.append(value)
        elif name == b"connection":
            connection.append(value)
    return bool(upgrade) and "websocket" in _tokens(upgrade) and "upgrade" in _tokens(connection)


def asks_for_stream(request: h11.Request) -> bool:
    """Whether the answer is the engine's, of a request that is not refused. HEAD is not: its answer is short."""
    if request.method != b"GET":
        return False
    path = request.target.partition(b"?")[0]
    if path[:1] != b"/":
        path = urlsplit(path).path  # of a URL, which a proxy may send: RFC 9112 section 3.2.2
    return path in STREAM_PATHS


def refusal_of(request: h11.Request, headers: Headers, *, upgrade: bool) -> Refusal | None:
    """Say what is wrong with a request that h11 could parse. headers: its own. upgrade: it asks for a WebSocket."""
    if request.http_version not in {b"1.0", b"1.1"}:
        return HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "only HTTP/1.1 is spoken here"
    if request.method != request.method.upper():
        # RFC 9110 section 9.1: case counts. Hypercorn would take it for the method in capitals, which a proxy may not.
        return HTTPStatus.BAD_REQUEST, "the methods of HTTP are spelled in capitals"
    fields = dict(headers)
    fault = _address_fault(request, fields) or (_handshake_fault(request, fields, headers) if upgrade else None)
    return fault or _framing_fault(request, fields) or (_repetition(headers) if len(fields) < len(headers) else None)


def without_extensions(headers: Headers) -> tuple[Headers, str]:
    """The headers of an upgrade request without the extensions that it offers, and those: they are for the engine."""
    kept = [(name, value) for name, value in headers if name != _EXTENSIONS]
    # RFC 6455 section 11.3.2: what several fields say is one list.
    return kept, ", ".join(value.decode("latin1") for name, value in headers if name == _EXTENSIONS)


def _address_fault(request: h11.Request, fields: Fields) -> Refusal | None:
    """Whether target and Host are of the forms that a server must understand (RFC 9112 section 3.2), and agree."""
    host, authority = _text(fields, b"host"), _authority(request)
    if authority is None:
        return HTTPStatus.BAD_REQUEST, "the request target is neither a path nor a URL"
    if not _HOST.fullmatch(host):
        return HTTPStatus.BAD_REQUEST, "Host is not the name of a host"  # Werkzeug raises UnicodeError for some
    if authority and host and authority.lower() != host.lower():
        return HTTPStatus.BAD_REQUEST, "Host is not that of the request target"
    return None


def _authority(request: h11.Request) -> str | None:
    """The host that the target names, empty for a path; None for what is no target."""
    if request.target.startswith(b"/") or (request.method == b"OPTIONS" and request.target == b"*"):
        return ""
    try:
        parts = urlsplit(request.target.decode("ascii"))
    except ValueError:
        return None
    is_url = parts.scheme in {"http", "https"} and bool(parts.netloc) and parts.path.startswith("/")
    return parts.netloc if is_url else None


def _handshake_fault(request: h11.Request, fields: Fields, headers: Headers) -> Refusal | None:
    if _text(fields, b"content-length") not in {"", "0"} or _text(fields, b"transfer-encoding"):
        # Otherwise the body would be read as frames.
        return HTTPStatus.BAD_REQUEST, "an upgrade request must not have a body"
    if not all(value.isascii() for name, value in headers if name in _HANDSHAKE_FIELDS):
        return HTTPStatus.BAD_REQUEST, "the handshake of a WebSocket is ASCII"  # wsproto raises UnicodeDecodeError
    if request.http_version == b"1.0":
        return HTTPStatus.BAD_REQUEST, "a WebSocket begins with a request of HTTP/1.1 (RFC 6455 section 4.1)"
    if _text(fields, b"sec-websocket-version") != "13":
        return HTTPStatus.UPGRADE_REQUIRED, "Sec-WebSocket-Version is 13 (RFC 6455 section 4.4)"
    if not _WEBSOCKET_KEY.fullmatch(_text(fields, b"sec-websocket-key")):
        return HTTPStatus.BAD_REQUEST, "Sec-WebSocket-Key is 16 bytes in base64 (RFC 6455 section 4.2.1)"
    if _EXTENSIONS in fields and not all(_lists_extensions(value) for name, value in headers if name == _EXTENSIONS):
        return HTTPStatus.BAD_REQUEST, "Sec-WebSocket-Extensions is no list of extensions (RFC 6455 section 9.1)"
    return None


def _lists_extensions(value: bytes) -> bool:
    """RFC 6455 section 9.1, with what RFC 9110 section 5.6.1 lets a list be: some of its elements may be empty."""
    elements = [element.strip(" \t") for element in value.decode("latin1").split(",")]
    return any(elements) and all(_EXTENSION.fullmatch(element) for element in elements if element)


def _framing_fault(request: h11.Request, fields: Fields) -> Refusal | None:
    """RFC 9112 section 6.1: both might be a try to smuggle a request past a proxy, and a client may send neither."""
    if not _text(fields, b"transfer-encoding"):
        return None
    if _text(fields, b"content-length"):
        return HTTPStatus.BAD_REQUEST, "Content-Length and Transfer-Encoding exclude each other"
    if request.http_version == b"1.0":
        return HTTPStatus.BAD_REQUEST, "HTTP/1.0 has no Transfer-Encoding"
    return None


def _repetition(headers: Headers) -> Refusal | None:
    """A proxy may have looked at the first, where we would look at the last."""
    names = [name for name, _ in headers if name in SINGLE_FIELDS]
    twice = next((name for name in names if names.count(name) > 1), None)
    return None if twice is None else (HTTPStatus.BAD_REQUEST, f"{twice.decode()} may be sent once")


def _tokens(values: list[bytes]) -> set[str]:
    """The elements of a list, of which the case does not count."""
    return {token.strip() for token in b",".join(values).decode("latin1").lower().split(",")}


def _text(fields: Fields, name: bytes) -> str:
    """The value of a header as Hypercorn reads it; empty if there is none."""
    return fields.get(name, b"").decode("latin1").strip()
