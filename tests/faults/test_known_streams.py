"""Of who is away is known only what storage says: who comes misses nothing, and is shown nobody whom they block."""

from contextlib import asynccontextmanager

import pytest
import trio
from wire import Socket, open_sockets, wait_until

from greenroom.runtime import Address
from greenroom.storage.postgres.user_streams import UserEvent


async def notify(house, user):
    answer = await house.post("/api/notifications/send", user, {"title": "t", "message": "m"})
    assert answer.status < 300, answer.json


async def block(house, user, other):
    answer = await house.post(f"/api/users/{other}/block", user)
    assert answer.status == 200, answer.json


async def say(house, room, user, text):
    answer = await house.post(f"/api/conversations/{room}/messages", user, {"content": text})
    assert answer.status == 201, answer.json


async def ready(nursery, house, user, *rooms, **data):
    sock = await Socket.open(nursery, house, user)
    await sock.start(*rooms, **data)
    return sock


async def hears(sock, *kinds):
    """These events of the user's own stream, from its first on."""
    await wait_until(lambda: len(stream_of(sock)) < len(kinds) and f"{stream_of(sock)}, not {kinds}")
    assert stream_of(sock) == list(enumerate(kinds, 1))


def stream_of(sock):
    return [(event["useq"], event["type"]) for event in sock.events if "useq" in event and event["type"] != "ready"]


@asynccontextmanager
async def holding_the_next_answer(house, monkeypatch, user):
    """What storage says next of the stream of *user* is read at once, and heard when the block ends.

    Yields: what waits until it is read.
    """
    streams, is_read, goes_on = house.house.sockets.streams._streams, trio.Event(), trio.Event()
    find = streams.standing

    async def slow(user_id):
        found = await find(user_id)
        if user_id == user and not is_read.is_set():
            is_read.set()
            await goes_on.wait()
        return found

    with monkeypatch.context() as patch:
        patch.setattr(streams, "standing", slow)
        try:
            yield lambda: wait_until(lambda: None if is_read.is_set() else "the question to storage")
        finally:
            goes_on.set()


async def test_who_was_notified_after_they_were_brought_in_is_told_of_both_on_coming(live_house):
    await live_house.people(1, 2)
    await live_house.conversation(1, 2)
    await notify(live_house, 2)
    async with open_sockets() as nursery:
        for _ in range(2):
            sock = await ready(nursery, live_house, 2, resume={"user": 0})
            await hears(sock, "notification", "membership")
            sock.cut()


async def come_and_go(nursery, house, user, until_read):
    """With a socket that is gone before storage has answered how far the stream is."""
    sock = await Socket.open(nursery, house, user)
    await sock.command("start")
    await until_read()
    sock.cut()
    await wait_until(lambda: house.house.engine.of_user(user) and "the end of the socket")


@pytest.mark.parametrize("asks", ["a socket that ends", "a notifier"])
async def test_an_answer_that_is_older_than_a_note_does_not_hide_it(live_house, monkeypatch, asks):
    await live_house.people(1, 2)
    async with open_sockets() as nursery:
        async with holding_the_next_answer(live_house, monkeypatch, 2) as until_read:
            if asks == "a notifier":
                nursery.start_soon(notify, live_house, 2)
                await until_read()
            else:
                await come_and_go(nursery, live_house, 2, until_read)
            await live_house.conversation(1, 2)
        sock = await ready(nursery, live_house, 2, resume={"user": 0})
        await hears(sock, *(["notification"] if asks == "a notifier" else []), "membership")


async def test_an_event_that_is_told_while_a_socket_that_ends_is_read_for_is_not_missed(live_house, monkeypatch):
    await live_house.people(1)
    await notify(live_house, 1)
    live_house.house.sockets.streams.forget(1)
    async with open_sockets() as nursery:
        async with holding_the_next_answer(live_house, monkeypatch, 1) as until_read:
            await come_and_go(nursery, live_house, 1, until_read)
            await notify(live_house, 1)
        sock = await ready(nursery, live_house, 1, resume={"user": 1})
        await wait_until(lambda: not stream_of(sock) and "the second")
        assert stream_of(sock) == [(2, "notification")]


@pytest.mark.parametrize("protocol", ["greenroom.v1", None])
@pytest.mark.parametrize("then", ["is notified", "marks notifications", "blocks another"])
async def test_who_blocks_and_goes_on_without_a_socket_is_shown_nothing_of_the_blocked_on_coming(
    live_house, then, protocol
):
    await live_house.people(1, 2, 3, 4)
    room = await live_house.conversation(1, 2, 3, 4)
    await notify(live_house, 1)
    await block(live_house, 1, 2)
    await live_house.conversation(3, 1)  # a room leaves a note
    if then == "is notified":
        await notify(live_house, 1)
    elif then == "marks notifications":
        assert (await live_house.post("/api/notifications/read/all", 1)).status == 200
    else:
        await block(live_house, 1, 3)
    assert Address("notifier", 1) in live_house.house.system.activations, "it has not been read again by its start"
    async with open_sockets() as nursery:
        sock = await Socket.open(nursery, live_house, 1, protocol=protocol)
        await (sock.expect("connected") if protocol is None else sock.start(room, resume={"rooms": {str(room): 0}}))
        await say(live_house, room, 2, "hidden")
        await say(live_house, room, 3, "another's")
        await say(live_house, room, 4, "the end")
        if protocol is None:
            await sock.expect("new_message", content="the end")
            shown = [event["content"] for event in sock.of("new_message")]
        else:
            await sock.expect("message", seq=3)
            shown = [event["data"]["body"] for event in sock.of("message")]
        assert shown == (["the end"] if then == "blocks another" else ["another's", "the end"])


async def test_a_second_socket_does_not_hear_before_it_is_known_whom_its_user_blocks(live_house, monkeypatch):
    """What is told of the user's stream meanwhile says how far it is, and no more."""
    await live_house.people(1, 2, 3)
    room = await live_house.conversation(1, 2)
    await block(live_house, 1, 2)
    await live_house.conversation(3, 1)  # a room leaves a note
    async with open_sockets() as nursery:
        async with holding_the_next_answer(live_house, monkeypatch, 1) as until_read:
            first = await Socket.open(nursery, live_house, 1)
            await first.command("start", rooms=[{"r": room}])
            await until_read()
            await notify(live_house, 1)
            second = await ready(nursery, live_house, 1, room)
            await say(live_house, room, 2, "hidden")
            await second.expect("skip", seq=1)
        await first.expect("ready")
        assert not second.of("message")


async def test_what_storage_has_said_of_a_stream_is_known_though_less_of_it_is_told_later(live_house):
    """Else who has it all would be told that the stream is another one."""
    await live_house.people(1)
    for _ in range(2):
        await notify(live_house, 1)
    live_house.house.sockets.streams.tell(1, 1, [UserEvent(1, "notification", None, "{}", 0)])
    async with open_sockets() as nursery:
        sock = await ready(nursery, live_house, 1, resume={"user": 2})
        await notify(live_house, 1)
        await sock.expect("notification", useq=3)
        assert (sock.of("gap"), stream_of(sock)) == ([], [(3, "notification")])
