"""The walk over a large room, on real sockets: whatever befalls some of them, everybody gets everything once, in order.

The walk is made to look at the clock after every two sockets and to yield each time, and a room is large from the fifth
socket on, so that a few hundred steps hold what takes a day otherwise.
"""

import errno
import json
import math
import os
import random
import re
import socket
from itertools import count

import pytest
import trio

from greenroom.actors.events import MessageChanged
from greenroom.actors.room.commands import RoomView
from greenroom.http.adoption import Adopted
from greenroom.http.ws import changes, events, walk
from greenroom.http.ws import channel as channels
from greenroom.http.ws import hub as hubs
from greenroom.http.ws.connection import EPHEMERAL, Connection
from greenroom.http.ws.engine import SocketEngine
from greenroom.http.ws.frames import text_frame
from greenroom.http.ws.hub import Hub
from greenroom.http.ws.send_many import LoopSender, RingSender, open_sender
from greenroom.runtime import SystemClock
from greenroom.storage.postgres.conversations import StoredMessage

ROOM, OTHER_ROOM = 7, 8
EPHEMERA = text_frame(b'{"type":"typing"}')
CLOSE = 0x88  # how its frame begins
TOLD = ("message", "message_edited", "message_deleted", "skip")
WORDS = re.compile(rb"word-\d+;")


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
        view = RoomView(self.world.room, 1, self.world.top, 0, 9, frozenset())
        attachment = self.world.hub.attach(self.connection, self.user_id, view, after_seq)
        if not self.world.hub.go_live(self.world.channel, attachment):
            self.world.engine.spawn(self.world.replay, self.world.channel, attachment)
        self.attachment = attachment

    def closed(self):
        self.is_over = True
        self.world.hub.detach(self.connection, self.world.room)

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
        """(seq, who said it, whether it has their client id) of each."""
        return [
            (value["seq"], value["data"]["sender"], "clientId" in value["data"])
            for value in self.told()
            if value["type"] != "skip"
        ]

    def believed(self):
        """What each message says, as far as this one was told: the last word holds."""
        words = {}
        for value in self.told():
            if value["type"] == "message":
                words[value["seq"]] = value["data"]["body"]
            elif value["data"]["of"] in words:
                words[value["data"]["of"]] = value["data"].get("body", "")
        return words

    def told(self):
        """The entries of the log that came."""
        self.read()
        data, found = self.received, []
        while len(data) >= 2:
            size, start = data[1], 2
            if data[0] == CLOSE:
                break
            if size == 126:
                size, start = int.from_bytes(data[2:4], "big"), 4
            if len(data) < start + size:
                break
            value = json.loads(data[start : start + size])
            if value["type"] in TOLD:
                found.append(value)
            data = data[start + size :]
        return found


