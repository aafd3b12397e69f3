"""Typing: a list that replaces, told at most once a second, only among members of small rooms, and never left over."""

import itertools

import pytest
import trio
from wire import V1, Socket, open_in, open_sockets, wait_until

from greenroom.actors.events import TypingChanged
from greenroom.actors.room.actor import TYPING_TOLD_SECONDS
from greenroom.actors.room.state import PRESENCE_MEMBERS_MAX, TYPING_SECONDS
from greenroom.http.ws.codes import DRAINING
from greenroom.http.ws.hub import Hub


async def say(sock, room, protocol, *, is_on):
    if protocol is None:
        await sock.send({"type": "typing_start" if is_on else "typing_stop", "conversationId": room})
    else:
        await sock.command("typing", room, on=is_on)


def who_types(v1, page):
    """What the two who look on believe: the list of the one, and of the other whom it was told of last."""
    lists = [event["data"]["users"] for event in v1.of("typing")]
    told = {event["userId"]: event["isTyping"] for event in page.of("user_typing")}
    return (sorted(lists[-1]) if lists else []), sorted(user for user, is_typing in told.items() if is_typing)


async def believe(watchers, *users, seconds=3.0):
    await wait_until(
        lambda: who_types(*watchers) != (list(users), list(users)) and f"{users}, not {who_types(*watchers)}", seconds
    )


@pytest.fixture
async def watched(live_house):
    """A room of 1 to 5, which 2 (v1) and 3 (compat) look at."""
    await live_house.people(1, 2, 3, 4, 5)
    room = await live_house.conversation(1, 2, 3, 4, 5)
    async with open_sockets() as nursery:
        watchers = await open_in(nursery, live_house, 2, room), await open_in(nursery, live_house, 3, room, None)
        yield nursery, room, watchers


@pytest.fixture
def type_on(monkeypatch):
    """Who types does so until they stop: it is told once a second, and a few times in a test."""
    monkeypatch.setattr("greenroom.actors.room.actor.TYPING_SECONDS", 600.0)


PROTOCOLS = pytest.mark.parametrize("protocol", [V1, None], ids=["v1", "compat"])


