"""How a turn ends that waited in between, or failed: what it asked of the runtime is kept, and nothing leaves early."""

import copy
import pickle
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
    AskTimeout,
    Command,
    Directive,
    Kind,
    RestartPolicy,
    StorageUnavailable,
    encodable,
    handles,
    open_system,
)
from greenroom.runtime.testing import CommitFault, MemoryCommitter, VirtualClock


@dataclass(frozen=True, slots=True)
class Do(Command[object]):
    what: Callable[["Doer"], object]


@dataclass(frozen=True, slots=True)
class Wait(Command[object]):
    what: Callable[["Doer"], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Ping(Command[str]):
    pass


@encodable("turn-ends.Later")
@dataclass(frozen=True, slots=True)
class Later(Command[None]):
    friend: Any


class Doer(Actor):
    def __init__(self, ended: list[str]) -> None:
        self.ended, self.seen = ended, list[str]()

    def stopping(self, reason: object) -> None:
        self.ended.append(str(reason))

    @handles(Do)
    def do(self, command: Do) -> object:
        return command.what(self)

    @handles(Wait)
    async def wait(self, command: Wait) -> object:
        return await command.what(self)

    @handles(Ping)
    def ping(self, _: Ping) -> str:
        return "pong"

    @handles(Later)
    def later(self, command: Later) -> None:
        self.ended.append(f"told of {command.friend}")
        command.friend.tell(Do(lambda friend: friend.ended.append("told by a friend")))


@dataclass
class House:
    system: ActorSystem
    committer: MemoryCommitter
    ended: list[str]

    def ask(self, what: Callable[[Doer], object], key: int = 1) -> Awaitable[object]:
        return self.system.ref("doer", key).ask(Do(what), deadline=soon())

    def wait(self, what: Callable[[Doer], Awaitable[object]]) -> Awaitable[object]:
        return self.system.ref("doer", 1).ask(Wait(what), deadline=soon())


@asynccontextmanager
async def opened(clock: MockClock, **restart: Any) -> AsyncIterator[House]:
    committer, ended = MemoryCommitter(), list[str]()
    kind = Kind("doer", lambda _: Doer(ended), ownership="create", keeps_alarms=True, restart=RestartPolicy(**restart))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(committer.run)
        async with open_system(
            [kind], committer=committer, alarms=committer.alarms, clock=VirtualClock(clock)
        ) as system:
            yield House(system, committer, ended)
        nursery.cancel_scope.cancel()


def soon() -> float:
    return trio.current_time() + 30


async def other(doer: Doer) -> object:
    return await doer.ctx.ref("doer", 2).ask(Ping(), deadline=soon())


async def flushed(doer: Doer) -> object:
    await doer.ctx.flushed()
    return "pong"


# -- marks -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("waits", [other, flushed])
async def test_an_actor_that_stops_and_then_waits_in_the_same_turn_stops_all_the_same(
    autojump_clock: MockClock, waits: Callable[[Doer], Awaitable[object]]
) -> None:
    async def stops(doer: Doer) -> object:
        doer.ctx.stop()
        doer.ctx.write("last")
        return await waits(doer)

    async with opened(autojump_clock) as house:
        assert await house.wait(stops) == "pong"
        await wait_all_tasks_blocked()
        assert house.ended == ["normal"]
        assert [write for _, write in house.committer.stored] == ["last"]


@pytest.mark.parametrize("waits", [other, flushed])
async def test_a_command_that_is_put_aside_may_not_be_answered_by_what_follows(
    autojump_clock: MockClock, waits: Callable[[Doer], Awaitable[object]]
) -> None:
    async def puts_aside(doer: Doer) -> object:
        doer.ctx.stash()
        return await waits(doer)

    async with opened(autojump_clock) as house:
        with pytest.raises(
            ActorFailed, match=r"doer/1.Wait has put its command aside, so it may not wait .* aside last"
        ):
            await house.wait(puts_aside)


# -- errors wait as answers do -----------------------------------------------------------------------------------------


def fails(doer: Doer) -> object:
    raise ValueError(f"taken by {doer.seen}")


def takes(doer: Doer) -> object:
    doer.ctx.write("taken")
    doer.seen.append("ann")
    return "yours"


@pytest.mark.parametrize("directive", [Directive.RESUME, Directive.RESTART, Directive.STOP])
async def test_an_error_tells_nothing_that_is_not_stored_yet(autojump_clock: MockClock, directive: Directive) -> None:
    async with opened(autojump_clock, on_error={ValueError: directive}) as house:
        answers: list[str] = []

        async def ask(who: str, what: Callable[[Doer], object]) -> None:
            try:
                answers.append(f"{who}: {await house.ask(what)}")
            except (ActorFailed, StorageUnavailable) as error:
                answers.append(f"{who}: {type(error).__name__} {error.__cause__}")

        house.committer.hold()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, "ann", takes)
            await wait_all_tasks_blocked()
            nursery.start_soon(ask, "bob", fails)
            await wait_all_tasks_blocked()
            assert answers == []
            house.committer.release()
        assert sorted(answers) == ["ann: yours", "bob: ActorFailed taken by ['ann']"]


