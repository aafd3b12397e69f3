"""A client of greenroom.v1 that outlives its connections.

    async with open_client("http://127.0.0.1:8787", token) as client:
        await client.join(42)
        client.send(42, "hello")
        async for event in client.events:
            ...

- Each message of a joined room is told once and in the order of its seq, whatever is lost in between: what a new
  connection does not replay is fetched with `history`.
- A line is kept until the server says that it is stored, and sent again on every new connection under the same client
  id, which the server stores once. One line is under way at a time, so their order is kept.
- After a loss it connects again: at once for close codes 42xx, else after a full-jitter wait that doubles up to
  RETRY_SECONDS_MAX. 40xx and a refused credential end it with `ClientRefused`.

Read `events` in a task of its own: when EVENTS_MAX are unread, nothing more is taken from the server. What is said over
HTTP (lists, membership) goes through `http`, which does not retry.
"""

import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import trio
from trio_websocket import ConnectionClosed, ConnectionRejected, HandshakeError, open_websocket_url

from greenroom.client.errors import ClientRefused, Refused, ServerAway
from greenroom.client.events import (
    Connected,
    Disconnected,
    Event,
    Replaced,
    RoomRefused,
    Said,
    Undelivered,
)
from greenroom.client.frames import event_of, rooms_of, said
from greenroom.client.outbox import Line, Outbox
from greenroom.client.requests import ask, why_rejected
from greenroom.client.room_log import RoomLog

SUBPROTOCOL: Final = "greenroom.v1"
EVENTS_MAX: Final = 1024
HISTORY_PAGE: Final = 200
RETRY_SECONDS_MAX: Final = 30.0
RETRY_SECONDS_FIRST: Final = 0.5
CONNECT_SECONDS_MAX: Final = 4.0  # trio-websocket waits for all of it when the handshake is cut off
CLOSE_SECONDS_MAX: Final = 2.0
SILENCE_SECONDS_MAX: Final = 40.0  # the server speaks at least every 25 s
ABNORMAL: Final = 1006  # no close frame came: RFC 6455 section 7.4.1
WORTH_ANOTHER_TRY: Final = frozenset((4291, 4292, 5002, 5003))


@dataclass(slots=True)
class _Room:
    """entered: the server has let us in, or has refused to."""

    id: int
    log: RoomLog
    is_fetching: bool = False
    entered: trio.Event = field(default_factory=trio.Event)
    refusal: Refused | None = None


@dataclass(slots=True)
class _Reply:
    arrived: trio.Event = field(default_factory=trio.Event)
    data: dict[str, Any] = field(default_factory=dict)
    error: Exception | None = None


@asynccontextmanager
async def open_client(url: str, token: str, *, device: str = "") -> AsyncIterator["Client"]:
    """Keep a client connected to the server at *url* while the block lasts, and close the connection at its end.

    Raises: ClientRefused, and what the block raises.
    """
    failure: Exception | None = None
    has_left = trio.Event()

    async def keep() -> None:
        nonlocal failure
        try:
            await client._keep_connected()
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
            client._leave()
            with trio.move_on_after(CLOSE_SECONDS_MAX, shield=True):
                await has_left.wait()
            nursery.cancel_scope.cancel(reason="the client leaves")
    if failure is not None:
        raise failure


