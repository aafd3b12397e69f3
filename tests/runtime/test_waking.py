"""A start is a turn: what it lets out is gated, what it asks is seen, and it may be the last one of its actor."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from greenroom.runtime import (
    Actor,
    ActorFailed,
    ActorGone,
    ActorSystem,
    Command,
    CommitOutcome,
    Down,
    Escalated,
    Kind,
    Ref,
    Service,
    StopReason,
    StorageUnavailable,
    handles,
    open_system,
    reentrant,
)
from greenroom.runtime.restarts import VAIN_MAX
from greenroom.runtime.testing import MemoryCommitter

Hook = Callable[[Any], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Hear(Command[int]):
    text: str = ""


@dataclass(frozen=True, slots=True)
class AskBack(Command[int]):
    key: str


@dataclass(frozen=True, slots=True)
class WriteDown(Command[None]):
    pass


@dataclass(frozen=True, slots=True)
class Watch(Command[None]):
    whom: Ref


class Listener(Actor):
    """Does what its test says while it starts."""

    def __init__(self, start: Hook | None, heard: list[Any]) -> None:
        self.hook, self.heard = start, heard

    async def start(self) -> None:
        if self.hook is not None:
            await self.hook(self)

    def stopping(self, reason: StopReason) -> None:
        self.heard.append(reason)

    @reentrant
    @handles(Hear)
    def hear(self, command: Hear) -> int:
        self.heard.append(command.text)
        return len(self.heard)

    @handles(Watch)
    def watch(self, command: Watch) -> None:
        self.ctx.watch(command.whom)

    @handles(Down)
    def down(self, down: Down) -> None:
        self.heard.append(f"{self.ctx.address} hears that {down.address} is {down.reason}")

    @handles(WriteDown)
    def write_down(self, _: WriteDown) -> None:
        self.ctx.write("written down")

    @handles(AskBack)
    async def ask_back(self, command: AskBack) -> int:
        return int(await self.ctx.ref("starter", command.key).ask(Hear("back"), deadline=soon()))


@dataclass
class House:
    system: ActorSystem
    committer: MemoryCommitter
    events: list[tuple[str, dict[str, Any]]]
    heard: list[Any]

    def stored(self) -> list[object]:
        return [write for _, write in self.committer.stored]

    @property
    def crashes(self) -> list[str]:
        return [str(facts["error"]) for name, facts in self.events if name == "actor.crashed"]


@asynccontextmanager
async def opened(start: Hook, *, is_service: bool = False) -> AsyncIterator[House]:
    committer, heard = MemoryCommitter(), list[Any]()
    events: list[tuple[str, dict[str, Any]]] = []
    starter = Kind("starter", lambda _: Listener(start, heard), ownership="create")
    children = [Kind("other", lambda _: Listener(None, heard)), Service(starter) if is_service else starter]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(committer.run)
        async with open_system(
            children, committer=committer, event=lambda name, **facts: events.append((name, facts))
        ) as system:
            yield House(system, committer, events, heard)
        nursery.cancel_scope.cancel()


def soon(seconds: float = 50) -> float:
    return trio.current_time() + seconds


async def test_what_a_start_tells_waits_for_what_it_has_written(autojump_clock: MockClock) -> None:
    async def start(actor: Listener) -> None:
        await trio.lowlevel.checkpoint()
        actor.ctx.write("loaded")
        actor.ctx.ref("other", 1).tell(Hear("by ref"))
        actor.ctx.tell(actor.ctx.ref("other", 1), Hear("by context"))

    async with opened(start) as house:
        house.committer.hold()
        house.system.ref("starter", 1).tell(Hear("own"))
        await trio.sleep(1)
        assert house.heard == ["own"]
        house.committer.release()
        await wait_all_tasks_blocked()
        assert (house.stored(), house.heard) == (["loaded"], ["own", "by ref", "by context"])
        assert not house.system.waiting_turns


@pytest.mark.parametrize("command", [Hear(), AskBack("a")])
async def test_a_start_that_waits_for_itself_is_a_cycle_at_once(
    autojump_clock: MockClock, command: Command[int]
) -> None:
    async def start(actor: Listener) -> None:
        if actor.ctx.address.key == "a":
            whom = actor.ctx.ref("starter", "a") if isinstance(command, Hear) else actor.ctx.ref("other", 1)
            await whom.ask(command, deadline=soon())

    async with opened(start) as house:
        began = trio.current_time()
        house.system.ref("starter", "a").tell(Hear("first"))
        await wait_all_tasks_blocked()
        assert trio.current_time() == began
        assert house.crashes
        assert "starter/a.Start → " in house.crashes[0]
        assert "starter/a.Hear: the last would wait for the first" in house.crashes[0]


async def test_a_start_that_asks_after_it_wrote_is_told_to_ask_first(autojump_clock: MockClock) -> None:
    async def start(actor: Listener) -> None:
        actor.ctx.write("too early")
        await actor.ctx.ref("other", 1).ask(Hear(), deadline=soon())

    async with opened(start) as house:
        house.system.ref("starter", 1).tell(Hear())
        await wait_all_tasks_blocked()
        assert "starter/1 asks other/1 in its `start` after it wrote" in house.crashes[0]
        assert (house.heard, house.stored()) == ([StopReason.START_FAILED], [])


async def test_a_start_has_no_command_to_put_aside(autojump_clock: MockClock) -> None:
    async def start(actor: Listener) -> None:
        await trio.lowlevel.checkpoint()
        actor.ctx.stash()

    async with opened(start) as house:
        house.system.ref("starter", 1).tell(Hear())
        await wait_all_tasks_blocked()
        assert "starter/1 has no command to put aside in its `start`" in house.crashes[0]


async def test_who_is_killed_while_its_address_is_claimed_never_starts(autojump_clock: MockClock) -> None:
    """Although its storage answers a claim that was given up."""
    starts: list[int] = []

    async def start(actor: Listener) -> None:
        starts.append(actor.ctx.token or 0)
        await trio.lowlevel.checkpoint()

    async with opened(start) as house:
        ref, ownership, answers = house.system.ref("starter", 1), house.committer.ownership, trio.Event()
        claim = ownership.claim

        async def claim_to_the_end(*args: Any, **options: Any) -> int | None:  # type: ignore[return]
            with trio.CancelScope(shield=True):
                await answers.wait()
                return await claim(*args, **options)

        ownership.claim = claim_to_the_end  # type: ignore[method-assign]
        ref.tell(Hear("waits"))
        await wait_all_tasks_blocked()
        assert house.system.kill(ref)
        answers.set()
        await wait_all_tasks_blocked()
        assert (starts, house.heard) == ([2], ["waits"]), "the one that was killed had claimed it first"


async def write_and_stop(actor: Listener) -> None:
    await trio.lowlevel.checkpoint()
    actor.ctx.write("loaded")
    actor.ctx.stop()


async def test_a_service_that_stops_in_its_start_ends_when_that_is_stored(autojump_clock: MockClock) -> None:
    async with opened(write_and_stop, is_service=True) as house:
        await wait_all_tasks_blocked()
        assert (house.stored(), house.heard) == (["loaded"], [StopReason.NORMAL])
        with pytest.raises(ActorGone, match="it is a service that has ended"):
            await house.system.service("starter").ask(Hear(), deadline=soon())


async def test_an_actor_that_stops_in_its_start_handles_what_woke_it(autojump_clock: MockClock) -> None:
    async with opened(write_and_stop) as house:
        house.committer.hold()
        house.system.ref("starter", 1).tell(Hear("woke it"))
        await trio.sleep(1)
        assert house.heard == ["woke it"], "it ends when what its start wrote is stored"
        house.committer.release()
        await wait_all_tasks_blocked()
        assert (house.stored(), house.heard) == (["loaded"], ["woke it", StopReason.NORMAL])


async def write_in_start(actor: Listener) -> None:
    await trio.lowlevel.checkpoint()
    actor.heard.append("start")
    actor.ctx.write("loaded")


@pytest.mark.parametrize("outcome", [CommitOutcome.REFUSED, CommitOutcome.DUPLICATE, CommitOutcome.FENCED], ids=str)
async def test_a_start_whose_writes_are_not_stored_is_a_failed_start_and_never_loops(
    autojump_clock: MockClock, outcome: CommitOutcome
) -> None:
    with pytest.RaisesGroup(pytest.RaisesExc(Escalated, match=r"starter/main .* 6 crashes within 30 s")):
        async with opened(write_in_start, is_service=True) as house:
            house.committer.fault = lambda _: outcome
            assert house.heard.count("start") == 1
            await trio.sleep_forever()
    assert house.heard.count("start") <= 36, "six times, before each of the six of its supervisor"
    assert f"what its `start` wrote is not stored ({outcome.value})" in house.crashes[0]
    ends = {one for one in house.heard if isinstance(one, StopReason)}
    assert ends == {StopReason.FENCED if outcome is CommitOutcome.FENCED else StopReason.START_FAILED}


async def test_in_an_outage_such_a_start_counts_nothing(autojump_clock: MockClock) -> None:
    async with opened(write_in_start, is_service=True) as house:
        house.committer.fault = lambda _: CommitOutcome.UNAVAILABLE
        await trio.sleep(60)
        assert 10 < house.heard.count("start") < 600, "one for each time that storage was found back"
        assert house.system.statistics().crashes == 0
        house.committer.forget_faults()
        await trio.sleep(5)
        assert house.stored() == ["loaded"]


async def test_once_a_start_is_stored_what_a_turn_wrote_is_that_turn_s(autojump_clock: MockClock) -> None:
    async with opened(write_in_start) as house:
        starter = house.system.ref("starter", 1)
        starter.tell(Hear())
        await wait_all_tasks_blocked()
        house.committer.claim_elsewhere(starter.address)
        starter.tell(WriteDown())
        await wait_all_tasks_blocked()
        assert house.stored() == ["loaded", "loaded", "written down"]
        assert house.system.statistics().crashes == 0


@pytest.mark.parametrize("is_slow", [False, True])
async def test_a_start_that_found_storage_away_ends_as_any_other_activation(
    autojump_clock: MockClock, is_slow: bool
) -> None:
    starts: list[Listener] = []

    async def start(actor: Listener) -> None:
        starts.append(actor)
        await trio.sleep(1)
        if len(starts) == 1 and is_slow:
            house.system.storage.lost("a commit of another actor")
            await trio.sleep_forever()
        elif len(starts) == 1:
            raise StorageUnavailable("away")

    async with opened(start) as house:
        house.committer.probe = probe = Probe()  # type: ignore[method-assign, assignment]
        ref = house.system.ref("starter", 1)
        ref.tell(Hear("what woke it"))
        house.system.ref("other", 1).tell(Watch(ref))
        await trio.sleep(40)
        assert len(starts) == 1
        assert ended(house) == [{"address": "starter/1", "reason": "reloaded"}]
        assert house.heard == [StopReason.RELOADED, "other/1 hears that starter/1 is reloaded"]
        probe.is_away = False
        await trio.sleep(3)
        assert (len(starts), house.heard[2:], house.crashes) == (2, ["what woke it"], [])


async def test_a_claim_that_found_storage_away_ends_nothing(autojump_clock: MockClock) -> None:
    async with opened(trio.lowlevel.checkpoint) as house:  # type: ignore[arg-type]
        house.committer.is_away = True
        house.system.ref("starter", 1).tell(Hear())
        house.system.ref("other", 1).tell(Watch(house.system.ref("starter", 1)))
        await trio.sleep(40)
        assert (ended(house), house.heard) == ([], [])


def ended(house: House) -> list[dict[str, Any]]:
    return [facts for name, facts in house.events if name == "actor.ended"]


class Probe:
    """Finds storage away until it is told otherwise."""

    is_away = True

    async def __call__(self) -> None:
        await trio.lowlevel.checkpoint()
        if self.is_away:
            raise StorageUnavailable("away")


async def note_start(actor: Listener) -> None:
    await trio.lowlevel.checkpoint()
    assert len(actor.heard) < 2000, "it spins"
    actor.heard.append("start")


async def tell_itself(actor: Listener) -> None:
    await note_start(actor)
    actor.ctx.tell(actor.ctx.ref(*actor.ctx.address), WriteDown())


async def write_and_tell_itself(actor: Listener) -> None:
    await tell_itself(actor)
    actor.ctx.write("loaded")


@pytest.mark.parametrize(
    ("start", "outcome"),
    [
        (tell_itself, CommitOutcome.REFUSED),
        (tell_itself, CommitOutcome.DUPLICATE),
        (write_and_tell_itself, CommitOutcome.REFUSED),
    ],
)
async def test_a_start_that_tells_itself_what_storage_refuses_is_a_crash_in_the_end_and_never_loops(
    autojump_clock: MockClock, start: Hook, outcome: CommitOutcome
) -> None:
    with pytest.RaisesGroup(pytest.RaisesExc(Escalated, match=r"starter/main .* 6 crashes within 30 s")):
        async with opened(start, is_service=True) as house:
            house.committer.fault = lambda unit: outcome if "written down" in unit.writes else CommitOutcome.COMMITTED
            await trio.sleep_forever()
    assert house.heard.count("start") <= 6 * (VAIN_MAX + 6), "and six times of its supervisor"
    assert f"storage refuses what it is told ({outcome.value})" in house.crashes[0]


async def test_what_storage_refuses_of_one_that_asks_is_no_crash_however_often(autojump_clock: MockClock) -> None:
    async with opened(note_start) as house:
        house.committer.fault = lambda unit: (
            CommitOutcome.REFUSED if "written down" in unit.writes else CommitOutcome.COMMITTED
        )
        for _ in range(3 * VAIN_MAX):
            with pytest.raises(ActorFailed, match="storage refuses a value"):
                await house.system.ref("starter", 1).ask(WriteDown(), deadline=soon())
        assert house.crashes == []


async def test_what_storage_refuses_of_one_that_stores_something_in_between_is_no_crash(
    autojump_clock: MockClock,
) -> None:
    async with opened(note_start) as house:
        ref = house.system.ref("starter", 1)
        for _ in range(3 * VAIN_MAX):
            await ref.ask(WriteDown(), deadline=soon())
            house.committer.fault = lambda _: CommitOutcome.REFUSED
            ref.tell(WriteDown())
            await wait_all_tasks_blocked()
            house.committer.forget_faults()
        assert house.system.dead_letters.counts == {"gate_refused": 3 * VAIN_MAX}
        assert house.crashes == []
