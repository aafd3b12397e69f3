"""A commit whose outcome nobody learned: no false ack, no second copy, and no hole for those who listen."""

from contextlib import asynccontextmanager
from dataclasses import replace
from types import MappingProxyType

import pytest
import trio
from first_look import first_look_is_over
from house_fixture import open_house_under_test
from postgres_proxy import open_proxy
from wire import Socket, open_sockets, wait_until

from greenroom.storage.postgres.last_seen import LastSeen


@asynccontextmanager
async def room_behind_a_proxy(database, folder):
    async with (
        open_proxy(database.host) as proxy,
        open_house_under_test(replace(database, host=str(proxy.folder)), folder, listens=True) as house,
    ):
        await house.people(1, 2, 3)
        room = await house.conversation(1, 2, 3)
        await first_look_is_over(house)
        async with open_sockets() as nursery:
            sender = await Socket.open(nursery, house, 1)
            listener = await Socket.open(nursery, house, 2)
            await sender.start(room)
            await listener.start(room)
            for sock in (sender, listener):
                await sock.expect("membership")  # nothing else is on its way to storage
            yield proxy, house, room, nursery, sender, listener


async def say_until_acked(sock, room, text):
    while True:
        reply = await sock.ask("send", room, body=text, clientId=text)
        if reply["type"] == "ack":
            return reply["data"]
        assert reply["data"]["recoverable"], reply


def heard(sock):
    return [(event["seq"], event["data"]["body"]) for event in sock.of("message")]


@pytest.mark.parametrize("lost", ["answer", "question"])
async def test_those_who_listen_have_no_hole_and_no_second_copy(database, tmp_path, lost):
    async with room_behind_a_proxy(database, tmp_path) as (proxy, house, room, nursery, sender, listener):
        await say_until_acked(sender, room, "one")
        (proxy.lose_answer_to if lost == "answer" else proxy.lose_question)(b"two")
        reply = await sender.ask("send", room, body="two", clientId="two")
        assert reply["type"] == "error", "an ack for what nobody knows to be stored"
        assert reply["data"]["error"] == "STORAGE_UNAVAILABLE"
        assert proxy.lost.is_set()
        await say_until_acked(sender, room, "three")  # before the sender has asked again for the second
        again = await say_until_acked(sender, room, "two")
        assert bool(again.get("duplicate")) is (lost == "answer")
        await say_until_acked(sender, room, "four")
        whole = ["one", "two", "three", "four"] if lost == "answer" else ["one", "three", "two", "four"]
        expected = list(enumerate(whole, 1))
        stored = await house.house.storage.conversations.messages_after(room, 1, 0, 100)
        assert [(message.seq, message.content) for message in stored] == expected
        for who, sock in (("who listened", listener), ("the sender", sender)):
            await wait_until(lambda sock=sock, who=who: heard(sock) != expected and (who, heard(sock), expected), 3)
        for after in range(4):
            late = await Socket.open(nursery, house, 3)
            await late.start(resume={"rooms": {str(room): {"seq": after}}})
            assert heard(late) == expected[after:], f"resumed after {after}"


@pytest.mark.parametrize("marker", [b"update participants p", b"COMMIT"], ids=["within", "at the end"])
async def test_a_marker_whose_commit_is_unknown_may_be_moved_again(database, tmp_path, marker):
    async with room_behind_a_proxy(database, tmp_path) as (proxy, house, room, _, sender, listener):
        await say_until_acked(sender, room, "one")
        (proxy.lose_answer_to if marker == b"COMMIT" else proxy.lose_question)(marker)
        reply = await listener.ask("read", room, seq=1)
        assert reply["type"] == "error"
        await wait_until(lambda: house.house.system.storage.is_away and "storage", 5)
        assert proxy.lost.is_set()
        assert (await listener.ask("read", room, seq=1))["data"]["seq"] == 1


@pytest.mark.parametrize("lost", ["question", "answer"])
async def test_a_marker_whose_commit_is_unknown_is_told_once_when_it_is_stored(database, tmp_path, lost):
    async with room_behind_a_proxy(database, tmp_path) as (proxy, house, room, nursery, sender, listener):
        page = await Socket.open(nursery, house, 1, protocol=None)
        await page.expect("connected")
        await say_until_acked(sender, room, "one")
        (proxy.lose_answer_to if lost == "answer" else proxy.lose_question)(b"COMMIT")
        assert (await listener.ask("read", room, seq=1))["type"] == "error"
        await wait_until(lambda: house.house.system.storage.is_away and "storage", 5)
        if lost == "answer":  # nobody asks again: it has been read
            await sender.expect("receipts", seconds=3)
        assert (await listener.ask("read", room, seq=1))["data"]["seq"] == 1
        await sender.expect("receipts", seconds=3)
        await page.expect("message_read", seconds=3)
        for sock in (sender, page):
            await sock.settle()
        assert len(sender.of("receipts")) == len(page.of("message_read")) == 1


