"""Devices without a socket count for so long, and end with what their client showed."""

import math

import pytest

from greenroom.http.auth import Principal
from greenroom.http.ws.last_inputs import WITHOUT_SESSION
from greenroom.http.ws.leases import DEVICES_PER_USER_MAX, Lease, Leases, token_issued_at

PHONE, DESK, TOKEN = ("poll", "phone"), ("rest", "desk"), ("rest", WITHOUT_SESSION)


def test_a_device_counts_until_its_time_is_over() -> None:
    leases = Leases()
    leases.put(1, PHONE, Lease(10.0, None))
    leases.put(1, DESK, Lease(20.0, None))
    assert leases.devices_of(1, 9.9) == [PHONE, DESK]
    assert leases.devices_of(1, 10.0) == [DESK]
    assert leases.users() == [1]
    assert leases.devices_of(1, 20.0) == []
    assert leases.users() == []
    assert 1 not in leases


def test_of_many_devices_of_a_user_the_last_heard_from_are_kept() -> None:
    leases = Leases()
    devices = [("rest", str(number)) for number in range(DEVICES_PER_USER_MAX + 1)]
    for device in (*devices[:-1], devices[0], devices[-1]):
        leases.put(1, device, Lease(10.0, None))
    assert leases.devices_of(1, 0.0) == [*devices[2:-1], devices[0], devices[-1]]


def test_what_is_here_under_a_session_ends_with_it() -> None:
    leases = Leases()
    for device in (PHONE, ("rest", "phone"), DESK):
        leases.put(1, device, Lease(10.0, None))
    assert (leases.sessions_of(1), leases.user_under("desk"), leases.user_under("no")) == ({"phone", "desk"}, 1, None)
    leases.forget(1, "phone", "rest")
    assert leases.devices_of(1, 0.0) == [PHONE, DESK]
    leases.forget(1, "phone")
    assert leases.devices_of(1, 0.0) == [DESK]
    leases.forget(1, None)
    leases.forget(2, None)
    assert leases.users() == []


def test_what_is_here_by_a_token_ends_when_its_user_signs_out_after_it_was_issued() -> None:
    leases = Leases()
    leases.put(1, DESK, Lease(10.0, None))
    leases.put(1, TOKEN, Lease(10.0, 100.0))
    leases.put(1, ("rest", "id of a token"), Lease(10.0, -math.inf))
    assert leases.sessions_of(1) == {"desk"}
    assert leases.forget_tokens(1, 99.9)
    assert leases.devices_of(1, 0.0) == [DESK, TOKEN]
    assert not leases.forget_tokens(1, 99.9)
    assert leases.forget_tokens(1, 100.0)
    assert leases.devices_of(1, 0.0) == [DESK]
    assert not leases.forget_tokens(2, 100.0)


@pytest.mark.parametrize(
    ("kind", "issued_at", "expected"), [("session", None, None), ("jwt", None, -math.inf), ("api_key", 5.0, 5.0)]
)
def test_a_token_that_does_not_say_when_it_was_issued_may_be_of_any_time(kind, issued_at, expected) -> None:
    assert token_issued_at(Principal(1, "user", "Ada", kind, issued_at=issued_at)) == expected
