"""While storage keeps a room waiting people come and go: each message is for those who were in at its own moment."""

from functools import partial

import pytest
from held import holding_table
from house_fixture import open_house_under_test
from wire import Socket, open_sockets, wait_until

from greenroom.actors.room.state import NEWCOMERS_MAX
from greenroom.runtime.address import Address


def words(sock, kind):
    return [event["content"] if kind == "new_message" else event["data"]["body"] for event in sock.of(kind)]


async def test_each_message_is_for_the_members_of_its_own_turn(live_house, database):
    await live_house.people(1, 2, 3)
    room = await live_house.conversation(1, 2)
    async with open_sockets() as nursery:
        sender, v1_goes = [await Socket.open(nursery, live_house, user) for user in (1, 2)]
        goes, comes = [await Socket.open(nursery, live_house, user, protocol=None) for user in (2, 3)]
        for sock in (sender, v1_goes):
            await sock.start(room)
        for sock in (goes, comes):
            await sock.expect("connected")
        cell = live_house.house.system.activations[Address("room", room)]
        path, statuses = f"/api/conversations/{room}/participants", []

        async def decided(method, *arguments):
            """Have the room decide something, and wait for the decision, not for its commit."""
            turns = cell.turns

            async def ask():
                answer = await method(*arguments)
                statuses.append(answer.status if hasattr(answer, "status") else answer["type"])

            nursery.start_soon(ask)
            await wait_until(lambda: cell.turns <= turns and "the turn", 5)

        async def say(word):
            return await sender.ask("send", room, body=word)

        async with holding_table(database, "ownership"):
            await decided(say, "before both")
            await decided(live_house.post, path, 1, {"userIds": [3]})
            await decided(say, "both are in")
            await decided(live_house.delete, f"{path}/2", 1)
            await decided(say, "after both")
            for sock in (sender, goes, comes):
                await sock.settle()
                assert not sock.of("message", "new_message", "member"), "told before it was stored"
            assert statuses == []
        await wait_until(lambda: len(statuses) < 5 and f"only {statuses}", 5)
        assert sorted(map(str, statuses)) == ["200", "200", "ack", "ack", "ack"]
        for sock in (sender, v1_goes, goes, comes):
            await sock.settle()
        assert words(sender, "message") == ["before both", "both are in", "after both"]
        assert words(v1_goes, "message") == ["before both", "both are in"]
        assert words(goes, "new_message") == ["before both", "both are in"]
        assert words(comes, "new_message") == ["both are in", "after both"]


async def test_a_removal_and_an_entry_that_wait_together_are_decided_one_after_the_other(live_house, database):
    """Who was removed may not come back by a request that was decided before the removal was stored."""
    await live_house.people(1, 2)
    lobby = await live_house.conversation(1, 2, open=True)
    path = f"/api/conversations/{lobby}"
    statuses = {}

    async def ask(name, method, *arguments):
        statuses[name] = (await method(*arguments)).status

    async with open_sockets() as nursery:
        await live_house.post(f"{path}/messages", 1, {"content": "the room is awake"})
        cell = live_house.house.system.activations[Address("room", lobby)]
        async with holding_table(database, "ownership"):
            turns = cell.turns
            nursery.start_soon(ask, "removed", live_house.delete, f"{path}/participants/2", 1)
            await wait_until(lambda: cell.turns <= turns and "the removal", 5)
            nursery.start_soon(ask, "back", live_house.post, f"{path}/join", 2)
            await wait_until(lambda: cell.turns <= turns + 1 and "the entry", 5)
            assert statuses == {}
        await wait_until(lambda: len(statuses) < 2 and f"only {statuses}", 5)
    assert statuses == {"removed": 200, "back": 403}


