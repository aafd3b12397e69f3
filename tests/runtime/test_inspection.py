"""Inspection: the tree, pages and the top, without waking anybody and without holding up the loop."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from greenroom.runtime import (
    Actor,
    ActorSystem,
    Address,
    Clock,
    Command,
    Inspection,
    Kind,
    KindNode,
    Service,
    ServiceNode,
    Strategy,
    Supervisor,
    SupervisorNode,
    UnknownKind,
    as_json,
    handles,
    open_system,
)
from greenroom.runtime.inspection import SLICE_CELLS_MAX
from greenroom.runtime.testing import MemoryCommitter


@dataclass(frozen=True, slots=True)
class Compute(Command[None]):
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Store(Command[None]):
    pass


@dataclass(frozen=True, slots=True)
class Attend(Command[None]):
    """Wait, with a reason to stay awake."""

    seconds: float


class HandClock(Clock):
    def __init__(self) -> None:
        self.now = 100.0

    def wall_milliseconds(self) -> int:
        return 0

    def busy_seconds(self) -> float:
        return self.now


class Worker(Actor):
    made = 0

    def __init__(self, clock: HandClock) -> None:
        self.clock = clock
        type(self).made += 1

    @handles(Compute)
    def compute(self, command: Compute) -> None:
        self.clock.now += command.seconds

    @handles(Store)
    def store(self, _: Store) -> None:
        self.ctx.write("kept")

    @handles(Attend)
    async def attend(self, command: Attend) -> None:
        with self.ctx.keep_awake("somebody looks"):
            await trio.sleep(command.seconds)


@dataclass
class House:
    system: ActorSystem
    look: Inspection
    committer: MemoryCommitter


@asynccontextmanager
async def open_house() -> AsyncIterator[House]:
    clock, committer = HandClock(), MemoryCommitter()
    root = Supervisor(
        "system",
        [
            Service(Kind("clock", lambda _: Worker(clock))),
            Supervisor(
                "messaging",
                [Kind("room", lambda _: Worker(clock), ownership="create"), Kind("user", lambda _: Worker(clock))],
                strategy=Strategy.ONE_FOR_ALL,
                intensity=3,
            ),
        ],
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(committer.run)
        async with open_system(root, committer=committer, clock=clock, stop_seconds_max=0.1) as system:
            yield House(system, Inspection(system), committer)
        nursery.cancel_scope.cancel()


def messaging(tree: SupervisorNode) -> tuple[SupervisorNode, KindNode, KindNode]:
    branch = tree.children[1]
    assert isinstance(branch, SupervisorNode)
    room, user = branch.children
    assert isinstance(room, KindNode)
    assert isinstance(user, KindNode)
    return branch, room, user


async def test_the_tree_is_the_one_that_was_declared(autojump_clock: MockClock):
    async with open_house() as house:
        tree = await house.look.tree()
        assert (tree.name, tree.strategy, tree.intensity) == ("system", "one_for_one", 5)
        service = tree.children[0]
        assert isinstance(service, ServiceNode)
        assert service.actor is not None
        assert (service.name, str(service.actor.address), service.actor.phase) == ("clock", "clock/main", "ready")
        branch, room, user = messaging(tree)
        assert (branch.name, branch.strategy, branch.intensity, branch.restarts) == ("messaging", "one_for_all", 3, 0)
        assert (room.name, user.name) == ("room", "user")
        assert (room.actors, room.has_more) == ((), False)


async def test_looking_wakes_nobody_and_keeps_nobody_awake(autojump_clock: MockClock):
    async with open_house() as house:
        house.system.ref("user", 1).tell(Compute())
        await trio.sleep(59)
        made = Worker.made
        for _ in range(3):
            await house.look.tree()
            await house.look.actors("user")
            await house.look.top(seconds=0.1)
        await trio.sleep(20)
        _, _, user = messaging(await house.look.tree())
        assert (user.counts.loaded, user.counts.cold, user.actors) == (0, 0, ())
        assert Worker.made == made


async def test_an_actor_is_shown_as_it_is(autojump_clock: MockClock):
    async with open_house() as house:
        house.committer.hold()
        room = house.system.ref("room", 42)
        room.tell(Store())
        room.tell(Attend(30))
        await wait_all_tasks_blocked()
        room.tell(Compute())
        room.tell(Compute())
        house.system.trace(room, seconds=60)
        await trio.sleep(12)
        page = await house.look.actors("room")
        [node] = page.actors
        assert (str(node.address), node.phase) == ("room/42", "turning")
        assert (node.depth, node.depth_peak, node.turns, node.restarts) == (2, 2, 2, 0)
        assert (node.units_pending, node.turns_waiting, node.turn_seconds) == (1, 1, 12.0)
        assert (node.bytes, node.coalesced, node.head_seconds) == (0, 0, None)
        assert (node.awake_for, node.is_traced) == (("somebody looks",), True)
        assert page.next_after is None


async def test_pages_hold_every_actor_once_in_the_order_of_their_addresses(autojump_clock: MockClock):
    async with open_house() as house:
        keys: list[int | str] = [*range(50, 0, -1), *(f"name {number:02}" for number in range(20))]
        for key in keys:
            house.system.ref("user", key).tell(Compute())
        await wait_all_tasks_blocked()
        seen: list[int | str] = []
        after: Address | None = None
        while True:
            page = await house.look.actors("user", after=after, limit=7)
            seen += [node.address.key for node in page.actors]
            assert len(page.actors) <= 7
            after = page.next_after
            if after is None:
                break
        assert seen == [*range(1, 51), *(f"name {number:02}" for number in range(20))]


async def test_the_tree_shows_some_of_each_kind_and_says_that_there_are_more(autojump_clock: MockClock):
    async with open_house() as house:
        for key in range(30):
            house.system.ref("user", key).tell(Compute())
            house.system.ref("room", key).tell(Compute())
        await wait_all_tasks_blocked()
        _, room, user = messaging(await house.look.tree(kind="user", actors_max=5))
        assert [node.address.key for node in user.actors] == [0, 1, 2, 3, 4]
        assert user.has_more
        assert (user.counts.loaded, user.counts.turns) == (30, 30)
        assert room.actors == ()
        assert room.counts.loaded == 30


async def test_counts_agree_with_the_statistics_of_the_system(autojump_clock: MockClock):
    async with open_house() as house:
        for key in range(2 * SLICE_CELLS_MAX + 7):
            house.system.ref("user", key).tell(Compute())
        house.system.ref("user", 5).tell(Attend(60))
        await wait_all_tasks_blocked()
        for _ in range(3):
            house.system.ref("user", 5).tell(Compute())
        _, _, user = messaging(await house.look.tree())
        assert user.counts == house.system.statistics().kinds["user"]
        assert user.counts.depth_max == 3


async def test_what_was_counted_outlives_the_cells(autojump_clock: MockClock):
    async with open_house() as house:
        house.system.ref("user", 1).tell(Compute(0.25))
        house.system.ref("user", 2).tell(Compute(0.5))
        await wait_all_tasks_blocked()
        before = house.system.statistics().kinds["user"]
        assert (before.drains, before.busy_seconds, before.waited_seconds) == (2, 0.75, 0.25)
        assert before.drain_seconds_max == 0.5
        await trio.sleep(200)
        assert not [address for address in house.system.activations if address.kind == "user"]
        after = house.system.statistics().kinds["user"]
        assert (after.drains, after.busy_seconds, after.waited_seconds) == (2, 0.75, 0.25)
        assert after.drain_seconds_max == 0.5
        _, _, user = messaging(await house.look.tree())
        assert user.counts == after


async def test_the_loop_goes_on_between_slices(autojump_clock: MockClock):
    async with open_house() as house:
        for key in range(4 * SLICE_CELLS_MAX):
            house.system.ref("user", key).tell(Compute())
        await wait_all_tasks_blocked()
        steps = 0

        async def count() -> None:
            nonlocal steps
            while True:
                await trio.lowlevel.checkpoint()
                steps += 1

        async with trio.open_nursery() as nursery:
            nursery.start_soon(count)
            await house.look.tree()
            nursery.cancel_scope.cancel()
        assert steps >= 4


async def test_the_top_is_of_what_happens_while_it_looks(autojump_clock: MockClock):
    async with open_house() as house:
        house.system.ref("user", "before").tell(Compute(5.0))
        await wait_all_tasks_blocked()

        async def work() -> None:
            await trio.sleep(0.5)
            for key, seconds in (("light", 0.1), ("heavy", 0.5), ("light", 0.1)):
                house.system.ref("user", key).tell(Compute(seconds))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(work)
            top = await house.look.top(by="busy", limit=5, seconds=2.0)
        assert [str(line.actor.address) for line in top.lines] == ["user/heavy", "user/light"]
        heavy, light = top.lines
        assert [heavy.busy_share, light.busy_share] == pytest.approx([0.25, 0.1])
        assert [heavy.turns_per_second, light.turns_per_second] == pytest.approx([0.5, 1.0])
        assert top.seconds == pytest.approx(2.0)
        assert top.cells == 4


async def test_the_top_may_be_ranked_by_what_waits(autojump_clock: MockClock):
    async with open_house() as house:
        for key, count in ((1, 3), (2, 9), (3, 6)):
            house.system.ref("user", key).tell(Attend(60))
            await wait_all_tasks_blocked()
            for _ in range(count):
                house.system.ref("user", key).tell(Compute())
        top = await house.look.top(by="depth", limit=2)
        assert [(line.actor.address.key, line.actor.depth) for line in top.lines] == [(2, 9), (3, 6)]


async def test_everything_can_be_said_in_json(autojump_clock: MockClock):
    async with open_house() as house:
        house.system.ref("room", 7).tell(Compute())
        await wait_all_tasks_blocked()
        tree = json.loads(json.dumps(as_json(await house.look.tree())))
        assert tree["type"] == "supervisor"
        assert [child["type"] for child in tree["children"]] == ["service", "supervisor"]
        room = tree["children"][1]["children"][0]
        assert (room["type"], room["counts"]["loaded"]) == ("kind", 1)
        assert room["actors"][0]["address"] == "room/7"
        json.dumps(as_json(await house.look.top()))


async def test_bad_questions_are_told(autojump_clock: MockClock):
    async with open_house() as house:
        with pytest.raises(UnknownKind):
            await house.look.tree(kind="nobody")
        with pytest.raises(UnknownKind):
            await house.look.actors("nobody")
        for limit in (0, 1001):
            with pytest.raises(ValueError, match=f"limit is a number from 1 to 1000, not {limit}"):
                await house.look.actors("room", limit=limit)
        with pytest.raises(ValueError, match="ranked by busy, turns, depth, wait, restarts, not by 'size'"):
            await house.look.top(by="size")
        with pytest.raises(ValueError, match="the top is of more than 0"):
            await house.look.top(seconds=0)
