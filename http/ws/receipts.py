"""How far members have read, for who hears their room: at once, and then once a second what moved meanwhile, together.

    a marker moves ──▶ told; the room rests for a second
    others move ─────▶ the newest of each member is kept ──▶ told in one frame at the end of the second

In a room of two hundred who all read the same message that is one frame for each socket and not two hundred. Larger
rooms are told how many have read, at the end of a second in which that changed (also because somebody came or went),
and not who: `members` says that. The
marks and counts of who is too slow are in `overdue.py`.
"""

from collections import deque
from dataclasses import replace
from time import perf_counter
from typing import TYPE_CHECKING, Final

import structlog
import trio

from greenroom.actors.events import MarkerMoved, MemberChanged
from greenroom.http.ws import events
from greenroom.http.ws.channel import Channel
from greenroom.http.ws.connection import EPHEMERAL
from greenroom.http.ws.engine import SLICE_SECONDS_MAX, SocketEngine

if TYPE_CHECKING:
    from greenroom.http.ws.hub import Hub

log = structlog.get_logger()

TOLD_SECONDS: Final = 1.0


class Receipts:
    """Of a hub. Run `run` in a nursery."""

    def __init__(self, hub: "Hub", engine: SocketEngine) -> None:
        self._hub = hub
        self._engine = engine
        self._moved: dict[int, dict[int, MarkerMoved]] = {}  # by room that rests, and user
        self._recounted: set[int] = set()  # rooms that rest and are told counts
        self._rests: deque[tuple[float, int]] = deque()  # until when (trio time), and the room; the first at the left
        self._wake = trio.Event()

    def note(self, channel: Channel, event: MarkerMoved) -> None:
        """A marker moved, and not in private."""
        channel.readers = event.readers
        if event.readers is not None:
            self._recount(channel)
            return
        if self._hub.overdue:
            self._hub.overdue.note_mark(event)
        moved = self._moved.get(channel.id)
        if moved is None:
            self._rest(channel.id)
            self._tell(channel, (event,))
        else:
            moved[event.user_id] = replace(event, messages=())

    def note_member(self, channel: Channel, event: MemberChanged) -> None:
        """Somebody came into the room or went: where it was told how many have read, these are others now."""
        if channel.readers is not None and event.readers is not None:
            channel.readers = event.readers
            self._recount(channel)

    def _recount(self, channel: Channel) -> None:
        self._recounted.add(channel.id)
        if channel.id not in self._moved:
            self._rest(channel.id)

    def forget(self, room_id: int, user_id: int) -> None:
        """The user is out of the room: nobody there is told of them any more."""
        for waiting in (self._moved, self._hub.overdue.marks):
            waiting.get(room_id, {}).pop(user_id, None)

    def _rest(self, room_id: int) -> None:
        self._moved[room_id] = {}
        self._rests.append((trio.current_time() + TOLD_SECONDS, room_id))
        self._wake.set()

    async def run(self) -> None:
        """Tell what moved while a room rested, at the end of its second."""
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            while self._rests:
                await trio.sleep_until(self._rests[0][0])
                _, room_id = self._rests.popleft()
                try:
                    channel = self._end_rest(room_id)
                    if channel is not None:
                        await self._tell_counts(channel)
                except Exception:  # a fault here must not end every room; nor may it go unseen
                    log.exception("receipts.failed", room=room_id)

    def _end_rest(self, room_id: int) -> Channel | None:
        """The room when its counts are to be told."""
        moved, is_recounted = self._moved.pop(room_id), room_id in self._recounted
        self._recounted.discard(room_id)
        channel = self._hub.channels.get(room_id)
        if channel is None or not (moved or is_recounted):
            return None
        self._rest(room_id)
        if moved:
            self._tell(channel, tuple(moved.values()))
        return channel if is_recounted else None

    def _tell(self, channel: Channel, moved: tuple[MarkerMoved, ...]) -> None:
        """Every v1 socket of the room, replaying or not; not of those from whom a block parts its user."""
        hub, dropped = self._hub, self._engine.dropped_ephemeral
        frame, has_blocks = events.v1_receipts(*moved), hub.blocks.are_any()
        for connection, attachment in tuple(channel.attachments.items()):  # a copy: it may be what closes a slow reader
            apart = hub.blocks.apart_from(attachment.user_id) if has_blocks else ()
            shown = tuple(event for event in moved if event.user_id not in apart) if apart else moved
            if shown:
                connection.write(frame if len(shown) == len(moved) else events.v1_receipts(*shown), EPHEMERAL)
        if self._engine.dropped_ephemeral != dropped:
            hub.overdue.note_receipts(channel, moved)

    async def _tell_counts(self, channel: Channel) -> None:
        """Every v1 socket of a large room, a few at a time; those from whom a block parts its user are not counted."""
        await trio.lowlevel.checkpoint()
        hub, readers = self._hub, channel.readers
        counts = () if readers is None else readers.newest()
        if readers is None or counts == channel.told_counts:
            return
        channel.told_counts, now_ms = counts, hub.clock.wall_milliseconds()
        frame, slice_ends = events.v1_counts(channel.id, counts, now_ms), perf_counter() + SLICE_SECONDS_MAX
        for connection, attachment in tuple(channel.attachments.items()):
            if perf_counter() > slice_ends:
                await trio.lowlevel.checkpoint()
                slice_ends = perf_counter() + SLICE_SECONDS_MAX
            if connection not in channel.attachments:  # it has left meanwhile
                continue
            if not connection.takes_ephemeral:
                hub.overdue.note_counts(connection, channel.id)
            apart = hub.blocks.apart_from(attachment.user_id)
            own = readers.newest(apart) if apart else counts
            connection.write(frame if own == counts else events.v1_counts(channel.id, own, now_ms), EPHEMERAL)
