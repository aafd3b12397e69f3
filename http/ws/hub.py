"""The hub: who hears which room, on this process. It is the rooms' audience.

    publish ──▶ channel (v1 sockets that joined) ──▶ live ones, now or by the walk of a large room
            └─▶ compat sockets of the members that are online, joined or not

A frame is encoded once per class (everybody, the sender's own devices, compat), never per connection. A channel of at
most WALK_SOCKETS_MIN sockets is served where the event arrives; a larger one by another task, 2 to 3 ms at a time, one
walk per room in `seq` order, and whatever was published meanwhile goes to a socket in one send.

An attachment knows the last `seq` that its socket was given. While that lies behind (a resume), live events are not
queued for it: `replay.py` moves the cursor until it reaches the top. Membership ends here too: when a room says that
somebody left, their sockets hear nothing more from it, replaying or live.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from greenroom.actors.events import (
    Audience,
    MarkerMoved,
    MemberChanged,
    MessageChanged,
    MessageCommitted,
    RoomEvent,
    TypingChanged,
)
from greenroom.actors.room.commands import RoomView
from greenroom.actors.room.state import PRESENCE_MEMBERS_MAX
from greenroom.http.ws import changes, events
from greenroom.http.ws.blocks import NOBODY, SocketBlocks
from greenroom.http.ws.channel import Attachment, Channel, Recent, recent_member, recents
from greenroom.http.ws.coming_pages import ComingPages
from greenroom.http.ws.connection import CONTROL, DURABLE, EPHEMERAL, Connection
from greenroom.http.ws.delivery import Delivery
from greenroom.http.ws.engine import SocketEngine
from greenroom.http.ws.last_looked import LastLooked
from greenroom.http.ws.overdue import Overdue
from greenroom.http.ws.receipts import Receipts
from greenroom.http.ws.small_rooms import SmallRooms
from greenroom.http.ws.summaries import Summaries
from greenroom.http.ws.walk import WALK_SOCKETS_MIN, Walker
from greenroom.runtime import Clock
from greenroom.storage.changed import Changed
from greenroom.storage.postgres.conversations import StoredMessage


class Hub(Audience):
    """All channels of the process."""

    def __init__(self, engine: SocketEngine, clock: Clock) -> None:
        self._engine = engine
        self.clock = clock
        self.channels: dict[int, Channel] = {}
        self.compat: dict[int, list[Connection]] = {}
        self.coming = ComingPages()
        self.last_looked = LastLooked()
        self._compat_rooms: dict[Connection, set[int]] = {}
        self.small_rooms = SmallRooms()
        self.blocks = SocketBlocks()
        self.changed = Changed()  # of rooms: messages
        self.changed_for = Changed()  # of users: what they may see, have read, or are told
        self.summaries = Summaries(self.blocks)
        self.overdue = Overdue(self)
        self.receipts = Receipts(self, engine)
        self.delivery = Delivery()
        self._walker = Walker(engine, self.blocks, self.changed, self.delivery, self._fell_behind)
        # A live socket was overtaken by what is remembered: told to the replayer, which sets this.
        self.on_fallen_behind: Callable[[Channel, Attachment], None] = _nobody_replays
        # By room, where somebody types, whether anybody here listens or not: who comes is told.
        self.typists: dict[int, Mapping[int, str]] = {}
        self.is_hiding: Callable[[int], bool] = lambda user_id: False  # by their own word: then typing is not told
        self.on_news: Callable[[Iterable[int]], None] = _nobody_folds  # notes were stored for these users
        # Presence: who came or went, with the members of a small room as they are now; a room that became small.
        self.on_member_changed: Callable[[MemberChanged, set[int] | None], None] = lambda event, members: None
        self.on_small: Callable[[int], None] = lambda room_id: None

    # -- joining and leaving ------------------------------------------------------------------------------------

    def attach(
        self, connection: Connection, user_id: int, view: RoomView, after_seq: int, recent: Sequence[StoredMessage] = ()
    ) -> Attachment:
        """Let a socket into a room, its cursor at *after_seq*; it hears nothing until `go_live`.

        One that is in it already begins again at the lesser of both places: what it is not told yet comes too.
        """
        channel = self._channel(view.room_id, view.top_seq)
        if not channel.recent and recent and recent[-1].seq == channel.top_seq:
            channel.recent.extend(recents(view.room_id, recent))
        old = channel.attachments.get(connection)
        if old is not None:
            old.fall_out()
            after_seq = min(after_seq, old.seq)
        attachment = Attachment(connection, user_id, after_seq, channel.ranks)
        if old is not None:
            old.is_attached = old.is_live = False
            attachment.told = old.told
            channel.ranks.leave(old)
        else:
            was_small = view.room_id in self.small_rooms.members
            self.small_rooms.watch(view.room_id, view.members)
            if not was_small and view.members and channel.attachments:
                self.on_small(view.room_id)
        channel.attachments[connection] = attachment
        return attachment

    def go_live(self, channel: Channel, attachment: Attachment) -> bool:
        """From now on events reach the socket as they happen. False when it still lies behind."""
        attachment.fall_out()
        if attachment.seq < channel.top_seq:
            return False
        attachment.is_live = True
        return True

    def detach(self, connection: Connection, room_id: int) -> bool:
        """A socket leaves a room. False when it was not in it."""
        channel = self.channels.get(room_id)
        if channel is None:
            return False
        attachment = channel.attachments.pop(connection, None)
        if attachment is None:
            return False
        attachment.is_attached = attachment.is_live = False
        channel.ranks.leave(attachment)
        self.small_rooms.unwatch(room_id)
        self._drop_if_empty(channel)
        return True

    def is_attached(self, connection: Connection, room_id: int) -> bool:
        """Whether a socket is in a room now."""
        channel = self.channels.get(room_id)
        return channel is not None and connection in channel.attachments

    def listen_to_typing(self, connection: Connection, user_id: int, room_id: int, top_seq: int) -> None:
        """A compat socket looks at a room: it hears typing there, besides all that it hears anyway."""
        self._channel(room_id, top_seq).compat_typing[connection] = user_id

    def is_listening_to_typing(self, connection: Connection, room_id: int) -> bool:
        """Whether a compat socket looks at a room now."""
        channel = self.channels.get(room_id)
        return channel is not None and connection in channel.compat_typing

    def stop_listening_to_typing(self, connection: Connection, room_id: int) -> None:
        """A compat socket looks elsewhere, and whom it believes to type there it would believe so for ever."""
        channel = self.channels.get(room_id)
        listener_id = None if channel is None else channel.compat_typing.pop(connection, None)
        if channel is None or listener_id is None:
            return
        now_ms, apart = self.clock.wall_milliseconds(), self.blocks.apart_from(listener_id)
        for user_id, name in self.typists.get(room_id, {}).items():
            if not connection.is_closing and user_id != listener_id and user_id not in apart:
                frame = events.compat_typing(room_id, user_id, name, now_ms, is_typing=False)
                connection.write(frame, CONTROL)
        self._drop_if_empty(channel)

    def watch_small_rooms(self, connection: Connection, rooms: Mapping[int, Iterable[int]]) -> None:
        """A compat socket is told presence in these rooms too: all its rooms that are small enough."""
        watched = self._compat_rooms.setdefault(connection, set())
        for room_id in rooms.keys() - watched:
            watched.add(room_id)
            self.small_rooms.watch(room_id, rooms[room_id])

    def unwatch_small_rooms(self, connection: Connection) -> None:
        """The compat socket is gone."""
        for room_id in self._compat_rooms.pop(connection, ()):
            self.small_rooms.unwatch(room_id)

    def companions_of(self, connection: Connection) -> set[int]:
        """Everybody who shares a small room with a compat socket, its own user included."""
        rooms = [self.small_rooms.members.get(room_id, ()) for room_id in self._compat_rooms.get(connection, ())]
        user_id = connection.session.user_id  # who was removed still watches, and is shown nobody
        found = {user for members in rooms if user_id in members for user in members}
        return found if user_id is None else found - self.blocks.apart_from(user_id)

    def room_made(self, room_id: int, members: Collection[int]) -> None:
        """A small conversation was made, grew or shrank: the compat sockets of its members watch it too."""
        if len(members) > PRESENCE_MEMBERS_MAX:
            return
        people = set(members)
        for user_id in people & self.compat.keys():
            for connection in self.compat[user_id]:
                rooms = self._compat_rooms.get(connection)
                if rooms is not None and room_id not in rooms:
                    rooms.add(room_id)
                    self.small_rooms.watch(room_id, people)

    def _channel(self, room_id: int, top_seq: int) -> Channel:
        channel = self.channels.get(room_id)
        if channel is None:
            channel = self.channels[room_id] = Channel(room_id, top_seq)
        return channel

    def _drop_if_empty(self, channel: Channel) -> None:
        if not channel.attachments and not channel.compat_typing:
            self.channels.pop(channel.id, None)

    # -- the audience -------------------------------------------------------------------------------------------

    def publish(self, event: RoomEvent, members: Mapping[int, object]) -> None:
        """Tell everybody who may hear *event*."""
        channel = self.channels.get(event.room_id)
        if self.summaries.rooms:
            self.summaries.note(event)
        if type(event) is MessageCommitted:
            self._publish_message(event, channel, members)
            self._told(channel)
        elif isinstance(event, MessageChanged):
            changes.publish(self, event, channel, members)
            self._told(channel)
        elif isinstance(event, MarkerMoved):
            self._publish_marker(event, channel)
        elif isinstance(event, TypingChanged):
            self._publish_typing(event, channel)
        elif isinstance(event, MemberChanged):
            self._publish_member(event, channel, members)

    def _told(self, channel: Channel | None) -> None:
        """Of a channel that is walked the end of the walk says it."""
        if channel is None or not channel.is_walking:
            self.delivery.told(self.delivery.committed_at())

    def news_for(self, user_ids: Iterable[int]) -> None:
        """Their notifiers have something to fold in."""
        self.on_news(user_ids)

    def _publish_message(self, event: MessageCommitted, channel: Channel | None, members: Mapping[int, object]) -> None:
        if channel is not None:
            frame, own_frame = events.v1_message(event)
            self.tell(channel, Recent(event.seq, event.sender_id, frame, own_frame))
        if self.compat or self.coming:
            self._publish_compat_message(event, members)

    def tell(self, channel: Channel, recent: Recent) -> None:
        """Tell a room the next of its log."""
        behind = self._hold_back(channel) if recent.seq > channel.top_seq + 1 else []
        channel.recent.append(recent)
        channel.top_seq = recent.seq
        if channel.is_walking or len(channel.attachments) > WALK_SOCKETS_MIN:
            self._walker.walk_soon(channel, self.delivery.committed_at())
        else:
            is_hidden = recent.is_said and self.blocks.hiders
            hiders = self.blocks.hiders_of(recent.sender_id, recent.by_id) if is_hidden else NOBODY
            skip = recent.skip_frame(channel.id) if hiders else recent.frame
            self._tell_live(channel, recent, skip, hiders)
        for attachment in behind:
            self.on_fallen_behind(channel, attachment)

    async def wait_told(self, room_id: int) -> None:
        """Wait until most of what a large room has said is told; for who brings hundreds of people in."""
        await self._walker.wait_told(self.channels.get(room_id))

    @staticmethod
    def _hold_back(channel: Channel) -> list[Attachment]:
        """Messages were stored that nobody here was told: whoever is live reads them from storage first."""
        channel.recent.clear()
        channel.ranks.disband()
        behind = [attachment for attachment in channel.attachments.values() if attachment.is_live]
        for attachment in behind:
            attachment.is_live = False
        return behind

    @staticmethod
    def _tell_live(channel: Channel, recent: Recent, skip: bytes, hiders: Collection[int]) -> None:
        """skip: what *hiders* get, who are not shown what the sender says."""
        seq, sender_id, frame, own_frame = recent.seq, recent.sender_id, recent.frame, recent.own_frame
        if channel.ranks:  # it was a large room
            channel.ranks.disband()
        # A copy: a message may be what closes a slow reader, and with it takes it out of the room.
        for connection, attachment in list(channel.attachments.items()):
            if attachment.is_live and attachment.seq < seq:  # else it read so far in storage, before we were told
                attachment.seq = seq
                if hiders and attachment.user_id in hiders:  # also of a reaction to what they have said themselves
                    connection.write(skip)
                else:
                    connection.write(own_frame if attachment.user_id == sender_id else frame)

    def _publish_compat_message(self, event: MessageCommitted, members: Mapping[int, object]) -> None:
        hiders = self.blocks.hiders.get(event.sender_id, NOBODY)
        here, coming = self.compat_members(members), self.coming.among(members)
        if not here and not coming:
            return
        frame = own_frame = events.compat_message(event)
        if event.is_from_rest:
            own_frame = events.compat_message_sent(
                event.id, event.room_id, event.seq, event.at_ms, None, event.client_id
            )
        for user_id in here:
            if user_id not in hiders:
                self.tell_compat(user_id, own_frame if user_id == event.sender_id else frame)
        for user_id in coming:
            about = event.room_id, event.seq
            self.coming.keep(user_id, event.sender_id, own_frame if user_id == event.sender_id else frame, about)

    def compat_members(self, members: Mapping[int, object]) -> list[int]:
        """Members that have a compat socket; walks the smaller of the two."""
        if len(members) < len(self.compat):
            return [user_id for user_id in members if user_id in self.compat]
        return [user_id for user_id in self.compat if user_id in members]

    def tell_compat(self, user_id: int, frame: bytes, kind: int = DURABLE) -> None:
        """Tell all compat sockets of a user."""
        for connection in list(self.compat.get(user_id, ())):
            connection.write(frame, kind)

    def _publish_marker(self, event: MarkerMoved, channel: Channel | None) -> None:
        self.changed_for.note(event.user_id)
        if event.is_private:
            return
        if channel is not None:
            self.receipts.note(channel, event)
        for message_id, author_id in event.messages:
            if self.blocks.are_apart(author_id, event.user_id):
                continue
            if author_id in self.compat:
                self.tell_compat(author_id, events.compat_read(event, message_id))
            if author_id in self.coming:
                self.coming.keep(author_id, event.user_id, events.compat_read(event, message_id))

    def _publish_typing(self, event: TypingChanged, channel: Channel | None) -> None:
        hiding = {user_id for user_id in event.users if self.is_hiding(user_id)}
        if hiding:  # since they said it, or since the room did: it has not heard yet that they stopped
            users = {user_id: name for user_id, name in event.users.items() if user_id not in hiding}
            changed = {user_id: change for user_id, change in event.changed.items() if user_id not in hiding}
            event = replace(event, users=users, changed=changed)
        if event.users:
            self.typists[event.room_id] = event.users
        else:
            self.typists.pop(event.room_id, None)
        if channel is None:
            return
        self._tell_typing(channel, event)
        now_ms, dropped = self.clock.wall_milliseconds(), self._engine.dropped_ephemeral
        if channel.compat_typing:
            told = {one: (name, self._engine.now) for one, (name, _) in event.changed.items()}
            channel.typed = (channel.typed or {}) | told
        for user_id, (name, is_typing) in event.changed.items():
            frame = events.compat_typing(event.room_id, user_id, name, now_ms, is_typing=is_typing)
            for connection, listener_id in tuple(channel.compat_typing.items()):
                is_coming = self.coming.holds(connection, listener_id)
                if listener_id != user_id and not is_coming and not self.blocks.are_apart(listener_id, user_id):
                    connection.write(frame, EPHEMERAL if is_typing else CONTROL)
        if self._engine.dropped_ephemeral != dropped:
            self.overdue.note_typing(channel)

    def _tell_typing(self, channel: Channel, event: TypingChanged) -> None:
        """Who has blocked one of them, or was blocked by one, is told of the others, and only when these changed."""
        frame = events.v1_typing(event)
        has_ended = any(not is_typing for _, is_typing in event.changed.values())  # nothing would make that good
        kind = CONTROL if has_ended else EPHEMERAL
        dropped, is_overdue = self._engine.dropped_ephemeral, bool(self.overdue)
        for connection, attachment in tuple(channel.attachments.items()):  # a copy: it may close a slow reader
            apart = self.blocks.apart_from(attachment.user_id)
            if not apart or apart.isdisjoint({*event.users, *event.changed}):
                connection.write(frame, kind)
            elif not apart.issuperset(event.changed):
                connection.write(events.v1_typing(event, apart), kind)
            else:
                continue
            if is_overdue and has_ended:
                self.overdue.told_typing(connection, channel.id)
        if self._engine.dropped_ephemeral != dropped:
            self.overdue.note_typing(channel)

    def typists_shown(self, room_id: int, viewer_id: int) -> dict[int, str]:
        """Who types there, for one viewer. Who has hidden is out at once, whenever the room says that they stopped."""
        typists, apart = self.typists.get(room_id, {}), self.blocks.apart_from(viewer_id)
        return {one: name for one, name in typists.items() if one not in apart and not self.is_hiding(one)}

    def tell_typists(self, connection: Connection, room_id: int) -> None:
        """To a socket that has come into a room: who types there now. Nothing when it is nobody that it may see."""
        channel, viewer_id = self.channels.get(room_id), connection.session.user_id
        if channel is None or viewer_id is None or self.coming.holds(connection, viewer_id):
            return
        shown = self.typists_shown(room_id, viewer_id)
        if shown and connection in channel.attachments:
            connection.write(events.v1_typing(TypingChanged(room_id, shown, {})), CONTROL)
        elif connection in channel.compat_typing:
            now_ms = self.clock.wall_milliseconds()
            for user_id in shown.keys() - {viewer_id}:
                frame = events.compat_typing(room_id, user_id, shown[user_id], now_ms, is_typing=True)
                connection.write(frame, CONTROL)

    def sight_changed(self, user_id: int, other_id: int) -> None:
        """A block of two began or ended: who of them types is taken from the other's sight, or shown again."""
        for room_id, typists in tuple(self.typists.items()):
            channel = self.channels.get(room_id)
            for viewer_id, typist_id in ((user_id, other_id), (other_id, user_id)):
                if channel is not None and typist_id in typists:
                    self._tell_typing_to(viewer_id, channel, typist_id, typists[typist_id])

    def _tell_typing_to(self, viewer_id: int, channel: Channel, typist_id: int, name: str) -> None:
        shown = self.typists_shown(channel.id, viewer_id)
        frame = events.v1_typing(TypingChanged(channel.id, shown, {}))
        for connection in tuple(self._engine.connections_of(viewer_id)):
            if connection in channel.attachments:
                connection.write(frame, CONTROL)
            elif connection in channel.compat_typing and not self.coming.holds(connection, viewer_id):
                now_ms, is_typing = self.clock.wall_milliseconds(), typist_id in shown
                page_frame = events.compat_typing(channel.id, typist_id, name, now_ms, is_typing=is_typing)
                connection.write(page_frame, CONTROL)

    def _publish_member(self, event: MemberChanged, channel: Channel | None, members: Mapping[int, object]) -> None:
        """In its place to who hears the room, and to all sockets of the user: to who leaves as the last of it."""
        self.changed_for.note(event.user_id)
        known = self.small_rooms.members.get(event.room_id)
        theirs, frame = list(self._engine.connections_of(event.user_id)), events.v1_member(event)
        if not event.is_active:
            self.receipts.forget(event.room_id, event.user_id)
            for connection in theirs:
                self.detach(connection, event.room_id)
        elsewhere = [one for one in theirs if one.session.is_v1 and not self.is_attached(one, event.room_id)]
        if channel is not None and event.seq:
            self.tell(channel, recent_member(event))
            self.receipts.note_member(channel, event)
        for connection in elsewhere:
            connection.write(frame)
        for connection in theirs:
            if not event.is_active:
                self.stop_listening_to_typing(connection, event.room_id)
            connection.session.membership_changed(event.room_id, is_in=event.is_active)
        self.small_rooms.member_changed(event)
        if event.is_active:
            self.room_made(event.room_id, members)
        self.on_member_changed(event, known or self.small_rooms.members.get(event.room_id))
        if known is None:
            self._look_if_small(event, members)

    def _look_if_small(self, event: MemberChanged, members: Mapping[int, object]) -> None:
        """A room that was not known to be small may be so now: then its pages watch it, and all are told who is there.

        Also when it is the heir of its last admin who is told of first, at the size that it has without the admin.
        """
        if not event.is_active and len(members) <= PRESENCE_MEMBERS_MAX:
            left = [user_id for user_id in members if user_id != event.user_id]
            self.room_made(event.room_id, left)
            self.small_rooms.became_small(event.room_id, left)
        if event.room_id in self.small_rooms.members:
            self.on_small(event.room_id)

    def _fell_behind(self, channel: Channel, attachment: Attachment) -> None:
        attachment.fall_out()
        attachment.is_live = False
        self.on_fallen_behind(channel, attachment)


def _nobody_folds(user_ids: Iterable[int]) -> None:
    raise AssertionError("there are notes for users and nobody was named to fold them in")


def _nobody_replays(channel: Channel, attachment: Attachment) -> None:
    raise AssertionError(f"room {channel.id}: a socket fell behind and no replayer was made")
