"""Replay: bringing a socket from where it was to where its room is.

    catch_up ──▶ the line of its connection ──▶ one task, which tells those in it in turn, a pack at a time ──▶ on_done

Frames are packed up to PACK_BYTES_MAX and at most UNSENT_BYTES_MAX wait for the peer, so that a replay can starve
nobody, and a client that asks for many rooms at once is not closed as slow for what they say together. Recent messages
come from the channel's memory; older ones from storage, in pages that carry the membership test. No page is held while
the peer is waited for: what it does not take is read again. After every wait the attachment is looked at again: whoever
was removed meanwhile is given nothing more.
"""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

import structlog
import trio

from greenroom.http.ws import changes, events
from greenroom.http.ws.channel import Attachment, Channel
from greenroom.http.ws.connection import Connection
from greenroom.http.ws.cursor import ROOMS_MAX
from greenroom.http.ws.engine import SocketEngine
from greenroom.http.ws.hub import Hub
from greenroom.runtime import StorageUnavailable
from greenroom.storage.postgres.conversations import Conversations, StoredMessage

log = structlog.get_logger()

PACK_BYTES_MAX: Final = 64 * 1024
UNSENT_BYTES_MAX: Final = 256 * 1024
PAGE_MESSAGES: Final = 200
REPLAY_MESSAGES_MAX: Final = 500
STORAGE_PAUSE_SECONDS: Final = 0.5
END_SECONDS_MAX: Final = 1.0  # between the commit that ends a membership and the word of its room
END_LOOK_SECONDS: Final = 0.02
LINE_MAX: Final = 2 * ROOMS_MAX  # beyond it those in a line are looked for whose rooms were left, or begun again


class _Wanted(NamedTuple):
    """One that waits in a line."""

    rooms: list[tuple[int, Attachment]]
    on_done: Callable[[], None]

    @property
    def is_over(self) -> bool:
        """Its rooms were left, or begun again, all of them."""
        return not any(attachment.is_attached for _, attachment in self.rooms)


