"""`block` and `unblock` of greenroom.v1."""

from typing import TYPE_CHECKING, Any, cast

import trio

from greenroom.actors.notifier.commands import Block
from greenroom.http.ws.codes import USER_NOT_FOUND
from greenroom.http.ws.v1_commands import BadCommand, data_of
from greenroom.runtime import StorageUnavailable

if TYPE_CHECKING:
    from greenroom.http.ws.v1 import V1Session


def block(session: "V1Session", command_id: str | None, frame: dict[str, Any]) -> None:
    """Hear nothing more of somebody."""
    data = data_of(frame)
    command = Block(_other(session, data), True, data.get("reason"))
    session.begin()
    session.in_turn(_block, session, command_id, command)


def unblock(session: "V1Session", command_id: str | None, frame: dict[str, Any]) -> None:
    """Hear of them again."""
    command = Block(_other(session, data_of(frame)), False)
    session.begin()
    session.in_turn(_unblock, session, command_id, command)


def _other(session: "V1Session", data: dict[str, Any]) -> int:
    if data["user"] == session.user_id:
        raise BadCommand("data.user: the id of another user is needed")
    return cast("int", data["user"])


async def _block(session: "V1Session", command_id: str | None, command: Block) -> None:
    try:
        exists = await session.services.users.exists((command.user_id,))
    except StorageUnavailable as error:
        session.inflight -= 1
        session.failed(command_id, None, error)
        return
    if exists:
        _ask(session, command_id, command)
    else:
        session.inflight -= 1
        session.error(command_id, USER_NOT_FOUND, "there is no such user")


async def _unblock(session: "V1Session", command_id: str | None, command: Block) -> None:
    await trio.lowlevel.checkpoint()
    _ask(session, command_id, command)


def _ask(session: "V1Session", command_id: str | None, command: Block) -> None:
    """The ack means stored."""

    def changed(value: object, error: BaseException | None) -> None:
        session.inflight -= 1
        if error is not None:
            session.failed(command_id, None, error)
        else:
            session.ack(command_id, {"user": command.user_id, "blocked": command.is_blocked}, None)

    assert session.user_id is not None
    session.ask(session.services.notifier(session.user_id), command, changed)
