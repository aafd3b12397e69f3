"""A credential that ends while sockets are open under it: they end with it, and nobody else's do."""

import inspect
import time
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial

import pytest
import trio
import trio.lowlevel
from credential_crowd import Crowd
from house_fixture import open_house_under_test
from postgres_proxy import open_proxy
from stopwatch import closed_within
from wire import V1, Refused, Socket, open_sockets, wait_until

from greenroom.http.auth import Principal
from greenroom.http.ws.revocation import PAGE_CREDENTIALS, Revocations
from greenroom.http.ws.session import SESSION_GRACE_SECONDS
from greenroom.http.ws.v1_user import GRACE_SECONDS
from greenroom.runtime import StorageUnavailable, SystemClock
from greenroom.storage.postgres.sessions import Sessions

AT_ONCE_SECONDS = 1.0  # sessions and keys that end: PostgreSQL tells of them
WITHIN_SECONDS = 3.0  # what comes to its end: promised are one to two on a machine that has time


def with_both_protocols(scenario):
    """A test that runs *scenario* for v1 and for compat, at the same time: most of it is waiting."""

    async def test(live_house, **given):
        async with trio.open_nursery() as nursery:
            for protocol in (V1, None):
                nursery.start_soon(partial(scenario, live_house, protocol, **given))

    signature = inspect.signature(scenario)
    asked = [parameter for name, parameter in signature.parameters.items() if name != "protocol"]
    test.__signature__ = signature.replace(parameters=asked)  # type: ignore[attr-defined]
    test.__name__, test.__doc__ = scenario.__name__, scenario.__doc__
    return test


async def sql(house, statement, *arguments):
    """As another process: the auth service of the application, or `greenroom key revoke`."""

    async def run(connection):
        await connection.execute(statement, *arguments)

    await house.house.storage.postgres.transaction(run)


async def session_of(house, user, seconds=3600):
    session_id, _ = await house.house.storage.sessions.create(user, seconds=seconds)
    return session_id


async def key_with(house, *scopes):
    key_id, token = await house.house.storage.api_keys.create(name="backend", role="service", scopes=scopes)
    return key_id, token


def cookie(session_id):
    return [("Cookie", f"pitchey-session={session_id}")]


def acting(token, user):
    return [("Authorization", f"Bearer {token}"), ("X-Act-As", str(user))]


@asynccontextmanager
async def sockets(house, protocol, *headers):
    """One ready socket for each of *headers*; a user id instead is a JWT of that user."""
    async with open_sockets() as nursery:
        socks = []
        for given in headers:
            user, shown = (given, []) if isinstance(given, int) else (None, given)
            sock = await Socket.open(nursery, house, user, protocol=protocol, headers=shown)
            if protocol is None:
                await sock.expect("connected")
            else:
                await sock.start()
            socks.append(sock)
        yield socks


async def closes_with(sock, protocol, v1_code, seconds=WITHIN_SECONDS):
    assert await closed_within(seconds, sock) == (1008 if protocol is None else v1_code)


async def is_refused(house, protocol, headers):
    async with open_sockets() as nursery:
        with pytest.raises(Refused) as refused:
            await Socket.open(nursery, house, protocol=protocol, headers=headers)
        assert refused.value.status == 401
    answer = await house.get("/api/ws/token", headers=dict(headers))
    assert answer.status == 401


@with_both_protocols
async def test_a_session_that_is_deleted_takes_its_sockets_with_it_and_no_others(live_house, protocol):
    await live_house.people(1, 2)
    gone, other = await session_of(live_house, 1), await session_of(live_house, 1)
    ticket = (await live_house.get("/api/ws/token", headers=dict(cookie(gone)))).json["token"]
    shown = [cookie(gone), cookie(gone), cookie(other), 1, cookie(await session_of(live_house, 2))]
    async with sockets(live_house, protocol, *shown) as socks, open_sockets() as nursery:
        by_ticket = await Socket.open(nursery, live_house, protocol=protocol, path=f"/ws?token={ticket}")
        await trio.sleep(1.1)
        assert [sock.close_code for sock in socks] == [None] * 5
        await sql(live_house, "delete from sessions where id = $1", gone)
        for sock in (*socks[:2], by_ticket):
            await closes_with(sock, protocol, 4003, AT_ONCE_SECONDS)
        await is_refused(live_house, protocol, cookie(gone))
        await trio.sleep(1.1)
        for sock in socks[2:]:
            await sock.settle()
            assert sock.close_code is None


ENDS_OF_KEYS = {
    "revoked": "update api_keys set revoked_at = now() where id = $1",
    "deleted": "delete from api_keys where id = $1",
    "may not act for a user any more": "update api_keys set scopes = '{email:send}' where id = $1",
}


