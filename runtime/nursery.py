"""The nursery of a system's tasks: what cancels the block of `open_system` does not cancel them.

    ┌ block ──────────────────────────── cancelled: the block ends, and then the actors finish ┐
    │   └ host, shielded ── nursery: the dispatcher, the deadlines, the turns that wait         │
    └───────────────────────────────────────────────────────────────────────────────────────────┘

Without the shield a cancelled block would leave nobody to run the turns that it waits for, for as long as it may wait.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio


@asynccontextmanager
async def open_nurseries() -> AsyncIterator[tuple[trio.Nursery, trio.Nursery]]:
    """The nursery of the block, into which alone a task may raise, and that of the tasks, which ends with the block."""
    async with trio.open_nursery() as block:
        tasks: trio.Nursery = await block.start(_host)
        try:
            yield block, tasks
        finally:
            tasks.cancel_scope.cancel(reason="the actor system was closed")


async def _host(task_status: trio.TaskStatus[trio.Nursery]) -> None:
    with trio.CancelScope(shield=True):
        async with trio.open_nursery() as tasks:
            task_status.started(tasks)
            await trio.sleep_forever()
