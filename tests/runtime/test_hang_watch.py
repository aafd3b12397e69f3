"""The hang watch: real time and a real thread. What hangs is let go by the warning itself, so no test sleeps."""

import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from greenroom.runtime import Actor, ActorSystem, Command, Kind, Patience, StopReason, handles, open_system
from greenroom.runtime.address import Address
from greenroom.runtime.hang_watch import Hang, HangWatch
from greenroom.runtime.passivation import passivate_if_idle
from greenroom.runtime.testing import MemoryCommitter

HANG_SECONDS = 0.06
HANG_SECONDS_MAX = 10.0
THREAD = "greenroom hang watch"


@dataclass(frozen=True, slots=True)
class Hold(Command[str]):
    """Keep the loop until the warning comes."""


@dataclass(frozen=True, slots=True)
class HoldAfterWaiting(Command[str]):
    pass


@dataclass(frozen=True, slots=True)
class Unknown(Command[str]):
    pass


@dataclass(frozen=True, slots=True)
class HoldInEffect(Command[str]):
    pass


@dataclass(frozen=True, slots=True)
class HoldInNursery(Command[str]):
    pass


@dataclass(frozen=True, slots=True)
class Look(Command[None]):
    pass


class Hanging(Actor):
    def __init__(self, where: str, hang: Callable[[], None]) -> None:
        self.where = where
        self.wait_for_warning = hang

    async def start(self) -> None:
        await trio.lowlevel.checkpoint()
        if self.where == "start":
            self.hang()

    def stopping(self, reason: StopReason) -> None:
        if self.where == "stopping":
            self.hang()

    @handles(Hold)
    def hold(self, _: Hold) -> str:
        self.hang()
        return "let go"

    @handles(HoldAfterWaiting)
    async def hold_after_waiting(self, _: HoldAfterWaiting) -> str:
        await trio.lowlevel.checkpoint()
        self.hang()
        return "let go"

    @property
    def may_passivate(self) -> bool:
        if self.where == "may_passivate":
            self.hang()
        return True

    @handles(Look)
    def look(self, _: Look) -> None:
        pass

    @handles(HoldInNursery)
    async def hold_in_nursery(self, _: HoldInNursery) -> str:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.hang_in_task)
        return "let go"

    async def hang_in_task(self) -> None:
        self.hang()

    @handles(HoldInEffect)
    def hold_in_effect(self, _: HoldInEffect) -> str:
        self.ctx.after_commit(self.hang)
        return "let go"

    def hang(self) -> None:
        self.wait_for_warning()


class MadeSlowly(Actor):
    def __init__(self, hang: Callable[[], None]) -> None:
        hang()

    @handles(Look)
    def look(self, _: Look) -> None:
        pass


@dataclass
class House:
    """address: whose hang ends with its warning, once it is in it; others are those of a busy machine."""

    address: str | None
    warned: threading.Event = field(default_factory=threading.Event)
    events: list[tuple[str, dict[str, Any], str]] = field(default_factory=list)
    system: ActorSystem = field(init=False)

    def event(self, name: str, **facts: Any) -> None:
        self.events.append((name, facts, threading.current_thread().name))
        if name == "loop.held" and facts["address"] == self.address and hangs_here(facts):
            self.warned.set()

    def wait_for_warning(self) -> None:
        assert self.warned.wait(HANG_SECONDS_MAX), "nobody warned"

    def of(self, name: str) -> list[tuple[dict[str, Any], str]]:
        found = [(facts, thread) for event, facts, thread in self.events if event == name]
        return [(facts, thread) for facts, thread in found if facts["address"] == self.address]

    def held(self) -> dict[str, Any]:
        facts, thread = next(found for found in self.of("loop.held") if hangs_here(found[0]))
        assert thread == THREAD
        return facts


def hangs_here(facts: dict[str, Any]) -> bool:
    return any("wait_for_warning" in call for call in facts["calls"])


@asynccontextmanager
async def open_house(address: str | None) -> AsyncIterator[House]:
    committer, house = MemoryCommitter(), House(address)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(committer.run)
        async with open_system(
            [
                Kind("hanging", lambda key: Hanging(str(key), house.wait_for_warning)),
                Kind("made", lambda _: MadeSlowly(house.wait_for_warning)),
            ],
            committer=committer,
            event=house.event,
            patience=Patience(loop_seconds_max=HANG_SECONDS),
        ) as house.system:
            yield house
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("command", "handler"),
    [(Hold(), "Hanging.hold"), (HoldAfterWaiting(), "Hanging.hold_after_waiting")],
    ids=["plain", "waiting"],
)
async def test_a_handler_that_never_yields_is_named_while_it_hangs(command: Command[str], handler: str):
    async with open_house("hanging/1") as house:
        assert await house.system.ref("hanging", 1).ask(command, deadline=trio.current_time() + 60) == "let go"
        facts = house.held()
        assert (facts["address"], facts["handler"]) == ("hanging/1", handler)
        assert facts["seconds"] >= HANG_SECONDS
        assert facts["calls"][0].startswith(f"{handler} (runtime/test_hang_watch.py:")
        assert facts["calls"][1].startswith("Hanging.hang (runtime/test_hang_watch.py:")


