"""What a room decides: order, duplicates, membership, limits. Pure, so random histories are cheap."""

from collections import OrderedDict, deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.actors.errors import RefusalCode, Refused
from greenroom.actors.room import state as rules
from greenroom.actors.room.commands import Send, Sent
from greenroom.actors.room.newest import NewestMessages
from greenroom.actors.room.state import CONTENT_CODE_POINTS_MAX, REMOVED_MAX, Member, RoomState, Typist
from greenroom.storage.postgres.conversations import CLIENT_IDS_MAX, COUNTED_MESSAGES, RING_MESSAGES
from greenroom.storage.writes import InsertMessage, PutParticipant


def room(*members: int, is_group: bool = True, is_open: bool = False) -> RoomState:
    people = {user: Member("admin" if index == 0 else "member", 0) for index, user in enumerate(members)}
    return RoomState(7, is_group, is_open, 1, 0, people, deque(maxlen=RING_MESSAGES), OrderedDict())


def send(
    state: RoomState, sender: int, client_id: str | None, content: str = "hello", at_ms: int = 5
) -> InsertMessage | Sent | Refused:
    decision = rules.decide_send(state, Send(sender, "name", client_id, content), 1000 + state.top_seq, at_ms)
    if isinstance(decision, InsertMessage):
        rules.apply_send(state, decision, "name")
    return decision


SENDS = st.lists(
    st.tuples(
        st.integers(1, 3),
        st.sampled_from(["a", "b", "c", None]),
        st.sampled_from(["x", "y"]),
        st.integers(0, 1 << 42),  # what the clock says: it goes back as well as forth
    )
)


@given(SENDS)
def test_every_new_message_takes_the_next_seq_and_every_repeat_its_first_answer(
    sends: list[tuple[int, str | None, str, int]],
) -> None:
    state, first, seq, times = room(1, 2), {}, 0, []
    for sender, client_id, content, at_ms in sends:
        decision = send(state, sender, client_id, content, at_ms)
        known = first.get((sender, client_id)) if client_id else None
        if sender == 3:
            assert decision == Refused.because(RefusalCode.NOT_MEMBER)
        elif known is None:
            seq += 1
            assert isinstance(decision, InsertMessage)
            assert decision.seq == seq == state.top_seq
            assert decision.created_at_ms == at_ms
            times.append(at_ms)
            if client_id:
                first[sender, client_id] = (decision, content)
        elif known[1] == content:
            assert decision == Sent(known[0].id, known[0].seq, known[0].created_at_ms, is_duplicate=True)
        else:
            assert decision == Refused.because(RefusalCode.CLIENT_ID_CONFLICT)
    assert [message.seq for message in state.ring] == list(range(1, seq + 1))[-RING_MESSAGES:]
    assert [message.created_at_ms for message in state.ring] == times[-RING_MESSAGES:]


def test_memory_is_bounded_and_forgets_the_oldest_client_id_first() -> None:
    state = room(1)
    for number in range(CLIENT_IDS_MAX + 10):
        send(state, 1, f"c{number}")
    assert len(state.client_ids) == CLIENT_IDS_MAX
    assert (1, "c9") not in state.client_ids
    assert (1, "c10") in state.client_ids
    assert len(state.ring) == RING_MESSAGES


@pytest.mark.parametrize(
    "content", ["", "x" * (CONTENT_CODE_POINTS_MAX + 1), "a\0b", "\ud800", "🎭" * (CONTENT_CODE_POINTS_MAX + 1)]
)
def test_content_that_is_not_a_message_is_refused_and_changes_nothing(content: str) -> None:
    state = room(1)
    decision = send(state, 1, "a", content)
    assert isinstance(decision, Refused)
    assert decision.code is RefusalCode.INVALID_CONTENT
    assert (state.top_seq, len(state.client_ids)) == (0, 0)


@pytest.mark.parametrize("content", ["x", " ", "\n", "🎭" * CONTENT_CODE_POINTS_MAX, "ẞ\u202e"])
def test_content_of_1_to_10000_code_points_is_a_message(content: str) -> None:
    assert isinstance(send(room(1), 1, "a", content), InsertMessage)


def test_over_the_limit_only_a_duplicate_is_answered() -> None:
    state = room(1)
    send(state, 1, "a")
    again = Send(1, "name", "a", "hello", is_over_limit=True)
    new = Send(1, "name", "b", "hello", is_over_limit=True)
    assert isinstance(rules.decide_send(state, again, 9, 9), Sent)
    assert rules.decide_send(state, new, 9, 9) == Refused.because(RefusalCode.RATE_LIMITED)