async def test_it_is_told_at_most_once_a_second_however_many_begin_and_stop(live_house, watched, monkeypatch):
    nursery, room, (v1, page) = watched
    times, publish = [], Hub.publish  # as they are told: when they are received a busy machine says

    def note(hub, event, members):
        if isinstance(event, TypingChanged):
            times.append(trio.current_time())
        publish(hub, event, members)

    monkeypatch.setattr(Hub, "publish", note)
    typists = [await open_in(nursery, live_house, user, room) for user in (1, 4, 5)]
    for number in range(120):
        await typists[number % 3].ask("typing", room, on=bool(number // 3 % 2))
        await trio.sleep(0.02)
    for sock in typists:
        await sock.ask("typing", room, on=False)
    await believe((v1, page))
    await trio.sleep(1.2)
    assert 2 <= len(times) == len(v1.of("typing"))
    assert all(later - at >= TYPING_TOLD_SECONDS for at, later in itertools.pairwise(times)), times


@PROTOCOLS
async def test_it_stops_with_the_socket_that_ends_before_it_is_answered(live_house, watched, protocol):
    nursery, room, watchers = watched
    sock = await Socket.open(nursery, live_house, 1, protocol=protocol)
    if protocol is None:
        await sock.expect("connected")  # and looks at no conversation
    else:
        await sock.start()
    await say(sock, room, protocol, is_on=True)
    await sock.close()
    await wait_until(lambda: not watchers[0].of("typing") and "the beginning")
    await believe(watchers, seconds=2.5)


@PROTOCOLS
async def test_it_goes_on_while_another_device_types_and_stops_with_the_last(live_house, watched, protocol):
    nursery, room, watchers = watched
    one, other = [await open_in(nursery, live_house, 1, room, protocol) for _ in range(2)]
    for sock in (one, other):
        await say(sock, room, protocol, is_on=True)
    await believe(watchers, 1)
    one.cut()
    await trio.sleep(2)
    await believe(watchers, 1)
    other.cut()
    await believe(watchers)


@PROTOCOLS
async def test_it_goes_on_while_the_user_types_without_a_socket_and_the_socket_ends(live_house, watched, protocol):
    nursery, room, watchers = watched
    sock = await open_in(nursery, live_house, 1, room, protocol)
    await say(sock, room, protocol, is_on=True)
    await believe(watchers, 1)
    session_id, _ = await live_house.house.storage.sessions.create(1, seconds=600)
    other = {"Cookie": f"pitchey-session={session_id}", "Origin": live_house.url}
    typed = await live_house.post(f"/api/conversations/{room}/typing", None, {"isTyping": True}, **other)
    assert typed.status == 200, typed.json
    sock.cut()
    await wait_until(lambda: live_house.house.engine.connections_of(1))
    await trio.sleep(2)
    await believe(watchers, 1)
    await believe(watchers, seconds=TYPING_SECONDS + 2)


async def test_who_leaves_the_room_or_looks_elsewhere_types_there_no_more(live_house, watched):
    nursery, room, watchers = watched
    v1, page = await open_in(nursery, live_house, 1, room), await open_in(nursery, live_house, 4, room, None)
    await say(v1, room, V1, is_on=True)
    await say(page, room, None, is_on=True)
    await believe(watchers, 1, 4)
    await v1.ask("leave", room)
    await believe(watchers, 4)
    await page.send({"type": "leave_conversation", "conversationId": room})
    await believe(watchers)


async def test_who_is_no_member_types_for_nobody_and_who_is_removed_stops(live_house, watched):
    nursery, room, watchers = watched
    await live_house.people(9)
    stranger = await Socket.open(nursery, live_house, 9)
    await stranger.start()
    assert (await stranger.ask("typing", room, on=True))["data"]["code"] == 3004
    page = await Socket.open(nursery, live_house, 9, protocol=None)
    await say(page, room, None, is_on=True)
    member = await open_in(nursery, live_house, 4, room)
    await member.ask("typing", room, on=True)
    await believe(watchers, 4)
    assert (await live_house.delete(f"/api/conversations/{room}/participants/4", 1)).status == 200
    await believe(watchers)
    assert (await member.ask("typing", room, on=True))["data"]["code"] == 3004
    await trio.sleep(1.5)
    await believe(watchers)


async def test_in_a_room_of_over_200_nothing_is_told_and_what_was_is_taken_back(live_house, watched):
    nursery, room, watchers = watched
    typist = await open_in(nursery, live_house, 1, room)
    await typist.ask("typing", room, on=True)
    await believe(watchers, 1)
    crowd = list(range(1000, 1000 + PRESENCE_MEMBERS_MAX))
    await live_house.people(*crowd)
    grown = await live_house.post(f"/api/conversations/{room}/participants", 1, {"userIds": crowd})
    assert grown.status == 200
    await believe(watchers)
    before = [len(sock.of("typing", "user_typing")) for sock in watchers]
    assert (await typist.ask("typing", room, on=True))["type"] == "ack"
    await trio.sleep(1.5)
    assert [len(sock.of("typing", "user_typing")) for sock in watchers] == before


async def test_a_room_that_forgets_who_types_says_so(live_house, watched):
    nursery, room, watchers = watched
    typist = await open_in(nursery, live_house, 1, room)
    await typist.ask("typing", room, on=True)
    await believe(watchers, 1)
    live_house.house.system.kill(live_house.house.sockets.room(room))
    await believe(watchers, seconds=2.5)


@PROTOCOLS
async def test_of_who_is_invisible_nothing_is_told_and_what_they_began_ends(live_house, watched, protocol):
    nursery, room, watchers = watched
    typist, other = [await open_in(nursery, live_house, user, room, protocol) for user in (4, 5)]

    async def appear(status):
        said = await live_house.post("/api/presence/update", 4, {"status": status})
        assert said.status == 200, said.json

    await appear("online")
    await say(typist, room, protocol, is_on=True)
    await believe(watchers, 4)
    await appear("invisible")
    await believe(watchers)
    positions = [await sock.settle() for sock in watchers]
    await say(typist, room, protocol, is_on=True)
    typed = await live_house.post(f"/api/conversations/{room}/typing", 4, {"isTyping": True})
    assert (typed.status, typed.data["isTyping"]) == (200, True), typed.json
    await say(other, room, protocol, is_on=True)
    await believe(watchers, 5)
    for sock, position in zip(watchers, positions, strict=True):
        told = [event for event in sock.events[position:] if "typing" in event["type"]]
        assert "user-4" not in str(told)
        assert "'userId': 4" not in str(told)
        assert not [event for event in told if event["type"] == "typing" and 4 in event["data"].get("users", ())]
    await appear("online")
    await say(typist, room, protocol, is_on=True)
    await believe(watchers, 4, 5)


@pytest.mark.parametrize("status", ["invisible", "offline"])
async def test_what_was_begun_over_rest_ends_with_the_word_that_one_hides(live_house, watched, status):
    _, room, watchers = watched
    typed = await live_house.post(f"/api/conversations/{room}/typing", 4, {"isTyping": True})
    assert typed.status == 200, typed.json
    began_at = trio.current_time()
    await believe(watchers, 4)
    hidden = await live_house.post("/api/presence/update", 4, {"status": status})
    assert hidden.status == 200, hidden.json
    await believe(watchers, seconds=began_at + TYPING_SECONDS - 1 - trio.current_time())
    assert not len(live_house.house.presence.typists)


def shown_to(sock, protocol):
    """Who types as this one was told, by id."""
    if protocol is None:
        told = {event["userId"]: event["isTyping"] for event in sock.of("user_typing")}
        return sorted(user for user, is_typing in told.items() if is_typing)
    lists = [event["data"]["users"] for event in sock.of("typing")]
    return sorted(lists[-1]) if lists else []


@PROTOCOLS
@pytest.mark.parametrize("is_watched", [True, False], ids=["others look on", "nobody looks on"])
async def test_who_comes_while_somebody_types_is_told_at_once_and_then_what_changes(live_house, protocol, is_watched):
    await live_house.people(1, 2, 3, 4, 5)
    room = await live_house.conversation(1, 2, 3, 4, 5)
    assert (await live_house.post("/api/users/5/block", 3, {})).status == 200
    async with open_sockets() as nursery:
        if is_watched:
            await open_in(nursery, live_house, 2, room)
        typists = [await Socket.open(nursery, live_house, user) for user in (1, 4, 5)]
        for typist in typists:  # who is in no room, so that nobody here listens to it
            await typist.start()
            await typist.ask("typing", room, on=True)
        await wait_until(lambda: set(live_house.house.hub.typists.get(room, ())) != {1, 4, 5} and "who types")
        came = await open_in(nursery, live_house, 3, room, protocol)
        await came.settle()
        assert shown_to(came, protocol) == [1, 4]
        assert "user-5" not in str(came.of("typing", "user_typing")), "whom they have blocked"
        await typists[0].ask("typing", room, on=False)
        await wait_until(lambda: shown_to(came, protocol) != [4] and shown_to(came, protocol))
        await typists[1].ask("typing", room, on=False)
        await wait_until(lambda: shown_to(came, protocol) and "the end")


@PROTOCOLS
async def test_who_comes_is_told_of_nobody_who_hides_by_then_nor_of_nobody(live_house, watched, protocol):
    nursery, room, watchers = watched
    typist = await open_in(nursery, live_house, 4, room)
    await typist.ask("typing", room, on=True)
    await believe(watchers, 4)
    live_house.house.hub.publish = lambda event, members: None  # what the room has to say of it is not told yet
    hidden = await live_house.post("/api/presence/update", 4, {"status": "invisible"})
    assert hidden.status == 200, hidden.json
    came = await open_in(nursery, live_house, 5, room, protocol)
    await came.settle()
    assert not came.of("typing", "user_typing")


async def test_what_a_room_says_of_who_has_hidden_since_is_not_told(live_house, watched):
    nursery, room, watchers = watched
    hub = live_house.house.hub
    typist, other = [await open_in(nursery, live_house, user, room) for user in (4, 5)]
    publish, late = hub.publish, []
    hub.publish = lambda event, members: late.append((event, members))
    await typist.ask("typing", room, on=True)
    await wait_until(lambda: not late and "the room's word")
    hidden = await live_house.post("/api/presence/update", 4, {"status": "invisible"})
    assert hidden.status == 200, hidden.json
    hub.publish = publish
    publish(*late[0])
    await other.ask("typing", room, on=True)
    await believe(watchers, 5)
    for sock in watchers:
        await sock.settle()
        assert not any(4 in told for told in said_to_type(sock))


def said_to_type(sock):
    """Everybody of whom the socket was told that they type, by event."""
    typing = [event["data"].get("users", ()) for event in sock.of("typing")]  # of a page it has none
    return [*typing, *([event["userId"]] for event in sock.of("user_typing") if event["isTyping"])]


async def test_a_page_that_comes_again_hears_typing_where_its_user_looked_last(live_house, watched):
    nursery, room, watchers = watched
    other = await live_house.conversation(4, 5)
    typist = await open_in(nursery, live_house, 1, room)
    page = await open_in(nursery, live_house, 4, other, None)
    await page.send({"type": "join_conversation", "conversationId": room})
    await page.expect("conversation_joined", conversationId=room)
    page.cut()
    await wait_until(lambda: live_house.house.engine.connections_of(4) and "its end")
    await typist.ask("typing", room, on=True)
    await believe(watchers, 1)
    again = await Socket.open(nursery, live_house, 4, protocol=None)
    await again.expect("user_typing", userId=1, conversationId=room, isTyping=True)
    await typist.ask("typing", room, on=False)
    await again.expect("user_typing", userId=1, conversationId=room, isTyping=False)
    assert not again.of("conversation_joined", "error"), "it did not ask"
    assert other not in live_house.house.hub.channels, "it looked there before"
    # Once more, after a socket that said nothing of it.
    again.cut()
    await wait_until(lambda: live_house.house.engine.connections_of(4) and "its end")
    third = await Socket.open(nursery, live_house, 4, protocol=None)
    await wait_until(lambda: 4 not in live_house.house.hub.channels[room].compat_typing.values() and "it listens")
    await third.send({"type": "leave_conversation", "conversationId": room})
    await third.expect("conversation_left")


@pytest.mark.parametrize("heard_of_the_end", [False, True], ids=["after it", "into a dead line"])
async def test_a_page_that_comes_again_shows_nobody_who_stopped_typing_meanwhile(
    live_house, watched, type_on, heard_of_the_end
):
    """It takes nobody from its list by itself."""
    nursery, room, watchers = watched
    typist, goes_on = [await open_in(nursery, live_house, user, room) for user in (1, 5)]
    page = await open_in(nursery, live_house, 4, room, None)
    for sock, user in ((typist, 1), (goes_on, 5)):
        await sock.ask("typing", room, on=True)
        await page.expect("user_typing", userId=user, isTyping=True)
    if heard_of_the_end:  # the server said so, and the page may not have heard it
        await typist.ask("typing", room, on=False)
        await page.expect("user_typing", userId=1, isTyping=False)
    page.cut()
    await wait_until(lambda: live_house.house.engine.connections_of(4) and "its end")
    await typist.ask("typing", room, on=False)
    await believe(watchers, 5)
    again = await Socket.open(nursery, live_house, 4, protocol=None)
    await again.expect("user_typing", userId=1, conversationId=room, isTyping=False)
    await again.expect("user_typing", userId=5, conversationId=room, isTyping=True)
    await again.settle()
    assert shown_to(again, None) == [5]


async def test_a_page_that_is_back_before_its_broken_line_is_noticed_looks_where_it_looked(
    live_house, watched, type_on
):
    nursery, room, watchers = watched
    typist, goes_on = [await open_in(nursery, live_house, user, room) for user in (1, 5)]
    page = await open_in(nursery, live_house, 4, room, None)
    for sock, user in ((typist, 1), (goes_on, 5)):
        await sock.ask("typing", room, on=True)
        await page.expect("user_typing", userId=user, isTyping=True)
    page.stop_reading()  # and says nothing: the line is dead, and open to the server
    await typist.ask("typing", room, on=False)
    await believe(watchers, 5)
    again = await Socket.open(nursery, live_house, 4, protocol=None)
    await again.expect("user_typing", userId=1, conversationId=room, isTyping=False)
    await again.expect("user_typing", userId=5, conversationId=room, isTyping=True)
    await again.settle()
    assert shown_to(again, None) == [5]
    await goes_on.ask("typing", room, on=False)
    await again.expect("user_typing", userId=5, conversationId=room, isTyping=False)


async def test_of_who_is_blocked_a_page_that_comes_again_is_not_told_that_they_stopped(live_house, watched):
    nursery, room, watchers = watched
    assert (await live_house.post("/api/users/5/block", 4, {})).status == 200
    page = await open_in(nursery, live_house, 4, room, None)
    typist = await open_in(nursery, live_house, 5, room)
    await typist.ask("typing", room, on=True)
    await believe(watchers, 5)
    page.cut()
    await wait_until(lambda: live_house.house.engine.connections_of(4) and "its end")
    again = await Socket.open(nursery, live_house, 4, protocol=None)
    await again.expect("connected")
    await again.settle()
    assert not again.of("user_typing", "typing")


async def test_a_page_that_comes_again_hears_nothing_of_a_room_that_it_was_removed_from(live_house, watched):
    nursery, room, watchers = watched
    typist = await open_in(nursery, live_house, 1, room)
    page = await open_in(nursery, live_house, 4, room, None)
    page.cut()
    await wait_until(lambda: live_house.house.engine.connections_of(4) and "its end")
    assert (await live_house.delete(f"/api/conversations/{room}/participants/4", 1)).status == 200
    again = await Socket.open(nursery, live_house, 4, protocol=None)
    await again.expect("connected")
    await typist.ask("typing", room, on=True)
    await believe(watchers, 1)
    await again.settle()
    assert {event["type"] for event in again.events} <= {"connected", "pong", "presence_update"}, again.events


@pytest.mark.parametrize("was_known", [True, False])
async def test_a_page_that_looks_before_its_blocks_are_known_is_told_who_types_once_they_are(
    live_house, watched, monkeypatch, was_known
):
    nursery, room, watchers = watched
    assert (await live_house.post("/api/users/5/block", 4, {})).status == 200
    for user in (1, 5):
        await (await open_in(nursery, live_house, user, room)).ask("typing", room, on=True)
    await believe(watchers, 1, 5)
    streams = live_house.house.sockets.streams
    waiting, standing = [], streams.standing
    if not was_known:
        monkeypatch.setattr(streams, "standing", lambda *arguments: waiting.append(arguments))
    page = await Socket.open(nursery, live_house, 4, protocol=None)
    await page.send({"type": "join_conversation", "conversationId": room})
    await page.expect("conversation_joined")
    await page.settle()
    assert bool(page.of("user_typing")) is was_known
    for arguments in waiting:
        standing(*arguments)
    await page.expect("user_typing", userId=1)
    await page.settle()
    assert shown_to(page, None) == [1]


async def test_a_page_that_the_server_ends_is_told_first_that_they_stopped_who_type_there(live_house, watched):
    """Its next socket may be one of a process that knows nothing of it."""
    nursery, room, watchers = watched
    assert (await live_house.post("/api/users/5/block", 4, {})).status == 200
    page = await open_in(nursery, live_house, 4, room, None)
    for user in (1, 5):
        await (await open_in(nursery, live_house, user, room)).ask("typing", room, on=True)
    await believe(watchers, 1, 5)
    await page.expect("user_typing", userId=1, isTyping=True)
    (connection,) = live_house.house.engine.connections_of(4)
    connection.close(DRAINING)
    await page.is_over.wait()
    assert page.close_code == 1012
    assert shown_to(page, None) == []
    assert {event["userId"] for event in page.of("user_typing", "typing")} == {1}


async def test_a_page_that_ends_before_its_blocks_are_known_is_told_of_nobody_nor_is_the_next(
    live_house, watched, monkeypatch
):
    nursery, room, watchers = watched
    assert (await live_house.post("/api/users/5/block", 4, {})).status == 200
    await (await open_in(nursery, live_house, 5, room)).ask("typing", room, on=True)
    await believe(watchers, 5)
    streams = live_house.house.sockets.streams
    streams._forget(4)  # as of whoever has not been here for long
    with monkeypatch.context() as held:
        held.setattr(streams, "standing", lambda *arguments: None)
        page = await Socket.open(nursery, live_house, 4, protocol=None)
        await page.send({"type": "join_conversation", "conversationId": room})
        await page.expect("conversation_joined")
        (connection,) = live_house.house.engine.connections_of(4)
        connection.close(DRAINING)
        await page.is_over.wait()
    again = await Socket.open(nursery, live_house, 4, protocol=None)
    await again.expect("connected")
    await again.settle()
    for one in (page, again):
        assert not one.of("user_typing", "typing")
