"""The sweep: files that were never sent, and those of deleted messages, go; their bytes first, their rows last.

Each may be swept more than once, by whatever process: nothing happens the second time.
"""

import structlog
import trio

from greenroom.runtime.ports import Clock, StorageUnavailable
from greenroom.storage.postgres.uploads import Uploads

log = structlog.get_logger()

SWEEP_SECONDS = 15.0
SWEPT_AT_ONCE = 100


async def sweep_files(uploads: Uploads, clock: Clock) -> None:
    """Sweep now and then, for ever."""
    while True:
        try:
            while await sweep_some(uploads, clock.wall_milliseconds()):
                pass
        except StorageUnavailable as error:
            log.warning("files.not_swept", why=str(error))
        except Exception:  # a fault here must not end every room; nor may it go unseen
            log.exception("files.sweep_failed")
        await trio.sleep(SWEEP_SECONDS)


async def sweep_some(uploads: Uploads, now_ms: int) -> bool:
    """Sweep at most SWEPT_AT_ONCE; whether there may be more. Raises: StorageUnavailable."""
    keys = await uploads.expired(now_ms, SWEPT_AT_ONCE)
    for key in keys:
        await uploads.blobs.delete(key)
    await uploads.forget(keys)
    if keys:
        log.info("files.swept", count=len(keys))
    return len(keys) == SWEPT_AT_ONCE
