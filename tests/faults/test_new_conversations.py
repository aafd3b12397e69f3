"""A new conversation is told to its members whatever becomes of who asked for it, and of the answer to its commit."""

from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import trio
from first_look import first_look_is_over
from held import holding
from house_fixture import open_house_under_test
from postgres_proxy import open_proxy
from wire import Socket, open_sockets, wait_until

MAKE = ("/api/conversations", {"recipientId": 2})
SAY = ("/api/messages/send", {"recipientId": 2, "content": "x"})
LOCK = 4711

# A commit of a conversation waits while somebody has the lock, and asks nothing more of who wants it.
_WAITS_AT_COMMIT = f"""
    create function wait_at_commit() returns trigger language plpgsql as
        $$begin perform pg_advisory_xact_lock_shared({LOCK}); return null; end$$;
    create constraint trigger waits after insert on conversations deferrable initially deferred
        for each row execute function wait_at_commit();
"""


@asynccontextmanager
async def strangers(house):
    """(a nursery, a v1 socket of 2, a page of 2): 2 shares nothing with 1. Nothing else is on its way to storage."""
    await house.people(1, 2)
    await first_look_is_over(house)
    async with open_sockets() as nursery:
        other, page = await Socket.open(nursery, house, 2), await Socket.open(nursery, house, 2, protocol=None)
        await other.start()
        await page.expect("connected")
        await page.settle()
        yield nursery, other, page


async def told_once(house, nursery, other, page):
    """Both sockets of 2 hear what they are to hear of it, and the v1 socket no more than that."""
    await other.expect("membership", change="joined")
    one = await Socket.open(nursery, house, 1)
    await one.start()
    assert (await one.ask("presence", status="busy"))["type"] == "ack"
    await page.expect("presence_update", userId=1, status="busy")
    for sock in (other, page):
        await sock.settle()
    assert len(other.of("membership")) == 1
    assert len((await house.get("/api/conversations", 2)).data["conversations"]) == 1


async def over_http(house, nursery, path, body, **headers):
    return (await house.post(path, 1, body, **headers)).status


async def over_a_page(house, nursery):
    sock = await Socket.open(nursery, house, 1, protocol=None)
    await sock.expect("connected")
    await sock.send({"type": "send_message", "targetUserId": 2, "content": "x", "requestId": "r"})
    await wait_until(lambda: None if sock.of("message_sent", "error") else "an answer")
    sock.cut()
    return 503 if sock.of("error") else 200


WAYS = {
    "a conversation": (over_http, *MAKE),
    "a message": (over_http, *SAY),
    "a message of a page": (over_a_page,),
}


@pytest.mark.parametrize("asks_again", [True, False], ids=["asked again", "not asked again"])
@pytest.mark.parametrize("way", WAYS)
async def test_one_whose_commit_is_unknown_is_told_when_it_is_known(database, tmp_path, way, asks_again):
    ask, *request = WAYS[way]
    async with (
        open_proxy(database.host) as proxy,
        open_house_under_test(replace(database, host=str(proxy.folder)), tmp_path, listens=True) as house,
        strangers(house) as (nursery, other, page),
    ):
        proxy.lose_answer_to(b"COMMIT")
        assert await ask(house, nursery, *request) == 503
        assert proxy.lost.is_set()
        if asks_again:
            assert await ask(house, nursery, *request) in (200, 201)
        await told_once(house, nursery, other, page)


async def test_one_that_was_made_under_a_key_is_told_though_only_the_kept_answer_comes(database, tmp_path):
    async with (
        open_proxy(database.host) as proxy,
        open_house_under_test(replace(database, host=str(proxy.folder)), tmp_path, listens=True) as house,
        strangers(house) as (nursery, other, page),
    ):
        proxy.lose_answer_to(b"COMMIT")
        assert await over_http(house, nursery, *MAKE, Idempotency_Key="k") == 503
        again = await house.post(MAKE[0], 1, MAKE[1], Idempotency_Key="k")
        assert (again.status, again.headers["Idempotency-Replay"]) == (200, "true")
        await told_once(house, nursery, other, page)


@pytest.mark.parametrize(("path", "body"), [MAKE, SAY], ids=["a conversation", "a message"])
async def test_one_is_told_though_whoever_asked_hung_up_while_it_was_committed(live_house, database, path, body):
    postgres, request = live_house.house.storage.postgres, trio.CancelScope()
    await postgres.transaction(lambda connection: connection.execute(_WAITS_AT_COMMIT))

    async def ask():
        with request:
            await live_house.post(path, 1, body)

    async def waiting():
        count = "select count(*) from pg_locks where locktype = 'advisory' and not granted"
        return await postgres.transaction(lambda connection: connection.fetchval(count))

    async with strangers(live_house) as (nursery, other, page):
        async with holding(database, f"select pg_advisory_xact_lock({LOCK})"):
            nursery.start_soon(ask)
            with trio.fail_after(10):
                while not await waiting():
                    await trio.lowlevel.checkpoint()
            request.cancel()
            await trio.lowlevel.checkpoint()
        await told_once(live_house, nursery, other, page)
