"""One HTTP request, in a thread: lists and membership, which are not said over the socket."""

import json
import urllib.error
import urllib.request
from http.client import HTTPException
from typing import Any, Final

from greenroom.client.errors import Refused, ServerAway

SECONDS_MAX: Final = 10.0


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """What points elsewhere is an answer: it would be followed with our token, to whatever host, and as a GET."""

    def redirect_request(self, *_: object) -> None:
        """Follow nowhere."""


# Straight to the server, as the socket goes: a proxy of the environment would be asked for 127.0.0.1, too.
_DIRECT: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirects())


def ask(url: str, token: str, method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
    """`data` of the answer. Blocks. Raises: Refused with the status, ServerAway."""
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url + path, content, headers, method=method)
    try:
        with _DIRECT.open(request, timeout=SECONDS_MAX) as response:
            data = json.load(response)["data"]
            if not isinstance(data, dict | None):
                raise TypeError("data is an object")
            return data or {}
    except urllib.error.HTTPError as error:
        raise Refused(error.code, why_rejected(error.code, _body_of(error))) from None
    except OSError as error:
        raise ServerAway(f"{url} does not answer: {getattr(error, 'reason', error)}") from None
    except (ValueError, KeyError, TypeError, HTTPException, RecursionError):
        raise ServerAway(f"what answers at {url} is no greenroom") from None


def _body_of(error: urllib.error.HTTPError) -> bytes | None:
    """None: it was cut, and the status has to do."""
    try:
        return error.read()
    except (OSError, HTTPException):
        return None


def why_rejected(status: int, body: bytes | None) -> str:
    """The sentence of an answer that is an error."""
    try:
        return str(json.loads(body or b"")["error"]["message"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return f"the server answers {status}"
