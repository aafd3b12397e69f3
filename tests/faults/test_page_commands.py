"""What a page of the existing client may have storage do, and have waiting: no more than one thing at a time."""

import pytest
import trio
from wire import Socket, open_sockets, wait_until

from greenroom.http.ws.compat_messages import MISSING_TOLD_MAX

FRAMES = 60
IDS = MISSING_TOLD_MAX


async def page_of(nursery, house, user):
    page = await Socket.open(nursery, house, user, protocol=None)
    await page.expect("connected")
    return page


async def test_marking_thousands_of_messages_read_asks_storage_one_thing_at_a_time(live_house, monkeypatch):
    """Of 240 frames with 64 messages each everybody else waited behind 15,000 questions: 5 s, for most of a minute."""
    house, under_way, most, asked = live_house, 0, 0, 0
    await house.people(1, 2)
    room = await house.conversation(1, 2)
    for number in range(3):
        said = {"conversationId": room, "content": f"{number}"}
        assert (await house.post("/api/messages/send", 2, said)).status == 200
    ids = [message["id"] for message in (await house.get(f"/api/conversations/{room}/messages", 1)).data["messages"]]
    postgres = house.house.storage.postgres
    honest = postgres._call

    async def counted(method, sql, arguments):
        nonlocal under_way, most, asked
        under_way, asked = under_way + ("from messages" in sql), asked + ("from messages" in sql)
        most = max(most, under_way)
        try:
            return await honest(method, sql, arguments)
        finally:
            under_way -= "from messages" in sql

    async with open_sockets() as nursery:
        page, author = await page_of(nursery, house, 1), await page_of(nursery, house, 2)
        monkeypatch.setattr(postgres, "_call", counted)
        nowhere = range(ids[0] + 10**6, ids[0] + 10**6 + 2 * IDS)
        for _ in range(FRAMES):
            await page.send({"type": "mark_read", "messageIds": [ids[0], *nowhere]})
        await page.send({"type": "mark_read", "messageId": ids[-1]})
        await author.expect("message_read", messageId=ids[-1])
        told = len(page.of("error"))
        assert {error["data"]["code"] for error in page.of("error")} == {3002}
        assert told == FRAMES * IDS, "each that is not there, of very many so many"
    assert most == 1
    assert asked == FRAMES + 1


async def test_all_of_a_long_list_of_messages_is_read(live_house):
    await live_house.people(1, 2)
    room = await live_house.conversation(1, 2)
    async with open_sockets() as nursery:
        page, author = await page_of(nursery, live_house, 1), await Socket.open(nursery, live_house, 2)
        await author.start(room)
        said = [{"type": "send", "id": f"{n}", "room": room, "data": {"body": f"{n}"}} for n in range(100)]
        for start in range(0, 100, 10):
            await author.send(said[start : start + 10])
        ids = [(await author.expect("ack", id=f"{n}"))["data"]["messageId"] for n in range(100)]
        await page.send({"type": "read_receipt", "conversationId": room, "messageIds": ids})
        await author.expect("receipts", data={"marks": {"1": 100}})


@pytest.mark.parametrize("protocol", [None, "greenroom.v1"])
async def test_of_a_token_nothing_longer_than_a_token_waits_for_its_turn(live_house, monkeypatch, protocol):
    house, seen, go_on = live_house, [], trio.Event()
    await house.people(1)
    authenticator = house.house.authenticator
    honest = authenticator.from_bearer
    async with open_sockets() as nursery:
        sock = await Socket.open(nursery, house, 1, protocol=protocol)
        await (sock.start() if protocol else sock.expect("connected"))

        async def slow(token, **how):
            seen.append(len(token))
            await go_on.wait()
            return await honest(token, **how)

        monkeypatch.setattr(authenticator, "from_bearer", slow)
        for number, token in enumerate((house.token(1), "x" * 60_000)):
            frame = {"type": "refresh", "id": f"{number}", "data": {"token": token}}
            await sock.send(frame if protocol else {"type": "auth", "token": token})
        await sock.settle()
        await wait_until(lambda: not seen and "the first")
        session = next(iter(house.house.engine.connections_of(1))).session
        ((_, arguments),) = session._words._jobs
        assert max(len(argument) for argument in arguments if isinstance(argument, str)) < 10_000
        go_on.set()
        if protocol:
            await wait_until(lambda: "1" not in sock.replies and "the answer")
            assert sock.replies["1"]["data"]["code"] == 2001, sock.replies["1"]
        else:
            assert (await sock.expect("auth_error"))["data"]["error"] == "the token is too long"
