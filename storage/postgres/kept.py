"""What the runtime keeps for its actors in PostgreSQL: alarms and small state, read and written.

Written inside the transaction that has bumped the ownership of the actors, so what is fenced there is not here.
"""

from collections.abc import Iterable
from typing import Any

from greenroom.runtime.ports import (
    Address,
    AlarmStore,
    CommitUnit,
    DeleteAlarm,
    DeleteValue,
    DueAlarm,
    StateStore,
    StoredAlarm,
    StoredValue,
)
from greenroom.storage.postgres.pool import Postgres
from greenroom.storage.postgres.queries import query
from greenroom.storage.postgres.together import Together


class PostgresAlarmStore(AlarmStore):
    """Alarms that wait to be read while another statement runs share the next one."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres
        self._by_actor = Together(self._of_all)

    async def due_before(self, until_ms: int, after: DueAlarm | None, alarms_max: int) -> list[DueAlarm]:
        """As the port says: one look into the index of times, as long as its answer."""
        place = (-1, "", "", "") if after is None else (after.due_ms, *_texts(after.address), after.name)
        rows = await self._postgres.fetch("select_due_alarms", until_ms, *place, alarms_max)
        return [DueAlarm(row["due_ms"], _address(row), row["name"]) for row in rows]

    async def of(self, address: Address) -> list[StoredAlarm]:
        """As the port says."""
        return await self._by_actor.get(address) or []

    async def _of_all(self, addresses: list[Address]) -> dict[Address, list[StoredAlarm]]:
        rows = await self._postgres.fetch("select_alarms_of", *_columns(addresses))
        found: dict[tuple[str, str], list[StoredAlarm]] = {}
        for row in rows:
            alarm = StoredAlarm(*(row[name] for name in StoredAlarm.__dataclass_fields__))
            found.setdefault((row["kind"], row["key"]), []).append(alarm)
        return {address: found.get(_texts(address), []) for address in addresses}


class PostgresStateStore(StateStore):
    """State that waits to be read while another statement runs shares the next one."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres
        self._by_actor = Together(self._of_all)

    async def of(self, address: Address) -> dict[str, str]:
        """As the port says."""
        return await self._by_actor.get(address) or {}

    async def _of_all(self, addresses: list[Address]) -> dict[Address, dict[str, str]]:
        rows = await self._postgres.fetch("select_state_of", *_columns(addresses))
        found: dict[tuple[str, str], dict[str, str]] = {}
        for row in rows:
            found.setdefault((row["kind"], row["key"]), {})[row["name"]] = row["value"]
        return {address: dict(found.get(_texts(address), {})) for address in addresses}


async def write_kept(connection: Any, units: Iterable[CommitUnit]) -> None:
    """Write what the accepted *units* keep, the last of each name. An asyncio coroutine."""
    alarms: dict[tuple[Address, str], StoredAlarm | DeleteAlarm] = {}
    values: dict[tuple[Address, str], StoredValue | DeleteValue] = {}
    for unit in units:
        for write in unit.writes:
            if isinstance(write, StoredAlarm | DeleteAlarm):
                alarms[unit.address, write.name] = write
            elif isinstance(write, StoredValue | DeleteValue):
                values[unit.address, write.key] = write
    await _put_alarms(connection, {at: write for at, write in alarms.items() if isinstance(write, StoredAlarm)})
    await _delete(connection, "delete_alarms", [at for at, write in alarms.items() if isinstance(write, DeleteAlarm)])
    await _put_state(connection, {at: write for at, write in values.items() if isinstance(write, StoredValue)})
    await _delete(connection, "delete_state", [at for at, write in values.items() if isinstance(write, DeleteValue)])


async def _put_alarms(connection: Any, alarms: dict[tuple[Address, str], StoredAlarm]) -> None:
    if alarms:
        rows = alarms.values()
        await connection.execute(
            query("put_alarms"),
            *_columns(address for address, _ in alarms),
            [isinstance(address.key, int) for address, _ in alarms],
            [row.name for row in rows],
            [row.scheduled_ms for row in rows],
            [row.due_ms for row in rows],
            [row.every_ms for row in rows],
            [row.command for row in rows],
            [row.tries for row in rows],
        )


async def _put_state(connection: Any, values: dict[tuple[Address, str], StoredValue]) -> None:
    if values:
        await connection.execute(
            query("put_state"),
            *_columns(address for address, _ in values),
            [row.key for row in values.values()],
            [row.json for row in values.values()],
        )


async def _delete(connection: Any, name: str, places: list[tuple[Address, str]]) -> None:
    if places:
        await connection.execute(query(name), *_columns(address for address, _ in places), [at for _, at in places])


def _texts(address: Address) -> tuple[str, str]:
    return address.kind, str(address.key)


def _columns(addresses: Iterable[Address]) -> tuple[list[str], list[str]]:
    texts = [_texts(address) for address in addresses]
    return [kind for kind, _ in texts], [key for _, key in texts]


def _address(row: Any) -> Address:
    return Address(row["kind"], int(row["key"]) if row["is_number"] else row["key"])
