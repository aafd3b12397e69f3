"""Faults of actors, one line each: at which command, in which hook, how often.

    faults = ActorFaults()
    async with open_system([faults.on(room_kind)], ...) as system:
        faults.crash_at_command(3)       # the third that any actor of these kinds begins from now on
        faults.crash_in_start(times=2)
        faults.crash_in_stop()
        faults.crash_while_cancelled()   # the next turn that is cancelled raises something else instead

What else can go wrong stands where it happens: `MemoryCommitter` has the storage that refuses, forgets to answer, is
slow, away or claimed by another owner; `UnreliableNetwork` loses and doubles what actors tell each other; `passivate`
sends actors to sleep now, `open_system(passivates_at_once=True)` after each command; `VirtualClock` has wall clocks
that are wrong; a mailbox that is full is a `Kind` with a small bound.

A kind without faults costs nothing for them: the actors of `faults.on(kind)` are of a class of their own.
"""

import inspect
from collections.abc import AsyncGenerator, Awaitable
from contextlib import aclosing
from typing import TYPE_CHECKING, cast

import trio

from greenroom.runtime.actor import Actor
from greenroom.runtime.handlers import Handler
from greenroom.runtime.limits import need_whole
from greenroom.runtime.misuse import address_of_ref
from greenroom.runtime.passivation import passivate_if_idle
from greenroom.runtime.ref import Ref
from greenroom.runtime.testing.interposition import Interposition

if TYPE_CHECKING:
    from greenroom.runtime.system import ActorSystem


def passivate(system: "ActorSystem", *refs: Ref) -> int:
    """Passivate the actors at *refs* now, all there are without any; how many it became.

    One that has something under way, a timer or a reason to stay awake, stays: what could not happen is not made to.
    """
    cells = [system.activation(address_of_ref(ref)) for ref in refs] if refs else list(system.activations.values())
    return sum(passivate_if_idle(cell) for cell in cells)


class InjectedFault(Exception):
    """Raised where a fault was planned, as a bug of the actor would be."""


class ActorFaults(Interposition):
    """What is planned for the actors of the kinds that were given to `on`. Each plan is used up by what it meets.

    met: how many planned faults have happened.
    """

    def __init__(self) -> None:
        super().__init__()
        self.met = 0
        self._begun = 0
        self._at_commands: set[int] = set()
        self._starts = 0
        self._stops = 0
        self._cancelled = 0

    def crash_at_command(self, number: int) -> None:
        """Raise when command *number* from now, 1 for the next, has been handled and its draft is full.

        A handler that waits raises at its end; one that streams before its first item. Raises: ValueError below 1,
        TypeError for no whole number.
        """
        if type(number) is int and number < 1:
            raise ValueError(f"commands are counted from 1, the next one, so there is none of number {number}")
        need_whole("crash_at_command: the number", number)
        self._at_commands.add(self._begun + number)

    def crash_in_start(self, times: int = 1) -> None:
        """Raise at the end of the next *times* starts. Raises: ValueError below 1, TypeError for no whole number."""
        need_whole("crash_in_start: times", times)
        self._starts += times

    def crash_in_stop(self, times: int = 1) -> None:
        """Raise in the next *times* calls of `stopping`. Raises as `crash_in_start`."""
        need_whole("crash_in_stop: times", times)
        self._stops += times

    def crash_while_cancelled(self, times: int = 1) -> None:
        """Raise in the clean-up of the next *times* turns that are cancelled while they wait, streams too.

        Raises as `crash_in_start`.
        """
        need_whole("crash_while_cancelled: times", times)
        self._cancelled += times

    def forget(self) -> None:
        """Nothing is planned any more."""
        self._at_commands.clear()
        self._starts = self._stops = self._cancelled = 0

    # -- of the actors ------------------------------------------------------------------------------------------------

    def run(self, actor: Actor, handler: Handler, command: object) -> object:
        """Handle *command*, with what is planned for it."""
        self._begun += 1
        is_planned = self._begun in self._at_commands
        self._at_commands.discard(self._begun)
        if is_planned and handler.is_stream:
            raise self._raised("a command")
        value = handler.method(actor, command)
        if handler.is_stream:
            return self._stream(cast("AsyncGenerator[object, None]", value))
        if inspect.isawaitable(value):
            return self._await(value, fails=is_planned)
        if is_planned:
            raise self._raised("a command")
        return value

    def started(self, actor: Actor) -> None:
        """Raise as often as is planned for starts."""
        if self._starts:
            self._starts -= 1
            raise self._raised("start")

    def stopped(self, actor: Actor) -> None:
        """Raise as often as is planned for stops."""
        if self._stops:
            self._stops -= 1
            raise self._raised("stop")

    async def _await(self, value: Awaitable[object], *, fails: bool) -> object:
        try:
            result = await value
        except trio.Cancelled:
            if self._cancelled:
                self._cancelled -= 1
                raise self._raised("the clean-up of a turn") from None
            raise
        if fails:
            raise self._raised("a command")
        return result

    async def _stream(self, items: AsyncGenerator[object, None]) -> AsyncGenerator[object, None]:
        try:
            async with aclosing(items):
                async for item in items:
                    yield item
        except (trio.Cancelled, GeneratorExit):
            is_cancelled = trio.current_effective_deadline() == float("-inf")  # else nobody follows it any more
            if self._cancelled and is_cancelled:
                self._cancelled -= 1
                raise self._raised("the clean-up of a turn") from None
            raise

    def _raised(self, where: str) -> InjectedFault:
        self.met += 1
        return InjectedFault(f"planned for {where}")
