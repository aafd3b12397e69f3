"""Sessions over HTTP: who am I, and sign out. Signing in is the application's own auth service; greenroom has none.

To sign out is to end one session, or everything that says who the user is: every session row, every ticket, and every
JWT that was issued until now, with all that is open here for the user. The moment is stored, so that such a token is
refused after a restart too. What remains are API keys, which are the application's: one that acts for the user may come
again.
"""

from typing import Literal

import trio
from pydantic import Field, StrictBool

from greenroom.http.auth import SESSION_COOKIES
from greenroom.http.errors import ApiError
from greenroom.http.models import Input, Meta, Output
from greenroom.http.rest.rooms import once
from greenroom.http.rest.users import WRITE_SCOPE, OwnUser, own_user
from greenroom.http.route import Answer, Call, Cookie, Operations
from greenroom.http.services import Services

operations = Operations("auth")


class SessionData(Output):
    """The user of the session."""

    user: OwnUser


class SessionAnswer(Output):
    """The user stands beside `data` too: the existing client looks for it there."""

    success: Literal[True]
    user: OwnUser
    data: SessionData
    meta: Meta


class SignOut(Input):
    """What to end."""

    everywhere: StrictBool = Field(
        default=False, description="all sessions and tokens of the user; this needs a credential"
    )


class SignedOut(Output):
    """Whether a session was ended; everywhere, always true."""

    signed_out: bool


@operations.get("/api/auth/session", auth="user", whole=SessionAnswer)
async def get_session(call: Call) -> Answer:
    """Who is signed in."""
    user = await call.services.users.by_id(call.user_id)
    if user is None:
        raise ApiError("UNAUTHORIZED", "Authentication required")
    told = own_user(user)
    return Answer(SessionData(user=told), top={"user": told})


@operations.post("/api/auth/sign-out", auth="nobody", body=SignOut, answer=SignedOut, also=["/api/auth/logout"])
async def sign_out(call: Call) -> Answer:
    """End the session of the cookie, or all of the user everywhere, and take the cookie away.

    Signing out of one session twice is fine. Everywhere ends all sockets, streams, polls, tickets and JWTs of the user.
    """
    services = call.services
    ended = False
    if call.body(SignOut).everywhere:
        ended = await _sign_out_everywhere(services, (await call.identify()).require_user())
    for name in SESSION_COOKIES:
        session_id = services.authenticator.session_id_of(call.request.cookies.get(name, ""))
        if session_id is not None:
            ended = await _end_session(services, session_id) or ended
    return Answer(SignedOut(signed_out=ended), cookies=[Cookie(name, "", 0) for name in SESSION_COOKIES])


async def _end_session(services: Services, session_id: str) -> bool:
    """End it; False when there is none. Anybody may name one: only with one that there is anything ends here.

    Raises: StorageUnavailable.
    """
    if await services.sessions.find(session_id) is None:
        return False
    try:
        return await services.sessions.delete(session_id)
    finally:  # also when it is not known whether it is deleted
        services.authenticator.forget_session(session_id)
        services.on_session_ended(session_id)


@operations.post("/api/users/{id}/sign-out", auth="principal", answer=SignedOut)
async def sign_user_out(call: Call) -> Answer:
    """Sign a user out everywhere: the user, an administrator, or a key with scope users:write may do this."""
    user_id, principal = call.id(), call.principal
    if principal.user_id != user_id and not principal.has_scope(WRITE_SCOPE):
        raise ApiError("FORBIDDEN", f"only the user, an administrator, or a key with scope {WRITE_SCOPE} may do this")

    async def work() -> Answer:
        if not await _sign_out_everywhere(call.services, user_id):
            raise ApiError("USER_NOT_FOUND", "there is no such user")
        return Answer({"signedOut": True})

    return await once(call, f"POST /api/users/{user_id}/sign-out", None, work)


async def _sign_out_everywhere(services: Services, user_id: int) -> bool:
    """End all that says who the user is, and what is open by it; False when there is no such user.

    First it is stored, then what is known here of the user is forgotten, then all is closed: who was let in before that
    is among those who are closed, and who is on the way in by what was known is looked at again (`catch_up`).
    """
    with trio.CancelScope(shield=True):  # half of it would be stored and not felt; storage has its own limit of time
        try:
            is_known = await services.users.sign_out(user_id)
        finally:  # also when it is not known whether it is stored
            services.authenticator.forget_user(user_id)
    if is_known:
        services.tickets.void(user_id)
        services.on_signed_out(user_id)
    return is_known
