"""What the code of an actor, or of a port, does at its worst ends that turn or that activation, and nobody else's."""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from greenroom.runtime import (
    Actor,
    ActorFailed,
    ActorSystem,
    AskTimeout,
    Command,
    Kind,
    Meter,
    Service,
    Strategy,
    Stream,
    Supervisor,
    handles,
    open_system,
)
from greenroom.runtime.ports import CommitUnit, StorageUnavailable
from greenroom.runtime.testing import CommitFault, MemoryCommitter
from greenroom.runtime.tree import Child


@dataclass(frozen=True, slots=True)
class Do(Command[object]):
    """Call `what` in a turn."""

    what: Callable[[Any], object]


@dataclass(frozen=True, slots=True)
class Wait(Command[object]):
    """Await `what` in a turn."""

    what: Callable[[Any], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Numbers(Stream[int]):
    pass


@dataclass(frozen=True, slots=True)
class Ping(Command[int]):
    pass


class Doer(Actor):
    @handles(Do)
    def do(self, command: Do) -> object:
        return command.what(self)

    @handles(Wait)
    async def wait(self, command: Wait) -> object:
        return await command.what(self)

    @handles(Ping)
    def ping(self, _: Ping) -> int:
        return 1

    @handles(Numbers)
    async def numbers(self, _: Numbers) -> AsyncGenerator[int, None]:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            for number in range(1000):
                yield number


@dataclass
class House:
    system: ActorSystem
    committer: MemoryCommitter
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def doer(self, key: int = 1, kind: str = "doer") -> Any:
        return self.system.ref(kind, key)

    def of(self, name: str) -> list[dict[str, Any]]:
        return [facts for event, facts in self.events if event == name]

    async def is_alive(self) -> bool:
        return bool(await self.doer(99).ask(Ping(), deadline=soon()) == 1)


@asynccontextmanager
async def opened(
    *children: Child, committer: MemoryCommitter | None = None, tree: Supervisor | None = None, **options: Any
) -> AsyncIterator[House]:
    committer = committer or MemoryCommitter()
    events: list[tuple[str, dict[str, Any]]] = []
    kinds = [Kind("doer", lambda _: Doer()), Kind("writer", lambda _: Doer(), ownership="create"), *children]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(committer.run)
        try:
            async with open_system(
                tree or kinds, committer=committer, event=lambda name, **facts: events.append((name, facts)), **options
            ) as system:
                yield House(system, committer, events)
        finally:
            nursery.cancel_scope.cancel()


def soon(seconds: float = 5) -> float:
    return trio.current_time() + seconds


async def waits(_: object) -> None:
    await trio.sleep(100)


async def bad_clean_up() -> None:
    try:
        await trio.sleep_forever()
    finally:
        raise ValueError("in the clean-up")


# -- errors and cancellation that a nursery has mixed ------------------------------------------------------------------


async def test_a_child_task_that_cleans_up_badly_ends_its_turn_alone(autojump_clock: MockClock) -> None:
    async def work(actor: Doer) -> object:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bad_clean_up)
            return await actor.ctx.ref("doer", 2).ask(Wait(waits), deadline=soon(50))

    async with opened() as house:
        with pytest.raises(AskTimeout):
            await house.doer().ask(Wait(work), deadline=soon(1))
        await wait_all_tasks_blocked()
        [told] = house.of("actor.failed_while_cancelled")
        assert "in the clean-up" in told["error"]
        assert await house.doer().ask(Ping(), deadline=soon()) == 1
        assert not house.system.waiting_turns


async def test_a_stream_may_yield_inside_a_nursery(autojump_clock: MockClock) -> None:
    async with opened() as house:
        async with house.doer().stream(Numbers(), deadline=soon()) as items:
            assert await items.__anext__() == 0
        await wait_all_tasks_blocked()
        assert not house.system.waiting_turns
        async with house.doer().stream(Numbers(), deadline=soon(1)) as items:
            await trio.sleep(2)
            with pytest.raises(AskTimeout):
                assert [item async for item in items] == list(range(16))
        assert await house.is_alive()


async def test_a_mixed_error_that_nobody_cancelled_fails_the_turn(autojump_clock: MockClock) -> None:
    async def work(actor: Doer) -> object:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bad_clean_up)
            await trio.lowlevel.checkpoint()
            raise KeyError("in the body")

    async with opened() as house:
        with pytest.raises(ActorFailed):
            await house.doer().ask(Wait(work), deadline=soon())
        assert await house.is_alive()


