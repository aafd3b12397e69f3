"""The stream of the user, told as it comes, and asked for again where something of it is missing.

What is decided stands in user_log.py.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

import trio

from greenroom.client.errors import Refused, ServerAway
from greenroom.client.frames import personal
from greenroom.client.user_log import UserLog

HOLE_SECONDS: Final = 0.2  # what is missing may be on its way
_AGAIN_SECONDS: Final = 1.0

Ask = Callable[[str, None, dict[str, Any]], Awaitable[dict[str, Any]]]


class UserStream:
    """ask: a command and its answer. tell: events, in order."""

    def __init__(self, ask: Ask, tell: Callable[..., Awaitable[None]], nursery: trio.Nursery) -> None:
        self.log = UserLog()
        self._ask = ask
        self._tell = tell
        self._nursery = nursery
        self._is_ready = False
        self._is_syncing = False

    def ready(self, useq: int | None, epoch: int | None) -> None:
        """The server has let us in; None of a server that has no such stream."""
        self._is_ready = True
        self.log.entered(useq, epoch)

    def lose(self) -> None:
        """The connection is lost: the next one begins where we are."""
        self._is_ready = False

    async def heard(self, frame: dict[str, Any]) -> None:
        """An event of the stream, or a `gap` in it."""
        if "useq" not in frame:
            await self._gap(frame["data"])
            return
        await self._tell(*self.log.take(personal(frame)))
        if self.log.is_missing and not self._is_syncing:
            self._is_syncing = True
            self._nursery.start_soon(self._sync)

    async def _gap(self, data: dict[str, Any]) -> None:
        """The server will not tell what lies there."""
        is_reset = data.get("reset") is True
        await self._tell(*self.log.pass_over(data["from"], data["to"], is_reset=is_reset))

    async def _sync(self) -> None:
        """Have the server tell again what is missing, until it has come or the connection is lost."""
        wait_seconds = HOLE_SECONDS
        while self._is_ready and self.log.is_missing:
            await trio.sleep(wait_seconds)
            wait_seconds = _AGAIN_SECONDS
            if self.log.is_missing:
                with suppress(Refused, ServerAway):  # asked again
                    await self._ask("sync", None, {"user": self.log.cursor})
        self._is_syncing = False
