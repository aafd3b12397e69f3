"""Reports over HTTP: somebody tells the administrators of a message or of a person, and these read it.

A report is stored once for who reports: again is answered as the first, which stands. Neither who is reported nor
anybody else is told. What a message says is not copied: the list shows what it says when it is read. With `block` who
is reported is blocked as well; when that fails, the same request again does what is left to do.
"""

from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StringConstraints

from greenroom.actors.notifier.commands import Block
from greenroom.http.decode import INTEGER_MAX
from greenroom.http.errors import ApiError
from greenroom.http.models import Input, Output, WholeNumber
from greenroom.http.rest.blocks import change_block
from greenroom.http.rest.rooms import charge_command, no_user
from greenroom.http.rest.rows import both_spellings
from greenroom.http.route import Answer, Call, Operations
from greenroom.http.ws.events import iso
from greenroom.http.ws.schemas.v1_commands import REASON_CHARACTERS_MAX

operations = Operations("reports")

READ_SCOPE: Final = "reports:read"
PAGE_MAX: Final = 200
PAGE_DEFAULT: Final = 50


class ReportWrite(Input):
    """Why."""

    reason: Annotated[str, StringConstraints(min_length=1, max_length=REASON_CHARACTERS_MAX)]
    block: StrictBool = Field(default=False, description="and hear nothing more of who is reported")


class ReportAnswer(Output):
    """It is stored. duplicate: it was before, and the first reason stands."""

    reported: bool
    duplicate: bool
    blocked: bool = Field(description="who is reported was blocked with it, as was asked for")


class ReportPage(Input):
    """Which part of the list: those before a report."""

    limit: Annotated[WholeNumber, Field(ge=1, le=PAGE_MAX)] = PAGE_DEFAULT
    before: Annotated[WholeNumber, Field(ge=1, le=INTEGER_MAX)] | None = None


class ReportRow(BaseModel):
    """A report; names of several words come in camelCase as well."""

    model_config = ConfigDict(frozen=True)

    id: int
    reporter_id: int
    message_id: int | None = Field(description="null: a person is reported")
    conversation_id: int | None
    user_id: int = Field(description="who is reported: of a message, its sender")
    reason: str
    content: str | None = Field(description="what the message says now, its first 1,000 characters")
    is_deleted: bool
    created_at: str


class ReportList(Output):
    """Reports, the newest first."""

    reports: list[ReportRow]
    has_more: bool


@operations.post("/api/messages/{id}/report", body=ReportWrite, answer=ReportAnswer, or_status=201)
async def report_message(call: Call) -> Answer:
    """Tell the administrators of a message. 201 when it is new."""
    message_id, written = call.id(), call.body(ReportWrite)
    charge_command(call)
    services = call.services.room_services
    reported = await services.reports.put_message(call.user_id, message_id, written.reason, _now_ms(call))
    if reported.user_id is None:
        raise ApiError("MESSAGE_NOT_FOUND", "there is no such message, or not for you")
    return await _answer(call, reported.user_id, reported.is_new)


@operations.post("/api/users/{id}/report", body=ReportWrite, answer=ReportAnswer, or_status=201)
async def report_user(call: Call) -> Answer:
    """Tell the administrators of somebody with whom one shares a conversation. 201 when it is new."""
    user_id, written = call.id(), call.body(ReportWrite)
    charge_command(call)
    services = call.services.room_services
    reported = await services.reports.put_user(call.user_id, user_id, written.reason, _now_ms(call))
    if reported.user_id is None and user_id != call.user_id:
        raise no_user(user_id)
    return await _answer(call, user_id, reported.is_new)


@operations.get("/api/reports", auth="principal", query=ReportPage, answer=ReportList)
async def list_reports(call: Call) -> Answer:
    """What was reported; for administrators, and keys with scope reports:read."""
    if not call.principal.has_scope(READ_SCOPE):
        raise ApiError("FORBIDDEN", f"only an administrator, or a key with scope {READ_SCOPE}, may do this")
    page = call.query(ReportPage)
    before_id = page.before if page.before is not None else INTEGER_MAX
    rows = await call.services.room_services.reports.page(before_id, page.limit + 1)
    return Answer({"reports": [_row(row) for row in rows[: page.limit]], "hasMore": len(rows) > page.limit})


def _now_ms(call: Call) -> int:
    return call.services.room_services.system.clock.wall_milliseconds()


async def _answer(call: Call, user_id: int, is_new: bool) -> Answer:
    if user_id == call.user_id:
        raise ApiError("VALIDATION", "nobody reports oneself")
    blocks = call.body(ReportWrite).block
    if blocks:
        await change_block(call, Block(user_id, True))
    answer = {"reported": True, "duplicate": not is_new, "blocked": blocks}
    return Answer(answer, status=201 if is_new else 200)


def _row(row: Any) -> dict[str, Any]:
    fields = dict(row)
    return both_spellings({**fields, "created_at": iso(fields.pop("created_at_ms"))})
