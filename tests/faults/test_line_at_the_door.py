"""Who waits at the door and goes away leaves the line: their user may come again at once."""

import pytest
import trio
from wire import Refused, Socket, connect_tcp, cut, open_sockets, send_all, upgrade_request

PER_USER = 5
OTHERS = 10  # who came before: so many seconds
RATE = {"ws_connects_per_second": 1, "ws_max_per_user": PER_USER}


async def comes(house, user, path):
    sock = await connect_tcp(house.port)
    token = ("Authorization", f"Bearer {house.token(user)}")
    if path == "/ws":
        await send_all(sock, upgrade_request(path, [token], house.port))
    else:
        await send_all(sock, f"GET {path} HTTP/1.1\r\nHost: x\r\n{token[0]}: {token[1]}\r\n\r\n".encode())
    return sock


async def is_line_full(house):
    try:
        async with open_sockets() as nursery:
            with trio.move_on_after(0.2):
                await Socket.open(nursery, house, 1, protocol=None)
    except Refused as refused:
        return refused.status == 429
    return False


@pytest.mark.parametrize("house_settings", [RATE])
@pytest.mark.parametrize("path", ["/ws", "/events"])
@pytest.mark.parametrize("leave", [cut, lambda sock: sock.close()], ids=["reset", "close"])
async def test_a_page_that_is_loaded_again_and_again_is_not_refused_for_those_that_are_gone(live_house, path, leave):
    """They kept their places for up to 20 s, and the existing client is stuck by a refusal."""
    house = live_house
    others = range(2, 2 + OTHERS)
    await house.people(1, *others)
    async with open_sockets() as nursery:
        first = await Socket.open(nursery, house, 2, protocol=None)
        await first.expect("connected")
        before = [await comes(house, user, "/ws") for user in others]
        waiting = [await comes(house, 1, path) for _ in range(PER_USER + 1)]
        began = trio.current_time()
        while not await is_line_full(house):  # those who wait are read when there is time for them
            assert trio.current_time() - began < 10, "they are not in line"
        for sock in waiting:
            leave(sock)
        began = trio.current_time()
        while await is_line_full(house):
            assert trio.current_time() - began < 2.5, "they are in line still"
            await trio.sleep(0.05)
        for sock in before:
            sock.close()
