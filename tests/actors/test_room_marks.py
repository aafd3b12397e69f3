"""What reactions and pins do to a room's log, and what of them it remembers. Pure, so random histories are cheap."""

from collections import OrderedDict, deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.actors.errors import RefusalCode, Refused
from greenroom.actors.room import changes, mark_memory, marks
from greenroom.actors.room import state as rules
from greenroom.actors.room.commands import Changed, Delete, Edit, Pin, React, Send
from greenroom.actors.room.mark_memory import MarkMemory, Reactions, Standing
from greenroom.actors.room.state import Member, RoomState
from greenroom.actors.room.wordless import RUNS_MAX, WordlessPlaces
from greenroom.storage.postgres.conversations import RING_MESSAGES, StoredMessage, StoredReaction
from greenroom.storage.writes import InsertMessage

NOW_MS = 5_000_000


def room(*members: int, is_group: bool = True) -> RoomState:
    people = {user: Member("admin" if index == 0 else "member", 0) for index, user in enumerate(members)}
    state = RoomState(7, is_group, False, 1, 0, people, deque(maxlen=RING_MESSAGES), OrderedDict())
    state.marks.pins = {}
    return state


def say(state: RoomState, sender: int, content: str = "hello") -> int:
    decision = rules.decide_send(state, Send(sender, "name", None, content), 1000 + state.top_seq, NOW_MS)
    assert isinstance(decision, InsertMessage)
    rules.apply_send(state, decision, "name")
    return decision.id


def mark(state: RoomState, command: React | Pin) -> Changed | Refused:
    """Decide and apply, as the actor does; its memory is all there is."""
    refused = marks.may_mark(state, command)
    if refused is not None:
        return refused
    target = changes.target_in(state, command.message_id)
    assert target is not None
    if isinstance(command, React):
        known = state.marks.reactions_on(command.message_id)
        if known is None:
            known = Reactions(target.message)
            if target.message.deleted_at_ms is None:
                state.marks.keep(known)
        decided = marks.decide_reaction(state, command, known)
    else:
        assert state.marks.pins is not None
        decided = marks.decide_pin(state, command, target.message, state.marks.pins)
    if decided is not None:
        return decided
    write = marks.write_of(state, command, NOW_MS)
    marks.apply_mark(state, write, target.message)
    return Changed(write.seq, NOW_MS, is_duplicate=False, message=target.message)


def change(state: RoomState, command: Edit | Delete) -> None:
    target = changes.target_in(state, command.message_id)
    assert target is not None
    if isinstance(command, Edit):
        decision = changes.decide_edit(state, command, target, NOW_MS, 0)
    else:
        decision = changes.decide_delete(state, command, target, NOW_MS)
    if not isinstance(decision, Refused) and decision is not target.message:
        changes.apply_change(state, changes.write_of(state, decision, command.user_id, NOW_MS), decision)


STEPS = st.lists(
    st.tuples(st.sampled_from("srRpPed"), st.integers(1, 2), st.integers(0, 3), st.sampled_from(["like", "wow"])),
    max_size=40,
)


