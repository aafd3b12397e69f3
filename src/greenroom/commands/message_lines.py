"""Messages as lines of a chat: when, who and what, and below it the files. Pure."""

from datetime import datetime
from typing import Any, Final
from urllib.parse import urljoin

from greenroom.client import Changed, Said

_UNITS: Final = ("bytes", "KB", "MB", "GB")


def lines_of(said: Said, server: str) -> str:
    """A message as it stands. server: the address that the files are relative to."""
    if said.is_deleted:
        return _line(said, "(deleted)")
    body = said.body if said.edited_at_ms is None else f"{said.body} (edited)"
    return "\n".join((_line(said, body), *(_file(file, server) for file in said.attachments)))


def line_of_change(said: Said, changed: Changed) -> str:
    """What became of a message that was shown."""
    return _line(said, "(deleted)" if changed.body is None else f"{changed.body} (edited)")


def _line(said: Said, body: str) -> str:
    return f"{datetime.fromtimestamp(said.at_ms / 1000).astimezone():%H:%M} {said.sender}: {body}"


def _file(file: dict[str, Any], server: str) -> str:
    return f"[{file['originalName']}, {size(file['fileSize'])}] {urljoin(f'{server}/', file['url'])}"


def size(count: int) -> str:
    """So many bytes, for people: the largest unit of which there is one, of 1,000 each."""
    amount, unit = float(count), 0
    while amount >= 999.5 and unit < len(_UNITS) - 1:
        amount, unit = amount / 1000, unit + 1
    return f"{count} {_UNITS[0]}" if unit == 0 else f"{amount:.3g} {_UNITS[unit]}"
