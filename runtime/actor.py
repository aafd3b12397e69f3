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

from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from greenroom.runtime.actor_alarms import ALARM_HANDLERS
from greenroom.runtime.command import Command as Command
from greenroom.runtime.command import Stream as Stream
from greenroom.runtime.context import Context
from greenroom.runtime.handlers import Handler, handlers_of, refuse_hooks
from greenroom.runtime.lifecycle import StopReason


class Actor:
    """Base of all actors. Made by the factory of its kind, one instance for each activation."""

    ctx: Context
    handlers: ClassVar[dict[type[Command[Any]] | type[Stream[Any]], Handler]] = ALARM_HANDLERS

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        refuse_hooks(cls)
        cls.handlers = {**ALARM_HANDLERS, **handlers_of(cls)}

    if not TYPE_CHECKING:  # to a type checker it would mean that an actor has every attribute

        def __getattr__(self, name: str) -> NoReturn:
            """Of what is not there. Raises: AttributeError."""
            if name == "ctx":
                raise AttributeError(
                    f"{type(self).__name__} has no `ctx` yet while it is made, in `__init__`: what needs it goes into "
                    "`async def start`"
                )
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)

    async def start(self) -> None:
        """Load. Commands wait in the mailbox until it returns; raising is a crash.

        A kind without ownership whose actors do not override this needs no task to wake.
        """

    def stopping(self, reason: StopReason) -> None:
        """The activation ends. Nothing can be written, asked or waited for here; what is told leaves at once.

        Not called when the process dies.
        """

    @property
    def may_passivate(self) -> bool:
        """False keeps an idle actor in memory."""
        return True
