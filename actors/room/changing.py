"""The part of a room's actor that edits and deletes: the shell around `changes.py`.

A message that the room remembers is changed in memory, like a send is decided. An older one is read first, when all
that the room has decided is stored: so a deletion that waits for storage is not undone by an edit behind it.
"""

from collections.abc import Awaitable, Mapping

from greenroom.actors.errors import RefusalCode, Refused
from greenroom.actors.events import Audience, MessageChanged
from greenroom.actors.room import changes
from greenroom.actors.room.commands import Changed, Delete, Edit
from greenroom.actors.room.state import RoomState
from greenroom.runtime import Actor, handles
from greenroom.storage.postgres.conversations import Conversations

Answer = Changed | Refused


class ChangesMessages(Actor):
    """Mixed into the room's actor."""

    _id: int
    _room: RoomState | None
    _conversations: Conversations
    _audience: Audience
    _told_seq: int
    _edit_window_ms: int

    @handles(Edit)
    def edit(self, command: Edit) -> Answer | Awaitable[Answer]:
        """Let a message say something else."""
        return self._change(command)

    @handles(Delete)
    def delete(self, command: Delete) -> Answer | Awaitable[Answer]:
        """Erase what a message said."""
        return self._change(command)

    def _change(self, command: Edit | Delete) -> Answer | Awaitable[Answer]:
        room = self._room
        if room is None:
            return Refused.because(RefusalCode.CONVERSATION_NOT_FOUND)
        if command.user_id not in room.members:
            return Refused.because(RefusalCode.NOT_MEMBER)
        target = changes.target_in(room, command.message_id)
        return self._read_and_change(command) if target is None else self._change_to(room, command, target)

    async def _read_and_change(self, command: Edit | Delete) -> Answer:
        await self.ctx.flushed()
        found = await self._conversations.message_to_change(self._id, command.message_id)
        if found is None or self._room is None:
            return changes.NO_MESSAGE
        return self._change_to(self._room, command, changes.Target(*found))

    def _change_to(self, room: RoomState, command: Edit | Delete, target: changes.Target) -> Answer:
        now_ms = self.ctx.now_ms()
        if isinstance(command, Edit):
            decision = changes.decide_edit(room, command, target, now_ms, self._edit_window_ms)
        else:
            decision = changes.decide_delete(room, command, target, now_ms)
        if isinstance(decision, Refused):
            return decision
        if decision is target.message:
            return changes.done_before(target)
        write = changes.write_of(room, decision, command.user_id, now_ms)
        self.ctx.write(write)
        event, members = MessageChanged(room.id, changes.apply_change(room, write, decision)), room.members
        self.ctx.after_commit(lambda: self._tell_change(event, members))
        return Changed(write.seq, now_ms, is_duplicate=False, message=decision)

    def _tell_change(self, event: MessageChanged, members: Mapping[int, object]) -> None:
        self._told_seq = event.entry.seq
        self._audience.publish(event, members)
