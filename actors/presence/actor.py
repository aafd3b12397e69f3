"""The presence actor: folds a user's devices into one status, and shows it when it changes.

The truth about devices is the board's, and so is the user's word, so that neither ends with an activation. Both are
read in every turn: a command that was lost, in a crash or for want of room, is made good by the next one; a crash
brings that next one itself, and who goes round (`http/ws/attendance.py`) brings it to whoever is shown wrongly. Who is
told, and how often, is not decided here; when somebody was last seen is written in batches. That a user is invisible
is stored before it is acknowledged.
"""

from collections.abc import Awaitable, Sequence
from typing import Final, Protocol

from greenroom.actors.presence.commands import Describe, Device, Heartbeat, Look, PresenceView, SetStatus, Status, Wish
from greenroom.actors.presence.state import UNSAID, Wished, fold, view_of
from greenroom.runtime import Actor, StopReason, handles

HEARTBEAT_SECONDS: Final = 300.0  # as in the replaced system; its client says so once a minute


class PresenceBoard(Protocol):
    """Where presence is known and shown: the devices of this process, and storage for what outlives it."""

    def devices_of(self, user_id: int) -> Sequence[Device]:
        """The user's devices now."""
        ...

    def is_coming(self, user_id: int) -> bool:
        """A socket of the user is open and does not count yet."""
        ...

    def hear_from(
        self, user_id: int, session_id: str, name: str, seconds: float, token_issued_at: float | None
    ) -> None:
        """A client without a socket is the user's device for so long; with 0 it is none any more."""
        ...

    def wished_by(self, user_id: int) -> Wished:
        """The user's last word."""
        ...

    def wish(self, user_id: int, wished: Wished) -> None:
        """It is this one from now on."""
        ...

    def gone(self, user_id: int) -> None:
        """The user has no device any more."""
        ...

    async def keep_invisible(self, user_id: int, *, is_invisible: bool) -> None:
        """Store it. Raises: StorageUnavailable; then nothing has changed, or it is not known."""
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

    def stopping(self, reason: StopReason) -> None:
        """After a crash what was being shown is lost: look again, or it may stay so for long."""
        if reason is StopReason.CRASHED:
            self.ctx.tell_next_activation(Look())

    @handles(Look)
    def look(self, _: Look) -> None:
        """See how the user appears now."""
        self._show()

    @handles(SetStatus)
    def set_status(self, command: SetStatus) -> PresenceView | Awaitable[PresenceView]:
        """The user's own word."""
        return self._wish(command.status, command.activity)

    @handles(Heartbeat)
    def heartbeat(self, command: Heartbeat) -> PresenceView | Awaitable[PresenceView]:
        """The user is here without a socket; who says that they are offline is not."""
        seconds = 0.0 if command.status == "offline" else HEARTBEAT_SECONDS
        self._board.hear_from(self._user_id, command.session_id, command.name, seconds, command.token_issued_at)
        return self._wish(command.status, command.activity)

    @handles(Describe)
    def describe(self, _: Describe) -> PresenceView:
        """For the user themselves."""
        return view_of(self._board.devices_of(self._user_id), self._board.wished_by(self._user_id))

    def _wish(self, status: Wish, activity: str) -> PresenceView | Awaitable[PresenceView]:
        wished, before = Wished(status, activity), self._board.wished_by(self._user_id)
        if (status == "invisible") != (before.status == "invisible"):
            return self._wish_durably(wished)
        return self._wish_now(wished)

    async def _wish_durably(self, wished: Wished) -> PresenceView:
        await self._board.keep_invisible(self._user_id, is_invisible=wished.status == "invisible")
        return self._wish_now(wished)

    def _wish_now(self, wished: Wished) -> PresenceView:
        self._board.wish(self._user_id, wished)
        self._show()
        return self.describe(Describe())

    def _show(self) -> None:
        user_id, board = self._user_id, self._board
        devices, wished = board.devices_of(user_id), board.wished_by(user_id)
        now = fold(devices, wished)
        if board.status_of(user_id) != now:
            board.show(user_id, *now, self.ctx.now_ms())
        if not devices and not board.is_coming(user_id):
            if wished.status != "invisible":
                board.wish(user_id, UNSAID)  # who comes back comes back online
            board.gone(user_id)
