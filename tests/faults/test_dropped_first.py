"""What is dropped first: above half an outbox nobody is told who types and who has read; each such frame is counted.

DESIGN section 5, class C. Below half of it they come, and the newest state of what did not: nothing stays wrong.
Messages, and that somebody types no more, always come.
"""

import pytest
from wire import V1, open_in, open_sockets, wait_until

from greenroom.actors.events import TypingChanged
from greenroom.http.ws.connection import OUTBOX_BYTES_MAX

AUTHOR, SLOW, WITNESS, EARLY, LATE = range(1, 6)


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """Nobody is too slow because the machine is."""
    monkeypatch.setattr("greenroom.http.ws.pace.OUTBOX_SECONDS_MAX", 60.0)


async def fill(author, room, connection, size):
    """Say so much in the room that so many bytes wait for one who does not read; the seq of the last message."""
    seq = 0
    while connection.queued_bytes < size:
        seq = (await author.ask("send", room, body="x" * 9_900))["data"]["seq"]
    assert not connection.is_closing
    return seq


@pytest.mark.parametrize("protocol", [V1, None], ids=["v1", "compat"])
async def test_typing_and_receipts_are_dropped_and_counted_above_half_an_outbox_and_messages_never(
    live_house, protocol
):
    await live_house.people(*range(1, 6))
    room = await live_house.conversation(*range(1, 6))
    engine = live_house.house.engine
    async with open_sockets() as nursery:
        author, witness, early, late = [
            await open_in(nursery, live_house, user, room) for user in (AUTHOR, WITNESS, EARLY, LATE)
        ]
        slow = await open_in(nursery, live_house, SLOW, room, protocol, receive_buffer=4096)
        (connection,) = engine.connections_of(SLOW)
        slow.stop_reading()

        async def act(person, seq):
            """They read so far and begin to type: when the witness has heard of it, all have been told or not."""
            at = len(witness.events)
            await person.ask("read", room, seq=seq)
            await person.ask("typing", room, on=True)
            await wait_until(lambda: str(user_of[person]) not in marks(witness) and "the receipt")
            await wait_until(lambda: not shown_typing(witness, at, user_of[person]) and "who types")

        async def rest(person):
            """They type no more."""
            at = len(witness.events)
            await person.ask("typing", room, on=False)
            await witness.expect("typing", after=at, users=[])

        user_of = {early: EARLY, late: LATE}
        first = await fill(author, room, connection, OUTBOX_BYTES_MAX // 4)
        await act(early, first)
        await rest(early)
        assert engine.dropped_ephemeral == 0
        last = await fill(author, room, connection, OUTBOX_BYTES_MAX // 2 + 20_000)
        await act(late, last)
        dropped = engine.dropped_ephemeral
        assert dropped == (2 if protocol == V1 else 1), "a page is not told receipts of what others wrote"
        await rest(late)
        assert engine.dropped_ephemeral == dropped
        slow.read_again()
        await wait_until(lambda: connection.queued_bytes or last - len(messages(slow)))
        await slow.settle()
        assert len(messages(slow)) == last
        if protocol == V1:
            await wait_until(lambda: marks(slow) != {str(EARLY): first, str(LATE): last} and marks(slow))
            assert [event["data"]["users"] for event in slow.of("typing")] == [[EARLY], [], []]
        else:
            told = [(event["userId"], event["isTyping"]) for event in slow.of("user_typing")]
            assert told == [(EARLY, True), (EARLY, False), (LATE, False)]
        at = len(slow.events)
        await late.ask("typing", room, on=True)
        await wait_until(lambda: not shown_typing(slow, at, LATE) and "who types, as there is room again")
        assert engine.dropped_ephemeral == dropped


@pytest.mark.parametrize("protocol", [V1, None], ids=["v1", "compat"])
async def test_what_was_dropped_is_told_once_in_its_newest_state(live_house, protocol):
    await live_house.people(*range(1, 6))
    room = await live_house.conversation(*range(1, 6))
    engine, overdue = live_house.house.engine, live_house.house.hub.overdue
    async with open_sockets() as nursery:
        author, witness, early, late = [
            await open_in(nursery, live_house, user, room) for user in (AUTHOR, WITNESS, EARLY, LATE)
        ]
        slow = await open_in(nursery, live_house, SLOW, room, protocol, receive_buffer=4096)
        (connection,) = engine.connections_of(SLOW)
        slow.stop_reading()
        assert not overdue
        last = await fill(author, room, connection, OUTBOX_BYTES_MAX // 2 + 20_000)
        for person in (early, late):
            for seq in (1, 2, last):
                await person.ask("read", room, seq=seq)
        await early.ask("typing", room, on=True)
        await wait_until(lambda: not shown_typing(witness, 0, EARLY) and "who types")
        at = len(witness.events)
        await late.ask("typing", room, on=True)
        await wait_until(lambda: not shown_typing(witness, at, LATE) and "who types with them")
        assert engine.dropped_ephemeral
        assert overdue
        slow.read_again()
        await wait_until(lambda: not all(shown_typing(slow, 0, user) for user in (EARLY, LATE)) and "who types")
        await wait_until(lambda: overdue and "what is overdue")
        await slow.settle()
        if protocol == V1:
            assert [event["data"]["users"] for event in slow.of("typing")] == [[EARLY, LATE]]
            assert [event["data"]["marks"] for event in slow.of("receipts")] == [{str(EARLY): last, str(LATE): last}]
        else:
            told = [(event["userId"], event["isTyping"]) for event in slow.of("user_typing")]
            assert told == [(EARLY, True), (LATE, True)]
        assert not overdue.marks


async def test_what_is_overdue_is_hidden_by_blocks_and_forgotten_with_the_socket(live_house):
    await live_house.people(*range(1, 6))
    room = await live_house.conversation(*range(1, 6))
    engine, overdue = live_house.house.engine, live_house.house.hub.overdue
    async with open_sockets() as nursery:
        author, early, late = [await open_in(nursery, live_house, user, room) for user in (AUTHOR, EARLY, LATE)]
        slow = await open_in(nursery, live_house, SLOW, room, receive_buffer=4096)
        gone = await open_in(nursery, live_house, WITNESS, room, receive_buffer=4096)
        slow.stop_reading()
        gone.stop_reading()
        (connection,), (other,) = engine.connections_of(SLOW), engine.connections_of(WITNESS)
        last = await fill(author, room, connection, OUTBOX_BYTES_MAX // 2 + 20_000)
        await wait_until(lambda: other.takes_ephemeral and "the other is behind too")
        for person in (early, late):
            await person.ask("read", room, seq=last)
            await person.ask("typing", room, on=True)
        assert (await live_house.post(f"/api/users/{SLOW}/block", EARLY, {})).status == 200
        gone.cut()
        slow.read_again()
        await wait_until(lambda: not shown_typing(slow, 0, LATE) and "who types")
        await wait_until(lambda: overdue and "what is overdue")
        await slow.settle()
        assert not shown_typing(slow, 0, EARLY)
        assert marks(slow) == {str(LATE): last}
        assert not overdue.marks


@pytest.mark.parametrize("protocol", [V1, None], ids=["v1", "compat"])
async def test_of_who_has_hidden_meanwhile_it_is_not_told_later_that_they_type(live_house, protocol):
    await live_house.people(*range(1, 6))
    room = await live_house.conversation(*range(1, 6))
    engine, hub = live_house.house.engine, live_house.house.hub
    async with open_sockets() as nursery:
        author, witness, early, late = [
            await open_in(nursery, live_house, user, room) for user in (AUTHOR, WITNESS, EARLY, LATE)
        ]
        slow = await open_in(nursery, live_house, SLOW, room, protocol, receive_buffer=4096)
        slow.stop_reading()
        (connection,) = engine.connections_of(SLOW)
        await fill(author, room, connection, OUTBOX_BYTES_MAX // 2 + 20_000)
        for person, user in ((early, EARLY), (late, LATE)):
            at = len(witness.events)
            await person.ask("typing", room, on=True)
            await wait_until(lambda at=at, user=user: not shown_typing(witness, at, user) and "who types")
        publish = hub.publish
        hub.publish = lambda event, members: None if isinstance(event, TypingChanged) else publish(event, members)
        hidden = await live_house.post("/api/presence/update", EARLY, {"status": "invisible"})
        assert hidden.status == 200, hidden.json
        assert set(hub.typists[room]) == {EARLY, LATE}, "the room's word of it is not told yet"
        slow.read_again()
        await wait_until(lambda: not shown_typing(slow, 0, LATE) and "who types")
        await wait_until(lambda: hub.overdue and "what is overdue")
        await slow.settle()
        assert not shown_typing(slow, 0, EARLY)


def messages(sock):
    """Seqs, or ids, of what was said."""
    return [event.get("seq") or event.get("messageId") for event in sock.of("message", "new_message")]


def marks(sock):
    """How far others have read, as it was told."""
    told = {}
    for event in sock.of("receipts"):
        told |= event["data"]["marks"]
    return told


def shown_typing(sock, at, user):
    """Whether it was told since *at* that the user types."""
    for event in sock.events[at:]:
        if event["type"] == "typing" and str(user) in map(str, event["data"].get("users", ())):
            return True
        if event["type"] == "user_typing" and event["userId"] == user and event["isTyping"]:
            return True
    return False
