"""The part of a room's actor that reacts and pins: the shell around `marks.py`.

What the room remembers of a message is decided in memory, like a send. Else storage is asked first, when all that the
room has decided is stored: so a reaction behind a deletion that waits for storage is refused.
"""

from collections.abc import Awaitable

from greenroom.actors.errors import RefusalCode, Refused
from greenroom.actors.events import MessageChanged
from greenroom.actors.room import changes, marks
from greenroom.actors.room.changing import Answer, ChangesMessages
from greenroom.actors.room.commands import Changed, Pin, React
from greenroom.actors.room.mark_memory import REACTIONS_READ_MAX, Reactions, Standing
from greenroom.actors.room.state import RoomState
from greenroom.runtime import handles
from greenroom.storage.postgres.conversations import StoredMessage


class MarksMessages(ChangesMessages):
    """Mixed into the room's actor."""

    @handles(React)
    def react(self, command: React) -> Answer | Awaitable[Answer]:
        """Put a reaction on a message, or take it off."""
        room = self._room
        if room is None:
            return Refused.because(RefusalCode.CONVERSATION_NOT_FOUND)
        refused = marks.may_mark(room, command)
        if refused is not None:
            return refused
        known = room.marks.reactions_on(command.message_id)
        if known is None or not known.knows(command.user_id):
            return self._read_and_react(command, known)
        return self._react_to(room, command, known)

    @handles(Pin)
    def pin(self, command: Pin) -> Answer | Awaitable[Answer]:
        """Pin a message in its room, or let it go."""
        room = self._room
        if room is None:
            return Refused.because(RefusalCode.CONVERSATION_NOT_FOUND)
        refused = marks.may_mark(room, command)
        if refused is not None:
            return refused
        target, pins = changes.target_in(room, command.message_id), room.marks.pins
        if target is None or pins is None:
            return self._read_and_pin(command)
        return self._pin_to(room, command, target.message, pins)

    async def _read_and_react(self, command: React, known: Reactions | None) -> Answer:
        """known: of the message, but not of the user. Nothing of theirs waits for storage: they would be known."""
        if known is not None:
            stored = await self._conversations.reactions_of(command.message_id, command.user_id)
            if self._room is not None:
                self._room.marks.learn(known, command.user_id, stored)
        else:
            await self.ctx.flushed()
            message = await self._message(command.message_id)
            if message is None:
                return changes.NO_MESSAGE
            known = await self._reactions_to(message, command.user_id)
            if self._room is not None and message.deleted_at_ms is None:
                self._room.marks.keep(known)
        return changes.NO_MESSAGE if self._room is None else self._react_to(self._room, command, known)

    async def _reactions_to(self, message: StoredMessage, user_id: int) -> Reactions:
        users = await self._conversations.reaction_counts(message.id)
        if sum(users.values()) <= REACTIONS_READ_MAX:
            return Reactions(message, await self._conversations.reactions_on(message.id))
        known = Reactions(message, users=users)
        known.learn(user_id, await self._conversations.reactions_of(message.id, user_id))
        return known

    async def _read_and_pin(self, command: Pin) -> Answer:
        await self.ctx.flushed()
        message = await self._message(command.message_id)
        if message is None or self._room is None:
            return changes.NO_MESSAGE
        pins = self._room.marks.pins
        if pins is None:
            stored = await self._conversations.pins_of(self._id)
            pins = self._room.marks.pins = {pin.message_id: Standing(pin.seq, pin.pinned_at_ms) for pin in stored}
        return self._pin_to(self._room, command, message, pins)

    async def _message(self, message_id: int) -> StoredMessage | None:
        found = await self._conversations.message_to_change(self._id, message_id)
        return None if found is None else found[0]

    def _react_to(self, room: RoomState, command: React, known: Reactions) -> Answer:
        decided = marks.decide_reaction(room, command, known)
        return self._mark(room, command, known.message) if decided is None else decided

    def _pin_to(self, room: RoomState, command: Pin, message: StoredMessage, pins: dict[int, Standing]) -> Answer:
        decided = marks.decide_pin(room, command, message, pins)
        return self._mark(room, command, message) if decided is None else decided

    def _mark(self, room: RoomState, command: React | Pin, message: StoredMessage) -> Answer:
        write = marks.write_of(room, command, self.ctx.now_ms())
        self.ctx.write(write)
        event, members = MessageChanged(room.id, marks.apply_mark(room, write, message)), room.members
        self.ctx.after_commit(lambda: self._tell_change(event, members))
        return Changed(write.seq, write.at_ms, is_duplicate=False, message=message)
