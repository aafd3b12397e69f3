"""A client that is kept connected while a block lasts."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from greenroom.client import door
from greenroom.client.client import Client
from greenroom.client.connection import CLOSE_SECONDS_MAX
from greenroom.client.door import Token
from greenroom.client.errors import ClientRefused


@asynccontextmanager
async def open_client(url: str, token: Token, *, device: str = "") -> AsyncIterator[Client]:
    """Keep a client connected to the server at *url* while the block lasts, and close the connection at its end.

    token: a credential, or an async function that is asked for one before each connection, and when one expires.
    Raises: ClientRefused, ValueError for what is no address, token or device, and what the block raises.
    """
    url, token, device = door.address_of(url), door.token_of(token), door.device_of(device)
    failure: Exception | None = None
    has_left = trio.Event()

    async def keep() -> None:
        nonlocal failure
        try:
            await client._connection.keep()
        except ClientRefused as refused:
            failure = refused
            nursery.cancel_scope.cancel(reason="the server refuses the client")
        has_left.set()

    async with trio.open_nursery() as nursery:
        client = Client(url, token, device, nursery)
        nursery.start_soon(keep)
        try:
            yield client
        except Exception as error:  # raised below, where the nursery does not wrap it
            failure = error
        finally:
            client._connection.leave()
            try:
                with trio.move_on_after(CLOSE_SECONDS_MAX, shield=True):
                    await has_left.wait()
            finally:  # also when Ctrl-C ends the wait
                client._connection.leave_now()
                nursery.cancel_scope.cancel(reason="the client leaves")
    if failure is not None:
        raise failure
