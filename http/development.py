"""The gate before everything that exists for development only: demo sign-in, live view, mail view, console.

It opens when *all* of this holds, and otherwise there is nothing there (404):

- ENVIRONMENT is development, and the listener is on loopback;
- `Host` is localhost, 127.0.0.1 or [::1] (a page that rebinds its own name to 127.0.0.1 still sends its own name);
- there is no `Forwarded` and no `X-Forwarded-*` (a tunnel or proxy has brought the request from elsewhere);
- the key of this start is shown: 128 random bits, printed in the link of `make run`, as `?key=…` and from then on as
  an HttpOnly cookie.
"""

import hmac
import secrets
from collections.abc import Mapping
from typing import Final

from werkzeug.datastructures import Headers

from greenroom.settings import Settings

KEY_COOKIE: Final = "greenroom-development"
KEY_PARAMETER: Final = "key"
HOSTS: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})


class DevelopmentGate:
    """Knows the key of this start. `key` is given by tests only."""

    def __init__(self, settings: Settings, key: str | None = None) -> None:
        self.is_open = settings.is_development and settings.is_loopback
        self.key = key or secrets.token_urlsafe(16)

    def link(self, base: str, path: str = "/") -> str:
        """The link to print: *base* is such as http://127.0.0.1:8787."""
        return f"{base}{path}?{KEY_PARAMETER}={self.key}"

    def allows(self, headers: Headers, query_key: str | None, cookies: Mapping[str, str]) -> bool:
        """Whether a request may see development-only things."""
        return (
            self.is_open
            and _is_local(headers.get("Host"))
            and not any(_tells_of_a_proxy(name) for name in headers.keys())  # noqa: SIM118 - Headers iterates pairs
            and (self.is_key(query_key) or self.is_key(cookies.get(KEY_COOKIE)))
        )

    def is_key(self, text: str | None) -> bool:
        """Whether *text* is the key, in constant time."""
        return text is not None and hmac.compare_digest(text.encode("utf-8", "replace"), self.key.encode())


def _is_local(host: str | None) -> bool:
    if host is None:
        return False
    name, colon, port = host.rpartition(":")
    if not colon or host.endswith("]"):
        name, port = host, ""
    return name.lower() in HOSTS and (not port or port.isdigit())


def _tells_of_a_proxy(name: str) -> bool:
    lowered = name.lower()
    return lowered == "forwarded" or lowered.startswith("x-forwarded-")