@pytest.mark.parametrize(
    ("fault", "answer"),
    [
        (CommitFault.REFUSED, "ActorFailed None"),
        (CommitFault.UNAVAILABLE, "StorageUnavailable None"),
        (CommitFault.FENCED, "ActorFailed taken by []"),
    ],
)
async def test_an_error_that_told_what_never_was_is_not_told(
    autojump_clock: MockClock, fault: CommitFault, answer: str
) -> None:
    """Behind a fence it is decided again, on what is stored."""
    async with opened(autojump_clock) as house:
        house.committer.fail_unit(1, fault)
        house.committer.hold()
        async with trio.open_nursery() as nursery:

            async def take() -> None:
                with pytest.raises((ActorFailed, StorageUnavailable)):
                    await house.ask(lambda doer: fails(doer) if doer.ctx.is_redo else takes(doer))

            async def fail() -> None:
                with pytest.raises((ActorFailed, StorageUnavailable)) as caught:
                    await house.ask(fails)
                assert f"{type(caught.value).__name__} {caught.value.__cause__}" == answer

            nursery.start_soon(take)
            await wait_all_tasks_blocked()
            nursery.start_soon(fail)
            await wait_all_tasks_blocked()
            house.committer.release()


# -- refs in turns -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda ref: pickle.loads(pickle.dumps(ref))])
async def test_a_ref_that_is_copied_inside_an_actor_leads_to_the_actors_of_its_system(
    autojump_clock: MockClock, copied: Callable[[Any], Any]
) -> None:
    async def asks(doer: Doer) -> object:
        return await copied(doer.ctx.ref("doer", 2)).ask(Ping(), deadline=soon())

    async with opened(autojump_clock) as house:
        assert await house.wait(asks) == "pong"
        await house.ask(lambda doer: copied(doer.ctx.ref("doer", 2)).tell(Do(lambda _: house.ended.append("heard"))))
        await wait_all_tasks_blocked()
        assert house.ended == ["heard"]


async def test_the_command_of_an_alarm_may_hold_a_ref(autojump_clock: MockClock) -> None:
    async with opened(autojump_clock) as house:
        await house.ask(lambda doer: doer.ctx.set_alarm("a", Later(doer.ctx.ref("doer", 2)), after_seconds=5))
        await trio.sleep(6)
        assert house.ended == ["told of doer/2", "told by a friend"]


async def test_telling_the_next_activation_in_a_turn_waits_for_what_the_turn_wrote(autojump_clock: MockClock) -> None:
    def writes(doer: Doer) -> object:
        doer.ctx.write("first")
        doer.ctx.tell_next_activation(Do(lambda self: self.ended.append(f"{len(house.committer.stored)} stored")))
        return None

    async with opened(autojump_clock) as house:
        await house.ask(writes)
        await wait_all_tasks_blocked()
        assert house.ended == ["1 stored"]


# -- the end of the system -------------------------------------------------------------------------------------------


async def test_a_system_that_stops_takes_nothing_more_from_outside_and_all_that_its_actors_still_say(
    autojump_clock: MockClock,
) -> None:
    async def works_on(doer: Doer) -> object:
        await trio.sleep(5)
        doer.ctx.tell(doer.ctx.ref("doer", 2), Do(lambda friend: friend.ended.append("told in time")))
        return await other(doer)

    async with trio.open_nursery() as nursery:
        async with opened(autojump_clock) as house:
            ref, refused = house.system.ref("doer", 3), list[str]()

            async def comes_late() -> None:
                await trio.sleep(1)
                for send in (
                    lambda: ref.tell(Ping()),
                    lambda: ref.request(Ping(), lambda *_: None, deadline=soon()),
                ):
                    with pytest.raises(ActorGone, match=r"doer/3 .*the system stops"):
                        send()
                with pytest.raises(ActorGone, match="the system stops"):
                    await ref.offer(Ping())
                with pytest.raises(ActorGone, match="the system stops"):
                    await ref.ask(Ping(), deadline=soon())
                refused.append(f"at {trio.current_time():.0f}")

            nursery.start_soon(comes_late)
            ref.tell(Wait(works_on))
            await wait_all_tasks_blocked()
        assert refused == ["at 1"]
        assert house.ended[0] == "told in time"
        assert trio.current_time() == pytest.approx(5, abs=0.1)


# -- what is settled stays settled ------------------------------------------------------------------------------------


