"""Another token on the same connection, because the one that was shown expires."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import trio

from greenroom.client.connection import Connection
from greenroom.client.errors import ClientRefused

AGAIN_SECONDS: Final = 5.0  # after a token that could not be renewed


async def refresh(connection: Connection, ask: Callable[[str, None, dict[str, Any]], Awaitable[object]]) -> None:
    """Show it. What fails is tried again while the connection lasts; the server closes with 4002 when that is over."""
    connects = connection.connects
    while connection.is_token_renewable and connection.is_open and connection.connects == connects:
        try:
            await ask("refresh", None, {"token": await connection.fresh_token()})
        except ClientRefused:
            return
        except Exception:  # theirs or the server's: it may go well next time
            await trio.sleep(AGAIN_SECONDS)
        else:
            return
