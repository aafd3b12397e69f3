"""The decision at the WebSocket upgrade: who is admitted, as whom, and how the others are told.

    Origin listed or absent? ── no ──▶ 403
    room for one more socket, in all and from this address? ── no ──▶ 503, 429
    greenroom.v1 and more come at once than should? ── yes ──▶ 503 (door.py)
    a credential is shown?
      ├─ it is wrong ──▶ 401
      ├─ it is right, and the user has room ──▶ Admitted(principal)            no room ──▶ 429
      └─ none: greenroom.v1 ──▶ Admitted(None), it says `start` within 10 s    too many such ──▶ 503, 429
               without subprotocol ──▶ 401
    without subprotocol and more come at once than should: it waits, 20 s at most, and the room is looked at again

`?token=` takes only a ticket, and takes it away. An Authorization header beside it must be right, too, and of the same
user; when it is wrong the ticket is still good. A cookie beside a ticket or a header is not looked at: a browser adds
it by itself, however old it is. The existing client gets its 401, and every 5xx, in the form that it reads
(existing-system.md section 2.1): fallback addresses to poll. Everybody else gets the usual envelope.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from greenroom.http.auth import ACT_AS_HEADER, Authenticator, Principal
from greenroom.http.door import Door
from greenroom.http.errors import ApiError
from greenroom.http.origins import Origins
from greenroom.http.tickets import Tickets
from greenroom.runtime import StorageUnavailable

V1: Final = "greenroom.v1"
_ACT_AS: Final = ACT_AS_HEADER.lower().encode()
UNAUTHENTICATED_SOCKETS_MAX: Final = 256
UNAUTHENTICATED_PER_ADDRESS_MAX: Final = 8
FALLBACK_ENDPOINTS: Final = {
    "notifications": "/api/poll/notifications",
    "messages": "/api/poll/messages",
    "dashboard": "/api/poll/dashboard",
    "all": "/api/poll/all",
}
FALLBACK_HINT: Final = "poll these addresses until a WebSocket can be opened"
FALLBACK_POLL_MILLISECONDS: Final = 30_000


class SocketCounts(Protocol):
    """How many sockets there are now; the socket engine knows."""

    @property
    def total(self) -> int:
        """Of all kinds."""
        ...

    @property
    def unauthenticated(self) -> int:
        """Those of greenroom.v1 that have not said who they are."""
        ...

    def unauthenticated_from(self, address: str) -> int:
        """Those among them from one address."""
        ...

    def of_user(self, user_id: int) -> int:
        """Those of one user."""
        ...

    def from_address(self, address: str) -> int:
        """Those from one address."""
        ...


@dataclass(frozen=True, slots=True)
class SocketCaps:
    """How many sockets there may be; 0 is no limit."""

    total: int
    per_user: int
    per_address: int


@dataclass(frozen=True, slots=True)
class UpgradeRequest:
    """What an upgrade shows of itself. `address` is the client's, behind trusted proxies."""

    address: str
    origin: str | None = None
    authorization: str | None = None
    act_as: str | None = None
    ticket: str | None = None
    cookies: Mapping[str, str] = field(default_factory=dict)
    subprotocols: Sequence[str] = ()

    @classmethod
    def of(
        cls,
        *,
        fields: Mapping[bytes, bytes],
        query: Mapping[str, str],
        cookies: Mapping[str, str],
        subprotocols: Sequence[str],
        address: str,
    ) -> "UpgradeRequest":
        """Pick what counts out of a request. fields: its headers by their names in small letters.

        Which of several of one name it is does not matter: those that count here may be sent once (heads.py).
        """
        return cls(
            address=address,
            origin=_text(fields.get(b"origin")),
            authorization=_text(fields.get(b"authorization")),
            act_as=_text(fields.get(_ACT_AS)),
            ticket=query.get("token"),
            cookies=cookies,
            subprotocols=subprotocols,
        )

    @property
    def is_v1(self) -> bool:
        """Whether the client speaks greenroom.v1; else it is the existing client."""
        return V1 in self.subprotocols


@dataclass(frozen=True, slots=True)
class Admitted:
    """Adopt it. No principal: it must say `start` with a token."""

    principal: Principal | None
    is_v1: bool


@dataclass(frozen=True, slots=True)
class UpgradeRefused:
    """Answer this instead of the 101."""

    status: int
    body: Mapping[str, object]
    headers: Mapping[str, str]


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin1")


