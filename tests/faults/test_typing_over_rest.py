"""Who types over REST, with a stream or with nothing, has stopped when they are gone: not six seconds later."""

import pytest
import trio
from streams import Stream, poll
from wire import Socket, open_in, open_sockets, wait_until

from greenroom.actors.room.state import TYPING_SECONDS

SOON = TYPING_SECONDS - 2.0


@pytest.fixture
async def typed(live_house):
    """(nursery, room, who types as 2 is told, what 1 says with these headers, the headers of a new session of 1)."""
    house = live_house
    await house.people(1, 2)
    room = await house.conversation(1, 2)

    async def type_there(headers):
        said = await house.post(f"/api/conversations/{room}/typing", None, {"isTyping": True}, **headers)
        assert said.status == 200, said.json

    async def session():
        session_id, _ = await house.house.storage.sessions.create(1, seconds=600)
        return {"Cookie": f"pitchey-session={session_id}", "Origin": house.url}

    async with open_sockets() as nursery:
        watcher = await open_in(nursery, house, 2, room)

        async def believes(*users, seconds=SOON):
            def wrong():
                lists = [event["data"]["users"] for event in watcher.of("typing")]
                return sorted(lists[-1] if lists else []) != list(users) and f"{users}, not {lists[-1:]}"

            await wait_until(wrong, seconds)

        yield nursery, room, believes, type_there, session


async def open_client(kind, nursery, house, headers):
    if kind == "stream":
        client = await Stream.open(nursery, house, headers=headers.items())
        await client.expect("live")
    else:
        client = await Socket.open(nursery, house, protocol="greenroom.v1", headers=headers.items())
        await client.start()
    return client


CLIENTS = pytest.mark.parametrize("kind", ["stream", "socket"])


@CLIENTS
async def test_it_ends_with_the_connection_of_its_client(live_house, typed, kind):
    nursery, _, believes, type_there, session = typed
    headers = await session()
    client = await open_client(kind, nursery, live_house, headers)
    await type_there(headers)
    await believes(1)
    client.cut()
    await believes()
    assert 1 not in live_house.house.presence.typists


@CLIENTS
@pytest.mark.parametrize("other", ["of the same session", "of another"])
async def test_it_ends_with_no_other_connection(live_house, typed, kind, other):
    nursery, _, believes, type_there, session = typed
    headers = await session()
    client = await open_client(
        kind, nursery, live_house, headers if other == "of the same session" else await session()
    )
    await open_client(kind, nursery, live_house, headers)
    await type_there(headers)
    await believes(1)
    client.cut()
    await wait_until(lambda: len(live_house.house.engine.connections_of(1)) != 1 and "it is still there")
    await trio.sleep(1.5)
    await believes(1)
    await believes(seconds=TYPING_SECONDS + 2)  # and by itself


@pytest.mark.parametrize("has_stream", [True, False], ids=["with a stream", "with nothing"])
@pytest.mark.parametrize(("by", "everywhere"), [("a session", True), ("a session", False), ("a token", True)])
async def test_who_has_signed_out_types_no_more(live_house, typed, by, everywhere, has_stream):
    nursery, _, believes, type_there, session = typed
    headers = await session() if by == "a session" else {"Authorization": f"Bearer {live_house.token(1)}"}
    if has_stream:
        await open_client("stream", nursery, live_house, headers)
    await type_there(headers)
    await believes(1)
    path = "/api/auth/sign-out" if by == "a session" else "/api/auth/logout"
    signed_out = await live_house.post(path, None, {"everywhere": everywhere}, **headers)
    assert signed_out.status == 200, signed_out.json
    await believes()


async def test_it_goes_on_when_another_session_is_signed_out(live_house, typed):
    _, _, believes, type_there, session = typed
    headers = await session()
    await type_there(headers)
    await believes(1)
    assert (await live_house.post("/api/auth/sign-out", None, {}, **await session())).status == 200
    await trio.sleep(1.5)
    await believes(1)


async def test_it_goes_on_where_a_socket_of_the_user_types_too(live_house, typed):
    nursery, room, believes, type_there, session = typed
    headers = await session()
    stream = await open_client("stream", nursery, live_house, headers)
    await type_there(headers)
    socket = await open_in(nursery, live_house, 1, room)
    await socket.command("typing", room, on=True)
    await believes(1)
    stream.cut()
    await wait_until(lambda: len(live_house.house.engine.connections_of(1)) != 1 and "it is still there")
    await trio.sleep(1.5)
    await believes(1)
    socket.cut()
    await believes()


async def test_a_socket_that_has_not_typed_for_long_keeps_nothing_up(live_house, typed):
    nursery, room, believes, type_there, session = typed
    socket = await open_in(nursery, live_house, 1, room)
    await socket.command("typing", room, on=True)
    await believes(1)
    await believes(seconds=TYPING_SECONDS + 2)
    headers = await session()
    stream = await open_client("stream", nursery, live_house, headers)
    await type_there(headers)
    await believes(1)
    stream.cut()
    await believes()


async def test_it_ends_when_all_sessions_may_have_ended(live_house, typed):
    _, _, believes, type_there, session = typed
    await type_there(await session())
    await believes(1)
    await live_house.house.storage.postgres.transaction(lambda connection: connection.execute("truncate sessions"))
    await believes()


async def test_it_ends_with_no_socket_of_a_session_that_polls(live_house, typed):
    nursery, _, believes, type_there, session = typed
    headers = await session()
    socket = await open_client("socket", nursery, live_house, headers)
    await poll(live_house, headers=headers.items())
    await type_there(headers)
    await believes(1)
    socket.cut()
    await trio.sleep(1.5)
    await believes(1)


async def test_the_answer_to_a_poll_ends_nothing(live_house, typed):
    _, _, believes, type_there, session = typed
    headers = await session()
    await type_there(headers)
    await poll(live_house, headers=headers.items())
    await believes(1)
    await poll(live_house, headers=headers.items())
    await trio.sleep(1.5)
    await believes(1)
