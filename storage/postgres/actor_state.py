"""The small state of actors in PostgreSQL: read by its port, written by the committer.

Written inside the transaction that has bumped the ownership of the actors, so what is fenced there is not here.
"""

from collections.abc import Iterable
from typing import Any

from greenroom.runtime.ports import Address, CommitUnit, DeleteValue, StateStore, StoredValue
from greenroom.storage.postgres.addresses import columns_of, texts_of
from greenroom.storage.postgres.pool import Postgres
from greenroom.storage.postgres.queries import query
from greenroom.storage.postgres.together import Together


class PostgresStateStore(StateStore):
    """State that waits to be read while another statement runs shares the next one."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres
        self._by_actor = Together(self._of_all)

    async def of(self, address: Address) -> dict[str, str]:
        """As the port says."""
        return dict(await self._by_actor.get(address) or {})

    async def _of_all(self, addresses: list[Address]) -> dict[Address, dict[str, str]]:
        rows = await self._postgres.fetch("select_state_of", *columns_of(addresses))
        found: dict[tuple[str, str], dict[str, str]] = {}
        for row in rows:
            found.setdefault((row["kind"], row["key"]), {})[row["name"]] = row["value"]
        return {address: found.get(texts_of(address), {}) for address in addresses}


async def write_state(connection: Any, units: Iterable[CommitUnit]) -> None:
    """Write the values of accepted *units*, the last word on each key."""
    last: dict[tuple[Address, str], StoredValue | DeleteValue] = {}
    for unit in units:
        for write in unit.writes:
            if isinstance(write, StoredValue | DeleteValue):
                last[unit.address, write.key] = write
    await _put(connection, {place: write for place, write in last.items() if isinstance(write, StoredValue)})
    gone = [place for place, write in last.items() if isinstance(write, DeleteValue)]
    if gone:
        kinds, keys = columns_of(address for address, _ in gone)
        await connection.execute(query("delete_state"), kinds, keys, [key for _, key in gone])


async def _put(connection: Any, values: dict[tuple[Address, str], StoredValue]) -> None:
    if values:
        await connection.execute(
            query("put_state"),
            *columns_of(address for address, _ in values),
            [row.key for row in values.values()],
            [row.json for row in values.values()],
        )
