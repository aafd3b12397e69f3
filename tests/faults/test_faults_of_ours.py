"""A session that fails is a fault of ours: the code of its close says so, and nobody else is troubled.

4100 for greenroom.v1: wait, and come back. 1011 for a page (RFC 6455 section 7.4.1: an unexpected condition).
"""

import pytest
from wire import V1, Socket, frame, open_sockets, wait_until

CODES = pytest.mark.parametrize(("protocol", "code"), [(V1, 4100), (None, 1011)], ids=["v1", "compat"])


async def come(nursery, house, user, protocol):
    sock = await Socket.open(nursery, house, user, protocol=protocol)
    await (sock.expect("connected") if protocol is None else sock.start())
    return sock


def break_session(monkeypatch, house, user, what):
    """From now on it raises where the one session of *user* is asked; others do as ever. Returns its connection."""
    (connection,) = house.house.engine.connections_of(user)
    kind = type(connection.session)
    whole = getattr(kind, what)

    def broken(self, *args):
        if self is connection.session:
            raise RuntimeError("a fault of ours")
        return whole(self, *args)

    monkeypatch.setattr(kind, what, broken)
    return connection


@CODES
@pytest.mark.parametrize("where", ["in what it was told", "by itself"])
async def test_a_session_that_fails_is_closed_with_its_code(live_house, monkeypatch, protocol, code, where):
    await live_house.people(1, 2)
    engine = live_house.house.engine
    async with open_sockets() as nursery:
        victim, other = [await come(nursery, live_house, user, protocol) for user in (1, 2)]
        if where == "by itself":
            engine.beat_within(break_session(monkeypatch, live_house, 1, "beat"), 1)
        else:
            break_session(monkeypatch, live_house, 1, "refuse_binary")
            await victim.send_bytes(frame(b"x", 2))
        assert await victim.wait_closed() == code
        assert victim.close_reason == "internal error"
        counted = engine.statistics()
        assert (counted.faults, counted.closed) == (1, {code: 1})
        await other.settle()
        assert other.close_code is None
        again = await come(nursery, live_house, 1, protocol)
        await wait_until(lambda: engine.total != 2 and "the end of the one")
        assert again.close_code is None


@CODES
async def test_one_whose_end_fails_too_is_cut_and_forgotten(live_house, monkeypatch, protocol, code):
    """What it would have said of itself is lost with it; nothing of it stays behind."""
    await live_house.people(1, 2)
    engine = live_house.house.engine
    async with open_sockets() as nursery:
        victim, other = [await come(nursery, live_house, user, protocol) for user in (1, 2)]
        break_session(monkeypatch, live_house, 1, "refuse_binary")
        break_session(monkeypatch, live_house, 1, "closed")
        await victim.send_bytes(frame(b"x", 2))
        assert await victim.wait_closed() in (1006, code)
        await wait_until(lambda: engine.total != 1 and engine.connections_of(1))
        await other.settle()
        assert other.close_code is None
