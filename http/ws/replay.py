"""Replay: bringing a socket from where it was to where its room is.

Frames are packed up to PACK_BYTES_MAX and at most UNSENT_BYTES_MAX wait for the peer, so that a replay can starve
nobody. Recent messages come from the channel's memory; older ones from storage, in pages that carry the membership
test. After every page the attachment is looked at again: whoever was removed meanwhile is given nothing more.
"""

from collections.abc import Callable
from typing import Final

import structlog
import trio

from greenroom.http.ws import changes, events
from greenroom.http.ws.channel import Attachment, Channel
from greenroom.http.ws.connection import Connection
from greenroom.http.ws.engine import SocketEngine
from greenroom.http.ws.hub import Hub
from greenroom.runtime import StorageUnavailable
from greenroom.storage.postgres.conversations import Conversations

log = structlog.get_logger()

PACK_BYTES_MAX: Final = 64 * 1024
UNSENT_BYTES_MAX: Final = 256 * 1024
PAGE_MESSAGES: Final = 200
REPLAY_MESSAGES_MAX: Final = 500
STORAGE_PAUSE_SECONDS: Final = 0.5


class Replayer:
    """Replays for all sockets; one task per socket that lies behind."""

    def __init__(self, engine: SocketEngine, hub: Hub, conversations: Conversations) -> None:
        self._engine = engine
        self._hub = hub
        self._conversations = conversations
        hub.on_fallen_behind = self._catch_up_one

    def catch_up(self, attachments: list[tuple[int, Attachment]], on_done: Callable[[], None]) -> None:
        """Make (room, attachment) pairs of a socket live, in order, then call *on_done*. At once if none is behind."""
        behind = [
            (room_id, attachment) for room_id, attachment in attachments if not self._is_live(room_id, attachment)
        ]
        if not behind:
            on_done()
            return
        self._engine.spawn(self._run, behind, on_done, of=behind[0][1].connection)

    def _is_live(self, room_id: int, attachment: Attachment) -> bool:
        channel = self._hub.channels.get(room_id)
        return channel is None or not attachment.is_attached or self._hub.go_live(channel, attachment)

    def _catch_up_one(self, channel: Channel, attachment: Attachment) -> None:
        self.catch_up([(channel.id, attachment)], lambda: None)

    async def _run(self, behind: list[tuple[int, Attachment]], on_done: Callable[[], None]) -> None:
        for room_id, attachment in behind:
            await self._replay(room_id, attachment)
        on_done()

    async def _replay(self, room_id: int, attachment: Attachment) -> None:
        connection = attachment.connection
        while attachment.is_attached and not connection.is_closing:
            channel = self._hub.channels.get(room_id)
            if channel is None or self._hub.go_live(channel, attachment):
                return
            hides = self._hub.blocks.hides(attachment.user_id)
            found = channel.frames_after(attachment.seq, attachment.user_id, PACK_BYTES_MAX, hides=hides)
            if found is not None:
                frames, attachment.seq = found
                connection.write(frames)
                connection.flush()
            elif not await self._replay_page(room_id, attachment):
                return
            await wait_drained(attachment.connection)

    async def _replay_page(self, room_id: int, attachment: Attachment) -> bool:
        """One page from storage. False when there is nothing that this reader may see."""
        is_old = changes.outdated(self._hub, room_id, attachment.user_id)
        try:
            page = await self._conversations.log_after(room_id, attachment.user_id, attachment.seq, PAGE_MESSAGES)
        except StorageUnavailable:
            await trio.sleep(STORAGE_PAUSE_SECONDS)
            return True
        if not page or not attachment.is_attached:
            return False
        if is_old():  # a message may say something else by now, or be hidden: read it again
            return True
        pack, size = [], 0
        for message in page:
            frame = events.v1_stored(room_id, message, attachment.user_id)
            pack.append(frame)
            size += len(frame)
            attachment.seq = message.seq
            if size >= PACK_BYTES_MAX:
                attachment.connection.write(b"".join(pack))
                attachment.connection.flush()
                pack, size = [], 0
                await wait_drained(attachment.connection)
                if not attachment.is_attached:
                    return False
                if is_old():
                    return True
        if pack:
            attachment.connection.write(b"".join(pack))
            attachment.connection.flush()
        return True


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
