"""HTTPS to providers, and the one place where httpx is met.

It answers the question that decides everything after a failed call: can the provider have the whole request?

    NotSent     no: DNS, TCP or TLS failed (then nothing of the request had left: is_begun is false), or the connection
                broke before the last byte of the body was handed over
    Ambiguous   perhaps: the last byte was handed over, and then silence, a reset, or half a status line
    Answer      a status line came back; body is None when it did not come whole

The body goes out as all but its last byte, and then the last byte: a request with a Content-Length of which one byte
never left cannot have been acted upon, and that boundary is ours to see, whatever httpx raises. A kept connection that
the peer closes under us is ambiguous too, so none is kept for longer than KEEP_SECONDS.
"""

import ipaddress
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx
import trio

CONNECT_SECONDS_MAX = 5.0
WRITE_SECONDS_MAX = 10.0
READ_SECONDS_MAX = 15.0
CALL_SECONDS_MAX = 30.0  # of the whole call: a peer that trickles its answer does not hold a slot for longer
KEEP_SECONDS = 4.0
ANSWER_BYTES_MAX = 64 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds after which a peer is given up; tests shorten them."""

    connect_seconds_max: float = CONNECT_SECONDS_MAX
    read_seconds_max: float = READ_SECONDS_MAX
    call_seconds_max: float = CALL_SECONDS_MAX


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. headers: names in lower case. body: None when it was cut off or longer than ANSWER_BYTES_MAX."""

    status: int
    headers: Mapping[str, str]
    body: bytes | None


@dataclass(frozen=True, slots=True)
class NotSent:
    """The peer cannot have the whole request. is_begun: it may have a part of it."""

    text: str
    is_begun: bool = False


@dataclass(frozen=True, slots=True)
class Ambiguous:
    """The peer may have the whole request."""

    text: str


class Transport:
    """A pool of connections to one provider. Made by `open_transport`."""

    def __init__(self, client: httpx.AsyncClient, limits: Limits) -> None:
        self._client = client
        self._limits = limits

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer | NotSent | Ambiguous:
        """Send *body*, at least two bytes, and say what is known. Redirects are answers, not followed.

        Cancelled: nobody knows.
        """
        request = _Request(body)
        with trio.move_on_after(self._limits.call_seconds_max):
            try:
                return await self._post(url, headers, request)
            except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
                return request.verdict(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)
        return request.verdict(f"no answer within {self._limits.call_seconds_max:g} s")

    async def _post(self, url: str, headers: Mapping[str, str], request: "_Request") -> Answer:
        length = {"Content-Length": str(len(request.body))}
        async with self._client.stream("POST", url, headers={**headers, **length}, content=request.parts()) as response:
            answer_headers = {name.lower(): value for name, value in response.headers.items()}
            return Answer(response.status_code, answer_headers, await _read(response))


class _Request:
    """A body on its way out, and how far it got."""

    def __init__(self, body: bytes) -> None:
        assert len(body) > 1, "the last byte of a body goes alone, after another"
        self.body = body
        self.is_begun = False
        self.is_last_byte_out = False

    async def parts(self) -> AsyncIterator[bytes]:
        """All but the last byte; asked for more, the first part has left. Asked at all, the head has."""
        self.is_begun = True
        yield self.body[:-1]
        self.is_last_byte_out = True
        yield self.body[-1:]

    def verdict(self, text: str) -> NotSent | Ambiguous:
        return Ambiguous(text) if self.is_last_byte_out else NotSent(text, self.is_begun)


async def _read(response: httpx.Response) -> bytes | None:
    """The body, when it comes whole. The status is known: what fails here changes nothing about the mail."""
    body = b""
    try:
        async for part in response.aiter_bytes():
            body += part
            if len(body) > ANSWER_BYTES_MAX:
                return None
    except httpx.HTTPError:
        return None
    return body


@asynccontextmanager
async def open_transport(
    base_url: str, *, connections_max: int, limits: Limits | None = None
) -> AsyncIterator[Transport]:
    """Open a pool for one provider. Proxies of the environment count, but not on the way to this machine."""
    limits = limits or Limits()
    client = httpx.AsyncClient(
        timeout=httpx.Timeout(
            limits.read_seconds_max, connect=limits.connect_seconds_max, write=WRITE_SECONDS_MAX, pool=None
        ),
        limits=httpx.Limits(max_connections=connections_max, keepalive_expiry=KEEP_SECONDS),
        follow_redirects=False,
        trust_env=not _is_this_machine(base_url),
    )
    async with client:
        yield Transport(client, limits)


def _is_this_machine(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
