"""Clocks order nothing: where the machine's clock goes back between messages, every road shows them as `seq` has it."""

from wire import Socket, open_sockets, wait_until

from greenroom.runtime.passivation import passivate_if_idle

COUNT = 12
MINUTE_MS = 60_000


class Jumpy:
    """The clock of the machine, off by so much."""

    def __init__(self, clock):
        self._clock, self.off_ms = clock, 0
        self.busy_seconds = clock.busy_seconds

    def wall_milliseconds(self):
        return self._clock.wall_milliseconds() + self.off_ms


def bodies(events):
    return [event["data"]["body"] for event in events]


async def test_messages_are_told_replayed_and_listed_in_their_order_where_the_clock_goes_back(live_house):
    await live_house.people(1, 2)
    room = await live_house.conversation(1, 2)
    system = live_house.house.system
    clock = system.clock = Jumpy(system.clock)
    said = [f"m{number}" for number in range(COUNT)]
    async with open_sockets() as nursery:
        one, two = [await Socket.open(nursery, live_house, user) for user in (1, 2)]
        for sock in (one, two):
            await sock.start(room)
        for number, body in enumerate(said):
            clock.off_ms = -MINUTE_MS * (number if number % 3 else -number)  # back, and forth, and back again
            assert (await one.ask("send", room, body=body))["data"]["seq"] == number + 1
        clock.off_ms = 0
        await two.expect("message", seq=COUNT)
        times = [event["ts"] for event in two.of("message")]
        assert times != sorted(times)
        assert bodies(two.of("message")) == said

        async def all_roads():
            page = (await one.ask("history", room, before=COUNT + 1, limit=50))["data"]["messages"]
            assert [(message["seq"], message["body"]) for message in page] == list(enumerate(said, 1))
            around = (await one.ask("history", room, around=6, limit=4))["data"]["messages"]
            assert [message["seq"] for message in around] == sorted(message["seq"] for message in around)
            late = await Socket.open(nursery, live_house, 2)
            await late.start(resume={"rooms": {str(room): {"seq": 0}}})
            await late.expect("message", seq=COUNT)
            assert bodies(late.of("message")) == said
            listed = (await live_house.get(f"/api/conversations/{room}", 1)).data["messages"]
            assert [message["content"] for message in listed] == said
            polled = (await live_house.get("/api/poll/messages", 2, conversation=room)).data["messages"]
            assert [message["content"] for message in polled] == said
            newest = await live_house.house.storage.conversations.unread_messages(2, 5)
            assert [message.content for message in newest] == said[-5:], "the newest of the log, not of the clock"
            (shown,) = (await live_house.get("/api/conversations", 1)).data["conversations"]
            assert shown["last_message"] == said[-1]

        await all_roads()
        cell = next(cell for address, cell in system.activations.items() if address.kind == "room")
        await wait_until(lambda: not passivate_if_idle(cell) and "the end of the room in memory")
        await all_roads()