async def admit(
    request: UpgradeRequest,
    *,
    authenticator: Authenticator,
    tickets: Tickets,
    origins: Origins,
    counts: SocketCounts,
    caps: SocketCaps,
    door: Door,
    request_id: Callable[[], str],
    is_gone: Callable[[], bool] = lambda: False,
) -> Admitted | UpgradeRefused:
    """Decide. Counts no sockets: between this and the adoption a few more may slip in, never many. Never raises."""
    try:
        _check_origin(request, origins)
        check_room(request.address, counts, caps)
        place, is_in = door.check(is_v1=request.is_v1), False
        try:
            principal = await _identify(request, authenticator, tickets)
            if principal is None:
                _check_unauthenticated(request, counts)
            else:
                check_user(principal, counts, caps, door)
            is_in = True
        finally:
            if not is_in:
                door.turn_away(place)
        user_id = None if principal is None else principal.user_id
        if await door.enter(is_v1=request.is_v1, user_id=user_id, is_gone=is_gone):
            assert principal is not None, "only the existing client waits, and it is never let in without one"
            principal = await authenticator.renew(principal)
            check_room(request.address, counts, caps)
            check_user(principal, counts, caps)
    except ApiError as refusal:
        return refusal_of(refusal, request_id(), is_v1=request.is_v1)
    except StorageUnavailable:
        away = ApiError("SERVICE_UNAVAILABLE", "storage does not answer: try again soon", retry_after=1)
        return refusal_of(away, request_id(), is_v1=request.is_v1)
    return Admitted(principal, request.is_v1)


def _check_origin(request: UpgradeRequest, origins: Origins) -> None:
    if request.origin is not None and not origins.is_listed(request.origin):
        raise ApiError("FORBIDDEN", "this origin may not open a WebSocket: list it in ALLOWED_ORIGINS")


def check_room(address: str, counts: SocketCounts, caps: SocketCaps) -> None:
    """Raises: ApiError when there are as many sockets as there may be, in all or from *address*."""
    if caps.total and counts.total >= caps.total:
        raise ApiError("SERVICE_UNAVAILABLE", "this server holds as many sockets as it may", retry_after=10)
    if caps.per_address and counts.from_address(address) >= caps.per_address:
        raise ApiError("RATE_LIMIT_EXCEEDED", "too many sockets from this address", retry_after=10)


async def _identify(request: UpgradeRequest, authenticator: Authenticator, tickets: Tickets) -> Principal | None:
    principal: Principal | None = None
    if request.ticket is None or request.authorization is not None:
        principal = await authenticator.authenticate(
            authorization=request.authorization, cookies=request.cookies, act_as=request.act_as
        )
    if principal is None and request.act_as is not None and (request.is_v1 or request.ticket is not None):
        raise ApiError("VALIDATION", f"{ACT_AS_HEADER} needs an API key in the Authorization header")
    if request.ticket is not None:
        principal = await _redeem(request.ticket, principal, authenticator, tickets)
    if principal is None and not request.is_v1:
        raise ApiError("UNAUTHORIZED", "Authentication required")
    if principal is not None:
        principal.require_user()
    return principal


async def _redeem(ticket: str, beside: Principal | None, authenticator: Authenticator, tickets: Tickets) -> Principal:
    """Who holds the ticket; *beside* is who the Authorization header names. Raises: ApiError 401."""
    holder = tickets.holder_of(ticket)
    if holder is None:
        raise ApiError("INVALID_TOKEN", "?token= takes a ticket of GET /api/ws/token, once and within 60 s")
    if beside is not None and beside.user_id != holder.user_id:
        raise ApiError("INVALID_TOKEN", "the ticket is not of the user whom the Authorization header names")
    tickets.redeem(ticket)
    return await authenticator.renew(holder)


def _check_unauthenticated(request: UpgradeRequest, counts: SocketCounts) -> None:
    if counts.unauthenticated >= UNAUTHENTICATED_SOCKETS_MAX:
        raise ApiError("SERVICE_UNAVAILABLE", "too many sockets wait for their start: show a token", retry_after=10)
    if counts.unauthenticated_from(request.address) >= UNAUTHENTICATED_PER_ADDRESS_MAX:
        raise ApiError("RATE_LIMIT_EXCEEDED", "too many sockets of this address wait for their start", retry_after=10)


def check_user(principal: Principal, counts: SocketCounts, caps: SocketCaps, door: Door | None = None) -> None:
    """Raises: ApiError when the user has as many sockets as they may, or before *door* as many that wait."""
    user_id = principal.require_user()
    if caps.per_user and counts.of_user(user_id) >= caps.per_user:
        raise ApiError("RATE_LIMIT_EXCEEDED", f"this user has {caps.per_user} sockets already", retry_after=10)
    if caps.per_user and door is not None and door.in_line_of(user_id) >= caps.per_user:
        raise ApiError("RATE_LIMIT_EXCEEDED", f"{caps.per_user} sockets of this user wait already", retry_after=10)


def refusal_of(error: ApiError, request_id: str, *, is_v1: bool) -> UpgradeRefused:
    """As an answer: the existing client is told where to poll, and of what is not its fault how often."""
    if is_v1 or (error.status != 401 and error.status < 500):
        return UpgradeRefused(error.status, error.body(request_id), error.headers)
    body: dict[str, object] = {"error": error.message, "code": error.code, "fallback": True}
    if error.status >= 500:
        body |= {"alternative": FALLBACK_HINT, "pollInterval": FALLBACK_POLL_MILLISECONDS}
    return UpgradeRefused(error.status, {**body, "endpoints": FALLBACK_ENDPOINTS}, error.headers)
