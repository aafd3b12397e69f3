"""Whether storage is there, as far as anybody knows.

While it is away nothing is loaded and nobody spends restart intensity: it is the world's fault. One prober, jittered,
at most PROBE_SECONDS_MAX apart, finds out when it is back.
"""

from typing import TYPE_CHECKING

import trio

from greenroom.runtime.errors import StorageUnavailable

if TYPE_CHECKING:
    from greenroom.runtime.system import ActorSystem

PROBE_SECONDS_MAX = 1.0
BLIP_SECONDS_MAX = 1.5  # by then a probe has failed, or hangs


class StorageWatch:
    """Of one system."""

    def __init__(self, system: "ActorSystem") -> None:
        self._system = system
        self._back: trio.Event | None = None  # there while storage is away: what loads wait for
        self._is_confirmed = False  # a probe has failed since
        self._lost_at = 0.0

    @property
    def is_away(self) -> bool:
        """The last commit or load found no storage, and the prober has not yet found it back."""
        return self._back is not None

    @property
    def stays_away(self) -> bool:
        """It is away, and that is no blip such as one commit whose outcome nobody knows: a probe has said so too."""
        return self.is_away and (self._is_confirmed or trio.current_time() - self._lost_at >= BLIP_SECONDS_MAX)

    def lost(self, why: str) -> None:
        """Somebody found storage away: hold all loading until the prober finds it back."""
        if self._back is None and not self._system.is_stopped:
            self._back = trio.Event()
            self._is_confirmed, self._lost_at = False, trio.current_time()
            self._system.event("storage.lost", why=why)
            self._system.spawn(self._probe, self._back)

    async def wait(self) -> None:
        """Wait until storage is there, as far as anybody knows."""
        while self._back is not None:
            await self._back.wait()
        await trio.lowlevel.checkpoint()

    async def _probe(self, back: trio.Event) -> None:
        was_told = False
        while True:
            await trio.sleep(self._system.randomness.uniform(PROBE_SECONDS_MAX / 10, PROBE_SECONDS_MAX))
            try:
                await self._system.committer.probe()
            except StorageUnavailable:
                self._is_confirmed = True
                continue
            except Exception as error:  # against its contract; what cannot be probed is not back
                if not was_told:
                    self._system.event("storage.probe_failed", error=error)
                was_told = self._is_confirmed = True
                continue
            self._back = None
            back.set()
            self._system.event("storage.found")
            return
