"""`react`, `unreact`, `pin` and `unpin` of greenroom.v1. The answer means committed, as that of `edit` does."""

from typing import TYPE_CHECKING, Any

from greenroom.actors.room.commands import Changed, Pin, React
from greenroom.http.ws.v1_commands import data_of, room_of

if TYPE_CHECKING:
    from greenroom.http.ws.v1 import V1Session


def mark(session: "V1Session", command_id: str | None, frame: dict[str, Any]) -> None:
    """Any of the four."""
    data, user_id, kind = data_of(frame), session.user_id, frame["type"]
    assert user_id is not None
    is_on = kind in ("react", "pin")
    command: React | Pin
    if kind in ("react", "unreact"):
        command = React(user_id, data["message"], data["reaction"], is_on)
    else:
        command = Pin(user_id, data["message"], is_on)
    room_id = room_of(frame)

    def marked(value: object, error: BaseException | None) -> None:
        session.inflight -= 1
        if not isinstance(value, Changed):
            session.failed(command_id, value, error)
            return
        duplicate = {"duplicate": True} if value.is_duplicate else {}
        answer = {"messageId": command.message_id, "seq": value.seq, "ts": value.at_ms, **duplicate}
        session.ack(command_id, answer, room_id)

    session.ask_room(command_id, room_id, command, marked)
