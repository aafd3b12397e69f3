"""The room's actor: the shell around `state.py`.

Every command checks membership against memory that only this actor changes. A send decides in memory and takes the
next command at once; the reply and the broadcast leave when the message is stored. When the committer finds a client
id that is older than memory, the batch of this room is redone: the room has then loaded again, and asks the table
before it decides such a command a second time.
"""

from collections.abc import Awaitable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

import trio

from greenroom.actors.errors import RefusalCode, Refused
from greenroom.actors.events import (
    Audience,
    MarkerMoved,
    MemberChanged,
    MessageChanged,
    MessageCommitted,
    TypingChanged,
    member_changed,
)
from greenroom.actors.room import details
from greenroom.actors.room import state as rules
from greenroom.actors.room.commands import (
    AddMembers,
    Enter,
    JoinOpen,
    LookAgain,
    LookAtBlocks,
    MembersChanged,
    Moved,
    Read,
    RemoveMember,
    RoomView,
    Type,
    TypingExpired,
)
from greenroom.actors.room.marking import MarksMessages
from greenroom.actors.room.newest import OLDER_MESSAGES
from greenroom.actors.room.sending import NOT_FOUND, MessageIds, SendsMessages
from greenroom.actors.room.state import PRESENCE_MEMBERS_MAX, TYPING_SECONDS, Member, RoomState, Typist
from greenroom.actors.room.wordless import RUNS_MAX
from greenroom.runtime import CommitOutcome, StopReason, StorageUnavailable, handles
from greenroom.storage.postgres.conversations import MEMBER_CHANGES, Conversations, StoredMessage
from greenroom.storage.postgres.uploads import Uploads
from greenroom.storage.writes import AdvanceMarker, PutParticipant, Role, marker_note, membership_note

STORAGE_PAUSE_SECONDS = 1.0
OLDER_SECONDS_MAX = 2.0  # the room does nothing else meanwhile
OLDER_PAUSE_SECONDS = 10.0
TYPING_TOLD_SECONDS = 1.0  # at most one typing event per room in this time


@dataclass(frozen=True, slots=True)
class Doubt:
    """What listeners had been told before storage went ahead of them: up to which seq, and who is a member.

    untold_marks: the markers that were on their way to storage.
    """

    told_seq: int
    told_members: Mapping[int, Member]
    untold_marks: tuple[MarkerMoved, ...]


Doubts = dict[int, Doubt]  # by room; ended by its next activation

NOT_MEMBER = Refused.because(RefusalCode.NOT_MEMBER)


