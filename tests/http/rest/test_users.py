"""Users over HTTP: who may make and change whom."""

from typing import Any

import pytest

from greenroom.storage.subjects import ISSUER_ID_LIMIT

Front = Any  # tests/http/conftest.py, which cannot be imported


async def test_a_service_makes_and_changes_a_user(front: Front):
    key, client = await front.key("users:write"), front.client()
    wish = {
        "name": "Bob",
        "email": "bob@example.org",
        "timezone": "Europe/Berlin",
        "locale": "de-DE",
        "userType": "creator",
    }
    status, body, _ = await front.ask(client, "PUT", "/api/users/17", wish, **key)
    assert status == 201
    assert {name: body["data"]["user"][name] for name in wish} == wish
    assert body["data"]["user"]["id"] == 17
    status, body, _ = await front.ask(client, "PUT", "/api/users/17", {"name": "Robert"}, **key)
    assert status == 200
    assert body["data"]["user"] == {**body["data"]["user"], "name": "Robert", "email": "bob@example.org"}


async def test_an_administrator_may_too(front: Front):
    assert (await front.ask(front.client(), "PUT", "/api/users/18", {}, **(await front.key(role="admin"))))[0] == 201
    assert (await front.ask(front.client(), "PUT", "/api/users/19", {}, **front.bearer("1", role="admin")))[0] == 201


async def test_people_change_what_they_are_called_and_nothing_else(front: Front):
    client, token = front.client(), front.bearer("17", name="Alice")
    status, body, _ = await front.ask(
        client, "PUT", "/api/users/17", {"name": "Al", "locale": "fr", "timezone": "UTC"}, **token
    )
    assert (status, body["data"]["user"]["name"]) == (200, "Al")
    assert (await front.ask(client, "GET", "/api/auth/session", **token))[1]["user"]["name"] == "Al"
    for wish in (
        {"email": "x@example.org"},
        {"userType": "creator"},
        {"role": "creator"},
        {"name": "B", "userType": "admin"},
        {"name": "B", "role": "admin"},
        {"name": "B", "userType": None, "role": "admin"},
    ):
        assert (await front.ask(client, "PUT", "/api/users/17", wish, **token))[0] == 403
    assert (await front.ask(client, "GET", "/api/auth/session", **token))[1]["user"]["userType"] == "user"


async def test_nobody_changes_somebody_else(front: Front):
    await front.services.users.know(18, {"name": "Bob"})
    for headers in (front.bearer("17"), await front.key("act_as"), await front.key()):
        assert (await front.ask(front.client(), "PUT", "/api/users/18", {"name": "Mallory"}, **headers))[0] == 403
    assert (await front.ask(front.client(), "PUT", "/api/users/18", {"name": "Mallory"}))[0] == 401
    assert await front.services.users.names([18]) == {18: "Bob"}


async def test_a_service_makes_no_administrator(front: Front):
    service, admin = await front.key("users:write"), await front.key(role="admin")
    for user_id, name in ((17, "userType"), (18, "role")):
        path, wish = f"/api/users/{user_id}", {name: "admin"}
        assert (await front.ask(front.client(), "PUT", path, wish, **service))[0] == 403
        assert (await front.ask(front.client(), "PUT", path, wish, **admin))[0] == 201


async def test_every_name_that_an_answer_gives_a_field_is_taken(front: Front):
    key, client = await front.key("users:write"), front.client()
    for wish, name, role in (
        ({"username": "Bob", "role": "creator"}, "Bob", "creator"),
        ({"username": "bobby", "name": "Rob", "user_type": "investor", "role": "investor"}, "Rob", "investor"),
        ({"username": None, "name": "Robert", "userType": None, "role": "production"}, "Robert", "production"),
    ):
        _, body, _ = await front.ask(client, "PUT", "/api/users/17", wish, **key)
        user = body["data"]["user"]
        assert (user["name"], user["username"], user["role"], user["userType"]) == (name, name, role, role)
    status, again, _ = await front.ask(client, "PUT", "/api/users/17", user, **key)
    assert (status, again["data"]["user"]) == (200, user)


async def test_two_names_of_one_field_that_differ_are_400(front: Front):
    wish = {"userType": "creator", "role": "admin"}
    for key in (await front.key("users:write"), await front.key(role="admin")):
        status, body, _ = await front.ask(front.client(), "PUT", "/api/users/17", wish, **key)
        assert (status, body["error"]["code"]) == (400, "VALIDATION")
    assert await front.services.users.by_id(17) is None


async def test_an_unknown_id_of_our_own_range_makes_nobody(front: Front):
    key = await front.key("users:write")
    status, body, _ = await front.ask(front.client(), "PUT", f"/api/users/{ISSUER_ID_LIMIT + 5}", {"name": "x"}, **key)
    assert (status, body["error"]["code"]) == (404, "USER_NOT_FOUND")
    alice = await front.services.users.know("alice", {})
    assert (await front.ask(front.client(), "PUT", f"/api/users/{alice.id}", {"name": "Alice"}, **key))[0] == 200


@pytest.mark.parametrize(
    "wish",
    [
        {"name": ""},
        {"name": "  "},
        {"name": "x" * 256},
        {"name": "a\nb"},
        {"name": "a\x85b"},
        {"name": "a\u2028b"},
        {"name": "\u202egnp.exe"},
        {"name": "\u200b\u200d"},
        {"name": 5},
        {"email": "nobody"},
        {"email": ""},
        {"timezone": "Mars/Olympus"},
        {"timezone": "../../etc/passwd"},
        {"locale": "deutsch bitte"},
        {"userType": "King!"},
        {"role": "King!"},
        {"role": 5},
        {"username": "a\nb"},
    ],
)
async def test_what_cannot_be_a_user_is_400_and_changes_nothing(front: Front, wish: dict[str, Any]):
    await front.services.users.know(17, {"name": "Alice"})
    status, body, _ = await front.ask(front.client(), "PUT", "/api/users/17", wish, **(await front.key("users:write")))
    assert (status, body["error"]["code"]) == (400, "VALIDATION")
    assert await front.services.users.names([17]) == {17: "Alice"}
