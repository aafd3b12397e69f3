"""The tree: services, what is restarted with them, what escalates, and names that stand for one actor alone."""

import math
import pickle
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from greenroom.runtime import (
    Actor,
    ActorGone,
    ActorSystem,
    AskInStop,
    Child,
    Command,
    CommitOutcome,
    Directive,
    Escalated,
    Kind,
    NoSystem,
    Randomness,
    Ref,
    RestartPolicy,
    Service,
    StaticName,
    StopReason,
    Strategy,
    Supervisor,
    UnknownKind,
    dispatcher,
    handles,
    open_system,
)
from greenroom.runtime.kind import RowOwnership
from greenroom.runtime.restarts import RestartMode
from greenroom.runtime.testing import LeakCheck, MemoryCommitter


@dataclass(frozen=True, slots=True)
class Add(Command[int]):
    by: int


@dataclass(frozen=True, slots=True)
class Fail(Command[None]):
    pass


@dataclass(frozen=True, slots=True)
class Leave(Command[str]):
    pass


@dataclass(frozen=True, slots=True)
class Wait(Command[str]):
    until: trio.Event


class Plain(Actor):
    """It adds up what it is told, in memory and in storage; its life is in the log."""

    def __init__(self, name: str, house: "House") -> None:
        self.name, self.house, self.sum = name, house, 0

    async def start(self) -> None:
        await trio.sleep(0.001)
        fault = self.house.start_faults.get(self.name)
        if fault:
            fault.pop()()
        self.house.log.append(f"+{self.name}")

    def stopping(self, reason: StopReason) -> None:
        self.house.log.append(f"-{self.name} {reason}")

    @handles(Add)
    def add(self, command: Add) -> int:
        self.sum += command.by
        if self.ctx.owns:
            self.ctx.write(command.by)
        return self.sum

    @handles(Fail)
    def fail(self, _: Fail) -> None:
        raise ZeroDivisionError(self.name)

    @handles(Leave)
    def leave(self, _: Leave) -> str:
        self.ctx.stop()
        return "bye"

    @handles(Wait)
    async def wait(self, command: Wait) -> str:
        await command.until.wait()
        return "waited"


@dataclass
class House:
    committer: MemoryCommitter
    log: list[str] = field(default_factory=list)
    start_faults: dict[str, list[Any]] = field(default_factory=dict)
    events: list[tuple[str, dict[str, object]]] = field(default_factory=list)
    system: ActorSystem = field(init=False)

    def kind(self, name: str, mode: RestartMode = "permanent", ownership: RowOwnership = "none", **policy: Any) -> Kind:
        def factory(key: int | str) -> Plain:
            return Plain(name if key == "main" else f"{name}/{key}", self)

        return Kind(name, factory, ownership, restart=RestartPolicy(mode, **policy))

    def service(self, name: str, mode: RestartMode = "permanent", **options: Any) -> Service:
        return Service(self.kind(name, mode, **options))

    def named(self, event: str) -> list[dict[str, object]]:
        return [facts for name, facts in self.events if name == event]


