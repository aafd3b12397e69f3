"""What a room knows, and what it decides. Pure: neither trio nor a driver, and nothing here waits.

`decide_*` look and answer; `apply_*` change memory and cannot fail, so that a refused or failed command has changed
nothing. Order is `seq = last + 1`; clocks order nothing.
"""

from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import NamedTuple

from greenroom.actors.errors import RefusalCode, Refused
from greenroom.actors.room.commands import Details, Send, Sent
from greenroom.actors.room.mark_memory import MarkMemory
from greenroom.actors.room.newest import NewestMessages
from greenroom.actors.room.readers import Readers
from greenroom.actors.room.wordless import WordlessPlaces
from greenroom.storage.postgres.conversations import (
    CLIENT_IDS_MAX,
    COUNTED_MESSAGES,
    RING_MESSAGES,
    SentBefore,
    StoredMessage,
    StoredRoom,
)
from greenroom.storage.writes import AttachFiles, DescribeMessage, InsertMessage, PutParticipant, Role

CONTENT_CODE_POINTS_MAX = 10_000
CLIENT_ID_CHARACTERS_MAX = 255
MEMBERS_MAX = 20_000
# By one command. All that a commit tells leaves in one go: a thousand at once were more than listeners keep of a room
# (512), so that each of its sockets read them from storage, and held the loop for as long as it takes to tell them all.
NEWCOMERS_MAX = 128
REMOVED_MAX = 20_000  # that an open group remembers; beyond it nobody comes in without an admin
PRESENCE_MEMBERS_MAX = 200  # in larger rooms presence is told on request, typing not at all, of readers how many
TYPING_SECONDS = 6.0


class Companions(NamedTuple):
    """What is stored with a message, in the same turn; attachments, details: as clients are told them."""

    writes: tuple[AttachFiles | DescribeMessage, ...] = ()
    attachments: str = ""
    details: str = ""
    thread_id: int = 0


NONE = Companions()


@dataclass(slots=True)
class Member:
    """An active member. read_seq only grows; so does shown_seq, what others are told of it, which is never more."""

    role: Role
    read_seq: int
    shown_seq: int = 0


@dataclass(slots=True)
class Typist:
    """Somebody who types; expires_at is trio time."""

    name: str
    expires_at: float


@dataclass(slots=True)
class RoomState:
    """The memory of one activation. It may be ahead of storage; the gate holds the outputs until it is not.

    members: replaced when somebody comes or goes, never changed in place: outputs that still wait for storage hold the
    members of their own turn. removed: of an open group, who was sent away and not brought back, at most one more than
    REMOVED_MAX. repeaters: who said last what client_ids does not reach back to. last: the newest message.
    newest: the newest messages as far as they are counted, also those that the ring has not any more. wordless: where
    in the log no message stands. readers: of a large room in which somebody has read on, come or gone; never ahead of
    storage, unlike the rest, where it is told.
    """

    id: int
    is_group: bool
    is_open: bool
    epoch: int
    top_seq: int
    members: Mapping[int, Member]
    ring: deque[StoredMessage]
    client_ids: OrderedDict[tuple[int, str], SentBefore]
    typists: dict[int, Typist] = field(default_factory=dict)
    removed: set[int] = field(default_factory=set)
    repeaters: set[int] = field(default_factory=set)
    is_apart: bool = False  # of a direct conversation: one of the two blocks the other
    marks: MarkMemory = field(default_factory=MarkMemory)
    last: StoredMessage | None = None
    newest: NewestMessages = field(default_factory=NewestMessages)
    wordless: WordlessPlaces = field(default_factory=WordlessPlaces)
    readers: Readers | None = None


def from_stored(stored: StoredRoom) -> RoomState:
    """The state of a room that just woke."""
    return RoomState(
        id=stored.id,
        is_group=stored.is_group,
        is_open=stored.is_open,
        epoch=stored.epoch,
        top_seq=stored.top_seq,
        members={member.user_id: Member(member.role, member.read_seq, member.shown_seq) for member in stored.members},
        ring=deque(stored.ring, maxlen=RING_MESSAGES),
        client_ids=OrderedDict(stored.client_ids),
        removed=set(stored.removed_ids),
        is_apart=stored.is_apart,
        last=next((entry for entry in reversed(stored.ring) if not entry.change), stored.last),
        newest=NewestMessages(stored.newest),
        wordless=WordlessPlaces(stored.wordless_first, stored.wordless_last),
    )


def content_fault(content: str) -> str | None:
    """Why *content* cannot be a message, or None. One to 10,000 code points, no NUL, nothing that is not Unicode."""
    if not content:
        return "content is empty: write 1 to 10,000 characters"
    if len(content) > CONTENT_CODE_POINTS_MAX:
        return f"content has {len(content)} characters: write 1 to 10,000"
    if "\0" in content:
        return "content holds a NUL character"
    if not content.isascii():
        try:
            content.encode()
        except UnicodeEncodeError:
            return "content is not valid Unicode (a lone surrogate)"
    return None


