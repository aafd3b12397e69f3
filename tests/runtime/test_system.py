"""The system: delivery, turns, the gate's promises, restarts, passivation, storage outages, the orderly end."""

from collections.abc import AsyncIterator, Callable
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
    AskTimeout,
    Command,
    CommitOutcome,
    CommitUnknown,
    Kind,
    MailboxFull,
    Ref,
    RestartPolicy,
    StopReason,
    StorageUnavailable,
    UnknownCommand,
    UnknownKind,
    handles,
    open_system,
    shielded,
)
from greenroom.runtime.testing import MemoryCommitter


@dataclass(frozen=True, slots=True)
class Add(Command[int]):
    by: int


@dataclass(frozen=True, slots=True)
class Look(Command[int]):
    pass


@dataclass(frozen=True, slots=True)
class Break(Command[None]):
    writes_first: bool = False


@dataclass(frozen=True, slots=True)
class Wait(Command[str]):
    until: trio.Event


@dataclass(frozen=True, slots=True)
class Unheard(Command[None]):
    pass


@dataclass(frozen=True, slots=True)
class TellLater(Command[None]):
    seconds: float


class Counter(Actor):
    """Adds up what is stored; `journal` is its storage."""

    starts: list[int | str]

    def __init__(self, key: int | str, journal: MemoryCommitter, log: list[str]) -> None:
        self.key = key
        self.journal = journal
        self.log = log
        self.total = 0

    async def start(self) -> None:
        await trio.lowlevel.checkpoint()
        self.log.append(f"start {self.key}")
        self.total = sum(write for address, write in self.journal.stored if address.key == self.key)  # type: ignore[misc]

    def stopping(self, reason: StopReason) -> None:
        self.log.append(f"stop {self.key} {reason}")

    @handles(Add)
    def add(self, command: Add) -> int:
        self.ctx.write(command.by)
        total = self.total + command.by
        self.ctx.after_commit(lambda: self.log.append(f"told {total}"))
        self.total = total
        return total

    @handles(Look)
    def look(self, _: Look) -> int:
        return self.total

    @handles(Break)
    def break_(self, command: Break) -> None:
        if command.writes_first:
            self.ctx.write(1000)
            self.total += 1000
        raise ValueError("broken on purpose")

    @shielded
    @handles(Wait)
    async def wait(self, command: Wait) -> str:
        await command.until.wait()
        return "waited"

    @handles(TellLater)
    def tell_later(self, command: TellLater) -> None:
        self.ctx.tell_self_after(command.seconds, Add(1))


@dataclass
class House:
    system: ActorSystem
    committer: MemoryCommitter
    log: list[str]
    events: list[str]

    def counter(self, key: int = 1) -> Ref:
        return self.system.ref("counter", key)


OpenHouse = Callable[..., Any]


@asynccontextmanager
async def open_house(**changes: Any) -> AsyncIterator[House]:
    committer, log, events = MemoryCommitter(), [], []  # type: ignore[var-annotated]
    passivates = changes.pop("passivates_at_once", False)
    kind = Kind(
        "counter",
        lambda key: Counter(key, committer, log),
        **({"ownership": "create", "idle_seconds_max": 60} | changes),
    )

    def note(name: str, **_: object) -> None:
        events.append(name)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(committer.run)
        async with open_system([kind], committer=committer, event=note, passivates_at_once=passivates) as system:
            yield House(system, committer, log, events)
        nursery.cancel_scope.cancel()


def soon() -> float:
    return trio.current_time() + 5


