"""Commands of greenroom.v1 that change a message: `edit` and `delete` here, reactions and pins in `v1_marks.py`.

The answer means committed, as that of `send` does.
"""

from typing import TYPE_CHECKING, Any

from greenroom.actors.room.commands import Changed, Delete, Edit, Pin, React
from greenroom.http.ws.codes import RATE_LIMITED
from greenroom.http.ws.v1_commands import data_of, room_of
from greenroom.http.ws.v1_limits import slow_down

if TYPE_CHECKING:
    from greenroom.http.ws.v1 import V1Session


def edit(session: "V1Session", command_id: str | None, frame: dict[str, Any]) -> None:
    """Say something else in the place of what was said. It counts as a message; to change nothing is free."""
    data, user_id = data_of(frame), session.user_id
    assert user_id is not None
    ask_charged(session, command_id, room_of(frame), Edit(user_id, data["message"], data["body"]))


def delete(session: "V1Session", command_id: str | None, frame: dict[str, Any]) -> None:
    """Erase what was said."""
    assert session.user_id is not None
    session.begin()
    _ask(session, command_id, room_of(frame), Delete(session.user_id, data_of(frame)["message"]))


def ask_charged(session: "V1Session", command_id: str | None, room_id: int, command: Edit | React | Pin) -> None:
    """Have the room do what stands in its log as a message does, and counts as one. Raises: BadCommand."""
    session.begin()
    retry_after = session.services.take_message(command.user_id)
    if retry_after is not None:
        session.inflight -= 1
        slow_down(session, "send", retry_after)
        session.error(command_id, RATE_LIMITED, "too many messages", retry_after)
        return
    _ask(session, command_id, room_id, command)


def _ask(session: "V1Session", command_id: str | None, room_id: int, command: Edit | Delete | React | Pin) -> None:
    def changed(value: object, error: BaseException | None) -> None:
        session.inflight -= 1
        if not isinstance(value, Changed):
            session.failed(command_id, value, error)
            return
        duplicate = {"duplicate": True} if value.is_duplicate else {}
        answer = {"messageId": command.message_id, "seq": value.seq, "ts": value.at_ms, **duplicate}
        session.ack(command_id, answer, room_id)

    session.ask(session.services.room(room_id), command, changed, is_charged=not isinstance(command, Delete))
