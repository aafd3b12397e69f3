"""The first frame of a greenroom.v1 connection: what the client may do here."""

import pytest

from greenroom.http.ws.schemas.v1_hello import Limits

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
    assert set(limits) | {"send", "cmds", "typing"} == set(Limits.__annotations__)


@pytest.mark.parametrize("house_settings", [{"message_edit_seconds": 0, "uploads_per_minute": 0}])
async def test_what_is_off_is_left_out_and_the_address_of_the_socket_tells_the_same(live_house):
    await live_house.people(1)
    async with live_house.socket(1) as socket:
        limits = (await socket.hear("hello"))["data"]["limits"]
    assert not {"edit", "uploads", "send", "cmds", "typing"} & set(limits)
    assert (limits["sockets"], limits["file"]) == (20, 10_485_760)
    assert (await live_house.get("/ws/info")).data["limits"] == limits


def filled(command, name, count):
    """A command that goes as far as so many of *name*."""
    text = "x" * count
    kind, data = {
        "body": ("send", {"body": text}),
        "clientId": ("send", {"body": "x", "clientId": text}),
        "mentions": ("send", {"body": "x", "mentions": list(range(1, count + 1))}),
        "attachments": ("send", {"body": "x", "attachments": [f"key{number}" for number in range(count)]}),
        "reaction": ("react", {"message": 1, "reaction": text}),
        "note": ("presence", {"status": "busy", "note": text}),
        "reason": ("block", {"user": 2, "reason": text}),
        "history": ("history", {"limit": count}),
        "members": ("members", {"limit": count}),
        "watched": ("watch", {"users": [1] * count}),
    }[name]
    return {**command, "type": kind, "data": data}


FOR_SIZE = ("BAD_FRAME", "INVALID_CONTENT")


@pytest.mark.parametrize(
    "name",
    ["body", "clientId", "mentions", "attachments", "reaction", "note", "reason", "history", "members", "watched"],
)
async def test_up_to_what_hello_tells_nothing_is_refused_for_its_size_and_one_more_is(live_house, name):
    await live_house.people(1, 2)
    room = await live_house.conversation(1, 2)
    async with live_house.socket(1, room) as socket:
        limits = (await socket.hear("hello"))["data"]["limits"]
        errors = []
        for count in (limits[name], limits[name] + 1):
            about = {} if name in ("note", "reason", "watched") else {"room": room}
            await socket.say(filled({"id": "x", **about}, name, count))
            answer = await socket.hear("ack", "error")
            errors.append(answer["type"] == "error" and answer["data"]["error"])
    assert errors[0] not in FOR_SIZE, errors
    assert errors[1] in FOR_SIZE, errors


@pytest.mark.wrong_frames
async def test_the_id_and_the_number_of_commands_go_as_far_as_hello_tells(live_house):
    await live_house.people(1)
    async with live_house.socket(1) as socket:
        limits = (await socket.hear("hello"))["data"]["limits"]
        await socket.say([{"type": "ping", "id": "x" * limits["id"]}] * limits["commands"])
        for _ in range(limits["commands"]):
            assert (await socket.hear("pong", "error"))["type"] == "pong"
        await socket.say([{"type": "ping", "id": "x"}] * (limits["commands"] + 1))
        assert (await socket.hear("pong", "error"))["type"] == "error"
        await socket.say({"type": "ping", "id": "x" * (limits["id"] + 1)})
        assert (await socket.hear("pong", "error"))["type"] == "error"
