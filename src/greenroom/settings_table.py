"""The settings as a table: for `greenroom config`, and in Markdown for docs/operating.md.

Secrets are never shown, only that they are set; of a database address everything but the password.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from pydantic import SecretStr

from greenroom.settings import Settings, about, environment_names, is_secret, limit_of

_WITH_ADDRESS = ("database_url", "redis_url")


@dataclass(frozen=True, slots=True)
class Row:
    """One setting, as text."""

    name: str
    value: str
    origin: str  # environment, or default
    default: str
    unit: str
    limit: str
    why: str
    example: str
    later: str


def table(settings: Settings, environment: Mapping[str, str]) -> list[Row]:
    """All settings in their order. *environment* is what *settings* were read from."""
    rows = []
    for field_name, env in environment_names().items():
        field = Settings.model_fields[field_name]
        told = about(field)
        rows.append(
            Row(
                name=env,
                value=shown(field_name, getattr(settings, field_name)) or told.stand_in,
                origin="environment" if environment.get(env, "").strip() else "default",
                default=shown(field_name, field.get_default()) or told.stand_in,
                unit=told.unit,
                limit=limit_of(field),
                why=told.why,
                example=told.example,
                later=told.later,
            )
        )
    return rows


def shown(field_name: str, value: object) -> str:
    """*value* as it may be shown."""
    if value is None or value == ():
        return ""
    if isinstance(value, SecretStr) or is_secret(Settings.model_fields[field_name]):
        assert isinstance(value, SecretStr)
        return _without_password(value.get_secret_value()) if field_name in _WITH_ADDRESS else "(set, hidden)"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str) and "://" in value and "@" in value:
        return _without_password(value)
    if isinstance(value, tuple):
        return ",".join(str(item) for item in value)
    return str(value)


def as_lines(rows: list[Row]) -> list[str]:
    """The rows as aligned text, every fact of a setting below its name."""
    lines = []
    for row in rows:
        unit = f" {row.unit}" if row.unit else ""
        value = f"{row.value}{unit}" if row.value else "(not set)"
        lines.append(f"{row.name} = {value}   [{row.origin}]")
        default = f"{row.default}{unit}" if row.default else "none"
        limit = f"; {row.limit}" if row.limit else ""
        lines.append(f"    default: {default}{limit}; example: {row.example}")
        lines.append(f"    {row.why}")
        if row.later:
            lines.append(f"    read and checked, not used yet ({row.later})")
    return lines


def as_markdown(rows: list[Row]) -> str:
    """The rows as a Markdown table, without the values of this machine."""
    lines = ["| Name | Default | Unit | Limit | Why | Example |", "|---|---|---|---|---|---|"]
    for row in rows:
        why = f"{row.why} (*not used yet: {row.later}*)" if row.later else row.why
        cells = [f"`{row.name}`", row.default or "–", row.unit or "–", row.limit or "–", why, f"`{row.example}`"]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _without_password(address: str) -> str:
    parts = urlsplit(address)
    user, colon, _ = parts.netloc.rpartition("@")[0].partition(":")
    host = parts.netloc.rpartition("@")[2]
    account = f"{user}:***@" if colon else f"{user}@" if user else ""
    query = "?…" if parts.query else ""
    return f"{parts.scheme}://{account}{host}{parts.path}{query}"  # urlunsplit would take the // of no host away
