"""Places: a few users cannot have them all, and what is refused takes none."""

import pytest

from greenroom.http.errors import ApiError
from greenroom.http.places import Places


def refusal(places, user):
    with pytest.raises(ApiError) as caught:
        places.take(user)
    assert caught.value.headers["Retry-After"] == "1"
    return caught.value.status


def test_a_user_has_so_many_and_fewer_once_half_of_all_are_taken():
    places = Places("files", 8, 3, 1)
    held = [places.take(1) for _ in range(3)]
    assert refusal(places, 1) == 429
    held.append(places.take(2))
    assert refusal(places, 2) == 503
    held += [places.take(user) for user in (3, 4, 5, 6)]
    assert refusal(places, 7) == 503
    held[0].leave()
    held[0].leave()
    assert places.count == 7
    with places.take(7):
        assert places.count == 8
    kept = places.take(8)
    with kept:
        kept.keep()
    assert places.count == 8
    for place in (*held, kept):
        place.leave()
    assert places.count == 0


def test_what_is_kept_is_left_all_the_same_when_its_work_fails():
    places = Places("files", 8, 3, 1)
    place = places.take(1)

    def work():
        with place:
            place.keep()
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        work()
    assert places.count == 0
