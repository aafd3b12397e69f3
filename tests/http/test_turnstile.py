"""The turnstile: few heads at a time, first come, first served; nobody who waits elsewhere holds a place.

The same for the steps of TLS handshakes, of which each is a signature.
"""

import socket
from collections import Counter
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio
from hypercorn.events import RawData
from quart_trio import QuartTrio
from tls_files import make_tls_files
from trio.testing import wait_all_tasks_blocked

from greenroom.http.connection import FrontProtocol, HttpLimits
from greenroom.http.listener import close_listeners, open_listeners
from greenroom.http.server import ACCEPTS_AT_ONCE, serve
from greenroom.http.tls import TlsTransport, tls_context
from greenroom.http.turnstile import PLACES, Turnstile


async def test_as_many_as_there_are_places_pass_and_the_others_follow_in_order(nursery):
    turnstile, passed = Turnstile(2), []

    async def come(number):
        await turnstile.enter()
        passed.append(number)

    for number in range(5):
        nursery.start_soon(come, number)
        await wait_all_tasks_blocked()
    assert passed == [0, 1]
    assert len(turnstile) == 3
    for _ in range(3):
        turnstile.leave()
        await wait_all_tasks_blocked()
    assert passed == [0, 1, 2, 3, 4]


async def test_a_place_that_nobody_waits_for_is_free_again():
    turnstile = Turnstile(1)
    for _ in range(3):
        await turnstile.enter()
        turnstile.leave()
    assert len(turnstile) == 0


async def test_one_who_gives_up_leaves_the_queue_and_keeps_no_place(nursery):
    turnstile = Turnstile(1)
    await turnstile.enter()
    with trio.move_on_after(0.01) as scope:
        await turnstile.enter()
    assert scope.cancelled_caught
    turnstile.leave()
    with trio.fail_after(1):
        await turnstile.enter()


@pytest.mark.parametrize("first", [True, False])
async def test_one_who_is_let_in_and_cancelled_at_once_has_the_place_or_the_next_one_has(nursery, first):
    """Whoever was woken returns with the place, though it was cancelled in the same pass: it is theirs to leave."""
    turnstile, had = Turnstile(1), []
    await turnstile.enter()
    scope = trio.CancelScope()

    async def come():
        with scope:
            await turnstile.enter()
            had.append("place")
            turnstile.leave()

    nursery.start_soon(come)
    await wait_all_tasks_blocked()
    for act in (scope.cancel, turnstile.leave) if first else (turnstile.leave, scope.cancel):
        act()
    await wait_all_tasks_blocked()
    with trio.fail_after(1):
        await turnstile.enter()
    assert had == ([] if first else ["place"])


class Passes(trio.abc.Instrument):
    """Counts the passes of the loop."""

    count = 0

    def before_io_wait(self, timeout):
        self.count += 1


@asynccontextmanager
async def https(folder, **limits):
    files, listeners = make_tls_files(folder), await open_listeners("127.0.0.1", 0)
    tls = tls_context(files.certificate, files.key)
    async with trio.open_nursery() as nursery:
        run = partial(serve, QuartTrio("https"), listeners, limits=HttpLimits(**limits), tls=tls)
        server, port = await nursery.start(run), listeners[0].socket.getsockname()[1]

        async def shake_hands():
            tcp = await trio.open_tcp_stream("127.0.0.1", port)
            stream = trio.SSLStream(tcp, files.client, server_hostname="127.0.0.1", https_compatible=True)
            await stream.do_handshake()
            await stream.aclose()

        yield server, shake_hands
        await server.aclose()
    close_listeners(listeners)


async def test_a_crowd_of_handshakes_takes_as_many_steps_in_a_pass_as_there_are_places(tmp_path, monkeypatch):
    passes, steps, step = Passes(), Counter(), TlsTransport.shake_hands
    trio.lowlevel.add_instrument(passes)

    def counted(transport):
        is_done = step(transport)  # raises when nothing is here yet, and that costs nothing
        steps[passes.count] += 1
        return is_done

    monkeypatch.setattr(TlsTransport, "shake_hands", counted)
    async with https(tmp_path) as (_, shake_hands):
        async with trio.open_nursery() as nursery:
            for _ in range(60):
                nursery.start_soon(shake_hands)
        await wait_all_tasks_blocked(0.05)  # a client is done a step before the server
    trio.lowlevel.remove_instrument(passes)
    assert steps.total() >= 120
    assert 1 < max(steps.values()) <= PLACES


async def test_of_a_crowd_of_requests_as_many_heads_are_read_in_a_pass_as_there_are_places(monkeypatch):
    passes, heads, handle = Passes(), Counter(), FrontProtocol.handle
    trio.lowlevel.add_instrument(passes)

    async def counted(protocol, event):
        heads[passes.count] += isinstance(event, RawData) and bool(event.data)
        await handle(protocol, event)

    monkeypatch.setattr(FrontProtocol, "handle", counted)
    listeners = await open_listeners("127.0.0.1", 0)
    async with trio.open_nursery() as nursery:
        server = await nursery.start(serve, QuartTrio("http"), listeners)
        peers = [socket.create_connection(listeners[0].socket.getsockname()) for _ in range(60)]
        await wait_all_tasks_blocked(0.05)
        for peer in peers:  # all at once: nothing runs in between
            peer.sendall(b"GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
        for peer in peers:
            assert (await trio.to_thread.run_sync(peer.recv, 1000)).startswith(b"HTTP/1.1 404")
            peer.close()
        await server.aclose()
    close_listeners(listeners)
    trio.lowlevel.remove_instrument(passes)
    assert heads.total() == 60
    assert 1 < max(heads.values()) <= PLACES


async def test_of_a_crowd_many_are_accepted_in_a_pass():
    """Those whom the backlog has no place for are reset by the kernel after some seconds: it must not stay full."""
    passes, listeners = Passes(), await open_listeners("127.0.0.1", 0)
    async with trio.open_nursery() as nursery:
        server = await nursery.start(serve, QuartTrio("http"), listeners)
        peers = [socket.create_connection(listeners[0].socket.getsockname()) for _ in range(ACCEPTS_AT_ONCE * 5)]
        trio.lowlevel.add_instrument(passes)
        await wait_all_tasks_blocked()
        trio.lowlevel.remove_instrument(passes)
        assert server.statistics().connections_open == len(peers)
        assert passes.count < len(peers) / 2
        for peer in peers:
            peer.close()
        await server.aclose()
    close_listeners(listeners)


async def test_no_peer_is_blamed_for_the_time_that_it_queued(tmp_path):
    async with https(tmp_path, handshake_seconds_max=0.4) as (server, shake_hands):
        for _ in range(PLACES):
            await server._turnstile.enter()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(shake_hands)
            await trio.sleep(1.5)
            assert server.statistics().connections_open == 1
            for _ in range(PLACES):
                server._turnstile.leave()
        assert server.statistics().swept == {}
