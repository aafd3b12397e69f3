"""A client that falls back: WebSocket, event stream, poll and back, with one cursor, while others speak.

Connections are cut wherever they are, the server is stopped and killed, and in the end its log is the server's: of each
room, also of those that it came into while it was away, and of its user's own stream.
"""

import random
from collections import Counter
from contextlib import suppress

import pytest
import trio
from server_process import ServerProcess
from streams import Stream, polled
from wire import (
    Gone,
    Member,
    Refused,
    RoomLog,
    Socket,
    check_rooms,
    http,
    open_sockets,
    streams_of,
    wait_until,
)

PERSONAL = ("notification", "read_sync", "membership", "block")
TRANSPORTS = ("socket", "stream", "poll")
FRESH_ROOMS_MAX = 12


class Wanderer:
    """A reader that changes its transport at every turn and keeps nothing but its cursor and its log.

    On a WebSocket it writes the cursor itself, from the useq, and the seq and epoch that it has of each room. An event
    of a stream is applied whole, and so is the answer to a poll: whatever it is given twice is counted in `repeats` of
    its logs, and of the user's stream in `faults`.
    """

    def __init__(self, server: ServerProcess, user: int, rooms: list[int], seed: int) -> None:
        self.server = server
        self.user = user
        self.logs = {room: RoomLog() for room in rooms}
        self.epochs = dict.fromkeys(rooms, 1)
        self.personal: list[tuple] = []  # useq, kind, room, data
        self.user_epoch = 1
        self.cursor = self._written()
        self.turns: Counter[str] = Counter()
        self.told_over: Counter[str] = Counter()  # personal events, by transport
        self.faults: list[str] = []
        self._transport = ""
        self.failures = 0
        self.gaps = 0
        self._random = random.Random(seed * 1_000_003 + user)

    @property
    def useq(self) -> int:
        """The last one of the user's stream."""
        return self.personal[-1][0] if self.personal else 0

    async def run(self) -> None:
        """Be there, for ever: each turn over the next transport, for a random while, ended somehow."""
        turn = self._random.randrange(3)
        while True:
            turn += 1
            self._transport = transport = TRANSPORTS[turn % 3]
            try:
                await getattr(self, f"_{transport}")()
                self.turns[transport] += 1
            except (OSError, Gone, Refused, trio.TooSlowError):
                self.failures += 1
                await trio.sleep(self._random.uniform(0.01, 0.2))

    async def _socket(self) -> None:
        try:
            async with open_sockets() as nursery:
                sock = await Socket.open(nursery, self.server, self.user)
                sock.on_event = self._apply
                await sock.command("start", resume={"cursor": self.cursor})
                await self._a_while(sock.is_over)
                if self._random.random() < 0.5:
                    sock.cut()
        finally:
            self.cursor = self._written()

    def _written(self) -> str:
        rooms = "".join(f"~{room}.{log.top}.{self.epochs[room]}" for room, log in self.logs.items())
        return f"1~u{self.useq}.{self.user_epoch}{rooms}"

    async def _stream(self) -> None:
        async with open_sockets() as nursery:
            as_header = self._random.random() < 0.5
            given = {"last_event_id": self.cursor} if as_header else {"cursor": self.cursor}
            stream = await Stream.open(nursery, self.server, self.user, **given)
            stream.on_event = self._take
            for frames, cursor in zip(stream.batches, stream.cursors, strict=True):
                self._take(frames, cursor)
            await self._a_while(stream.is_over)
            (stream.cut if self._random.random() < 0.5 else stream.close)()

    async def _poll(self) -> None:
        for _ in range(self._random.randrange(1, 6)):
            events, cursor = await polled(self.server, self.user, self.cursor, wait=2, seconds=15)
            self._take(events, cursor)

    async def _a_while(self, is_over: trio.Event) -> None:
        with trio.move_on_after(self._random.uniform(0, 0.6)):
            await is_over.wait()

    def _take(self, frames: list, cursor: str) -> None:
        for frame in frames:
            self._apply(frame)
        if cursor:
            self.cursor = cursor

    def _apply(self, event: dict) -> None:
        if event["type"] == "message":
            self._know(event["room"])
            self.logs[event["room"]].add(event)
        elif "useq" in event:
            self._apply_personal(event)
        elif event["type"] == "gap":
            self.gaps += 1
        elif event["type"] == "ready":
            self.user_epoch = event["data"]["userEpoch"]
            self.epochs.update({item["r"]: item["epoch"] for item in event["data"]["rooms"]})

    def _apply_personal(self, event: dict) -> None:
        if event["useq"] != self.useq + 1:
            self.faults.append(f"useq {event['useq']} after {self.useq}, over {self._transport}")
        self.personal.append((event["useq"], event["type"], event.get("room"), event["data"]))
        self.told_over[self._transport] += 1
        if event["type"] == "membership" and event["data"]["change"] == "joined":
            self._know(event["room"])

    def _know(self, room: int) -> None:
        """A room that the user came into: on a WebSocket it is named in the cursor that is written."""
        self.logs.setdefault(room, RoomLog())
        self.epochs.setdefault(room, 1)


