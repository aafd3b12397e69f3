"""The folder that catches mail in development: `<data directory>/mail/<e-mail id>.eml`.

One file per mail, named by its id: sending again leaves one, so an interrupted attempt may be redone and is never
unknown. A file is there whole or not at all (written beside, synced, renamed, folder synced), 0600 in a folder 0700.

It is never a failover target of a hosted provider: mail that real people wait for would vanish into a folder.
"""

import base64
import os
from collections.abc import Callable
from datetime import UTC, datetime
from email import policy
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime
from pathlib import Path

import trio

from greenroom.actors.providers.provider import (
    Accepted,
    Attachment,
    Fault,
    Mail,
    Outcome,
    Provider,
    Rejected,
    Sender,
    bounded,
)


class Folder(Provider):
    """Writes mail to *directory*, which is made when the first mail comes."""

    is_redo_safe = True

    def __init__(self, directory: Path, *, sender: Sender, wall_ms: Callable[[], int]) -> None:
        self._directory = directory
        self._sender = sender
        self._wall_ms = wall_ms

    @property
    def sender(self) -> Sender:
        """Who its mail is from."""
        return self._sender

    async def send(self, mail: Mail, attempt_id: str) -> Outcome:
        """Write *mail*. Its provider message id is the name of the file."""
        try:
            message = compose(mail, attempt_id, self._sender, self._wall_ms())
            content = message.as_bytes(policy=policy.SMTP)
        except (ValueError, LookupError) as error:
            return Rejected(Fault.CONTENT, bounded(f"it cannot be written as MIME: {error}"))
        name = f"{mail.id}.eml"
        try:
            await trio.to_thread.run_sync(_write, self._directory, name, content)
        except OSError as error:
            return Rejected(Fault.UNAVAILABLE, bounded(f"{self._directory}: {error}"))
        return Accepted(name)


def compose(mail: Mail, attempt_id: str, sender: Sender, at_ms: int) -> EmailMessage:
    """*mail* as MIME: alternative texts, related inline parts inside, files around. Raises: ValueError. Pure."""
    message = EmailMessage(policy=policy.SMTP)
    message["From"] = Address(display_name=sender.name, addr_spec=sender.email)
    message["To"] = [Address(addr_spec=address) for address in mail.to]
    if mail.cc:
        message["Cc"] = [Address(addr_spec=address) for address in mail.cc]
    if mail.bcc:
        message["Bcc"] = [Address(addr_spec=address) for address in mail.bcc]
    if mail.reply_to:
        message["Reply-To"] = Address(addr_spec=mail.reply_to)
    message["Subject"] = mail.subject
    message["Date"] = format_datetime(datetime.fromtimestamp(at_ms / 1000, UTC))
    message["Message-ID"] = f"<{mail.id}@{sender.email.rpartition('@')[2]}>"
    message["X-Greenroom-Attempt"] = attempt_id
    for name, value in mail.headers:
        message[name] = value
    message.set_content(mail.text)
    _add_html(message, mail)
    for attachment in mail.attachments:
        if attachment.disposition != "inline":
            _attach(message.add_attachment, attachment)
    return message


def _add_html(message: EmailMessage, mail: Mail) -> None:
    if mail.html:
        message.add_alternative(mail.html, subtype="html")
    inline = [attachment for attachment in mail.attachments if attachment.disposition == "inline"]
    body = message.get_body(("html", "plain")) if inline else None
    for attachment in inline:
        assert isinstance(body, EmailMessage), "a message with text has a body"
        _attach(body.add_related, attachment)


def _attach(add: Callable[..., None], attachment: Attachment) -> None:
    main, _, sub = attachment.content_type.partition("/")
    options: dict[str, str] = {"disposition": attachment.disposition, "filename": attachment.filename}
    if attachment.content_id:
        options["cid"] = f"<{attachment.content_id}>"
    add(base64.b64decode(attachment.content), maintype=main, subtype=sub, **options)


def _write(directory: Path, name: str, content: bytes) -> None:
    """Put the file there whole or not at all. A file of the same name is replaced."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = directory / f".{name}.part"
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with open(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.rename(directory / name)
    folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
