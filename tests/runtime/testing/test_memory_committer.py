"""The committer in memory: each of its faults, and what the actor's gate and storage then say."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from greenroom.runtime import (
    Actor,
    ActorFailed,
    Address,
    Command,
    CommitOutcome,
    CommitUnknown,
    Kind,
    Ref,
    StorageUnavailable,
    handles,
    open_system,
)
from greenroom.runtime.testing import CommitFault, MemoryCommitter


@dataclass(frozen=True, slots=True)
class Put(Command[int]):
    what: str


class Shelf(Actor):
    def __init__(self, key: int | str, committer: MemoryCommitter, starts: list[int]) -> None:
        self.committer, self.starts, self.key = committer, starts, key

    async def start(self) -> None:
        await trio.lowlevel.checkpoint()
        self.things = [write for address, write in self.committer.stored if address.key == self.key]
        self.starts.append(len(self.things))

    @handles(Put)
    def put(self, command: Put) -> int:
        self.ctx.write(command.what)
        self.things.append(command.what)
        return len(self.things)


@dataclass
class House:
    committer: MemoryCommitter
    starts: list[int]
    shelf: Ref

    async def put(self, what: str) -> int:
        return await self.shelf.ask(Put(what), deadline=trio.current_time() + 20)

    def stored(self) -> list[object]:
        return [write for _, write in self.committer.stored]


@asynccontextmanager
async def house() -> AsyncIterator[House]:
    committer, starts = MemoryCommitter(), []  # type: ignore[var-annotated]
    kind = Kind("shelf", lambda key: Shelf(key, committer, starts), ownership="create")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(committer.run)
        async with open_system([kind], committer=committer) as system:
            yield House(committer, starts, system.ref("shelf", 1))
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("fault", "error", "is_stored"),
    [
        (CommitFault.REFUSED, ActorFailed, False),
        (CommitFault.UNAVAILABLE, StorageUnavailable, False),
        (CommitFault.UNKNOWN_LOST, CommitUnknown, False),
        (CommitFault.UNKNOWN_STORED, CommitUnknown, True),
    ],
)
async def test_the_unit_that_was_named_fails_and_no_other(
    fault: CommitFault, error: type[Exception], is_stored: bool, autojump_clock: MockClock
) -> None:
    async with house() as it:
        it.committer.fail_unit(2, fault)
        assert await it.put("a") == 1
        with pytest.raises(error):
            await it.put("b")
        assert it.stored() == (["a", "b"] if is_stored else ["a"])
        assert await it.put("c") == (3 if is_stored else 2)
        assert it.starts == [0, 2 if is_stored else 1]


@pytest.mark.parametrize("fault", [CommitFault.DUPLICATE, CommitFault.FENCED])
async def test_what_is_certainly_not_stored_is_decided_again(fault: CommitFault, autojump_clock: MockClock) -> None:
    async with house() as it:
        it.committer.fail_unit(1, fault)
        assert await it.put("a") == 1
        assert it.stored() == ["a"]
        assert it.starts == [0, 0]


async def test_another_owner_between_the_statement_and_the_commit_fences_it(autojump_clock: MockClock) -> None:
    async with house() as it:
        await it.put("a")
        it.committer.commit_seconds = 1
        async with trio.open_nursery() as nursery:
            nursery.start_soon(it.put, "b")
            await trio.sleep(0.5)
            assert not it.committer.is_idle
            assert it.committer.claim_elsewhere(Address("shelf", 1)) == 2
        assert it.stored() == ["a", "b"]
        assert it.starts == [0, 1]
        assert it.committer.tokens[Address("shelf", 1)] == 3
        assert it.committer.is_idle


async def test_a_slow_commit_holds_the_reply_for_as_long(autojump_clock: MockClock) -> None:
    async with house() as it:
        it.committer.commit_seconds = 2.5
        began = trio.current_time()
        await it.put("a")
        assert trio.current_time() - began == 2.5


async def test_storage_that_goes_away_during_a_commit_has_stored_nothing(autojump_clock: MockClock) -> None:
    async with house() as it:
        await it.put("a")
        it.committer.hold()
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def put() -> None:
                with pytest.raises(StorageUnavailable):
                    await it.put("b")

            await wait_all_tasks_blocked()
            it.committer.is_away = True
            it.committer.release()
        it.committer.forget_faults()
        assert await it.put("c") == 2
        assert it.stored() == ["a", "c"]


async def test_what_was_planned_can_be_forgotten(autojump_clock: MockClock) -> None:
    async with house() as it:
        it.committer.fail_unit(1, CommitFault.REFUSED)
        it.committer.commit_seconds = 5
        it.committer.hold()
        it.committer.forget_faults()
        began = trio.current_time()
        assert await it.put("a") == 1
        assert trio.current_time() == began


@pytest.mark.parametrize("fault", ["REFUSED", None, CommitOutcome.REFUSED])
def test_a_fault_that_is_none_is_refused(fault: Any) -> None:
    with pytest.raises(TypeError, match=r"fail_unit: the fault is CommitFault\.REFUSED, "):
        MemoryCommitter().fail_unit(1, fault)


@pytest.mark.parametrize("number", [1.0, "1", True])
def test_a_number_that_counts_nothing_is_refused(number: Any) -> None:
    with pytest.raises(TypeError, match="fail_unit: the number is a whole number"):
        MemoryCommitter().fail_unit(number, CommitFault.REFUSED)


def test_a_unit_before_the_next_is_none() -> None:
    with pytest.raises(ValueError, match="counted from 1"):
        MemoryCommitter().fail_unit(0, CommitFault.REFUSED)
