"""A replay whose reader takes no more."""

import trio

from greenroom.http.ws.replay import is_drained

LOOKS, LOOK_EVERY = 10, 0.03  # many short ones: in each the loop may go on where the machine held all of us up


async def stalled_at(attachments, connection):
    """Where it is once it is under way, waits for its reader, and goes on no more."""
    at, looks = 0, 0
    with trio.fail_after(10):
        while looks < LOOKS:
            is_stalled = 0 < at == attachments[connection].seq and not is_drained(connection)
            at, looks = attachments[connection].seq, looks + 1 if is_stalled else 0
            await trio.sleep(LOOK_EVERY)
    return at
