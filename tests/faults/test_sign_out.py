"""Signing out everywhere: within a second nothing is open for the user any more, and what was issued before is void."""

import time

import pytest
import trio
from house_fixture import open_house_under_test
from stopwatch import closed_within, open_stopwatch
from streams import Stream, polled
from wire import V1, Refused, Socket, open_sockets, wait_until

WITHIN_SECONDS = 1.0


def cookie(session_id):
    return [("Cookie", f"pitchey-session={session_id}")]


def bearer(token):
    return [("Authorization", f"Bearer {token}")]


async def session_of(house, user):
    return (await house.house.storage.sessions.create(user))[0]


async def key_with(house, scope):
    return (await house.house.storage.api_keys.create(name="backend", role="service", scopes=[scope]))[1]


async def opened(nursery, house, headers, protocol=V1):
    sock = await Socket.open(nursery, house, protocol=protocol, headers=headers)
    await (sock.expect("connected") if protocol is None else sock.start())
    return sock


async def closes(watch, socks_and_codes):
    """Each with its code, and all within a second of *watch*."""
    for sock, code in socks_and_codes:
        assert await sock.wait_closed() == code
    assert watch.seconds < WITHIN_SECONDS


async def is_refused(house, headers):
    """At every door."""
    async with open_sockets() as nursery:
        for protocol in (V1, None):
            with pytest.raises(Refused) as refused:
                await Socket.open(nursery, house, protocol=protocol, headers=headers)
            assert refused.value.status == 401
    for path in ("/api/ws/token", "/api/auth/session", "/events", "/poll", "/api/poll/all"):
        assert (await house.get(path, headers=dict(headers))).status == 401, path


async def is_good(house, headers):
    async with open_sockets() as nursery:
        await opened(nursery, house, headers)
    assert (await house.get("/api/auth/session", headers=dict(headers))).status == 200


async def by_oneself(house, session, service):
    headers = {"Cookie": f"pitchey-session={session}", "Origin": house.url}
    return await house.post("/api/auth/sign-out", None, {"everywhere": True}, **headers)


async def by_a_token(house, session, service):
    return await house.post("/api/auth/logout", 1, {"everywhere": True})


async def by_a_service(house, session, service):
    shown = f"Bearer {service}"
    return await house.post("/api/users/1/sign-out", None, {}, Authorization=shown, Idempotency_Key="once")


@pytest.mark.parametrize("sign_out", [by_oneself, by_a_token, by_a_service])
async def test_all_that_is_open_for_the_user_ends_within_a_second_and_what_was_issued_before_is_void(
    live_house, sign_out
):
    house, answers = live_house, []
    await house.people(1, 2)
    sessions = [await session_of(house, 1) for _ in range(2)]
    old, timeless, key = house.token(1), house.token(1, iat=None), await key_with(house, "act_as")
    acting, service = [*bearer(key), ("X-Act-As", "1")], await key_with(house, "users:write")
    tickets = [(await house.get("/api/ws/token", headers=dict(shown))).json["token"]
               for shown in (cookie(sessions[0]), bearer(old), acting)]  # fmt: skip

    async def waits_for_an_answer():
        answers.append(await polled(house, 1, (await polled(house, 1))[1]))

    async with open_sockets() as nursery:
        others = [await opened(nursery, house, bearer(house.token(2)), protocol) for protocol in (V1, None)]
        mine = []
        for shown in (*map(cookie, sessions), bearer(old), bearer(timeless), acting):
            mine.append((await opened(nursery, house, shown), 4003))
            mine.append((await opened(nursery, house, shown, None), 1008))
        late = await Socket.open(nursery, house)
        await late.start(token=old)
        refreshed = await opened(nursery, house, cookie(sessions[1]))
        assert (await refreshed.ask("refresh", token=old))["type"] == "ack"
        stream = await Stream.open(nursery, house, 1)
        await stream.expect("ready")
        nursery.start_soon(waits_for_an_answer)
        count = len(mine) + 4
        await wait_until(lambda: house.house.engine.of_user(1) != count and house.house.engine.of_user(1))
        waiting = await Socket.open(nursery, house)  # says who it is when all is over
        async with open_stopwatch() as watch:
            signed_out = await sign_out(house, sessions[0], service)
            assert (signed_out.status, signed_out.data) == (200, {"signedOut": True})
            await closes(watch, [*mine, (late, 4003), (refreshed, 4003), (stream, 4003)])
            await wait_until(lambda: not answers and "the answer of the poll")
            assert watch.seconds < 2 * WITHIN_SECONDS
        assert answers[0][0][-1] == {"type": "close", "data": {"code": 4003, "reason": "forbidden"}}
        for shown in (*map(cookie, sessions), bearer(old), bearer(timeless)):
            await is_refused(house, shown)
        for ticket in tickets:
            with pytest.raises(Refused) as refused:
                await Socket.open(nursery, house, protocol=None, path=f"/ws?token={ticket}")
            assert refused.value.status == 401
        await waiting.expect("hello")
        await waiting.send({"type": "start", "data": {"token": old}})
        assert await closed_within(WITHIN_SECONDS, waiting) == 4001
        fresh = house.token(1, iat=time.time())
        await is_good(house, bearer(fresh))
        await is_good(house, cookie(await session_of(house, 1)))
        again = await opened(nursery, house, bearer(fresh))
        assert (await again.ask("refresh", token=old))["type"] == "error"
        await again.settle()
        assert again.close_code is None
        for other in others:
            await other.settle()
            assert other.close_code is None


