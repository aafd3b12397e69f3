"""Devices of the model test: what a user holds in the hand, over any transport and either protocol.

A `Device` speaks greenroom.v1 and keeps, for each room, a log without a hole: over a WebSocket it writes its cursor
itself, from an event stream or a poll it takes the server's, and it goes from one to another with it. A `Page` is the
existing client: what it hears live and reads over REST. Both come back by themselves as long as they are wanted, and
note in `faults` whatever a server must never do, at the moment it does.
"""

import contextlib
import random
from collections import Counter
from typing import Any, Protocol

import trio
from streams import Stream, poll
from truth import Move
from wire import Gone, Refused, Socket, http, open_sockets

Json = dict[str, Any]
HIDDEN = None  # stands in a log where `skip` was told
NO_MESSAGE = ""  # and this where REST, which tells messages alone, has none: somebody came or went
NARROW_BYTES = 16384
PAGE_MESSAGES = 200


class Truth(Protocol):
    """What devices ask of who knows everything (truth.py)."""

    server: Any

    def now(self) -> int: ...

    def top_at_entry(self, user: int, room: int) -> int: ...

    def shown(self, user: int, room: int, seq: int, text: str, since: int) -> str | None: ...

    def moved(self, user: int, room: int, seq: int, mover: int, change: str) -> str | None: ...

    def is_move(self, room: int, seq: int) -> bool: ...

    def skipped(self, user: int, room: int, seq: int, since: int) -> None: ...

    def may_be_left_out(self, user: int, room: int, seq: int, since: int) -> bool: ...


class Outside(Exception):
    """Its user is not in the room."""


class Log:
    """One room on one device. entries: text by seq, HIDDEN for a skip; heard: where it stands, gaps included."""

    def __init__(self) -> None:
        self.entries: dict[int, str | None] = {}
        self.heard = 0
        self.missing: list[range] = []  # told by `gap`, or said before the device came: `history` has it
        self.is_inside = False  # on this connection
        self.is_fresh = False  # no cursor said where to begin
        self.begins_at_top = False  # nor does it begin where its user came in
        self.is_late = False  # it begins so at the top that it has when it answers

    def miss(self, up_to: int) -> None:
        """What follows, up to here, will not be told."""
        if up_to > self.heard:
            self.missing.append(range(self.heard + 1, up_to + 1))
            self.heard = up_to


class Holder:
    """What Device and Page have in common: a life of connections, as long as `transport` says so."""

    slow_code = 4201

    def __init__(self, truth: Truth, user: int, seed: int) -> None:
        self.truth, self.user = truth, user
        self.transport: str | None = None
        self.deflates = self.is_narrow = self.is_stalled = self.is_live = False
        self.connected_in = 0  # the step
        self.faults: list[str] = []
        self.closes: Counter[int] = Counter()
        self.lives: Counter[str] = Counter()  # connections that came so far, by transport
        self.was_slow = False  # the connection before was closed as a slow consumer
        self.returns = 0  # after such an end
        self.link: Any = None
        self.change = trio.Event()
        self.random = random.Random(seed * 1_000_003 + user)

    def want(
        self, transport: str | None, *, deflates: bool = False, is_narrow: bool = False, cuts: bool = True
    ) -> None:
        """Be connected so from now on; None: not at all."""
        self.transport, self.deflates, self.is_narrow, self.is_stalled = transport, deflates, is_narrow, False
        self.is_live = False
        self.change.set()
        self.change = trio.Event()
        if self.link is not None:
            (self.link.cut if cuts else self.end_link)()
            self.link.read_again()  # that it has ended

    def end_link(self) -> None:
        """In order, without waiting."""
        if self.link is not None:
            self.link.close() if isinstance(self.link, Stream) else self.link.cut()

    def stall(self) -> None:
        """Take nothing more."""
        self.is_stalled = True
        if self.link is not None:
            self.link.stop_reading()

    def wake(self) -> None:
        """Take what there is."""
        self.is_stalled = False
        self.change.set()
        self.change = trio.Event()
        if self.link is not None:
            self.link.read_again()

    async def run(self) -> None:
        """For ever."""
        while True:
            if self.transport is None or (self.transport == "poll" and self.is_stalled):
                await self.change.wait()
                continue
            self.connected_in = self.truth.now()
            try:
                await self.connect()
            except (OSError, Gone, trio.TooSlowError):
                await trio.sleep(0.05)
            except Refused as refused:
                if refused.status not in (429, 503):
                    self.fault(f"refused {refused}")
                await trio.sleep(0.05)
            self.is_live, self.link = False, None
            await trio.sleep(self.random.uniform(0, 0.02))

    async def connect(self) -> None:
        """One connection, to its end."""
        raise NotImplementedError

    def fault(self, what: str) -> None:
        self.faults.append(f"user {self.user} over {self.transport} in step {self.truth.now()}: {what}")

    async def stay(self, link: Any) -> None:
        """Until it ends, or is not wanted any more."""
        self.link = link
        await link.is_over.wait()
        self.closes[link.close_code] += 1
        self.was_slow = link.close_code == self.slow_code

    def came_live(self) -> None:
        """Everything is as it was before the connection was lost, or soon will be."""
        self.is_live = True
        self.lives[self.transport or ""] += 1
        self.returns += self.was_slow
        self.was_slow = False


