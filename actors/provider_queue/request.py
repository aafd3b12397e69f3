"""From the body of a request to a mail that can be sent: every check that a caller can fail is made here.

Both guides' names are taken: `templateType` with `variables`, `template` with `data`; a body that gives both and means
different things is refused. What the caller wrote itself (subject, html, text) stands before what the template says.
Templates are rendered now, so what is stored is what will be sent. A mail always has a text part.

`InvalidMail` names the field and says what to do; it never quotes the input. Fields that nobody knows are ignored, as
the system that greenroom replaces did; one that would change who the mail is from is refused, or its caller would
believe that it had.
"""

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from email_validator import EmailNotValidError, validate_email

from greenroom.actors.providers.provider import Attachment, Mail
from greenroom.actors.rendering import TEMPLATES, Rendered, render, template_named, text_of

RECIPIENTS_MAX = 50
SUBJECT_CHARACTERS_MAX = 998  # RFC 5322 section 2.1.1: of a line
BODY_BYTES_MAX = 1024 * 1024
ATTACHMENTS_MAX = 10
ATTACHMENTS_BYTES_MAX = 20 * 1024 * 1024  # encoded; SendGrid takes 30 MB in all
HEADERS_MAX = 20
HEADER_CHARACTERS_MAX = 900
TAGS_MAX = 10
TAG_CHARACTERS_MAX = 255
FILENAME_CHARACTERS_MAX = 255
MILLISECONDS_MIN = 100_000_000_000  # of 1973: a smaller number was meant as seconds, and the mail would go out at once
SCHEDULE_MS_MAX = 365 * 24 * 3600 * 1000
PRIORITIES = {"urgent": 0, "critical": 0, "high": 0, "normal": 1, "medium": 1, "low": 2}
PRIORITY_NAMES = ("high", "normal", "low")
# Beside X-…: what a caller may set without changing who the mail is from, to, or how it is built.
_HEADERS_LET_THROUGH = frozenset(
    {"list-unsubscribe", "list-unsubscribe-post", "list-id", "in-reply-to", "references"}
    | {"precedence", "auto-submitted", "importance", "priority", "feedback-id"}
)
_HEADERS_RESERVED = ("x-sg-", "x-greenroom-")
_SENDER_FIELDS = ("from", "fromEmail", "fromName", "from_email", "from_name")
_HEADER_NAME = re.compile(r"[A-Za-z0-9-]{1,76}")
_CONTENT_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,126}/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}")
_CONTENT_ID = re.compile(r"[A-Za-z0-9._@+-]{1,78}")
# No part of a message may be declared as one of these: a client would take its content for a mail of its own.
_TYPES_REFUSED = ("multipart/", "message/")