async def test_a_token_of_before_is_refused_after_a_restart_too(database, tmp_path):
    async with open_house_under_test(database, tmp_path, listens=True) as house:
        await house.people(1)
        old = house.token(1)
        await is_good(house, bearer(old))
        assert (await house.post("/api/users/1/sign-out", 1, {})).status == 200
    async with open_house_under_test(database, tmp_path, listens=True) as house:
        await is_refused(house, bearer(old))
        await is_refused(house, bearer(house.token(1, iat=None)))
        await is_good(house, bearer(house.token(1, iat=time.time())))


@pytest.mark.parametrize("how", ["upgrade", "start", "refresh", "stream", "session"])
async def test_who_is_on_the_way_in_while_the_user_signs_out_is_not_in_afterwards(live_house, how):
    """The credential was looked at before, and is let in after: then it is looked at once more."""
    house, users = live_house, live_house.house.storage.users
    await house.people(1)
    session, old = await session_of(house, 1), house.token(1)
    authenticator = house.house.authenticator
    looked, go_on = trio.Event(), trio.Event()
    honest = authenticator._from_session if how == "session" else authenticator._from_jwt

    async def slow(credential):
        principal = await honest(credential)
        if not looked.is_set():
            looked.set()
            await go_on.wait()
        return principal

    async with open_sockets() as nursery:
        before = None
        if how in ("start", "refresh"):
            before = await Socket.open(nursery, house, headers=cookie(session) if how == "refresh" else ())
            await (before.start() if how == "refresh" else before.expect("hello"))
        setattr(authenticator, honest.__name__, slow)
        came = []

        async def comes():
            if how == "stream":
                came.append(await Stream.open(nursery, house, headers=bearer(old)))
            elif before is None:
                shown = cookie(session) if how == "session" else bearer(old)
                came.append(await Socket.open(nursery, house, headers=shown))
            elif how == "start":
                await before.send({"type": "start", "data": {"token": old}})
                came.append(before)
            else:
                await before.send({"type": "refresh", "id": "r", "data": {"token": old}})
                came.append(before)

        nursery.start_soon(comes)
        await looked.wait()
        if how == "refresh":  # as if it had come a moment later than all were closed
            await users.sign_out(1)
            authenticator.forget_user(1)
        else:
            key = await key_with(house, "users:write")
            assert (await house.post("/api/users/1/sign-out", None, {}, Authorization=f"Bearer {key}")).status == 200
        go_on.set()
        await wait_until(lambda: not came and "who was on the way")
        assert await closed_within(WITHIN_SECONDS, came[0]) == 4003


async def test_nobody_signs_out_somebody_else(house):
    await house.people(1, 2)
    key = await key_with(house, "act_as")
    assert (await house.post("/api/users/1/sign-out", 2, {})).status == 403
    assert (await house.post("/api/users/1/sign-out", None, {}, Authorization=f"Bearer {key}")).status == 403
    assert (await house.post("/api/users/1/sign-out", None, {})).status == 401
    assert (await house.post("/api/auth/sign-out", None, {"everywhere": True})).status == 401
    answer = await house.post("/api/auth/sign-out", None, {"everywhere": True}, Authorization=f"Bearer {key}")
    assert answer.status == 403
    assert (await house.get("/api/auth/session", 1)).status == 200


async def test_of_somebody_who_does_not_exist_nothing_is_ended(house):
    key = await key_with(house, "users:write")
    answer = await house.post("/api/users/77/sign-out", None, {}, Authorization=f"Bearer {key}")
    assert (answer.status, answer.code) == (404, "USER_NOT_FOUND")


async def test_what_is_sent_again_ends_nothing_that_began_since(house):
    await house.people(1)
    key = await key_with(house, "users:write")
    given = {"Authorization": f"Bearer {key}", "Idempotency_Key": "once"}
    assert (await house.post("/api/users/1/sign-out", None, {}, **given)).status == 200
    session = await session_of(house, 1)
    again = await house.post("/api/users/1/sign-out", None, {}, **given)
    assert (again.status, again.headers["Idempotency-Replay"]) == (200, "true")
    assert (await house.get("/api/auth/session", headers=dict(cookie(session)))).status == 200


@pytest.mark.parametrize("everywhere", ["yes", 1, None, []])
async def test_what_is_no_truth_value_is_refused_and_ends_nothing(live_house, everywhere):
    await live_house.people(1)
    token = live_house.token(1)
    refused = await live_house.post("/api/auth/sign-out", 1, {"everywhere": everywhere})
    assert (refused.status, refused.code) == (400, "VALIDATION")
    assert (await live_house.get("/api/auth/session", headers=dict(bearer(token)))).status == 200


async def test_a_token_of_the_same_whole_second_is_refused_whenever_in_it_the_user_signs_out(house):
    """Issuers count whole seconds: whether it was issued before or after cannot be known."""
    await house.people(1)

    async def signed_out_at(moment):
        async def run(connection):
            await connection.execute("update users set signed_out_at = to_timestamp($1) where id = 1", moment)

        await house.house.storage.postgres.transaction(run)
        house.house.authenticator.forget_user(1)

    second = int(time.time()) - 2
    for part, iat, status in (
        (0.0, second, 401), (0.5, second, 401), (0.999, second, 401),
        (0.999, second - 1, 401), (0.999, second + 1, 200),
    ):  # fmt: skip
        await signed_out_at(second + part)
        shown = dict(bearer(house.token(1, iat=iat)))
        assert (await house.get("/api/auth/session", headers=shown)).status == status, (part, iat - second)
