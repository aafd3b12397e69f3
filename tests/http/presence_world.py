"""Everything of presence but PostgreSQL, under a clock that the test moves: real engine, hub, sessions, actors and news
over socket pairs, a model of what is true, and at each far end a client that folds what it is told.

A `Client` keeps what its protocol lets it know: a v1 one who is in each room and how those are whom it watches, a page
who is online of its user's companions. `World.truths` says what each of them should believe by now.
"""

import json
import math
import socket
from contextlib import asynccontextmanager, suppress
from typing import Any

import trio
import trio.lowlevel

from greenroom.actors import catalog
from greenroom.actors.events import MemberChanged
from greenroom.actors.presence.commands import Look
from greenroom.actors.room.commands import RoomView
from greenroom.actors.room.state import PRESENCE_MEMBERS_MAX
from greenroom.http.adoption import Adopted
from greenroom.http.auth import Principal
from greenroom.http.rate_limit import SlidingWindow
from greenroom.http.ws.arrivals import Arrivals
from greenroom.http.ws.attendance import ROUND_SECONDS
from greenroom.http.ws.compat import CompatSession
from greenroom.http.ws.engine import SocketEngine
from greenroom.http.ws.frames import text_frame
from greenroom.http.ws.hub import Hub
from greenroom.http.ws.presence import SocketPresence
from greenroom.http.ws.presence_run import run_presence
from greenroom.http.ws.replay import Replayer
from greenroom.http.ws.services import SocketLimits, SocketServices
from greenroom.http.ws.user_streams import SocketStreams
from greenroom.http.ws.v1 import V1Session
from greenroom.http.ws.watches import Watches
from greenroom.runtime import StorageUnavailable, open_system
from greenroom.runtime.testing import MemoryCommitter, VirtualClock
from greenroom.storage.postgres.last_seen import Seen
from greenroom.storage.postgres.notifications import Counts
from greenroom.storage.postgres.user_streams import Standing
from greenroom.storage.postgres.visibility import Visibility

IDLE_SECONDS = 60.0
FILLER = text_frame(b'{"type":"filler","data":"' + b"x" * 700_000 + b'"}')


class Kept:
    """What PostgreSQL would keep of presence, in memory. `is_away`: it does not answer."""

    def __init__(self, world):
        self.world = world
        self.is_away = False
        self.seen = {}

    async def execute(self, name, user_id):
        await self._answer()

    async def fetch(self, name, watchers, users):
        await self._answer()
        pairs = [pair for pair in zip(watchers, users, strict=True) if self.world.may_see(*pair)]
        return [{"watchers": [one for one, _ in pairs], "users": [other for _, other in pairs]}]

    def put(self, user_id, *, is_online, at_ms):
        self.seen[user_id] = is_online, at_ms

    async def of(self, user_ids):
        await self._answer()
        return {user_id: Seen(f"user-{user_id}", self.seen.get(user_id, (False, None))[1]) for user_id in user_ids}

    async def seen_by(self, watcher_id, user_ids):
        seen = await self.of(user_ids)
        return {user_id: seen[user_id] for user_id in user_ids if self.world.may_see(watcher_id, user_id)}

    async def small_rooms_of(self, user_ids):
        await self._answer()
        small = [(room, members) for room, members in self.world.rooms.items() if len(members) <= PRESENCE_MEMBERS_MAX]
        return {user: {room: list(members) for room, members in small if user in members} for user in user_ids}

    async def standing(self, user_id):
        await self._answer()
        return self.blocks_of(user_id)

    def blocks_of(self, user_id):
        blocks = self.world.blocks
        hides, blocked_by = {b for a, b in blocks if a == user_id}, {a for a, b in blocks if b == user_id}
        return Standing(0, 1, hides=tuple(hides), blocked_by=tuple(blocked_by))

    async def page(self, user_id, now_ms, limit, offset):
        await self._answer()
        return []

    async def counts(self, user_id, now_ms):
        await self._answer()
        return Counts(0, 0)

    async def _answer(self):
        await trio.lowlevel.checkpoint()
        if self.is_away:
            raise StorageUnavailable("a test says so")


