"""What follows from https beyond the frames, and the large rooms and the end of a server, whatever its sockets are."""

import json
import secrets
from contextlib import AsyncExitStack, asynccontextmanager
from urllib.parse import urlencode

import pytest
import trio
from house_fixture import open_house_under_test
from peer import OFFER, USER, Gone, connect, open_peer, text_of
from tls_files import make_tls_files

from greenroom.http.ws import hub, walk


async def ask(server, tls, request):
    stream = await connect(server.port, tls.client if tls else None)
    await stream.send_all(request.replace("\n", "\r\n").encode())
    answer = b""
    with trio.fail_after(5):
        while part := await stream.receive_some():
            answer += part
    await trio.aclose_forcefully(stream)
    return answer.decode()


async def test_cookies_are_for_other_sites_only_over_https(transport):
    server, tls = transport
    scheme = "https" if tls else "http"
    for origin, status in ((f"{scheme}://127.0.0.1:{server.port}", 200), (f"{scheme}x://127.0.0.1:{server.port}", 403)):
        answer = await ask(
            server,
            tls,
            f"POST /api/auth/sign-out HTTP/1.1\nHost: 127.0.0.1:{server.port}\nOrigin: {origin}\n"
            "Cookie: pitchey-session=none\nContent-Type: application/json\nContent-Length: 2\nConnection: close\n\n{}",
        )
        assert answer.startswith(f"HTTP/1.1 {status} ")
        if status == 200:
            (cookie,) = (
                line for line in answer.splitlines() if line.lower().startswith("set-cookie: pitchey-session=")
            )
            assert ("Secure" in cookie) == (tls is not None)
            assert f"SameSite={'None' if tls else 'Lax'}" in cookie
        assert ("strict-transport-security" in answer.lower()) == (tls is not None)


async def test_our_own_origin_is_the_one_that_is_served(transport):
    server, tls = transport
    for scheme in ("http", "https"):
        answer = await ask(
            server,
            tls,
            f"OPTIONS /api/messages/send HTTP/1.1\nHost: 127.0.0.1:{server.port}\n"
            f"Origin: {scheme}://127.0.0.1:{server.port}\n"
            "Access-Control-Request-Method: POST\nConnection: close\n\n",
        )
        assert ("access-control-allow-origin" in answer.lower()) == ((scheme == "https") == (tls is not None))


async def test_a_client_is_told_the_address_of_the_socket_as_it_came(transport):
    server, tls = transport
    answer = await ask(
        server,
        tls,
        f"GET /ws/info HTTP/1.1\nHost: 127.0.0.1:{server.port}\nConnection: close\n\n",
    )
    assert f"{'wss' if tls else 'ws'}://127.0.0.1:{server.port}/ws" in answer


@asynccontextmanager
async def house_of(database, folder, *, secure, **settings):
    """A house of our own in this process, and what opens sockets to it."""
    tls = make_tls_files(folder) if secure else None
    given = {"tls_cert": tls.certificate, "tls_key": tls.key} if tls else {}
    async with open_house_under_test(database, folder, listens=True, ws_compression=True, **given, **settings) as house:

        def opened(user, offers=None):
            return open_peer(house.port, tls.client if tls else None, token=house.token(user), offers=offers)

        yield house, opened


