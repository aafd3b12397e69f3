"""A client that falls back: WebSocket, event stream, poll and back, with one cursor, while others speak.

Connections are cut wherever they are, the server is stopped and killed, and in the end its log is the server's.
"""

import random
from collections import Counter

import pytest
import trio
from server_process import ServerProcess
from streams import Stream, polled
from wire import Gone, Member, Refused, RoomLog, Socket, check_rooms, open_sockets, wait_until

TRANSPORTS = ("socket", "stream", "poll")


class Wanderer:
    """A reader that changes its transport at every turn and keeps nothing but its cursor and its log.

    On a WebSocket it writes the cursor itself, from the seq and epoch that it has of each room. An event of a stream
    is applied whole, and so is the answer to a poll: whatever it is given twice is counted in `repeats` of its logs.
    """

    def __init__(self, server: ServerProcess, user: int, rooms: list[int], seed: int) -> None:
        self.server = server
        self.user = user
        self.logs = {room: RoomLog() for room in rooms}
        self.epochs = dict.fromkeys(rooms, 1)
        self.cursor = self._written()
        self.turns: Counter[str] = Counter()
        self.failures = 0
        self.gaps = 0
        self._random = random.Random(seed * 1_000_003 + user)

    async def run(self) -> None:
        """Be there, for ever: each turn over the next transport, for a random while, ended somehow."""
        turn = self._random.randrange(3)
        while True:
            turn += 1
            transport = TRANSPORTS[turn % 3]
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
        return "1" + "".join(f"~{room}.{log.top}.{self.epochs[room]}" for room, log in self.logs.items())

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
            self.logs[event["room"]].add(event)
        elif event["type"] == "gap":
            self.gaps += 1
        elif event["type"] == "ready":
            self.epochs.update({item["r"]: item["epoch"] for item in event["data"]["rooms"]})


async def wander(server, seed, *, restarts, wanderers_count=6, seconds=3.0):
    """Wanderers among senders, over *restarts* of the server; everybody's log is the server's in the end."""
    print(f"seed {seed}")
    chance = random.Random(seed)
    rooms = [90_000 + seed * 100 + number for number in range(3)]
    users = [95_000 + seed * 1000 + number for number in range(6 + wanderers_count)]
    for room in rooms:
        await server.make_room(room, users)
    members = [Member(server, user, rooms, seed=seed) for user in users[:6]]
    wanderers = [Wanderer(server, user, rooms, seed) for user in users[6:]]
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
            await trio.sleep(seconds)
            for restart in restarts:
                await trio.to_thread.run_sync(restart)
                await trio.to_thread.run_sync(server.start)
                await trio.sleep(seconds)
            await wait_until(lambda: [w.turns for w in wanderers if set(w.turns) != set(TRANSPORTS)], 30)
            load.cancel_scope.cancel(reason="enough said")
        await wait_until(lambda: [member.unacked for member in members if member.unacked], 20)
        tops = {room: len(await server.log_of(room)) for room in rooms}
        await wait_until(
            lambda: [
                (w.user, room, w.logs[room].top, top)
                for w in (*members, *wanderers)
                for room, top in tops.items()
                if w.logs[room].top < top
            ],
            30,
        )
        clients.cancel_scope.cancel(reason="everything is said and heard")
    count = await check_rooms(server, members)
    stored = {room: await server.log_of(room) for room in rooms}
    for wanderer in wanderers:
        assert wanderer.gaps == 0
        for room, log in wanderer.logs.items():
            assert not log.holes, f"user {wanderer.user} room {room}: {log.holes[:5]}"
            assert not log.repeats, f"user {wanderer.user} room {room}: {log.repeats} given twice"
            assert log.messages == [(row["seq"], row["id"], row["sender_id"], row["content"]) for row in stored[room]]
    turns = sum((wanderer.turns for wanderer in wanderers), Counter())
    print(f"{count} messages; turns {dict(turns)}, {sum(w.failures for w in wanderers)} failed")
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
        assert after.descriptors <= before.descriptors + 2
        assert await trio.to_thread.run_sync(server.tasks) <= tasks + 2
        print(f"memory {before.memory_bytes >> 20} MiB, then {after.memory_bytes >> 20} MiB")
        assert after.memory_bytes < before.memory_bytes + 8 * 1024 * 1024
        assert not server.faults(), server.faults()[0]
