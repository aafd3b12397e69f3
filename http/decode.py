"""The one decoder for all JSON that comes in: frames, request bodies, token claims.

What it returns can be stored and sent on as it is: no NUL and no lone surrogate (PostgreSQL refuses both, and a refused
value would poison a whole batch), no NaN or Infinity, integers exact in every JSON implementation, a depth that no
recursion can trip over. A key that comes twice takes its last value, as browsers have it (RFC 8259 section 4 leaves it
open). Everything else is `BadJson`, with a sentence that quotes nothing of the input.

The caller bounds the size before it calls: time is linear in it. Measured: 4 µs for a frame of 400 bytes. The C scanner
does the work; what it does not check is looked for only where a cheap search says that it could be there:

    16 digits in a row           an integer may be too large          -> parse with checked integers
    a \\u escape                  NUL, or half of a surrogate pair     -> walk the strings
    more than 32 opening signs   may be too deep                      -> walk the containers
    longer than a string may be  may hold one that long               -> walk the strings
"""

import math
from collections.abc import Iterable
from itertools import chain
from json import JSONDecodeError, JSONDecoder
from typing import Final, NoReturn

INTEGER_MAX: Final = 2**53 - 1
DEPTH_MAX: Final = 32
STRING_CHARACTERS_MAX: Final = 65_536

_SHORTEST_LARGE: Final = b"0" * len(str(INTEGER_MAX))
_AS_ZEROES: Final = bytes.maketrans(b"123456789", b"000000000")


class BadJson(ValueError):
    """The input is not JSON, or is JSON that greenroom does not take. The message may be shown to whoever sent it."""


def decode(data: bytes | bytearray | str, *, string_characters_max: int = STRING_CHARACTERS_MAX) -> object:
    """Return the value that *data*, one JSON text in UTF-8 without a byte order mark, stands for. Raises BadJson."""
    text, octets = _both_forms(data)
    decoder = _CHECKED if _SHORTEST_LARGE in octets.translate(_AS_ZEROES) else _QUICK
    try:
        value: object = _scan(decoder, text)
    except JSONDecodeError as fault:
        what = fault.msg.lower().removesuffix(" at")
        raise BadJson(f"this is not JSON: {what} at character {fault.pos + 1}") from None
    except RecursionError:
        raise _too_deep() from None
    if text.count("[") + text.count("{") > DEPTH_MAX or "\\u" in text or len(text) > string_characters_max:
        _walk(value, string_characters_max)
    return value


def _scan(decoder: JSONDecoder, text: str) -> object:
    """As `decoder.decode`, which looks for white space with a regular expression, twice: there is none as a rule."""
    try:
        value, end = decoder.raw_decode(text)
    except JSONDecodeError:
        end = -1
    return value if end == len(text) else decoder.decode(text)


def decode_object(
    data: bytes | bytearray | str, *, string_characters_max: int = STRING_CHARACTERS_MAX
) -> dict[str, object]:
    """Decode *data*, whose outermost value must be an object. Raises BadJson."""
    value = decode(data, string_characters_max=string_characters_max)
    if not isinstance(value, dict):
        raise BadJson("a JSON object is needed here")
    return value


def _both_forms(data: bytes | bytearray | str) -> tuple[str, bytes | bytearray]:
    try:
        if isinstance(data, str):
            return data, data.encode()
        return data.decode(), data
    except UnicodeDecodeError as fault:
        raise BadJson(f"this is not UTF-8: the fault is at byte {fault.start + 1}") from None
    except UnicodeEncodeError:
        raise BadJson("a string holds half of a surrogate pair") from None


def _walk(value: object, string_characters_max: int) -> None:
    """Check every string below *value* and the depth, level by level, without recursion."""
    if isinstance(value, str):
        _check_string(value, string_characters_max)
        return
    level: list[object] = [value]
    depth = 0
    while level:
        depth += 1
        if depth > DEPTH_MAX:
            raise _too_deep()
        below: list[object] = []
        for container in level:
            for child in _children(container):
                if isinstance(child, str):
                    _check_string(child, string_characters_max)
                elif isinstance(child, dict | list):
                    below.append(child)
        level = below


def _children(container: object) -> Iterable[object]:
    if isinstance(container, dict):
        return chain(container, container.values())
    return container if isinstance(container, list) else ()


def _check_string(text: str, characters_max: int) -> None:
    if len(text) > characters_max:
        raise BadJson(f"a string has more than {characters_max} characters")
    if "\0" in text:
        raise BadJson("a string holds the character NUL")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise BadJson("a string holds half of a surrogate pair") from None


def _too_deep() -> BadJson:
    return BadJson(f"arrays and objects are nested more than {DEPTH_MAX} deep")


def _checked_integer(digits: str) -> int:
    # The length first: turning many digits into an integer takes time quadratic in their number.
    number = int(digits) if len(digits) <= len(_SHORTEST_LARGE) + 1 else INTEGER_MAX + 1
    if not -INTEGER_MAX <= number <= INTEGER_MAX:
        raise BadJson("an integer is beyond 2^53 - 1: send it as a string")
    return number


def _checked_float(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise BadJson("a number is too large")
    return number


def _refuse_constant(name: str) -> NoReturn:
    raise BadJson(f"{name} is not JSON")


_QUICK: Final = JSONDecoder(parse_float=_checked_float, parse_constant=_refuse_constant)
_CHECKED: Final = JSONDecoder(parse_int=_checked_integer, parse_float=_checked_float, parse_constant=_refuse_constant)
