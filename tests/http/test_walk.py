"""The walk over a large room, on real sockets: whatever befalls some of them, everybody gets everything once, in order.

The walk is made to look at the clock after every two sockets and to yield each time, and a room is large from the fifth
socket on, so that a few hundred steps hold what takes a day otherwise.
"""

import json
import math
import random
import socket
from itertools import count

import pytest
import trio

from greenroom.actors.events import MessageCommitted
from greenroom.actors.room.commands import RoomView
from greenroom.http.adoption import Adopted
from greenroom.http.ws import channel as channels
from greenroom.http.ws import events, walk
from greenroom.http.ws import hub as hubs
from greenroom.http.ws.connection import EPHEMERAL
from greenroom.http.ws.engine import SocketEngine
from greenroom.http.ws.frames import text_frame
from greenroom.http.ws.hub import Hub
from greenroom.runtime import SystemClock

ROOM = 7
EPHEMERA = text_frame(b'{"type":"typing"}')


class Listener:
    """Both ends of one socket in the room, and what came out at the far one."""

    is_v1 = True
    is_present = False
    device = ""
    principal = None
    first_beat_seconds = math.inf

    def __init__(self, world, user_id, after_seq=None):
        self.world, self.user_id = world, user_id
        near, self.far = socket.socketpair()
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        self.far.setblocking(False)
        near.setblocking(False)
        self.received, self.is_reading, self.is_over = b"", True, False
        self.connection = world.engine.adopt(Adopted(near, b"", ("here", 1), None), self.open, "here")
        self.joined_at = world.top if after_seq is None else after_seq
        self.join(self.joined_at)

    def open(self, connection):
        return self

    def join(self, after_seq):
        """Who is in the room already is told what is on its way to them all the same."""
        view = RoomView(ROOM, 1, self.world.top, 0, 9, frozenset())
        attachment = self.world.hub.attach(self.connection, self.user_id, view, after_seq)
        channel = self.world.hub.channels[ROOM]
        if not self.world.hub.go_live(channel, attachment):
            self.world.engine.spawn(self.world.replay, channel, attachment)
        self.attachment = attachment

    def closed(self):
        self.is_over = True
        self.world.hub.detach(self.connection, ROOM)

    def seconds_left(self):
        return math.inf

    def beat(self, now):
        return 60.0

    def pause_for(self, seconds):
        pass

    def receive(self, text):
        raise AssertionError(text)

    def read(self):
        while self.is_reading:
            try:
                data = self.far.recv(65536)
            except BlockingIOError:
                return
            if not data:
                return
            self.received += data

    def is_short(self):
        return len(self.messages()) < self.world.top - self.joined_at

    def messages(self):
        self.read()
        data, found = self.received, []
        while len(data) >= 2:
            size, start = data[1], 2
            if size == 126:
                size, start = int.from_bytes(data[2:4], "big"), 4
            if len(data) < start + size:
                break
            value = json.loads(data[start : start + size])
            if value["type"] == "message":
                found.append((value["seq"], value["data"]["sender"], "clientId" in value["data"]))
            data = data[start + size :]
        return found


class World:
    """A hub with one room, its log, and who listens."""

    def __init__(self, nursery, seed):
        self.engine = SocketEngine(nursery)
        self.hub = Hub(self.engine, SystemClock())
        self.hub.on_fallen_behind = lambda channel, attachment: self.engine.spawn(self.replay, channel, attachment)
        self.chance = random.Random(seed)
        self.log, self.users, self.listeners = [], count(1), []

    @property
    def top(self):
        return len(self.log)

    def publish(self, sender_id):
        self.hub.publish(self.store(sender_id), {})

    def store(self, sender_id):
        """A message that nobody is told of, as after a commit whose outcome nobody learned."""
        content = "x" * self.chance.choice([10, 200, 3000])
        event = MessageCommitted(
            ROOM, self.top + 100, self.top + 1, sender_id, "n", "c", content, 1, is_from_rest=False
        )
        self.log.append(event)
        return event

    async def replay(self, channel, attachment):
        while attachment.is_attached and not self.hub.go_live(channel, attachment):
            for event in self.log[attachment.seq : attachment.seq + 5]:
                frames = events.v1_message(event)
                attachment.connection.write(frames[event.sender_id == attachment.user_id])
                attachment.seq = event.seq
            await trio.lowlevel.checkpoint()

    async def settle(self):
        with trio.fail_after(20):
            for listener in self.listeners:
                listener.is_reading = True
                while not listener.is_over and listener.is_short():  # noqa: ASYNC110 - the kernel's word
                    await trio.sleep(0.001)

    def check(self):
        for listener in self.listeners:
            seqs = [(event.seq, event.sender_id, event.sender_id == listener.user_id) for event in self.log]
            expected = seqs[listener.joined_at :]
            got = listener.messages()
            if listener.is_over:
                expected = expected[: len(got)]
            assert got == expected, f"user {listener.user_id}, who joined at {listener.joined_at}"


