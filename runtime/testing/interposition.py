"""Standing between the runtime and the actors of a kind: what faults, ledgers and tests of tests are made of.

    runtime ──▶ start · handler · stopping ──▶ Interposition ──▶ the actor's own

The actors of `interposition.on(kind)` are of a class of their own, made once for each class: other kinds, and the same
kind elsewhere, pay nothing. Interpositions may be laid over each other.
"""

from dataclasses import replace
from typing import Any, cast

from greenroom.runtime.actor import Actor
from greenroom.runtime.handlers import Handler
from greenroom.runtime.kind import Kind
from greenroom.runtime.lifecycle import StopReason


class Interposition:
    """Lets everything through. Subclasses override what they are there for."""

    def __init__(self) -> None:
        self._classes: dict[type[Actor], type[Actor]] = {}

    def on(self, kind: Kind) -> Kind:
        """The same kind, with actors that this stands before."""
        return replace(kind, factory=lambda key: self._armed(kind.factory(key)))

    def run(self, actor: Actor, handler: Handler, command: Any) -> object:
        """Handle *command*, a list of them for a batch. What is returned or raised stands for what the handler did."""
        return handler.method(actor, command)

    def started(self, actor: Actor) -> None:
        """The actor's own `start` has returned. Raising is a crash in start."""

    def stopped(self, actor: Actor) -> None:
        """The actor's own `stopping` has returned. Raising is a fault there."""

    def _armed(self, actor: Actor) -> Actor:
        cls = type(actor)
        if cls not in self._classes:
            self._classes[cls] = self._class_over(cls)
        actor.__class__ = self._classes[cls]
        return actor

    def _class_over(self, cls: type[Actor]) -> type[Actor]:
        async def start(actor: Actor) -> None:
            await cls.start(actor)
            self.started(actor)

        def stopping(actor: Actor, reason: StopReason) -> None:
            cls.stopping(actor, reason)
            self.stopped(actor)

        hooks = {"start": start, "stopping": stopping, "__module__": cls.__module__, "__slots__": ()}
        if cls.start is Actor.start and type(self).started is Interposition.started:
            del hooks["start"]  # a kind that loads nothing needs no task to wake, and must not need one for this
        armed = cast("type[Actor]", type(cls.__name__, (cls,), hooks))
        armed.handlers = {command: self._handler_over(handler) for command, handler in cls.handlers.items()}
        return armed

    def _handler_over(self, handler: Handler) -> Handler:
        def method(actor: Actor, command: object) -> object:
            return self.run(actor, handler, command)

        return replace(handler, method=method)
