"""The shapes in which clients know how a user wants to be told: names for the places of one set of preferences.

    the page's flat fields      emailNotifications, ndaNotifications, quietHoursStart, newPitchMatches …
    its short form              email, push, sms, marketing
    the live system's matrix    emailEnabled …; investmentAlerts {email, push, in_app, sms} …
    the user settings' matrix   categories {ndas {email, inApp, push, sms} …}, quietHours {…}, frequency

An answer has all of them, and what comes in may be of any: only the fields that it names are changed. An answer has a
`revision` too, which says what was answered: a client may send back all that it was given with one field changed, and
the revision tells the new value from the old one under the other names. It is that state itself, packed, so it is never
out of date, and the same body means the same however often and whenever it comes.
"""

import base64
import json
import re
import zlib
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StringConstraints,
    ValidationError,
    WithJsonSchema,
    create_model,
    model_serializer,
)
from pydantic.alias_generators import to_camel

from greenroom.actors.notifier.preferences import (
    CHANNELS,
    Change,
    Digest,
    Least,
    Preferences,
    Topics,
    read,
    settled,
)
from greenroom.actors.notifier.quiet_hours import zone_of
from greenroom.http.models import Input, OwnId

FLAT: Final[Mapping[str, str]] = {
    "email_notifications": "email",
    "push_notifications": "push",
    "sms_notifications": "sms",
    "in_app_notifications": "in_app",
    "marketing_emails": "categories.marketing.email",
    "nda_notifications": "categories.ndas",
    "investment_notifications": "categories.investments",
    "message_notifications": "categories.messages",
    "pitch_update_notifications": "categories.pitch_updates",
    "system_notifications": "categories.system",
    "digest_frequency": "digest",
    "notification_priority": "least",
    "quiet_hours_enabled": "quiet_hours.enabled",
    "quiet_hours_start": "quiet_hours.start",
    "quiet_hours_end": "quiet_hours.end",
    "timezone": "timezone",
    **{name: f"topics.{name}" for name in Topics.model_fields},
    "email": "email",
    "push": "push",
    "sms": "sms",
    "marketing": "categories.marketing.email",
    "email_enabled": "email",
    "push_enabled": "push",
    "in_app_enabled": "in_app",
    "sms_enabled": "sms",
    "frequency": "digest",
}
ALERTS: Final[Mapping[str, str]] = {
    "investment_alerts": "investments",
    "project_updates": "pitch_updates",
    "system_alerts": "system",
    "analytics_alerts": "analytics",
    "market_intelligence": "market",
}
CATEGORIES: Final = ("pitch_updates", "messages", "ndas", "investments", "marketing", "security")
QUIET_HOURS: Final[Mapping[str, str]] = {
    "enabled": "quiet_hours.enabled",
    "start_time": "quiet_hours.start",
    "end_time": "quiet_hours.end",
    "timezone": "timezone",
}
REVISION_CHARACTERS_MAX: Final = 2048
_UNPACKED_BYTES_MAX: Final = 8192  # all of it is about 1,700


def _zone(name: str) -> str:
    if zone_of(name) is None:
        raise ValueError("this is no time zone of the IANA database, such as Europe/Berlin or UTC")
    return name


def _revision(text: str) -> str:
    if packed_in(text) is None:
        raise ValueError("this is no revision that was answered: read the preferences again, or leave it out")
    return text


_HOURS_AND_MINUTES: Final = r"([01][0-9]|2[0-3]):[0-5][0-9]"


def _hours_and_minutes(text: str) -> str:
    if not re.fullmatch(_HOURS_AND_MINUTES, text):
        raise ValueError("a time of day is HH:MM, from 00:00 to 23:59")
    return text


_TimeOfDay = (
    Annotated[
        str,
        AfterValidator(_hours_and_minutes),
        WithJsonSchema({"type": "string", "pattern": f"^{_HOURS_AND_MINUTES}$"}),
    ]
    | None
)
_TYPES: Final[Mapping[str, Any]] = {
    "digest": Digest,
    "least": Least,
    "quiet_hours.start": _TimeOfDay,
    "quiet_hours.end": _TimeOfDay,
    "timezone": Annotated[str, StringConstraints(max_length=64), AfterValidator(_zone)],
}


# -- what comes in ----------------------------------------------------------------------------------------------------


class _Part(Input):
    """A field that nobody knows is refused: its sender would believe that it was stored."""

    model_config = ConfigDict(extra="forbid")

    @model_serializer
    def _what_was_sent(self) -> dict[str, Any]:
        """Under a key of idempotency null is not the same as nothing."""
        return {name: getattr(self, name) for name in _sent(self)}


def _named(name: str, places: Mapping[str, str], what: str) -> type[_Part]:
    """A model with a field for each name, of the type of its place; which were sent is in `model_fields_set`."""
    types = {field: _TYPES.get(place, StrictBool) for field, place in places.items()}
    return _of(name, types, what)


