"""One set of preferences: what is changed in one place is read in every other that means the same, or nothing is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.actors.notifier.preferences import (
    BEYOND,
    CHANNELS,
    DEFAULTS,
    Categories,
    Change,
    Contradiction,
    Preferences,
    Topics,
    changed,
    read,
    settled,
)

CELLS = [f"categories.{category}.{channel}" for category in Categories.model_fields for channel in CHANNELS]
SWITCHES = [*CHANNELS, *CELLS, "quiet_hours.enabled", *(f"topics.{topic}" for topic in Topics.model_fields)]
WHOLES = [f"categories.{category}" for category in Categories.model_fields]
changes = st.builds(
    lambda place, value: Change(place, place, value), st.sampled_from([*SWITCHES, *WHOLES]), st.booleans()
)


@given(st.lists(changes, max_size=6), st.lists(changes, max_size=6))
def test_what_was_changed_is_there_or_nothing_was_changed(before, then):
    try:
        start = changed(DEFAULTS, before)
        after = changed(start, then)
    except Contradiction:
        return
    for change in then:
        assert read(after, change.place) == change.value
    assert changed(after, then) == after, "again is none"
    touched = [change.place for change in then]
    for place in SWITCHES:
        if not any(f"{place}.".startswith(f"{other}.") for other in touched):
            assert read(after, place) == read(start, place), "only what is named is changed"
    assert Preferences.model_validate_json(after.model_dump_json()) == after


@given(st.lists(changes, max_size=6), changes)
def test_whoever_sends_all_that_there_was_with_one_field_changed_changes_that_field(before, one):
    try:
        start = changed(DEFAULTS, before)
    except Contradiction:
        return
    all_of_it = [Change(place, place, read(start, place)) for place in (*SWITCHES, *WHOLES)]
    after = changed(start, [one])
    body = settled([*all_of_it, one], start)
    assert changed(start, body) == after
    assert changed(after, body) == after, "again is none"
    assert changed(start, all_of_it) == start


def test_a_category_as_a_whole_is_all_beyond_the_application():
    off = changed(DEFAULTS, [Change("n", "categories.ndas", False)])
    assert [read(off, f"categories.ndas.{channel}") for channel in BEYOND] == [False] * 3
    assert read(off, "categories.ndas.in_app") is True
    some = changed(off, [Change("n", "categories.ndas.push", True)])
    assert read(some, "categories.ndas") is True
    assert changed(some, [Change("n", "categories.ndas", True)]) == some, "on is on already"
    assert changed(off, [Change("n", "categories.ndas", True)]) == DEFAULTS


@pytest.mark.parametrize(
    "places",
    [
        [("a", "categories.ndas", False), ("b", "categories.market", False), ("c", "categories.ndas.sms", False)],
        [("a", "categories.marketing.email", True), ("b", "categories.marketing.email", True)],
    ],
)
def test_changes_that_agree_are_no_contradiction(places):
    changed(DEFAULTS, [Change(*place) for place in places])


def test_two_names_of_one_place_with_two_new_values_contradict_each_other():
    with pytest.raises(Contradiction, match="a and b contradict each other"):
        changed(DEFAULTS, [Change("a", "digest", "daily"), Change("b", "digest", "weekly"), Change("c", "sms", True)])
    off = changed(DEFAULTS, [Change("n", "categories.ndas.email", False)])
    with pytest.raises(Contradiction, match="contradict each other"):
        changed(off, [Change("x", "categories.ndas", False), Change("y", "categories.ndas.email", True)])
