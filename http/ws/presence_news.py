"""Who is told whose presence, at most once a second.

    changed users ──▶ v1 sockets in their small rooms     one send, one frame for all rooms where the same changed
                 ├──▶ v1 sockets that watch them by name  one frame
                 └──▶ compat sockets of their companions  a frame or two for each person

Only in rooms of at most 200 members: elsewhere presence is asked for. Whoever flaps within a second is not told at all.
The work is that of those who are told, never that of everybody with everybody. It is done half a millisecond at a
time; who may hear what is looked at again after each rest, because people come and go meanwhile.

A v1 socket hears of a room only once it was told who is there: until then, what it is yet to be told has the news too,
and a change alone would stand for all. Of a room that was too large it was told nothing, or that nothing is kept up to
date any more: when the room has become small, the first that it hears of it holds everybody, also when that is nobody.

Nothing stays wrong: to a socket that takes nothing now what was not sent is owed, and told as it is then. Who comes
into a room is made known there, and who goes is taken from those who may see them no more. Of two of whom one has
blocked the other neither is told of the other, here as little as on other roads.
"""

from collections.abc import Iterable, Sequence, Set
from time import perf_counter
from typing import Final

import trio

from greenroom.actors.events import MemberChanged
from greenroom.http.ws.blocks import NOBODY
from greenroom.http.ws.channel import Told
from greenroom.http.ws.connection import CONTROL, EPHEMERAL, Connection
from greenroom.http.ws.engine import SLICE_SECONDS_MAX, SocketEngine
from greenroom.http.ws.hub import Hub
from greenroom.http.ws.presence import Shown, SocketPresence
from greenroom.http.ws.watches import Watches

TOLD_SECONDS: Final = 1.0
LOOKS: Final = 16  # sockets that are told before the clock is looked at