@asynccontextmanager
async def open_house(house: House, *children: Child) -> AsyncIterator[House]:
    """The children, or the root of the tree."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(house.committer.run)

        def event(name: str, **facts: object) -> None:
            house.events.append((name, facts))

        tree = children[0] if isinstance(children[0], Supervisor) and children[0].name == "house" else children
        async with open_system(tree, committer=house.committer, event=event) as house.system:
            yield house
        nursery.cancel_scope.cancel()


@pytest.fixture
def house() -> House:
    return House(MemoryCommitter())


def soon() -> float:
    return trio.current_time() + 50


# -- services ---------------------------------------------------------------------------------------------------------


async def test_services_start_in_order_before_the_block_and_stop_in_reverse(
    house: House, autojump_clock: MockClock
) -> None:
    async with open_house(house, house.service("a"), house.service("b"), house.kind("room"), house.service("c")):
        assert house.log == ["+a", "+b", "+c"]
        await house.system.ref("room", 1).ask(Add(1), deadline=soon())
    assert house.log[4:] == ["-c normal", "-room/1 normal", "-b normal", "-a normal"]


async def test_a_service_is_never_passivated(house: House, autojump_clock: MockClock) -> None:
    async with open_house(house, house.service("a")):
        await trio.sleep(1000)
        assert house.log == ["+a"]


@pytest.mark.parametrize("mode", ["permanent", "transient"])
async def test_a_service_that_crashed_starts_again_without_anybody_telling_it_anything(
    house: House, autojump_clock: MockClock, mode: RestartMode
) -> None:
    async with open_house(house, house.service("a", mode), house.service("b")):
        house.system.service("a").tell(Fail())
        await trio.sleep(10)
        assert house.log == ["+a", "+b", "-a crashed", "+a"]


async def test_a_temporary_service_that_crashed_is_over_and_who_asks_it_is_told(
    house: House, autojump_clock: MockClock
) -> None:
    async with open_house(house, house.service("a", "temporary")):
        a = house.system.service("a")
        a.tell(Fail())
        await trio.sleep(10)
        assert house.log == ["+a", "-a crashed"]
        with pytest.raises(ActorGone, match="service that has ended"):
            await a.ask(Add(1), deadline=soon())


async def test_a_temporary_service_that_is_over_starts_anew_with_its_supervisor(
    house: House, autojump_clock: MockClock
) -> None:
    group = Supervisor("group", [house.service("a", "temporary"), house.service("b")], intensity=0)
    async with open_house(house, Supervisor("house", [group])):
        a = house.system.service("a")
        a.tell(Fail())
        await trio.sleep(1)
        house.log.clear()
        house.system.service("b").tell(Fail())  # more than its supervisor bears
        await trio.sleep(10)
        assert house.log == ["-b crashed", "+a", "+b"]
        assert await a.ask(Add(1), deadline=soon()) == 1


@pytest.mark.parametrize(("mode", "lives_again"), [("permanent", True), ("transient", False), ("temporary", False)])
async def test_what_follows_when_a_service_stops_itself_is_its_mode(
    house: House, autojump_clock: MockClock, mode: RestartMode, lives_again: bool
) -> None:
    async with open_house(house, house.service("a", mode)):
        assert await house.system.service("a").ask(Leave(), deadline=soon()) == "bye"
        await trio.sleep(10)
        assert house.log == ["+a", "-a normal", "+a"][: 3 if lives_again else 2]


async def test_an_actor_that_stops_itself_is_made_again_by_its_next_command(
    house: House, autojump_clock: MockClock
) -> None:
    async with open_house(house, house.kind("room")):
        room = house.system.ref("room", 1)
        room.tell(Add(5))
        assert await room.ask(Leave(), deadline=soon()) == "bye"
        assert await room.ask(Add(1), deadline=soon()) == 1


async def test_an_actor_stops_itself_only_when_what_it_wrote_is_stored(house: House, autojump_clock: MockClock) -> None:
    async with open_house(house, house.kind("room", ownership="create")):
        room = house.system.ref("room", 1)
        await room.ask(Add(1), deadline=soon())
        house.committer.hold()
        room.tell(Add(2))
        room.tell(Leave())
        room.tell(Add(3))
        await wait_all_tasks_blocked(0.001)
        assert "-room/1 normal" not in house.log
        house.committer.release()
        assert await room.ask(Add(0), deadline=soon()) == 3
        assert [write for _, write in house.committer.stored] == [1, 2, 3, 0]


# -- groups -----------------------------------------------------------------------------------------------------------


async def test_one_for_all_stops_all_in_reverse_and_starts_all_in_order(
    house: House, autojump_clock: MockClock
) -> None:
    group = Supervisor("group", [house.service("a"), house.service("b"), house.service("c")], Strategy.ONE_FOR_ALL)
    async with open_house(house, group, house.service("other")):
        house.log.clear()
        house.system.service("b").tell(Fail())
        await trio.sleep(10)
        assert house.log == ["-b crashed", "-c killed", "-a killed", "+a", "+b", "+c"]


async def test_rest_for_one_leaves_what_was_started_before(house: House, autojump_clock: MockClock) -> None:
    group = Supervisor("group", [house.service("a"), house.service("b"), house.service("c")], Strategy.REST_FOR_ONE)
    async with open_house(house, group):
        house.log.clear()
        house.system.service("b").tell(Fail())
        await trio.sleep(10)
        assert house.log == ["-b crashed", "-c killed", "+b", "+c"]


async def test_the_actors_of_a_kind_are_dropped_with_their_group_and_made_again_by_their_next_command(
    house: House, autojump_clock: MockClock
) -> None:
    group = Supervisor("group", [house.service("ids"), house.kind("room")], Strategy.ONE_FOR_ALL)
    async with open_house(house, group):
        room = house.system.ref("room", 1)
        await room.ask(Add(5), deadline=soon())
        house.log.clear()
        house.system.service("ids").tell(Fail())
        await trio.sleep(10)
        assert house.log == ["-ids crashed", "-room/1 killed", "+ids"]
        assert await room.ask(Add(1), deadline=soon()) == 1, "its memory is gone"


async def test_commands_that_come_while_a_group_restarts_are_answered_after_it(
    house: House, autojump_clock: MockClock
) -> None:
    group = Supervisor("group", [house.service("ids"), house.kind("room")], Strategy.ONE_FOR_ALL)
    async with open_house(house, group):
        ids = house.system.service("ids")
        ids.tell(Fail())
        await wait_all_tasks_blocked()
        ids.tell(Add(7))
        assert await house.system.ref("room", 2).ask(Add(3), deadline=soon()) == 3
        assert await ids.ask(Add(1), deadline=soon()) == 8
        assert house.log.index("+ids", 2) < house.log.index("+room/2"), "what it depends on is there first"


async def test_a_group_stops_only_when_everything_it_gave_to_storage_is_settled(
    house: House, autojump_clock: MockClock
) -> None:
    group = Supervisor("group", [house.service("ids"), house.kind("room", ownership="create")], Strategy.ONE_FOR_ALL)
    async with open_house(house, group):
        room = house.system.ref("room", 1)
        await room.ask(Add(0), deadline=soon())
        house.committer.hold()
        answers: list[int] = []

        async def add() -> None:
            answers.append(await room.ask(Add(4), deadline=soon()))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(add)
            await wait_all_tasks_blocked(0.001)
            house.system.service("ids").tell(Fail())
            await wait_all_tasks_blocked(0.001)
            assert "-room/1 killed" not in house.log
            house.committer.release()
        await trio.sleep(10)
        assert answers == [4]
        assert "-room/1 killed" in house.log


async def test_a_turn_that_waits_when_its_group_restarts_is_decided_again(
    house: House, autojump_clock: MockClock
) -> None:
    group = Supervisor("group", [house.service("ids"), house.kind("room")], Strategy.ONE_FOR_ALL)
    async with open_house(house, group):
        until = trio.Event()
        answers: list[str] = []

        async def wait() -> None:
            answers.append(await house.system.ref("room", 1).ask(Wait(until), deadline=soon()))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.sleep(1)
            house.system.service("ids").tell(Fail())
            await trio.sleep(10)
            until.set()
        assert answers == ["waited"]
        assert house.log.count("+room/1") == 2


async def test_it_is_decided_again_too_when_what_was_written_before_takes_long_to_be_stored(
    house: House, autojump_clock: MockClock
) -> None:
    group = Supervisor("group", [house.service("ids"), house.kind("room", ownership="create")], Strategy.ONE_FOR_ALL)
    async with open_house(house, group):
        room, until, answers = house.system.ref("room", 1), trio.Event(), list[object]()

        async def ask(command: Command[Any]) -> None:
            answers.append(await room.ask(command, deadline=soon()))

        house.committer.commit_seconds = 5
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, Add(4))
            await trio.sleep(1)
            nursery.start_soon(ask, Wait(until))
            await trio.sleep(1)
            house.system.service("ids").tell(Fail())
            await trio.sleep(1)
            assert not house.system.waiting_turns, "it was cancelled at once"
            assert "-room/1 killed" not in house.log
            await trio.sleep(10)
            until.set()
        assert answers == [4, "waited"]
        assert house.log.count("+room/1") == 2


async def test_a_start_under_way_is_given_up_with_its_group_and_never_runs_twice_at_once(
    house: House, autojump_clock: MockClock
) -> None:
    running: list[int] = [0, 0]

    class Slow(Plain):
        async def start(self) -> None:
            running[0] += 1
            running[1] = max(running)
            try:
                await trio.sleep(5)
            finally:
                running[0] -= 1

    slow = Kind("slow", lambda _: Slow("slow", house))
    group = Supervisor("group", [house.service("ids"), slow], Strategy.ONE_FOR_ALL)
    async with open_house(house, group):
        ref = house.system.ref("slow", 1)
        ref.tell(Add(1))
        await trio.sleep(1)
        house.system.service("ids").tell(Fail())
        assert await ref.ask(Add(1), deadline=soon()) == 2
        assert running == [0, 1]


async def test_a_second_crash_while_the_group_is_on_its_way_up_restarts_it_as_one(
    house: House, autojump_clock: MockClock
) -> None:
    group = Supervisor("group", [house.service("a"), house.service("b"), house.service("c")], Strategy.ONE_FOR_ALL)
    async with open_house(house, group):

        def fail() -> None:
            raise RuntimeError("not yet")

        house.start_faults["b"] = [lambda: None, fail]
        house.log.clear()
        house.system.service("a").tell(Fail())
        await trio.sleep(30)
        assert house.log[-3:] == ["+a", "+b", "+c"]
        assert house.log.count("+c") == 1, "it was not started before b was ready"


async def test_a_service_whose_gate_storage_broke_loads_again_and_spends_no_intensity(
    house: House, autojump_clock: MockClock
) -> None:
    async with open_house(house, house.service("a", ownership="create", intensity=0)):
        a = house.system.service("a")
        house.committer.fault = lambda _: CommitOutcome.FENCED
        a.tell(Add(1))
        await wait_all_tasks_blocked(0.01)
        house.committer.fault = lambda _: CommitOutcome.COMMITTED
        assert await a.ask(Add(1), deadline=soon()) == 2, "the command that was not stored was decided again"
        assert not house.named("supervisor.restarted")


# -- intensity and escalation -----------------------------------------------------------------------------------------


async def test_a_service_over_its_own_intensity_fails_its_supervisor_which_its_own_one_restarts(
    house: House, autojump_clock: MockClock
) -> None:
    inner = Supervisor("inner", [house.service("a", intensity=1), house.service("b")])
    async with open_house(house, inner, house.service("c")):
        house.log.clear()
        for _ in range(2):
            house.system.service("a").tell(Fail())
            await trio.sleep(10)
        assert house.log == ["-a crashed", "+a", "-a crashed", "-b killed", "+a", "+b"]
        [failed] = house.named("supervisor.failed")
        assert failed["path"] == ["a/main", "supervisor inner"]


async def test_a_supervisor_over_its_intensity_fails_whoever_of_its_children_crashed(
    house: House, autojump_clock: MockClock
) -> None:
    inner = Supervisor("inner", [house.service("a"), house.service("b")], intensity=1)
    async with open_house(house, inner):
        house.log.clear()
        house.system.service("a").tell(Fail())
        await trio.sleep(10)
        house.system.service("b").tell(Fail())
        await trio.sleep(10)
        assert house.log == ["-a crashed", "+a", "-b crashed", "-a killed", "+a", "+b"]


async def test_what_the_root_cannot_bear_ends_the_system_and_the_report_names_the_chain(
    house: House, autojump_clock: MockClock
) -> None:
    inner = Supervisor("inner", [house.kind("room", on_error={ZeroDivisionError: Directive.ESCALATE})])
    tree = Supervisor("house", [Supervisor("outer", [inner], intensity=0)], intensity=0)

    async def run() -> None:
        async with open_house(house, tree):
            house.system.ref("room", 7).tell(Fail())
            await trio.sleep_forever()

    with pytest.raises(BaseExceptionGroup) as caught:
        await run()
    [escalated] = [error for error in _leaves(caught.value) if isinstance(error, Escalated)]
    way = "room/7 → kind room → supervisor inner → supervisor outer → supervisor house → the system ends"
    assert way in str(escalated)
    assert isinstance(escalated.__cause__, ZeroDivisionError)


async def test_a_kind_that_escalates_takes_its_supervisor_down_and_the_rest_lives(
    house: House, autojump_clock: MockClock
) -> None:
    inner = Supervisor(
        "inner", [house.service("a"), house.kind("room", on_error={ZeroDivisionError: Directive.ESCALATE})]
    )
    async with open_house(house, inner, house.service("b")):
        house.log.clear()
        house.system.ref("room", 7).tell(Fail())
        await trio.sleep(10)
        assert house.log == ["+room/7", "-room/7 crashed", "-a killed", "+a"]
        assert await house.system.ref("room", 7).ask(Add(2), deadline=soon()) == 2


@pytest.mark.parametrize(
    ("intensities", "ends_at_crash"), [((0, 0), 1), ((1, 0), 2), ((0, 2), 3), ((1, 3), 8), ((2, 1), 6), ((1, 1, 1), 8)]
)
async def test_a_supervisor_that_is_restarted_begins_with_a_new_history_as_in_otp(
    house: House, autojump_clock: MockClock, intensities: tuple[int, ...], ends_at_crash: int
) -> None:
    """The innermost first: the product of (intensity + 1) is the crash that ends the system."""
    tree: Child = house.service("a", intensity=1000)
    for intensity in intensities:
        tree = Supervisor("house", [tree], intensity=intensity, period_seconds=1000)
    crashes = 0

    async def run() -> None:
        nonlocal crashes
        async with open_house(house, renamed(tree)):
            while True:
                crashes += 1
                house.system.service("a").tell(Fail())
                await trio.sleep(2)

    with pytest.raises(BaseExceptionGroup) as caught:
        await run()
    assert any(isinstance(error, Escalated) for error in _leaves(caught.value))
    assert crashes == ends_at_crash


async def test_a_supervisor_that_is_restarted_begins_with_new_patience_for_its_services(
    house: House, autojump_clock: MockClock
) -> None:
    inner = Supervisor("inner", [house.service("a", intensity=1, period_seconds=1000)])
    async with open_house(house, inner):
        for _ in range(3):  # the second one is one too many for "a" itself; the third is its first again
            house.system.service("a").tell(Fail())
            await trio.sleep(2)
        assert len(house.named("supervisor.failed")) == 1


def renamed(tree: Child, level: int = 0) -> Child:
    """The root is "house"; below it every supervisor has a name of its own."""
    if not isinstance(tree, Supervisor):
        return tree
    name = f"level {level}" if level else "house"
    return replace(tree, name=name, children=[renamed(child, level + 1) for child in tree.children])


async def test_a_start_that_always_fails_escalates_and_never_loops(house: House, autojump_clock: MockClock) -> None:
    class Broken(Plain):
        async def start(self) -> None:
            house.log.append("try")
            raise RuntimeError("it cannot")

    kind = Kind("broken", lambda _: Broken("broken", house), restart=RestartPolicy("permanent", intensity=3))
    with pytest.raises(BaseExceptionGroup) as caught:
        async with open_house(house, Service(kind)):
            raise AssertionError("the block began though a service did not start")
    assert any(isinstance(error, Escalated) for error in _leaves(caught.value))
    assert [line for line in house.log if line == "try"] == ["try"] * 4


# -- what waits for an actor that has given up ------------------------------------------------------------------------


async def test_who_waits_for_an_actor_that_gave_up_is_told_what_it_died_of(
    house: House, autojump_clock: MockClock
) -> None:
    class Broken(Plain):
        async def start(self) -> None:
            raise RuntimeError("it cannot")

    kind = Kind("broken", lambda _: Broken("broken", house), restart=RestartPolicy(intensity=2))
    async with open_house(house, kind):
        with pytest.raises(ActorGone, match=r"3 crashes within 30 s .*RuntimeError: it cannot") as caught:
            await house.system.ref("broken", 1).ask(Add(1), deadline=soon())
        assert isinstance(caught.value.__cause__, RuntimeError)


async def test_an_ended_service_tells_each_who_comes_what_ended_it_in_an_error_of_its_own(
    house: House, autojump_clock: MockClock
) -> None:
    async with open_house(house, house.service("a", "temporary")):
        house.system.service("a").tell(Fail())
        await trio.sleep(1)
        errors = []
        for _ in range(2):
            with pytest.raises(ActorGone, match=r"ended .*ZeroDivisionError: a") as caught:
                await house.system.service("a").ask(Add(1), deadline=soon())
            errors.append(caught.value)
        assert errors[0] is not errors[1]
        assert isinstance(errors[0].__cause__, ZeroDivisionError)


async def test_an_ask_that_cannot_outlast_a_rest_is_told_at_once_until_when_it_lasts(
    house: House, autojump_clock: MockClock
) -> None:
    async with open_house(house, house.kind("room", period_seconds=30, intensity=0)):
        room = house.system.ref("room", 1)
        room.tell(Fail())
        await trio.sleep(10)
        began = trio.current_time()
        for _ in range(5):
            with pytest.raises(
                ActorGone, match=r"rests for 20\.\d s more, until trio time .*ZeroDivisionError"
            ) as caught:
                await room.ask(Add(1), deadline=began + 15)
        assert trio.current_time() == began
        assert isinstance(caught.value.__cause__, ZeroDivisionError)
        assert house.system.activation(room.address).mailbox.statistics().depth == 0
        room.tell(Add(2))  # what may wait waits
        assert await room.ask(Add(3), deadline=began + 25) == 5
        assert not house.system.rests


async def test_what_waits_for_the_end_of_a_rest_does_not_hold_up_the_end_of_the_system(
    house: House, autojump_clock: MockClock
) -> None:
    async with open_house(house, house.kind("room", intensity=0)):
        house.system.ref("room", 1).tell(Fail())
        await trio.sleep(1)
        house.system.ref("room", 1).tell(Add(1))
        began = trio.current_time()
    assert trio.current_time() - began < 0.1
    assert house.system.dead_letters.counts["actor_gone"] == 1
    assert not house.named("system.stopped_busy")


# -- kill -------------------------------------------------------------------------------------------------------------


async def test_a_killed_actor_ends_at_once_with_its_turn_and_what_waits_is_for_the_next_one(
    house: House, autojump_clock: MockClock
) -> None:
    async with open_house(house, house.kind("room")), trio.open_nursery() as nursery:
        room = house.system.ref("room", 1)

        async def hang() -> None:
            with pytest.raises(ActorGone, match="killed"):
                await room.ask(Wait(trio.Event()), deadline=soon())

        nursery.start_soon(hang)
        await trio.sleep(1)
        room.tell(Add(1))
        assert house.system.kill(room)
        await wait_all_tasks_blocked()
        assert await room.ask(Add(2), deadline=soon()) == 3
        assert house.log == ["+room/1", "-room/1 killed", "+room/1"]
        ended = [facts for facts in house.named("actor.ended") if facts["reason"] == "killed"]
        assert ended == [{"address": "room/1", "reason": "killed"}]


async def test_a_tell_whose_turn_is_killed_is_a_dead_letter_and_not_decided_again(
    house: House, autojump_clock: MockClock
) -> None:
    async with open_house(house, house.kind("room")):
        house.system.ref("room", 1).tell(Wait(trio.Event()))
        await trio.sleep(1)
        assert house.system.kill(house.system.ref("room", 1))
        await trio.sleep(1)
        assert house.system.dead_letters.counts == {"killed": 1}
        assert house.log == ["+room/1", "-room/1 killed"]


async def test_an_actor_is_killed_only_when_what_it_wrote_is_settled(house: House, autojump_clock: MockClock) -> None:
    async with open_house(house, house.kind("room", ownership="create")), trio.open_nursery() as nursery:
        room = house.system.ref("room", 1)
        await room.ask(Add(1), deadline=soon())
        house.committer.hold()
        nursery.start_soon(lambda: room.ask(Add(2), deadline=soon()))
        await wait_all_tasks_blocked()
        assert house.system.kill(room)
        assert house.log == ["+room/1"]
        house.committer.release()
        await wait_all_tasks_blocked()
        assert house.log == ["+room/1", "-room/1 killed"]
        assert [write for _, write in house.committer.stored] == [1, 2]


async def test_a_start_is_killed_too_and_nobody_where_none_runs(house: House, autojump_clock: MockClock) -> None:
    async with open_house(house, house.kind("room"), house.service("a")):
        room = house.system.ref("room", 1)
        assert not house.system.kill(room)
        room.tell(Add(1))
        await trio.sleep(0.0005)
        assert house.system.kill(room)
        assert await room.ask(Add(1), deadline=soon()) == 2
        assert house.log == ["+a", "-room/1 killed", "+room/1"]
        with pytest.raises(UnknownKind):
            house.system.kill(house.system.ref("nobody", 1))


async def test_a_killed_service_is_restarted_as_after_a_crash(house: House, autojump_clock: MockClock) -> None:
    async with open_house(house, house.service("a", "transient"), house.service("b", "temporary")):
        for name in "ab":
            assert house.system.kill(house.system.service(name))
        await trio.sleep(1)
        assert house.log == ["+a", "+b", "-a killed", "-b killed", "+a"]
        with pytest.raises(ActorGone, match="ended"):
            await house.system.service("b").ask(Add(1), deadline=soon())


# -- names and refs ---------------------------------------------------------------------------------------------------


async def test_two_children_of_one_name_are_refused_before_anything_starts(
    house: House, autojump_clock: MockClock
) -> None:
    with pytest.raises(StaticName, match="two children of this system are named 'a'"):
        async with open_system([house.service("a"), Supervisor("s", [house.kind("a")])], committer=house.committer):
            raise AssertionError("it began")
    assert house.log == []


async def test_a_second_actor_of_a_static_name_is_refused(house: House, autojump_clock: MockClock) -> None:
    async with open_house(house, house.service("a")):
        with pytest.raises(StaticName, match=r"a is a service: there is one, `system.service\('a'\)`, and no a/2"):
            house.system.ref("a", 2)
        with pytest.raises(UnknownKind):
            house.system.service("b")


async def test_a_pickled_ref_leads_to_the_actor_of_its_address_where_it_is_unpickled(
    house: House, autojump_clock: MockClock
) -> None:
    async with open_house(house, house.kind("room")):
        room = house.system.ref("room", 1)
        copy: Ref = pickle.loads(pickle.dumps(room))
        assert copy == room
        assert str(copy) == "room/1"
        await room.ask(Add(1), deadline=soon())
        assert await copy.ask(Add(1), deadline=soon()) == 2
        data = pickle.dumps(room)
    away: Ref = pickle.loads(data)
    assert away == room
    with pytest.raises(NoSystem, match="no actor system runs here, so room/1 cannot be reached"):
        away.tell(Add(1))


async def test_an_ask_while_an_actor_ends_is_refused_with_what_to_do(house: House, autojump_clock: MockClock) -> None:
    refused: list[str] = []

    class Asker(Plain):
        def stopping(self, reason: StopReason) -> None:
            try:
                _ = self.ctx.ref("room", 1).ask(Add(1), deadline=trio.current_time() + 1)
            except AskInStop as error:
                refused.append(str(error))

    asker = Kind("asker", lambda _: Asker("asker", house))
    async with open_house(house, house.kind("room"), asker):
        await house.system.ref("asker", 1).ask(Leave(), deadline=soon())
    assert refused == ["an actor asked room/1 Add in its `stopping`: tell it instead, or ask in a turn"]


async def test_a_rest_is_over_when_the_supervisor_starts_its_actor_anew(
    house: House, autojump_clock: MockClock
) -> None:
    room = house.kind("room", intensity=0, period_seconds=300)
    async with open_house(house, Supervisor("all", [house.service("a"), room], Strategy.ONE_FOR_ALL)) as it:
        it.system.ref("room", 1).tell(Fail())
        await trio.sleep(1)
        with pytest.raises(ActorGone, match="it rests for"):
            await it.system.ref("room", 1).ask(Add(1), deadline=soon())
        it.system.service("a").tell(Fail())
        await trio.sleep(10)
        assert await it.system.ref("room", 1).ask(Add(1), deadline=trio.current_time() + 1) == 1


class Longest(Randomness):
    def uniform(self, low: float, high: float) -> float:
        return high


async def test_a_wait_before_a_restart_is_not_cut_short_by_the_end_of_one_that_the_supervisor_ended(
    house: House, autojump_clock: MockClock
) -> None:
    room = house.kind("room", intensity=9, backoff_seconds_min=20, backoff_seconds_max=20)
    async with open_house(house, Supervisor("all", [house.service("a"), room], Strategy.ONE_FOR_ALL)) as it:
        it.system.randomness = Longest()
        began = trio.current_time()
        it.system.ref("room", 1).tell(Fail())  # it would wait until 20
        await trio.sleep(10)
        it.system.service("a").tell(Fail())  # its supervisor starts it anew
        await trio.sleep(5)
        it.system.ref("room", 1).tell(Fail())  # it waits until 35
        await trio.sleep(1)
        assert await it.system.ref("room", 1).ask(Add(1), deadline=soon()) == 1
        assert 35 <= trio.current_time() - began < 36


async def test_the_actors_of_a_group_end_newest_first(house: House, autojump_clock: MockClock) -> None:
    group = Supervisor("group", [house.service("ids"), house.kind("room")], Strategy.ONE_FOR_ALL)
    async with open_house(house, group):
        for key in (3, 1, 2):
            await house.system.ref("room", key).ask(Add(5), deadline=soon())
        house.log.clear()
        house.system.service("ids").tell(Fail())
        await trio.sleep(10)
        assert house.log[1:4] == ["-room/2 killed", "-room/1 killed", "-room/3 killed"]


async def test_a_rest_is_not_cut_short_by_the_end_of_one_that_the_supervisor_ended(
    house: House, autojump_clock: MockClock
) -> None:
    room = house.kind("room", intensity=0, period_seconds=30)
    async with open_house(house, Supervisor("all", [house.service("a"), room], Strategy.ONE_FOR_ALL)) as it:
        began = trio.current_time()
        it.system.ref("room", 1).tell(Fail())  # one is too many: it would rest until 30
        await trio.sleep(20)
        it.system.service("a").tell(Fail())  # its supervisor starts it anew
        await trio.sleep(5)
        it.system.ref("room", 1).tell(Fail())  # it rests until 55
        await trio.sleep(1)
        assert await it.system.ref("room", 1).ask(Add(1), deadline=soon()) == 1
        assert 55 <= trio.current_time() - began < 56


# -- one fault that meets many ----------------------------------------------------------------------------------------


@pytest.fixture
def one_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that is told together is handled in one pass, however slow the machine is."""
    monkeypatch.setattr(dispatcher, "PASS_SECONDS_MAX", math.inf)


