"""What presence does by itself: tells who changed, settles who may see whom, and goes round."""

from collections.abc import Awaitable, Callable
from typing import Final

import structlog
import trio

from greenroom.actors.presence.commands import Look
from greenroom.actors.room.commands import Type
from greenroom.http.ws.attendance import Attendance
from greenroom.http.ws.presence_news import PresenceNews
from greenroom.http.ws.services import SocketServices

log = structlog.get_logger()

AGAIN_SECONDS: Final = 1.0


async def run_presence(services: SocketServices) -> None:
    """Run it all until cancelled."""
    news = PresenceNews(services.engine, services.hub, services.presence, services.watches)

    def sight_changed(user_id: int, other_id: int) -> None:
        services.hub.sight_changed(user_id, other_id)
        news.sight_changed(user_id, other_id)
        services.watches.sight_changed(user_id, other_id)

    def typist_hidden(user_id: int, room_id: int) -> None:
        services.system.tell_or_bury(services.room(room_id).address, Type(user_id, "", is_typing=False))

    services.streams.on_sight_changed = sight_changed
    services.presence.on_typist_hidden = typist_hidden
    attendance = Attendance(services.engine, services.presence, lambda user_id: services.tell_presence(user_id, Look()))
    async with trio.open_nursery() as nursery:
        for task in (news.run, services.watches.run, attendance.run):
            nursery.start_soon(_for_ever, task)


async def _for_ever(task: Callable[[], Awaitable[None]]) -> None:
    """Begin it again when it fails: a fault here must not end every socket; nor may it go unseen."""
    while True:
        try:
            await task()
        except Exception:
            log.exception("presence.failed")
        await trio.sleep(AGAIN_SECONDS)