class Client:
    """See the top of this file. Made by `open_client`."""

    def __init__(self, url: str, token: str, device: str, nursery: trio.Nursery) -> None:
        self.url = url.rstrip("/")
        self.user_id = 0
        self._token = token
        self._device = device
        self._told, self.events = trio.open_memory_channel[Event](EVENTS_MAX)
        self._telling = trio.Lock()
        self._rooms: dict[int, _Room] = {}
        self._outbox = Outbox()
        self._outbox_emptied = trio.Event()
        self._replies: dict[str, _Reply] = {}
        self._frames: trio.MemorySendChannel[str] | None = None  # None while not connected
        self._nursery = nursery
        self._conversation = trio.CancelScope()
        self._serial = 0
        self._was_ready = False
        self._is_ready = False
        self._failures = 0
        self._is_leaving = False
        self._waiting = trio.CancelScope()  # around what need not end in order

    # -- for the user -------------------------------------------------------------------------------------------

    @property
    def is_connected(self) -> bool:
        """The server has let us in, and is not known to be gone."""
        return self._is_ready

    @property
    def unsent(self) -> int:
        """Lines that the server has not acknowledged."""
        return len(self._outbox)

    async def join(self, room_id: int, *, recent: int = 0) -> None:
        """Hear the room from now on, and its newest *recent* messages before. Waits for the server.

        Raises: Refused.
        """
        room = self._rooms.setdefault(room_id, _Room(room_id, RoomLog(recent)))
        if self._is_ready and room.log.seq is None:
            self._nursery.start_soon(partial(self._enter, room))
        await room.entered.wait()
        if room.refusal is not None:
            raise room.refusal

    def send(self, room_id: int, body: str) -> str:
        """Say *body* in the room, now or when the server is back; its client id. Raises: OutboxFull."""
        line = Line(room_id, body)
        self._outbox.put(line)
        self._send_next()
        return line.client_id

    async def wait_sent(self) -> None:
        """Wait until every line is acknowledged or refused."""
        while self._outbox:
            self._outbox_emptied = trio.Event()
            await self._outbox_emptied.wait()

    def typing(self, room_id: int, *, is_typing: bool) -> None:
        """Show others that we type; lost when there is no connection."""
        if self._is_ready:
            self._write({"type": "typing", "room": room_id, "data": {"on": is_typing}})

    async def request(self, kind: str, room_id: int, data: dict[str, Any] | None = None) -> dict[str, Any]:
        """Ask the server something over the socket. Raises: Refused, ServerAway."""
        if self._frames is None:
            raise ServerAway("there is no connection")
        self._serial += 1
        command_id = f"c{self._serial}"
        reply = self._replies[command_id] = _Reply()
        self._write({"type": kind, "id": command_id, "room": room_id, "data": data or {}})
        try:
            await reply.arrived.wait()
        finally:
            self._replies.pop(command_id, None)
        if reply.error is not None:
            raise reply.error
        return reply.data

    async def history(self, room_id: int, count: int, before: int | None = None) -> list[Said]:
        """The newest messages before a seq, oldest first. Raises: Refused, ServerAway."""
        data = {"limit": min(count, HISTORY_PAGE), **({} if before is None else {"before": before})}
        answer = await self.request("history", room_id, data)
        return [said(room_id, item, item, self.user_id) for item in answer["messages"]]

    async def http(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """`data` of the answer to an HTTP request. Raises: Refused with the status, ServerAway."""
        return await trio.to_thread.run_sync(ask, self.url, self._token, method, path, body, abandon_on_cancel=True)

    # -- connections --------------------------------------------------------------------------------------------

    async def _keep_connected(self) -> None:
        while not self._is_leaving:
            code, why = await self._connect()
            self._lost()
            if 4000 <= code < 4100:
                raise ClientRefused(why)
            with trio.CancelScope() as self._waiting:
                seconds = self._retry_seconds(code)
                await self._tell(Disconnected(why, seconds))
                await trio.sleep(seconds)

    def _leave(self) -> None:
        self._is_leaving = True
        self._conversation.cancel(reason="the client leaves")
        self._waiting.cancel(reason="the client leaves")

    def _retry_seconds(self, code: int) -> float:
        self._failures += 1
        is_told_to_resume = 4200 <= code < 4300 and self._failures == 1
        ceiling = 1.0 if is_told_to_resume else RETRY_SECONDS_FIRST * 2 ** min(self._failures, 8)
        return random.uniform(0, min(ceiling, RETRY_SECONDS_MAX))

    async def _connect(self) -> tuple[int, str]:
        """Hold one connection to its end; the close code, or 0, and why it ended. Raises: ClientRefused."""
        address = f"ws{self.url.removeprefix('http')}/ws"
        headers = [(b"Authorization", f"Bearer {self._token}".encode())]
        try:
            async with open_websocket_url(
                address,
                subprotocols=[SUBPROTOCOL],
                extra_headers=headers,
                connect_timeout=CONNECT_SECONDS_MAX,
                disconnect_timeout=CLOSE_SECONDS_MAX,
                message_queue_size=64,
            ) as socket:
                return await self._converse(socket)
        except ConnectionRejected as rejected:
            if rejected.status_code in (401, 403):
                raise ClientRefused(why_rejected(rejected.status_code, rejected.body)) from None
            return 0, f"the server answers {rejected.status_code}"
        except (HandshakeError, OSError, trio.TooSlowError):
            return 0, f"{self.url} does not answer"

    async def _converse(self, socket: Any) -> tuple[int, str]:
        self._frames, frames = trio.open_memory_channel[str](float("inf"))  # bounded by outbox and replies
        end = (0, "the connection was lost")
        async with trio.open_nursery() as nursery:
            self._conversation = nursery.cancel_scope
            nursery.start_soon(_write_all, socket, frames)
            if self._is_leaving:
                nursery.cancel_scope.cancel(reason="the client leaves")
            self._write({"type": "start", "id": "start", "data": self._start()})
            try:
                while True:
                    with trio.fail_after(SILENCE_SECONDS_MAX):
                        text = await socket.get_message()
                    frame = json.loads(text)
                    for item in frame if isinstance(frame, list) else [frame]:
                        await self._heard(item)
            except ConnectionClosed as closed:
                if closed.reason is not None and closed.reason.code != ABNORMAL:
                    end = closed.reason.code, closed.reason.reason or f"closed with {closed.reason.code}"
            except trio.TooSlowError:
                end = 0, "nothing was heard for too long"
            nursery.cancel_scope.cancel(reason=end[1])
        return end

    def _start(self) -> dict[str, Any]:
        logs = {room.id: room.log for room in self._rooms.values()}
        known = {
            str(room_id): {"seq": log.seq, "epoch": log.epoch} for room_id, log in logs.items() if log.seq is not None
        }
        new = [{"r": room_id} for room_id, log in logs.items() if log.seq is None]
        return {"device": self._device, "rooms": new, **({"resume": {"rooms": known}} if known else {})}

    def _lost(self) -> None:
        self._frames = None
        self._is_ready = False
        self._outbox.again()
        for reply in self._replies.values():
            reply.error = ServerAway("the connection was lost")
            reply.arrived.set()
        for room in self._rooms.values():
            room.is_fetching = False

    def _write(self, command: dict[str, Any]) -> None:
        if self._frames is not None:
            self._frames.send_nowait(json.dumps(command, ensure_ascii=False, separators=(",", ":")))

    # -- what the server says -----------------------------------------------------------------------------------

    async def _heard(self, frame: dict[str, Any]) -> None:
        kind, data = frame.get("type"), frame.get("data", {})
        if kind in ("ack", "error") and "id" in frame:
            await self._answered(frame["id"], data, is_error=kind == "error")
        elif kind == "ready":
            await self._ready(data)
        elif kind == "ping":
            self._write({"type": "pong"})
        else:
            for room_id in rooms_of(frame):
                if (room := self._rooms.get(room_id)) is not None:
                    await self._heard_in(room, frame, data)

    async def _heard_in(self, room: _Room, frame: dict[str, Any], data: dict[str, Any]) -> None:
        if frame["type"] == "message":
            told = room.log.take(said(room.id, frame, data, self.user_id))
            self._fetch_soon(room)
            await self._tell(*told)
        elif frame["type"] == "gap":
            await self._gap(room, data)
        elif (event := event_of(frame, room.id, self.user_id)) is not None:
            await self._tell(event)

    async def _ready(self, data: dict[str, Any]) -> None:
        self.user_id = data["user"]
        self._is_ready, self._failures = True, 0
        await self._tell(Connected(self.user_id, data.get("name", ""), self._was_ready))
        self._was_ready = True
        for item in data["rooms"]:
            self._entered(self._rooms[item["r"]], item)
        answered = {item["r"] for item in (*data["rooms"], *data.get("refused", ()))}
        for room in self._rooms.values():
            if room.id not in answered:  # asked for since `start` was sent
                self._nursery.start_soon(partial(self._enter, room))
        for item in data.get("refused", ()):
            room = self._rooms[item["r"]]
            if item["code"] in WORTH_ANOTHER_TRY:
                self._nursery.start_soon(partial(self._enter, room, wait_seconds=1.0))
            else:
                await self._shut_out(room, Refused(item["code"], item["error"]))
        self._send_next()

    async def _enter(self, room: _Room, *, wait_seconds: float = 0.0) -> None:
        """Join one room on a connection that is ready; a lost connection leaves it to the next one."""
        await trio.sleep(wait_seconds)
        try:
            item = await self.request("join", room.id, {} if room.log.seq is None else {"after": room.log.seq})
        except ServerAway:
            return
        except Refused as refused:
            if refused.code in WORTH_ANOTHER_TRY:
                await self._enter(room, wait_seconds=1.0)
            else:
                await self._shut_out(room, refused)
            return
        self._entered(room, item)

    def _entered(self, room: _Room, item: dict[str, Any]) -> None:
        room.log.entered(item["top"], item["epoch"])
        room.entered.set()
        self._fetch_soon(room)

    async def _shut_out(self, room: _Room, refused: Refused) -> None:
        del self._rooms[room.id]
        room.refusal = refused
        was_in = room.entered.is_set()
        room.entered.set()
        if was_in:
            await self._tell(RoomRefused(room.id, str(refused)))

    async def _gap(self, room: _Room, data: dict[str, Any]) -> None:
        if data.get("reset"):
            room.log.replaced(data["top"])
            await self._tell(Replaced(room.id))
        else:
            room.log.skipped(data["to"])
        self._fetch_soon(room)

    # -- every message once, in order ---------------------------------------------------------------------------

    async def _tell(self, *events: Event) -> None:
        async with self._telling:  # first come, first served: what two tasks tell keeps its order
            for event in events:
                await self._told.send(event)

    def _fetch_soon(self, room: _Room) -> None:
        if not room.is_fetching and self._is_ready and room.log.is_missing:
            room.is_fetching = True
            self._nursery.start_soon(partial(self._fetch, room))

    async def _fetch(self, room: _Room) -> None:
        """Fetch what lies between what was told and the goal. Outlives its connection: what was taken must be told."""
        try:
            while room.log.is_missing:
                goal = room.log.goal
                answer = await self.request("history", room.id, {"after": room.log.seq, "limit": HISTORY_PAGE})
                page = [said(room.id, item, item, self.user_id) for item in answer["messages"]]
                await self._tell(*room.log.take_page(page, goal))
        except ServerAway:
            return  # the next connection begins where we are
        except Refused:
            await trio.sleep(1.0)
        room.is_fetching = False
        self._fetch_soon(room)

    # -- every line once, in order ------------------------------------------------------------------------------

    def _send_next(self) -> None:
        if self._is_ready and (line := self._outbox.start()) is not None:
            self._write({"type": "send", "id": line.client_id, "room": line.room_id, "data": {"body": line.body}})

    async def _answered(self, command_id: str, data: dict[str, Any], *, is_error: bool) -> None:
        if self._outbox.is_under_way(command_id):
            await self._line_answered(data, is_error=is_error)
        elif (reply := self._replies.get(command_id)) is not None:
            if is_error:
                reply.error = Refused(data["code"], data.get("message") or data["error"])
            reply.data = data
            reply.arrived.set()

    async def _line_answered(self, data: dict[str, Any], *, is_error: bool) -> None:
        if is_error and data["code"] in WORTH_ANOTHER_TRY:
            self._nursery.start_soon(partial(self._send_later, float(data.get("retryAfter", 1))))
            return
        line = self._outbox.finish()
        if is_error:
            await self._tell(Undelivered(line.room_id, line.body, data.get("message") or data["error"]))
        if not self._outbox:
            self._outbox_emptied.set()
        self._send_next()

    async def _send_later(self, seconds: float) -> None:
        await trio.sleep(seconds)
        self._outbox.again()
        self._send_next()


async def _write_all(socket: Any, frames: trio.MemoryReceiveChannel[str]) -> None:
    try:
        async for text in frames:
            await socket.send_message(text)
    except ConnectionClosed:
        return  # the reader is told as well, and ends the conversation
