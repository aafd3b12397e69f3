"""What another process ends, a running server's sockets feel: a key that is revoked, a session row that is deleted."""

import os
import subprocess
import sys
import time
from contextlib import suppress

import pytest
import trio
from stopwatch import closed_within, open_stopwatch
from wire import V1, Gone, Refused, Socket, http, open_sockets, wait_until  # type: ignore[import-not-found]

WITHIN_SECONDS = 4.0  # of a key: one to two on a machine that has time


def greenroom(server, *arguments):
    """A command of an operator, on the server's data; what it printed."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    done = subprocess.run(
        [sys.executable, "-m", "greenroom", *arguments],
        env={**kept, "GREENROOM_DATA_DIR": str(server.data), "JWT_SECRET": "x" * 32},
        cwd=server.folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


async def command(server, *arguments):
    return await trio.to_thread.run_sync(lambda: greenroom(server, *arguments))


async def page_and_program(nursery, server, room, headers, code):
    """A compat and a v1 socket under the same credential, with the codes they are to end with."""
    page = await Socket.open(nursery, server, protocol=None, headers=headers)
    await page.expect("connected")
    program = await Socket.open(nursery, server, headers=headers)
    await program.start(room)
    return [(page, 1008), (program, code)]


async def ends(server, socks, headers, seconds=WITHIN_SECONDS):
    """All of them close, each in so many seconds, and no door opens any more."""
    for sock, code in socks:
        assert await closed_within(seconds, sock, server) == code
    async with open_sockets() as nursery:
        for protocol in (V1, None):
            with pytest.raises(Refused) as refused:
                await Socket.open(nursery, server, protocol=protocol, headers=headers)
            assert refused.value.status == 401
    for path in ("/api/ws/token", "/api/conversations"):
        assert (await http(server, "GET", path, headers=dict(headers))).status == 401


async def session_row(server, user):
    """A session as the application writes it; the header that shows it."""
    await server.query(
        "insert into sessions (id, user_id, expires_at) select 's-' || $1::bigint, $1::bigint, now() + interval '1 h'",
        user,
    )
    return [("Cookie", f"pitchey-session=s-{user}")]


async def test_a_key_that_is_revoked_on_the_command_line_ends_the_sockets_it_opened(server, fresh):
    room = await server.make_room(fresh, [fresh])
    key = await command(server, "key", "create", "--scope", "act_as")
    headers = [("Authorization", f"Bearer {key}"), ("X-Act-As", str(fresh))]
    async with open_sockets() as nursery:
        other = await Socket.open(nursery, server, fresh)
        await other.start(room)
        socks = await page_and_program(nursery, server, room, headers, 4003)
        assert (await socks[1][0].ask("send", room, body="while it is good"))["type"] == "ack"
        await command(server, "key", "revoke", key)
        await ends(server, socks, headers)
        assert (await other.ask("send", room, body="nobody else's end", clientId="other"))["type"] == "ack"
    assert len(await server.log_of(room)) == 2


async def test_a_session_row_that_is_deleted_ends_the_sockets_it_opened(server, fresh):
    room = await server.make_room(fresh, [fresh])
    headers = await session_row(server, fresh)
    async with open_sockets() as nursery:
        socks = await page_and_program(nursery, server, room, headers, 4003)
        ticket = (await http(server, "GET", "/api/ws/token", headers=dict(headers))).json()["token"]
        await server.query("delete from sessions where user_id = $1", fresh)
        await ends(server, socks, headers, 1.0)
        with pytest.raises(Refused) as refused:  # a ticket of before is as good as its session
            await Socket.open(nursery, server, protocol=None, path=f"/ws?token={ticket}")
        assert refused.value.status == 401


@pytest.mark.parametrize("is_by_service", [False, True])
async def test_signing_out_everywhere_ends_all_within_a_second_and_tokens_of_before_stay_void(
    server, fresh, is_by_service
):
    room = await server.make_room(fresh, [fresh, fresh + 1])
    old = server.token(fresh, iat=int(time.time()))
    session = await session_row(server, fresh)
    key = await command(server, "key", "create", "--scope", "users:write")
    async with open_sockets() as nursery:
        other = await Socket.open(nursery, server, fresh + 1)
        await other.start(room)
        socks = await page_and_program(nursery, server, room, session, 4003)
        socks += await page_and_program(nursery, server, room, [("Authorization", f"Bearer {old}")], 4003)
        if is_by_service:
            path, body, shown = f"/api/users/{fresh}/sign-out", {}, {"Authorization": f"Bearer {key}"}
        else:
            path, body, shown = "/api/auth/sign-out", {"everywhere": True}, {"Authorization": f"Bearer {old}"}
        async with open_stopwatch(server) as watch:
            assert (await http(server, "POST", path, body=body, headers=shown)).status == 200
            for sock, code in socks:
                assert await sock.wait_closed() == code
            assert watch.seconds < 1
        for headers in (session, [("Authorization", f"Bearer {old}")]):
            await ends(server, [], headers)
        assert (await other.ask("send", room, body="nobody else's end", clientId="other"))["type"] == "ack"
    await trio.sleep(1.05 - time.time() % 1)  # issuers count whole seconds
    async with open_sockets() as nursery:
        again = await Socket.open(nursery, server, token=server.token(fresh, iat=int(time.time())))
        await again.start(room)


async def test_who_storms_the_doors_with_a_session_that_has_ended_is_out_within_seconds_and_hears_nothing(
    server, fresh
):
    """Sockets, tickets and requests as fast as they go, before, during and after: the last success is soon past."""
    room = await server.make_room(fresh, [fresh, fresh + 1])
    await server.query(
        "insert into sessions (id, user_id, expires_at) values ($1, $2, now() + interval '1 h')", f"s-{fresh}", fresh
    )
    headers, inside, successes = [("Cookie", f"pitchey-session=s-{fresh}")], [], []

    async def storms():
        while True:
            with suppress(Refused, Gone):
                inside.append(await Socket.open(nursery, server, protocol=None, headers=headers))
                successes.append(trio.current_time())
            ticket = await http(server, "GET", "/api/ws/token", headers=dict(headers))
            if ticket.status == 200:
                with suppress(Refused, Gone):
                    path = f"/ws?token={ticket.json()['token']}"
                    inside.append(await Socket.open(nursery, server, path=path))
                    successes.append(trio.current_time())
            for sock in [sock for sock in inside if sock.close_code is None][:-8]:
                sock.cut()
            await trio.sleep(0.01)

    async with open_sockets() as nursery:
        speaker = await Socket.open(nursery, server, fresh + 1)
        await speaker.start(room)
        for _ in range(2):
            nursery.start_soon(storms)
        await trio.sleep(1)
        await wait_until(lambda: len(successes) <= 10 and f"only {len(successes)} came in", 30)
        ended_at = trio.current_time()
        await server.query("delete from sessions where user_id = $1", fresh)
        await trio.sleep(WITHIN_SECONDS)
        print(f"{len(successes)} successes, the last {max(successes) - ended_at:.2f} s after the end")
        assert max(successes) - ended_at < WITHIN_SECONDS - 1
        await wait_until(lambda: [sock.close_code for sock in inside if sock.close_code is None], 2)
        counts = [len(sock.events) for sock in inside]
        assert (await speaker.ask("send", room, body="not for them"))["type"] == "ack"
        await trio.sleep(0.3)
        assert counts == [len(sock.events) for sock in inside]
        assert "not for them" not in str([sock.events for sock in inside])
