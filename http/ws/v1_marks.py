"""`react`, `unreact`, `pin` and `unpin` of greenroom.v1. The answer means committed, as that of `edit` does."""

from typing import TYPE_CHECKING, Any

from greenroom.actors.room.commands import Changed, Pin, React
from greenroom.http.ws.codes import RATE_LIMITED
from greenroom.http.ws.v1_commands import data_of, room_of
from greenroom.http.ws.v1_limits import slow_down

if TYPE_CHECKING:
    from greenroom.http.ws.v1 import V1Session


def mark(session: "V1Session", command_id: str | None, frame: dict[str, Any]) -> None:
    """Any of the four. It counts as a message, for it stands in the log as one does; to change nothing is free."""
    data, user_id, kind = data_of(frame), session.user_id, frame["type"]
    assert user_id is not None
    is_on = kind in ("react", "pin")
    command: React | Pin
    if kind in ("react", "unreact"):
        command = React(user_id, data["message"], data["reaction"], is_on)
    else:
        command = Pin(user_id, data["message"], is_on)
    room_id, messages = room_of(frame), session.services.limits.messages
    session.begin()
    retry_after = session.services.take_message(user_id)
    if retry_after is not None:
        session.inflight -= 1
        slow_down(session, "send", retry_after)
        session.error(command_id, RATE_LIMITED, "too many messages", retry_after)
        return

    def marked(value: object, error: BaseException | None) -> None:
        session.inflight -= 1
        if not isinstance(value, Changed) or value.is_duplicate:
            messages.give_back(user_id)
        if not isinstance(value, Changed):
            session.failed(command_id, value, error)
            return
        duplicate = {"duplicate": True} if value.is_duplicate else {}
        answer = {"messageId": command.message_id, "seq": value.seq, "ts": value.at_ms, **duplicate}
        session.ack(command_id, answer, room_id)

    session.ask(session.services.room(room_id), command, marked)
