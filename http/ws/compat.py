"""Compat: the session of the existing web client, which asks for no subprotocol.

It hears every conversation of its user without joining any; `join_conversation` adds typing. That client does not say
it again after a reconnect, so a socket begins with what those before it looked at (`last_looked.py`). Frames come flat
or nested under `data`, so both are read as one. What belongs to the product and not to us is answered with silence, as
its own server did; a frame that is not JSON with an error. No close code keeps this client away and none scares it:
over its limits the connection rests, and is not closed.
"""

from collections.abc import Callable
from typing import Any, Final, cast

import trio

from greenroom.actors.presence.commands import ACTIVITY_CHARACTERS_MAX, PresenceView, SetStatus, Wish
from greenroom.actors.room.commands import Enter, RoomView, Type
from greenroom.http.auth import Principal
from greenroom.http.decode import BadJson, decode
from greenroom.http.ws import compat_messages, compat_notifications, compat_people, events
from greenroom.http.ws.codes import (
    BAD_JSON,
    FORBIDDEN,
    RATE_LIMITED,
    TOKEN_EXPIRED,
    TOKEN_EXPIRED_ERROR,
    TOKEN_INVALID,
    CloseCode,
    ErrorCode,
)
from greenroom.http.ws.compat_messages import request_id_of
from greenroom.http.ws.connection import CONTROL, EPHEMERAL, Connection
from greenroom.http.ws.schemas.compat_commands import CHANNELS_MAX
from greenroom.http.ws.schemas.reading import COMPAT
from greenroom.http.ws.services import SocketServices, failure_of
from greenroom.http.ws.session import SocketSession, commands_in

_NO_INPUT: Final = frozenset(  # what a page does by itself
    ("subscribe", "unsubscribe", "request_initial_data", "get_unread_count", "get_online_users", "auth")
)
_DROPPED_OVER_LIMIT: Final = frozenset(
    (
        *("typing", "typing_start", "typing_stop", "presence", "presence_update"),
        *("request_initial_data", "get_unread_count", "get_online_users"),
    )
)


_ENDS: Final = {
    FORBIDDEN: (TOKEN_INVALID, "you are signed out: sign in again"),
    TOKEN_EXPIRED: (TOKEN_EXPIRED_ERROR, "the session has expired: sign in again"),
}


