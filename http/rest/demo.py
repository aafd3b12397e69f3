"""Demo sign-in: be somebody without an auth service. For development only (http/development.py says when that is).

The answer sets the session cookie, which all tabs of a browser share, and carries a token beside it, so that each tab
can be somebody else.
"""

import time
from typing import Annotated, Final

from pydantic import AfterValidator, StringConstraints

from greenroom.http.auth import SESSION_COOKIES, Authenticator
from greenroom.http.models import Input, Output, one_line
from greenroom.http.rest.users import OwnUser, own_user
from greenroom.http.route import Answer, Call, Cookie, Operations
from greenroom.storage.postgres.sessions import SESSION_SECONDS
from greenroom.storage.postgres.users import User, UserChange, Users

operations = Operations("development")

TOKEN_SECONDS: Final = 12 * 3600

# The demo users of the system that greenroom replaces, with their ids.
DEMO_USERS: Final = {
    1: UserChange(name="Alex Creator", email="alex.creator@demo.com", role="creator"),
    2: UserChange(name="Sarah Investor", email="sarah.investor@demo.com", role="investor"),
    3: UserChange(name="Stellar Production", email="stellar.production@demo.com", role="production"),
}


class DemoSignIn(Input):
    """Whom to be: a demo user by name, first name or address, or any name."""

    name: Annotated[
        str, StringConstraints(strip_whitespace=True, min_length=1, max_length=64), AfterValidator(one_line)
    ]


class SignedIn(Output):
    """Who one is now. token: a JWT for the Authorization header and for `start`, good for TOKEN_SECONDS."""

    user: OwnUser
    token: str


@operations.post("/api/dev/sign-in", auth="nobody", body=DemoSignIn, answer=SignedIn, is_development=True)
async def sign_in(call: Call) -> Answer:
    """Sign in as a demo user, who is made when missing."""
    services = call.services
    user = await find_or_make(services.users, call.body(DemoSignIn).name)
    session_id, _ = await services.sessions.create(
        user.id, user_agent=(call.request.headers.get("User-Agent") or "")[:255], ip_address=call.address
    )
    told = own_user(user)
    cookie = Cookie(SESSION_COOKIES[0], services.authenticator.sign_cookie(session_id), SESSION_SECONDS)
    token = _token(user, services.authenticator)
    return Answer(SignedIn(user=told, token=token), top={"user": told, "token": token}, cookies=[cookie])


def _token(user: User, authenticator: Authenticator) -> str:
    now = int(time.time())
    subject = user.external_id or str(user.id)
    return authenticator.sign_token({"sub": subject, "iat": now, "exp": now + TOKEN_SECONDS})


async def find_or_make(users: Users, name: str) -> User:
    """The demo user that *name* means, or a user of that name."""
    wanted = name.casefold()
    for user_id, demo in DEMO_USERS.items():
        assert demo.name is not None
        assert demo.email is not None
        address = demo.email
        spellings = {demo.name, demo.name.partition(" ")[0], address, address.partition("@")[0]}
        if wanted in {spelling.casefold() for spelling in spellings}:
            return await users.by_id(user_id) or (await users.put(user_id, demo))[0]
    return await users.know(f"demo:{wanted}", {"name": name}, time.time())
