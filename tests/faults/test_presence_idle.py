"""Devices that nobody sits at: polls, heartbeats over REST and lines that are opened again are nobody's input."""

import pytest
import trio
from streams import Stream, polled
from wire import Socket, open_sockets, wait_until

from greenroom.actors.presence.commands import Look
from greenroom.http.ws import attendance
from greenroom.http.ws.last_inputs import LastInput

pytestmark = pytest.mark.parametrize("house_settings", [{"presence_idle_seconds": 1.0}])


@pytest.fixture
def quick_rounds(monkeypatch):
    monkeypatch.setattr(attendance, "ROUND_SECONDS", 0.2)


@pytest.fixture
async def first(live_house, house_settings, quick_rounds, monkeypatch):
    """The first of two in a room: (room, headers of a session, a wait for how they were shown, since the start)."""
    monkeypatch.setattr("greenroom.http.streams.connection.LEASE_SECONDS", 1000.0)  # however late the next poll comes
    board, shown = live_house.house.presence, []
    show = board.show

    def show_and_note(user_id, status, activity, at_ms):
        shown.append(status)
        show(user_id, status, activity, at_ms)

    monkeypatch.setattr(board, "show", show_and_note)
    await live_house.people(1, 2)
    room = await live_house.conversation(1, 2)

    async def were_shown(*statuses):
        """True when they were shown no otherwise since."""
        await wait_until(lambda: shown[: len(statuses)] != list(statuses) and f"{statuses}, not {shown}")
        return len(shown) == len(statuses)

    session = (await live_house.house.storage.sessions.create(1))[0]
    return room, {"Cookie": f"pitchey-session={session}", "Origin": live_house.url}, were_shown


async def says(house, shows, status="online"):
    """As a page does once a minute."""
    assert (await house.post("/api/presence/update", None, {"status": status}, **shows)).status == 200


async def sends(house, room, shows):
    path = f"/api/conversations/{room}/messages"
    assert (await house.post(path, None, {"content": "hello"}, **shows)).status == 201


async def test_who_polls_and_does_nothing_is_away_through_all_polls_until_they_do_something(live_house, first):
    room, shows, were_shown = first
    _, cursor = await polled(live_house, None, headers=shows.items())
    async with trio.open_nursery() as nursery:

        async def poll_on(cursor):
            while True:
                _, cursor = await polled(live_house, None, cursor, wait=1, headers=shows.items())

        nursery.start_soon(poll_on, cursor)
        await were_shown("online", "away")
        polls = live_house.house.engine.statistics().adopted
        await wait_until(lambda: live_house.house.engine.statistics().adopted < polls + 3 and "three polls more")
        assert await were_shown("online", "away"), "and nothing since"
        await sends(live_house, room, shows)
        await were_shown("online", "away", "online", "away")
        nursery.cancel_scope.cancel()


async def test_who_says_over_rest_that_they_are_here_is_away_until_they_do_something(live_house, first):
    room, shows, were_shown = first
    await says(live_house, shows)
    await were_shown("online", "away")
    for _ in range(3):
        await says(live_house, shows)
    assert await were_shown("online", "away"), "and nothing since"
    await sends(live_house, room, shows)
    await were_shown("online", "away", "online", "away")
    await says(live_house, shows, "busy")
    await says(live_house, shows)
    await were_shown("online", "away", "online", "away", "online", "busy", "online", "away")


async def test_a_device_that_says_over_rest_that_it_is_here_keeps_no_idle_socket_from_being_away(live_house, first):
    room, shows, were_shown = first
    async with open_sockets() as nursery:
        sock = await Socket.open(nursery, live_house, 1)
        await sock.start(room)
        await were_shown("online", "away")
        await says(live_house, shows)  # somebody begins there
        await were_shown("online", "away", "online", "away")


async def test_what_somebody_did_on_a_socket_counts_when_they_go_on_over_rest(live_house, first):
    room, shows, were_shown = first
    await says(live_house, shows)
    await were_shown("online", "away")
    async with open_sockets() as nursery:
        sock = await Socket.open(nursery, live_house, headers=shows.items())
        await sock.start(room)
        await sock.ask("read", room, seq=0)
        (connection,) = live_house.house.engine.connections_of(1)
        last = LastInput(connection.session.input_at)
        await sock.close()
        await were_shown("online", "away", "online")
        await wait_until(lambda: live_house.house.engine.of_user(1) and "the end of the socket")
    await says(live_house, shows)
    board, ((device, _),) = live_house.house.presence, live_house.house.presence.leases._kept[1].items()
    assert board.last_inputs.of(1, device, trio.current_time()) == last


@pytest.mark.parametrize("road", ["socket", "stream"])
async def test_who_comes_back_is_as_idle_as_they_were_and_who_begins_anew_is_not(live_house, first, road):
    room, shows, were_shown = first
    async with open_sockets() as nursery:

        async def come(before=None):
            if road == "stream":
                stream = await Stream.open(nursery, live_house, cursor=before and before.cursor, headers=shows.items())
                await stream.expect("live")
                return stream
            sock = await Socket.open(nursery, live_house, headers=shows.items())
            resume = {} if before is None else {"resume": {"rooms": {str(room): 0}}}
            await sock.start(room, device="phone", **resume)
            return sock

        device = await come()
        await were_shown("online", "away")
        device.cut()
        await were_shown("online", "away", "offline")
        device = await come(device)
        await were_shown("online", "away", "offline", "away")
        device.cut()
        await were_shown("online", "away", "offline", "away", "offline")
        await come()
        await were_shown("online", "away", "offline", "away", "offline", "online", "away")


