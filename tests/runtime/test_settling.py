"""What ends an activation waits for storage, and is done once, also when the gate breaks or its supervisor is first."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from greenroom.runtime import (
    Actor,
    ActorGone,
    ActorSystem,
    Child,
    Command,
    CommitOutcome,
    Directive,
    Escalated,
    Kind,
    RestartPolicy,
    Service,
    StopReason,
    Strategy,
    Supervisor,
    handles,
    open_system,
    reads,
)
from greenroom.runtime.testing import MemoryCommitter


class Fatal(Exception):
    """What a test has a rule for."""


@dataclass(frozen=True, slots=True)
class Write(Command[None]):
    is_unconfirmed: bool = False


@dataclass(frozen=True, slots=True)
class Fail(Command[None]):
    error: type[Exception] = Fatal


@dataclass(frozen=True, slots=True)
class FailLater(Command[None]):
    error: type[Exception]
    at: trio.Event


@dataclass(frozen=True, slots=True)
class Leave(Command[None]):
    pass


@dataclass(frozen=True, slots=True)
class Peek(Command[None]):
    """Wait, and have something logged with the outputs; without *at* stop."""

    at: trio.Event | None = None


class Clerk(Actor):
    def __init__(self, name: str, log: list[str]) -> None:
        self.name, self.log = name, log

    async def start(self) -> None:
        await trio.lowlevel.checkpoint()
        self.log.append(f"+{self.name}")

    def stopping(self, reason: StopReason) -> None:
        self.log.append(f"-{self.name} {reason}")

    @handles(Write)
    def write(self, command: Write) -> None:
        self.ctx.write("written", unconfirmed=command.is_unconfirmed)

    @handles(Fail)
    def fail(self, command: Fail) -> None:
        raise command.error("planned")

    @reads
    @handles(FailLater)
    async def fail_later(self, command: FailLater) -> None:
        await command.at.wait()
        raise command.error("planned")

    @reads
    @handles(Peek)
    async def peek(self, command: Peek) -> None:
        if command.at is None:
            self.ctx.stop()
        else:
            await command.at.wait()
            self.ctx.after_commit(lambda: self.log.append(f"{self.name} peeked"))

    @handles(Leave)
    def leave(self, _: Leave) -> None:
        self.ctx.stop()


@dataclass
class House:
    system: ActorSystem
    committer: MemoryCommitter
    events: list[tuple[str, dict[str, Any]]]
    log: list[str]

    def named(self, event: str) -> list[dict[str, Any]]:
        return [facts for name, facts in self.events if name == event]

    async def break_gate(self, outcome: CommitOutcome, *commands: Command[None]) -> None:
        """Have clerk/1 told *commands* while what it writes is on its way, which then ends with *outcome*."""
        clerk = self.system.ref("clerk", 1)
        clerk.tell(Write())
        await wait_all_tasks_blocked()
        self.committer.hold()
        clerk.tell(Write())
        for command in commands:
            clerk.tell(command)
        await wait_all_tasks_blocked()
        self.committer.fault = lambda _: outcome
        self.committer.release()
        await wait_all_tasks_blocked()
        self.committer.forget_faults()


@asynccontextmanager
async def opened(*children: Child, directive: Directive = Directive.RESTART, **policy: Any) -> AsyncIterator[House]:
    committer, log = MemoryCommitter(), list[str]()
    events: list[tuple[str, dict[str, Any]]] = []
    restart = RestartPolicy(on_error={Fatal: directive}, **policy)

    def kind(name: str) -> Kind:
        return Kind(name, lambda _: Clerk(name, log), ownership="create", restart=restart)

    tree = Supervisor("root", children or [kind("clerk")], intensity=1)
    if not children:
        tree = Supervisor("root", [kind("clerk"), Service(kind("a")), Service(kind("b"))], Strategy.ONE_FOR_ALL, 1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(committer.run)
        async with open_system(
            tree, committer=committer, event=lambda name, **facts: events.append((name, facts))
        ) as system:
            yield House(system, committer, events, log)
        nursery.cancel_scope.cancel()


BROKEN = [CommitOutcome.REFUSED, CommitOutcome.DUPLICATE, CommitOutcome.UNAVAILABLE, CommitOutcome.UNKNOWN]


@pytest.mark.parametrize("outcome", BROKEN, ids=str)
async def test_a_crash_is_told_and_counted_once_when_the_gate_breaks_first(
    autojump_clock: MockClock, outcome: CommitOutcome
) -> None:
    async with opened() as house:
        await house.break_gate(outcome, Fail())
        await trio.sleep(20)
        assert [repr(facts["error"]) for facts in house.named("actor.crashed")] == ["Fatal('planned')"]
        assert house.system.statistics().crashes == 1
        assert "-clerk crashed" in house.log


async def test_a_directive_is_carried_out_when_the_gate_breaks_first(autojump_clock: MockClock) -> None:
    async with opened(directive=Directive.STOP) as house:
        await house.break_gate(CommitOutcome.REFUSED, Fail())
        assert [repr(facts["error"]) for facts in house.named("actor.stopped")] == ["Fatal('planned')"]
    with pytest.RaisesGroup(pytest.RaisesExc(Escalated, match="Fatal is escalated by its kind")):
        async with opened(directive=Directive.ESCALATE) as house:
            await house.break_gate(CommitOutcome.REFUSED, Fail())
            await trio.sleep_forever()


@pytest.mark.parametrize("outcome", [CommitOutcome.FENCED, CommitOutcome.DUPLICATE], ids=str)
async def test_an_ask_that_crashed_its_actor_is_not_decided_again(
    autojump_clock: MockClock, outcome: CommitOutcome
) -> None:
    async with opened() as house, trio.open_nursery() as nursery:
        clerk = house.system.ref("clerk", 1)
        clerk.tell(Write())
        await wait_all_tasks_blocked()
        house.committer.hold()
        clerk.tell(Write())

        async def ask() -> None:
            with pytest.raises(ActorGone, match=r"crashed .*failed \(Fatal\) on what was not stored"):
                await clerk.ask(Fail(), deadline=trio.current_time() + 30)

        nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        house.committer.fault = lambda _: outcome
        house.committer.release()
        await wait_all_tasks_blocked()
        house.committer.forget_faults()
        await trio.sleep(20)
        assert house.system.statistics().crashes == 1
        assert house.system.dead_letters.counts == {}


@pytest.mark.parametrize("directive", [Directive.RESTART, Directive.STOP, Directive.ESCALATE])
@pytest.mark.parametrize("outcome", BROKEN, ids=str)
async def test_what_an_error_says_of_memory_that_was_never_stored_is_told_to_nobody(
    autojump_clock: MockClock, directive: Directive, outcome: CommitOutcome
) -> None:
    answers: list[str] = []
    with suppress(BaseExceptionGroup):  # an escalation ends the system
        async with opened(directive=directive, intensity=0) as house:

            def ask(command: Command[None]) -> None:
                def answered(_: object, error: BaseException | None) -> None:
                    answers.append(str(error))

                house.system.ref("clerk", 1).request(command, answered, deadline=trio.current_time() + 30)

            ask(Write())
            await wait_all_tasks_blocked()
            house.committer.hold()
            ask(Write())
            ask(Fail())
            ask(Write())  # waits in the mailbox
            await wait_all_tasks_blocked()
            house.committer.fault = lambda _: outcome
            house.committer.release()
            await wait_all_tasks_blocked()
            await trio.sleep(40)
    assert len(answers) == 4
    assert any("failed (Fatal) on what was not stored" in answer for answer in answers)
    assert not any("planned" in answer for answer in answers)


async def test_the_heavier_of_two_ends_is_done(autojump_clock: MockClock) -> None:
    """Two turns fail while what came before is on its way: the first would only restart the actor."""
    async with opened(directive=Directive.STOP) as house:
        clerk, first, second = house.system.ref("clerk", 1), trio.Event(), trio.Event()
        clerk.tell(Write())
        await wait_all_tasks_blocked()
        house.committer.hold()
        clerk.tell(Write())
        clerk.tell(FailLater(ValueError, first))
        clerk.tell(FailLater(Fatal, second))
        for one in (first, second):
            await wait_all_tasks_blocked()
            one.set()
        await wait_all_tasks_blocked()
        house.committer.release()
        await wait_all_tasks_blocked()
        assert len(house.named("actor.stopped")) == 1
        assert house.system.statistics().crashes == 0
        assert [repr(facts["error"]) for facts in house.named("turn.failed")] == ["ValueError('planned')"]


async def test_an_actor_that_stops_itself_does_not_if_its_last_turn_is_not_stored(autojump_clock: MockClock) -> None:
    async with opened() as house:
        await house.break_gate(CommitOutcome.REFUSED, Leave())
        assert "-clerk reloaded" in house.log
        assert "-clerk normal" not in house.log


async def test_it_does_when_that_turn_was_let_out_already(autojump_clock: MockClock) -> None:
    async with opened() as house:
        clerk = house.system.ref("clerk", 1)
        await clerk.ask(Write(), deadline=trio.current_time() + 5)
        house.committer.hold()
        clerk.tell(Write(is_unconfirmed=True))
        await clerk.ask(Leave(), deadline=trio.current_time() + 5)
        house.committer.fault = lambda _: CommitOutcome.REFUSED
        house.committer.release()
        await wait_all_tasks_blocked()
        assert "-clerk normal" in house.log


@pytest.mark.parametrize("directive", [Directive.RESTART, Directive.STOP, Directive.ESCALATE])
async def test_what_its_supervisor_restarts_already_is_not_counted_again(
    autojump_clock: MockClock, directive: Directive
) -> None:
    async with opened(directive=directive, mode="permanent") as house:
        a, b = house.system.service("a"), house.system.service("b")
        house.committer.hold()
        a.tell(Write())
        a.tell(Fail())
        await wait_all_tasks_blocked()
        b.tell(Fail(ValueError))
        await wait_all_tasks_blocked()
        house.log.clear()
        house.committer.release()
        await trio.sleep(10)
        assert house.log == ["-a crashed", "+a", "+b"]
        assert len(house.named("supervisor.restarted")) == 1
        errors = [
            repr(facts.get("error")) for name, facts in house.events if name in ("actor.crashed", "actor.stopped")
        ]
        assert sorted(errors) == ["Fatal('planned')", "ValueError('planned')"]


async def test_stopping_comes_after_what_turns_let_out_that_ended_while_it_waited(autojump_clock: MockClock) -> None:
    async with opened() as house:
        clerk, at = house.system.ref("clerk", 1), trio.Event()
        clerk.tell(Write())
        await wait_all_tasks_blocked()
        house.committer.hold()
        for command in (Write(), Peek(at), Peek()):
            clerk.tell(command)
        await wait_all_tasks_blocked()
        at.set()
        await wait_all_tasks_blocked()
        assert [line for line in house.log if "clerk" in line] == ["+clerk"]
        house.committer.release()
        await wait_all_tasks_blocked()
        assert [line for line in house.log if "clerk" in line] == ["+clerk", "clerk peeked", "-clerk normal"]
