"""Where pages looked last is known for a while, and of so many users."""

from greenroom.http.ws.last_looked import LOOKED_SECONDS, ROOMS_PER_USER_MAX, USERS_MAX, LastLooked


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