class World:
    """A hub with one room, its log, and who listens. beside: a world of another room on the same hub.

    now: by seq, what messages say that were changed. told_late: words that were handed to a socket after they were
    taken back.
    """

    def __init__(self, nursery, seed, room=ROOM, beside=None):
        self.room, self.worlds = room, beside.worlds if beside else {}
        self.worlds[room] = self
        self.engine = beside.engine if beside else SocketEngine(nursery)
        self.hub = beside.hub if beside else Hub(self.engine, SystemClock())
        self.hub.on_fallen_behind = self.fallen_behind
        self.chance = random.Random(seed)
        self.log, self.users, self.listeners = [], beside.users if beside else count(1), []
        self.now, self.words, self.erased, self.told_late = {}, count(1), set(), []
        self.sizes = [10, 200, 3000]

    def fallen_behind(self, channel, attachment):
        self.engine.spawn(self.worlds[channel.id].replay, channel, attachment)

    @property
    def channel(self):
        return self.hub.channels[self.room]

    @property
    def top(self):
        return len(self.log)

    def publish(self, sender_id):
        self.hub.publish(self.store(sender_id), {})

    def store(self, sender_id):
        """A message that nobody is told of, as after a commit whose outcome nobody learned."""
        entry = StoredMessage(self.top + 100, self.top + 1, sender_id, "c", self.content(), 1, sender_name="n")
        self.log.append(entry)
        return events.committed(self.room, entry)

    def content(self):
        """Words that nobody said before."""
        return f"word-{next(self.words)};" + "x" * self.chance.choice(self.sizes)

    def change(self, seq, what):
        """Edit or delete a message; what it said is handed to no socket from here on."""
        before = self.now.get(seq, self.log[seq - 1])
        if before.change or before.deleted_at_ms is not None:
            return
        now = before._replace(content=self.content(), edited_at_ms=2, message_seq=seq)
        if what == "deleted":
            now = before._replace(content="", client_id=None, deleted_at_ms=2, message_seq=seq)
        self.now[seq] = now
        self.erased.update(WORDS.findall(before.content.encode()))
        entry = now._replace(seq=self.top + 1, change=what, changed_by_id=before.sender_id, changed_at_ms=2)
        self.log.append(entry)
        self.hub.publish(MessageChanged(self.room, entry), {})

    def change_lately_said(self):
        seq = self.top - min(int(self.chance.expovariate(0.5)), self.top - 1)
        self.change(seq, self.chance.choice(["edited", "deleted"]))

    def stands_now(self, entry):
        """An entry of the log as storage has it."""
        now = self.now.get(entry.message_seq or entry.seq, entry)
        return changes.told_now(entry, now) if entry.change else now

    def handed(self, data):
        """A socket is given this."""
        self.told_late += self.erased.intersection(WORDS.findall(data))

    async def replay(self, channel, attachment):
        while attachment.is_attached and not self.hub.go_live(channel, attachment):
            for entry in self.log[attachment.seq : attachment.seq + 5]:
                frame = events.v1_stored(self.room, self.stands_now(entry), attachment.user_id)
                attachment.connection.write(frame)
                attachment.seq = entry.seq
            await trio.lowlevel.checkpoint()

    async def settle(self):
        with trio.fail_after(20):
            for listener in self.listeners:
                listener.is_reading = True
                while not listener.is_over and listener.is_short():  # noqa: ASYNC110 - the kernel's word
                    await trio.sleep(0.001)

    def check(self):
        assert not self.told_late
        for listener in self.listeners:
            log = [(entry.seq, entry.sender_id, self._is_own(entry, listener)) for entry in self.log]
            expected = log[listener.joined_at :]
            got = [told if told[0] not in self.now else (*told[:2], False) for told in listener.messages()]
            if listener.is_over:
                expected = expected[: len(got)]
            assert got == expected, f"user {listener.user_id}, who joined at {listener.joined_at}"
            if not listener.is_over:
                said = [self.stands_now(entry) for entry in self.log[listener.joined_at :] if not entry.change]
                assert listener.believed() == {entry.seq: entry.content for entry in said}

    def _is_own(self, entry, listener):
        """Of a message that was changed it depends on when it was told."""
        return entry.sender_id == listener.user_id and not entry.change and entry.seq not in self.now


@pytest.fixture(params=[RingSender, LoopSender])
def quick_walks(monkeypatch, request):
    if request.param is not LoopSender and isinstance(open_sender(), LoopSender):
        pytest.skip("no io_uring here")
    monkeypatch.setattr(walk, "open_sender", request.param)
    monkeypatch.setattr(walk, "WALK_SOCKETS_AT_ONCE", 2)
    monkeypatch.setattr(walk, "WALK_SLICE_SECONDS_MAX", -1.0)
    monkeypatch.setattr(walk, "WALK_REST", 0.0)
    monkeypatch.setattr(walk, "WALK_BYTES_MAX", 5000)
    monkeypatch.setattr(walk, "WALK_SOCKETS_MIN", 4)
    monkeypatch.setattr(hubs, "WALK_SOCKETS_MIN", 4)
    monkeypatch.setattr(channels, "RECENT_MESSAGES_MAX", 12)


def look_at_what_is_handed(world, monkeypatch):
    """To sockets by a walk, and to outboxes."""
    walker, write, write_now = world.hub._walker, Connection.write, Connection.write_now
    send = walker._sender.send

    def looked_at(hand):
        def handed(to, data, *rest):
            world.handed(data)
            return hand(to, data, *rest)

        return handed

    def send_looked_at(data, fds):
        world.handed(data)
        return send(data, fds)

    monkeypatch.setattr(walker._sender, "send", send_looked_at)
    monkeypatch.setattr(Connection, "write", looked_at(write))
    monkeypatch.setattr(Connection, "write_now", looked_at(write_now))


