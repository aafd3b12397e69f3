"""Who types and how far others have read, for sockets that take too little to be told now: told later, as it is then.

    a frame is dropped (the outbox is half full) ──▶ noted: this socket, this room, typing, receipts or counts
    once a second, of who takes such frames again ──▶ who types now; the marks that moved, merged, the newest of each;
                                                      of a large room how many have read

Nothing stays wrong after pressure, and little is kept for it: for a socket one entry for each of its rooms, and for a
room the marks that moved while somebody was behind, once for all of them. While nobody is, there is nothing here.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from time import perf_counter
from typing import TYPE_CHECKING, Final

import trio

from greenroom.actors.events import MarkerMoved, TypingChanged
from greenroom.http.ws import events
from greenroom.http.ws.channel import Channel
from greenroom.http.ws.connection import CONTROL, Connection
from greenroom.http.ws.engine import SLICE_SECONDS_MAX

if TYPE_CHECKING:
    from greenroom.http.ws.hub import Hub

TOLD_SECONDS: Final = 1.0
MARKS_IN_FRAME_MAX: Final = 500
TYPING: Final = 1
RECEIPTS: Final = 2
COUNTS: Final = 4


class Overdue:
    """Of a hub. Run `run` in a nursery. Truthy while somebody is behind."""

    def __init__(self, hub: "Hub") -> None:
        self._hub = hub
        self._of: dict[Connection, dict[int, int]] = {}  # by room: of which kinds
        self._behind: Counter[int] = Counter()  # by room: sockets that are behind with receipts
        self.marks: dict[int, dict[int, MarkerMoved]] = {}  # by room and user: what moved since the first of them was
        self._wake = trio.Event()

    def __bool__(self) -> bool:
        return bool(self._of)

    def note_typing(self, channel: Channel) -> None:
        """Some in the room were not told who types."""
        for connection in (*channel.attachments, *channel.compat_typing):
            self._note(connection, channel.id, TYPING)

    def note_receipts(self, channel: Channel, moved: Iterable[MarkerMoved]) -> None:
        """Some in the room were not told how far others have read."""
        for connection in channel.attachments:
            self._note(connection, channel.id, RECEIPTS)
        for event in moved:
            self.note_mark(event)

    def note_counts(self, connection: Connection, room_id: int) -> None:
        """The socket is not told how many have read in a large room."""
        self._note(connection, room_id, COUNTS)

    def note_mark(self, event: MarkerMoved) -> None:
        """A marker moved; it is kept where somebody is behind."""
        marks = self.marks.get(event.room_id)
        if marks is not None:
            marks[event.user_id] = replace(event, messages=())

    def told_typing(self, connection: Connection, room_id: int) -> None:
        """The socket has just been told who types there."""
        self._settle(connection, room_id, TYPING)

    def _note(self, connection: Connection, room_id: int, kind: int) -> None:
        if connection.takes_ephemeral or connection.is_closing:
            return
        rooms = self._of.setdefault(connection, {})
        if not rooms.get(room_id, 0) & kind:
            rooms[room_id] = rooms.get(room_id, 0) | kind
            if kind == RECEIPTS:
                self._behind[room_id] += 1
                self.marks.setdefault(room_id, {})
        self._wake.set()

    def _settle(self, connection: Connection, room_id: int, kind: int) -> None:
        rooms = self._of.get(connection)
        if rooms is None or not rooms.get(room_id, 0) & kind:
            return
        rooms[room_id] &= ~kind
        if not rooms[room_id]:
            del rooms[room_id]
        if not rooms:
            del self._of[connection]
        if kind == RECEIPTS:
            self._behind[room_id] -= 1
            if not self._behind[room_id]:
                del self._behind[room_id], self.marks[room_id]

    # -- telling ------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Tell what is overdue, once a second, while something is."""
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            while self._of:
                await trio.sleep(TOLD_SECONDS)
                await self._tell_all()

    async def _tell_all(self) -> None:
        slice_ends = perf_counter() + SLICE_SECONDS_MAX
        for connection in tuple(self._of):
            try:
                self._tell_socket(connection)
            except Exception as error:  # of one socket: the others are to be told
                connection.engine.session_failed(connection, error)
            if perf_counter() > slice_ends:
                await trio.lowlevel.checkpoint()
                slice_ends = perf_counter() + SLICE_SECONDS_MAX

    def _tell_socket(self, connection: Connection) -> None:
        for room_id, kinds in tuple(self._of.get(connection, {}).items()):
            if connection.is_closing or connection.takes_ephemeral:
                self._tell(connection, room_id, kinds)

    def _tell(self, connection: Connection, room_id: int, kinds: int) -> None:
        """One room; whoever has left it meanwhile is told nothing."""
        marks = tuple(self.marks[room_id].values()) if kinds & RECEIPTS else ()
        for kind in (TYPING, RECEIPTS, COUNTS):
            self._settle(connection, room_id, kind)
        channel = self._hub.channels.get(room_id)
        if channel is None or connection.is_closing:
            return
        if kinds & TYPING:
            self._tell_typing(connection, channel)
        attachment = channel.attachments.get(connection)
        if attachment is not None:
            apart = self._hub.blocks.apart_from(attachment.user_id)
            shown = [event for event in marks if event.user_id not in apart]
            for start in range(0, len(shown), MARKS_IN_FRAME_MAX):
                connection.write(events.v1_receipts(*shown[start : start + MARKS_IN_FRAME_MAX]), CONTROL)
            if kinds & COUNTS and channel.readers is not None:
                counts = channel.readers.newest(apart)
                connection.write(events.v1_counts(room_id, counts, self._hub.clock.wall_milliseconds()), CONTROL)

    def _tell_typing(self, connection: Connection, channel: Channel) -> None:
        attachment = channel.attachments.get(connection)
        if attachment is not None:
            shown = self._hub.typists_shown(channel.id, attachment.user_id)
            connection.write(events.v1_typing(TypingChanged(channel.id, shown, {})), CONTROL)
        listener_id = channel.compat_typing.get(connection)
        if listener_id is None or self._hub.coming.holds(connection, listener_id):
            return
        # Of who has stopped it was told: that is never dropped.
        for user_id, name in self._hub.typists_shown(channel.id, listener_id).items():
            if user_id != listener_id:
                now_ms = self._hub.clock.wall_milliseconds()
                connection.write(events.compat_typing(channel.id, user_id, name, now_ms, is_typing=True), CONTROL)
