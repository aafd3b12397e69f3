"""SendGrid, `POST /v3/mail/send`.

Facts from the published spec (twilio/sendgrid-oai, spec/json/tsg_mail_v3.json) and what the service adds to it:

- 202 with an empty body and, on the live service, `X-Message-Id`; 200 in sandbox mode.
- text/plain stands before text/html. Custom arguments go into the personalization: at the top level the spec types
  them as a string. They come back at the top level of every event, hence the prefix `gr_`.
- 401 with "Maximum credits exceeded" is the plan, not the key. 429 carries `X-RateLimit-Reset` in epoch seconds.
- 500 is not known to mean "not taken", nor are 502 and 504, nor any 5xx without a body: those are `Unknown`. So are the
  codes by which a proxy before it says that it lost sight of the request (520, 522, 524, 527, 598, 599).
"""

import json
from collections.abc import Callable, Iterable, Mapping
from email.utils import parsedate_to_datetime

from greenroom.actors.providers.provider import (
    ASKED_MS_MAX,
    Accepted,
    Attachment,
    Deferred,
    Fault,
    Mail,
    Outcome,
    Provider,
    Rejected,
    Sender,
    Unknown,
    bounded,
)
from greenroom.actors.providers.transport import Ambiguous, Answer, NotSent, Transport

API_URL = "https://api.sendgrid.com"
SEND_PATH = "/v3/mail/send"
_ALWAYS_AMBIGUOUS = frozenset((500, 502, 504, 520, 522, 524, 527, 598, 599))
_FAULT_OF = {  # any other 4xx is ours to configure
    400: Fault.CONTENT,
    413: Fault.CONTENT,
    422: Fault.CONTENT,
    408: Fault.TEMPORARY,
    425: Fault.TEMPORARY,
}


class SendGrid(Provider):
    """One account."""

    is_redo_safe = False

    def __init__(
        self, transport: Transport, *, url: str, api_key: str, sender: Sender, wall_ms: Callable[[], int]
    ) -> None:
        self._transport = transport
        self._url = send_url(url)
        self._headers = {
            "Authorization": f"Bearer {api_key}",
            "Content-Type": "application/json",
            "Accept": "application/json",
            "User-Agent": "greenroom",
        }
        self._sender = sender
        self._wall_ms = wall_ms

    @property
    def sender(self) -> Sender:
        """Who its mail is from."""
        return self._sender

    async def send(self, mail: Mail, attempt_id: str) -> Outcome:
        """Hand over *mail*."""
        body = json.dumps(encode(mail, attempt_id, self._sender), ensure_ascii=False, separators=(",", ":"))
        answer = await self._transport.post(self._url, self._headers, body.encode())
        if isinstance(answer, NotSent):
            # Nothing had left: the account is not there. A part had: it may be there, and choke on this mail.
            fault = Fault.TEMPORARY if answer.is_begun else Fault.UNAVAILABLE
            return Rejected(fault, bounded(f"not sent: {answer.text}"))
        if isinstance(answer, Ambiguous):
            return Unknown(bounded(answer.text))
        return classify(answer, self._wall_ms())


def send_url(base: str) -> str:
    """The address to post to; *base* may or may not carry the path already."""
    return base.rstrip("/").removesuffix(SEND_PATH).removesuffix("/v3") + SEND_PATH


def encode(mail: Mail, attempt_id: str, sender: Sender) -> dict[str, object]:
    """The JSON body of one mail. Pure."""
    personalization: dict[str, object] = {
        "to": _addresses(mail.to),
        "custom_args": {"gr_attempt": attempt_id, "gr_email": mail.id},
    }
    if mail.cc:
        personalization["cc"] = _addresses(mail.cc)
    if mail.bcc:
        personalization["bcc"] = _addresses(mail.bcc)
    content = [{"type": "text/plain", "value": mail.text}]
    if mail.html:
        content.append({"type": "text/html", "value": mail.html})
    body: dict[str, object] = {
        "personalizations": [personalization],
        "from": {"email": sender.email, "name": sender.name} if sender.name else {"email": sender.email},
        "subject": mail.subject,
        "content": content,
    }
    if mail.reply_to:
        body["reply_to"] = {"email": mail.reply_to}
    if mail.headers:
        body["headers"] = dict(mail.headers)
    if mail.tags:
        body["categories"] = list(mail.tags)
    if mail.attachments:
        body["attachments"] = [_attachment(attachment) for attachment in mail.attachments]
    return body


def classify(answer: Answer, now_ms: int) -> Outcome:
    """What an answer means. Pure; the classes are those of the table in provider_queue/state.py."""
    if answer.status in (200, 202):
        return Accepted(answer.headers.get("x-message-id"))
    text = bounded(f"{answer.status} {_said(answer.body)}")
    if answer.status == 429:
        reset_ms = _epoch_ms(answer.headers.get("x-ratelimit-reset"))
        return Deferred(_asked_ms([reset_ms, _retry_after_ms(answer.headers, now_ms)], now_ms), text)
    if answer.status == 401 and "maximum credits exceeded" in text.lower():
        return Rejected(Fault.QUOTA, text)
    if 400 <= answer.status < 500:
        return Rejected(_FAULT_OF.get(answer.status, Fault.CONFIG), text)
    if 300 <= answer.status < 400:
        return Rejected(Fault.CONFIG, bounded(f"{answer.status}: a redirect; check SENDGRID_API_URL"))
    if answer.status >= 500 and answer.status not in _ALWAYS_AMBIGUOUS and answer.body:
        return Rejected(Fault.UNAVAILABLE, text, _asked_ms([_retry_after_ms(answer.headers, now_ms)], now_ms))
    return Unknown(text)


def _said(body: bytes | None) -> str:
    """The messages of an error body, or the beginning of whatever it is."""
    if not body:
        return ""
    try:
        errors = json.loads(body)["errors"]
        return "; ".join(str(error["message"]) for error in errors)
    except (ValueError, KeyError, TypeError, RecursionError):
        return body[:200].decode("utf-8", "replace")


def _asked_ms(times_ms: Iterable[int | None], now_ms: int) -> int | None:
    """The latest of what was asked for, if anything was: not before now, and not a day ahead."""
    until_ms = max((time_ms for time_ms in times_ms if time_ms is not None), default=None)
    return None if until_ms is None else min(max(until_ms, now_ms), now_ms + ASKED_MS_MAX)


def _epoch_ms(value: str | None) -> int | None:
    return int(value) * 1000 if value and value.isascii() and value.isdigit() and len(value) < 12 else None


def _retry_after_ms(headers: Mapping[str, str], now_ms: int) -> int | None:
    """Retry-After: seconds, or a date."""
    value = headers.get("retry-after")
    if not value:
        return None
    seconds_ms = _epoch_ms(value)
    if seconds_ms is not None:
        return now_ms + seconds_ms
    try:
        return int(parsedate_to_datetime(value).timestamp() * 1000)
    except (ValueError, OverflowError):
        return None


def _addresses(emails: tuple[str, ...]) -> list[dict[str, str]]:
    return [{"email": email} for email in emails]


def _attachment(attachment: Attachment) -> dict[str, str]:
    encoded = {
        "content": attachment.content,
        "filename": attachment.filename,
        "type": attachment.content_type,
        "disposition": attachment.disposition,
    }
    if attachment.content_id:
        encoded["content_id"] = attachment.content_id
    return encoded
