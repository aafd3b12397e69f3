"""When somebody last did something at a device that comes and goes is known for a while, and of so many."""

from greenroom.http.ws.last_inputs import DEVICES_PER_USER_MAX, KEPT_SECONDS, USERS_MAX, LastInput, LastInputs

PHONE, DESK = ("poll", "phone"), ("rest", "desk")


def test_the_latest_input_of_a_device_counts_for_so_long_after_it_was_heard_from() -> None:
    inputs = LastInputs()
    assert inputs.of(1, PHONE, 0.0) is None
    inputs.note(1, PHONE, LastInput(5.0), 10.0)
    inputs.note(1, PHONE, LastInput(4.0, is_idle=True), 20.0)
    assert inputs.of(1, PHONE, 20.0 + KEPT_SECONDS - 0.1) == LastInput(5.0)
    assert inputs.of(1, DESK, 20.0) is inputs.of(2, PHONE, 20.0) is None
    assert inputs.of(1, PHONE, 20.0 + KEPT_SECONDS) is None
    assert len(inputs) == 0


def test_a_device_that_is_idle_is_so_until_somebody_does_something_there() -> None:
    inputs = LastInputs()
    inputs.note(1, PHONE, LastInput(5.0), 5.0)
    inputs.note(1, PHONE, LastInput(5.0, is_idle=True), 6.0)
    inputs.note(1, PHONE, LastInput(5.0), 7.0)
    assert inputs.of(1, PHONE, 7.0) == LastInput(5.0, is_idle=True)
    inputs.note_all(1, "phone", LastInput(8.0), 8.0)
    assert inputs.of(1, PHONE, 8.0) == LastInput(8.0)


def test_who_does_something_does_it_at_all_devices_of_the_session() -> None:
    inputs = LastInputs()
    inputs.note_all(1, "phone", LastInput(0.0), 0.0)
    assert len(inputs) == 0
    for device in (PHONE, ("", "phone"), DESK):
        inputs.note(1, device, LastInput(1.0), 1.0)
    inputs.note_all(1, "phone", LastInput(9.0), 9.0)
    inputs.note_all(1, "phone", LastInput(8.0), 9.0)
    assert [inputs.of(1, device, 9.0) for device in (PHONE, ("", "phone"), DESK)] == [(9.0, False)] * 2 + [(1.0, False)]


def test_a_device_that_is_not_known_goes_on_where_its_session_was_used_last() -> None:
    inputs = LastInputs()
    for device, at in ((("", "phone"), 1.0), (("web", "phone"), 2.0), (DESK, 3.0)):
        inputs.note(1, device, LastInput(at, is_idle=True), 3.0)
    assert inputs.of(1, PHONE, 3.0) == LastInput(2.0, is_idle=True)
    assert inputs.of(1, ("", "phone"), 3.0) == LastInput(1.0, is_idle=True)


def test_a_device_with_a_new_token_goes_on_where_one_of_its_name_was() -> None:
    inputs = LastInputs()
    inputs.note(1, ("phone", "token"), LastInput(1.0, is_idle=True), 3.0)
    inputs.note(1, ("laptop", "token"), LastInput(2.0), 3.0)
    assert inputs.of(1, ("phone", "new"), 3.0, by_token=True) == LastInput(1.0, is_idle=True)
    assert inputs.of(1, ("tablet", "new"), 3.0, by_token=True) is None
    assert inputs.of(1, ("tablet", "token"), 3.0, by_token=True) == LastInput(2.0), "another road of the same client"
    assert inputs.of(1, ("phone", "session"), 3.0) is None, "somebody has just signed in"


def test_tokens_without_an_id_have_nothing_in_common_but_what_their_device_is_called() -> None:
    inputs = LastInputs()
    inputs.note(1, ("phone", ""), LastInput(1.0, is_idle=True), 3.0)
    assert inputs.of(1, ("phone", ""), 3.0, by_token=True) == LastInput(1.0, is_idle=True)
    assert inputs.of(1, ("laptop", ""), 3.0, by_token=True) is inputs.of(1, ("rest", ""), 3.0, by_token=True) is None


def test_of_one_user_so_many_devices_are_kept_and_so_many_users_in_all() -> None:
    inputs = LastInputs()
    for number in range(DEVICES_PER_USER_MAX + 1):
        inputs.note(0, ("poll", str(number)), LastInput(0.0), 0.0)
    assert inputs.of(0, ("poll", "0"), 0.0) is None
    assert inputs.of(0, ("poll", "1"), 0.0) == LastInput(0.0)
    for user_id in range(USERS_MAX + 5):
        inputs.note(user_id, PHONE, LastInput(1.0), 1.0)
    assert len(inputs) == USERS_MAX
    assert inputs.of(4, PHONE, 1.0) is None
    assert inputs.of(5, PHONE, 1.0) == LastInput(1.0)
