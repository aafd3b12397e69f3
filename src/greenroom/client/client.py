"""A client of greenroom.v1 that outlives its connections. The contract that it keeps stands in docs/clients.md.

    async with open_client("http://127.0.0.1:8787", token) as client:
        await client.join(42)
        client.send(42, "hello")
        async for event in client.events:
            ...

- Each message of a joined room is told once and in the order of its seq, whatever is lost in between: what a new
  connection does not replay is fetched with `history`.
- What concerns the user alone, on all devices, is told once and in the order of its useq.
- A line is kept until the server says that it is stored, and sent again on every new connection under the same client
  id, which the server stores once. One line of each room is under way at a time, so their order is kept.
- After a loss it connects again, when the range of the close code says so (backoff.py). 1000, 40xx and a refused
  credential end it with `ClientRefused`; where *token* can be asked for another one, it is, once.

Read `events` in a task of its own: when EVENTS_MAX are unread, nothing more is taken. `http` (lists) does not retry.
"""

from collections.abc import Iterable
from functools import partial
from itertools import count
from typing import Any, Final, Unpack

import trio

from greenroom.client import door
from greenroom.client.asking import Asking, Reply
from greenroom.client.backoff import heeded
from greenroom.client.connection import Connection
from greenroom.client.door import GivenId, Token
from greenroom.client.errors import Refused, ServerAway, is_worth_another_try
from greenroom.client.events import (
    CaughtUp,
    Confirmed,
    Connected,
    Disconnected,
    Event,
    Person,
    Replaced,
    RoomRefused,
    Said,
)
from greenroom.client.frame_limit import FrameLimit
from greenroom.client.frames import (
    KNOWN_IN_ROOMS,
    entered_of,
    entries,
    entry,
    error_of,
    event_of,
    holding,
    is_end,
    other,
    rooms_of,
    start_of,
    text_of,
    whole,
)
from greenroom.client.message_commands import MessageCommands
from greenroom.client.outbox import Line
from greenroom.client.pace import Pace
from greenroom.client.refreshing import Refreshing
from greenroom.client.requests import ask
from greenroom.client.room import Room
from greenroom.client.room_log import RoomLog
from greenroom.client.sending import Sending
from greenroom.client.user_stream import HOLE_SECONDS, UserStream
from greenroom.client.watching import Watching

EVENTS_MAX: Final = 1024
HISTORY_PAGE: Final = 200
ROOMS_MAX: Final = 200
_AGAIN_SECONDS: Final = 1.0
_NOT_MEMBER: Final = 3004
_UNAUTHENTICATED: Final = 4001
_TOO_MANY_ROOMS: Final = 4293
_CLOSED_TOO_BIG: Final = 1009


