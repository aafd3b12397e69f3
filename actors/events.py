"""What happens in rooms, as everybody who listens is told. One set of events for every codec.

A room publishes an event only after what it says is stored; `Audience` is who hears it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from greenroom.actors.room.readers import Readers
from greenroom.storage.postgres.conversations import StoredMessage


class MessageCommitted(NamedTuple):
    """A message exists. is_from_rest: the sender's own page has it in its HTTP answer already.

    attachments: its files, a JSON list; details: what else is said of it, a JSON object; "" for none.
    """

    room_id: int
    id: int
    seq: int
    sender_id: int
    sender_name: str
    client_id: str | None
    content: str
    at_ms: int
    is_from_rest: bool
    attachments: str = ""
    details: str = ""


@dataclass(frozen=True, slots=True)
class MessageChanged:
    """A message was edited or deleted. entry: the change, with what the message says now."""

    room_id: int
    entry: StoredMessage


@dataclass(frozen=True, slots=True)
class MarkerMoved:
    """A member has read up to *seq*, as far as others may know. messages: (message id, author id) of what became read,
    newest last. is_private: only they themselves have read on, and nobody else is told. readers, of a room that is told
    counts: how many have read up to where, now and later on.
    """

    room_id: int
    user_id: int
    user_name: str
    seq: int
    at_ms: int
    messages: tuple[tuple[int, int], ...]
    is_private: bool = False
    readers: Readers | None = None


@dataclass(frozen=True, slots=True)
class TypingChanged:
    """Who types now (id → name); it replaces what was said before. changed: who began or stopped."""

    room_id: int
    users: Mapping[int, str]
    changed: Mapping[int, tuple[str, bool]]


@dataclass(frozen=True, slots=True)
class MemberChanged:
    """Somebody came or went, or has another role. seq, at_ms: its place in the log, and when.

    0: it has none, or listeners read of it from storage: the log of a conversation begins with its first members.
    readers: as of `MarkerMoved`; who comes in stands behind all that was said, and who goes is counted no more.
    """

    room_id: int
    user_id: int
    role: str
    is_active: bool
    seq: int = 0
    at_ms: int = 0
    readers: Readers | None = None


def member_changed(room_id: int, entry: StoredMessage) -> MemberChanged:
    """What tells of an entry of the log that is of who came or went."""
    is_active = entry.change == "joined"
    return MemberChanged(room_id, entry.sender_id, entry.member_role, is_active, entry.seq, entry.changed_at_ms)


RoomEvent = MessageCommitted | MessageChanged | MarkerMoved | TypingChanged | MemberChanged


class Audience(Protocol):
    """Those who hear rooms: the sockets of this process."""

    def publish(self, event: RoomEvent, members: Mapping[int, object]) -> None:
        """Tell everybody who may hear *event*. members: the room's active members by user id.

        Must not wait. Events of one room are published in `seq` order.
        """
        ...

    def news_for(self, user_ids: Iterable[int]) -> None:
        """Notes were stored for these users: their notifiers have something to fold in. Must not wait."""
        ...
