"""Where pages looked last is known for a while, and of so many users."""

from greenroom.http.ws.last_looked import (
    LOOKED_SECONDS,
    ONLINE_PER_USER_MAX,
    ROOMS_PER_USER_MAX,
    SHOWN_PER_USER_MAX,
    SHOWN_SECONDS,
    USERS_MAX,
    LastLooked,
)


def test_the_rooms_of_the_pages_that_ended_lately_are_known_the_newest_last() -> None:
    looked = LastLooked()
    assert looked.of(1, 0.0) == ()
    for room_id, now in ((41, 0.0), (42, 1.0), (41, 2.0)):
        looked.note(1, room_id, now)
    looked.note(2, 43, 3.0)
    assert looked.of(1, 2.0 + LOOKED_SECONDS - 0.1) == (42, 41)
    assert looked.of(1, 2.0 + LOOKED_SECONDS) == ()
    assert len(looked) == 1
    assert looked.of(1, 3.0 + LOOKED_SECONDS) == ()
    assert len(looked) == 0


def test_of_one_user_so_many_rooms_are_kept_and_so_many_users_in_all() -> None:
    looked = LastLooked()
    for room_id in range(ROOMS_PER_USER_MAX + 3):
        looked.note(0, room_id, 0.0)
    assert looked.of(0, 0.0) == tuple(range(3, ROOMS_PER_USER_MAX + 3))
    for user_id in range(USERS_MAX + 5):
        looked.note(user_id, 7, 1.0)
    assert len(looked) == USERS_MAX
    assert looked.of(0, 1.0) == ()
    assert looked.of(USERS_MAX + 4, 1.0) == (7,)


def test_whom_pages_may_show_as_typing_is_known_for_a_day_the_newest_of_them() -> None:
    looked = LastLooked()
    looked.note_shown(1, {(41, 2): "Bob"}, 0.0)
    looked.note_shown(1, {(41, 3): "Cleo"}, 1.0)
    assert looked.shown(1, SHOWN_SECONDS) == {(41, 2): "Bob", (41, 3): "Cleo"}
    assert looked.shown(1, 1.0 + SHOWN_SECONDS) == looked.shown(2, 1.0) == {}
    looked.note_shown(1, {(41, user_id): "" for user_id in range(SHOWN_PER_USER_MAX + 5)}, 2.0)
    assert list(looked.shown(1, 2.0)) == [(41, user_id) for user_id in range(5, SHOWN_PER_USER_MAX + 5)]
    for user_id in range(USERS_MAX + 5):
        looked.note_shown(user_id, {(41, 0): ""}, 3.0)
    assert not looked.shown(0, 3.0)
    assert looked.shown(USERS_MAX + 4, 3.0)


def test_whom_pages_may_show_as_online_is_known_for_a_day_the_newest_of_them() -> None:
    looked = LastLooked()
    looked.note_online(1, {2}, 0.0)
    looked.note_online(1, {3, 4}, 1.0)
    looked.note_online(1, {2}, 2.0)
    assert list(looked.online(1, 2.0)) == [3, 4, 2]
    assert list(looked.online(1, 1.0 + SHOWN_SECONDS)) == [2], "each for a day, however many are noted after them"
    assert list(looked.online(1, 2.0 + SHOWN_SECONDS)) == list(looked.online(2, 2.0)) == []
    looked.note_online(1, range(ONLINE_PER_USER_MAX + 5), 3.0)
    assert list(looked.online(1, 3.0)) == list(range(5, ONLINE_PER_USER_MAX + 5))
    for user_id in range(USERS_MAX + 5):
        looked.note_online(user_id, {0}, 4.0)
    assert not looked.online(0, 4.0)
    assert list(looked.online(USERS_MAX + 4, 4.0)) == [0]
