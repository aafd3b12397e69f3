"""Every setting of greenroom: one frozen object, read once from the environment by the command line, then passed down.

A setting is a field here and nowhere else: its type and bounds, its default, its unit, why it is what it is, and an
example. `greenroom config` and docs/operating.md print that (settings_table.py). The name in the environment is the
field's name in capitals. An empty value counts as unset.

A bad value stops the start: `SettingsError` names the setting, says what is wrong and shows an example. The value
itself is quoted unless it is a secret. Settings of parts that do not exist yet are read and checked too, and marked.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from annotated_types import Ge, Le
from pydantic import BeforeValidator, EmailStr, Field, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from greenroom.setting_kinds import (
    DatabaseUrl,
    FileTypes,
    HttpUrl,
    Milliseconds,
    Networks,
    Origins,
    RedisUrl,
    SecretHttpUrl,
    Telephone,
)

JWT_SECRET_BYTES_MIN: Final = 32
LOOPBACK_HOSTS: Final = frozenset({"localhost", "127.0.0.1", "::1", "[::1]"})
DEVELOPMENT_PAGE_PORTS: Final = (3000, 5173)


class SettingsError(Exception):
    """One or more settings cannot be used. The message has a line for each."""


@dataclass(frozen=True, slots=True)
class About:
    """What a reader should know of a setting beyond its type. `later`: nothing reads it before that part exists.

    stand_in: what is used in its place while it is not set, where that may be told from a value that somebody set.
    """

    why: str
    example: str
    unit: str = ""
    later: str = ""
    stand_in: str = ""


_MAIL = "e-mail"
_ALERTS = "notifications"


class Settings(BaseSettings):
    """All settings. Make one with `load_settings`; in tests also `Settings(port=0)`, which reads no environment."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", populate_by_name=True, hide_input_in_errors=True)

    # -- where and how it runs --
    environment: Annotated[
        Literal["production", "staging", "test", "development"],
        BeforeValidator(lambda value: value.lower() if isinstance(value, str) else value),
        About("only `development` opens demo sign-in, live view and mail view", "development"),
    ] = "production"
    host: Annotated[str, About("loopback until someone decides otherwise", "0.0.0.0")] = "127.0.0.1"  # noqa: S104
    port: Annotated[int, Ge(0), Le(65535), About("0 lets the kernel choose", "8787")] = 8787
    listen_fds: Annotated[
        int,
        Ge(0),
        Le(16),
        About("listening sockets given from outside: the port stays open in a restart", "1", "sockets"),
    ] = 0
    listen_pid: Annotated[int | None, About("LISTEN_FDS counts only for this process", "4242")] = None
    tls_cert: Annotated[Path | None, About("PEM, our certificate first: https and wss", "/etc/tls/fullchain.pem")] = (
        None
    )
    tls_key: Annotated[Path | None, About("of TLS_CERT, PEM without a password", "/etc/tls/privkey.pem")] = None
    greenroom_data_dir: Annotated[
        str | None,
        About("database, secrets and files of this machine; else .greenroom or the user's", "/var/lib/greenroom"),
    ] = None
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        BeforeValidator(lambda value: value.lower() if isinstance(value, str) else value),
        About("info is one line per event that an operator may have to explain", "info"),
    ] = "info"
    debug_mode: Annotated[bool, About("guide A's name for LOG_LEVEL=debug", "true")] = False

    # -- what it keeps things in --
    database_url: Annotated[
        DatabaseUrl | None,
        About(
            "without it a PostgreSQL of our own runs in the data directory",
            "postgresql://user:password@host:5432/greenroom",
        ),
    ] = None
    database_pooled: Annotated[bool, About("a transaction pooler stands before the database", "true")] = False
    database_connections_max: Annotated[
        int, Ge(2), Le(200), About("more than the database's cores only queue there", "8", "connections")
    ] = 8
    redis_url: Annotated[
        RedisUrl | None,
        About("only for more than one node", "redis://127.0.0.1:6379/0", later="cluster"),
    ] = None
    upstash_redis_rest_url: Annotated[
        HttpUrl | None,
        About("honoured for guide A; greenroom speaks REDIS_URL", "https://name.upstash.io", later="cluster"),
    ] = None
    upstash_redis_rest_token: Annotated[SecretStr | None, About("as above", "AX…", later="cluster")] = None

    # -- who may come in --
    frontend_url: Annotated[
        HttpUrl | None, About("its origin may call us with credentials", "https://app.example.org")
    ] = None
    public_url: Annotated[
        HttpUrl | None,
        About("how browsers reach this server, when it is not HOST and PORT", "https://chat.example.org"),
    ] = None
    allowed_origins: Annotated[
        Origins | None,
        About("default: our own, FRONTEND_URL, in development localhost on 3000 and 5173", "https://app.example.org"),
    ] = None
    trusted_proxies: Annotated[
        Networks, About("only from these does X-Forwarded-For count", "10.0.0.0/8, 127.0.0.1")
    ] = ()
    better_auth_secret: Annotated[
        SecretStr | None,
        About("verifies signed session cookies of the application's auth service", "openssl rand -base64 32"),
    ] = None
    jwt_secret: Annotated[
        SecretStr | None,
        About(
            "HS256; at least 32 bytes outside development; else one is made in the data directory",
            "openssl rand -hex 32",
        ),
    ] = None

    # -- limits, counted at the edge --
    messages_per_minute: Annotated[
        int, Ge(0), Le(1_000_000), About("per user; 0 = none; a recognised duplicate is free", "50", "messages/min")
    ] = 50
    message_edit_seconds: Annotated[
        int, Ge(0), Le(31_536_000), About("how old a message may be edited; 0 = any age", "900", "s")
    ] = 900
    ws_commands_per_minute: Annotated[
        int, Ge(0), Le(1_000_000), About("per user; 0 = none; ping and pong are free", "240", "commands/min")
    ] = 240
    ws_max_connections: Annotated[
        int, Ge(1), Le(1_000_000), About("also bounded by the file descriptors of the process", "50000", "sockets")
    ] = 50_000
    ws_max_per_user: Annotated[int, Ge(1), Le(10_000), About("a 429 at the upgrade beyond it", "20", "sockets")] = 20
    ws_max_per_address: Annotated[
        int | None, Ge(0), Le(1_000_000), About("0 = none; default none on loopback, else 1,000", "1000", "sockets")
    ] = None
    ws_connects_per_second: Annotated[
        int, Ge(0), Le(100_000), About("new ones; beyond: v1 503, compat waits to 20 s; 0 = none", "500", "sockets/s")
    ] = 500
    ws_compression: Annotated[bool, About("frames of 512 bytes and more, for clients that offer it", "true")] = False
    ws_heartbeat_interval: Annotated[
        Milliseconds, About("compat: quiet for so long, the client is pinged", "30000", "ms")
    ] = 30_000
    ws_connection_timeout: Annotated[
        Milliseconds, About("compat: quiet for so long, the client is gone", "60000", "ms")
    ] = 60_000
    presence_idle_seconds: Annotated[
        float, Ge(0), Le(86_400), About("a device without input for so long is idle; 0 = never", "300", "s")
    ] = 300.0
    max_file_size: Annotated[int, Ge(1024), Le(1 << 30), About("one attachment", "10485760", "bytes")] = 10_485_760
    allowed_file_types: Annotated[
        FileTypes, About("by ending, checked against the content; programs never are", "pdf,jpg,png")
    ] = ("pdf", "doc", "docx", "jpg", "jpeg", "png", "gif", "mp4", "mov")
    uploads_per_minute: Annotated[int, Ge(0), Le(1_000_000), About("per user; 0 = none", "30", "uploads/min")] = 30
    uploads_disk_bytes: Annotated[
        int,
        Ge(1024),
        Le(1 << 40),
        About("of the data directory, for files that are coming; one of the largest always may", "1073741824", "bytes"),
    ] = 1 << 30
    s3_bucket: Annotated[
        str | None, About("keeps attachments in S3 or R2; without it on the local disk", "message-attachments")
    ] = None
    s3_endpoint: Annotated[
        HttpUrl | None,
        About("of what speaks S3 and is not Amazon's", "https://account.r2.cloudflarestorage.com"),
    ] = None
    s3_region: Annotated[str, About("of the bucket; R2 has auto", "eu-central-1")] = "us-east-1"
    s3_access_key_id: Annotated[SecretStr | None, About("S3 or R2", "AKIA…")] = None
    s3_secret_access_key: Annotated[SecretStr | None, About("S3 or R2", "wJalr…")] = None
    enable_e2e_encryption: Annotated[bool, About("guide A's switch", "true", later="encryption")] = False
    message_batch_size: Annotated[
        int, Ge(1), Le(10_000), About("guide A; the committer gathers by load instead", "10", "messages", later="never")
    ] = 10
    message_batch_timeout: Annotated[
        int, Ge(0), Le(60_000), About("guide A; the committer never waits on purpose", "100", "ms", later="never")
    ] = 100
    enable_message_cache: Annotated[
        bool, About("guide A; a room always holds its recent ring", "true", later="never")
    ] = True
    sentry_dsn: Annotated[
        SecretHttpUrl | None,
        About("error tracking", "https://key@o1.ingest.sentry.io/1", later="tracing"),
    ] = None

    # -- e-mail --
    email_primary_provider: Annotated[
        Literal["sendgrid", "ses", "awsses", "aws_ses", "smtp"],
        BeforeValidator(lambda value: value.lower() if isinstance(value, str) else value),
        About("the others are its failover", "sendgrid", later=_MAIL),
    ] = "sendgrid"
    sendgrid_api_key: Annotated[SecretStr | None, About("SendGrid", "SG.…")] = None
    sendgrid_api_url: Annotated[HttpUrl, About("overridden by tests and gateways", "https://api.eu.sendgrid.com")] = (
        "https://api.sendgrid.com"
    )
    sendgrid_fallback_api_key: Annotated[
        SecretStr | None, About("a second account, used when the first refuses", "SG.…")
    ] = None
    sendgrid_fallback_api_url: Annotated[
        HttpUrl | None,
        About("default: SENDGRID_API_URL", "https://api.eu.sendgrid.com"),
    ] = None
    sendgrid_from_email: Annotated[
        EmailStr | None,
        About(
            "sender address; the default is that of the replaced system, and a start that sends as it warns",
            "noreply@example.org",
            stand_in="noreply@pitchey.com",
        ),
    ] = None
    sendgrid_from_name: Annotated[str | None, About("sender name", "Greenroom", stand_in="Pitchey")] = None
    aws_ses_access_key: Annotated[SecretStr | None, About("Amazon SES", "AKIA…", later=_MAIL)] = None
    aws_ses_secret_key: Annotated[SecretStr | None, About("Amazon SES", "wJalr…", later=_MAIL)] = None
    aws_ses_region: Annotated[
        str, Field(pattern=r"^[a-z]{2}(-[a-z]+)+-\d$"), About("Amazon SES", "eu-central-1", later=_MAIL)
    ] = "us-east-1"
    aws_ses_from_email: Annotated[EmailStr | None, About("sender address", "noreply@example.org", later=_MAIL)] = None
    aws_ses_from_name: Annotated[str | None, About("sender name", "Greenroom", later=_MAIL)] = None
    aws_endpoint_url_ses: Annotated[
        HttpUrl | None, About("overrides the address of Amazon SES", "http://127.0.0.1:4566", later=_MAIL)
    ] = None
    email_rate_limit_minute: Annotated[
        int, Ge(0), Le(1_000_000), About("per provider account; 0 = none", "50", "mails/min")
    ] = 50
    email_rate_limit_hour: Annotated[
        int, Ge(0), Le(10_000_000), About("per provider account; 0 = none", "1000", "mails/h")
    ] = 1000
    email_rate_limit_day: Annotated[
        int, Ge(0), Le(100_000_000), About("per provider account; 0 = none", "10000", "mails/day")
    ] = 10_000
    email_max_retries: Annotated[
        int, Ge(0), Le(20), About("after the first try, per account; an account that is away uses none", "3", "tries")
    ] = 3
    email_retry_delay: Annotated[
        Milliseconds, About("ceiling of the first wait, of a mail or of an account; it doubles", "1000", "ms")
    ] = 1000
    email_retry_max_delay: Annotated[
        Milliseconds, About("ceiling of any wait that the provider did not ask for", "30000", "ms")
    ] = 30_000
    email_queue_ttl: Annotated[
        int,
        Ge(60),
        Le(2_592_000),
        About("a mail that has been due for longer is given up while no account is there", "259200", "s"),
    ] = 259_200
    email_queue_concurrent: Annotated[int, Ge(1), Le(1000), About("calls in flight per provider", "5", "calls")] = 5
    email_queue_interval: Annotated[
        Milliseconds, About("how often the outbox is looked at without a nudge", "10000", "ms")
    ] = 10_000
    email_batch_size: Annotated[int, Ge(1), Le(1000), About("mails claimed at once", "20", "mails")] = 20
    enable_email_template_cache: Annotated[bool, About("compiled templates are kept", "true", later=_MAIL)] = True

    # -- notifications --
    notification_processing_interval: Annotated[
        Milliseconds, About("how often the outbox is looked at without a nudge", "5000", "ms", later=_ALERTS)
    ] = 5000
    notification_batch_size: Annotated[
        int, Ge(1), Le(1000), About("claimed at once", "10", "notifications", later=_ALERTS)
    ] = 10
    notification_max_retries: Annotated[
        int, Ge(0), Le(20), About("after the first try", "3", "tries", later=_ALERTS)
    ] = 3
    notification_queue_ttl: Annotated[
        int, Ge(60), Le(2_592_000), About("older ones are given up, with a reason", "86400", "s", later=_ALERTS)
    ] = 86_400
    fcm_server_key: Annotated[SecretStr | None, About("Firebase Cloud Messaging", "AAAA…", later=_ALERTS)] = None
    fcm_api_url: Annotated[HttpUrl, About("overridden by tests", "http://127.0.0.1:9099", later=_ALERTS)] = (
        "https://fcm.googleapis.com"
    )
    fcm_token_url: Annotated[HttpUrl, About("overridden by tests", "http://127.0.0.1:9099/token", later=_ALERTS)] = (
        "https://oauth2.googleapis.com/token"  # noqa: S105 - an address
    )
    apns_certificate_path: Annotated[
        Path | None, About("the .p8 key of Apple", "/run/secrets/apns.p8", later=_ALERTS)
    ] = None
    apns_key_id: Annotated[str | None, About("Apple", "ABC123DEFG", later=_ALERTS)] = None
    apns_team_id: Annotated[str | None, About("Apple", "DEF123GHIJ", later=_ALERTS)] = None
    apns_api_url: Annotated[HttpUrl, About("overridden by tests", "http://127.0.0.1:9100", later=_ALERTS)] = (
        "https://api.push.apple.com"
    )
    twilio_account_sid: Annotated[str | None, About("Twilio", "AC…", later=_ALERTS)] = None
    twilio_auth_token: Annotated[SecretStr | None, About("Twilio", "0123…", later=_ALERTS)] = None
    twilio_from_number: Annotated[Telephone | None, About("Twilio", "+15005550006", later=_ALERTS)] = None
    twilio_api_url: Annotated[HttpUrl, About("overridden by tests", "http://127.0.0.1:9101", later=_ALERTS)] = (
        "https://api.twilio.com"
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what `load_settings` hands over: a test that makes Settings must not see the developer's environment."""
        return (init_settings,)

    @property
    def is_development(self) -> bool:
        """Whether development-only things may exist at all."""
        return self.environment == "development"

    @property
    def is_loopback(self) -> bool:
        """Whether the server listens on this machine only. Sockets given from outside do not, until they were seen."""
        return self.host.lower() in LOOPBACK_HOSTS and self.listen_fds == 0

    def listening_at(self, hosts: Sequence[str]) -> "Settings":
        """These settings where sockets were given from outside, at least one: what they are bound to is the host."""
        reachable = [host for host in hosts if host not in LOOPBACK_HOSTS]
        return self.model_copy(update={"host": (reachable or hosts)[0], "listen_fds": 0})

    @property
    def sockets_per_address_max(self) -> int:
        """WS_MAX_PER_ADDRESS as it applies: 0 is no limit."""
        if self.ws_max_per_address is not None:
            return self.ws_max_per_address
        return 0 if self.is_loopback else 1000

    @property
    def effective_log_level(self) -> str:
        """LOG_LEVEL, or debug by DEBUG_MODE."""
        return "debug" if self.debug_mode else self.log_level


def load_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Read all settings from *environment* (default: the process's). Raises SettingsError with a line per bad value."""
    given = os.environ if environment is None else environment
    values = {name: given[env] for name, env in environment_names().items() if given.get(env, "").strip()}
    _check_encoding(values)
    try:
        settings = Settings(**values)  # type: ignore[arg-type]
    except ValidationError as fault:
        raise SettingsError("\n".join(_explain(error, values) for error in fault.errors())) from None
    _check_together(settings)
    return settings


def environment_names() -> dict[str, str]:
    """Field name to the name in the environment."""
    return {name: name.upper() for name in Settings.model_fields}


def about(field: FieldInfo) -> About:
    """What the field says of itself."""
    return next(item for item in field.metadata if isinstance(item, About))


def is_secret(field: FieldInfo) -> bool:
    """Whether the value must not be shown."""
    return "SecretStr" in str(field.annotation)


def limit_of(field: FieldInfo) -> str:
    """The bounds of a number, as text."""
    low = next((item.ge for item in field.metadata if isinstance(item, Ge)), None)
    high = next((item.le for item in field.metadata if isinstance(item, Le)), None)
    return f"{low} to {high}" if low is not None and high is not None else ""


def _explain(error: Any, values: Mapping[str, str]) -> str:
    name = str(error["loc"][0])
    env, field = name.upper(), Settings.model_fields[name]
    shown = "has a value that cannot be used" if is_secret(field) else f"is {values.get(name, '')!r}"
    fault = str(error["msg"]).removeprefix("Value error, ").rstrip(".")
    limit = f" (allowed: {limit_of(field)})" if limit_of(field) else ""
    return f"{env} {shown}: {fault[:1].lower()}{fault[1:]}{limit}. Example: {env}={about(field).example}"


def _check_encoding(values: Mapping[str, str]) -> None:
    """Refuse what is not UTF-8: Python hands such bytes over as lone surrogates, which nothing can store or show."""
    for name, value in values.items():
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise SettingsError(_explain({"loc": [name], "msg": "it is not valid UTF-8"}, values))


def _check_together(settings: Settings) -> None:
    secret = settings.jwt_secret
    if secret is not None and not settings.is_development:
        length = len(secret.get_secret_value().encode())
        if length < JWT_SECRET_BYTES_MIN:
            raise SettingsError(
                f"JWT_SECRET has a value that cannot be used: it has {length} bytes, and HS256 needs at least "
                f"{JWT_SECRET_BYTES_MIN} (RFC 7518 section 3.2). Example: JWT_SECRET=$(openssl rand -hex 32)"
            )
    if settings.ws_connection_timeout <= settings.ws_heartbeat_interval:
        raise SettingsError(
            f"WS_CONNECTION_TIMEOUT is '{settings.ws_connection_timeout}': it must be longer than "
            f"WS_HEARTBEAT_INTERVAL ({settings.ws_heartbeat_interval} ms). Example: WS_CONNECTION_TIMEOUT=60000"
        )
