"""Connections that trio tasks read themselves, on a real PostgreSQL: plain, behind TLS, and those that listen."""

import os
import signal
import socket
import ssl
from contextlib import asynccontextmanager
from random import Random

import asyncpg
import pytest
import trio
import trio.testing
from open_descriptors import open_descriptors
from tls_files import make_tls_files

from greenroom.runtime.ports import StorageUnavailable
from greenroom.storage.asyncio_bridge import open_asyncio_bridge
from greenroom.storage.postgres.connection import connect
from greenroom.storage.postgres.pool import open_postgres

READ = ("itself", "tls", "listens")  # who reads what comes, and what in
LOCKS = "select from pg_locks where mode = 'RowExclusiveLock'"
SSL_REQUEST = bytes.fromhex("0000000804d2162f")


@pytest.fixture(params=READ)
async def connection(request, database, tmp_path):
    """One of each kind."""
    async with open_asyncio_bridge() as bridge:
        if request.param == "tls":
            async with behind_tls(database, tmp_path) as arguments:
                connection = await connect(bridge, arguments)
                assert connection._transport.get_extra_info("sslcontext") is not None
                yield connection
                connection.terminate()
            return
        connection = await connect(bridge, database.connect_arguments(), listens=request.param == "listens")
        yield connection
        connection.terminate()


@pytest.fixture
async def postgres(database):
    """A pool of three."""
    async with (
        open_asyncio_bridge() as bridge,
        open_postgres(bridge, database.connect_arguments(), connections_max=3) as postgres,
    ):
        yield postgres


@asynccontextmanager
async def behind_tls(database, folder):
    """Arguments for one who answers PostgreSQL's request for TLS in its place, and speaks to it in the clear."""
    files = make_tls_files(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)

    async def pipe(source, sink, scope):
        try:
            while data := await source.receive_some(65536):
                await sink.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        scope.cancel()

    async def serve(stream):
        assert await stream.receive_some(8) == SSL_REQUEST
        await stream.send_all(b"S")
        encrypted = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
        async with await trio.open_unix_socket(f"{database.host}/.s.PGSQL.{database.port}") as clear:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(pipe, encrypted, clear, nursery.cancel_scope)
                nursery.start_soon(pipe, clear, encrypted, nursery.cancel_scope)
            await trio.aclose_forcefully(encrypted)

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve, listeners)
        port = listeners[0].socket.getsockname()[1]
        yield {**database.connect_arguments(), "host": "127.0.0.1", "port": port, "ssl": files.client}
        nursery.cancel_scope.cancel()


async def test_answers_small_large_and_of_many_rows_are_whole(connection):
    assert await connection.fetchval("select 1") == 1
    text = "x" * 3_000_000
    assert await connection.fetchval("select $1::text || $1", text) == text + text
    rows = await connection.fetch("select n, n::text as t from generate_series(1, 50000) n")
    assert [(row["n"], row["t"]) for row in rows] == [(n, str(n)) for n in range(1, 50_001)]
    assert await connection.execute("create table t (n int primary key)") == "CREATE TABLE"
    assert await connection.fetchrow("select * from t") is None


async def test_what_is_refused_is_raised_and_the_connection_goes_on(connection):
    await connection.execute("create table t (n int primary key)")
    await connection.execute("insert into t values (1)")
    for _ in range(3):
        with pytest.raises(asyncpg.UniqueViolationError):
            await connection.fetchval("insert into t values ($1) returning n", 1)
        with pytest.raises(asyncpg.PostgresSyntaxError):
            await connection.fetch("selec")
        with pytest.raises(asyncpg.DataError):
            await connection.fetch("select $1::int", "no number")
    assert await connection.fetchval("select count(*) from t") == 1


async def test_a_transaction_stands_as_a_whole_or_not_at_all(connection):
    await connection.execute("create table t (n int primary key)")

    async def insert(*numbers):
        async with connection.transaction():
            for number in numbers:
                await connection.execute("insert into t values ($1)", number)

    await insert(1, 2)
    with pytest.raises(asyncpg.UniqueViolationError):
        await insert(3, 4, 1)
    assert not connection.is_in_transaction()
    with pytest.raises(asyncpg.DataError):  # which the server never sees
        await insert(3, "no number")
    assert not connection.is_in_transaction()
    assert [row["n"] for row in await connection.fetch("select n from t order by n")] == [1, 2]