async def ask_until_known(house, method, path, user, body=None, headers=MappingProxyType({})):
    """As a client whose request failed: again, until the answer is one."""
    answer = await house.ask(method, path, user, body, headers)
    assert answer.status == 503, "nobody knows yet what became of it"
    await wait_until(lambda: house.house.system.storage.is_away and "storage", 5)
    return await house.ask(method, path, user, body, headers)


@pytest.mark.parametrize("lost", [b"insert into participants", b"COMMIT"], ids=["not stored", "stored"])
async def test_a_removal_whose_commit_is_unknown_leaves_no_socket_in_the_room(database, tmp_path, lost):
    """Stored, and nobody was told: the sockets of who was removed hear the room no longer all the same."""
    async with room_behind_a_proxy(database, tmp_path) as (proxy, house, room, nursery, sender, gone):
        page = await Socket.open(nursery, house, 2, protocol=None)
        await page.expect("connected")
        await say_until_acked(sender, room, "one")
        await gone.expect("message", body="one")
        (proxy.lose_answer_to if lost == b"COMMIT" else proxy.lose_question)(lost)
        again = await ask_until_known(house, "DELETE", f"/api/conversations/{room}/participants/2", 1)
        assert again.status == (404 if lost == b"COMMIT" else 200)
        await gone.expect("member", change="left", user=2, seconds=3)
        at = await gone.settle()
        await sender.expect("member", change="left", user=2, seconds=3)
        await say_until_acked(sender, room, "not for them")
        for sock in (sender, gone, page):
            await sock.settle()
        assert "not for them" not in str(gone.events[at:])
        assert "not for them" not in str(page.events)
        assert (await gone.ask("send", room, body="let me in"))["data"]["error"] == "NOT_MEMBER"


@pytest.mark.parametrize("lost", [b"insert into participants", b"COMMIT"], ids=["not stored", "stored"])
async def test_an_entry_whose_commit_is_unknown_is_told_when_it_is_known(database, tmp_path, lost):
    async with room_behind_a_proxy(database, tmp_path) as (proxy, house, room, nursery, sender, _):
        await house.people(4)
        new, page = await Socket.open(nursery, house, 4), await Socket.open(nursery, house, 4, protocol=None)
        await new.start()
        await page.expect("connected")
        await say_until_acked(sender, room, "one")
        (proxy.lose_answer_to if lost == b"COMMIT" else proxy.lose_question)(lost)
        path = f"/api/conversations/{room}/participants"
        again = await ask_until_known(house, "POST", path, 1, {"userIds": [4]})
        assert (again.status, again.data["added"]) == (200, [] if lost == b"COMMIT" else [4])
        for sock in (new, sender):
            await sock.expect("member", change="joined", user=4, seconds=3)
        await say_until_acked(sender, room, "welcome")
        await page.expect("new_message", content="welcome", seconds=3)
        assert len(new.of("member")) == 1


@pytest.mark.parametrize("lost", ["question", "answer"])
async def test_a_notification_whose_commit_is_unknown_is_told_once_to_all_that_is_open(database, tmp_path, lost):
    async with room_behind_a_proxy(database, tmp_path) as (proxy, house, _, nursery, sender, _):
        pages = [await Socket.open(nursery, house, 1, protocol=None) for _ in range(2)]
        for page in pages:
            await page.expect("connected")
        assert (await house.post("/api/notifications/send", 1, {"title": "before", "message": "m"})).status == 201
        (proxy.lose_answer_to if lost == "answer" else proxy.lose_question)(b"COMMIT")
        asked = "/api/notifications/send", 1, {"title": "news", "message": "m"}
        again = await ask_until_known(house, "POST", *asked, headers={"Idempotency-Key": "k"})
        assert again.status == 201
        for page in pages:
            await page.expect("notification", title="news", seconds=3)
            await page.expect("unread_count", count=2, seconds=3)
        assert (await house.post("/api/notifications/send", 1, {"title": "after", "message": "m"})).status == 201
        for sock in (*pages, sender):
            await sock.expect("notification", title="after")
            await sock.settle()
            titles = [event["data"]["title"] for event in sock.of("notification")]
            assert titles == ["before", "news", "after"]


@pytest.mark.parametrize("method", ["PUT", "DELETE"], ids=["read", "deleted"])
async def test_marks_whose_commit_is_unknown_are_told_to_all_pages(database, tmp_path, method):
    async with room_behind_a_proxy(database, tmp_path) as (proxy, house, _, nursery, _, _):
        page = await Socket.open(nursery, house, 1, protocol=None)
        await page.expect("connected")
        sent = await house.post("/api/notifications/send", 1, {"title": "news", "message": "m"})
        await page.expect("unread_count", count=1)
        proxy.lose_answer_to(b"COMMIT")
        path = f"/api/notifications/{sent.data['id']}" + ("/read" if method == "PUT" else "")
        await ask_until_known(house, method, path, 1)
        await page.expect("unread_count", count=0, seconds=3)
        await page.settle()
        assert len(page.of("notification_update")) == 1


