"""`report` of greenroom.v1: the administrators are to look at a message, or at somebody. Nobody else learns of it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from greenroom.http.ws.codes import MESSAGE_NOT_FOUND, USER_NOT_FOUND
from greenroom.http.ws.v1_commands import BadCommand, data_of
from greenroom.runtime import StorageUnavailable

if TYPE_CHECKING:
    from greenroom.http.ws.v1 import V1Session

_ONESELF = "nobody reports oneself"


@dataclass(frozen=True, slots=True)
class _Wanted:
    """subject: message or user, and its id."""

    subject: str
    subject_id: int
    reason: str


def report(session: "V1Session", command_id: str | None, frame: dict[str, Any]) -> None:
    """The command; its answer means stored."""
    data = data_of(frame)
    given = [name for name in ("message", "user") if data.get(name) is not None]
    if len(given) != 1:
        raise BadCommand("report needs data.message or data.user, and not both")
    wanted = _Wanted(given[0], data[given[0]], data["reason"])
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
        session.failed(command_id, None, error)
        return
    finally:
        session.inflight -= 1
    if reported.user_id is None:
        code = MESSAGE_NOT_FOUND if is_message else USER_NOT_FOUND
        session.error(command_id, code, f"there is no such {wanted.subject}, or not for you")
    elif reported.user_id == session.user_id:
        session.error(command_id, MESSAGE_NOT_FOUND, _ONESELF)
    else:
        duplicate = {} if reported.is_new else {"duplicate": True}
        session.ack(command_id, {wanted.subject: wanted.subject_id, **duplicate}, None)
