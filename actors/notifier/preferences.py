"""How a user wants to be told: one set of preferences, stored as one row, and the one way to change it. Pure.

Clients know it in several shapes (`http/rest/preference_shapes.py`); each name of each shape is another name for a
**place** here, and nothing is kept twice:

    email                     a channel, whatever it is about
    categories.ndas.email     a channel, for what is about NDAs
    categories.ndas           NDAs at all, beyond the application: any of e-mail, push and text

A change holds afterwards in every place that it names, or nothing was changed: so the same change again is none.
A client may send all it was given with one field changed, under whichever of its names, if it says what it was given:
then the old values under the other names yield (`settled`). What is stored by now never decides that: else what was
changed would, sent again, look like the old one of two values, and be undone.
"""

from collections.abc import Iterable
from typing import Annotated, Any, Final, Literal, NamedTuple, cast

from pydantic import BaseModel, ConfigDict, StringConstraints

from greenroom.actors.notifier.quiet_hours import QuietHours

Channel = Literal["in_app", "email", "push", "sms"]
CHANNELS: Final[tuple[Channel, ...]] = ("in_app", "email", "push", "sms")
BEYOND: Final[tuple[Channel, ...]] = ("email", "push", "sms")  # the application: there everybody is always told
Category = Literal[
    "ndas", "investments", "messages", "pitch_updates", "system", "marketing", "security", "analytics", "market"
]
Digest = Literal["instant", "hourly", "daily", "weekly", "monthly", "never"]
Least = Literal["all", "high_only", "urgent_only"]
HoursAndMinutes = Annotated[str, StringConstraints(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]
Value = bool | str | None


class _Part(BaseModel):
    """What is stored of a field that is not known any more is passed over; of a new one the default counts."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class ChannelChoice(_Part):
    """Which channels may be used."""

    in_app: bool = True
    email: bool = True
    push: bool = True
    sms: bool = True


NOTHING_BEYOND: Final = ChannelChoice(email=False, push=False, sms=False)


class Categories(_Part):
    """The same for what a notification is about. Marketing is asked for, the rest is declined."""

    ndas: ChannelChoice = ChannelChoice()
    investments: ChannelChoice = ChannelChoice()
    messages: ChannelChoice = ChannelChoice()
    pitch_updates: ChannelChoice = ChannelChoice()
    system: ChannelChoice = ChannelChoice()
    marketing: ChannelChoice = NOTHING_BEYOND
    security: ChannelChoice = ChannelChoice()
    analytics: ChannelChoice = ChannelChoice()
    market: ChannelChoice = ChannelChoice()


class StoredQuietHours(_Part):
    """Between two times of day nothing disturbs. Active when it is enabled and has both ends."""

    enabled: bool = False
    start: HoursAndMinutes | None = None
    end: HoursAndMinutes | None = None


class Topics(_Part):
    """What the page of the existing client asks besides. Kept for it and for those who will send such things."""

    submission_status_updates: bool = True
    meeting_reminders: bool = True
    contract_notifications: bool = True
    milestone_updates: bool = True
    deal_notifications: bool = True
    new_pitch_matches: bool = True
    price_alerts: bool = True
    trending_pitches: bool = True
    featured_content: bool = True
    recommendations_enabled: bool = True
    saved_pitch_updates: bool = True
    market_insights: bool = True
    portfolio_updates: bool = True
    daily_digest: bool = False
    weekly_digest: bool = False
    monthly_digest: bool = False
    batch_notifications: bool = False
    smart_filtering: bool = False


class Preferences(_Part):
    """All of it. least: below this priority nothing goes beyond the application."""

    in_app: bool = True
    email: bool = True
    push: bool = True
    sms: bool = False
    categories: Categories = Categories()
    digest: Digest = "instant"
    least: Least = "all"
    quiet_hours: StoredQuietHours = StoredQuietHours()
    timezone: str = "UTC"  # checked where it comes in; one that this machine does not know is never quiet
    topics: Topics = Topics()

    def allows(self, channel: Channel, category: Category | None) -> bool:
        """Whether the channel may be used for that; what is of no category is nowhere declined by category."""
        choice = ChannelChoice() if category is None else cast("ChannelChoice", getattr(self.categories, category))
        return bool(getattr(self, channel)) and bool(getattr(choice, channel))

    def quiet(self) -> QuietHours | None:
        """When not to disturb; None when that is off."""
        hours = self.quiet_hours
        if not hours.enabled or hours.start is None or hours.end is None:
            return None
        return QuietHours.between(hours.start, hours.end, self.timezone)


DEFAULTS: Final = Preferences()


class Change(NamedTuple):
    """One field as somebody named it. place: a dotted path of `Preferences`."""

    name: str
    place: str
    value: Value


class Contradiction(Exception):
    """Two fields of one change cannot both be so. names: as they were sent."""

    def __init__(self, names: list[str]) -> None:
        what_to_do = "send one of them, or the revision of what you read"
        super().__init__(f"{' and '.join(names)} contradict each other: {what_to_do}")


def read(preferences: Preferences, place: str) -> Value:
    """What stands in a place."""
    found: Any = preferences
    for step in place.split("."):
        found = getattr(found, step)
    if isinstance(found, ChannelChoice):
        return any(getattr(found, channel) for channel in BEYOND)
    assert isinstance(found, bool | str | None), place
    return found


def settled(changes: Iterable[Change], given: Preferences) -> list[Change]:
    """*changes* without those that say what was *given* to their sender where another one says something new."""
    named = list(changes)
    new = [change for change in named if read(given, change.place) != change.value]
    return [
        change
        for change in named
        if read(given, change.place) != change.value or not any(_touch(change.place, other.place) for other in new)
    ]


def changed(before: Preferences, changes: Iterable[Change]) -> Preferences:
    """*before* with *changes*, which all hold then. Raises: Contradiction."""
    named, after = list(changes), before
    for change in sorted(named, key=lambda change: _is_whole(before, change.place)):  # single channels first
        if read(after, change.place) != change.value:
            after = _put(after, change.place.split("."), change.value)
    for change in named:
        if read(after, change.place) != change.value:
            raise Contradiction(_against(change, named))
    return after


def _against(change: Change, named: list[Change]) -> list[str]:
    """The names of *change* and of those that say otherwise."""
    others = [other for other in named if _touch(other.place, change.place) and other.value != change.value]
    return list(dict.fromkeys([change.name, *(other.name for other in others)]))


def _is_whole(preferences: Preferences, place: str) -> bool:
    parts = place.split(".")
    return len(parts) == 2 and parts[0] == "categories"


def _touch(place: str, other: str) -> bool:
    return f"{place}.".startswith(f"{other}.") or f"{other}.".startswith(f"{place}.")


def _put(part: Any, steps: list[str], value: Value) -> Any:
    """A copy of *part* with *value* further down."""
    step, *rest = steps
    below = getattr(part, step)
    if rest:
        return part.model_copy(update={step: _put(below, rest, value)})
    if isinstance(below, ChannelChoice):
        return part.model_copy(update={step: below.model_copy(update=dict.fromkeys(BEYOND, value))})
    return part.model_copy(update={step: value})
