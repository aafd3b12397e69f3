"""The part of a room's actor that says things: the shell around `decide_send`.

What memory knows enough of is decided in memory, and the next command is taken at once. A message with files, or one
that names messages beyond memory, asks storage first.
"""

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from greenroom.actors.errors import RefusalCode, Refused
from greenroom.actors.events import Audience, MessageCommitted
from greenroom.actors.room import details
from greenroom.actors.room import state as rules
from greenroom.actors.room.commands import Send, Sent
from greenroom.actors.room.files import files_of
from greenroom.actors.room.state import RoomState
from greenroom.runtime import Actor, handles
from greenroom.storage.postgres.conversations import Conversations, StoredMessage
from greenroom.storage.postgres.uploads import Upload, Uploads
from greenroom.storage.writes import AttachFiles, DescribeMessage, InsertMessage

NOT_FOUND = Refused.because(RefusalCode.CONVERSATION_NOT_FOUND)


class MessageIds(Protocol):
    """Where ids of messages come from."""

    def take_nowait(self) -> int:
        """The next id. Never waits. Raises: StorageUnavailable when there is none left."""
        ...


@dataclass(slots=True)
class Found:
    """What storage knows of a message that is to be sent: files that its sender may send, messages that it names."""

    files: list[Upload] = field(default_factory=list)
    named: list[StoredMessage] = field(default_factory=list)


class SendsMessages(Actor):
    """Mixed into the room's actor."""

    _id: int
    _room: RoomState | None
    _conversations: Conversations
    _uploads: Uploads
    _ids: MessageIds
    _audience: Audience
    _told_seq: int

    @handles(Send)
    def send(self, command: Send) -> Sent | Refused | Awaitable[Sent | Refused]:
        """Store a message once."""
        room = self._room
        if room is None:
            return NOT_FOUND
        if command.sender_id not in room.members:  # before anything is asked for them
            return Refused.because(RefusalCode.NOT_MEMBER)
        if (
            command.files
            or (command.details is not None and not details.are_remembered(room, command.details))
            or (command.client_id is not None and (self.ctx.is_redo or rules.may_have_forgotten(room, command)))
        ):
            return self._look_and_send(command)
        return self._send(room, command)

    async def _look_and_send(self, command: Send) -> Sent | Refused:
        """Ask storage first: whether it was sent before, or what goes with it once all others' are known there."""
        if command.client_id is not None:
            before = await self._conversations.sent_before(self._id, command.sender_id, command.client_id)
            if before is not None and self._room is not None and command.sender_id in self._room.members:
                rules.note_repeated(self._room, command)
                return rules.answer_again(before, rules.digest_of(command))
        found = Found() if command.is_over_limit else await self._look_for_companions(command)
        if self._room is None:
            return NOT_FOUND
        answer = self._send(self._room, command, found)
        if isinstance(answer, Sent) and not answer.is_duplicate:
            self._room.repeaters.discard(command.sender_id)
        return answer

    async def _look_for_companions(self, command: Send) -> Found:
        found = Found()
        if not command.files and command.details is None:
            return found
        await self.ctx.flushed()
        if command.files:
            found.files = await self._uploads.to_send(command.files, command.sender_id, self.ctx.now_ms())
        if command.details is not None:
            for message_id in details.named_by(command.details):
                stored = await self._conversations.message_to_change(self._id, message_id)
                if stored is not None:
                    found.named.append(stored[0])
        return found

    def _send(self, room: RoomState, command: Send, found: Found | None = None) -> Sent | Refused:
        decision = rules.decide_send(room, command, self._ids.take_nowait(), self.ctx.now_ms())
        if not isinstance(decision, InsertMessage):
            return decision
        companions = rules.NONE
        if command.files or command.details is not None:
            with_it = _companions_of(room, command, decision, found)
            if isinstance(with_it, Refused):
                return with_it
            companions = with_it
            for write in companions.writes:
                self.ctx.write(write)
        self.ctx.write(decision)
        members = room.members
        event = MessageCommitted(
            room.id,
            decision.id,
            decision.seq,
            command.sender_id,
            command.sender_name,
            command.client_id,
            command.content,
            decision.created_at_ms,
            command.is_from_rest,
            companions.attachments,
            companions.details,
        )
        self.ctx.after_commit(lambda: self._tell(event, members))
        rules.apply_send(room, decision, command.sender_name, companions)
        if command.sender_id in room.typists:
            self._stop_typing(room, command.sender_id)
        return Sent(
            decision.id, decision.seq, decision.created_at_ms, False, companions.attachments, companions.details
        )

    def _tell(self, event: MessageCommitted, members: Mapping[int, object]) -> None:
        self._told_seq = event.seq
        self._audience.publish(event, members)

    def _stop_typing(self, room: RoomState, user_id: int) -> None:
        raise NotImplementedError


def _companions_of(
    room: RoomState, command: Send, insert: InsertMessage, found: Found | None
) -> rules.Companions | Refused:
    writes, attachments, told, thread_id = list[AttachFiles | DescribeMessage](), "", "", 0
    if command.files:
        files = files_of(command, insert, () if found is None else found.files)
        if isinstance(files, Refused):
            return files
        writes.append(files)
        attachments = files.told
    if command.details is not None:
        named = details.remembered(room, command.details) if found is None else found.named
        description = details.description_of(room, command, insert, named)
        if isinstance(description, Refused):
            return description
        writes.append(description)
        told, thread_id = description.told, description.thread_id or 0
    return rules.Companions(tuple(writes), attachments, told, thread_id)
