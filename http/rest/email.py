"""E-mail over HTTP: hand in a mail, several, or a template; ask how one went; ask how the e-mail side stands.

Only API keys with scope `email:send` and administrators may send. 202 means durable: the mail survives kill -9 from
then on. With an `Idempotency-Key` the same request gets the same answer for 24 hours, another body 409 CONFLICT. Who
handed a mail in may ask for its story, and administrators; to all others it does not exist.

Bodies are read here and not by a model: both guides' names are taken (provider_queue/request.py), and a mail with files
may be as large as MAX_FILE_SIZE, which is checked after who is asking.
"""

import re
from typing import Any, Literal

from pydantic import Field

from greenroom.actors.provider_queue.post_office import IdempotencyKey, PostOffice, Taken
from greenroom.actors.provider_queue.request import InvalidMail, MailRequest, normalise
from greenroom.http.auth import Principal
from greenroom.http.errors import ApiError
from greenroom.http.models import Input, Output
from greenroom.http.route import JSON_BYTES_MAX, Answer, Call, Operations
from greenroom.http.shared import Shared
from greenroom.runtime import StorageUnavailable, SystemClock
from greenroom.storage.postgres.outbox import KeyTaken

SEND_SCOPE = "email:send"
BATCH_MAILS_MAX = 100
_KEY = re.compile(r"[\x21-\x7e]{1,255}")


class MailFile(Input):
    """A file to send along."""

    filename: str
    content: str = Field(description="base64")
    type: str | None = Field(default=None, description="a media type; application/octet-stream if absent")
    disposition: Literal["attachment", "inline"] | None = None
    content_id: str | None = None


class MailWrite(Input):
    """A mail, for the documentation: provider_queue/request.py reads it. With neither template, `subject` and `html` or
    `text` are needed; who it is from is a setting."""

    to: str | list[str]
    cc: str | list[str] | None = None
    bcc: str | list[str] | None = None
    reply_to: str | None = None
    subject: str | None = None
    html: str | None = None
    text: str | None = None
    template_type: str | None = Field(default=None, description="the name of a template")
    template: str | None = Field(default=None, description="the same as templateType")
    variables: dict[str, Any] | None = Field(default=None, description="what the template is filled with")
    data: dict[str, Any] | None = Field(default=None, description="the same as variables")
    headers: dict[str, str] | None = None
    tags: list[str] | None = None
    attachments: list[MailFile] | None = None
    priority: Literal["high", "normal", "low"] | None = None
    send_at: str | int | None = Field(default=None, description="ISO 8601, or milliseconds since 1970; now if past")


class MailBatchWrite(Input):
    """Several mails."""

    emails: list[MailWrite] = Field(min_length=1, max_length=BATCH_MAILS_MAX)


class MailReceipt(Output):
    """A mail that is durable and will be sent."""

    id: str
    message_id: str = Field(description="the same as id")
    success: bool
    status: str
    to: list[str] = Field(description="masked")
    priority: str
    send_at: str | None
    timestamp: str


class BatchReceipt(Output):
    """Mails that are durable, all of the request."""

    success: int
    failed: int
    results: list[MailReceipt]


class MailStory(Output):
    """How a mail went. `unknown`: the provider may have it; it is never sent again."""

    id: str
    status: str = Field(
        description="pending, processing, sent, delivered, opened, clicked, failed, bounced, complained, unknown"
    )
    to: list[str] = Field(description="masked")
    provider: str
    will_be_sent_again: bool
    held: dict[str, Any] | None = Field(
        default=None, description="since, reason, nextAttemptAt: while no account is there to take it"
    )
    attempts_made: int = Field(description="calls of providers, also those that `attempts` leaves out")
    events: list[dict[str, Any]] = Field(description="type, timestamp, data; oldest first")
    attempts: list[dict[str, Any]] = Field(description="one for each call of a provider")


class EmailHealth(Output):
    """How the e-mail side stands; accounts and depths only for those who may send."""

    status: str
    provider: str
    accounts: list[dict[str, Any]] | None = None
    depths: list[dict[str, Any]] | None = None


