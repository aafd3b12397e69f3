"""What a room can be told, and what it answers."""

from dataclasses import dataclass
from typing import NamedTuple

from greenroom.actors.errors import Refused
from greenroom.runtime import Command
from greenroom.storage.postgres.conversations import StoredMessage


class Sent(NamedTuple):
    """The message is stored. is_duplicate: it was stored before, under the same client id. Both texts are JSON."""

    message_id: int
    seq: int
    at_ms: int
    is_duplicate: bool
    attachments: str = ""
    details: str = ""


@dataclass(frozen=True, slots=True)
class RoomView:
    """The room as a member finds it on joining. members: only of rooms small enough to show presence in.

    mentions: how many of the unread messages name the member, as far as the room's memory reaches back.
    """

    room_id: int
    epoch: int
    top_seq: int
    read_seq: int
    member_count: int
    members: frozenset[int]
    unread: int = 0
    mentions: int = 0
    last: StoredMessage | None = None
    recent: tuple[StoredMessage, ...] = ()


class Changed(NamedTuple):
    """The message is changed, or marked, at this seq. is_duplicate: it was so before. message: as it stands now."""

    seq: int
    at_ms: int
    is_duplicate: bool
    message: StoredMessage


@dataclass(frozen=True, slots=True)
class Moved:
    """The read marker stands at *seq* now; a marker never moves back."""

    seq: int


@dataclass(frozen=True, slots=True)
class MembersChanged:
    """Who came or went by the command; people it would not have changed are left out.

    left_over: who is still to be brought in, by the next command.
    """

    user_ids: tuple[int, ...]
    left_over: tuple[int, ...] = ()


class Details(NamedTuple):
    """What is said of a message besides its words; "" and 0: nothing. thread_id: the message that began its thread."""

    kind: str = ""
    format: str = ""
    reply_to_id: int = 0
    thread_id: int = 0
    mentioned_ids: tuple[int, ...] = ()


@dataclass(slots=True)  # to be frozen would cost 1 µs of the 55 that a message takes
class Send(Command["Sent | Refused"]):
    """Say something. The same client id from the same sender is the same message, for ever. Nobody changes it.

    is_over_limit: the sender has used up its minute: only a duplicate is answered. files: keys of its uploads.
    """

    sender_id: int
    sender_name: str
    client_id: str | None
    content: str
    is_from_rest: bool = False
    is_over_limit: bool = False
    files: tuple[str, ...] = ()
    details: Details | None = None


@dataclass(frozen=True, slots=True)
class Edit(Command["Changed | Refused"]):
    """Who said a message says something else in its place. To say what it says already changes nothing."""

    user_id: int
    message_id: int
    content: str


@dataclass(frozen=True, slots=True)
class Delete(Command["Changed | Refused"]):
    """Who said a message, or an admin, takes it back: what it said is erased. Once more changes nothing."""

    user_id: int
    message_id: int


@dataclass(frozen=True, slots=True)
class React(Command["Changed | Refused"]):
    """A member reacts to a message, or does so no more (not is_on). What holds already changes nothing."""

    user_id: int
    message_id: int
    reaction: str
    is_on: bool


@dataclass(frozen=True, slots=True)
class Pin(Command["Changed | Refused"]):
    """One of two, or an admin of a group, pins a message, or lets it go (not is_on). What holds changes nothing."""

    user_id: int
    message_id: int
    is_on: bool


@dataclass(frozen=True, slots=True)
class Enter(Command["RoomView | Refused"]):
    """A socket of a member wants to hear the room. Never changes membership.

    wants_recent: the process has no memory of the room's newest messages yet. hides: whom the member blocks.
    """

    user_id: int
    wants_recent: bool = False
    hides: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Type(Command[Refused | None]):
    """A member types, or stopped."""

    user_id: int
    user_name: str
    is_typing: bool


@dataclass(frozen=True, slots=True)
class Read(Command["Moved | Refused"]):
    """A member has read up to *seq*. is_private: others are not told."""

    user_id: int
    user_name: str
    seq: int
    is_private: bool = False


@dataclass(frozen=True, slots=True)
class AddMembers(Command["MembersChanged | Refused"]):
    """An admin (None: the system) brings people in, NEWCOMERS_MAX at most; nobody if there is no room for them all.

    The front has checked that they exist.
    """

    by_id: int | None
    user_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class RemoveMember(Command["MembersChanged | Refused"]):
    """Somebody leaves, or is removed by an admin."""

    by_id: int
    user_id: int


@dataclass(frozen=True, slots=True)
class JoinOpen(Command["MembersChanged | Refused"]):
    """Somebody enters a group that is open to any signed-in user.

    is_over_limit: they have used up their minute: only that they are in already is answered.
    """

    user_id: int
    is_over_limit: bool = False


@dataclass(frozen=True, slots=True)
class LookAtBlocks(Command[None]):
    """Of a notifier: one of the two has blocked the other, or does so no more."""


@dataclass(frozen=True, slots=True)
class TypingExpired(Command[None]):
    """Of the room to itself: look who has stopped typing without saying so."""


@dataclass(frozen=True, slots=True)
class LookAgain(Command[None]):
    """Of the room to its next activation: find out what became of a commit that nobody heard the end of."""
