"""Alarms as storage keeps them: what an actor stages, and what is read of them.

An alarm is written as every other write of a turn is: staged in its draft, fenced by the token of its unit, stored
with the unit or not at all. Of several writes of one name in one batch the last stands.
"""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from greenroom.runtime.address import Address

ALARM_NAME_BYTES_MAX = 128
ALARM_COMMAND_BYTES_MAX = 16 * 1024
ALARM_MS_MAX = 253_402_300_799_999  # the end of the year 9999
EVERY_MS_MAX = 10 * 366 * 86_400_000


@dataclass(frozen=True, slots=True)
class StoredAlarm:
    """One alarm; staged as a write, it takes the place of the one of its name.

    scheduled_ms: when its author wants it, milliseconds since 1970. due_ms: when it is tried next, later than that
    after tries that failed. every_ms: None for one that comes once. command: as `encode_command` makes it.
    """

    name: str
    scheduled_ms: int
    due_ms: int
    every_ms: int | None
    command: str
    tries: int = 0

    def check(self) -> None:
        """Raises: ValueError for what no storage could keep."""
        check_name("the name of an alarm", self.name, ALARM_NAME_BYTES_MAX)
        for at_ms in (self.scheduled_ms, self.due_ms):
            if not isinstance(at_ms, int) or not 0 <= at_ms <= ALARM_MS_MAX:
                raise ValueError(f"alarm {self.name}: its time is whole milliseconds since 1970, up to the year 9999")
        if self.every_ms is not None and not 0 < self.every_ms <= EVERY_MS_MAX:
            raise ValueError(f"alarm {self.name}: it comes again within ten years, not every {self.every_ms} ms")
        if not self.command.isascii() or len(self.command) > ALARM_COMMAND_BYTES_MAX:
            raise ValueError(
                f"alarm {self.name}: its command takes {len(self.command)} bytes of at most {ALARM_COMMAND_BYTES_MAX}, "
                "in ASCII: keep what is large in the actor, and have the alarm name it"
            )
        if not 0 <= self.tries <= 1_000:
            raise ValueError(f"alarm {self.name}: {self.tries} tries")


@dataclass(frozen=True, slots=True)
class DeleteAlarm:
    """The alarm of that name is no more. One that is not there is none."""

    name: str

    def check(self) -> None:
        """Raises: ValueError for what no storage could keep."""
        check_name("the name of an alarm", self.name, ALARM_NAME_BYTES_MAX)


class DueAlarm(NamedTuple):
    """That an alarm is due at a time, without its content. They are in order by time, then by whose they are."""

    due_ms: int
    address: Address
    name: str


class AlarmStore(Protocol):
    """What is read of alarms. Raises StorageUnavailable wherever storage is asked."""

    async def due_before(self, until_ms: int, after: DueAlarm | None, alarms_max: int) -> list[DueAlarm]:
        """The first *alarms_max* alarms of all actors that are due before *until_ms*, in order, behind *after*."""
        ...

    async def of(self, address: Address) -> list[StoredAlarm]:
        """All alarms of one actor. Concurrent calls may share a statement."""
        ...


def check_name(what: str, name: str, bytes_max: int) -> None:
    """Raises: ValueError for a text that is empty, too long, or that PostgreSQL could not keep."""
    if not isinstance(name, str) or not name or "\0" in name:
        raise ValueError(f"{what} is a text of at least one character without NUL, not {name!r}")
    if len(name) > bytes_max or len(name.encode()) > bytes_max:  # a lone surrogate is a ValueError
        raise ValueError(f"{what} takes at most {bytes_max} bytes: {name[:40]!r}… is longer")
