"""JSON Web Tokens as issuers sign them for this server: HS256 in compact form, with the claims that count here.

    token ──▶ its signature ──▶ its times ──▶ who it is of ──▶ Claims
      └──▶ one that was read lately ──▶ its times ──▶ the same Claims

What the claims change is the authenticator's business (auth.py).
"""

import base64
import hmac
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from jwt import PyJWS
from jwt.exceptions import InvalidTokenError

from greenroom.http.claims import profile_of, subject_of, time_claim
from greenroom.http.decode import BadJson, decode_object
from greenroom.http.errors import ApiError
from greenroom.storage.postgres.users import CLOCK_SKEW_SECONDS
from greenroom.storage.subjects import Subject

GOOD_HEADERS_MAX: Final = 64
# A page says the same token with each request, and when it comes back. A signature that was right stays right.
TOKENS_KEPT: Final = 512
KEPT_CHARACTERS_MAX: Final = 1024

_JWS: Final = PyJWS(algorithms=["HS256"])


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token says. profile: of the user, as `profile_of`. Times are Unix seconds, None when it has no such claim.

    digest: of the profile and the time of issue.
    """

    subject: Subject
    profile: Mapping[str, str]
    token_id: str | None
    issued_at: float | None
    expires_at: float | None
    digest: int


class _Read(NamedTuple):
    """What was read of a token. not_before: the claims that say so, and their Unix times in seconds."""

    claims: Claims
    not_before: tuple[tuple[str, float], ...]


class JsonWebTokens:
    """Of one secret. clock: Unix time in seconds."""

    def __init__(self, secret: bytes, clock: Callable[[], float] = time.time) -> None:
        self._secret = secret
        self._clock = clock
        self._good_headers: set[str] = set()  # segments of headers that the library accepted: HS256, nothing critical
        self._kept: dict[str, _Read] = {}  # by token, the one that was read last at the end

    def sign(self, claims: Mapping[str, object]) -> str:
        """A token over *claims*: for development, where nobody else issues them."""
        payload = json.dumps(dict(claims), separators=(",", ":")).encode()
        return _JWS.encode(payload, self._secret, algorithm="HS256")

    def read(self, token: str) -> Claims:
        """What a token says that is signed for this server and holds now. Raises: ApiError 401."""
        read = self._kept.pop(token, None)
        if read is None:
            read = self._read(token)
            if len(self._kept) >= TOKENS_KEPT:
                del self._kept[next(iter(self._kept))]
        else:
            self._check_times(read.claims.expires_at, read.not_before)
        if len(token) <= KEPT_CHARACTERS_MAX and not token.endswith("="):  # or one could be kept in many spellings
            self._kept[token] = read
        return read.claims

    def _read(self, token: str) -> _Read:
        said = self._verified(token)
        expires_at, issued_at = time_claim(said, "exp"), time_claim(said, "iat")
        moments = (("nbf", time_claim(said, "nbf")), ("iat", issued_at))
        not_before = tuple((name, at) for name, at in moments if at is not None)
        self._check_times(expires_at, not_before)
        profile, token_id = profile_of(said), said.get("jti")
        claims = Claims(
            subject=subject_of(said.get("sub")),
            profile=profile,
            token_id=token_id if isinstance(token_id, str) else None,
            issued_at=issued_at,
            expires_at=expires_at,
            digest=hash((issued_at, *profile.items())),
        )
        return _Read(claims, not_before)

    def _verified(self, token: str) -> dict[str, object]:
        """The claims of a token with a right signature.

        The library judges the header of the first token that has it, and the whole of that token. Tokens that begin
        with the very same header after that need no more than the HMAC, which is a fifth of the library's time.
        """
        header, _, rest = token.partition(".")
        try:
            if header in self._good_headers:
                payload = self._verified_payload(header, *rest.split("."))
            else:
                payload = _JWS.decode_complete(token, self._secret, algorithms=["HS256"])["payload"]
                if len(self._good_headers) < GOOD_HEADERS_MAX:
                    self._good_headers.add(header)
            return decode_object(payload)
        except BadJson as fault:
            raise _invalid(f"the claims of the token cannot be used: {fault}") from None
        except (InvalidTokenError, ValueError, TypeError, RecursionError):
            raise _invalid("the token is not a JWT that was signed for this server with HS256") from None

    def _verified_payload(self, header: str, payload: str, signature: str) -> bytes:
        """The payload of a JWS in compact form (RFC 7515 section 5.2). Raises ValueError for a wrong signature."""
        expected = hmac.digest(self._secret, f"{header}.{payload}".encode(), "sha256")
        if not hmac.compare_digest(_unpadded(expected), signature.rstrip("=").encode()):
            raise ValueError("the signature is wrong")
        return base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))

    def _check_times(self, expires_at: float | None, not_before: tuple[tuple[str, float], ...]) -> None:
        now = self._clock()
        if expires_at is not None and expires_at <= now:
            raise expired()
        for name, moment in not_before:
            if moment > now + CLOCK_SKEW_SECONDS:
                raise _invalid(f"the token is not valid yet ({name})")


def expired() -> ApiError:
    """What a token is refused with that was good."""
    return ApiError("TOKEN_EXPIRED", "the token has expired: get a new one")


def _unpadded(octets: bytes) -> bytes:
    return base64.urlsafe_b64encode(octets).rstrip(b"=")


def _invalid(message: str) -> ApiError:
    return ApiError("INVALID_TOKEN", message)