async def test_a_task_that_a_turn_has_begun_in_a_nursery_of_its_own_is_that_turns():
    async with open_house("hanging/1") as house:
        ref = house.system.ref("hanging", 1)
        assert await ref.ask(HoldInNursery(), deadline=trio.current_time() + 60) == "let go"
        facts = house.held()
        assert (facts["address"], facts["handler"]) == ("hanging/1", "Hanging.hold_in_nursery")
        assert facts["calls"][0].startswith("Hanging.hang_in_task (runtime/test_hang_watch.py:")


async def test_a_factory_that_never_yields_is_named_and_the_first_turn_is_not_blamed():
    async with open_house("made/1") as house:
        await house.system.ref("made", 1).ask(Look(), deadline=trio.current_time() + 60)
        assert (house.held()["address"], house.held()["handler"]) == ("made/1", "the factory of kind made")
        assert {facts["handler"] for facts, _ in house.of("turn.slow")} <= {"the factory of kind made"}


async def test_who_never_says_whether_it_may_be_passivated_is_named():
    async with open_house("hanging/may_passivate") as house:
        await house.system.ref("hanging", "may_passivate").ask(Look(), deadline=trio.current_time() + 60)
        passivate_if_idle(house.system.activations[Address("hanging", "may_passivate")])
        await trio.sleep(0.05)
        assert house.held()["handler"] == "may_passivate of Hanging"


async def test_a_start_that_never_yields_is_named():
    async with open_house("hanging/start") as house:
        await house.system.ref("hanging", "start").ask(Hold(), deadline=trio.current_time() + 60)
        assert (house.held()["address"], house.held()["handler"]) == ("hanging/start", "the start of Hanging")


async def test_an_end_that_never_comes_is_named():
    async with open_house("hanging/stopping") as house:
        house.system.ref("hanging", "stopping").tell(Hold())
        house.warned.set()
        await wait_all_tasks_blocked()
        house.warned.clear()
        cell = house.system.activation(house.system.ref("hanging", "stopping").address)
        assert passivate_if_idle(cell)
        facts = house.held()
        assert (facts["address"], facts["handler"]) == ("hanging/stopping", "the end of Hanging")


async def test_an_answer_that_never_ends_is_named_though_there_is_no_handler():
    async with open_house("hanging/1") as house:
        asked = house.system.ref("hanging", 1)
        asked.request(Unknown(), lambda *_: house.wait_for_warning(), deadline=trio.current_time() + 60)
        await wait_all_tasks_blocked()
        facts = house.held()
        assert (facts["address"], facts["handler"]) == ("hanging/1", "a command without a handler")


async def test_an_effect_that_never_ends_is_named():
    async with open_house("hanging/1") as house:
        await house.system.ref("hanging", 1).ask(HoldInEffect(), deadline=trio.current_time() + 60)
        await trio.lowlevel.checkpoint()
        facts = house.held()
        assert (facts["address"], facts["handler"]) == ("hanging/1", "an effect or a reply")


async def test_code_that_is_no_actor_is_shown_by_its_stack():
    async with open_house(None) as house:
        await wait_all_tasks_blocked()
        house.wait_for_warning()
        facts = house.held()
        assert (facts["address"], facts["handler"]) == (None, None)
        assert any("test_code_that_is_no_actor_is_shown_by_its_stack" in line for line in facts["calls"])


async def test_it_says_when_the_loop_moves_again():
    async with open_house("hanging/1") as house:
        await house.system.ref("hanging", 1).ask(Hold(), deadline=trio.current_time() + 60)
        while not (moved := house.of("loop.moved")):
            await trio.lowlevel.checkpoint()
        assert (moved[0][0]["address"], moved[0][0]["handler"]) == ("hanging/1", "Hanging.hold")
        assert moved[0][0]["seconds"] >= house.held()["seconds"]


async def test_the_thread_ends_with_the_system():
    others = threading.enumerate()  # one of an earlier test may be on its way out: it is not waited for long
    async with open_house("hanging/1"):
        await trio.lowlevel.checkpoint()
        await wait_all_tasks_blocked()
        (watch,) = [thread for thread in threading.enumerate() if thread.name == THREAD and thread not in others]
    watch.join(HANG_SECONDS_MAX)
    assert not watch.is_alive()


