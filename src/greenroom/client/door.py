"""The door of the client: what it is given is taken, or refused with ValueError before anything has changed. Pure.

Rooms and people are numbers, or their digits, as URLs and forms have them; files have keys; lines may have client ids.
"""

import json
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final, TypedDict
from urllib.parse import urlsplit

from greenroom.client.events import DETAILS
from greenroom.client.outbox import Line

SAFE_MAX: Final = 2**53 - 1  # beyond it JSON numbers lose digits: RFC 8259 section 6
CLIENT_ID_CHARACTERS_MAX: Final = 255
DEVICE_CHARACTERS_MAX: Final = 64
_SCHEMES: Final = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
_HEADER_VALUE: Final = re.compile(r"[!-~]([ -~]*[!-~])?")  # RFC 9110 section 5.5, of ASCII

GivenId = int | str  # the number, or its digits; else ValueError
Token = str | Callable[[], Awaitable[str]]


def room_id_of(given: GivenId) -> int:
    """The number. Raises: ValueError."""
    return _number_of(given, "a room")


def people_of(given: Iterable[GivenId]) -> tuple[int, ...]:
    """The numbers, each once, in their order. Raises: ValueError."""
    if not _is_list(given):
        raise ValueError(f"{given!r:.40} is no list of users")
    return tuple(dict.fromkeys(_number_of(one, "a user") for one in given))


class GivenLine(TypedDict, total=False):
    """What a line may have beside its room and its words."""

    client_id: str | None
    attachments: Iterable[str]
    details: Mapping[str, Any] | None


def line_of(
    room_id: GivenId,
    body: str,
    *,
    client_id: str | None = None,
    attachments: Iterable[str] = (),
    details: Mapping[str, Any] | None = None,
) -> Line:
    """Something said; without a client id it gets one. Raises: ValueError."""
    given_id = {} if client_id is None else {"client_id": _client_id_of(client_id)}
    return Line(
        room_id_of(room_id), body_of(body), **given_id, attachments=_keys_of(attachments), details=_details_of(details)
    )


def _details_of(given: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """What else is said of a line, as it is now. What is right in it is for the server to say. Raises: ValueError."""
    if given is None:
        return {}
    if not isinstance(given, Mapping) or not DETAILS.issuperset(given):
        raise ValueError(f"{given!r:.40} cannot be `details`: give a dict with some of {', '.join(sorted(DETAILS))}")
    try:
        details: dict[str, Any] = json.loads(json.dumps(dict(given), allow_nan=False))
    except (TypeError, ValueError) as fault:
        raise ValueError(f"`details` cannot be JSON: {fault}") from None
    return details


def body_of(given: str) -> str:
    """What a line says. What is right in it is for the server to say. Raises: ValueError."""
    if isinstance(given, str):
        return given
    raise ValueError(f"{given!r:.40} is no text: what is said is one")


def count_of(given: int, what: str) -> int:
    """A number of something, or a place in a log. Raises: ValueError."""
    if isinstance(given, int) and not isinstance(given, bool) and 0 <= given <= SAFE_MAX:
        return given
    raise ValueError(f"{given!r:.40} cannot be `{what}`: give a whole number from 0 on")


def device_of(given: str) -> str:
    """The name of a device. Raises: ValueError."""
    if isinstance(given, str) and len(given) <= DEVICE_CHARACTERS_MAX:
        return given
    raise ValueError(f"{given!r:.40} is no name of a device: give a text of at most {DEVICE_CHARACTERS_MAX} characters")


def address_of(given: str) -> str:
    """The server's, over http or https, without a slash at its end. Raises: ValueError."""
    try:
        parts = urlsplit(given)
        is_address = bool(parts.hostname) and parts.port != 0 and not parts.query and not parts.fragment
        if is_address and _HEADER_VALUE.fullmatch(given) and " " not in given:
            str(parts.hostname).encode("idna")  # a name that no resolver takes
            return f"{_SCHEMES[parts.scheme]}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}"
    except (ValueError, KeyError, TypeError, AttributeError):  # no port, no such name or scheme, no text
        pass
    raise ValueError(f"{given!r:.80} is no address of a server: give one such as http://127.0.0.1:8787")


def token_of(given: Token) -> Token:
    """What there is to show, or to ask for it. Raises: ValueError."""
    if isinstance(given, str) or callable(given):
        return given
    raise ValueError("a token is a text, or an async function that returns one")


def is_showable(token: object) -> bool:
    """A header can carry it: no other token is one, and none of them is worth a connection."""
    return isinstance(token, str) and _HEADER_VALUE.fullmatch(token) is not None


def _number_of(given: GivenId, whose: str) -> int:
    if isinstance(given, str) and given.isascii() and given.isdigit() and len(given) <= len(str(SAFE_MAX)):
        given = int(given)
    if isinstance(given, int) and not isinstance(given, bool) and 0 < given <= SAFE_MAX:
        return given
    raise ValueError(f"{given!r:.40} is no id of {whose}: give the number, or its digits")


def _client_id_of(given: str) -> str:
    if isinstance(given, str) and 0 < len(given) <= CLIENT_ID_CHARACTERS_MAX:
        return given
    raise ValueError(f"{given!r:.40} is no client id: give a text of 1 to {CLIENT_ID_CHARACTERS_MAX} characters")


def _keys_of(given: Iterable[str]) -> tuple[str, ...]:
    keys = tuple(given) if _is_list(given) else ()
    if _is_list(given) and all(isinstance(key, str) for key in keys):
        return keys
    raise ValueError(f"{given!r:.40} are no keys of files: give a list of texts, each the `key` of an upload")


def _is_list(given: object) -> bool:
    """What is listed one by one, and is no text and no table."""
    return isinstance(given, Iterable) and not isinstance(given, str | bytes | bytearray | memoryview | Mapping)
