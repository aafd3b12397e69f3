"""How one wants to be told: one stored set, written in any shape and read in each, or refused and nothing changed."""

import base64
import random
import zlib

import pytest
import trio

from greenroom.actors.notifier.preferences import CHANNELS, DEFAULTS, Categories, Change, Topics, changed, read
from greenroom.http.rest.preference_shapes import (
    ALERTS,
    CATEGORIES,
    FLAT,
    REVISION_CHARACTERS_MAX,
    packed,
    packed_in,
    shown,
)
from greenroom.storage.postgres.api_keys import ApiKeys

PATH = "/api/notifications/preferences"
SETTINGS = "/api/user/notification-preferences"


async def preferences(house, user=1, path=PATH):
    answer = await house.get(path, user)
    assert answer.status == 200, answer.json
    assert answer.json["success"] is True
    assert answer.json["preferences"] == answer.data["preferences"]
    return answer.json["preferences"]


async def put(house, body, user=1, path=PATH, method="PUT"):
    answer = await house.ask(method, path, user, body)
    assert answer.status == 200, answer.json
    return answer.json["preferences"]


def differences(before, after, at=""):
    """The dotted names that differ."""
    found = {}
    for name, value in after.items():
        if isinstance(value, dict):
            found |= differences(before[name], value, f"{at}{name}.")
        elif before[name] != value and name != "revision":
            found[f"{at}{name}"] = value
    return found


async def stored(house):
    return await house.house.storage.postgres.fetch_value("select_preferences", 1)


async def test_who_looks_for_the_first_time_has_the_defaults_which_are_stored_then(house):
    await house.people(1, 2)
    assert await stored(house) is None
    found = await preferences(house)
    assert await stored(house) is not None
    expected = {
        "emailNotifications": True, "pushNotifications": True, "smsNotifications": False, "marketingEmails": False,
        "digestFrequency": "instant", "quietHoursEnabled": False, "quietHoursStart": None, "quietHoursEnd": None,
        "timezone": "UTC", "ndaNotifications": True, "investmentNotifications": True, "messageNotifications": True,
        "pitchUpdateNotifications": True, "systemNotifications": True, "inAppNotifications": True,
    }  # fmt: skip
    assert {name: found[name] for name in expected} == expected
    assert found["userId"] == 1
    assert set(found["categories"]) == {"pitchUpdates", "messages", "ndas", "investments", "marketing", "security"}
    assert found["categories"]["ndas"] == {"email": True, "inApp": True, "push": True, "sms": True}
    assert found["investmentAlerts"] == {"email": True, "in_app": True, "push": True, "sms": True}
    assert found["quietHours"] == {"enabled": False, "startTime": None, "endTime": None, "timezone": "UTC"}
    assert await preferences(house, path=SETTINGS) == found
    assert (await house.get(PATH)).status == 401


async def test_guide_a_changes_its_six_fields_and_only_ones_own(house):
    await house.people(1, 2)
    body = {
        "emailNotifications": False, "pushNotifications": True, "quietHoursEnabled": True, "quietHoursStart": "22:00",
        "quietHoursEnd": "08:00", "timezone": "America/New_York",
    }  # fmt: skip
    before = await preferences(house)
    after = await put(house, body, path=f"{PATH}/1", method="PATCH")
    assert differences(before, after) == {
        "emailNotifications": False, "emailEnabled": False, "email": False, "quietHoursEnabled": True,
        "quietHoursStart": "22:00", "quietHoursEnd": "08:00", "timezone": "America/New_York",
        "quietHours.enabled": True, "quietHours.startTime": "22:00", "quietHours.endTime": "08:00",
        "quietHours.timezone": "America/New_York",
    }  # fmt: skip
    refused = await house.ask("PATCH", f"{PATH}/1", 2, {"smsNotifications": True})
    assert (refused.status, refused.code) == (403, "FORBIDDEN")
    assert (await house.ask("PATCH", f"{PATH}/x", 1, {})).status == 400
    assert await preferences(house) == after


