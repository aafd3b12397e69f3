"""A user who is called otherwise is so at once, also on the sockets that were open before."""

import time

import pytest
import trio
import trio_websocket
from house_fixture import SocketUnderTest

from greenroom.http.adoption import adopt
from greenroom.runtime import StorageUnavailable
from greenroom.storage.postgres.users import UserChange

ROLE = "creator"


async def presence(socket, room: int) -> dict[int, str]:
    await socket.say({"type": "presence", "id": "p", "room": room})
    users = (await socket.hear("ack"))["data"]["users"]
    return {user["user"]: user["name"] for user in users}


async def test_an_open_v1_socket_speaks_under_the_name_that_was_put(live_house):
    await live_house.people(1, 2)
    room = await live_house.conversation(1, 2)
    async with live_house.socket(1, room) as ann, live_house.socket(2, room) as ben:
        assert (await presence(ben, room))[1] == "user-1"
        assert (await live_house.put("/api/users/1", 1, {"name": "Ann"})).status == 200
        assert (await presence(ben, room))[1] == "Ann"
        await ann.say({"type": "typing", "room": room, "data": {"on": True}})
        assert (await ben.hear("typing"))["data"]["names"] == {"1": "Ann"}
        await ann.say({"type": "send", "id": "a", "room": room, "data": {"body": "hello"}})
        live = await ben.hear("message")
        await ben.say({"type": "history", "id": "h", "room": room, "data": {"limit": 1}})
        replayed = (await ben.hear("ack"))["data"]["messages"][-1]
        assert live["data"]["senderName"] == replayed["senderName"] == "Ann"


async def test_an_open_compat_socket_does_too(live_house):
    await live_house.people(1, 2)
    room = await live_house.conversation(1, 2)
    async with live_house.compat_socket(1) as ann, live_house.compat_socket(2) as ben:
        assert (await live_house.put("/api/users/1", 1, {"name": "Ann"})).status == 200
        await ann.say({"type": "send_message", "conversationId": room, "content": "hello", "requestId": "a"})
        assert (await ben.hear("new_message"))["senderName"] == "Ann"


async def test_a_name_that_the_issuer_changes_reaches_the_sockets_with_the_first_token_that_says_so(live_house):
    await live_house.people(1, 2)
    room = await live_house.conversation(1, 2)
    async with live_house.socket(1, room) as ann, live_house.socket(2, room) as ben:
        issued_at = int(time.time())
        users = live_house.house.storage.users
        assert (await users.know(3, {"name": "Three"}, issued_at)).name == "Three"
        token = live_house.token(1, iat=issued_at + 2, locale="de")  # another field: what was put stands
        await live_house.get("/api/auth/session", headers={"Authorization": f"Bearer {token}"})
        await ann.say({"type": "send", "id": "a", "room": room, "data": {"body": "hello"}})
        assert (await ben.hear("message"))["data"]["senderName"] == "user-1"
    async with live_house.socket(3) as three:
        token = live_house.token(3, iat=issued_at + 2, name="Drei", role=ROLE)
        await live_house.get("/api/auth/session", headers={"Authorization": f"Bearer {token}"})
        [connection] = live_house.house.engine.connections_of(3)
        assert (connection.session.principal.name, connection.session.principal.role) == ("Drei", ROLE)
        await three.say({"type": "ping"})


async def test_a_role_that_was_taken_away_is_taken_from_open_sockets(live_house):
    await live_house.people(1, role="admin")
    await live_house.people(2)
    async with live_house.socket(2):
        await live_house.house.storage.users.change(2, UserChange(role=ROLE))
        assert (await live_house.put("/api/users/2", 1, {"role": "user"})).status == 200
        [connection] = live_house.house.engine.connections_of(2)
        assert connection.session.principal.role == "user"


async def test_a_ticket_from_before_the_change_opens_a_socket_under_the_name_of_now(live_house):
    await live_house.people(1, 2)
    room = await live_house.conversation(1, 2)
    get = live_house.get

    async def get_and_rename(*args):
        reply = await get(*args)
        assert (await live_house.put("/api/users/1", 1, {"name": "Ann"})).status == 200
        return reply

    live_house.get = get_and_rename
    async with live_house.compat_socket(1) as ann:
        await ann.say({"type": "send_message", "conversationId": room, "content": "hello", "requestId": "a"})
        assert (await ann.hear("new_message"))["senderName"] == "Ann"


async def test_a_change_while_the_upgrade_is_under_way_is_not_missed(live_house, monkeypatch: pytest.MonkeyPatch):
    await live_house.people(1, 2)
    room = await live_house.conversation(1, 2)

    async def adopt_and_be_overtaken(*args, **options):
        assert (await live_house.put("/api/users/1", 1, {"name": "Ann"})).status == 200
        return await adopt(*args, **options)

    monkeypatch.setattr("greenroom.http.ws.route.adopt", adopt_and_be_overtaken)
    async with live_house.socket(1, room) as ann:
        await ann.say({"type": "send", "id": "a", "room": room, "data": {"body": "hello"}})
        assert (await ann.hear("message"))["data"]["senderName"] == "Ann"


