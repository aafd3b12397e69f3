"""Who types without a socket is known until it ends by itself, and no longer."""

from greenroom.actors.room.state import TYPING_SECONDS
from greenroom.http.ws.typists import ROOMS_PER_USER_MAX, Typists


def test_where_somebody_types_is_known_until_they_stop_or_it_ends() -> None:
    typists = Typists()
    for room_id, now in ((41, 0.0), (42, 1.0), (43, 2.0)):
        typists.note(1, room_id, now, is_on=True)
    typists.note(2, 41, 2.0, is_on=True)
    typists.note(1, 41, 3.0, is_on=True)  # goes on
    typists.note(1, 43, 3.0, is_on=False)
    assert [typists.types_in(1, room_id, 3.0) for room_id in (41, 42, 43, 44)] == [True, True, False, False]
    assert not typists.types_in(1, 42, 1.0 + TYPING_SECONDS)
    assert typists.take(1, 1.0 + TYPING_SECONDS) == [41]
    assert typists.take(1, 1.0 + TYPING_SECONDS) == []
    assert len(typists) == 1
    assert typists.take(2, 2.0 + TYPING_SECONDS) == []
    assert len(typists) == 0


def test_nothing_is_kept_of_a_crowd_that_has_typed() -> None:
    typists = Typists()
    for user_id in range(1000):
        typists.note(user_id, user_id % 7, user_id / 1000, is_on=True)
        typists.note(user_id, user_id % 7, user_id / 1000, is_on=True)
    typists.note(1, 1, 100.0, is_on=False)
    assert len(typists) == len(typists._ends) == 0


def test_somebody_types_in_so_many_rooms_at_once() -> None:
    typists = Typists()
    for room_id in range(ROOMS_PER_USER_MAX + 5):
        typists.note(1, room_id, 0.0, is_on=True)
    assert typists.take(1, 0.0) == list(range(ROOMS_PER_USER_MAX))