def content_digest(content: str, files: tuple[str, ...] = (), details: Details | None = None) -> bytes:
    """What two messages are compared by: 16 bytes of BLAKE2b over their UTF-8, the keys of files, details."""
    text = "\0".join((content, *files)) if files else content
    if details is not None:
        text += f"\0\0{tuple(details)}"
    return blake2b(text.encode(), digest_size=16).digest()


def digest_of(command: Send) -> bytes:
    """What a message is compared by with another of the same client id."""
    return content_digest(command.content, command.files, command.details)


def decide_send(room: RoomState, command: Send, message_id: int, now_ms: int) -> InsertMessage | Sent | Refused:
    """What to store, or the answer when there is nothing to store."""
    if command.sender_id not in room.members:
        return Refused.because(RefusalCode.NOT_MEMBER)
    fault = content_fault(command.content)
    if fault is not None:
        return Refused(RefusalCode.INVALID_CONTENT, fault)
    digest = digest_of(command)
    if command.client_id is not None:
        before = room.client_ids.get((command.sender_id, command.client_id))
        if before is not None:
            return answer_again(before, digest)
    if command.is_over_limit:
        return Refused.because(RefusalCode.RATE_LIMITED)
    if room.is_apart:
        return Refused.because(RefusalCode.USER_BLOCKED)
    return InsertMessage(
        message_id, room.id, room.top_seq + 1, command.sender_id, command.client_id, command.content, digest, now_ms
    )


def may_have_forgotten(room: RoomState, command: Send) -> bool:
    """Whether the table must be asked first.

    A refusal could hit what was acknowledged long ago. And whoever repeats what is older than memory, which costs them
    nothing, makes the room load anew: once, and then not before they have said something new.
    """
    if command.sender_id in room.repeaters:
        return True
    return room.is_apart and room.top_seq > CLIENT_IDS_MAX and not command.is_over_limit


def note_repeated(room: RoomState, command: Send) -> None:
    """It was sent before, as the table says."""
    if command.client_id is not None and (command.sender_id, command.client_id) not in room.client_ids:
        room.repeaters.add(command.sender_id)


def answer_again(before: SentBefore, digest: bytes) -> Sent | Refused:
    """The answer to a client id that was used before: the same message again, or a conflict.

    What a message said that was changed since is not known any more: then anything is the same.
    """
    if before.digest and before.digest != digest:
        return Refused.because(RefusalCode.CLIENT_ID_CONFLICT)
    return Sent(before.id, before.seq, before.created_at_ms, is_duplicate=True)


def apply_send(room: RoomState, insert: InsertMessage, sender_name: str, companions: Companions = NONE) -> None:
    """Remember the message."""
    room.top_seq = insert.seq
    room.last = StoredMessage(
        insert.id,
        insert.seq,
        insert.sender_id,
        insert.client_id,
        insert.content,
        insert.created_at_ms,
        sender_name,
        attachments=companions.attachments,
        details=companions.details,
        thread_id=companions.thread_id,
    )
    room.ring.append(room.last)
    room.newest.add(insert.seq, insert.sender_id, insert.id)
    if insert.client_id is not None:
        room.client_ids[insert.sender_id, insert.client_id] = SentBefore(
            insert.id, insert.seq, insert.digest, insert.created_at_ms
        )
        if len(room.client_ids) > CLIENT_IDS_MAX:
            room.client_ids.popitem(last=False)


def append_change(room: RoomState, entry: StoredMessage) -> None:
    """Remember what is the next of the log and no message."""
    room.top_seq = entry.seq
    room.ring.append(entry)
    room.wordless.add(entry.seq)


def member_entry(put: PutParticipant) -> StoredMessage:
    """What stands in the log of who came or went."""
    return StoredMessage(
        id=0,
        seq=put.seq,
        sender_id=put.user_id,
        client_id=None,
        content="",
        created_at_ms=put.at_ms,
        change="joined" if put.is_active else "left",
        changed_by_id=put.user_id,
        changed_at_ms=put.at_ms,
        member_role=put.role,
    )


def became_read(room: RoomState, reader_id: int, after_seq: int, up_to_seq: int) -> tuple[tuple[int, int], ...]:
    """(message id, author id) of recent messages that the reader has just read, of others who are still here."""
    recent = deque(room.newest.between(after_seq, up_to_seq), maxlen=2 * COUNTED_MESSAGES)  # each is told for itself
    return tuple(
        (message_id, sender_id)
        for message_id, sender_id in recent
        if sender_id != reader_id and sender_id in room.members
    )


def readers_of(room: RoomState) -> Readers | None:
    """How many have read up to where, of a room that is too large to be told who. The first look is at all markers."""
    if len(room.members) <= PRESENCE_MEMBERS_MAX:
        room.readers = None
    elif room.readers is None:
        room.readers = Readers((user_id, member.shown_seq) for user_id, member in room.members.items())
    return room.readers


