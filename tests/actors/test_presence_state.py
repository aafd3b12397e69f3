"""How one user appears, of their devices and their word."""

import pytest

from greenroom.actors.presence.commands import Device
from greenroom.actors.presence.state import UNSAID, Wished, fold, view_of

BUSY, IDLE = Device("desk", False), Device("phone", True)


@pytest.mark.parametrize("status", ["online", "away", "busy", "dnd", "offline", "invisible"])
def test_whoever_has_no_device_is_offline_and_does_nothing_whatever_they_said(status):
    assert fold((), Wished(status, "writing")) == ("offline", "")


@pytest.mark.parametrize("status", ["offline", "invisible"])
@pytest.mark.parametrize("devices", [[BUSY], [IDLE], [BUSY, IDLE]])
def test_whoever_hides_is_offline_with_any_device(devices, status):
    assert fold(devices, Wished(status, "writing")) == ("offline", "")


def test_one_device_with_somebody_at_it_is_enough_to_be_online():
    assert fold([IDLE, BUSY, IDLE], UNSAID) == ("online", "")


def test_when_nobody_sits_at_any_they_are_away_and_still_do_what_they_said():
    assert fold([IDLE, IDLE], Wished("online", "lunch")) == ("away", "lunch")


@pytest.mark.parametrize("status", ["away", "busy", "dnd"])
def test_another_word_stands_whether_somebody_sits_there_or_not(status):
    assert fold([IDLE], Wished(status, "x")) == fold([BUSY], Wished(status, "x")) == (status, "x")


def test_sockets_of_one_name_are_one_device_that_is_idle_when_all_of_them_are():
    view = view_of([IDLE, Device("phone", False), IDLE, BUSY, Device("tv", True)], Wished("invisible", "x"))
    assert view.devices == (Device("phone", False), BUSY, Device("tv", True))
    assert (view.status, view.shown, view.activity) == ("invisible", "offline", "x")
