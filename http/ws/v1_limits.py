"""The limits of greenroom.v1: a bucket for each class of commands, and what is said when one is empty."""

from typing import TYPE_CHECKING

import trio

from greenroom.http.ws import events
from greenroom.http.ws.codes import FLOODING, RATE_LIMITED
from greenroom.http.ws.connection import CONTROL
from greenroom.http.ws.services import LimitClass

if TYPE_CHECKING:
    from greenroom.http.ws.v1 import V1Session


def may_command(session: "V1Session", command_id: str | None, kind: LimitClass) -> bool:
    """Count one command of its class. Over the limit it is refused, and but for typing the connection rests.

    Typing without an id is dropped: nobody waits for its answer. Who goes on for FLOOD_BUDGETS is closed.
    """
    assert session.user_id is not None
    retry_after = session.services.limits.of(kind).take(session.user_id, trio.current_time())
    if retry_after is None:
        return True
    if session.floods():
        session.connection.close(FLOODING)
        return False
    slow_down(session, kind, retry_after)
    if kind != "typing" or command_id is not None:
        session.error(command_id, RATE_LIMITED, "too many commands in a minute", retry_after)
    if kind != "typing":
        session.pause_for(1)
    return False


def slow_down(session: "V1Session", kind: LimitClass, retry_after_seconds: int) -> None:
    """Say which class of commands is over its limit, at most once a second."""
    now = trio.current_time()
    if now - session.slowed_at >= 1:
        session.slowed_at = now
        session.connection.write(events.v1("slow_down", {"class": kind, "retryAfter": retry_after_seconds}), CONTROL)
