"""Storage is away, and an actor finds out: in its start, in a turn, in a nursery of its own. It is no crash of its."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest
import trio
from trio.testing import MockClock

from greenroom.runtime import (
    Actor,
    ActorGone,
    Command,
    CommitUnknown,
    Kind,
    RestartPolicy,
    StopReason,
    StorageUnavailable,
    encodable,
    handles,
    open_system,
)
from greenroom.runtime.address import Address
from greenroom.runtime.testing import CommitFault, MemoryCommitter, VirtualClock


@dataclass(frozen=True, slots=True)
class Look(Command[None]):
    pass


@dataclass(frozen=True, slots=True)
class LookLater(Command[None]):
    pass


@dataclass(frozen=True, slots=True)
class Count(Command[int]):
    pass


Query = Callable[[], Awaitable[None]]


class Reader(Actor):
    """Reads somewhere that may be away. Memory: how often it was told to look since its start."""

    def __init__(self, query: Query, in_start: Query | None) -> None:
        self.query, self.in_start, self.looked = query, in_start, 0

    async def start(self) -> None:
        await (self.in_start or trio.lowlevel.checkpoint)()

    @handles(Look)
    def look(self, _: Look) -> None:
        self.looked += 1
        raise StorageUnavailable("planned")

    @handles(LookLater)
    async def look_later(self, _: LookLater) -> None:
        self.looked += 1
        await self.query()

    @handles(Count)
    def count(self, _: Count) -> int:
        return self.looked


class Away:
    """Raises so often that storage is away, then no more."""

    def __init__(self, times: int, wrap: bool) -> None:
        self.times, self.wrap = times, wrap

    async def __call__(self) -> None:
        await trio.lowlevel.checkpoint()
        if self.times == 0:
            return
        self.times -= 1
        if not self.wrap:
            raise StorageUnavailable("planned")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            nursery.start_soon(self._fail)

    async def _fail(self) -> None:
        raise StorageUnavailable("planned, inside")


def never_again() -> RestartPolicy:
    return RestartPolicy(intensity=0, period_seconds=3600)


@pytest.mark.parametrize("wrap", [False, True])
async def test_a_start_that_finds_storage_away_waits_for_it(autojump_clock: MockClock, wrap: bool) -> None:
    away = Away(4, wrap)
    made: list[Reader] = []

    def make(_: int | str) -> Reader:
        made.append(Reader(away, away))
        return made[-1]

    async with open_system([Kind("reader", make, restart=never_again())], committer=MemoryCommitter()) as system:
        assert await system.ref("reader", 1).ask(Count(), deadline=trio.current_time() + 30) == 0
        assert away.times == 0
        assert len(made) == 5, "what the others had loaded before may be stale"
        assert system.statistics().crashes == 0


@pytest.mark.parametrize("command", [Look(), LookLater()])
@pytest.mark.parametrize("wrap", [False, True])
async def test_a_turn_that_finds_storage_away_spends_no_intensity_and_its_memory_is_dropped(
    autojump_clock: MockClock, command: Command[None], wrap: bool
) -> None:
    kind = Kind("reader", lambda _: Reader(Away(99, wrap), None), restart=never_again())
    events: list[str] = []
    async with open_system([kind], committer=MemoryCommitter(), event=lambda name, **_: events.append(name)) as system:
        reader = system.ref("reader", 1)
        for _ in range(3):
            reader.tell(command)
            assert await reader.ask(Count(), deadline=trio.current_time() + 30) == 0
        assert system.statistics().crashes == 0
        assert events.count("storage.lost") == events.count("storage.found") == 3
        with pytest.raises(StorageUnavailable):
            await reader.ask(command, deadline=trio.current_time() + 30)


async def test_an_outage_beside_another_fault_is_a_fault(autojump_clock: MockClock) -> None:
    async def both() -> None:
        await trio.lowlevel.checkpoint()
        raise ExceptionGroup("two", [StorageUnavailable("planned"), KeyError("mine")])

    async with open_system([Kind("reader", lambda _: Reader(both, None))], committer=MemoryCommitter()) as system:
        reader = system.ref("reader", 1)
        reader.tell(LookLater())
        assert await reader.ask(Count(), deadline=trio.current_time() + 30) == 0
        assert system.statistics().crashes == 1


class SlowOwnership:
    """Does not answer the first claims."""

    def __init__(self, hangs: int) -> None:
        self.hangs = hangs

    async def claim(self, address: Address, *, create: bool) -> int | None:
        self.hangs -= 1
        if self.hangs >= 0:
            await trio.sleep_forever()
        await trio.lowlevel.checkpoint()
        return 1


async def test_a_claim_that_hangs_is_no_slow_start(autojump_clock: MockClock) -> None:
    committer, events = MemoryCommitter(), list[str]()
    committer.ownership = SlowOwnership(3)  # type: ignore[assignment]
    nobody = trio.lowlevel.checkpoint
    kind = Kind(
        "reader", lambda _: Reader(nobody, None), "create", start_seconds_max=2, restart=RestartPolicy(intensity=0)
    )
    async with open_system([kind], committer=committer, event=lambda name, **_: events.append(name)) as system:
        assert await system.ref("reader", 1).ask(Count(), deadline=trio.current_time() + 30) == 0
        assert trio.current_time() >= 6
        assert system.statistics().crashes == 0
        assert events.count("storage.slow") == 3


class SlowToStart(Reader):
    """Its start takes too long as often as its class says."""

    hangs = 0
    starts: list["SlowToStart"]
    ended: list[StopReason]

    async def start(self) -> None:
        self.starts.append(self)
        type(self).hangs -= 1
        if self.hangs >= 0:
            await trio.sleep_forever()

    def stopping(self, reason: StopReason) -> None:
        self.ended.append(reason)


async def test_a_start_that_takes_too_long_while_storage_is_away_is_begun_again_by_another_instance(
    autojump_clock: MockClock,
) -> None:
    class Slow(SlowToStart):
        hangs, starts, ended = 1, [], []

    committer = MemoryCommitter()
    kind = Kind("reader", lambda _: Slow(trio.lowlevel.checkpoint, None), start_seconds_max=2, restart=never_again())
    async with open_system([kind], committer=committer) as system:
        system.ref("reader", 1).tell(Count())
        await trio.sleep(1)
        committer.is_away = True
        system.storage.lost("planned")
        await trio.sleep(5)
        committer.is_away = False
        assert await system.ref("reader", 1).ask(Count(), deadline=trio.current_time() + 30) == 0
        assert len(Slow.starts) == len(set(Slow.starts)) == 2
        assert system.statistics().crashes == 0


async def test_a_start_that_is_too_slow_by_its_own_measure_has_failed(autojump_clock: MockClock) -> None:
    ended: list[StopReason] = []

    class Hasty(Reader):
        async def start(self) -> None:
            with trio.fail_after(0.1):
                await trio.sleep(1)

        def stopping(self, reason: StopReason) -> None:
            ended.append(reason)

    kind = Kind("reader", lambda _: Hasty(trio.lowlevel.checkpoint, None), restart=never_again())
    async with open_system([kind], committer=MemoryCommitter()) as system:
        with pytest.raises(ActorGone, match="TooSlowError"):
            await system.ref("reader", 1).ask(Count(), deadline=trio.current_time() + 5)
    assert ended == [StopReason.START_FAILED]


@dataclass(frozen=True, slots=True)
class Store(Command[None]):
    pass


class Writer(Actor):
    @handles(Store)
    def store(self, _: Store) -> None:
        self.ctx.write("stored")


@pytest.mark.parametrize("fault", [CommitFault.UNKNOWN_LOST, CommitFault.UNKNOWN_STORED, CommitFault.UNAVAILABLE])
@pytest.mark.parametrize("where", ["turn", "nursery", "start"])
async def test_who_asked_an_actor_whose_commit_was_lost_is_not_at_fault(
    autojump_clock: MockClock, fault: CommitFault, where: str
) -> None:
    committer = MemoryCommitter()
    is_lost = False

    async def ask() -> None:
        nonlocal is_lost
        writer = system.ref("writer", 1)
        if not is_lost:
            is_lost = True
            committer.fail_unit(1, fault)
        await writer.ask(Store(), deadline=trio.current_time() + 9)

    async def ask_in_a_nursery() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)

    query = ask_in_a_nursery if where == "nursery" else ask
    in_start = ask if where == "start" else None
    policy = never_again()
    kinds = [
        Kind("writer", lambda _: Writer(), "create"),
        Kind("reader", lambda _: Reader(query, in_start), restart=policy),
    ]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(committer.run)
        async with open_system(kinds, committer=committer) as system:
            for number in range(6):
                system.ref("reader", number).tell(LookLater())
            for number in range(6):
                await system.ref("reader", number).ask(Count(), deadline=trio.current_time() + 30)
            assert is_lost
            assert system.statistics().crashes == 0
        nursery.cancel_scope.cancel()


async def test_an_alarm_whose_handler_asked_an_actor_whose_commit_was_lost_keeps_its_tries(
    autojump_clock: MockClock,
) -> None:
    @encodable("outages.remind")
    @dataclass(frozen=True, slots=True)
    class Remind(Command[None]):
        pass

    tries: list[int] = []

    class Reminder(Actor):
        @handles(Look)
        def look(self, _: Look) -> None:
            self.ctx.set_alarm("remind", Remind(), after_seconds=1)

        @handles(Remind)
        async def remind(self, _: Remind) -> None:
            tick = self.ctx.tick
            assert tick is not None
            tries.append(tick.tries)
            if len(tries) <= 8:
                committer.fail_unit(1, CommitFault.UNKNOWN_LOST)
            await self.ctx.ref("writer", 1).ask(Store(), deadline=trio.current_time() + 9)

    committer = MemoryCommitter()
    kinds = [Kind("writer", lambda _: Writer(), "create"), Kind("r", lambda _: Reminder(), "create", keeps_alarms=True)]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(committer.run)
        async with open_system(
            kinds, committer=committer, alarms=committer.alarms, clock=VirtualClock(autojump_clock)
        ) as system:
            system.ref("r", 1).tell(Look())
            await trio.sleep(3600)
            assert tries == [0] * 9
            assert system.statistics().dead_letters == 0
        nursery.cancel_scope.cancel()


async def test_who_was_told_of_a_part_that_is_stored_by_an_actor_that_was_ended_is_not_excused(
    autojump_clock: MockClock,
) -> None:
    """Storage has nothing to do with it."""

    async def told() -> None:
        await trio.lowlevel.checkpoint()
        raise CommitUnknown("its actor was killed in the middle")

    async with open_system([Kind("reader", lambda _: Reader(told, None))], committer=MemoryCommitter()) as system:
        system.ref("reader", 1).tell(LookLater())
        await system.ref("reader", 1).ask(Count(), deadline=trio.current_time() + 30)
        assert system.statistics().crashes == 1
