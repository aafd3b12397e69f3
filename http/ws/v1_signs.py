"""Signs of life and of reading in greenroom.v1: `ping`, and what others are told of who says nothing."""

from typing import TYPE_CHECKING, Any

from greenroom.actors.room.commands import Moved, Read, Type
from greenroom.http.ws import events
from greenroom.http.ws.services import failure_of
from greenroom.http.ws.v1_commands import data_of, room_of

if TYPE_CHECKING:
    from greenroom.http.ws.v1 import V1Session


def typing(session: "V1Session", command_id: str | None, frame: dict[str, Any]) -> None:
    """The user types, or stopped; of who hides it is not told."""
    assert session.user_id is not None
    room_id, is_on = room_of(frame), data_of(frame)["on"] and not session.is_hiding()

    def noted(value: object, error: BaseException | None) -> None:
        session.inflight -= 1
        if failure_of(value, error) is not None:
            session.note_typing(room_id, is_on=False)
            session.failed(command_id, value, error)
            return
        session.ack(command_id, {}, room_id)

    session.begin()
    session.note_typing(room_id, is_on=is_on)
    session.ask(session.services.room(room_id), Type(session.user_id, session.name, is_on), noted)


def mark_read(session: "V1Session", command_id: str | None, frame: dict[str, Any]) -> None:
    """The user has read so far; privately, nobody else is told."""
    room_id, data = room_of(frame), data_of(frame)
    assert session.user_id is not None
    command = Read(session.user_id, session.name, data["seq"], is_private=bool(data.get("private")))

    def moved(value: object, error: BaseException | None) -> None:
        session.inflight -= 1
        if isinstance(value, Moved):
            session.ack(command_id, {"seq": value.seq}, room_id)
        else:
            session.failed(command_id, value, error)

    session.ask_room(command_id, room_id, command, moved)


def ping(session: "V1Session", command_id: str | None, frame: dict[str, Any]) -> None:
    """Answer ahead of all that waits."""
    now_ms = session.services.clock.wall_milliseconds()
    subject: dict[str, Any] = {"ts": now_ms} if command_id is None else {"id": command_id, "ts": now_ms}
    session.connection.write_ahead(events.v1("pong", **subject))


def pong(session: "V1Session", command_id: str | None, frame: dict[str, Any]) -> None:
    """Any byte counts as a sign of life: nothing more to do."""
