"""The first frame of a greenroom.v1 connection: what the client may do here."""

import pytest

LIMITED = {"messages_per_minute": 50, "ws_commands_per_minute": 240}


@pytest.mark.parametrize(
    ("house_settings", "send", "commands"),
    [
        (LIMITED, "50/60s", "240/60s"),
        ({**LIMITED, "messages_per_minute": 0}, None, "240/60s"),
        ({**LIMITED, "ws_commands_per_minute": 0}, "50/60s", None),
    ],
)
async def test_hello_tells_the_limits_that_there_are_and_no_others(live_house, send, commands):
    await live_house.people(1)
    async with live_house.socket(1) as socket:
        limits = (await socket.hear("hello"))["data"]["limits"]
    assert (limits.get("send"), limits.get("cmds")) == (send, commands)
    assert {"frame", "inflight", "rooms", "summaries", "commands"} == set(limits) - {"send", "cmds", "typing"}
