"""Which frames are of a new shape: a flood is to stay one, whoever looks at it.

A shape is the names and the kinds of what is within, whatever is said there; ids that are names count as one, and so do
the equal members of a list.
"""

from collections import Counter
from collections.abc import Hashable
from typing import Any, cast


class Shapes:
    """whole_max: of so many frames of a kind each is new."""

    def __init__(self, whole_max: int) -> None:
        self._whole_max = whole_max
        self._looked_at: Counter[Hashable] = Counter()
        self._shapes: set[int] = set()

    def is_new(self, kind: Hashable, frame: object) -> bool:
        """No frame of this kind was like this one. It is known from now on."""
        self._looked_at[kind] += 1
        shape = hash((kind, _shape(frame)))
        is_known = shape in self._shapes
        self._shapes.add(shape)
        return not is_known or self._looked_at[kind] <= self._whole_max

    def clear(self) -> None:
        """Forget them."""
        self._looked_at.clear()
        self._shapes.clear()


def _shape(value: Any) -> Hashable:
    """Written for speed: it is a tenth of what tests with many frames take. Frames hold no other types."""
    kind = value.__class__
    if kind is dict:
        return frozenset([("0" if name.isdecimal() else name, _shape(value[name])) for name in value])
    if kind is list:
        return (kind, frozenset([_shape(one) for one in value]))
    return cast("type", kind)
