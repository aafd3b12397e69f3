"""Handlers: which method of an actor receives which command, and how its turns may overlap.

    @handles(Add)                      one turn at a time, in the order of the mailbox
    @reads @handles(Look)              may run beside other @reads turns; it must not write
    @reentrant @handles(Ask)           may run inside a turn of this actor that waits, directly or not, for its answer
    @shielded @handles(Pay)            its turn is not cancelled when nobody waits for the answer any more

The table of a class is made once, when the class is; what cannot work is refused there.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from greenroom.runtime.actor import Command, Stream

F = TypeVar("F", bound=Callable[..., object])

BATCH_COMMANDS_MAX = 4096


@dataclass(frozen=True, slots=True)
class Handler:
    """One row of the table. batch_max: commands handed over at once as a list; 0 for one at a time."""

    method: Callable[..., object]
    is_reads: bool = False
    is_reentrant: bool = False
    is_shielded: bool = False
    is_stream: bool = False
    may_wait: bool = True  # False when the method says that it returns nothing to wait for
    batch_max: int = 0


def handles(command: "type[Command[Any]] | type[Stream[Any]]", *, batch: int = 0) -> Callable[[F], F]:
    """Mark the method that receives *command*. Plain `def` unless it must wait for something.

    batch: the method receives a list of at most so many commands that waited together, and returns one reply for all
    of them or a list with one for each.
    """
    if not 0 <= batch <= BATCH_COMMANDS_MAX:
        raise ValueError(f"handles({command.__name__}): batch is a number from 0 to {BATCH_COMMANDS_MAX}, not {batch}")

    def mark(method: F) -> F:
        method.__handles__ = command  # type: ignore[attr-defined]
        method.__batch__ = batch  # type: ignore[attr-defined]
        return method

    return mark


def reads(method: F) -> F:
    """Let turns of this handler overlap with other @reads turns. `ctx.write` is refused in them."""
    method.__reads__ = True  # type: ignore[attr-defined]
    return method


def reentrant(method: F) -> F:
    """Let a turn of this handler run inside one of the same actor that waits for its answer.

    After each of its own waits the outer turn must look at the state anew: it may have changed.
    """
    method.__reentrant__ = True  # type: ignore[attr-defined]
    return method


def shielded(method: F) -> F:
    """Let a turn of this handler end although its asker is gone or its deadline passed."""
    method.__shielded__ = True  # type: ignore[attr-defined]
    return method


def handlers_of(cls: type) -> "dict[type[Command[Any]] | type[Stream[Any]], Handler]":
    """The rows that *cls* itself adds. Raises: TypeError for what cannot work."""
    found: dict[type[Command[Any]] | type[Stream[Any]], Handler] = {}
    for name, method in vars(cls).items():
        command = getattr(method, "__handles__", None)
        if command is None:
            if any(hasattr(method, mark) for mark in ("__reads__", "__reentrant__", "__shielded__")):
                raise TypeError(f"{cls.__name__}.{name} is marked and handles nothing: add @handles(Command)")
            continue
        if command in found:
            raise TypeError(f"{cls.__name__} handles {command.__name__} twice: keep one of the methods")
        found[command] = _row(method)
    return found


def _returns_plainly(method: Callable[..., object]) -> bool:
    """Whether a plain `def` is annotated to return None or a number, a text: then its value is not looked at."""
    if inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method):
        return False
    returns = getattr(method, "__annotations__", {}).get("return", "")
    return returns in (None, "None", int, "int", str, "str", bool, "bool", float, "float")


def _row(method: Callable[..., object]) -> Handler:
    return Handler(
        method,
        is_reads=hasattr(method, "__reads__"),
        is_reentrant=hasattr(method, "__reentrant__"),
        is_shielded=hasattr(method, "__shielded__"),
        is_stream=inspect.isasyncgenfunction(method),
        may_wait=not _returns_plainly(method),
        batch_max=getattr(method, "__batch__", 0),
    )
