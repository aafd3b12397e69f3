"""The walk over a large room: every live socket is brought up to the top, 2 ms at a time.

One walk per room, in `seq` order; what is published while it is under way or rests goes to each socket in one send.
"""

from collections.abc import Callable
from typing import Final

import trio

from greenroom.http.ws.channel import Attachment, Channel
from greenroom.http.ws.engine import SocketEngine

WALK_SOCKETS_MIN: Final = 200
WALK_SLICE_SECONDS_MAX: Final = 0.002
WALK_SOCKETS_AT_ONCE: Final = 16  # between two looks at the clock
# Times as long as the walk took: a room's walks have at most four fifths of the loop. When they rested as long as they
# walked, 1,000 members at 100 messages a second were always one message behind: p99 26 ms, against 8-10 ms so.
WALK_REST: Final = 0.25
WALK_REST_SECONDS_MAX: Final = 0.01


class Walker:
    """Walks over the large rooms of the process. fell_behind(channel, attachment): it must be replayed from storage."""

    def __init__(self, engine: SocketEngine, fell_behind: Callable[[Channel, Attachment], None]) -> None:
        self._engine = engine
        self._fell_behind = fell_behind

    def walk_soon(self, channel: Channel) -> None:
        """Start a walk over *channel* unless one is under way."""
        if not channel.is_walking:
            channel.is_walking = True
            self._engine.spawn(self._walk, channel)

    async def _walk(self, channel: Channel) -> None:
        """Bring every live socket of a large room up to the top, again and again until all are there.

        One busy room may not have the loop to itself: after each walk it rests, and what is published meanwhile goes
        to each socket in one send. A room with a message now and then never waits.
        """
        try:
            told_seq = -1
            while told_seq < channel.top_seq:
                if trio.current_time() < channel.rests_until:
                    await trio.sleep_until(channel.rests_until)
                told_seq = channel.top_seq
                started = trio.current_time()
                await self._walk_once(channel)
                ended = trio.current_time()
                channel.rests_until = ended + min(WALK_REST * (ended - started), WALK_REST_SECONDS_MAX)
        finally:
            channel.is_walking = False

    async def _walk_once(self, channel: Channel) -> None:
        """One pass. The loop is spelled out: at 4 messages a second it is cold, and each call in it shows."""
        current_time = trio.current_time
        shared: dict[int, tuple[bytes, int, frozenset[int]]] = {}
        top_seq = from_seq = -1
        frames, reached, senders, size = b"", 0, frozenset[int](), 0
        attachments = list(channel.attachments.values())
        slice_ends = current_time() + WALK_SLICE_SECONDS_MAX
        for start in range(0, len(attachments), WALK_SOCKETS_AT_ONCE):
            if top_seq != channel.top_seq:  # the first socket, or published while this walk rested
                top_seq, from_seq = channel.top_seq, -1
                shared.clear()
            for attachment in attachments[start : start + WALK_SOCKETS_AT_ONCE]:
                seq = attachment.seq
                if seq != from_seq:  # not where the one before it was
                    if seq >= top_seq:
                        continue
                    if seq not in shared:
                        shared[seq] = self._shared(channel, seq)
                    from_seq, (frames, reached, senders) = seq, shared[seq]
                    size = len(frames)
                if not attachment.is_live:
                    continue
                connection = attachment.connection
                if connection.is_clear and size and attachment.user_id not in senders:
                    attachment.seq = reached
                    try:
                        sent = connection.sock.send(frames)
                    except OSError as error:
                        connection.send_failed(frames, error)
                    else:
                        if sent != size:
                            connection.block(frames[sent:])
                else:
                    self._bring_up(channel, attachment, frames, reached, senders)
            if current_time() > slice_ends:
                await trio.lowlevel.checkpoint()
                slice_ends = current_time() + WALK_SLICE_SECONDS_MAX

    @staticmethod
    def _shared(channel: Channel, seq: int) -> tuple[bytes, int, frozenset[int]]:
        """What everybody at *seq* is given: frames, the seq they reach (0: not remembered), and their senders."""
        found = channel.frames_after(seq, -1, 64 * 1024)
        if found is None:
            return b"", 0, frozenset()
        frames, reached = found
        start = len(channel.recent) - (channel.top_seq - seq)
        senders = frozenset(channel.recent[index].sender_id for index in range(start, start + reached - seq))
        return frames, reached, senders

    def _bring_up(
        self, channel: Channel, attachment: Attachment, frames: bytes, reached: int, senders: frozenset[int]
    ) -> None:
        if not reached:  # older than what is remembered: read it from storage like a resume
            self._fell_behind(channel, attachment)
            return
        if attachment.user_id in senders:
            own = channel.frames_after(attachment.seq, attachment.user_id, 64 * 1024)
            assert own is not None
            frames, reached = own
        attachment.seq = reached
        attachment.connection.write_now(frames)
