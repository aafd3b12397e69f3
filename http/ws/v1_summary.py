"""`join` with another `mode` than `full`: a room that is followed without hearing it, or not heard of at all."""

from typing import TYPE_CHECKING

from greenroom.actors.room.commands import Enter, RoomView
from greenroom.http.ws.codes import TOO_MANY_ROOMS
from greenroom.http.ws.v1_commands import SUMMARIES_MAX, BadCommand, room_item

if TYPE_CHECKING:
    from greenroom.http.ws.v1 import V1Session


def join_summary(session: "V1Session", command_id: str | None, room_id: int) -> None:
    """Follow a room by summaries; one that was heard whole is not heard any more. Raises: BadCommand."""
    summaries, user_id = session.services.summaries, session.user_id
    assert user_id is not None
    what = f"a connection has summaries of at most {SUMMARIES_MAX} rooms"

    def is_full() -> bool:
        is_in = summaries.watches(session.connection, room_id)
        return not is_in and summaries.count_of(session.connection) >= SUMMARIES_MAX

    if is_full():
        raise BadCommand(what, TOO_MANY_ROOMS)

    def entered(value: object, error: BaseException | None) -> None:
        session.inflight -= 1
        if not isinstance(value, RoomView):
            session.failed(command_id, value, error)
            return
        if is_full():  # others that were asked for with it came in first
            session.error(command_id, TOO_MANY_ROOMS, what)
            return
        session.leave(room_id)
        summaries.watch(session.connection, user_id, value)
        session.ack(command_id, room_item(value, "summary"), room_id)

    session.begin()
    session.ask_to_join(room_id, Enter(user_id, hides=session.services.hub.blocks.hides(user_id)), entered)


def join_none(session: "V1Session", command_id: str | None, room_id: int) -> None:
    """Hear nothing of a room, neither messages nor summaries, and be told how it stands. Raises: BadCommand."""
    user_id = session.user_id
    assert user_id is not None

    def entered(value: object, error: BaseException | None) -> None:
        session.inflight -= 1
        if not isinstance(value, RoomView):
            session.failed(command_id, value, error)
            return
        session.leave(room_id)
        session.services.summaries.unwatch(session.connection, room_id)
        session.ack(command_id, room_item(value, "none"), room_id)

    session.begin()
    session.ask_to_join(room_id, Enter(user_id, hides=session.services.hub.blocks.hides(user_id)), entered)
