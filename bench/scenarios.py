"""The fixed scenarios, as data. What changes here makes old results incomparable: say so in docs/benchmarks.md.

A message has a body of 300 bytes, where nothing else is said. `full speed` is the same load for all: 100 messages a
second to 1,000 members, 100,000 frames a second; a server that cannot follow is held to 64 messages on their way, and
what it achieves is reported. The durable scenarios are closed loops: a sender with an ack outstanding for each of its
places waits. In one room each of the ten senders has 16 places: workerd's rate is the same with 1, 4 and 16. In 200
rooms each sender has one: 200 in flight, so an ack p99 of 50 ms is a promise about 200 people who wait, not about a
queue.
"""

from dataclasses import dataclass, field, replace


@dataclass(frozen=True, slots=True)
class Scenario:
    """One load and who is put under it. `options` go to bench/load.c as they stand."""

    name: str
    title: str
    mode: str
    rooms: int
    members: int
    senders: int
    servers: tuple[str, ...]
    columns: tuple[str, ...]
    options: dict[str, float] = field(default_factory=dict)
    quick: dict[str, float] = field(default_factory=dict)

    def fitted(self, sockets_max: int) -> "Scenario":
        """The same with fewer rooms, where the machine allows fewer sockets. What is too few, a row says."""
        return replace(self, rooms=max(1, min(self.rooms, sockets_max // self.members)))

    def quickened(self) -> "Scenario":
        """The same load for a shorter time."""
        return replace(self, options=self.options | self.quick)


_CORES = ("server_cores", "postgres_cores", "client_cores")
_FAN_OUT = ("cpu_us_per_frame", "frames_per_second", "p50_ms", "p99_ms", *_CORES)
_DURABLE = ("messages_per_second", "ack_p50_ms", "ack_p99_ms", "cpu_us_per_message", *_CORES)
_IDLE = ("kb_per_connection", "memory_mb", "server_cpu_seconds", "postgres_cpu_seconds", "client_cpu_seconds")
_HOLD = ("cpu_percent_of_20000", "connections", "server_cpu_seconds", "postgres_cpu_seconds", "client_cpu_seconds")
_CONNECT_MS = ("connect_p50_ms", "connect_p99_ms")
_CONNECT = ("cpu_us_per_connect", "connects_per_second", *_CONNECT_MS, "postgres_cpu_us_per_connect")
_PRESENCE = ("server_cores", "changes_per_second", "told_per_second", "told_share", "frames_per_second", *_CORES[1:])
_STORM = ("live_seconds", "start_seconds", "lost_or_doubled", "questions", "questions_per_room", *_CORES)
_ALL_ROOMS = ("greenroom", "node-ws", "workerd-memory", "workerd-sqlite", "quart-trio")
_CONNECTING = ("greenroom", "bare-quart-trio", "quart-trio", "node-ws", "workerd-memory")

SCENARIOS = (
    Scenario(
        name="fanout",
        title="Fan-out: one room of 1,000 members, 4 messages a second, from ten seconds after all have come",
        mode="fanout",
        rooms=1,
        members=1000,
        senders=4,
        servers=_ALL_ROOMS,
        columns=_FAN_OUT,
        # A thousand who have just come leave work behind: for some seconds that is a tenth of what is measured here.
        options={"rate": 4, "seconds": 20, "warm": 10},
        quick={"seconds": 3, "warm": 1},
    ),
    Scenario(
        name="fanout-full",
        title="Fan-out at full speed: one room of 1,000 members, 100 messages a second",
        mode="fanout",
        rooms=1,
        members=1000,
        senders=8,
        servers=_ALL_ROOMS,
        columns=_FAN_OUT,
        options={"rate": 100, "seconds": 5, "warm": 1, "window": 64},
        quick={"seconds": 2},
    ),
    Scenario(
        name="fanout-deflate",
        title="Fan-out at full speed, compressed: one room of 1,000 members, 100 messages of 1,000 bytes a second",
        mode="fanout",
        rooms=1,
        members=1000,
        senders=8,
        servers=("greenroom", "node-ws"),
        columns=("cpu_us_per_frame", "frames_per_second", *_CORES),
        options={"rate": 100, "seconds": 5, "warm": 1, "window": 64, "body": 1000, "deflate": 1},
        quick={"seconds": 2},
    ),
    Scenario(
        name="fanout-rooms",
        title="Many rooms durable: 200 of 25 members, 500 messages a second, one sender a room",
        mode="fanout",
        rooms=200,
        members=25,
        senders=1,
        servers=("greenroom", "node-ws", "workerd-sqlite"),
        columns=("cpu_us_per_frame", "messages_per_second", *_FAN_OUT[1:]),
        options={"rate": 500, "seconds": 10, "warm": 2, "window": 512, "members": 25},
        quick={"seconds": 4},
    ),
    Scenario(
        name="durable-room",
        title="One room durable: 10 members, all of them send, 16 messages in flight each",
        mode="durable",
        rooms=1,
        members=10,
        senders=10,
        servers=("greenroom", "workerd-sqlite"),
        columns=_DURABLE,
        options={"seconds": 6, "warm": 2, "window": 16},
        quick={"seconds": 3, "warm": 1},
    ),
    Scenario(
        name="durable-rooms",
        title="200 rooms durable: 2 members each, one of them sends, 1 message in flight each",
        mode="durable",
        rooms=200,
        members=2,
        senders=1,
        servers=("greenroom", "workerd-sqlite"),
        columns=_DURABLE,
        options={"seconds": 6, "warm": 2, "window": 1},
        quick={"seconds": 3, "warm": 1},
    ),
    Scenario(
        name="idle",
        title="Idle memory: 5,000 connections in 5 rooms of 1,000 members",
        mode="idle",
        rooms=5,
        members=1000,
        senders=0,
        servers=_ALL_ROOMS,
        columns=_IDLE,
        options={"seconds": 2},
        quick={"seconds": 1},
    ),
    Scenario(
        name="idle-20000",
        title="Idle CPU: 20 rooms of 1,000 members, or as many as open files allow, pinged every 25 seconds",
        mode="hold",
        rooms=20,
        members=1000,
        senders=0,
        servers=("greenroom",),
        columns=_HOLD,
        options={"warm": 30, "seconds": 25},  # after 20 seconds the actors that the opening woke are gone
    ),
    Scenario(
        name="connect",
        title="Connect, start, ready, close: one after the other, into a warm room of 100 members",
        mode="connect",
        rooms=1,
        members=100,
        senders=0,
        servers=_CONNECTING,
        columns=_CONNECT,
        options={"count": 1500, "concurrency": 1},
        quick={"count": 500},
    ),
    Scenario(
        name="connect-8",
        title="Connect, start, ready, close: 8 at once, into a warm room of 100 members",
        mode="connect",
        rooms=1,
        members=100,
        senders=0,
        servers=_CONNECTING,
        columns=_CONNECT,
        options={"count": 1500, "concurrency": 8},
        quick={"count": 500},
    ),
    Scenario(
        name="presence",
        # Everybody was here before: what is done once for a new user belongs to their making, not to their coming.
        title="Presence: 5,000 users, each comes or goes once a minute, before 50 who share a room and are there",
        mode="presence",
        rooms=50,
        members=100,
        senders=0,
        servers=("greenroom",),
        columns=_PRESENCE,
        options={"rate": 83.3, "seconds": 20, "warm": 3, "members": 100},
        quick={"seconds": 8},
    ),
    Scenario(
        name="presence-watch",
        title="The same, but nobody joins a room: each watches 100 by name, of whom 50 are there",
        mode="presence",
        rooms=50,
        members=100,
        senders=0,
        servers=("greenroom",),
        columns=_PRESENCE,
        options={"rate": 83.3, "seconds": 20, "warm": 3, "members": 100, "watch": 1},
        quick={"seconds": 8},
    ),
    Scenario(  # without peers, and without load.c: bench/resume_storm.py says why
        name="resume-storm",
        title="Resume storm: kill -9 under 5,000 who listen in 50 rooms, a start, and all are live again",
        mode="storm",
        rooms=50,
        members=100,
        senders=1,
        servers=("greenroom",),
        columns=_STORM,
    ),
)
