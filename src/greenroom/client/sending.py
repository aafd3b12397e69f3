"""Lines on their way to the server: each until it is stored or refused for good, in the order they were said.

What is decided stands in outbox.py. While the server asks to slow down, lines wait there.
"""

from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final

import trio

from greenroom.client.backoff import heeded
from greenroom.client.errors import Refused
from greenroom.client.events import Confirmed, Delayed, Event, Said, Undelivered
from greenroom.client.frame_limit import FrameLimit, too_long
from greenroom.client.frames import error_of, text_of, whole
from greenroom.client.outbox import Line, Outbox
from greenroom.client.pace import Pace

_AGAIN_SECONDS: Final = 1.0


class Sending:
    """ids: of commands. write: a frame, for the connection of now. tell: events, in order."""

    def __init__(
        self,
        ids: Iterator[str],
        frame_limit: FrameLimit,
        pace: Pace,
        write: Callable[[str], None],
        tell: Callable[..., Awaitable[None]],
        nursery: trio.Nursery,
    ) -> None:
        self.outbox = Outbox(ids)
        self._frame_limit = frame_limit
        self._pace = pace
        self._write = write
        self._tell: Callable[[Event], Awaitable[None]] = tell
        self._nursery = nursery
        self._is_ready = False  # the server has let us in
        self._is_waiting = False  # because it asks to slow down
        self._emptied = trio.Event()

    def say(self, line: Line) -> None:
        """Keep a line until it is settled. Raises: OutboxFull, Refused."""
        self.outbox.put(line)
        self._next()

    async def wait(self) -> None:
        """Until every line is settled."""
        while self.outbox:
            if self._emptied.is_set():  # else somebody waits for it already
                self._emptied = trio.Event()
            await self._emptied.wait()

    def ready(self) -> None:
        """The server has let us in."""
        self._is_ready = True
        self._next()

    def lose(self) -> Line | None:
        """The connection is lost: whatever was under way has to be sent again; of that the longest frame of all."""
        self._is_ready = False
        under_way, longest = self.outbox.under_way, self._frame_limit.longest
        self.outbox.again()
        return longest if longest in under_way else None

    async def answered(self, command_id: str, data: dict[str, Any], *, is_error: bool) -> bool:
        """An `ack` or an `error` has come: whether it is about one of these."""
        line = self.outbox.sent(command_id)
        if line is None:
            return False
        if not is_error:
            confirmed = Confirmed(line.room_id, line.client_id, whole(data["seq"]))
            self.finish(line)  # not before its answer is read: of what cannot be read the line is said again
            await self._tell(confirmed)
            return True
        code, why = error_of(data)
        if data.get("recoverable"):
            seconds = max(_AGAIN_SECONDS, heeded(float(data.get("retryAfter", 0))))
            self.outbox.hold(line)
            self._nursery.start_soon(self._release_later, line.room_id, seconds)
            await self._tell(Delayed(line.room_id, line.client_id, seconds, why))
        else:
            await self._undelivered(line, Refused(code, why))
        return True

    def copied(self, said: Said) -> Line | None:
        """The line that this message of ours is; of another one under its client id the server says what it is."""
        line = self.outbox.find(said.room_id, said.client_id)
        is_changed = said.is_deleted or said.edited_at_ms is not None
        return line if line is not None and (is_changed or said.body == line.body) else None

    def finish(self, line: Line) -> None:
        """The line is settled; who calls this tells how."""
        self.outbox.finish(line)
        if not self.outbox:
            self._emptied.set()
        self._next()

    async def refuse_too_long(self, line: Line) -> None:
        """No frame can carry it."""
        await self._undelivered(line, too_long())

    def _next(self) -> None:
        if not self._is_ready or self._is_waiting:
            return
        seconds = self._pace.wait_seconds("send", trio.current_time())
        if seconds > 0:
            self._is_waiting = True
            self._nursery.start_soon(self._next_after, seconds)
            return
        for command_id, line in self.outbox.start():
            files = {"attachments": list(line.attachments)} if line.attachments else {}
            data = {"body": line.body, "clientId": line.client_id, **files, **line.details}
            text = text_of({"type": "send", "id": command_id, "room": line.room_id, "data": data})
            if self._frame_limit.admits(text, line):
                self._write(text)
            else:
                self._nursery.start_soon(self.refuse_too_long, line)

    async def _next_after(self, seconds: float) -> None:
        await trio.sleep(seconds)
        self._is_waiting = False
        self._next()

    async def _undelivered(self, line: Line, refused: Refused) -> None:
        if self.outbox.find(line.room_id, line.client_id) is line:
            self.finish(line)
            why = refused.code, str(refused)
            await self._tell(Undelivered(line.room_id, line.client_id, line.body, *why, line.attachments, line.details))

    async def _release_later(self, room_id: int, seconds: float) -> None:
        await trio.sleep(seconds)
        self.outbox.release(room_id)
        self._next()