@pytest.fixture
def quick_walks(monkeypatch):
    monkeypatch.setattr(walk, "WALK_SOCKETS_AT_ONCE", 2)
    monkeypatch.setattr(walk, "WALK_SLICE_SECONDS_MAX", -1.0)
    monkeypatch.setattr(walk, "WALK_REST", 0.0)
    monkeypatch.setattr(walk, "WALK_BYTES_MAX", 5000)
    monkeypatch.setattr(walk, "WALK_SOCKETS_MIN", 4)
    monkeypatch.setattr(hubs, "WALK_SOCKETS_MIN", 4)
    monkeypatch.setattr(channels, "RECENT_MESSAGES_MAX", 12)


@pytest.mark.parametrize("number", range(12))
async def test_whatever_befalls_some_everybody_else_gets_everything_once_in_order(quick_walks, seed, number):
    async with trio.open_nursery() as nursery:
        world = World(nursery, seed + number)
        nursery.start_soon(world.engine.run)
        chance, people = world.chance, world.listeners
        for _ in range(9):
            people.append(Listener(world, next(world.users)))
        for _ in range(300):
            someone = chance.choice(people)
            match chance.choice(
                ["say", "say", "say", "yield", "yield", "stall", "go on", "type", "come", "go", "again"]
            ):
                case "say":
                    world.publish(someone.user_id)
                case "yield":
                    for _ in range(chance.randint(1, 6)):
                        await trio.lowlevel.checkpoint()
                case "stall":
                    someone.is_reading = False
                case "go on":
                    someone.is_reading = True
                    someone.read()
                case "type":
                    someone.connection.write(EPHEMERA, EPHEMERAL)
                case "come" if len(people) < 14:
                    people.append(Listener(world, next(world.users)))
                case "go" if len(people) > 3:
                    people.remove(someone)
                    someone.connection.abort()
                case "again" if not someone.is_over:
                    someone.join(world.top)
        await world.settle()
        world.check()
        channel = world.hub.channels[ROOM]
        assert len(channel.ranks) + len(channel.ranks.strays) == len(channel.attachments) == len(people)
        await _until_nothing_is_pending(world)
        if len(people) > 4:
            world.publish(people[0].user_id)
            await world.settle()
            for _ in range(20):
                await trio.lowlevel.checkpoint()
            assert {attachment.user_id for attachment in channel.ranks.strays} <= {people[0].user_id}
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("people_count", [3, 9], ids=["told at once", "by a walk"])
async def test_what_is_read_from_storage_before_it_is_told_is_not_told_again(quick_walks, seed, people_count):
    async with trio.open_nursery() as nursery:
        world = World(nursery, seed)
        nursery.start_soon(world.engine.run)
        world.listeners += [Listener(world, next(world.users)) for _ in range(people_count)]
        world.publish(1)
        event = world.store(2)
        reader = Listener(world, next(world.users), after_seq=0)
        world.listeners.append(reader)
        with trio.fail_after(20):
            while not reader.attachment.is_live:
                await trio.lowlevel.checkpoint()
        world.hub.publish(event, {})
        world.publish(1)
        await world.settle()
        await _until_nothing_is_pending(world)
        world.check()
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("people_count", [3, 9], ids=["told at once", "by a walk"])
async def test_what_was_stored_and_told_to_nobody_is_read_from_storage_before_what_follows_it(
    quick_walks, seed, people_count
):
    """Whoever was live, was being told, or reads nothing just now: everybody gets the whole log, in order, once."""
    async with trio.open_nursery() as nursery:
        world = World(nursery, seed)
        nursery.start_soon(world.engine.run)
        world.listeners += [Listener(world, next(world.users)) for _ in range(people_count)]
        for stored_count in (1, 3, 20):
            world.publish(1)
            world.listeners[-1].is_reading = False
            for _ in range(world.chance.randint(0, 3)):
                await trio.lowlevel.checkpoint()
            for _ in range(stored_count):
                world.store(2)
            world.publish(1)
            world.publish(3)
            await world.settle()
            world.check()
            await _until_nothing_is_pending(world)
            channel = world.hub.channels[ROOM]
            with trio.fail_after(20):
                while not all(attachment.is_live for attachment in channel.attachments.values()):
                    await trio.lowlevel.checkpoint()
            for seq in range(world.top):  # a resume is told what is remembered, or is sent to storage
                found = channel.frames_after(seq, -1, 1)
                assert found is None or f'"seq":{seq + 1},'.encode() in found[0]
        nursery.cancel_scope.cancel()


