"""Who has a socket and speaks over REST too: the socket says when they go, and what they do there is done by them."""

from functools import partial

import pytest
import trio
from streams import Stream, poll, polled
from wire import V1, Socket, open_sockets, wait_until


def cookie(house, session_id):
    return {"Cookie": f"pitchey-session={session_id}", "Origin": house.url}


@pytest.fixture
async def seen(live_house):
    """Two of a room, whose second watches: (nursery, room, how the first is shown, a session of the first)."""
    house = live_house
    await house.people(1, 2)
    room = await house.conversation(1, 2)
    async with open_sockets() as nursery:
        watcher = await Socket.open(nursery, house, 2)
        await watcher.start(room)

        async def is_shown(status, seconds=5.0):
            def wrong():
                found = house.house.presence.status_of(1)[0]
                told = [
                    (change, one.get("status", "offline"))
                    for diff in watcher.of("presence_diff")
                    for change in ("joins", "leaves")
                    for one in diff["data"][change]
                    if one["user"] == 1
                ]
                return (found != status or not told or told[-1][1] != status) and f"{status}, not {found}; told {told}"

            await wait_until(wrong, seconds)

        yield nursery, room, is_shown, (await house.house.storage.sessions.create(1))[0]


async def says(house, session, status="online"):
    """As a page does whenever it has connected."""
    answer = await house.post("/api/presence/update", None, {"status": status}, **cookie(house, session))
    assert answer.status == 200, answer.json


@pytest.mark.parametrize("protocol", [V1, None], ids=["v1", "compat"])
@pytest.mark.parametrize("status", ["online", "busy"])
@pytest.mark.parametrize("credential", ["session", "token", "token with an id"])
async def test_a_page_that_closes_is_offline_though_it_said_so_over_rest_too(
    live_house, seen, protocol, status, credential
):
    nursery, room, is_shown, session = seen
    if credential == "session":
        shown = cookie(live_house, session)
    else:
        shown = {"Authorization": f"Bearer {live_house.token(1, **({'jti': 'j'} if 'id' in credential else {}))}"}

    async def says_so(status):
        answer = await live_house.post("/api/presence/update", None, {"status": status}, **shown)
        assert answer.status == 200, answer.json

    sock = await Socket.open(nursery, live_house, protocol=protocol, headers=shown.items())
    await (sock.expect("connected") if protocol is None else sock.start(room))
    await says_so(status)
    await is_shown(status)
    assert len(live_house.house.presence.devices_of(1)) == 1, "it is one device, by whichever road it speaks"
    await sock.close()
    await is_shown("offline")
    listed = (await live_house.get("/api/presence/online", 2)).data["users"]
    assert 1 not in [one["userId"] for one in listed]
    await says_so("online")  # as one that has fallen back to polling does
    await is_shown("online")


async def test_no_socket_of_the_user_is_told_the_secret_of_the_session_that_says_so(live_house, seen):
    nursery, room, is_shown, session = seen
    await says(live_house, session, "busy")
    await is_shown("busy")
    sock = await Socket.open(nursery, live_house, 1)
    await sock.start(room, device="desk")
    own = await sock.ask("presence", idle=False)
    assert {one["device"] for one in own["data"]["devices"]} == {"desk", "rest"}
    assert not any(session in str(event) for event in sock.events)


@pytest.mark.parametrize("everywhere", [False, True], ids=["one session", "everywhere"])
async def test_who_signs_out_is_offline_at_once_also_without_a_socket(live_house, seen, everywhere):
    _, _, is_shown, session = seen
    await says(live_house, session)
    await is_shown("online")
    out = await live_house.post("/api/auth/sign-out", None, {"everywhere": everywhere}, **cookie(live_house, session))
    assert out.status == 200, out.json
    await is_shown("offline")