def test_who_may_bring_in_and_send_away() -> None:
    state = room(1, 2, 3)
    assert rules.decide_add(state, 1, [4, 4, 2]) == (4,)
    assert rules.decide_add(state, 2, [4]) == Refused.because(RefusalCode.NOT_ADMIN)
    assert rules.decide_add(state, 9, [4]) == Refused.because(RefusalCode.NOT_MEMBER)
    assert rules.decide_remove(state, 1, 3) == (3,)
    assert rules.decide_remove(state, 2, 2) == (2,)
    assert rules.decide_remove(state, 2, 3) == Refused.because(RefusalCode.NOT_ADMIN)
    assert rules.decide_remove(state, 1, 9) == ()


def test_nobody_comes_into_or_leaves_a_direct_conversation() -> None:
    state = room(1, 2, is_group=False)
    assert rules.decide_add(state, 1, [3]) == Refused.because(RefusalCode.NOT_ADMIN)
    assert isinstance(rules.decide_remove(state, 1, 1), Refused)


def test_the_last_admin_who_goes_leaves_an_heir() -> None:
    state = room(1, 3, 2)
    assert rules.heir(state, 1) == 2
    state.members[3].role = "admin"
    assert rules.heir(state, 1) is None
    assert rules.heir(room(1), 1) is None


def test_ones_own_messages_are_never_unread() -> None:
    state = room(1, 2)
    for sender in (1, 2, 1):
        send(state, sender, None)
    assert (rules.unread(state, 1), rules.unread(state, 2)) == (1, 2)
    state.members[2].read_seq = 3
    assert rules.unread(state, 2) == 0


def test_only_an_open_group_is_entered_without_an_invitation() -> None:
    assert rules.decide_join_open(room(1), 2) == Refused.because(RefusalCode.NOT_OPEN)
    assert rules.decide_join_open(room(1, is_open=True), 2) == (2,)
    assert rules.decide_join_open(room(1, is_open=True), 1) == ()


def test_who_has_used_up_their_minute_is_told_that_they_are_in_and_does_not_come_in() -> None:
    state = room(1, is_open=True)
    assert rules.decide_join_open(state, 1, is_over_limit=True) == ()
    assert rules.decide_join_open(state, 2, is_over_limit=True) == Refused.because(RefusalCode.RATE_LIMITED)


def test_what_is_unread_and_was_read_is_found_among_messages_however_many_come_and_go_between_them() -> None:
    state = room(1, 2, 3)
    said = [send(state, sender, None) for sender in (2, 1, 3, 1)]
    for seq in range(state.top_seq + 1, state.top_seq + 2 * RING_MESSAGES):
        rules.append_change(state, rules.member_entry(PutParticipant(7, seq, 9, "member", True, 5)))
    assert not [entry for entry in state.ring if not entry.change]
    assert [rules.unread(state, user) for user in (1, 2, 3)] == [2, 3, 3]
    assert rules.unread(state, 2, frozenset((3,))) == 2
    assert rules.became_read(state, 2, 1, state.top_seq) == tuple(
        (message.id, message.sender_id) for message in said[1:] if isinstance(message, InsertMessage)
    )
    state.members[2].read_seq = 2
    assert rules.unread(state, 2) == 2
    state.newest.delete(3)
    assert rules.unread(state, 2) == 1


@given(st.lists(st.sampled_from("123-")), st.sets(st.integers(1, 60)), st.integers(0, 60), st.integers(0, 3))
def test_newest_messages_are_counted_as_a_list_of_them_would_be(
    log: list[str], deleted: set[int], after: int, without: int
) -> None:
    newest = NewestMessages()
    for seq, step in enumerate(log, 1):
        if step != "-":
            newest.add(seq, int(step), 100 + seq)
    for seq in deleted:
        newest.delete(seq)
    messages = [(seq, int(step)) for seq, step in enumerate(log, 1) if step != "-"]
    assert newest.oldest_seq() == (messages[0][0] if messages else None)
    assert newest.count(after, {without}) == sum(
        seq > after and sender != without and seq not in deleted for seq, sender in messages
    )
    assert list(newest.between(after, 30)) == [(100 + seq, sender) for seq, sender in messages if after < seq <= 30]


