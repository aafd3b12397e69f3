"""While storage says nothing a page's pings are answered and what it types is told, whatever it has said before."""

from dataclasses import replace

import trio
from house_fixture import open_house_under_test
from postgres_proxy import open_proxy
from wire import open_in, open_sockets

PONG_SECONDS = 10.0  # the existing client waits so long (existing-system.md section 2.6)


async def test_what_waits_for_storage_holds_neither_a_pong_nor_typing(database, tmp_path):
    async with (
        open_proxy(database.host) as proxy,
        open_house_under_test(replace(database, host=str(proxy.folder)), tmp_path, listens=True) as house,
    ):
        await house.people(1, 2, 3)
        room, other = await house.conversation(1, 2, 3), await house.conversation(1, 3)
        said = await house.post(f"/api/conversations/{room}/messages", 1, {"content": "to be edited"})
        async with open_sockets() as nursery:
            page, onlooker = [await open_in(nursery, house, user, room, None) for user in (1, 2)]
            await page.settle()
            proxy.hold()
            try:
                began, at = trio.current_time(), len(page.events)
                for number in range(20):
                    text = f"{number} {'x' * 9000}"
                    for frame in (
                        {"type": "edit_message", "messageId": said.data["messageId"]},
                        {"type": "message", "targetUserId": 2},
                        {"type": "send_message", "conversationId": other},
                    ):
                        await page.send({**frame, "content": text, "requestId": f"r{number}"})
                await page.send({"type": "typing_start", "conversationId": room})
                await page.send({"type": "ping", "id": "p"})
                await page.expect("pong", after=at, seconds=PONG_SECONDS)
                await onlooker.expect("user_typing", userId=1, isTyping=True)
                await page.send({"type": "typing_stop", "conversationId": room})
                await onlooker.expect("user_typing", userId=1, isTyping=False)
                assert trio.current_time() - began < PONG_SECONDS
                answers = {event["type"] for event in page.events[at:]} - {"presence_update", "user_online"}
                assert answers == {"pong"}, "all else waits"
            finally:
                proxy.release()
            await page.expect("message_sent", requestId="r19")
