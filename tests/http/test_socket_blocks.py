"""Who of the people that are here blocks whom: the tables against a plain set of pairs."""

from hypothesis import given
from hypothesis import strategies as st

from greenroom.http.ws.blocks import SocketBlocks

PEOPLE = st.integers(1, 5)
STEPS = st.lists(st.tuples(st.sampled_from(["block", "unblock", "come", "go"]), PEOPLE, PEOPLE), max_size=40)


@given(STEPS)
def test_whoever_is_here_is_treated_by_what_is_stored(steps: list[tuple[str, int, int]]) -> None:
    blocks, stored, here = SocketBlocks(), set[tuple[int, int]](), set[int]()
    for what, one, other in steps:
        if what == "come":
            here.add(one)
            blocks.put(one, {b for a, b in stored if a == one}, {a for a, b in stored if b == one})
        elif what == "go":
            here.discard(one)
            blocks.drop(one)
        elif one != other:
            (stored.add if what == "block" else stored.discard)((one, other))
            blocks.change(one, other, is_blocked=what == "block")
            for gone in {one, other} - here:
                blocks.drop(gone)
        for user in here:
            assert blocks.hides(user) == {b for a, b in stored if a == user}
            for stranger in range(1, 6):
                apart = (user, stranger) in stored or (stranger, user) in stored
                assert blocks.are_apart(user, stranger) is apart
        hiders: dict[int, set[int]] = {}
        for a, b in stored:
            if a in here:
                hiders.setdefault(b, set()).add(a)
        assert blocks.hiders == hiders
        assert blocks.not_shown([1, 2]) == hiders.get(1, set()) | hiders.get(2, set())


def test_while_nobody_blocks_anybody_there_is_nothing() -> None:
    blocks = SocketBlocks()
    blocks.put(1, (), ())
    assert not any((blocks.hides(1), blocks.apart_from(1), blocks.not_shown([1]), blocks.hiders))


def test_what_was_asked_of_storage_before_a_change_is_known_to_be_old(monkeypatch) -> None:
    monkeypatch.setattr("greenroom.storage.changed.IDS_KEPT", 4)
    blocks = SocketBlocks()
    asked = blocks.changed.version
    assert not blocks.changed.since(1, asked)
    blocks.change(1, 2, is_blocked=True)
    assert [blocks.changed.since(user, asked) for user in (1, 2, 3)] == [True, True, False]
    assert not blocks.changed.since(1, blocks.changed.version)
    for user in range(10, 20):
        blocks.change(user, user + 100, is_blocked=True)
    assert blocks.changed.since(1, asked)  # forgotten, so it may be
    assert not blocks.changed.since(1, blocks.changed.version)
