"""How long to wait after a connection was lost. Pure.

The range of the close code is the policy, so that a code of tomorrow is handled rightly today: 1000 and 40xx stop, 41xx
back off for at least a second, 42xx come back at once. Every wait has full jitter: those who were cut together do not
come back together.
"""

import math
import re
from typing import Final

RETRY_SECONDS_FIRST: Final = 0.5
RETRY_SECONDS_MAX: Final = 30.0
HEEDED_SECONDS_MAX: Final = 300.0  # of a wait that the server names: a longer one is a fault of somebody's
MOVE_SECONDS_MAX: Final = 1.0  # of jitter behind the moment that the server names
_DOUBLINGS_MAX: Final = 8
_OURS_TO_MEND: Final = (1002, 1007, 1009)  # what we said was wrong: not at once again
_TOLD: Final = re.compile(r";\s*retry=(\d{1,4})$")


def retry_seconds(code: int, reason: str, failures: int, chance: float) -> float | None:
    """Seconds until the next try; None: there is no use in one.

    code: of the close, 1006 when there was none. reason: of the close; one that ends with ";retry=SECONDS" is heeded.
    failures: tries since the client was last live. chance: from 0 up to 1.
    """
    if code == 1000 or 4000 <= code < 4100:
        return None
    is_told_to_resume = code == 1012 or 4200 <= code < 4300
    if is_told_to_resume and failures == 0:
        return chance
    grown: float = chance * min(RETRY_SECONDS_MAX, RETRY_SECONDS_FIRST * 2 ** min(failures, _DOUBLINGS_MAX))
    if (told := _TOLD.search(reason)) is not None:
        return heeded(int(told[1])) + grown
    least = 1.0 if 4100 <= code < 4200 or code in _OURS_TO_MEND else 0.0
    return min(RETRY_SECONDS_MAX, least + grown)


def heeded(seconds: float) -> float:
    """How long is waited when the server names so many seconds; none where it names fewer. Raises: ValueError."""
    if not math.isfinite(seconds):
        raise ValueError("no time to wait")
    return max(0.0, min(seconds, HEEDED_SECONDS_MAX))


def move_seconds(after_ms: float, deadline_ms: float | None, chance: float) -> float:
    """Seconds until the connection is to be left and made anew, of `reconnect`.

    The moments that the server names are spread over all that it moves; those that fall together are spread here, as
    far as it leaves time for it. after_ms, deadline_ms: from now. chance: from 0 up to 1.
    """
    spare = max(0.0, (after_ms if deadline_ms is None else deadline_ms) - after_ms) / 1000
    return max(0.0, after_ms) / 1000 + chance * min(MOVE_SECONDS_MAX, spare / 2)