class CompatSession(SocketSession):
    """One connection; its user is known since the upgrade."""

    __slots__ = (
        "_pinged_at",
        "_was_told_of_limit",
        "has_arrived",
        "initial_data_is_due",
        "online_is_due",
        "typing_in",
    )

    is_v1 = False

    def __init__(self, services: SocketServices, connection: Connection, principal: Principal) -> None:
        super().__init__(services, connection, principal)
        assert self.user_id is not None
        self.device = "web"
        self._pinged_at = 0.0
        self.typing_in: dict[int, None] = {}  # the last that was selected at the end
        self._was_told_of_limit = 0.0
        self.has_arrived = False  # it is known who is shown here
        self.initial_data_is_due = False  # it was asked for before that, or while storage was away
        self.online_is_due = False  # alike
        services.hub.coming.expect(connection, self.user_id)
        services.streams.standing(connection, self.user_id, lambda standing: self._begin(standing.useq, principal.role))

    def _begin(self, useq: int, role: str) -> None:
        """Hear and say: it is known whom the user blocks. useq: what follows it in the user's stream is told."""
        assert self.user_id is not None
        self.useq = useq
        hub, now = self.services.hub, trio.current_time()
        shown, looked_at = compat_people.on_pages_before(self, now)
        hub.compat.setdefault(self.user_id, []).append(self.connection)
        fields = {"sessionId": f"{self.connection.number:x}", "userId": self.user_id, "portalType": role}
        self.tell("connected", fields)
        for frame in hub.coming.take(self.connection, self.user_id, hub.blocks):
            self.connection.write(frame)
        if shown:  # from before this socket
            self.connection.write(compat_people.stopped(shown, self.services.clock.wall_milliseconds()), CONTROL)
        for room_id in self.typing_in:  # of whom it was told nothing yet
            self.tell_typists(room_id)
        for room_id in looked_at:
            self._look_at(room_id, is_asked=False)
        self.services.arrivals.add(self)

    def arrived(self) -> None:
        """Its rooms are watched, and its user has appeared."""
        self.has_arrived = True
        if self.initial_data_is_due:
            compat_notifications.initial_data(self, {})
        if self.online_is_due:
            compat_people.online_users(self, {})

    # -- the engine's side --------------------------------------------------------------------------------------

    def handle(self, text: str) -> None:
        """Act on one frame."""
        try:
            frame = decode(text)
        except BadJson:
            request_id = next((request_id_of(COMPAT["ping"](one)) for one in commands_in(text)), None)
            if self._charge_fault():
                is_sayable = request_id is not None and request_id.isprintable()
                self.error(BAD_JSON, "Invalid message format", request_id if is_sayable else None)
            return
        kind = frame.get("type") if isinstance(frame, dict) else None
        handler = _HANDLERS.get(kind) if isinstance(kind, str) else None
        if handler is None or not isinstance(frame, dict):
            self._charge_fault()
            return
        data = frame.get("data", frame.get("payload"))
        kind = cast("str", kind)
        fields = COMPAT[kind]({**frame, **data, "type": kind} if isinstance(data, dict) else frame)
        if kind in ("ping", "pong"):
            handler(self, fields)
        elif self._may_command(kind, fields):
            if kind not in _NO_INPUT:
                self.note_input()
            handler(self, fields)

    def refuse_binary(self) -> None:
        """It is not JSON as text; the words are those that the client knows."""
        if self._charge_fault():
            self.error(BAD_JSON, "Invalid message format")

    def beat(self, now: float) -> float | None:
        """The client pings by itself; a ping of ours is only for one that was not heard for long."""
        limits = self.services.limits
        seconds_left = self.look_at_credential()
        if seconds_left <= 0:
            return limits.compat_ping_seconds
        silent = 0.0 if self.connection.is_paused else now - self.connection.heard_at  # paused: we do not listen
        was_pinged = self._pinged_at > now - silent
        if silent >= limits.compat_silence_seconds and was_pinged:
            return None
        if silent >= limits.compat_ping_seconds and not was_pinged:
            self._pinged_at = now
            now_ms = self.services.clock.wall_milliseconds()
            self.connection.write_ahead(events.compat("ping", {"timestamp": events.iso(now_ms)}, now_ms))
            return min(limits.compat_silence_seconds - max(silent, limits.compat_ping_seconds), seconds_left)
        until = limits.compat_silence_seconds if was_pinged else limits.compat_ping_seconds
        return min(until - silent, seconds_left)

    @property
    def first_beat_seconds(self) -> float:
        """At once when a ping of ours would be due: the client pings at moments of its own."""
        return self.services.limits.compat_ping_seconds

    def farewell(self, code: CloseCode) -> bytes:
        """That whoever types stopped: the next socket may be one of a process that does not know whom the page shows.

        Whose credential is good no more is told so in the words that the page reads: 1008 stands for many things.
        """
        now_ms = self.services.clock.wall_milliseconds()
        stopped = compat_people.stopped(compat_people.typists_of(self, self.typing_in, trio.current_time()), now_ms)
        return stopped + (events.compat_error(*_ENDS[code], now_ms) if code in _ENDS else b"")

    def closed(self) -> None:
        """Hear and show nothing more."""
        assert self.user_id is not None
        hub, now = self.services.hub, trio.current_time()
        if self.typing_in:
            hub.last_looked.note(self.user_id, next(reversed(self.typing_in)), now)
            if shown := compat_people.typists_of(self, self.typing_in, now):
                hub.last_looked.note_shown(self.user_id, shown, now)
        if online := compat_people.believed_online(self):
            hub.last_looked.note_online(self.user_id, online, now)
        hub.coming.take(self.connection, self.user_id, hub.blocks)
        mine = hub.compat.get(self.user_id, [])
        if self.connection in mine:
            mine.remove(self.connection)
        if not mine:
            hub.compat.pop(self.user_id, None)
        hub.unwatch_small_rooms(self.connection)
        for room_id in self.typing_in:
            hub.stop_listening_to_typing(self.connection, room_id)
        super().closed()

    def _charge_fault(self) -> bool:
        """Count a frame that cannot be understood like a command. False when the peer is over its limit, and rests."""
        assert self.user_id is not None
        if self.services.limits.commands.take(self.user_id, trio.current_time()) is None:
            return True
        self.pause_for(1)
        return False

    def _may_command(self, kind: str, fields: dict[str, Any]) -> bool:
        """Count one command. Over the limit it is dropped, and the connection rests.

        Who named their request is told of that one, others once a second, and of what may be dropped nobody.
        """
        assert self.user_id is not None
        now = trio.current_time()
        retry_after = self.services.limits.commands.take(self.user_id, now)
        if retry_after is None:
            return True
        request_id = request_id_of(fields)
        is_due = request_id is not None or now - self._was_told_of_limit >= 1
        if kind not in _DROPPED_OVER_LIMIT and is_due:
            self._was_told_of_limit = now
            self.error(RATE_LIMITED, "Rate limit exceeded", request_id, retry_after)
        self.pause_for(1)
        return False

    # -- commands -----------------------------------------------------------------------------------------------

    def _subscribe(self, fields: dict[str, Any]) -> None:
        """Names are acknowledged and mean nothing: what a user hears follows from membership alone."""
        self.tell("subscribed", self._channels(fields))

    def _unsubscribe(self, fields: dict[str, Any]) -> None:
        self.tell("unsubscribed", self._channels(fields))

    @staticmethod
    def _channels(fields: dict[str, Any]) -> dict[str, Any]:
        one = [fields[name] for name in ("channelId", "channel") if name in fields][:1]
        channels = fields.get("channels", one)
        return {"channels": channels, "channel": channels[0] if channels else None}

    def _join_conversation(self, fields: dict[str, Any]) -> None:
        room_id = fields.get("conversationId")
        if room_id is not None:
            self._look_at(room_id, is_asked=True, request_id=request_id_of(fields))

    def _look_at(self, room_id: int, *, is_asked: bool, request_id: str | None = None) -> None:
        """Hear typing in a room of the user. is_asked: the page did, and is answered."""
        assert self.user_id is not None
        user_id = self.user_id

        def entered(value: object, error: BaseException | None) -> None:
            if not isinstance(value, RoomView):
                if is_asked:
                    self.failed(value, error, request_id)
            elif self._has_place_for(room_id, is_asked=is_asked):
                if is_asked:
                    self.typing_in.pop(room_id, None)
                    self.tell("conversation_joined", {"conversationId": room_id})
                self.typing_in.setdefault(room_id)
                self.services.hub.listen_to_typing(self.connection, user_id, room_id, value.top_seq)
                self.tell_typists(room_id)

        self.ask_to_join(room_id, Enter(user_id), entered)

    def _has_place_for(self, room_id: int, *, is_asked: bool) -> bool:
        """Rooms that the user was removed from give way; then the one that was selected longest ago.

        The existing client joins each conversation that is selected, and leaves none.
        """
        if len(self.typing_in) < CHANNELS_MAX or room_id in self.typing_in:
            return True
        is_in = self.services.hub.is_listening_to_typing
        self.typing_in = {joined: None for joined in self.typing_in if is_in(self.connection, joined)}
        if is_asked and len(self.typing_in) >= CHANNELS_MAX:
            self._left(next(iter(self.typing_in)))
        return len(self.typing_in) < CHANNELS_MAX

    def _leave_conversation(self, fields: dict[str, Any]) -> None:
        room_id = fields.get("conversationId")
        if room_id is None:
            return
        if self.is_joining(room_id):
            self.after_joining(room_id, lambda: self._left(room_id))
        else:
            self._left(room_id)

    def _left(self, room_id: int) -> None:
        if room_id in self.typing_in:
            del self.typing_in[room_id]
            self.services.hub.stop_listening_to_typing(self.connection, room_id)
            self.stop_typing(room_id)
            self.tell("conversation_left", {"conversationId": room_id})

    def _typing_start(self, fields: dict[str, Any]) -> None:
        self._type(fields, is_typing=True)

    def _typing_stop(self, fields: dict[str, Any]) -> None:
        self._type(fields, is_typing=False)

    def _typing(self, fields: dict[str, Any]) -> None:
        self._type(fields, is_typing=fields.get("isTyping", False))

    def _type(self, fields: dict[str, Any], *, is_typing: bool) -> None:
        """Who may not type there is told nothing: the client has no use for the answer."""
        room_id = fields.get("conversationId")
        if room_id is None:
            return

        def noted(value: object, error: BaseException | None) -> None:
            if error is not None or value is not None:
                self.note_typing(room_id, is_on=False)

        assert self.user_id is not None
        is_told = is_typing and not self.is_hiding()
        self.note_typing(room_id, is_on=is_told)
        self.ask(self.services.room(room_id), Type(self.user_id, self.name, is_told), noted)

    def _presence_update(self, fields: dict[str, Any]) -> None:
        status = cast("Wish", fields.get("status", "online"))
        note = fields.get("activity", "")[:ACTIVITY_CHARACTERS_MAX]

        request_id = request_id_of(fields)

        def set_(value: object, error: BaseException | None) -> None:
            if not isinstance(value, PresenceView):
                self.failed(value, error, request_id)

        self.say_word(SetStatus(status, note), set_)

    def _ping(self, fields: dict[str, Any]) -> None:
        """Answered at once: three late answers and the client drops the connection."""
        frame = {"type": "pong", "timestamp": self._now_iso()}
        self.connection.write_ahead(events.frame_of(frame))

    def _pong(self, fields: dict[str, Any]) -> None:
        """Any byte counts as a sign of life."""

    # -- answers ------------------------------------------------------------------------------------------------

    def tell(self, kind: str, fields: dict[str, Any], frame_class: int = CONTROL) -> None:
        """Say something of ours."""
        if not self.connection.is_closing:
            now_ms = self.services.clock.wall_milliseconds()
            self.connection.write(events.compat(kind, fields, now_ms), frame_class)

    def failed(
        self,
        value: object,
        error: BaseException | None,
        request_id: str | None = None,
        retry_after_seconds: int | None = None,
    ) -> None:
        """Say why an actor did not do it. retry_after_seconds: of a refusal because of the limit."""
        failure = failure_of(value, error)
        assert failure is not None, value
        retry_after = retry_after_seconds if failure.code is RATE_LIMITED else failure.retry_after_seconds
        self.error(failure.code, failure.message, request_id, retry_after)

    def error(
        self,
        code: ErrorCode,
        message: str,
        request_id: str | None = None,
        retry_after_seconds: int | None = None,
    ) -> None:
        """Say why something was not done."""
        now_ms = self.services.clock.wall_milliseconds()
        self.connection.write(events.compat_error(code, message, now_ms, request_id, retry_after_seconds), EPHEMERAL)

    def _now_iso(self) -> str:
        return events.iso(self.services.clock.wall_milliseconds())


