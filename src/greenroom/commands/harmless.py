"""What somebody else has written, as it may be printed: it shows something, and does nothing to a terminal. Pure."""

from typing import Final
from unicodedata import category

_KEPT: Final = "\n\u200c\u200d"  # the joiners: of letters (not) and of emoji


def harmless(text: str) -> str:
    """Without what would make a terminal do more than show it. Line breaks stay, spaces, and what joins characters."""
    return "".join(
        c if c.isprintable() or c in _KEPT or category(c) == "Zs" else "\ufffd" for c in text.replace("\t", " ")
    )


def in_line(text: str) -> str:
    """The same where the lines are ours: it breaks none of them."""
    return harmless(text.replace("\n", " "))