async def goes_on(house, road, shows, before, nursery, room):
    """As who was there as *before* and was cut."""
    if road == "rest":
        await says(house, shows)
    elif road == "poll":
        await polled(house, None, before.cursor, headers=shows.items())
    else:
        sock = await Socket.open(nursery, house, headers=shows.items())
        await sock.start(room, device="phone", resume={"rooms": {str(room): 0}})


@pytest.mark.parametrize(("came", "road"), [("socket", "rest"), ("page", "rest"), ("stream", "poll")])
async def test_who_goes_on_by_another_road_is_as_idle_as_they_were(live_house, first, came, road):
    room, shows, were_shown = first
    async with open_sockets() as nursery:
        if came == "stream":
            device = await Stream.open(nursery, live_house, headers=shows.items())
            await device.expect("live")
        else:
            protocol = {"protocol": None} if came == "page" else {}
            device = await Socket.open(nursery, live_house, headers=shows.items(), **protocol)
            await (device.expect("connected") if came == "page" else device.start(room))
        await were_shown("online", "away")
        device.cut()
        await were_shown("online", "away", "offline")
        await goes_on(live_house, road, shows, device, nursery, room)
        assert await were_shown("online", "away", "offline", "away")


@pytest.mark.parametrize(("said_before", "road"), [(False, "socket"), (False, "rest"), (True, "rest")])
async def test_who_said_that_nobody_sits_there_is_idle_when_they_go_on_until_they_do_something(
    live_house, first, monkeypatch, said_before, road
):
    room, shows, were_shown = first
    monkeypatch.setattr(live_house.house.presence, "_idle_seconds", 300.0)  # their last input alone makes none idle
    async with open_sockets() as nursery:
        if said_before:
            await says(live_house, shows)
        sock = await Socket.open(nursery, live_house, headers=shows.items())
        await sock.start(room, device="phone")
        await were_shown("online")
        await sock.ask("presence", idle=True)
        await were_shown("online", "away")
        sock.cut()
        await were_shown("online", "away", "offline")
        await goes_on(live_house, road, shows, sock, nursery, room)
        assert await were_shown("online", "away", "offline", "away")
        await sends(live_house, room, shows)
        assert await were_shown("online", "away", "offline", "away", "online")


def by_token(house, jti):
    """Headers of a token that is issued just now. jti: None for one without an id."""
    return {"Authorization": f"Bearer {house.token(1, **({} if jti is None else {'jti': jti}))}"}


async def comes(nursery, house, shows, room, device, **start):
    """A socket of that name. With resume= it comes back."""
    sock = await Socket.open(nursery, house, headers=shows.items())
    await sock.start(room, device=device, **start)
    return sock


async def comes_again_by(road, nursery, house, shows, room, device, cursor):
    """Back where it was, as a socket of that name or by a road on which none has a name."""
    if road == "socket":
        await comes(nursery, house, shows, room, device, resume={"rooms": {str(room): 0}})
    elif road == "poll":
        await polled(house, None, cursor, headers=shows.items())
    else:
        await says(house, shows)


@pytest.mark.parametrize("road", ["socket", "poll", "rest"])
async def test_who_comes_back_with_a_new_token_is_as_idle_as_they_were(live_house, first, road):
    room, _, were_shown = first
    cursor = None
    async with open_sockets() as nursery:
        before = by_token(live_house, "old")
        if road == "socket":
            sock = await comes(nursery, live_house, before, room, "phone")
        elif road == "poll":
            _, cursor = await polled(live_house, None, headers=before.items())
        else:
            await says(live_house, before)
        await were_shown("online", "away")
        if road == "socket":
            sock.cut()
        else:
            live_house.house.presence.leases.forget(1, None)
            live_house.house.sockets.tell_presence(1, Look())
        await were_shown("online", "away", "offline")
        await comes_again_by(road, nursery, live_house, by_token(live_house, "new"), room, "phone", cursor)
        assert await were_shown("online", "away", "offline", "away")


@pytest.mark.parametrize("road", ["socket", "rest"])
@pytest.mark.parametrize("jti", [None, "new"])
async def test_nobody_is_idle_for_what_another_device_with_a_token_has_said(live_house, first, monkeypatch, road, jti):
    room, _, were_shown = first
    monkeypatch.setattr(live_house.house.presence, "_idle_seconds", 300.0)  # their last input alone makes none idle
    async with open_sockets() as nursery:
        phone = await comes(nursery, live_house, by_token(live_house, None), room, "phone")
        await phone.ask("presence", idle=True)
        await were_shown("online", "away")
        phone.cut()
        await were_shown("online", "away", "offline")
        await comes_again_by(road, nursery, live_house, by_token(live_house, jti), room, "laptop", None)
        assert await were_shown("online", "away", "offline", "online")


async def test_a_device_that_is_idle_leaves_those_of_other_tokens_in_use(live_house, first, monkeypatch):
    room, _, were_shown = first
    monkeypatch.setattr(live_house.house.presence, "_idle_seconds", 300.0)
    shows = by_token(live_house, None)
    async with open_sockets() as nursery:
        laptop = await comes(nursery, live_house, shows, room, "laptop")
        await were_shown("online")
        laptop.cut()
        await were_shown("online", "offline")
        phone = await comes(nursery, live_house, shows, room, "phone")
        await phone.ask("presence", idle=True)
        await were_shown("online", "offline", "online", "away")
        phone.cut()
        await were_shown("online", "offline", "online", "away", "offline")
        await comes_again_by("socket", nursery, live_house, shows, room, "laptop", None)
        assert await were_shown("online", "offline", "online", "away", "offline", "online")
