"""Ownership in PostgreSQL: a row per address, whose token each claim bumps."""

from collections.abc import Callable
from typing import Any

from greenroom.runtime.ports import Address, Ownership
from greenroom.storage.postgres.addresses import columns_of, texts_of
from greenroom.storage.postgres.pool import Postgres
from greenroom.storage.postgres.together import Together


class PostgresOwnership(Ownership):
    """Claims that wait while another statement runs share the next one."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres
        self._existing = Together(self._claims_by("claim_existing"))
        self._created = Together(self._claims_by("claim_or_create"))

    async def claim(self, address: Address, *, create: bool) -> int | None:
        """Become the owner."""
        return await (self._created if create else self._existing).get(address)

    def _claims_by(self, name: str) -> Callable[[list[Address]], Any]:
        async def claim_all(addresses: list[Address]) -> dict[Address, int]:
            rows = await self._postgres.fetch(name, *columns_of(addresses))
            tokens = {(row["kind"], row["key"]): row["token"] for row in rows}
            return {address: tokens[texts_of(address)] for address in addresses if texts_of(address) in tokens}

        return claim_all
