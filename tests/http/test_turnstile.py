"""The turnstile: few heads at a time, first come, first served; nobody who waits elsewhere holds a place."""

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from greenroom.http.turnstile import Turnstile


async def test_as_many_as_there_are_places_pass_and_the_others_follow_in_order(nursery):
    turnstile, passed = Turnstile(2), []

    async def come(number):
        await turnstile.enter()
        passed.append(number)

    for number in range(5):
        nursery.start_soon(come, number)
        await wait_all_tasks_blocked()
    assert passed == [0, 1]
    assert len(turnstile) == 3
    for _ in range(3):
        turnstile.leave()
        await wait_all_tasks_blocked()
    assert passed == [0, 1, 2, 3, 4]


async def test_a_place_that_nobody_waits_for_is_free_again():
    turnstile = Turnstile(1)
    for _ in range(3):
        await turnstile.enter()
        turnstile.leave()
    assert len(turnstile) == 0


async def test_one_who_gives_up_leaves_the_queue_and_keeps_no_place(nursery):
    turnstile = Turnstile(1)
    await turnstile.enter()
    with trio.move_on_after(0.01) as scope:
        await turnstile.enter()
    assert scope.cancelled_caught
    turnstile.leave()
    with trio.fail_after(1):
        await turnstile.enter()


@pytest.mark.parametrize("first", [True, False])
async def test_one_who_is_let_in_and_cancelled_at_once_has_the_place_or_the_next_one_has(nursery, first):
    """Whoever was woken returns with the place, though it was cancelled in the same pass: it is theirs to leave."""
    turnstile, had = Turnstile(1), []
    await turnstile.enter()
    scope = trio.CancelScope()

    async def come():
        with scope:
            await turnstile.enter()
            had.append("place")
            turnstile.leave()

    nursery.start_soon(come)
    await wait_all_tasks_blocked()
    for act in (scope.cancel, turnstile.leave) if first else (turnstile.leave, scope.cancel):
        act()
    await wait_all_tasks_blocked()
    with trio.fail_after(1):
        await turnstile.enter()
    assert had == ([] if first else ["place"])
