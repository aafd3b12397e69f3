"""Many who never read: what waits for all of them has one budget, and whoever reads is not disturbed."""

import pytest
import trio
from wire import V1, Socket, open_sockets, wait_until

from greenroom.http.ws import outboxes

BUDGET = 1_000_000


@pytest.mark.parametrize("protocol", [V1, None], ids=["v1", "compat"])
async def test_those_who_never_read_share_one_budget_and_who_reads_gets_everything(live_house, monkeypatch, protocol):
    monkeypatch.setattr(outboxes, "OUTBOXES_BYTES_MAX", BUDGET)
    people = [*range(1, 15)]
    await live_house.people(*people)
    room, engine = await live_house.conversation(*people), live_house.house.engine
    async with open_sockets() as nursery:
        author, good = [await Socket.open(nursery, live_house, user) for user in (1, 2)]
        for sock in (author, good):
            await sock.start(room)
        hostile = []
        for user in people[2:]:
            sock = await Socket.open(nursery, live_house, user, protocol=protocol, receive_buffer=4096)
            await (sock.expect("connected") if protocol is None else sock.start(room))
            sock.stop_reading()
            hostile.append(sock)
        peak = 0
        for number in range(60):
            assert (await author.ask("send", room, body=f"{number} ".ljust(5_000, "x")))["type"] == "ack"
            peak = max(peak, engine.outboxes.bytes)
        await good.expect("message", seq=60)
        assert [event["seq"] for event in good.of("message")] == list(range(1, 61))
        assert peak <= BUDGET + len(people) * 11_000, "but for one pass of the loop"
        assert peak > BUDGET / 2
        code = 4201 if protocol else 1012
        await wait_until(lambda: not engine.statistics().closed.get(code) and "the end of a slow one")
        for sock in hostile:
            sock.read_again()
        for sock in hostile:
            await wait_until(lambda one=sock: one.close_code is None and not caught_up(one, protocol) and "either")
        ended = [sock.close_code for sock in hostile if sock.close_code is not None]
        assert set(ended) == {code}
        assert len(ended) < len(hostile), "no more than there was need of"
        await trio.sleep(0.1)
        assert engine.outboxes.bytes == 0
        assert (author.close_code, good.close_code) == (None, None)


def caught_up(sock, protocol):
    return len(sock.of("message" if protocol else "new_message")) == 60
