"""Sessions over HTTP: who am I, sign out, and no login."""

from dataclasses import replace
from typing import Any

import pytest

from greenroom.http.rest.auth import SessionAnswer
from greenroom.runtime import StorageUnavailable
from greenroom.storage.postgres.sessions import Sessions

Front = Any  # tests/http/conftest.py, which cannot be imported
OWN = "http://127.0.0.1:8787"


async def test_the_session_tells_the_user_at_top_level_and_under_data(front: Front):
    session = await front.session(17, name="Alice", email="alice@example.org", role="creator")
    status, body, _ = await front.ask(front.client(), "GET", "/api/auth/session", Cookie=f"pitchey-session={session}")
    assert status == 200
    SessionAnswer.model_validate(body)
    assert body["user"] == body["data"]["user"]
    assert body["user"]["id"] == 17
    assert (body["user"]["name"], body["user"]["userType"]) == ("Alice", "creator")
    assert body["user"]["email"] == "alice@example.org"


async def test_without_a_session_there_is_no_user(front: Front):
    for headers in ({}, {"Cookie": "pitchey-session=nonsense"}, {"Authorization": "Bearer nonsense"}):
        status, body, _ = await front.ask(front.client(), "GET", "/api/auth/session", **headers)
        assert (status, body["success"]) == (401, False)


@pytest.mark.parametrize("path", ["/api/auth/sign-out", "/api/auth/logout"])
async def test_signing_out_deletes_the_session_and_takes_the_cookie_away(front: Front, path: str):
    ended: list[str] = []
    services = replace(front.services, on_session_ended=ended.append)
    client, session = replace(front, services=services).client(), await front.session(17)
    headers = {"Cookie": f"pitchey-session={session}", "Origin": OWN}
    assert (await front.ask(client, "GET", "/api/auth/session", **headers))[0] == 200
    status, body, answered = await front.ask(client, "POST", path, {}, **headers)
    assert (status, body["data"]) == (200, {"signedOut": True})
    cookies = answered.getlist("Set-Cookie")
    assert len(cookies) == 2
    assert all("Max-Age=0" in cookie and "HttpOnly" in cookie for cookie in cookies)
    assert (await front.ask(client, "GET", "/api/auth/session", **headers))[0] == 401
    assert await front.services.sessions.find(session) is None
    assert ended == [session]


async def test_signing_out_a_signed_cookie_ends_its_session(front: Front):
    session = await front.session(17)
    cookie = f"pitchey-session={front.services.authenticator.sign_cookie(session)}"
    await front.ask(front.client(), "POST", "/api/auth/sign-out", {}, Cookie=cookie, Origin=OWN)
    assert await front.services.sessions.find(session) is None


async def test_signing_out_with_a_forged_signature_ends_nobodys_session(front: Front):
    session = await front.session(17)
    cookie = f"pitchey-session={session}.{'A' * 43}="
    await front.ask(front.client(), "POST", "/api/auth/sign-out", {}, Cookie=cookie, Origin=OWN)
    assert await front.services.sessions.find(session) is not None


async def test_signing_out_twice_or_without_a_session_is_fine(front: Front):
    for headers in ({}, {"Cookie": "pitchey-session=gone", "Origin": OWN}):
        status, body, _ = await front.ask(front.client(), "POST", "/api/auth/sign-out", {}, **headers)
        assert (status, body["data"]) == (200, {"signedOut": False})


@pytest.mark.parametrize("value", ["gone", "rest", "%20", "", "device-17"])
async def test_who_shows_no_session_that_there_is_ends_nothing(front: Front, value: str):
    ended: list[str] = []
    client = replace(front, services=replace(front.services, on_session_ended=ended.append)).client()
    assert (await front.ask(client, "GET", "/api/auth/session", **front.bearer(jti="device-17")))[0] == 200
    before = front.services.authenticator.changes
    out = await front.ask(client, "POST", "/api/auth/sign-out", {}, Cookie=f"pitchey-session={value}", Origin=OWN)
    assert (out[0], out[1]["data"]) == (200, {"signedOut": False})
    assert (ended, front.services.authenticator.changes) == ([], before)


async def test_a_session_of_which_it_is_not_known_whether_it_was_deleted_has_ended_here(front: Front, monkeypatch):
    ended: list[str] = []
    client = replace(front, services=replace(front.services, on_session_ended=ended.append)).client()
    headers = {"Cookie": f"pitchey-session={await front.session(17)}", "Origin": OWN}
    assert (await front.ask(client, "GET", "/api/auth/session", **headers))[0] == 200
    delete = Sessions.delete

    async def lose_the_answer(sessions: Sessions, session_id: str) -> bool:
        await delete(sessions, session_id)
        raise StorageUnavailable("its answer was lost")

    monkeypatch.setattr(Sessions, "delete", lose_the_answer)
    assert (await front.ask(client, "POST", "/api/auth/sign-out", {}, **headers))[0] == 503
    assert len(ended) == 1
    assert (await front.ask(client, "GET", "/api/auth/session", **headers))[0] == 401, "what is known here is forgotten"


async def test_a_foreign_page_cannot_sign_anybody_out(front: Front):
    session = await front.session(17)
    headers = {"Cookie": f"pitchey-session={session}", "Origin": "https://evil.example"}
    assert (await front.ask(front.client(), "POST", "/api/auth/sign-out", {}, **headers))[0] == 403
    assert await front.services.sessions.find(session) is not None


@pytest.mark.parametrize(
    "path", ["/api/auth/sign-in", "/api/auth/login", "/api/auth/creator/login", "/api/auth/register"]
)
async def test_there_is_no_login(front: Front, path: str):
    assert (await front.ask(front.client(), "POST", path, {}))[0] == 404


async def test_behind_a_trusted_proxy_that_speaks_tls_cookies_are_secure_and_may_cross_sites(front: Front):
    headers = {"X-Forwarded-Proto": "https", "Content-Type": "application/json"}
    peer = {"client": ("127.0.0.1", 4242)}
    trusting = front.client(trusted_proxies=("127.0.0.1/32",))
    response = await trusting.post("/api/auth/sign-out", data=b"{}", headers=headers, scope_base=peer)
    assert all("; Secure" in cookie and "SameSite=None" in cookie for cookie in response.headers.getlist("Set-Cookie"))
    response = await front.client().post("/api/auth/sign-out", data=b"{}", headers=headers, scope_base=peer)
    assert not any("Secure" in cookie or "None" in cookie for cookie in response.headers.getlist("Set-Cookie"))
