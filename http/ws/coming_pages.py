"""Pages that have a socket while it is not known yet whom their user blocks: what they are to hear is kept for them.

A page reads over HTTP what it missed as soon as its socket is open, and then relies on the socket. What is committed
after that, and before storage has said whom its user blocks, would be in neither.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

from greenroom.http.ws.codes import SLOW_CONSUMER
from greenroom.http.ws.connection import OUTBOX_BYTES_MAX, Connection

KEPT_BYTES_MAX: Final = OUTBOX_BYTES_MAX

Message = tuple[int, int]
"""A room, and the seq of a message there."""


@dataclass(slots=True)
class Kept:
    """For one page: (sender, frame, room and seq of the message), oldest first; size in bytes."""

    frames: list[tuple[int, bytes, Message | None]] = field(default_factory=list)
    size: int = 0


class ComingPages:
    """Of this process. Falsy while there are none."""

    def __init__(self) -> None:
        self._kept: dict[int, dict[Connection, Kept]] = {}

    def __len__(self) -> int:
        """Users."""
        return len(self._kept)

    def expect(self, connection: Connection, user_id: int) -> None:
        """Keep what is told to the user, until `take`."""
        self._kept.setdefault(user_id, {})[connection] = Kept()

    def among(self, members: Collection[int]) -> list[int]:
        """Which of *members* have such a page."""
        return [user_id for user_id in self._kept if user_id in members]

    def __contains__(self, user_id: int) -> bool:
        """Whether a user has one."""
        return user_id in self._kept

    def keep(self, user_id: int, sender_id: int, frame: bytes, about: Message | None = None) -> None:
        """A frame for the user, because of *sender_id*. Who comes so slowly that it is too much is let go.

        about: the message whose words are in it.
        """
        for connection, kept in tuple(self._kept.get(user_id, {}).items()):
            kept.frames.append((sender_id, frame, about))
            kept.size += len(frame)
            if kept.size > KEPT_BYTES_MAX:
                connection.close(SLOW_CONSUMER)

    def retell(self, user_id: int, about: Message, frame: bytes) -> None:
        """The message was changed: *frame* stands for the first of what is kept of it, and the rest is gone."""
        for kept in self._kept.get(user_id, {}).values():
            first = next((index for index, held in enumerate(kept.frames) if held[2] == about), None)
            if first is not None:
                kept.frames[first] = (kept.frames[first][0], frame, about)
                rest = [held for held in kept.frames[first + 1 :] if held[2] != about]
                kept.frames[first + 1 :] = rest
                kept.size = sum(len(held[1]) for held in kept.frames)

    def take(self, connection: Connection, user_id: int) -> list[tuple[int, bytes]]:
        """What was kept, oldest first: sender and frame. From here on it is told by others, or gone."""
        pages = self._kept.get(user_id, {})
        kept = pages.pop(connection, None)
        if not pages:
            self._kept.pop(user_id, None)
        return [] if kept is None else [(sender_id, frame) for sender_id, frame, _ in kept.frames]