def _of(name: str, types: Mapping[str, Any], what: str, base: type[_Part] = _Part) -> type[_Part]:
    """A model of fields that may all be left out, and of which none may be null for that."""
    fields: dict[str, Any] = {
        field: (kind, Field(default=None, json_schema_extra=_no_default)) for field, kind in types.items()
    }
    return create_model(name, __base__=base, __doc__=what, **fields)


def _no_default(schema: dict[str, Any]) -> None:
    schema.pop("default", None)


def _in(category: str) -> dict[str, str]:
    return {channel: f"categories.{category}.{channel}" for channel in CHANNELS}


_Flat: Final = _named("FlatPreferences", FLAT, "Fields of the page, of its short form, and of the live system.")
_QuietHours: Final = _named("QuietHoursWrite", QUIET_HOURS, "Between two times of day, HH:MM, nothing disturbs.")
_Row: Final = _named("ChannelsWrite", dict.fromkeys(CHANNELS, ""), "Which channels may be used for this.")
_Categories: Final = _of("CategoriesWrite", dict.fromkeys(CATEGORIES, _Row), "Channels by what it is about.")
_WHAT: Final = "How one wants to be told, in any of the shapes. What is not named stays as it is."
_Shapes: Final = _of(
    "PreferenceFields",
    {
        "categories": _Categories,
        "quiet_hours": _QuietHours,
        "user_id": Annotated[OwnId | None, Field(description="may only be oneself")],
        "revision": Annotated[
            str,
            StringConstraints(max_length=REVISION_CHARACTERS_MAX),
            AfterValidator(_revision),
            Field(description="of what was read: there its old values yield to new ones under other names"),
        ],
        **dict.fromkeys(ALERTS, _Row),
    },
    _WHAT,
    _Flat,
)
PreferencesWrite: Final[type[BaseModel]] = _of(
    "PreferencesWrite",
    {"preferences": Annotated[_Shapes, Field(description="the same fields, one level down")]},
    _WHAT,
    _Shapes,
)


def changes_of(write: BaseModel) -> list[Change]:
    """What a write changes: what it names, without what its sender was given and says something new about."""
    revision = getattr(write, "revision", None) or getattr(getattr(write, "preferences", None), "revision", None)
    given, named = packed_in(revision or ""), list(_named_by(write))
    return named if given is None else settled(named, given)


def _named_by(write: BaseModel) -> Iterator[Change]:
    yield from _changes(write, FLAT, "")
    for name in _sent(write):
        part = getattr(write, name)
        if name == "preferences":
            yield from _named_by(part)
        elif name == "categories":
            for category in _sent(part):
                yield from _changes(getattr(part, category), _in(category), f"categories.{to_camel(category)}.")
        elif name == "quiet_hours":
            yield from _changes(part, QUIET_HOURS, "quietHours.")
        elif name in ALERTS:
            yield from _changes(part, _in(ALERTS[name]), f"{to_camel(name)}.")


def _changes(part: BaseModel, places: Mapping[str, str], before: str) -> Iterator[Change]:
    for name in _sent(part):
        if name in places:
            yield Change(f"{before}{to_camel(name)}", places[name], getattr(part, name))


def _sent(part: BaseModel) -> list[str]:
    """The fields that were named, in the order of the model."""
    return [name for name in type(part).model_fields if name in part.model_fields_set]


# -- what goes out ----------------------------------------------------------------------------------------------------


def shown(preferences: Preferences, user_id: int) -> dict[str, Any]:
    """All shapes of it at once."""
    flat = {to_camel(name): read(preferences, place) for name, place in FLAT.items()}
    alerts = {to_camel(name): _row(preferences, category, str) for name, category in ALERTS.items()}
    return {
        "userId": user_id,
        "revision": packed(preferences),
        **flat,
        **alerts,
        "categories": {to_camel(category): _row(preferences, category, to_camel) for category in CATEGORIES},
        "quietHours": {to_camel(name): read(preferences, place) for name, place in QUIET_HOURS.items()},
    }


def _row(preferences: Preferences, category: str, spell: Any) -> dict[str, Any]:
    return {spell(channel): read(preferences, place) for channel, place in _in(category).items()}


def packed(preferences: Preferences) -> str:
    """A revision: all of it in up to REVISION_CHARACTERS_MAX characters of base64url."""
    text = json.dumps(preferences.model_dump(exclude_defaults=True), separators=(",", ":"))
    return base64.urlsafe_b64encode(zlib.compress(text.encode())).rstrip(b"=").decode()


def packed_in(revision: str) -> Preferences | None:
    """What a revision says; None for what is none."""
    try:
        compressed = base64.urlsafe_b64decode(revision + "=" * (-len(revision) % 4))
        text = zlib.decompressobj().decompress(compressed, _UNPACKED_BYTES_MAX)
        return Preferences.model_validate_json(text)
    except (ValueError, zlib.error, ValidationError):
        return None
