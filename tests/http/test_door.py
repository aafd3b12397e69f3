"""The door for new sockets: its rate, its burst, and what those hear who come too fast."""

from collections import Counter
from functools import partial

import pytest
import trio
import trio.testing

from greenroom.http import door as module
from greenroom.http.door import RETRY_SECONDS_MAX, WAIT_SECONDS_MAX, Bucket, Door
from greenroom.http.errors import ApiError


@pytest.mark.parametrize("per_second", [1, 2, 10, 500])
def test_a_second_lets_in_a_burst_and_then_the_rate(per_second):
    bucket = Bucket(per_second)
    for second in range(5):
        let_in = 0
        while bucket.wait_seconds(1000.0 + second + 1e-6) == 0:
            bucket.take(1000.0 + second + 1e-6)
            let_in += 1
        assert let_in == pytest.approx(per_second, abs=1)


def test_a_line_moves_at_the_rate():
    bucket = Bucket(10)
    waits = [bucket.take(5.0) for _ in range(40)]
    assert waits[:10] == [0] * 10
    assert waits[10:] == pytest.approx([0.1 * place for place in range(1, 31)])


def test_those_who_are_refused_are_spread_over_the_time_it_takes():
    bucket = Bucket(100)
    while not bucket.wait_seconds(0.0):
        bucket.take(0.0)
    seconds = Counter(bucket.promise(0.0) for _ in range(1000))
    assert set(seconds) == set(range(1, 11))
    assert all(90 <= seconds[second] <= 110 for second in range(2, 10))
    assert max(bucket.promise(0.0) for _ in range(100_000)) == RETRY_SECONDS_MAX


def test_promises_that_are_over_weigh_on_nobody():
    bucket = Bucket(10)
    for _ in range(1000):
        bucket.promise(0.0)
    while not bucket.wait_seconds(1000.0):
        bucket.take(1000.0)
    assert bucket.promise(1000.0) == 1


def test_behind_a_crowd_larger_than_the_last_moment_nobody_is_told_to_wait_for_it_once_it_has_passed():
    bucket = Bucket(100)
    for now in (0.0, 40.0):
        while not bucket.wait_seconds(now):
            bucket.take(now)
        promised = [bucket.promise(now) for _ in range(100_000)]
        assert (promised[0], promised[-1]) == (1, RETRY_SECONDS_MAX)


async def test_without_a_limit_nobody_waits_or_is_refused(autojump_clock):
    door, began = Door(0, trio.Event()), trio.current_time()
    for is_v1 in (True, False) * 5000:
        door.check(is_v1=is_v1)
        assert not await door.enter(is_v1=is_v1)
    assert trio.current_time() == began


async def test_ten_thousand_at_once_wait_at_most_20_seconds_and_the_line_forgets_them(autojump_clock):
    door, began = Door(100, trio.Event()), trio.current_time()
    waits = []

    async def come():
        await door.enter(is_v1=False)
        waits.append(trio.current_time() - began)

    async with trio.open_nursery() as nursery:
        for _ in range(4000):
            nursery.start_soon(come)
    assert len(waits) == 4000
    assert max(waits) == pytest.approx(WAIT_SECONDS_MAX)
    first = sum(wait < 10 for wait in waits)
    assert 1050 <= first <= 1150, "100 a second, and a burst"
    await trio.sleep(1.1)
    door.check(is_v1=True)  # raises nothing: the line is over


async def test_a_line_that_is_full_is_no_line(autojump_clock, monkeypatch):
    monkeypatch.setattr(module, "WAITING_MAX", 50)
    door, began = Door(10, trio.Event()), trio.current_time()
    at_once = 0

    async def come():
        nonlocal at_once
        await door.enter(is_v1=False)
        at_once += trio.current_time() == began

    async with trio.open_nursery() as nursery:
        for _ in range(200):
            nursery.start_soon(come)
    assert at_once == 200 - 50
    assert door.statistics().waiting == 0


async def test_v1_hears_when_to_come_back_and_takes_no_place_in_line(autojump_clock):
    door = Door(10, trio.Event())
    for _ in range(10):
        door.check(is_v1=True)
        await door.enter(is_v1=True)
    for _ in range(50):
        with pytest.raises(ApiError) as refusal:
            door.check(is_v1=True)
        assert refusal.value.status == 503
        assert 1 <= int(refusal.value.headers["Retry-After"]) <= 6
    await trio.sleep(0.11)
    door.check(is_v1=True)
    assert (door.statistics().let_in, door.statistics().refused) == (10, 50)


async def test_v1_has_its_place_before_it_is_let_in_and_gives_it_back_when_it_is_not(autojump_clock):
    door = Door(10, trio.Event())
    places = [door.check(is_v1=True) for _ in range(10)]
    with pytest.raises(ApiError):
        door.check(is_v1=True)
    door.turn_away(places[-1])
    door.turn_away(door.check(is_v1=False))  # had none
    door.check(is_v1=True)
    with pytest.raises(ApiError):
        door.check(is_v1=True)
    for _ in range(10):
        assert not await door.enter(is_v1=True)
    await trio.sleep(0.11)
    door.check(is_v1=True)  # nobody who came in was counted twice


async def test_a_place_that_the_time_has_paid_for_is_not_given_back(autojump_clock):
    door = Door(10, trio.Event())
    places = [door.check(is_v1=True) for _ in range(10)]
    await trio.sleep(1.5)  # storage says no late
    for _ in range(9):
        door.check(is_v1=True)
    for place in places:
        door.turn_away(place)
    door.check(is_v1=True)
    with pytest.raises(ApiError):
        door.check(is_v1=True)


async def test_whoever_has_gone_leaves_the_line_and_gives_their_place_back(autojump_clock):
    door, gone = Door(10, trio.Event()), set()
    refused = []

    async def come(number):
        try:
            await door.enter(is_v1=False, user_id=number % 2, is_gone=lambda: number in gone)
        except ApiError as refusal:
            refused.append((number, refusal.status))

    async with trio.open_nursery() as nursery:
        for number in range(60):
            nursery.start_soon(come, number)
        await trio.testing.wait_all_tasks_blocked()
        gone.update(range(60))
        waiting = door.statistics().waiting
        assert waiting == 50
        await trio.sleep(module.LOOK_SECONDS + 0.01)
        assert (door.statistics().waiting, door.in_line_of(0), door.in_line_of(1)) == (0, 0, 0)
        assert len(refused) + door.statistics().let_in == 60
        assert len(refused) >= 40, "but for those whose turn came before anybody looked"
        began = trio.current_time()
        await door.enter(is_v1=False)
        assert trio.current_time() == began, "there is room at once"


async def test_one_who_gives_up_waiting_leaves_the_line(autojump_clock):
    door = Door(10, trio.Event())
    async with trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(partial(door.enter, is_v1=False))
        await trio.sleep(0.01)
        assert door.statistics().waiting == 90
        nursery.cancel_scope.cancel()
    assert door.statistics().waiting == 0
