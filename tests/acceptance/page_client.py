"""The existing client as it behaves (existing-system.md section 2.7), for tests that take its sockets away."""

import socket

import trio
from wire import Gone, Refused, Socket, http, open_sockets  # type: ignore[import-not-found]

BACK_AFTER_SECONDS = 0.04  # it comes back 20 to 60 ms after a close, once, and is stuck if that fails
STUCK_WITHIN_SECONDS = 2.0  # and when a socket ends so soon after the attempt that made it


class Page:
    """The existing client: one try after a close, then it is stuck; what it missed it reads over REST."""

    def __init__(self, server, user, room):
        self.server, self.user, self.room = server, user, room
        self.closes = []
        self.stuck = None
        self.messages = {}
        self.sockets = 0
        self.socket = None

    async def run(self):
        while self.stuck is None:
            tried_at = trio.current_time()
            try:
                async with open_sockets() as nursery:
                    self.socket = await Socket.open(nursery, self.server, self.user, protocol=None)
                    self.socket.on_event = self._event
                    self.sockets += 1
                    await self._catch_up()
                    await self.socket.is_over.wait()
                self.closes.append(self.socket.close_code)
                if (lived := trio.current_time() - tried_at) < STUCK_WITHIN_SECONDS:
                    self.stuck = f"closed with {self.socket.close_code} {lived:.2f} s after the attempt"
            except (Refused, Gone, OSError, trio.TooSlowError) as error:
                self.stuck = repr(error)
            await trio.sleep(BACK_AFTER_SECONDS)

    def _event(self, event):
        if event["type"] == "new_message":
            self.messages[event["seq"]] = (event["messageId"], event["senderId"], event["content"])

    async def _catch_up(self):
        path = f"/api/conversations/{self.room}/messages?limit=200&after_seq={max(self.messages, default=0)}"
        answer = await http(self.server, "GET", path, user=self.user, seconds=30)
        assert answer.status == 200, answer
        for row in answer.json()["data"]["messages"]:
            self.messages[row["seq"]] = (row["id"], row["sender_id"], row["content"])


def listening_socket(address="127.0.0.1"):
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, 0))
    listener.listen(4096)
    return listener
