"""`drain` over the control socket: the one thing here that changes something. What moves the sockets is the front's.

drain  {window_seconds, reason}   how far it is as it goes, and last when the last socket was moved. Cancelled, or the
                                  client gone: who was moved is, the others stay, and it serves as before
serve                             serve as before a drain that is over
"""

from dataclasses import asdict
from typing import Annotated, Any, Final, Literal, Protocol

import trio
from annotated_types import Ge, Le
from pydantic import BaseModel, ConfigDict

from greenroom.control.server import Operation, OperationRefused, SendItem

TOLD_EVERY_SECONDS: Final = 0.1
WINDOW_SECONDS_MAX: Final = 3600

Reason = Literal["drain", "rebalance", "upgrade"]


class Drainable(Protocol):
    """What can move its sockets away."""

    def statistics(self) -> Any:
        """How far it is: a dataclass of plain values, whose `state` is serving, draining, drained or stopping."""
        ...

    def begin(self, window_seconds: float, reason: Reason) -> None:
        """Raises: ValueError when it cannot begin now."""
        ...

    def give_up(self) -> None:
        """End a drain that is under way."""
        ...

    def serve_again(self) -> None:
        """Serve as before."""
        ...


class DrainQuestion(BaseModel):
    """window_seconds: over which the slots are spread. reason: as clients are told."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    window_seconds: Annotated[float, Ge(0), Le(WINDOW_SECONDS_MAX)]
    reason: Reason = "drain"


def drain_operations(front: Drainable) -> dict[str, Operation]:
    """The operations on *front*."""

    async def drain(arguments: dict[str, Any], send: SendItem) -> Any:
        question = DrainQuestion.model_validate(arguments)
        try:
            front.begin(question.window_seconds, question.reason)
        except ValueError as fault:
            raise OperationRefused(str(fault)) from None
        try:
            while (state := front.statistics()).state == "draining":
                await send(asdict(state))
                await trio.sleep(TOLD_EVERY_SECONDS)
        finally:
            front.give_up()
        await send(asdict(state))
        return None

    async def serve(_: dict[str, Any], __: SendItem) -> Any:
        front.serve_again()
        await trio.lowlevel.checkpoint()
        return asdict(front.statistics())

    return {"drain": drain, "serve": serve}
