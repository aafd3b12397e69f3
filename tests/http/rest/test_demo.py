"""Demo sign-in, for development only."""

from typing import Any

import pytest

from greenroom.http.development import KEY_COOKIE
from greenroom.storage.subjects import ISSUER_ID_LIMIT

Front = Any  # tests/http/conftest.py, which cannot be imported
OWN = "http://127.0.0.1:8787"


def development(front: Front, **settings: Any) -> Any:
    return front.client(environment="development", **settings)


async def sign_in(
    front: Front, client: Any, body: Any, query: str = "?key=the-key-of-this-start", **headers: str
) -> Any:
    return await front.ask(client, "POST", f"/api/dev/sign-in{query}", body, **{"Host": "localhost:8787", **headers})


@pytest.mark.parametrize(
    ("name", "user_id", "role"),
    [
        ("alex.creator@demo.com", 1, "creator"),
        ("Alex", 1, "creator"),
        ("sarah.investor", 2, "investor"),
        ("Stellar Production", 3, "production"),
    ],
)
async def test_demo_sign_in_makes_the_demo_users_with_a_session(front: Front, name: str, user_id: int, role: str):
    client = development(front)
    status, body, headers = await sign_in(front, client, {"name": name})
    assert (status, body["user"]["id"], body["user"]["userType"]) == (200, user_id, role)
    cookies = headers.getlist("Set-Cookie")
    session = next(cookie for cookie in cookies if cookie.startswith("pitchey-session="))
    assert "HttpOnly" in session
    assert "SameSite=Lax" in session
    assert "Secure" not in session
    _, body, _ = await front.ask(client, "GET", "/api/auth/session", Cookie=session.partition(";")[0])
    assert body["user"]["id"] == user_id


async def test_demo_sign_in_makes_anybody_else_once(front: Front):
    first = (await sign_in(front, development(front), {"name": "Zoë"}))[1]["user"]
    again = (await sign_in(front, development(front), {"name": "zoë"}))[1]["user"]
    assert first["id"] == again["id"] >= ISSUER_ID_LIMIT
    assert first["name"] == "Zoë"


async def test_the_key_of_the_link_becomes_a_cookie_that_works_in_its_place(front: Front):
    client = development(front)
    _, _, headers = await sign_in(front, client, {"name": "alex"})
    cookie = next(cookie for cookie in headers.getlist("Set-Cookie") if cookie.startswith(KEY_COOKIE))
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    shown = {"Cookie": cookie.partition(";")[0]}
    assert (await sign_in(front, client, {"name": "sarah"}, "", Origin=OWN, **shown))[0] == 200
    assert (await sign_in(front, client, {"name": "sarah"}, "", Origin="https://evil.example", **shown))[0] == 403


@pytest.mark.parametrize("query", ["", "?key=", "?key=guess"])
async def test_without_the_key_there_is_no_demo_sign_in(front: Front, query: str):
    assert (await sign_in(front, development(front), {"name": "alex"}, query))[0] == 404


async def test_outside_development_and_through_a_proxy_there_is_no_demo_sign_in(front: Front):
    assert (await sign_in(front, front.client(), {"name": "alex"}))[0] == 404
    assert (await sign_in(front, development(front, host="0.0.0.0"), {"name": "alex"}))[0] == 404
    assert (await sign_in(front, development(front), {"name": "alex"}, X_Forwarded_For="127.0.0.1"))[0] == 404
    assert (await sign_in(front, development(front), {"name": "alex"}, Host="evil.example"))[0] == 404


@pytest.mark.parametrize("body", [{}, {"name": ""}, {"name": "x" * 65}, {"name": "a\u202eb"}, {"name": 5}])
async def test_a_name_that_is_none_is_400(front: Front, body: Any):
    assert (await sign_in(front, development(front), body))[0] == 400
