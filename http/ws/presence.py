"""The presence board: what is known of who is here, and how they are shown. Nothing here waits but what says so.

    sockets, heartbeats, words ──Look──▶ actor ──show──▶ here ──▶ `presence_news.py` tells it, once a second
                                                          └────▶ whoever asks: a room, a page, REST

It outlives the actors, so that nothing ends with one of them. What it shows of a user is the same on every path, and
of somebody invisible it is what was so when they vanished: offline, last seen then.
"""

import math
from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass
from json.encoder import encode_basestring
from typing import Any, Final

import trio

from greenroom.actors.presence.actor import PresenceBoard
from greenroom.actors.presence.commands import HIDING, Device, Status
from greenroom.actors.presence.state import INVISIBLE, UNSAID, Wished, fold
from greenroom.actors.room.commands import RoomView
from greenroom.http.ws import events
from greenroom.http.ws.blocks import NOBODY
from greenroom.http.ws.connection import CONTROL, Connection
from greenroom.http.ws.engine import SocketEngine
from greenroom.http.ws.hub import Hub
from greenroom.http.ws.last_inputs import WITHOUT_SESSION, LastInput, LastInputs
from greenroom.http.ws.leases import OVER_REST, POLLER, Lease, Leases
from greenroom.http.ws.typists import Begun, Typists
from greenroom.runtime import Clock
from greenroom.storage.postgres.last_seen import LastSeen, Seen
from greenroom.storage.postgres.visibility import Visibility

_quote: Final = encode_basestring


@dataclass(frozen=True, slots=True)
class Shown:
    """How a user appears. at_ms: since when."""

    status: Status
    activity: str
    at_ms: int


OFFLINE: Final = Shown("offline", "", 0)


