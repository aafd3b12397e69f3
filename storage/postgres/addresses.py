"""Addresses as columns: their kinds, and their keys as texts.

A key is a number or a text, and the column is a text: 42 is kept as ``42``, and a text that could be taken for a
number, or for one kept so, behind a mark, as ``'42``. So two addresses that differ have rows that differ.
"""

from collections.abc import Iterable

from greenroom.runtime.ports import Address

MARK = "'"


def texts_of(address: Address) -> tuple[str, str]:
    """Kind and key of one."""
    kind, key = address
    if isinstance(key, int):
        return kind, str(key)
    return kind, f"{MARK}{key}" if key.startswith(MARK) or key.removeprefix("-").isdecimal() else key


def address_of(kind: str, key: str, *, is_number: bool) -> Address:
    """The address that is kept so."""
    return Address(kind, int(key) if is_number else key.removeprefix(MARK))


def columns_of(addresses: Iterable[Address]) -> tuple[list[str], list[str]]:
    """Kinds and keys of many, for `unnest`."""
    texts = [texts_of(address) for address in addresses]
    return [kind for kind, _ in texts], [key for _, key in texts]