@pytest.mark.parametrize(
    ("method", "path", "body", "read"),
    [
        ("PUT", PATH, {"ndaNotifications": False},
         {"ndaNotifications": False, "categories.ndas.email": False, "categories.ndas.push": False,
          "categories.ndas.sms": False}),
        ("PUT", PATH, {"email": False, "marketing": True},
         {"email": False, "emailNotifications": False, "emailEnabled": False, "marketing": True,
          "marketingEmails": True, "categories.marketing.email": True}),
        ("PUT", PATH, {"userId": 1, "preferences": {"sms": True}},
         {"sms": True, "smsNotifications": True, "smsEnabled": True}),
        ("PUT", PATH, {"preferences": {"user_id": "1", "quiet_hours": {"start_time": "23:15"}}},
         {"quietHoursStart": "23:15", "quietHours.startTime": "23:15"}),
        ("PUT", PATH, {"newPitchMatches": False, "notificationPriority": "high_only", "smartFiltering": True},
         {"newPitchMatches": False, "notificationPriority": "high_only", "smartFiltering": True}),
        ("POST", PATH, {"inAppEnabled": False, "projectUpdates": {"in_app": False, "push": False}},
         {"inAppEnabled": False, "inAppNotifications": False, "projectUpdates.in_app": False,
          "projectUpdates.push": False, "categories.pitchUpdates.inApp": False, "categories.pitchUpdates.push": False}),
        ("POST", PATH, {"digestFrequency": "monthly", "marketIntelligence": {"sms": False}},
         {"digestFrequency": "monthly", "frequency": "monthly", "marketIntelligence.sms": False}),
        ("PUT", SETTINGS, {"categories": {"investments": {"email": False, "push": False, "sms": False, "inApp": True}},
                           "frequency": "hourly"},
         {"frequency": "hourly", "digestFrequency": "hourly", "investmentNotifications": False,
          "investmentAlerts.email": False, "investmentAlerts.push": False, "investmentAlerts.sms": False,
          "categories.investments.email": False, "categories.investments.push": False,
          "categories.investments.sms": False}),
        ("PUT", SETTINGS, {"quietHours": {"enabled": True, "startTime": "21:30", "endTime": "07:05",
                                          "timezone": "Europe/Berlin"}},
         {"quietHours.enabled": True, "quietHours.startTime": "21:30", "quietHours.endTime": "07:05",
          "quietHours.timezone": "Europe/Berlin", "quietHoursEnabled": True, "quietHoursStart": "21:30",
          "quietHoursEnd": "07:05", "timezone": "Europe/Berlin"}),
        ("PUT", SETTINGS, {"categories": {"security": {"push": False}}}, {"categories.security.push": False}),
        ("PUT", PATH, {}, {}),
        ("POST", PATH, {"emailEnabled": True, "timezone": "UTC"}, {}),
    ],
)  # fmt: skip
async def test_what_is_written_in_one_shape_is_read_in_each_other_and_nothing_else_is_changed(
    house, method, path, body, read
):
    await house.people(1, 2)
    before, others = await preferences(house), await preferences(house, 2)
    after = await put(house, body, path=path, method=method)
    assert differences(before, after) == read
    for again in (PATH, SETTINGS):
        assert await preferences(house, path=again) == after
    house.house.system.kill(house.house.system.ref("notifier", 1))  # nothing of it is only in memory
    assert await put(house, {}) == after
    assert await preferences(house, 2) == others