async def insert_one(connection, number):
    await connection.execute("insert into t values ($1)", number)


async def test_cancelled_inside_a_transaction_nothing_stands_and_the_connection_is_over(connection, database, postgres):
    await connection.execute("create table t (n int primary key)")
    with trio.move_on_after(0.1) as scope:
        async with connection.transaction():
            await insert_one(connection, 1)
            await connection.execute("select pg_sleep(60)")
    assert scope.cancelled_caught  # and no error of a rollback in its place
    assert not connection.is_there()
    with pytest.raises(asyncpg.InterfaceError):
        await connection.fetchval("select 1")
    assert await postgres.transaction(lambda other: other.fetchval("select count(*) from t")) == 0


async def test_cancelled_between_two_queries_of_a_transaction_nothing_stands(connection, postgres):
    await connection.execute("create table t (n int primary key)")
    with trio.move_on_after(0.05) as scope:
        async with connection.transaction():
            await insert_one(connection, 1)
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert not connection.is_there()
    with trio.fail_after(5):
        while await postgres.transaction(lambda other: other.fetchval(f"select count(*) from ({LOCKS})")):  # noqa: ASYNC110
            await trio.sleep(0.01)
    assert await postgres.transaction(lambda other: other.fetchval("select count(*) from t")) == 0


async def test_who_is_cancelled_already_asks_nothing_and_loses_no_connection(postgres):
    await postgres.transaction(lambda connection: connection.execute("create table t (n int primary key)"))
    pid = await postgres.lend(lambda connection: connection.fetchval("select pg_backend_pid()"))

    async def insert_and_be_cancelled(connection):
        await insert_one(connection, 2)
        scope.cancel()

    with trio.CancelScope() as scope:
        scope.cancel()
        await postgres.lend(lambda connection: insert_one(connection, 1))
    assert await postgres.lend(lambda connection: connection.fetchval("select pg_backend_pid()")) == pid
    with trio.CancelScope() as scope:
        await postgres.transaction(insert_and_be_cancelled)
    assert scope.cancelled_caught
    assert await postgres.lend(lambda connection: connection.fetchval("select count(*) from t")) == 0


@pytest.mark.parametrize("connection", ["itself"], indirect=True)
async def test_a_connection_of_which_the_server_has_said_good_bye_is_over_before_its_end_is_there(connection):
    """Between the two are the last things that a process of PostgreSQL does."""
    fields = b"SFATAL\0VFATAL\0C57P01\0Mterminating connection due to administrator command\0\0"
    assert not is_there_after(connection, b"E" + (len(fields) + 4).to_bytes(4, "big") + fields)


@pytest.mark.parametrize("connection", ["itself"], indirect=True)
async def test_what_is_not_understood_ends_the_connection_and_nobody_else(connection):
    assert not is_there_after(connection, b"Z\0\0\0\5I")  # ready for a query, which it was


def is_there_after(connection, data):
    """Whether it may be used when it has read *data*, which nobody asked for and no end follows."""
    here, there = socket.socketpair()
    with here, there:
        here.setblocking(False)
        theirs, connection._socket = connection._socket, here.fileno()
        there.send(data)
        is_there = connection.is_there()
        connection._socket = theirs
    return is_there


async def test_ended_by_another_task_while_much_is_still_to_be_sent(connection, postgres):
    async def ask():
        with pytest.raises(asyncpg.PostgresConnectionError):
            await connection.fetchval("select length($1)", "x" * 50_000_000)

    assert await connection.fetchval("select length($1)", "prepared") == 8
    pid = await connection.fetchval("select pg_backend_pid()")
    os.kill(pid, signal.SIGSTOP)
    try:
        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask)
                await trio.sleep(0.2)
                assert connection._socket is None or connection._transport.get_write_buffer_size()
                connection.terminate()
    finally:
        os.kill(pid, signal.SIGCONT)
    assert await postgres.lend(lambda other: other.fetchval("select 1")) == 1  # the loop lives


async def test_who_waits_for_an_answer_hears_at_once_that_the_server_has_ended_the_connection(connection, postgres):
    pid = await connection.fetchval("select pg_backend_pid()")

    async def wait():
        with pytest.raises(asyncpg.PostgresError):
            await connection.fetchval("select pg_sleep(60)")

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.sleep(0.05)
            await postgres.transaction(lambda other: other.execute("select pg_terminate_backend($1)", pid))
    assert not connection.is_there()


