"""What can go wrong between actors, split by whose fault it is.

ActorError
├── the caller's
│   ├── UnknownKind          no kind of that name was declared
│   ├── StaticName           a second actor of a name that stands for one alone
│   ├── NoSystem             a ref was used where no system runs
│   ├── AskInStop            an actor that ends asked another one
│   ├── UnknownCommand       the kind has no handler for the command
│   ├── NotEncodable         a value that cannot leave memory was to be stored or sent
│   ├── NotDecodable         what was stored or sent names something that is not there any more
│   ├── WrongKindOfAnswer    a stream was asked, or a single answer followed
│   ├── TracedAlready        a second trace of one actor
│   ├── CallCycle            an ask whose answer waits, directly or not, for the asker itself
│   └── MailboxFull          tell to an actor that holds its limit
│       ├── ActorBusy        … because its oldest command waits for too long
│       └── CommandTooLarge  … and would be too little for that command if it held nothing
├── the callee's
│   ├── StashFull            it put aside more commands than it may
│   ├── ActorFailed          its handler raised; the draft of the turn was dropped
│   └── ActorGone            it stopped, or gave up restarting, before it answered
├── nobody's
│   └── AskTimeout           the deadline passed; `state` says what is known
├── the system's
│   └── Escalated            an actor failed in a way that its kind will not live with: raised by `open_system`
└── the world's
    ├── StorageUnavailable   storage did not answer; nothing of the command is stored
    └── CommitUnknown        storage went away during the commit: it may or may not be stored
"""

from collections.abc import Callable
from typing import Literal

from greenroom.runtime.address import Address
from greenroom.runtime.command import Command, Stream

AskState = Literal["queued", "running", "committing"]


def words_of(error: BaseException, form: Callable[[object], str] = str) -> str:
    """What *error* says, also when its `__str__` is a bug of its own: that must not end who tells of it."""
    try:
        return form(error)
    except Exception as fault:
        return f"<no words of {type(error).__name__}: to say them raises {type(fault).__name__}>"


class ActorError(Exception):
    """Root of everything the runtime raises to callers."""


class UnknownKind(ActorError):
    """The caller named a kind that the system was not started with."""

    def __init__(self, kind: str, known: list[str]) -> None:
        super().__init__(f"no kind named {kind!r}: this system knows {', '.join(sorted(known)) or 'none'}")


class StaticName(ActorError):
    """A name that stands for one actor, or one kind, was used for another."""


class NoSystem(ActorError):
    """A ref was unpickled where no system runs, and then used."""

    def __init__(self, address: Address) -> None:
        super().__init__(f"no actor system runs here, so {address} cannot be reached: unpickle it inside `open_system`")


class AskInStop(ActorError):
    """An actor asked while it ends: nothing can be waited for there, and two that end could wait for each other."""

    def __init__(self, address: Address, command: object) -> None:
        super().__init__(
            f"an actor asked {address} {type(command).__name__} in its `stopping`: tell it instead, or ask in a turn"
        )


class UnknownCommand(ActorError):
    """The caller sent a command that the kind has no handler for."""

    def __init__(self, address: Address, command: object, actor: object) -> None:
        known = [one for one in getattr(actor, "handlers", ()) if issubclass(one, Command | Stream)]
        super().__init__(f"{address} {_why_unheard(command, known)}")


class NotEncodable(ActorError):
    """A command, or something in it, has no form outside of memory."""


class NotDecodable(ActorError):
    """A text is not, or is no longer, the form of a command."""


class WrongKindOfAnswer(ActorError):
    """The handler streams and was asked, or answers once and was followed."""

    def __init__(self, address: Address, command: object, is_stream: bool) -> None:
        what = type(command).__name__
        words = (
            f"the handler of {what} yields many answers: use `async with ref.stream(...)`"
            if is_stream
            else f"the handler of {what} answers once: use `await ref.ask(...)`, or make it an async generator"
        )
        super().__init__(f"{address}: {words}")


class CallCycle(ActorError):
    """An ask would wait for ever: its target waits, directly or not, for the turn that asks.

    hops: every turn on the way as (address, command), the first asked first, the refused ask last.
    """

    def __init__(self, hops: list[tuple[Address, str]]) -> None:
        way = " → ".join(f"{address}.{command}" for address, command in hops)
        super().__init__(f"{way}: the last would wait for the first. Tell it instead, or mark its handler @reentrant")
        self.hops = hops


class Escalated(ActorError):
    """An actor failed in a way that no supervisor above it can live with: the system ends.

    path: who failed, then every supervisor above it.
    """

    def __init__(self, path: list[str], why: str) -> None:
        super().__init__(f"{' → '.join(path)} → the system ends: {why}")
        self.path = path


