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
        told = " ".join(f"{key}={_shown(value)}" for key, value in facts.items())
        _log.log(level, "%s %s", name, told, exc_info=error if isinstance(error, BaseException) else None)


def _shown(value: object) -> str:
    try:
        return repr(value)
    except Exception as fault:  # of somebody's error class: what tells of it must not end of it
        return f"<{type(value).__name__}: its __repr__ raises {type(fault).__name__}>"
