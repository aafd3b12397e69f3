"""A checkup: which parts of greenroom work, found out by asking them.

Every configured part is probed for real, all at once, each within PROBE_SECONDS_MAX. The result is shared for
SHARED_SECONDS, and callers at the same time share one checkup, because the address that asks for it is open to all. A
part that is not configured says `not_configured`, which is no fault.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

import trio

from greenroom.http.shared import Shared

PARTS: Final = ("database", "redis", "email", "messaging")
PROBE_SECONDS_MAX: Final = 2.0

# Returns when its part works and raises when it does not; the caller bounds the time.
Probe = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Findings:
    """Of one checkup. `parts`: healthy, unhealthy or not_configured. `share_well`: of all checkups since the start."""

    parts: Mapping[str, str]
    seconds: float
    share_well: float

    @property
    def database_is_well(self) -> bool:
        """Without it nothing works."""
        return self.parts["database"] == "healthy"

    @property
    def is_well(self) -> bool:
        """Whether everything that is configured works."""
        return self.database_is_well and "unhealthy" not in self.parts.values()


class Checkup:
    """Probes by the name of their part."""

    def __init__(self, probes: Mapping[str, Probe]) -> None:
        self._probes = probes
        self._shared = Shared(self._examine)
        self._count = 0
        self._count_well = 0

    async def result(self) -> Findings:
        """What a checkup finds that is at most SHARED_SECONDS old."""
        return await self._shared.result()

    async def _examine(self) -> Findings:
        began = trio.current_time()
        parts = dict.fromkeys(PARTS, "not_configured")
        async with trio.open_nursery() as nursery:
            for name, probe in self._probes.items():
                nursery.start_soon(_ask, parts, name, probe)
        self._count += 1
        self._count_well += parts["database"] == "healthy"
        return Findings(parts, trio.current_time() - began, self._count_well / self._count)


async def _ask(parts: dict[str, str], name: str, probe: Probe) -> None:
    parts[name] = "unhealthy"
    with trio.move_on_after(PROBE_SECONDS_MAX):
        try:
            await probe()
        except Exception:
            return
        parts[name] = "healthy"
