"""Addresses as columns: their kinds, and their keys as texts."""

from collections.abc import Iterable

from greenroom.runtime.ports import Address


def texts_of(address: Address) -> tuple[str, str]:
    """Kind and key of one."""
    return address.kind, str(address.key)


def columns_of(addresses: Iterable[Address]) -> tuple[list[str], list[str]]:
    """Kinds and keys of many, for `unnest`."""
    texts = [texts_of(address) for address in addresses]
    return [kind for kind, _ in texts], [key for _, key in texts]
