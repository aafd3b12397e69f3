"""Devices without a socket: of clients that poll, or say over REST that their user is here. How long each counts.

The id of a device's session is told to nobody: it is what the cookie holds. In memory of this process.
"""

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

from greenroom.http.auth import Principal
from greenroom.http.claims import is_signed_out
from greenroom.http.ws.last_inputs import WITHOUT_SESSION, Device

DEVICES_PER_USER_MAX: Final = 8  # of more, those heard from longest ago are forgotten
POLLER: Final = "poll"  # what presence calls the device of a poll that was answered
OVER_REST: Final = "rest"  # what the device of a client is called that says over REST that its user is here


class Lease(NamedTuple):
    """until: trio time. token_issued_at: as `token_issued_at` gives it."""

    until: float
    token_issued_at: float | None


def token_issued_at(principal: Principal) -> float | None:
    """Of a token or a key: Unix seconds, -inf when it does not say; None of a session, which ends with its row."""
    if principal.kind == "session":
        return None
    return -math.inf if principal.issued_at is None else principal.issued_at


class Leases:
    """Of this process. A lease that is over is kept until somebody asks for the devices of its user."""

    def __init__(self) -> None:
        self._kept: dict[int, dict[Device, Lease]] = {}

    def __contains__(self, user_id: int) -> bool:
        return user_id in self._kept

    def users(self) -> list[int]:
        """Who has such a device, or had one that is not forgotten yet."""
        return list(self._kept)

    def devices_of(self, user_id: int, now: float) -> list[Device]:
        """Those of a user that count. What is over is forgotten."""
        leases = self._kept.get(user_id, {})
        self._forget(user_id, [device for device, lease in leases.items() if lease.until <= now])
        return list(leases)

    def put(self, user_id: int, device: Device, lease: Lease) -> None:
        """A device is heard from."""
        leases = self._kept.setdefault(user_id, {})
        leases.pop(device, None)
        while len(leases) >= DEVICES_PER_USER_MAX:
            del leases[next(iter(leases))]
        leases[device] = lease

    def forget(self, user_id: int, session_id: str | None, called: str | None = None) -> None:
        """The session has ended; None: all that the user has. called: of its devices only those of that name."""
        leases = self._kept.get(user_id, {})
        self._forget(user_id, [one for one in leases if session_id in (None, one[1]) and called in (None, one[0])])

    def forget_tokens(self, user_id: int, signed_out_at: float) -> bool:
        """The user signed out everywhere, Unix seconds. Whether anything was here by a token or a key of until then."""
        leases = self._kept.get(user_id, {}).items()
        issued = {device: lease.token_issued_at for device, lease in leases if lease.token_issued_at is not None}
        return self._forget(user_id, [device for device, at in issued.items() if is_signed_out(at, signed_out_at)])

    def _forget(self, user_id: int, devices: Sequence[Device]) -> bool:
        for device in devices:
            del self._kept[user_id][device]
        if devices and not self._kept[user_id]:
            del self._kept[user_id]
        return bool(devices)

    def sessions_of(self, user_id: int) -> set[str]:
        """The ids of the sessions of a user's devices; not those of tokens."""
        leases = self._kept.get(user_id, {}).items()
        return {under for (_, under), lease in leases if lease.token_issued_at is None}

    def user_under(self, session_id: str) -> int | None:
        """The user who has such a device under this session."""
        assert session_id != WITHOUT_SESSION, "so many users may have one"
        for user_id, leases in self._kept.items():
            if any(session_id == under for _, under in leases):
                return user_id
        return None