@pytest.mark.parametrize("house_settings", [{"messages_per_minute": 3}])
async def test_who_leaves_and_enters_again_before_that_is_stored_is_charged_like_anybody(live_house, database):
    """Storage has them in it still: they would come and go without end, and each time all others are told."""
    await live_house.people(1, 2)
    lobby = await live_house.conversation(1, 2, open=True)
    path = f"/api/conversations/{lobby}"
    await live_house.post(f"{path}/messages", 1, {"content": "the room is awake"})
    cell = live_house.house.system.activations[Address("room", lobby)]
    statuses = []

    async def leave():
        assert (await live_house.delete(f"{path}/participants/2", 2)).status == 200

    async def enter():
        reply = await live_house.post(f"{path}/join", 2)
        statuses.append(reply.status)
        if reply.status == 429:
            assert int(reply.headers["Retry-After"]) > 30

    for number in range(4):
        async with open_sockets() as nursery:
            async with holding_table(database, "ownership"):
                turns = cell.turns
                nursery.start_soon(leave)
                await wait_until(lambda turns=turns: cell.turns <= turns and "that they leave", 5)
                nursery.start_soon(enter)
                await wait_until(lambda turns=turns: cell.turns <= turns + 1 and "that they enter", 5)
            await wait_until(lambda number=number: len(statuses) <= number and "the answer", 5)
    assert statuses == [200, 200, 200, 429]
    assert (await live_house.post(f"{path}/participants", 1, {"userIds": [2]})).status == 200
    assert (await live_house.post(f"{path}/join", 2)).status == 200, "who is in is told so, whatever they have used up"


async def test_an_addition_that_is_refused_in_its_middle_says_who_is_in_and_is_repeated_for_the_rest(
    live_house, database
):
    """A room takes so many at a time; here its admin leaves in between."""
    crowd = list(range(10, 10 + 2 * NEWCOMERS_MAX + 44))
    await live_house.people(1, 2)
    await live_house.crowd(crowd)
    room = await live_house.conversation(1, 2)
    path = f"/api/conversations/{room}"
    await live_house.post(f"{path}/messages", 1, {"content": "the room is awake"})
    cell = live_house.house.system.activations[Address("room", room)]
    replies = {}

    async def ask(name, method, *arguments, **headers):
        replies[name] = await method(*arguments, **headers)

    async with open_sockets() as nursery:
        async with holding_table(database, "ownership"):
            turns = cell.turns
            body, key = {"userIds": crowd}, {"idempotency_key": "k"}
            nursery.start_soon(partial(ask, "added", live_house.post, f"{path}/participants", 1, body, **key))
            await wait_until(lambda: cell.turns <= turns and "the first of them", 5)
            nursery.start_soon(ask, "left", live_house.delete, f"{path}/participants/1", 1)
            await wait_until(lambda: cell.turns <= turns + 1 and "that the admin leaves", 5)
        await wait_until(lambda: len(replies) < 2 and f"only {replies}", 10)
        added = replies["added"]
        assert (added.status, added.code, replies["left"].status) == (403, "FORBIDDEN", 200)
        assert added.json["error"]["details"] == {"added": crowd[:NEWCOMERS_MAX]}
        again = await live_house.post(f"{path}/participants", 2, body)
        assert (again.status, again.data["added"]) == (200, crowd[NEWCOMERS_MAX:])
        people = (await live_house.get(f"{path}/participants", 2)).data["participants"]
        assert [person["user_id"] for person in people] == [2, *crowd]


async def test_a_room_that_finds_it_was_owned_elsewhere_lets_go_of_whom_was_removed_there(
    live_house, database, tmp_path
):
    """Two processes on one database are not supported yet; even so nobody hears a room that they were removed from."""
    async with open_house_under_test(database, tmp_path / "elsewhere", listens=False) as elsewhere:
        await live_house.people(1, 2)
        room = await live_house.conversation(1, 2)
        async with open_sockets() as nursery:
            sender, gone = [await Socket.open(nursery, live_house, user) for user in (1, 2)]
            for sock in (sender, gone):
                await sock.start(room)
            await sender.ask("send", room, body="one")
            await gone.expect("message", body="one")
            said = await elsewhere.post(f"/api/conversations/{room}/messages", 1, {"content": "said elsewhere"})
            assert said.status == 201
            removed = await elsewhere.delete(f"/api/conversations/{room}/participants/2", 1)
            assert removed.status == 200
            ack = await sender.ask("send", room, body="not for them")
            assert (ack["type"], ack["data"]["seq"]) == ("ack", 4), "the removal has the place before it"
            await gone.expect("member", change="left", user=2)
            for sock in (sender, gone):
                await sock.settle()
            assert words(sender, "message") == ["one", "said elsewhere", "not for them"]
            assert "not for them" not in str(gone.events)