class EmailHandlers:
    """The handlers, over one post office."""

    def __init__(self, post_office: PostOffice) -> None:
        self._post_office = post_office
        self._clock = SystemClock()
        self._open_health = Shared(self._find_open_health)

    async def send_email(self, call: Call) -> Answer:
        """Send a mail: `to`, and `subject` with `html` or `text`, or a template (`templateType` and `variables`, or
        `template` and `data`). Also `cc`, `bcc`, `replyTo`, `headers`, `tags`, `attachments`, `priority`, `sendAt`."""
        body = await _read(call)
        request = self._checked(body)
        key = _idempotency_key(call, "POST /api/email/send", body)
        return _answer(await self._post_office.accept_one(request, principal=_name(call.principal), key=key))

    async def send_template_email(self, call: Call) -> Answer:
        """Send a mail made from a template; the body is that of a mail, and the template is required."""
        body = await _read(call)
        request = self._checked(body)
        if request.template is None:
            raise ApiError("VALIDATION", "templateType: name the template")
        key = _idempotency_key(call, "POST /api/email/template", body)
        return _answer(await self._post_office.accept_one(request, principal=_name(call.principal), key=key))

    async def send_email_batch(self, call: Call) -> Answer:
        """Send 1 to 100 mails, `emails`: all are taken or none."""
        body = await _read(call)
        emails = body.get("emails")
        if not isinstance(emails, list) or not 0 < len(emails) <= BATCH_MAILS_MAX:
            raise ApiError("VALIDATION", f"emails: a list of 1 to {BATCH_MAILS_MAX} mails")
        requests = [self._checked(email, f"emails.{index}.") for index, email in enumerate(emails)]
        key = _idempotency_key(call, "POST /api/email/batch", body)
        return _answer(await self._post_office.accept_batch(requests, principal=_name(call.principal), key=key))

    async def get_email_status(self, call: Call) -> Answer:
        """The story of a mail, for who handed it in."""
        found = await self._post_office.status(call.text("email"))
        if found is None or not (call.principal.is_admin or found[0] == _name(call.principal)):
            raise ApiError("NOT_FOUND", "there is no such mail")
        return Answer(found[1])

    async def get_email_health(self, call: Call) -> Answer:
        """Whether mail can be sent now."""
        if call.caller is not None and _may_send(call.caller):
            return Answer(await self._post_office.health())
        return Answer(await self._open_health.result())

    async def _find_open_health(self) -> dict[str, object]:
        """The part of the health that is for all. Without storage no mail is taken."""
        try:
            status = (await self._post_office.health())["status"]
        except StorageUnavailable:
            status = "unhealthy"
        return {"status": status, "provider": self._post_office.provider}

    def _checked(self, body: object, prefix: str = "") -> MailRequest:
        try:
            return normalise(body, now_ms=self._clock.wall_milliseconds())
        except InvalidMail as fault:
            field = prefix + fault.field
            message = str(fault).partition(": ")[2]
            raise ApiError(
                "VALIDATION", f"{field}: {message}", details=[{"field": field, "message": message}]
            ) from None


def email_operations(post_office: PostOffice) -> Operations:
    """The operations, for `make_app`."""
    operations, handlers = Operations("email"), EmailHandlers(post_office)
    one = {"auth": "principal", "reads_body": MailWrite, "answer": MailReceipt, "status": 202}
    several = {"auth": "principal", "reads_body": MailBatchWrite, "answer": BatchReceipt, "status": 202}
    operations.post("/api/email/send", **one)(handlers.send_email)
    operations.post("/api/email/template", **one)(handlers.send_template_email)
    operations.post("/api/email/batch", **several)(handlers.send_email_batch)
    operations.get("/api/email/{email}/status", auth="principal", answer=MailStory)(handlers.get_email_status)
    operations.get("/api/email/health", auth="anybody", answer=EmailHealth)(handlers.get_email_health)
    return operations


def _may_send(principal: Principal) -> bool:
    return principal.is_admin or (principal.key_id is not None and SEND_SCOPE in principal.scopes)


def _name(principal: Principal) -> str:
    """Who handed a mail in, as it is stored."""
    return f"key:{principal.key_id}" if principal.key_id is not None else f"user:{principal.user_id}"


async def _read(call: Call) -> dict[str, object]:
    """The body of who may send. Raises: ApiError."""
    _check_may_send(call.principal)
    body = await call.read_json(max(JSON_BYTES_MAX, call.services.settings.max_file_size))
    _check_may_send(call.principal)  # who it is by the end of the body
    return body


def _check_may_send(principal: Principal) -> None:
    if not _may_send(principal):
        raise ApiError("FORBIDDEN", f"only an API key with scope {SEND_SCOPE} or an administrator may send mail")


def _idempotency_key(call: Call, route: str, body: object) -> IdempotencyKey | None:
    key = call.request.headers.get("Idempotency-Key")
    if key is None:
        return None
    if not _KEY.fullmatch(key):
        raise ApiError("VALIDATION", "Idempotency-Key: 1 to 255 printable ASCII characters without spaces")
    return IdempotencyKey(route, key, body)


def _answer(taken: Taken | KeyTaken) -> Answer:
    if isinstance(taken, KeyTaken):
        raise ApiError("CONFLICT", "this Idempotency-Key was used for another body; choose a new one")
    headers = {"Idempotency-Replay": "true"} if taken.is_replay else {}
    return Answer(taken.data, status=taken.status, headers=headers)
