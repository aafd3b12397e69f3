"""Uses of the runtime that type checkers must take, and the types that they must see. Never run."""

import copy
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from typing import assert_type

import trio

from greenroom.runtime import (
    Actor,
    Address,
    Command,
    Committer,
    Directive,
    Down,
    Items,
    Kind,
    Meter,
    Ref,
    RestartPolicy,
    Service,
    StopReason,
    Strategy,
    Stream,
    Supervisor,
    Tick,
    encodable,
    handles,
    open_system,
    reads,
    reentrant,
    shielded,
)


@dataclass(frozen=True, slots=True)
class User:
    name: str


@dataclass(frozen=True, slots=True)
class Member:
    user: User
    place: int


@dataclass(frozen=True, slots=True)
class Join(Command[Member]):
    user: User


@encodable("typed.leave")
@dataclass(frozen=True, slots=True)
class Leave(Command[None]):
    user: User


@dataclass(frozen=True, slots=True)
class Find(Command[Member | None]):
    name: str


@dataclass(frozen=True, slots=True)
class Names(Command[list[str]]):
    pass


@dataclass(frozen=True, slots=True)
class Count(Command[int]):
    pass


@dataclass(frozen=True, slots=True)
class Follow(Stream[Member]):
    since: int


class Room(Actor):
    """One handler of each form."""

    def __init__(self, key: int | str) -> None:
        assert_type(key, int | str)
        self.members: dict[str, Member] = {}

    async def start(self) -> None:
        await trio.lowlevel.checkpoint()

    def stopping(self, reason: StopReason) -> None:
        self.members.clear()

    @property
    def may_passivate(self) -> bool:
        return not self.members

    @handles(Join)
    def join(self, command: Join) -> Member:
        member = self.members[command.user.name] = Member(command.user, len(self.members))
        self.ctx.write(member)
        self.ctx.after_commit(self.members.clear)
        return member

    @shielded
    @handles(Leave)
    async def leave(self, command: Leave) -> None:
        await self.ctx.flushed()
        other = self.ctx.ref("room", 2)
        assert_type(other, Ref)
        assert_type(await other.ask(Find("a"), deadline=1.0), Member | None)
        self.ctx.tell(other, command)
        self.ctx.tell_self_after(1.0, command)
        self.ctx.watch(other)
        with self.ctx.keep_awake("somebody is here"):
            assert_type(self.ctx.awake_for[0], str)
        self.ctx.state.put("names", ["a", "b"])
        names: list[str] = self.ctx.state.get("names", [])
        assert_type(names, list[str])
        self.ctx.set_alarm("leave", command, after_seconds=60.0, every_seconds=60.0)
        assert_type(self.ctx.cancel_alarm("leave"), bool)
        assert_type(self.ctx.alarms(), dict[str, int])
        assert_type(self.ctx.tick, Tick | None)
        self.ctx.write(command, unconfirmed=True)

    @reads
    @handles(Find)
    def find(self, command: Find) -> Member | None:
        return self.members.get(command.name)

    @reentrant
    @handles(Names)
    def names(self, _: Names) -> list[str] | Awaitable[list[str]]:
        """Waits only when there are any."""
        return self._names() if self.members else []

    async def _names(self) -> list[str]:
        await trio.lowlevel.checkpoint()
        return list(self.members)

    @handles(Follow)
    async def follow(self, command: Follow) -> AsyncIterator[Member]:
        for member in list(self.members.values())[command.since :]:
            yield member

    @handles(Down)
    def down(self, command: Down) -> None:
        assert_type(command.address, Address)
        assert_type(command.reason, StopReason | None)


class Subtle(Actor):
    """A narrower answer and a wider command than were asked for."""

    @handles(Find)
    def find(self, command: Command[Member | None]) -> Member:
        return Member(User("x"), 1)

    def is_still_a_method(self) -> None:
        assert_type(self.find(Find("x")), Member | None)


class OneForAll(Actor):
    """A batch that is answered with one reply."""

    @handles(Count, batch=64)
    def count(self, commands: list[Count]) -> int:
        return len(commands)


class OneEach(Actor):
    """A batch that is answered with a reply for each."""

    @handles(Count, batch=64)
    def count(self, commands: list[Count]) -> list[int]:
        return [1 for _ in commands]


class OneEachLater(Actor):
    """The same, and it waits."""

    @handles(Count, batch=64)
    async def count(self, commands: list[Count]) -> list[int]:
        await trio.lowlevel.checkpoint()
        return [1 for _ in commands]

    @handles(Leave, batch=64)
    async def leave(self, commands: list[Leave]) -> None:
        await trio.lowlevel.checkpoint()


ROOM = Kind(
    "room",
    Room,
    ownership="create",
    meter=Meter(size_of=lambda _: 1, bytes_max=1024),
    restart=RestartPolicy(mode="permanent", on_error={ValueError: Directive.RESUME}),
)
TREE = Supervisor("all", [Service(Kind("clock", lambda _: Subtle())), ROOM], strategy=Strategy.REST_FOR_ONE)


def told(member: Member | None, error: BaseException | None) -> None:
    """Of a request."""


async def use(committer: Committer) -> None:
    """From outside."""
    async with open_system(TREE, committer=committer) as system:
        room = system.ref("room", 42)
        assert_type(room, Ref)
        assert_type(system.service("clock"), Ref)
        assert_type(await room.ask(Join(User("a")), deadline=trio.current_time() + 5), Member)
        await room.ask(Leave(User("a")), deadline=trio.current_time() + 5)
        assert_type(await room.ask(Names(), deadline=trio.current_time() + 5), list[str])
        assert_type(await copy.copy(room).ask(Count(), deadline=0.0), int)
        async with room.stream(Follow(0), deadline=trio.current_time() + 5) as items:
            assert_type(items, Items[Member])
            async for member in items:
                assert_type(member, Member)
        print(await room.ask(Count(), deadline=0.0))
        perhaps: int | None = await room.ask(Count(), deadline=0.0)
        print(perhaps)
        room.tell(Join(User("a")))
        await room.offer(Join(User("a")))
        room.request(Join(User("a")), told, deadline=0.0)
        room.request(Find("a"), told, deadline=0.0)
        assert_type(system.statistics().kinds["room"].turns, int)
        assert_type({room: 1}[room], int)
