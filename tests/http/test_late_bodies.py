"""What was taken away while a body was on its way is not used by what the body asks for."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

Front = Any  # tests/http/conftest.py, which cannot be imported
Meanwhile = Callable[[], Awaitable[Any]]


async def ask_late(
    front: Front, monkeypatch: pytest.MonkeyPatch, path: str, body: Any, meanwhile: Meanwhile, **headers: str
) -> tuple[int, Any]:
    """PUT with a body whose rest comes only when *meanwhile* is done, which begins when the caller was looked up."""
    authenticator, was_looked_up = front.services.authenticator, trio.Event()
    authenticate, data = authenticator.authenticate, json.dumps(body).encode()

    async def authenticate_and_tell(**credentials: Any) -> Any:
        principal = await authenticate(**credentials)
        was_looked_up.set()
        return principal

    given = {"Content-Type": "application/json", "Content-Length": str(len(data)), **headers}
    with monkeypatch.context() as patch:
        patch.setattr(authenticator, "authenticate", authenticate_and_tell)
        async with front.client().request(path, method="PUT", headers=given) as connection:
            await connection.send(data[:3])
            await was_looked_up.wait()
            await meanwhile()
            await connection.send(data[3:])
            await connection.send_complete()
        answer = await connection.as_response()
    return answer.status_code, await answer.get_json()


async def test_an_administrator_who_is_demoted_before_the_rest_comes_is_none(
    front: Front, monkeypatch: pytest.MonkeyPatch
):
    admin = front.bearer("1", role="admin")

    async def demote() -> None:
        assert (await front.ask(front.client(), "PUT", "/api/users/3", {"role": "user"}, **admin))[0] == 200

    mallory = front.bearer("3", name="Mallory", role="admin", iat=int(front.clock.now) - 50)
    status, body = await ask_late(front, monkeypatch, "/api/users/3", {"role": "admin"}, demote, **mallory)
    assert (status, body["error"]["code"]) == (403, "FORBIDDEN")
    assert (await front.services.users.by_id(3)).role == "user"


async def test_a_session_that_is_signed_out_before_the_rest_comes_is_over(
    front: Front, monkeypatch: pytest.MonkeyPatch
):
    cookie = {"Cookie": f"pitchey-session={await front.session(17, name='Ann')}", "Origin": front.OWN}

    async def sign_out() -> None:
        assert (await front.ask(front.client(), "POST", "/api/auth/sign-out", {}, **cookie))[0] == 200

    status, _ = await ask_late(front, monkeypatch, "/api/users/17", {"name": "Eve"}, sign_out, **cookie)
    assert status == 401
    assert (await front.services.users.by_id(17)).name == "Ann"


async def test_a_key_that_another_process_revokes_before_the_rest_comes_opens_nothing(
    front: Front, monkeypatch: pytest.MonkeyPatch
):
    key = await front.key("users:write")

    async def revoke() -> None:
        assert await front.api_keys.revoke(key["Authorization"].partition("grk_")[2].split("_")[0])
        front.clock.now += 1

    status, _ = await ask_late(front, monkeypatch, "/api/users/17", {"name": "Eve"}, revoke, **key)
    assert status == 401
    assert await front.services.users.by_id(17) is None


async def test_a_body_that_comes_at_once_has_its_caller_looked_up_once(front: Front, monkeypatch: pytest.MonkeyPatch):
    authenticator, token, looked_up = front.services.authenticator, front.bearer("17"), []
    authenticate = authenticator.authenticate

    async def authenticate_and_count(**credentials: Any) -> Any:
        looked_up.append(1)
        return await authenticate(**credentials)

    await front.ask(front.client(), "GET", "/api/auth/session", **token)
    monkeypatch.setattr(authenticator, "authenticate", authenticate_and_count)
    assert (await front.ask(front.client(), "PUT", "/api/users/17", {"name": "Ann"}, **token))[0] == 200
    assert looked_up == [1]