@pytest.mark.usefixtures("one_moment")
@pytest.mark.parametrize("strategy", [Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE])
async def test_a_fault_that_meets_all_of_a_group_is_one_restart_of_it(
    house: House, autojump_clock: MockClock, strategy: Strategy
) -> None:
    names = [f"s{number}" for number in range(12)]
    group = Supervisor("group", [house.service(name) for name in names], strategy, intensity=1)
    async with open_house(house, Supervisor("house", [group], intensity=0)):
        for name in names:
            house.system.service(name).tell(Fail())
        await trio.sleep(20)
        assert [facts["children"] for facts in house.named("supervisor.restarted")] == [names]
        assert len(house.named("actor.crashed")) == 12, "each is told"
        for name in names:
            assert await house.system.service(name).ask(Add(1), deadline=soon()) == 1


async def test_two_that_crash_together_and_are_no_group_are_two_crashes(
    house: House, autojump_clock: MockClock
) -> None:
    tree = Supervisor("house", [house.service("a"), house.service("b")], Strategy.ONE_FOR_ONE, intensity=1)
    with pytest.RaisesGroup(Escalated, flatten_subgroups=True):
        async with open_house(house, tree):
            for name in "ab":
                house.system.service(name).tell(Fail())
            await trio.sleep(20)


@pytest.mark.usefixtures("one_moment")
@pytest.mark.parametrize("strategy", list(Strategy))
async def test_a_supervisor_whose_children_fail_it_at_one_moment_fails_once(
    house: House, autojump_clock: MockClock, strategy: Strategy
) -> None:
    inner = Supervisor("inner", [house.service(name) for name in "abc"], strategy, intensity=0)
    async with open_house(house, Supervisor("house", [inner], intensity=1)):
        for name in "abc":
            house.system.service(name).tell(Fail())
        await trio.sleep(20)
        assert len(house.named("supervisor.failed")) == 1
        for name in "abc":
            assert await house.system.service(name).ask(Add(1), deadline=soon()) == 1


