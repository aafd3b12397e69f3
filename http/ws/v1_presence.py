"""Presence as a v1 client asks for it, and tells it: who is in a room, how oneself appears, and who is watched by name.

`presence` and `watch` are handlers of commands: they answer later, through the session, and raise BadCommand at once.
"""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from greenroom.actors.errors import RefusalCode, Refused
from greenroom.actors.presence.commands import Describe, PresenceView, SetStatus
from greenroom.actors.room.commands import RoomView
from greenroom.http.ws.channel import Attachment, Told
from greenroom.http.ws.replay import PACK_BYTES_MAX, UNSENT_BYTES_MAX, wait_drained
from greenroom.http.ws.small_rooms import gone_from
from greenroom.http.ws.v1_commands import data_of, room_of, wanted_presence
from greenroom.runtime import ActorError, Command, StorageUnavailable

if TYPE_CHECKING:
    from greenroom.http.ws.v1 import V1Session


def presence(session: "V1Session", command_id: str | None, frame: dict[str, Any]) -> None:
    """With a room: who is in it. Else the user's own: data.status, data.idle; the answer is how they appear then."""
    if frame.get("room") is not None:
        _ask_room(session, command_id, room_of(frame))
        return
    wanted, is_idle = wanted_presence(data_of(frame))
    session.begin()
    if is_idle is not None:
        session.set_idle(is_idle=is_idle)
    elif wanted is not None:
        session.note_input()
    _ask_own(session, command_id, Describe() if wanted is None else wanted)


def watch(session: "V1Session", command_id: str | None, frame: dict[str, Any]) -> None:
    """Be told of these users, wherever they are, and of no others by name."""
    session.begin()
    users = tuple(dict.fromkeys(data_of(frame)["users"]))
    session.services.engine.spawn(_answer_watch, session, command_id, users, of=session.connection)


def tell_rooms(session: "V1Session", rooms: Iterable[tuple[int, Attachment]]) -> None:
    """Tell who is in these rooms, and who types there: at once, or of many well-attended ones as the peer takes it."""
    left = iter(rooms)
    if not _tell_while_taken(session, left):
        session.services.engine.spawn(_tell_left, session, left, of=session.connection)


async def _tell_left(session: "V1Session", left: Iterator[tuple[int, Attachment]]) -> None:
    connection, is_told = session.connection, False
    while not is_told and not connection.is_closing:
        await wait_drained(connection)
        is_told = _tell_while_taken(session, left)


def _tell_while_taken(session: "V1Session", left: Iterator[tuple[int, Attachment]]) -> bool:
    """False when too much waits for the peer before all is told."""
    while session.connection.unsent_bytes <= UNSENT_BYTES_MAX:
        if _tell_pack(session, left):
            return True
    return False


def _tell_pack(session: "V1Session", left: Iterator[tuple[int, Attachment]]) -> bool:
    """The next 64 KiB, of rooms that it is in still. Whether that was all."""
    size = 0
    for room_id, attachment in left:
        if attachment.is_attached:
            told_bytes = session.services.presence.tell_room(session.connection, room_id)
            attachment.told = Told.EVERYBODY if told_bytes else Told.NOTHING
            size += told_bytes
            session.tell_typists(room_id)
        if size > PACK_BYTES_MAX:
            return False
    return True


def _ask_own(session: "V1Session", command_id: str | None, command: Command[PresenceView]) -> None:
    def answered(value: object, error: BaseException | None) -> None:
        session.inflight -= 1
        if isinstance(value, PresenceView):
            session.ack(command_id, _own(value), None)
        else:
            session.failed(command_id, value, error)

    assert session.user_id is not None
    if isinstance(command, SetStatus):
        session.say_word(command, answered)
    else:
        session.ask(session.services.system.ref("presence", session.user_id), command, answered)


def _own(view: PresenceView) -> dict[str, Any]:
    devices = [{"device": device.name, "idle": device.is_idle} for device in view.devices]
    return {"status": view.status, "shown": view.shown, "note": view.activity, "devices": devices}


def _ask_room(session: "V1Session", command_id: str | None, room_id: int) -> None:
    session.begin()
    session.read_in_turn(_answer_room, session, command_id, room_id)


async def _answer_room(session: "V1Session", command_id: str | None, room_id: int) -> None:
    """Of who is still in it when storage has answered, to who is."""
    assert session.user_id is not None
    try:
        with session.services.hub.small_rooms.noting_changes() as changes:
            view = await session.look_into(room_id)
            if not isinstance(view, RoomView):
                session.failed(command_id, view, None)
                return
            users = await session.services.presence.everybody_in(view, session.user_id)
        gone = gone_from(room_id, changes)
        if session.user_id in gone:
            session.failed(command_id, Refused.because(RefusalCode.NOT_MEMBER), None)
            return
        session.ack(command_id, {"users": [one for one in users if one["user"] not in gone]}, view.room_id)
    except (ActorError, StorageUnavailable) as error:
        session.failed(command_id, None, error)
    finally:
        session.inflight -= 1


async def _answer_watch(session: "V1Session", command_id: str | None, users: tuple[int, ...]) -> None:
    def told(visible: list[int] | None) -> None:
        if visible is None:
            session.ack(command_id, {"replaced": True}, None)
            return
        seen = set(visible)
        refused = [user_id for user_id in users if user_id not in seen]
        session.ack(command_id, {"watching": visible, "refused": refused}, None)

    try:
        await session.services.watches.watch(session.connection, users, told)
    except StorageUnavailable as error:
        session.failed(command_id, None, error)
    finally:
        session.inflight -= 1
