"""Kinds of actors, declared once with their limits and policies."""

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal, get_args

from greenroom.runtime.actor import Actor
from greenroom.runtime.limits import need_member, need_name, need_number, need_whole, need_word
from greenroom.runtime.mailbox import Mailbox
from greenroom.runtime.metered_mailbox import MeteredMailbox
from greenroom.runtime.misuse import refuse_coroutine
from greenroom.runtime.overflow import Meter, Overflow
from greenroom.runtime.restarts import RestartPolicy

RowOwnership = Literal["none", "existing", "create"]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of actor, declared once.

    name: the first half of its addresses.
    factory: makes the instance of one activation, from the key.
    ownership: ``existing`` claims a row that must be there, ``create`` makes it, ``none`` has no durable state.
    mailbox_envelopes_max: commands that may wait; what happens to more of them, *overflow* says.
    meter: further bounds, in bytes and in age, and which commands replace each other.
    reads_at_once_max: commands that turns of @reads handlers may work on at a time while they wait; more wait in the
    mailbox, and all behind them. None for as many as may wait there.
    stash_envelopes_max: commands that an actor may put aside at a time.
    idle_seconds_max: without a command for so long, the activation is passivated: its memory goes, its cell stays.
    cold_seconds_max: so much longer, the cell goes too; what is stored is all that is left.
    warm_max: idle actors of the kind that may be in memory; of more, those idle for longest are passivated.
    pending_bytes_max: what an actor may have on its way to storage. With more its next turns wait, and so its mailbox
    fills: who tells it is told.
    start_seconds_max: a start that takes longer is a crash. Of what comes before it, which is storage's to answer, an
    event, and another try.
    keeps_state: its actors have `ctx.state`, loaded before they start.
    keeps_alarms: its actors may set alarms.
    waiting_turn_seconds_max: a turn that waits for longer is told of, not ended; None for the system's `Patience`.
    """

    name: str
    factory: Callable[[int | str], Actor]
    ownership: RowOwnership = "none"
    mailbox_envelopes_max: int = 1024
    overflow: Overflow = Overflow.REFUSE
    meter: Meter | None = None
    reads_at_once_max: int | None = None
    stash_envelopes_max: int = 256
    idle_seconds_max: float = 60.0
    cold_seconds_max: float = 10.0
    warm_max: int | None = None
    pending_bytes_max: int = 4 * 1024 * 1024
    start_seconds_max: float = 30.0
    keeps_state: bool = False
    keeps_alarms: bool = False
    restart: RestartPolicy = field(default_factory=RestartPolicy)
    waiting_turn_seconds_max: float | None = None

    def __post_init__(self) -> None:
        need_name("a kind", self.name)
        this = f"kind {self.name}:"
        need_word(f"{this} ownership", self.ownership, get_args(RowOwnership))
        if self.ownership == "none" and (self.keeps_state or self.keeps_alarms):
            raise ValueError(
                f'kind {self.name}: what keeps state or alarms must own its address: ownership="create", or "existing"'
            )
        need_member(f"{this} overflow", self.overflow, Overflow)
        need_whole(f"{this} mailbox_envelopes_max", self.mailbox_envelopes_max)
        if self.reads_at_once_max is not None:
            need_whole(f"{this} reads_at_once_max", self.reads_at_once_max)
        need_whole(f"{this} stash_envelopes_max", self.stash_envelopes_max, least=0)
        need_whole(f"{this} pending_bytes_max", self.pending_bytes_max)
        need_number(f"{this} idle_seconds_max", self.idle_seconds_max)
        need_number(f"{this} start_seconds_max", self.start_seconds_max)
        need_number(f"{this} cold_seconds_max", self.cold_seconds_max, may_be_0=True)
        if self.warm_max is not None:
            need_whole(f"{this} warm_max", self.warm_max)
        if self.waiting_turn_seconds_max is not None:
            need_number(f"{this} waiting_turn_seconds_max", self.waiting_turn_seconds_max)
        if not isinstance(self.restart, RestartPolicy):
            raise TypeError(f"{this} restart is a RestartPolicy(...), not {self.restart!r}: leave it out for the usual")
        if not isinstance(self.meter, Meter | None):
            raise TypeError(f"{this} meter is a Meter(...) or None, not {self.meter!r}")
        refuse_coroutine(f"{this} its factory", self.factory)
        _need_key_taken(this, self.factory)

    @property
    def reads_max(self) -> int:
        """As `reads_at_once_max`, as a number in any case."""
        return self.reads_at_once_max or self.mailbox_envelopes_max

    def make_actor(self, key: int | str) -> Actor:
        """Of the runtime: the instance of one activation. Raises: TypeError when it is none, else as the factory."""
        actor = self.factory(key)
        if not isinstance(actor, Actor):
            raise TypeError(f"the factory of kind {self.name} made a {type(actor).__name__}: it must return an Actor")
        if hasattr(actor, "ctx"):
            raise TypeError(f"the factory of kind {self.name} gave the same actor twice: make one for each activation")
        return actor

    def make_mailbox(self) -> Mailbox:
        """Of the runtime: the mailbox of one address."""
        if self.meter is None:
            return Mailbox(self.mailbox_envelopes_max)
        return MeteredMailbox(self.mailbox_envelopes_max, self.meter)


def _need_key_taken(this: str, factory: Callable[..., object]) -> None:
    """See that *factory* takes what it is given. Raises: TypeError."""
    try:
        signature = inspect.signature(factory)
    except (TypeError, ValueError):  # of something that does not say
        return
    try:
        signature.bind(1)
    except TypeError as fault:
        name = getattr(factory, "__name__", "its factory")
        raise TypeError(
            f"{this} its factory is given the key and nothing else, and {name}{signature} does not fit that ({fault}): "
            f"say `lambda key: {name}(...)`"
        ) from None


def need_stores(kinds: Iterable[Kind], **stores: object) -> None:
    """See that there is a store for what *kinds* keep: alarms, states. Raises: ValueError."""
    for kind in kinds:
        for keeps, what in ((kind.keeps_alarms, "alarms"), (kind.keeps_state, "states")):
            if keeps and stores[what] is None:
                raise ValueError(f"kind {kind.name} keeps {what}: open the system with {what}=, the store of them")
