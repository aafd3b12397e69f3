"""greenroom's side of the runtime's scenarios: one scenario in one process, its numbers as JSON on the last line.

    python bench/runtime/greenroom_actors.py ask --quick

What each number means stands in actor_scenarios.py. Nothing is tuned for the bench: public API, default limits, a trio
as it comes.
"""

import gc
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import trio
from group_commit import commit

from greenroom.runtime import (
    Actor,
    ActorSystem,
    Command,
    Kind,
    MailboxFull,
    Meter,
    Ref,
    handles,
    open_system,
)
from greenroom.runtime.testing import MemoryCommitter

Numbers = dict[str, float]

BURST = 64
BUSY_SECONDS = 20e-6
SATURATED_ACTORS = 50


@dataclass(frozen=True, slots=True)
class Add(Command[int]):
    """The shared or fresh command of most scenarios."""

    by: int


@dataclass(frozen=True, slots=True)
class Look(Command[int]):
    pass


@dataclass(frozen=True, slots=True)
class AskOften(Command[float]):
    """Ask `other` so often in one turn; the reply is asks a second."""

    other: Ref
    count: int


@dataclass(frozen=True, slots=True)
class Crash(Command[None]):
    pass


@dataclass(frozen=True, slots=True)
class Wait(Command[None]):
    """A turn that would never end."""


class Counter(Actor):
    """Plain `def` handlers alone: it needs no task."""

    def __init__(self, key: int | str) -> None:
        self.total = 0

    @handles(Add)
    def add(self, command: Add) -> int:
        self.total += command.by
        return self.total

    @handles(Look)
    def look(self, _: Look) -> int:
        return self.total

    @handles(AskOften)
    async def ask_often(self, command: AskOften) -> float:
        began = time.perf_counter()
        for _ in range(command.count):
            await command.other.ask(Look(), deadline=trio.current_time() + 5)
        return command.count / (time.perf_counter() - began)

    @handles(Crash)
    def crash(self, _: Crash) -> None:
        raise RuntimeError("on purpose")

    @handles(Wait)
    async def wait(self, _: Wait) -> None:
        await trio.sleep_forever()


@asynccontextmanager
async def system_of(*kinds: Kind, **options: object) -> AsyncIterator[ActorSystem]:
    """A system without storage."""
    options.setdefault("event", lambda name, **facts: None)  # a log of 50,000 crashes would be what is measured
    async with open_system(kinds, committer=MemoryCommitter(), **options) as system:  # type: ignore[arg-type]
        yield system


def soon() -> float:
    return trio.current_time() + 30


# -- telling ---------------------------------------------------------------------------------------------------------


async def tell(scale: float) -> Numbers:
    async with system_of(Kind("counter", Counter)) as system:
        ref, command = system.ref("counter", 1), Add(1)
        return await _tell_in_bursts(system, ref, lambda: command, int(4_000_000 * scale))


ALL_BOUNDS = Meter(size_of=lambda _: 64, bytes_max=1 << 20, head_seconds_max=10.0)


async def tell_bounded(scale: float) -> Numbers:
    async with system_of(Kind("counter", Counter, meter=ALL_BOUNDS)) as system:
        return await _tell_in_bursts(system, system.ref("counter", 1), lambda: Add(1), int(2_000_000 * scale))


async def tell_traced(scale: float) -> Numbers:
    async with system_of(Kind("counter", Counter, meter=ALL_BOUNDS)) as system:
        ref = system.ref("counter", 1)
        trace = system.trace(ref, seconds=600.0)
        numbers = await _tell_in_bursts(system, ref, lambda: Add(1), int(2_000_000 * scale))
        assert trace.count > int(2_000_000 * scale) // BURST * BURST, "a message that has no times"
        newest = trace.newest
        assert len(newest) == 256
        assert all(entry.wait_seconds > 0 and entry.turn_seconds > 0 for entry in newest), "times that are none"
        trace.end()
        return numbers


