"""A replay waits for its peer: of what is missed little stands in memory, whether it comes from there or from storage.

Without that a resume of 500 long messages were an outbox of five megabytes, and its end as that of a slow consumer: who
comes back over a bad line would never catch up.
"""

import pytest
import trio
from wire import Socket, open_sockets, wait_until  # type: ignore[import-not-found]

from greenroom.http.ws.connection import Connection
from greenroom.http.ws.replay import PACK_BYTES_MAX, UNSENT_BYTES_MAX

MISSED = 250
BODY = "x" * 9_900
FRAME_BYTES = 10_200  # with a body of that length


@pytest.mark.parametrize("is_remembered", [True, False], ids=["from memory", "from storage"])
async def test_of_what_is_replayed_to_who_reads_nothing_256_kib_wait_and_it_has_all_when_it_reads(
    live_house, monkeypatch, is_remembered
):
    await live_house.people(1, 2)
    room, engine = await live_house.conversation(1, 2), live_house.house.engine
    async with open_sockets() as nursery:
        author = await Socket.open(nursery, live_house, 1)
        await author.start(room)
        for number in range(MISSED):
            await author.ask("send", room, body=f"{number} {BODY}")
        if not is_remembered:
            live_house.house.hub.channels[room].recent.clear()
        reader = await Socket.open(nursery, live_house, 2, receive_buffer=4096)
        reader.stop_reading()
        (connection,) = engine.connections_of(2)
        peak, write = 0, Connection.write

        def watched(one, *frame):
            nonlocal peak
            write(one, *frame)
            if one is connection:
                peak = max(peak, one.unsent_bytes)

        monkeypatch.setattr(Connection, "write", watched)
        await reader.send({"type": "start", "id": "s", "data": {"resume": {"rooms": {str(room): {"seq": 0}}}}})
        await wait_until(lambda: connection.unsent_bytes <= UNSENT_BYTES_MAX and (connection.unsent_bytes,))
        await trio.sleep(0.2)  # in which it does not go on
        assert peak <= UNSENT_BYTES_MAX + PACK_BYTES_MAX + FRAME_BYTES
        reader.read_again()
        await reader.expect("live", 30)
        assert [event["seq"] for event in reader.of("message")] == list(range(1, MISSED + 1))
        assert (reader.close_code, author.close_code) == (None, None)
        assert peak <= UNSENT_BYTES_MAX + PACK_BYTES_MAX + FRAME_BYTES
