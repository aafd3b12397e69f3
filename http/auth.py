"""Who is who: a credential becomes a `Principal`, or an `ApiError` 401 with a code.

greenroom has no passwords. It accepts, and nothing else:

    Authorization: Bearer <JWT>      HS256 only; `sub` says who, the other claims describe them; exp, nbf, iat are kept
    Authorization: Bearer grk_…      an API key; for a user only with scope `act_as` and `X-Act-As: <user id>`
    Cookie: pitchey-session=…        a row in `sessions`; also better-auth-session; signed values are verified

An Authorization header counts before a cookie, and a wrong one is not made good by a right cookie. Of the two cookies
the first that is good counts; when none is, the first is refused. What the claims of a JWT change is said in
`storage/postgres/users.py`: the token issued last decides, and a PUT stands until a later one says something new. A JWT
that was seen costs no query (about 30 µs); sessions and keys are asked of PostgreSQL at most once a second each, so a
deleted session or a revoked key is refused everywhere within CACHE_SECONDS, here at once. A JWT cannot be taken back by
itself; those issued before their user signed out everywhere are refused, and so is one without iat then.

No secret, token or session id is ever part of a message.
"""

import base64
import binascii
import hashlib
import hmac
import re
import time
from collections.abc import Awaitable, Callable, Collection, Container, Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal
from urllib.parse import unquote

import trio

from greenroom.http.claims import check_signed_out
from greenroom.http.errors import ApiError
from greenroom.http.json_web_tokens import Claims, JsonWebTokens, expired
from greenroom.http.known_users import Known, KnownUsers
from greenroom.http.recent import Recent
from greenroom.storage.postgres.api_keys import KEY_PREFIX, ApiKey, ApiKeys, split_key
from greenroom.storage.postgres.sessions import Session, Sessions
from greenroom.storage.postgres.users import User, Users

SESSION_COOKIES: Final = ("pitchey-session", "better-auth-session")
ACT_AS_HEADER: Final = "X-Act-As"
ACT_AS_SCOPE: Final = "act_as"
CREDENTIAL_CHARACTERS_MAX: Final = 8192
AT_ONCE_SECONDS: Final = 0.05  # what was looked up so lately is not looked up again, when nothing changed here since
KNOWN_DIGESTS_MAX: Final = 4

Kind = Literal["session", "jwt", "api_key"]


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is asking. `user_id` is None for an API key that acts for nobody.

    expires_at, issued_at (of a JWT, when it says so; of a key, when it was shown): Unix seconds.
    """

    user_id: int | None
    role: str
    name: str
    kind: Kind
    scopes: frozenset[str] = frozenset()
    session_id: str | None = None
    key_id: str | None = None
    expires_at: float | None = None
    issued_at: float | None = None

    @property
    def is_admin(self) -> bool:
        """Whether this is an administrator, of whatever kind."""
        return self.role == "admin"

    def has_scope(self, scope: str) -> bool:
        """Whether this principal may do what *scope* names: keys need it, administrators always may."""
        return self.is_admin or scope in self.scopes

    def require_user(self) -> int:
        """The user's id. Raises ApiError 403 for an API key that acts for nobody."""
        if self.user_id is None:
            raise ApiError("FORBIDDEN", f"this needs a user: send {ACT_AS_HEADER} with a key that has scope act_as")
        return self.user_id


@dataclass(frozen=True, slots=True)
class Moment:
    """A moment of an authenticator: the changes that it had seen, and Unix seconds."""

    changes: int
    at: float


