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
    """The nursery of the block, into which alone a task may raise, and that of the tasks, which ends with the block.

    What the block raises leaves it as it is, and so does what a task raises; both are a group when both do.
    """
    fault: Exception | None = None
    found: BaseException | None = None
    try:
        async with trio.open_nursery() as block:
            host = _Host()
            block.start_soon(host.run)
            # Not `block.start`: when this block is cancelled already, that would wait for ever for a task in a shield.
            with trio.CancelScope(shield=True):
                await host.is_open.wait()
            tasks = host.tasks
            try:
                yield block, tasks
            except Exception as error:
                fault = error  # a nursery that it goes through would wrap it
            finally:
                tasks.cancel_scope.cancel(reason="the actor system was closed")
    except BaseException as error:
        found = error
    if (raised := _one_of(found, fault)) is not None:
        raise raised


def _one_of(found: BaseException | None, fault: Exception | None) -> BaseException | None:
    """What to raise, of what came out of the nursery and what the block raised."""
    if found is not None and fault is not None:
        return BaseExceptionGroup("the block raised, and so did its end", [fault, found])
    if isinstance(found, BaseExceptionGroup) and len(found.exceptions) == 1:
        return found.exceptions[0]
    return found or fault


class _Host:
    """The task that the nursery of the tasks lives in."""

    tasks: trio.Nursery

    def __init__(self) -> None:
        self.is_open = trio.Event()

    async def run(self) -> None:
        with trio.CancelScope(shield=True):
            async with trio.open_nursery() as self.tasks:
                self.is_open.set()
                await trio.sleep_forever()
