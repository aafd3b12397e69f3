"""What a user's notifier can be told, and what it answers."""

from dataclasses import dataclass

from greenroom.actors.errors import Refused
from greenroom.actors.notifier.preferences import Change, Preferences
from greenroom.runtime import Command
from greenroom.storage.user_writes import Priority


@dataclass(frozen=True, slots=True)
class FoldNotes(Command[None]):
    """Put into the stream what was left for the user. Of several that wait, one is enough.

    is_of_coming: it was left while the user was away. One who comes is not told more soon, and thousands may come at
    once: so the notifier goes when it is through. One who is here may be, so it stays.
    """

    is_of_coming: bool = False


@dataclass(frozen=True, slots=True)
class Notified:
    """The notification is stored. is_duplicate: it was stored before, under the same key."""

    id: int
    is_duplicate: bool


@dataclass(frozen=True, slots=True)
class Notify(Command[Notified | Refused]):
    """Tell the user something. The front has checked every text.

    data: a JSON object as text. sent_under: the sender's key; the same key is the same notification, for ever.
    """

    type: str
    category: str
    title: str
    message: str
    priority: Priority
    related_type: str | None = None
    related_id: int | None = None
    action_url: str | None = None
    data: str = "{}"
    sent_under: str | None = None
    expires_at_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Block(Command[bool]):
    """The user wants to hear nothing of somebody, or, not is_blocked, does so no more. Whether that changed anything.

    The front has checked that the other one exists, and is another one.
    """

    user_id: int
    is_blocked: bool
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class HaveRoomsLook(Command[None]):
    """Of the notifier to itself: the rooms with those whom the user blocked, or does so no more, are to know of it."""


@dataclass(frozen=True, slots=True)
class NotificationsChanged:
    """Which notifications changed, oldest first, and how many are unread now."""

    ids: tuple[int, ...]
    unread: int


@dataclass(frozen=True, slots=True)
class MarkNotifications(Command[NotificationsChanged]):
    """The user has read these, None: all; or, is_deleted, wants to see them no more. Of others' nothing changes."""

    ids: tuple[int, ...] | None
    is_deleted: bool = False


@dataclass(frozen=True, slots=True)
class ChangePreferences(Command[Preferences | Refused]):
    """The user wants to be told otherwise; the answer is how it stands then. Without changes: defaults are stored.

    The front has checked every value.
    """

    changes: tuple[Change, ...]
