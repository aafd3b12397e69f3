"""What a connection was made of is given back when it is over, not when Python looks for cycles among what is old."""

import gc
from collections import Counter

import pytest
import trio
from streams import Stream, polled
from wire import V1, Socket, frame, open_in, open_sockets, wait_until

from greenroom.http.ws.connection import Connection
from greenroom.http.ws.frames import FrameReader
from greenroom.http.ws.session import SocketSession

EACH = 5
KINDS = (Connection, SocketSession, FrameReader)


def alive():
    """How many of each kind there are, also of those that nobody can reach any more."""
    found = Counter(type(one) for one in gc.get_objects())
    return sum((Counter({kind: found[one]}) for kind in KINDS for one in found if issubclass(one, kind)), Counter())


async def talk(other):
    """The engine has now to do with somebody else: whom it served last it still knows."""
    await other.ask("ping")


async def returned(before, other):
    with trio.move_on_after(20):
        while alive() - before:  # of those from before some may go only now
            await talk(other)
            await trio.sleep(0.1)
    assert not alive() - before


async def used(nursery, house, room, protocol, number, **options):
    """A socket that has done something of everything."""
    sock = await open_in(nursery, house, 1, room, protocol, **options)
    if protocol is None:
        await sock.send({"type": "typing_start", "conversationId": room})
        await sock.send({"type": "send_message", "conversationId": room, "content": f"{number}", "tempId": f"{number}"})
        await sock.expect("message_sent")
        return sock
    await sock.ask("send", room, body=f"{number}")
    await sock.ask("typing", room, on=True)
    await sock.ask("presence", watch=[2])
    await sock.ask("history", room, before=100)
    await sock.send_bytes(frame('{"type":"command that nobody knows"}'))
    await sock.expect("error")
    return sock


def now(fn):
    async def end(sock):
        fn(sock)

    return end


ENDS = {
    "closed": lambda sock: sock.close(),
    "cut": now(Socket.cut),
    "left": now(Socket.half_close),
    "broken": lambda sock: sock.send_bytes(b"\xff" * 20),
}


@pytest.mark.wrong_frames
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("is_deflating", [False, True], ids=["", "deflate"])
@pytest.mark.parametrize("protocol", [V1, None], ids=["v1", "compat"])
async def test_a_socket_leaves_nothing_behind(live_house, without_collector, protocol, is_deflating, end):
    house = live_house
    await house.people(1, 2)
    room = await house.conversation(1, 2)
    async with open_sockets() as nursery:
        other = await open_in(nursery, house, 2, room)
        warm = await used(nursery, house, room, protocol, 0, deflate=is_deflating)
        warm.cut()
        await wait_until(lambda: house.house.engine.total != 1 and "the first")
        await talk(other)
        before = alive()
        for number in range(1, EACH + 1):
            sock = await used(nursery, house, room, protocol, number, deflate=is_deflating)
            await ENDS[end](sock)
        await returned(before, other)


async def test_an_event_stream_and_a_poll_leave_nothing_behind(live_house, without_collector):
    house = live_house
    await house.people(1, 2)
    room = await house.conversation(1, 2)
    async with open_sockets() as nursery:
        other = await open_in(nursery, house, 2, room)
        await talk(other)
        before = alive()
        for _ in range(EACH):
            stream = await Stream.open(nursery, house, 1)
            await stream.expect("live")
            stream.cut()
            _, cursor = await polled(house, 1, wait=0)
            await polled(house, 1, cursor, wait=0)
        await returned(before, other)


async def test_who_is_not_let_in_leaves_nothing_behind(live_house, without_collector):
    await live_house.people(1)
    async with open_sockets() as nursery:
        other = await Socket.open(nursery, live_house, 1)
        await talk(other)
        before = alive()
        for _ in range(EACH):
            sock = await Socket.open(nursery, live_house)
            await sock.send({"type": "start", "id": "1", "data": {"token": "no such"}})
            await sock.wait_closed()
        await returned(before, other)