async def _until_nothing_is_pending(world):
    with trio.fail_after(5):
        while not all(person.connection.is_clear for person in world.listeners):  # noqa: ASYNC110 - the kernel's word
            await trio.sleep(0.001)


@pytest.mark.parametrize("is_waiting", [False, True])
async def test_who_has_very_much_told_and_waits_for_the_walk_lets_nobody_fall_behind(
    quick_walks, seed, monkeypatch, is_waiting
):
    """At most UNTOLD_MAX wait for the walk when the next few are published, and as many more are remembered."""
    monkeypatch.setattr(walk, "UNTOLD_MAX", 4)
    async with trio.open_nursery() as nursery:
        world = World(nursery, seed)
        nursery.start_soon(world.engine.run)
        world.listeners += [Listener(world, next(world.users)) for _ in range(9)]
        behind, replay = [], world.hub.on_fallen_behind

        def fallen_behind(channel, attachment):
            behind.append(attachment)
            replay(channel, attachment)

        world.hub.on_fallen_behind = fallen_behind
        for _ in range(20):
            for _ in range(8):
                world.publish(1)
            if is_waiting:
                await world.hub.wait_told(ROOM)
            else:
                await trio.lowlevel.checkpoint()
        await world.settle()
        world.check()
        assert bool(behind) == (not is_waiting)
        nursery.cancel_scope.cancel()


async def test_who_waits_for_a_walk_that_does_not_end_goes_on_after_a_second(quick_walks, seed, autojump_clock):
    async with trio.open_nursery() as nursery:
        hub = World(nursery, seed).hub
        channel = hub.channels[ROOM] = channels.Channel(ROOM, 1000)
        channel.is_walking = True
        channels.Attachment(None, 1, 0, channel.ranks).is_live = True  # type: ignore[arg-type]
        began = trio.current_time()
        await hub.wait_told(ROOM)
        assert trio.current_time() == began + walk.UNTOLD_SECONDS_MAX
        channel.is_walking = False
        await hub.wait_told(ROOM)
        await hub.wait_told(ROOM + 1)
        assert trio.current_time() == began + walk.UNTOLD_SECONDS_MAX


async def test_who_is_removed_while_a_walk_is_under_way_is_told_nothing_of_it(quick_walks, seed):
    async with trio.open_nursery() as nursery:
        world = World(nursery, seed)
        nursery.start_soon(world.engine.run)
        people = world.listeners
        people.extend(Listener(world, next(world.users)) for _ in range(12))
        world.publish(1)
        await world.settle()
        world.publish(1)
        while world.hub.channels[ROOM].ranks.walked == 0:
            await trio.lowlevel.checkpoint()
        last = people.pop()
        assert last.attachment.place >= 0
        world.hub.detach(last.connection, ROOM)
        await world.settle()
        world.check()
        assert [seq for seq, _, _ in last.messages()] == [1]
        nursery.cancel_scope.cancel()
