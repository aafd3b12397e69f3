"""A channel: one room as this process hears it, the sockets in it, and what was said lately with its frames.

An attachment knows the last `seq` that its socket was given. While that lies behind `top_seq`, the socket is brought
up from `recent`, or from storage when that does not reach back far enough.
"""

from collections import deque
from collections.abc import Iterable
from enum import Enum, auto
from typing import Final

from greenroom.actors.events import MemberChanged, member_changed
from greenroom.actors.room.readers import Counts, Readers
from greenroom.http.ws import events
from greenroom.http.ws.blocks import NOBODY
from greenroom.http.ws.connection import Connection
from greenroom.http.ws.ranks import Ranks
from greenroom.storage.postgres.conversations import MEMBER_CHANGES, StoredMessage

RECENT_MESSAGES_MAX: Final = 512


class Told(Enum):
    """What a socket was told of who is in a room."""

    NOT_YET = auto()  # the state that follows `live` holds all that happened until then
    NOTHING = auto()  # the room was too large, and when it is so no more the next that is told holds everybody
    EVERYBODY = auto()  # from then on what changes


class Attachment:
    """One v1 socket in one room. is_live: events reach it as they happen.

    seq: the last message it was given, while it stands outside of the ranks. place: in the ranks, -1 outside of them.
    told: of who is there.
    """

    __slots__ = ("connection", "is_attached", "is_live", "place", "ranks", "seq", "told", "user_id")

    def __init__(self, connection: Connection, user_id: int, seq: int, ranks: Ranks) -> None:
        self.ranks = ranks
        self.place = -1
        self.connection = connection
        self.user_id = user_id
        self.seq = seq
        self.is_live = False
        self.is_attached = True
        self.told = Told.NOT_YET
        ranks.strays[self] = None

    def fall_out(self) -> None:
        """Be a stray: what it is given is its own again."""
        if self.place >= 0:
            self.ranks.fall_out(self)


class Recent:
    """An entry of the log that was published lately, with its frames.

    sender_id: of the message. entry, of a change only: what it is. change_of: the seq of its message. by_id: of a
    reaction, who reacts; like the sender, they are hidden from whoever blocks them. is_said: else it is of who came or
    went, which `members` shows to everybody too.
    """

    __slots__ = ("_skip_frame", "frame", "own_frame", "sender_id", "seq")

    entry: StoredMessage | None = None
    change_of = 0
    by_id = 0
    is_said = True

    def __init__(self, seq: int, sender_id: int, frame: bytes, own_frame: bytes) -> None:
        self.seq = seq
        self.sender_id = sender_id
        self.frame = frame
        self.own_frame = own_frame
        self._skip_frame: bytes | None = None

    def skip_frame(self, room_id: int) -> bytes:
        """For those who are not shown it; made when the first of them comes."""
        if self._skip_frame is None:
            self._skip_frame = events.v1_skip(room_id, self.seq)
        return self._skip_frame


class RecentChange(Recent):
    """A change. Its frame is made when somebody is given it: it holds the whole message, as it is now.

    An edit of who edits for the five hundredth time makes one frame, and not five hundred.
    """

    __slots__ = ("_frame", "_room_id", "by_id", "change_of", "entry")

    def __init__(self, room_id: int, entry: StoredMessage) -> None:
        self.seq = entry.seq
        self.sender_id = entry.sender_id
        self._skip_frame = None
        self._frame: bytes | None = None
        self._room_id = room_id
        self.entry = entry
        self.change_of = entry.message_seq
        self.by_id = entry.changed_by_id if entry.change in ("reacted", "unreacted") else 0

    @property
    def frame(self) -> bytes:  # type: ignore[override]
        """For everybody, who said the message too."""
        if self._frame is None:
            assert self.entry is not None
            self._frame = events.v1_stored(self._room_id, self.entry, -1)
        return self._frame

    @property
    def own_frame(self) -> bytes:  # type: ignore[override]
        """The same."""
        return self.frame


class RecentMember(Recent):
    """Who came or went: the sender is they."""

    __slots__ = ()

    is_said = False


class Channel:
    """One room that somebody on this process listens to. top_seq: the newest message published.

    readers: of a room of over 200 members, how many have read up to where; told_counts: what was told of it last.
    untold_since: of a room that is walked, when the first message was committed that the next walk tells.
    typed: whom pages that look here were told of as typing, or as having stopped: their name, and when that was last.
    """

    __slots__ = (
        "attachments",
        "compat_typing",
        "id",
        "is_walking",
        "ranks",
        "readers",
        "recent",
        "rests_until",
        "told_counts",
        "top_seq",
        "typed",
        "untold_since",
    )

    def __init__(self, room_id: int, top_seq: int) -> None:
        self.id = room_id
        self.top_seq = top_seq
        self.attachments: dict[Connection, Attachment] = {}
        self.compat_typing: dict[Connection, int] = {}  # sockets that asked for typing, with their user
        self.recent: deque[Recent] = deque(maxlen=RECENT_MESSAGES_MAX)
        self.ranks = Ranks()
        self.is_walking = False
        self.rests_until = 0.0
        self.untold_since: float | None = None
        self.readers: Readers | None = None
        self.told_counts: Counts = ()
        self.typed: dict[int, tuple[str, float]] | None = None

    def frames_after(
        self, seq: int, user_id: int, bytes_max: int, up_to: int | None = None, hides: frozenset[int] = NOBODY
    ) -> tuple[bytes, int] | None:
        """(frames joined, the seq they reach) of what follows *seq*, or None when it is not remembered.

        At least one message and at most *bytes_max* bytes if there are more. up_to: the last seq, if not the newest.
        hides: whose messages the user is not shown.
        """
        recent = self.recent
        if not recent or seq + 1 < recent[0].seq:
            return None
        parts: list[bytes] = []
        size = 0
        start = len(recent) - (self.top_seq - seq)
        end = len(recent) if up_to is None else len(recent) - (self.top_seq - up_to)
        for index in range(start, end):
            item = recent[index]
            frame = item.own_frame if item.sender_id == user_id else item.frame
            if hides and item.is_said and (item.sender_id in hides or item.by_id in hides):
                frame = item.skip_frame(self.id)
            if parts and size + len(frame) > bytes_max:
                break
            parts.append(frame)
            size += len(frame)
            seq = item.seq
        return (parts[0] if len(parts) == 1 else b"".join(parts)), seq


def recents(room_id: int, entries: Iterable[StoredMessage]) -> Iterable[Recent]:
    """What storage has of a room lately, with its frames."""
    return [recent_of(room_id, entry) for entry in entries]


def recent_of(room_id: int, entry: StoredMessage) -> Recent:
    """An entry of the log with its frames."""
    if entry.change in MEMBER_CHANGES:
        return recent_member(member_changed(room_id, entry))
    if entry.change:
        return RecentChange(room_id, entry)
    frame = events.v1_stored(room_id, entry, -1)
    return Recent(entry.seq, entry.sender_id, frame, events.v1_stored(room_id, entry, entry.sender_id))


def recent_member(event: MemberChanged) -> Recent:
    """Who came or went, with its frames: who left and is back is not told that they did."""
    frame = events.v1_member(event)
    own_frame = frame if event.is_active else events.v1_skip(event.room_id, event.seq)
    return RecentMember(event.seq, event.user_id, frame, own_frame)
