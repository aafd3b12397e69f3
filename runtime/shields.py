"""Shields: trio cancels nobody through one, so a handler under its own would keep a process that ends for ever.

`@shielded` and `trio.CancelScope(shield=True)` hold against an asker that gives up, and for as long as a system
that stops is patient. Then they are lifted. What a thread does, no scope can end.
"""

from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from trio._core._run import CancelStatus


def lift_shields(nursery: trio.Nursery) -> None:
    """Have what cancels *nursery* reach all its tasks, and all theirs.

    trio has no public way from a task to the scopes that it is in: `tests/runtime/test_shields.py` sees it break.
    """
    tasks = list(nursery.child_tasks)
    while tasks:
        task = tasks.pop()
        tasks += [child for inner in task.child_nurseries for child in inner.child_tasks]
        status: CancelStatus | None = task._cancel_status
        while status is not None and status._scope is not nursery.cancel_scope:
            status._scope.shield = False
            status = status._parent
