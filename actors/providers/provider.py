"""The port to whoever takes mail from us.

`send` hands over one mail and says what is known about it. It raises for nothing that the world can do:

    Accepted   the provider has it                       Deferred  not now: the account is asked to wait
    Rejected   the provider does not have it, and why    Unknown   it may have it: never send it again

`Unknown` is the honest answer whenever the whole request may have left and no clear answer came back: no provider we
know takes an idempotency key, so sending again could deliver twice. The `fault` of a rejection says whose it is, the
account's or this mail's, and so what to do next; the table is in provider_queue/state.py.
"""

import enum
import re
from dataclasses import dataclass
from typing import Protocol

ERROR_TEXT_CHARACTERS_MAX = 500
ASKED_MS_MAX = 24 * 3600 * 1000  # what a provider may ask an account to wait; anything longer is a broken clock
_LOCAL_PART = re.compile(r"[A-Za-z0-9.!#$%&*+/=?^_{|}~-]+@")  # providers quote the address they refuse


class Fault(enum.Enum):
    """Why a provider does not have a mail, by what it means for the next step."""

    THROTTLE = "throttle"  # too fast: the account waits
    QUOTA = "quota"  # the plan is used up until its window ends
    CONFIG = "config"  # key, sender or account: an operator must act
    UNAVAILABLE = "unavailable"  # it could not be reached, or is down
    TEMPORARY = "temporary"  # not this mail, not now: it may be taken later
    CONTENT = "content"  # this mail will never be taken
    RECIPIENT = "recipient"  # nothing for this address will ever be taken


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file of a mail. content: base64, checked. content_id: for `cid:` when the disposition is inline."""

    filename: str
    content_type: str
    content: str
    disposition: str = "attachment"
    content_id: str | None = None


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail as it will be sent: addresses are plain and checked, no address stands twice, templates are rendered.

    Never empty: text is always there. headers: only those that request.py lets through.
    """

    id: str
    to: tuple[str, ...]
    subject: str
    text: str
    html: str | None = None
    cc: tuple[str, ...] = ()
    bcc: tuple[str, ...] = ()
    reply_to: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    tags: tuple[str, ...] = ()
    attachments: tuple[Attachment, ...] = ()


@dataclass(frozen=True, slots=True)
class Sender:
    """Who our mail is from. is_own: somebody chose the address, it is not the default."""

    email: str
    name: str = ""
    is_own: bool = True


@dataclass(frozen=True, slots=True)
class Accepted:
    """The provider has the mail; its own id for it, when it gave one."""

    provider_message_id: str | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """The provider does not have the mail, for sure. until_ms: how long it asks the account to wait, if it does."""

    fault: Fault
    text: str
    until_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Deferred:
    """The provider did not take it and asks the account to wait; until when, if it said."""

    until_ms: int | None
    text: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """The provider may have the mail."""

    text: str


Outcome = Accepted | Rejected | Deferred | Unknown


class Provider(Protocol):
    """One account at one provider."""

    @property
    def is_redo_safe(self) -> bool:
        """Sending the same mail twice leaves one: what was interrupted may be sent again."""
        ...

    @property
    def sender(self) -> Sender:
        """Who its mail is from."""
        ...

    async def send(self, mail: Mail, attempt_id: str) -> Outcome:
        """Hand over *mail*. *attempt_id* comes back in the provider's events.

        Cancelled: nobody knows; the attempt stays `transmitting` until its queue calls it unknown.
        """
        ...


def bounded(text: str) -> str:
    """Text of a provider as we keep it: one line, no control characters, bounded, storable, addresses masked."""
    clean = "".join(char if char.isprintable() else " " for char in text[: ERROR_TEXT_CHARACTERS_MAX * 2])
    return _LOCAL_PART.sub("***@", " ".join(clean.split()))[:ERROR_TEXT_CHARACTERS_MAX]
