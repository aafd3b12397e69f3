"""A session for `greenroom token --session`. Apart from it, for a JWT needs no database: this takes long to be read."""

import time
from collections.abc import Mapping

from greenroom.commands.database import open_for_command
from greenroom.http.auth import Authenticator
from greenroom.http.claims import subject_of
from greenroom.settings import Settings
from greenroom.storage.postgres.api_keys import ApiKeys
from greenroom.storage.postgres.ids import user_ids
from greenroom.storage.postgres.sessions import Sessions
from greenroom.storage.postgres.users import Users
from greenroom.this_machine import signing_secret


async def make_session(settings: Settings, subject: str, claims: Mapping[str, str], seconds: int) -> str:
    """Make a session of the subject; the value of its cookie."""
    async with open_for_command(settings) as (postgres, directory):
        users, sessions = Users(postgres, user_ids(postgres)), Sessions(postgres)
        user = await users.know(subject_of(subject), claims, time.time())
        session_id, _ = await sessions.create(user.id, seconds=seconds, user_agent="greenroom token")
        cookie_secret = settings.better_auth_secret
        authenticator = Authenticator(
            users=users,
            sessions=sessions,
            api_keys=ApiKeys(postgres),
            jwt_secret=signing_secret(settings, directory),
            cookie_secret=cookie_secret.get_secret_value().encode() if cookie_secret else None,
        )
        return authenticator.sign_cookie(session_id)
