"""What an author got wrong, said where it was written and not where it would break: classes, hooks and callables.

Python runs a function that should not wait, and that is `async def` all the same, up to nothing: it makes a coroutine
which nobody awaits. Everything that is called and not awaited here is looked at when it is handed over.
"""

import inspect
from functools import partial
from types import CoroutineType
from typing import NoReturn

from greenroom.runtime.address import Address
from greenroom.runtime.command import Command

CO_COROUTINE = inspect.CO_COROUTINE


def refuse_coroutine(what: str, given: object) -> None:
    """See to it that *given* can be called and does not wait. Raises: TypeError naming *what* it was given for."""
    while isinstance(given, partial):
        given = given.func
    code = getattr(given, "__code__", None)
    if code is not None:
        if code.co_flags & CO_COROUTINE:
            coroutine_given(what)
    elif isinstance(given, CoroutineType):
        given.close()
        coroutine_given(what)
    elif not callable(given):
        raise TypeError(f"{what} takes something to call, not {given!r}")


def refuse_awaitable(what: str, value: object) -> None:
    """See to it that *value*, which *what* gave back, is nothing to wait for. Raises: TypeError."""
    if isinstance(value, CoroutineType):
        value.close()  # else Python complains of it a second time
    if hasattr(type(value), "__await__"):
        coroutine_given(what)


def address_of_ref(ref: object) -> Address:
    """The address of *ref*. Raises: TypeError for what is no ref."""
    address = getattr(ref, "address", None)
    if not isinstance(address, Address):
        raise TypeError(f"{ref!r} is no ref: say `ctx.ref(kind, key)`, or `ctx.service(name)`")
    return address


def address_to_tell(ref: object, command: object) -> Address:
    """The address of *ref*, which is to be told *command*. Raises: TypeError for what is no ref or no command."""
    address = address_of_ref(ref)
    if not isinstance(command, Command):
        no_command(address, command)
    return address


def no_command(address: Address, given: object) -> NoReturn:
    """Raises: TypeError."""
    if isinstance(given, type) and issubclass(given, Command):
        raise TypeError(f"{address} cannot be told {given.__name__}, which is a class: say {given.__name__}(...)")
    raise TypeError(f"{address} cannot be told {given!r}: make a value of a class that is a Command[...]")


def coroutine_given(what: str) -> NoReturn:
    """Raises: TypeError."""
    raise TypeError(
        f"{what} is called and never awaited, so it must be plain `def`. What has to wait belongs in an `async def` "
        "handler: tell an actor a command for it"
    )
