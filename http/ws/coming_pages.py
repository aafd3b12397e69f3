"""Pages that have a socket while it is not known yet whom their user blocks: what they are to hear is kept for them.

Nothing that happens is told to such a page before: what may be dropped is, and the rest is kept, and held to the blocks
once they are known. A page reads over HTTP what it missed as soon as its socket is open, and then relies on the socket:
what is committed after that, and before storage has said whom its user blocks, would be in neither.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from greenroom.http.ws.blocks import SocketBlocks
from greenroom.http.ws.codes import SLOW_CONSUMER
from greenroom.http.ws.connection import OUTBOX_BYTES_MAX, Connection

KEPT_BYTES_MAX: Final = OUTBOX_BYTES_MAX

Message = tuple[int, int]
"""A room, and the seq of a message there."""


class ReactionTo(NamedTuple):
    """That somebody reacts to a message, and who said that message."""

    message: Message
    sender_id: int


@dataclass(slots=True)
class Kept:
    """For one page: (because of whom, frame, what it is about), oldest first; size in bytes."""

    frames: list[tuple[int, bytes, Message | ReactionTo | None]] = field(default_factory=list)
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

    def holds(self, connection: Connection, user_id: int) -> bool:
        """Whether this is one."""
        return connection in self._kept.get(user_id, ())

    def keep(self, user_id: int, sender_id: int, frame: bytes, about: Message | None = None) -> None:
        """A frame for the user, because of *sender_id*. Who comes so slowly that it is too much is let go.

        about: the message whose words are in it; of a receipt None.
        """
        for connection in tuple(self._kept.get(user_id, ())):
            self._keep(connection, user_id, (sender_id, frame, about))

    def keep_reaction(self, user_id: int, people: tuple[int, int], frame: bytes, message: Message) -> None:
        """Alike, of a reaction. people: who said the message, and who reacts to it."""
        sender_id, by_id = people
        for connection in tuple(self._kept.get(user_id, ())):
            self._keep(connection, user_id, (by_id, frame, ReactionTo(message, sender_id)))

    def forget_reactions(self, user_id: int, message: Message) -> None:
        """The message was deleted: which reactions there were is told to nobody any more."""
        for kept in self._kept.get(user_id, {}).values():
            kept.frames = [
                held for held in kept.frames if not isinstance(held[2], ReactionTo) or held[2].message != message
            ]
            kept.size = sum(len(held[1]) for held in kept.frames)

    def keep_own(self, connection: Connection, user_id: int, frame: bytes) -> bool:
        """Frames of the user's own stream, for one page. False when the page has come: it is to be told."""
        if not self.holds(connection, user_id):
            return False
        if frame:
            self._keep(connection, user_id, (user_id, frame, None))
        return True

    def _keep(self, connection: Connection, user_id: int, held: tuple[int, bytes, Message | ReactionTo | None]) -> None:
        kept = self._kept[user_id][connection]
        kept.frames.append(held)
        kept.size += len(held[1])
        if kept.size > KEPT_BYTES_MAX:
            connection.end(SLOW_CONSUMER)

    def retell(self, user_id: int, about: Message, frame: bytes) -> None:
        """The message was changed: *frame* stands for the first of what is kept of it, and the rest is gone."""
        for kept in self._kept.get(user_id, {}).values():
            first = next((index for index, held in enumerate(kept.frames) if held[2] == about), None)
            if first is not None:
                kept.frames[first] = (kept.frames[first][0], frame, about)
                rest = [held for held in kept.frames[first + 1 :] if held[2] != about]
                kept.frames[first + 1 :] = rest
                kept.size = sum(len(held[1]) for held in kept.frames)

    def take(self, connection: Connection, user_id: int, blocks: SocketBlocks) -> list[bytes]:
        """Those frames that were kept and may be shown, oldest first. From here on it is told by others, or gone.

        What somebody says is hidden from who blocks them; that they have read it, from both.
        """
        pages = self._kept.get(user_id, {})
        kept = pages.pop(connection, None)
        if not pages:
            self._kept.pop(user_id, None)
        if kept is None:
            return []
        hides, apart = blocks.hides(user_id), blocks.apart_from(user_id)
        return [
            frame
            for by_id, frame, about in kept.frames
            if by_id not in (apart if about is None else hides)
            and not (isinstance(about, ReactionTo) and about.sender_id in hides)
        ]
