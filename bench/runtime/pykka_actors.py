"""pykka's side of the runtime's scenarios: one scenario in one process, its numbers as JSON on the last line.

An actor is a thread there, so scenarios of many actors have fewer of them; rates and sizes are of one each. It has no
bounded mailbox, no deadline that is shared, no cycle check, no restart and no storage: it does less, and what it does
not have it is not measured in.
"""

import gc
import json
import os
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pykka

Numbers = dict[str, float]

BURST = 64
BUSY_SECONDS = 20e-6
SATURATED_ACTORS = 50
THREADS = 2000


@dataclass(frozen=True, slots=True)
class Add:
    by: int


@dataclass(frozen=True, slots=True)
class Look:
    pass


class Counter(pykka.ThreadingActor):
    use_daemon_thread = True

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def on_receive(self, message: Any) -> int:
        if type(message) is Add:
            self.total += message.by
        return self.total


def tell(scale: float) -> Numbers:
    command = Add(1)
    return _tell_in_bursts(lambda: command, int(400_000 * scale))


def tell_fresh(scale: float) -> Numbers:
    return _tell_in_bursts(lambda: Add(1), int(400_000 * scale))


def _tell_in_bursts(command: Any, count: int) -> Numbers:
    """The sender waits for each burst to be handled, as greenroom's does: or the queue would only grow."""
    ref = Counter.start()
    bursts = count // BURST
    began = time.perf_counter()
    total = 0
    for _ in range(bursts):
        for _ in range(BURST):
            ref.tell(command())
        total = ref.ask(Look())
    seconds = time.perf_counter() - began
    assert total == bursts * BURST
    return {"per_second": total / seconds}


def ask(scale: float) -> Numbers:
    return {"per_second": _ask_from(1, int(30_000 * scale))}


def ask_100(scale: float) -> Numbers:
    return {"per_second": _ask_from(100, int(30_000 * scale))}


def _ask_from(callers: int, count: int) -> float:
    ref, each = Counter.start(), count // callers

    def caller() -> None:
        for _ in range(each):
            ref.ask(Look(), timeout=5)

    threads = [threading.Thread(target=caller) for _ in range(callers)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return callers * each / (time.perf_counter() - began)


def spawn(scale: float) -> Numbers:
    count = max(200, int(THREADS * scale))
    began = time.perf_counter()
    refs = [Counter.start() for _ in range(count)]
    for ref in refs:
        ref.ask(Add(1))
    return {"per_second": count / (time.perf_counter() - began)}


def memory_warm(scale: float) -> Numbers:
    count = max(200, int(THREADS * scale))
    Counter.start().ask(Add(1))
    gc.collect()
    before = _memory_kb()
    refs = [Counter.start() for _ in range(count)]
    for ref in refs:
        ref.ask(Add(1))
    gc.collect()
    return {"kb_each": (_memory_kb() - before) / count}


def drain(scale: float) -> Numbers:
    count = max(200, int(THREADS * scale))
    refs = [Counter.start() for _ in range(count)]
    for ref in refs:
        ref.ask(Add(1))
    for ref in refs:
        ref.tell(Add(1))
    began = time.perf_counter()
    pykka.ActorRegistry.stop_all()
    return {"per_second": count / (time.perf_counter() - began)}


class Burner(pykka.ThreadingActor):
    use_daemon_thread = True

    def on_receive(self, message: Any) -> None:
        until = time.perf_counter() + BUSY_SECONDS
        while time.perf_counter() < until:
            pass
        self.actor_ref.tell(message)  # so that it never rests


def bystander(scale: float) -> Numbers:
    for _ in range(SATURATED_ACTORS):
        burner = Burner.start()
        for _ in range(16):
            burner.tell("burn")
    ref, latencies = Counter.start(), []
    time.sleep(0.1)
    ends = time.perf_counter() + 10 * scale
    while time.perf_counter() < ends:
        began = time.perf_counter()
        ref.ask(Look())
        latencies.append(1000 * (time.perf_counter() - began))
        time.sleep(0.002)
    latencies.sort()
    return {"p50_ms": latencies[len(latencies) // 2], "p99_ms": latencies[int(len(latencies) * 0.99)]}


def _memory_kb() -> float:
    for line in Path(f"/proc/{os.getpid()}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return float(line.split()[1])
    raise RuntimeError("this kernel has no smaps_rollup")


SCENARIOS = {
    "tell": tell,
    "tell-bounded": tell_fresh,
    "tell-traced": tell_fresh,
    "ask": ask,
    "ask-100": ask_100,
    "spawn": spawn,
    "memory-warm": memory_warm,
    "bystander": bystander,
    "drain": drain,
}


if __name__ == "__main__":
    scale = 0.1 if "--quick" in sys.argv else 1.0
    print(json.dumps(SCENARIOS[sys.argv[1]](scale)), flush=True)
    os._exit(0)  # threads of saturated actors end with the process