async def test_any_fields_in_any_shapes_one_after_the_other_are_each_read_back(house, seed):
    """And whoever sends all that they were given, with one field changed, changes that one."""
    await house.people(1)
    chance, now = random.Random(seed), await preferences(house)
    flags = [(name,) for name, value in now.items() if isinstance(value, bool)]
    cells = [
        (name, channel) for name in ("investmentAlerts", "projectUpdates", "analyticsAlerts") for channel in now[name]
    ]
    cells += [("categories", name, channel) for name, row in now["categories"].items() for channel in row]
    for turn in range(60):
        path = chance.choice(flags if turn % 2 else cells)
        value = not at(now, path)
        body = with_one(now, path, value) if chance.random() < 0.5 else with_one({}, path, value)
        now = await put(house, body, path=chance.choice([PATH, SETTINGS]))
        assert at(now, path) is value, (turn, path, body)
        assert await preferences(house) == now
        assert await put(house, body, path=chance.choice([PATH, SETTINGS])) == now, "again is harmless"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("emailNotifications",), False),
        (("emailEnabled",), False),
        (("marketing",), True),
        (("ndaNotifications",), False),
        (("categories", "investments", "push"), False),
        (("investmentAlerts", "push"), False),
        (("quietHours", "timezone"), "Europe/Berlin"),
        (("frequency",), "never"),
    ],
)
async def test_the_same_body_again_is_harmless_also_after_others_and_the_way_back_is_open(house, path, value):
    """A retry must never turn what was declined into what was wanted."""
    await house.people(1)
    first = await preferences(house)
    body = with_one(first, path, value)
    after = await put(house, body)
    assert at(after, path) == value
    for method in ("PUT", "PUT", "POST"):
        assert await put(house, body, method=method) == after
    others = await put(house, {"newPitchMatches": False})
    assert others != after
    assert await put(house, body) == after, "all of it was named"
    house.house.system.kill(house.house.system.ref("notifier", 1))
    assert await put(house, body) == after
    assert await put(house, first) == first, "a page that holds the old revision still and takes its change back"


async def test_without_the_revision_names_that_disagree_are_400_also_when_one_of_them_says_what_is_so(house):
    await house.people(1)
    first = await preferences(house)
    for body in (
        {**first, "emailNotifications": False},
        {"email": True, "emailEnabled": False},
        {"ndaNotifications": False, "categories": {"ndas": {"email": True}}},
    ):
        body.pop("revision", None)
        for _ in range(2):
            refused = await house.put(PATH, 1, body)
            assert (refused.status, refused.code) == (400, "VALIDATION"), refused.json
            assert "revision" in refused.message
    for revision in ("", "x", "eJw", "é", first["revision"] + "A" * 3000, 7, None):
        refused = await house.put(PATH, 1, {"sms": True, "revision": revision})
        assert (refused.status, refused.code) == (400, "VALIDATION"), revision
    bomb = base64.urlsafe_b64encode(zlib.compress(b" " * 1_000_000)).decode()
    assert (await house.put(PATH, 1, {"sms": True, "revision": bomb})).status == 400
    assert await preferences(house) == first


async def test_a_revision_says_all_of_it_and_is_short():
    everything = changed(DEFAULTS, [Change("n", place, not read(DEFAULTS, place)) for place in switches()])
    everything = everything.model_copy(update={"timezone": "America/Argentina/ComodRivadavia", "digest": "never"})
    for preferences_ in (DEFAULTS, everything):
        assert packed_in(packed(preferences_)) == preferences_
        assert len(packed(preferences_)) < REVISION_CHARACTERS_MAX


def switches():
    """Places that are on or off, none of them twice."""
    cells = [f"categories.{category}.{channel}" for category in Categories.model_fields for channel in CHANNELS]
    return [*CHANNELS, *cells, "quiet_hours.enabled", *(f"topics.{topic}" for topic in Topics.model_fields)]


@pytest.mark.parametrize(("method", "path"), [("PUT", PATH), ("PUT", SETTINGS), ("POST", PATH), ("PATCH", f"{PATH}/1")])
async def test_under_a_key_a_change_is_made_once_and_its_answer_is_kept(house, method, path):
    await house.people(1, 2)
    key = {"Idempotency-Key": "k1"}
    body = {"email": False, "quietHoursStart": None}
    first = await house.ask(method, path, 1, body, key)
    await put(house, {"email": True})
    again = await house.ask(method, path, 1, body, key)
    assert (again.status, again.json["preferences"], again.data) == (200, first.json["preferences"], first.data)
    assert again.headers["idempotency-replay"] == "true"
    assert (await preferences(house))["email"] is True, "it was not done again"
    other = await house.ask(method, path, 1, {"email": False}, key)
    assert (other.status, other.code) == (409, "CONFLICT"), "null is not the same as nothing"
    if method != "PATCH":
        assert (await house.ask(method, path, 2, {"push": False}, key)).status == 200, "of somebody else"


def at(found, path):
    """What stands there."""
    for step in path:
        found = found[step]
    return found


