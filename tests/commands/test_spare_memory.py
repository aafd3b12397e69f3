"""What a crowd has left free in the heap goes back to the system: in a process of its own, whose heap is known."""

import subprocess
import sys

import pytest

pytest.importorskip("ctypes")
MIB = 1024 * 1024

SCRIPT = """
import random, sys, trio
from greenroom.commands import spare_memory

try:
    heap = spare_memory.Heap()
except (AttributeError, OSError):
    print("no such heap")
    sys.exit()
spare_memory.LOOK_SECONDS = 0.05
rounds = []


async def main():
    async with trio.open_nursery() as nursery:
        nursery.start_soon(spare_memory.give_back_spare_memory)
        await trio.sleep(0.1)
        for _ in range(3):
            crowd = [bytearray(random.randrange(600, 60_000)) for _ in range(8000)]
            stays = crowd[::100]  # in between, so that no end of the heap is free
            peak = heap.resident_bytes()
            await trio.sleep(0.2)
            used = heap.resident_bytes()  # all of it is needed: there is nothing to give back
            del crowd
            with trio.move_on_after(10):
                while heap.resident_bytes() > peak - 150 * 1024 * 1024:
                    await trio.sleep(0.05)
            print("round", peak, used, heap.resident_bytes())
        nursery.cancel_scope.cancel()


trio.run(main)
"""


def test_what_a_crowd_has_left_is_given_back_each_time_and_what_is_needed_stays() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    if done.stdout == "no such heap\n":
        pytest.skip("the C library gives back by itself, or cannot be asked")
    rounds = [
        [int(size) / MIB for size in line.split()[1:]] for line in done.stdout.splitlines() if line.startswith("round")
    ]
    assert len(rounds) == 3
    for peak, used, after in rounds:
        assert used > peak - 8
        assert after < peak - 150
    assert rounds[2][2] < rounds[0][2] + 32
