"""What edits and deletions do to a room's log. Pure, so random histories are cheap."""

from collections import OrderedDict, deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.actors.errors import RefusalCode, Refused
from greenroom.actors.room import changes
from greenroom.actors.room import state as rules
from greenroom.actors.room.commands import Delete, Edit, Send, Sent
from greenroom.actors.room.state import Member, RoomState
from greenroom.storage.postgres.conversations import RING_MESSAGES
from greenroom.storage.writes import InsertMessage

WINDOW_MS = 900_000
NOW_MS = 5_000_000


def room(*members: int, is_group: bool = True) -> RoomState:
    people = {user: Member("admin" if index == 0 else "member", 0) for index, user in enumerate(members)}
    return RoomState(7, is_group, False, 1, 0, people, deque(maxlen=RING_MESSAGES), OrderedDict())


def say(state: RoomState, sender: int, content: str, client_id: str | None = None, at_ms: int = NOW_MS) -> int:
    decision = rules.decide_send(state, Send(sender, "name", client_id, content), 1000 + state.top_seq, at_ms)
    assert isinstance(decision, InsertMessage)
    rules.apply_send(state, decision, "name")
    return decision.id


def change(state: RoomState, command: Edit | Delete, now_ms: int = NOW_MS) -> Refused | None:
    """Decide and apply, as the actor does."""
    target = changes.target_in(state, command.message_id)
    assert target is not None
    if isinstance(command, Edit):
        decision = changes.decide_edit(state, command, target, now_ms, WINDOW_MS)
    else:
        decision = changes.decide_delete(state, command, target, now_ms)
    if isinstance(decision, Refused):
        return decision
    if decision is not target.message:
        changes.apply_change(state, changes.write_of(state, decision, command.user_id, now_ms), decision)
    return None


def code(refused: Refused | None) -> RefusalCode | None:
    return None if refused is None else refused.code


STEPS = st.lists(st.tuples(st.sampled_from("sed"), st.integers(1, 2), st.integers(0, 9)), max_size=40)


@given(STEPS)
def test_the_log_grows_by_one_for_each_change_and_holds_nothing_that_was_said_before(
    steps: list[tuple[str, int, int]],
) -> None:
    """Whatever happens to whatever messages, every entry of one message says what it says now."""
    state, now_says = room(1, 2), dict[int, str | None]()
    seq = 0
    for number, (step, user, place) in enumerate(steps):
        ids, words = list(now_says), f"words {number}"
        if step == "s" or not ids:
            now_says[say(state, user, words)] = words
            seq += 1
            continue
        message_id = ids[place % len(ids)]
        sender = next(entry.sender_id for entry in state.ring if entry.id == message_id)
        was = now_says[message_id]
        if step == "e":
            refused = change(state, Edit(user, message_id, words))
            expected = RefusalCode.NOT_SENDER if user != sender else RefusalCode.MESSAGE_NOT_FOUND if not was else None
            assert code(refused) == expected
            if refused is None:
                now_says[message_id], seq = words, seq + 1
        else:
            refused = change(state, Delete(user, message_id))
            assert code(refused) == (None if user in (1, sender) else RefusalCode.NOT_SENDER)  # 1 is the admin
            if refused is None and was is not None:
                now_says[message_id], seq = None, seq + 1
    assert state.top_seq == seq
    assert [entry.seq for entry in state.ring] == list(range(1, seq + 1))
    for entry in state.ring:
        assert entry.content == (now_says[entry.id] or "")
        assert (entry.deleted_at_ms is None) == (now_says[entry.id] is not None)
    assert rules.unread(state, 1) == sum(
        entry.sender_id == 2 and not entry.change and now_says[entry.id] is not None for entry in state.ring
    )


def test_who_may_edit_what_and_for_how_long() -> None:
    state = room(1, 2)
    young, old = say(state, 2, "young"), say(state, 2, "old", at_ms=NOW_MS - WINDOW_MS - 1)
    assert code(change(state, Edit(1, young, "x"))) is RefusalCode.NOT_SENDER  # an admin neither
    assert code(change(state, Edit(3, young, "x"))) is RefusalCode.NOT_MEMBER
    assert code(change(state, Edit(2, old, "x"))) is RefusalCode.EDIT_WINDOW_CLOSED
    assert change(state, Edit(2, old, "old")) is None  # it changes nothing
    assert code(change(state, Edit(2, young, ""))) is RefusalCode.INVALID_CONTENT
    assert state.top_seq == 2
    assert change(state, Edit(2, young, "y")) is None
    assert change(state, Delete(2, old)) is None  # however old
    assert state.top_seq == 4
    assert code(change(state, Edit(2, old, "x"))) is RefusalCode.MESSAGE_NOT_FOUND


def test_between_two_who_are_apart_nothing_is_edited_and_all_may_be_deleted() -> None:
    state = room(1, 2, is_group=False)
    message = say(state, 1, "hello")
    state.is_apart = True
    assert code(change(state, Edit(1, message, "you again"))) is RefusalCode.USER_BLOCKED
    assert code(change(state, Delete(2, message))) is RefusalCode.NOT_SENDER
    assert change(state, Delete(1, message)) is None


@pytest.mark.parametrize("command", [Edit(1, 1000, "other"), Delete(1, 1000)])
def test_a_send_that_is_repeated_after_a_change_is_the_same_message_whatever_it_says(command: Edit | Delete) -> None:
    """What it said is not known any more, by no digest either."""
    state = room(1)
    assert say(state, 1, "hello", "c") == 1000
    change(state, command)
    for content in ("hello", "something else"):
        again = rules.decide_send(state, Send(1, "name", "c", content), 9, 9)
        assert again == Sent(1000, 1, NOW_MS, is_duplicate=True)
    assert state.client_ids[1, "c"].digest == b""