async def stubborn(doer: Doer) -> object:
    with trio.CancelScope(shield=True):
        await trio.sleep(1)
    doer.ctx.write("second")
    doer.ctx.tell(doer.ctx.ref("doer", 2), Do(lambda friend: friend.ended.append("told of the turn")))
    return "done"


async def test_the_answer_of_a_turn_that_wrote_is_counted_when_it_comes_late(autojump_clock: MockClock) -> None:
    async with opened(autojump_clock) as house:
        with pytest.raises(AskTimeout):
            await house.system.ref("doer", 1).ask(Wait(stubborn), deadline=trio.current_time() + 0.5)
        await trio.sleep(5)
        assert [write for _, write in house.committer.stored] == ["second"]
        assert house.system.statistics().late_replies == 1


@pytest.mark.parametrize("is_ask", [True, False])
@pytest.mark.parametrize(
    ("fault", "stored", "told", "buried"),
    [
        (None, ["first", "second"], "done", {}),
        (CommitFault.FENCED, ["first", "second"], "done", {}),
        (CommitFault.REFUSED, ["first"], "ActorFailed", {"gate_refused": 1}),
    ],
)
async def test_a_turn_that_ends_in_order_although_its_actor_is_killed_is_told_its_true_outcome(
    autojump_clock: MockClock,
    fault: CommitFault | None,
    stored: list[str],
    told: str,
    buried: dict[str, int],
    is_ask: bool,
) -> None:
    answers: list[object] = []
    async with opened(autojump_clock) as house:
        house.committer.commit_seconds = 3
        if fault is not None:
            house.committer.fail_unit(2, fault)
        ref = house.system.ref("doer", 1)
        ref.tell(Do(lambda doer: doer.ctx.write("first")))
        if is_ask:
            ref.request(
                Wait(stubborn), lambda value, error: answers.append(value or type(error).__name__), deadline=soon()
            )
        else:
            ref.tell(Wait(stubborn))
        await trio.sleep(0.5)
        assert house.system.kill(ref)
        await trio.sleep(20)
        assert [write for _, write in house.committer.stored] == stored
        assert answers == ([told] if is_ask else [])
        assert house.system.dead_letters.counts == ({} if is_ask else buried)
        assert house.ended.count("told of the turn") == stored.count("second"), "what it tells leaves with it"
        assert house.ended.count("killed") == 1


async def test_a_turn_that_is_not_over_when_its_killed_actor_ends_is_told_at_once(autojump_clock: MockClock) -> None:
    async with opened(autojump_clock) as house:
        ref = house.system.ref("doer", 1)
        ref.tell(Wait(stubborn))
        await trio.sleep(0.5)
        assert house.system.kill(ref)
        assert house.system.dead_letters.counts == {"killed": 1}
        await trio.sleep(20)
        assert house.committer.stored == []
        assert house.system.dead_letters.counts == {"killed": 1}


def set_and_put_aside(doer: Doer) -> None:
    doer.ctx.tell_self_after(1, Do(lambda doer: doer.ended.append("told later")))
    if doer.seen:
        doer.ctx.stash()


async def wait_set_and_put_aside(doer: Doer) -> None:
    await trio.sleep(1)
    set_and_put_aside(doer)


async def store_set_and_put_aside(doer: Doer) -> None:
    doer.ctx.write("a part")
    await doer.ctx.flushed()
    set_and_put_aside(doer)


def take_up_again(doer: Doer) -> None:
    doer.seen.clear()
    doer.ctx.unstash()


@pytest.mark.parametrize(
    "command", [Do(set_and_put_aside), Wait(wait_set_and_put_aside), Wait(store_set_and_put_aside)]
)
async def test_what_a_turn_that_is_put_aside_had_set_does_not_come_but_when_it_is_decided(
    autojump_clock: MockClock, command: Command[object]
) -> None:
    async with opened(autojump_clock) as house:
        ref = house.system.ref("doer", 1)
        ref.tell(Do(lambda doer: doer.seen.append("not yet")))
        ref.tell(command)
        await trio.sleep(5)
        assert house.ended == []
        ref.tell(Do(take_up_again))
        await trio.sleep(5)
        assert house.ended == ["told later"]


async def test_what_a_turn_gave_to_after_commit_tells_others_while_the_system_stops(autojump_clock: MockClock) -> None:
    async def late(doer: Doer) -> None:
        await trio.sleep(1)
        friend = doer.ctx.ref("doer", 2)
        doer.ctx.write("written")
        doer.ctx.after_commit(lambda: friend.tell(Do(lambda friend: friend.ended.append("told"))))

    async with opened(autojump_clock) as house:
        house.system.ref("doer", 1).tell(Wait(late))
        await wait_all_tasks_blocked()
        await house.system.stop()
        assert house.ended == ["told", "normal", "normal"]