class Client:
    """The far end of one socket, and the model of the near one."""

    def __init__(self, world, user_id, *, is_v1, session_id=None):
        self.world, self.user_id, self.is_v1 = world, user_id, is_v1
        near, self.far = socket.socketpair()
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        near.setblocking(False)
        self.far.setblocking(False)
        self.received, self.is_reading = bytearray(), True
        self.events, self.rooms, self.watched, self.online = [], {}, {}, {}
        self.wants_to_watch = ()
        self.says_idle, self.input_at = False, trio.current_time()  # of the model
        self.principal = Principal(
            kind="session" if session_id else "jwt",
            user_id=user_id,
            name=f"user-{user_id}",
            role="user",
            session_id=session_id,
        )
        self.connection = world.engine.adopt(Adopted(near, b"", ("here", 1), None), self._session, "here")
        self.session = self.connection.session
        if is_v1:
            world.streams.stands_at(user_id, world.kept.blocks_of(user_id), world.streams.version())
            self.session.device = f"device-{world.clients_made}"
            self.session.ready(())
            self.session.appear()

    def _session(self, connection):
        return (V1Session if self.is_v1 else CompatSession)(self.world.services, connection, self.principal)

    @property
    def is_open(self):
        return not self.connection.is_closing

    def say(self, kind, *, is_input=False, **fields):
        frame = {"type": kind, "data": fields, "id": kind} if self.is_v1 else {"type": kind, "data": fields}
        if is_input:
            self.says_idle, self.input_at = False, trio.current_time()
        self.session.receive(json.dumps(frame))

    def join(self, room):
        members = self.world.rooms[room]
        is_small = len(members) <= PRESENCE_MEMBERS_MAX
        view = RoomView(room, 1, 0, 0, len(members), frozenset(members if is_small else ()))
        if not is_small:
            self.rooms[room] = {}  # no state is told, and the first diff names all
        attachment = self.world.hub.attach(self.connection, self.user_id, view, 0)
        self.session.ready((*{*self.session.rooms, room},))
        self.session.replay([(room, attachment)])

    def watch(self, users):
        self.wants_to_watch = users
        self.say("watch", users=list(users))

    def end(self, *, is_noticed=True):
        """is_noticed: False when the engine forgets to tell that the socket is gone."""
        if not is_noticed:
            self.session.is_present = False
        self.connection.abort()
        self.far.close()

    def read(self):
        if not self.is_reading or self.far.fileno() < 0:
            return
        with suppress(BlockingIOError):
            while data := self.far.recv(1 << 20):
                self.received += data
        while (frame := self._take_frame()) is not None:
            self._hear(json.loads(frame))

    def _take_frame(self):
        data = self.received
        if len(data) < 2:
            return None
        size, start = data[1], 2
        if size >= 126:
            start = 4 if size == 126 else 10
            size = int.from_bytes(data[2:start])
        if len(data) < start + size or data[0] != 0x81:
            return None
        frame = bytes(data[start : start + size])
        del data[: start + size]
        return frame

    def _hear(self, event):
        self.events.append(event)
        kind, data = event["type"], event.get("data") or {}
        if kind == "presence_state":
            people = {item["user"]: (item["status"], item.get("activity", "")) for item in data["users"]}
            if "room" in event:
                self.rooms[event["room"]] = people
            else:
                self.watched = people
        elif kind == "presence_diff":
            self._hear_diff(event, data)
        elif kind == "member" and data["change"] == "left":
            self.rooms.get(event["room"], {}).pop(data["user"], None)
        elif kind == "presence_update":
            if event["status"] == "offline":
                self.online.pop(event["userId"], None)
            else:
                self.online[event["userId"]] = event["status"], event["activity"]
        elif kind == "initial_data":
            users = data["presence"]["users"]
            self.online = {item["userId"]: (item["status"], item["activity"]) for item in users}

    def _hear_diff(self, event, data):
        rooms = event.get("rooms") or ([event["room"]] if "room" in event else [])
        views = [self.rooms[room] for room in rooms] or [self.watched]  # of a room the state comes first
        for view in views:
            for item in data["joins"]:
                view[item["user"]] = item["status"], item["activity"]
            for item in data["leaves"]:
                if rooms:
                    view.pop(item["user"], None)
                else:
                    view[item["user"]] = "offline", ""
            for user_id in data.get("gone", ()):
                view.pop(user_id, None)


