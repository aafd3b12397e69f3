"""By which channels somebody is told something: their preferences, and what it is. Pure.

In the application everybody is always told. Beyond it a channel is used that its user has not declined, at all or for
what this is about, and that does not disturb now:

    declined ─▶ below the priority they want ─▶ text only for what is urgent, unless asked for ─▶ quiet hours ─▶ told

Whoever sends may ask for certain channels. Then no others are used; what the user has declined is not used either, for
it is the user who is asked whether they want it.
"""

from collections.abc import Collection
from datetime import datetime
from typing import Final, Literal

from greenroom.actors.notifier.preferences import CHANNELS, Category, Channel, Least, Preferences
from greenroom.storage.user_writes import Priority

Verdict = Literal["told", "opted_out", "below_priority", "not_urgent", "quiet_hours"]

_PRIORITIES: Final[tuple[Priority, ...]] = ("low", "normal", "high", "urgent")
_LEAST: Final[dict[Least, Priority]] = {"all": "low", "high_only": "high", "urgent_only": "urgent"}
# The beginnings of types, longer ones first where they share one. A type is an open word.
_OF_TYPE: Final[tuple[tuple[str, Category], ...]] = (
    ("nda", "ndas"),
    ("investment", "investments"),
    ("message", "messages"),
    ("new_message", "messages"),
    ("pitch", "pitch_updates"),
    ("system", "system"),
    ("marketing", "marketing"),
    ("security", "security"),
    ("password", "security"),
    ("market_", "market"),
    ("analytics", "analytics"),
)
_OF_CATEGORY: Final[dict[str, Category]] = {
    "investment": "investments",
    "project": "pitch_updates",
    "system": "system",
    "analytics": "analytics",
    "market": "market",
    "nda": "ndas",
    "message": "messages",
    "messages": "messages",
    "marketing": "marketing",
    "security": "security",
}


def category_of(kind: str, category: str) -> Category | None:
    """What a notification is about, by its type, else by its category; None: nothing that could be declined."""
    word = kind.lower().replace("-", "_")
    found = next((known for beginning, known in _OF_TYPE if word.startswith(beginning)), None)
    return found or _OF_CATEGORY.get(category.lower())


def channels_for(
    preferences: Preferences,
    category: Category | None,
    priority: Priority,
    now: datetime,
    asked: Collection[Channel] | None = None,
) -> dict[Channel, Verdict]:
    """What becomes of each channel: of those that were *asked* for and of the application; None: of all.

    now: the moment, with a zone, whichever.
    """
    quiet = preferences.quiet()
    is_quiet = quiet is not None and quiet.hold_at(now)
    wanted = [channel for channel in CHANNELS if asked is None or channel in asked or channel == "in_app"]
    return {
        channel: _verdict(preferences, channel, category, priority, is_asked=asked is not None, is_quiet=is_quiet)
        for channel in wanted
    }


def _verdict(
    preferences: Preferences,
    channel: Channel,
    category: Category | None,
    priority: Priority,
    *,
    is_asked: bool,
    is_quiet: bool,
) -> Verdict:
    is_urgent = priority == "urgent"
    if channel == "in_app":
        return "told"
    if not preferences.allows(channel, category):
        return "opted_out"
    if _PRIORITIES.index(priority) < _PRIORITIES.index(_LEAST[preferences.least]):
        return "below_priority"
    if channel == "sms" and not is_urgent and not is_asked:
        return "not_urgent"
    # What is urgent disturbs by push and text. An e-mail waits: it is not what wakes anybody.
    if is_quiet and (channel == "email" or not is_urgent):
        return "quiet_hours"
    return "told"