class RoomActor(SendsMessages, MarksMessages):
    """One conversation. edit_window_ms: for how long a message may be edited; 0: for ever."""

    def __init__(
        self,
        room_id: int,
        conversations: Conversations,
        ids: MessageIds,
        audience: Audience,
        doubts: Doubts,
        edit_window_ms: int,
        uploads: Uploads,
    ) -> None:
        self._id = room_id
        self._uploads = uploads
        self._edit_window_ms = edit_window_ms
        self._doubts = doubts
        self._told_seq = 0
        self._told_members: Mapping[int, Member] = {}
        self._untold_marks: list[MarkerMoved] = []
        self._conversations = conversations
        self._ids = ids
        self._audience = audience
        self._room: RoomState | None = None
        self._typing_changed: dict[int, tuple[str, bool]] = {}
        self._typing_told: Mapping[int, str] = {}  # who types, as listeners know it
        self._typing_told_at = float("-inf")
        self._typing_is_due = False
        self._older_at = float("-inf")  # trio time before which storage is not asked for older messages
        self._expiry_is_at = float("inf")  # trio time of the timer that looks for typists who stopped

    async def start(self) -> None:
        """Load. A room that does not exist stays empty and refuses everything."""
        if self.ctx.owns:
            stored = await self._conversations.load_room(self._id, rules.REMOVED_MAX + 1, RUNS_MAX)
            if stored is not None:
                self._room = rules.from_stored(stored)
                self._told_seq, self._told_members = stored.top_seq, self._room.members
                self._end_doubt(self._room)
        else:
            await trio.lowlevel.checkpoint()

    def stopping(self, reason: StopReason) -> None:
        """Nobody knows what became of the last commit, or another process has owned the room: look what there is.

        Who types is forgotten; the existing client would show them for ever.
        """
        if self._room is not None and self._typing_told:
            gone = {user_id: (name, False) for user_id, name in self._typing_told.items()}
            self._audience.publish(TypingChanged(self._id, {}, gone), self._told_members)
        if self.ctx.broken_by in (CommitOutcome.UNKNOWN, CommitOutcome.FENCED):
            doubt = Doubt(self._told_seq, self._told_members, tuple(self._untold_marks))
            self._doubts.setdefault(self._id, doubt)
            self.ctx.tell_next_activation(LookAgain())

    def _end_doubt(self, room: RoomState) -> None:
        """Tell what was stored after all, in its order.

        First of who came or went before what the room remembers: who is out may not hear what else there is.
        """
        doubt = self._doubts.pop(self._id, None)
        if doubt is None:
            return
        self._audience.news_for({*doubt.told_members, *room.members})
        untold = [entry for entry in room.ring if entry.seq > doubt.told_seq]
        in_place = {entry.sender_id for entry in untold if entry.change in MEMBER_CHANGES}
        for user_id, member in doubt.told_members.items():
            if user_id not in room.members and user_id not in in_place:
                self._audience.publish(MemberChanged(room.id, user_id, member.role, False), room.members)
        for user_id, member in room.members.items():
            if user_id not in doubt.told_members and user_id not in in_place:
                self._audience.publish(MemberChanged(room.id, user_id, member.role, True), room.members)
        for entry in untold:
            self._audience.publish(_event_of(room.id, entry), room.members)
        for event in doubt.untold_marks:
            reader = room.members.get(event.user_id)
            if reader is not None and reader.shown_seq >= event.seq:
                self._audience.publish(replace(event, readers=rules.readers_of(room)), room.members)

    @handles(LookAgain)
    def look_again(self, _: LookAgain) -> None:
        """Being awake was all that was asked."""

    @handles(Enter)
    def enter(self, command: Enter) -> RoomView | Refused | Awaitable[RoomView | Refused]:
        """Show the room to a member."""
        room = self._room
        if room is None:
            return NOT_FOUND
        if command.user_id not in room.members:
            return NOT_MEMBER
        before_seq = rules.unread_before(room, command.user_id)
        if before_seq is not None and trio.current_time() >= self._older_at:
            return self._enter_far_behind(room, command, before_seq)
        return self._view(room, command)

    async def _enter_far_behind(self, room: RoomState, command: Enter, before_seq: int) -> RoomView | Refused:
        """Once in the life of an activation; while storage does not answer what the room counts by itself has to do."""
        self._older_at = trio.current_time() + OLDER_PAUSE_SECONDS
        with trio.move_on_after(OLDER_SECONDS_MAX), suppress(StorageUnavailable):
            await self.ctx.flushed()  # what is deleted counts no more
            room.newest.reach_back(await self._conversations.newest_before(room.id, before_seq, OLDER_MESSAGES))
        return self._view(room, command)

    def _view(self, room: RoomState, command: Enter) -> RoomView:
        member = room.members[command.user_id]
        is_small = len(room.members) <= PRESENCE_MEMBERS_MAX
        return RoomView(
            room_id=room.id,
            epoch=room.epoch,
            top_seq=room.top_seq,
            read_seq=member.read_seq,
            member_count=len(room.members),
            members=frozenset(room.members) if is_small else frozenset(),
            unread=rules.unread(room, command.user_id, command.hides),
            mentions=details.mentions_unread(room, command.user_id, command.hides),
            last=room.last,
            recent=tuple(room.ring) if command.wants_recent else (),
        )

    @handles(Read)
    def read(self, command: Read) -> Moved | Refused:
        """Move a read marker forwards, or what others are told of it; never past the newest message."""
        room = self._room
        if room is None:
            return NOT_FOUND
        member = room.members.get(command.user_id)
        if member is None:
            return NOT_MEMBER
        seq, user_id = min(command.seq, room.top_seq), command.user_id
        read_seq, before = max(seq, member.read_seq), member.shown_seq
        shown_seq = before if command.is_private else max(seq, before)
        if (read_seq, shown_seq) == (member.read_seq, before):
            return Moved(read_seq)
        now_ms = self.ctx.now_ms()
        self.ctx.write(AdvanceMarker(room.id, user_id, read_seq, now_ms, shown_seq))
        if read_seq > member.read_seq:
            self.ctx.write(marker_note(room.id, user_id, read_seq, now_ms))
        messages, is_private = rules.became_read(room, user_id, before, shown_seq), shown_seq == before
        members, readers = room.members, rules.readers_of(room)
        event = MarkerMoved(room.id, user_id, command.user_name, shown_seq, now_ms, messages, is_private, readers)

        def tell() -> None:
            del self._untold_marks[0]
            if readers is not None:
                readers.moved(user_id, shown_seq)
            self._audience.publish(event, members)
            self._audience.news_for((user_id,))

        self._untold_marks.append(event)
        self.ctx.after_commit(tell)
        member.read_seq, member.shown_seq = read_seq, shown_seq
        return Moved(read_seq)

    @handles(LookAtBlocks)
    async def look_at_blocks(self, command: LookAtBlocks) -> None:
        """Ask storage whether the two still speak with each other."""
        try:
            is_apart = await self._conversations.is_apart(self._id)
        except StorageUnavailable:
            self.ctx.tell_self_after(STORAGE_PAUSE_SECONDS, command)
            is_apart = True  # until it is known: nobody is to hear from whom they blocked
        if self._room is not None:
            self._room.is_apart = is_apart

    # -- members ------------------------------------------------------------------------------------------------

    @handles(AddMembers)
    def add_members(self, command: AddMembers) -> MembersChanged | Refused:
        """Bring people in."""
        room = self._room
        if room is None:
            return NOT_FOUND
        decision = rules.decide_add(room, command.by_id, command.user_ids)
        if isinstance(decision, Refused):
            return decision
        now, left_over = decision[: rules.NEWCOMERS_MAX], decision[rules.NEWCOMERS_MAX :]
        return self._bring_in(room, now, left_over)

    @handles(RemoveMember)
    def remove_member(self, command: RemoveMember) -> MembersChanged | Refused:
        """Let somebody go."""
        room = self._room
        if room is None:
            return NOT_FOUND
        return self._send_away(room, rules.decide_remove(room, command.by_id, command.user_id), command.by_id)

    @handles(JoinOpen)
    def join_open(self, command: JoinOpen) -> MembersChanged | Refused:
        """Let somebody into an open group."""
        room = self._room
        if room is None:
            return NOT_FOUND
        decision = rules.decide_join_open(room, command.user_id, is_over_limit=command.is_over_limit)
        return decision if isinstance(decision, Refused) else self._bring_in(room, decision)

    def _bring_in(self, room: RoomState, user_ids: tuple[int, ...], left_over: tuple[int, ...] = ()) -> MembersChanged:
        now_ms = self.ctx.now_ms()
        roles = rules.roles_of_new(room, user_ids)
        events = [self._put(room, user_id, role, now_ms, is_active=True) for user_id, role in roles.items()]
        for user_id in roles:
            self.ctx.write(AdvanceMarker(room.id, user_id, room.top_seq, now_ms))
        rules.apply_add(room, roles)
        for event in events:
            self._publish_member(event, room)
        if len(room.members) > PRESENCE_MEMBERS_MAX:  # too large for typing from now on
            for user_id in tuple(room.typists):
                self._stop_typing(room, user_id)
        return MembersChanged(user_ids, left_over)

    def _send_away(self, room: RoomState, decision: tuple[int, ...] | Refused, by_id: int) -> MembersChanged | Refused:
        if isinstance(decision, Refused):
            return decision
        for user_id in decision:
            self._send_one_away(room, user_id, by_id)
        return MembersChanged(decision)

    def _send_one_away(self, room: RoomState, user_id: int, by_id: int) -> None:
        now_ms, role = self.ctx.now_ms(), room.members[user_id].role
        heir_id = rules.heir(room, user_id) if role == "admin" else None
        rules.apply_remove(room, user_id, by_id)
        if heir_id is not None:  # the last admin goes: somebody must be able to bring people in
            room.members[heir_id].role = "admin"
            self._publish_member(self._put(room, heir_id, "admin", now_ms, is_active=True), room)
        removed_by_id = None if user_id == by_id else by_id
        self._publish_member(self._put(room, user_id, role, now_ms, removed_by_id, is_active=False), room)
        if user_id in room.typists:
            self._stop_typing(room, user_id)

    def _put(
        self,
        room: RoomState,
        user_id: int,
        role: Role,
        now_ms: int,
        removed_by_id: int | None = None,
        *,
        is_active: bool,
    ) -> MemberChanged:
        """Somebody comes, goes or has another role, at the next place of the log; what tells of it."""
        put = PutParticipant(room.id, room.top_seq + 1, user_id, role, is_active, now_ms, removed_by_id)
        self.ctx.write(put)
        self.ctx.write(membership_note(room.id, user_id, role, now_ms, is_active=is_active))
        rules.append_change(room, rules.member_entry(put))
        return MemberChanged(room.id, user_id, role, is_active, put.seq, now_ms)

    def _publish_member(self, event: MemberChanged, room: RoomState) -> None:
        members, readers = room.members, rules.readers_of(room)
        event = replace(event, readers=readers)
        shown_seq = members[event.user_id].shown_seq if event.is_active else 0

        def tell() -> None:
            if readers is not None:
                readers.moved(event.user_id, shown_seq)
            self._told_members, self._told_seq = members, event.seq
            self._audience.publish(event, members)
            self._audience.news_for((event.user_id,))

        self.ctx.after_commit(tell)

    # -- typing: in memory only, and the first thing that may be dropped ----------------------------------------

    @handles(Type)
    def type(self, command: Type) -> Refused | None:
        """Note that a member types or stopped; tell it at most once a second."""
        room = self._room
        if room is None:
            return NOT_FOUND
        if command.user_id not in room.members:
            return NOT_MEMBER
        if len(room.members) > PRESENCE_MEMBERS_MAX or room.is_apart:
            return None
        if command.is_typing:
            if command.user_id not in room.typists:
                self._typing_changed[command.user_id] = (command.user_name, True)
            room.typists[command.user_id] = Typist(command.user_name, trio.current_time() + TYPING_SECONDS)
            self._tell_typing_soon(room)
            self._look_for_expired(room)
        elif command.user_id in room.typists:
            self._stop_typing(room, command.user_id)
        return None

    @handles(TypingExpired)
    def typing_expired(self, _: TypingExpired) -> None:
        """Forget who stopped without saying so, and tell what is due."""
        if self._room is None:
            return
        now = trio.current_time()
        self._typing_is_due = False
        self._typing_changed.update(rules.expire_typists(self._room, now))
        self._tell_typing_soon(self._room)
        if now >= self._expiry_is_at:
            self._expiry_is_at = float("inf")
            self._look_for_expired(self._room)

    def _look_for_expired(self, room: RoomState) -> None:
        """One timer for whoever stops first."""
        first = min((typist.expires_at for typist in room.typists.values()), default=float("inf"))
        if first < self._expiry_is_at:
            self._expiry_is_at = first
            self.ctx.tell_self_after(max(first - trio.current_time(), 0), TypingExpired())

    def _stop_typing(self, room: RoomState, user_id: int) -> None:
        self._typing_changed[user_id] = (room.typists.pop(user_id).name, False)
        self._tell_typing_soon(room)

    def _tell_typing_soon(self, room: RoomState) -> None:
        """Publish now, or once the second since the last time is over."""
        if not self._typing_changed or self._typing_is_due:
            return
        wait_seconds = self._typing_told_at + TYPING_TOLD_SECONDS - trio.current_time()
        if wait_seconds > 0:
            self._typing_is_due = True
            self.ctx.tell_self_after(wait_seconds, TypingExpired())
            return
        self._typing_told_at = trio.current_time()
        changed, self._typing_changed = self._typing_changed, {}
        users = {user_id: typist.name for user_id, typist in room.typists.items()}
        event, members = TypingChanged(room.id, users, changed), room.members

        def tell() -> None:
            self._typing_told, self._typing_told_at = users, trio.current_time()
            self._audience.publish(event, members)

        self.ctx.after_commit(tell)


def _event_of(room_id: int, entry: StoredMessage) -> MessageCommitted | MessageChanged | MemberChanged:
    """What tells of an entry of the log."""
    if entry.change in MEMBER_CHANGES:
        return member_changed(room_id, entry)
    if entry.change:
        return MessageChanged(room_id, entry)
    return MessageCommitted(
        room_id,
        entry.id,
        entry.seq,
        entry.sender_id,
        entry.sender_name,
        entry.client_id,
        entry.content,
        entry.created_at_ms,
        is_from_rest=False,
        attachments=entry.attachments,
        details=entry.details,
    )
