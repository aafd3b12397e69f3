"""What PostgreSQL tells of: sessions and keys that end, by whatever hand, take their sockets with them in a second."""

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import asyncpg
import pytest
import trio
from credential_crowd import Crowd
from house_fixture import open_house_under_test
from postgres_proxy import open_proxy
from stopwatch import closed_within, open_stopwatch
from streams import Stream, polled
from wire import V1, Socket, open_sockets, wait_until

from greenroom.http.auth import Principal
from greenroom.http.ws.ends import CHANNEL, KEYS_MAX, REST_SECONDS, Ends
from greenroom.http.ws.revocation import Revocations
from greenroom.http.ws.session import SocketSession
from greenroom.runtime import StorageUnavailable, SystemClock
from greenroom.storage.postgres.users import UserChange

WITHIN_SECONDS = 1.0
SESSIONS = 5000
KNOWN_USERS = 20_000


async def sql(house, statement, *arguments):
    """As another process: the auth service of the application."""

    async def run(connection):
        await connection.execute(statement, *arguments)

    await house.house.storage.postgres.transaction(run)


async def past_the_house(address, statement, *arguments):
    """On a connection of its own, which no pool and no proxy of the house stands before."""

    async def run():
        connection = await asyncpg.connect(**address.connect_arguments())
        try:
            await connection.execute(statement, *arguments)
        finally:
            await connection.close()

    await trio.to_thread.run_sync(asyncio.run, run())


def shown_by(house, user):
    return [("Authorization", f"Bearer {house.token(user)}")]


async def listens(house, listeners=1):
    """Until so many hear what is told; the house is one of them."""

    async def count(connection):
        return await connection.fetchval(
            "select count(*) from pg_stat_activity where datname = current_database() and query like 'LISTEN%'"
        )

    for _ in range(500):
        if await house.house.storage.postgres.transaction(count) >= listeners:
            return
        await trio.sleep(0.01)
    raise AssertionError("nobody listens")


def ends_of(whole):
    """Some that hear nothing by themselves."""
    return Ends(
        whole.storage.postgres,
        whole.storage.users,
        whole.engine,
        whole.authenticator,
        whole.revocations,
        whole.storage.visibility,
        whole.presence,
        lambda user_id: None,
    )


