"""What a connection says while a room that it speaks to is full: it is read on, so that pings are answered.

    the room is full ──▶ read on: a ping is answered, all else is put aside in order
                            └─ more than ASIDE_BYTES_MAX, or ASIDE_TOGETHER_BYTES_MAX of all ──▶ not read: TCP tells it
    the room takes commands again ──▶ what was put aside has its turn ──▶ read as ever

What lies behind so much in the peer's own stream cannot be answered without reading it. Of who is not read silence is
no sign: the heartbeat ends nobody whose reading we have paused.
"""

import sys
from collections import deque
from typing import Final

from greenroom.http.decode import BadJson, decode

ASIDE_BYTES_MAX: Final = 16 * 1024  # and what one read brings beyond it
ASIDE_TOGETHER_BYTES_MAX: Final = 16 * 1024 * 1024
ENTRY_BYTES: Final = 8  # of its queue
SIGN_CHARACTERS_MAX: Final = 512
_SIGNS: Final = frozenset(("ping", "pong"))


class AsideBudget:
    """What all connections together have put aside, in bytes."""

    def __init__(self) -> None:
        self.bytes = 0


class Aside:
    """Of one connection. Truthy while something is here."""

    __slots__ = ("_budget", "_bytes", "_texts")

    def __init__(self, budget: AsideBudget) -> None:
        self._budget = budget
        self._bytes = 0
        self._texts: deque[str] = deque()

    @property
    def has_room(self) -> bool:
        """Whether the connection may be read on."""
        return self._bytes < ASIDE_BYTES_MAX and self._budget.bytes < ASIDE_TOGETHER_BYTES_MAX

    def __bool__(self) -> bool:
        return bool(self._texts)

    def put(self, text: str) -> None:
        """Behind what is here; what was read is kept whether there is room or not."""
        self._texts.append(text)
        self._count(_bytes_of(text))

    def take(self) -> str:
        """The first."""
        text = self._texts.popleft()
        self._count(-_bytes_of(text))
        return text

    def drop(self) -> None:
        """Nobody will ask for it."""
        self._texts.clear()
        self._count(-self._bytes)

    def _count(self, size: int) -> None:
        self._bytes += size
        self._budget.bytes += size


def is_sign_of_life(text: str) -> bool:
    """Whether a message is one ping or pong, of either protocol, and may overtake what was said before it."""
    if len(text) > SIGN_CHARACTERS_MAX or ('"ping"' not in text and '"pong"' not in text):
        return False
    try:
        value = decode(text)
    except BadJson:
        return False
    kind = value.get("type") if isinstance(value, dict) else None
    return isinstance(kind, str) and kind in _SIGNS


def _bytes_of(text: str) -> int:
    return sys.getsizeof(text) + ENTRY_BYTES