class Life:
    """What happens to the users of wanderers: notifications, markers, memberships, blocks; and rooms that are new."""

    def __init__(self, server: ServerProcess, others: list[int], rooms: list[int], side: int, seed: int) -> None:
        self.server = server
        self.fresh: list[tuple[int, int]] = []  # (room, user of a wanderer): rooms that were made since
        self._others = others
        self._rooms = rooms
        self._side = side  # a room where nothing is said
        self._random = random.Random(seed)

    async def run(self, wanderers: list[Wanderer]) -> None:
        """Go on, for ever; what fails, fails."""
        while True:
            await trio.sleep(self._random.uniform(0, 0.03))
            with suppress(OSError, Gone, trio.TooSlowError):
                await self._happen(self._random.choice(wanderers))

    async def _happen(self, wanderer: Wanderer) -> None:
        what, user = self._random.random(), wanderer.user
        if what < 0.3:
            await self._ask("POST", "/api/notifications/send", user, {"title": "t", "message": "m"})
        elif what < 0.35:
            await self._ask("PUT", "/api/notifications/read-all", user)
        elif what < 0.55:
            room = self._random.choice(self._rooms)
            await self._ask("POST", f"/api/conversations/{room}/read", user, {"seq": wanderer.logs[room].top})
        elif what < 0.65:
            path = f"/api/conversations/{self._side}/participants"
            if self._random.random() < 0.5:
                await self._ask("DELETE", f"{path}/{user}", self._others[0])
            else:
                await self._ask("POST", path, self._others[0], {"userIds": [user]})
        elif what < 0.75:
            strange = user + 500_000  # nobody whose messages would be missed
            await self._ask(self._random.choice(("POST", "DELETE")), f"/api/users/{strange}/block", user, {})
        elif what < 0.8 and len(self.fresh) < FRESH_ROOMS_MAX:
            body = {"participantIds": [user], "isGroup": True}
            made = await self._ask("POST", "/api/conversations", self._others[0], body)
            if made.status == 200:
                self.fresh.append((made.json()["data"]["conversation"]["id"], user))
        elif self.fresh:
            room, _ = self._random.choice(self.fresh)
            await self._ask("POST", f"/api/conversations/{room}/messages", self._others[0], {"content": "fresh"})

    async def _ask(self, method: str, path: str, user: int, body: object = None):
        return await http(self.server, method, path, body, user=user, seconds=10)


async def fewest(server, users):
    """Of which kind least was stored for them so far, and how much."""
    query = "select kind, count(*) from user_events where user_id = any($1::bigint[]) group by kind"
    found = {row["kind"]: row["count"] for row in await server.query(query, users)}
    return min(found.get(kind, 0) for kind in PERSONAL)


def untold(wanderers):
    """The transports over which nobody was told anything yet."""
    return set(TRANSPORTS).difference(*(wanderer.told_over for wanderer in wanderers))


