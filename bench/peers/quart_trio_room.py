"""Rooms on Quart-Trio under Hypercorn, in memory, without authentication, as an ordinary developer would write them.

Each connection has a memory channel and a writer task that empties it; a broadcast puts the text into the channel of
every member of the room. A `start` frame is answered with `ready`, to its sender only.
Run as `python quart_trio_room.py` with PORT set.
"""

import os
from collections import defaultdict

import hypercorn.trio
import trio
from hypercorn.config import Config
from quart import websocket
from quart_trio import QuartTrio

QUEUE_MESSAGES_MAX = 1000

app = QuartTrio(__name__)
rooms: dict[str, set[trio.MemorySendChannel[str]]] = defaultdict(set)


@app.websocket("/room/<name>")
async def room(name: str) -> None:
    outbox, queued = trio.open_memory_channel[str](QUEUE_MESSAGES_MAX)
    rooms[name].add(outbox)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(write, queued)
            while True:
                await receive(outbox, rooms[name])
    finally:
        rooms[name].discard(outbox)


async def receive(outbox: trio.MemorySendChannel[str], members: set[trio.MemorySendChannel[str]]) -> None:
    text = await websocket.receive()
    if text.startswith('{"type":"start"'):
        await outbox.send('{"type":"ready"}')
        return
    for member in list(members):
        await member.send(text)


async def write(queued: trio.MemoryReceiveChannel[str]) -> None:
    async for text in queued:
        await websocket.send(text)


def main() -> None:
    config = Config()
    config.bind = [f"127.0.0.1:{os.environ['PORT']}"]
    trio.run(hypercorn.trio.serve, app, config)


if __name__ == "__main__":
    main()