class MailboxFull(ActorError):
    """The actor holds as much as its kind allows; the command was not queued.

    held: how much that is, such as ``1024 envelopes``. limit: what to raise. retry_after_seconds: when half of it may
    be gone, a guess from the pace of the actor so far (pace.py).
    """

    retry_after_seconds: float = 0.01

    def __init__(self, address: Address, held: str, limit: str) -> None:
        super().__init__(f"{address} holds {held} ({limit}): slow the sender or raise the limit of the kind")


class ActorBusy(MailboxFull):
    """The oldest command waits for longer than the kind allows; the command was not queued.

    head_seconds: how long it has waited. More commands would only wait longer: try again later, or elsewhere.
    """

    def __init__(self, address: Address, head_seconds: float) -> None:
        held = f"a command that has waited for {head_seconds:.1f} s"
        super().__init__(address, held, "head_seconds_max of its meter")
        self.head_seconds = head_seconds


class CommandTooLarge(MailboxFull):
    """The command alone is larger than all that may wait; it was not queued, and never will be."""

    def __init__(self, address: Address, command: object, size: int, bytes_max: int) -> None:
        super().__init__(address, "nothing that matters", "bytes_max of its meter")
        self.args = (
            f"{address} was told a {type(command).__name__} of {size} bytes, and at most {bytes_max} may wait there "
            "(bytes_max of its meter): send it in parts, or raise the limit of the kind",
        )


class StashFull(ActorError):
    """The actor has put aside as many commands as its kind allows; this one was not."""

    def __init__(self, address: Address, limit: int) -> None:
        super().__init__(
            f"{address} has put {limit} commands aside (stash_envelopes_max): answer or refuse some, or raise the limit"
        )


class ActorFailed(ActorError):
    """The handler raised. The cause is chained; nothing of the turn was stored or sent."""


class ActorGone(ActorError):
    """The actor stopped before it could answer. *cause*, chained and named: what it died of."""

    def __init__(self, address: Address, reason: str, cause: BaseException | None = None) -> None:
        what = "" if cause is None else f" ({type(cause).__name__}: {words_of(cause)})"
        super().__init__(f"{address} stopped before it answered: {reason}{what}")
        self.reason = reason
        self.__cause__ = cause


class TracedAlready(ActorError):
    """Somebody traces that actor; each command can tell one trace of its life."""

    def __init__(self, address: Address, left_seconds: float) -> None:
        super().__init__(f"{address} is traced already: wait {left_seconds:.0f} s, or end that trace")


class AskTimeout(ActorError):
    """The deadline of an ask passed.

    state: ``queued`` the handler never saw the command and never will; ``running`` its turn had begun and may
    still take effect; ``committing`` its turn was over, and its answer waited for writes on their way to storage.
    is_past: it was over already when it was given, so nothing was sent.
    """

    def __init__(self, address: Address, command: object, state: AskState, *, is_past: bool = False) -> None:
        what = f"{address} did not answer {type(command).__name__} before the deadline (it was {state})"
        if is_past:
            what += ": that was over when it was asked. A deadline is a trio time, such as trio.current_time() + 5"
        super().__init__(what)
        self.state: AskState = state


class StorageUnavailable(ActorError):
    """Storage cannot be reached. Nothing of the command was stored; the same command may be sent again."""


class CommitUnknown(ActorError):
    """The connection to storage was lost during the commit, or the turn was ended when a part of it was stored.

    Whether the writes are stored is not known until the actor has loaded again; send the same command with
    the same idempotency key. is_outage: storage is to blame for it.
    """

    def __init__(self, *words: object, is_outage: bool = False) -> None:
        super().__init__(*words)
        self.is_outage = is_outage


def is_outage(error: BaseException | None) -> bool:
    """Whether *error* says that storage was away: whoever meets that, asking another actor or not, is not at fault."""
    return isinstance(error, StorageUnavailable) or (isinstance(error, CommitUnknown) and error.is_outage)


def _why_unheard(command: object, handled: list[type]) -> str:
    if isinstance(command, type):
        return f"was given the class {command.__name__} and not a command: make one, {command.__name__}(...)"
    name = type(command).__name__
    if not isinstance(command, Command | Stream):
        return f"was given a {name}, which is no command: tell it a value of a class that is a Command[...]"
    if any(known.__name__ == name for known in handled):
        other = next(known for known in handled if known.__name__ == name)
        return (
            f"handles {other.__module__}.{name}, and this is a {type(command).__module__}.{name}, another class: "
            "import the one that its actor names"
        )
    names = ", ".join(sorted(known.__name__ for known in handled)) or "no command"
    return f"has no handler for {name}: decorate a method of its actor with @handles({name}). It handles {names}"