@pytest.mark.usefixtures("one_moment")
async def test_actors_of_a_kind_that_escalate_at_one_moment_are_one_failure_of_their_supervisor(
    house: House, autojump_clock: MockClock
) -> None:
    kind, is_anew = house.kind("room", on_error={ZeroDivisionError: Directive.ESCALATE}), False
    with pytest.RaisesGroup(Escalated, flatten_subgroups=True):
        async with open_house(house, Supervisor("house", [Supervisor("part", [kind])], intensity=1)):
            for key in range(6):
                house.system.ref("room", key).tell(Fail())
            await trio.sleep(5)
            assert len(house.named("supervisor.failed")) == 1
            assert await house.system.ref("room", 3).ask(Add(1), deadline=soon()) == 1
            house.system.ref("room", 1).tell(Fail())  # started anew, it can fail anew
            is_anew = True
            await trio.sleep_forever()
    assert is_anew
    assert len(house.named("supervisor.failed")) == 2


async def test_a_crash_while_the_group_starts_again_counts(house: House, autojump_clock: MockClock) -> None:
    def fail() -> None:
        raise RuntimeError("not yet")

    group = Supervisor("group", [house.service("a"), house.service("b")], Strategy.ONE_FOR_ALL, intensity=1)
    async with open_house(house, Supervisor("house", [group])):
        house.start_faults["b"] = [lambda: None, fail]
        house.system.service("a").tell(Fail())
        await trio.sleep(30)
        assert len(house.named("supervisor.failed")) == 1
        assert await house.system.service("b").ask(Add(1), deadline=soon()) == 1


