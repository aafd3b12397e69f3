"""The walk over a large room: every live socket is brought up to the top, 2 to 3 ms at a time.

    one walk:   the ranks, all from one `seq` to the next ──▶ the strays, each from its own ──▶ who is as far falls in

One walk per room, in `seq` order; what is published while it is under way or rests goes to each socket in one send.

A fault that comes up with one socket ends its session alone, and the walk goes on. A walk that fails itself ends its
task, which the engine counts and logs: whoever it has not reached reads what is missing, as after a resume, and the
next walk has another task.
"""

import os
from collections import deque
from collections.abc import Callable
from time import perf_counter
from typing import Final

import trio

from greenroom.http.ws.blocks import SocketBlocks
from greenroom.http.ws.channel import RECENT_MESSAGES_MAX, Attachment, Channel
from greenroom.http.ws.connection import Connection
from greenroom.http.ws.delivery import Delivery
from greenroom.http.ws.engine import SocketEngine
from greenroom.http.ws.send_many import AT_ONCE, open_sender
from greenroom.storage.changed import Changed

WALK_SOCKETS_MIN: Final = 200
WALK_SLICE_SECONDS_MAX: Final = 0.002
WALK_SOCKETS_AT_ONCE: Final = AT_ONCE  # between two looks at the clock
WALK_BYTES_MAX: Final = 64 * 1024  # to one socket in one send
WALK_BYTES_AT_ONCE: Final = 1024 * 1024  # to all of them between two looks at the clock
# Times as long as the walk took: a room's walks have at most four fifths of the loop. When they rested as long as they
# walked, 1,000 members at 100 messages a second were always one message behind: p99 26 ms, against 8-10 ms so.
WALK_REST: Final = 0.25
WALK_REST_SECONDS_MAX: Final = 0.01
UNTOLD_MAX: Final = RECENT_MESSAGES_MAX // 2  # entries of the log behind which who tells very many waits for the walk
UNTOLD_SECONDS_MAX: Final = 1.0

Shared = tuple[bytes, int, frozenset[int]]
"""What everybody at one seq is given: frames, the seq they reach (0: not remembered), and who is given others.

These are the senders, and those who are not shown what one of them says.
"""


