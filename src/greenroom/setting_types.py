"""What values of settings are made of: addresses, origins, networks, lists, and when they are none. Pure."""

import ipaddress
import re
from typing import Annotated
from urllib.parse import urlsplit

from annotated_types import Ge, Le
from pydantic import AfterValidator, BeforeValidator, SecretStr


def words(value: object) -> object:
    """Split a text at white space and commas."""
    return tuple(re.split(r"[\s,]+", value.strip(" ,"))) if isinstance(value, str) else value


def url(*schemes: str) -> AfterValidator:
    """An address with one of these schemes."""

    def check(value: str | SecretStr) -> str | SecretStr:
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        parts = urlsplit(text)
        named = parts.netloc if "http" in schemes else parts.netloc or parts.query or parts.path.strip("/")
        if parts.scheme not in schemes or not named:
            raise ValueError(f"it must be an address that begins with {' or '.join(f'{name}://' for name in schemes)}")
        # An @ behind the host is a password with a / ? or # in it: most of it would be taken for the host, and shown.
        rest = f"{parts.path}{parts.query}{parts.fragment}"
        if (parts.netloc and "@" in rest) or not all(map(_has_a_port, parts.netloc.rpartition("@")[2].split(","))):
            raise ValueError(
                "behind the host only a port from 0 to 65535 may stand; in a password : / ? # @ are written %3A %2F "
                "%3F %23 %40"
            )
        return value

    return AfterValidator(check)


def _has_a_port(host: str) -> bool:
    """Whether the port is one, or absent."""
    try:
        _ = urlsplit(f"//{host}").port
    except ValueError:
        return False
    return True


def _origin(value: str) -> str:
    parts = urlsplit(value.rstrip("/"))
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path or parts.query or "@" in parts.netloc:
        raise ValueError("an origin is scheme://host[:port], nothing more; * and null are never allowed")
    _ = parts.port
    return f"{parts.scheme}://{parts.netloc}".lower()


def _network(value: str) -> str:
    return str(ipaddress.ip_network(value, strict=False))


def _file_ending(value: str) -> str:
    if not re.fullmatch(r"\.?[A-Za-z0-9]{1,10}", value):
        raise ValueError("file types are given by their ending")
    return value.lower().lstrip(".")


def _telephone(value: str) -> str:
    if not re.fullmatch(r"\+[1-9][0-9]{6,14}", value):
        raise ValueError("a telephone number is written as in E.164: + and 7 to 15 digits")
    return value


Milliseconds = Annotated[int, Ge(100), Le(86_400_000)]
HttpUrl = Annotated[str, url("http", "https")]
SecretHttpUrl = Annotated[SecretStr, url("http", "https")]
DatabaseUrl = Annotated[SecretStr, url("postgres", "postgresql")]
RedisUrl = Annotated[SecretStr, url("redis", "rediss", "unix")]
Telephone = Annotated[str, AfterValidator(_telephone)]
Origins = Annotated[tuple[Annotated[str, AfterValidator(_origin)], ...], BeforeValidator(words)]
Networks = Annotated[tuple[Annotated[str, AfterValidator(_network)], ...], BeforeValidator(words)]
FileTypes = Annotated[tuple[Annotated[str, AfterValidator(_file_ending)], ...], BeforeValidator(words)]
