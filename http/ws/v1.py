"""greenroom.v1: the session of one connection that asked for that subprotocol.

    hello ──▶ start ──▶ (credential checked) ──▶ every room asked ──▶ ready ──▶ replay ──▶ live
                          no start in time ──▶ 4103        wrong token ──▶ 4001

One JSON object, or an array of at most COMMANDS_MAX, per text frame. A reply carries the id of its command; what has
no id is an event. A bad command is answered with an error and changes nothing; the connection stays. The ack of a
send means committed. Commands of one connection are applied in order for each room.
"""

import math
import random
from collections.abc import Callable
from typing import Any, Final

import trio

from greenroom.actors.errors import Refused
from greenroom.actors.room.commands import Enter, RoomView, Send, Sent
from greenroom.actors.room.details import details_of
from greenroom.http.auth import Principal
from greenroom.http.decode import BadJson, decode
from greenroom.http.ws import events, v1_presence
from greenroom.http.ws.channel import Attachment
from greenroom.http.ws.codes import (
    AUTH_TIMEOUT,
    BAD_FRAME,
    BAD_JSON,
    PROTOCOL_VIOLATION,
    RATE_LIMITED,
    TOO_MANY_INFLIGHT,
    UNKNOWN_TYPE,
    ErrorCode,
)
from greenroom.http.ws.connection import CONTROL, Connection
from greenroom.http.ws.delivery import Outcome, Via, outcome_of
from greenroom.http.ws.schemas.reading import id_of
from greenroom.http.ws.services import SocketServices, failure_of, send_over_limit
from greenroom.http.ws.session import SocketSession, commands_in
from greenroom.http.ws.v1_blocks import block, unblock
from greenroom.http.ws.v1_changes import delete, edit
from greenroom.http.ws.v1_commands import (
    COMMANDS_MAX,
    INFLIGHT_MAX,
    ROOMS_MAX,
    BadCommand,
    cursor_in,
    data_of,
    gap_in,
    id_in,
    message_in,
    read,
    room_of,
)
from greenroom.http.ws.v1_history import history
from greenroom.http.ws.v1_join import join
from greenroom.http.ws.v1_limits import may_command, slow_down
from greenroom.http.ws.v1_marks import mark
from greenroom.http.ws.v1_report import report
from greenroom.http.ws.v1_signs import mark_read, ping, pong, typing
from greenroom.http.ws.v1_start import (
    ANSWER_SECONDS_MAX,
    NO_ROOMS,
    PING_SECONDS,
    SILENCE_SECONDS,
    START_SECONDS_MAX,
    Start,
    hello,
)
from greenroom.http.ws.v1_user import GRACE_SECONDS, WARNING_SECONDS, members, refresh, sync, warn_of_end
from greenroom.runtime import Command

FAULTS_BEFORE_START_MAX: Final = 16
_PING: Final = events.v1("ping")
_FREE: Final = frozenset(("ping", "pong", "start"))
_PLAIN: Final = frozenset(("body", "clientId", "attachments"))
_INPUT: Final = frozenset(  # and send: a person did that
    (
        *("join", "leave", "typing", "read", "history", "block", "unblock", "report"),
        *("edit", "delete", "react", "unreact", "pin", "unpin"),
    )
)


