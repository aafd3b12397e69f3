"""Commands outside of memory: as a text that can be stored, or sent to another process.

    @encodable("reminders.remind")
    @dataclass(frozen=True, slots=True)
    class Remind(Command[None]):
        text: str

A dataclass or an enum is encoded by the name it was registered under, which outlives the name of the class and its
place: nothing is ever imported because a text says so. The text is JSON in ASCII; what JSON has no form for carries
a tag. What comes back equals what was given, types included; whatever cannot is refused with what to do.

A command that is stored may be read by the next version of its class: a new field needs a default, and one that is
gone must stay until nothing stored has it.
"""

import base64
import dataclasses
import enum
import json
import math
from collections.abc import Callable
from typing import Any, Final, TypeVar

from greenroom.runtime.address import Address
from greenroom.runtime.errors import NotDecodable, NotEncodable

C = TypeVar("C", bound=type)

DEPTH_MAX: Final = 32

_classes: dict[str, type] = {}
_names: dict[type, str] = {}
_tags: dict[type, tuple[str, Callable[[Any], object]]] = {}
_untag: dict[str, Callable[[Any], object]] = {}


def encodable(name: str) -> Callable[[C], C]:
    """Register a dataclass or an enum under *name*, for good. Above @dataclass, which may make the class anew.

    Raises: TypeError when the class is neither, or another one has the name.
    """
    if not isinstance(name, str) or not name:
        raise TypeError('encodable takes the name that is stored: @encodable("reminders.remind")')

    def register(cls: C) -> C:
        if not dataclasses.is_dataclass(cls) and not issubclass(cls, enum.Enum):
            raise TypeError(f"{cls.__name__} is no dataclass and no enum: put @encodable above @dataclass")
        holder = _classes.get(name)
        if holder is not None and (holder.__module__, holder.__qualname__) != (cls.__module__, cls.__qualname__):
            raise TypeError(f"{holder.__qualname__} is stored as {name!r} already: give {cls.__name__} another name")
        _classes[name] = cls
        _names[cls] = name
        return cls

    return register


def add_form(cls: type, tag: str, to_plain: Callable[[Any], object], from_plain: Callable[[Any], object]) -> None:
    """Of the runtime: give values of exactly *cls* a form. to_plain: to what JSON has a form for."""
    _tags[cls] = tag, to_plain
    _untag[tag] = from_plain


def encode_command(command: object) -> str:
    """The text of a command. Raises: NotEncodable."""
    if type(command) not in _names:
        raise NotEncodable(_unregistered(command))
    return encode_value(command)


def decode_command(text: str) -> object:
    """The command of a text. Raises: NotDecodable."""
    value = decode_value(text)
    if type(value) not in _names:
        raise NotDecodable(f"{text[:80]} is the text of a value, not of a command")
    return value


def encode_value(value: object) -> str:
    """The text of a value. Raises: NotEncodable."""
    try:
        return json.dumps(_plain(value, 0), separators=(",", ":"))
    except ValueError as error:  # an int of more digits than Python prints
        raise NotEncodable(f"{type(value).__name__} cannot be encoded: {error}") from error


def decode_value(text: str) -> object:
    """The value of a text. Raises: NotDecodable."""
    try:
        return _value(json.loads(text, parse_constant=_no_number))
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise NotDecodable(f"{text[:80]} is not the text of a value: {error!r}") from error


def _no_number(name: str) -> object:
    """NaN and Infinity, which Python's JSON knows and JSON does not. Raises: ValueError."""
    raise ValueError(f"{name} is no number")


def _plain(value: Any, depth: int) -> object:
    """What JSON has a form for."""
    if depth > DEPTH_MAX:
        raise NotEncodable(f"{type(value).__name__} is nested more than {DEPTH_MAX} deep")
    kind = type(value)
    if value is None or kind in (bool, int, str):
        return value
    if kind is float:
        if not math.isfinite(value):
            raise NotEncodable(f"{value} has no form outside of memory: use None for what is not known")
        return value
    if kind in _names:
        return _registered(value, depth)
    return _tagged(value, kind, depth + 1)


def _registered(value: Any, depth: int) -> object:
    name = _names[type(value)]
    if isinstance(value, enum.Enum):
        return {"$enum": [name, value.name]}
    fields = [field.name for field in dataclasses.fields(value) if field.init]
    return {"$": name, **{field: _plain(getattr(value, field), depth + 1) for field in fields}}


def _tagged(value: Any, kind: type, depth: int) -> object:
    if kind is list:
        return [_plain(item, depth) for item in value]
    if kind is tuple:
        return {"$tuple": [_plain(item, depth) for item in value]}
    if kind is dict:
        if all(type(key) is str and not key.startswith("$") for key in value):
            return {key: _plain(item, depth) for key, item in value.items()}
        return {"$dict": [[_plain(key, depth), _plain(item, depth)] for key, item in value.items()]}
    if kind in (set, frozenset):  # sorted, so that equal sets have one text
        return {f"${kind.__name__}": sorted((_plain(item, depth) for item in value), key=json.dumps)}
    if kind in _tags:
        tag, to_plain = _tags[kind]
        return {tag: to_plain(value)}
    raise NotEncodable(_unregistered(value))


def _unregistered(value: object) -> str:
    name = type(value).__name__
    if dataclasses.is_dataclass(value) or isinstance(value, enum.Enum):
        return f'{name} has no name to be stored under: put @encodable("…") above its class'
    return f"a {name} has no form outside of memory: use plain values, Address, Ref, or dataclasses that are @encodable"


def _value(plain: object) -> Any:
    """The inverse of `_plain`."""
    if isinstance(plain, list):
        return [_value(item) for item in plain]
    if not isinstance(plain, dict):
        return plain
    if "$" in plain:
        fields = {name: _value(item) for name, item in plain.items() if name != "$"}
        return _class_of(plain["$"])(**fields)
    tag = next(iter(plain), "")
    if len(plain) == 1 and tag.startswith("$"):
        return _untag[tag](plain[tag])
    return {key: _value(item) for key, item in plain.items()}


def _class_of(name: str) -> Callable[..., object]:
    if name not in _classes:
        raise ValueError(f"nothing is @encodable({name!r}): import its module, or keep the name of what is stored")
    return _classes[name]


def _member(named: list[str]) -> object:
    cls: Any = _class_of(named[0])
    member: object = cls[named[1]]
    return member


def address_of(parts: list[Any]) -> Address:
    """Of the runtime: the inverse of `list(address)`. Raises: ValueError."""
    kind, key = parts
    if type(kind) is not str or type(key) not in (int, str):
        raise ValueError(f"{kind!r}/{key!r} is no address")
    return Address(kind, key)


_untag |= {
    "$tuple": lambda items: tuple(_value(item) for item in items),
    "$dict": lambda pairs: dict(_value(pairs)),
    "$set": lambda items: {_value(item) for item in items},
    "$frozenset": lambda items: frozenset(_value(item) for item in items),
    "$enum": _member,
}
add_form(
    bytes, "$bytes", lambda value: base64.b64encode(value).decode(), lambda text: base64.b64decode(text, validate=True)
)
add_form(Address, "$address", list, address_of)
