"""One room that the client hears."""

from dataclasses import dataclass, field

import trio

from greenroom.client.presence import Presence
from greenroom.client.room_log import RoomLog


@dataclass(slots=True)
class Room:
    """entered: the server has let us in, or has refused to."""

    id: int
    log: RoomLog
    presence: Presence = field(default_factory=Presence)
    is_fetching: bool = False
    entered: trio.Event = field(default_factory=trio.Event)
    refusal: Exception | None = None
