"""From hello to ready in greenroom.v1: the credential is checked, then every room is asked at once.

    hello ──▶ start ──▶ (token) ──▶ every room asked ──▶ ready
                           └─ wrong ──▶ 4001, 4002         └─ each refused one is named in it

Sockets enter their rooms as the answers come, silent: the cursor of the attachment holds its place until `ready` is out
and the replay begins, so that nothing said meanwhile is missed or comes before `ready`; summaries are held likewise.
Typing, receipts and presence are told as they happen. That the user came into a room or went is told at once, as
always; `ready` does not contradict it: of who goes the room is refused, and one that had answered that they are not in
it is asked again when they come.
"""

import json
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import structlog
import trio

from greenroom.actors.errors import RefusalCode
from greenroom.actors.events import MemberChanged
from greenroom.actors.room.commands import RoomView
from greenroom.http.auth import Principal
from greenroom.http.errors import ApiError
from greenroom.http.ws import events
from greenroom.http.ws.channel import Attachment
from greenroom.http.ws.codes import (
    NOT_MEMBER,
    TOKEN_EXPIRED,
    TOKEN_EXPIRED_ERROR,
    TOKEN_INVALID,
    TOO_MANY_CONNECTIONS,
    UNAUTHENTICATED,
)
from greenroom.http.ws.delivery import outcome_of
from greenroom.http.ws.frames import text_frame
from greenroom.http.ws.limits_told import limits_told
from greenroom.http.ws.services import Failure, SettingLimits, SocketServices, failure_of
from greenroom.http.ws.user_streams import gap_in
from greenroom.http.ws.v1_commands import (
    cursor_in,
    room_item,
    wanted_rooms,
)
from greenroom.runtime import StorageUnavailable
from greenroom.storage.postgres.conversations import EndOfMembership
from greenroom.storage.postgres.user_streams import Standing

if TYPE_CHECKING:
    from greenroom.http.ws.v1 import V1Session

log = structlog.get_logger()

PING_SECONDS: Final = 25.0
SILENCE_SECONDS: Final = 35.0
START_SECONDS_MAX: Final = 10.0
ANSWER_SECONDS_MAX: Final = 13.0  # of a start: by then every room has answered, or will not, and the ends are known
ENDS_SECONDS_MAX: Final = 2.0  # of the ten: what all other rooms have answered must not be lost with it
NO_ROOMS: Final[frozenset[int]] = frozenset()
_OUT: Final = Failure(NOT_MEMBER, RefusalCode.NOT_MEMBER.value)


async def ends_of(services: SocketServices, user_id: int, room_ids: list[int]) -> list[EndOfMembership] | None:
    """When the user left which of these rooms; None when storage does not say so in ENDS_SECONDS_MAX."""
    with trio.move_on_after(ENDS_SECONDS_MAX), suppress(StorageUnavailable):
        return await services.conversations.ends_of(user_id, room_ids)
    return None


def left_frame(user_id: int, end: EndOfMembership) -> bytes:
    """What tells the user of the end."""
    room_id, role, seq, at_ms = end
    return events.v1_member(MemberChanged(room_id, user_id, role, is_active=False, seq=seq, at_ms=at_ms))


