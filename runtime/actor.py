"""Actors as their authors see them: a class, its handlers, and the context of a turn.

    class Counter(Actor):
        async def start(self) -> None:              # load; the mailbox holds meanwhile
            self.count = 0

        @handles(Add)
        def add(self, command: Add) -> int:         # plain `def`: waits for nothing, costs no task
            self.ctx.write(CountAdded(command.by))  # staged: stored with this turn or not at all
            self.count += command.by                # memory last, after everything that may raise
            return self.count                       # leaves when the write is stored

Turns are serial. A handler that raises answers its asker with `ActorFailed` and its draft is dropped; when the
draft held something already, memory is loaded again from storage. A handler that raises on a tell is a crash: the
restart policy of its kind decides.
"""

import inspect
from typing import Any, ClassVar, Generic, TypeVar

from greenroom.runtime.actor_alarms import ALARM_HANDLERS
from greenroom.runtime.context import Context
from greenroom.runtime.handlers import Handler, handlers_of
from greenroom.runtime.lifecycle import StopReason

R = TypeVar("R")


class Command(Generic[R]):
    """What an actor is told. *R* is the type of its reply. Subclasses are frozen slotted dataclasses."""

    __slots__ = ()


class Stream(Generic[R]):
    """What an actor is asked to answer with many values, one after the other. *R* is the type of each.

    Its handler is an async generator. Subclasses are frozen slotted dataclasses.
    """

    __slots__ = ()


class Actor:
    """Base of all actors. Made by the factory of its kind, one instance for each activation."""

    ctx: Context
    handlers: ClassVar[dict[type[Command[Any]] | type[Stream[Any]], Handler]] = ALARM_HANDLERS

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        for hook in ("stopping", "may_passivate"):
            if inspect.iscoroutinefunction(vars(cls).get(hook)):
                raise TypeError(f"{cls.__name__}.{hook} is plain def: nothing can be waited for there")
        cls.handlers = {**cls.handlers, **handlers_of(cls)}

    async def start(self) -> None:
        """Load. Commands wait in the mailbox until it returns; raising is a crash.

        A kind without ownership whose actors do not override this needs no task to wake.
        """

    def stopping(self, reason: StopReason) -> None:
        """The activation ends. Nothing can be asked or waited for here. Not called when the process dies."""

    @property
    def may_passivate(self) -> bool:
        """False keeps an idle actor in memory."""
        return True
