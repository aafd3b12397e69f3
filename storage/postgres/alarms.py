"""Alarms of actors in PostgreSQL: read by their port, written by the committer.

Written inside the transaction that has bumped the ownership of the actors, so what is fenced there is not here.
"""

from collections.abc import Iterable
from typing import Any

from greenroom.runtime.ports import Address, AlarmStore, CommitUnit, DeleteAlarm, DueAlarm, StoredAlarm
from greenroom.storage.postgres.addresses import address_of, columns_of, texts_of
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
        place = (-1, "", "", "") if after is None else (after.due_ms, *texts_of(after.address), after.name)
        rows = await self._postgres.fetch("select_due_alarms", until_ms, *place, alarms_max)
        return [DueAlarm(row["due_ms"], _address(row), row["name"]) for row in rows]

    async def of(self, address: Address) -> list[StoredAlarm]:
        """As the port says."""
        return await self._by_actor.get(address) or []

    async def _of_all(self, addresses: list[Address]) -> dict[Address, list[StoredAlarm]]:
        rows = await self._postgres.fetch("select_alarms_of", *columns_of(addresses))
        found: dict[tuple[str, str], list[StoredAlarm]] = {}
        for row in rows:
            alarm = StoredAlarm(*(row[name] for name in StoredAlarm.__dataclass_fields__))
            found.setdefault((row["kind"], row["key"]), []).append(alarm)
        return {address: found.get(texts_of(address), []) for address in addresses}


async def write_alarms(connection: Any, units: Iterable[CommitUnit]) -> None:
    """Write the alarms of accepted *units*, the last word on each name."""
    last: dict[tuple[Address, str], StoredAlarm | DeleteAlarm] = {}
    for unit in units:
        for write in unit.writes:
            if isinstance(write, StoredAlarm | DeleteAlarm):
                last[unit.address, write.name] = write
    await _put(connection, {place: write for place, write in last.items() if isinstance(write, StoredAlarm)})
    gone = [place for place, write in last.items() if isinstance(write, DeleteAlarm)]
    if gone:
        kinds, keys = columns_of(address for address, _ in gone)
        await connection.execute(query("delete_alarms"), kinds, keys, [name for _, name in gone])


async def _put(connection: Any, alarms: dict[tuple[Address, str], StoredAlarm]) -> None:
    if alarms:
        rows = alarms.values()
        await connection.execute(
            query("put_alarms"),
            *columns_of(address for address, _ in alarms),
            [isinstance(address.key, int) for address, _ in alarms],
            [row.name for row in rows],
            [row.scheduled_ms for row in rows],
            [row.due_ms for row in rows],
            [row.every_ms for row in rows],
            [row.command for row in rows],
            [row.tries for row in rows],
        )


def _address(row: Any) -> Address:
    return address_of(row["kind"], row["key"], is_number=row["is_number"])
