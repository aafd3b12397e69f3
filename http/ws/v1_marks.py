"""`react`, `unreact`, `pin` and `unpin` of greenroom.v1. The answer means committed, as that of `edit` does."""

from typing import TYPE_CHECKING, Any

from greenroom.actors.room.commands import Pin, React
from greenroom.http.ws.v1_changes import ask_charged
from greenroom.http.ws.v1_commands import data_of, room_of

if TYPE_CHECKING:
    from greenroom.http.ws.v1 import V1Session


def mark(session: "V1Session", command_id: str | None, frame: dict[str, Any]) -> None:
    """Any of the four. To change nothing is free."""
    data, user_id, kind = data_of(frame), session.user_id, frame["type"]
    assert user_id is not None
    is_on = kind in ("react", "pin")
    command: React | Pin
    if kind in ("react", "unreact"):
        command = React(user_id, data["message"], data["reaction"], is_on)
    else:
        command = Pin(user_id, data["message"], is_on)
    ask_charged(session, command_id, room_of(frame), command)
