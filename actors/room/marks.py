"""Reactions and pins: what is put on a message and taken off again, and where that stands in the log. Pure.

    message at 7 ──react 👍──▶ a reaction at 12 ──delete──▶ a deletion at 15
                               👍             ──────▶     nothing: not at 12 either

They are changes of a message, in its log like edits, and leave what it says alone.
"""

import re
import unicodedata
from collections.abc import Mapping
from typing import Final

from greenroom.actors.errors import RefusalCode, Refused
from greenroom.actors.room.changes import NO_MESSAGE
from greenroom.actors.room.commands import Changed, Pin, React
from greenroom.actors.room.mark_memory import Reactions, Standing
from greenroom.actors.room.state import RoomState, append_change
from greenroom.storage.postgres.conversations import StoredMessage
from greenroom.storage.writes import MarkKind, MarkMessage

REACTION_CODE_POINTS_MAX: Final = 32
REACTIONS_OF_USER_MAX: Final = 20  # different ones, on one message
REACTIONS_MAX: Final = 100  # different ones, on one message
PINS_MAX: Final = 50  # in a room
_NO_TEXT: Final = frozenset(("Cc", "Cs", "Zl", "Zp"))  # controls, halves of surrogate pairs, breaks of lines
_TURNS: Final = re.compile(r"[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")  # the direction of text around them
_UNSEEN: Final = frozenset(("Mn", "Me", "Cf", "Zs"))  # marks on other characters, joiners, blanks
_FILLERS: Final = frozenset("\u115f\u1160\u2800\u3164\uffa0")  # blanks that count as letters and symbols


def reaction_fault(reaction: str) -> str | None:
    """Why *reaction* cannot be one, or None: 1 to 32 code points, no controls, something to be seen."""
    if not 0 < len(reaction) <= REACTION_CODE_POINTS_MAX:
        return f"a reaction is an emoji or a short text: 1 to {REACTION_CODE_POINTS_MAX} characters"
    if not any(_is_seen(character) for character in reaction):
        return "a reaction in which there is nothing to be seen says nothing"
    if _TURNS.search(reaction) or any(unicodedata.category(character) in _NO_TEXT for character in reaction):
        return "a reaction holds no control characters, and nothing that is not Unicode"
    return None


def _is_seen(character: str) -> bool:
    return character not in _FILLERS and unicodedata.category(character) not in _UNSEEN


def may_mark(room: RoomState, command: React | Pin) -> Refused | None:
    """Why the user may not do that, whatever the message."""
    member = room.members.get(command.user_id)
    if member is None:
        return Refused.because(RefusalCode.NOT_MEMBER)
    if isinstance(command, Pin):
        return Refused.because(RefusalCode.NOT_ADMIN) if room.is_group and member.role != "admin" else None
    fault = reaction_fault(command.reaction)
    return None if fault is None else Refused(RefusalCode.INVALID_CONTENT, fault)


def decide_reaction(room: RoomState, command: React, on: Reactions) -> Changed | Refused | None:
    """The answer when there is nothing to be done; None when it is to be done. on: all, or what concerns the user."""
    message = on.message
    if message.deleted_at_ms is not None:
        return NO_MESSAGE
    standing = on.of(command.user_id, command.reaction)
    if command.is_on == (standing is not None):
        return done_before(message, standing)
    if room.is_apart:
        return Refused.because(RefusalCode.USER_BLOCKED)
    if not command.is_on:
        return None
    if len(on.by_user.get(command.user_id, ())) >= REACTIONS_OF_USER_MAX:
        return _too_many(f"you have {REACTIONS_OF_USER_MAX} reactions on this message: take one off first")
    if command.reaction not in on.users and len(on.users) >= REACTIONS_MAX:
        return _too_many(f"there are {REACTIONS_MAX} different reactions on this message: use one of them")
    return None


def decide_pin(
    room: RoomState, command: Pin, message: StoredMessage, pins: Mapping[int, Standing]
) -> Changed | Refused | None:
    """As `decide_reaction`. pins: of the room, by message."""
    if message.deleted_at_ms is not None:
        return NO_MESSAGE
    standing = pins.get(message.id)
    if command.is_on == (standing is not None):
        return done_before(message, standing)
    if room.is_apart:
        return Refused.because(RefusalCode.USER_BLOCKED)
    if command.is_on and len(pins) >= PINS_MAX:
        return _too_many(f"{PINS_MAX} messages are pinned in this conversation: take one off first")
    return None


def _too_many(sentence: str) -> Refused:
    return Refused(RefusalCode.TOO_MANY_MARKS, sentence)


def done_before(message: StoredMessage, standing: Standing | None) -> Changed:
    """The answer to what holds already. Of what is not there seq and time are the message's own: the same for ever."""
    seq, at_ms = standing or (message.seq, message.created_at_ms)
    return Changed(seq, at_ms, is_duplicate=True, message=message)


def write_of(room: RoomState, command: React | Pin, now_ms: int) -> MarkMessage:
    """What is stored."""
    kind: MarkKind
    if isinstance(command, React):
        kind, reaction = "reacted" if command.is_on else "unreacted", command.reaction
    else:
        kind, reaction = "pinned" if command.is_on else "unpinned", ""
    return MarkMessage(room.id, room.top_seq + 1, command.message_id, kind, reaction, command.user_id, now_ms)


def apply_mark(room: RoomState, write: MarkMessage, message: StoredMessage) -> StoredMessage:
    """Remember it; its entry in the log."""
    standing, pins = Standing(write.seq, write.at_ms), room.marks.pins
    if write.kind == "reacted":
        room.marks.put(message.id, write.by_id, write.reaction, standing)
    elif write.kind == "unreacted":
        room.marks.take(message.id, write.by_id, write.reaction)
    elif pins is not None and write.kind == "pinned":
        pins[message.id] = standing
    elif pins is not None:
        del pins[message.id]
    entry = message._replace(
        seq=write.seq,
        change=write.kind,
        changed_by_id=write.by_id,
        changed_at_ms=write.at_ms,
        reaction=write.reaction,
        message_seq=message.seq,
    )
    append_change(room, entry)
    return entry