def with_one(given, path, value):
    """A copy in which it stands there."""
    step, *rest = path
    return {**given, step: with_one(given.get(step, {}), rest, value) if rest else value}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"colour": "blue"}, "colour"),
        ({"sms": True, "emailNotification": False}, "emailNotification"),
        ({"emailNotifications": "yes"}, "emailNotifications"),
        ({"emailNotifications": 1}, "emailNotifications"),
        ({"emailNotifications": None}, "emailNotifications"),
        ({"digestFrequency": "yearly"}, "digestFrequency"),
        ({"frequency": 7}, "frequency"),
        ({"notificationPriority": "low"}, "notificationPriority"),
        ({"timezone": "Mars/Olympus"}, "timezone"),
        ({"timezone": "../../etc/passwd"}, "timezone"),
        ({"timezone": None}, "timezone"),
        ({"timezone": "x" * 10_000}, "timezone"),
        ({"quietHoursStart": "8:00"}, "quietHoursStart"),
        ({"quietHoursStart": "24:00"}, "quietHoursStart"),
        ({"quietHoursEnd": "08:00\n"}, "quietHoursEnd"),
        ({"quietHoursEnd": "٠٨:00"}, "quietHoursEnd"),
        ({"quietHoursEnd": 800}, "quietHoursEnd"),
        ({"quietHours": {"startTime": "22:60"}}, "quietHours.startTime"),
        ({"quietHours": {"start": "22:00"}}, "quietHours.start"),
        ({"quietHours": None}, "quietHours"),
        ({"categories": {"pigeons": {"email": True}}}, "categories.pigeons"),
        ({"categories": {"ndas": {"fax": True}}}, "categories.ndas.fax"),
        ({"categories": {"ndas": {"email": "no"}}}, "categories.ndas.email"),
        ({"categories": {"ndas": True}}, "categories.ndas"),
        ({"categories": []}, "categories"),
        ({"investmentAlerts": {"email": 0}}, "investmentAlerts.email"),
        ({"preferences": {"nonsense": 1}}, "preferences.nonsense"),
        ({"preferences": {"preferences": {}}}, "preferences.preferences"),
        ({"preferences": [True]}, "preferences"),
    ],
)
async def test_what_is_unknown_or_wrong_is_400_says_what_and_changes_nothing(house, body, field):
    await house.people(1)
    before = await preferences(house)
    for method, path in (("PUT", PATH), ("POST", PATH), ("PATCH", f"{PATH}/1"), ("PUT", SETTINGS)):
        refused = await house.ask(method, path, 1, {"smsNotifications": True, **body})
        assert (refused.status, refused.code) == (400, "VALIDATION"), refused.json
        assert field in [detail["field"] for detail in refused.json["error"]["details"]], refused.json
    assert await preferences(house) == before


async def test_what_contradicts_itself_is_400_and_changes_nothing(house):
    await house.people(1)
    before = await preferences(house)
    for body in (
        {"digestFrequency": "daily", "frequency": "weekly"},
        {"sms": True, "preferences": {"digestFrequency": "daily", "frequency": "weekly"}},
        {"timezone": "Europe/Berlin", "quietHours": {"timezone": "Europe/Paris"}},
    ):
        refused = await house.put(PATH, 1, body)
        assert (refused.status, refused.code) == (400, "VALIDATION"), refused.json
        assert "contradict each other" in refused.message
    both = await house.put(PATH, 1, {"email_notifications": True, "emailNotifications": False})
    assert both.status == 400
    assert await preferences(house) == before


async def test_nobody_writes_for_another_whatever_the_body_says(house):
    await house.people(1, 2)
    await house.people(3, role="admin")
    before = await preferences(house)
    for user, body in (
        (2, {"userId": 1, "preferences": {"sms": True}}),
        (2, {"userId": "1", "sms": True}),
        (2, {"preferences": {"userId": 1, "sms": True}}),
        (3, {"userId": 1, "sms": True}),
    ):
        refused = await house.put(PATH, user, body)
        assert (refused.status, refused.code) == (403, "FORBIDDEN")
    assert await preferences(house) == before
    assert (await preferences(house, 2))["sms"] is False