Handler = Callable[[CompatSession, dict[str, Any]], None]
_HANDLERS: Final[dict[str, Handler]] = {
    "subscribe": CompatSession._subscribe,
    "unsubscribe": CompatSession._unsubscribe,
    "request_initial_data": compat_notifications.initial_data,
    "notification_read": compat_notifications.notification_read,
    "notifications_clear_all": compat_notifications.clear_all,
    "get_unread_count": compat_notifications.unread_count,
    "join_conversation": CompatSession._join_conversation,
    "leave_conversation": CompatSession._leave_conversation,
    "send_message": compat_messages.send_message,
    "message": compat_messages.send_message,
    "edit_message": compat_messages.edit_message,
    "delete_message": compat_messages.delete_message,
    "reaction": compat_messages.react,
    "typing_start": CompatSession._typing_start,
    "typing_stop": CompatSession._typing_stop,
    "typing": CompatSession._typing,
    "mark_read": compat_messages.mark_read,
    "read": compat_messages.mark_read,
    "read_receipt": compat_messages.mark_read,
    "mark_conversation_read": compat_messages.mark_conversation_read,
    "presence_update": CompatSession._presence_update,
    "presence": CompatSession._presence_update,
    "get_online_users": compat_people.online_users,
    "search_messages": compat_messages.search,
    "block_user": compat_people.block_user,
    "unblock_user": compat_people.unblock_user,
    "auth": compat_people.auth,
    "ping": CompatSession._ping,
    "pong": CompatSession._pong,
}
