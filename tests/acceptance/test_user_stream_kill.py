"""Kill -9 while markers move and people come and go: every device has what is stored for its user, once, gapless."""

import random
from collections import Counter
from contextlib import suppress

import pytest
import trio
from server_process import ServerProcess  # type: ignore[import-not-found]
from wire import Gone, Refused, Socket, http, open_sockets, streams_of, wait_until  # type: ignore[import-not-found]

SEEDS_QUICK, SEEDS_ALL = (21,), (21, 22, 23, 24)
USERS, DEVICES, ROOMS, KILLS = 5, 2, 3, 3
STREAM = ("read_sync", "membership", "notification", "notification_read")


class Device:
    """A v1 client that keeps its user's stream, and comes back with both cursors."""

    def __init__(self, server, user, rooms):
        self.server, self.user = server, user
        self.rooms = dict.fromkeys(rooms, 0)
        self.stream = []
        self.faults = []
        self.socket = None
        self.connects = 0

    @property
    def top(self):
        return self.stream[-1]["useq"] if self.stream else 0

    async def run(self):
        while True:
            with suppress(OSError, Gone, Refused, trio.TooSlowError):
                async with open_sockets() as nursery:
                    sock = await Socket.open(nursery, self.server, self.user)
                    sock.on_event = self.take
                    rooms = {str(room): seq for room, seq in self.rooms.items()}
                    await sock.command("start", resume={"user": self.top, "rooms": rooms})
                    self.connects += 1
                    self.socket = sock
                    await sock.is_over.wait()
            self.socket = None
            await trio.sleep(random.uniform(0.02, 0.2))

    def take(self, event):
        if event["type"] in STREAM:
            if event["useq"] != self.top + 1:
                self.faults.append(f"{event['useq']} after {self.top}")
            self.stream.append(event)
        elif event["type"] == "message" and event["room"] in self.rooms:
            self.rooms[event["room"]] = event["seq"]
        elif event["type"] == "gap":
            self.faults.append(event)


class Sender:
    """Sends notifications under keys, and a key again until it was answered."""

    def __init__(self, server):
        self.server = server
        self.open = {}
        self.answered = {}
        self.faults = []

    async def send(self, user, chance):
        if not self.open or chance.random() < 0.7:
            self.open[f"k{len(self.open) + len(self.answered)}-{user}-{chance.random()}"] = user
        key, user = chance.choice([*self.open.items(), *list(self.answered.items())[:3]])
        user = user if isinstance(user, int) else user[1]
        body = {"title": key, "message": "m"}
        answer = await http(
            self.server, "POST", "/api/notifications/send", body, user=user, headers=[("Idempotency-Key", key)]
        )
        if answer.status == 201:
            self.open.pop(key, None)
            sent = (answer.json()["data"]["id"], user)
            if self.answered.setdefault(key, sent) != sent:
                self.faults.append((key, sent))
            if chance.random() < 0.3:
                await http(self.server, "PUT", f"/api/notifications/{sent[0]}/read", user=user)


async def live(devices, server, rooms, sender, chance):
    """Say, read, let go, bring in and notify, as chance has it; what fails, fails."""
    admin = devices[0]
    while True:
        await trio.sleep(0.003)
        device, room = chance.choice(devices), chance.choice(rooms)
        what = chance.random()
        with suppress(OSError, Gone, trio.TooSlowError, AssertionError):
            if what < 0.1 and device.user != admin.user:
                path = f"/api/conversations/{room}/participants"
                if chance.random() < 0.5:
                    await http(server, "DELETE", f"{path}/{device.user}", user=admin.user)
                else:
                    await http(server, "POST", path, {"userIds": [device.user]}, user=admin.user)
            elif what < 0.2:
                await sender.send(device.user, chance)
            elif device.socket is not None and what < 0.5:
                await device.socket.command("send", room, body="x")
            elif device.socket is not None:
                await device.socket.command("read", room, seq=device.rooms[room])


async def kinds_stored(server, users):
    query = "select kind, count(*) from user_events where user_id = any($1::bigint[]) group by kind"
    return Counter({row["kind"]: row["count"] for row in await server.query(query, users)})


def is_enough(kinds):
    return min(kinds["read_sync"], kinds["membership"], kinds["notification"]) >= 3


