"""The tasks in which the application answers the requests of one HTTP connection: what Hypercorn calls a task group."""

from collections.abc import Awaitable, Callable

import structlog
import trio
from hypercorn.config import Config
from hypercorn.typing import AppWrapper, ASGIReceiveEvent, ASGISendEvent, Scope

log = structlog.get_logger()

Send = Callable[[ASGISendEvent | None], Awaitable[None]]
Put = Callable[[ASGIReceiveEvent], Awaitable[None]]


class ApplicationTasks:
    """Runs the application for Hypercorn; unlike in Hypercorn's own, events for a finished application vanish.

    There they wait for ever in a full queue that no one reads, and the connection's tasks and descriptor with them.
    """

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery

    async def spawn_app(self, app: AppWrapper, config: Config, scope: Scope, send: Send) -> Put:
        """Start the application for one request and return what feeds it."""
        outgoing, incoming = trio.open_memory_channel[ASGIReceiveEvent](config.max_app_queue_size)

        async def put(event: ASGIReceiveEvent) -> None:
            try:
                await outgoing.send(event)
            except trio.BrokenResourceError:
                await trio.lowlevel.checkpoint()

        self._nursery.start_soon(_run_application, app, scope, incoming, send)
        return put


async def _run_application(
    app: AppWrapper, scope: Scope, incoming: trio.MemoryReceiveChannel[ASGIReceiveEvent], send: Send
) -> None:
    try:
        await app(scope, incoming.receive, send, trio.to_thread.run_sync, trio.from_thread.run)
    except* Exception as fault:
        log.exception("http.application_failed", path=scope.get("path"), exc_info=fault)
    finally:
        incoming.close()
        await send(None)