@asynccontextmanager
async def crowd_of_sessions(house, user_of):
    """Thousands of sessions in use, of users as *user_of* a number says, and one who hears of their ends alone."""
    storage, crowd, expires_at = house.house.storage, Crowd(), time.time() + 3600
    names = [f"session-{number:05}-{'x' * 30}" for number in range(SESSIONS)]
    users = [user_of(number) for number in range(SESSIONS)]
    await sql(
        house,
        "insert into users (id, name, created_at, updated_at) select distinct id, 'x', now(), now() "
        "from unnest($1::bigint[]) as id",
        users,
    )
    await sql(
        house,
        "insert into sessions (id, user_id, expires_at) "
        "select id, user_id, to_timestamp($3) from unnest($1::text[], $2::bigint[]) as s (id, user_id)",
        names, users, expires_at,
    )  # fmt: skip
    for name, user in zip(names, users, strict=True):
        crowd.add(Principal(user, "user", "x", "session", session_id=name, expires_at=expires_at))
    authenticator, engine = house.house.authenticator, crowd
    revocations = Revocations(
        crowd.credentials, storage.sessions, storage.api_keys, authenticator, SystemClock()
    )  # which does not run
    given: Any = engine
    async with trio.open_nursery() as nursery:
        nursery.start_soon(
            Ends(
                storage.postgres,
                storage.users,
                given,
                authenticator,
                revocations,
                storage.visibility,
                house.house.presence,
                lambda user_id: None,
            ).run
        )
        await listens(house, 2)
        await trio.sleep(0.5)  # what they look at when they begin
        yield crowd, names, revocations
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("kind", ["of one user", "of as many users"])
@pytest.mark.parametrize("ended", [1, 50, pytest.param(SESSIONS, marks=pytest.mark.slow(seconds=10))])  # timed: alone
async def test_of_thousands_of_sessions_those_that_end_are_found_within_a_second(live_house, kind, ended):
    house = live_house
    async with crowd_of_sessions(house, lambda number: 1 if kind == "of one user" else 1 + number) as world:
        crowd, names, revocations = world
        gone = set(names[:: SESSIONS // ended])
        async with open_stopwatch() as watch:
            crowd.now = lambda: watch.seconds
            await sql(house, "delete from sessions where id = any($1::text[])", list(gone))
            ended_at = watch.seconds  # PostgreSQL tells of it when it is committed
            await wait_until(lambda: len(crowd.closed) < len(gone) and f"{len(crowd.closed)} of {len(gone)}", 10)
        took = max(at for _, at in crowd.closed.values()) - ended_at
        print(f"{ended} of {SESSIONS} sessions {kind}: {took:.3f} s, {revocations.statistics().questions} questions")
        assert took < WITHIN_SECONDS
        assert {code for code, _ in crowd.closed.values()} == {4003}
        assert set(crowd.closed) == gone
        asked, since = revocations.statistics().questions, trio.current_time()

        def is_asked():  # of the last page
            nonlocal asked, since
            if revocations.statistics().questions != asked:
                asked, since = revocations.statistics().questions, trio.current_time()
            return trio.current_time() - since < 1 and f"a second without a question, after {asked}"

        await wait_until(is_asked)
        await trio.sleep(0.5)
        assert revocations.statistics().questions == asked, "where nothing ends nothing is asked"


ENDS = {
    "delete from sessions where user_id = 1": 4003,
    "truncate sessions": 4003,
    "update sessions set expires_at = now() - interval '1 s'": 4002,
    "update sessions set user_id = 2": 4003,
    "update sessions set id = id || 'x'": 4003,
    "update users set signed_out_at = now() where id = 1": 4003,
    "update api_keys set revoked_at = now()": 4003,
    "update api_keys set scopes = '{email:send}'": 4003,
    "update api_keys set id = id || 'x'": 4003,
    "delete from api_keys": 4003,
    "truncate api_keys": 4003,
}


@pytest.mark.parametrize("statement", ENDS)
async def test_however_a_row_ends_its_sockets_and_streams_are_closed_within_a_second(
    live_house, statement, monkeypatch
):
    house = live_house
    monkeypatch.setattr(house.house.revocations, "_look", trio.sleep_forever)  # no round finds it
    await trio.sleep(1.1)
    await house.people(1, 2)
    session = (await house.house.storage.sessions.create(1))[0]
    shown = [("Cookie", f"pitchey-session={session}")]
    if "signed_out_at" in statement:
        shown = [("Authorization", f"Bearer {house.token(1)}")]
    if "api_keys" in statement:
        _, key = await house.house.storage.api_keys.create(name="backend", role="service", scopes=["act_as"])
        shown = [("Authorization", f"Bearer {key}"), ("X-Act-As", "1")]
        assert (await house.get("/api/auth/session", headers=dict(shown))).status == 200
    await listens(house)
    async with open_sockets() as nursery:
        sock, page = [await Socket.open(nursery, house, headers=shown, protocol=p) for p in ("greenroom.v1", None)]
        await sock.start()
        stream = await Stream.open(nursery, house, headers=shown)
        await stream.expect("ready")
        other = await Socket.open(nursery, house, 2)
        await other.start()
        await sql(house, statement)
        async with open_stopwatch() as watch:  # PostgreSQL tells of it when it is committed
            assert await sock.wait_closed() == ENDS[statement]
            assert await stream.wait_closed() == ENDS[statement]
            assert await page.wait_closed() == 1008
            assert watch.seconds < WITHIN_SECONDS
        assert page.events[-1]["type"] == "error"
        assert page.events[-1]["code"] == {4003: 2001, 4002: 2002}[ENDS[statement]]
        await other.settle()
        assert other.close_code is None
    answer = await house.get("/api/auth/session", headers=dict(shown))
    expected = 200 if "user_id = 2" in statement else 403 if "scopes" in statement else 401
    assert answer.status == expected, "what is remembered is dropped"


def is_offline(house, user):
    return house.house.presence.status_of(user)[0] == "offline"


async def says_so(house, shown):
    """As a client without a socket does once a minute."""
    assert (await house.post("/api/presence/update", None, {}, **dict(shown), Origin=house.url)).status == 200


@pytest.mark.parametrize("road", ["says so", "polls"])
@pytest.mark.parametrize(
    "statement",
    [
        "delete from sessions",
        "truncate sessions",
        "update sessions set expires_at = now() - interval '1 s'",
        "update sessions set user_id = 2",
        "update users set signed_out_at = now() where id = 1",
    ],
)
async def test_who_is_here_without_a_socket_is_offline_however_what_they_showed_ends(
    live_house, statement, road, monkeypatch
):
    monkeypatch.setattr("greenroom.http.streams.connection.LEASE_SECONDS", 1000.0)  # not because its time is over
    house = live_house
    await house.people(1, 2)
    shown = [("Cookie", f"pitchey-session={(await house.house.storage.sessions.create(1))[0]}")]
    if "signed_out_at" in statement:
        shown = shown_by(house, 1)
    await listens(house)
    await (says_so(house, shown) if road == "says so" else polled(house, None, headers=shown))
    await wait_until(lambda: is_offline(house, 1) and "that they are here")
    await wait_until(lambda: house.house.engine.of_user(1) and "the end of the poll")
    await sql(house, statement)
    await wait_until(lambda: not is_offline(house, 1) and "that they are gone")
    assert not house.house.presence.leases.users()


async def test_who_is_here_under_another_session_too_is_not_shown_offline_for_a_moment(live_house, monkeypatch):
    house, shown_as = live_house, []
    await house.people(1)
    ends, stays = [(await house.house.storage.sessions.create(1))[0] for _ in range(2)]
    presence = house.house.presence
    show = presence.show

    def show_and_note(user_id, status, activity, at_ms):
        shown_as.append(status)
        show(user_id, status, activity, at_ms)

    monkeypatch.setattr(presence, "show", show_and_note)
    await listens(house)
    for session in (ends, stays):
        await says_so(house, [("Cookie", f"pitchey-session={session}")])
    await sql(house, "delete from sessions where id = $1", ends)
    await wait_until(lambda: len(presence.leases._kept[1]) > 1 and "the end of one of them")
    await sql(house, "delete from sessions")
    await wait_until(lambda: not is_offline(house, 1) and "that they are gone")
    assert shown_as == ["online", "offline"]


async def test_who_is_here_without_a_socket_is_looked_at_again_when_storage_could_not_be_asked(live_house, monkeypatch):
    house, asked = live_house, []
    await house.people(1)
    session = (await house.house.storage.sessions.create(1))[0]
    sessions = house.house.storage.sessions
    honest = sessions.changed

    async def away_at_first(believed):
        asked.append(believed)
        if len(asked) < 2:
            raise StorageUnavailable("a test says so")
        return await honest(believed)

    await listens(house)
    await says_so(house, [("Cookie", f"pitchey-session={session}")])
    monkeypatch.setattr(sessions, "changed", away_at_first)
    await sql(house, "delete from sessions")
    await wait_until(lambda: not is_offline(house, 1) and "that they are gone")
    assert len(asked) == 2


@pytest.mark.parametrize("shown", ["tokens", "sessions"])
async def test_a_socket_that_fails_at_its_end_is_ended_all_the_same_and_nobody_else_stays_for_it(
    live_house, shown, monkeypatch
):
    house, users, fails = live_house, (1, 2, 3), {1, 3}
    monkeypatch.setattr(house.house.revocations, "_look", trio.sleep_forever)  # no round finds it
    await house.people(*users)
    headers = {user: shown_by(house, user) for user in users}
    if shown == "sessions":
        for user in users:
            session = (await house.house.storage.sessions.create(user))[0]
            headers[user] = [("Cookie", f"pitchey-session={session}")]
    await listens(house)
    async with open_sockets() as nursery:
        socks = {}
        for user in users:
            socks[user] = await Socket.open(nursery, house, headers=headers[user])
            await socks[user].start()
        honest = SocketSession.closed

        def closed(session):
            honest(session)
            if session.user_id in fails:
                raise RuntimeError("a test says so")

        monkeypatch.setattr(SocketSession, "closed", closed)
        await sql(house, "delete from sessions" if shown == "sessions" else "update users set signed_out_at = now()")
        assert await socks[2].wait_closed(5) == 4003
        for user in fails:
            await wait_until(lambda user=user: not socks[user].is_over.is_set() and f"the end of {user}", 5)
        assert house.house.engine.open_connections() == []


async def test_a_session_that_lasts_longer_is_no_news_and_strange_words_are_not_heard(live_house):
    house, heard = live_house, []
    await house.people(1)
    await house.house.storage.sessions.create(1)
    ends = ends_of(house.house)
    strange = (
        "",
        "session",
        "session x",
        "session -1",
        "user *",
        "invisible x",
        "session " + "9" * 5000,
        "user \u00b2",
        "key",
        "key ",
    )
    for payload in (*strange, "key " + "x" * 65):
        ends.heard(payload)
        assert not ends._is_told.is_set()

    connection = await house.house.storage.postgres.connect(listens=True)
    await connection.add_listener(CHANNEL, lambda *told: heard.append(told[-1]))
    await sql(house, "update sessions set expires_at = expires_at + interval '1 h'")
    await sql(house, "update sessions set user_agent = 'another'")
    await sql(house, "delete from sessions where id = 'nobody'")
    await sql(house, "update users set name = 'another'")
    await house.house.storage.api_keys.create(name="backend", role="service", scopes=["act_as"])
    await sql(house, "update api_keys set name = 'another'")
    await sql(house, "update sessions set expires_at = expires_at - interval '1 s'")
    await wait_until(lambda: not heard and "the one that ends earlier")
    connection.terminate()
    assert heard == ["session 1"]


async def test_a_connection_that_is_lost_is_made_again(database, tmp_path):
    async with (
        open_proxy(database.host) as proxy,
        open_house_under_test(replace(database, host=str(proxy.folder)), tmp_path, listens=True) as house,
    ):
        await house.people(1)
        session = (await house.house.storage.sessions.create(1))[0]
        await listens(house)
        await proxy.cut_all()
        proxy.open_again()
        await trio.sleep(1.5)
        await listens(house)
        house.house.revocations._look = trio.sleep_forever  # no round finds it
        await trio.sleep(1.1)
        async with open_sockets() as nursery:
            sock = await Socket.open(nursery, house, headers=[("Cookie", f"pitchey-session={session}")])
            await sock.start()
            await sql(house, "delete from sessions")
            assert await closed_within(WITHIN_SECONDS, sock) == 4003


async def test_who_signed_out_while_nobody_listened_is_out_when_somebody_does(database, tmp_path):
    async with (
        open_proxy(database.host) as proxy,
        open_house_under_test(replace(database, host=str(proxy.folder)), tmp_path, listens=True) as house,
    ):
        await house.people(1, 2, 3)
        await listens(house)
        old, other = shown_by(house, 1), shown_by(house, 2)
        await says_so(house, [("Cookie", f"pitchey-session={(await house.house.storage.sessions.create(3))[0]}")])
        async with open_sockets() as nursery:
            sock, stays = [await Socket.open(nursery, house, headers=shown) for shown in (old, other)]
            await sock.start()
            await stays.start()
            stream = await Stream.open(nursery, house, headers=old)
            await stream.expect("ready")
            await proxy.cut_all()
            await past_the_house(database, "update users set signed_out_at = now() where id = 1")
            await past_the_house(database, "delete from sessions")
            proxy.open_again()
            assert await sock.wait_closed(5) == 4003
            assert await stream.wait_closed(5) == 4003
            await wait_until(lambda: not is_offline(house, 3) and "that who said so over REST is gone")
            await stays.settle()
            assert stays.close_code is None
        for path in ("/api/auth/session", "/poll"):
            assert (await house.get(path, headers=dict(old))).status == 401


async def test_who_is_here_by_a_token_and_signed_out_while_nobody_listened_is_gone_and_who_did_last_year_stays(
    database, tmp_path, monkeypatch
):
    async with (
        open_proxy(database.host) as proxy,
        open_house_under_test(replace(database, host=str(proxy.folder)), tmp_path, listens=True) as house,
    ):
        await house.people(1, 2)
        await past_the_house(database, "update users set signed_out_at = now() - interval '1 year' where id = 2")
        await listens(house)
        presence, shown_as = house.house.presence, []
        show = presence.show

        def show_and_note(user_id, status, activity, at_ms):
            shown_as.append((user_id, status))
            show(user_id, status, activity, at_ms)

        monkeypatch.setattr(presence, "show", show_and_note)
        await says_so(house, shown_by(house, 1))
        await says_so(house, shown_by(house, 2))
        await proxy.cut_all()
        await past_the_house(database, "update users set signed_out_at = now() where id = 1")
        proxy.open_again()
        await wait_until(lambda: not is_offline(house, 1) and "that who signed out is gone")
        await past_the_house(database, f"notify {CHANNEL}, 'user 2'")
        await says_so(house, [("Authorization", f"Bearer {house.token(1, iat=int(time.time()) + 1)}")])
        await past_the_house(database, "update users set signed_out_at = now() + interval '2 s' where id = 1")
        await wait_until(lambda: not is_offline(house, 1) and "that they are gone again")
        assert shown_as == [(1, "online"), (2, "online"), (1, "offline"), (1, "online"), (1, "offline")]


async def test_who_is_here_by_a_token_with_an_id_goes_when_they_sign_out_and_not_when_a_session_ends(live_house):
    house = live_house
    await house.people(1)
    session = (await house.house.storage.sessions.create(1))[0]
    await listens(house)
    await says_so(house, [("Authorization", f"Bearer {house.token(1, jti='a-token')}")])
    await says_so(house, [("Cookie", f"pitchey-session={session}")])
    await sql(house, "delete from sessions")
    await wait_until(lambda: len(house.house.presence.leases._kept[1]) > 1 and "the end of the session")
    assert not is_offline(house, 1)
    await sql(house, "update users set signed_out_at = now() + interval '1 s'")
    await wait_until(lambda: not is_offline(house, 1) and "that they are gone")


async def test_who_signs_out_elsewhere_ends_what_a_key_had_opened_for_them_and_nothing_of_after(live_house):
    house = live_house
    await house.people(1, 2)
    await listens(house)
    _, key = await house.house.storage.api_keys.create(name="backend", role="service", scopes=["act_as"])

    async def acting(nursery, user, protocol=V1):
        headers = [("Authorization", f"Bearer {key}"), ("X-Act-As", str(user))]
        sock = await Socket.open(nursery, house, headers=headers, protocol=protocol)
        await (sock.start() if protocol else sock.expect("connected"))
        return sock

    async with open_sockets() as nursery:
        mine, page, stays = await acting(nursery, 1), await acting(nursery, 1, None), await acting(nursery, 2)
        await sql(house, "update users set signed_out_at = now() where id = 1")
        async with open_stopwatch() as watch:
            assert (await mine.wait_closed(), await page.wait_closed()) == (4003, 1008)
            assert watch.seconds < WITHIN_SECONDS + 1
        again, old = await acting(nursery, 1), await Socket.open(nursery, house, headers=shown_by(house, 2))
        await old.start()
        await sql(house, f"notify {CHANNEL}, 'user 1'")
        await sql(house, "update users set signed_out_at = now() + interval '1 s' where id = 2")
        assert await old.wait_closed() == 4003
        assert await stays.wait_closed() == 4003
        await again.settle()
        assert again.close_code is None


@pytest.mark.parametrize("error", [StorageUnavailable, asyncpg.DataCorruptedError])
async def test_who_signed_out_when_storage_could_not_be_asked_is_looked_at_again(live_house, monkeypatch, error):
    house, asked = live_house, []
    await house.people(1)
    await listens(house)
    users = house.house.storage.users
    honest = users.signed_out

    async def away_at_first(user_ids):
        asked.append(user_ids)
        if len(asked) == 1:
            raise error("a test says so")
        return await honest(user_ids)

    async with open_sockets() as nursery:
        sock = await Socket.open(nursery, house, headers=shown_by(house, 1))
        await sock.start()
        monkeypatch.setattr(users, "signed_out", away_at_first)
        await sql(house, "update users set signed_out_at = now() where id = 1")
        assert await sock.wait_closed(5) == 4003
    assert asked == [[1], [1]]


async def test_a_database_that_takes_nobody_for_a_while_ends_nothing_but_listening(postgres_server, database, tmp_path):
    """What PostgreSQL refuses is no outage: the process ended with it."""
    async with open_house_under_test(database, tmp_path, listens=True) as house:
        await house.people(1)
        await listens(house)
        name = database.database
        await past_the_house(postgres_server, f"alter database {name} allow_connections false")
        listeners = "from pg_stat_activity where datname = $1 and query like 'LISTEN%'"
        await past_the_house(postgres_server, f"select pg_terminate_backend(pid) {listeners}", name)
        await trio.sleep(1.5)  # it tries once a second
        assert (await house.get("/api/auth/session", 1)).status == 200
        await past_the_house(postgres_server, f"alter database {name} allow_connections true")
        await listens(house)
        async with open_sockets() as nursery:
            sock = await Socket.open(nursery, house, headers=shown_by(house, 1))
            await sock.start()
            await sql(house, "update users set signed_out_at = now()")
            assert await sock.wait_closed(5) == 4003


async def test_thousands_who_sign_out_at_once_hold_nobody_up(live_house, monkeypatch):
    """All who are known were looked at for each of them: 5,000 of 100,000 took 37 s in one pass of the loop."""
    house, passes = live_house, []
    await sql(
        house,
        "insert into users (id, name, created_at, updated_at) select id, 'x', now(), now() "
        "from generate_series(1, $1::int) as id",
        KNOWN_USERS,
    )
    await house.house.storage.users.change(1, UserChange(name="user-1"))
    await listens(house)
    authenticator = house.house.authenticator
    async with open_sockets() as nursery:
        socks = [await Socket.open(nursery, house, headers=shown_by(house, user)) for user in (1, 2)]
        for sock in socks:
            await sock.start()
        known = authenticator._known.get(1)
        for user in range(3, KNOWN_USERS):
            authenticator._known.put(user, replace(known, user_id=user))
        honest = authenticator.forget_users

        def forget(user_ids):
            passes.append(len(user_ids))
            honest(user_ids)

        monkeypatch.setattr(authenticator, "forget_users", forget)
        began = trio.current_time()
        await sql(house, "update users set signed_out_at = now() where id <> 2")
        assert await socks[0].wait_closed(5) == 4003
        await socks[1].settle()
        assert socks[1].close_code is None
    await wait_until(lambda: sum(passes) < KNOWN_USERS - 1 and "all of them")
    assert len(passes) <= 1 + (trio.current_time() - began) / REST_SECONDS
    assert set(authenticator._known) == {2}


async def test_too_many_keys_to_name_or_one_that_is_too_long_are_all(live_house):
    house, heard = live_house, []
    await house.people(1)

    connection = await house.house.storage.postgres.connect(listens=True)
    await connection.add_listener(CHANNEL, lambda *told: heard.append(told[-1]))
    made = "insert into api_keys (id, secret_sha256, scopes, created_at) select {}, '', '{{act_as}}', now() from {}"
    await sql(house, made.format("repeat('x', 8000)", "generate_series(1, 1)"))
    await sql(house, "delete from api_keys")
    await wait_until(lambda: heard != ["key *"] and f"one, not {heard[:3]}")
    for count, told in ((1000, 1000), (1001, 1)):
        heard.clear()
        await sql(house, made.format("'key-' || n", f"generate_series(1, {count}) n"))
        await sql(house, "update api_keys set revoked_at = now()")
        await wait_until(lambda told=told: len(heard) != told and f"{told}, not {len(heard)}")
        assert set(heard) == ({"key *"} if told == 1 else {f"key key-{n}" for n in range(1, told + 1)})
        await sql(house, "truncate api_keys")
        await wait_until(lambda told=told: len(heard) != told + 1 and f"{told + 1}, not {len(heard)}")
    connection.terminate()
    ends = ends_of(house.house)
    for number in range(5000):
        ends.heard(f"key {number}")
    assert len(ends._keys) <= KEYS_MAX + 1
    assert "*" in ends._keys
