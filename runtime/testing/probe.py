"""Probes: actors that write down what they are told, answer as the test says, and can be waited for.

    probe = Probe()
    async with open_system([room_kind, probe.kind("user")], ...) as system:
        system.ref("room", 1).tell(Join(user=7))
        welcome = await probe.next(Welcome)                 # waits until an actor of kind user is told something
        assert (welcome.to.key, welcome.command.room) == (7, 1)

One probe may stand for many addresses, and for several kinds. `next` waits without polling: who tells the probe wakes
who waits for it. Bound the wait with a scope of trio's (`trio.fail_after`): on a virtual clock it costs no time.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar, overload

import trio

from greenroom.runtime.actor import Actor, Command
from greenroom.runtime.address import Address
from greenroom.runtime.handlers import Handler
from greenroom.runtime.kind import Kind

C = TypeVar("C")


class UnexpectedCommand(AssertionError):
    """The probe was told something else than the test waited for."""


@dataclass(frozen=True, slots=True)
class Told(Generic[C]):
    """One command that an actor of the probe was told. at: trio time."""

    to: Address
    command: C
    at: float


class Probe:
    """Everything told to the actors of its kinds, in the order in which it was handled. told: all of it.

    answer(command): what an ask is answered with, or something awaitable that will be; raising is a failed turn. It
    runs inside the turn, so an answer that waits holds the next command back. Without it everything is answered with
    None.
    """

    def __init__(self, answer: Callable[[Any], object] = lambda _: None) -> None:
        self.answer = answer
        self.told: list[Told[Any]] = []
        self._unseen: deque[Told[Any]] = deque()
        self._waiters: deque[trio.Event] = deque()

    def kind(self, name: str, **limits: Any) -> Kind:
        """A kind, or one more, whose actors report here. *limits* are those of `Kind`."""
        return Kind(name, lambda _: _ProbeActor(self), **limits)

    @overload
    async def next(self) -> Told[Any]: ...

    @overload
    async def next(self, command: type[C]) -> Told[C]: ...

    async def next(self, command: type[Any] = object) -> Told[Any]:
        """The oldest command that `next` has not returned yet; waits for one. Cancelled: nothing was taken.

        command: the type that it must be. Raises: UnexpectedCommand when it is another; it counts as seen.
        """
        while not self._unseen:
            await self._wait()
        told = self._unseen.popleft()
        await trio.lowlevel.cancel_shielded_checkpoint()
        if not isinstance(told.command, command):
            raise UnexpectedCommand(f"{told.to} was told {told.command!r}, and {command.__name__} was awaited")
        return told

    def expect_nothing(self) -> None:
        """Raises: UnexpectedCommand when something was told that `next` has not returned.

        To know that nothing more is under way, `await trio.testing.wait_all_tasks_blocked()` before.
        """
        if self._unseen:
            listing = ", ".join(f"{told.to} {told.command!r}" for told in self._unseen)
            raise UnexpectedCommand(f"nothing more was expected, and there is: {listing}")

    def forget(self) -> None:
        """Begin anew: what was told until now is neither in `told` nor awaited."""
        self.told.clear()
        self._unseen.clear()

    def note(self, to: Address, command: object) -> None:
        """Of the actors: one more command."""
        told = Told(to, command, trio.current_time())
        self.told.append(told)
        self._unseen.append(told)
        self._wake()

    async def _wait(self) -> None:
        self._waiters.append(event := trio.Event())
        try:
            await event.wait()
        except trio.Cancelled:
            if event.is_set():
                self._wake()  # what it was woken for is for the next who waits
            else:
                self._waiters.remove(event)
            raise

    def _wake(self) -> None:
        if self._waiters:
            self._waiters.popleft().set()


class _ProbeActor(Actor):
    def __init__(self, probe: Probe) -> None:
        self._probe = probe

    def receive(self, command: Command[Any]) -> object:
        self._probe.note(self.ctx.address, command)
        return self._probe.answer(command)


class _EveryCommand(dict[Any, Handler]):
    """The table of an actor that has a handler for everything."""

    _row: ClassVar[Handler] = Handler(_ProbeActor.receive)

    def get(self, _command: object, _default: object = None) -> Handler:
        return self._row


_ProbeActor.handlers = _EveryCommand()