class Replayer:
    """Replays for all sockets; one task for each that lies behind, in however many rooms."""

    def __init__(self, engine: SocketEngine, hub: Hub, conversations: Conversations) -> None:
        self._engine = engine
        self._hub = hub
        self._conversations = conversations
        self._lines: dict[Connection, deque[_Wanted]] = {}
        hub.on_fallen_behind = self._catch_up_one

    def catch_up(self, attachments: list[tuple[int, Attachment]], on_done: Callable[[], None]) -> None:
        """Make (room, attachment) pairs of a socket live, in order, then call *on_done*. At once if none is behind.

        Else after what was asked for that socket before.
        """
        behind = [
            (room_id, attachment) for room_id, attachment in attachments if not self._is_live(room_id, attachment)
        ]
        if not behind:
            on_done()
            return
        connection, wanted = behind[0][1].connection, _Wanted(behind, on_done)
        line = self._lines.get(connection)
        if line is None:
            self._lines[connection] = deque([wanted])
            self._engine.spawn(self._run, connection, of=connection)
            return
        line.append(wanted)
        if len(line) > LINE_MAX:
            _end_those_over(line)

    def _is_live(self, room_id: int, attachment: Attachment) -> bool:
        channel = self._hub.channels.get(room_id)
        return channel is None or not attachment.is_attached or self._hub.go_live(channel, attachment)

    def _catch_up_one(self, channel: Channel, attachment: Attachment) -> None:
        self.catch_up([(channel.id, attachment)], lambda: None)

    async def _run(self, connection: Connection) -> None:
        line = self._lines[connection]
        try:
            while line:
                wanted = line.popleft()
                while wanted.rooms and await self._replay(*wanted.rooms[0], line):
                    wanted.rooms.pop(0)
                if wanted.rooms:
                    line.append(wanted)
                else:
                    wanted.on_done()
        finally:
            del self._lines[connection]

    async def _replay(self, room_id: int, attachment: Attachment, line: deque[_Wanted]) -> bool:
        """Until the room is live, or over. False when others wait in *line*: they have a pack, then it goes on.

        A room that grows faster than its reader takes it is never live, and would hold up the others for ever.
        """
        connection, is_behind = attachment.connection, True
        while is_behind and attachment.is_attached and not connection.is_closing:
            await wait_drained(connection)
            is_behind = not self._is_live(room_id, attachment) and await self._tell_next(room_id, attachment)
            if is_behind and line:
                return False
        return True

    async def _tell_next(self, room_id: int, attachment: Attachment) -> bool:
        """A pack from memory, or a page. False when there is nothing that this reader may see."""
        hides = self._hub.blocks.hides(attachment.user_id)
        channel = self._hub.channels[room_id]
        found = channel.frames_after(attachment.seq, attachment.user_id, PACK_BYTES_MAX, hides=hides)
        if found is None:
            return await self._tell_page(room_id, attachment)
        frames, attachment.seq = found
        attachment.connection.write(frames)
        attachment.connection.flush()
        return True

    async def _tell_page(self, room_id: int, attachment: Attachment) -> bool:
        """About a pack from storage, or what the peer takes of it. False as above."""
        is_old, reader_id = changes.outdated(self._hub, room_id, attachment.user_id), attachment.user_id
        try:
            page = await self._conversations.log_after(
                room_id, reader_id, attachment.seq, PAGE_MESSAGES, PACK_BYTES_MAX
            )
        except StorageUnavailable:
            await trio.sleep(STORAGE_PAUSE_SECONDS)
            return True
        if not page:  # storage knows already that the user is out of the room, which is about to say so
            await _hears_of_its_end(attachment)
        if not page or not attachment.is_attached:
            return False
        if not is_old():  # else a message may say something else by now, or be hidden: it is read again
            for pack, seq in _packs(room_id, page, reader_id):
                attachment.seq = seq
                attachment.connection.write(pack)
                attachment.connection.flush()
                if not is_drained(attachment.connection):
                    break
        return True


async def _hears_of_its_end(attachment: Attachment) -> None:
    with trio.move_on_after(END_SECONDS_MAX):
        while attachment.is_attached:  # noqa: ASYNC110 - one event for each attachment would be paid by all
            await trio.sleep(END_LOOK_SECONDS)


def _packs(room_id: int, page: list[StoredMessage], reader_id: int) -> Iterable[tuple[bytes, int]]:
    """The frames of a page, and the seq that each pack of them reaches; made when it is their turn."""
    pack, size = list[bytes](), 0
    for message in page:
        frame = events.v1_stored(room_id, message, reader_id)
        pack.append(frame)
        size += len(frame)
        if size >= PACK_BYTES_MAX or message is page[-1]:
            yield b"".join(pack), message.seq
            pack, size = [], 0


def _end_those_over(line: deque[_Wanted]) -> None:
    """A client may ask again and again, and take nothing: what it asked before is over then, and was not its turn."""
    over = [wanted for wanted in line if wanted.is_over]
    left = [wanted for wanted in line if not wanted.is_over]
    line.clear()
    line.extend(left)
    for wanted in over:
        wanted.on_done()


def is_drained(connection: Connection) -> bool:
    """Whether the peer has taken most of what it was sent. All of it, while much waits for others too."""
    return connection.unsent_bytes <= _mark(connection)


def _mark(connection: Connection) -> int:
    return 0 if connection.engine.outboxes.is_crowded else UNSENT_BYTES_MAX


async def wait_drained(connection: Connection) -> None:
    """Wait until the peer is (`is_drained`); one that never is, is closed by the engine.

    Of several who wait for it the first may write so much that the others go on waiting.
    """
    await trio.lowlevel.checkpoint()
    while not connection.is_closing and not is_drained(connection):
        if connection.pending is not None:  # what is left of it afterwards waits for the kernel
            connection.flush()
        else:
            await connection.engine.outboxes.patience.wait(connection, _mark(connection))