async def test_an_ask_is_answered_after_its_write_is_stored(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        house.committer.hold()
        answers: list[object] = []
        house.counter().request(Add(3), lambda value, error: answers.append((value, error)), deadline=soon())
        await wait_all_tasks_blocked()
        assert answers == []
        assert house.log == ["start 1"]
        house.committer.release()
        await wait_all_tasks_blocked()
        assert answers == [(3, None)]
        assert house.log == ["start 1", "told 3"]


async def test_a_read_waits_for_the_writes_it_may_have_seen(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        house.committer.hold()
        answers: list[object] = []
        house.counter().tell(Add(3))
        house.counter().request(Look(), lambda value, _: answers.append(value), deadline=soon())
        await wait_all_tasks_blocked()
        assert answers == []
        house.committer.release()
        await wait_all_tasks_blocked()
        assert answers == [3]


async def test_turns_do_not_wait_for_commits(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        house.committer.hold()
        for _ in range(10):
            house.counter().tell(Add(1))
        await wait_all_tasks_blocked()
        assert house.system.statistics().kinds["counter"].turns == 10
        house.committer.release()
        await wait_all_tasks_blocked()
        assert house.committer.batches == 1
        assert house.log[1:] == [f"told {n}" for n in range(1, 11)]


async def test_two_first_commands_make_one_activation(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        house.counter().tell(Add(1))
        house.counter().tell(Add(2))
        assert await house.counter().ask(Look(), deadline=soon()) == 3
        assert house.log.count("start 1") == 1


async def test_commands_of_one_sender_arrive_in_order(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        for n in range(100):
            house.counter().tell(Add(n))
        await house.counter().ask(Look(), deadline=soon())
        assert [write for _, write in house.committer.stored] == list(range(100))


async def test_a_full_mailbox_refuses_a_tell_and_lets_an_offer_wait(autojump_clock: MockClock) -> None:
    async with open_house(mailbox_envelopes_max=2) as house:
        house.counter().tell(Add(1))
        house.counter().tell(Add(1))
        with pytest.raises(MailboxFull, match="counter/1 holds 2 envelopes"):
            house.counter().tell(Add(1))
        await house.counter().offer(Add(1))
        await wait_all_tasks_blocked()  # or the two that are left may stand in the way of the question
        assert await house.counter().ask(Look(), deadline=soon()) == 3
        assert house.system.statistics().kinds["counter"].refused == 1


async def test_an_offer_that_is_cancelled_was_not_queued(autojump_clock: MockClock) -> None:
    async with open_house(mailbox_envelopes_max=1) as house:
        gate = trio.Event()
        house.counter().tell(Wait(gate))
        await wait_all_tasks_blocked()
        house.counter().tell(Add(1))
        with trio.move_on_after(1) as scope:
            await house.counter().offer(Add(100))
        assert scope.cancelled_caught
        gate.set()
        await wait_all_tasks_blocked()
        assert await house.counter().ask(Look(), deadline=soon()) == 1


async def test_a_failed_ask_goes_back_to_the_caller_and_the_actor_lives(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        await house.counter().ask(Add(1), deadline=soon())
        with pytest.raises(ActorFailed, match="broken on purpose") as caught:
            await house.counter().ask(Break(), deadline=soon())
        assert isinstance(caught.value.__cause__, ValueError)
        assert await house.counter().ask(Look(), deadline=soon()) == 1
        assert house.log.count("start 1") == 1


async def test_a_failed_ask_that_had_written_loses_its_draft_and_its_memory(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        await house.counter().ask(Add(1), deadline=soon())
        with pytest.raises(ActorFailed):
            await house.counter().ask(Break(writes_first=True), deadline=soon())
        assert await house.counter().ask(Look(), deadline=soon()) == 1
        assert house.log.count("start 1") == 2
        assert [write for _, write in house.committer.stored] == [1]


async def test_a_lost_draft_waits_for_pending_writes_before_it_loads_again(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        house.committer.hold()
        house.counter().tell(Add(5))
        answers: list[object] = []
        house.counter().request(Break(writes_first=True), lambda _, error: answers.append(type(error)), deadline=soon())
        house.counter().request(Look(), lambda value, _: answers.append(value), deadline=soon())
        await wait_all_tasks_blocked()
        house.committer.release()
        await wait_all_tasks_blocked()
        assert answers == [ActorFailed, 5]


async def test_a_failed_tell_restarts_the_actor_without_the_poisoned_command(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        house.counter().tell(Add(1))
        house.counter().tell(Break())
        house.counter().tell(Add(2))
        assert await house.counter().ask(Look(), deadline=soon()) == 3
        assert house.log.count("start 1") == 2
        assert [letter.reason for letter in house.system.dead_letters.newest] == ["crashed"]
        assert "actor.crashed" in house.events


async def test_more_crashes_than_the_intensity_end_the_actor_and_tell_who_waits(autojump_clock: MockClock) -> None:
    async with open_house(restart=RestartPolicy(intensity=2, period_seconds=30)) as house:
        for _ in range(3):
            house.counter().tell(Break())
        with pytest.raises(ActorGone, match="3 crashes within 30 s"):
            await house.counter().ask(Look(), deadline=trio.current_time() + 20)
        assert "actor.gave_up" in house.events
        await trio.sleep(31)
        assert await house.counter().ask(Look(), deadline=soon()) == 0


async def test_a_start_that_fails_never_loops(autojump_clock: MockClock) -> None:
    starts: list[float] = []

    class NeverStarts(Actor):
        async def start(self) -> None:
            await trio.lowlevel.checkpoint()
            starts.append(trio.current_time())
            raise RuntimeError("no")

        @handles(Look)
        def look(self, _: Look) -> int:
            return 0

    committer = MemoryCommitter()
    kind = Kind("broken", lambda _: NeverStarts(), restart=RestartPolicy(intensity=3, backoff_seconds_min=0.1))
    async with open_system([kind], committer=committer) as system:
        with pytest.raises(ActorGone):
            await system.ref("broken", 1).ask(Look(), deadline=trio.current_time() + 60)
        assert len(starts) == 4


async def test_an_unknown_command_and_an_unknown_kind_are_the_callers_fault(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        with pytest.raises(UnknownCommand, match=r"counter/1 has no handler for Unheard: decorate"):
            await house.counter().ask(Unheard(), deadline=soon())
        with pytest.raises(UnknownKind, match="this system knows counter"):
            house.system.ref("nothing", 1)
        house.counter().tell(Unheard())
        await wait_all_tasks_blocked()
        assert house.system.dead_letters.counts["unknown_command"] == 1


async def test_a_timeout_says_what_is_known(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        gate = trio.Event()
        with pytest.raises(AskTimeout) as running:
            await house.counter().ask(Wait(gate), deadline=trio.current_time() + 1)
        with pytest.raises(AskTimeout) as queued:
            await house.counter().ask(Add(7), deadline=trio.current_time() + 1)
        gate.set()
        house.committer.hold()
        with pytest.raises(AskTimeout) as committing:
            await house.counter().ask(Add(1), deadline=trio.current_time() + 1)
        house.committer.release()
        assert [caught.value.state for caught in (running, queued, committing)] == ["running", "queued", "committing"]
        assert await house.counter().ask(Look(), deadline=soon()) == 1, "a queued command that timed out is never run"


async def test_a_waiting_handler_keeps_turns_serial(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        gate = trio.Event()
        answers: list[object] = []
        house.counter().request(Wait(gate), lambda value, _: answers.append(value), deadline=soon())
        house.counter().request(Add(1), lambda value, _: answers.append(value), deadline=soon())
        await wait_all_tasks_blocked()
        assert answers == []
        gate.set()
        await wait_all_tasks_blocked()
        assert answers == ["waited", 1]


@pytest.mark.parametrize("outcome", [CommitOutcome.DUPLICATE, CommitOutcome.FENCED])
async def test_turns_that_were_certainly_not_stored_are_redone_in_order(
    autojump_clock: MockClock, outcome: CommitOutcome
) -> None:
    async with open_house() as house:
        house.committer.hold()
        faults = [outcome]
        house.committer.fault = lambda _: faults.pop() if faults else CommitOutcome.COMMITTED
        answers: list[object] = []
        for n in (1, 2, 3):
            house.counter().request(Add(n), lambda value, error: answers.append(value or error), deadline=soon())
        await wait_all_tasks_blocked()
        house.committer.release()
        await wait_all_tasks_blocked()
        assert answers == [1, 3, 6]
        assert [write for _, write in house.committer.stored] == [1, 2, 3]
        assert house.log.count("start 1") == 2


async def test_a_refused_value_breaks_only_its_own_actor(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        house.committer.hold()
        house.committer.fault = lambda unit: CommitOutcome.REFUSED if unit.address.key == 1 else CommitOutcome.COMMITTED
        answers: dict[int, object] = {}
        for key in (1, 2):
            house.counter(key).request(
                Add(1), lambda value, error, key=key: answers.update({key: value or type(error)}), deadline=soon()
            )
        await wait_all_tasks_blocked()
        house.committer.release()
        await wait_all_tasks_blocked()
        assert answers == {1: ActorFailed, 2: 1}


@pytest.mark.parametrize(
    ("outcome", "error"),
    [(CommitOutcome.UNAVAILABLE, StorageUnavailable), (CommitOutcome.UNKNOWN, CommitUnknown)],
)
async def test_a_broken_gate_tells_callers_and_drops_outputs(
    autojump_clock: MockClock, outcome: CommitOutcome, error: type[Exception]
) -> None:
    async with open_house() as house:
        house.committer.fault = lambda _: outcome
        with pytest.raises(error):
            await house.counter().ask(Add(1), deadline=soon())
        house.committer.fault = lambda _: CommitOutcome.COMMITTED
        assert await house.counter().ask(Add(2), deadline=soon()) == 2
        assert "told 1" not in house.log
        assert house.system.statistics().crashes == 0, "an outage spends no restart intensity"


async def test_an_outage_holds_loading_and_ends_by_itself(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        await house.counter().ask(Add(1), deadline=soon())
        house.committer.is_away = True
        with pytest.raises(StorageUnavailable):
            await house.counter().ask(Add(1), deadline=soon())
        with pytest.raises(StorageUnavailable, match="waits for storage"):
            await house.counter(2).ask(Look(), deadline=trio.current_time() + 3)
        assert house.system.storage.is_away
        answers: list[object] = []
        house.counter().request(Look(), lambda value, _: answers.append(value), deadline=trio.current_time() + 60)
        await trio.sleep(20)
        assert answers == []
        house.committer.is_away = False
        await trio.sleep(1.5)
        assert answers == [1]
        assert house.system.statistics().crashes == 0
        assert house.events.count("storage.lost") == house.events.count("storage.found") == 1


async def test_an_idle_actor_is_passivated_and_loads_again_unnoticed(autojump_clock: MockClock) -> None:
    async with open_house(idle_seconds_max=10) as house:
        await house.counter().ask(Add(1), deadline=soon())
        await trio.sleep(13)
        assert house.log[-1] == "stop 1 passivated"
        assert house.system.statistics().kinds["counter"].loaded == 0
        assert house.system.statistics().kinds["counter"].cold == 1
        await trio.sleep(20)
        assert not house.system.activations, "a cold cell is forgotten"
        assert await house.counter().ask(Add(1), deadline=soon()) == 2
        assert house.system.statistics().kinds["counter"].turns == 2


async def test_everything_works_when_actors_are_passivated_after_every_command(autojump_clock: MockClock) -> None:
    async with open_house(passivates_at_once=True) as house:
        for n in range(1, 6):
            assert await house.counter().ask(Add(1), deadline=soon()) == n
        assert house.log.count("start 1") == 5


async def test_a_timer_does_not_outlive_its_activation(autojump_clock: MockClock) -> None:
    async with open_house(idle_seconds_max=5) as house:
        await house.counter().ask(TellLater(2), deadline=soon())
        await trio.sleep(3)
        assert await house.counter().ask(Look(), deadline=soon()) == 1
        await house.counter().ask(TellLater(100), deadline=soon())
        await trio.sleep(50)
        assert house.system.statistics().kinds["counter"].loaded == 1, "a running timer keeps its actor awake"
        house.counter().tell(Break())
        await trio.sleep(100)
        assert await house.counter().ask(Look(), deadline=soon()) == 1


async def test_an_orderly_stop_finishes_what_was_accepted(autojump_clock: MockClock) -> None:
    answers: list[object] = []
    async with open_house() as house:
        house.counter().request(Add(1), lambda value, _: answers.append(value), deadline=soon())
    assert answers == [1]
    assert house.log[-1] == "stop 1 normal"
    with pytest.raises(ActorGone):
        house.counter().tell(Add(1))


async def test_a_stop_that_cannot_finish_tells_who_waits(autojump_clock: MockClock) -> None:
    answers: list[object] = []
    async with open_house() as house:
        house.counter().request(Wait(trio.Event()), lambda _, error: answers.append(error), deadline=soon() + 100)
        await wait_all_tasks_blocked()
        house.counter().request(Add(1), lambda _, error: answers.append(error), deadline=soon() + 100)
    assert [type(answer) for answer in answers] == [ActorGone, ActorGone]
    assert "system.stopped_busy" in house.events


async def test_a_saturated_actor_does_not_starve_the_loop() -> None:
    """Real clock: 50 actors that have work, and a bystander that wants a turn in every pass of the loop."""
    answers: list[object] = []
    async with open_house(mailbox_envelopes_max=100_000) as house:
        for key in range(50):
            for _ in range(400):
                house.counter(key).tell(Look())
            house.counter(key).request(Look(), lambda value, _: answers.append(value), deadline=soon() + 100)
        turns = 0
        while len(answers) < 50:
            await trio.lowlevel.checkpoint()
            turns += 1
        assert turns > 10


async def test_an_actor_that_raises_while_being_cancelled_does_not_restart(autojump_clock: MockClock) -> None:
    """The error replaces `Cancelled`: restarting there would spin inside a cancelled scope."""
    runs: list[int] = []

    class Stubborn(Actor):
        @handles(Look)
        async def look(self, _: Look) -> int:
            runs.append(1)
            try:
                await trio.sleep_forever()
            finally:
                raise ValueError("raised while being cancelled")

    async with open_system([Kind("stubborn", lambda _: Stubborn())], committer=MemoryCommitter()) as system:
        system.ref("stubborn", 1).tell(Look())
        await wait_all_tasks_blocked()
    assert runs == [1]


async def test_a_reply_callback_that_raises_harms_nobody(autojump_clock: MockClock) -> None:
    def bad(_: object, __: object) -> None:
        raise RuntimeError("the caller's bug")

    async with open_house() as house:
        house.counter().request(Add(1), bad, deadline=soon())
        house.counter().request(Break(), bad, deadline=soon())
        house.counter().request(Wait(trio.Event()), bad, deadline=trio.current_time() + 1)
        await trio.sleep(2)
        assert house.events.count("effect.failed") == 2
        assert "deadline.failed" in house.events