@given(STEPS)
def test_each_change_takes_the_next_seq_and_what_holds_already_changes_nothing(
    steps: list[tuple[str, int, int, str]],
) -> None:
    state, on, ids, deleted = room(1, 2), dict[tuple[int, int, str], int](), list[int](), set()
    for number, (step, user, place, reaction) in enumerate(steps):
        if step == "s" or not ids:
            ids.append(say(state, user))
            continue
        message, top = ids[place % len(ids)], state.top_seq
        if step in "ed":
            change(state, Edit(user, message, f"words {number}") if step == "e" else Delete(user, message))
            target = changes.target_in(state, message)
            if target is not None and target.message.deleted_at_ms is not None:
                deleted.add(message)
                on = {key: seq for key, seq in on.items() if key[0] != message}
            continue
        is_on, key = step in "rp", (message, user, reaction) if step in "rR" else (message, 0, "pin")
        answer = mark(state, React(user, message, reaction, is_on) if step in "rR" else Pin(user, message, is_on))
        if step in "pP" and user != 1:
            assert answer == Refused.because(RefusalCode.NOT_ADMIN)
        elif message in deleted:
            assert answer == changes.NO_MESSAGE
        else:
            assert isinstance(answer, Changed)
            since = on.get(key)
            assert answer.is_duplicate == (is_on == (since is not None))
            assert state.top_seq == (top if answer.is_duplicate else top + 1)
            assert answer.seq == (state.top_seq if not answer.is_duplicate else since or answer.message.seq)
            if is_on:
                on.setdefault(key, answer.seq)
            else:
                on.pop(key, None)
    assert [entry.seq for entry in state.ring] == list(range(1, state.top_seq + 1))
    pins = {message: Standing(seq, NOW_MS) for (message, _, what), seq in on.items() if what == "pin"}
    assert state.marks.pins == pins
    for message in ids:
        known = state.marks.reactions_on(message)
        found = {
            (message, user, reaction): standing.seq
            for user, mine in ({} if known is None else known.by_user).items()
            for reaction, standing in mine.items()
        }
        assert found == {key: seq for key, seq in on.items() if key[0] == message and key[1]}
    for entry in state.ring:
        assert (entry.reaction != "") == (entry.change in ("reacted", "unreacted") and entry.id not in deleted)
        assert entry.content == "" if entry.id in deleted else entry.content
    newest = max((entry.seq for entry in state.ring if not entry.change), default=0)
    assert (0 if state.last is None else state.last.seq) == newest
    others = sum(entry.sender_id == 2 and not entry.change and entry.id not in deleted for entry in state.ring)
    assert rules.unread(state, 1) == others


def test_a_change_counts_as_no_unread_message_also_beyond_what_the_room_remembers() -> None:
    state = room(1, 2)
    message = say(state, 2)
    for number in range(200):
        mark(state, React(1, message, "like", is_on=number % 2 == 0))
    for _ in range(RING_MESSAGES):
        say(state, 2)
    assert state.ring[0].seq == 202
    assert rules.unread(state, 1) == 1 + RING_MESSAGES
    state.members[1].read_seq = 100
    assert rules.unread(state, 1) == RING_MESSAGES
    say(state, 2)
    for _ in range(20_000):
        entry = state.ring[-1]._replace(seq=state.top_seq + 1, change="reacted")
        rules.append_change(state, entry)
    assert rules.unread(state, 1) == RING_MESSAGES + 1
    assert len(state.wordless) == 2, "runs"


@given(st.lists(st.integers(0, 3), max_size=60), st.data())
def test_places_without_a_message_are_counted_wherever_one_has_read_to(steps: list[int], data: st.DataObject) -> None:
    """Whether they were loaded or came since."""
    places = [bool(step) for step in steps]  # the log: True where none stands
    runs = [
        (first, first + len(places[first - 1 :]) - 1 if all(places[first - 1 :]) else places.index(False, first - 1))
        for first in range(1, len(places) + 1)
        if places[first - 1] and (first == 1 or not places[first - 2])
    ]
    loaded = data.draw(st.integers(0, len(runs)))
    wordless = WordlessPlaces(*zip(*runs[:loaded], strict=True)) if loaded else WordlessPlaces()
    for first, last in runs[loaded:]:
        for seq in range(first, last + 1):
            wordless.add(seq)
    for after in range(len(places) + 1):
        for before in range(after + 1, len(places) + 2):
            assert wordless.between(after, before) == sum(places[after : before - 1])


def test_of_runs_the_oldest_are_forgotten() -> None:
    wordless = WordlessPlaces()
    for seq in range(1, 6 * RUNS_MAX, 2):
        wordless.add(seq)
    assert RUNS_MAX <= len(wordless) <= 2 * RUNS_MAX
    assert wordless.between(6 * RUNS_MAX - 2 * RUNS_MAX, 6 * RUNS_MAX) == RUNS_MAX


def test_memory_is_bounded_and_forgets_whole_messages_the_longest_unused_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mark_memory, "REACTIONS_KEPT", 10)
    memory = MarkMemory()

    def keep(message_id: int, users: int) -> None:
        stored = [StoredReaction(user, "like", user, NOW_MS) for user in range(users)]
        memory.keep(Reactions(StoredMessage(message_id, 1, 1, None, "", NOW_MS), stored))

    keep(1, 4)
    keep(2, 2)
    assert memory.reactions_on(1) is not None
    keep(3, 2)  # one too many: the second was used longest ago
    assert [memory.reactions_on(message) is not None for message in (1, 2, 3)] == [True, False, True]
    for user in range(100, 120):
        memory.put(3, user, "like", Standing(user, NOW_MS))
    assert [memory.reactions_on(message) for message in (1, 3)] == [None, None]
    keep(4, 9)
    found = memory.reactions_on(4)
    assert found is not None
    assert found.of(3, "like") == Standing(3, NOW_MS)
    memory.take(4, 3, "like")
    assert (found.of(3, "like"), found.users) == (None, {"like": 8})