async def _tell_in_bursts(system: ActorSystem, ref: Ref, command: Callable[[], Add], count: int) -> Numbers:
    bursts, mailbox = max(1, count // BURST), system.activation(ref.address).mailbox
    began = time.perf_counter()
    for _ in range(bursts):
        for _ in range(BURST):
            ref.tell(command())
        while len(mailbox):
            await trio.lowlevel.checkpoint()
    total = await ref.ask(Look(), deadline=soon())
    seconds = time.perf_counter() - began
    assert total == bursts * BURST, "lost"
    return {"per_second": total / seconds}


# -- asking ----------------------------------------------------------------------------------------------------------


async def ask(scale: float) -> Numbers:
    async with system_of(Kind("counter", Counter)) as system:
        return {"per_second": await _ask_from(system.ref("counter", 1), 1, int(300_000 * scale))}


async def ask_100(scale: float) -> Numbers:
    async with system_of(Kind("counter", Counter)) as system:
        return {"per_second": await _ask_from(system.ref("counter", 1), 100, int(600_000 * scale))}


async def ask_in_turn(scale: float) -> Numbers:
    async with system_of(Kind("counter", Counter)) as system:
        often = AskOften(system.ref("counter", 2), int(200_000 * scale))
        return {"per_second": await system.ref("counter", 1).ask(often, deadline=trio.current_time() + 600)}


async def _ask_from(ref: Ref, callers: int, count: int) -> float:
    each = count // callers

    async def caller() -> None:
        for _ in range(each):
            await ref.ask(Look(), deadline=trio.current_time() + 5)

    began = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(callers):
            nursery.start_soon(caller)
    return callers * each / (time.perf_counter() - began)


# -- lives -----------------------------------------------------------------------------------------------------------


async def spawn(scale: float) -> Numbers:
    count = int(100_000 * scale)
    async with system_of(Kind("counter", Counter)) as system:
        began = time.perf_counter()
        await _wake(system, count)
        seconds = time.perf_counter() - began
        assert system.statistics().kinds["counter"].turns == count
    return {"per_second": count / seconds}


async def _wake(system: ActorSystem, count: int) -> None:
    """First commands to so many addresses, and all of them handled."""
    command = Add(1)
    for key in range(1000, 1000 + count):
        system.ref("counter", key).tell(command)
        if key % BURST == 0:
            await trio.lowlevel.checkpoint()
    while system.dispatcher.ready:
        await trio.lowlevel.checkpoint()


async def memory_warm(scale: float) -> Numbers:
    return await _memory(int(100_000 * scale), passivates=False)


async def memory_cold(scale: float) -> Numbers:
    return await _memory(int(100_000 * scale), passivates=True)


async def _memory(count: int, *, passivates: bool) -> Numbers:
    kind = Kind("counter", Counter, cold_seconds_max=3600.0)
    async with system_of(kind, passivates_at_once=passivates) as system:
        await _wake(system, 1000)
        gc.collect()
        before = _memory_kb()
        for key in range(10_000, 10_000 + count):
            system.ref("counter", key).tell(Add(1))
            if key % BURST == 0:
                await trio.lowlevel.checkpoint()
        while system.dispatcher.ready:
            await trio.lowlevel.checkpoint()
        gc.collect()
        used = _memory_kb() - before
        counted = system.statistics().kinds["counter"]
        assert (counted.cold if passivates else counted.loaded) == count + 1000
    return {"kb_each": used / count}


async def drain(scale: float) -> Numbers:
    """Every second actor has a command queued, every other a turn that waits and has to be cancelled."""
    count = int(100_000 * scale)
    with trio.CancelScope() as scope:
        async with system_of(Kind("counter", Counter), stop_seconds_max=1.0) as system:
            for key in range(count):
                system.ref("counter", key).tell(Wait() if key % 2 else Add(1))
                if key % BURST == 0:
                    await trio.lowlevel.checkpoint()
            while system.dispatcher.ready:
                await trio.lowlevel.checkpoint()
            for key in range(0, count, 2):
                system.ref("counter", key).tell(Add(1))
            began = time.perf_counter()
            scope.cancel(reason="the bench ends it")
    seconds = time.perf_counter() - began
    assert system.statistics().kinds["counter"].turns == count + count // 2
    return {"seconds": seconds, "per_second": count / seconds}


async def crash(scale: float) -> Numbers:
    """Each actor crashes, waits as its policy says, and handles one command of its next life."""
    count = int(50_000 * scale)
    async with system_of(Kind("counter", Counter)) as system:
        await _wake(system, count)
        replies: list[object] = []
        done = trio.Event()

        def reply_to(value: object, error: BaseException | None) -> None:
            replies.append(error or value)
            if len(replies) == count:
                done.set()

        began = time.perf_counter()
        for key in range(1000, 1000 + count):
            ref = system.ref("counter", key)
            ref.tell(Crash())
            ref.request(Add(1), reply_to, deadline=soon())
            if key % BURST == 0:
                await trio.lowlevel.checkpoint()
        await done.wait()
        seconds = time.perf_counter() - began
        assert replies == [1] * count, "a life that did not begin anew"
        assert system.statistics().kinds["counter"].restarts == count
    return {"per_second": count / seconds}


# -- fairness --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Burn(Command[None]):
    pass


class Burner(Actor):
    """Busy for BUSY_SECONDS with each command."""

    @handles(Burn)
    def burn(self, _: Burn) -> None:
        until = time.perf_counter() + BUSY_SECONDS
        while time.perf_counter() < until:
            pass


async def bystander(scale: float) -> Numbers:
    async with system_of(Kind("burner", lambda _: Burner()), Kind("counter", Counter)) as system:
        burners = [system.ref("burner", key) for key in range(SATURATED_ACTORS)]
        ref, latencies = system.ref("counter", 1), []

        async def saturate() -> None:
            """Keep every mailbox full: who is refused is full."""
            command = Burn()
            while True:
                for burner in burners:
                    try:
                        while True:
                            burner.tell(command)
                    except MailboxFull:
                        pass
                await trio.sleep(0.005)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(saturate)
            await trio.sleep(0.1)
            ends = time.perf_counter() + 10 * scale
            while time.perf_counter() < ends:
                began = time.perf_counter()
                await ref.ask(Look(), deadline=soon())
                latencies.append(1000 * (time.perf_counter() - began))
                await trio.sleep(0.002)
            assert all(len(system.activation(burner.address).mailbox) for burner in burners), "not saturated"
            nursery.cancel_scope.cancel()
        for burner in burners:
            system.activation(burner.address).mailbox.drain()
    latencies.sort()
    return {"p50_ms": latencies[len(latencies) // 2], "p99_ms": latencies[int(len(latencies) * 0.99)]}


def _memory_kb() -> float:
    """The proportional set size of this process."""
    for line in Path(f"/proc/{os.getpid()}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return float(line.split()[1])
    raise RuntimeError("this kernel has no smaps_rollup")


SCENARIOS = {
    "tell": tell,
    "tell-bounded": tell_bounded,
    "tell-traced": tell_traced,
    "ask": ask,
    "ask-100": ask_100,
    "ask-in-turn": ask_in_turn,
    "spawn": spawn,
    "memory-warm": memory_warm,
    "memory-cold": memory_cold,
    "bystander": bystander,
    "drain": drain,
    "crash": crash,
    "commit": commit,
}


if __name__ == "__main__":
    scale = 0.1 if "--quick" in sys.argv else 1.0
    print(json.dumps(trio.run(SCENARIOS[sys.argv[1]], scale)))
