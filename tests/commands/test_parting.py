"""What a chat waits for before it leaves; by the virtual clock."""

import trio
import trio.testing

from greenroom.client import CaughtUp, Confirmed, Connected, Delayed, Event, RoomRefused, Said, Typing, Undelivered
from greenroom.commands.parting import SILENCE_SECONDS_MAX, VAIN_SECONDS_MAX, Parting

ROOM = 42


def own(client_id: str) -> Said:
    return Said(ROOM, 1, 7, "Ann", "hello", 0, client_id, is_own=True)


async def waited(parting: Parting, *events: tuple[float, Event]) -> tuple[bool, float]:
    """Whether all was shown and how long that took, while these come, each so many seconds after the one before."""
    began = trio.current_time()

    async def tell() -> None:
        for seconds, event in events:
            await trio.sleep(seconds)
            parting.heard(event)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(tell)
        is_done = await parting.wait(lambda: parting.is_done)
        took = trio.current_time() - began
        nursery.cancel_scope.cancel(reason="the test is over")
    return is_done, took


async def test_it_is_done_when_the_room_was_shown_and_every_line_of_ours_too(autojump_clock: trio.testing.MockClock):
    parting = Parting(lambda: 0)
    for client_id in ("a", "b"):
        parting.said(client_id)
    confirmed = Confirmed(ROOM, "a", 1)
    refused = Undelivered(ROOM, "b", "hello", 1005, "too long")
    assert await waited(parting, (1, confirmed), (1, CaughtUp(ROOM)), (1, own("a")), (1, refused)) == (True, 4)


async def test_an_empty_input_waits_for_the_room_alone(autojump_clock: trio.testing.MockClock):
    assert await waited(Parting(lambda: 0), (2, CaughtUp(ROOM))) == (True, 2)


async def test_lines_that_are_not_confirmed_are_waited_for_until_nothing_is_heard(
    autojump_clock: trio.testing.MockClock,
):
    parting = Parting(lambda: 1)
    parting.said("a")
    assert await waited(parting, (1, CaughtUp(ROOM)), (9, Typing(ROOM, {8: "Ben"}))) == (False, 1 + SILENCE_SECONDS_MAX)


async def test_while_the_server_asks_to_wait_it_is_not_silent(autojump_clock: trio.testing.MockClock):
    parting = Parting(lambda: 0)
    parting.said("a")
    parting.heard(CaughtUp(ROOM))
    assert await waited(parting, (1, Delayed(ROOM, "a", 60.0, "too fast")), (60, own("a"))) == (True, 61)


async def test_a_server_that_talks_and_settles_nothing_is_given_up(autojump_clock: trio.testing.MockClock):
    parting = Parting(lambda: 1)
    parting.said("a")
    for_ever = [(10.0, Connected(7, "Ann", is_again=True))] * 100
    assert await waited(parting, *for_ever) == (False, VAIN_SECONDS_MAX)


async def test_out_of_a_room_nothing_of_it_is_waited_for(autojump_clock: trio.testing.MockClock):
    parting = Parting(lambda: 0)
    parting.said("a")
    assert await waited(parting, (1, RoomRefused(ROOM, 3004, "no member any more"))) == (True, 1)
