"""The ticket for the WebSocket, and a plain GET of its address."""

from typing import Any

import pytest

from greenroom.http.rest.tickets import TicketAnswer
from greenroom.http.tickets import TICKETS_PER_USER_MAX

Front = Any  # tests/http/conftest.py, which cannot be imported
OWN = "http://127.0.0.1:8787"
PAGE = "https://pages.example"


async def test_a_ticket_stands_at_top_level_with_its_seconds_and_the_address(front: Front):
    status, body, headers = await front.ask(
        front.client(), "GET", "/api/ws/token", Host="chat.example:1", **front.bearer("17")
    )
    assert status == 200
    TicketAnswer.model_validate(body)
    assert (body["success"], body["expiresIn"], body["wsUrl"]) == (True, 60, "ws://chat.example:1/ws")
    assert headers["Cache-Control"] == "no-store"
    principal = front.services.tickets.redeem(body["token"])
    assert principal is not None
    assert principal.user_id == 17


async def test_the_address_of_the_socket_is_the_public_one(front: Front):
    client = front.client(public_url="https://chat.example.org/")
    assert (await front.ask(client, "GET", "/api/ws/token", **front.bearer("17")))[1][
        "wsUrl"
    ] == "wss://chat.example.org/ws"


async def test_without_a_session_and_with_a_revoked_one_there_is_no_ticket(front: Front):
    session = await front.session(17)
    await front.services.sessions.delete(session)
    for headers in ({}, {"Cookie": f"pitchey-session={session}"}):
        assert (await front.ask(front.client(), "GET", "/api/ws/token", **headers))[0] == 401


@pytest.mark.parametrize(
    "said",
    [
        {},  # a program
        {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"},  # our own page: a GET without an Origin
        {"Origin": OWN, "Sec-Fetch-Site": "same-origin"},
        {"Origin": PAGE, "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"},  # the existing client
        {"Origin": PAGE},  # in a browser that says no more
    ],
)
async def test_a_listed_page_gets_a_ticket_by_the_cookie_of_its_visitor(front: Front, said: dict[str, str]):
    client, session = front.client(allowed_origins=(PAGE,)), await front.session(17)
    status, body, _ = await front.ask(client, "GET", "/api/ws/token", Cookie=f"pitchey-session={session}", **said)
    assert status == 200, body
    assert front.services.tickets.redeem(body["token"]) is not None


@pytest.mark.parametrize(
    "said",
    [
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},  # as a picture's address, say: without an Origin
        {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
    ],
)
async def test_a_foreign_page_uses_up_none_of_its_visitors_tickets(front: Front, said: dict[str, str]):
    client, session = front.client(allowed_origins=(PAGE,)), await front.session(17)
    cookie = {"Cookie": f"pitchey-session={session}"}
    for _ in range(TICKETS_PER_USER_MAX):
        status, body, _ = await front.ask(client, "GET", "/api/ws/token", **cookie, **said)
        assert (status, body["error"]["code"]) == (403, "FORBIDDEN")
    assert (await front.ask(client, "GET", "/api/ws/token", **cookie, Origin=PAGE))[0] == 200


async def test_what_no_browser_adds_by_itself_gets_a_ticket_from_anywhere(front: Front):
    said = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    assert (await front.ask(front.client(), "GET", "/api/ws/token", **front.bearer("17"), **said))[0] == 200


async def test_a_plain_get_of_the_socket_tells_what_it_is(front: Front):
    status, body, _ = await front.ask(front.client(), "GET", "/ws")
    assert status == 200
    assert body["data"]["protocols"] == ["greenroom.v1"]
