"""`join`: one room more, from where the client is in it.

    join ──▶ the room asked ──▶ let in: ack, (gap), replay, live
                   ▲        └─▶ no member, and `start` could not find that out: storage is asked when they left
                   └──────────────────────── asked again: still none: `member` with `left`, then the error

Asked again, because whoever was let in meanwhile was told so, and would be told that they left after it.
"""

from typing import TYPE_CHECKING, Any

from greenroom.actors.room.commands import RoomView
from greenroom.http.ws.codes import NOT_MEMBER, TOO_MANY_ROOMS
from greenroom.http.ws.services import failure_of
from greenroom.http.ws.v1_commands import ROOMS_MAX, BadCommand, data_of, mode_in, room_item, room_of
from greenroom.http.ws.v1_start import NO_ROOMS, ends_of, left_frame
from greenroom.http.ws.v1_summary import join_none, join_summary
from greenroom.storage.postgres.conversations import EndOfMembership

if TYPE_CHECKING:
    from greenroom.http.ws.v1 import V1Session

_FULL = f"a connection joins at most {ROOMS_MAX} rooms"


def join(session: "V1Session", command_id: str | None, frame: dict[str, Any]) -> None:
    """Hear a room whole, as summaries, or not at all. Raises: BadCommand."""
    room_id, data = room_of(frame), data_of(frame)
    if (mode := mode_in(data)) != "full":
        (join_summary if mode == "summary" else join_none)(session, command_id, room_id)
        return
    if session.is_full_for(room_id):
        raise BadCommand(_FULL, TOO_MANY_ROOMS)
    session.begin()
    Join(session, command_id, room_id, data).ask()


class Join:
    """One `join` under way."""

    __slots__ = ("_after_seq", "_command_id", "_end", "_epoch", "_room_id", "_session")

    def __init__(self, session: "V1Session", command_id: str | None, room_id: int, data: dict[str, Any]) -> None:
        self._session = session
        self._command_id = command_id
        self._room_id = room_id
        self._after_seq: int | None = data.get("after")
        self._epoch: int | None = data.get("epoch")
        self._end: EndOfMembership | None = None

    def ask(self) -> None:
        """Ask the room to let the user in."""
        self._session.ask_to_join(self._room_id, self._session.enter(self._room_id), self._answered)

    def _answered(self, value: object, error: BaseException | None) -> None:
        if isinstance(value, RoomView):
            self._let_in(value)
            return
        failure = failure_of(value, error)
        assert failure is not None
        if failure.code is NOT_MEMBER and self._after_seq is not None and self._room_id in self._session.unasked:
            self._session.unasked = (self._session.unasked - {self._room_id}) or NO_ROOMS
            self._session.services.engine.spawn(self._look_for_end, value, error, of=self._session.connection)
            return
        self._refuse(value, error)

    def _refuse(self, value: object, error: BaseException | None) -> None:
        session = self._session
        session.inflight -= 1
        if self._after_seq is not None:
            session.resumed("refused")
        if self._end is not None and (failure := failure_of(value, error)) is not None and failure.code is NOT_MEMBER:
            assert session.user_id is not None
            session.connection.write(left_frame(session.user_id, self._end))
        session.failed(self._command_id, value, error)

    async def _look_for_end(self, value: object, error: BaseException | None) -> None:
        session = self._session
        assert session.user_id is not None
        for end in await ends_of(session.services, session.user_id, [self._room_id]) or ():
            self._end = end
        if session.connection.is_closing:
            return
        if self._end is not None:
            self.ask()
        else:
            self._refuse(value, error)

    def _let_in(self, view: RoomView) -> None:
        session = self._session
        session.inflight -= 1
        if session.is_full_for(self._room_id):  # others that were asked for with it came in first
            session.error(self._command_id, TOO_MANY_ROOMS, _FULL)
            return
        attachment = session.attach(view, self._after_seq, self._epoch)
        session.ack(self._command_id, room_item(view), self._room_id)
        session.tell_gap(view, self._after_seq, self._epoch)
        session.replay([(self._room_id, attachment)])