class PresenceNews:
    """One per process. Run `run` in a nursery."""

    def __init__(self, engine: SocketEngine, hub: Hub, presence: SocketPresence, watches: Watches) -> None:
        self._engine = engine
        self._hub = hub
        self._presence = presence
        self._watches = watches
        self._owed: dict[Connection, set[int]] = {}  # who changed while a socket took nothing
        self._introduced: dict[int, set[int]] = {}  # by room: who came into it this second
        # Of this second, by the rooms: those where some changed, those to be told whole. Gone when members come or go.
        self._frames: dict[tuple[tuple[int, ...], tuple[int, ...]], bytes] = {}
        self._slice_ends = 0.0
        self._looks = 0
        hub.on_member_changed = self.member_changed
        hub.on_small = self.room_became_small

    async def run(self) -> None:
        """Tell what changed, once a second."""
        while True:
            if not self._owed:
                await self._presence.changed.wait()
            await trio.sleep(TOLD_SECONDS)
            changes = self._presence.take_changes()
            self._presence.owe(changes)
            introduced, self._introduced = self._introduced, {}
            self._slice_ends = perf_counter() + SLICE_SECONDS_MAX
            self._pay()
            await self._tell_rooms(changes, introduced)
            await self._tell_watchers(changes)
            await self._tell_compat(changes, introduced)
            self._presence.paid(changes)

    # -- greenroom.v1 -------------------------------------------------------------------------------------------

    async def _tell_rooms(self, changes: Iterable[int], introduced: dict[int, set[int]]) -> None:
        """Each v1 socket once, whatever rooms it shares with how many; encoded once for all alike."""
        by_room: dict[int, list[int]] = {}
        for user_id in changes:
            for room_id in self._hub.small_rooms.rooms_of.get(user_id, ()):
                by_room.setdefault(room_id, []).append(user_id)
        for room_id, new in introduced.items():
            known = by_room.setdefault(room_id, [])
            known += self._presence.online_among(new).difference(known)
        rooms_of: dict[Connection, list[int]] = {}
        for room_id in by_room:
            channel = self._hub.channels.get(room_id)
            for connection in channel.attachments if channel is not None else ():
                rooms_of.setdefault(connection, []).append(room_id)
        self._frames.clear()
        for connection, rooms in rooms_of.items():
            await self._rest()
            self._tell_socket(connection, rooms, by_room)

    def _tell_socket(self, connection: Connection, rooms: Iterable[int], by_room: dict[int, list[int]]) -> None:
        changed, whole = self._to_tell(connection, rooms)
        viewer_id, members = connection.session.user_id or 0, self._hub.small_rooms.members
        if not connection.takes_ephemeral:
            # One member is enough to have a room told whole, and the viewer is one though nobody be online.
            owed = [user_id for room_id in changed for user_id in by_room[room_id]]
            self._owe(connection, [*owed, viewer_id] if whole else owed)
            return
        self._note_told(connection, whole)
        apart = self._hub.blocks.apart_from(viewer_id)
        people = [*(by_room[room_id] for room_id in changed), *(members[room_id] for room_id in whole)] if apart else ()
        if not all(map(apart.isdisjoint, people)):
            self._write(connection, self._diff(by_room, changed, whole, apart), EPHEMERAL)
            return
        key = changed, whole
        frame = self._frames.get(key)
        if frame is None:
            frame = self._frames[key] = self._diff(by_room, changed, whole)
        self._write(connection, frame, EPHEMERAL)

    def _to_tell(self, connection: Connection, rooms: Iterable[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Of these rooms: (where it is told what changes, where everybody)."""
        told = {room_id: self._told(connection, room_id) for room_id in rooms}
        members = self._hub.small_rooms.members
        return (
            tuple([room_id for room_id in told if told[room_id] is Told.EVERYBODY]),
            tuple([room_id for room_id in told if told[room_id] is Told.NOTHING and room_id in members]),
        )

    def _told(self, connection: Connection, room_id: int) -> Told:
        channel = self._hub.channels.get(room_id)
        attachment = None if channel is None else channel.attachments.get(connection)
        return Told.NOT_YET if attachment is None else attachment.told

    def _note_told(self, connection: Connection, whole: Iterable[int]) -> None:
        for room_id in whole:
            self._hub.channels[room_id].attachments[connection].told = Told.EVERYBODY

    def _diff(
        self,
        by_room: dict[int, list[int]],
        changed: Iterable[int],
        whole: Iterable[int],
        apart: Set[int] = NOBODY,
    ) -> bytes:
        """The frames that tell who changed (*by_room*) in some rooms, and everybody who is in others.

        One for all rooms of which the same people are told. apart: of whom nothing is told.
        """
        alike: dict[tuple[int, ...], list[int]] = {}
        small = self._hub.small_rooms.members
        for room_id in changed:
            members = small.get(room_id, ())
            people = tuple([one for one in by_room[room_id] if one in members and one not in apart])
            if people:
                alike.setdefault(people, []).append(room_id)
        for room_id in whole:
            people = tuple(sorted(self._presence.online_among(small[room_id]) - apart))
            alike.setdefault(people, []).append(room_id)
        return b"".join([self._presence.v1_diff(rooms, people) for people, rooms in alike.items()])

    @staticmethod
    def _write(connection: Connection, frame: bytes, kind: int) -> None:
        if frame:
            connection.write(frame, kind)

    async def _tell_watchers(self, changes: Iterable[int]) -> None:
        news: dict[Connection, list[int]] = {}
        for user_id in changes:
            for connection in self._watches.watchers.get(user_id, ()):
                news.setdefault(connection, []).append(user_id)
        for connection, user_ids in news.items():
            await self._rest()
            self._tell_watcher(connection, user_ids)

    def _tell_watcher(self, connection: Connection, user_ids: Iterable[int]) -> None:
        people = [user_id for user_id in user_ids if self._watches.is_watched(connection, user_id)]
        if not connection.takes_ephemeral:
            self._owe(connection, people)
        elif people:
            connection.write(self._presence.v1_diff((), people), EPHEMERAL)

    # -- compat -------------------------------------------------------------------------------------------------

    async def _tell_compat(self, changes: dict[int, Shown | None], introduced: dict[int, set[int]]) -> None:
        if not self._hub.compat:
            return
        for user_id, before in changes.items():
            await self._rest()
            is_turn = before is None or (before.status != "offline") != self._presence.is_online(user_id)
            self._tell_companions(user_id, is_turn=is_turn)
        for room_id, new in introduced.items():
            await self._rest()
            members = self._hub.small_rooms.members.get(room_id, set())
            self._introduce(members, new & members)  # who came may have gone again

    def _tell_companions(self, user_id: int, *, is_turn: bool) -> None:
        frame = None
        for other in self._companions(user_id):
            if not self._may_tell_pages(other, user_id):
                continue
            for connection in tuple(self._hub.compat[other]):
                if not connection.takes_ephemeral:
                    self._owe(connection, (user_id,))
                    continue
                frame = frame or self._presence.compat_frames(user_id, is_turn=is_turn)
                connection.write(frame, EPHEMERAL)

    def _companions(self, user_id: int) -> set[int]:
        """Who has a page here, of those who share a small room with them."""
        rooms, pages = self._hub.small_rooms, self._hub.compat.keys()
        found = set[int]()
        for room_id in rooms.rooms_of.get(user_id, ()):
            found |= pages & rooms.members[room_id]
        return found - {user_id}

    def _introduce(self, members: set[int], new: set[int]) -> None:
        """Who came into a room and who was there see each other, as far as they are here."""
        pages = self._hub.compat.keys() & members
        pages_of_new = pages & new
        for user_id in self._presence.online_among(members):
            for other in pages if user_id in new else pages_of_new:
                if other != user_id and self._may_tell_pages(other, user_id):
                    self._tell_pages(other, self._presence.compat_frames(user_id, is_turn=True))

    def _may_tell_pages(self, other_id: int, user_id: int) -> bool:
        return other_id in self._hub.compat and not self._hub.blocks.are_apart(other_id, user_id)

    def _tell_pages(self, user_id: int, frame: bytes) -> None:
        for connection in tuple(self._hub.compat.get(user_id, ())):
            connection.write(frame, CONTROL)

    # -- what is owed -------------------------------------------------------------------------------------------

    def _owe(self, connection: Connection, user_ids: Iterable[int]) -> None:
        """To be told when it takes something again. No more than those it may see."""
        if not connection.is_closing:
            owed = self._owed.setdefault(connection, set())
            new = set(user_ids) - owed
            owed |= new
            self._presence.owe(new)

    def _pay(self) -> None:
        for connection in tuple(self._owed):
            if connection.is_closing or connection.takes_ephemeral:
                user_ids = sorted(self._owed.pop(connection))
                if not connection.is_closing:
                    self._pay_one(connection, user_ids)
                self._presence.paid(user_ids)

    def _pay_one(self, connection: Connection, user_ids: Sequence[int]) -> None:
        viewer_id = connection.session.user_id or 0
        if not connection.session.is_v1:
            for user_id in user_ids:
                if viewer_id in self._companions(user_id) and self._may_tell_pages(viewer_id, user_id):
                    connection.write(self._presence.compat_frames(user_id, is_turn=True), CONTROL)
            return
        by_room: dict[int, list[int]] = {}
        for user_id in user_ids:
            for room_id in self._hub.small_rooms.rooms_of.get(user_id, ()):
                by_room.setdefault(room_id, []).append(user_id)
        changed, whole = self._to_tell(connection, by_room)
        self._note_told(connection, whole)
        self._write(connection, self._diff(by_room, changed, whole, self._hub.blocks.apart_from(viewer_id)), CONTROL)
        self._tell_watcher(connection, user_ids)

    # -- members ------------------------------------------------------------------------------------------------

    def member_changed(self, event: MemberChanged, known: set[int] | None) -> None:
        """Somebody came or went. known: the members of the room if it was a small one, as they are now."""
        self._frames.clear()
        if not event.is_active:
            self._watches.look_again(event.user_id)
        if known is None:
            return
        if not event.is_active:
            self._part((event.user_id,), known)
        elif event.room_id in self._hub.small_rooms.members:
            self._introduced.setdefault(event.room_id, set()).add(event.user_id)
            self._presence.changed.set()
        else:
            self._outgrown(event.room_id, known)

    def room_became_small(self, room_id: int) -> None:
        """Somebody listens already who was told nothing, because the room was larger."""
        self._introduced[room_id] = set(self._hub.small_rooms.members[room_id])
        self._presence.changed.set()

    def _outgrown(self, room_id: int, members: set[int]) -> None:
        """It is too large for presence from now on: what was told is not kept up to date, so it is taken back."""
        channel = self._hub.channels.get(room_id)
        for attachment in tuple(channel.attachments.values()) if channel is not None else ():
            if attachment.told is Told.EVERYBODY:
                attachment.told = Told.NOTHING
                attachment.connection.write(self._presence.v1_state((), room_id), CONTROL)
        self._part(members, members)

    def _part(self, some: Iterable[int], others: Iterable[int]) -> None:
        """Pages on which these stand as online and may not any more."""
        compat, rooms_of = self._hub.compat, self._hub.small_rooms.rooms_of
        if not compat:
            return
        lost: dict[int, set[int]] = {}
        for one in some:
            mine = rooms_of.get(one, frozenset[int]())
            for other in others:
                if one != other and mine.isdisjoint(rooms_of.get(other, ())):
                    for viewer_id, user_id in ((one, other), (other, one)):
                        if viewer_id in compat:
                            lost.setdefault(viewer_id, set()).add(user_id)
        for viewer_id, user_ids in lost.items():
            self._take_from(viewer_id, user_ids)

    def _take_from(self, viewer_id: int, user_ids: Set[int]) -> None:
        """Whom a block keeps apart was taken away with it. Noted too: the line of a page may have broken."""
        seen = sorted(user_ids - self._hub.blocks.apart_from(viewer_id))
        gone = list(filter(self._presence.may_be_believed_online, seen))
        if gone:
            self._tell_pages(viewer_id, b"".join(map(self._presence.compat_parting, gone)))
            self._hub.last_looked.note_online(viewer_id, gone, trio.current_time())

    # -- blocks -------------------------------------------------------------------------------------------------

    def sight_changed(self, user_id: int, other_id: int) -> None:
        """A block of two began or ended: where they share small rooms they leave each other's sight, or come back."""
        rooms_of = self._hub.small_rooms.rooms_of
        shared = rooms_of.get(user_id, frozenset[int]()) & rooms_of.get(other_id, frozenset[int]())
        if shared:
            for viewer_id, seen_id in ((user_id, other_id), (other_id, user_id)):
                for connection in tuple(self._engine.connections_of(viewer_id)):
                    self._sight_changed(connection, seen_id, sorted(shared))

    def _sight_changed(self, connection: Connection, seen_id: int, shared: Sequence[int]) -> None:
        session, is_v1 = connection.session, connection.session.is_v1
        rooms = [room_id for room_id in shared if self._told(connection, room_id) is Told.EVERYBODY]
        if (is_v1 and not rooms) or session.user_id is None or self._hub.coming.holds(connection, session.user_id):
            return
        presence = self._presence
        if self._hub.blocks.are_apart(session.user_id, seen_id):
            if presence.may_be_believed_online(seen_id):
                frame = presence.v1_parting(seen_id, rooms) if is_v1 else presence.compat_parting(seen_id)
                connection.write(frame, CONTROL)
                if not is_v1:
                    self._hub.last_looked.note_online(session.user_id, (seen_id,), trio.current_time())
        elif presence.is_online(seen_id):
            frame = presence.v1_diff(rooms, (seen_id,)) if is_v1 else presence.compat_frames(seen_id, is_turn=True)
            connection.write(frame, CONTROL)

    async def _rest(self) -> None:
        """Let the others have a turn, if it is time."""
        self._looks += 1
        if self._looks % LOOKS == 0 and perf_counter() > self._slice_ends:
            await trio.lowlevel.checkpoint()
            self._slice_ends = perf_counter() + SLICE_SECONDS_MAX
