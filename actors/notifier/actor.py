"""The notifier's actor: the shell around `state.py`.

    room ──commit──▶ its own rows + a note ──FoldNotes──▶ notifier ──commit──▶ event in the stream, no note ──▶ devices
                              └──── kill -9 ────▶ the note is there when the user's notifier looks next

A note is stored with what it tells of and taken with the event that it becomes, so it is neither lost nor told twice.
What the notifier is told is only that there may be some; it reads them itself, all that there are.
"""

from collections import OrderedDict
from typing import Protocol

import trio

from greenroom.actors.errors import RefusalCode, Refused
from greenroom.actors.notifier import state as rules
from greenroom.actors.notifier.commands import (
    Block,
    ChangePreferences,
    FoldNotes,
    HaveRoomsLook,
    MarkNotifications,
    NotificationsChanged,
    Notified,
    Notify,
)
from greenroom.actors.notifier.preferences import DEFAULTS, Contradiction, Preferences, changed
from greenroom.actors.room.commands import LookAtBlocks
from greenroom.runtime import Actor, ActorError, StopReason, StorageUnavailable, handles
from greenroom.storage.postgres.blocks import Blocks
from greenroom.storage.postgres.conversations import Conversations
from greenroom.storage.postgres.notifications import COUNTED_NOTIFICATIONS, Notifications, SentUnder
from greenroom.storage.postgres.preferences import StoredPreferences
from greenroom.storage.postgres.user_streams import Note, Standing, UserEvent, UserStreams
from greenroom.storage.user_writes import (
    AppendUserEvent,
    PutBlock,
    PutPreferences,
    ReadNotifications,
    TakeNote,
    TrimUserEvents,
)

NOTES_AT_ONCE = 256
NOTIFICATIONS_AT_ONCE = 500
SENT_KEPT = 256
STORAGE_PAUSE_SECONDS = 1.0
LOOK_SECONDS_MAX = 2.0  # the notifier does nothing else meanwhile
LOOK_PAUSE_SECONDS = 0.25

Unlooked = dict[int, set[int]]  # by who blocked: those whose room with them may not have looked since; outlives actors


class ObjectIds(Protocol):
    """Where ids of notifications come from."""

    def take_nowait(self) -> int:
        """The next id. Never waits. Raises: StorageUnavailable when there is none left."""
        ...


class Devices(Protocol):
    """Those who hear a user's stream: the user's sockets of this process. Nothing here may wait."""

    def tell(self, user_id: int, epoch: int, events: list[UserEvent]) -> None:
        """These events are stored, in the order of the stream. epoch: of the stream."""
        ...

    def version(self) -> int:
        """Of all that is known of users: what `stands_at` wants from before storage was asked."""
        ...

    def stands_at(self, user_id: int, standing: Standing, version: int) -> bool:
        """So far the stream is by what is stored: some of it may not have been told.

        False: whom the user sees, or what was left for them, has changed since *version*: this may be older, and
        storage is to be asked again.
        """
        ...

    def blocked(self, user_id: int, other_id: int, *, is_blocked: bool) -> None:
        """It is stored that the user blocks another one, or does so no more."""
        ...

    def forget(self, user_id: int) -> None:
        """What is known of the user's stream may be out of date: ask storage."""
        ...


