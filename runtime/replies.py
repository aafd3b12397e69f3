"""Replies: what a handler gave back is looked at before anybody is told it, so that who asked never gets a thing that
answers nothing: a coroutine, or a list for a batch of another length.
"""

from types import CoroutineType

from greenroom.runtime.actor_alarms import name_of
from greenroom.runtime.batches import Batch
from greenroom.runtime.envelope import Envelope


def misfit(envelope: Envelope, value: object) -> TypeError | ValueError | None:
    """What is wrong with *value* as the answer to *envelope*."""
    where = f"{envelope.to}: the handler of {name_of(command_of(envelope))}"
    if isinstance(value, CoroutineType):
        value.close()  # else Python complains of it a second time
        return TypeError(f"{where} answers with a coroutine that nobody awaits: await it, in an `async def`")
    count = len(envelope.parts)
    if isinstance(envelope.command, Batch) and isinstance(value, list) and len(value) != count:
        return ValueError(
            f"{where} was given {count} commands and answers with a list of {len(value)}: return one reply for each, "
            "or one that is no list for all of them"
        )
    return None


def command_of(envelope: Envelope) -> object:
    """What was told, for a text; of a batch its first command."""
    return envelope.parts[0].command if envelope.parts else envelope.command
