"""Which provider accounts there are, from settings; and their adapters, opened.

SendGrid accounts come in the order of failover. The folder is the only account when no provider is configured, and
never beside one: it can be no failover target.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from greenroom.actors.providers.folder import Folder
from greenroom.actors.providers.provider import Provider, Sender
from greenroom.actors.providers.sendgrid import API_URL, SendGrid
from greenroom.actors.providers.transport import Limits, open_transport

FOLDER = "folder"
SENDER_EMAIL = "noreply@pitchey.com"  # as the system that greenroom replaces; `greenroom config` shows it
SENDER_NAME = "Pitchey"


@dataclass(frozen=True, slots=True)
class EmailSettings:
    """What the e-mail side needs from the settings; the fields are the environment's names in lower case.

    retry_delay, retry_max_delay, queue_interval: milliseconds, as in the guides; queue_ttl: seconds. Limits: mails per
    account, 0 for none. sendgrid_from_…: empty for the default.
    """

    data_dir: Path
    sendgrid_api_key: str | None = field(default=None, repr=False)
    sendgrid_api_url: str = API_URL
    sendgrid_fallback_api_key: str | None = field(default=None, repr=False)
    sendgrid_fallback_api_url: str = API_URL
    sendgrid_from_email: str = ""
    sendgrid_from_name: str = ""
    email_rate_limit_minute: int = 50
    email_rate_limit_hour: int = 1_000
    email_rate_limit_day: int = 10_000
    email_max_retries: int = 3
    email_retry_delay: int = 1_000
    email_retry_max_delay: int = 30_000
    email_queue_concurrent: int = 5
    email_batch_size: int = 20
    email_queue_interval: int = 10_000
    email_queue_ttl: int = 259_200


@dataclass(frozen=True, slots=True)
class Account:
    """One account. name: the key of its queue, and the provider in the story of a mail."""

    name: str
    url: str = ""
    api_key: str = field(default="", repr=False)


def accounts_from(settings: EmailSettings) -> tuple[Account, ...]:
    """The accounts, first choice first; never empty."""
    hosted = [
        Account(name, url, key)
        for name, url, key in (
            ("sendgrid", settings.sendgrid_api_url, settings.sendgrid_api_key),
            ("sendgrid_fallback", settings.sendgrid_fallback_api_url, settings.sendgrid_fallback_api_key),
        )
        if key
    ]
    return tuple(hosted) or (Account(FOLDER),)


@asynccontextmanager
async def open_providers(
    settings: EmailSettings, wall_ms: Callable[[], int], *, limits: Limits | None = None
) -> AsyncIterator[Mapping[str, Provider]]:
    """Open the adapter of each account, in the order of `accounts_from`."""
    own, name = settings.sendgrid_from_email, settings.sendgrid_from_name or SENDER_NAME
    sender = Sender(own or SENDER_EMAIL, name, is_own=bool(own))
    async with AsyncExitStack() as stack:
        providers: dict[str, Provider] = {}
        for account in accounts_from(settings):
            if account.name == FOLDER:
                providers[FOLDER] = Folder(settings.data_dir / "mail", sender=sender, wall_ms=wall_ms)
                continue
            transport = await stack.enter_async_context(
                open_transport(account.url, connections_max=settings.email_queue_concurrent, limits=limits)
            )
            providers[account.name] = SendGrid(
                transport, url=account.url, api_key=account.api_key, sender=sender, wall_ms=wall_ms
            )
        yield providers