class NotifierActor(Actor):
    """One user."""

    def __init__(
        self,
        user_id: int,
        streams: UserStreams,
        notifications: Notifications,
        blocks: Blocks,
        preferences: StoredPreferences,
        conversations: Conversations,
        ids: ObjectIds,
        devices: Devices,
        unlooked: Unlooked,
    ) -> None:
        self._user_id = user_id
        self._streams = streams
        self._notifications = notifications
        self._blocks = blocks
        self._stored_preferences = preferences
        self._preferences: Preferences | None = None  # also what is not stored yet; None until it matters
        self._conversations = conversations
        self._ids = ids
        self._devices = devices
        self._unlooked = unlooked
        self._unread: int | None = None  # notifications; None until it matters
        self._unread_until_ms: int | None = None  # then the first of these expires, and they are counted anew
        self._sent: OrderedDict[str, SentUnder] = OrderedDict()  # lately, also what is not stored yet
        self._useq = 0
        self._epoch = 1

    async def start(self) -> None:
        """Load."""
        while True:
            version = self._devices.version()
            standing = await self._streams.standing(self._user_id)
            if self._devices.stands_at(self._user_id, standing, version):
                break
        self._useq, self._epoch = standing.useq, standing.epoch
        if self._user_id in self._unlooked:
            self.ctx.tell_self_after(0, HaveRoomsLook())

    def stopping(self, reason: StopReason) -> None:
        """What was under way may be stored or not: look what there is."""
        is_in_doubt = self.ctx.broken_by is not None or reason is StopReason.CRASHED
        if is_in_doubt:
            self._devices.forget(self._user_id)
        if is_in_doubt or self._user_id in self._unlooked:
            self.ctx.tell_next_activation(FoldNotes())

    @handles(FoldNotes)
    async def fold_notes(self, command: FoldNotes) -> None:
        """Fold in what there is, a page at a time; what one page holds is told before the next is read."""
        try:
            notes = await self._streams.notes(self._user_id, NOTES_AT_ONCE)
            unread = 0
            if any(note.kind == rules.EXPIRED for note in notes):
                await self.ctx.flushed()  # what is on its way counts
                unread = await self._count(self.ctx.now_ms())
        except StorageUnavailable:
            self._devices.forget(self._user_id)
            self.ctx.tell_self_after(STORAGE_PAUSE_SECONDS, command)
            return
        if notes:
            self._fold(notes, unread)
            await self.ctx.flushed()  # else the next look would find what is on its way already
        if len(notes) == NOTES_AT_ONCE:
            self.ctx.tell_self_after(0, command)
        elif command.is_of_coming:
            self.ctx.stop()

    # -- notifications ------------------------------------------------------------------------------------------

    @handles(Notify)
    async def notify(self, command: Notify) -> Notified | Refused:
        """Store a notification once, and tell it."""
        key = command.sent_under
        if key is not None:
            before = self._sent.get(key) or await self._notifications.sent_under(self._user_id, key)
            if before is not None:
                if before.digest != rules.digest_of(command):
                    return Refused(RefusalCode.CLIENT_ID_CONFLICT, "this key was used for another notification")
                return Notified(before.id, is_duplicate=True)
        now_ms, before_it = self.ctx.now_ms(), await self._unread_now()
        is_over = command.expires_at_ms is not None and command.expires_at_ms <= now_ms
        unread = before_it if is_over else min(before_it + 1, COUNTED_NOTIFICATIONS)
        row = rules.row_of(command, self._ids.take_nowait(), self._user_id, now_ms)
        self.ctx.write(row)
        if is_over:  # it is shown nowhere
            self.ctx.write(ReadNotifications(self._user_id, (row.id,), now_ms, is_deleted=True))
            self._append([self._next("notification_deleted", rules.changed_data((row.id,), unread))])
        else:
            self._append([self._next("notification", rules.notification_data(row, unread))])
            ends = (at_ms for at_ms in (self._unread_until_ms, row.expires_at_ms) if at_ms is not None)
            self._unread_until_ms = min(ends, default=None)
        self._unread = unread
        if key is not None and row.sent_digest is not None:
            self._sent[key] = SentUnder(row.id, row.sent_digest)
            if len(self._sent) > SENT_KEPT:
                self._sent.popitem(last=False)
        return Notified(row.id, is_duplicate=False)

    @handles(MarkNotifications)
    async def mark(self, command: MarkNotifications) -> NotificationsChanged:
        """Mark them read, or delete them, a page at a time; each page is one event."""
        changed: list[int] = []
        await self.ctx.flushed()  # what was sent just now is marked too
        while page := await self._page_to_mark(command):
            now_ms = self.ctx.now_ms()
            unread = await self._count(now_ms, without=page)
            self.ctx.write(ReadNotifications(self._user_id, page, now_ms, command.is_deleted))
            kind = "notification_deleted" if command.is_deleted else "notification_read"
            self._append([self._next(kind, rules.changed_data(page, unread))])
            changed += page
            await self.ctx.flushed()  # else the next look would find them once more
        return NotificationsChanged(tuple(changed), await self._unread_now())

    async def _page_to_mark(self, command: MarkNotifications) -> tuple[int, ...]:
        find = self._notifications.kept if command.is_deleted else self._notifications.unread
        return await find(self._user_id, command.ids, NOTIFICATIONS_AT_ONCE)

    async def _unread_now(self) -> int:
        now_ms = self.ctx.now_ms()
        if self._unread is None or (self._unread_until_ms is not None and self._unread_until_ms <= now_ms):
            await self.ctx.flushed()  # what is on its way counts
            return await self._count(now_ms)
        return self._unread

    async def _count(self, now_ms: int, without: tuple[int, ...] = ()) -> int:
        unread, self._unread_until_ms = await self._notifications.count_unread(self._user_id, now_ms, without)
        self._unread = unread
        return unread

    def _next(self, kind: str, data: str) -> UserEvent:
        return UserEvent(self._useq + 1, kind, None, data, self.ctx.now_ms())

    # -- blocks -------------------------------------------------------------------------------------------------

    @handles(Block)
    async def block(self, command: Block) -> bool:
        """Store it once. The answer leaves when whoever is here is treated by it, and the room of the two knows.

        What was so already may have been stored while nobody learned of it: the room looks all the same.
        """
        other_id = command.user_id
        is_new = await self._blocks.is_blocked(self._user_id, other_id) is not command.is_blocked
        self._unlooked.setdefault(self._user_id, set()).add(other_id)
        self.ctx.tell_self_after(0, HaveRoomsLook())  # should who asks be gone before the room has looked
        if is_new:
            self.ctx.write(PutBlock(self._user_id, other_id, command.reason, self.ctx.now_ms(), command.is_blocked))
            self.ctx.after_commit(lambda: self._devices.blocked(self._user_id, other_id, is_blocked=command.is_blocked))
            self._append([self._next("block", rules.block_data(command))])
        await self.ctx.flushed()
        while True:
            if await self._has_room_looked(other_id):
                return is_new
            await trio.sleep(LOOK_PAUSE_SECONDS)

    @handles(HaveRoomsLook)
    async def have_rooms_look(self, _: HaveRoomsLook) -> None:
        """Those that may not have looked since a block was stored; again until each has."""
        looked = [await self._has_room_looked(other_id) for other_id in tuple(self._unlooked.get(self._user_id, ()))]
        if not all(looked):
            self.ctx.tell_self_after(STORAGE_PAUSE_SECONDS, HaveRoomsLook())

    async def _has_room_looked(self, other_id: int) -> bool:
        """Have the room with somebody look at the blocks, if there is one by now; False when it cannot be reached.

        Only once they are stored: a room that is made, or wakes, later reads them itself.
        """
        try:
            room_id = await self._conversations.direct_conversation(self._user_id, other_id)
            if room_id is not None:
                deadline = trio.current_time() + LOOK_SECONDS_MAX
                await self.ctx.ref("room", room_id).ask(LookAtBlocks(), deadline=deadline)
        except ActorError:
            return False
        unlooked = self._unlooked.get(self._user_id, set())
        unlooked.discard(other_id)
        if not unlooked:
            self._unlooked.pop(self._user_id, None)
        return True

    # -- preferences --------------------------------------------------------------------------------------------

    @handles(ChangePreferences)
    async def change_preferences(self, command: ChangePreferences) -> Preferences | Refused:
        """All of it or nothing; what was there already is not stored again."""
        before = self._preferences
        if before is None:
            stored = await self._stored_preferences.of(self._user_id)
            before = None if stored is None else Preferences.model_validate_json(stored)
        try:
            after = changed(before or DEFAULTS, command.changes)
        except Contradiction as error:
            return Refused(RefusalCode.INVALID_CONTENT, str(error))
        if after != before:
            self.ctx.write(PutPreferences(self._user_id, after.model_dump_json(), self.ctx.now_ms()))
        self._preferences = after
        return after

    # -- the stream ---------------------------------------------------------------------------------------------

    def _fold(self, notes: list[Note], unread: int) -> None:
        for note in notes:
            self.ctx.write(TakeNote(note.id, note.seq))
        self._append(rules.fold(self._useq, notes, unread))

    def _append(self, events: list[UserEvent]) -> None:
        for event in events:
            self.ctx.write(AppendUserEvent(self._user_id, *event))
        before, self._useq = self._useq, events[-1].useq
        up_to = rules.trimmed_up_to(before, self._useq)
        if up_to is not None:
            self.ctx.write(TrimUserEvents(self._user_id, up_to))
        self.ctx.after_commit(lambda: self._devices.tell(self._user_id, self._epoch, events))
