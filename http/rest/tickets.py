"""How a client gets to the WebSocket: a ticket for pages of another origin, and what a plain GET of /ws is told."""

from typing import Any, Final, Literal

from greenroom.http.models import Meta, Output
from greenroom.http.route import Answer, Call, Operations
from greenroom.http.tickets import TICKET_SECONDS
from greenroom.http.upgrade import V1
from greenroom.http.ws.limits_told import limits_of, limits_told

operations = Operations("websocket")

TRANSPORTS: Final = {"websocket": "/ws", "events": "/events", "poll": "/poll"}


class Ticket(Output):
    """A ticket, good once."""

    token: str
    expires_in: int
    ws_url: str


class TicketAnswer(Output):
    """The ticket stands beside `data` too: the existing client reads only that."""

    success: Literal[True]
    token: str
    expires_in: int
    ws_url: str
    data: Ticket
    meta: Meta


class SocketInfo(Output):
    """What the WebSocket at this address is, and what there is where none gets through.

    limits: as in `hello`. transports: the path of each.
    """

    url: str
    protocols: list[str]
    versions: list[int]
    limits: dict[str, Any]
    transports: dict[str, str]
    ticket_url: str
    message: str


@operations.get("/api/ws/token", auth="user", whole=TicketAnswer)
async def get_ticket(call: Call) -> Answer:
    """A single-use token for `/ws?token=…`, bound to the user and the session, good for a minute."""
    if call.principal.kind == "session":  # or any page could use up the tickets of its visitors
        call.services.origins.check_page(call.request.headers)
    text = call.services.tickets.issue(call.principal)
    ticket = Ticket(token=text, expires_in=TICKET_SECONDS, ws_url=socket_url(call))
    return Answer(ticket, top=ticket.model_dump(mode="json", by_alias=True))


@operations.get("/ws", auth="nobody", answer=SocketInfo, also=["/ws/info"])
async def get_socket_info(call: Call) -> Answer:
    """What a plain GET at the address of the WebSocket is told: its address, versions and limits."""
    return Answer(
        SocketInfo(
            url=socket_url(call),
            protocols=[V1],
            versions=[1],
            limits=limits_told(limits_of(call.services.settings)),
            transports=TRANSPORTS,
            ticket_url="/api/ws/token",
            message="this is a WebSocket: connect with an upgrade",
        )
    )


def socket_url(call: Call) -> str:
    """Where the WebSocket is, as this client reaches us."""
    public = call.services.settings.public_url
    if public:
        return f"ws{public.rstrip('/').removeprefix('http')}/ws"
    return f"{'wss' if call.is_https else 'ws'}://{call.request.host}/ws"