@pytest.mark.parametrize("number", range(12))
async def test_whatever_befalls_some_everybody_else_gets_everything_once_in_order(
    quick_walks, monkeypatch, seed, number
):
    """And nobody what was taken back by then: messages are edited and deleted in the midst of walks."""
    async with trio.open_nursery() as nursery:
        world = World(nursery, seed + number)
        look_at_what_is_handed(world, monkeypatch)
        nursery.start_soon(world.engine.run)
        chance, people = world.chance, world.listeners
        for _ in range(9):
            people.append(Listener(world, next(world.users)))
        for _ in range(300):
            someone = chance.choice(people)
            match chance.choice(
                ["say", "say", "say", "change", "yield", "yield", "stall", "go on", "type", "come", "go", "again"]
            ):
                case "say":
                    world.publish(someone.user_id)
                case "change" if world.top:
                    world.change_lately_said()
                case "yield":
                    await passes(chance.randint(1, 6))
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
            await passes(20)
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


async def passes(count):
    """Of the loop."""
    for _ in range(count):
        await trio.lowlevel.checkpoint()


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


@pytest.mark.parametrize("what", ["edited", "deleted"])
async def test_what_is_taken_back_while_a_walk_is_under_way_is_told_to_nobody_whom_it_had_not_reached(
    quick_walks, monkeypatch, seed, what
):
    """They are told the message as it stands, and the change, once each; those before them only the change."""
    async with trio.open_nursery() as nursery:
        world = World(nursery, seed)
        nursery.start_soon(world.engine.run)
        world.listeners.extend(Listener(world, next(world.users)) for _ in range(12))
        world.publish(1)
        await world.settle()
        look_at_what_is_handed(world, monkeypatch)
        world.publish(1)
        ranks = world.hub.channels[ROOM].ranks
        while ranks.walked < 4:
            await trio.lowlevel.checkpoint()
        world.change(2, what)
        await world.settle()
        world.check()
        bodies = [listener.told()[1]["data"]["body"] for listener in world.listeners]
        assert len(set(bodies)) == 2
        assert bodies.count(world.now[2].content) >= 6
        await _until_nothing_is_pending(world)
        world.publish(1)
        await world.settle()
        world.check()
        await passes(20)
        assert {attachment.user_id for attachment in ranks.strays} <= {1}
        nursery.cancel_scope.cancel()


async def test_a_change_of_something_else_leaves_the_ranks_as_they_are(quick_walks, seed):
    async with trio.open_nursery() as nursery:
        world = World(nursery, seed)
        world.sizes = [10]
        nursery.start_soon(world.engine.run)
        world.listeners.extend(Listener(world, next(world.users)) for _ in range(12))
        world.publish(1)
        await world.settle()
        world.publish(2)
        ranks = world.hub.channels[ROOM].ranks
        while ranks.walked < 4:
            await trio.lowlevel.checkpoint()
        world.change(1, "edited")
        while ranks.walked:
            assert len(ranks) >= 10
            await trio.lowlevel.checkpoint()
        await world.settle()
        world.check()
        nursery.cancel_scope.cancel()


async def test_who_blocks_somebody_while_a_walk_is_under_way_is_told_nothing_more_of_them(quick_walks, seed):
    async with trio.open_nursery() as nursery:
        world = World(nursery, seed)
        nursery.start_soon(world.engine.run)
        people = world.listeners
        people.extend(Listener(world, next(world.users)) for _ in range(12))
        world.publish(1)
        await world.settle()
        world.publish(1)
        ranks = world.hub.channels[ROOM].ranks
        while ranks.walked < 4:
            await trio.lowlevel.checkpoint()
        last = people.pop()
        assert last.attachment.place >= ranks.walked
        world.hub.blocks.change(last.user_id, 1, is_blocked=True)
        await world.settle()
        world.check()
        with trio.fail_after(5):
            while len(last.told()) < 2:  # noqa: ASYNC110 - the kernel's word
                await trio.sleep(0.001)
        assert [(value["type"], value["seq"]) for value in last.told()] == [("message", 1), ("skip", 2)]
        nursery.cancel_scope.cancel()


async def test_who_is_told_something_by_the_end_of_another_has_all_of_the_message_before_it(
    quick_walks, monkeypatch, seed
):
    monkeypatch.setattr(walk, "WALK_SOCKETS_AT_ONCE", 128)
    async with trio.open_nursery() as nursery:
        world = World(nursery, seed)
        nursery.start_soon(world.engine.run)
        world.listeners.extend(Listener(world, next(world.users)) for _ in range(8))
        world.publish(1)
        await world.settle()
        await passes(20)
        ends, slow, both = world.listeners[3:6]
        sender = world.hub._walker._sender
        send, fds_of_those = sender.send, (ends.connection.fd, both.connection.fd)

        def send_to_broken(data, fds):
            took_less = dict(send(data, fds))
            took_less |= {place: -errno.EPIPE for place, fd in enumerate(fds) if fd in fds_of_those}
            return sorted(took_less.items())

        def closed():
            world.hub.detach(ends.connection, ROOM)
            slow.connection.write(EPHEMERA)
            both.connection.abort()

        monkeypatch.setattr(sender, "send", send_to_broken)
        monkeypatch.setattr(ends, "closed", closed)
        slow.is_reading = False
        world.sizes = [4000]
        world.publish(1)
        world.publish(1)
        await passes(20)
        assert slow.connection.queued_bytes
        assert not ends.connection.is_open
        assert not both.connection.is_open
        slow.is_reading = True
        world.listeners = [one for one in world.listeners if one not in (ends, both)]
        await world.settle()
        world.check()
        assert EPHEMERA in slow.received
        nursery.cancel_scope.cancel()


