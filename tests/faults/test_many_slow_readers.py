"""Many who never read: what waits for all of them has one budget, and whoever reads is not disturbed."""

import pytest
import trio
from wire import V1, Socket, open_sockets, wait_until

from greenroom.http.ws import outboxes

BUDGET = 1_000_000
PEOPLE = range(1, 15)


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """Nobody is too slow because the machine is."""
    monkeypatch.setattr("greenroom.http.ws.pace.OUTBOX_SECONDS_MAX", 60.0)


async def enter(nursery, house, rooms, protocol):
    """The author and one who reads, in all rooms; and of each room one who does not."""
    author, good = [await Socket.open(nursery, house, user) for user in PEOPLE[:2]]
    for sock in (author, good):
        await sock.start(*dict.fromkeys(rooms))
    hostile = []
    for user, room in zip(PEOPLE[2:], rooms, strict=True):
        sock = await Socket.open(nursery, house, user, protocol=protocol, receive_buffer=4096)
        await (sock.expect("connected") if protocol is None else sock.start(room))
        sock.stop_reading()
        hostile.append(sock)
    return author, good, hostile


@pytest.mark.parametrize("protocol", [V1, None], ids=["v1", "compat"])
async def test_those_who_never_read_share_one_budget_and_who_reads_gets_everything(live_house, monkeypatch, protocol):
    monkeypatch.setattr(outboxes, "OUTBOXES_BYTES_MAX", BUDGET)
    await live_house.people(*PEOPLE)
    rooms = [await live_house.conversation(*PEOPLE[:2], user) for user in PEOPLE[2:]]  # nothing is said to two of them
    engine = live_house.house.engine
    async with open_sockets() as nursery:
        author, good, hostile = await enter(nursery, live_house, rooms, protocol)
        peak = 0
        for number in range(30):
            for room in rooms:
                assert (await author.ask("send", room, body=f"{number} ".ljust(9_900, "x")))["type"] == "ack"
                peak = max(peak, engine.outboxes.bytes)
        for room in rooms:
            await wait_until(lambda room=room: [seq for seq in range(1, 31) if seq not in seqs(good, room)])
            assert seqs(good, room) == list(range(1, 31))
        assert peak <= BUDGET + len(PEOPLE) * 11_000 * 2, "but for one pass of the loop"
        assert peak > BUDGET / 2
        code = 4201 if protocol else 1012
        await wait_until(lambda: not engine.statistics().closed.get(code) and "the end of a slow one")
        for sock in hostile:
            sock.read_again()
        for sock in hostile:
            await wait_until(lambda one=sock: one.close_code is None and not caught_up(one, protocol, 30) and "either")
        ended = [sock.close_code for sock in hostile if sock.close_code is not None]
        assert set(ended) == {code}
        assert len(ended) < len(hostile), "no more than there was need of"
        await wait_until(lambda: engine.outboxes.bytes)
        assert (author.close_code, good.close_code) == (None, None)


@pytest.mark.parametrize("protocol", [V1, None], ids=["v1", "compat"])
async def test_what_one_says_to_all_of_them_closes_nobody_while_it_fits(live_house, monkeypatch, protocol):
    monkeypatch.setattr(outboxes, "OUTBOXES_BYTES_MAX", BUDGET)
    await live_house.people(*PEOPLE)
    room, engine = await live_house.conversation(*PEOPLE), live_house.house.engine
    async with open_sockets() as nursery:
        author, good, hostile = await enter(nursery, live_house, [room] * len(PEOPLE[2:]), protocol)
        peak = 0
        for number in range(60):
            assert (await author.ask("send", room, body=f"{number} ".ljust(5_000, "x")))["type"] == "ack"
            peak = max(peak, engine.outboxes.bytes)
        assert peak > 2 * BUDGET
        for sock in hostile:
            sock.read_again()
        for sock in hostile:
            await wait_until(lambda one=sock: not caught_up(one, protocol, 60) and "what was said")
        assert {sock.close_code for sock in (author, good, *hostile)} == {None}
        assert engine.outboxes.bytes == 0


def seqs(sock, room):
    return [event["seq"] for event in sock.of("message") if event["room"] == room]


def caught_up(sock, protocol, count):
    return len(sock.of("message" if protocol else "new_message")) == count


async def test_of_what_one_asks_who_takes_nothing_no_more_is_read_than_an_outbox_holds(live_house, monkeypatch):
    """Pages that were asked for wait unread in storage, not here; who reads again gets each, in the order asked."""
    await live_house.people(1, 2)
    room = await live_house.conversation(1, 2)
    read, pages = live_house.house.storage.conversations.messages_before, []

    async def counted(*asked):
        pages.append(asked)
        return await read(*asked)

    monkeypatch.setattr(live_house.house.storage.conversations, "messages_before", counted)
    async with open_sockets() as nursery:
        author = await Socket.open(nursery, live_house, 2)
        await author.start(room)
        for number in range(13):
            await author.ask("send", room, body=f"{number} ".ljust(9_900, "x"))
        hungry = await Socket.open(nursery, live_house, 1, receive_buffer=4096)
        await hungry.start()
        hungry.stop_reading()
        asked = [
            {"type": "history", "id": f"page {number}", "room": room, "data": {"limit": 13}} for number in range(96)
        ]
        for start in range(0, len(asked), 16):
            await hungry.send(asked[start : start + 16])
        await wait_until(lambda: len(pages) < 2 and "the first pages")
        taken = 0  # by the kernel, and by the outbox
        with trio.fail_after(30):
            while taken < len(pages):
                taken = len(pages)
                await trio.sleep(0.5)
        await trio.sleep(2)
        assert len(pages) == taken < 48
        (connection,) = live_house.house.engine.connections_of(1)
        assert connection.unsent_bytes < 512 * 1024
        hungry.read_again()
        await hungry.expect("ack", 60, id="page 95")
        assert [event["id"] for event in hungry.of("ack") if event["id"].startswith("page")] == [
            f"page {number}" for number in range(96)
        ]
        assert len(pages) == 96
        assert (author.close_code, hungry.close_code) == (None, None)
