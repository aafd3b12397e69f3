"""The presence board: who is shown to whom, at most once a second.

Changes are collected and told together: to a v1 socket in one send, with one frame for all rooms in which the same
people changed; to a compat socket with one pair of frames per person. Only in rooms of at most 200 members: elsewhere
presence is asked for. Whoever flaps within a second is not told at all.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import trio

from greenroom.actors.presence.actor import PresenceBoard
from greenroom.actors.presence.commands import Status
from greenroom.actors.room.commands import RoomView
from greenroom.http.ws import events
from greenroom.http.ws.blocks import NOBODY
from greenroom.http.ws.channel import Channel
from greenroom.http.ws.connection import EPHEMERAL, Connection
from greenroom.http.ws.engine import SocketEngine
from greenroom.http.ws.hub import Hub
from greenroom.http.ws.presence_leases import Leases
from greenroom.runtime import Clock
from greenroom.storage.postgres.last_seen import LastSeen

TOLD_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Shown:
    """How a user appears. at_ms: since when."""

    status: Status
    activity: str
    at_ms: int


_OFFLINE: Final = Shown("offline", "", 0)


class SocketPresence(PresenceBoard):
    """The board of this process. Run `run` in a nursery."""

    def __init__(self, engine: SocketEngine, hub: Hub, last_seen: LastSeen, clock: Clock) -> None:
        self._engine = engine
        self._hub = hub
        self._last_seen = last_seen
        self._clock = clock
        self._shown: dict[int, Shown] = {}  # whoever is not offline
        self._told: dict[int, Shown] = {}  # what others believe of whoever changed this second
        self._seen: set[int] = set()  # of those, who was shown as they are now to somebody who asked
        self._left_ms: dict[int, int] = {}  # of whoever went this second: when
        self._names: dict[int, str] = {}
        self._wake: trio.Event = trio.Event()
        self.leases = Leases()

    # -- for the actors -----------------------------------------------------------------------------------------

    def sockets_of(self, user_id: int) -> Mapping[int, str]:
        """The user's sockets, by the id of their connection; a lease counts as one."""
        lease = {0: "rest"} if self.leases.is_held(user_id) else {}
        return lease | {
            id(connection): connection.session.device
            for connection in self._engine.connections_of(user_id)
            if not connection.is_closing and connection.session.is_present
        }

    def status_of(self, user_id: int) -> tuple[Status, str]:
        """As shown now."""
        shown = self._shown.get(user_id, _OFFLINE)
        return shown.status, shown.activity

    def show(self, user_id: int, status: Status, activity: str, at_ms: int) -> None:
        """Change it; others are told within the second."""
        before = self._shown.get(user_id, _OFFLINE)
        self._told.setdefault(user_id, before)
        if status == "offline":
            self._shown.pop(user_id, None)
            self._left_ms[user_id] = at_ms
        else:
            self._shown[user_id] = Shown(status, activity, at_ms)
            self._left_ms.pop(user_id, None)
        if (before.status == "offline") != (status == "offline"):
            self._last_seen.put(user_id, is_online=status != "offline", at_ms=at_ms)
        self._wake.set()

    # -- for whoever asks ---------------------------------------------------------------------------------------

    def is_online(self, user_id: int) -> bool:
        """Shown as anything but offline."""
        return user_id in self._shown

    def name(self, user_id: int, name: str) -> None:
        """Remember what a user with a socket is called."""
        self._names[user_id] = name

    def in_room(self, channel: Channel | None, viewer_id: int | None) -> list[dict[str, Any]]:
        """Everybody online that is in a room: members of a small one, sockets that joined a large one.

        viewer_id: who asks. They are not shown those whom they have blocked, or who have blocked them.
        """
        if channel is None:
            return []
        apart = self._apart_from(viewer_id)
        users = self._hub.small_rooms.members.get(channel.id)
        if users is None:
            users = {attachment.user_id for attachment in channel.attachments.values()}
        return [self._v1(user_id) for user_id in sorted(users) if user_id in self._shown and user_id not in apart]

    def _apart_from(self, viewer_id: int | None) -> frozenset[int]:
        return NOBODY if viewer_id is None else self._hub.blocks.apart_from(viewer_id)

    async def everybody_in(self, view: RoomView, viewer_id: int) -> list[dict[str, Any]]:
        """Who is here; of a small room also who is not, and when they were last seen. Raises: StorageUnavailable."""
        users = self.in_room(self._hub.channels.get(view.room_id), viewer_id)
        others = view.members - {user["user"] for user in users} - self._apart_from(viewer_id)
        seen = await self._last_seen.of(sorted(others)) if others else {}
        return users + [
            {"user": user_id, "name": away.name, "status": "offline", "lastSeen": away.at_ms}
            for user_id, away in seen.items()
        ]

    async def run(self) -> None:
        """Tell what changed, once a second."""
        while True:
            await self._wake.wait()
            await trio.sleep(TOLD_SECONDS)
            self._wake = trio.Event()
            (told, self._told), (seen, self._seen) = (self._told, {}), (self._seen, set())
            changed = [user_id for user_id, before in told.items() if user_id in seen or self._is_news(user_id, before)]
            self._tell_rooms(changed)
            for count, user_id in enumerate(changed):
                self._tell_compat(user_id)
                if count % 64 == 63:
                    await trio.lowlevel.checkpoint()
            for user_id in changed:
                if user_id not in self._shown and not self.sockets_of(user_id):
                    self._names.pop(user_id, None)
            for user_id in told:
                if user_id not in self._told:
                    self._left_ms.pop(user_id, None)

    def _is_news(self, user_id: int, before: Shown) -> bool:
        now = self._shown.get(user_id, _OFFLINE)
        return (now.status, now.activity) != (before.status, before.activity)

    def _tell_rooms(self, changed: list[int]) -> None:
        """Each v1 socket once, whatever rooms it shares with how many of *changed*; encoded once for all alike."""
        by_room: dict[int, list[int]] = {}
        for user_id in changed:
            for room_id in self._hub.small_rooms.rooms_of.get(user_id, ()):
                by_room.setdefault(room_id, []).append(user_id)
        rooms_of: dict[Connection, list[int]] = {}
        for room_id in by_room:
            channel = self._hub.channels.get(room_id)
            for connection in channel.attachments if channel is not None else ():
                rooms_of.setdefault(connection, []).append(room_id)
        frames: dict[tuple[int, ...], bytes] = {}
        for connection, rooms in rooms_of.items():
            apart = self._apart_from(connection.session.user_id)
            if apart and not apart.isdisjoint(changed):
                shown = {room_id: [one for one in by_room[room_id] if one not in apart] for room_id in rooms}
                diff = self._diff({room_id: people for room_id, people in shown.items() if people})
                if diff:
                    connection.write(diff, EPHEMERAL)
                continue
            key = tuple(rooms)
            frame = frames.get(key)
            if frame is None:
                frame = frames[key] = self._diff({room_id: by_room[room_id] for room_id in rooms})
            connection.write(frame, EPHEMERAL)

    def _diff(self, changed: dict[int, list[int]]) -> bytes:
        """The frames that tell of *changed* (users by room): one for all rooms in which the same people changed."""
        alike: dict[tuple[int, ...], list[int]] = {}
        for room_id, user_ids in changed.items():
            alike.setdefault(tuple(user_ids), []).append(room_id)
        diffs = []
        for people, rooms in alike.items():
            joins = [self._v1(user_id) for user_id in people if user_id in self._shown]
            leaves = [self._v1(user_id) for user_id in people if user_id not in self._shown]
            diffs.append(events.v1_presence_diff(rooms, joins, leaves))
        return b"".join(diffs)

    def _tell_compat(self, user_id: int) -> None:
        rooms = self._hub.small_rooms
        watchers = {
            other for room_id in rooms.rooms_of.get(user_id, ()) for other in rooms.members[room_id] if other != user_id
        }
        now_ms = self._clock.wall_milliseconds()
        frame = None
        for other in watchers:
            if self._hub.blocks.are_apart(other, user_id):
                continue
            for connection in self._hub.compat.get(other, ()):
                frame = frame or events.compat_presence(
                    self.compat_fields(user_id, now_ms), now_ms, is_online=user_id in self._shown
                )
                connection.write(frame, EPHEMERAL)

    def part(self, user_id: int, other_id: int) -> None:
        """One of two has blocked the other: where they were shown to each other they leave."""
        for viewer_id, gone_id in ((user_id, other_id), (other_id, user_id)):
            if gone_id in self._shown and self._hub.blocks.are_apart(viewer_id, gone_id):
                self._tell_gone(viewer_id, gone_id)

    def _tell_gone(self, viewer_id: int, gone_id: int) -> None:
        small = self._hub.small_rooms.rooms_of
        shared = small.get(viewer_id, set()) & small.get(gone_id, set())
        now_ms = self._clock.wall_milliseconds()
        item = {"user": gone_id, "name": self._names.get(gone_id, ""), "status": "offline", "lastSeen": now_ms}
        fields = {"userId": gone_id, "username": item["name"], "status": "offline", "lastSeen": events.iso(now_ms)}
        for connection in list(self._engine.connections_of(viewer_id)):
            if not connection.session.is_v1:
                frame = events.compat_presence(fields | {"activity": ""}, now_ms, is_online=False)
                connection.write(frame)
                continue
            rooms = [room_id for room_id in shared if self._hub.is_attached(connection, room_id)]
            if rooms:
                connection.write(events.v1_presence_diff(rooms, [], [item]))

    def compat_fields(self, user_id: int, now_ms: int) -> dict[str, Any]:
        """A person as the existing client reads them."""
        shown = self._shown.get(user_id)
        if user_id in self._told:
            self._seen.add(user_id)
        return {
            "userId": user_id,
            "username": self._names.get(user_id, ""),
            "status": "offline" if shown is None else shown.status,
            "lastSeen": events.iso(now_ms if shown is not None else self._left_ms.get(user_id, now_ms)),
            "activity": "" if shown is None else shown.activity,
        }

    def _v1(self, user_id: int) -> dict[str, Any]:
        shown = self._shown.get(user_id)
        if user_id in self._told:
            self._seen.add(user_id)
        item: dict[str, Any] = {"user": user_id, "name": self._names.get(user_id, "")}
        if shown is None:
            return item | {"status": "offline", "lastSeen": self._left_ms.get(user_id, self._clock.wall_milliseconds())}
        return item | {"status": shown.status, "activity": shown.activity}
