"""Addresses: the name of an actor that outlives each of its activations.

An address is a pure value (kind, key). Making one does no I/O; it prints as ``room/42``. The key 42 and the key "42"
are two actors, in memory and in storage: what comes in as a text and means a number is made one there. Such a text, and
one that would not stand on a line, prints in quotes: ``room/"42"``.
"""

import json
from typing import NamedTuple


class Address(NamedTuple):
    """Where commands go: the *kind* is declared once, the *key* is the product's own id."""

    kind: str
    key: int | str

    def __str__(self) -> str:
        key = self.key
        if isinstance(key, str) and (not key.isprintable() or key[:1] == '"' or _is_number(key)):
            return f"{self.kind}/{json.dumps(key)}"
        return f"{self.kind}/{key}"


def address_in(text: str) -> Address:
    """The address that prints as *text*. Raises: ValueError for one that does not."""
    kind, slash, key = text.partition("/")
    if not slash or not key:
        raise ValueError(f"an address is a kind and a key, such as room/42, not {text!r}")
    if key[0] != '"':
        return Address(kind, int(key) if _is_number(key) else key)
    try:
        quoted = json.loads(key)
    except ValueError:
        quoted = None
    if not isinstance(quoted, str):
        raise ValueError(f"the key of {text} begins with a quote and is no text in quotes")  # noqa: TRY004
    return Address(kind, quoted)


def _is_number(key: str) -> bool:
    digits = key[1:] if key[:1] == "-" else key
    return digits.isascii() and digits.isdecimal()
