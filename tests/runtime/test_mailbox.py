"""Mailboxes: order, the bound, the system lane, waiting for room."""

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from greenroom.runtime.address import Address
from greenroom.runtime.envelope import Envelope
from greenroom.runtime.mailbox import Mailbox
from greenroom.runtime.metered_mailbox import MeteredMailbox
from greenroom.runtime.overflow import Meter


def envelope(name: object) -> Envelope:
    return Envelope(Address("test", 1), name)


@given(st.lists(st.sampled_from(["put", "pop", "system"]), max_size=60), st.integers(1, 5))
def test_commands_leave_in_order_and_the_system_lane_goes_first(steps: list[str], limit: int) -> None:
    mailbox = Mailbox(limit)
    user: list[int] = []
    system: list[int] = []
    refused = 0
    for number, step in enumerate(steps):
        if step == "put":
            fits = len(user) < limit
            assert mailbox.put_nowait(envelope(number)) is fits
            if fits:
                user.append(number)
            else:
                refused += 1
        elif step == "system":
            mailbox.put_system(envelope(number))
            system.append(number)
        else:
            expected = system.pop(0) if system else user.pop(0) if user else None
            taken = mailbox.pop()
            assert (taken.command if taken else None) == expected
        assert len(mailbox) == len(user) + len(system)
    assert mailbox.statistics().refused == refused


def test_an_empty_mailbox_holds_no_queue() -> None:
    mailbox = Mailbox(3)
    mailbox.put_nowait(envelope(1))
    mailbox.pop()
    assert mailbox.pop() is None
    assert mailbox._user is None
    assert mailbox._system is None


def test_what_is_put_back_comes_before_everything_else_in_its_old_order() -> None:
    mailbox = Mailbox(2)
    mailbox.put_nowait(envelope("c"))
    mailbox.put_back([envelope("a"), envelope("b")])
    assert [taken.command for taken in iter(mailbox.pop, None)] == ["a", "b", "c"]


async def test_waiting_for_room_ends_when_a_command_is_taken_one_waiter_at_a_time() -> None:
    mailbox = Mailbox(1)
    mailbox.put_nowait(envelope(1))
    woken: list[int] = []

    async def wait(number: int) -> None:
        await mailbox.wait_room()
        woken.append(number)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait, 1)
        await wait_all_tasks_blocked()
        nursery.start_soon(wait, 2)
        await wait_all_tasks_blocked()
        mailbox.pop()
        await wait_all_tasks_blocked()
        assert woken == [1]
        mailbox.put_nowait(envelope(2))
        mailbox.pop()
        await wait_all_tasks_blocked()
        assert woken == [1, 2]


async def test_who_was_let_go_and_takes_nothing_passes_the_room_on() -> None:
    mailbox = Mailbox(1)
    mailbox.put_nowait(envelope(1))
    woken: list[str] = []

    async def look(name: str) -> None:
        await mailbox.wait_room()
        woken.append(name)
        mailbox.pass_room_on()

    async def take() -> None:
        await mailbox.wait_room()
        assert mailbox.put_nowait(envelope(2))
        mailbox.pass_room_on()

    async with trio.open_nursery() as nursery:
        for name in ("first", "second"):
            nursery.start_soon(look, name)
            await wait_all_tasks_blocked()
        nursery.start_soon(take)
        await wait_all_tasks_blocked()
        nursery.start_soon(look, "behind who took it")
        await wait_all_tasks_blocked()
        mailbox.pop()
        await wait_all_tasks_blocked()
        assert woken == ["first", "second"]
        nursery.cancel_scope.cancel()


async def test_those_for_whom_there_is_too_little_room_wake_each_other_once_for_each_command_that_is_taken() -> None:
    mailbox = MeteredMailbox(100, Meter(size_of=lambda command: int(str(command)), bytes_max=10))
    for size in (1, 9):
        mailbox.put_nowait(envelope(size))
    looks = 0

    async def wait(size: int) -> None:
        nonlocal looks
        while not mailbox.put_nowait(envelope(size)):
            await mailbox.wait_room(size)
            looks += 1
        mailbox.pass_room_on()

    async def wait_in_vain(size: int) -> None:
        nonlocal looks
        while True:
            await mailbox.wait_room(size)
            looks += 1
            mailbox.pass_room_on()

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(wait_in_vain, 8)
            await wait_all_tasks_blocked()
        nursery.start_soon(wait, 1)
        await wait_all_tasks_blocked()
        mailbox.pop()
        await wait_all_tasks_blocked()
        assert [waiting.command for waiting in mailbox] == [9, 1]
        assert looks == 6
        nursery.cancel_scope.cancel()


async def test_a_waiter_that_is_cancelled_takes_nobody_elses_turn() -> None:
    mailbox = Mailbox(1)
    mailbox.put_nowait(envelope(1))
    with trio.move_on_after(0):
        await mailbox.wait_room()
    with pytest.raises(trio.TooSlowError):
        with trio.fail_after(0.01):
            await mailbox.wait_room()
    assert mailbox.pop() is not None


async def test_room_that_comes_because_a_command_is_taken_back_wakes_who_waits() -> None:
    mailbox, newest = Mailbox(1), envelope(1)
    mailbox.put_nowait(newest)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(mailbox.wait_room)
        await wait_all_tasks_blocked()
        mailbox.take_back(newest)
        with trio.fail_after(1):
            await wait_all_tasks_blocked()
        assert not nursery.child_tasks
        nursery.cancel_scope.cancel()


async def test_draining_takes_everything_and_wakes_who_waits() -> None:
    mailbox = Mailbox(1)
    mailbox.put_nowait(envelope("user"))
    mailbox.put_system(envelope("system"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(mailbox.wait_room)
        await wait_all_tasks_blocked()
        assert [taken.command for taken in mailbox.drain()] == ["system", "user"]