class Client(MessageCommands):
    """See the top of this file. Made by `open_client` (opening.py)."""

    def __init__(self, url: str, token: Token, device: str, nursery: trio.Nursery) -> None:
        self.url = url
        self.user_id = 0
        self.is_connected = False  # the server has let us in, and is not known to be gone
        self._device = device
        self._told, self.events = trio.open_memory_channel[Event](EVENTS_MAX)
        self._telling = trio.Lock()
        self._rooms: dict[int, Room] = {}
        self._early: list[dict[str, Any]] = []  # what has come before `ready`, which says whose it is
        self._lost_rooms: set[int] = set()  # refused by `ready`: that we are out of them follows, before `live`
        self._nursery = nursery
        self._was_ready = False
        self._connection = Connection(
            self.url, token, on_frame=self._heard, on_lost=self._lost, is_awaiting=self._is_awaiting
        )
        self._pace = Pace()
        ids = map("c{}".format, count(1))  # of every command, so that each answer is known by its id
        self._frame_limit = FrameLimit()
        self._asking = Asking(ids, self._frame_limit, self._pace, self._write, nursery)
        self._sending = Sending(ids, self._frame_limit, self._pace, self._write, self._tell, nursery)
        self._user_stream = UserStream(self.request, self._tell, nursery)
        self._watching = Watching(self._ask, nursery)
        self._refreshing = Refreshing(self._connection, self.request)

    # -- for the user -------------------------------------------------------------------------------------------

    def retry_now(self) -> None:
        """Do not wait for the next try: the network is back, or somebody is."""
        self._connection.retry_now()

    def end_now(self) -> None:
        """At the end of the block do not wait until the server has answered the close: somebody does not want to."""
        self._connection.leave_now()

    @property
    def unsent(self) -> int:
        """Lines that are neither confirmed nor undelivered."""
        return len(self._sending.outbox)

    def pending(self, room_id: GivenId) -> list[Line]:
        """Those of one room, as they were said."""
        return self._sending.outbox.of(door.room_id_of(room_id))

    def here(self, room_id: GivenId) -> dict[int, Person] | None:
        """Who is in the room now, by id; None while nobody has told, or in rooms where nobody tells."""
        room = self._rooms.get(door.room_id_of(room_id))
        return dict(room.presence.people) if room is not None and room.presence.is_known else None

    async def join(self, room_id: GivenId, *, recent: int = 0) -> None:
        """Hear the room from now on, and its newest *recent* messages before. Waits for the server.

        Raises: Refused.
        """
        room_id, recent = door.room_id_of(room_id), door.count_of(recent, "recent")
        room = self._rooms.get(room_id)
        if room is None:
            if len(self._rooms) >= ROOMS_MAX:
                raise Refused(_TOO_MANY_ROOMS, f"{ROOMS_MAX} rooms are joined")
            room = self._rooms[room_id] = Room(room_id, RoomLog(recent))
            if self.is_connected:
                self._nursery.start_soon(self._enter, room)
        await room.entered.wait()
        if room.refusal is not None:
            raise room.refusal

    def leave(self, room_id: GivenId) -> None:
        """Hear no more of the room; membership stays."""
        room_id = door.room_id_of(room_id)
        room = self._rooms.pop(room_id, None)
        self._lost_rooms.discard(room_id)
        if room is not None:
            room.refuse(Refused(_NOT_MEMBER, "the room was left"))
        self._asking.leave(room_id)

    def send(self, room_id: GivenId, body: str, **given: Unpack[door.GivenLine]) -> str:
        """Say *body* in the room, now or when the server is back; its client id.

        client_id: of a line that an earlier client was given, and that may be stored or not. attachments: the keys of
        its files, which were uploaded over HTTP. details: of docs/wire-protocol.md. Raises: OutboxFull; Refused, of a
        client id under which another line of the room is pending.
        """
        line = door.line_of(room_id, body, **given)
        self._sending.say(line)
        return line.client_id

    async def wait_sent(self) -> None:
        """Wait until every line is confirmed or undelivered."""
        await self._sending.wait()

    def typing(self, room_id: GivenId, *, is_typing: bool) -> None:
        """Show others that we type; lost when there is no connection, and while the server asks to type less."""
        command = {"type": "typing", "room": door.room_id_of(room_id), "data": {"on": is_typing}}
        if self._pace.wait_seconds("typing", trio.current_time()) == 0:
            self._write(text_of(command))

    def read(self, room_id: GivenId, seq: int) -> None:
        """Move our marker; lost when there is no connection."""
        room_id, data = door.room_id_of(room_id), {"seq": door.count_of(seq, "seq")}
        self._asking.say(f"read {room_id}", {"type": "read", "room": room_id, "data": data})

    async def watch(self, people: Iterable[GivenId]) -> list[int] | None:
        """Be told how these are, wherever they are, and nobody else by name; nobody at all where there are none.

        At most 200. Waits for the server, and is asked again on each connection. What is told are `Watched`. Answers
        with the ids that the server refuses, None when a later call has taken this one's place. Raises: Refused.
        """
        return await self._watching.watch(door.people_of(people))

    async def request(self, kind: str, room_id: GivenId | None, data: dict[str, Any] | None = None) -> dict[str, Any]:
        """Ask the server something over the socket; while it asks to slow down that waits.

        Raises: Refused, ServerAway; ValueError for `pong`, which has no answer.
        """
        if kind == "pong":
            raise ValueError("pong has no answer: ask with ping")
        return await self._ask(kind, None if room_id is None else door.room_id_of(room_id), data or {}, Reply())

    async def _ask(self, kind: str, room_id: int | None, data: dict[str, Any], reply: Reply) -> dict[str, Any]:
        room = {} if room_id is None else {"room": room_id}
        return await self._asking.ask({"type": kind, **room, "data": data}, reply)

    async def history(self, room_id: GivenId, count: int, before: int | None = None) -> list[Said]:
        """The newest messages before a seq, oldest first. Raises: Refused, ServerAway."""
        room_id = door.room_id_of(room_id)
        data = {"limit": min(count, HISTORY_PAGE), **({} if before is None else {"before": before})}
        found = list[Said]()

        async def read(answer: dict[str, Any]) -> None:  # here: of a page that cannot be read the line is given up
            found.extend(told for _, told in entries(room_id, answer, self.user_id) if isinstance(told, Said))

        await self._ask("history", room_id, data, Reply(read))
        return found

    async def http(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """`data` of the answer to an HTTP request. Raises: Refused with the status, ServerAway."""
        token = self._connection.token or await self._connection.fresh_token()
        self._connection.check_token(token)
        return await trio.to_thread.run_sync(ask, self.url, token, method, path, body, abandon_on_cancel=True)

    # -- connections --------------------------------------------------------------------------------------------

    def _write(self, text: str) -> None:
        if self.is_connected:
            self._connection.write(text)

    def _is_awaiting(self) -> bool:
        return not self.is_connected or len(self._asking) > 0 or bool(self._sending.outbox.under_way)

    async def _lost(self, code: int, why: str, retry_seconds: float, *, is_expected: bool) -> None:
        self.is_connected = False
        self._early.clear()
        longest = self._sending.lose()
        self._asking.lose()
        self._user_stream.lose()
        self._watching.lose()
        ended = [event for room in self._rooms.values() for event in room.lose()]
        if code == _CLOSED_TOO_BIG and longest is not None:  # it would close every connection
            await self._sending.refuse_too_long(longest)
        await self._tell(*ended, Disconnected(code, why, retry_seconds, is_expected))

    def _hello(self, data: dict[str, Any]) -> None:
        self._connection.silence_seconds = (data["hb"] + data["hbGrace"]) / 1000
        logs = {room.id: room.log for room in self._rooms.values()}
        start = {"type": "start", "id": "start", "data": start_of(self._device, logs, self._user_stream.log.cursor)}
        text = text_of(start)
        self._frame_limit.begin(data.get("limits", {}), text)
        self._connection.write(text)

    def _start_refused(self, data: dict[str, Any]) -> None:
        """What is wrong with the token the close that follows says; after anything else nothing would follow."""
        if data.get("category") != "auth":
            why, seconds = data.get("message") or data["error"], data.get("retryAfter")
            wait = None if seconds is None else heeded(float(seconds))  # here: what is no time costs a try
            self._connection.give_up(f"start was refused with {data['code']}: {why}", wait)

    # -- what the server says -----------------------------------------------------------------------------------

    async def _heard(self, frame: dict[str, Any]) -> None:
        kind, data = frame.get("type"), frame.get("data", {})
        if kind in ("ack", "error", "pong") and "id" in frame:
            await self._answered(frame["id"], data, is_error=kind == "error")
        elif kind == "hello":
            self._hello(data)
        elif kind == "ready":
            await self._ready(data)
        elif kind == "slow_down":
            self._pace.slow_down(data["class"], float(data.get("retryAfter", _AGAIN_SECONDS)), trio.current_time())
        elif not self.is_connected:
            self._early.append(frame)
        elif "useq" in frame or (kind == "gap" and data.get("user")):
            await self._user_stream.heard(frame)
        elif kind == "live":
            self._connection.live()
            self._lost_rooms.clear()
            for room in [self._rooms[room_id] for room_id in data["rooms"] if room_id in self._rooms]:
                room.live()
                await self._tell_caught_up(room)
        elif kind == "token_expiring":
            self._refreshing.begin(self._nursery)
        elif rooms := rooms_of(frame):
            await self._heard_in_rooms(rooms, frame, data)
        elif kind in ("presence_state", "presence_diff"):
            if (watched := self._watching.heard(frame)) is not None:
                await self._tell(watched)
        elif kind is not None:
            await self._tell(other(frame, None))

    async def _heard_in_rooms(self, room_ids: list[int], frame: dict[str, Any], data: dict[str, Any]) -> None:
        """What we would fold of a room that we are not in was meant for who was in it before; our end may come late."""
        for room_id in room_ids:
            if (room := self._rooms.get(room_id)) is not None:
                await self._heard_in(room, frame, data)
            elif room_id in self._lost_rooms and is_end(frame, self.user_id):
                self._lost_rooms.discard(room_id)
                await self._tell(event_of(frame, room_id, self.user_id))
            elif "seq" not in frame and frame["type"] not in KNOWN_IN_ROOMS:
                await self._tell(other(frame, room_id))

    async def _heard_in(self, room: Room, frame: dict[str, Any], data: dict[str, Any]) -> None:
        kind = frame["type"]
        if is_end(frame, self.user_id):
            await self._tell(event_of(frame, room.id, self.user_id))
            await self._shut_out(room, Refused(_NOT_MEMBER, "no member any more"))
        elif "seq" in frame:
            told = room.log.take(*entry(room.id, frame, self.user_id))
            self._fetch_soon(room, HOLE_SECONDS)
            await self._tell(*room.followed(told))
            await self._tell_caught_up(room)
        elif kind == "gap":
            await self._gap(room, data)
        else:
            await self._tell(*room.heard(frame, self.user_id))

    async def _ready(self, data: dict[str, Any]) -> None:
        user_id = whole(data["user"])
        early, self._early = self._early, []
        if self._was_ready and user_id != self.user_id:  # its token is somebody else's: what we hold is not theirs
            self._connection.refuse(_UNAUTHENTICATED, "another user is signed in")
            return
        self.user_id = user_id
        self.is_connected = True
        known = {room.id for room in self._rooms.values() if room.log.seq is not None}
        self._lost_rooms = known & {item["r"] for item in data.get("refused", ())}
        unanswered = dict(self._rooms)  # what is joined while this is told is asked for by itself
        self._asking.ready()
        self._user_stream.ready(data.get("useq"), data.get("userEpoch"))
        await self._tell(Connected(self.user_id, data.get("name", ""), self._was_ready))
        self._was_ready = True
        for item in (*data["rooms"], *data.get("refused", ())):
            room = unanswered.pop(item["r"], None)
            if room is None:  # left since `start` was sent
                self._stay_out(item["r"])
            elif "code" in item:
                await self._room_refused(room, Refused(item["code"], item["error"]))
            else:
                await self._entered(room, item)
        for room in unanswered.values():  # asked for since
            self._nursery.start_soon(self._enter, room)
        self._sending.ready()
        self._watching.ready()
        for frame in holding(early, data):
            await self._heard(frame)

    def _stay_out(self, room_id: int) -> None:
        """We have left a room that the server lets us into; one that was joined anew since is asked for by itself."""
        if room_id not in self._rooms:
            self._asking.leave(room_id)

    async def _enter(self, room: Room) -> None:
        """Join one room on a connection that is ready; a lost connection leaves it to the next one."""
        if not self._is_joined(room):
            return
        self._asking.stay(room.id)
        try:
            await self._ask("join", room.id, room.known, Reply(partial(self._entered, room)))
        except ServerAway:
            return
        except Refused as refused:
            await self._room_refused(room, refused)

    def _is_joined(self, room: Room) -> bool:
        return self._rooms.get(room.id) is room  # neither left nor refused

    async def _entered(self, room: Room, item: dict[str, Any]) -> None:
        if not self._is_joined(room):
            self._stay_out(room.id)
            return
        room.log.entered(item["top"], item["epoch"])
        await self._tell(entered_of(room.id, item))
        room.entered.set()
        self._fetch_soon(room)

    async def _room_refused(self, room: Room, refused: Refused) -> None:
        if is_worth_another_try(refused):
            self._nursery.start_soon(self._enter_again, room, self._connection.connects)
        else:
            await self._shut_out(room, refused)

    async def _enter_again(self, room: Room, connects: int) -> None:
        await trio.sleep(_AGAIN_SECONDS)
        if self._connection.connects == connects:  # another one asks by itself
            await self._enter(room)

    async def _shut_out(self, room: Room, refused: Refused) -> None:
        if not self._is_joined(room):
            return
        del self._rooms[room.id]
        if room.refuse(refused):
            await self._tell(RoomRefused(room.id, refused.code, str(refused)))

    async def _gap(self, room: Room, data: dict[str, Any]) -> None:
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
                if isinstance(event, Said) and event.is_own and (line := self._sending.copied(event)):
                    self._sending.finish(line)  # its ack was lost, or comes later
                    await self._told.send(Confirmed(line.room_id, line.client_id, event.seq))
                await self._told.send(event)

    async def _tell_caught_up(self, room: Room) -> None:
        if self._is_joined(room) and room.catches_up():
            await self._tell(CaughtUp(room.id))

    def _fetch_soon(self, room: Room, wait_seconds: float = 0.0) -> None:
        if self._is_joined(room) and not room.is_fetching and self.is_connected and room.log.is_missing:
            room.is_fetching = True
            self._nursery.start_soon(partial(self._fetch, room, wait_seconds))

    async def _fetch(self, room: Room, wait_seconds: float) -> None:
        """Fetch what lies between what was told and the goal. Outlives its connection: what was taken must be told."""
        log = room.log
        try:
            await trio.sleep(wait_seconds)
            while log.is_missing and self._is_joined(room):
                reply = Reply(partial(self._take_page, room, log.goal, log.lives))
                await self._ask("history", room.id, {"after": log.seq, "limit": HISTORY_PAGE}, reply)
        except ServerAway:
            pass  # the next connection begins where we are
        except Refused:
            await trio.sleep(_AGAIN_SECONDS)
        room.is_fetching = False
        self._fetch_soon(room)
        await self._tell_caught_up(room)

    async def _take_page(self, room: Room, goal: int, lives: int, answer: dict[str, Any]) -> None:
        if lives == room.log.lives and self._is_joined(room):
            told = room.log.take_page(entries(room.id, answer, self.user_id), goal)
            await self._tell(*room.followed(told))

    async def _answered(self, command_id: str, data: dict[str, Any], *, is_error: bool) -> None:
        if is_error and command_id == "start":
            self._start_refused(data)
        elif not await self._sending.answered(command_id, data, is_error=is_error):
            await self._asking.answered(command_id, data, Refused(*error_of(data)) if is_error else None)
