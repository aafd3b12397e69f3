"""Summaries: rooms that somebody follows without hearing every message, told at most once a second.

    message ──▶ noted, once for the room ──each second──▶ top, unread and last, to whoever follows it
    marker of a follower ──▶ the room is asked how much is unread now
    a deletion, a block ──▶ likewise for each whom it concerns, so many a second
    no answer ──▶ it is asked again, in a later second, for as long as it is followed

This is how a user of hundreds of rooms stays cheap: a message costs its followers nothing until the second is over, and
then one frame each, however many messages there were. A peer that is slow is told later, what is true then.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import structlog
import trio

from greenroom.actors.events import MarkerMoved, MemberChanged, MessageChanged, MessageCommitted, RoomEvent
from greenroom.actors.room.commands import RoomView
from greenroom.actors.room.details import mentioned_in
from greenroom.http.ws import events
from greenroom.http.ws.blocks import SocketBlocks
from greenroom.http.ws.connection import OUTBOX_BYTES_MAX, Connection

log = structlog.get_logger()

TOLD_SECONDS: Final = 1.0
PREVIEW_CODE_POINTS_MAX: Final = 100
FOLLOWERS_AT_ONCE: Final = 64
RECOUNTS_MAX: Final = 200  # a second, for deletions and blocks: of a room for one user; the others wait

Json = dict[str, Any]


@dataclass(slots=True, eq=False)
class Follower:
    """A socket that follows a room. unread: of others, up to *seq*; mentions: those of them that name the user.

    is_due: something changed that it was not told. is_held: it is counted for it, and told when it is released.
    """

    user_id: int
    seq: int
    unread: int
    mentions: int
    is_due: bool
    is_held: bool


@dataclass(slots=True, eq=False)
class Followed:
    """A room that is followed. news: (seq, sender, whom it mentions) of what was said since it was told last."""

    top_seq: int
    last: Json | None
    followers: dict[Connection, Follower] = field(default_factory=dict)
    news: list[tuple[int, int, list[int]]] = field(default_factory=list)


class Summaries:
    """All rooms that are followed on this process. Run `run` in a nursery.

    ask(room, user, reply_to): has the room's view of a member given to *reply_to*, or None when it is not to be had.
    """

    def __init__(self, blocks: SocketBlocks) -> None:
        self._blocks = blocks
        self.rooms: dict[int, Followed] = {}
        self.ask: Callable[[int, int, Callable[[RoomView | None], None]], None] = _nobody_asks
        self._of: dict[Connection, set[int]] = {}
        self._due: set[int] = set()
        self._recounts: dict[tuple[int, int], None] = {}  # rooms and users that wait to be counted
        self._recounted = 0  # in this second
        self._wake = trio.Event()

    # -- who follows --------------------------------------------------------------------------------------------

    def watch(self, connection: Connection, user_id: int, view: RoomView, *, is_held: bool = False) -> None:
        """Follow a room; how it stands is told at once, within the second. is_held: not before `release`."""
        if connection.is_closing:
            return
        room = self.rooms.get(view.room_id)
        if room is None:
            room = self.rooms[view.room_id] = Followed(view.top_seq, None)
        if view.top_seq >= room.top_seq and view.last is not None:
            last = view.last
            room.top_seq = view.top_seq
            room.last = _last(last.id, last.sender_id, last.sender_name, last.content, last.created_at_ms)
        follower = Follower(user_id, view.top_seq, view.unread, view.mentions, is_due=True, is_held=is_held)
        room.followers[connection] = follower
        self._of.setdefault(connection, set()).add(view.room_id)
        self._tell_soon(view.room_id)

    def release(self, connection: Connection) -> None:
        """Tell the socket how the rooms stand that were held; from now on at once."""
        for room_id in self._of.get(connection, ()):
            self.rooms[room_id].followers[connection].is_held = False
            self._tell_soon(room_id)

    def unwatch(self, connection: Connection, room_id: int) -> None:
        """Follow it no more, if it was followed."""
        mine = self._of.get(connection)
        if mine is None or room_id not in mine:
            return
        mine.discard(room_id)
        if not mine:
            del self._of[connection]
        room = self.rooms[room_id]
        del room.followers[connection]
        if not room.followers:
            del self.rooms[room_id]

    def drop(self, connection: Connection) -> None:
        """The socket is gone."""
        for room_id in tuple(self._of.get(connection, ())):
            self.unwatch(connection, room_id)

    def watches(self, connection: Connection, room_id: int) -> bool:
        """Whether the socket follows the room."""
        return room_id in self._of.get(connection, ())

    def count_of(self, connection: Connection) -> int:
        """Rooms that the socket follows."""
        return len(self._of.get(connection, ()))

    # -- what happens -------------------------------------------------------------------------------------------

    def note(self, event: RoomEvent) -> None:
        """Something happened in a room."""
        room = self.rooms.get(event.room_id)
        if room is None:
            return
        if isinstance(event, MessageCommitted):
            room.top_seq = event.seq
            room.last = _last(event.id, event.sender_id, event.sender_name, event.content, event.at_ms)
            room.news.append((event.seq, event.sender_id, mentioned_in(event.details)))
            self._tell_soon(event.room_id)
        elif isinstance(event, MessageChanged):
            self._note_change(room, event)
        elif isinstance(event, MarkerMoved):
            if self._is_followed(event.room_id, event.user_id):
                self._ask(event.room_id, event.user_id)
        elif isinstance(event, MemberChanged):
            self._note_member(room, event)

    def _note_member(self, room: Followed, event: MemberChanged) -> None:
        """Who leaves follows it no more; and the log has grown, by nothing that is unread."""
        if not event.is_active:
            for connection, follower in list(room.followers.items()):
                if follower.user_id == event.user_id:
                    self.unwatch(connection, event.room_id)
        room.top_seq = max(room.top_seq, event.seq)
        self._tell_all_soon(event.room_id, room)

    def _tell_all_soon(self, room_id: int, room: Followed) -> None:
        for follower in room.followers.values():
            follower.is_due = True
        self._tell_soon(room_id)

    def _note_change(self, room: Followed, event: MessageChanged) -> None:
        """The newest message says something else; what was deleted is not unread any more."""
        entry = event.entry
        room.top_seq = entry.seq
        if room.last is not None and room.last["id"] == entry.id:
            room.last = room.last | {"body": entry.content[:PREVIEW_CODE_POINTS_MAX]}
        if entry.change == "deleted":
            room.news = [news for news in room.news if news[0] != entry.message_seq]
            for user_id in {follower.user_id for follower in room.followers.values()}:
                self._recount(event.room_id, user_id)
        self._tell_all_soon(event.room_id, room)

    def hides_changed(self, user_id: int, connections: Iterable[Connection]) -> None:
        """The user has blocked somebody, or does no more: what is unread is another number where they have spoken."""
        for room_id in {room_id for connection in connections for room_id in self._of.get(connection, ())}:
            self._recount(room_id, user_id)

    def _recount(self, room_id: int, user_id: int) -> None:
        """Ask how much is unread: at once, or when this second's share is used up in the next."""
        if self._recounted < RECOUNTS_MAX:
            self._recounted += 1
            self._ask(room_id, user_id)
        else:
            self._recount_later(room_id, user_id)

    def _recount_later(self, room_id: int, user_id: int) -> None:
        self._recounts[room_id, user_id] = None
        self._wake.set()

    def _ask(self, room_id: int, user_id: int) -> None:
        def answered(view: RoomView | None) -> None:
            if view is None:
                self._recount_later(room_id, user_id)
            else:
                self._count_again(user_id, view)

        self.ask(room_id, user_id, answered)

    def _recount_some(self) -> None:
        """The share of another second."""
        self._recounted = 0
        waiting, self._recounts = self._recounts, {}
        for room_id, user_id in waiting:
            if self._is_followed(room_id, user_id):
                self._recount(room_id, user_id)

    def _is_followed(self, room_id: int, user_id: int) -> bool:
        room = self.rooms.get(room_id)
        return room is not None and any(follower.user_id == user_id for follower in room.followers.values())

    def _count_again(self, user_id: int, view: RoomView) -> None:
        room = self.rooms.get(view.room_id)
        if room is None:
            return
        for follower in room.followers.values():
            if follower.user_id == user_id and follower.seq <= view.top_seq:
                follower.seq, follower.unread, follower.is_due = view.top_seq, view.unread, True
                follower.mentions = view.mentions
        self._tell_soon(view.room_id)

    def _tell_soon(self, room_id: int) -> None:
        self._due.add(room_id)
        self._wake.set()

    # -- telling ------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Tell what changed, once a second."""
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            self._recount_some()
            due, self._due = self._due, set()
            for room_id in due:
                try:
                    await self._tell(room_id)
                except Exception:  # a fault here must not end every room; nor may it go unseen
                    log.exception("summaries.failed", room=room_id)
                    self._tell_soon(room_id)  # whose turn had not come
            await trio.sleep(TOLD_SECONDS)

    async def _tell(self, room_id: int) -> None:
        room = self.rooms.get(room_id)
        if room is None:
            return
        self._count(room)
        for count, (connection, follower) in enumerate(list(room.followers.items()), start=1):
            if not follower.is_due or follower.is_held:
                continue
            if connection.unsent_bytes * 2 > OUTBOX_BYTES_MAX:
                self._tell_soon(room_id)
                continue
            if room.followers.get(connection) is follower:  # who went meanwhile, back or not, is not told by this
                follower.is_due = False
                hides = self._blocks.hides(follower.user_id)
                last = None if room.last is None or room.last["sender"] in hides else room.last
                data = {
                    "top": room.top_seq,
                    "unread": follower.unread,
                    "mention": follower.mentions,
                    "last": last,
                }
                connection.write(events.v1("room_summary", data, room=room_id))
            if count % FOLLOWERS_AT_ONCE == 0:
                await trio.lowlevel.checkpoint()
        await trio.lowlevel.checkpoint()

    def _count(self, room: Followed) -> None:
        """Add what was said since the last time to what each follower has not read."""
        if not room.news:
            return
        news, room.news = room.news, []
        first, by_sender = news[0][0], Counter(sender for _, sender, _ in news)
        mentions = [item for item in news if item[2]]
        for follower in room.followers.values():
            uncounted = {follower.user_id, *self._blocks.hides(follower.user_id)}
            if follower.seq < first:
                follower.unread += len(news) - sum(by_sender[sender] for sender in uncounted)
            else:  # it was counted in the midst of them
                follower.unread += sum(seq > follower.seq and sender not in uncounted for seq, sender, _ in news)
            follower.mentions += sum(
                seq > follower.seq and sender not in uncounted and follower.user_id in mentioned
                for seq, sender, mentioned in mentions
            )
            follower.seq, follower.is_due = max(follower.seq, news[-1][0]), True


def _last(message_id: int, sender_id: int, sender_name: str, content: str, at_ms: int) -> Json:
    body = content[:PREVIEW_CODE_POINTS_MAX]
    return {"id": message_id, "sender": sender_id, "senderName": sender_name, "body": body, "ts": at_ms}


def _nobody_asks(room_id: int, user_id: int, reply_to: Callable[[RoomView | None], None]) -> None:
    raise AssertionError("nobody was named who asks rooms")
