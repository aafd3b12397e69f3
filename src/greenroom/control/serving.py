"""The control socket of any actor system: with it, `greenroom tree`, `top`, `trace` and `attach` look into yours.

async with open_system(kinds, committer=committer) as system, serve_control(system, Path("/var/lib/mine")):
    ...

GREENROOM_DATA_DIR=/var/lib/mine greenroom top
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from greenroom.control.console import console_operation
from greenroom.control.operations import operations_of
from greenroom.control.server import Operations, open_control
from greenroom.runtime import ActorSystem, Inspection

NO_ATTACH: Final = "this program lets nobody attach: it must call serve_control with attach=True, in development alone"


@asynccontextmanager
async def serve_control(
    system: ActorSystem, directory: Path, *, attach: bool = False, names: Mapping[str, object] | None = None
) -> AsyncIterator[bool]:
    """Serve the control socket of *system* in *directory*/control while the block lasts.

    True when it is served. False when it cannot be, because another process serves that directory or it cannot be
    written: the log (structlog) says why, and the block runs all the same. Only this user and root come in.
    attach: let them run code in this process, for development; *names* are there for it, with system, ref, service and
    look.
    """
    known = {
        "system": system,
        "ref": system.ref,
        "service": system.service,
        "look": Inspection(system),
        **(names or {}),
    }
    why_not = None if attach else NO_ATTACH

    def operations() -> Operations:
        return {**operations_of(system), "attach": console_operation(dict(known), why_not)}

    async with open_control(directory, operations) as is_served:
        yield is_served
