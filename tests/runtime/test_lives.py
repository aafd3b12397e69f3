"""Lives of actors: batches, what is put aside, watching, what keeps awake, what an error leads to, full mailboxes."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from greenroom.runtime import (
    Actor,
    ActorFailed,
    ActorGone,
    ActorSystem,
    Address,
    AskTimeout,
    Command,
    CommitOutcome,
    Directive,
    Down,
    Escalated,
    Kind,
    MailboxFull,
    Overflow,
    Ref,
    RestartPolicy,
    StashFull,
    StopReason,
    handles,
    open_system,
)
from greenroom.runtime.testing import MemoryCommitter, passivate


@dataclass(frozen=True, slots=True)
class Add(Command[int]):
    by: int


@dataclass(frozen=True, slots=True)
class Open(Command[None]):
    pass


@dataclass(frozen=True, slots=True)
class Enter(Command[str]):
    name: str


@dataclass(frozen=True, slots=True)
class Hold(Command[None]):
    until: trio.Event


@dataclass(frozen=True, slots=True)
class Watch(Command[None]):
    key: str


@dataclass(frozen=True, slots=True)
class Fail(Command[None]):
    error: Exception


@dataclass(frozen=True, slots=True)
class StashAndWrite(Command[None]):
    pass


@dataclass(frozen=True, slots=True)
class Gather(Command[int]):
    by: int


@dataclass(frozen=True, slots=True)
class Short(Command[int]):
    pass


@dataclass(frozen=True, slots=True)
class Forget(Command[int]):
    pass


@dataclass(frozen=True, slots=True)
class Meet(Command[int]):
    by: int


class Worker(Actor):
    """A door that lets people in once it is open, and adds up in batches."""

    def __init__(self, key: int | str, log: list[Any]) -> None:
        self.key, self.log = key, log
        self.is_open = False
        log.append(f"made {key}")

    def stopping(self, reason: StopReason) -> None:
        self.log.append(f"ended {self.key} {reason}")

    @handles(Add, batch=4)
    def add(self, commands: list[Add]) -> list[int]:
        self.log.append([command.by for command in commands])
        if any(command.by < 0 for command in commands):
            raise ValueError("negative")
        self.ctx.write(sum(command.by for command in commands))
        return [command.by * 10 for command in commands]

    @handles(Gather, batch=4)
    def gather(self, commands: list[Gather]) -> list[int]:
        if any(command.by < 0 for command in commands):
            raise ValueError("negative")
        return [command.by for command in commands]

    @handles(Short, batch=4)
    def short(self, commands: list[Short]) -> list[int]:
        return [0 for _ in commands[1:]]

    @handles(Forget)
    def forget(self, _: Forget) -> int:
        return self.later()  # type: ignore[return-value]  # the mistake that is meant

    async def later(self) -> int:
        return 1

    @handles(Meet, batch=4)
    def meet(self, commands: list[Meet]) -> list[int]:
        if not self.is_open:
            self.ctx.stash()
        return [command.by for command in commands]

    @handles(Open)
    def open(self, _: Open) -> None:
        self.is_open = True
        self.ctx.unstash()

    @handles(Enter)
    def enter(self, command: Enter) -> str:
        if not self.is_open:
            self.ctx.stash()
            return ""
        self.log.append(f"in: {command.name}")
        return f"welcome {command.name}"

    @handles(StashAndWrite)
    def stash_and_write(self, _: StashAndWrite) -> None:
        self.ctx.write("lost")
        self.ctx.stash()

    @handles(Hold)
    async def hold(self, command: Hold) -> None:
        with self.ctx.keep_awake("it is held"):
            await command.until.wait()

    @handles(Watch)
    def watch(self, command: Watch) -> None:
        self.ctx.watch(self.ctx.ref("worker", command.key))

    @handles(Down)
    def down(self, command: Down) -> None:
        why = "" if command.why is None else f": {command.why}"
        self.log.append(f"{self.key} saw {command.address} {command.reason}{why}")

    @handles(Fail)
    def fail(self, command: Fail) -> None:
        raise command.error


@dataclass
class House:
    system: ActorSystem
    committer: MemoryCommitter
    log: list[Any]
    events: list[str] = field(default_factory=list)

    def worker(self, key: str = "a") -> Ref:
        return self.system.ref("worker", key)

    def stored(self) -> list[object]:
        return [write for _, write in self.committer.stored]


@asynccontextmanager
async def open_house(**options: Any) -> AsyncIterator[House]:
    log: list[Any] = []
    committer = MemoryCommitter()
    kind = Kind("worker", lambda key: Worker(key, log), **({"ownership": "create"} | options))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(committer.run)
        async with open_system([kind], committer=committer) as system:
            yield House(system, committer, log)
        nursery.cancel_scope.cancel()


def soon() -> float:
    return trio.current_time() + 50


async def ask_all(house: House, *commands: Command[Any]) -> list[object]:
    answers: list[object] = [None] * len(commands)

    async def ask(at: int, command: Command[Any]) -> None:
        try:
            answers[at] = await house.worker().ask(command, deadline=soon())
        except Exception as error:
            answers[at] = type(error)

    async with trio.open_nursery() as nursery:
        for at, command in enumerate(commands):
            nursery.start_soon(ask, at, command)
            await wait_all_tasks_blocked(0)
    return answers


async def ask_together(house: House, *commands: Command[Any]) -> list[object]:
    """Ask all before anybody is served, so that they wait together."""
    answers: list[object] = [None] * len(commands)

    def answer_to(at: int) -> Callable[[object, BaseException | None], None]:
        def reply_to(value: object, error: BaseException | None) -> None:
            answers[at] = value if error is None else type(error)

        return reply_to

    for at, command in enumerate(commands):
        house.worker().request(command, answer_to(at), deadline=soon())
    await trio.sleep(10)
    return answers


# -- batches ----------------------------------------------------------------------------------------------------------


async def test_commands_that_waited_together_are_one_turn_and_each_has_its_answer(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        for number in range(6):
            house.worker().tell(Add(number))
        answers = await ask_all(house, Add(6))
        assert house.log == ["made a", [0, 1, 2, 3], [4, 5], [6]] or house.log == ["made a", [0, 1, 2, 3], [4, 5, 6]]
        assert answers == [60]
        assert sum(house.stored()) == 21  # type: ignore[arg-type]


async def test_a_batch_that_fails_loses_the_poisoned_command_alone(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        house.worker().tell(Open())
        await wait_all_tasks_blocked()
        for number in (1, -1, 2):
            house.worker().tell(Add(number))
        await trio.sleep(10)
        assert house.log.count("ended a crashed") == 1
        assert [letter.command for letter in house.system.dead_letters.newest] == ["Add"]
        assert house.stored() == [1, 2]


async def test_asks_of_a_batch_that_fails_are_answered_each_for_itself(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        assert await ask_together(house, Add(1), Add(-1), Add(2)) == [10, ActorFailed, 20]
        assert [1, -1, 2] in house.log


async def test_a_batch_without_rows_is_tried_apart_without_losing_its_memory(autojump_clock: MockClock) -> None:
    async with open_house(ownership="none") as house:
        seen = await ask_together(house, Gather(1), Gather(-1), Gather(2))
        assert seen == [1, ActorFailed, 2]
        assert house.log == ["made a"]


async def test_a_batch_that_is_answered_with_a_list_of_another_length_is_told_why(autojump_clock: MockClock) -> None:
    async with open_house(ownership="none") as house:
        lesson = "the handler of Short was given 1 commands and answers with a list of 0: return one reply for each"
        with pytest.raises(ActorFailed, match=lesson):
            await house.worker().ask(Short(), deadline=soon())
        assert await ask_together(house, Short(), Short(), Short()) == [ActorFailed] * 3


async def test_an_answer_that_is_a_coroutine_is_told_why(autojump_clock: MockClock) -> None:
    async with open_house(ownership="none") as house:
        with pytest.raises(ActorFailed, match="the handler of Forget answers with a coroutine that nobody awaits"):
            await house.worker().ask(Forget(), deadline=soon())


async def test_a_batch_whose_commit_is_a_duplicate_is_redone_one_by_one(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        faults = iter([CommitOutcome.DUPLICATE])
        house.committer.fault = lambda _: next(faults, CommitOutcome.COMMITTED)
        for number in range(3):
            house.worker().tell(Add(number))
        await wait_all_tasks_blocked()
        assert house.log == ["made a", [0, 1, 2], "ended a reloaded", "made a", [0], [1], [2]]
        assert house.stored() == [0, 1, 2]


# -- put aside --------------------------------------------------------------------------------------------------------


async def test_what_is_put_aside_comes_back_in_order_before_what_waits(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        for name in ("ann", "ben"):
            house.worker().tell(Enter(name))
        await wait_all_tasks_blocked()
        house.worker().tell(Open())
        house.worker().tell(Enter("cat"))
        await wait_all_tasks_blocked()
        assert house.log == ["made a", "in: ann", "in: ben", "in: cat"]


async def test_an_ask_that_is_put_aside_is_answered_later(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        answers = await ask_all(house, Enter("ann"), Open())
        assert answers == ["welcome ann", None]


async def test_what_is_aside_is_bounded_and_keeps_the_actor_awake(autojump_clock: MockClock) -> None:
    async with open_house(stash_envelopes_max=2, idle_seconds_max=1) as house:
        house.worker().tell(Enter("ann"))
        house.worker().tell(Enter("ben"))
        await trio.sleep(10)
        assert house.log == ["made a"]
        with pytest.raises(ActorFailed) as failed:
            await house.worker().ask(Enter("cat"), deadline=soon())
        assert isinstance(failed.value.__cause__, StashFull)


async def test_what_is_aside_survives_a_crash(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        house.worker().tell(Enter("ann"))
        house.worker().tell(Fail(ValueError("x")))
        await trio.sleep(10)
        house.worker().tell(Open())
        await wait_all_tasks_blocked()
        assert house.log == ["made a", "ended a crashed", "made a", "in: ann"]


async def test_a_turn_that_puts_aside_lets_nothing_out(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        with pytest.raises(ActorFailed, match="lets nothing else out"):
            await house.worker().ask(StashAndWrite(), deadline=soon())
        assert house.stored() == []


async def test_a_batch_that_is_put_aside_comes_apart_and_each_asker_is_answered(autojump_clock: MockClock) -> None:
    async with open_house(ownership="none", stash_envelopes_max=3) as house:
        assert await ask_together(house, Meet(1), Meet(2), Meet(3), Open()) == [1, 2, 3, None]


async def test_a_batch_that_finds_no_place_aside_is_told_so(autojump_clock: MockClock) -> None:
    async with open_house(ownership="none", stash_envelopes_max=1) as house:
        assert await ask_together(house, Meet(1), Meet(2), Open()) == [1, ActorFailed, None]


async def test_who_has_given_up_needs_no_place_aside(autojump_clock: MockClock) -> None:
    async with open_house(ownership="none", stash_envelopes_max=1) as house:
        for _ in range(3):
            with pytest.raises(AskTimeout):
                await house.worker().ask(Enter("ann"), deadline=trio.current_time() + 1)


# -- watching and staying awake ---------------------------------------------------------------------------------------


async def test_a_watcher_is_told_once_with_the_reason_and_at_once_when_nobody_is_there(
    autojump_clock: MockClock,
) -> None:
    async with open_house() as house:
        await house.worker("b").ask(Open(), deadline=soon())
        await house.worker("a").ask(Watch("b"), deadline=soon())
        house.worker("b").tell(Fail(ValueError("x")))
        await trio.sleep(10)
        house.worker("b").tell(Fail(ValueError("y")))
        await trio.sleep(10)
        await house.worker("a").ask(Watch("nobody"), deadline=soon())
        await wait_all_tasks_blocked()
        assert [line for line in house.log if "saw" in line] == [
            "a saw worker/b crashed: ValueError: x",
            "a saw worker/nobody None",
        ]
        assert list(house.system.watches.of(house.worker("a").address)) == [], "what was told is forgotten"


async def test_an_actor_that_is_about_to_run_is_watched_until_it_ends(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        await house.worker("a").ask(Open(), deadline=soon())
        house.worker("a").tell(Watch("b"))
        house.worker("b").tell(Open())  # it owns a row, so it loads while it is watched
        house.worker("a").tell(Watch("c"))  # and this one is not even scheduled when it is
        house.worker("c").tell(Fail(ValueError("y")))
        await trio.sleep(10)
        house.worker("b").tell(Fail(ValueError("x")))
        await trio.sleep(10)
        assert [line for line in house.log if "saw" in line] == [
            "a saw worker/c crashed: ValueError: y",
            "a saw worker/b crashed: ValueError: x",
        ]


async def test_watchers_are_told_in_the_order_in_which_they_came(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        await house.worker("b").ask(Open(), deadline=soon())
        for key in "qzkwjxvgup":
            await house.worker(key).ask(Watch("b"), deadline=soon())
        house.worker("b").tell(Fail(ValueError("x")))
        await wait_all_tasks_blocked()
        assert [line[0] for line in house.log if "saw" in line] == list("qzkwjxvgup")


@pytest.mark.parametrize("cold_seconds_max", [0.0, 1000.0], ids=["stored", "cold"])
async def test_a_watcher_that_is_passivated_watches_on_and_is_woken(
    autojump_clock: MockClock, cold_seconds_max: float
) -> None:
    async with open_house(idle_seconds_max=5, cold_seconds_max=cold_seconds_max) as house:
        gate = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: house.worker("b").ask(Hold(gate), deadline=soon()))
            await wait_all_tasks_blocked()
            await house.worker("a").ask(Watch("b"), deadline=soon())
            await trio.sleep(20)
            assert "ended a passivated" in house.log
            gate.set()
        await trio.sleep(20)
        assert house.log.count("made a") == 2
        assert [line for line in house.log if "saw" in line] == ["a saw worker/b passivated"]


async def test_a_watcher_that_has_crashed_is_another_one_and_watches_nobody(autojump_clock: MockClock) -> None:
    async with open_house(idle_seconds_max=5) as house:
        gate = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: house.worker("b").ask(Hold(gate), deadline=soon()))
            await wait_all_tasks_blocked()
            await house.worker("a").ask(Watch("b"), deadline=soon())
            house.worker("a").tell(Fail(ValueError("x")))
            await trio.sleep(20)
            gate.set()
        await trio.sleep(20)
        assert not [line for line in house.log if "saw" in line]


async def test_a_full_mailbox_still_takes_what_the_runtime_says(autojump_clock: MockClock) -> None:
    async with open_house(mailbox_envelopes_max=1) as house:
        gate = trio.Event()
        await house.worker("b").ask(Open(), deadline=soon())
        await house.worker("a").ask(Watch("b"), deadline=soon())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: house.worker("a").ask(Hold(gate), deadline=soon()))
            await wait_all_tasks_blocked()
            house.worker("a").tell(Open())
            with pytest.raises(MailboxFull, match="worker/a holds 1 envelopes"):
                house.worker("a").tell(Open())
            house.worker("b").tell(Fail(ValueError("x")))
            await wait_all_tasks_blocked()
            gate.set()
        assert "a saw worker/b crashed: ValueError: x" in house.log


async def test_what_keeps_an_actor_awake_can_be_seen_and_ends_with_its_block(autojump_clock: MockClock) -> None:
    async with open_house(idle_seconds_max=1) as house:
        gate = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: house.worker().ask(Hold(gate), deadline=soon()))
            await trio.sleep(10)
            context = house.system.activations[Address("worker", "a")].context
            assert context is not None
            assert context.awake_for == ["it is held"]
            gate.set()
        assert context.awake_for == []
        await trio.sleep(10)
        assert house.log[-1] == "ended a passivated"


# -- errors -----------------------------------------------------------------------------------------------------------

RULES = RestartPolicy(
    on_error={
        LookupError: Directive.RESUME,
        KeyError: Directive.STOP,
        ArithmeticError: Directive.ESCALATE,
        ValueError: Directive.RESTART,
    }
)


async def test_what_an_error_leads_to_is_a_rule_of_the_kind(autojump_clock: MockClock) -> None:
    async with open_house(restart=RULES) as house:
        house.worker().tell(Fail(IndexError("resumed")))
        await trio.sleep(10)
        assert house.log == ["made a"]
        house.worker().tell(Fail(KeyError("stopped, because the most derived class counts")))
        await trio.sleep(10)
        assert house.log == ["made a", "ended a crashed"]
        with pytest.raises(ActorFailed):
            await house.worker().ask(Fail(ValueError("restarted although it was asked")), deadline=soon())
        await trio.sleep(10)
        assert house.log == ["made a", "ended a crashed", "made a", "ended a crashed"]
        assert house.system.statistics().crashes == 1


async def test_a_stop_tells_who_waits(autojump_clock: MockClock) -> None:
    async with open_house(restart=RULES) as house:
        answers = await ask_all(house, Enter("ann"), Fail(KeyError("x")))
        assert answers == [ActorGone, ActorFailed]


async def fail_again_and_again(policy: RestartPolicy, error: Exception, times: int) -> None:
    async with open_house(restart=policy) as house:
        for _ in range(times):
            house.worker().tell(Fail(error))
            await trio.sleep(20)
        await trio.sleep_forever()


async def test_an_escalation_ends_the_system_and_names_the_chain(autojump_clock: MockClock) -> None:
    with pytest.raises(BaseExceptionGroup) as caught:
        await fail_again_and_again(RULES, ZeroDivisionError("so many"), 1)
    (escalated,) = _leaves(caught.value)
    assert isinstance(escalated, Escalated)
    assert str(escalated) == (
        "worker/a → kind worker → supervisor system → the system ends: ZeroDivisionError is escalated by its kind"
    )
    assert isinstance(escalated.__cause__, ZeroDivisionError)


async def test_too_many_crashes_escalate_where_the_kind_says_so(autojump_clock: MockClock) -> None:
    policy = RestartPolicy(intensity=2, period_seconds=1000, when_exhausted="escalate")
    with pytest.raises(BaseExceptionGroup) as caught:
        await fail_again_and_again(policy, ValueError("again"), 3)
    (escalated,) = _leaves(caught.value)
    assert "3 crashes within 1000 s (intensity 2)" in str(escalated)


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
    return [error]


# -- full mailboxes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overflow", "kept"), [(Overflow.DROP_OLDEST, ["ben", "cat"]), (Overflow.DROP_NEWEST, ["ann", "ben"])]
)
async def test_a_full_mailbox_drops_tells_as_its_kind_says(
    autojump_clock: MockClock, overflow: Overflow, kept: list[str]
) -> None:
    async with open_house(mailbox_envelopes_max=2, overflow=overflow) as house:
        await house.worker().ask(Open(), deadline=soon())
        for name in ("ann", "ben", "cat"):
            house.worker().tell(Enter(name))
        with pytest.raises(MailboxFull):
            await house.worker().ask(Enter("asks are refused and never dropped"), deadline=soon())
        await wait_all_tasks_blocked()
        assert [line for line in house.log if "in:" in line] == [f"in: {name}" for name in kept]
        assert house.system.dead_letters.counts == {overflow.value.replace("drop", "dropped"): 1}
        assert house.system.statistics().kinds["worker"].refused == 1  # the ask: of the tells none was


async def test_who_is_refused_is_told_when_there_may_be_room(autojump_clock: MockClock) -> None:
    async with open_house(mailbox_envelopes_max=4) as house:
        gate = trio.Event()
        house.worker().tell(Hold(gate))
        await trio.sleep(3)
        for _ in range(4):
            house.worker().tell(Open())
        with pytest.raises(MailboxFull) as caught:
            house.worker().tell(Open())
        assert caught.value.retry_after_seconds == 6  # two turns of three seconds
        gate.set()


@dataclass(frozen=True, slots=True)
class Wake(Command[str]):
    pass


@dataclass(frozen=True, slots=True)
class Hello(Command[None]):
    whose: str


class Starter(Actor):
    """Tells and stops while it starts; `heard` is what the one named listener was told."""

    heard: ClassVar[list[str]] = []
    ends: ClassVar[list[StopReason]] = []

    def __init__(self, key) -> None:
        self.key = key

    async def start(self) -> None:
        if self.key != "listener":
            self.ctx.tell(self.ctx.ref("starter", "listener"), Hello(self.key))
        if self.key == "stops":
            self.ctx.stop()

    def stopping(self, reason: StopReason) -> None:
        self.ends.append(reason)

    @handles(Hello)
    def hello(self, command: Hello) -> None:
        self.heard.append(command.whose)

    @handles(Wake)
    async def wake(self, _: Wake) -> str:
        await trio.sleep(5)
        return "awake"


async def test_what_an_actor_tells_while_it_starts_leaves_when_it_has_started(autojump_clock):
    async with open_system([Kind("starter", Starter)], committer=MemoryCommitter()) as system:
        Starter.heard.clear()
        system.ref("starter", "a").tell(Wake())
        await trio.sleep(1)  # its first turn is still at work
        assert Starter.heard == ["a"]


async def test_an_actor_that_stops_while_it_starts_handles_one_command(autojump_clock):
    async with open_system([Kind("starter", Starter)], committer=MemoryCommitter()) as system:
        Starter.ends.clear()
        assert await system.ref("starter", "stops").ask(Wake(), deadline=trio.current_time() + 9) == "awake"
        assert Starter.ends == [StopReason.NORMAL]


class Parting(Actor):
    """Tells the listener in its `stopping`, in its own way."""

    heard: ClassVar[list[str]] = []

    def __init__(self, key) -> None:
        self.key = key

    def stopping(self, reason: StopReason) -> None:
        if self.key == "ctx":
            self.ctx.tell(self.ctx.ref("parting", "listener"), Hello(f"ctx {reason}"))
        elif self.key == "ref":
            self.ctx.ref("parting", "listener").tell(Hello(f"ref {reason}"))

    @handles(Hello)
    def hello(self, command: Hello) -> None:
        self.heard.append(command.whose)

    @handles(Wake)
    def wake(self, _: Wake) -> str:
        self.ctx.stop()
        return "awake"

    @handles(Fail)
    def fail(self, command: Fail) -> None:
        raise command.error


@pytest.mark.parametrize("way", ["ctx", "ref"])
async def test_what_an_actor_tells_in_its_stopping_leaves_at_once(way, autojump_clock):
    async with open_system([Kind("parting", Parting)], committer=MemoryCommitter()) as system:
        Parting.heard.clear()
        actor = system.ref("parting", way)
        await actor.ask(Wake(), deadline=trio.current_time() + 9)
        actor.tell(Fail(ValueError("x")))
        await trio.sleep(1)
        assert Parting.heard == [f"{way} normal", f"{way} crashed"]


async def test_what_it_tells_when_the_system_stops_is_a_dead_letter(autojump_clock):
    async with open_system([Kind("parting", Parting)], committer=MemoryCommitter()) as system:
        system.ref("parting", "ctx").tell(Hello("x"))
        await wait_all_tasks_blocked()
    assert [letter.reason for letter in system.dead_letters.newest] == ["stopped"]


async def test_who_has_ended_tells_nothing_more_through_its_context(autojump_clock):
    async with open_system([Kind("parting", Parting)], committer=MemoryCommitter()) as system:
        await system.ref("parting", "x").ask(Wake(), deadline=trio.current_time() + 9)
        actor = system.activation(Address("parting", "x"))
        system.ref("parting", "x").tell(Hello("x"))
        await wait_all_tasks_blocked()
        context = actor.context
        passivate(system)
        with pytest.raises(RuntimeError, match="its activation has ended and lets nothing out"):
            context.tell(system.ref("parting", "listener"), Hello("late"))


@dataclass(frozen=True, slots=True)
class Sum(Command[int]):
    by: int


class Slow(Actor):
    @handles(Sum, batch=8)
    async def sum(self, commands: list[Sum]) -> int:
        await trio.sleep(2)
        return sum(command.by for command in commands)


async def test_a_reply_of_a_batch_that_comes_too_late_is_counted(autojump_clock):
    async with open_system([Kind("slow", lambda _: Slow())], committer=MemoryCommitter()) as system:
        answers: list[object] = []
        slow, now = system.ref("slow", 1), trio.current_time()
        for seconds in (1, 5, 1, 5):
            slow.request(Sum(1), lambda value, error: answers.append(value or error), deadline=now + seconds)
        slow.tell(Sum(1))
        await trio.sleep(3)
        assert [answer for answer in answers if isinstance(answer, int)] == [5, 5]
        assert system.statistics().late_replies == 2


async def test_a_receiver_of_a_reply_that_raises_keeps_it_from_no_other_of_its_batch(autojump_clock):
    events: list[str] = []
    async with open_system(
        [Kind("slow", lambda _: Slow())], committer=MemoryCommitter(), event=lambda name, **_: events.append(name)
    ) as system:
        answers: list[object] = []

        def bad(value: object, error: object) -> None:
            raise ValueError("bad receiver")

        deadline = trio.current_time() + 5
        system.ref("slow", 1).request(Sum(1), bad, deadline=deadline)
        system.ref("slow", 1).request(Sum(1), lambda value, _: answers.append(value), deadline=deadline)
        await trio.sleep(3)
        assert answers == [2]
        assert [name for name in events if name != "turn.slow"] == ["effect.failed"]