@pytest.mark.parametrize("end", ENDS_OF_KEYS)
@with_both_protocols
async def test_a_key_that_ends_takes_the_sockets_of_all_it_acts_for(live_house, protocol, end):
    await live_house.people(1, 2)
    (gone_id, gone), (_, other) = await key_with(live_house, "act_as"), await key_with(live_house, "act_as")
    shown = [acting(gone, 1), acting(gone, 2), acting(other, 1), 1]
    ticket = (await live_house.get("/api/ws/token", headers=dict(acting(gone, 2)))).json["token"]
    async with sockets(live_house, protocol, *shown) as socks, open_sockets() as nursery:
        by_ticket = await Socket.open(nursery, live_house, protocol=protocol, path=f"/ws?token={ticket}")
        await sql(live_house, ENDS_OF_KEYS[end], gone_id)
        for sock in (*socks[:2], by_ticket):
            await closes_with(sock, protocol, 4003, AT_ONCE_SECONDS)
        with pytest.raises(Refused) as refused:
            await Socket.open(nursery, live_house, protocol=protocol, headers=acting(gone, 1))
        assert refused.value.status == (403 if end == "may not act for a user any more" else 401)
        await trio.sleep(1.1)
        assert [sock.close_code for sock in socks[2:]] == [None, None]


@with_both_protocols
async def test_a_session_that_is_another_users_now_is_no_longer_the_first_ones(live_house, protocol):
    await live_house.people(1, 2)
    session = await session_of(live_house, 1)
    async with sockets(live_house, protocol, cookie(session)) as (sock,):
        await sql(live_house, "update sessions set user_id = 2 where id = $1", session)
        await closes_with(sock, protocol, 4003, AT_ONCE_SECONDS)


@with_both_protocols
async def test_a_session_that_was_cut_short_ends_its_sockets_as_expired(live_house, protocol):
    await live_house.people(1)
    short, over = await session_of(live_house, 1), await session_of(live_house, 1, seconds=5)
    end = time.time() + 5
    async with sockets(live_house, protocol, cookie(short), cookie(over)) as (cut, due):
        await sql(live_house, "update sessions set expires_at = now() - interval '1 s' where id = $1", short)
        await closes_with(cut, protocol, 4002, AT_ONCE_SECONDS)
        await trio.sleep(max(0, end - time.time()))
        await closes_with(due, protocol, 4002)


@with_both_protocols
async def test_a_session_that_was_extended_lives_to_its_new_end(live_house, protocol):
    await live_house.people(1)
    session = await session_of(live_house, 1, seconds=5)
    end = time.time() + 5
    forever = await session_of(live_house, 1)
    await sql(live_house, "update sessions set expires_at = 'infinity' where id = $1", forever)
    async with sockets(live_house, protocol, cookie(session), cookie(forever)) as (sock, endless):
        await sql(live_house, "update sessions set expires_at = now() + interval '1 hour' where id = $1", session)
        await trio.sleep(max(0, end + 1.2 - time.time()))
        mine = [live_house.house.engine.connections_of_session(name)[0] for name in (session, forever)]
        for connection in mine:
            assert connection.session.look_at_credential() > 0
            assert connection.session.principal.expires_at > time.time() + 3000
        await sock.settle()
        assert (sock.close_code, endless.close_code) == (None, None)
        ended = "update sessions set expires_at = now() + interval '0.5 s' where id = any($1::text[])"
        await sql(live_house, ended, [session, forever])
        await closes_with(sock, protocol, 4002)
        await closes_with(endless, protocol, 4002)


async def test_the_heartbeat_leaves_the_end_of_a_session_to_its_row_and_waits_only_so_long(live_house):
    """A session extended in its last second is not closed at the old end; with storage away it is, but later."""
    await live_house.people(1)
    async with sockets(live_house, V1, cookie(await session_of(live_house, 1)), 1):
        by_session, by_jwt = (connection.session for connection in live_house.house.engine.connections_of(1))
        for session, late_seconds, is_over in (
            (by_session, 1, False), (by_session, SESSION_GRACE_SECONDS + 1, True),
            (by_jwt, GRACE_SECONDS - 1, False), (by_jwt, GRACE_SECONDS + 1, True),
        ):  # fmt: skip
            session.principal = replace(session.principal, expires_at=time.time() - late_seconds)
            assert (session.look_at_credential() <= 0) is is_over


async def opened(nursery, house, headers, *, how="refresh", tokens=1):
    """A v1 socket that was opened under *headers* and goes on with a JWT of user 1."""
    sock = await Socket.open(nursery, house, headers=headers)
    await (sock.start(token=house.token(1)) if how == "start" else sock.start())
    for number in range(tokens if how == "refresh" else 0):
        assert (await sock.ask("refresh", token=house.token(1, jti=f"t-{number}")))["type"] == "ack"
    return sock