def test_of_newest_messages_the_oldest_are_forgotten() -> None:
    newest = NewestMessages((seq, 1, seq, False) for seq in range(1, 10 * COUNTED_MESSAGES))
    assert COUNTED_MESSAGES <= len(newest) <= 2 * COUNTED_MESSAGES
    assert newest.oldest_seq() == 10 * COUNTED_MESSAGES - len(newest)


def test_who_was_removed_by_another_comes_back_only_by_an_admin_and_who_left_as_they_like() -> None:
    state = room(1, 2, 3, 4, is_open=True)
    rules.apply_remove(state, 2, by_id=1)
    rules.apply_remove(state, 3, by_id=3)
    refused = rules.decide_join_open(state, 2)
    assert isinstance(refused, Refused)
    assert refused.code is RefusalCode.NOT_OPEN
    assert rules.decide_join_open(state, 3) == (3,)
    assert rules.decide_add(state, 2, [2]) == Refused.because(RefusalCode.NOT_MEMBER)
    assert rules.decide_add(state, 4, [2]) == Refused.because(RefusalCode.NOT_ADMIN)
    assert rules.decide_add(state, 1, [2]) == (2,)
    rules.apply_add(state, rules.roles_of_new(state, (2,)))
    assert 2 in state.members
    rules.apply_remove(state, 2, by_id=2)
    assert rules.decide_join_open(state, 2) == (2,), "an admin brought them in again, and then they left by themselves"


def test_a_group_that_has_removed_more_than_it_can_remember_is_entered_by_invitation_only() -> None:
    state = room(1, 2, is_open=True)
    state.removed = set(range(1000, 1000 + REMOVED_MAX))
    assert rules.decide_join_open(state, 3) == (3,)
    rules.apply_remove(state, 2, by_id=1)
    assert len(state.removed) == REMOVED_MAX + 1
    for stranger in (2, 3, 1000):
        assert isinstance(rules.decide_join_open(state, stranger), Refused)
    assert rules.decide_add(state, 1, [3]) == (3,)
    rules.apply_add(state, rules.roles_of_new(state, (4,)))
    rules.apply_remove(state, 4, by_id=1)
    assert len(state.removed) == REMOVED_MAX + 1, "one more than it may is enough to know"
    rules.apply_add(state, rules.roles_of_new(state, (1000, 1001)))
    assert isinstance(rules.decide_join_open(state, 4), Refused), "whom it does not remember may be among those left"


def test_only_an_open_group_remembers_whom_it_removed() -> None:
    state = room(1, 2)
    rules.apply_remove(state, 2, by_id=1)
    assert state.removed == set()


def test_the_members_of_a_turn_stay_as_they_were_when_others_come_and_go_later() -> None:
    """What a turn has published is held back until it is stored; it is for the members of its moment."""
    state = room(1, 2)
    before = state.members
    rules.apply_add(state, rules.roles_of_new(state, (3,)))
    with_three = state.members
    rules.apply_remove(state, 2, by_id=1)
    assert (set(before), set(with_three), set(state.members)) == ({1, 2}, {1, 2, 3}, {1, 3})
    assert state.members[3].read_seq == state.top_seq


def test_what_became_read_is_what_others_wrote_in_between() -> None:
    state = room(1, 2)
    for sender in (1, 2, 1, 2):
        send(state, sender, None)
    assert [author for _, author in rules.became_read(state, 2, 0, 3)] == [1, 1]
    assert rules.became_read(state, 2, 3, 4) == ()


def test_an_author_who_is_no_longer_in_the_room_is_not_told_who_reads_there() -> None:
    state = room(1, 2, 3)
    for sender in (2, 3):
        send(state, sender, None)
    rules.apply_remove(state, 2, by_id=1)
    assert [author for _, author in rules.became_read(state, 1, 0, 2)] == [3]


def test_typists_are_forgotten_at_their_time() -> None:
    state = room(1, 2)
    state.typists = {1: Typist("Ann", 10.0), 2: Typist("Ben", 11.0)}
    assert rules.expire_typists(state, 10.0) == {1: ("Ann", False)}
    assert list(state.typists) == [2]


def test_who_comes_into_a_group_that_everybody_has_left_is_its_admin():
    state = room(is_open=True)
    assert rules.roles_of_new(state, (7, 8)) == {7: "admin", 8: "member"}
    rules.apply_add(state, rules.roles_of_new(state, (7,)))
    assert rules.roles_of_new(state, (8,)) == {8: "member"}
