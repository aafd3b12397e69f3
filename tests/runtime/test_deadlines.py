"""The heap of deadlines, on the virtual clock."""

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from greenroom.runtime.deadlines import REBUILD_ENTRIES_MIN, DeadlineHeap


async def test_actions_run_at_their_time_in_order(autojump_clock: MockClock) -> None:
    ran: list[tuple[str, float]] = []
    heap = DeadlineHeap(lambda error: None)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(heap.run)
        start = trio.current_time()
        for name, after in (("late", 5.0), ("soon", 1.0), ("middle", 3.0)):
            heap.after(after, lambda name=name: ran.append((name, trio.current_time() - start)))  # type: ignore[misc]
        await trio.sleep(2)
        heap.after(0.5, lambda: ran.append(("new", trio.current_time() - start)))
        await trio.sleep(10)
        nursery.cancel_scope.cancel()
    assert ran == [("soon", 1.0), ("new", 2.5), ("middle", 3.0), ("late", 5.0)]


async def test_a_cancelled_action_never_runs_and_wakes_nobody(autojump_clock: MockClock) -> None:
    heap = DeadlineHeap(lambda error: None)
    ran: list[int] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(heap.run)
        entries = [heap.after(10, lambda: ran.append(1)) for _ in range(100)]
        heap.after(1, lambda: ran.append(2))
        for entry in entries:
            entry.cancel()
            entry.cancel()
        assert len(heap) == 1
        await trio.sleep(2)
        await wait_all_tasks_blocked()
        assert heap._heap == [], "settled entries are gone with the next wake, not each with its own"
        await trio.sleep(20)
        nursery.cancel_scope.cancel()
    assert ran == [2]


async def test_settled_entries_do_not_pile_up(autojump_clock: MockClock) -> None:
    heap = DeadlineHeap(lambda error: None)
    for _ in range(3 * REBUILD_ENTRIES_MIN):
        heap.after(10, lambda: None).cancel()
    assert len(heap._heap) <= REBUILD_ENTRIES_MIN + 1


async def test_an_action_that_raises_stops_no_other(autojump_clock: MockClock) -> None:
    faults: list[str] = []
    ran: list[int] = []
    heap = DeadlineHeap(lambda error: faults.append(str(error)))

    def bad() -> None:
        raise ValueError("bad")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(heap.run)
        heap.after(1, bad)
        heap.after(1, lambda: ran.append(1))
        await trio.sleep(2)
        nursery.cancel_scope.cancel()
    assert (faults, ran) == (["bad"], [1])