ENDS_OF_SESSIONS = {
    "deleted": "delete from sessions where id = $1",
    "another user's": "update sessions set user_id = 2 where id = $1",
    "cut short": "update sessions set expires_at = now() - interval '1 s' where id = $1",
    "cut shorter": "update sessions set expires_at = now() + interval '0.7 s' where id = $1",
}


@pytest.mark.parametrize("end", ENDS_OF_SESSIONS)
async def test_whoever_goes_on_with_a_token_hangs_on_what_opened_the_socket_all_the_same(live_house, end):
    await live_house.people(1, 2)
    gone, other = await session_of(live_house, 1), await session_of(live_house, 1)
    async with open_sockets() as nursery:
        socks = [
            await opened(nursery, live_house, cookie(gone), how="start"),
            await opened(nursery, live_house, cookie(gone)),
            await opened(nursery, live_house, cookie(gone), tokens=3),
        ]
        others = [
            await opened(nursery, live_house, cookie(other)),
            await opened(nursery, live_house, [("Authorization", f"Bearer {live_house.token(1)}")]),
        ]
        await sql(live_house, ENDS_OF_SESSIONS[end], gone)
        for sock in socks:
            assert await closed_within(WITHIN_SECONDS if end == "cut shorter" else AT_ONCE_SECONDS, sock) == 4003
        await trio.sleep(1.1)
        for sock in others:
            await sock.settle()
            assert sock.close_code is None


@pytest.mark.parametrize("how", ["start", "refresh"])
async def test_signing_out_ends_a_socket_that_went_on_with_a_token_at_once(live_house, how):
    await live_house.people(1)
    session = await session_of(live_house, 1)
    async with open_sockets() as nursery:
        sock = await opened(nursery, live_house, cookie(session), how=how)
        await trio.sleep(2.2)  # some rounds have looked at it
        given = {"Cookie": f"pitchey-session={session}", "Origin": live_house.url}
        assert (await live_house.post("/api/auth/sign-out", None, {}, **given)).status == 200
        assert await closed_within(AT_ONCE_SECONDS, sock) == 4003


async def test_a_key_that_is_revoked_takes_the_sockets_that_went_on_with_a_token(live_house):
    await live_house.people(1)
    key_id, key = await key_with(live_house, "act_as")
    async with open_sockets() as nursery:
        socks = [await opened(nursery, live_house, acting(key, 1), how=how) for how in ("start", "refresh")]
        await trio.sleep(1.1)
        await sql(live_house, ENDS_OF_KEYS["revoked"], key_id)
        for sock in socks:
            assert await closed_within(WITHIN_SECONDS, sock) == 4003


async def test_whoever_goes_on_with_a_token_outlives_the_natural_end_of_the_session_that_opened_the_socket(live_house):
    """Also one that was extended; and what is remembered of the session goes with it."""
    await live_house.people(1)
    short, extended = await session_of(live_house, 1, seconds=5), await session_of(live_house, 1, seconds=5)
    sessions = live_house.house.engine.credentials.sessions
    async with open_sockets() as nursery:
        one, two = [await opened(nursery, live_house, cookie(session)) for session in (short, extended)]
        end = time.time() + 7
        await sql(live_house, "update sessions set expires_at = now() + interval '7 s' where id = $1", extended)
        assert set(sessions) == {short, extended}
        await wait_until(lambda: short in sessions and "the natural end of the first")
        assert extended in sessions or time.time() >= end
        await wait_until(lambda: sessions and "the natural end of the other")
        await sql(live_house, "delete from sessions")
        await trio.sleep(1.5)
        for sock in (one, two):
            await sock.settle()
            assert sock.close_code is None


async def test_signing_out_ends_the_sockets_of_the_session_alone(live_house):
    """Not those of a token that happens to have its id: the id of a token is no secret."""
    await live_house.people(1, 2)
    session = await session_of(live_house, 1)
    async with open_sockets() as nursery:
        mine = await Socket.open(nursery, live_house, headers=cookie(session))
        token = await Socket.open(nursery, live_house, token=live_house.token(2, jti="j-1"))
        for value in (session, "j-1"):
            given = {"Cookie": f"pitchey-session={value}", "Origin": live_house.url}
            assert (await live_house.post("/api/auth/sign-out", None, {}, **given)).status == 200
        assert await closed_within(AT_ONCE_SECONDS, mine) == 4003
        await token.settle()
        assert token.close_code is None