async def wander(server, seed, *, restarts, wanderers_count=6, seconds=3.0):
    """Wanderers among senders, over *restarts* of the server; everybody's log is the server's in the end."""
    print(f"seed {seed}")
    chance = random.Random(seed)
    rooms = [90_000 + seed * 100 + number for number in range(3)]
    users = [95_000 + seed * 1000 + number for number in range(6 + wanderers_count)]
    side = rooms[-1] + 1
    for room in (*rooms, side):
        await server.make_room(room, users)
    await server.make_people(*(user + 500_000 for user in users))
    members = [Member(server, user, rooms, seed=seed) for user in users[:6]]
    wanderers = [Wanderer(server, user, rooms, seed) for user in users[6:]]
    life = Life(server, users[:6], rooms, side, seed)
    async with trio.open_nursery() as clients:
        for client in (*members, *wanderers):
            clients.start_soon(client.run)
        async with trio.open_nursery() as load:

            async def talk():
                while True:
                    for member in members:
                        while member.unacked < 2:
                            member.say(chance.choice(rooms))
                    await trio.sleep(chance.uniform(0, 0.05))

            load.start_soon(talk)
            load.start_soon(life.run, wanderers)
            await trio.sleep(seconds)
            for restart in restarts:
                await trio.to_thread.run_sync(restart)
                await trio.to_thread.run_sync(server.start)
                await trio.sleep(seconds)
            await wait_until(lambda: [w.turns for w in wanderers if set(w.turns) != set(TRANSPORTS)], 30)
            with trio.fail_after(60):
                while await fewest(server, users[6:]) < 3 or not life.fresh or untold(wanderers):  # noqa: ASYNC110
                    await trio.sleep(0.2)
            load.cancel_scope.cancel(reason="enough said")
        await wait_until(lambda: [member.unacked for member in members if member.unacked], 20)
        tops = {room: len(await server.log_of(room)) for room in (*rooms, *(room for room, _ in life.fresh))}
        hear = [(w, room) for w in (*members, *wanderers) for room in rooms]
        hear += [(w, room) for w in wanderers for room, user in life.fresh if w.user == user]
        await wait_until(
            lambda: [
                (w.user, room, tops[room])
                for w, room in hear
                if tops[room] > (w.logs[room].top if room in w.logs else 0)
            ],
            30,
        )
        personal = await streams_of(server, users[6:])
        await wait_until(lambda: [(w.user, w.useq) for w in wanderers if w.useq < len(personal[w.user])], 30)
        clients.cancel_scope.cancel(reason="everything is said and heard")
    count = await check_rooms(server, members)
    known = {room for wanderer in wanderers for room in wanderer.logs}  # one may be made whose answer was lost
    stored = {room: await server.log_of(room) for room in (*tops, side, *known)}
    for wanderer in wanderers:
        assert wanderer.gaps == 0
        assert not wanderer.faults, wanderer.faults[:5]
        assert wanderer.personal == personal[wanderer.user]
        for room, log in wanderer.logs.items():
            assert not log.holes, f"user {wanderer.user} room {room}: {log.holes[:5]}"
            assert not log.repeats, f"user {wanderer.user} room {room}: {log.repeats} given twice"
            assert log.messages == [(row["seq"], row["id"], row["sender_id"], row["content"]) for row in stored[room]]
    turns = sum((wanderer.turns for wanderer in wanderers), Counter())
    told_over = sum((wanderer.told_over for wanderer in wanderers), Counter())
    kinds = Counter(kind for events in personal.values() for _, kind, _, _ in events)
    print(f"{count} messages, {len(life.fresh)} fresh rooms, {dict(kinds)} over {dict(told_over)}")
    print(f"turns {dict(turns)}, {sum(w.failures for w in wanderers)} failed")
    assert set(told_over) == set(TRANSPORTS)
    assert min(kinds[kind] for kind in PERSONAL) >= 3, kinds
    assert life.fresh
    return turns


async def test_a_client_that_falls_back_and_comes_back_has_the_servers_log():
    with ServerProcess() as server:
        await trio.to_thread.run_sync(server.start)
        turns = await wander(server, 1, restarts=(server.stop, server.kill))
        assert min(turns.values()) >= 6
        assert not server.faults(), server.faults()[0]


@pytest.mark.slow(seconds=90)
async def test_many_clients_that_fall_back_have_the_servers_log():
    with ServerProcess() as server:
        await trio.to_thread.run_sync(server.start)
        for seed in range(2, 7):
            await wander(server, seed, restarts=(server.kill, server.stop, server.kill), wanderers_count=12)
        assert not server.faults(), server.faults()[0]


async def test_hundreds_of_streams_opened_and_dropped_leave_nothing_in_the_process():
    with ServerProcess(ENVIRONMENT="development") as server:
        await trio.to_thread.run_sync(server.start)
        room = await server.make_room(7, [1, 2])
        cursor = f"1~{room}.0.1"

        async def open_and_drop(number):
            async with open_sockets() as nursery:
                stream = await Stream.open(nursery, server, 1, cursor)
                if number % 2:
                    await stream.expect("live")
                (stream.cut if number % 3 else stream.close)()

        async def round_of(count):
            async with trio.open_nursery() as nursery:
                for number in range(count):
                    nursery.start_soon(open_and_drop, number)
                    if number % 50 == 49:
                        await trio.sleep(0.2)

        await round_of(250)
        await wait_until(lambda: server.usage().connections > 1 and server.usage(), 15)
        await trio.sleep(3)
        before, tasks = server.usage(), await trio.to_thread.run_sync(server.tasks)
        await round_of(250)
        await round_of(250)
        await wait_until(lambda: server.usage().connections > before.connections and server.usage(), 15)
        await trio.sleep(3)
        after = server.usage()
        assert not after.is_more_than(before, spare=2), (before, after)
        assert await trio.to_thread.run_sync(server.tasks) <= tasks + 2
        print(f"memory {before.memory_bytes >> 20} MiB, then {after.memory_bytes >> 20} MiB")
        assert after.memory_bytes < before.memory_bytes + 8 * 1024 * 1024
        assert not server.faults(), server.faults()[0]
