"""`GET /ws`: the one WebSocket route. Decide, say 101, hand the socket to the engine, be gone.

Everything expensive or hostile happens before the 101, as for any other view; afterwards neither Quart nor Hypercorn
carries a frame.
"""

import sys
from dataclasses import dataclass
from functools import partial

from quart import Quart, Response, Websocket, websocket

from greenroom.http.adoption import adopt, is_gone, offered_extensions
from greenroom.http.app import refuse_upgrade, request_id
from greenroom.http.auth import Principal
from greenroom.http.door import Door
from greenroom.http.origins import Origins, Proxies
from greenroom.http.tickets import Tickets
from greenroom.http.upgrade import V1, Admitted, SocketCaps, UpgradeRefused, UpgradeRequest, admit
from greenroom.http.ws.compat import CompatSession
from greenroom.http.ws.connection import Connection
from greenroom.http.ws.contract import Session
from greenroom.http.ws.deflate import agree
from greenroom.http.ws.deflating import DeflatingConnection
from greenroom.http.ws.services import SocketServices
from greenroom.http.ws.v1 import V1Session


@dataclass(frozen=True, slots=True)
class Admission:
    """What decides at the upgrade. compresses: permessage-deflate is agreed to when it is offered."""

    tickets: Tickets
    origins: Origins
    proxies: Proxies
    caps: SocketCaps
    door: Door
    compresses: bool = False


def add_socket_route(app: Quart, sockets: SocketServices, admission: Admission) -> None:
    """Register `/ws`."""

    @app.websocket("/ws")
    async def ws() -> Response | None:
        shown: Websocket = websocket._get_current_object()  # type: ignore[attr-defined]  # a proxy looks at each word
        peer = shown.scope["client"] or ("", 0)
        address = sys.intern(admission.proxies.client_address(peer[0], shown.headers))  # many share one
        fields = dict(shown.scope["headers"])  # asked for what is not there, Quart's raises and catches, 2 µs each
        request = UpgradeRequest.of(
            fields=fields,
            query=shown.args if shown.query_string else {},  # parsing nothing takes as long as checking a token
            cookies=shown.cookies if b"cookie" in fields else {},
            subprotocols=shown.requested_subprotocols,
            address=address,
        )
        changes = sockets.authenticator.changes
        decision = await admit(
            request,
            authenticator=sockets.authenticator,
            tickets=admission.tickets,
            origins=admission.origins,
            counts=sockets.engine,
            caps=admission.caps,
            door=admission.door,
            request_id=request_id,
            is_gone=partial(is_gone, shown),
        )
        if isinstance(decision, UpgradeRefused):
            return refuse_upgrade(decision)
        agreement = agree(offered_extensions(shown)) if admission.compresses else None
        headers = {"sec-websocket-extensions": agreement.answer} if agreement is not None else None
        adopted = await adopt(shown, subprotocol=V1 if decision.is_v1 else None, headers=headers)
        engine, make_session = sockets.engine, partial(_session, sockets, decision)
        if agreement is None:
            connection = engine.adopt(adopted, make_session, address)
        else:
            compressing = partial(DeflatingConnection, agreement=agreement, shared=engine.deflater)
            connection = engine.adopt(adopted, make_session, address, compressing)
        await sockets.catch_up(connection, changes)
        return None


def _session(sockets: SocketServices, decision: Admitted, connection: Connection) -> Session:
    if decision.is_v1:
        return V1Session(sockets, connection, decision.principal)
    principal: Principal | None = decision.principal
    assert principal is not None, "compat is admitted with a principal only"
    return CompatSession(sockets, connection, principal)
