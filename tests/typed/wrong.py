"""Uses of the runtime that type checkers must refuse. Never run.

A line ends in what each of the two says of it: `# error: <mypy's code> <pyright's rule>`. No other line may be refused.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from greenroom.runtime import (
    Actor,
    Command,
    Committer,
    Kind,
    Meter,
    Ref,
    RestartPolicy,
    StopReason,
    Stream,
    Supervisor,
    handles,
    open_system,
    reads,
)


@dataclass(frozen=True, slots=True)
class Add(Command[int]):
    by: int


@dataclass(frozen=True, slots=True)
class Note(Command[None]):
    text: str


@dataclass(frozen=True, slots=True)
class Follow(Stream[int]):
    pass


class NotACommand:
    """Nobody can be told this."""


class Plain(Actor):
    """Plain handlers."""

    @handles(Add)  # error: arg-type reportArgumentType
    def returns_another(self, command: Add) -> str:
        return str(command.by)

    @handles(Add)  # error: arg-type reportArgumentType
    def returns_sometimes(self, command: Add) -> int | None:
        return command.by or None

    @handles(Note)  # error: arg-type reportArgumentType
    def returns_too_much(self, command: Note) -> str:
        return command.text

    @handles(Add)  # error: arg-type reportArgumentType
    def takes_another(self, command: Note) -> int:
        return len(command.text)

    @handles(Add)  # error: arg-type reportArgumentType
    def takes_nothing(self) -> int:
        return 1

    @handles(Add)  # error: arg-type reportArgumentType
    def takes_more(self, command: Add, more: int) -> int:
        return command.by + more

    @reads
    @handles(Add)  # error: arg-type reportArgumentType
    def reads_another(self, command: Add) -> str:
        return str(command.by)

    @handles(Add)  # error: arg-type reportArgumentType
    @reads
    def reads_another_below(self, command: Add) -> str:
        return str(command.by)

    @handles(NotACommand)  # error: type-var reportArgumentType
    def takes_no_command(self, command: NotACommand) -> None: ...

    @handles(Add(1))  # error: call-overload reportArgumentType
    def takes_one_command(self, command: Add) -> int:
        return command.by


class Waiting(Actor):
    """Handlers that wait."""

    @handles(Add)  # error: arg-type reportArgumentType
    async def returns_another(self, command: Add) -> str:
        return str(command.by)

    @handles(Add)  # error: arg-type reportArgumentType
    async def yields(self, command: Add) -> AsyncIterator[int]:
        yield command.by

    @handles(Follow)  # error: arg-type reportArgumentType
    async def yields_another(self, _: Follow) -> AsyncIterator[str]:
        yield ""

    @handles(Follow)  # error: arg-type reportArgumentType
    async def yields_nothing(self, _: Follow) -> int:
        return 1

    async def forgets_to_wait(self) -> None:
        self.ctx.flushed()  # error: unused-coroutine reportUnusedCoroutine


class Batches(Actor):
    """Handlers of several commands at once."""

    @handles(Add, batch=64)  # error: arg-type reportArgumentType
    def returns_others(self, commands: list[Add]) -> list[str]:
        return [str(command.by) for command in commands]

    @handles(Add, batch=64)  # error: arg-type reportArgumentType
    async def returns_others_later(self, commands: list[Add]) -> list[str]:
        return [str(command.by) for command in commands]

    @handles(Add, batch=64)  # error: arg-type reportArgumentType
    def takes_one(self, command: Add) -> int:
        return command.by

    @handles(Add)  # error: arg-type reportArgumentType
    def takes_a_list(self, commands: list[Add]) -> int:
        return len(commands)

    @handles(Follow, batch=64)  # error: type-var reportArgumentType
    async def streams(self, _: list[Follow]) -> AsyncIterator[int]:
        yield 1


class Hooks(Actor):
    """What the runtime calls has a form."""

    def start(self) -> None:  # error: override reportIncompatibleMethodOverride
        """Is awaited."""

    async def stopping(self, reason: StopReason) -> None:  # error: override reportIncompatibleMethodOverride
        """Is not awaited."""

    def may_passivate(self) -> bool:  # error: override reportIncompatibleMethodOverride
        return True


async def waits() -> None:
    """Where nothing may."""


async def make(key: int | str) -> Actor:
    """As a factory."""
    return Actor()


def told(value: str | None, error: BaseException | None) -> None:
    """Of a text."""


async def answers(value: int | None, error: BaseException | None) -> None:
    """As a reply_to."""


async def size_of(command: object) -> int:
    return 1


Kind("counter", make)  # error: arg-type reportArgumentType
Kind("counter", lambda _: "no actor")  # error: arg-type,return-value reportArgumentType
Kind("counter", lambda _: Actor(), idle_seconds_max="60")  # error: arg-type reportArgumentType
Meter(size_of=size_of)  # error: arg-type reportArgumentType
RestartPolicy(mode="always")  # error: arg-type reportArgumentType
Supervisor("all", [Plain])  # error: list-item reportArgumentType


async def use(ref: Ref, actor: Plain, committer: Committer) -> None:
    """From outside."""
    text: str = await ref.ask(Add(1), deadline=1.0)  # error: arg-type reportAssignmentType
    print(text)
    number: int = await ref.ask(Note(""), deadline=1.0)  # error: arg-type reportAssignmentType
    print(number)
    await ref.ask(Add(1))  # error: call-arg reportCallIssue
    await ref.ask(Follow(), deadline=1.0)  # error: arg-type reportArgumentType
    await ref.ask(Add, deadline=1.0)  # error: arg-type reportArgumentType
    ref.ask(Add(1), deadline=1.0)  # error: unused-coroutine reportUnusedCoroutine
    ref.tell(NotACommand())  # error: arg-type reportArgumentType
    ref.tell("add")  # error: arg-type reportArgumentType
    ref.request(Add(1), told, deadline=1.0)  # error: arg-type reportArgumentType
    ref.request(Add(1), answers, deadline=1.0)  # error: arg-type reportArgumentType
    ref.stream(Add(1), deadline=1.0)  # error: arg-type reportArgumentType
    async with ref.stream(Follow(), deadline=1.0) as items:
        async for item in items:
            item.upper()  # error: attr-defined reportAttributeAccessIssue
    actor.ctx.after_commit(waits)  # error: arg-type reportArgumentType
    actor.ctx.tell(ref, NotACommand())  # error: arg-type reportArgumentType
    actor.ctx.set_alarm("a", NotACommand(), after_seconds=1.0)  # error: arg-type reportArgumentType
    actor.ctx.tell_self_after("1", Add(1))  # error: arg-type reportArgumentType
    ref.address = ref.address  # error: misc reportAttributeAccessIssue
    async with open_system([Plain], committer=committer):  # error: list-item reportArgumentType
        pass
