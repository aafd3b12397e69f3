"""Commands other than `send`, on their way: what has an answer gets one, or is told that none comes.

While the server asks to slow down they wait here, and go in the order in which they were said. A connection that is
lost takes all of them with it. What nobody waits for is said again when it was refused for a moment.
"""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import trio

from greenroom.client.errors import Refused, ServerAway, is_worth_another_try
from greenroom.client.frame_limit import FrameLimit, too_long
from greenroom.client.frames import text_of
from greenroom.client.pace import Pace

_AGAIN_SECONDS: Final = 1.0

Command = dict[str, Any]


@dataclass(slots=True)
class Reply:
    """on_answer: awaited before anything that comes after the answer is looked at. command_id: once it is sent."""

    on_answer: Callable[[dict[str, Any]], Awaitable[None]] | None = None
    arrived: trio.Event = field(default_factory=trio.Event)
    data: dict[str, Any] = field(default_factory=dict)
    error: Exception | None = None
    command_id: str = ""


class Asking:
    """ids: of commands; none of them comes twice. write: a frame, for the connection of now."""

    def __init__(
        self,
        ids: Iterator[str],
        frame_limit: FrameLimit,
        pace: Pace,
        write: Callable[[str], None],
        nursery: trio.Nursery,
    ) -> None:
        self._ids = ids
        self._frame_limit = frame_limit
        self._pace = pace
        self._write = write
        self._nursery = nursery
        self._replies: dict[str, Reply] = {}  # of those that were sent
        self._said: dict[str, tuple[str, Command]] = {}  # (key, command) of those that nobody waits for
        self._newest: dict[str, Command] = {}  # of these, by key
        self._waiting: dict[
            object, tuple[Command, Reply | str]
        ] = {}  # with a reply or a key, by that; as they were said
        self._is_waiting = False  # because the server asks to slow down
        self._cut: trio.Event | None = None  # set when this connection is lost; None while there is none

    def __len__(self) -> int:
        """How many were sent and have no answer."""
        return len(self._replies) + len(self._said)

    async def ask(self, command: Command, reply: Reply) -> dict[str, Any]:
        """The data of the answer. Raises: Refused, ServerAway, and what no JSON can hold TypeError or ValueError."""
        if self._cut is None:
            raise ServerAway("there is no connection")
        if self._must_wait(self._cut):
            self._waiting[id(reply)] = command, reply
        else:
            self._send(command, reply)
        try:
            await reply.arrived.wait()
        finally:
            self._forget(reply)
        if reply.error is not None:
            raise reply.error
        return reply.data

    def say(self, key: str, command: Command) -> None:
        """Nobody waits for an answer. Of those with one *key* that have to wait the newest is said.

        Refused for a moment it is said again, if it is the newest still.
        """
        if self._cut is not None:
            self._newest[key] = command
            self._say(key, command, self._cut)

    def leave(self, room_id: int) -> None:
        """Hear the room no more."""
        self.say(f"leave {room_id}", {"type": "leave", "room": room_id})

    def stay(self, room_id: int) -> None:
        """It is joined anew: a `leave` that the server has refused is not said again."""
        self._newest.pop(f"leave {room_id}", None)

    async def answered(self, command_id: str, data: dict[str, Any], error: Exception | None) -> None:
        """An `ack`, an `error`, or the `pong` of a `ping` has come."""
        said = self._said.pop(command_id, None)
        if said is not None and isinstance(error, Refused) and is_worth_another_try(error):
            self._nursery.start_soon(self._say_again, *said)
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
        self._cut, self._is_waiting = None, False
        waiting, self._waiting = self._waiting, {}
        self._said.clear()
        self._newest.clear()
        for reply in (*self._replies.values(), *(reply for _, reply in waiting.values())):
            if isinstance(reply, Reply):
                reply.error = ServerAway("the connection was lost")
                reply.arrived.set()

    def _must_wait(self, cut: trio.Event) -> bool:
        """What waits was said before: nothing overtakes it, also when its time has come and its task has not run."""
        if not self._is_waiting and self._pace.wait_seconds("cmds", trio.current_time()) > 0:
            self._is_waiting = True
            self._nursery.start_soon(self._go_on_later, cut)
        return self._is_waiting

    async def _go_on_later(self, cut: trio.Event) -> None:
        while (seconds := self._pace.wait_seconds("cmds", trio.current_time())) > 0 and not cut.is_set():
            with trio.move_on_after(seconds):
                await cut.wait()
        if cut.is_set():
            return  # with all that waited
        self._is_waiting = False
        waiting, self._waiting = self._waiting, {}
        for command, reply in waiting.values():
            if isinstance(reply, Reply):
                self._send(command, reply)
            else:
                self._say(reply, command, cut)

    def _say(self, key: str, command: Command, cut: trio.Event) -> None:
        if self._must_wait(cut):
            self._waiting.pop(key, None)
            self._waiting[key] = command, key
            return
        command_id = next(self._ids)
        self._said[command_id] = key, command
        self._write(text_of({**command, "id": command_id}))

    async def _say_again(self, key: str, command: Command) -> None:
        await trio.sleep(_AGAIN_SECONDS)
        if self._cut is not None and self._newest.get(key) is command:  # on this connection nothing has replaced it
            self._say(key, command, self._cut)

    def _send(self, command: Command, reply: Reply) -> None:
        reply.command_id = next(self._ids)
        self._replies[reply.command_id] = reply
        try:
            text = text_of({**command, "id": reply.command_id})
            if not self._frame_limit.admits(text):
                raise too_long()
            self._write(text)
        except (Refused, TypeError, ValueError) as fault:  # of one who may have waited behind others
            reply.error = fault
            reply.arrived.set()

    def _forget(self, reply: Reply) -> None:
        """It has its answer, or nobody waits for one any more."""
        self._replies.pop(reply.command_id, None)
        self._waiting.pop(id(reply), None)