class World:
    """rooms: room → its members. wishes: user → (status, activity), of who has said something."""

    kept: Any
    presence: Any
    services: Any
    look: Any

    def __init__(self, nursery, clock, rooms):
        self.rooms = {room: set(members) for room, members in rooms.items()}
        self.wishes, self.clients, self.clients_made, self.crashes_left = {}, [], 0, 0
        self.blocks = set()  # (who blocks, whom)
        self.said_something = set()
        self.clock = VirtualClock(clock)
        self.engine = SocketEngine(nursery)
        self.hub = Hub(self.engine, self.clock)
        self.kept = Kept(self)
        self.visibility = Visibility(self.kept)
        self.presence = SocketPresence(self.engine, self.hub, self.kept, self.visibility, self.clock, IDLE_SECONDS)
        self.streams = SocketStreams(self.engine, self.kept, self.hub.blocks, self.hub.coming, self.clock)
        self._show = self.presence.show
        self.presence.show = self._show_or_crash

    def _show_or_crash(self, *arguments):
        if self.crashes_left:
            self.crashes_left -= 1
            raise RuntimeError("a bug of the presence actor")
        self._show(*arguments)

    def may_see(self, watcher_id, user_id):
        share_room = any({watcher_id, user_id} <= members for members in self.rooms.values())
        return watcher_id == user_id or (share_room and not self.are_apart(watcher_id, user_id))

    def are_apart(self, user_id, other_id):
        return not self.blocks.isdisjoint({(user_id, other_id), (other_id, user_id)})

    def connect(self, user_id, *, is_v1, session_id=None):
        self.clients_made += 1
        client = Client(self, user_id, is_v1=is_v1, session_id=session_id)
        self.clients.append(client)
        return client

    def change_member(self, room, user_id, *, is_active):
        (self.rooms[room].add if is_active else self.rooms[room].discard)(user_id)
        event = MemberChanged(room, user_id, "member", is_active)
        self.hub.publish(event, dict.fromkeys(self.rooms[room]))

    def block(self, user_id, other_id, *, is_blocked):
        """As a notifier has it stored, and then says so."""
        (self.blocks.add if is_blocked else self.blocks.discard)((user_id, other_id))
        self.streams.blocked(user_id, other_id, is_blocked=is_blocked)

    async def pass_time(self, seconds):
        """Let time pass; whoever reads, reads and gives signs of life meanwhile."""
        until = trio.current_time() + seconds
        while (left := until - trio.current_time()) > 0:
            await trio.sleep(min(left, 1.0))
            for _ in range(2000):
                self.read()
                if not any(client.is_reading and client.connection.unsent_bytes for client in self.clients):
                    break
                await trio.lowlevel.checkpoint()
            for client in self.clients:
                client.connection.heard_at = trio.current_time()

    def read(self):
        for client in self.clients:
            client.read()

    async def become_quiet(self):
        """Until nothing is on its way: everybody reads, who went round has gone round, and no device becomes idle."""
        self.crashes_left, self.kept.is_away = 0, False
        for client in self.clients:
            client.is_reading = True
        await self.pass_time(2 * ROUND_SECONDS + 3)
        while any(self._is_becoming_idle(client) for client in self.clients if client.is_open):
            await self.pass_time(5)
        await self.pass_time(3)

    def _is_becoming_idle(self, client):
        return IDLE_SECONDS - 5 < trio.current_time() - client.input_at < IDLE_SECONDS + ROUND_SECONDS + 5

    # -- the truth ----------------------------------------------------------------------------------------------

    def truth_of(self, user_id):
        """(status, activity) as everybody else should see the user."""
        mine = [client for client in self.clients if client.is_open and client.user_id == user_id]
        status, activity = self.wishes.get(user_id, ("online", ""))
        if not mine or status in ("offline", "invisible"):
            return "offline", ""
        now = trio.current_time()
        if status == "online" and all(one.says_idle or now - one.input_at > IDLE_SECONDS for one in mine):
            status = "away"
        return status, activity

    def forget_wishes(self):
        """Who has no device left comes back online, unless they are invisible."""
        here = {client.user_id for client in self.clients if client.is_open}
        for user_id in [*self.wishes]:
            if user_id not in here and self.wishes[user_id][0] != "invisible":
                del self.wishes[user_id]

    def _present(self, users, viewer_id):
        shown = {user_id: self.truth_of(user_id) for user_id in users if not self.are_apart(viewer_id, user_id)}
        return {user_id: truth for user_id, truth in shown.items() if truth[0] != "offline"}

    def check(self):
        """Every client believes what is true, and nobody sees what they may not."""
        for client in self.clients:
            if not client.is_open:
                continue
            who = f"{'v1' if client.is_v1 else 'page'} of {client.user_id}"
            if client.is_v1:
                for room in client.session.rooms:
                    if self.hub.is_attached(client.connection, room):
                        same(
                            client.rooms.get(room), self._present(self.rooms[room], client.user_id), f"{who} in {room}"
                        )
                wanted = [user for user in client.wants_to_watch if user in client.watched]
                for user_id in wanted:
                    assert self.may_see(client.user_id, user_id), f"{who} watches {user_id}"
                    same(client.watched[user_id], self.truth_of(user_id), f"{who} watches {user_id}")
            else:
                rooms = [members for members in self.rooms.values() if client.user_id in members]
                others = {user for members in rooms for user in members} - {client.user_id}
                mine = {user: seen for user, seen in client.online.items() if user != client.user_id}
                same(mine, self._present(others, client.user_id), who)