async def test_where_nobody_has_a_session_nothing_is_asked(live_house):
    await live_house.people(1)
    async with sockets(live_house, V1, 1, 1) as socks:
        await trio.sleep(1.5)
        assert live_house.house.revocations.statistics().questions == 0
        assert [sock.close_code for sock in socks] == [None, None]
    async with sockets(live_house, V1, cookie(await session_of(live_house, 1))):
        await trio.sleep(2.2)
        asked = live_house.house.revocations.statistics().questions
        assert 1 <= asked <= 4
    await wait_until(lambda: live_house.house.engine.total and "the end of the sockets")
    asked = live_house.house.revocations.statistics().questions
    await trio.sleep(1.5)
    assert live_house.house.revocations.statistics().questions <= asked + 1


async def test_storage_that_is_away_closes_nobody_and_what_ended_meanwhile_is_found_afterwards(database, tmp_path):
    async with (
        open_proxy(database.host) as proxy,
        open_house_under_test(replace(database, host=str(proxy.folder)), tmp_path, listens=True) as house,
    ):
        await house.people(1)
        kept, gone = await session_of(house, 1), await session_of(house, 1)
        key_id, key = await key_with(house, "act_as")
        async with sockets(house, V1, cookie(kept), cookie(gone), acting(key, 1)) as socks:
            async with open_house_under_test(database, tmp_path, listens=False) as elsewhere:
                await proxy.cut_all()
                await sql(elsewhere, "delete from sessions where id = $1", gone)
                await sql(elsewhere, "update api_keys set revoked_at = now() where id = $1", key_id)
            await trio.sleep(2.5)
            assert [sock.close_code for sock in socks] == [None] * 3
            assert house.house.revocations.statistics().closed == 0
            proxy.open_again()
            for sock in socks[1:]:
                assert await closed_within(WITHIN_SECONDS + 2, sock) == 4003
            await trio.sleep(1.1)
            await socks[0].settle()
            assert socks[0].close_code is None


async def test_thousands_of_sessions_are_looked_at_within_two_seconds_a_thousand_at_a_time(live_house):
    count, storage, crowd = 5000, live_house.house.storage, Crowd()
    await live_house.people(1)
    expires_at = time.time() + 3600
    names = [f"session-{number:05}-{'x' * 30}" for number in range(count)]
    await sql(
        live_house,
        "insert into sessions (id, user_id, expires_at) select id, 1, to_timestamp($2) from unnest($1::text[]) as id",
        names,
        expires_at,
    )
    for name in names:
        crowd.add(Principal(1, "user", "one", "session", session_id=name, expires_at=expires_at))
    revocations = Revocations(
        crowd.credentials, storage.sessions, storage.api_keys, live_house.house.authenticator, SystemClock()
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(revocations.run)
        await trio.sleep(1.5)
        gone = set(names[17::100])
        ended_at = trio.current_time()
        await sql(live_house, "delete from sessions where id = any($1::text[])", list(gone))
        await wait_until(lambda: len(crowd.closed) < len(gone) and f"{len(crowd.closed)} of {len(gone)}", 5)
        assert set(crowd.closed) == gone
        assert {code for code, _ in crowd.closed.values()} == {4003}
        took = max(at for _, at in crowd.closed.values()) - ended_at
        print(f"{count} sessions, {len(gone)} ended: the last was found after {took:.2f} s")
        assert took < WITHIN_SECONDS
        before, began = revocations.statistics(), trio.current_time()
        await trio.sleep(3)
        after, seconds = revocations.statistics(), trio.current_time() - began
        nursery.cancel_scope.cancel()
    pages = count // PAGE_CREDENTIALS
    assert after.rounds - before.rounds <= seconds + 1, "no more than one round a second"
    assert after.questions - before.questions <= (seconds + 1) * pages
    assert after.closed == before.closed + 0
    print(f"{after.questions - before.questions} questions in {seconds:.1f} s")


async def test_a_question_that_fails_ends_neither_the_looking_nor_a_socket(live_house):
    await live_house.people(1)
    crowd, storage = Crowd(), live_house.house.storage
    crowd.add(Principal(1, "user", "one", "session", session_id="gone", expires_at=time.time() + 3600))

    class Failing(Sessions):
        async def changed(self, believed):
            if errors:
                await trio.lowlevel.checkpoint()
                raise errors.pop(0)
            return await super().changed(believed)

    errors = [StorageUnavailable("away"), RuntimeError("a bug"), StorageUnavailable("away again")]
    revocations = Revocations(
        crowd.credentials, Failing(storage.postgres), storage.api_keys, live_house.house.authenticator, SystemClock()
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(revocations.run)
        await wait_until(lambda: errors, 4)
        assert crowd.closed == {}
        await wait_until(lambda: not crowd.closed and "the end", 4)
        nursery.cancel_scope.cancel()
