"""Handlers: which method of an actor receives which command, and how its turns may overlap.

    @handles(Add)                      one turn at a time, in the order of the mailbox
    @reads @handles(Look)              may run beside other @reads turns; it must not write
    @reentrant @handles(Ask)           may run inside a turn of this actor that waits, directly or not, for its answer
    @shielded @handles(Pay)            its turn is not cancelled when nobody waits for the answer any more

The table of a class is made once, when the class is, from all its bases and mixins; what cannot work is refused there.
A method that overrides a handler is that handler, marked again or not, as everywhere in Python. Type checkers see
earlier that a method takes its command and returns what that is answered with: `marks.py`.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, overload

from greenroom.runtime.command import Command, Stream
from greenroom.runtime.limits import need_whole
from greenroom.runtime.marks import BatchMark, Mark, StreamMark

F = TypeVar("F", bound=Callable[..., object])
C = TypeVar("C", bound=Command[Any])
S = TypeVar("S", bound=Stream[Any])

BATCH_COMMANDS_MAX = 4096

Heard = type[Command[Any]] | type[Stream[Any]]


@dataclass(frozen=True, slots=True)
class Handler:
    """One row of the table. batch_max: commands handed over at once as a list; 0 for one at a time.

    is_plain: it takes one command, may write, and answers once if it answers at all.
    """

    method: Callable[..., object]
    is_reads: bool = False
    is_reentrant: bool = False
    is_shielded: bool = False
    is_stream: bool = False
    may_wait: bool = True  # False when the method says that it returns nothing to wait for
    batch_max: int = 0
    is_plain: bool = False


@overload
def handles(command: type[C]) -> Mark[C]: ...
@overload
def handles(command: type[C], *, batch: int) -> BatchMark[C]: ...
@overload
def handles(command: type[S]) -> StreamMark[S]: ...
def handles(command: type, *, batch: int | None = None) -> object:
    """Mark the method that receives *command*. Plain `def` unless it must wait for something.

    batch: the method receives a list of at most so many commands that waited together, and returns one reply for all
    of them or a list with one for each. A list is always taken for the latter: replies that are lists are given in a
    list of them. One that raises is handed its commands again, one at a time, so that the others are not lost.
    Raises: TypeError for what is no class of commands, ValueError for a batch that is none.
    """
    if not isinstance(command, type):
        raise TypeError(f"@handles takes a class of commands, as in @handles(Add), not {command!r}")
    if not issubclass(command, Command | Stream):
        name = command.__name__
        raise TypeError(
            f"@handles({name}): nobody can be told a {name}. Write `class {name}(Command[...])` with the type of its "
            "reply, or `class ...(Stream[...])` with that of each answer"
        )
    if issubclass(command, Stream):
        if batch is not None:
            raise TypeError(f"@handles({command.__name__}): a Stream is answered one at a time: leave out batch")
        return StreamMark(command)
    if batch is None:
        return Mark(command)
    need_whole(f"@handles({command.__name__}): batch", batch, most=BATCH_COMMANDS_MAX)
    return BatchMark(command, batch)


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


def handlers_of(cls: type) -> dict[Heard, Handler]:
    """The rows of *cls*, its bases and its mixins. Raises: TypeError for what cannot work."""
    marked: dict[Heard, str] = {}
    for base in reversed(cls.__mro__):
        marked |= _marked_in(base)
    return {command: _row_of(cls, name, command) for command, name in marked.items()}


def _row_of(cls: type, name: str, command: Heard) -> Handler:
    """What runs is what *name* means in *cls*: the method that was marked, or one that overrides it."""
    method, marks = inspect.getattr_static(cls, name), _mark_of(cls, name, command)
    where, handled = f"{cls.__name__}.{name}", getattr(method, "__handles__", command)
    if handled is not command:
        raise TypeError(
            f"{where} handles {handled.__name__} and hides the method of that name that handles {command.__name__}: "
            "give one of them another name"
        )
    _refuse_form(where, method, command)
    return _row(method, method if hasattr(method, "__handles__") else marks)


def _mark_of(cls: type, name: str, command: type) -> Callable[..., object]:
    """The nearest method that is marked for *command*."""
    found: list[Callable[..., object]] = [vars(base)[name] for base in cls.__mro__ if name in vars(base)]
    return next(method for method in found if getattr(method, "__handles__", None) is command)


def _marked_in(cls: type) -> dict[Heard, str]:
    """Which command *cls* itself handles, by which name. Raises: TypeError for what cannot work."""
    found: dict[Heard, str] = {}
    for name, method in vars(cls).items():
        command = getattr(getattr(method, "__func__", method), "__handles__", None)
        if command is None:
            if any(hasattr(method, mark) for mark in ("__reads__", "__reentrant__", "__shielded__")):
                raise TypeError(f"{cls.__name__}.{name} is marked and handles nothing: add @handles(Command)")
            continue
        if command in found:
            raise TypeError(f"{cls.__name__} handles {command.__name__} twice: keep one of the methods")
        _refuse_form(f"{cls.__name__}.{name}", method, command)
        found[command] = name
    return found


def refuse_hooks(cls: type) -> None:
    """What *cls* itself says of its life must be of the form that the runtime calls. Raises: TypeError."""
    own, name = vars(cls), cls.__name__
    passivation = own.get("may_passivate", True)
    if inspect.isfunction(passivation):
        raise TypeError(f"{name}.may_passivate is a property, read and not called: add @property above it")
    for hook, method in (("stopping", own.get("stopping")), ("may_passivate", getattr(passivation, "fget", None))):
        if inspect.iscoroutinefunction(method):
            raise TypeError(f"{name}.{hook} is plain def: nothing can be waited for there")
    if inspect.isfunction(own.get("start")) and not inspect.iscoroutinefunction(own["start"]):
        raise TypeError(f"{name}.start is awaited, so it must be `async def`; what waits for nothing fits in __init__")
    for hook, form in (("start", ("self",)), ("stopping", ("self", "reason"))):
        if inspect.isfunction(own.get(hook)):
            _refuse_arity(f"{name}.{hook}: it", own[hook], form)


def _refuse_form(where: str, method: Callable[..., object], command: type) -> None:
    if not inspect.isfunction(method):
        raise TypeError(f"{where}: a handler is a plain method, (self, command); it is a {type(method).__name__}")
    _refuse_arity(f"{where}: a handler", method, ("self", "command"))
    is_stream, what = issubclass(command, Stream), command.__name__
    if is_stream and not inspect.isasyncgenfunction(method):
        raise TypeError(f"{where}: {what} is a Stream, so make it an async generator: `async def` with `yield`")
    if inspect.isgeneratorfunction(method):
        raise TypeError(f"{where} yields, so it would answer with a generator: return the answer, or handle a Stream")
    if not is_stream and inspect.isasyncgenfunction(method):
        raise TypeError(f"{where} yields many answers and {what} is a Command: make it a Stream, or return one answer")


def _refuse_arity(what: str, method: Callable[..., object], form: tuple[str, ...]) -> None:
    try:
        inspect.signature(method).bind(*form)
    except TypeError as misfit:
        raise TypeError(f"{what} takes ({', '.join(form)}) and nothing more: {misfit}") from None


def _returns_plainly(method: Callable[..., object]) -> bool:
    """Whether a plain `def` is annotated to return None or a number, a text: then its value is not looked at."""
    if inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method):
        return False
    returns = getattr(method, "__annotations__", {}).get("return", "")
    return returns in (None, "None", int, "int", str, "str", bool, "bool", float, "float")


def _row(method: Callable[..., object], marks: Callable[..., object]) -> Handler:
    is_reads, batch_max = hasattr(marks, "__reads__"), getattr(marks, "__batch__", 0)
    is_stream = inspect.isasyncgenfunction(method)
    return Handler(
        method,
        is_reads=is_reads,
        is_reentrant=hasattr(marks, "__reentrant__"),
        is_shielded=hasattr(marks, "__shielded__"),
        is_stream=is_stream,
        may_wait=not _returns_plainly(method),
        batch_max=batch_max,
        is_plain=not (is_reads or batch_max or is_stream or inspect.iscoroutinefunction(method)),
    )
