"""Notifications that expire: each is deleted when its time has come, and its user's devices are told so.

    expired ──▶ deleted, with a note for its user, in one transaction ──▶ the user's notifier ──▶ devices

Who is away hears of it on coming back. Each may be found more than once, by whatever process: it is deleted once. Only
the process that deleted it tells devices at once, and of a transaction whose outcome is not known it says twice that
there may be news: at once, and after the next that succeeds.
"""

from collections.abc import Callable, Iterable
from typing import Final

import structlog
import trio

from greenroom.runtime.ports import Clock, StorageUnavailable
from greenroom.storage.postgres.notifications import Notifications

log = structlog.get_logger()

LOOK_SECONDS: Final = 1.0
AWAY_SECONDS: Final = 5.0
EXPIRED_AT_ONCE: Final = 500
REST_SECONDS: Final = 0.1  # between two pages, when many expire at one moment


async def expire_notifications(
    notifications: Notifications, clock: Clock, news_for: Callable[[Iterable[int]], None]
) -> None:
    """Look now and then, for ever. news_for: called with the users for whom there may be notes."""
    doubted = set[int]()
    while True:
        rest_seconds = AWAY_SECONDS
        try:
            has_more = await expire_some(notifications, clock.wall_milliseconds(), news_for, doubted)
            rest_seconds = REST_SECONDS if has_more else LOOK_SECONDS
        except StorageUnavailable as error:
            log.warning("notifications.not_expired", why=str(error))
        except Exception:  # a fault here must not end every room; nor may it go unseen
            log.exception("notifications.expiry_failed")
        await trio.sleep(rest_seconds)


async def expire_some(
    notifications: Notifications, now_ms: int, news_for: Callable[[Iterable[int]], None], doubted: set[int]
) -> bool:
    """Expire at most EXPIRED_AT_ONCE; whether there may be more. Raises: StorageUnavailable.

    doubted: of earlier calls, the users of whom it is not known whether they were left a note. Kept here.
    """
    found = await notifications.expired(now_ms, EXPIRED_AT_ONCE)
    before, users = set(doubted), {user_id for user_id, _ in found}
    doubted |= users
    try:
        if found:
            await notifications.expire([notification_id for _, notification_id in found], now_ms)
        doubted.clear()
    finally:
        if before or users:
            news_for(before | users)
    return len(found) == EXPIRED_AT_ONCE