def same(believed, true, who):
    assert believed == true, f"{who} believes {believed}, and true is {true}"


@asynccontextmanager
async def open_world(clock, rooms):
    """A world, running."""
    async with trio.open_nursery() as nursery:
        world = World(nursery, clock, rooms)
        async with open_system(
            [catalog.presence_kind(world.presence)],
            committer=MemoryCommitter(),
            clock=world.clock,
            event=lambda name, **facts: None,
        ) as system:
            nothing: Any = None
            world.services = SocketServices(
                engine=world.engine,
                hub=world.hub,
                replayer=Replayer(world.engine, world.hub, nothing),
                streams=world.streams,
                notifications=world.kept,
                reports=nothing,
                users=nothing,
                summaries=world.hub.summaries,
                presence=world.presence,
                watches=Watches(world.engine, world.hub, world.presence, world.kept, world.visibility.may_see),
                system=system,
                conversations=nothing,
                direct=nothing,
                searches=nothing,
                last_seen=world.kept,
                authenticator=nothing,
                people=nothing,
                arrivals=Arrivals(world.engine, world.hub, world.kept),
                limits=SocketLimits(SlidingWindow(0), SlidingWindow(0), math.inf, math.inf),
                clock=world.clock,
                node="here",
                connections_per_user_max=100,
            )
            world.look = lambda user_id: world.services.tell_presence(user_id, Look())
            nursery.start_soon(world.engine.run)
            nursery.start_soon(run_presence, world.services)
            yield world
            for client in world.clients:
                if client.is_open:
                    client.end()
            await trio.sleep(1)
        nursery.cancel_scope.cancel()
