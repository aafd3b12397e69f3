"""`GET /events` and `GET /poll`: decide as at an upgrade, hand the connection to the engine, be gone.

Who is asking and what is asked are checked as for any operation; then, as for a socket, the page's origin and the caps
that streams and sockets share. Refusals are ordinary answers. What is not refused is answered by the engine, on the
connection that it takes over (`adoption.py`): what the handler returns then goes nowhere.
"""

import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any, Final

from pydantic import Field

from greenroom.http.adoption import NotAdoptable, is_gone, take_over
from greenroom.http.answer_headers import answer_headers
from greenroom.http.app import request_id
from greenroom.http.door import Door
from greenroom.http.errors import ApiError
from greenroom.http.models import Input, Output, WholeNumber
from greenroom.http.rest.presence import take_command
from greenroom.http.route import Answer, Call, Operations
from greenroom.http.streams.connection import POLL_SECONDS_MAX, EventStream, Poll, ReadOnlyConnection
from greenroom.http.streams.session import StreamSession
from greenroom.http.upgrade import SocketCaps, check_room, check_user
from greenroom.http.ws.connection import Connection
from greenroom.http.ws.cursor import ROOMS_MAX, BadCursor, Cursor, read_cursor
from greenroom.http.ws.services import SocketServices

LAST_EVENT_ID: Final = "Last-Event-ID"
CursorText = Annotated[
    str, Field(description="where the reader stands: an event's id, or what a poll was answered with")
]


class EventsQuery(Input):
    """From where on. The header Last-Event-ID counts before it."""

    cursor: CursorText | None = None


class PollQuery(EventsQuery):
    """From where on, and for how long to wait."""

    wait: Annotated[WholeNumber, Field(ge=0, le=POLL_SECONDS_MAX)] = Field(
        default=POLL_SECONDS_MAX, description="seconds; without a cursor nothing is waited for"
    )


class EventText(Output):
    """Server-Sent Events: on each data line a frame of greenroom.v1, and the cursor as id."""


class PolledEvents(Output):
    """Frames of greenroom.v1, in order; the cursor is where they lead to."""

    events: list[dict[str, Any]]
    cursor: str | None


def stream_operations(sockets: SocketServices, caps: SocketCaps, door: Door) -> Operations:
    """The two operations, over the engine that serves the sockets too."""
    operations = Operations("websocket")

    @operations.get("/events", query=EventsQuery, whole=EventText)
    async def get_events(call: Call) -> Answer:
        """What happens in all rooms of the user, as it happens: Server-Sent Events, after the cursor."""
        begins_at = _place(call, call.query(EventsQuery).cursor)
        _check(call, sockets, caps)
        # A browser's EventSource does not come back after a refusal. Polls do not queue: each would, several a second.
        check_user(call.principal, sockets.engine, caps, door)
        if await door.enter(is_v1=False, user_id=call.user_id, is_gone=partial(is_gone, call.request)):
            await call.look_again()
        return await _hand_over(call, sockets, caps, begins_at, EventStream)

    @operations.get("/poll", query=PollQuery, answer=PolledEvents)
    async def get_poll(call: Call) -> Answer:
        """What happened in all rooms of the user after the cursor, as soon as there is something."""
        query = call.query(PollQuery)
        begins_at = _place(call, query.cursor)
        wait_seconds = 0 if begins_at is None else query.wait
        _check(call, sockets, caps)
        return await _hand_over(call, sockets, caps, begins_at, partial(Poll, wait_seconds=wait_seconds))

    return operations


def _place(call: Call, cursor: str | None) -> Cursor | None:
    """Where the reader stands, None for one that begins. Raises: ApiError 400."""
    text = call.request.headers.get(LAST_EVENT_ID) or cursor
    if not text:
        return None
    try:
        return read_cursor(text)
    except BadCursor as fault:
        raise ApiError("VALIDATION", f"cursor: {fault}") from None


async def _hand_over(
    call: Call,
    sockets: SocketServices,
    caps: SocketCaps,
    begins_at: Cursor | None,
    make: Callable[..., ReadOnlyConnection],
) -> Answer:
    """Give the connection to the engine, with a session in all rooms of the user."""
    engine, address, user_id = sockets.engine, sys.intern(call.address), call.user_id
    if call.request.method == "HEAD":
        return Answer(whole=b"", content_type="text/event-stream")
    # Who comes into a room, or goes, while storage is read may not be in what it says, and is not told yet.
    with sockets.hub.small_rooms.noting_changes() as changes:
        room_ids = await sockets.conversations.rooms_of(user_id, ROOMS_MAX)
    check_room(address, engine, caps)
    check_user(call.principal, engine, caps)
    came = [change.room_id for change in changes if change.user_id == user_id and change.is_active]
    headers, name = _headers(call), request_id()
    try:
        adopted = take_over(call.request)
    except NotAdoptable:
        raise ApiError("BAD_REQUEST", f"this address is spelled {call.request.path.rstrip('/')}") from None

    def open_session(made: Connection) -> StreamSession:
        assert isinstance(made, ReadOnlyConnection)
        return StreamSession(sockets, made, call.principal, begins_at)

    connection = engine.adopt(adopted, open_session, address, partial(make, headers=headers, request_id=name))
    if isinstance(connection.session, StreamSession):  # else its reader is gone, or is answered
        connection.session.enter_all([*room_ids, *came])
    await sockets.catch_up(connection, call.looked_up.changes)
    return Answer(whole=b"")


def _check(call: Call, sockets: SocketServices, caps: SocketCaps) -> None:
    """Raises: ApiError for who may not come in."""
    _check_page(call)
    take_command(call, sockets)  # each asks all rooms of its user
    check_room(call.address, sockets.engine, caps)
    check_user(call.principal, sockets.engine, caps)


def _check_page(call: Call) -> None:
    """A page that is not listed may not hold streams open with its visitors' cookies. Raises: ApiError 403."""
    origin = call.request.headers.get("Origin")
    is_foreign = not call.services.origins.is_listed(origin) if origin is not None else False
    # A picture's address, say, is asked for without an Origin; browsers say at least that it is another site's.
    if is_foreign or (origin is None and call.request.headers.get("Sec-Fetch-Site") == "cross-site"):
        raise ApiError("FORBIDDEN", "this origin may not open a stream: list it in ALLOWED_ORIGINS")


def _headers(call: Call) -> Mapping[str, str]:
    """Of every answer, which here nobody else adds."""
    return answer_headers(call.services, call.request.headers.get("Origin")) | {"X-Request-Id": request_id()}