@pytest.fixture
async def two_rooms(quick_walks, seed):
    """Two worlds on one hub, each with twelve who have been told one message; and the nursery of it all."""
    async with trio.open_nursery() as nursery:
        one = World(nursery, seed)
        other = World(nursery, seed + 1, OTHER_ROOM, beside=one)
        nursery.start_soon(one.engine.run)
        for world in (one, other):
            world.listeners += [Listener(world, next(world.users)) for _ in range(12)]
            await walk_over(world)
        yield nursery, one, other
        nursery.cancel_scope.cancel()


async def walk_over(*worlds):
    """The first one of each says something, and each walk goes to its end."""
    for world in worlds:
        world.publish(world.listeners[0].user_id)
    await come_to_the_end(*worlds)


async def come_to_the_end(*worlds):
    for world in worlds:
        await world.settle()
        world.check()
    with trio.fail_after(5):
        while any(world.channel.is_walking for world in worlds):
            await trio.lowlevel.checkpoint()


async def test_two_rooms_are_walked_at_once_and_each_tells_everybody_everything(two_rooms, monkeypatch):
    _, *worlds = two_rooms
    room_of = {listener.connection.fd: world.room for world in worlds for listener in world.listeners}
    sender, walked = worlds[0].hub._walker._sender, []
    send = sender.send

    def note_and_send(data, fds):
        walked.extend(room_of[fd] for fd in fds if fd >= 0)
        return send(data, fds)

    monkeypatch.setattr(sender, "send", note_and_send)
    for _ in range(3):
        walked.clear()
        await walk_over(*worlds)
        assert walked.count(ROOM) >= 10 <= walked.count(OTHER_ROOM)
        for room, beside in ((ROOM, OTHER_ROOM), (OTHER_ROOM, ROOM)):
            ended = max(place for place, one in enumerate(walked) if one == room)
            assert walked.index(beside) < ended, "neither waits for the end of the other"


async def test_there_are_as_many_tasks_that_walk_as_rooms_were_walked_at_once(two_rooms):
    """However many walks there were one after the other; and they are the same again and again."""
    nursery, one, other = two_rooms
    assert len(nursery.child_tasks) == 1 + 1, "the engine's, and one that has walked over both rooms"
    first = {*nursery.child_tasks}
    for world in (one, other, one, one, other):
        await walk_over(world)
        assert nursery.child_tasks == first
    await walk_over(one, other)
    both = {*nursery.child_tasks}
    assert first < both
    assert len(both) == 1 + 2
    for worlds in ((one,), (other,), (one, other), (other, one), (one,)):
        await walk_over(*worlds)
        assert nursery.child_tasks == both


def fails_once(monkeypatch, owner, name, *, at_call=1, is_done=False):
    """Have something raise at one of its calls. is_done: after it was done."""
    works, calls = getattr(owner, name), count(1)

    def fails(*arguments, **options):
        call = next(calls)
        if call != at_call or is_done:
            outcome = works(*arguments, **options)
        if call == at_call:
            raise RuntimeError("a bug")
        return outcome

    monkeypatch.setattr(owner, name, fails)


