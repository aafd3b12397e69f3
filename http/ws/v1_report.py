"""`report` of greenroom.v1: the administrators are to look at a message, or at somebody. Nobody else learns of it.

With `block` it is both in one act: reported, then blocked. An answer means both are stored; after an error, or none,
the same command again does what is left to do.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from greenroom.actors.notifier.commands import Block
from greenroom.http.ws.codes import MESSAGE_NOT_FOUND, USER_NOT_FOUND
from greenroom.http.ws.v1_commands import BadCommand, data_of
from greenroom.runtime import StorageUnavailable

if TYPE_CHECKING:
    from greenroom.http.ws.v1 import V1Session

_ONESELF = "nobody reports oneself"


@dataclass(frozen=True, slots=True)
class _Wanted:
    """subject: message or user, and its id. blocks: who is reported as well."""

    subject: str
    subject_id: int
    reason: str
    blocks: bool


def report(session: "V1Session", command_id: str | None, frame: dict[str, Any]) -> None:
    """The command; its answer means stored."""
    data = data_of(frame)
    given = [name for name in ("message", "user") if data.get(name) is not None]
    if len(given) != 1:
        raise BadCommand("report needs data.message or data.user, and not both")
    wanted = _Wanted(given[0], data[given[0]], data["reason"], bool(data.get("block")))
    if given == ["user"] and wanted.subject_id == session.user_id:
        raise BadCommand(_ONESELF)
    session.begin()
    session.in_turn(_store, session, command_id, wanted)


async def _store(session: "V1Session", command_id: str | None, wanted: _Wanted) -> None:
    assert session.user_id is not None
    services, is_message = session.services, wanted.subject == "message"
    put = services.reports.put_message if is_message else services.reports.put_user
    try:
        now_ms = services.clock.wall_milliseconds()
        reported = await put(session.user_id, wanted.subject_id, wanted.reason, now_ms)
    except StorageUnavailable as error:
        session.inflight -= 1
        session.failed(command_id, None, error)
        return
    answer = {wanted.subject: wanted.subject_id, **({} if reported.is_new else {"duplicate": True})}
    if wanted.blocks and reported.user_id not in (None, session.user_id):
        _block(session, command_id, reported.user_id, answer)
        return
    session.inflight -= 1
    if reported.user_id is None:
        code = MESSAGE_NOT_FOUND if is_message else USER_NOT_FOUND
        session.error(command_id, code, f"there is no such {wanted.subject}, or not for you")
    elif reported.user_id == session.user_id:
        session.error(command_id, MESSAGE_NOT_FOUND, _ONESELF)
    else:
        session.ack(command_id, answer, None)


def _block(session: "V1Session", command_id: str | None, user_id: int, answer: dict[str, Any]) -> None:
    """Whoever is reported too. answer: to the report."""

    def blocked(value: object, error: BaseException | None) -> None:
        session.inflight -= 1
        if error is not None:
            session.failed(command_id, None, error)
        else:
            session.ack(command_id, {**answer, "blocked": True}, None)

    assert session.user_id is not None
    session.ask(session.services.notifier(session.user_id), Block(user_id, True), blocked)
