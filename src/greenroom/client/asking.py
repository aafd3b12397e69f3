"""Commands other than `send`, on their way: what has an answer gets one, or is told that none comes.

While the server asks to slow down they wait here. A connection that is lost takes all of them with it.
"""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import trio

from greenroom.client.errors import ServerAway
from greenroom.client.pace import Pace

Command = dict[str, Any]


@dataclass(slots=True)
class Reply:
    """on_answer: awaited before anything that comes after the answer is looked at."""

    on_answer: Callable[[dict[str, Any]], Awaitable[None]] | None = None
    arrived: trio.Event = field(default_factory=trio.Event)
    data: dict[str, Any] = field(default_factory=dict)
    error: Exception | None = None


class Asking:
    """ids: of commands; none of them comes twice. write: a command, for the connection of now."""

    def __init__(self, ids: Iterator[str], pace: Pace, write: Callable[[Command], None], nursery: trio.Nursery) -> None:
        self._ids = ids
        self._pace = pace
        self._write = write
        self._nursery = nursery
        self._replies: dict[str, Reply] = {}
        self._unsaid: dict[str, Command] = {}
        self._cut: trio.Event | None = None  # set when this connection is lost; None while there is none

    def __len__(self) -> int:
        """How many were sent and have no answer."""
        return len(self._replies)

    async def ask(self, command: Command, reply: Reply) -> dict[str, Any]:
        """The data of the answer. Raises: Refused, ServerAway, and what no JSON can hold TypeError or ValueError."""
        await self._wait_turn()
        self._say_unsaid()  # it was said before: a `leave` must not follow the `join` that came after it
        command_id = next(self._ids)
        self._replies[command_id] = reply
        try:
            self._write({**command, "id": command_id})
            await reply.arrived.wait()
        finally:
            self._replies.pop(command_id, None)
        if reply.error is not None:
            raise reply.error
        return reply.data

    def say(self, key: str, command: Command) -> None:
        """Nobody waits for an answer. Of those with one *key* that have to wait the newest is said."""
        if self._cut is None:
            return
        if self._unsaid or self._pace.wait_seconds("cmds", trio.current_time()) > 0:
            if not self._unsaid:
                self._nursery.start_soon(self._say_later)
            self._unsaid[key] = command
        else:
            self._write(command)

    def leave(self, room_id: int) -> None:
        """Hear the room no more."""
        self.say(f"leave {room_id}", {"type": "leave", "room": room_id})

    async def answered(self, command_id: str, data: dict[str, Any], error: Exception | None) -> None:
        """An `ack`, an `error`, or the `pong` of a `ping` has come."""
        reply = self._replies.get(command_id)
        if reply is not None:
            reply.data, reply.error = data, error
            if reply.on_answer is not None and error is None:
                await reply.on_answer(data)
            reply.arrived.set()

    def ready(self) -> None:
        """The server has let us in."""
        self._cut = trio.Event()

    def lose(self) -> None:
        """The connection is lost: no answer comes."""
        if self._cut is not None:
            self._cut.set()
        self._cut = None
        self._unsaid.clear()
        for reply in self._replies.values():
            reply.error = ServerAway("the connection was lost")
            reply.arrived.set()

    async def _wait_turn(self) -> None:
        cut = self._cut
        if cut is None:
            raise ServerAway("there is no connection")
        while (seconds := self._pace.wait_seconds("cmds", trio.current_time())) > 0:
            with trio.move_on_after(seconds):
                await cut.wait()
            if cut.is_set():
                raise ServerAway("the connection was lost")

    async def _say_later(self) -> None:
        try:
            await self._wait_turn()
        except ServerAway:
            return  # with what was to be said
        self._say_unsaid()

    def _say_unsaid(self) -> None:
        commands = list(self._unsaid.values())
        self._unsaid.clear()
        for command in commands:
            self._write(command)
