"""What the hub remembers of a room when somebody comes: the end of its log, or nothing."""

import trio
from silent import Silent  # type: ignore[import-not-found]

from greenroom.actors.room.commands import RoomView
from greenroom.http.ws.engine import SocketEngine
from greenroom.http.ws.hub import Hub
from greenroom.runtime import SystemClock
from greenroom.storage.postgres.conversations import StoredMessage

ROOM = 7


async def test_what_a_room_remembers_is_taken_where_it_reaches_to_what_was_told_last():
    """Where one seq follows another is counted from the end: what ended elsewhere were told under a wrong one."""
    async with trio.open_nursery() as nursery:
        for told_up_to, is_taken in ((2, False), (3, True), (4, False)):
            hub = Hub(SocketEngine(nursery), SystemClock())
            hub.listen_to_typing(Silent(), 1, ROOM, told_up_to)
            view = RoomView(ROOM, 1, 3, 0, 9, frozenset(), recent=tuple(stored(seq) for seq in (1, 2, 3)))
            hub.attach(Silent(), 2, view, 1, view.recent)
            found = hub.channels[ROOM].frames_after(1, 2, 1 << 20)
            assert (found is not None) is is_taken, told_up_to
            assert found is None or (found[0].count(b'"message"'), found[1]) == (2, 3)


def stored(seq):
    return StoredMessage(seq + 100, seq, 1, None, f"{seq}", 1)
