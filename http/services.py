"""What the handlers need of the rest of the house, in one value; made in compose, passed to `make_app`."""

from collections.abc import Callable
from dataclasses import dataclass

from greenroom.http.auth import Authenticator
from greenroom.http.checkup import Checkup
from greenroom.http.development import DevelopmentGate
from greenroom.http.origins import Origins, Proxies
from greenroom.http.tickets import Tickets
from greenroom.settings import Settings
from greenroom.storage.postgres.sessions import Sessions
from greenroom.storage.postgres.users import Users


def _nobody_listens(_: object) -> None:
    """For tests of single operations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Shared by all handlers of one app."""

    settings: Settings
    users: Users
    sessions: Sessions
    authenticator: Authenticator
    tickets: Tickets
    origins: Origins
    proxies: Proxies
    development: DevelopmentGate
    checkup: Checkup
    # Called with the id of a session that was ended here: its sockets should be closed.
    on_session_ended: Callable[[str], None] = _nobody_listens
    # Called with the id of a user whose name may have changed.
    on_user_changed: Callable[[int], None] = _nobody_listens
    # -- rooms, presence, socket engine: add their fields here --
