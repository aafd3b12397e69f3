"""The least that Quart-Trio under Hypercorn can do with a WebSocket: accept, receive one frame, send one frame.

Row 4 compares greenroom's connect with it, which does the same and authenticates, joins a room and tells presence.
Run as `python bare_quart_trio.py` with PORT set.
"""

import os

import hypercorn.trio
import trio
from hypercorn.config import Config
from quart import websocket
from quart_trio import QuartTrio

app = QuartTrio(__name__)


@app.websocket("/room/<name>")
async def endpoint(name: str) -> None:
    await websocket.receive()
    await websocket.send('{"type":"ready"}')
    await websocket.receive()  # waits for the client to close


def main() -> None:
    config = Config()
    config.bind = [f"127.0.0.1:{os.environ['PORT']}"]
    trio.run(hypercorn.trio.serve, app, config)


if __name__ == "__main__":
    main()
