"""Another token on the same connection, because the one that was shown expires."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import trio

from greenroom.client.connection import Connection
from greenroom.client.errors import ClientRefused

AGAIN_SECONDS: Final = 5.0  # after a token that could not be renewed


class Refreshing:
    """Of one client. One at a time for each connection, however often the server says that the token expires.

    What it says before the new one is shown is about the old one; what it says after that may be about the new one.
    """

    def __init__(self, connection: Connection, ask: Callable[[str, None, dict[str, Any]], Awaitable[object]]) -> None:
        self._connection = connection
        self._ask = ask
        self._is_due = False
        self._under_way = 0  # of which connection

    def begin(self, nursery: trio.Nursery) -> None:
        """Show another one, unless that is under way."""
        self._is_due = True
        if self._under_way != self._connection.connects:
            self._under_way = self._connection.connects
            nursery.start_soon(self._refresh, self._under_way)

    async def _refresh(self, connects: int) -> None:
        """What fails is tried again while the connection lasts; the server closes with 4002 when that is over."""
        connection = self._connection
        while connection.is_token_renewable and connection.is_open and connection.connects == connects and self._is_due:
            try:
                token = await connection.fresh_token()
                if connection.connects != connects:
                    break  # the next one has a token of its own
                self._is_due = False
                await self._ask("refresh", None, {"token": token})
            except ClientRefused:
                break
            except Exception:  # theirs or the server's: it may go well next time
                self._is_due = True
                await trio.sleep(AGAIN_SECONDS)
        if self._under_way == connects:
            self._under_way = 0
