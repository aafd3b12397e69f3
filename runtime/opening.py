"""What `open_system` is given is looked at before anything runs: what is no port would be met much later, in a turn."""

from collections.abc import Callable
from typing import Any

from greenroom.runtime.limits import need_number, need_whole
from greenroom.runtime.misuse import refuse_coroutine
from greenroom.runtime.passivation import MemoryLimit
from greenroom.runtime.patience import Patience


def check_ports(
    *,
    committer: object,
    clock: object,
    event: Callable[..., Any],
    patience: object,
    memory: object,
    stop_seconds_max: object,
    pending_bytes_max: object,
) -> None:
    """Raises: TypeError, ValueError that say what belongs there."""
    this = "open_system:"
    refuse_coroutine("the event hook of a system", event)
    need_number(f"{this} stop_seconds_max", stop_seconds_max, may_be_0=True)
    need_whole(f"{this} pending_bytes_max", pending_bytes_max)
    if isinstance(committer, type) or not callable(getattr(committer, "submit", None)):
        raise TypeError(f"{this} committer is where writes are stored, such as MemoryCommitter(), not {committer!r}")
    if clock is not None and (isinstance(clock, type) or not callable(getattr(clock, "busy_seconds", None))):
        raise TypeError(
            f"{this} clock tells wall time, as VirtualClock() does; {clock!r} does not. One of trio's is for `trio.run`"
        )
    if not isinstance(patience, Patience | None):
        raise TypeError(f"{this} patience is a Patience(...), not {patience!r}")
    if not isinstance(memory, MemoryLimit | None):
        raise TypeError(f"{this} memory is a MemoryLimit(bytes_max), not {memory!r}")
