"""A block that is cancelled ends as any other: its actors finish first."""

from dataclasses import dataclass

import pytest
import trio

from greenroom.runtime import (
    Actor,
    Command,
    Directive,
    Escalated,
    Kind,
    RestartPolicy,
    Service,
    StaticName,
    StopReason,
    Supervisor,
    handles,
    open_system,
)
from greenroom.runtime.testing import MemoryCommitter


@dataclass(frozen=True, slots=True)
class Add(Command[None]):
    by: int


@dataclass(frozen=True, slots=True)
class Wait(Command[None]):
    seconds: float


class Counter(Actor):
    def __init__(self, log: list[object]) -> None:
        self.log = log

    @handles(Add)
    def add(self, command: Add) -> None:
        self.ctx.write(command.by)
        self.ctx.after_commit(lambda: self.log.append(command.by))

    @handles(Wait)
    async def wait(self, command: Wait) -> None:
        await trio.sleep(command.seconds)
        self.log.append("waited")

    def stopping(self, reason: StopReason) -> None:
        self.log.append(reason)


async def run_until_cancelled(log: list[object], *commands: Command[None]) -> float:
    """Tell one actor all of it, and cancel the block in the same step. How long its end takes, in seconds."""
    committer = MemoryCommitter()
    kinds = [Kind("counter", lambda _: Counter(log), ownership="create")]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(committer.run)
        with trio.CancelScope() as scope:
            async with open_system(kinds, committer=committer, stop_seconds_max=5.0) as system:
                for command in commands:
                    system.ref("counter", 1).tell(command)
                scope.cancel(reason="the test ends the block")
                began = trio.current_time()
                await trio.sleep_forever()
        seconds = trio.current_time() - began
        nursery.cancel_scope.cancel()
    assert [write for _, write in committer.stored] == [entry for entry in log if isinstance(entry, int)]
    return seconds


async def test_what_was_queued_is_handled_stored_and_let_out(autojump_clock):
    log: list[object] = []
    assert await run_until_cancelled(log, Add(1), Add(2)) < 0.1
    assert log == [1, 2, StopReason.NORMAL]


async def test_a_turn_that_waits_is_waited_for(autojump_clock):
    log: list[object] = []
    assert 1 <= await run_until_cancelled(log, Wait(1.0), Add(1)) < 1.1
    assert log == ["waited", 1, StopReason.NORMAL]


async def test_a_turn_that_waits_for_longer_than_the_end_may_take_is_cancelled(autojump_clock):
    log: list[object] = []
    assert 5 <= await run_until_cancelled(log, Wait(60.0), Add(1)) < 5.1
    assert log == [StopReason.DEADLINE]


async def test_an_error_of_the_block_leaves_it_when_the_actors_have_finished(autojump_clock):
    log: list[object] = []
    committer = MemoryCommitter()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(committer.run)
        with pytest.raises(KeyError, match="of the block"):  # noqa: PT012
            async with open_system(
                [Kind("counter", lambda _: Counter(log), ownership="create")],
                committer=committer,
            ) as system:
                system.ref("counter", 1).tell(Add(1))
                raise KeyError("of the block")
        nursery.cancel_scope.cancel()
    assert log == [1, StopReason.NORMAL]


class Poisoned(Actor):
    @handles(Add)
    def add(self, command: Add) -> None:
        raise ZeroDivisionError("planned")


ESCALATES = Kind("poisoned", lambda _: Poisoned(), restart=RestartPolicy(on_error={Exception: Directive.ESCALATE}))


async def test_what_escalates_to_the_root_leaves_the_block_as_it_is(autojump_clock):
    with pytest.raises(Escalated) as caught:  # noqa: PT012
        async with open_system([Supervisor("inner", [ESCALATES], intensity=0)], committer=MemoryCommitter()) as system:
            for _ in range(10):
                system.ref("poisoned", 1).tell(Add(1))
                await trio.sleep(1)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


async def test_a_block_that_raises_while_the_system_escalates_is_not_forgotten(autojump_clock):
    with pytest.RaisesGroup(KeyError, pytest.RaisesGroup(Escalated)):
        async with open_system(Supervisor("root", [ESCALATES], intensity=0), committer=MemoryCommitter()) as system:
            system.ref("poisoned", 1).tell(Add(1))
            try:
                await trio.sleep_forever()
            finally:
                raise KeyError("of the block")


@pytest.mark.parametrize("children", [[ESCALATES, ESCALATES], [Supervisor("inner", [ESCALATES, Service(ESCALATES)])]])
async def test_arguments_that_make_no_sense_are_told_plainly(children):
    with pytest.raises(StaticName, match="poisoned"):
        async with open_system(children, committer=MemoryCommitter()):
            raise AssertionError("it began")
    kind = Kind("keeper", lambda _: Poisoned(), "create", keeps_alarms=True)
    with pytest.raises(ValueError, match="alarms="):
        async with open_system([kind], committer=MemoryCommitter()):
            raise AssertionError("it began")


async def test_a_block_that_is_cancelled_before_it_begins_ends_too(autojump_clock):
    log: list[object] = []
    with trio.CancelScope() as scope:
        scope.cancel()
        async with open_system([Kind("counter", lambda _: Counter(log))], committer=MemoryCommitter()):
            log.append("within")
            await trio.lowlevel.checkpoint()
            log.append("never")
    assert scope.cancelled_caught
    assert "never" not in log
