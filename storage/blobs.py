"""Blobs: bytes under a key, written whole or not at all, read in parts. On the local disk, or in S3 and what speaks it.

What is put is there when `put` returns, whatever ends then, and nothing else is ever seen under its key. All calls run
in threads, a few at a time (obstore's own waiting ones need asyncio), and none longer than BLOB_SECONDS_MAX.
"""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeVar

import obstore
import trio
from obstore.store import LocalStore, S3Store

from greenroom.runtime.ports import StorageUnavailable

T = TypeVar("T")

BLOB_SECONDS_MAX: Final = 60.0
CALLS_AT_ONCE: Final = 8


class Blobs:
    """Over any store of obstore. folder: of one on the local disk."""

    def __init__(self, store: Any, folder: Path | None = None) -> None:
        self._store = store
        self._folder = folder
        self._calls = trio.CapacityLimiter(CALLS_AT_ONCE)

    async def put(self, key: str, file: BinaryIO) -> None:
        """Store what *file* holds from where it stands. Raises: StorageUnavailable: it may be stored, or not."""

        def put() -> None:
            obstore.put(self._store, key, file)
            if self._folder is not None:
                _write_through(self._folder, key)

        await self._call(put)

    async def read(self, key: str, start: int, length: int) -> bytes:
        """A part, which must lie within. Raises: StorageUnavailable, also when there is no such blob."""
        return await self._call(lambda: bytes(obstore.get_range(self._store, key, start=start, length=length)))

    async def delete(self, key: str) -> None:
        """Have nothing under *key*. Raises: StorageUnavailable."""

        def delete() -> None:
            with contextlib.suppress(FileNotFoundError):
                obstore.delete(self._store, key)

        await self._call(delete)

    async def _call(self, work: Callable[[], T]) -> T:
        try:
            with trio.fail_after(BLOB_SECONDS_MAX):
                return await trio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=self._calls)
        except (OSError, obstore.exceptions.BaseError) as error:
            raise StorageUnavailable(f"the blob store does not do it: {type(error).__name__}") from error
        except trio.TooSlowError:
            raise StorageUnavailable(f"the blob store does not answer within {BLOB_SECONDS_MAX:g} s") from None


def _write_through(folder: Path, key: str) -> None:
    """Have the disk hold the file and its name, so that the power may go: the store leaves that to the system."""
    path = folder / key
    for place in (path, *path.parents[: len(Path(key).parts)]):
        descriptor = os.open(place, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def on_disk(folder: Path) -> Blobs:
    """In *folder*, which is made; its parent must be nobody else's. Raises: OSError."""
    folder.mkdir(mode=0o700, exist_ok=True)
    return Blobs(LocalStore(folder, automatic_cleanup=True), folder)


def in_s3(bucket: str, *, endpoint: str | None, region: str, access_key: str, secret_key: str) -> Blobs:
    """In a bucket of Amazon S3, or at *endpoint* of what speaks it: R2, MinIO."""
    return Blobs(
        S3Store(
            bucket,
            config={
                "region": region,
                "access_key_id": access_key,
                "secret_access_key": secret_key,
                "virtual_hosted_style_request": endpoint is None,
                **({} if endpoint is None else {"endpoint": endpoint}),
            },
            client_options={"allow_http": endpoint is not None and endpoint.startswith("http://")},
        )
    )
