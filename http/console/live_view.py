"""What the live view shows: the `statistics()` of the house, and the rooms that are worth a look.

One call is O(activations) and answers with at most ROOMS_MAX rooms, those with the deepest mailboxes first and then the
ones that acted last; the page asks once a second while somebody looks at it. Nothing here changes anything, and nothing
of what people write is shown: counts, addresses and names of commands only.
"""

import heapq
import os
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

import trio
from pydantic.alias_generators import to_camel

from greenroom.http.models import Output
from greenroom.http.services import RoomServices
from greenroom.http.ws.hub import Hub
from greenroom.runtime import ActorSystem

ROOMS_MAX: Final = 12
DEAD_LETTERS_MAX: Final = 8


class RoomLine(Output):
    """One room that somebody used lately. sockets: of greenroom.v1 that joined it on this process."""

    room: int
    phase: str
    depth: int
    depth_peak: int
    turns: int
    restarts: int
    refused: int
    sockets: int
    idle_seconds: float


class DeadLetterLine(Output):
    """A command that was accepted and never handled."""

    to: str
    command: str
    reason: str
    at: int


class LiveView(Output):
    """The whole of it. Every section but the lists is the `statistics()` of the thing it is named after."""

    at: int
    process: int
    system: dict[str, Any]
    engine: dict[str, Any]
    hub: dict[str, int]
    delivery: dict[str, Any]
    committer: dict[str, Any]
    pool: dict[str, Any]
    rooms: list[RoomLine]
    dead_letters: list[DeadLetterLine]


def live_view(services: RoomServices) -> LiveView:
    """Look once."""
    system, hub = services.system, services.hub
    newest = list(system.dead_letters.newest)[-DEAD_LETTERS_MAX:]
    return LiveView(
        at=system.clock.wall_milliseconds(),
        process=os.getpid(),
        system=_section(system.statistics()),
        engine=_section(services.engine.statistics()),
        hub=_hub_section(hub),
        delivery=_section(hub.delivery.statistics()),
        committer=_section(services.committer.statistics()),
        pool=_section(services.postgres.statistics()),
        rooms=_rooms(system, hub),
        dead_letters=[
            DeadLetterLine(to=str(letter.to), command=letter.command, reason=letter.reason, at=letter.at_ms)
            for letter in reversed(newest)
        ],
    )


def _hub_section(hub: Hub) -> dict[str, int]:
    channels = hub.channels.values()
    return {
        "channels": len(hub.channels),
        "attachments": sum(len(channel.attachments) for channel in channels),
        "compatUsers": len(hub.compat),
    }


def _rooms(system: ActorSystem, hub: Hub) -> list[RoomLine]:
    rooms = (cell for address, cell in system.activations.items() if address.kind == "room")
    now = trio.current_time()
    lines = []
    for cell in heapq.nlargest(ROOMS_MAX, rooms, key=lambda cell: (len(cell.mailbox), cell.active_at)):
        mailbox, channel = cell.mailbox.statistics(), hub.channels.get(int(cell.address.key))
        lines.append(
            RoomLine(
                room=int(cell.address.key),
                phase=cell.phase.value,
                depth=mailbox.depth,
                depth_peak=mailbox.depth_peak,
                turns=cell.turns,
                restarts=cell.restarts,
                refused=mailbox.refused,
                sockets=0 if channel is None else len(channel.attachments),
                idle_seconds=round(max(0.0, now - cell.active_at), 1),
            )
        )
    return lines


def _section(statistics: Any) -> dict[str, Any]:
    return {to_camel(name): _plain(value) for name, value in asdict(statistics).items()}


def _plain(value: Any) -> Any:
    """Field names in camelCase all the way down; names that are data (kinds, close codes) as they are."""
    if isinstance(value, Mapping):
        return {str(name): _fields(inner) if isinstance(inner, Mapping) else inner for name, inner in value.items()}
    return value


def _fields(value: Mapping[str, Any]) -> dict[str, Any]:
    return {to_camel(name): inner for name, inner in value.items()}
