"""What the schemas of both protocols are listed as: commands of clients, and frames of the server."""

from dataclasses import dataclass
from typing import Any, Literal

Kept = Literal[
    "",
    "durable",
    "durable, of the user",
    "while connected",
    "may be dropped",
    "as it stands",
    "newest state",
    "control",
]


@dataclass(frozen=True, slots=True)
class Frame:
    """One shape of a frame of the server. kind: its `type`; name: unique in its protocol; shape: a TypedDict.

    kept: what becomes of it when its receiver is slow or away. is_flat: compat's, whose `shape` is the data; its fields
    stand at top level too. id: what its envelope has for an id, if it has one. about: said instead of the shape's own.
    """

    kind: str
    name: str
    shape: Any
    kept: Kept = ""
    is_flat: bool = False
    id: Literal["", "text", "number"] = ""
    about: str = ""


@dataclass(frozen=True, slots=True)
class Command:
    """What a client may say: its `type`, a TypedDict, and the frames that may answer it, errors apart.

    about: said instead of what the shape says of itself, where several commands share it.
    """

    kind: str
    shape: Any
    answers: tuple[Frame, ...] = ()
    about: str = ""