class OwnStream:
    """The stream of the device's user, as far as it was told: `useq` has no hole that was not told, and no repeat."""

    def __init__(self) -> None:
        self.heard: int | None = None  # where it stands; None before the first `ready`
        self.epoch = 1
        self.kinds: dict[int, str] = {}
        self.is_resumed = False  # on this connection

    def written(self) -> str:
        """Its part of a cursor."""
        return "" if self.heard is None else f"~u{self.heard}.{self.epoch}"

    def begin(self, cursor: str | None) -> None:
        """A connection begins with *cursor*: from there on it is told."""
        own = [part for part in (cursor or "").split("~") if part.startswith("u")]
        self.is_resumed = bool(own)
        if own:
            self.heard = int(own[0][1:].partition(".")[0])

    def ready(self, data: Json) -> None:
        """Where it is by the server."""
        self.epoch = data["userEpoch"]
        if not self.is_resumed:
            self.heard = data["useq"]
            self.kinds = {}

    def fault_in(self, event: Json) -> str | None:
        """Take an event in; what is wrong with its place, if anything is."""
        assert self.heard is not None, "an event before `ready`"
        before, self.heard = self.heard, event["useq"]
        self.kinds[event["useq"]] = event["type"]
        return None if event["useq"] == before + 1 else f"useq {event['useq']} comes after {before}"

    def gap(self, data: Json) -> str | None:
        """What will not be told; what is wrong with that."""
        before, self.heard = self.heard, data["to"]
        is_right = not data.get("reset") and data["from"] == (before or 0) + 1
        return None if is_right else f"a gap of the user's stream, {data}, at {before}"


