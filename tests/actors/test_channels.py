"""Which channels are used: what somebody declined is used by nobody, whoever asks; in the application all is told."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.actors.notifier.channels import category_of, channels_for
from greenroom.actors.notifier.preferences import (
    BEYOND,
    CHANNELS,
    DEFAULTS,
    Categories,
    Change,
    ChannelChoice,
    Preferences,
    StoredQuietHours,
    changed,
)

NOON, NIGHT = datetime(2026, 1, 1, 12, tzinfo=UTC), datetime(2026, 1, 1, 23, tzinfo=UTC)
choices = st.builds(ChannelChoice, **dict.fromkeys(CHANNELS, st.booleans()))
preferences = st.builds(
    Preferences,
    **dict.fromkeys(CHANNELS, st.booleans()),
    categories=st.builds(Categories, ndas=choices, marketing=choices),
    least=st.sampled_from(["all", "high_only", "urgent_only"]),
    quiet_hours=st.builds(StoredQuietHours, enabled=st.booleans(), start=st.just("22:00"), end=st.just("08:00")),
)
categories = st.sampled_from([None, "ndas", "marketing", "security"])
priorities = st.sampled_from(["low", "normal", "high", "urgent"])
moments = st.sampled_from([NOON, NIGHT])
asked = st.none() | st.sets(st.sampled_from(CHANNELS))


def with_(*changes):
    return changed(DEFAULTS, [Change(place, place, value) for place, value in changes])


QUIET = with_(("quiet_hours.enabled", True), ("quiet_hours.start", "22:00"), ("quiet_hours.end", "08:00"))


@given(preferences, categories, priorities, moments, asked)
def test_in_the_application_it_is_always_told_and_nothing_that_was_declined_is_used(
    wanted, category, priority, now, channels
):
    verdicts = channels_for(wanted, category, priority, now, channels)
    assert verdicts["in_app"] == "told"
    assert set(verdicts) == ({"in_app", *channels} if channels is not None else set(CHANNELS))
    for channel in verdicts.keys() & BEYOND:
        is_declined = not getattr(wanted, channel)
        if category is not None:
            is_declined = is_declined or not getattr(getattr(wanted.categories, category), channel)
        assert (verdicts[channel] == "opted_out") == is_declined
        quiet = wanted.quiet_hours.enabled and now == NIGHT
        if verdicts[channel] == "told":
            assert not quiet or (priority == "urgent" and channel != "email")


@pytest.mark.parametrize(
    ("wanted", "category", "priority", "now", "channels", "told"),
    [
        (DEFAULTS, "ndas", "normal", NOON, None, {"in_app", "email", "push"}),
        (DEFAULTS, "ndas", "urgent", NOON, None, {"in_app", "email", "push"}),
        (DEFAULTS, "marketing", "urgent", NOON, None, {"in_app"}),
        (DEFAULTS, None, "normal", NOON, {"email"}, {"in_app", "email"}),
        (with_(("sms", True)), "ndas", "urgent", NOON, None, set(CHANNELS)),
        (with_(("sms", True)), "ndas", "high", NOON, None, {"in_app", "email", "push"}),
        (with_(("sms", True)), "ndas", "high", NOON, {"sms"}, {"in_app", "sms"}),
        (with_(("sms", True)), "ndas", "normal", NIGHT, {"sms"}, {"in_app", "sms"}),
        (with_(("categories.ndas", False)), "ndas", "urgent", NOON, set(CHANNELS), {"in_app"}),
        (with_(("categories.ndas.push", False)), "ndas", "normal", NOON, None, {"in_app", "email"}),
        (with_(("email", False)), "ndas", "urgent", NOON, {"email"}, {"in_app"}),
        (QUIET, "ndas", "normal", NIGHT, None, {"in_app"}),
        (QUIET, "ndas", "urgent", NIGHT, None, {"in_app", "push"}),
        (QUIET, "ndas", "normal", NIGHT, {"email", "push"}, {"in_app"}),
        (QUIET, "ndas", "normal", NOON, None, {"in_app", "email", "push"}),
        (with_(("least", "high_only")), "ndas", "normal", NOON, None, {"in_app"}),
        (with_(("least", "high_only")), "ndas", "high", NOON, None, {"in_app", "email", "push"}),
        (with_(("least", "urgent_only")), "ndas", "high", NOON, {"email"}, {"in_app"}),
    ],
)
def test_channels_that_are_used(wanted, category, priority, now, channels, told):
    verdicts = channels_for(wanted, category, priority, now, channels)
    assert {channel for channel, verdict in verdicts.items() if verdict == "told"} == told


@pytest.mark.parametrize(
    ("kind", "category", "found"),
    [
        ("nda_request", "", "ndas"), ("nda-approved", "", "ndas"), ("NDA_signed", "market", "ndas"),
        ("investment", "", "investments"), ("investment_received", "", "investments"), ("message", "", "messages"),
        ("new_message", "", "messages"), ("pitch_update", "", "pitch_updates"), ("system", "", "system"),
        ("marketing", "", "marketing"), ("market_alert", "", "market"), ("password_changed", "", "security"),
        ("info", "", None), ("info", "project", "pitch_updates"), ("info", "Investment", "investments"),
        ("", "x", None),
    ],
)  # fmt: skip
def test_what_it_is_about_is_known_by_its_type_else_by_its_category(kind, category, found):
    assert category_of(kind, category) == found