async def survive(server, seed):
    print(f"seed {seed}")
    chance = random.Random(seed)
    rooms = [70_000 + seed * 100 + number for number in range(ROOMS)]
    users = [80_000 + seed * 100 + number for number in range(USERS)]
    for room in rooms:
        await server.make_room(room, users)
    sender = Sender(server)
    devices = [Device(server, user, rooms) for user in users for _ in range(DEVICES)]
    async with trio.open_nursery() as clients:
        for device in devices:
            clients.start_soon(device.run)
        async with trio.open_nursery() as load:
            for _ in range(4):
                load.start_soon(live, devices, server, rooms, sender, chance)
            for kill in range(1, KILLS + 1):
                await wait_until(lambda kill=kill: [d.user for d in devices if d.connects < kill], 30)
                await trio.sleep(chance.uniform(0.3, 1.2))
                await trio.to_thread.run_sync(server.kill)
                await trio.to_thread.run_sync(server.start)
            await wait_until(lambda: [d.user for d in devices if d.connects <= KILLS], 30)
            with trio.fail_after(60):
                # A busy machine does little.
                while not is_enough(await kinds_stored(server, users)):  # noqa: ASYNC110
                    await trio.sleep(0.5)
            load.cancel_scope.cancel(reason="enough")
        stored, before = await streams_of(server, users), None
        while stored != before:  # what was said last may still be on its way to storage
            goal = {user: len(events) for user, events in stored.items()}
            await wait_until(lambda goal=goal: [(d.user, d.top) for d in devices if d.top < goal[d.user]], 20)
            await trio.sleep(0.5)
            stored, before = await streams_of(server, users), stored
        clients.cancel_scope.cancel(reason="all is told")
    for device in devices:
        told = [(event["useq"], event["type"], event.get("room"), event["data"]) for event in device.stream]
        assert told == stored[device.user], device.user
        assert not device.faults, device.faults
    assert is_enough(Counter(event[1] for events in stored.values() for event in events))
    await check_sums(server, stored)
    await check_notifications(server, stored, sender)


async def check_sums(server, stored):
    """What the events of a user add up to is what the rooms have: none was lost, none is too many."""
    for user, events in stored.items():
        changes = Counter()
        for _, kind, room, data in events:
            if kind == "membership" and data["change"] == "left":
                changes[room] -= 1
            elif kind == "membership" and data["role"] == "member":
                changes[room] += 1
        rows = await server.query("select * from participants where user_id = $1", user)
        for row in rows:
            assert changes[row["conversation_id"]] == row["is_active"] - 1, (user, dict(row), events)
        markers = {}
        for _, kind, room, data in events:
            if kind == "read_sync":
                assert data["seq"] > markers.get(room, 0), (user, room, data)
                markers[room] = data["seq"]
        never_left = {row["conversation_id"]: row["read_seq"] for row in rows} if user == min(stored) else {}
        assert {room: seq for room, seq in never_left.items() if seq} == (markers if never_left else {})


async def check_notifications(server, stored, sender):
    """Each that was answered is stored once and told once; each that is stored was told once."""
    assert not sender.faults, sender.faults
    for user, events in stored.items():
        told = [data["id"] for _, kind, _, data in events if kind == "notification"]
        rows = await server.query("select id, title, read_at from notifications where user_id = $1 order by id", user)
        assert sorted(told) == [row["id"] for row in rows]
        assert len({row["title"] for row in rows}) == len(rows)
        by_key = {row["title"]: row["id"] for row in rows}
        for key, (notification_id, of) in sender.answered.items():
            assert of != user or by_key[key] == notification_id
        read = [one for _, kind, _, data in events if kind == "notification_read" for one in data["ids"]]
        assert sorted(read) == [row["id"] for row in rows if row["read_at"] is not None]


@pytest.mark.parametrize("seeds", [SEEDS_QUICK, pytest.param(SEEDS_ALL, marks=pytest.mark.slow(seconds=90))])
async def test_what_a_user_was_told_survives_kill_9_once_in_order_on_every_device(seeds):
    with ServerProcess(messages_per_minute=0, ws_commands_per_minute=0) as server:
        await trio.to_thread.run_sync(server.start)
        for seed in seeds:
            await survive(server, seed)
        assert not server.faults(), server.faults()
