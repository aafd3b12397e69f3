"""What the control socket can be asked, but for `attach`. It changes nothing, and shows no values of commands.

tree          the supervision tree, with some actors of each kind
actors        a page of the actors of one kind
top           those that stand out over some seconds
trace         what one actor is told: each entry as it comes, until the time is over
dead_letters  the counts, and the newest of each reason
"""

from typing import Annotated, Any, Protocol, TypeVar

from annotated_types import Ge, Gt, Le, MaxLen
from pydantic import BaseModel, ConfigDict

from greenroom.control.draining import Drainable
from greenroom.control.server import Operation, OperationRefused, SendItem
from greenroom.runtime import ActorSystem, Address, Inspection, address_in, as_json

Name = Annotated[str, MaxLen(256)]
Seconds = Annotated[float, Gt(0), Le(60)]
Count = Annotated[int, Ge(0), Le(1000)]
Q = TypeVar("Q", bound="Question")


class Outboxes(Protocol):
    """What waits for peers that are slow."""

    def statistics(self) -> Any:
        """How much, and for whom most: a dataclass of plain values."""
        ...


class Delivery(Protocol):
    """How resumes went, and how soon messages are told."""

    def statistics(self) -> Any:
        """Counts: a dataclass of plain values."""
        ...


class Question(BaseModel):
    """The arguments of one operation, which has no others."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class TreeQuestion(Question):
    """kind: show actors of this one alone. limit: actors of a kind."""

    kind: Name | None = None
    limit: Count = 20


class ActorsQuestion(Question):
    """after: the address that the page before ended with."""

    kind: Name
    after: Name | None = None
    limit: Annotated[int, Ge(1), Le(1000)] = 100


class TopQuestion(Question):
    """by: what they are ranked by. seconds: to look at them for."""

    by: Name = "busy"
    limit: Count = 20
    seconds: Seconds = 1.0


class TraceQuestion(Question):
    """address: as it is printed, `room/42`."""

    address: Name
    seconds: Annotated[float, Gt(0), Le(3600)] = 30.0
    events_max: Annotated[int, Ge(1), Le(10_000)] = 1000


class DeadLettersQuestion(Question):
    """limit: of each reason."""

    limit: Count = 20


def operations_of(
    system: ActorSystem,
    drain: Drainable | None = None,
    outboxes: Outboxes | None = None,
    delivery: Delivery | None = None,
) -> dict[str, Operation]:
    """The operations that look at *system*, and say how the sockets of *drain* stand, what waits for slow ones and how
    soon they are told."""
    look = Inspection(system)

    async def tree(arguments: dict[str, Any], _: SendItem) -> Any:
        question = TreeQuestion.model_validate(arguments)
        found = await look.tree(kind=question.kind, actors_max=question.limit)
        return {"at": system.clock.wall_milliseconds(), "system": about(system), "tree": as_json(found)}

    async def actors(arguments: dict[str, Any], _: SendItem) -> Any:
        question = ActorsQuestion.model_validate(arguments)
        after = None if question.after is None else address_of(system, question.after)
        return as_json(await look.actors(question.kind, after=after, limit=question.limit))

    async def top(arguments: dict[str, Any], _: SendItem) -> Any:
        question = TopQuestion.model_validate(arguments)
        found = await look.top(by=question.by, limit=question.limit, seconds=question.seconds)
        sockets = None if drain is None else as_json(drain.statistics())
        waiting = None if outboxes is None else as_json(outboxes.statistics())
        told = None if delivery is None else as_json(delivery.statistics())
        whole = {"system": about(system), "sockets": sockets, "outboxes": waiting, "delivery": told}
        return {"at": system.clock.wall_milliseconds(), **whole, **as_json(found)}

    async def trace(arguments: dict[str, Any], send: SendItem) -> Any:
        question = TraceQuestion.model_validate(arguments)
        ref = system.ref(*address_of(system, question.address))
        running = system.trace(ref, seconds=question.seconds, events_max=question.events_max)
        try:
            async for entry in running.entries():
                await send(as_json(entry))
        finally:
            running.end()
        return {"count": running.count}

    async def dead_letters(arguments: dict[str, Any], _: SendItem) -> Any:
        question = DeadLettersQuestion.model_validate(arguments)
        letters = system.dead_letters
        newest = {reason: list(ring)[::-1][: question.limit] for reason, ring in letters.by_reason.items()}
        return {"counts": dict(letters.counts), "newest": as_json(newest)}

    found = (tree, actors, top, trace, dead_letters)
    return {operation.__name__: operation for operation in found}


def about(system: ActorSystem) -> dict[str, Any]:
    """Of the whole, what is known without walking over every actor."""
    return {
        "cells": len(system.activations),
        "crashes": system.crashes,
        "passivated": system.passivated,
        "dead_letters": system.dead_letters.counts.total(),
        "asks_pending": len(system.deadlines),
        "storage_is_away": system.storage.is_away,
        "alarms": None if system.alarms is None else as_json(system.alarms.statistics()),
    }


def address_of(system: ActorSystem, text: str) -> Address:
    """The address that *text* means: a key that is a whole number is one, unless only a text of it has a cell.

    Raises: OperationRefused, UnknownKind, StaticName.
    """
    try:
        found = address_in(text)
    except ValueError as fault:
        raise OperationRefused(str(fault)) from None
    plain = Address(found.kind, str(found.key))
    if found not in system.activations and plain in system.activations:
        found = plain
    system.check(found)
    return found