class Authenticator:
    """Resolves credentials. `clock` is Unix time in seconds."""

    def __init__(
        self,
        *,
        users: Users,
        sessions: Sessions,
        api_keys: ApiKeys,
        jwt_secret: bytes,
        cookie_secret: bytes | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._users = users
        self._sessions = sessions
        self._api_keys = api_keys
        self._tokens = JsonWebTokens(jwt_secret, clock)
        self._cookie_secret = cookie_secret
        self._clock = clock
        self._known = KnownUsers()
        self.changes = 0  # of users, sessions and keys: what was read before one does not hold after it
        # Called with a user as they are after a token that was not seen before, which may have changed them.
        self.on_user_read: Callable[[User], Awaitable[None]] = _nobody_listens
        self._recent_sessions: Recent[Session] = Recent()
        self._recent_keys: Recent[ApiKey] = Recent()

    async def authenticate(
        self, *, authorization: str | None, cookies: Mapping[str, str], act_as: str | None = None
    ) -> Principal | None:
        """The principal of a request, or None when it shows no credential at all.

        Raises ApiError: 401 for a credential that is wrong, 400, 403 or 404 for what is asked with X-Act-As.
        Raises StorageUnavailable.
        """
        if authorization is not None:
            scheme, _, token = authorization.strip().partition(" ")
            if scheme.lower() != "bearer" or not token.strip():
                raise ApiError("UNAUTHORIZED", "the Authorization header must be: Bearer <token>")
            return await self.from_bearer(token.strip(), act_as=act_as)
        refusal = None
        for name in SESSION_COOKIES:
            if cookies.get(name):
                try:
                    principal = await self.from_cookie(cookies[name])
                except ApiError as fault:  # a browser keeps an old cookie beside a new one of the other name
                    refusal = refusal or fault
                else:
                    return _for_itself(principal, act_as)
        if refusal is not None:
            raise refusal
        return None

    async def from_bearer(self, token: str, *, act_as: str | None = None) -> Principal:
        """The principal of a JWT or an API key. Raises ApiError, StorageUnavailable."""
        if len(token) > CREDENTIAL_CHARACTERS_MAX:
            raise _invalid("the token is too long")
        if token.startswith(KEY_PREFIX):
            return await self._from_key(token, act_as)
        return _for_itself(await self._from_jwt(token), act_as)

    async def from_cookie(self, value: str) -> Principal:
        """The principal of a session cookie, signed or not. Raises ApiError, StorageUnavailable."""
        if len(value) > CREDENTIAL_CHARACTERS_MAX:
            raise ApiError("UNAUTHORIZED", "Authentication required")
        return await self._from_session(self._session_id(unquote(value)))

    async def renew(self, principal: Principal) -> Principal:
        """Check again that what *principal* was made of is still good. Raises ApiError 401, StorageUnavailable."""
        if principal.kind == "session":
            assert principal.session_id is not None
            return await self._from_session(principal.session_id)
        if principal.expires_at is not None and principal.expires_at <= self._clock():
            raise expired()
        if principal.kind == "api_key":
            assert principal.key_id is not None
            key = await self._find_key(principal.key_id)
            if key is None or key.revoked_at is not None:
                raise _invalid("the API key is not valid")
            if principal.user_id is not None and ACT_AS_SCOPE not in key.scopes:
                raise _invalid("the API key may not act for a user any more")
            principal = replace(principal, role=key.role, scopes=key.scopes)
        return await self.as_now(principal)

    async def as_now(self, principal: Principal) -> Principal:
        """*principal* with the name and the role that the user has by now.

        Raises ApiError 401 for a JWT of before the user signed out everywhere; StorageUnavailable.
        """
        user = await self._users.by_id(principal.user_id) if principal.user_id is not None else None
        if user is None:
            return principal
        if principal.kind == "jwt":
            check_signed_out(principal.issued_at, user.signed_out_at)
        return replace(principal, name=user.name, role=principal.role if principal.kind == "api_key" else user.role)

    def moment(self) -> Moment:
        """Now, to ask `holds` later whether a credential has to be looked at again."""
        return Moment(self.changes, self._clock())

    def holds(self, since: Moment) -> bool:
        """Whether who was authenticated after *since* is who they were: nothing changed here, and it was just now."""
        return self.changes == since.changes and 0 <= self._clock() - since.at < AT_ONCE_SECONDS

    def sign_cookie(self, session_id: str) -> str:
        """What to put into the cookie for a session: signed as better-auth signs, when there is a secret."""
        if self._cookie_secret is None:
            return session_id
        return f"{session_id}.{_signature(self._cookie_secret, session_id)}"

    def session_id_of(self, value: str) -> str | None:
        """The session id that the value of a cookie holds, whether or not there is such a session; None when none."""
        if not value or len(value) > CREDENTIAL_CHARACTERS_MAX:
            return None
        try:
            session_id = self._session_id(unquote(value))
        except ApiError:
            return None
        return session_id if _is_storable(session_id) else None

    def sign_token(self, claims: Mapping[str, object]) -> str:
        """A JWT of ours over *claims*: for development, where nobody else issues them."""
        return self._tokens.sign(claims)

    def forget_session(self, session_id: str) -> None:
        """A session was deleted: do not accept it from the cache."""
        self.changes += 1
        self._recent_sessions.drop(session_id)

    def forget_sessions_of(self, user_ids: Container[int]) -> None:
        """Sessions of these users have ended: do not accept theirs from the cache."""
        self.changes += 1
        self._recent_sessions.drop_those(lambda session: session.user_id in user_ids)

    def forget_key(self, key_id: str) -> None:
        """An API key was found to be otherwise: do not accept it from the cache."""
        self.changes += 1
        self._recent_keys.drop(key_id)

    def forget_keys(self) -> None:
        """Any of them may be otherwise."""
        self.changes += 1
        self._recent_keys.clear()

    def forget_user(self, user_id: int) -> None:
        """A user was changed, or has signed out everywhere: names, roles, sessions and that are read again."""
        self.forget_users((user_id,))

    def forget_users(self, user_ids: Collection[int]) -> None:
        """As `forget_user`, of many at once."""
        self.changes += 1
        self._known.forget(user_ids)
        self._recent_sessions.clear()

    def forget_everybody(self) -> None:
        """Whoever may have been changed was not heard of."""
        self.changes += 1
        self._known.clear()
        self._recent_sessions.clear()

    # -- JWT --

    async def _from_jwt(self, token: str) -> Principal:
        claims = self._tokens.read(token)
        known = await self._know(claims)
        check_signed_out(claims.issued_at, known.signed_out_at)
        return Principal(
            user_id=known.user_id,
            role=known.role,
            name=known.name,
            kind="jwt",
            session_id=claims.token_id,
            expires_at=claims.expires_at,
            issued_at=claims.issued_at,
        )

    async def _know(self, claims: Claims) -> Known:
        subject, digest = claims.subject, claims.digest
        known = self._known.get(subject)
        if known is not None and digest in known.digests:
            self._known.seen(subject)
            return known
        changes = self.changes
        user, is_news = await self._users.hear(subject, claims.profile, claims.issued_at)
        known = self._known.get(subject)
        digests = (digest, *known.digests)[:KNOWN_DIGESTS_MAX] if known is not None else (digest,)
        fresh = Known(user.id, user.name, user.role, user.signed_out_at, digests)
        if self.changes == changes:
            self._known.put(subject, fresh)
        else:  # neither what was just read holds, nor what was known before it
            self._known.drop(subject)
        if is_news:
            self.changes += 1
            self._recent_sessions.clear()
        await self.on_user_read(user)
        return fresh

    # -- sessions --

    def _session_id(self, value: str) -> str:
        session_id, dot, signature = value.rpartition(".")
        if not dot or not _looks_signed(signature):
            return value
        secret = self._cookie_secret
        if secret is not None and not hmac.compare_digest(_signature(secret, session_id).encode(), signature.encode()):
            raise ApiError("UNAUTHORIZED", "the signature of the session cookie is wrong")
        return session_id

    async def _from_session(self, session_id: str) -> Principal:
        if not _is_storable(session_id):
            raise ApiError("UNAUTHORIZED", "Authentication required")
        now = self._clock()
        session = self._recent_sessions.get(session_id, now)
        if session is None:
            changes = self.changes
            session = await self._sessions.find(session_id)
            if session is None:
                raise ApiError("UNAUTHORIZED", "Authentication required")
            if self.changes == changes:
                self._recent_sessions.put(session_id, session, now)
        expires_at = session.expires_at.timestamp()
        if expires_at <= now:
            raise ApiError("TOKEN_EXPIRED", "the session has expired: sign in again")
        return Principal(
            user_id=session.user_id,
            role=session.role,
            name=session.name,
            kind="session",
            session_id=session.id,
            expires_at=expires_at,
        )

    # -- API keys --

    async def _from_key(self, token: str, act_as: str | None) -> Principal:
        parts = split_key(token)
        key = await self._find_key(parts[0]) if parts and _is_storable(parts[0]) else None
        if parts is None or key is None or key.revoked_at is not None or not key.matches(parts[1]):
            raise _invalid("the API key is not valid")
        principal = Principal(
            user_id=None,
            role=key.role,
            name=key.name,
            kind="api_key",
            scopes=key.scopes,
            key_id=key.id,
            issued_at=self._clock(),
        )
        return principal if act_as is None else await self._acting(principal, act_as)

    async def _acting(self, principal: Principal, act_as: str) -> Principal:
        if ACT_AS_SCOPE not in principal.scopes:
            raise ApiError("FORBIDDEN", f"this key may not act for a user: it needs scope {ACT_AS_SCOPE}")
        if not re.fullmatch(r"[1-9][0-9]{0,15}", act_as):
            raise ApiError("VALIDATION", f"{ACT_AS_HEADER} must be the id of a user, such as 42")
        user = await self._users.by_id(int(act_as))
        if user is None:
            raise ApiError("USER_NOT_FOUND", f"{ACT_AS_HEADER} names a user who does not exist")
        return replace(principal, user_id=user.id, name=user.name)

    async def _find_key(self, key_id: str) -> ApiKey | None:
        now = self._clock()
        key = self._recent_keys.get(key_id, now)
        if key is None:
            changes = self.changes
            key = await self._api_keys.find(key_id)
            if key is not None and self.changes == changes:
                self._recent_keys.put(key_id, key, now)
        return key


async def _nobody_listens(user: User) -> None:
    await trio.lowlevel.checkpoint()


def _for_itself(principal: Principal, act_as: str | None) -> Principal:
    """*principal*, whose credential names its user: another one beside it would be passed over. Raises ApiError 400."""
    if act_as is not None:
        raise ApiError("VALIDATION", f"{ACT_AS_HEADER} is for API keys: a token or session acts for its own user")
    return principal


def _invalid(message: str) -> ApiError:
    return ApiError("INVALID_TOKEN", message)


def _signature(secret: bytes, value: str) -> str:
    # As better-call signs cookies: base64 of HMAC-SHA-256 over the value, joined by a dot, then URL-encoded.
    return base64.b64encode(hmac.new(secret, value.encode("utf-8", "replace"), hashlib.sha256).digest()).decode()


def _looks_signed(signature: str) -> bool:
    try:
        return len(signature) == 44 and len(base64.b64decode(signature, validate=True)) == 32
    except (binascii.Error, ValueError):
        return False


def _is_storable(text: str) -> bool:
    return 0 < len(text) <= 512 and text.isprintable() and text.isascii()