def decide_add(room: RoomState, by_id: int | None, user_ids: Iterable[int]) -> tuple[int, ...] | Refused:
    """Who would come in, by this command and those after it."""
    if by_id is not None:
        actor = room.members.get(by_id)
        if actor is None:
            return Refused.because(RefusalCode.NOT_MEMBER)
        if not room.is_group or actor.role != "admin":
            return Refused.because(RefusalCode.NOT_ADMIN)
    new = tuple(dict.fromkeys(user_id for user_id in user_ids if user_id not in room.members))
    if len(room.members) + len(new) > MEMBERS_MAX:
        return Refused.because(RefusalCode.ROOM_FULL)
    return new


def decide_remove(room: RoomState, by_id: int, user_id: int) -> tuple[int, ...] | Refused:
    """Who would go: oneself, or anybody when an admin says so. Nobody leaves a direct conversation."""
    actor = room.members.get(by_id)
    if actor is None:
        return Refused.because(RefusalCode.NOT_MEMBER)
    if not room.is_group:
        return Refused(RefusalCode.NOT_ADMIN, "nobody leaves a conversation of two")
    if by_id != user_id and actor.role != "admin":
        return Refused.because(RefusalCode.NOT_ADMIN)
    return (user_id,) if user_id in room.members else ()


def roles_of_new(room: RoomState, user_ids: tuple[int, ...]) -> dict[int, Role]:
    """What each becomes. A group that everybody had left must not stay without an admin: the first one is it."""
    roles: dict[int, Role] = dict.fromkeys(user_ids, "member")
    if user_ids and room.is_group and not any(member.role == "admin" for member in room.members.values()):
        roles[user_ids[0]] = "admin"
    return roles


def apply_add(room: RoomState, roles: Mapping[int, Role]) -> None:
    """They are in, behind their places in the log. What was said before they came is no news to them."""
    top_seq = room.top_seq
    room.members = {**room.members, **{user_id: Member(role, top_seq, top_seq) for user_id, role in roles.items()}}
    if len(room.removed) <= REMOVED_MAX:  # else it is a part of them, and says no more than that there are too many
        room.removed.difference_update(roles)


def apply_remove(room: RoomState, user_id: int, by_id: int) -> None:
    """One is out; an open group remembers who did not go by themselves."""
    room.members = {member_id: member for member_id, member in room.members.items() if member_id != user_id}
    if room.is_open and user_id != by_id and len(room.removed) <= REMOVED_MAX:
        room.removed.add(user_id)


def heir(room: RoomState, leaver_id: int) -> int | None:
    """Who becomes admin when *leaver_id*, an admin, goes: nobody if there is another one, or nobody else at all."""
    others = [user_id for user_id in room.members if user_id != leaver_id]
    if not others or any(room.members[user_id].role == "admin" for user_id in others):
        return None
    return min(others)


def unread(room: RoomState, user_id: int, hides: frozenset[int] = frozenset()) -> int:
    """Messages of others after the member's marker, but for deleted ones, as far back as they are counted.

    hides: whose messages the member is not shown; those count for nothing.
    """
    read_seq = room.members[user_id].read_seq
    return 0 if read_seq >= room.top_seq else room.newest.count(read_seq, {user_id, *hides})


def unread_before(room: RoomState, user_id: int) -> int | None:
    """The seq before which stand messages that the member has not read and that are not counted yet; None: nowhere."""
    read_seq, oldest = room.members[user_id].read_seq, room.newest.oldest_seq()
    if oldest is None or room.newest.reaches_back or oldest - 1 - read_seq <= room.wordless.between(read_seq, oldest):
        return None
    return oldest


def decide_join_open(room: RoomState, user_id: int, *, is_over_limit: bool = False) -> tuple[int, ...] | Refused:
    """Whether somebody may come in by themselves: into an open group, unless they were removed from it by another."""
    if user_id in room.members:
        return ()
    if not room.is_open or len(room.removed) > REMOVED_MAX:
        return Refused.because(RefusalCode.NOT_OPEN)
    if user_id in room.removed:
        return Refused(RefusalCode.NOT_OPEN, "you were removed from this group: only an admin can bring you back")
    if len(room.members) >= MEMBERS_MAX:
        return Refused.because(RefusalCode.ROOM_FULL)
    if is_over_limit:
        return Refused.because(RefusalCode.RATE_LIMITED)
    return (user_id,)


def expire_typists(room: RoomState, now: float) -> dict[int, tuple[str, bool]]:
    """Forget who has not typed for a while; who that was, in the shape of `TypingChanged.changed`."""
    gone = {user_id: (typist.name, False) for user_id, typist in room.typists.items() if typist.expires_at <= now}
    for user_id in gone:
        del room.typists[user_id]
    return gone