class V1Session(SocketSession):
    """One connection."""

    __slots__ = (
        "_answered_by",
        "_faults",
        "_first_ping_at",
        "_opened_at",
        "inflight",
        "rooms",
        "slowed_at",
        "starting",
        "unasked",
        "warned_of",
    )

    is_v1 = True
    via: Via = "websocket"
    grace_seconds = GRACE_SECONDS

    def __init__(self, services: SocketServices, connection: Connection, principal: Principal | None) -> None:
        super().__init__(services, connection, principal)
        self.rooms: tuple[int, ...] | None = None  # joined; None until ready. A set would take 216 bytes
        self.starting: Start | None = None
        self.unasked: frozenset[int] = NO_ROOMS  # rooms of `start` of which storage could not say whether they are lost
        # The first ping comes at a random moment, so that connections of one storm are not pinged together.
        self._first_ping_at = trio.current_time() + random.uniform(1, PING_SECONDS)
        self.inflight = 0
        self._faults = 0  # before it is known who speaks
        self._opened_at = self._answered_by = trio.current_time()  # by which the `start` that was sent is answered
        self.slowed_at = -math.inf  # when it was last told to slow down
        self.warned_of: float | None = None  # the end of the credential that was told of
        connection.write(hello(services, connection.number), CONTROL)

    # -- the engine's side --------------------------------------------------------------------------------------

    def handle(self, text: str) -> None:
        """Act on one frame."""
        if text == '{"type":"pong"}':  # of 1,000 that only listen, 40 a second
            return
        try:
            value = decode(text)
        except BadJson as fault:
            named = [id_in(command) for command in commands_in(text)]
            for command_id in named if 0 < len(named) <= COMMANDS_MAX else [None]:
                self._fault(command_id, BAD_JSON, str(fault))
            return
        if isinstance(value, dict):
            self._command(value)
        elif isinstance(value, list) and 0 < len(value) <= COMMANDS_MAX:
            for item in value:
                if isinstance(item, dict):
                    self._command(item)
                else:
                    self._fault(None, BAD_FRAME, "each command of an array is a JSON object")
        else:
            self._fault(None, BAD_FRAME, f"a frame is one JSON object, or an array of 1 to {COMMANDS_MAX} of them")

    def refuse_binary(self) -> None:
        """Nobody here speaks binary."""
        self._fault(None, BAD_FRAME, "binary frames are not spoken here: send JSON as text")

    def beat(self, now: float) -> float | None:
        """Ping who was not heard or spoken to for a while; end who is gone."""
        if self.rooms is None:
            left = (self._opened_at + START_SECONDS_MAX if self.starting is None else self._answered_by) - now
            if left <= 0:
                self.connection.close(AUTH_TIMEOUT)
            return min(max(left, 0) + 1, self.seconds_left())
        seconds_left = self.look_at_credential()
        if seconds_left <= 0:
            return PING_SECONDS
        connection = self.connection
        heard_ago, spoken_ago = now - connection.heard_at, now - connection.spoken_at
        if connection.is_paused:  # it is we who do not listen
            heard_ago = 0.0
        if heard_ago >= SILENCE_SECONDS:
            return None
        if now >= self._first_ping_at or heard_ago >= PING_SECONDS or spoken_ago >= PING_SECONDS:
            self._first_ping_at, connection.spoken_at = math.inf, now
            connection.signal(_PING)
            connection.engine.wheel.look_within(connection, SILENCE_SECONDS - heard_ago + 1)
            return min(PING_SECONDS + 1, seconds_left)
        until_ping = min(PING_SECONDS - heard_ago, PING_SECONDS - spoken_ago, self._first_ping_at - now)
        return min(until_ping + 1, seconds_left)

    def seconds_left(self) -> float:
        """How long the credential is good for, or, before the client was told of its end, until it is to be."""
        principal = self.principal
        if principal is None or principal.expires_at is None or self.warned_of == principal.expires_at:
            return self.good_seconds()
        return principal.expires_at - self.services.clock.wall_milliseconds() / 1000 - WARNING_SECONDS

    def warn_of_end(self) -> None:
        """Once for each token."""
        warn_of_end(self)

    @property
    def first_beat_seconds(self) -> float:
        """In time for the first ping, and for who does not start."""
        return min(self._first_ping_at - trio.current_time(), START_SECONDS_MAX) + 1

    def closed(self) -> None:
        """Leave every room."""
        for room_id in self.rooms or (self.starting.attachments if self.starting is not None else ()):
            self.services.hub.detach(self.connection, room_id)
        self.services.summaries.drop(self.connection)
        self.rooms, self.starting = (), None
        super().closed()

    # -- commands -----------------------------------------------------------------------------------------------

    def _command(self, frame: dict[str, Any]) -> None:
        is_counted = False
        try:
            kind = frame.get("type")
            if kind == "send" and self.rooms is not None:  # the one that matters for speed
                frame = read("send", frame)
                self.input_at = self.services.engine.now
                if self.is_idle:
                    self.note_input()
                self._send(frame.get("id"), frame)
                return
            handler = _HANDLERS.get(kind) if isinstance(kind, str) else None
            if not isinstance(kind, str):
                raise BadCommand("a command has a type, which is a text", UNKNOWN_TYPE)
            if handler is None:
                raise BadCommand(f"{kind[:40]!r} is not a command", UNKNOWN_TYPE)
            if self.rooms is None and kind not in _FREE:
                raise BadCommand("send start first, and wait for ready")
            if kind not in _FREE:
                if not may_command(self, id_of(frame), "typing" if kind == "typing" else "cmds"):
                    return
                is_counted = True
            frame = read(kind, frame)
            if kind in _INPUT:
                self.note_input()
            handler(self, frame.get("id"), frame)
        except BadCommand as fault:
            self._fault(id_of(frame), fault.code, fault.message, is_counted=is_counted)

    def _send(self, command_id: str | None, frame: dict[str, Any]) -> None:
        room_id = room_of(frame)
        data = data_of(frame)
        content, client_id = message_in(data, command_id)
        if not may_command(self, command_id, "cmds"):
            return
        user_id = self.user_id
        assert user_id is not None
        reply_id = command_id if command_id is not None else client_id
        try:
            self.begin()
        except BadCommand as fault:
            self._fault(reply_id, fault.code, fault.message, is_counted=True)
            return
        command = Send(
            user_id,
            self.name,
            client_id,
            content,
            files=tuple(data.get("attachments") or ()),
            details=None if _PLAIN.issuperset(data) else details_of(data),
        )
        retry_after = self.services.take_message(user_id)
        if retry_after is not None:
            command = send_over_limit(command)

        def sent(value: object, error: BaseException | None) -> None:
            self.inflight -= 1
            if type(value) is Sent:
                self.connection.write(
                    events.v1_ack_sent(
                        reply_id, value.message_id, value.seq, value.at_ms, is_duplicate=value.is_duplicate
                    )
                )
            else:
                if retry_after is not None:
                    slow_down(self, "send", retry_after)
                self.failed(reply_id, value, error, retry_after)

        self.ask(self.services.room(room_id), command, sent, is_charged=retry_after is None)

    def ask_room(
        self,
        command_id: str | None,
        room_id: int,
        command: Command[Any],
        reply_to: Callable[[object, BaseException | None], None],
    ) -> None:
        """Have *reply_to* called with the room's answer; it takes one from `inflight`. Raises: BadCommand."""
        self.begin()
        self.ask(self.services.room(room_id), command, reply_to)

    def begin(self, count: int = 1) -> None:
        """So many more answers are waited for; who has one takes it from `inflight`. Raises: BadCommand.

        Called once for all that a command asks, and before anything is done: what is refused changes nothing.
        """
        if self.inflight + count > INFLIGHT_MAX:
            what = f"{self.inflight} answers are waited for, {count} more would be over {INFLIGHT_MAX}: wait for some"
            raise BadCommand(what, TOO_MANY_INFLIGHT)
        self.inflight += count

    def is_full_for(self, room_id: int) -> bool:
        """Rooms that the user was removed from make room."""
        assert self.rooms is not None
        if len(self.rooms) >= ROOMS_MAX:
            is_in = self.services.hub.is_attached
            self.rooms = tuple(joined for joined in self.rooms if joined == room_id or is_in(self.connection, joined))
        return len(self.rooms) >= ROOMS_MAX and room_id not in self.rooms

    def enter(self, room_id: int) -> Enter:
        """The command that asks for a room; with what was said lately where nobody here has it yet."""
        assert self.user_id is not None
        hub = self.services.hub
        return Enter(self.user_id, room_id not in hub.channels, hub.blocks.hides(self.user_id))

    def attach(self, view: RoomView, after_seq: int | None, epoch: int | None) -> Attachment:
        """Into the room with the cursor where the client is, unless that is out of reach."""
        assert self.user_id is not None
        assert self.rooms is not None
        self.services.summaries.unwatch(self.connection, view.room_id)
        if view.room_id not in self.rooms:
            self.rooms = (*self.rooms, view.room_id)
        cursor = cursor_in(view, after_seq, epoch)
        return self.services.hub.attach(self.connection, self.user_id, view, cursor, view.recent)

    def tell_gap(self, view: RoomView, after_seq: int | None, epoch: int | None) -> None:
        """Say honestly that what lies between will not be replayed; `history` has it."""
        gap = gap_in(view, after_seq, epoch)
        if after_seq is not None:
            self.resumed(outcome_of(gap))
        if gap is not None:
            self.connection.write(events.v1("gap", gap, room=view.room_id))

    def resumed(self, outcome: Outcome) -> None:
        """For statistics: of what follows a place of the client's."""
        self.services.hub.delivery.resumed(self.via, outcome)

    def replay(self, rooms: list[tuple[int, Attachment]]) -> None:
        """Tell what was missed in these rooms, then `live`."""
        self.services.replayer.catch_up(rooms, lambda: self.live(rooms))

    def live(self, rooms: list[tuple[int, Attachment]]) -> None:
        """Say that these rooms are caught up; not of one that the user was removed from while it was replayed.

        One that was begun again meanwhile is not, and whoever began it again says so.
        """
        inside = [room_id for room_id, attachment in rooms if attachment.is_attached]
        is_left = not inside and any(self.services.hub.is_attached(self.connection, room_id) for room_id, _ in rooms)
        if self.connection.is_closing or is_left:
            return
        self.connection.write(events.v1("live", {"rooms": inside}))
        v1_presence.tell_rooms(self, rooms)

    def _leave(self, command_id: str | None, frame: dict[str, Any]) -> None:
        room_id = room_of(frame)

        def joined() -> None:
            self.inflight -= 1
            self._left(command_id, room_id)

        if self.is_joining(room_id):  # or the room would be heard after it was left
            self.begin()
            self.after_joining(room_id, joined)
        else:
            self._left(command_id, room_id)

    def _left(self, command_id: str | None, room_id: int) -> None:
        self.leave(room_id)
        self.services.summaries.unwatch(self.connection, room_id)
        self.ack(command_id, {}, room_id)

    def leave(self, room_id: int) -> None:
        """Hear the room no more, but for summaries."""
        assert self.rooms is not None
        self.rooms = tuple(joined for joined in self.rooms if joined != room_id)
        self.services.hub.detach(self.connection, room_id)
        self.stop_typing(room_id)

    # -- start --------------------------------------------------------------------------------------------------

    def _start(self, command_id: str | None, frame: dict[str, Any]) -> None:
        if self.rooms is not None or self.starting is not None:
            raise BadCommand("start was sent before")
        self.starting = Start(self, command_id, data_of(frame))
        self._answered_by = trio.current_time() + ANSWER_SECONDS_MAX
        self.starting.begin()

    def membership_changed(self, room_id: int, *, is_in: bool) -> None:
        """While it starts, what the room has answered before counts no more."""
        if self.starting is not None:
            self.starting.membership_changed(room_id, is_in=is_in)

    def ready(self, room_ids: tuple[int, ...]) -> None:
        """The start is over: the session is in *room_ids*, and may command from here on."""
        self.rooms, self.starting = room_ids, None

    # -- answers ------------------------------------------------------------------------------------------------

    def ack(self, command_id: str | None, data: dict[str, Any], room_id: int | None) -> None:
        """Tell that a command was done; one without an id wants no answer."""
        if command_id is not None and not self.connection.is_closing:
            room = {} if room_id is None else {"room": room_id}
            self.connection.write(events.v1("ack", data, id=command_id, **room))

    def failed(
        self,
        command_id: str | None,
        value: object,
        error: BaseException | None,
        retry_after_seconds: int | None = None,
    ) -> None:
        """Tell that a command was not done, from what its actor answered."""
        failure = failure_of(value, error)
        assert failure is not None, value
        is_limit = isinstance(value, Refused) and failure.code is RATE_LIMITED
        retry_after = retry_after_seconds if is_limit else failure.retry_after_seconds
        self.error(command_id, failure.code, failure.message, retry_after)

    def _fault(self, command_id: str | None, code: ErrorCode, message: str, *, is_counted: bool = False) -> None:
        """What was said cannot be done as it was said. It counts as a command, once, or garbage would be free."""
        if self.user_id is None:
            self._faults += 1
            if self._faults > FAULTS_BEFORE_START_MAX:
                self.connection.close(PROTOCOL_VIOLATION)
        elif not is_counted and not may_command(self, command_id, "cmds"):
            return
        self.error(command_id, code, message)

    def error(
        self, command_id: str | None, code: ErrorCode, message: str, retry_after_seconds: int | None = None
    ) -> None:
        """Tell that a command was not done."""
        self.connection.write(events.v1_error(command_id, code, message, retry_after_seconds), CONTROL)


Handler = Callable[[V1Session, str | None, dict[str, Any]], None]
_HANDLERS: Final[dict[str, Handler]] = {
    "start": V1Session._start,
    "send": V1Session._send,
    "join": join,
    "leave": V1Session._leave,
    "typing": typing,
    "read": mark_read,
    "history": history,
    "presence": v1_presence.presence,
    "watch": v1_presence.watch,
    "refresh": refresh,
    "sync": sync,
    "members": members,
    "block": block,
    "unblock": unblock,
    "report": report,
    "edit": edit,
    "delete": delete,
    "react": mark,
    "unreact": mark,
    "pin": mark,
    "unpin": mark,
    "ping": ping,
    "pong": pong,
}