class Device(Holder):
    """A v1 client."""

    def __init__(self, truth: Truth, user: int, rooms: list[int], seed: int) -> None:
        super().__init__(truth, user, seed)
        self.logs = {room: Log() for room in rooms}
        self.epochs = dict.fromkeys(rooms, 1)
        self.cursor: str | None = None
        self.filled = trio.Event()
        self.deflated = self.gaps = self.histories = self.leaves = 0
        self.own = OwnStream()
        self._is_ready = False
        self._early: dict[int, bool] = {}  # came or went before `ready`
        self._leaving: set[int] = set()  # whose `ack` is not there yet

    async def connect(self) -> None:
        """By the transport that is wanted."""
        self._is_ready, self._early, self._leaving = False, {}, set()
        for log in self.logs.values():
            log.is_inside = log.begins_at_top = log.is_late = False
        async with open_sockets() as nursery:
            nursery.start_soon(self._fill)
            await {"socket": self._socket, "stream": self._stream, "poll": self._poll}[self.transport or ""](nursery)

    async def _socket(self, nursery: trio.Nursery) -> None:
        for log in self.logs.values():  # its own cursor says what is missing: it is asked for again
            log.is_fresh = False
            if log.missing:
                log.heard = log.missing[0][0] - 1
                log.entries = {seq: text for seq, text in log.entries.items() if seq <= log.heard}
                log.missing = []
        sock = await Socket.open(
            nursery,
            self.truth.server,
            self.user,
            deflate=self.deflates,
            receive_buffer=NARROW_BYTES if self.is_narrow else None,
        )
        sock.on_event = self._hear
        self.link = sock
        places = {str(room): {"seq": log.heard, "epoch": self.epochs[room]} for room, log in self.logs.items()}
        self.own.begin(self._written())
        resume: Json = {"cursor": self._written()}
        if self.random.random() < 0.5:
            resume = {"rooms": places}
            if self.own.heard is not None:
                resume["user"] = {"useq": self.own.heard, "epoch": self.own.epoch}
        try:
            await sock.send({"type": "start", "id": "start", "data": {"resume": resume}})
            await self.stay(sock)
        finally:
            self.deflated += sock.deflated
            self.cursor = self._written()

    def _written(self) -> str:
        return f"1{self.own.written()}" + "".join(
            f"~{room}.{log.heard}.{self.epochs[room]}" for room, log in self.logs.items()
        )

    def _begin(self) -> None:
        self.own.begin(self.cursor)
        parts = (self.cursor or "").split("~")
        named = {part.partition(".")[0] for part in parts}
        for room, log in self.logs.items():
            log.begins_at_top = self.cursor is None or f"{room}.0.0" in parts
            log.is_fresh = str(room) not in named or log.begins_at_top

    async def _stream(self, nursery: trio.Nursery) -> None:
        self._begin()
        given = {"last_event_id": self.cursor} if self.random.random() < 0.5 else {"cursor": self.cursor}
        narrow = NARROW_BYTES if self.is_narrow else None
        stream = await Stream.open(nursery, self.truth.server, self.user, receive_buffer=narrow, **given)
        stream.on_event = self._take
        await self.stay(stream)

    async def _poll(self, nursery: trio.Nursery) -> None:
        del nursery
        self._begin()
        answer = await poll(self.truth.server, self.user, self.cursor, wait=1, seconds=15)
        if answer.status != 200:
            raise Refused(answer.status, answer.headers, answer.body)
        events, cursor = (answer.json()["data"][name] for name in ("events", "cursor"))
        if self.transport == "poll":  # else what came is thrown away, as by who has gone elsewhere
            self._take(events, cursor)

    def _take(self, frames: list[Json], cursor: str) -> None:
        for frame in frames:
            self._hear(frame)
        if cursor:
            self.cursor = cursor
            for part in cursor.split("~")[1:]:
                if part.startswith("u"):
                    if int(part[1:].partition(".")[0]) != self.own.heard:
                        self.fault(f"the cursor says {part} of the user's stream at {self.own.heard}")
                    continue
                room, seq, epoch = map(int, part.split("."))
                self._stands(room, seq, epoch)

    def _stands(self, room: int, seq: int, epoch: int) -> None:
        """Where the server has brought us: in a room that we came into, or that was late, it may have begun there."""
        log = self.logs[room]
        if log.is_late or (log.is_fresh and seq <= self.truth.top_at_entry(self.user, room)):
            log.miss(seq)
            self.filled.set()
        log.is_late = log.is_late and not epoch
        if seq != log.heard and log.is_inside:
            self.fault(f"room {room}: the cursor says {seq} at {log.heard}")

    def _hear(self, event: Json) -> None:
        kind = event["type"]
        room: Any = event.get("room")
        if kind in ("message", "skip"):
            self._message(room, event["seq"], event["data"] if kind == "message" else None)
        elif kind == "gap" and room is not None:
            self._gap(self.logs[room], event["data"])
        elif kind == "gap":
            self._told(self.own.gap(event["data"]))
        elif kind == "ready":
            self._ready(event["data"])
        elif kind == "live" and not self.is_live:
            self.came_live()
        elif kind == "member":
            self._member(room, event)
        elif kind == "ack" and str(event.get("id", "")).startswith("join "):
            self._joined(event)
        elif kind == "ack" and str(event.get("id", "")).startswith("leave "):
            self._left(event["room"])
        elif kind == "error" and str(event.get("id", "")).startswith("join ") and event["data"]["recoverable"]:
            trio.lowlevel.spawn_system_task(self._join, self.link, int(event["id"].removeprefix("join ")), 0.05)
        elif kind == "error" and event.get("id") == "start":
            if event["data"]["recoverable"]:
                self.end_link()
            else:
                self.fault(f"start was refused: {event}")

        if "useq" in event:
            self._told(self.own.fault_in(event))

    def _told(self, fault: str | None) -> None:
        if fault is not None:
            self.fault(fault)

    async def leave(self, room: int) -> None:
        """Hear the room no more, and then again. Nothing where it is not heard over a WebSocket."""
        link, is_inside = self.link, self.logs[room].is_inside and room not in self._leaving
        if isinstance(link, Socket) and self.is_live and not self.is_stalled and is_inside:
            self._leaving.add(room)  # who left twice would join twice, and be told twice what follows
            with contextlib.suppress(Gone, OSError):
                await link.send({"type": "leave", "id": f"leave {room}", "room": room})

    def _left(self, room: int) -> None:
        """From here on nothing of it may come, until it is joined again."""
        self.leaves += 1
        self._leaving.discard(room)
        self.logs[room].is_inside = False
        trio.lowlevel.spawn_system_task(self._join, self.link, room, 0.02)

    def _ready(self, data: Json) -> None:
        self.own.ready(data)
        for item in data["rooms"]:
            log, room = self.logs[item["r"]], item["r"]
            log.is_inside, self.epochs[room] = True, item["epoch"]
            if log.is_fresh:  # without a cursor at the top, else where they came in
                log.miss(item["top"] if log.begins_at_top else item["read"])
        self._is_ready = True
        inside = {item["r"] for item in data["rooms"]}
        outside = {item["r"] for item in data.get("refused", ()) if item["error"] == "NOT_MEMBER"}
        for room, is_in in self._early.items():
            if room in (outside if is_in else inside):
                self.fault(f"room {room}: was told that they came, or left ({is_in}), and `ready` says the contrary")
            self._moved(room, is_in)
        self.filled.set()
        for item in data.get("refused", ()):
            if item["error"] not in ("NOT_MEMBER", "CONVERSATION_NOT_FOUND"):  # storage was away just then
                if isinstance(self.link, Socket):
                    trio.lowlevel.spawn_system_task(self._join, self.link, item["r"])
                else:
                    log = self.logs[item["r"]]  # a stream asks again by itself
                    log.is_inside, log.is_late = True, log.begins_at_top

    def _gap(self, log: Log, data: Json) -> None:
        self.gaps += 1
        if data.get("reset") or data["from"] != log.heard + 1 or data["to"] != data["top"]:
            self.fault(f"gap {data} at {log.heard}")
        log.miss(data["to"])
        self.filled.set()

    def _member(self, room: int, event: Json) -> None:
        """In its place in the log of who is in the room; else, and of one's own end, it is news by itself."""
        user, change = event["data"]["user"], event["data"]["change"]
        is_own = user == self.user
        if self._is_ready and self.logs[room].is_inside and not (is_own and change == "left"):
            self._place(room, event["seq"])
            self._come_or_gone(room, event["seq"], user, change)
        elif is_own:
            self._moved(room, change == "joined")
        else:
            self.fault(f"room {room}: {event} is told to who is not in it")

    def _come_or_gone(self, room: int, seq: int, user: int, change: str) -> None:
        self.logs[room].entries[seq] = Move(user, change).text_at(seq)
        if (fault := self.truth.moved(self.user, room, seq, user, change)) is not None:
            self.fault(f"room {room}: that {user} has {change} is told at {seq}: {fault}")

    def _message(self, room: int, seq: int, data: Json | None) -> None:
        self._place(room, seq)
        self.logs[room].entries[seq] = HIDDEN if data is None else data["body"]
        if data is None:
            self.truth.skipped(self.user, room, seq, self.connected_in)
        else:
            self._shown(room, data | {"seq": seq}, self.connected_in)

    def _place(self, room: int, seq: int) -> None:
        """The next of the log."""
        log = self.logs[room]
        if not log.is_inside:
            self.fault(f"room {room}: {seq} is told to who is not in it")
        if log.is_fresh and seq > log.heard + 1:
            if not log.is_late and seq > self.truth.top_at_entry(self.user, room) + 1:
                self.fault(f"room {room}: begins with {seq}, after what was said since the user came")
            log.miss(seq - 1)
            self.filled.set()
        if seq != log.heard + 1:
            self.fault(f"room {room}: {seq} comes after {log.heard}")
        log.is_fresh = log.is_late = False
        log.heard = max(seq, log.heard)

    def _shown(self, room: int, data: Json, since: int) -> None:
        seq = data["seq"]
        if (leak := self.truth.shown(self.user, room, seq, data["body"], since)) is not None:
            self.fault(f"room {room}: {seq} is shown: {leak}")
        if "clientId" in data and data["sender"] != self.user:
            self.fault(f"room {room}: the client id of {seq} is told to somebody else")

    def _moved(self, room: int, is_in: bool) -> None:
        log = self.logs[room]
        if not self._is_ready:
            self._early[room] = is_in
            return
        if is_in == log.is_inside:
            return
        if not is_in:
            log.is_inside = False
        elif isinstance(self.link, Socket):
            trio.lowlevel.spawn_system_task(self._join, self.link, room)
        else:
            log.is_inside = log.is_fresh = True

    async def _join(self, sock: Socket, room: int, seconds: float = 0) -> None:
        await trio.sleep(seconds)
        try:
            data = {"after": self.logs[room].heard, "epoch": self.epochs[room]}
            await sock.send({"type": "join", "id": f"join {room}", "room": room, "data": data})
        except Gone:
            pass

    def _joined(self, event: Json) -> None:
        self.logs[event["data"]["r"]].is_inside = True

    async def _fill(self) -> None:
        """Ask for what will not be told, over and over."""
        while True:
            for room, log in self.logs.items():
                if log.missing:
                    if len(first := log.missing[0]) > PAGE_MESSAGES:
                        log.missing[:1] = [first[:PAGE_MESSAGES], first[PAGE_MESSAGES:]]
                    await self._fill_one(room, log, log.missing[0])
            await self.filled.wait()
            self.filled = trio.Event()

    async def _fill_one(self, room: int, log: Log, missing: range) -> None:
        since = self.truth.now()
        try:
            found = await self._read(room, missing, since)
        except Outside:
            return  # meanwhile: it asks again when it is in
        except (OSError, Gone, AssertionError, trio.TooSlowError):
            found = {}
        got = [seq for seq in missing if seq in found]
        if log.missing[:1] != [missing] or got != list(missing[: len(got)]) or not got:
            await trio.sleep(0.05)  # they were removed just now; or it is never given, and the log stays without
            self.filled.set()
            return
        log.entries |= {seq: found[seq] for seq in got}
        log.missing[:1] = [missing[len(got) :]] if len(got) < len(missing) else []
        self.filled.set()

    async def _read(self, room: int, missing: range, since: int) -> dict[int, str | None]:
        """What a page has of it, by socket or REST. Raises Outside, OSError, Gone, AssertionError, TooSlowError."""
        link, after = self.link, missing[0] - 1
        if isinstance(link, Socket) and self.is_live and not self.is_stalled and self.random.random() < 0.7:
            reply = await link.ask("history", room, seconds=4, after=after, limit=len(missing))
            if reply["type"] == "error":
                raise Gone(str(reply)) if reply["data"]["recoverable"] else Outside
            self.histories += 1
            for message in reply["data"]["messages"]:
                self._shown(room, message, since)
            for seq in (skips := reply["data"].get("skip", [])):
                self.truth.skipped(self.user, room, seq, since)
            found = dict.fromkeys(skips, HIDDEN) | {one["seq"]: one["body"] for one in reply["data"]["messages"]}
            for one in reply["data"].get("changes", []):
                if (fault := self.truth.moved(self.user, room, one["seq"], one["user"], one["change"])) is not None:
                    self.fault(f"room {room}: a page has {one}: {fault}")
                found[one["seq"]] = Move(one["user"], one["change"]).text_at(one["seq"])
            return found
        path = f"/api/conversations/{room}/messages?after_seq={after}&limit={len(missing)}"
        answer = await http(self.truth.server, "GET", path, user=self.user)
        if answer.status in (403, 404):
            raise Outside
        if answer.status != 200:
            raise Gone(str(answer))
        rows = {row["seq"]: row["content"] for row in answer.json()["data"]["messages"]}
        for seq, text in rows.items():
            self._shown(room, {"seq": seq, "body": text}, since)
        left_out = [seq for seq in missing if seq not in rows]
        hidden = {seq: HIDDEN for seq in left_out if self.truth.may_be_left_out(self.user, room, seq, since)}
        return rows | hidden | {seq: NO_MESSAGE for seq in left_out if self.truth.is_move(room, seq)}


