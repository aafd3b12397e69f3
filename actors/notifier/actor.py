"""The notifier's actor: the shell around `state.py`.

    room ──commit──▶ its own rows + a note ──FoldNotes──▶ notifier ──commit──▶ event in the stream, no note ──▶ devices
                              └──── kill -9 ────▶ the note is there when the user's notifier looks next

A note is stored with what it tells of and taken with the event that it becomes, so it is neither lost nor told twice.
What the notifier is told is only that there may be some; it reads them itself, all that there are.
"""

from typing import Protocol

from greenroom.actors.notifier import state as rules
from greenroom.actors.notifier.commands import FoldNotes
from greenroom.runtime import Actor, StopReason, StorageUnavailable, handles
from greenroom.storage.postgres.user_streams import Note, Standing, UserEvent, UserStreams
from greenroom.storage.user_writes import AppendUserEvent, TakeNote, TrimUserEvents

NOTES_AT_ONCE = 256
STORAGE_PAUSE_SECONDS = 1.0


class Devices(Protocol):
    """Those who hear a user's stream: the user's sockets of this process. Nothing here may wait."""

    def tell(self, user_id: int, epoch: int, events: list[UserEvent]) -> None:
        """These events are stored, in the order of the stream. epoch: of the stream."""
        ...

    def stands_at(self, user_id: int, standing: Standing) -> None:
        """So far the stream is by what is stored: some of it may not have been told."""
        ...

    def forget(self, user_id: int) -> None:
        """What is known of the user's stream may be out of date: ask storage."""
        ...


class NotifierActor(Actor):
    """One user."""

    def __init__(self, user_id: int, streams: UserStreams, devices: Devices) -> None:
        self._user_id = user_id
        self._streams = streams
        self._devices = devices
        self._useq = 0
        self._epoch = 1

    async def start(self) -> None:
        """Load."""
        standing = await self._streams.standing(self._user_id)
        self._useq, self._epoch = standing.useq, standing.epoch
        self._devices.stands_at(self._user_id, standing)

    def stopping(self, reason: StopReason) -> None:
        """What was under way may be stored or not: look what there is."""
        if self.ctx.broken_by is not None or reason is StopReason.CRASHED:
            self._devices.forget(self._user_id)
            self.ctx.tell_next_activation(FoldNotes())

    @handles(FoldNotes)
    async def fold_notes(self, command: FoldNotes) -> None:
        """Fold in what there is, a page at a time; what one page holds is told before the next is read."""
        try:
            notes = await self._streams.notes(self._user_id, NOTES_AT_ONCE)
        except StorageUnavailable:
            self._devices.forget(self._user_id)
            self.ctx.tell_self_after(STORAGE_PAUSE_SECONDS, command)
            return
        if notes:
            self._fold(notes)
            await self.ctx.flushed()  # else the next look would find what is on its way already
        if len(notes) == NOTES_AT_ONCE:
            self.ctx.tell_self_after(0, command)

    def _fold(self, notes: list[Note]) -> None:
        for note in notes:
            self.ctx.write(TakeNote(note.id, note.seq))
        self._append(rules.fold(self._useq, notes))

    def _append(self, events: list[UserEvent]) -> None:
        for event in events:
            self.ctx.write(AppendUserEvent(self._user_id, *event))
        before, self._useq = self._useq, events[-1].useq
        up_to = rules.trimmed_up_to(before, self._useq)
        if up_to is not None:
            self.ctx.write(TrimUserEvents(self._user_id, up_to))
        self.ctx.after_commit(lambda: self._devices.tell(self._user_id, self._epoch, events))
