"""Sessions over HTTP: who am I, and sign out. Signing in is the application's own auth service; greenroom has none."""

from typing import Literal

from greenroom.http.auth import SESSION_COOKIES
from greenroom.http.errors import ApiError
from greenroom.http.models import Meta, Output
from greenroom.http.rest.users import OwnUser, own_user
from greenroom.http.route import Answer, Call, Cookie, Operations

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


class SignedOut(Output):
    """Whether a session was ended."""

    signed_out: bool


@operations.get("/api/auth/session", auth="user", whole=SessionAnswer)
async def get_session(call: Call) -> Answer:
    """Who is signed in."""
    user = await call.services.users.by_id(call.user_id)
    if user is None:
        raise ApiError("UNAUTHORIZED", "Authentication required")
    told = own_user(user)
    return Answer(SessionData(user=told), top={"user": told})


@operations.post("/api/auth/sign-out", auth="nobody", answer=SignedOut, also=["/api/auth/logout"])
async def sign_out(call: Call) -> Answer:
    """End the session of the cookie, and take the cookie away. Signing out twice is fine."""
    services = call.services
    ended = False
    for name in SESSION_COOKIES:
        session_id = services.authenticator.session_id_of(call.request.cookies.get(name, ""))
        if session_id is not None:
            ended = await services.sessions.delete(session_id) or ended
            services.authenticator.forget_session(session_id)
            services.on_session_ended(session_id)
    return Answer(SignedOut(signed_out=ended), cookies=[Cookie(name, "", 0) for name in SESSION_COOKIES])
