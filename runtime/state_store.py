"""The small state of an actor as storage keeps it: texts of JSON by key.

Written as every other write of a turn is: staged in its draft, fenced by the token of its unit, stored with the unit
or not at all. Of several writes of one key in one batch the last stands.
"""

from dataclasses import dataclass
from typing import Protocol

from greenroom.runtime.address import Address
from greenroom.runtime.alarm_store import check_name

STATE_KEYS_MAX = 128
STATE_KEY_BYTES_MAX = 128
STATE_VALUE_BYTES_MAX = 16 * 1024


@dataclass(frozen=True, slots=True)
class StoredValue:
    """One value; staged as a write, it takes the place of the one of its key. json: in ASCII."""

    key: str
    json: str

    def check(self) -> None:
        """Raises: ValueError for what no storage could keep."""
        check_name("a key of an actor's state", self.key, STATE_KEY_BYTES_MAX)
        if not self.json.isascii() or len(self.json) > STATE_VALUE_BYTES_MAX:
            raise ValueError(
                f"state {self.key!r}: its value takes {len(self.json)} bytes of at most {STATE_VALUE_BYTES_MAX}, in "
                "ASCII: split it, or give what grows a table of its own"
            )


@dataclass(frozen=True, slots=True)
class DeleteValue:
    """The value of that key is no more. One that is not there is none."""

    key: str

    def check(self) -> None:
        """Raises: ValueError for what no storage could keep."""
        check_name("a key of an actor's state", self.key, STATE_KEY_BYTES_MAX)


class StateStore(Protocol):
    """What is read of actors' state."""

    async def of(self, address: Address) -> dict[str, str]:
        """All values of one actor, texts of JSON by key. Concurrent calls may share a statement.

        Raises: StorageUnavailable.
        """
        ...
