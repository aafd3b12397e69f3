"""Ownership: who may write for an address, told by a token that each claim makes greater.

    claim ──token n──▶ units with n are committed
    claim ──token n+1─▶ units with n are fenced, wherever they come from

The committer checks tokens where it stores, so an owner that has lost an address and does not know it stores nothing.
That is why nothing is released: the next claim, here or on another node, is enough. What an actor loads it loads after
its claim, for what an older owner had under way has then been stored or never will be.
"""

from typing import Protocol

from greenroom.runtime.address import Address


class Ownership(Protocol):
    """Claims. One adapter decides for all nodes that share a storage. The keys 42 and "42" are two addresses."""

    async def claim(self, address: Address, *, create: bool) -> int | None:
        """Become the owner of *address* and return the new token, or None when there is no row and not *create*.

        Raises: StorageUnavailable.
        """
        ...
