"""Where the events of a system go when `open_system` is given no hook for them: to logging, logger `greenroom.runtime`.

actor.ended                     DEBUG, with the stop reason
what came of an error           ERROR, with its traceback
all else out of the ordinary    WARNING
"""

import logging

_log = logging.getLogger("greenroom.runtime")


def log_event(name: str, **facts: object) -> None:
    """One event, as `key=value` behind its name."""
    error = facts.get("error")
    level = logging.WARNING if error is None else logging.ERROR
    if name == "actor.ended":
        level = logging.DEBUG
    if _log.isEnabledFor(level):
        told = " ".join(f"{key}={value!r}" for key, value in facts.items())
        _log.log(level, "%s %s", name, told, exc_info=error if isinstance(error, BaseException) else None)
