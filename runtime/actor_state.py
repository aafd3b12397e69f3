"""The small state of one actor: JSON values by key, in memory while it is awake.

    self.ctx.state.put("mode", "away")        staged in the draft of the turn, and stored with it or not at all
    self.ctx.state.get("mode", "here")        what was put last, stored already or not

Loaded before `start`. A turn that fails after it put something starts its actor again from storage, so what it put is
gone with it. Values are kept as text: what `get` returns is a copy, and changing it changes nothing.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

from greenroom.runtime.state_store import STATE_KEYS_MAX, DeleteValue, StoredValue


class ActorState:
    """Of one activation. At most STATE_KEYS_MAX keys; state_store.py has the bounds of a key and a value."""

    __slots__ = ("_texts", "_write")

    def __init__(self, texts: dict[str, str], write: Callable[[object], None]) -> None:
        self._texts = texts
        self._write = write

    def __len__(self) -> int:
        return len(self._texts)

    def __contains__(self, key: object) -> bool:
        return key in self._texts

    def get(self, key: str, default: Any = None) -> Any:
        """The value of *key*, a copy of its own; *default* when there is none."""
        text = self._texts.get(key)
        return default if text is None else json.loads(text)

    def items(self) -> Iterator[tuple[str, Any]]:
        """Every key with its value, in the order of the keys. What is put meanwhile does not show."""
        for key, text in sorted(self._texts.items()):
            yield key, json.loads(text)

    def put(self, key: str, value: object) -> None:
        """Keep *value*, made of None, booleans, numbers, texts, lists and dicts of texts.

        Raises: TypeError for what would come back as something else, ValueError past a bound, RuntimeError in a
        handler that @reads. Nothing was put then.
        """
        stored = StoredValue(key, _text_of(key, value))
        stored.check()
        if key not in self._texts and len(self._texts) >= STATE_KEYS_MAX:
            raise ValueError(
                f"the state has {STATE_KEYS_MAX} keys already (STATE_KEYS_MAX): delete some, put several values under "
                "one key, or give what grows a table of its own"
            )
        self._write(stored)
        self._texts[key] = stored.json

    def delete(self, key: str) -> bool:
        """Keep nothing under *key*. False when nothing was. Raises: RuntimeError in a handler that @reads."""
        if key not in self._texts:
            return False
        self._write(DeleteValue(key))
        del self._texts[key]
        return True


def _text_of(key: str, value: object) -> str:
    try:
        text = json.dumps(value, allow_nan=False, separators=(",", ":"))
        is_same = _is_same(value, json.loads(text))
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(f"state {key!r}: {type(value).__name__} is no JSON value: {error}") from error
    if not is_same:
        raise TypeError(
            f"state {key!r}: it would not come back as it is: JSON has lists and no tuples, and keys that are texts"
        )
    return text


def _is_same(value: object, other: object) -> bool:
    """Equal, and of the same types throughout: 1 and True and 1.0 are three values."""
    if type(value) is not type(other):
        return False
    if isinstance(value, list) and isinstance(other, list):
        return len(value) == len(other) and all(map(_is_same, value, other))
    if isinstance(value, dict) and isinstance(other, dict):
        return value.keys() == other.keys() and all(_is_same(item, other[key]) for key, item in value.items())
    return value == other