class InvalidMail(ValueError):
    """The caller's fault. field: the name it has in the body."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field


@dataclass(frozen=True, slots=True)
class MailRequest:
    """A checked mail without an id, and when to send it. send_at_ms: None for now."""

    mail: Mail
    priority: int = 1
    send_at_ms: int | None = None
    template: str | None = None

    def to_json(self) -> str:
        """As it is stored in the outbox."""
        return json.dumps(
            {"mail": asdict(self.mail), "template": self.template}, ensure_ascii=False, separators=(",", ":")
        )


def mail_from_json(text: str, email_id: str) -> Mail:
    """What `to_json` wrote. Raises: ValueError, KeyError, TypeError for anything else."""
    fields: dict[str, Any] = json.loads(text)["mail"]
    for name in ("to", "cc", "bcc", "tags"):
        fields[name] = tuple(fields[name])
    fields["headers"] = tuple((name, value) for name, value in fields["headers"])
    fields["attachments"] = tuple(Attachment(**attachment) for attachment in fields["attachments"])
    return Mail(**{**fields, "id": email_id})


def normalise(body: object, *, now_ms: int) -> MailRequest:
    """Check one body of `POST /api/email/send`. Raises: InvalidMail."""
    if not isinstance(body, Mapping):
        raise InvalidMail("body", "must be a JSON object")
    _refuse_sender(body)
    to, cc, bcc = _recipients(body)
    template, rendered = _rendered(body)
    subject, html, text = _content(body, rendered)
    mail = Mail(
        id="",
        to=to,
        cc=cc,
        bcc=bcc,
        reply_to=_reply_to(body),
        subject=subject,
        html=html,
        text=text,
        headers=_headers(body),
        tags=_tags(body),
        attachments=_attachments(body),
    )
    return MailRequest(mail, _priority(body), _send_at(body, now_ms), template)


# -- who ----------------------------------------------------------------------------------------------------------


def _refuse_sender(body: Mapping[str, object]) -> None:
    for field in _SENDER_FIELDS:
        if body.get(field) is not None:
            raise InvalidMail(field, "the sender is a setting (SENDGRID_FROM_EMAIL, SENDGRID_FROM_NAME); leave it out")


def _recipients(body: Mapping[str, object]) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """to, cc and bcc; an address that stands twice counts once, where it stands first."""
    seen: set[str] = set()
    groups: list[tuple[str, ...]] = []
    for field in ("to", "cc", "bcc"):
        group: list[str] = []
        for address in _address_list(body, field):
            if address.lower() not in seen:
                seen.add(address.lower())
                group.append(address)
        groups.append(tuple(group))
    if not groups[0]:
        raise InvalidMail("to", "give one address, or a list of addresses")
    if len(seen) > RECIPIENTS_MAX:
        raise InvalidMail("to", f"at most {RECIPIENTS_MAX} recipients in to, cc and bcc together")
    return groups[0], groups[1], groups[2]


def _address_list(body: Mapping[str, object], field: str) -> list[str]:
    value = body.get(field)
    if value is None:
        return []
    values = value if isinstance(value, list) else [value]
    if len(values) > RECIPIENTS_MAX:
        raise InvalidMail(field, f"at most {RECIPIENTS_MAX} recipients in to, cc and bcc together")
    return [_address(entry, field) for entry in values]


def _address(value: object, field: str) -> str:
    if not isinstance(value, str) or len(value) > 320:
        raise InvalidMail(field, "an address is a string such as user@example.com")
    try:
        # test_environment lets the reserved domain .test through, which no provider can deliver to.
        valid = validate_email(value, check_deliverability=False, allow_smtputf8=False, test_environment=True)
    except EmailNotValidError as error:
        raise InvalidMail(
            field, "this is not an address that can be delivered to; give one as user@example.com"
        ) from error
    return str(valid.ascii_email or valid.normalized)


def _reply_to(body: Mapping[str, object]) -> str | None:
    value = _either(body, "replyTo", "reply_to")
    return None if value is None else _address(value, "replyTo")


# -- what ---------------------------------------------------------------------------------------------------------


def _rendered(body: Mapping[str, object]) -> tuple[str | None, Rendered | None]:
    name = _either(body, "templateType", "template")
    variables = _either(body, "variables", "data")
    if variables is not None and not isinstance(variables, Mapping):
        raise InvalidMail("variables", "must be an object of names and values")
    if name is None:
        return None, None
    template = template_named(name) if isinstance(name, str) else None
    if template is None:
        raise InvalidMail("template", f"there is no such template; there are {', '.join(TEMPLATES)}")
    return template, render(template, variables or {})


def _either(body: Mapping[str, object], first: str, second: str) -> object:
    """The value that stands under one of two names."""
    one, other = body.get(first), body.get(second)
    if one is not None and other is not None and not _is_same(one, other):
        raise InvalidMail(first, f"{first} and {second} mean the same field and differ; give one")
    return other if one is None else one


def _is_same(one: object, other: object) -> bool:
    if isinstance(one, str) and isinstance(other, str):
        return template_named(one) == template_named(other) is not None or one == other
    return one == other


def _content(body: Mapping[str, object], rendered: Rendered | None) -> tuple[str, str | None, str]:
    subject, html, text = (_text(body, field) for field in ("subject", "html", "text"))
    if rendered is not None:
        subject = subject or rendered.subject
        if not html:
            text = text or rendered.text
            html = rendered.html
    if not subject:
        raise InvalidMail("subject", "give a subject, or a template")
    if len(subject) > SUBJECT_CHARACTERS_MAX or not _is_one_line(subject):
        raise InvalidMail("subject", f"one line of at most {SUBJECT_CHARACTERS_MAX} characters")
    if not html and not text:
        raise InvalidMail("html", "give html, text or a template")
    text = text or text_of(html or "")
    for field, part in (("html", html), ("text", text)):
        if part and len(part.encode()) > BODY_BYTES_MAX:
            raise InvalidMail(field, f"at most {BODY_BYTES_MAX} bytes")
    return subject, html or None, text


def _text(body: Mapping[str, object], field: str) -> str | None:
    value = body.get(field)
    if value is None or isinstance(value, str):
        return value
    raise InvalidMail(field, "must be a string")


def _is_one_line(text: str) -> bool:
    """No control characters, and none of the breaks that only Unicode knows."""
    return len(text.splitlines()) <= 1 and not any(char < " " or char == "\x7f" for char in text)


def _headers(body: Mapping[str, object]) -> tuple[tuple[str, str], ...]:
    value = body.get("headers")
    if value is None:
        return ()
    if not isinstance(value, Mapping) or len(value) > HEADERS_MAX:
        raise InvalidMail("headers", f"an object of at most {HEADERS_MAX} names and values")
    seen: dict[str, tuple[str, str]] = {}
    for name, content in value.items():
        if not _is_header_let_through(name):
            raise InvalidMail("headers", "only X- headers, List-, In-Reply-To, References and the like may be set")
        if not isinstance(content, str) or len(content) > HEADER_CHARACTERS_MAX or not _is_one_line(content):
            raise InvalidMail("headers", f"a value is one line of at most {HEADER_CHARACTERS_MAX} characters")
        if not content.isascii() or not content.strip():
            raise InvalidMail("headers", "a value is printable ASCII and not empty")
        seen[name.lower()] = (name, content.strip())
    return tuple(seen.values())


def _is_header_let_through(name: str) -> bool:
    lower = name.lower()
    if not _HEADER_NAME.fullmatch(name) or lower.startswith(_HEADERS_RESERVED):
        return False
    return lower.startswith("x-") or lower in _HEADERS_LET_THROUGH


def _tags(body: Mapping[str, object]) -> tuple[str, ...]:
    value = body.get("tags")
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > TAGS_MAX:
        raise InvalidMail("tags", f"a list of at most {TAGS_MAX}")
    for tag in value:
        if not isinstance(tag, str) or not 0 < len(tag) <= TAG_CHARACTERS_MAX or not _is_one_line(tag):
            raise InvalidMail("tags", f"a tag is one line of 1 to {TAG_CHARACTERS_MAX} characters")
    return tuple(dict.fromkeys(value))


# -- files --------------------------------------------------------------------------------------------------------


def _attachments(body: Mapping[str, object]) -> tuple[Attachment, ...]:
    value = body.get("attachments")
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > ATTACHMENTS_MAX:
        raise InvalidMail("attachments", f"a list of at most {ATTACHMENTS_MAX}")
    attachments = tuple(_attachment(entry) for entry in value)
    if sum(len(attachment.content) for attachment in attachments) > ATTACHMENTS_BYTES_MAX:
        raise InvalidMail("attachments", f"at most {ATTACHMENTS_BYTES_MAX} bytes of base64 together")
    return attachments


def _attachment(entry: object) -> Attachment:
    if not isinstance(entry, Mapping):
        raise InvalidMail("attachments", "each is an object with filename, content and type")
    disposition = entry.get("disposition", "attachment")
    if disposition not in ("attachment", "inline"):
        raise InvalidMail("attachments", "disposition is attachment or inline")
    content_id = entry.get("contentId")
    if content_id is not None and not (isinstance(content_id, str) and _CONTENT_ID.fullmatch(content_id)):
        raise InvalidMail("attachments", "contentId is 1 to 78 letters, digits and . _ @ + -")
    return Attachment(_filename(entry), _content_type(entry), _base64(entry), str(disposition), content_id)


def _filename(entry: Mapping[str, object]) -> str:
    name = entry.get("filename")
    if not isinstance(name, str) or not 0 < len(name) <= FILENAME_CHARACTERS_MAX or not _is_one_line(name):
        raise InvalidMail("attachments", f"filename is one line of 1 to {FILENAME_CHARACTERS_MAX} characters")
    if "/" in name or "\\" in name:
        raise InvalidMail("attachments", "filename is a name, not a path")
    return name


def _content_type(entry: Mapping[str, object]) -> str:
    given = entry.get("type") or "application/octet-stream"
    kind = given.lower() if isinstance(given, str) else ""
    if not _CONTENT_TYPE.fullmatch(kind) or kind.startswith(_TYPES_REFUSED):
        raise InvalidMail("attachments", "type is a media type such as application/pdf, not multipart or message")
    return kind


def _base64(entry: Mapping[str, object]) -> str:
    content = entry.get("content")
    if not isinstance(content, str) or not content or len(content) > ATTACHMENTS_BYTES_MAX:
        raise InvalidMail("attachments", f"content is base64, at most {ATTACHMENTS_BYTES_MAX} bytes of it")
    try:
        base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidMail("attachments", "content is not base64") from error
    return content


# -- when ---------------------------------------------------------------------------------------------------------


def _priority(body: Mapping[str, object]) -> int:
    value = body.get("priority")
    if value is None:
        return PRIORITIES["normal"]
    priority = PRIORITIES.get(value.lower()) if isinstance(value, str) else None
    if priority is None:
        raise InvalidMail("priority", "is high, normal or low")
    return priority


def _send_at(body: Mapping[str, object], now_ms: int) -> int | None:
    """Milliseconds; None when it is not given or past."""
    value = _either(body, "sendAt", "send_at")
    if value is None:
        return None
    at_ms = _time_ms(value)
    if at_ms is None:
        raise InvalidMail("sendAt", "is a time such as 2026-11-22T10:00:00Z, or milliseconds since 1970")
    if at_ms > now_ms + SCHEDULE_MS_MAX:
        raise InvalidMail("sendAt", "is at most a year ahead")
    return at_ms if at_ms > now_ms else None


def _time_ms(value: object) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return value if value >= MILLISECONDS_MIN else None
    if not isinstance(value, str) or len(value) > 40:
        return None
    try:
        moment = datetime.fromisoformat(value)
        return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError):
        return None