class Page(Holder):
    """The existing client. logs: by room, text by seq; live: those that this connection was told."""

    slow_code = 1012

    def __init__(self, truth: Truth, user: int, rooms: list[int], seed: int) -> None:
        super().__init__(truth, user, seed)
        self.logs: dict[int, dict[int, str]] = {room: {} for room in rooms}
        self.live: dict[int, list[int]] = {room: [] for room in rooms}
        self.deflated = 0

    async def connect(self) -> None:
        """A WebSocket without a subprotocol; what it missed it reads over REST."""
        self.live = {room: [] for room in self.live}
        async with open_sockets() as nursery:
            narrow = NARROW_BYTES if self.is_narrow else None
            sock = await Socket.open(
                nursery, self.truth.server, self.user, protocol=None, deflate=self.deflates, receive_buffer=narrow
            )
            sock.on_event = self._hear
            try:
                await self.stay(sock)
            finally:
                self.deflated += sock.deflated

    def _hear(self, event: Json) -> None:
        if event["type"] == "connected":
            self.connected_in = self.truth.now()
            self.came_live()
        if event["type"] == "new_message":
            room, seq = event["conversationId"], event["seq"]
            if self.live[room] and seq <= self.live[room][-1]:
                self.fault(f"room {room}: {seq} comes after {self.live[room][-1]}")
            self.live[room].append(seq)
            self._show(room, seq, event["content"], self.connected_in)

    def _show(self, room: int, seq: int, text: str, since: int) -> None:
        if (leak := self.truth.shown(self.user, room, seq, text, since)) is not None:
            self.fault(f"room {room}: {seq} is shown: {leak}")
        if self.logs[room].setdefault(seq, text) != text:
            self.fault(f"room {room}: {seq} is two messages")

    async def read(self, room: int) -> set[int]:
        """Open the conversation: all of it that is shown, over REST, by seq."""
        since, after, seqs = self.truth.now(), 0, set[int]()
        while True:
            path = f"/api/conversations/{room}/messages?after_seq={after}&limit={PAGE_MESSAGES}"
            try:
                answer = await http(self.truth.server, "GET", path, user=self.user)
            except (OSError, Gone):
                await trio.sleep(0.05)
                continue
            if answer.status >= 500:
                await trio.sleep(0.05)
                continue
            assert answer.status == 200, answer
            for row in answer.json()["data"]["messages"]:
                self._show(room, row["seq"], row["content"], since)
                seqs.add(row["seq"])
            if not answer.json()["data"]["hasMore"]:
                return seqs
            after += PAGE_MESSAGES  # seq has no hole, so a page is as long as it was asked for, what it hides included
