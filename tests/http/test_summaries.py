"""Summaries against a plain log: what a follower was told last is how the room stands for them, whatever the order."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import trio
import trio.testing
from hypothesis import example, given
from hypothesis import strategies as st

from greenroom.actors.events import MarkerMoved, MessageCommitted
from greenroom.actors.room.commands import RoomView
from greenroom.http.ws.blocks import SocketBlocks
from greenroom.http.ws.summaries import FOLLOWERS_AT_ONCE, Summaries
from greenroom.storage.postgres.conversations import StoredMessage

ROOM, READERS = 7, (1, 2, 3)


class Peer:
    """As much of a connection as summaries touch."""

    def __init__(self) -> None:
        self.is_closing = False
        self.unsent_bytes = 0
        self.told: list[dict] = []

    def write(self, frame: bytes) -> None:
        start = frame.index(b"{")
        self.told.append(json.loads(frame[start:])["data"])


class Room:
    """The log, the markers, and what a member is answered."""

    def __init__(self) -> None:
        self.senders: list[int] = []
        self.read = dict.fromkeys(READERS, 0)

    def unread(self, user: int, hides: frozenset[int]) -> int:
        return sum(sender != user and sender not in hides for sender in self.senders[self.read[user] :])

    def view(self, user: int, hides: frozenset[int]) -> RoomView:
        seq = len(self.senders)
        return RoomView(ROOM, 1, seq, self.read[user], len(READERS), frozenset(READERS), self.unread(user, hides))


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["say", "say", "read", "follow", "leave", "tick", "answer", "refuse"]), st.sampled_from(READERS)
    ),
    max_size=60,
)


def settle(summaries: Summaries, waiting: list[Any], answer: Callable[[], None]) -> None:
    """Answer all that is asked, and asked again."""
    while waiting or summaries._recounts:
        while waiting:
            answer()
        summaries._recount_some()


@example([("say", 2), ("follow", 1), ("read", 1), ("refuse", 1)], set())
@given(STEPS, st.sets(st.sampled_from(READERS[1:]), max_size=1))
def test_what_is_told_last_is_how_the_room_stands(steps: list[tuple[str, int]], blocked: set[int]) -> None:
    async def run() -> None:
        blocks, room = SocketBlocks(), Room()
        blocks.put(1, blocked, ())
        summaries = Summaries(blocks)
        peers: dict[int, Any] = {}
        waiting = []
        summaries.ask = lambda _, user, reply: waiting.append((user, reply))

        def answer(what: str = "answer") -> None:
            user, reply = waiting.pop(0)
            reply(room.view(user, blocks.hides(user)) if what == "answer" else None)

        for what, user in [*steps, *[("follow", user) for user in READERS]]:
            if what == "say":
                room.senders.append(user)
                event = MessageCommitted(ROOM, 100, len(room.senders), user, "n", None, "x", 5, is_from_rest=False)
                summaries.note(event)
            elif what == "read" and room.read[user] < len(room.senders):
                room.read[user] = len(room.senders)
                summaries.note(MarkerMoved(ROOM, user, "n", room.read[user], 5, ()))
            elif what == "follow" and user not in peers:
                peers[user] = Peer()
                summaries.watch(peers[user], user, room.view(user, blocks.hides(user)))
            elif what == "leave" and user in peers:
                summaries.drop(peers.pop(user))
            elif what == "tick":
                await summaries._tell(ROOM)
            elif what in ("answer", "refuse") and waiting:
                answer(what)
        settle(summaries, waiting, answer)
        await summaries._tell(ROOM)
        for user, peer in peers.items():
            told = peer.told[-1]
            assert (told["top"], told["unread"]) == (len(room.senders), room.unread(user, blocks.hides(user))), user
        for peer in peers.values():
            summaries.drop(peer)
        assert summaries.rooms == {}

    trio.run(run)


async def test_a_peer_that_is_slow_is_told_later_what_is_true_then(autojump_clock: trio.testing.MockClock) -> None:
    summaries, room, slow = Summaries(SocketBlocks()), Room(), Peer()
    slow.unsent_bytes = 1024 * 1024
    async with trio.open_nursery() as nursery:
        nursery.start_soon(summaries.run)
        summaries.watch(slow, 1, room.view(1, frozenset()))  # type: ignore[arg-type]
        await trio.sleep(5)
        assert slow.told == []
        event = MessageCommitted(ROOM, 100, 1, 2, "n", None, "x" * 500, 5, is_from_rest=False)
        summaries.note(event)
        slow.unsent_bytes = 0
        await trio.sleep(2)
        assert [(told["top"], told["unread"], len(told["last"]["body"])) for told in slow.told] == [(1, 1, 100)]
        nursery.cancel_scope.cancel()


async def test_what_a_room_is_too_full_to_count_is_asked_again_once_a_second_while_it_is_followed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    summaries, room, peer, asked = Summaries(SocketBlocks()), Room(), Peer(), []
    room.senders = [2, 2]

    def ask(room_id: int, user: int, reply: Callable[[RoomView | None], None]) -> None:
        asked.append(trio.current_time())
        reply(None if is_full else room.view(user, frozenset()))

    summaries.ask = ask
    async with trio.open_nursery() as nursery:
        nursery.start_soon(summaries.run)
        is_full = True
        summaries.watch(peer, 1, room.view(1, frozenset()))  # type: ignore[arg-type]
        await trio.sleep(1.5)
        room.read[1] = 2
        summaries.note(MarkerMoved(ROOM, 1, "n", 2, 5, ()))
        await trio.sleep(5)
        assert 5 <= len(asked) <= 6
        is_full = False
        await trio.sleep(5)
        assert [told["unread"] for told in peer.told] == [2, 0]
        assert len(asked) <= 7, "it has answered"
        is_full = True
        summaries.note(MarkerMoved(ROOM, 1, "n", 2, 5, ()))
        await trio.sleep(5)
        summaries.drop(peer)  # type: ignore[arg-type]
        before = len(asked)
        await trio.sleep(5)
        assert len(asked) == before, "nobody follows it"
        nursery.cancel_scope.cancel()


async def test_who_follows_a_room_anew_while_it_is_told_is_told_by_no_follower_of_before() -> None:
    """All went and came back in the midst of it: what they are told then is how the room stands, and no old words."""
    summaries, room = Summaries(SocketBlocks()), Room()
    peers = [Peer() for _ in range(3 * FOLLOWERS_AT_ONCE)]

    def follow(last: StoredMessage) -> None:
        view = replace(room.view(1, frozenset()), last=last)
        for peer in peers:
            summaries.watch(peer, 1, view)  # type: ignore[arg-type]

    said = StoredMessage(100, 1, 2, None, "a secret", 5)
    room.senders.append(2)
    follow(said)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(summaries._tell, ROOM)
        while not peers[0].told:
            await trio.lowlevel.checkpoint()
        assert not peers[-1].told
        for peer in peers:
            summaries.drop(peer)  # type: ignore[arg-type]
        follow(said._replace(content="", deleted_at_ms=6))
    await summaries._tell(ROOM)
    assert [told["last"]["body"] for told in peers[-1].told] == [""]