@pytest.mark.parametrize("secure", [False, True], ids=["tcp", "tls"])
async def test_a_large_room_of_every_kind_of_socket_hears_everything_in_order(database, tmp_path, monkeypatch, secure):
    for module in (hub, walk):
        monkeypatch.setattr(module, "WALK_SOCKETS_MIN", 3)
    async with house_of(database, tmp_path, secure=secure) as (house, opened), AsyncExitStack() as stack:
        await house.people(*range(1, 9))
        room = await house.conversation(*range(1, 9))
        peers = []
        for user in range(1, 9):
            peers.append(await stack.enter_async_context(opened(user, OFFER if user % 2 else None)))
            await peers[-1].start(room)
        bodies = [f"{number} " + "said to all " * (number % 80) for number in range(150)]

        async def speak():
            for number, body in enumerate(bodies):
                await peers[number % 2].command("send", room, body=body, clientId=secrets.token_hex(8))
                if number % 10 == 9:
                    await trio.sleep(0.01)

        heard = {number: [] for number in range(8)}
        kinds = {number: set() for number in range(8)}

        async def listen(number):
            while len(heard[number]) < len(bodies):
                found = await peers[number].frame()
                event = json.loads(text_of(found))
                if event["type"] == "message":
                    heard[number].append((event["seq"], event["data"]["body"]))
                    kinds[number].add(bool(found.rsv))

        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(speak)
                for number in range(8):
                    nursery.start_soon(listen, number)
        assert [seq for seq, _ in heard[0]] == list(range(1, 151))
        assert sorted(body for _, body in heard[0]) == sorted(bodies)
        assert all(log == heard[0] for log in heard.values())
        assert all(kinds[number] == ({False, True} if number % 2 == 0 else {False}) for number in range(8))
        channel = house.house.hub.channels[room]
        ranked = [one for one in channel.attachments.values() if one.place >= 0]
        assert bool(ranked) is not secure, "who is sent other bytes than all stands outside of the ranks"
        assert {one.user_id % 2 for one in ranked} <= {0}


@pytest.mark.parametrize("secure", [False, True], ids=["tcp", "tls"])
async def test_nobody_is_lost_when_the_server_ends(database, tmp_path, secure):
    ends = []

    async def wait(peer):
        ends.append(await peer.end())
        await trio.aclose_forcefully(peer.stream)

    async with trio.open_nursery() as nursery, AsyncExitStack() as stack:
        async with house_of(database, tmp_path, secure=secure) as (house, opened):
            await house.people(1)
            for number in range(10):
                peer = await stack.enter_async_context(opened(1, OFFER if number % 2 else None))
                nursery.start_soon(wait, peer)
            await trio.testing.wait_all_tasks_blocked(0.01)
        with trio.fail_after(5):
            while len(ends) < 10:  # noqa: ASYNC110
                await trio.sleep(0.01)
    assert {code for code, _ in ends} == {4200}


async def test_without_the_setting_nothing_is_agreed_to(live_house):
    await live_house.people(1)
    async with open_peer(live_house.port, token=live_house.token(1), offers=OFFER) as peer:
        assert peer.agreed is None
        assert await peer.is_alive()


async def test_an_adopted_tls_socket_leaves_with_its_descriptor(database, tmp_path):
    async with house_of(database, tmp_path, secure=True) as (house, opened):
        await house.people(1)
        engine = house.house.engine
        async with opened(1, OFFER) as peer:
            assert await peer.is_alive()
            assert engine.total == 1
        with trio.fail_after(5):
            while engine.total:  # noqa: ASYNC110
                await trio.sleep(0.01)
        with pytest.raises((Gone, trio.ClosedResourceError)):
            await peer.frame()


async def test_a_stream_and_a_poll_are_the_same_over_either(member, wire):
    _, say = member
    get = f"Host: 127.0.0.1:{wire.server.port}\nAuthorization: Bearer {wire.server.token(USER)}\n\n"
    first = json.loads((await ask(wire.server, wire.tls, f"GET /poll HTTP/1.1\n{get}")).partition("\r\n\r\n")[2])
    stream = await connect(wire.server.port, wire.tls.client if wire.tls else None)
    await stream.send_all(f"GET /events HTTP/1.1\n{get}".replace("\n", "\r\n").encode())
    heard = b""
    with trio.fail_after(10):
        while b'"live"' not in heard:
            heard += await stream.receive_some()
        said = await say("to all three " + secrets.token_hex(8))
        while said.encode() not in heard:
            heard += await stream.receive_some()
    assert heard.startswith(b"HTTP/1.1 200 ")
    assert b"content-type: text/event-stream" in heard.lower()
    assert (b"strict-transport-security" in heard.lower()) == (wire.tls is not None)
    await trio.aclose_forcefully(stream)
    query = urlencode({"cursor": first["data"]["cursor"], "wait": 1})
    answer = await ask(wire.server, wire.tls, f"GET /poll?{query} HTTP/1.1\n{get}")
    events = json.loads(answer.partition("\r\n\r\n")[2])["data"]["events"]
    assert said in [event["data"]["body"] for event in events if event["type"] == "message"]