class Walker:
    """Walks over the large rooms of the process.

    changed: of rooms, messages. fell_behind(channel, attachment): it must be replayed from storage.
    """

    def __init__(
        self,
        engine: SocketEngine,
        blocks: SocketBlocks,
        changed: Changed,
        delivery: Delivery,
        fell_behind: Callable[[Channel, Attachment], None],
    ) -> None:
        self._delivery = delivery
        self._engine = engine
        self._blocks = blocks
        self._changed = changed
        self._fell_behind = fell_behind
        self._sender = open_sender()
        self._to_walk: deque[Channel] = deque()
        self._idle: list[trio.lowlevel.Task] = []
        self._walked = trio.Event()  # some room has been gone through; another one each time

    def walk_soon(self, channel: Channel, committed_at: float | None = None) -> None:
        """Start a walk over *channel* unless one is under way. committed_at: of what is to be told, for statistics."""
        if channel.untold_since is None:
            channel.untold_since = committed_at
        if channel.is_walking:
            return
        channel.is_walking = True
        self._to_walk.append(channel)
        if self._idle:
            trio.lowlevel.reschedule(self._idle.pop())
        else:
            self._engine.spawn(self._walk_for_ever)

    async def wait_told(self, channel: Channel | None) -> None:
        """Wait while a walk has more before it than UNTOLD_MAX; UNTOLD_SECONDS_MAX at most.

        For who has a room tell hundreds of things one after the other: what a walk does not reach while it is
        remembered each socket reads from storage.
        """
        await trio.lowlevel.checkpoint()
        with trio.move_on_after(UNTOLD_SECONDS_MAX):
            while channel is not None and channel.is_walking and _untold(channel) > UNTOLD_MAX:
                await self._walked.wait()

    async def _walk_for_ever(self) -> None:
        """Go through room after room. There are as many of these tasks as rooms were walked at a time.

        To begin and to end one for each message took as long as forty sockets.
        """
        while True:
            while not self._to_walk:
                await self._park()
            await self._walk(self._to_walk.popleft())

    async def _park(self) -> None:
        task = trio.lowlevel.current_task()
        self._idle.append(task)

        def abort(_: object) -> trio.lowlevel.Abort:
            self._idle.remove(task)
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    async def _walk(self, channel: Channel) -> None:
        """Bring every live socket of a large room up to the top, again and again until all are there.

        One busy room may not have the loop to itself: after each walk it rests, and what is published meanwhile goes
        to each socket in one send. A room with a message now and then never waits.
        """
        try:
            told_seq, is_behind = -1, False
            while is_behind or told_seq < channel.top_seq:
                if trio.current_time() < channel.rests_until:
                    await trio.sleep_until(channel.rests_until)
                told_seq = channel.top_seq
                committed_at, channel.untold_since = channel.untold_since, None
                started = trio.current_time()
                await self._walk_ranks(channel)
                is_behind = await self._walk_strays(channel)
                ended = trio.current_time()
                self._delivery.told(committed_at)
                self._wake_waiting()
                channel.rests_until = ended + min(WALK_REST * (ended - started), WALK_REST_SECONDS_MAX)
        except Exception:
            self._give_up(channel)
            raise
        finally:
            channel.is_walking = False
            self._wake_waiting()

    def _give_up(self, channel: Channel) -> None:
        """Whoever is behind is replayed: the next message, and a walk with it, may come in a minute or never."""
        channel.ranks.disband()
        channel.ranks.walked = 0
        for attachment in list(channel.ranks.strays):
            if attachment.is_live and attachment.seq < channel.top_seq:
                self._do_apart(attachment.connection, self._fell_behind, channel, attachment)

    def _do_apart(self, connection: Connection, do: Callable[..., None], *arguments: object) -> None:
        """A fault in what is done with one connection is not that of the others."""
        try:
            do(*arguments)
        except Exception as error:
            self._engine.session_failed(connection, error)

    def _wake_waiting(self) -> None:
        self._walked.set()
        self._walked = trio.Event()

    async def _walk_ranks(self, channel: Channel) -> None:
        """Tell who stands in the ranks. Senders fall out, and who is not shown them: they are told something else."""
        ranks = channel.ranks
        while ranks and ranks.seq < channel.top_seq:
            shared = self._shared(channel, ranks.seq, channel.top_seq)
            _, reached, senders = shared
            if not reached:
                ranks.disband()
                return
            self._let_out(channel, senders)
            ranks.reached = reached
            await self._send_to_ranks(channel, shared)
            ranks.seq, ranks.walked = reached, 0

    async def _send_to_ranks(self, channel: Channel, shared: Shared) -> None:
        """One send each. What the kernel does not take is its connection's own business again.

        When a message of it was changed during a rest all fall out, and who has blocked somebody meanwhile: whoever was
        not reached is given, as a stray, what is right then.
        """
        ranks, frames, version = channel.ranks, shared[0], self._version()
        fds, sender = ranks.fds, self._sender
        at_once = max(1, min(WALK_SOCKETS_AT_ONCE, WALK_BYTES_AT_ONCE // len(frames)))
        slice_ends = perf_counter() + WALK_SLICE_SECONDS_MAX
        for start in range(0, len(fds), at_once):
            if perf_counter() > slice_ends:
                await trio.lowlevel.checkpoint()
                slice_ends = perf_counter() + WALK_SLICE_SECONDS_MAX
                before, version = version, self._version()
                if version != before:
                    now = self._shared(channel, ranks.seq, ranks.reached)
                    if now[:2] != shared[:2]:
                        ranks.disband()
                        return
                    self._let_out(channel, now[2] - shared[2])
                    shared = now
            ranks.walked = start + at_once
            some = fds[start : ranks.walked]
            try:
                if took_less := sender.send(frames, some):
                    self._took_less(frames, [(some[place], took) for place, took in took_less])
            except Exception as error:  # a sender never should; nobody knows what these were given
                for connection in filter(None, map(self._engine.connection_at, some)):
                    self._engine.session_failed(connection, error)
                raise

    def _let_out(self, channel: Channel, user_ids: frozenset[int]) -> None:
        """They are given something else than the ranks."""
        for user_id in user_ids:
            for connection in self._engine.connections_of(user_id):
                if connection in channel.attachments:
                    channel.attachments[connection].fall_out()

    def _version(self) -> tuple[int, int]:
        """Another one whenever a message was changed, or somebody was blocked, in whatever room."""
        return self._changed.version, self._blocks.changed.version

    def _took_less(self, frames: bytes, took_less: list[tuple[int, int]]) -> None:
        """By descriptor. First who is slow: the end of another may have them told something, which follows the rest."""
        gone: list[tuple[Connection, OSError]] = []
        faults: list[tuple[Connection, Exception]] = []
        for fd, took in took_less:
            connection = self._engine.connection_at(fd)
            assert connection is not None, "who stands in the ranks is open"
            error = OSError(-took, os.strerror(-took)) if took < 0 else None
            if error is not None and not isinstance(error, BlockingIOError):
                gone.append((connection, error))
                continue
            try:
                connection.block(frames[max(took, 0) :])
            except Exception as error_of_ours:
                faults.append((connection, error_of_ours))
        for connection, error in gone:
            if connection.is_open and not connection.is_closing:  # else by what befell another one, just now
                connection.send_failed(frames, error)
        for connection, fault in faults:
            self._engine.session_failed(connection, fault)

    async def _walk_strays(self, channel: Channel) -> bool:
        """Bring up who stands outside of the ranks, as far as these are, and let them fall in.

        True when one of them is still behind: more was said than is sent at once.
        """
        ranks = channel.ranks
        up_to = ranks.seq if ranks else channel.top_seq
        shared: dict[int, Shared] = {}
        slice_ends = perf_counter() + WALK_SLICE_SECONDS_MAX
        for attachment in list(ranks.strays):
            seq = attachment.seq
            if not attachment.is_live or seq >= up_to:
                continue
            if seq not in shared:
                shared[seq] = self._shared(channel, seq, up_to)
            self._do_apart(attachment.connection, self._bring_up, channel, attachment, up_to, *shared[seq])
            if perf_counter() > slice_ends:
                await trio.lowlevel.checkpoint()
                slice_ends = perf_counter() + WALK_SLICE_SECONDS_MAX
                shared.clear()  # what is remembered may have moved on
        ranks.close_up()
        if not ranks:
            ranks.seq = up_to
        is_behind = False
        for attachment in list(ranks.strays):
            if attachment.is_live and attachment.seq < up_to:
                is_behind = True
            elif attachment.is_live and attachment.seq == ranks.seq and attachment.connection.may_fall_in:
                ranks.fall_in(attachment)
        return is_behind

    def _shared(self, channel: Channel, seq: int, up_to: int) -> Shared:
        found = channel.frames_after(seq, -1, WALK_BYTES_MAX, up_to)
        if found is None:
            return b"", 0, frozenset()
        frames, reached = found
        start = len(channel.recent) - (channel.top_seq - seq)
        told = [channel.recent[index] for index in range(start, start + reached - seq)]
        senders = frozenset(recent.sender_id for recent in told)
        if self._blocks.hiders:
            senders |= self._blocks.not_shown({*senders, *[recent.by_id for recent in told]})
        return frames, reached, senders

    def _bring_up(
        self,
        channel: Channel,
        attachment: Attachment,
        up_to: int,
        frames: bytes,
        reached: int,
        senders: frozenset[int],
    ) -> None:
        if not reached:  # older than what is remembered: read it from storage like a resume
            self._fell_behind(channel, attachment)
            return
        if attachment.user_id in senders:
            hides = self._blocks.hides(attachment.user_id)
            own = channel.frames_after(attachment.seq, attachment.user_id, WALK_BYTES_MAX, up_to, hides)
            assert own is not None
            frames, reached = own
        attachment.seq = reached
        attachment.connection.write_now(frames)


def _untold(channel: Channel) -> int:
    """How far the last of those lies behind to whom it is told as it happens."""
    ranks = channel.ranks
    seqs = [attachment.seq for attachment in ranks.strays if attachment.is_live]
    return channel.top_seq - min([*seqs, ranks.seq] if ranks else seqs, default=channel.top_seq)
