"""Addresses: the name of an actor that outlives each of its activations.

An address is a pure value (kind, key). Making one does no I/O; it prints as ``room/42``. The key 42 and the key "42"
print alike and are two actors, in memory and in storage: what comes in as a text and means a number is made one there.
"""

from typing import NamedTuple


class Address(NamedTuple):
    """Where commands go: the *kind* is declared once, the *key* is the product's own id."""

    kind: str
    key: int | str

    def __str__(self) -> str:
        key = self.key
        return f"{self.kind}/{key if type(key) is int or str(key).isprintable() else repr(key)}"
