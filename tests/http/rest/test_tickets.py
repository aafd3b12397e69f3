"""The ticket for the WebSocket, and a plain GET of its address."""

from typing import Any

from greenroom.http.rest.tickets import TicketAnswer

Front = Any  # tests/http/conftest.py, which cannot be imported


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


async def test_a_plain_get_of_the_socket_tells_what_it_is(front: Front):
    status, body, _ = await front.ask(front.client(), "GET", "/ws")
    assert status == 200
    assert body["data"]["protocols"] == ["greenroom.v1"]
