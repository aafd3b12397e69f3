"""Where a request comes from: which web pages may call us with a user's credentials, and which client stands behind it.

Origins. A page is trusted when its Origin is listed: our own, and ALLOWED_ORIGINS (default FRONTEND_URL, and in
development localhost and 127.0.0.1 on the ports of the usual dev servers). The list is compared, never reflected: there
is no `*`, and `null` is nobody. What follows from it:

- CORS: a listed page may read answers and send credentials; any other gets no CORS header and a 403 to its preflight.
- Unsafe methods under a cookie need a listed Origin and a JSON or multipart body: a form of a foreign page can send
  neither (cross-site request forgery). Tokens in headers need no such rule: no browser adds them by itself.
- A GET that costs its user something, as a ticket does, is refused under a cookie when another page asks for it.

Proxies. X-Forwarded-For and X-Forwarded-Proto count only from TRUSTED_PROXIES, read from the right: what stands left of
the first address that is not a trusted proxy was written by the client. A proxy may add a line of its own, as HAProxy
does: several are one list, in their order (RFC 9110 section 5.3).
"""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from werkzeug.datastructures import Headers

from greenroom.http.errors import ApiError
from greenroom.settings import DEVELOPMENT_PAGE_PORTS, Settings

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
ALLOWED_METHODS: Final = "GET, POST, PUT, PATCH, DELETE, OPTIONS"
ALLOWED_HEADERS: Final = "Content-Type, Authorization, Idempotency-Key, Last-Event-ID, X-CSRF-Token, X-Request-Id"
EXPOSED_HEADERS: Final = "X-Request-Id, Retry-After, Idempotency-Replay"
PREFLIGHT_SECONDS: Final = 600
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def origin_of(url: str) -> str:
    """The origin of *url* as a browser writes it: lower case, no default port, no path."""
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    host = f"[{host}]" if ":" in host else host
    port = parts.port
    return f"{parts.scheme}://{host}" + ("" if port in (None, _DEFAULT_PORTS.get(parts.scheme)) else f":{port}")


@dataclass(frozen=True, slots=True)
class Origins:
    """The pages that are trusted."""

    listed: frozenset[str]

    @classmethod
    def from_settings(cls, settings: Settings, port: int | None = None) -> "Origins":
        """The list that the settings make; *port* is the one really listened on, when PORT is 0."""
        given = settings.allowed_origins
        if given is None:
            given = (settings.frontend_url,) if settings.frontend_url else ()
            if settings.is_development:
                hosts = ("localhost", "127.0.0.1")
                given += tuple(f"http://{host}:{page}" for host in hosts for page in DEVELOPMENT_PAGE_PORTS)
        return cls(frozenset(origin_of(origin) for origin in (*given, *_own(settings, port or settings.port))))

    def is_listed(self, origin: str | None) -> bool:
        """Whether *origin*, the value of an Origin header, is a trusted page. Absent and `null` are not."""
        return origin is not None and origin in self.listed

    def cors_headers(self, origin: str | None) -> dict[str, str]:
        """The headers of an answer. `Vary` always, or a cache would give one page's answer to another."""
        if origin is None or origin not in self.listed:
            return {"Vary": "Origin"}
        return {
            "Vary": "Origin",
            "Access-Control-Allow-Origin": origin,
            "Access-Control-Allow-Credentials": "true",
            "Access-Control-Expose-Headers": EXPOSED_HEADERS,
        }

    def preflight_headers(self, origin: str | None) -> dict[str, str]:
        """What a preflight is told beyond `cors_headers`. Raises ApiError 403 for a page that is not listed."""
        if not self.is_listed(origin):
            raise ApiError("FORBIDDEN", "this origin may not call greenroom: list it in ALLOWED_ORIGINS")
        return {
            "Access-Control-Allow-Methods": ALLOWED_METHODS,
            "Access-Control-Allow-Headers": ALLOWED_HEADERS,
            "Access-Control-Max-Age": str(PREFLIGHT_SECONDS),
        }

    def check_unsafe(self, method: str, origin: str | None, mimetype: str) -> None:
        """Refuse what a foreign page could have sent with the user's cookie. Raises ApiError 403 or 415."""
        if method in SAFE_METHODS:
            return
        if not self.is_listed(origin):
            raise ApiError("FORBIDDEN", f"{method} with a cookie needs an Origin that is listed in ALLOWED_ORIGINS")
        if not (is_json(mimetype) or mimetype == "multipart/form-data"):
            raise ApiError("INVALID_FILE_TYPE", f"{method} with a cookie needs Content-Type: application/json")

    def check_page(self, headers: Headers) -> None:
        """Refuse a GET under a cookie that costs its user something, of a page that is not listed. Raises ApiError 403.

        What asks as pages ask for a picture sends no Origin; browsers say at least that it is another page's.
        """
        origin, site = headers.get("Origin"), headers.get("Sec-Fetch-Site")
        is_foreign = site in ("cross-site", "same-site") if origin is None else not self.is_listed(origin)
        if is_foreign:
            raise ApiError("FORBIDDEN", "this origin may not do that with a cookie: list it in ALLOWED_ORIGINS")


def is_json(mimetype: str) -> bool:
    """Whether a media type, in lower case and without parameters, is JSON."""
    return mimetype == "application/json" or (mimetype.startswith("application/") and mimetype.endswith("+json"))


class Proxies:
    """TRUSTED_PROXIES, and what they tell."""

    def __init__(self, networks: tuple[str, ...] = ()) -> None:
        self._networks: list[Network] = [ipaddress.ip_network(network) for network in networks]

    def client_address(self, peer: str, headers: Headers) -> str:
        """The address of the client whose request came over the connection of *peer*."""
        if not self._networks:
            return peer
        address = peer
        for hop in reversed(_listed(headers, "X-Forwarded-For")):
            if not self._is_trusted(address):
                break
            told = _address(hop)
            if told is None:
                break
            address = told
        return address

    def is_https(self, peer: str, scheme: str, headers: Headers) -> bool:
        """Whether the client speaks TLS, to us or to a trusted proxy."""
        told = _listed(headers, "X-Forwarded-Proto") if self._is_trusted(peer) else []
        return (told[-1].strip().lower() if told else scheme) in ("https", "wss")

    def _is_trusted(self, address: str) -> bool:
        if not self._networks:
            return False
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        mapped = getattr(parsed, "ipv4_mapped", None)
        return any((mapped or parsed) in network for network in self._networks)


def cookie_attributes(is_https: bool) -> Mapping[str, object]:
    """How our cookies are set: the page may live on another site only when the connection is safe."""
    return {"httponly": True, "path": "/", "secure": is_https, "samesite": "None" if is_https else "Lax"}


def _own(settings: Settings, port: int) -> list[str]:
    if settings.public_url:
        return [settings.public_url]
    scheme = "https" if settings.tls_cert else "http"
    if settings.is_loopback or settings.is_development:
        return [f"{scheme}://{host}:{port}" for host in ("localhost", "127.0.0.1", "[::1]")]
    host = settings.host.strip("[]")
    return [f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"]


def _listed(headers: Headers, name: str) -> list[str]:
    """The items of a header that is a list, of all its lines."""
    text = ",".join(headers.getlist(name))
    return text.split(",") if text else []


def _address(hop: str) -> str | None:
    text = hop.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return None
