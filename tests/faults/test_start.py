"""`start`: what a client says of itself, which only the log is told."""

import pytest
import structlog
from wire import Socket, open_sockets


async def test_a_client_may_say_what_it_is_and_the_log_has_it(live_house):
    await live_house.people(1)
    with structlog.testing.capture_logs() as logs:
        async with open_sockets() as nursery:
            for given in (
                {"client": {"name": "page", "ver": "1.2"}, "caps": ["unknown", "x" * 64]},
                {"client": {"name": "é p"}, "caps": []},
                {},
            ):
                sock = await Socket.open(nursery, live_house, 1)
                ready = await sock.start(**given)
                assert not {"client", "caps"} & set(ready["data"])
    told = [(log["user"], log["client"], log["version"]) for log in logs if log["event"] == "session.started"]
    assert told == [(1, "page", "1.2"), (1, "é p", None)]


@pytest.mark.parametrize(
    "given",
    [
        {"client": {"ver": "1"}},
        {"client": {"name": ""}},
        {"client": {"name": "x" * 65}},
        {"client": {"name": "a\nb"}},
        {"client": {"name": "a", "ver": 1}},
        {"client": "page"},
        {"caps": ["x"] * 33},
        {"caps": ["\x1b[2J"]},
        {"caps": "x"},
    ],
    ids=str,
)
async def test_what_no_client_can_be_is_an_error_and_start_may_be_said_again(live_house, given):
    await live_house.people(1)
    async with open_sockets() as nursery:
        sock = await Socket.open(nursery, live_house, 1)
        refused = await sock.ask("start", **given)
        assert (refused["type"], refused["data"]["error"]) == ("error", "BAD_FRAME")
        await sock.start()