async def test_a_start_given_up_by_its_supervisor_may_clean_up_badly(autojump_clock: MockClock) -> None:
    starts: list[int] = []

    class Slow(Doer):
        async def start(self) -> None:
            starts.append(1)
            if len(starts) == 1:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(bad_clean_up)
                    await trio.sleep_forever()

    def fails(_: object) -> None:
        raise ValueError("restart all")

    tree = Supervisor(
        "root",
        [Service(Kind("clerk", lambda _: Doer())), Kind("slow", lambda _: Slow()), Kind("doer", lambda _: Doer())],
        strategy=Strategy.ONE_FOR_ALL,
    )
    async with opened(tree=tree) as house:
        house.doer(kind="slow").tell(Ping())
        await wait_all_tasks_blocked()
        house.system.service("clerk").tell(Do(fails))
        await trio.sleep(1)
        assert await house.doer(kind="slow").ask(Ping(), deadline=soon()) == 1
        assert len(starts) == 2
        assert len(house.of("actor.failed_while_cancelled")) == 1


# -- what ends the process ---------------------------------------------------------------------------------------------


def leaves(_: object) -> None:
    raise SystemExit(3)


async def leaves_later(_: object) -> None:
    await trio.lowlevel.checkpoint()
    raise SystemExit(3)


class LeavesInStart(Doer):
    async def start(self) -> None:
        raise SystemExit(3)


class LeavesInStop(Doer):
    def stopping(self, reason: object) -> None:
        raise SystemExit(3)


@pytest.mark.parametrize(
    ("kind", "command", "where"),
    [
        ("doer", Do(leaves), "Do"),
        ("doer", Wait(leaves_later), "Wait"),
        ("metered", Do(leaves), "Do"),
        ("starts", Ping(), "start"),
        ("stops", Do(lambda actor: actor.ctx.stop()), "stopping"),
    ],
)
async def test_a_system_exit_ends_the_process_at_once_and_names_the_actor(
    autojump_clock: MockClock, kind: str, command: Any, where: str
) -> None:
    began = trio.current_time()
    kinds = [
        Kind("starts", lambda _: LeavesInStart()),
        Kind("stops", lambda _: LeavesInStop()),
        Kind("metered", lambda _: Doer(), meter=Meter(head_seconds_max=60)),
    ]
    houses: list[House] = []

    async def run() -> None:
        async with opened(*kinds) as house:
            houses.append(house)
            house.doer(2).tell(Wait(waits))
            house.doer(kind=kind).tell(Ping())
            await wait_all_tasks_blocked()
            house.doer(kind=kind).tell(command)
            await trio.sleep_forever()

    with pytest.raises(BaseExceptionGroup) as ended:
        await run()
    assert trio.current_time() == began
    assert ended.value.subgroup(SystemExit) is not None
    [house] = houses
    told = house.of("system.ended_by_actor")[0]
    assert (told["address"], told["where"]) == (f"{kind}/1", where)
    assert house.system.acting is None
    assert f"raised by {kind}/1 in {where}" in told["error"].__notes__[0]


# -- ports that break their contract -----------------------------------------------------------------------------------


class JsonCommitter(MemoryCommitter):
    def submit(self, unit: CommitUnit) -> int:
        for write in unit.writes:
            json.dumps(write)
        return super().submit(unit)


async def test_a_committer_that_raises_something_else_fails_the_turn(autojump_clock: MockClock) -> None:
    async def written(actor: Doer) -> None:
        actor.ctx.write({1, 2})
        await actor.ctx.flushed()

    async with opened(committer=JsonCommitter()) as house:
        writer = house.doer(kind="writer")
        for command in (Do(lambda actor: actor.ctx.write({1, 2})), Wait(written)):
            with pytest.raises(ActorFailed, match=r"cannot be encoded .TypeError: Object of type set"):
                await writer.ask(command, deadline=soon())
        await writer.ask(Do(lambda actor: actor.ctx.write("well")), deadline=soon())
        assert [write for _, write in house.committer.stored] == ["well"]


class UnreachableCommitter(MemoryCommitter):
    is_unreachable = True

    async def probe(self) -> None:
        await trio.lowlevel.checkpoint()
        if self.is_unreachable:
            raise OSError("no route")


async def test_a_probe_that_raises_something_else_has_not_found_storage(autojump_clock: MockClock) -> None:
    committer = UnreachableCommitter()
    async with opened(committer=committer) as house:
        committer.fail_unit(1, CommitFault.UNAVAILABLE)
        writer = house.doer(kind="writer")
        with pytest.raises(StorageUnavailable):
            await writer.ask(Do(lambda actor: actor.ctx.write("lost")), deadline=soon())
        await trio.sleep(5)
        assert house.system.storage.is_away
        assert len(house.of("storage.probe_failed")) == 1
        committer.is_unreachable = False
        assert await writer.ask(Ping(), deadline=soon()) == 1