async def test_who_waits_for_an_answer_hears_at_once_that_another_task_has_ended_the_connection(connection):
    async def wait():
        with pytest.raises(asyncpg.ConnectionDoesNotExistError):
            await connection.fetchval("select pg_sleep(60)")

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.sleep(0.05)
            connection.terminate()
    with pytest.raises(asyncpg.InterfaceError):
        await connection.fetchval("select 1")


async def test_what_is_notified_is_heard_while_nobody_asks(database, postgres):
    heard = []
    listener = await postgres.connect(listens=True)
    await listener.add_listener("news", lambda *told: heard.append(told[-1]))
    for number in range(100):
        await postgres.transaction(lambda other, number=number: other.execute(f"notify news, '{number}'"))
    with trio.fail_after(5):
        while len(heard) < 100:  # noqa: ASYNC110
            await trio.sleep(0.01)
    assert heard == [str(number) for number in range(100)]
    assert await listener.fetchval("select 1") == 1
    listener.terminate()


async def test_what_the_server_ended_while_nobody_used_it_is_not_lent_again(postgres):
    async def hold(pids):
        async def run(connection):
            pids.append(await connection.fetchval("select pg_backend_pid()"))
            await connection.fetchval("select pg_sleep(0.1)")

        await postgres.transaction(run)

    async def pids_of_three():
        pids = []
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(hold, pids)
        return set(pids)

    first, other = await pids_of_three(), await postgres.connect()
    for pid in first:
        await other.execute("select pg_terminate_backend($1)", pid)
    count = "select count(*) from pg_stat_activity where pid = any($1::int[])"
    with trio.fail_after(10):
        while await other.fetchval(count, first):  # noqa: ASYNC110
            await trio.sleep(0.01)
    second = await pids_of_three()  # nobody is refused
    assert len(second) == 3
    assert first.isdisjoint(second)
    other.terminate()


async def test_a_stuck_server_is_not_waited_for(postgres, monkeypatch):
    with monkeypatch.context() as patched:  # what comes then makes a new connection, and has its time for that
        patched.setattr("greenroom.storage.postgres.pool.QUERY_SECONDS_MAX", 0.2)
        with pytest.raises(StorageUnavailable, match=r"no answer within 0\.2 s"):
            await postgres.transaction(lambda connection: connection.execute("select pg_sleep(60)"))
    assert await postgres.transaction(lambda connection: connection.fetchval("select 1")) == 1


@pytest.mark.parametrize("seed", range(10))
async def test_everybody_has_their_own_answer_whoever_else_is_cancelled_or_cut_off(postgres, seed):
    random, answered, refused = Random(seed), [], []
    await postgres.transaction(lambda connection: connection.execute("create table t (n int primary key)"))

    async def ask(number, scope):
        async def run(connection):
            if random.random() < 0.1:
                await connection.execute(f"select pg_sleep({random.random() / 200})")
            await connection.execute("insert into t values ($1)", number)
            if random.random() < 0.05:
                await connection.execute("select pg_terminate_backend(pg_backend_pid())")
            return await connection.fetchval("select $1::int", number)

        with scope:
            try:
                assert await postgres.transaction(run) == number
            except StorageUnavailable:
                refused.append(number)
            else:
                answered.append(number)

    scopes = []
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            for number in range(150):
                scopes.append(trio.CancelScope())
                nursery.start_soon(ask, number, scopes[-1])
                if random.random() < 0.3:
                    random.choice(scopes).cancel()
                if random.random() < 0.3:
                    await trio.sleep(random.random() / 100)
    assert len(answered) > 50
    rows = await postgres.transaction(lambda connection: connection.fetch("select n from t"))
    stored = {row["n"] for row in rows}
    assert stored >= set(answered)
    assert stored.isdisjoint(refused)
    statistics = postgres.statistics()
    assert statistics.size == statistics.idle <= 3


async def test_a_connection_that_is_cut_off_leaves_nothing_open(postgres):
    async def cut_off():
        with trio.move_on_after(random.random() / 200):
            await postgres.transaction(lambda connection: connection.execute("select pg_sleep(1)"))

    random = Random(1)
    for round_number in range(30):
        if round_number == 3:
            before = open_descriptors()
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(cut_off)
    await trio.sleep(0.1)
    assert len(open_descriptors() - before) <= 3
