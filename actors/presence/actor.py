"""The presence actor: folds a user's sockets into one status, and tells it when it changes.

The truth about sockets is the engine's; an activation begins by asking for them, so that a crash of the actor, or its
passivation, loses nothing. Who is told, and how often, is the board's matter; when somebody was last seen is written
in batches. There is no durable state here that could be lost: nothing is fenced, nothing waits.
"""

from collections.abc import Mapping
from typing import Protocol

from greenroom.actors.presence.commands import Describe, PresenceView, SetStatus, SocketClosed, SocketOpened, Status
from greenroom.actors.presence.state import PresenceState, status_of, view_of
from greenroom.runtime import Actor, handles


class PresenceBoard(Protocol):
    """Where presence is shown: the sockets of this process, and storage for last seen."""

    def sockets_of(self, user_id: int) -> Mapping[int, str]:
        """The user's open sockets now: id → device."""
        ...

    def status_of(self, user_id: int) -> tuple[Status, str]:
        """(status, activity) as shown last; offline when never."""
        ...

    def show(self, user_id: int, status: Status, activity: str, at_ms: int) -> None:
        """The user appears so from now on. Must not wait."""
        ...


class PresenceActor(Actor):
    """One user."""

    def __init__(self, user_id: int, board: PresenceBoard) -> None:
        self._user_id = user_id
        self._board = board
        self._state = PresenceState(dict(board.sockets_of(user_id)))
        status, activity = board.status_of(user_id)
        if status != "offline":
            self._state.chosen, self._state.activity = status, activity

    @handles(SocketOpened)
    def socket_opened(self, command: SocketOpened) -> None:
        """One socket more; unless it is gone again already."""
        if command.socket_id in self._board.sockets_of(self._user_id):
            self._state.sockets[command.socket_id] = command.device
        self._show()

    @handles(SocketClosed)
    def socket_closed(self, command: SocketClosed) -> None:
        """One less."""
        self._state.sockets.pop(command.socket_id, None)
        if not self._state.sockets:
            self._state.chosen, self._state.activity = "online", ""
        self._show()

    @handles(SetStatus)
    def set_status(self, command: SetStatus) -> None:
        """The user's own word."""
        self._state.chosen, self._state.activity = command.status, command.activity
        self._show()

    @handles(Describe)
    def describe(self, _: Describe) -> PresenceView:
        """For whoever may ask."""
        return view_of(self._state)

    def _show(self) -> None:
        shown = self._board.status_of(self._user_id)
        now = status_of(self._state), self._state.activity if self._state.sockets else ""
        if shown != now:
            self._board.show(self._user_id, *now, self.ctx.now_ms())
