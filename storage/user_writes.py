"""What is written about users: notes that rooms leave for them, and what their notifier makes of those.

Plain values, as in `writes.py`. Each checks itself, so that the committer need not know them one by one.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Literal

WRITE_BYTES = 500  # of a write besides its text: its objects here, and its row on the way
ID_MAX = 2**63 - 1

NoteKind = Literal["read_sync", "membership"]


class UserWrite:
    """Base of the values here."""

    __slots__ = ()

    @abstractmethod
    def check(self) -> int:
        """About the bytes that it takes. Raises: ValueError when PostgreSQL could not take it."""


def check_numbers(*numbers: int | None) -> None:
    """Raises: ValueError for a number that is none of ours."""
    if any(number is not None and not 0 <= number <= ID_MAX for number in numbers):
        raise ValueError("a number of a user's stream does not fit a bigint")


def check_text(text: str) -> int:
    """Its length. Raises: ValueError for a text that cannot be stored."""
    if "\0" in text:
        raise ValueError("text with NUL cannot be stored")
    if not text.isascii():
        text.encode()  # a lone surrogate is a ValueError
    return len(text)


@dataclass(frozen=True, slots=True)
class NoteToUser(UserWrite):
    """Of a room: the user is to be told this. data: a JSON object. seq: of a read marker, how far, else 0."""

    user_id: int
    kind: NoteKind
    conversation_id: int
    data: str
    at_ms: int
    seq: int = 0

    def check(self) -> int:
        """As the base says."""
        check_numbers(self.user_id, self.conversation_id, self.at_ms, self.seq)
        return WRITE_BYTES + check_text(self.data)


@dataclass(frozen=True, slots=True)
class AppendUserEvent(UserWrite):
    """Of a notifier: the next event of its user's stream."""

    user_id: int
    useq: int
    kind: str
    conversation_id: int | None
    data: str
    at_ms: int

    def check(self) -> int:
        """As the base says."""
        check_numbers(self.user_id, self.useq, self.conversation_id, self.at_ms)
        return WRITE_BYTES + check_text(self.kind) + check_text(self.data)


@dataclass(frozen=True, slots=True)
class TakeNote(UserWrite):
    """Of a notifier: this note is in the stream now. seq: as it was read; a marker that moved on since stays."""

    id: int
    seq: int

    def check(self) -> int:
        """As the base says."""
        check_numbers(self.id, self.seq)
        return WRITE_BYTES


@dataclass(frozen=True, slots=True)
class TrimUserEvents(UserWrite):
    """Of a notifier: events up to *up_to* are older than anybody is brought up from."""

    user_id: int
    up_to: int

    def check(self) -> int:
        """As the base says."""
        check_numbers(self.user_id, self.up_to)
        return WRITE_BYTES


Priority = Literal["low", "normal", "high", "urgent"]


@dataclass(frozen=True, slots=True)
class PutNotification(UserWrite):
    """Of a notifier: a notification of its user. data: a JSON object. sent_under: unique for the user."""

    id: int
    user_id: int
    type: str
    category: str
    title: str
    message: str
    priority: Priority
    related_type: str | None
    related_id: int | None
    action_url: str | None
    data: str
    sent_under: str | None
    sent_digest: bytes | None
    created_at_ms: int
    expires_at_ms: int | None

    def check(self) -> int:
        """As the base says."""
        check_numbers(self.id, self.user_id, self.related_id, self.created_at_ms, self.expires_at_ms)
        texts = (self.type, self.category, self.title, self.message, self.related_type, self.action_url, self.data)
        return WRITE_BYTES + sum(check_text(text) for text in (*texts, self.sent_under) if text is not None)


@dataclass(frozen=True, slots=True)
class ReadNotifications(UserWrite):
    """Of a notifier: its user has read these, or, is_deleted, wants to see them no more."""

    user_id: int
    ids: tuple[int, ...]
    at_ms: int
    is_deleted: bool

    def check(self) -> int:
        """As the base says."""
        check_numbers(self.user_id, self.at_ms, *self.ids)
        return WRITE_BYTES + 8 * len(self.ids)


@dataclass(frozen=True, slots=True)
class PutPreferences(UserWrite):
    """Of a notifier: how its user wants to be told. preferences: a JSON object."""

    user_id: int
    preferences: str
    at_ms: int

    def check(self) -> int:
        """As the base says."""
        check_numbers(self.user_id, self.at_ms)
        return WRITE_BYTES + check_text(self.preferences)


@dataclass(frozen=True, slots=True)
class PutBlock(UserWrite):
    """Of a notifier: its user blocks somebody, or does so no more."""

    blocker_id: int
    blocked_id: int
    reason: str | None
    at_ms: int
    is_blocked: bool

    def check(self) -> int:
        """As the base says."""
        check_numbers(self.blocker_id, self.blocked_id, self.at_ms)
        return WRITE_BYTES + check_text(self.reason or "")