class SocketPresence(PresenceBoard):
    """The board of this process. idle_seconds: without input for so long a device is idle; 0 for never."""

    def __init__(
        self,
        engine: SocketEngine,
        hub: Hub,
        last_seen: LastSeen,
        visibility: Visibility,
        clock: Clock,
        idle_seconds: float,
    ) -> None:
        self._engine = engine
        self._hub = hub
        self._last_seen = last_seen
        self._visibility = visibility
        self._clock = clock
        self._idle_seconds = idle_seconds
        self._shown: dict[int, Shown] = {}  # whoever is not offline
        self._wished: dict[int, Wished] = {}  # of whoever has said more than that they are here
        self.leases = Leases()  # of devices without a socket
        self.last_inputs = LastInputs()  # of these, and of sockets and streams that have ended
        self._told: dict[int, Shown] = {}  # what others believe of whoever changed this second
        self._asked: set[int] = set()  # of those, who was shown as they are now to somebody who asked
        self._owed: dict[int, int] = {}  # whose news is on its way, and to how many
        self._left_ms: dict[int, int] = {}  # of whoever went, until all were told: when
        self._names: dict[int, str] = {}
        self._items: dict[int, str] = {}  # how users stand in v1 frames, as JSON
        self.changed = trio.Event()  # somebody has; `take_changes` makes a new one
        self.typists = Typists()  # over REST
        # Called with one of them who hides from now on or is gone, and a room that must not tell of it any more.
        self.on_typist_hidden: Callable[[int, int], None] = lambda user_id, room_id: None

    # -- for the actors -----------------------------------------------------------------------------------------

    def devices_of(self, user_id: int) -> Sequence[Device]:
        """Sockets that count, those between two polls, and who says so over REST under a session without a socket."""
        sessions = [
            connection.session
            for connection in self._engine.connections_of(user_id)
            if not connection.is_closing and connection.session.is_present
        ]
        devices = [Device(session.device, session.is_idle) for session in sessions]
        if user_id in self.leases:
            principals = [session.principal for session in sessions if session.principal is not None]
            with_socket = {principal.session_id or WITHOUT_SESSION for principal in principals}
            devices += [
                Device(called, self._is_poll_idle(user_id, (called, under)))
                for called, under in self.leases.devices_of(user_id, trio.current_time())
                if called != OVER_REST or under not in with_socket
            ]
        return devices

    def _is_poll_idle(self, user_id: int, device: tuple[str, str]) -> bool:
        last = self.last_inputs.of(user_id, device, trio.current_time())
        return last is not None and self.is_idle(last)

    def is_idle(self, last: LastInput) -> bool:
        """Nobody sits at a device of which that was the last input."""
        return last.is_idle or last.at <= self.idle_before()

    def idle_before(self) -> float:
        """The trio time at or before which the last input of an idle device was."""
        return trio.current_time() - self._idle_seconds if self._idle_seconds else -math.inf

    def is_coming(self, user_id: int) -> bool:
        """A socket whose protocol is not so far."""
        return any(
            not connection.is_closing and not connection.session.is_present
            for connection in self._engine.connections_of(user_id)
        )

    def hear_from(
        self,
        user_id: int,
        session_id: str,
        name: str,
        seconds: float,
        token_issued_at: float | None,
        called: str = OVER_REST,
    ) -> None:
        """A client polls, or says so over REST. That counts while its session has no socket, which knows better.

        called: the device. Only the first word of its session is an input.
        """
        if seconds <= 0:
            self.leases.forget(user_id, session_id, called)
            return
        device, now = (called, session_id), trio.current_time()
        self.leases.put(user_id, device, Lease(now + seconds, token_issued_at))
        last = self.last_inputs.of(user_id, device, now, by_token=token_issued_at is not None) or LastInput(now)
        self.last_inputs.note(user_id, device, last, now)
        self.name(user_id, name)

    def note_input(self, user_id: int, session_id: str | None) -> None:
        """A user did something over REST, which is done at all devices under that session that have no socket."""
        last = LastInput(self._engine.now)  # the time of sockets, whose client may say right after it that it is idle
        self.last_inputs.note_all(user_id, session_id or WITHOUT_SESSION, last, trio.current_time())

    def wished_by(self, user_id: int) -> Wished:
        """Invisible counts before all else."""
        return INVISIBLE if user_id in self._visibility.invisible else self._wished.get(user_id, UNSAID)

    def is_hiding(self, user_id: int) -> bool:
        """By their own word they appear offline: what only somebody who is here does is not told of them."""
        return self.wished_by(user_id).status in HIDING

    def wish(self, user_id: int, wished: Wished) -> None:
        """Of who is invisible nothing more is kept. Who hides has stopped typing."""
        if wished.status in HIDING:
            for connection in self._engine.connections_of(user_id):
                connection.session.stop_typing_anywhere()
            self.end_typing(user_id)
        if wished == UNSAID or wished.status == "invisible":
            self._wished.pop(user_id, None)
        else:
            self._wished[user_id] = wished

    def end_typing(self, user_id: int, is_over: Callable[[Begun], bool] = lambda begun: True) -> None:
        """What a user types over REST, by what is over, ends: unless they type there on a socket too."""
        for room_id in self.typists.take(user_id, trio.current_time(), is_over):
            if not any(one.session.types_in(room_id) for one in self._engine.connections_of(user_id)):
                self.on_typist_hidden(user_id, room_id)

    def end_typing_at_end_of(self, connection: Connection, user_id: int, session_id: str | None) -> None:
        """What the client of a connection typed over REST ends with it, unless its session has another, or polls."""
        for other in self._engine.connections_of(user_id):
            principal = other.session.principal
            if other is not connection and not other.is_closing and principal and principal.session_id == session_id:
                return
        under = session_id or WITHOUT_SESSION
        if (POLLER, under) not in self.leases.devices_of(user_id, trio.current_time()):
            self.end_typing(user_id, lambda begun: begun.under == under)

    def gone(self, user_id: int) -> None:
        """Nothing is kept of who was not shown, so that nobody will be told that they went."""
        self._forget_if_gone(user_id)

    async def keep_invisible(self, user_id: int, *, is_invisible: bool) -> None:
        """In storage, then here."""
        await self._visibility.put(user_id, is_invisible=is_invisible)

    def status_of(self, user_id: int) -> tuple[Status, str]:
        """As shown now."""
        shown = self._shown.get(user_id, OFFLINE)
        return shown.status, shown.activity

    def show(self, user_id: int, status: Status, activity: str, at_ms: int) -> None:
        """Change it; others are told within the second."""
        before = self._shown.get(user_id, OFFLINE)
        self._told.setdefault(user_id, before)
        self._items.pop(user_id, None)
        if status == "offline":
            self._shown.pop(user_id, None)
            self._left_ms[user_id] = at_ms
        else:
            self._shown[user_id] = Shown(status, activity, at_ms)
            self._left_ms.pop(user_id, None)
        if (before.status == "offline") != (status == "offline"):
            self._last_seen.put(user_id, is_online=status != "offline", at_ms=at_ms)
        self.changed.set()

    # -- for who goes round -------------------------------------------------------------------------------------

    def is_plainly_online(self, user_id: int) -> bool:
        """Shown as who has a device in use and has not said how to appear, which is so: nearly everybody, and cheap."""
        shown = self._shown.get(user_id)
        return (
            shown is not None
            and shown.status == "online"
            and not shown.activity
            and user_id not in self._wished
            and user_id not in self._visibility.invisible
        )

    def is_shown_wrongly(self, user_id: int) -> bool:
        """The user does not appear as their devices and their word say: somebody was not told of something."""
        return fold(self.devices_of(user_id), self.wished_by(user_id)) != self.status_of(user_id)

    def without_socket(self) -> list[int]:
        """All who are not offline, or poll, and have no socket."""
        users = [*self._shown, *(user_id for user_id in self.leases.users() if user_id not in self._shown)]
        return [user_id for user_id in users if not self._engine.of_user(user_id)]

    # -- for who tells it ---------------------------------------------------------------------------------------

    def take_changes(self) -> dict[int, Shown | None]:
        """Who changed since the last time, with what others believe of them: None when not all believe the same."""
        self.changed = trio.Event()
        (told, self._told), (asked, self._asked) = (self._told, {}), (self._asked, set())
        changes: dict[int, Shown | None] = {}
        for user_id, before in told.items():
            if user_id in asked:
                changes[user_id] = None
            elif self.status_of(user_id) != (before.status, before.activity):
                changes[user_id] = before
            else:
                self._forget_if_gone(user_id)
        return changes

    def owe(self, user_ids: Iterable[int]) -> None:
        """Somebody is yet to be told of each of these: what that takes is kept until `paid` was called as often."""
        for user_id in user_ids:
            self._owed[user_id] = self._owed.get(user_id, 0) + 1

    def paid(self, user_ids: Iterable[int]) -> None:
        """Somebody was told, or is gone."""
        for user_id in user_ids:
            self._owed[user_id] -= 1
            if not self._owed[user_id]:
                del self._owed[user_id]
                self._forget_if_gone(user_id)

    def _forget_if_gone(self, user_id: int) -> None:
        """What was kept of a user only until it was told."""
        if user_id in self._told or user_id in self._owed:
            return
        self._left_ms.pop(user_id, None)
        if user_id not in self._shown and not self._engine.of_user(user_id) and user_id not in self.leases:
            self._names.pop(user_id, None)
            self._items.pop(user_id, None)

    # -- for whoever asks ---------------------------------------------------------------------------------------

    def is_online(self, user_id: int) -> bool:
        """Shown as anything but offline."""
        return user_id in self._shown

    def online_among(self, user_ids: Set[int]) -> set[int]:
        """Those of some who are. Of 200 members of a room three may be here: no code of ours runs for the others."""
        return self._shown.keys() & user_ids

    def may_be_believed_online(self, user_id: int) -> bool:
        """So the user is shown, or was at the beginning of this second, or not all were told yet that they went."""
        return user_id in self._shown or user_id in self._told or user_id in self._left_ms

    def name(self, user_id: int, name: str) -> None:
        """Remember what a user with a socket is called."""
        self._names[user_id] = name
        self._items.pop(user_id, None)

    def _online_of(self, user_ids: Set[int], viewer_id: int | None) -> list[int]:
        """Those of some who are online. viewer_id: who asks; whom a block keeps apart from them is not shown."""
        self.note_asked(user_ids)
        return sorted(self.online_among(user_ids) - self._apart_from(viewer_id))

    def _apart_from(self, viewer_id: int | None) -> frozenset[int]:
        return NOBODY if viewer_id is None else self._hub.blocks.apart_from(viewer_id)

    def note_asked(self, user_ids: Set[int]) -> None:
        """Somebody was shown how these are, who is not there included: whoever changed this second is told anyway."""
        if self._told:
            self._asked.update(self._told.keys() & user_ids)

    def tell_room(self, connection: Connection, room_id: int) -> int:
        """Tell a v1 socket that has come into a room who is there; of a large room nothing, unless it asks.

        Returns how many bytes that took.
        """
        members = self._hub.small_rooms.members.get(room_id)
        if members is None:
            return 0
        frame = self.v1_state(self._online_of(members, connection.session.user_id), room_id)
        connection.write(frame, CONTROL)
        return len(frame)

    async def everybody_in(self, view: RoomView, viewer_id: int) -> list[dict[str, Any]]:
        """Who is here; of a small room also who is not, and when they last were. Raises: StorageUnavailable.

        Of a large room only those of whom a socket has joined it. viewer_id: as in `_online_of`.
        """
        present = self._online_of(view.members or self._heard_by(view.room_id), viewer_id)
        others = view.members.difference(present) - self._apart_from(viewer_id)
        seen = await self._last_seen.of(sorted(others)) if others else {}
        apart = self._apart_from(viewer_id)  # it may have changed meanwhile
        return [self.v1_fields(user_id) for user_id in present if user_id in self._shown and user_id not in apart] + [
            {"user": user_id, "name": away.name, "status": "offline"}
            | ({} if away.at_ms is None else {"lastSeen": away.at_ms})
            for user_id, away in seen.items()
            if user_id not in apart
        ]

    def _heard_by(self, room_id: int) -> set[int]:
        channel = self._hub.channels.get(room_id)
        return set() if channel is None else {attachment.user_id for attachment in channel.attachments.values()}

    async def online_for(self, user_id: int) -> list[dict[str, Any]]:
        """Who is online of those that share a small room with a user and may be seen by them: for clients that poll.

        Shape: as in compat frames. Raises: StorageUnavailable.
        """
        rooms = (await self._last_seen.small_rooms_of([user_id]))[user_id]
        companions = {other for members in rooms.values() for other in members if other != user_id}
        pairs = [(user_id, other) for other in sorted(companions) if other in self._shown]
        seen = await self._visibility.may_see(pairs) if pairs else set()
        now_ms = self._clock.wall_milliseconds()
        return [self.compat_fields(pair[1], now_ms) for pair in pairs if pair in seen and pair[1] in self._shown]

    def compat_fields(self, user_id: int, now_ms: int) -> dict[str, Any]:
        """A person as the existing client reads them."""
        shown = self._look_at(user_id)
        return {
            "userId": user_id,
            "username": self._names.get(user_id, ""),
            "status": shown.status,
            "lastSeen": events.iso(now_ms if shown is not OFFLINE else self._left_ms.get(user_id, now_ms)),
            "activity": shown.activity,
        }

    def v1_fields(self, user_id: int) -> dict[str, Any]:
        """A person in an answer of v1. lastSeen: only of who went just now."""
        shown = self._look_at(user_id)
        item: dict[str, Any] = {"user": user_id, "name": self._names.get(user_id, ""), "status": shown.status}
        if shown is not OFFLINE:
            return item | {"activity": shown.activity}
        return item | ({"lastSeen": self._left_ms[user_id]} if user_id in self._left_ms else {})

    def v1_item(self, user_id: int) -> str:
        """The same as JSON, made once for all who are told."""
        shown = self._look_at(user_id)
        item = self._items.get(user_id)
        if item is None:
            head = f'{{"user":{user_id},"name":{_quote(self._names.get(user_id, ""))},"status":"{shown.status}"'
            if shown is not OFFLINE:
                item = self._items[user_id] = f'{head},"activity":{_quote(shown.activity)}}}'
            else:
                left_ms = self._left_ms.get(user_id)
                item = f"{head}}}" if left_ms is None else f'{head},"lastSeen":{left_ms}}}'
        return item

    def v1_state(self, user_ids: Sequence[int], room_id: int | None) -> bytes:
        """A `presence_state`: these are how they are, and of the room (or of all that is watched) nobody else is."""
        return events.v1_presence_state(room_id, map(self.v1_item, user_ids))

    def v1_diff(self, rooms: Sequence[int], user_ids: Sequence[int]) -> bytes:
        """A `presence_diff`. No rooms: for who watches these users by name."""
        joins = [self.v1_item(user_id) for user_id in user_ids if user_id in self._shown]
        leaves = [self.v1_item(user_id) for user_id in user_ids if user_id not in self._shown]
        return events.v1_presence_diff(rooms, joins, leaves)

    def compat_frames(self, user_id: int, *, is_turn: bool) -> bytes:
        """The frames that tell of a user. is_turn: they came or went, so far as others know."""
        now_ms = self._clock.wall_milliseconds()
        return events.compat_presence(
            self.compat_fields(user_id, now_ms), now_ms, is_online=user_id in self._shown, is_turn=is_turn
        )

    def v1_parting(self, user_id: int, rooms: Sequence[int]) -> bytes:
        """The frame for who may see a user no more in these rooms: gone just now, whatever they are."""
        item = events.v1_away(user_id, self._names.get(user_id, ""), self._clock.wall_milliseconds())
        return events.v1_presence_diff(rooms, (), (item,))

    def compat_parting(self, user_id: int, seen: Seen | None = None) -> bytes:
        """The frames for who may see a user no more: offline, whatever they are.

        seen: of who was away before. None: only of whom the viewer may believe to be online at this moment, since the
        name is known as long as somebody is here, invisible too.
        """
        now_ms = self._clock.wall_milliseconds()
        name, left_ms = seen or (self._names.get(user_id, ""), None)
        fields = {
            "userId": user_id,
            "username": name,
            "status": "offline",
            "lastSeen": events.iso(now_ms if left_ms is None else left_ms),
            "activity": "",
        }
        return events.compat_presence(fields, now_ms, is_online=False, is_turn=True)

    def _look_at(self, user_id: int) -> Shown:
        if user_id in self._told:
            self._asked.add(user_id)
        return self._shown.get(user_id, OFFLINE)
