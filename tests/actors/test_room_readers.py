"""How many have read up to where, in a room that is too large to be told who. Pure."""

from hypothesis import given
from hypothesis import strategies as st

from greenroom.actors.room.readers import STEPS_MAX, Readers

PLACES = st.integers(0, 40)
PEOPLE = st.integers(1, 12)


def counted(markers: dict[int, int], without: set[int]) -> list[tuple[int, int]]:
    """The same from the definition."""
    seqs = {user: seq for user, seq in markers.items() if seq and user not in without}
    places = sorted(set(seqs.values()), reverse=True)[:STEPS_MAX]
    return [(place, sum(seq >= place for seq in seqs.values())) for place in places]


def test_what_is_told_is_how_many_have_read_so_far_or_further():
    readers = Readers([(1, 7), (2, 7), (3, 9), (4, 12), (5, 0)])
    assert readers.newest() == ((12, 1), (9, 2), (7, 4))
    assert readers.newest(without={4, 1, 5, 99}) == ((9, 1), (7, 2))
    readers.moved(1, 12)
    readers.moved(5, 1)
    assert readers.newest() == ((12, 2), (9, 3), (7, 4), (1, 5))


def test_who_is_out_counts_no_more():
    readers = Readers([(1, 7)])
    readers.moved(1, 0)
    readers.moved(1, 0)
    assert readers.newest() == ()


def test_of_however_many_places_the_newest_are_told():
    readers = Readers((user, user) for user in range(1, 1_001))
    assert readers.newest() == tuple((1_000 - step, step + 1) for step in range(STEPS_MAX))


@given(
    st.dictionaries(PEOPLE, PLACES),
    st.lists(st.tuples(PEOPLE, PLACES), max_size=60),
    st.sets(PEOPLE, max_size=4),
)
def test_after_whatever_moves_it_is_what_a_look_at_all_markers_would_say(markers, moves, without):
    readers = Readers(markers.items())
    for user, seq in moves:
        markers[user] = seq
        readers.moved(user, seq)
    assert list(readers.newest()) == counted(markers, set())
    assert list(readers.newest(without)) == counted(markers, without)
