"""Which rooms with few members somebody on this process watches, and who is in them: where presence is told."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from greenroom.actors.events import MemberChanged
from greenroom.actors.room.state import PRESENCE_MEMBERS_MAX


def gone_from(room_id: int, changes: Iterable[MemberChanged]) -> set[int]:
    """Who left the room by these changes, in their order, and is not back."""
    last = {change.user_id: change.is_active for change in changes if change.room_id == room_id}
    return {user_id for user_id, is_active in last.items() if not is_active}


class SmallRooms:
    """Which rooms with few members somebody on this process watches, and who is in them: where presence is told.

    A room counts as watched once for each v1 socket that joined it and for each compat user that is in it.
    """

    def __init__(self) -> None:
        self.members: dict[int, set[int]] = {}
        self.rooms_of: dict[int, set[int]] = {}
        self._watchers: dict[int, int] = {}
        self._notes: dict[int, list[MemberChanged]] = {}

    def watch(self, room_id: int, members: Iterable[int]) -> None:
        """One watcher more. No members: the room is too large for presence, now at least."""
        self._watchers[room_id] = self._watchers.get(room_id, 0) + 1
        if members:
            self.became_small(room_id, members)

    def unwatch(self, room_id: int) -> None:
        """One watcher less."""
        count = self._watchers.get(room_id, 0) - 1
        if count > 0:
            self._watchers[room_id] = count
            return
        self._watchers.pop(room_id, None)
        self._forget(room_id)

    def member_changed(self, event: MemberChanged) -> None:
        """Keep up with a room that is watched. The same change twice is one."""
        for changes in self._notes.values():
            changes.append(event)
        known = self.members.get(event.room_id)
        if known is None:
            return
        if event.is_active:
            known.add(event.user_id)
            self.rooms_of.setdefault(event.user_id, set()).add(event.room_id)
            if len(known) > PRESENCE_MEMBERS_MAX:
                self._forget(event.room_id)
        else:
            known.discard(event.user_id)
            self._forget_room_of(event.user_id, event.room_id)

    def became_small(self, room_id: int, members: Iterable[int]) -> bool:
        """A room that was too large is so no more. Whether it is watched, and was not known to be small."""
        if room_id not in self._watchers or room_id in self.members:
            return False
        self.members[room_id] = set(members)
        for user_id in self.members[room_id]:
            self.rooms_of.setdefault(user_id, set()).add(room_id)
        return True

    @contextmanager
    def noting_changes(self) -> Iterator[list[MemberChanged]]:
        """What changes in any room while the block lasts, for whoever reads members from storage in it."""
        changes: list[MemberChanged] = []
        self._notes[id(changes)] = changes
        try:
            yield changes
        finally:
            del self._notes[id(changes)]

    def _forget(self, room_id: int) -> None:
        for user_id in self.members.pop(room_id, ()):
            self._forget_room_of(user_id, room_id)

    def _forget_room_of(self, user_id: int, room_id: int) -> None:
        rooms = self.rooms_of.get(user_id)
        if rooms is not None:
            rooms.discard(room_id)
            if not rooms:
                del self.rooms_of[user_id]
