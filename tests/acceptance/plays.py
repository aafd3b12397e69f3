"""The scripts of the model test, as values that hypothesis draws and makes short; model.py plays them."""

import itertools
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

USERS = 4  # the first is the admin of the groups, and never out
ROOMS = 2  # groups; one more room is the conversation of two of the users
DIRECT = (1, 2)


@dataclass(frozen=True)
class Say:
    """also: the same message at the same moment over another road, as by a client that has lost its patience."""

    user: int
    room: int
    by: str  # rest, socket, page
    also: str | None


@dataclass(frozen=True)
class Lose:
    """Say something and be gone before the answer; nobody knows whether it was stored until it is said again."""

    user: int
    room: int
    by: str  # rest, socket
    milliseconds: int


@dataclass(frozen=True)
class Again:
    """Send what was said before once more."""

    which: int
    by: str


@dataclass(frozen=True)
class Member:
    user: int  # never the admin
    room: int
    change: str  # add, remove, leave


@dataclass(frozen=True)
class Block:
    user: int
    other: int
    is_on: bool
    by: str  # rest, socket


@dataclass(frozen=True)
class Leave:
    """A device that hears a room over a WebSocket leaves it, stays its member, and joins it again."""

    device: int
    room: int


@dataclass(frozen=True)
class Come:
    """A device connects, over this transport; what it had ends first."""

    device: int
    transport: str
    deflates: bool
    cuts: bool


@dataclass(frozen=True)
class Go:
    device: int
    cuts: bool


@dataclass(frozen=True)
class Stall:
    """A device takes nothing more, and so much is said that the server lets go of it."""

    device: int
    room: int


@dataclass(frozen=True)
class Wake:
    device: int


@dataclass(frozen=True)
class Shake:
    kind: int


@dataclass(frozen=True)
class Settle:
    pass


@dataclass(frozen=True)
class Together:
    steps: tuple[Any, ...]


@dataclass(frozen=True)
class Script:
    members: tuple[tuple[bool, ...], ...]  # by group: which of the users but the admin are in it
    transports: tuple[str, ...]
    steps: tuple[Any, ...]
    is_near: bool  # where that can be chosen: little is remembered and replayed
    walks: bool  # likewise: rooms are told as large ones are


ROADS = st.sampled_from(("rest", "socket", "page"))
TRANSPORTS = st.sampled_from(("socket", "stream", "poll"))
_users, _groups, _devices = st.integers(0, USERS - 1), st.integers(0, ROOMS - 1), st.integers(0, 6)
_anywhere = st.integers(0, ROOMS)
_pairs = st.sampled_from((*[DIRECT, DIRECT[::-1]] * 3, *itertools.permutations(range(USERS), 2)))
_say = st.one_of(
    st.builds(Say, _users, _anywhere, ROADS, st.none()),
    st.builds(Say, st.sampled_from(DIRECT), st.just(ROOMS), ROADS, st.none()),
)
_quick = st.one_of(
    _say,
    _say,
    st.builds(Say, _users, _anywhere, ROADS, ROADS),
    st.builds(Member, st.integers(1, USERS - 1), _groups, st.sampled_from(("add", "remove", "leave"))),
    st.builds(Come, _devices, TRANSPORTS, st.booleans(), st.booleans()),
    st.builds(Go, _devices, st.booleans()),
    st.builds(Leave, st.integers(0, 4), _anywhere),
    st.builds(Again, st.integers(0, 1000), ROADS),
    st.builds(Lose, _users, _anywhere, st.sampled_from(("rest", "socket")), st.integers(0, 20)),
    st.builds(
        lambda pair, is_on, by: Block(pair[0], pair[1], is_on, by),
        _pairs,
        st.booleans(),
        st.sampled_from(("rest", "socket")),
    ),
)
# Many say something in one room at once: more than is remembered where little is.
_crowd = st.builds(
    lambda room, roads: Together(tuple(Say(number % USERS, room, road, None) for number, road in enumerate(roads))),
    _groups,
    st.lists(ROADS, min_size=4, max_size=8),
)


def everything(*, stalls: bool, shakes: int) -> Script:
    """What every run must meet, whatever is drawn. Device 0 is of user 0, 1 and 2 of 1; pages are 5 of 2, 6 of 3"""
    says = [Say(0, 0, "socket", None), Say(1, 0, "rest", None), Say(2, 0, "page", None), Say(3, 1, "socket", "rest")]
    moves = [
        *[Member(3, 0, "add"), *says, Say(3, 0, "page", None), Settle()],
        *[Member(2, 0, "remove"), Say(2, 0, "page", None), *says[:2], Settle()],
        *[Member(1, 1, "add"), Say(1, 1, "socket", None), Member(1, 1, "leave"), Say(0, 1, "socket", None), Settle()],
    ]
    blocks = [
        *[Block(3, 1, True, "socket"), *says, Say(1, 0, "socket", None), Settle(), Block(3, 1, False, "socket")],
        *[Block(1, 2, True, "socket"), Say(2, ROOMS, "rest", None), Say(1, ROOMS, "socket", None), *says, Settle()],
        *[Block(1, 2, False, "rest"), Say(2, ROOMS, "page", None), *says, Settle()],
    ]
    leaves = [Leave(0, 0), Leave(2, 0), *says[:2] * 3, Settle(), Leave(0, 1), Leave(0, 1), *says, Settle()]
    drops = [Go(device, device % 2 == 0) for device in range(6)] + says * 2
    back = [Come(device, how, True, False) for device, how in enumerate(("poll", "socket", "stream", "socket", "poll"))]
    again = [Come(5, "page", True, True), Settle(), Lose(0, 0, "socket", 1), Lose(1, 0, "rest", 1), Again(3, "rest")]
    stalled = [Stall(1, 0), Wake(1), Settle(), Stall(2, 0), Wake(2), Settle(), Stall(6, 0), Wake(6), Settle()]
    shaken = [step for kind in range(shakes) for step in (Shake(kind), *says[:3], Settle())]
    steps = [*says, Settle(), *moves, *blocks, *leaves, *drops, *back, *again, *(stalled if stalls else ()), *shaken]
    inside = ((True, True, False), (False, False, True))
    return Script(inside, ("socket", "stream", "socket", "poll", "socket"), tuple(steps), is_near=True, walks=False)


def scripts(steps_max: int, *, stalls: bool = True, shakes: int = 2) -> st.SearchStrategy[Script]:
    """Of at most so many steps, and half as many. shakes: how many kinds the stage has."""
    shake = st.builds(Shake, st.integers(0, shakes - 1))
    more = [st.builds(Stall, _devices, _groups), st.builds(Wake, _devices)] if stalls else []
    together = st.lists(st.one_of(_quick, _quick, _quick, shake), min_size=2, max_size=6)
    step = st.one_of(
        st.just(Settle()),  # the least: what fails shrinks to it
        _quick,
        _quick,
        together.map(lambda steps: Together(tuple(steps))),
        _crowd,
        shake,
        *more,
    )
    return st.builds(
        Script,
        st.tuples(*[st.tuples(*[st.booleans()] * (USERS - 1))] * ROOMS),
        st.tuples(*[TRANSPORTS] * 5),
        st.lists(step, min_size=steps_max // 2, max_size=steps_max).map(tuple),
        st.booleans(),
        st.booleans(),
    )
