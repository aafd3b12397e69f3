"""What is declared is looked at where it is declared: a limit that is none would else be met much later, in a turn.

Each check names what it was given for and what it takes. A number that is not one (nan) is above nothing and below
nothing, so a bound of it never holds; True is a 1 that nobody meant. Both are refused everywhere.
"""

import enum
from collections.abc import Sequence


def need_whole(what: str, given: object, *, least: int = 1, most: int | None = None) -> None:
    """See to it that *given* is a whole number from *least* to *most*. Raises: TypeError, ValueError."""
    if type(given) is not int:
        raise TypeError(f"{what} is a whole number, not {given!r}")
    if most is not None and not least <= given <= most:
        raise ValueError(f"{what} is a number from {least} to {most}, not {given}")
    if given < least:
        raise ValueError(f"{what} is {_from(least)}, not {given}")


def need_number(what: str, given: object, *, may_be_0: bool = False) -> None:
    """See to it that *given* is a number above 0; without end is one too. Raises: TypeError, ValueError."""
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise TypeError(f"{what} is a number, not {given!r}")
    if not (given > 0 or (may_be_0 and given == 0)):  # so that nan is refused too
        raise ValueError(f"{what} is {_from(0 if may_be_0 else 1)}, not {given}")


def need_member(what: str, given: object, members: type[enum.Enum]) -> None:
    """See to it that *given* is one of *members*, and not its value or its name. Raises: TypeError."""
    if not isinstance(given, members):
        raise TypeError(f"{what} is {_one_of([str(member) for member in members])}, not {given!r}")


def need_word(what: str, given: object, words: Sequence[str]) -> None:
    """See to it that *given* is one of *words*. Raises: ValueError."""
    if given not in words:
        raise ValueError(f"{what} is {_one_of(words)}, not {given!r}")


def need_name(what: str, given: object) -> None:
    """See to it that *given* can stand before the `/` of an address. Raises: TypeError, ValueError."""
    if type(given) is not str:
        raise TypeError(f'{what} needs a name, a text such as "room", not {given!r}')
    if not given or "/" in given or not given.isprintable():
        raise ValueError(f'{what} needs a name to print in an address, such as "room", without "/": not {given!r}')


def need_key(kind: str, given: object) -> None:
    """See to it that *given* can be the key of an address. Raises: TypeError, ValueError."""
    if type(given) is not int and type(given) is not str:
        raise TypeError(
            f"the key of a {kind} is an int or a str, not {given!r}: give the id itself, or make a text of it"
        )
    if given == "":
        raise ValueError(f"the key of a {kind} says which one it is, so it is no empty text")


def _from(least: int) -> str:
    return "above 0" if least == 1 else f"{least} or more"


def _one_of(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"
