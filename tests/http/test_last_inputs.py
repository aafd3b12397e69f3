"""When somebody last did something at a device that comes and goes is known for a while, and of so many."""

from greenroom.http.ws.last_inputs import DEVICES_PER_USER_MAX, KEPT_SECONDS, USERS_MAX, LastInputs

PHONE, DESK = ("poll", "phone"), ("rest", "desk")


def test_the_latest_input_of_a_device_counts_for_so_long_after_it_was_heard_from() -> None:
    inputs = LastInputs()
    assert inputs.at(1, PHONE, 0.0) is None
    inputs.note(1, PHONE, 5.0, 10.0)
    inputs.note(1, PHONE, 4.0, 20.0)
    assert inputs.at(1, PHONE, 20.0 + KEPT_SECONDS - 0.1) == 5.0
    assert inputs.at(1, DESK, 20.0) is inputs.at(2, PHONE, 20.0) is None
    assert inputs.at(1, PHONE, 20.0 + KEPT_SECONDS) is None
    assert len(inputs) == 0


def test_who_does_something_does_it_at_all_devices_of_the_session() -> None:
    inputs = LastInputs()
    inputs.note_all(1, "phone", 0.0, 0.0)
    assert len(inputs) == 0
    for device in (PHONE, ("", "phone"), DESK):
        inputs.note(1, device, 1.0, 1.0)
    inputs.note_all(1, "phone", 9.0, 9.0)
    inputs.note_all(1, "phone", 8.0, 9.0)
    assert [inputs.at(1, device, 9.0) for device in (PHONE, ("", "phone"), DESK)] == [9.0, 9.0, 1.0]


def test_of_one_user_so_many_devices_are_kept_and_so_many_users_in_all() -> None:
    inputs = LastInputs()
    for number in range(DEVICES_PER_USER_MAX + 1):
        inputs.note(0, ("poll", str(number)), 0.0, 0.0)
    assert inputs.at(0, ("poll", "0"), 0.0) is None
    assert inputs.at(0, ("poll", "1"), 0.0) == 0.0
    for user_id in range(USERS_MAX + 5):
        inputs.note(user_id, PHONE, 1.0, 1.0)
    assert len(inputs) == USERS_MAX
    assert inputs.at(4, PHONE, 1.0) is None
    assert inputs.at(5, PHONE, 1.0) == 1.0