def test_of_a_message_with_many_reactions_users_are_learned_and_the_counts_are_of_all() -> None:
    memory = MarkMemory()
    known = Reactions(StoredMessage(1, 1, 1, None, "", NOW_MS), users={"like": 20_000, "wow": 1})
    known.learn(5, [StoredReaction(5, "wow", 3, NOW_MS)])
    memory.keep(known)
    assert (known.knows(5), known.knows(6)) == (True, False)
    memory.learn(known, 6, [])
    assert (known.knows(6), known.of(6, "like"), known.of(5, "wow")) == (True, None, Standing(3, NOW_MS))
    memory.put(1, 6, "like", Standing(4, NOW_MS))
    memory.take(1, 5, "wow")
    assert known.users == {"like": 20_001}
    assert known.knows(5), "that they have none is known"
    memory.take(1, 6, "like")
    assert known.users == {"like": 20_000}


def test_users_who_were_learned_are_bounded_with_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mark_memory, "REACTIONS_KEPT", 10)
    memory = MarkMemory()
    known = Reactions(StoredMessage(1, 1, 1, None, "", NOW_MS), users={"like": 20_000})
    memory.keep(known)
    for user in range(8):
        assert memory.reactions_on(1) is known
        memory.learn(known, user, [])
    memory.learn(known, 8, [])
    assert memory.reactions_on(1) is None
    for number in range(2, 6):  # nothing is held any more of what was forgotten
        memory.keep(Reactions(StoredMessage(number, 1, 1, None, "", NOW_MS)))
    assert memory.reactions_on(2) is not None


@pytest.mark.parametrize("reaction", ["", " \t", "a\0", "\x7f", "\ud83d", "a\u2029", "x" * 33, "🎭" * 33])
def test_what_is_no_reaction(reaction: str) -> None:
    state = room(1)
    message = say(state, 1)
    answer = mark(state, React(1, message, reaction, is_on=True))
    assert isinstance(answer, Refused)
    assert (answer.code, state.top_seq) == (RefusalCode.INVALID_CONTENT, 1)


@pytest.mark.parametrize("reaction", ["like", "👍🏽", "👩‍👩‍👧‍👦", "❤️", "so true", "x" * 32, "🎭" * 32])
def test_what_is_a_reaction(reaction: str) -> None:
    state = room(1)
    assert isinstance(mark(state, React(1, say(state, 1), reaction, is_on=True)), Changed)


def test_between_two_who_are_apart_nothing_new_is_put_on_a_message_or_taken_off() -> None:
    state = room(1, 2, is_group=False)
    message = say(state, 1)
    assert isinstance(mark(state, React(2, message, "like", is_on=True)), Changed)
    assert isinstance(mark(state, Pin(2, message, is_on=True)), Changed)
    state.is_apart = True
    blocked = Refused.because(RefusalCode.USER_BLOCKED)
    assert mark(state, React(1, message, "like", is_on=True)) == blocked
    assert mark(state, React(2, message, "like", is_on=False)) == blocked
    assert mark(state, Pin(1, message, is_on=False)) == blocked
    again = mark(state, React(2, message, "like", is_on=True))
    assert isinstance(again, Changed)
    assert again.is_duplicate


def test_the_reactions_that_a_room_remembers_are_bounded_by_the_words_of_their_messages_too() -> None:
    for words, kept_max in ("x" * 10_000, 200), ("", mark_memory.REACTIONS_KEPT):
        memory = MarkMemory()
        for number in range(mark_memory.REACTIONS_KEPT + 100):
            memory.keep(Reactions(StoredMessage(number, number, 1, None, words, 1000)))
            memory.put(number, 2, "like", Standing(1, 1))
            memory.take(number, 2, "like")
        kept = sum(memory.reactions_on(number) is not None for number in range(mark_memory.REACTIONS_KEPT + 100))
        assert 0 < kept <= kept_max
        assert memory.reactions_on(mark_memory.REACTIONS_KEPT + 99) is not None