async def refusals(house, nursery, direct, *users):
    """What becomes of a message of each of *users* to the other one, by every way there is: None when it is sent."""
    found = []
    for user in users:
        sock, page = await Socket.open(nursery, house, user), await Socket.open(nursery, house, user, protocol=None)
        await sock.start()
        await page.expect("connected")
        reply = await sock.ask("send", direct, body="v1", clientId="v1")
        found.append(reply["data"].get("error"))
        posted = await house.post(f"/api/conversations/{direct}/messages", user, {"content": "REST"})
        found.append(None if posted.status == 201 else posted.code)
        await page.send({"type": "send_message", "conversationId": direct, "content": "page", "requestId": "r"})
        await wait_until(lambda page=page: None if page.of("message_sent", "error") else "an answer to the page")
        (answer,) = page.of("message_sent", "error")
        found.append("USER_BLOCKED" if answer.get("code") == 3003 else answer.get("code"))
    return found


@asynccontextmanager
async def two_who_speak(database, folder, *, are_apart):
    """(the proxy, the house, their conversation, which is awake, a nursery, who blocks or has blocked, the other)."""
    async with room_behind_a_proxy(database, folder) as (proxy, house, _, nursery, sender, listener):
        direct = await house.conversation(1, 2, isGroup=False)
        for sock in (sender, listener):
            await sock.expect("membership", room=direct)
        await say_until_acked(sender, direct, "before")
        if are_apart:
            assert (await sender.ask("block", user=2))["type"] == "ack"
        yield proxy, house, direct, nursery, sender, listener


@pytest.mark.parametrize("command", ["block", "unblock"])
async def test_a_block_whose_commit_is_unknown_holds_in_their_room_when_it_is_asked_again(database, tmp_path, command):
    are_apart = command == "unblock"
    async with two_who_speak(database, tmp_path, are_apart=are_apart) as (proxy, house, direct, nursery, sock, _):
        proxy.lose_answer_to(b"COMMIT")
        assert (await sock.ask(command, user=2))["data"]["error"] == "STORAGE_UNAVAILABLE"
        assert proxy.lost.is_set()
        while (again := await sock.ask(command, user=2))["type"] == "error":
            assert again["data"]["recoverable"], again
        assert await refusals(house, nursery, direct, 1, 2) == [None if are_apart else "USER_BLOCKED"] * 6


@pytest.mark.parametrize("command", ["block", "unblock"])
async def test_a_block_whose_commit_is_unknown_holds_in_their_room_though_nobody_asks_again(
    database, tmp_path, command
):
    are_apart = command == "unblock"
    async with two_who_speak(database, tmp_path, are_apart=are_apart) as (proxy, house, direct, nursery, sock, other):
        proxy.lose_answer_to(b"COMMIT")
        assert (await sock.ask(command, user=2))["data"]["error"] == "STORAGE_UNAVAILABLE"
        wanted = None if are_apart else "USER_BLOCKED"
        with trio.fail_after(10):
            while (await other.ask("send", direct, body="x"))["data"].get("error") != wanted:
                pass
        assert await refusals(house, nursery, direct, 1, 2) == [wanted] * 6


async def test_an_outage_that_nobody_asked_through_leaves_the_room_as_it_was(database, tmp_path):
    async with room_behind_a_proxy(database, tmp_path) as (proxy, _, room, _, sender, listener):
        await say_until_acked(sender, room, "one")
        await proxy.cut_all()
        reply = await sender.ask("send", room, body="two", clientId="two")
        assert reply["data"]["error"] == "STORAGE_UNAVAILABLE"
        proxy.open_again()
        await say_until_acked(sender, room, "two")
        await wait_until(lambda: heard(listener) != [(1, "one"), (2, "two")] and f"only {heard(listener)}", 5)


async def test_a_commit_that_fails_when_the_actors_have_stopped_ends_nothing(database, tmp_path):
    async with room_behind_a_proxy(database, tmp_path) as (_, house, _, _, _, _):
        system = house.house.system
    system.storage.lost("the committer outlives the actors, and its last batch may fail")


async def test_a_process_whose_registration_is_stored_while_nobody_learned_of_it_goes_on(
    database, tmp_path, monkeypatch
):
    monkeypatch.setattr("greenroom.storage.postgres.last_seen.FLUSH_SECONDS", 0.05)
    async with room_behind_a_proxy(database, tmp_path) as (proxy, house, _, nursery, _, _):
        postgres = house.house.storage.postgres
        last_seen = LastSeen(postgres)
        proxy.lose_answer_to(last_seen._run_id.bytes)
        nursery.start_soon(last_seen.run)
        with trio.fail_after(10):
            await proxy.lost.wait()
        last_seen.put(3, is_online=False, at_ms=1_700_000_000_000)
        with trio.fail_after(10):
            while (await postgres.fetch("select_last_seen", [3]))[0]["times"] != [1_700_000_000_000]:
                await trio.lowlevel.checkpoint()