async def test_one_hang_is_told_at_ever_longer_distances():
    token, told, enough = trio.lowlevel.current_trio_token(), [], threading.Event()

    def tell(hang: Hang) -> None:
        told.append(hang)
        if len(told) == 3:
            enough.set()

    watch = HangWatch(token, threading.get_ident(), HANG_SECONDS, 10, tell)
    watch.start()
    assert enough.wait(HANG_SECONDS_MAX)
    watch.stop()
    first, second, third = (hang.seconds for hang in told[:3])
    assert first >= HANG_SECONDS
    assert second >= 2 * HANG_SECONDS
    assert third >= 4 * HANG_SECONDS


async def test_more_hangs_than_may_be_told_are_counted_and_told_with_the_next(monkeypatch: pytest.MonkeyPatch):
    token, told, now = trio.lowlevel.current_trio_token(), [], [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    watch = HangWatch(token, threading.get_ident(), HANG_SECONDS, 1, told.append)

    def hang() -> None:
        watch._is_answered = False
        watch._look(1.0)
        watch._answer()

    for _ in range(3):
        hang()
    assert [hang.is_over for hang in told] == [False, True], "the other two were not told"
    now[0] += 61
    hang()
    assert [hang.untold for hang in told] == [0, 0, 2, 2]


@pytest.mark.parametrize(
    ("key", "command", "handler", "name"),
    [
        ("one", HoldAfterWaiting(), "Hanging.hold_after_waiting", "HoldAfterWaiting"),
        ("start", HoldAfterWaiting(), "the start of Hanging", "Start"),
    ],
)
async def test_a_step_that_is_slow_and_no_hang_is_told_when_it_is_over(
    key: str, command: Command[str], handler: str, name: str, monkeypatch: pytest.MonkeyPatch
):
    """The loop is let go as soon as the thread has seen whose step it is."""
    events: list[dict[str, Any]] = []
    seen, look = threading.Event(), HangWatch._look_at_step
    waits = lambda: None if seen.wait(HANG_SECONDS_MAX) else pytest.fail("nobody looked")  # noqa: E731

    def look_and_say(watch: HangWatch) -> None:
        look(watch)
        if watch._slow is not None:
            seen.set()

    monkeypatch.setattr(HangWatch, "_look_at_step", look_and_say)
    async with open_system(
        [Kind("hanging", lambda key: Hanging(str(key), waits))],
        committer=MemoryCommitter(),
        event=lambda _, **facts: events.append({"event": _, **facts}),
        patience=Patience(plain_turn_seconds_max=HANG_SECONDS, loop_seconds_max=60.0),
    ) as system:
        await system.ref("hanging", key).ask(command, deadline=trio.current_time() + 60)
        with trio.fail_after(HANG_SECONDS_MAX):
            while not (told := [facts for facts in events if facts.get("handler") == handler]):  # noqa: ASYNC110
                await trio.sleep(0.01)  # until the loop has answered the thread, in real time
    assert (told[0]["event"], told[0]["address"], told[0]["command"]) == ("turn.slow", f"hanging/{key}", name)
    assert told[0]["seconds"] >= HANG_SECONDS
    assert any(call.startswith("Hanging.hang (runtime/test_hang_watch.py:") for call in told[0]["calls"])


async def test_a_slow_plain_handler_is_told_once(monkeypatch: pytest.MonkeyPatch):
    """By the dispatcher, which has measured it; the thread looks and leaves it out."""
    events: list[str] = []
    begun, seen, look = threading.Event(), threading.Event(), HangWatch._look_at_step

    def hold() -> None:
        begun.set()
        assert seen.wait(HANG_SECONDS_MAX)

    def look_and_say(watch: HangWatch) -> None:
        has_begun = begun.is_set()
        look(watch)
        assert watch._slow is None
        if has_begun:  # a machine that was held up before has it look too
            seen.set()

    monkeypatch.setattr(HangWatch, "_look_at_step", look_and_say)
    async with open_system(
        [Kind("hanging", lambda _: Hanging("here", hold))],
        committer=MemoryCommitter(),
        event=lambda name, **facts: events.append(name) if facts.get("address") == "hanging/1" else None,
        patience=Patience(plain_turn_seconds_max=HANG_SECONDS, loop_seconds_max=60.0),
    ) as system:
        await system.ref("hanging", 1).ask(Hold(), deadline=trio.current_time() + 60)
        await trio.lowlevel.checkpoint()
    assert seen.is_set()
    assert events.count("turn.slow") == 1