async def test_a_temporary_service_that_went_with_its_group_is_over_and_held_by_nobody(
    house: House, autojump_clock: MockClock
) -> None:
    group = Supervisor("group", [house.service("t", "temporary"), house.service("b")], Strategy.ONE_FOR_ALL)
    async with open_house(house, group):
        leaks = LeakCheck(house.system)
        house.system.service("b").tell(Fail())
        await trio.sleep(20)
        leaks.check()
        [leaf] = [leaf for leaf in house.system.tree.leaves() if leaf.name == "t"]
        assert (leaf.is_over, leaf.is_held) == (True, False)
        with pytest.raises(ActorGone, match="service that has ended"):
            await house.system.service("t").ask(Add(1), deadline=soon())


async def test_when_the_root_gives_up_who_waits_for_what_failed_is_told_at_once(
    house: House, autojump_clock: MockClock
) -> None:
    told: list[BaseException] = []
    tree = Supervisor("house", [house.service("a"), house.service("b")], Strategy.ONE_FOR_ALL, intensity=0)

    async def ask(name: str) -> None:
        with pytest.raises(ActorGone) as caught:
            await house.system.service(name).ask(Add(1), deadline=soon())
        told.append(caught.value)

    async with trio.open_nursery() as askers:
        with pytest.RaisesGroup(Escalated, flatten_subgroups=True):
            async with open_house(house, tree):
                house.system.service("a").tell(Fail())
                askers.start_soon(ask, "a")
                await wait_all_tasks_blocked()
                await trio.sleep_forever()
    assert trio.current_time() < 1
    [gone] = told
    assert "supervisor house" in str(gone)
    assert isinstance(gone.__cause__, ZeroDivisionError)


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
    return [error]
