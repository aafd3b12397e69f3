"""A page that searches: whatever it asks, and however long it waits for others, all else of it goes on."""

import pytest
import trio
from wire import Socket, open_sockets


async def page_of(nursery, house, user):
    page = await Socket.open(nursery, house, user, protocol=None)
    await page.expect("connected")
    return page


@pytest.mark.wrong_frames
async def test_where_nothing_is_nothing_is_found_and_without_a_place_everything(live_house):
    await live_house.people(1, 2)
    room = await live_house.conversation(1, 2)
    assert (await live_house.post(f"/api/conversations/{room}/messages", 2, {"content": "hello"})).status == 201
    async with open_sockets() as nursery:
        page = await page_of(nursery, live_house, 1)
        numbers = iter(range(100))

        async def search(**asked):
            name = f"s{next(numbers)}"
            await page.send({"type": "search_messages", "query": "hello", **asked, "requestId": name})
            with trio.fail_after(10):
                while True:
                    told = [one for one in page.of("search_results", "error") if one["data"].get("requestId") == name]
                    if told:
                        return told[0]
                    await trio.sleep(0.01)

        for everywhere in ({}, {"conversationId": None}, {"conversationId": ""}, {"beforeSeq": 1}):
            assert len((await search(**everywhere))["messages"]) == 1, everywhere
        for there in (room, str(room)):
            assert len((await search(conversationId=there, beforeSeq=None))["messages"]) == 1
            assert len((await search(conversationId=there, beforeSeq=""))["messages"]) == 1
            assert len((await search(conversationId=there, beforeSeq="2"))["messages"]) == 1
            for before in (0, 1, "1", -1, 1.5, 5.0, [], True, "none"):
                found = await search(conversationId=there, beforeSeq=before)
                assert (found["messages"], found["hasMore"]) == ([], False), before
        for nowhere in (0, -1, "abc", "0", 1.5, [], {}, True, "9999999999999999", room + 1):
            assert (await search(conversationId=nowhere))["data"]["code"] == 3001, nowhere
        for limit in (0, 51, "3", None):
            assert len((await search(limit=limit))["messages"]) == 1
        await page.settle()
        assert page.close_code is None


async def test_what_a_page_asks_else_is_answered_while_its_search_waits_for_others(live_house, monkeypatch):
    await live_house.people(1, 2, 3)
    await live_house.conversation(1, 2, 3)
    searches, goes_on = live_house.house.sockets.searches, trio.Event()
    find = searches.storage.find

    async def held(*arguments):
        await goes_on.wait()
        return await find(*arguments)

    monkeypatch.setattr(searches.storage, "find", held)
    async with open_sockets() as nursery:
        pages = [await page_of(nursery, live_house, user) for user in (1, 2, 3)]
        for page in pages:
            await page.send({"type": "search_messages", "query": "hello", "requestId": "first"})
            await page.settle()
        await pages[2].send({"type": "search_messages", "query": "hello", "requestId": "second"})
        assert (await pages[2].expect("error", requestId="second"))["data"]["code"] == 4291
        for asked, answer in (("get_online_users", "online_users"), ("request_initial_data", "initial_data")):
            await pages[2].send({"type": asked})
            await pages[2].expect(answer)
        assert not pages[2].of("search_results")
        pages[1].cut()
        goes_on.set()
        for page in (pages[0], pages[2]):
            await page.expect("search_results", requestId="first")
        back = await page_of(nursery, live_house, 2)
        await back.send({"type": "search_messages", "query": "hello"})
        await back.expect("search_results")
    assert searches.searching == set()
    assert searches.places.borrowed_tokens == 0