async def test_partial_changes_at_one_moment_lose_nothing_of_each_other(house):
    await house.people(1)
    names = [name for name, value in (await preferences(house)).items() if isinstance(value, bool) and value]
    names = [name for name in names if name.endswith(("Updates", "Notifications", "Alerts", "Content", "Pitches"))]
    assert len(names) > 8
    async with trio.open_nursery() as nursery:
        for name in names:
            nursery.start_soon(put, house, {name: False})
    after = await preferences(house)
    assert [name for name in names if after[name]] == []


async def test_the_live_system_has_no_switch_for_quiet_hours(house):
    await house.people(1)
    ends = {"quietHoursStart": "22:00", "quietHoursEnd": "08:00"}
    assert (await put(house, ends))["quietHoursEnabled"] is False
    assert (await put(house, ends, method="POST"))["quietHoursEnabled"] is True
    assert (await put(house, {**ends, "quietHoursEnabled": False}, method="POST"))["quietHoursEnabled"] is False
    assert (await put(house, ends, method="POST"))["quietHours"]["enabled"] is True
    off = await put(house, dict.fromkeys(ends), method="POST")
    assert off["quietHours"] == {"enabled": False, "startTime": None, "endTime": None, "timezone": "UTC"}


async def test_what_is_stored_of_a_field_that_was_not_there_yet_is_as_by_default(house):
    await house.people(1)

    async def write(connection):
        await connection.execute(
            "insert into notification_preferences values (1, $1, now())",
            '{"email": false, "gone": 1, "timezone": "Nowhere/Else", "categories": {"ndas": {"sms": false}}}',
        )

    await house.house.storage.postgres.transaction(write)
    found = await preferences(house)
    assert (found["email"], found["sms"], found["categories"]["ndas"]["sms"]) == (False, False, False)
    assert found["categories"]["ndas"]["email"] is True
    assert (await put(house, {"push": False}))["timezone"] == "Nowhere/Else"


async def test_who_sends_is_told_what_the_preferences_of_the_other_one_make_of_each_channel(house):
    await house.people(1)
    _, token = await ApiKeys(house.house.storage.postgres).create(
        name="tests", role="service", scopes=("notifications:send",)
    )
    await put(house, {"ndaNotifications": False, "sms": True})

    async def sent(channels, **fields):
        body = {"userId": 1, "title": "t", "message": "m", "channels": channels, **fields}
        answer = await house.ask("POST", "/api/notifications/send", None, body, {"Authorization": f"Bearer {token}"})
        assert answer.status == 201, answer.json
        return answer.data["channels"]

    every = {"inApp": True, "email": True, "push": True, "sms": True}
    assert await sent(every, type="nda_request", priority="urgent") == {
        "inApp": "stored", "email": "opted_out", "push": "opted_out", "sms": "opted_out",
    }  # fmt: skip
    assert await sent(["in-app", "email"], type="message") == {"inApp": "stored", "email": "not_configured"}
    assert await sent({"email": False}, type="nda_request") == {"inApp": "stored"}
    await put(house, {"quietHoursEnabled": True, "quietHoursStart": "00:00", "quietHoursEnd": "23:59"})
    assert await sent(every, type="message") == {
        "inApp": "stored", "email": "quiet_hours", "push": "quiet_hours", "sms": "quiet_hours",
    }  # fmt: skip
    await put(house, {"quietHours": {"enabled": False}, "notificationPriority": "urgent_only"})
    assert await sent({"email": True}, type="message", priority="high") == {
        "inApp": "stored", "email": "below_priority",
    }  # fmt: skip
    assert (await house.get("/api/notifications/unread", 1)).data["count"] == 5, "in the application all is told"


async def test_every_name_of_every_shape_is_in_the_answer(house):
    found = shown(DEFAULTS, 1)
    assert len(found) == len(FLAT) + len(ALERTS) + 4
    assert len(found["categories"]) == len(CATEGORIES)
    for name in (
        "submissionStatusUpdates", "meetingReminders", "contractNotifications", "milestoneUpdates", "dealNotifications",
        "newPitchMatches", "priceAlerts", "trendingPitches", "featuredContent", "recommendationsEnabled",
        "savedPitchUpdates", "dailyDigest", "weeklyDigest", "monthlyDigest", "marketInsights", "portfolioUpdates",
        "notificationPriority", "batchNotifications", "smartFiltering",
    ):  # fmt: skip
        assert name in found
