"""Whom `greenroom chat` says to be here or gone, where the server tells it in an order of its own."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve
from websockets.typing import Subprotocol

from greenroom.client.connection import SUBPROTOCOL

ROOM = 42
WAIT_SECONDS_MAX = 30.0
Frame = dict[str, Any]


class Line:
    """The socket of a chat, seen from the server."""

    def __init__(self, socket: ServerConnection) -> None:
        self._socket = socket

    def say(self, kind: str, **rest: Any) -> None:
        self._socket.send(json.dumps({"type": kind, **rest}))

    def heard(self, kind: str) -> Frame:
        """The next command of this kind."""
        while True:
            frame: Frame = json.loads(self._socket.recv(WAIT_SECONDS_MAX))
            if frame["type"] == kind:
                return frame


@contextmanager
def serving(script: Callable[[Line], None]) -> Iterator[str]:
    """The address of a server that has one room, and says in it what *script* does."""

    def answer(socket: ServerConnection, request: Request) -> Response | None:
        room = {"conversation": {"id": ROOM, "title": "Lobby"}}
        return None if request.path == "/ws" else socket.respond(HTTPStatus.OK, json.dumps({"data": room}))

    def serve_one(socket: ServerConnection) -> None:
        line = Line(socket)
        line.say("hello", data={"v": 1, "hb": 25000, "hbGrace": 10000, "limits": {}})
        line.heard("start")
        line.say("ready", id="start", data={"user": 7, "name": "Ann", "rooms": []})
        command = line.heard("join")
        line.say("ack", id=command["id"], room=ROOM, data={"r": ROOM, "epoch": 1, "top": 0})
        line.say("live", data={"rooms": [ROOM]})
        script(line)
        for _ in socket:  # until the chat leaves
            pass

    with serve(serve_one, "127.0.0.1", 0, subprotocols=[Subprotocol(SUBPROTOCOL)], process_request=answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.socket.getsockname()[1]}"
        finally:
            server.shutdown()
            thread.join()


def test_who_was_back_before_it_is_told_that_they_left_is_said_to_be_gone_when_they_go(greenroom):
    def script(line: Line) -> None:
        ben = {"user": 8, "name": "Ben", "status": "online"}
        line.say("presence_state", room=ROOM, data={"users": [ben]})
        line.say("message", room=ROOM, seq=3, ts=1, data={"id": 3, "sender": 9, "senderName": "Cem", "body": "hi"})
        line.say("presence_diff", room=ROOM, data={"joins": [{**ben, "status": "away"}], "leaves": []})
        went = {"ts": 1, "user": 8, "role": "member"}
        missed = [{**went, "seq": 1, "change": "left"}, {**went, "seq": 2, "change": "joined"}]
        command = line.heard("history")
        line.say("ack", id=command["id"], room=ROOM, data={"messages": [], "changes": missed, "top": 3, "epoch": 1})
        line.say("presence_diff", room=ROOM, data={"joins": [], "leaves": [{**ben, "status": "offline"}]})

    with serving(script) as url:
        chat = greenroom.start_typed("chat", "--token", "a.b.c", "--url", url, str(ROOM))
        chat.wait_for("^-- Ben is here$")
        chat.wait_for("^-- Ben is a member again$")
        chat.wait_for("^-- Ben is gone$")
        chat.end_input()
        assert chat.ended() == 0
    assert chat.text.count("Ben is here") == 1