@pytest.mark.parametrize(
    ("end", "is_open"), [("signs out", True), ("signs out", False), ("everywhere", True), ("is deleted", True)]
)
async def test_who_polls_is_offline_at_once_when_their_session_ends_in_a_poll_or_between_two(
    live_house, seen, monkeypatch, end, is_open
):
    monkeypatch.setattr("greenroom.http.streams.connection.LEASE_SECONDS", 1000.0)  # not because its time is over
    nursery, _, is_shown, session = seen
    house, shown = live_house, cookie(live_house, session)
    _, cursor = await polled(house, None, headers=shown.items())
    await is_shown("online")
    await wait_until(lambda: house.house.engine.of_user(1) and "the end of the first poll")
    if is_open:
        nursery.start_soon(partial(poll, house, cursor=cursor, headers=shown.items()))
        await wait_until(
            lambda: not [one for one in house.house.engine.connections_of(1) if one.session.is_present] and "the poll"
        )
    if end == "is deleted":  # by the auth service of the application
        await house.house.storage.sessions.delete(session)
    else:
        out = await house.post("/api/auth/sign-out", None, {"everywhere": end == "everywhere"}, **shown)
        assert out.status == 200, out.json
    await is_shown("offline")
    assert not house.house.presence.leases.users()


async def test_who_polls_is_here_between_two_polls_when_a_page_of_the_same_session_closes(live_house, seen):
    nursery, _, is_shown, session = seen
    shown = cookie(live_house, session)
    sock = await Socket.open(nursery, live_house, protocol=None, headers=shown.items())
    await sock.expect("connected")
    await says(live_house, session, "busy")
    await is_shown("busy")
    await polled(live_house, None, headers=shown.items())
    await sock.close()
    await wait_until(lambda: live_house.house.engine.of_user(1) and "the end of both")
    await wait_until(lambda: len(live_house.house.presence.leases._kept[1]) - 1)
    assert [device.name for device in live_house.house.presence.devices_of(1)] == ["poll"]
    assert live_house.house.presence.status_of(1)[0] == "busy"


@pytest.mark.parametrize("act", ["says so", "sends", "reads", "types"])
async def test_whose_stream_is_open_and_who_does_something_over_rest_is_not_away(live_house, seen, act):
    nursery, room, is_shown, session = seen
    stream = await Stream.open(nursery, live_house, headers=cookie(live_house, session).items())
    await stream.expect("live")
    await says(live_house, session, "dnd" if act == "says so" else "online")
    await is_shown("dnd" if act == "says so" else "online")
    (connection,) = live_house.house.engine.connections_of(1)
    connection.session.set_idle(is_idle=True)
    if act != "says so":
        await is_shown("away")
    if act == "says so":
        await says(live_house, session)
    elif act == "sends":
        path = f"/api/conversations/{room}/messages"
        assert (await live_house.post(path, None, {"content": "hello"}, **cookie(live_house, session))).status == 201
    elif act == "reads":
        path = f"/api/conversations/{room}/read"
        assert (await live_house.post(path, None, {}, **cookie(live_house, session))).status == 200
    else:
        path = f"/api/conversations/{room}/typing"
        assert (await live_house.post(path, None, {"isTyping": True}, **cookie(live_house, session))).status == 200
    await is_shown("online")


async def test_what_is_asked_over_rest_or_done_under_another_session_is_no_input(live_house, seen):
    nursery, room, is_shown, session = seen
    stream = await Stream.open(nursery, live_house, headers=cookie(live_house, session).items())
    await stream.expect("live")
    await is_shown("online")
    (connection,) = live_house.house.engine.connections_of(1)
    connection.session.set_idle(is_idle=True)
    await is_shown("away")
    assert (await live_house.get("/api/conversations", headers=cookie(live_house, session))).status == 200
    assert (await live_house.post(f"/api/conversations/{room}/read", 1, {})).status == 200  # by a token
    await says(live_house, session)  # as a timer does, each minute
    await trio.sleep(1.5)
    await is_shown("away")