async def said_by(live_house, user: int) -> tuple[str, str]:
    [connection] = live_house.house.engine.connections_of(user)
    stored = await live_house.house.storage.users.by_id(user)
    return connection.session.principal.name, stored.name


@pytest.mark.parametrize("overtaken", ["change", "by_id"])
async def test_of_two_changes_at_once_the_sockets_say_what_the_row_says(
    live_house, monkeypatch: pytest.MonkeyPatch, overtaken: str
):
    await live_house.people(1)
    users = live_house.house.storage.users
    answer_of = getattr(users, overtaken)

    async def answer_late(*args):
        answer = await answer_of(*args)
        monkeypatch.setattr(users, overtaken, answer_of)
        assert (await live_house.put("/api/users/1", 1, {"name": "Second"})).status == 200
        return answer

    async with live_house.socket(1):
        monkeypatch.setattr(users, overtaken, answer_late)
        assert (await live_house.put("/api/users/1", 1, {"name": "First"})).status == 200
        assert await said_by(live_house, 1) == ("Second", "Second")


async def test_a_token_whose_answer_is_overtaken_by_a_put_takes_nothing_back_on_the_sockets(
    live_house, monkeypatch: pytest.MonkeyPatch
):
    users, issued_at = live_house.house.storage.users, int(time.time())
    await users.know(1, {"name": "Zero"}, issued_at)
    hear = users.hear

    async def hear_late(*args):
        heard = await hear(*args)
        monkeypatch.setattr(users, "hear", hear)
        assert (await live_house.put("/api/users/1", 1, {"name": "Second"})).status == 200
        return heard

    async with live_house.socket(1):
        monkeypatch.setattr(users, "hear", hear_late)
        token = live_house.token(1, iat=issued_at + 2, name="First")
        await live_house.get("/api/auth/session", headers={"Authorization": f"Bearer {token}"})
        assert await said_by(live_house, 1) == ("Second", "Second")


async def test_a_change_while_start_shows_its_token_is_not_missed(live_house, monkeypatch: pytest.MonkeyPatch):
    await live_house.people(1)
    users = live_house.house.storage.users
    hear = users.hear

    async def hear_late(*args):
        heard = await hear(*args)
        monkeypatch.setattr(users, "hear", hear)
        assert (await live_house.put("/api/users/1", 1, {"name": "Ann"})).status == 200
        return heard

    async with trio_websocket.open_websocket_url(live_house.ws_url, subprotocols=["greenroom.v1"]) as connection:
        socket = SocketUnderTest(connection)
        monkeypatch.setattr(users, "hear", hear_late)
        await socket.say({"type": "start", "data": {"token": live_house.token(1), "rooms": []}})
        assert (await socket.hear("ready"))["data"]["name"] == "Ann"
        assert await said_by(live_house, 1) == ("Ann", "Ann")


@pytest.mark.parametrize("how", ["put", "change"])
@pytest.mark.parametrize("lost", ["answer", "caller"])
@pytest.mark.parametrize("is_away", [False, True], ids=["", "and storage is away for a while"])
async def test_a_change_whose_answer_nobody_learns_reaches_the_sockets(
    live_house, monkeypatch: pytest.MonkeyPatch, how: str, lost: str, is_away: bool
):
    await live_house.people(1)
    await live_house.people(2, role="admin")
    users, scope, questions = live_house.house.storage.users, trio.CancelScope(), 0
    answer_of, by_id = getattr(users, how), users.by_id

    async def lose_the_answer(*args):
        await answer_of(*args)
        if lost == "answer":
            raise StorageUnavailable("its answer was lost")
        scope.cancel()
        await trio.lowlevel.checkpoint()

    async def answer_later(user_id):
        nonlocal questions
        questions += 1
        if questions <= 3:
            raise StorageUnavailable("away")
        return await by_id(user_id)

    async with live_house.socket(1):
        headers = {"Authorization": f"Bearer {live_house.token(2 if how == 'put' else 1)}"}
        await live_house.get("/api/auth/session", headers=headers)  # who it is is known from here on
        monkeypatch.setattr(users, how, lose_the_answer)
        monkeypatch.setattr("greenroom.http.ws.people.AGAIN_SECONDS", 0.01)
        if is_away:
            monkeypatch.setattr(users, "by_id", answer_later)
        with scope:
            assert (await live_house.ask("PUT", "/api/users/1", None, {"name": "Ann"}, headers)).status == 503
        assert scope.cancelled_caught == (lost == "caller")
        [connection] = live_house.house.engine.connections_of(1)
        with trio.fail_after(30):
            while connection.session.principal.name != "Ann":  # noqa: ASYNC110 - PostgreSQL is asked before
                await trio.sleep(0.01)
        assert await said_by(live_house, 1) == ("Ann", "Ann")
