"""What the ports in memory have in common: one storage, which outlives those who use it.

Each port counts what it was asked, so that a test can say how many queries something costs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import trio

from greenroom.runtime.address import Address
from greenroom.runtime.ports import (
    AlarmStore,
    DeleteAlarm,
    DeleteValue,
    DueAlarm,
    Ownership,
    StateStore,
    StorageUnavailable,
    StoredAlarm,
    StoredValue,
)


@dataclass(slots=True)
class MemoryTables:
    """The storage. stored: (address, write) of what actors wrote, in the order committed."""

    stored: list[tuple[Address, object]] = field(default_factory=list)
    tokens: dict[Address, int] = field(default_factory=dict)
    alarms: dict[tuple[Address, str], StoredAlarm] = field(default_factory=dict)
    values: dict[tuple[Address, str], str] = field(default_factory=dict)
    is_away: bool = False

    def store(self, address: Address, writes: Sequence[object]) -> None:
        """Of the committer: *writes* are committed."""
        for write in writes:
            if isinstance(write, StoredAlarm):
                self.alarms[address, write.name] = write
            elif isinstance(write, DeleteAlarm):
                self.alarms.pop((address, write.name), None)
            elif isinstance(write, StoredValue):
                self.values[address, write.key] = write.json
            elif isinstance(write, DeleteValue):
                self.values.pop((address, write.key), None)
            else:
                self.stored.append((address, write))

    async def ask(self) -> None:
        """A round trip. Raises: StorageUnavailable."""
        await trio.lowlevel.checkpoint()
        if self.is_away:
            raise StorageUnavailable("memory storage is away")


class MemoryOwnership(Ownership):
    """Tokens in memory."""

    def __init__(self, tables: MemoryTables) -> None:
        self.tables = tables
        self.claims = 0

    async def claim(self, address: Address, *, create: bool) -> int | None:
        """Make the token of *address* one greater."""
        await self.tables.ask()
        self.claims += 1
        if address not in self.tables.tokens and not create:
            return None
        return self.claimed_elsewhere(address)

    def claimed_elsewhere(self, address: Address) -> int:
        """The fault: another node claims *address* now, and has this token. Whoever owned it is fenced."""
        token = self.tables.tokens.get(address, 0) + 1
        self.tables.tokens[address] = token
        return token


class MemoryAlarmStore(AlarmStore):
    """Alarms in memory."""

    def __init__(self, tables: MemoryTables) -> None:
        self.tables = tables
        self.queries = 0

    async def due_before(self, until_ms: int, after: DueAlarm | None, alarms_max: int) -> list[DueAlarm]:
        """As the port says. O(alarms)."""
        await self.tables.ask()
        self.queries += 1
        due = [
            DueAlarm(alarm.due_ms, address, name)
            for (address, name), alarm in self.tables.alarms.items()
            if alarm.due_ms < until_ms
        ]
        due.sort(key=_place)
        return [one for one in due if after is None or _place(one) > _place(after)][:alarms_max]

    async def of(self, address: Address) -> list[StoredAlarm]:
        """As the port says. O(alarms)."""
        await self.tables.ask()
        self.queries += 1
        return [alarm for (owner, _), alarm in self.tables.alarms.items() if owner == address]


class MemoryStateStore(StateStore):
    """State in memory."""

    def __init__(self, tables: MemoryTables) -> None:
        self.tables = tables

    async def of(self, address: Address) -> dict[str, str]:
        """As the port says. O(values)."""
        await self.tables.ask()
        return {key: json for (owner, key), json in self.tables.values.items() if owner == address}


def _place(due: DueAlarm) -> tuple[int, str, str, str]:
    """Of an alarm in their order; keys may be numbers or texts."""
    return due.due_ms, due.address.kind, str(due.address.key), due.name
