"""When somebody last did something at devices that have no socket now: who comes back is as idle as they were.

A client that polls, or says over REST that its user is here, is one request after the other, and a line that breaks is
opened again by the machine: none of that is a sign that somebody sits there. In memory of this process.
"""

from collections import OrderedDict
from typing import Final, NamedTuple

KEPT_SECONDS: Final = 300.0  # after the last word of any of a user's: as long as one over REST says that they are here
USERS_MAX: Final = 10_000  # of more, those heard from longest ago are in use when they come back
DEVICES_PER_USER_MAX: Final = 8
WITHOUT_SESSION: Final = ""  # what tells clients with a token or a key apart: nothing; no cookie holds it

Device = tuple[str, str]
"""What it is called, and the id of its session or token; of a token or a key without one `WITHOUT_SESSION`."""


class LastInput(NamedTuple):
    """What is known of a device; of two the greater is the later.

    at: when somebody last did something there. is_idle: nobody sits there since, so its client said or it was found.
    """

    at: float
    is_idle: bool = False


class LastInputs:
    """Of this process. now: trio time, as are all moments."""

    def __init__(self) -> None:
        # By user, who was heard from last at the end: until when it is kept, and the last input by device.
        self._kept: OrderedDict[int, tuple[float, dict[Device, LastInput]]] = OrderedDict()

    def __len__(self) -> int:
        """Users."""
        return len(self._kept)

    def of(self, user_id: int, device: Device, now: float, *, by_token: bool = False) -> LastInput | None:
        """The last there; of a device that is not known the last at any it may have been; None when there is none.

        Who goes on by another road, a poll after a stream, is another device under the same id. Who comes back
        *by_token* may have a new one, with another id or none: what the device is called is all that it goes by.
        """
        inputs, (called, under) = self._of(user_id, now), device
        if device in inputs:
            return inputs[device]
        alike = [last for (_, other), last in inputs.items() if other == under != WITHOUT_SESSION]
        if by_token and not alike:
            alike = [last for (name, _), last in inputs.items() if name == called]
        return max(alike, default=None)

    def note(self, user_id: int, device: Device, last: LastInput, now: float) -> None:
        """A device is heard from. last: its last input; what is known to be later counts."""
        inputs = self._of(user_id, now)
        last = max(last, inputs.pop(device, last))
        while len(inputs) >= DEVICES_PER_USER_MAX:
            del inputs[next(iter(inputs))]
        inputs[device] = last
        self._kept[user_id] = now + KEPT_SECONDS, inputs
        self._kept.move_to_end(user_id)
        if len(self._kept) > USERS_MAX:
            self._kept.popitem(last=False)

    def note_all(self, user_id: int, session_id: str, last: LastInput, now: float) -> None:
        """Somebody did something under a session, which counts for all its devices that are known."""
        inputs = self._of(user_id, now)
        inputs.update({device: max(last, known) for device, known in inputs.items() if device[1] == session_id})

    def _of(self, user_id: int, now: float) -> dict[Device, LastInput]:
        while self._kept and next(iter(self._kept.values()))[0] <= now:
            self._kept.popitem(last=False)
        return self._kept[user_id][1] if user_id in self._kept else {}
