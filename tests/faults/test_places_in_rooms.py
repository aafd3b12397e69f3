"""A connection is in so many rooms at most, and those that its user was removed from are none of them."""

from wire import Socket, open_sockets, wait_until

MOST = 3


async def removed_from(house, rooms, user):
    for room in rooms:
        assert (await house.delete(f"/api/conversations/{room}/participants/{user}", 1)).status == 200


async def test_rooms_that_one_was_removed_from_make_room_for_others(live_house, monkeypatch):
    """They held their places for as long as the connection lived: whoever was removed from 200 could join no other."""
    monkeypatch.setattr("greenroom.http.ws.v1.ROOMS_MAX", MOST)
    house = live_house
    await house.people(1, 2)
    rooms = [await house.conversation(1, 2) for _ in range(MOST + 3)]
    async with open_sockets() as nursery:
        sock = await Socket.open(nursery, house, 2)
        await sock.start(*rooms[:MOST])
        assert (await sock.ask("join", rooms[MOST]))["data"]["code"] == 4293
        await removed_from(house, rooms[: MOST - 1], 2)
        await wait_until(lambda: len(sock.of("member")) < MOST - 1 and "that one is out")
        for room in rooms[MOST : MOST + 2]:
            assert (await sock.ask("join", room))["type"] == "ack"
        assert (await sock.ask("join", rooms[-1]))["data"]["code"] == 4293
        assert (await sock.ask("join", rooms[MOST - 1]))["type"] == "ack", "it is in this one"


async def test_a_page_hears_typing_in_the_rooms_that_it_selected_last(live_house, monkeypatch):
    monkeypatch.setattr("greenroom.http.ws.compat.CHANNELS_MAX", MOST)
    house = live_house
    await house.people(1, 2)
    rooms = [await house.conversation(1, 2) for _ in range(MOST + 2)]
    async with open_sockets() as nursery:
        page = await Socket.open(nursery, house, 2, protocol=None)
        await page.expect("connected")
        for room in rooms[:MOST]:
            await page.send({"type": "join_conversation", "conversationId": room})
            await page.expect("conversation_joined", conversationId=room)
        await removed_from(house, rooms[:1], 2)
        await page.send({"type": "join_conversation", "conversationId": rooms[MOST]})
        await page.expect("conversation_joined", conversationId=rooms[MOST])
        assert not page.of("conversation_left")
        await page.send({"type": "join_conversation", "conversationId": rooms[-1]})
        await page.expect("conversation_joined", conversationId=rooms[-1])
        assert [event["conversationId"] for event in page.of("conversation_left")] == [rooms[1]], "selected longest ago"
        for room in (rooms[1], rooms[-1]):
            assert (await house.post(f"/api/conversations/{room}/typing", 1, {"isTyping": True})).status == 200
        await page.expect("user_typing", conversationId=rooms[-1])
        await page.settle()
        assert {event["conversationId"] for event in page.of("user_typing")} == {rooms[-1]}
