"""Users over HTTP: the application's backend tells who exists, and people change what they are called.

A service (an API key with scope `users:write`) or an administrator may make and change any user; an id below 2^40 is
theirs to give out. Everybody else may change their own name, locale and time zone. Only an administrator makes one.
"""

from functools import cache
from typing import Annotated
from zoneinfo import available_timezones

import trio
from pydantic import AfterValidator, EmailStr, Field, StringConstraints

from greenroom.http.errors import ApiError
from greenroom.http.models import Id, Input, Output, one_line
from greenroom.http.rest.rooms import once
from greenroom.http.route import Answer, Call, Operations
from greenroom.runtime import StorageUnavailable
from greenroom.storage.postgres.users import User, UserChange
from greenroom.storage.subjects import ISSUER_ID_LIMIT

operations = Operations("users")

WRITE_SCOPE = "users:write"


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


def _zone(name: str) -> str:
    if name not in _zones():
        raise ValueError("this is no time zone of the IANA database, such as Europe/Berlin")
    return name


Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=255), AfterValidator(one_line)]
Role = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z_-]{0,31}$")]


class UserWrite(Input):
    """What to set; what is absent stays as it is. The second names are those that answers give beside the first."""

    name: Name | None = None
    username: Name | None = Field(default=None, description="counts as name where there is none")
    email: EmailStr | None = None
    locale: Annotated[str, StringConstraints(pattern=r"^[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8}){0,3}$")] | None = None
    timezone: Annotated[str, StringConstraints(max_length=64), AfterValidator(_zone)] | None = None
    user_type: Role | None = Field(default=None, description="creator, investor, production, or admin")
    role: Role | None = Field(default=None, description="the same as userType")

    def change(self) -> UserChange:
        """The same in the words of storage. Raises: ApiError 400 for one field told in two ways."""
        if None not in (self.user_type, self.role) and self.user_type != self.role:
            raise ApiError("VALIDATION", "userType and role mean the same field and differ: send one")
        return UserChange(
            self.name or self.username, self.email, self.locale, self.timezone, self.user_type or self.role
        )


class OwnUser(Output):
    """A user, as they and services see them."""

    id: Id
    external_id: str | None
    email: str | None
    username: str
    name: str
    user_type: str
    role: str
    locale: str
    timezone: str


class UserData(Output):
    """A user."""

    user: OwnUser


def own_user(user: User) -> OwnUser:
    """A stored user in the words of the wire."""
    return OwnUser(
        id=user.id,
        external_id=user.external_id,
        email=user.email,
        username=user.name,
        name=user.name,
        user_type=user.role,
        role=user.role,
        locale=user.locale,
        timezone=user.timezone,
    )


@operations.put("/api/users/{id}", auth="principal", body=UserWrite, answer=UserData, or_status=201)
async def put_user(call: Call) -> Answer:
    """Make or change a user. 201 when the user is new."""
    user_id, write = call.id(), call.body(UserWrite)
    change = write.change()
    may_create = _check_allowed(call, user_id, change)

    async def work() -> Answer:
        is_new = False
        stored: User | None
        try:
            if may_create and user_id < ISSUER_ID_LIMIT:
                stored, is_new = await call.services.users.put(user_id, change)
            else:
                stored = await call.services.users.change(user_id, change)
        except (StorageUnavailable, trio.Cancelled):  # the answer is lost, or the caller gone: it may be stored
            call.services.on_user_perhaps_changed(user_id)
            raise
        finally:  # then too
            call.services.authenticator.forget_user(user_id)
        if stored is None:
            raise ApiError("USER_NOT_FOUND", "there is no such user; ids from 2^40 on are given out by greenroom")
        await call.services.on_user_changed(stored)
        user = own_user(stored).model_dump(mode="json", by_alias=True)
        return Answer({"user": user}, status=201 if is_new else 200)

    return await once(call, f"PUT /api/users/{user_id}", write, work)


def _check_allowed(call: Call, user_id: int, change: UserChange) -> bool:
    """Whether the caller may also make users. Raises ApiError 403."""
    principal = call.principal
    if principal.has_scope(WRITE_SCOPE):
        if change.role == "admin" and not principal.is_admin:
            raise ApiError("FORBIDDEN", "only an administrator makes another one")
        return True
    if principal.user_id != user_id:
        raise ApiError("FORBIDDEN", f"only the user, an administrator, or a key with scope {WRITE_SCOPE} may do this")
    if change.email is not None or change.role is not None:
        raise ApiError("FORBIDDEN", "name, locale and timezone are yours to change; the rest comes from your account")
    return False
