"""What the e-mail side takes from the settings."""

from pathlib import Path
from typing import Any

from greenroom.actors.provider_queue.state import QueuePolicy
from greenroom.actors.providers.accounts import EmailSettings, accounts_from
from greenroom.settings import Settings


def email_settings(settings: Settings, directory: Path) -> EmailSettings:
    """What the e-mail side takes from the settings."""
    plain = EmailSettings(data_dir=directory)

    def secret(value: Any) -> str | None:
        return None if value is None else value.get_secret_value()

    return EmailSettings(
        data_dir=directory,
        sendgrid_api_key=secret(settings.sendgrid_api_key),
        sendgrid_api_url=settings.sendgrid_api_url,
        sendgrid_fallback_api_key=secret(settings.sendgrid_fallback_api_key),
        sendgrid_fallback_api_url=settings.sendgrid_fallback_api_url or settings.sendgrid_api_url,
        sendgrid_from_email=settings.sendgrid_from_email or plain.sendgrid_from_email,
        sendgrid_from_name=settings.sendgrid_from_name or plain.sendgrid_from_name,
        email_rate_limit_minute=settings.email_rate_limit_minute,
        email_rate_limit_hour=settings.email_rate_limit_hour,
        email_rate_limit_day=settings.email_rate_limit_day,
        email_max_retries=settings.email_max_retries,
        email_retry_delay=settings.email_retry_delay,
        email_retry_max_delay=settings.email_retry_max_delay,
        email_queue_concurrent=settings.email_queue_concurrent,
        email_batch_size=settings.email_batch_size,
        email_queue_interval=settings.email_queue_interval,
        email_queue_ttl=settings.email_queue_ttl,
    )


def queue_policy(email: EmailSettings) -> QueuePolicy:
    """How the provider queues behave."""
    windows = (
        (60_000, email.email_rate_limit_minute),
        (3_600_000, email.email_rate_limit_hour),
        (86_400_000, email.email_rate_limit_day),
    )
    return QueuePolicy(
        accounts=tuple(account.name for account in accounts_from(email)),
        tries_max=email.email_max_retries + 1,
        retry_ms_min=email.email_retry_delay,
        retry_ms_max=email.email_retry_max_delay,
        mail_ms_max=email.email_queue_ttl * 1000,
        concurrent=email.email_queue_concurrent,
        claims_max=email.email_batch_size,
        poll_ms=email.email_queue_interval,
        windows=tuple((span, limit) for span, limit in windows if limit),
    )
