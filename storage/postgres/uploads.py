"""Uploads: what is known of files besides their bytes, which are in `storage/blobs.py`.

    note ──▶ (the bytes are stored) ──▶ attached by a message (the committer) ──▶ the message is deleted ─┐
      └──────────── not sent within UNSENT_MS ────────────────────────────────────────────────────────────┴─▶ swept

A row goes only after its bytes have gone, so that a sweep that dies is done again.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from greenroom.storage.blobs import Blobs
from greenroom.storage.postgres.pool import Postgres

UNSENT_MS: Final = 25 * 3600 * 1000
SENDABLE_MS: Final = 3600 * 1000  # so long before its end a file is not sent any more: a send may be under way


class Upload(NamedTuple):
    """A file. type: its MIME type, as its bytes say."""

    key: str
    name: str
    type: str
    size: int


class Uploads:
    """Rows of files, and beside them their bytes. Times are milliseconds since 1970."""

    def __init__(self, postgres: Postgres, blobs: Blobs) -> None:
        self._postgres = postgres
        self.blobs = blobs

    async def note(self, upload: Upload, uploader_id: int, at_ms: int, unsent_bytes_max: int) -> bool:
        """Note a file before its bytes are stored. False when its uploader has too much that was not sent.

        Raises: StorageUnavailable.
        """
        row = (upload.key, uploader_id, upload.name, upload.type, upload.size, at_ms, unsent_bytes_max, UNSENT_MS)
        return await self._postgres.fetch_value("insert_upload", *row) is not None

    async def to_send(self, keys: Sequence[str], uploader_id: int, now_ms: int) -> list[Upload]:
        """Those of *keys* that the user may send, in their order. Raises: StorageUnavailable."""
        rows = await self._postgres.fetch("select_uploads_to_send", list(keys), uploader_id, now_ms + SENDABLE_MS)
        return _in_order(keys, rows)

    async def uploaded(self, keys: Sequence[str], uploader_id: int, now_ms: int) -> list[Upload]:
        """Those of *keys* that the user has uploaded and that are not about to go, in their order.

        Raises: StorageUnavailable.
        """
        rows = await self._postgres.fetch("select_uploads_of", list(keys), uploader_id, now_ms)
        return _in_order(keys, rows)

    async def shown(self, key: str, reader_id: int, now_ms: int) -> Upload | None:
        """A file that the reader may have, or None. Raises: StorageUnavailable."""
        row = await self._postgres.fetch_row("select_upload", key, reader_id, now_ms)
        return None if row is None else Upload(*row)

    async def expired(self, now_ms: int, count: int) -> list[str]:
        """Keys of at most *count* files that are to go, the longest due first. Raises: StorageUnavailable."""
        return [row["key"] for row in await self._postgres.fetch("select_expired_uploads", now_ms, count)]

    async def forget(self, keys: Sequence[str]) -> None:
        """Their bytes are gone. Raises: StorageUnavailable."""
        await self._postgres.execute("delete_uploads", list(keys))


def _in_order(keys: Sequence[str], rows: list[Any]) -> list[Upload]:
    found = {row["key"]: Upload(*row) for row in rows}
    return [found[key] for key in keys if key in found]
