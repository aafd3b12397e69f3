"""The ledger: every command that was accepted is handled, told of or a dead letter, or it is still somewhere.

    accepted = handled + dead-lettered + told + coalesced + taken back + waiting

    handled    a handler took it and raised nothing     told       its asker was given an answer or an error
    coalesced  a newer one took its place               waiting    in a mailbox, a stash, a turn, on its way to storage
    taken back a timer was cancelled, or its activation ended, before its command was begun

`check` finds a command that is in none of these places, and names it. It goes by the envelopes themselves, so nothing
is counted per message outside of tests: a counter in `put_nowait` alone would take 15 to 20 ns of a tell that takes
less than a microsecond, and could only say how many are lost, not which.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from greenroom.runtime.actor import Actor
from greenroom.runtime.address import Address
from greenroom.runtime.dead_letters import DeadLetters
from greenroom.runtime.envelope import Envelope
from greenroom.runtime.handlers import Handler
from greenroom.runtime.kind import Kind
from greenroom.runtime.mailbox import Mailbox
from greenroom.runtime.metered_mailbox import MeteredMailbox
from greenroom.runtime.testing.interposition import Interposition

if TYPE_CHECKING:
    from greenroom.runtime.activation import Activation
    from greenroom.runtime.system import ActorSystem


class CommandLost(AssertionError):
    """A command was accepted, and nobody will ever hear of it again."""


class Ledger(Interposition):
    """Follows what is sent to the kinds given to `on`. counts: accepted, refused, handled, dead, told, coalesced,
    taken_back.

    dead: every command that became a dead letter, in order.
    """

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()
        self._open: list[Envelope] = []
        self._handled: dict[int, object] = {}  # by id, with the command: an id is only good while its object lives
        self.dead: list[object] = []
        self._dead: set[int] = set()

    def on(self, kind: Kind) -> Kind:
        """The same kind, followed."""
        armed = super().on(kind)
        return _FollowedKind(**{field.name: getattr(armed, field.name) for field in fields(Kind)}, ledger=self)

    def follow_dead_letters(self, system: "ActorSystem") -> None:
        """Hear of the dead letters of *system* from now on. Call it before anything is sent.

        What alarms told while the system began is not in the account: a dead letter of it was not heard.
        """
        system.dead_letters = _FollowedDeadLetters(self, system)
        self._open.clear()

    def check(self, system: "ActorSystem") -> None:
        """Close the account of what has been settled. Raises: CommandLost.

        Call it between steps of tasks: inside a handler, its own command is nowhere.
        """
        still_open: list[Envelope] = []
        held = {id(envelope) for cell in system.activations.values() for envelope in held_by(cell)}
        for (
            turn
        ) in system.waiting_turns:  # also one that was cancelled, cleans up, and belongs to no activation any more
            held.update(map(id, (turn.envelope, *turn.envelope.parts)))
        for envelope in self._open:
            if envelope.state == "settled":
                self._close(envelope)
                continue
            if id(envelope) not in held:
                raise CommandLost(f"{_name(envelope)} was accepted, is {envelope.state}, and is nowhere")
            still_open.append(envelope)
        self._open = still_open
        if not still_open:
            self._handled.clear()

    @property
    def waiting(self) -> int:
        """How many were accepted and not settled when `check` was last called."""
        return len(self._open)

    # -- what is heard ------------------------------------------------------------------------------------------------

    def run(self, actor: Actor, handler: Handler, command: Any) -> object:
        """Note that a handler took *command*; a dead letter says so when it failed later."""
        value = super().run(actor, handler, command)
        for one in command if handler.batch_max else (command,):
            self._handled[id(one)] = one
        return value

    def accepted(self, envelope: Envelope) -> None:
        """Of the mailbox: it was taken."""
        self.counts["accepted"] += 1
        self._open.append(envelope)
        if envelope.state == "settled":
            self.counts["coalesced"] += 1
            self._open.pop()

    def taken_back(self, envelope: Envelope) -> None:
        """Of the mailbox: a timer was cancelled, or its activation ended, before its command was begun."""
        self.counts["taken_back"] += 1
        self._open.remove(envelope)

    def buried(self, command: object) -> None:
        """Of the dead letters: one more."""
        self.dead.append(command)
        self._dead.add(id(command))

    def _close(self, envelope: Envelope) -> None:
        key = id(envelope.command)
        if key in self._dead:
            self.counts["dead"] += 1
        elif hasattr(envelope, "deadline"):
            self.counts["told"] += 1
        elif key in self._handled:
            self.counts["handled"] += 1
        else:
            raise CommandLost(f"{_name(envelope)} is settled, was not handled, and is no dead letter")


def held_by(cell: "Activation") -> Iterator[Envelope]:
    """Every envelope that *cell* holds, wherever, with the parts of its batches."""
    for envelope in _held_whole(cell):
        yield envelope
        yield from envelope.parts


def _held_whole(cell: "Activation") -> Iterator[Envelope]:
    yield from cell.mailbox
    yield from cell.stash or ()
    yield from cell.unfinished.envelopes if cell.unfinished is not None else ()
    if cell.waiting is not None:
        yield from cell.waiting.nested
        for turn in cell.waiting.turns:
            yield turn.envelope
    if cell.gate is not None:
        for unit in cell.gate.pending:
            for outputs in unit.turns:
                yield outputs.envelope


def _name(envelope: Envelope) -> str:
    return f"{envelope.to} {envelope.command!r}"


class _Followed(Mailbox):
    """The part that the followed mailboxes share."""

    __slots__ = ()

    ledger: Ledger

    def put_tell(self, to: Address, command: object) -> bool:
        return False  # what is followed is an envelope

    def put_nowait(self, envelope: Envelope) -> bool:
        return self._tell(envelope, is_in=super().put_nowait(envelope))

    def put_system(self, envelope: Envelope) -> bool:
        return self._tell(envelope, is_in=super().put_system(envelope))

    def take_out_system(self, is_one: Callable[[Envelope], bool]) -> list[Envelope]:
        taken = super().take_out_system(is_one)
        for envelope in taken:
            self.ledger.taken_back(envelope)
        return taken

    def _tell(self, envelope: Envelope, *, is_in: bool) -> bool:
        if is_in:
            self.ledger.accepted(envelope)
        else:
            self.ledger.counts["refused"] += 1
        return is_in


class _FollowedMailbox(_Followed):
    __slots__ = ("ledger",)

    def __init__(self, envelopes_max: int, ledger: Ledger) -> None:
        super().__init__(envelopes_max)
        self.ledger = ledger


class _FollowedMeteredMailbox(_Followed, MeteredMailbox):
    __slots__ = ("ledger",)


@dataclass(frozen=True, slots=True, kw_only=True)
class _FollowedKind(Kind):
    ledger: Ledger

    def make_mailbox(self) -> Mailbox:
        if self.meter is None:
            return _FollowedMailbox(self.mailbox_envelopes_max, self.ledger)
        mailbox = _FollowedMeteredMailbox(self.mailbox_envelopes_max, self.meter)
        mailbox.ledger = self.ledger
        return mailbox


class _FollowedDeadLetters(DeadLetters):
    def __init__(self, ledger: Ledger, system: "ActorSystem") -> None:
        super().__init__(system.deadlines, system.event)
        self._ledger = ledger

    def add(self, to: Address, command: object, reason: str, at_ms: int, senders: tuple[str, ...] = ()) -> None:
        super().add(to, command, reason, at_ms, senders)
        self._ledger.buried(command)
