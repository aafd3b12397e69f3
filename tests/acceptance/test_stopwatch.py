"""The stopwatch of these tests takes off what others had of the machine, and nothing that our own thread did."""

import os
import subprocess
import sys
import time

import pytest
import stopwatch
import trio
from stopwatch import open_stopwatch

HELD_SECONDS = 0.2
BUSY = "import time\nended = time.monotonic() + 60\nwhile time.monotonic() < ended: pass"


def compute():
    began = time.thread_time()
    while time.thread_time() - began < HELD_SECONDS:
        pass


@pytest.mark.parametrize("hold", [compute, lambda: time.sleep(HELD_SECONDS)], ids=["computes", "waits"])
async def test_what_keeps_the_loop_counts_in_full(hold):
    async with open_stopwatch() as watch:
        hold()
        assert watch.seconds > HELD_SECONDS - 0.001


@pytest.mark.skipif(not stopwatch._SCHEDSTAT.exists(), reason="this kernel counts no waits for a CPU")
async def test_what_another_process_has_of_our_cpu_is_taken_off():
    before = os.sched_getaffinity(0)
    with subprocess.Popen([sys.executable, "-c", BUSY]) as other:  # noqa: ASYNC220 - it may keep the loop
        try:
            for pid in (0, other.pid):
                os.sched_setaffinity(pid, [min(before)])
            began = time.monotonic()
            async with open_stopwatch() as watch:
                compute()
                seconds = watch.seconds
            took = time.monotonic() - began
        finally:
            os.sched_setaffinity(0, before)
            other.kill()
    print(f"{seconds:.3f} s of {took:.3f} s")  # half, where nobody else wants that CPU
    assert seconds < took - HELD_SECONDS / 4


class Two:
    """A server, as far as the stopwatch looks: two processes."""

    def __init__(self, *pids):
        self._pids = pids

    def processes(self):
        return self._pids


@pytest.mark.skipif(not stopwatch._SCHEDSTAT.exists(), reason="this kernel counts no waits for a CPU")
async def test_what_a_server_waits_for_a_cpu_is_taken_off_though_it_has_ended():
    rivals = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(2)]  # noqa: ASYNC220 - as above
    try:
        for rival in rivals:
            os.sched_setaffinity(rival.pid, [min(os.sched_getaffinity(0))])
        async with open_stopwatch() as alone, open_stopwatch(Two(*(rival.pid for rival in rivals))) as watch:
            while watch.lost_seconds - alone.lost_seconds < HELD_SECONDS:  # noqa: ASYNC110 - of other processes
                await trio.sleep(0.01)
            lost = watch.lost_seconds
            for rival in rivals:
                rival.kill()
                rival.wait()
            assert watch.lost_seconds >= lost
    finally:
        for rival in rivals:
            rival.kill()
            rival.wait()


async def test_where_the_kernel_does_not_count_nothing_is_taken_off(monkeypatch, tmp_path):
    monkeypatch.setattr(stopwatch, "_SCHEDSTAT", tmp_path / "none")
    async with open_stopwatch() as watch:
        assert watch.lost_seconds == 0
