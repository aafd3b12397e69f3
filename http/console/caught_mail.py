"""The mail that the folder provider has caught, for people to read in the page.

A caught mail is a file `<id>.eml` in one folder; only a plain name of that shape is ever opened, inside that folder
and never through a link. What a mail holds was written by anybody: the text goes out as text, and its HTML only as a
document of its own that may run nothing and load nothing (HTML_POLICY), for a sandboxed frame.
"""

import base64
import heapq
import os
import re
import stat
from collections.abc import Iterator
from email import policy
from email.message import EmailMessage
from email.parser import BytesHeaderParser, BytesParser
from pathlib import Path
from typing import Final

from greenroom.http.models import Output

MAILS_MAX: Final = 50
HEAD_BYTES_MAX: Final = 64 * 1024
MAIL_BYTES_MAX: Final = 8 * 1024 * 1024
TEXT_CHARACTERS_MAX: Final = 200_000
HTML_POLICY: Final = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}\.eml")
# Of what a page may do, opening a connection ahead of time is bound by no policy, and no mail needs these.
_REACHES_OUT = re.compile(r"<(?:link|meta|base)\b[^>]*>", re.IGNORECASE)
_CONTENT_ID = re.compile(r"""(["'(])cid:([^"')]{1,200})""")


class CaughtLine(Output):
    """One caught mail in the list. at: milliseconds since 1970."""

    name: str
    subject: str
    to: str
    at: int


class CaughtFile(Output):
    """A file that came with a mail."""

    name: str
    type: str
    bytes: int


class CaughtMail(Output):
    """One caught mail. has_html: it can be looked at under …/html."""

    name: str
    subject: str
    sender: str
    to: str
    cc: str
    date: str
    text: str
    has_html: bool
    files: list[CaughtFile]


def list_mails(directory: Path) -> list[CaughtLine]:
    """The newest mails, newest first, at most MAILS_MAX. Blocks: call it in a thread."""
    newest = heapq.nlargest(MAILS_MAX, _entries(directory), key=lambda entry: entry[0])
    lines = []
    for at_ns, name in newest:
        head = _read(directory, name, HEAD_BYTES_MAX)
        if head is not None:
            message = BytesHeaderParser(policy=policy.default).parsebytes(head)
            lines.append(
                CaughtLine(
                    name=name, subject=_header(message, "Subject"), to=_header(message, "To"), at=at_ns // 1_000_000
                )
            )
    return lines


def read_mail(directory: Path, name: str) -> CaughtMail | None:
    """One mail; None when there is none of that name. Blocks: call it in a thread."""
    message = _message(directory, name)
    if message is None:
        return None
    plain, html = message.get_body(("plain",)), message.get_body(("html",))
    return CaughtMail(
        name=name,
        subject=_header(message, "Subject"),
        sender=_header(message, "From"),
        to=_header(message, "To"),
        cc=_header(message, "Cc"),
        date=_header(message, "Date"),
        text=_text(plain)[:TEXT_CHARACTERS_MAX] if isinstance(plain, EmailMessage) else "",
        has_html=html is not None,
        files=[_file(part) for part in message.iter_attachments() if isinstance(part, EmailMessage)],
    )


def read_html(directory: Path, name: str) -> bytes | None:
    """The HTML of one mail with its own pictures put in; None when there is none. Blocks: call it in a thread."""
    message = _message(directory, name)
    html = message.get_body(("html",)) if message is not None else None
    if message is None or not isinstance(html, EmailMessage):
        return None
    pictures = _pictures(message)

    def put_in(found: re.Match[str]) -> str:
        return found[1] + pictures.get(found[2], "data:,")

    return _CONTENT_ID.sub(put_in, _REACHES_OUT.sub("", _text(html))).encode("utf-8", "replace")


def _entries(directory: Path) -> Iterator[tuple[int, str]]:
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                if _NAME.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                    yield entry.stat(follow_symlinks=False).st_mtime_ns, entry.name
    except FileNotFoundError:
        return  # no mail was caught yet, or one was taken away meanwhile


def _read(directory: Path, name: str, bytes_max: int) -> bytes | None:
    if not _NAME.fullmatch(name):
        return None
    try:
        descriptor = os.open(directory / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(bytes_max)
    finally:
        os.close(descriptor)


def _message(directory: Path, name: str) -> EmailMessage | None:
    content = _read(directory, name, MAIL_BYTES_MAX)
    return None if content is None else BytesParser(policy=policy.default).parsebytes(content)


def _header(message: EmailMessage, name: str) -> str:
    try:
        return str(message.get(name, ""))[:1000]
    except (ValueError, IndexError, AttributeError):  # the parser of structured headers gives up on some nonsense
        return "?"


def _text(part: EmailMessage) -> str:
    try:
        return str(part.get_content())
    except (LookupError, ValueError):
        payload = part.get_payload(decode=True)
        return payload.decode("utf-8", "replace") if isinstance(payload, bytes) else ""


def _file(part: EmailMessage) -> CaughtFile:
    payload = part.get_payload(decode=True)
    size = len(payload) if isinstance(payload, bytes) else 0
    return CaughtFile(name=part.get_filename() or "unnamed", type=part.get_content_type(), bytes=size)


def _pictures(message: EmailMessage) -> dict[str, str]:
    pictures = {}
    for part in message.walk():
        content_id, payload = part.get("Content-ID"), part.get_payload(decode=True)
        if content_id and isinstance(payload, bytes) and part.get_content_maintype() == "image":
            data = base64.b64encode(payload).decode()
            pictures[str(content_id).strip("<> ")] = f"data:{part.get_content_type()};base64,{data}"
    return pictures
