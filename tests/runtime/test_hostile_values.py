"""Errors, answers and sizes of an actor that are bugs themselves: telling of them ends nobody but that actor."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from greenroom.runtime import (
    Actor,
    ActorFailed,
    ActorGone,
    Command,
    Down,
    Kind,
    Meter,
    Service,
    Strategy,
    Supervisor,
    encodable,
    handles,
    open_system,
)
from greenroom.runtime.testing import CommitFault, MemoryCommitter, VirtualClock


class Speechless(Exception):
    def __str__(self) -> str:
        raise AttributeError("detail")

    __repr__ = __str__


class Proxy:
    def __getattr__(self, name: str) -> object:
        raise RuntimeError("outside of its context")


@dataclass(frozen=True, slots=True)
class Do(Command[object]):
    what: Callable[["Doer"], object]


@dataclass(frozen=True, slots=True)
class Wait(Command[object]):
    what: Callable[["Doer"], object]


@encodable("hostile-values.Ring")
@dataclass(frozen=True, slots=True)
class Ring(Command[None]):
    pass


def fail(_: Any) -> object:
    raise Speechless


class Doer(Actor):
    """Key "start": raises in it. told: what it was told, of all lives."""

    def __init__(self, key: int | str, told: list[str]) -> None:
        self.key, self.told = key, told

    async def start(self) -> None:
        await trio.lowlevel.checkpoint()
        if self.key == "start":
            raise Speechless

    def stopping(self, _: object) -> None:
        if self.key == "stopping":
            raise Speechless

    @handles(Do)
    def do(self, command: Do) -> object:
        return command.what(self)

    @handles(Wait)
    async def wait(self, command: Wait) -> object:
        await trio.lowlevel.checkpoint()
        return command.what(self)

    @handles(Ring)
    def ring(self, _: Ring) -> None:
        self.ctx.write("rung")
        self.told.append("ring")

    @handles(Down)
    async def down(self, command: Down) -> None:
        self.told.append(f"down {command.address}")
        await trio.sleep(5)
        self.told.append("down handled")


def soon() -> float:
    return trio.current_time() + 30


@pytest.mark.parametrize("metered", [False, True])
@pytest.mark.parametrize("told", [False, True])
@pytest.mark.parametrize(
    ("key", "command", "answer"),
    [
        (1, Do(fail), ActorFailed),
        (1, Wait(fail), ActorFailed),
        ("start", Do(lambda _: 1), ActorGone),
        ("stopping", Do(fail), ActorFailed),
        (1, Do(lambda _: Proxy()), None),
        (1, Wait(lambda _: Proxy()), None),
        (1, Do(lambda it: it.ctx.after_commit(lambda: fail(it))), None),
    ],
)
async def test_a_value_that_cannot_be_told_of_ends_nobody_else(
    autojump_clock: MockClock,
    key: int | str,
    command: Command[Any],
    answer: type[Exception] | None,
    told: bool,
    metered: bool,
) -> None:
    meter = Meter(size_of=lambda _: 1, bytes_max=100) if metered else None
    kind = Kind("doer", lambda key: Doer(key, []), meter=meter)
    async with open_system([kind, Kind("watcher", lambda key: Doer(key, []))], committer=MemoryCommitter()) as system:
        ref = system.ref("doer", key)
        await system.ref("watcher", 1).ask(Do(lambda it: it.ctx.watch(ref)), deadline=soon())
        if told:
            ref.tell(command)
        elif answer is None:
            await ref.ask(command, deadline=soon())
        else:
            with pytest.raises(answer):
                await ref.ask(command, deadline=soon())
        await trio.sleep(60)
        assert await system.ref("doer", 2).ask(Do(lambda _: "well"), deadline=soon()) == "well"


def sized(command: object) -> int:
    assert isinstance(command, Do | Wait), "only what is told by others has a size"
    return 1


async def test_an_alarm_that_is_decided_again_in_a_metered_mailbox_comes(autojump_clock: MockClock) -> None:
    committer, told = MemoryCommitter(), list[str]()
    kind = Kind(
        "doer",
        lambda key: Doer(key, told),
        ownership="create",
        keeps_alarms=True,
        meter=Meter(size_of=sized, bytes_max=100),
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(committer.run)
        async with open_system(
            [kind], committer=committer, alarms=committer.alarms, clock=VirtualClock(autojump_clock)
        ) as system:
            ref = system.ref("doer", 1)
            await ref.ask(Do(lambda it: it.ctx.set_alarm("a", Ring(), after_seconds=5)), deadline=soon())
            committer.fail_unit(1, CommitFault.FENCED)
            await trio.sleep(20)
            assert told == ["ring", "ring"]
            assert [write for _, write in committer.stored] == ["rung"]
        nursery.cancel_scope.cancel()


async def test_a_down_that_is_handled_again_in_a_metered_mailbox_comes(autojump_clock: MockClock) -> None:
    told = list[str]()
    meter = Meter(size_of=sized, bytes_max=100)
    group = Supervisor(
        "group",
        [
            Service(Kind("watcher", lambda key: Doer(key, told), meter=meter)),
            Service(Kind("sibling", lambda key: Doer(key, []))),
        ],
        strategy=Strategy.ONE_FOR_ALL,
    )
    children = [group, Kind("watched", lambda key: Doer(key, []))]
    async with open_system(Supervisor("root", children), committer=MemoryCommitter()) as system:
        watched = system.ref("watched", 1)
        await watched.ask(Do(lambda _: 1), deadline=soon())
        await system.service("watcher").ask(Do(lambda it: it.ctx.watch(watched)), deadline=soon())
        watched.tell(Do(fail))
        await trio.sleep(1)
        system.service("sibling").tell(Do(fail))
        await trio.sleep(20)
        assert told == ["down watched/1", "down watched/1", "down handled"]
