"""A client of greenroom.v1 that outlives its connections. The contract that it keeps stands in docs/clients.md.

    async with open_client("http://127.0.0.1:8787", token) as client:
        await client.join(42)
        client.send(42, "hello")
        async for event in client.events:
            ...

- Each message of a joined room is told once and in the order of its seq, whatever is lost in between: what a new
  connection does not replay is fetched with `history`.
- A line is kept until the server says that it is stored, and sent again on every new connection under the same client
  id, which the server stores once. One line of each room is under way at a time, so their order is kept.
- After a loss it connects again, when the range of the close code says so (backoff.py). 1000, 40xx and a refused
  credential end it with `ClientRefused`; where *token* can be asked for another one, it is, once.

Read `events` in a task of its own: when EVENTS_MAX are unread, nothing more is taken from the server. What is said over
HTTP (lists, membership) goes through `http`, which does not retry.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import trio

from greenroom.client.connection import CLOSE_SECONDS_MAX, Connection, Token
from greenroom.client.errors import ClientRefused, Refused, ServerAway
from greenroom.client.events import (
    Confirmed,
    Connected,
    Disconnected,
    Event,
    Member,
    Person,
    Replaced,
    RoomRefused,
    Said,
    Undelivered,
)
from greenroom.client.events import Presence as PresenceChanged
from greenroom.client.frames import entries, entry, event_of, rooms_of, start_of, text_of
from greenroom.client.outbox import Line, Outbox
from greenroom.client.presence import Changed, Presence
from greenroom.client.requests import ask
from greenroom.client.room_log import RoomLog

EVENTS_MAX: Final = 1024
HISTORY_PAGE: Final = 200
HOLE_SECONDS: Final = 0.2  # what is missing may be on its way
ROOMS_MAX: Final = 200
WORTH_ANOTHER_TRY: Final = frozenset((4291, 4292, 5002, 5003))
_AGAIN_SECONDS: Final = 1.0
_FRAME_BYTES_MAX: Final = 131072
_NOT_MEMBER: Final = 3004
_FRAME_TOO_BIG: Final = 1003
_TOO_MANY_ROOMS: Final = 4293
_CLOSED_TOO_BIG: Final = 1009


@dataclass(slots=True)
class _Room:
    """entered: the server has let us in, or has refused to."""

    id: int
    log: RoomLog
    presence: Presence = field(default_factory=Presence)
    is_fetching: bool = False
    entered: trio.Event = field(default_factory=trio.Event)
    refusal: Exception | None = None


@dataclass(slots=True)
class _Reply:
    """room: of a join, which is entered before anything that comes after the answer is looked at."""

    room: _Room | None = None
    arrived: trio.Event = field(default_factory=trio.Event)
    data: dict[str, Any] = field(default_factory=dict)
    error: Exception | None = None


@asynccontextmanager
async def open_client(url: str, token: Token, *, device: str = "") -> AsyncIterator["Client"]:
    """Keep a client connected to the server at *url* while the block lasts, and close the connection at its end.

    token: a credential, or an async function that is asked for one before each connection, and when one expires.
    Raises: ClientRefused, and what the block raises.
    """
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
            with trio.move_on_after(CLOSE_SECONDS_MAX, shield=True):
                await has_left.wait()
            nursery.cancel_scope.cancel(reason="the client leaves")
    if failure is not None:
        raise failure


class Client:
    """See the top of this file. Made by `open_client`."""

    def __init__(self, url: str, token: Token, device: str, nursery: trio.Nursery) -> None:
        self.url = url.rstrip("/")
        self.user_id = 0
        self.is_connected = False  # the server has let us in, and is not known to be gone
        self._device = device
        self._told, self.events = trio.open_memory_channel[Event](EVENTS_MAX)
        self._telling = trio.Lock()
        self._rooms: dict[int, _Room] = {}
        self._outbox = Outbox()
        self._outbox_emptied = trio.Event()
        self._replies: dict[str, _Reply] = {}
        self._nursery = nursery
        self._serial = 0
        self._frame_bytes_max = _FRAME_BYTES_MAX
        self._was_ready = False
        self._connection = Connection(
            self.url, token, on_frame=self._heard, on_lost=self._lost, is_awaiting=self._is_awaiting
        )

    # -- for the user -------------------------------------------------------------------------------------------

    @property
    def unsent(self) -> int:
        """Lines that are neither confirmed nor undelivered."""
        return len(self._outbox)

    def pending(self, room_id: int) -> list[Line]:
        """Those of one room, as they were said."""
        return self._outbox.of(room_id)

    def here(self, room_id: int) -> dict[int, Person] | None:
        """Who is in the room now, by id; None while nobody has told, or in rooms where nobody tells."""
        room = self._rooms.get(room_id)
        return dict(room.presence.people) if room is not None and room.presence.is_known else None

    async def join(self, room_id: int, *, recent: int = 0) -> None:
        """Hear the room from now on, and its newest *recent* messages before. Waits for the server.

        Raises: Refused.
        """
        room = self._rooms.get(room_id)
        if room is None:
            if len(self._rooms) >= ROOMS_MAX:
                raise Refused(_TOO_MANY_ROOMS, f"{ROOMS_MAX} rooms are joined")
            room = self._rooms[room_id] = _Room(room_id, RoomLog(recent))
            if self.is_connected:
                self._nursery.start_soon(partial(self._enter, room))
        await room.entered.wait()
        if room.refusal is not None:
            raise room.refusal

    def leave(self, room_id: int) -> None:
        """Hear no more of the room; membership stays."""
        room = self._rooms.pop(room_id, None)
        if room is not None and not room.entered.is_set():
            room.refusal = Refused(_NOT_MEMBER, "the room was left")
            room.entered.set()
        self._write({"type": "leave", "room": room_id})

    def send(self, room_id: int, body: str) -> str:
        """Say *body* in the room, now or when the server is back; its client id. Raises: OutboxFull."""
        line = Line(room_id, body)
        self._outbox.put(line)
        self._send_next()
        return line.client_id

    async def wait_sent(self) -> None:
        """Wait until every line is confirmed or undelivered."""
        while self._outbox:
            self._outbox_emptied = trio.Event()
            await self._outbox_emptied.wait()

    def typing(self, room_id: int, *, is_typing: bool) -> None:
        """Show others that we type; lost when there is no connection."""
        self._write({"type": "typing", "room": room_id, "data": {"on": is_typing}})

    def read(self, room_id: int, seq: int) -> None:
        """Move our marker; lost when there is no connection."""
        self._write({"type": "read", "room": room_id, "data": {"seq": seq}})

    async def request(self, kind: str, room_id: int | None, data: dict[str, Any] | None = None) -> dict[str, Any]:
        """Ask the server something over the socket. Raises: Refused, ServerAway."""
        return await self._ask(kind, room_id, data or {}, _Reply())

    async def _ask(self, kind: str, room_id: int | None, data: dict[str, Any], reply: _Reply) -> dict[str, Any]:
        if not self.is_connected:
            raise ServerAway("there is no connection")
        self._serial += 1
        command_id = f"c{self._serial}"
        self._replies[command_id] = reply
        room = {} if room_id is None else {"room": room_id}
        self._write({"type": kind, "id": command_id, **room, "data": data})
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
        return [message for _, message in entries(room_id, answer, self.user_id) if message is not None]

    async def http(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """`data` of the answer to an HTTP request. Raises: Refused with the status, ServerAway."""
        token = self._connection.token or await self._connection.fresh_token()
        return await trio.to_thread.run_sync(ask, self.url, token, method, path, body, abandon_on_cancel=True)

    # -- connections --------------------------------------------------------------------------------------------

    def _write(self, command: dict[str, Any]) -> None:
        if self.is_connected:
            self._connection.write(text_of(command))

    def _is_awaiting(self) -> bool:
        return not self.is_connected or bool(self._replies) or bool(self._outbox.under_way)

    async def _lost(self, code: int, why: str, retry_seconds: float) -> None:
        self.is_connected = False
        suspects = sorted(self._outbox.under_way, key=lambda line: len(line.body))
        self._outbox.again()
        for reply in self._replies.values():
            reply.error = ServerAway("the connection was lost")
            reply.arrived.set()
        for room in self._rooms.values():
            room.presence.forget()
        if code == _CLOSED_TOO_BIG and suspects:  # the frame that closed this connection would close every one
            await self._undelivered(suspects[-1], _FRAME_TOO_BIG, "too long for one frame")
        await self._tell(Disconnected(code, why, retry_seconds))

    def _hello(self, data: dict[str, Any]) -> None:
        self._connection.silence_seconds = (data["hb"] + data["hbGrace"]) / 1000
        self._frame_bytes_max = data.get("limits", {}).get("frame", _FRAME_BYTES_MAX)
        start = start_of(self._device, {room.id: room.log for room in self._rooms.values()})
        self._connection.write(text_of({"type": "start", "id": "start", "data": start}))

    async def _refresh(self) -> None:
        """Show another token on the same connection; what fails is mended by the next connection."""
        if not self._connection.is_token_renewable:
            return
        try:
            await self.request("refresh", None, {"token": await self._connection.fresh_token()})
        except Exception:  # theirs or the server's: it closes with 4002 when the old token is over
            return

    # -- what the server says -----------------------------------------------------------------------------------

    async def _heard(self, frame: dict[str, Any]) -> None:
        kind, data = frame.get("type"), frame.get("data", {})
        if kind in ("ack", "error") and "id" in frame:
            await self._answered(frame["id"], data, is_error=kind == "error")
        elif kind == "hello":
            self._hello(data)
        elif kind == "ready":
            await self._ready(data)
        elif kind == "live":
            self._connection.live()
            for room_id in data["rooms"]:
                if room_id in self._rooms:
                    self._rooms[room_id].presence.live()
        elif kind == "token_expiring":
            self._nursery.start_soon(self._refresh)
        else:
            for room_id in rooms_of(frame):
                if (room := self._rooms.get(room_id)) is not None:
                    await self._heard_in(room, frame, data)

    async def _heard_in(self, room: _Room, frame: dict[str, Any], data: dict[str, Any]) -> None:
        kind = frame["type"]
        if "seq" in frame:
            told = room.log.take(*entry(room.id, frame, self.user_id))
            self._fetch_soon(room, HOLE_SECONDS)
            await self._tell(*told)
        elif kind == "gap":
            await self._gap(room, data)
        elif kind == "presence_state":
            await self._tell_presence(room, room.presence.state(data["users"]))
        elif kind == "presence_diff":
            await self._tell_presence(room, room.presence.diff(data["joins"], data["leaves"]))
        if (event := event_of(frame, room.id, self.user_id)) is not None:
            await self._tell(event)
            if isinstance(event, Member) and event.user_id == self.user_id and not event.is_active:
                await self._shut_out(room, Refused(_NOT_MEMBER, "no member any more"))

    async def _ready(self, data: dict[str, Any]) -> None:
        self.user_id = data["user"]
        self.is_connected = True
        await self._tell(Connected(self.user_id, data.get("name", ""), self._was_ready))
        self._was_ready = True
        unanswered = dict(self._rooms)
        for item in (*data["rooms"], *data.get("refused", ())):
            room = unanswered.pop(item["r"], None)
            if room is None:  # left since `start` was sent
                self._write({"type": "leave", "room": item["r"]})
            elif "code" in item:
                await self._room_refused(room, Refused(item["code"], item["error"]))
            else:
                self._entered(room, item)
        for room in unanswered.values():  # asked for since
            self._nursery.start_soon(partial(self._enter, room))
        self._send_next()

    async def _enter(self, room: _Room, *, wait_seconds: float = 0.0) -> None:
        """Join one room on a connection that is ready; a lost connection leaves it to the next one."""
        await trio.sleep(wait_seconds)
        log = room.log
        try:
            known = {} if log.seq is None else {"after": log.seq, "epoch": log.epoch}
            await self._ask("join", room.id, known, _Reply(room))
        except ServerAway:
            return
        except Refused as refused:
            await self._room_refused(room, refused)

    def _entered(self, room: _Room, item: dict[str, Any]) -> None:
        room.log.entered(item["top"], item["epoch"])
        room.entered.set()
        self._fetch_soon(room)

    async def _room_refused(self, room: _Room, refused: Refused) -> None:
        if refused.code in WORTH_ANOTHER_TRY:
            self._nursery.start_soon(partial(self._enter, room, wait_seconds=_AGAIN_SECONDS))
        else:
            await self._shut_out(room, refused)

    async def _shut_out(self, room: _Room, refused: Refused) -> None:
        if self._rooms.get(room.id) is not room:
            return
        del self._rooms[room.id]
        room.refusal = refused
        was_in = room.entered.is_set()
        room.entered.set()
        if was_in:
            await self._tell(RoomRefused(room.id, refused.code, str(refused)))

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
                if isinstance(event, Said) and event.is_own and (line := self._outbox.find(event.client_id)):
                    self._finish(line)  # its ack was lost, or comes later
                    await self._told.send(Confirmed(line.room_id, line.client_id, event.seq))
                await self._told.send(event)

    async def _tell_presence(self, room: _Room, changed: Changed) -> None:
        if any(changed):
            await self._tell(PresenceChanged(room.id, *changed))

    def _fetch_soon(self, room: _Room, wait_seconds: float = 0.0) -> None:
        if not room.is_fetching and self.is_connected and room.log.is_missing:
            room.is_fetching = True
            self._nursery.start_soon(partial(self._fetch, room, wait_seconds))

    async def _fetch(self, room: _Room, wait_seconds: float) -> None:
        """Fetch what lies between what was told and the goal. Outlives its connection: what was taken must be told."""
        log = room.log
        try:
            await trio.sleep(wait_seconds)
            while log.is_missing and self._rooms.get(room.id) is room:
                goal, lives = log.goal, log.lives
                answer = await self.request("history", room.id, {"after": log.seq, "limit": HISTORY_PAGE})
                if lives == log.lives:
                    await self._tell(*log.take_page(entries(room.id, answer, self.user_id), goal))
        except ServerAway:
            pass  # the next connection begins where we are
        except Refused:
            await trio.sleep(_AGAIN_SECONDS)
        room.is_fetching = False
        self._fetch_soon(room)

    # -- every line once, in order ------------------------------------------------------------------------------

    def _send_next(self) -> None:
        if not self.is_connected:
            return
        for line in self._outbox.start():
            text = text_of({"type": "send", "id": line.client_id, "room": line.room_id, "data": {"body": line.body}})
            if len(text.encode()) > self._frame_bytes_max:
                self._nursery.start_soon(self._undelivered, line, _FRAME_TOO_BIG, "too long for one frame")
            else:
                self._connection.write(text)

    async def _answered(self, command_id: str, data: dict[str, Any], *, is_error: bool) -> None:
        line, reply = self._outbox.find(command_id), self._replies.get(command_id)
        what = (data.get("message") or data["error"]) if is_error else ""
        if line is not None:
            if not is_error:
                self._finish(line)
                await self._tell(Confirmed(line.room_id, line.client_id, data["seq"]))
            elif data.get("recoverable"):
                self._outbox.hold(line)
                self._nursery.start_soon(self._release_later, line.room_id, float(data.get("retryAfter", 0)))
            else:
                await self._undelivered(line, data["code"], what)
        elif reply is not None:
            reply.error = Refused(data["code"], what) if is_error else None
            reply.data = data
            if reply.room is not None and not is_error:
                self._entered(reply.room, data)
            reply.arrived.set()

    async def _undelivered(self, line: Line, code: int, why: str) -> None:
        if self._outbox.find(line.client_id) is not None:
            self._finish(line)
            await self._tell(Undelivered(line.room_id, line.client_id, line.body, code, why))

    def _finish(self, line: Line) -> None:
        self._outbox.finish(line)
        if not self._outbox:
            self._outbox_emptied.set()
        self._send_next()

    async def _release_later(self, room_id: int, seconds: float) -> None:
        await trio.sleep(max(_AGAIN_SECONDS, seconds))
        self._outbox.release(room_id)
        self._send_next()
