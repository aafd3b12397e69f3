"""The end of a system while storage is away: what owns nothing finishes, and nobody waits for an owner."""

from dataclasses import dataclass, field

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from greenroom.runtime import (
    Actor,
    ActorGone,
    Command,
    CommitOutcome,
    CommitUnknown,
    Kind,
    StopReason,
    handles,
    open_system,
)
from greenroom.runtime.storage_watch import BLIP_SECONDS_MAX
from greenroom.runtime.testing import CommitFault, MemoryCommitter


@dataclass(frozen=True, slots=True)
class Work(Command[str]):
    seconds: float = 1.0


@dataclass
class House:
    ended: dict[str, tuple[StopReason, float]] = field(default_factory=dict)
    answers: list[object] = field(default_factory=list)

    def kind(self, name: str, *, is_owner: bool = False) -> Kind:
        return Kind(name, lambda _: Worker(name, self), "create" if is_owner else "none")


class Worker(Actor):
    def __init__(self, name: str, house: House) -> None:
        self.name, self.house = name, house

    async def start(self) -> None:
        await trio.lowlevel.checkpoint()

    def stopping(self, reason: StopReason) -> None:
        self.house.ended[self.name] = reason, trio.current_time()

    @handles(Work)
    async def work(self, command: Work) -> str:
        await trio.sleep(command.seconds)
        if self.ctx.owns:
            self.ctx.write("worked")
        return "done"


@pytest.mark.parametrize("with_owner", [False, True])
async def test_an_actor_that_owns_nothing_finishes(autojump_clock: MockClock, with_owner: bool) -> None:
    house, committer, events = House(), MemoryCommitter(), list[str]()
    kinds = [house.kind("plain"), house.kind("late"), house.kind("owner", is_owner=True)]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(committer.run)
        async with open_system(
            kinds, committer=committer, event=lambda name, **_: events.append(name), stop_seconds_max=10
        ) as system:

            async def ask(name: str, seconds: float) -> None:
                try:
                    house.answers.append(
                        await system.ref(name, 1).ask(Work(seconds), deadline=trio.current_time() + 60)
                    )
                except ActorGone:
                    house.answers.append(f"{name} is gone")

            if with_owner:
                nursery.start_soon(ask, "owner", 30)
            nursery.start_soon(ask, "plain", 1)
            await wait_all_tasks_blocked()
            committer.is_away = True
            system.storage.lost(CommitOutcome.UNAVAILABLE.value)
            nursery.start_soon(ask, "late", 1)  # waits for storage before it starts
            await wait_all_tasks_blocked()
        assert 1 <= trio.current_time() < 1.2, "it waits for plain alone"
        await wait_all_tasks_blocked()
        assert house.answers[0] == "done"
        assert sorted(map(str, house.answers[1:])) == ["late is gone", "owner is gone"][: 1 + with_owner]
        assert house.ended["plain"][0] is StopReason.NORMAL
        assert house.ended.get("owner", (StopReason.DEADLINE,))[0] is StopReason.DEADLINE
        assert events.count("system.stopped_busy") == 1
        nursery.cancel_scope.cancel()


async def test_one_commit_whose_outcome_nobody_knows_does_not_end_the_owners_beside_it(
    autojump_clock: MockClock,
) -> None:
    house, committer = House(), MemoryCommitter()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(committer.run)
        async with open_system([house.kind("owner", is_owner=True)], committer=committer) as system:
            bystander, other = system.ref("owner", 1), system.ref("owner", 2)
            await bystander.ask(Work(0), deadline=trio.current_time() + 9)
            bystander.request(
                Work(2), lambda value, error: house.answers.append(error or value), deadline=trio.current_time() + 9
            )
            await wait_all_tasks_blocked()
            committer.fail_unit(1, CommitFault.UNKNOWN_STORED)
            with pytest.raises(CommitUnknown):
                await other.ask(Work(0), deadline=trio.current_time() + 9)
            assert system.storage.is_away
        assert house.answers == ["done"]
        assert house.ended["owner"][0] is StopReason.NORMAL
        nursery.cancel_scope.cancel()


async def test_owners_are_given_up_when_a_probe_hangs(autojump_clock: MockClock) -> None:
    house, committer = House(), MemoryCommitter()
    committer.probe = trio.sleep_forever  # type: ignore[method-assign]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(committer.run)
        async with open_system([house.kind("owner", is_owner=True)], committer=committer) as system:
            system.ref("owner", 1).tell(Work(1000))
            await wait_all_tasks_blocked()
            system.storage.lost(CommitOutcome.UNKNOWN.value)
        assert BLIP_SECONDS_MAX <= trio.current_time() < BLIP_SECONDS_MAX + 0.2
        nursery.cancel_scope.cancel()


async def test_what_a_cut_turn_had_flushed_is_no_lost_command_of_its_own(autojump_clock: MockClock) -> None:
    """One command was under way, so one dead letter; what it flushed is a part of it."""

    class Flushing(Actor):
        @handles(Work)
        async def work(self, _: Work) -> str:
            self.ctx.write("worked")
            await self.ctx.flushed()
            return "done"

    committer = MemoryCommitter()  # nobody runs it: nothing is ever stored
    kinds = [Kind("flushing", lambda _: Flushing(), "create")]
    async with open_system(kinds, committer=committer, stop_seconds_max=2) as system:
        system.ref("flushing", 1).tell(Work())
        await wait_all_tasks_blocked()
    assert [(letter.command, letter.reason) for letter in system.dead_letters.newest] == [("Work", "actor_gone")]