class Start:
    """One `start` command under way. Raises BadCommand when it cannot be understood."""

    __slots__ = (
        "_client",
        "_command_id",
        "_ends",
        "_is_sought",
        "_left",
        "_refused",
        "_session",
        "_standing",
        "_token",
        "_told",
        "_unfound",
        "_views",
        "_wanted",
        "attachments",
    )

    def __init__(self, session: "V1Session", command_id: str | None, data: dict[str, Any]) -> None:
        self._wanted = wanted_rooms(data)
        session.device = data.get("device", "")
        self._session = session
        self._command_id = command_id
        self._token: str | None = data.get("token")
        self._client: dict[str, str | None] = data.get("client") or {}
        self._views: dict[int, RoomView] = {}
        self._refused: dict[int, Failure] = {}
        self._left = len(self._wanted.after)  # answers that are waited for
        self._told: set[int] = set()  # rooms that the user came into, or went out of, since
        self._is_sought = False  # storage was asked when the user left the rooms that are lost
        self._unfound: list[int] = []  # those of which it did not say
        self._ends: dict[int, EndOfMembership] = {}
        self._standing: Standing | None = None
        self.attachments: dict[int, Attachment] = {}

    def begin(self) -> None:
        """Check the credential, then ask for the rooms."""
        session = self._session
        if self._token is not None:
            session.services.engine.spawn(self._authenticate, self._token, of=session.connection)
        elif session.user_id is None:
            session.starting = None
            what = "start needs a token: the connection came without a credential"
            session.error(self._command_id, TOKEN_INVALID, what)
            session.connection.close(UNAUTHENTICATED)
        else:
            self._enter_rooms()

    async def _authenticate(self, token: str) -> None:
        session = self._session
        changes = session.services.authenticator.changes
        try:
            principal = await session.services.authenticator.from_bearer(token)
        except ApiError as fault:
            is_expired = fault.code == "TOKEN_EXPIRED"
            number = TOKEN_EXPIRED_ERROR if is_expired else TOKEN_INVALID
            session.error(self._command_id, number, fault.message)
            session.connection.close(TOKEN_EXPIRED if is_expired else UNAUTHENTICATED)
            return
        except StorageUnavailable as error:
            session.starting = None
            session.failed(self._command_id, None, error)
            return
        if session.connection.is_closing:
            return
        if principal.user_id is None or (session.user_id is not None and principal.user_id != session.user_id):
            what = "the token is not one of the user who opened the connection"
            session.error(self._command_id, TOKEN_INVALID, what)
            session.connection.close(UNAUTHENTICATED)
            return
        if session.user_id is None and not self._take_place(principal):
            return
        session.principal = principal
        session.services.engine.beat_within(session.connection, session.seconds_left())
        await session.services.catch_up(session.connection, changes)
        if session.connection.is_closing:
            return
        self._enter_rooms()

    def _take_place(self, principal: Principal) -> bool:
        """A connection that came without a credential becomes one of the user's."""
        session, services = self._session, self._session.services
        assert principal.user_id is not None
        if services.engine.of_user(principal.user_id) >= services.connections_per_user_max:
            session.connection.close(TOO_MANY_CONNECTIONS)
            return False
        session.user_id = principal.user_id
        services.engine.authenticated(session.connection, principal.user_id)
        return True

    def _enter_rooms(self) -> None:
        """Learn whom the user blocks, and where the user's stream is; then ask for the rooms."""
        session = self._session
        assert session.user_id is not None
        session.services.streams.standing(session.connection, session.user_id, self._stands_at)

    def _stands_at(self, standing: Standing) -> None:
        """Ask every room at once; `ready` goes out when the last one has answered."""
        self._standing = standing
        if not self._left:
            self._ready()
        for room_id in self._wanted.after:
            self._ask(room_id)

    def _ask(self, room_id: int) -> None:
        self._session.ask(
            self._session.services.room(room_id),
            self._session.enter(room_id),
            lambda value, error: self._answered(room_id, value, error),
        )

    def membership_changed(self, room_id: int, *, is_in: bool) -> None:
        """What the room has answered is over, if that says something else than the user was told just now."""
        if room_id not in self._wanted.after:
            return
        self._told.add(room_id)
        self._ends.pop(room_id, None)
        refused = self._refused.get(room_id)
        if not is_in and self._views.pop(room_id, None) is not None:
            self.attachments.pop(room_id, None)
            self._refused[room_id] = _OUT
        elif is_in and refused is not None and refused.code is NOT_MEMBER:
            del self._refused[room_id]
            self._left += 1
            self._ask(room_id)

    def _answered(self, room_id: int, value: object, error: BaseException | None) -> None:
        if isinstance(value, RoomView):
            self._views[room_id] = value
            if room_id in self._wanted.summaries:
                session = self._session
                assert session.user_id is not None
                session.services.summaries.watch(session.connection, session.user_id, value, is_held=True)
            elif room_id not in self._wanted.unheard:
                self.attachments[room_id] = self._attach(value)
        else:
            failure = failure_of(value, error)
            assert failure is not None
            self._refused[room_id] = failure
        self._one_answer_less()

    def _one_answer_less(self) -> None:
        """Of a room that the client knows, and whose member it is no more, it is told that, and nothing else."""
        self._left -= 1
        if self._left:
            return
        lost = [
            room_id
            for room_id, failure in self._refused.items()
            if failure.code is NOT_MEMBER and self._wanted.after[room_id] is not None and room_id not in self._told
        ]
        if lost and not self._is_sought:  # who is lost later was told that
            self._is_sought = True
            self._left += 1
            self._session.services.engine.spawn(self._look_for_ends, lost, of=self._session.connection)
        else:
            self._ready()

    async def _look_for_ends(self, lost: list[int]) -> None:
        """Not told is what is older than what the user was told meanwhile; without an answer only the refusal is."""
        session = self._session
        assert session.user_id is not None
        ends = await ends_of(session.services, session.user_id, lost)
        if ends is None:
            self._unfound = lost
        else:
            self._ends = {end.conversation_id: end for end in ends if end.conversation_id not in self._told}
        if not session.connection.is_closing:
            self._one_answer_less()

    def _attach(self, view: RoomView) -> Attachment:
        """Into the room, silent until `ready` is out: the cursor holds its place meanwhile."""
        session, wanted = self._session, self._wanted
        assert session.user_id is not None
        cursor = cursor_in(view, wanted.after[view.room_id], wanted.epochs.get(view.room_id))
        return session.services.hub.attach(session.connection, session.user_id, view, cursor, view.recent)

    def _ready(self) -> None:
        session, wanted, views, standing = self._session, self._wanted, self._views, self._standing
        assert session.user_id is not None
        assert standing is not None
        is_whole = not self._refused and not any(wanted.is_lost(view) for view in views.values())
        gap = gap_in(standing, wanted.user)
        data: dict[str, Any] = {
            "user": session.user_id,
            "name": session.name,
            "device": session.device,
            "session": f"{session.connection.number:x}",
            "userEpoch": standing.epoch,
            "useq": standing.useq,
            "resumed": wanted.is_resume and is_whole and gap is None,
            "rooms": [room_item(view, self._mode_of(view.room_id)) for view in views.values()],
        }
        if self._refused:
            data["refused"] = [
                {"r": room_id, "code": failure.code.number, "error": failure.code.name}
                for room_id, failure in self._refused.items()
            ]
        unasked = frozenset(
            room_id
            for room_id, failure in self._refused.items()
            if wanted.after[room_id] is not None and (failure.code.is_recoverable or room_id in self._unfound)
        )
        session.unasked = unasked or NO_ROOMS  # each empty one of its own would be 216 bytes more of every connection
        # Before anything is written: a socket that cannot be written to ends the session, which leaves its rooms.
        session.ready(tuple(room_id for room_id, attachment in self.attachments.items() if attachment.is_attached))
        subject = {} if self._command_id is None else {"id": self._command_id}
        session.connection.write(events.v1("ready", data, **subject))
        session.services.summaries.release(session.connection)
        for end in self._ends.values():
            session.connection.write(left_frame(session.user_id, end))
        if wanted.user is not None:
            session.resumed(outcome_of(gap))
        for room_id in self._refused:
            if wanted.after[room_id] is not None and not self._asks_again(room_id):
                session.resumed("refused")
        for view in views.values():
            session.tell_gap(view, wanted.after[view.room_id], wanted.epochs.get(view.room_id))
        session.services.streams.attach(session.connection, session.user_id, standing, wanted.user)
        session.appear(is_back=wanted.is_resume)
        if self._client:
            name, version = self._client["name"], self._client.get("ver")
            log.debug("session.started", user=session.user_id, device=session.device, client=name, version=version)
        session.replay(list(self.attachments.items()))

    def _asks_again(self, room_id: int) -> bool:
        """Whether it is we who ask for a refused room again, and not the client."""
        return False

    def _mode_of(self, room_id: int) -> str:
        if room_id in self._wanted.summaries:
            return "summary"
        return "none" if room_id in self._wanted.unheard else "full"


def hello(services: SocketServices, connection_id: int) -> bytes:
    """The first frame. Only two values differ from one connection to the next: the rest is encoded once."""
    template = _hello_template(services.node, services.setting_limits)
    return text_frame((template % (connection_id, services.clock.wall_milliseconds())).encode())


@cache
def _hello_template(node: str, limits: SettingLimits) -> str:
    hello = {
        "type": "hello",
        "data": {
            "v": 1,
            "node": node,
            "hb": int(PING_SECONDS * 1000),
            "hbGrace": int((SILENCE_SECONDS - PING_SECONDS) * 1000),
            "authWithin": int(START_SECONDS_MAX * 1000),
            "limits": limits_told(limits),
            "features": [
                "rooms",
                "resume",
                "typing",
                "receipts",
                "presence",
                "history",
                "user",
                "summary",
                "blocks",
                "changes",
                "details",
                "private",
                "reports",
                "reactions",
                "pins",
                "members",
            ],
            "conn": "CONN",
            "now": "NOW",
        },
    }
    text = json.dumps(hello, separators=(",", ":")).replace("%", "%%")
    return text.replace('"CONN"', '"%x"').replace('"NOW"', "%d")