@pytest.mark.parametrize(
    ("owner", "name", "options", "ended"),
    [
        pytest.param("sender", "send", {"at_call": 3}, 2, id="before a piece of the ranks is sent"),
        pytest.param("sender", "send", {"at_call": 3, "is_done": True}, 2, id="after it is sent"),
        pytest.param("channel", "frames_after", {}, 0, id="before the ranks"),
        pytest.param("channel", "frames_after", {"at_call": 2}, 0, id="before the strays"),
        pytest.param("delivery", "told", {}, 0, id="when all are told"),
    ],
)
async def test_a_walk_that_fails_is_counted_and_whoever_it_had_not_reached_is_told_all_the_same(
    two_rooms, monkeypatch, owner, name, options, ended
):
    """Nobody has to say something more. Whose piece failed may have been given it or not: they come again."""
    nursery, one, other = two_rooms
    await walk_over(one, other)
    owners = {"sender": one.hub._walker._sender, "channel": channels.Channel, "delivery": one.hub.delivery}
    with monkeypatch.context() as patch:
        fails_once(patch, owners[owner], name, **options)
        one.publish(one.listeners[0].user_id)
        await come_to_the_end(one)
    assert [listener.is_over for listener in one.listeners].count(True) == ended
    assert one.engine.statistics().faults == 1 + ended
    await walk_over(other)
    assert not any(listener.is_over for listener in other.listeners)
    await walk_over(one, other)
    await _until_nothing_is_pending(other)
    assert len(nursery.child_tasks) == 1 + 2, "the task of the walk that failed has a successor"
    await walk_over(one)
    one.listeners = [listener for listener in one.listeners if not listener.is_over]
    await _until_nothing_is_pending(one)
    await walk_over(one)
    assert {attachment.user_id for attachment in one.channel.ranks.strays} <= {one.listeners[0].user_id}


async def test_a_walk_that_fails_beside_another_leaves_it_alone(two_rooms, monkeypatch):
    nursery, one, other = two_rooms
    await walk_over(one, other)
    with monkeypatch.context() as patch:
        fails_once(patch, one.hub._walker._sender, "send", at_call=4)
        await walk_over(one, other)
    over = [listener for world in (one, other) for listener in world.listeners if listener.is_over]
    assert len({listener.world for listener in over}) == 1
    await walk_over(one, other)
    assert len(nursery.child_tasks) == 1 + 2


async def test_who_waits_for_a_walk_that_fails_goes_on(two_rooms, monkeypatch):
    _, one, _ = two_rooms
    monkeypatch.setattr(walk, "UNTOLD_MAX", 0)
    fails_once(monkeypatch, one.hub._walker._sender, "send", at_call=2)
    one.publish(one.listeners[0].user_id)
    with trio.fail_after(walk.UNTOLD_SECONDS_MAX * 0.9):
        await one.hub.wait_told(ROOM)
    await come_to_the_end(one)


@pytest.mark.parametrize("fails", ["as a stray", "with half of it", "with nothing of it"])
async def test_who_fails_as_a_walk_tells_them_fails_alone(two_rooms, monkeypatch, fails):
    """Whose turn comes after theirs is told by the same walk, and keeps what the kernel did not take."""
    nursery, one, _ = two_rooms
    monkeypatch.setattr(walk, "WALK_SOCKETS_AT_ONCE", 128)
    await _until_nothing_is_pending(one)
    await walk_over(one)
    failing, beside = sorted(one.listeners[3:5], key=lambda listener: listener.attachment.place)
    owner, name = (Connection, "write_now") if fails == "as a stray" else (SocketEngine, "watch_writable")
    sender, works = one.hub._walker._sender, getattr(owner, name)
    send = sender.send

    def fail(*arguments):
        if failing.connection in arguments and True in (*arguments, owner is Connection):
            raise OSError(errno.ENOMEM, "the kernel has no memory for what is asked of it")
        works(*arguments)

    def send_less(data, fds):
        """To both."""
        places = [place for place, fd in enumerate(fds) if fd in (failing.connection.fd, beside.connection.fd)]
        if fails == "with nothing of it":
            took = [-errno.EAGAIN for _ in places]
        else:
            took = [os.write(fds[place], data[: len(data) // 2]) for place in places]
        others = fds[:]
        for place in places:
            others[place] = -1
        return sorted([*send(data, others), *zip(places, took, strict=True)])

    def closed():
        one.hub.detach(failing.connection, ROOM)
        failing.is_over = True
        beside.connection.write(EPHEMERA)

    monkeypatch.setattr(owner, name, fail)
    monkeypatch.setattr(failing, "closed", closed)
    if fails == "as a stray":
        failing.connection.write(EPHEMERA)
        beside.connection.write(EPHEMERA)
    else:
        monkeypatch.setattr(sender, "send", send_less)
    one.publish(one.listeners[0].user_id)
    await come_to_the_end(one)
    assert [listener for listener in one.listeners if listener.is_over] == [failing]
    assert beside.received.count(EPHEMERA) == 1 + (fails == "as a stray")
    assert one.engine.statistics().faults == 1
    assert len(nursery.child_tasks) == 1 + 1, "the walk went on"
