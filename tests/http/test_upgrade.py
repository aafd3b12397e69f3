"""The decision at the WebSocket upgrade, each sentence of the design."""

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
import trio
from wire import Refused, Socket

from greenroom.http.door import Door
from greenroom.http.origins import Origins
from greenroom.http.upgrade import (
    UNAUTHENTICATED_PER_ADDRESS_MAX,
    UNAUTHENTICATED_SOCKETS_MAX,
    V1,
    Admitted,
    SocketCaps,
    UpgradeRefused,
    UpgradeRequest,
    admit,
)
from greenroom.runtime import StorageUnavailable
from greenroom.settings import load_settings

Front = Any  # tests/http/conftest.py, which cannot be imported
PAGE = "https://app.example.org"
HERE = "203.0.113.9"
CAPS = SocketCaps(total=1000, per_user=20, per_address=100)
ORIGINS = Origins.from_settings(load_settings({"FRONTEND_URL": PAGE}))


@dataclass
class Counts:
    total: int = 0
    unauthenticated: int = 0
    unauthenticated_by_address: dict[str, int] = field(default_factory=dict)
    users: dict[int, int] = field(default_factory=dict)
    addresses: dict[str, int] = field(default_factory=dict)

    def unauthenticated_from(self, address: str) -> int:
        return self.unauthenticated_by_address.get(address, 0)

    def of_user(self, user_id: int) -> int:
        return self.users.get(user_id, 0)

    def from_address(self, address: str) -> int:
        return self.addresses.get(address, 0)


async def decide(
    front: Front, counts: Counts | None = None, caps: SocketCaps = CAPS, door: Door | None = None, **shown: Any
) -> Any:
    services = front.services
    return await admit(
        UpgradeRequest(address=HERE, **shown),
        authenticator=services.authenticator,
        tickets=services.tickets,
        origins=ORIGINS,
        counts=counts or Counts(),
        caps=caps,
        door=door or Door(0, trio.Event()),
        request_id=lambda: "r1",
    )


async def refused(front: Front, *args: Any, **shown: Any) -> tuple[int, Any]:
    decision = await decide(front, *args, **shown)
    assert isinstance(decision, UpgradeRefused), decision
    return decision.status, decision.body


async def admitted(front: Front, *args: Any, **shown: Any) -> Admitted:
    decision = await decide(front, *args, **shown)
    assert isinstance(decision, Admitted), decision
    return decision


@pytest.mark.parametrize("subprotocols", [(), ("other",), (V1,), ("other", V1)])
async def test_a_valid_cookie_header_or_ticket_is_admitted(front: Front, subprotocols: tuple[str, ...]):
    session = await front.session(17)
    principal = await front.services.authenticator.from_cookie(session)
    for shown in (
        {"cookies": {"pitchey-session": session}},
        {"authorization": f"Bearer {front.token('17')}"},
        {"ticket": front.services.tickets.issue(principal)},
    ):
        decision = await admitted(front, subprotocols=subprotocols, **shown)
        assert decision.principal is not None
        assert decision.principal.user_id == 17
        assert decision.is_v1 is (V1 in subprotocols)


async def test_without_subprotocol_and_credential_it_is_401_in_the_form_that_the_client_reads(front: Front):
    status, body = await refused(front)
    assert status == 401
    assert body["error"] == "Authentication required"
    assert body["fallback"] is True
    assert set(body["endpoints"]) == {"notifications", "messages", "dashboard", "all"}
    assert body["endpoints"]["all"] == "/api/poll/all"


async def test_with_v1_no_credential_is_allowed_and_a_wrong_one_is_401(front: Front):
    decision = await admitted(front, subprotocols=[V1])
    assert decision.principal is None
    for wrong in (
        {"authorization": "Bearer nonsense"},
        {"cookies": {"pitchey-session": "nonsense"}},
        {"ticket": "nonsense"},
    ):
        status, body = await refused(front, subprotocols=[V1], **wrong)
        assert status == 401
        assert body["success"] is False
        assert body["meta"]["requestId"] == "r1"


async def test_the_token_parameter_takes_only_a_ticket(front: Front):
    session = await front.session(17)
    for token in (front.token("17"), session, (await front.key("act_as"))["Authorization"][7:], ""):
        status, _ = await refused(front, ticket=token)
        assert status == 401
        # Not even with a good cookie beside it.
        status, _ = await refused(front, ticket=token, cookies={"pitchey-session": session})
        assert status == 401


async def test_a_ticket_is_gone_at_first_use(front: Front):
    ticket = front.services.tickets.issue(await front.services.authenticator.from_bearer(front.token("17")))
    await admitted(front, ticket=ticket)
    assert (await refused(front, ticket=ticket))[0] == 401


async def test_a_ticket_of_a_session_that_has_ended_since_is_401(front: Front):
    session = await front.session(17)
    ticket = front.services.tickets.issue(await front.services.authenticator.from_cookie(session))
    await front.services.sessions.delete(session)
    front.services.authenticator.forget_session(session)
    assert (await refused(front, ticket=ticket))[0] == 401


@pytest.mark.parametrize("subprotocols", [(), (V1,)])
async def test_a_wrong_header_beside_a_good_ticket_is_401_and_the_ticket_is_still_good(front: Front, subprotocols: Any):
    ticket = front.services.tickets.issue(await front.services.authenticator.from_bearer(front.token("17")))
    for wrong in ("Bearer nonsense", "Basic eDp5", "", f"Bearer {front.token('17', exp=1)}", f"Bearer {ticket}"):
        assert (await refused(front, subprotocols=subprotocols, ticket=ticket, authorization=wrong))[0] == 401
    right = f"Bearer {front.token('17')}"
    decision = await admitted(front, subprotocols=subprotocols, ticket=ticket, authorization=right)
    assert decision.principal is not None
    assert decision.principal.user_id == 17


async def test_a_ticket_and_a_header_of_two_users_are_401(front: Front):
    ticket = front.services.tickets.issue(await front.services.authenticator.from_bearer(front.token("17")))
    assert (await refused(front, ticket=ticket, authorization=f"Bearer {front.token('18')}"))[0] == 401
    decision = await admitted(front, ticket=ticket)
    assert decision.principal is not None
    assert decision.principal.user_id == 17, "it is still good"


async def test_a_cookie_beside_a_ticket_or_a_header_is_not_looked_at(front: Front):
    ticket = front.services.tickets.issue(await front.services.authenticator.from_bearer(front.token("17")))
    for shown in ({"ticket": ticket}, {"authorization": f"Bearer {front.token('17')}"}):
        await admitted(front, cookies={"pitchey-session": "of-last-year"}, **shown)


async def test_a_ticket_is_useless_a_minute_later(front: Front):
    ticket = front.services.tickets.issue(await front.services.authenticator.from_bearer(front.token("17")))
    front.clock.now += 60
    assert (await refused(front, ticket=ticket))[0] == 401


@pytest.mark.parametrize("subprotocols", [(), (V1,)])
async def test_an_absent_origin_is_allowed_and_null_or_an_unlisted_one_is_403(front: Front, subprotocols: Any):
    cookies = {"pitchey-session": await front.session(17)}
    await admitted(front, cookies=cookies, subprotocols=subprotocols)
    await admitted(front, cookies=cookies, subprotocols=subprotocols, origin=PAGE)
    for origin in ("null", "https://evil.example", "", f"{PAGE}.evil.example"):
        status, _ = await refused(front, cookies=cookies, subprotocols=subprotocols, origin=origin)
        assert status == 403


async def test_an_unlisted_origin_does_not_use_up_a_ticket(front: Front):
    ticket = front.services.tickets.issue(await front.services.authenticator.from_bearer(front.token("17")))
    await refused(front, ticket=ticket, origin="null")
    await admitted(front, ticket=ticket)


async def test_an_api_key_needs_a_user_to_act_for(front: Front):
    await front.services.users.know(17, {})
    key = await front.key("act_as")
    assert (await refused(front, authorization=key["Authorization"]))[0] == 403
    decision = await admitted(front, authorization=key["Authorization"], act_as="17")
    assert decision.principal is not None
    assert decision.principal.user_id == 17


@pytest.mark.parametrize("subprotocols", [(), (V1,)])
async def test_whoever_acts_for_a_user_without_an_api_key_is_400(front: Front, subprotocols: Any):
    principal = await front.services.authenticator.from_bearer(front.token("17"))
    ticket = front.services.tickets.issue(principal)
    session = await front.session(17)
    for shown in (
        {"cookies": {"pitchey-session": session}},
        {"authorization": f"Bearer {front.token('17')}"},
        {"ticket": ticket},
    ):
        status, body = await refused(front, subprotocols=subprotocols, act_as="17", **shown)
        assert (status, body["error"]["code"]) == (400, "VALIDATION")
    status, _ = await refused(front, subprotocols=subprotocols, act_as="17")
    assert status == (400 if subprotocols else 401)
    await admitted(front, subprotocols=subprotocols, ticket=ticket)


async def test_a_user_over_the_cap_is_refused_with_429(front: Front):
    shown = {"authorization": f"Bearer {front.token('17')}"}
    await admitted(front, Counts(users={17: 19}), **shown)
    assert (await refused(front, Counts(users={17: 20}), **shown))[0] == 429
    await admitted(front, Counts(users={17: 20}), SocketCaps(total=0, per_user=0, per_address=0), **shown)


async def test_an_address_over_the_cap_is_refused_with_429(front: Front):
    shown = {"authorization": f"Bearer {front.token('17')}"}
    assert (await refused(front, Counts(addresses={HERE: 100}), **shown))[0] == 429
    await admitted(front, Counts(addresses={"203.0.113.10": 100}), **shown)


async def test_a_full_server_says_503_and_when_to_come_back(front: Front):
    decision = await decide(front, Counts(total=1000), authorization=f"Bearer {front.token('17')}")
    assert decision.status == 503
    assert int(decision.headers["Retry-After"]) > 0


async def test_sockets_that_have_not_said_who_they_are_have_caps_of_their_own(front: Front):
    here = {HERE: UNAUTHENTICATED_PER_ADDRESS_MAX}
    assert (await refused(front, Counts(unauthenticated_by_address=here), subprotocols=[V1]))[0] == 429
    full = Counts(unauthenticated=UNAUTHENTICATED_SOCKETS_MAX)
    assert (await refused(front, full, subprotocols=[V1]))[0] == 503
    await admitted(front, full, subprotocols=[V1], authorization=f"Bearer {front.token('17')}")


async def test_when_storage_does_not_answer_it_is_503(front: Front, monkeypatch: pytest.MonkeyPatch):
    async def away(_: str) -> None:
        raise StorageUnavailable("away")

    monkeypatch.setattr(front.services.sessions, "find", away)
    status, body = await refused(front, cookies={"pitchey-session": "some-session"})
    assert status == 503
    assert (body["fallback"], body["pollInterval"], type(body["alternative"])) == (True, 30_000, str)
    assert body["endpoints"]["all"] == "/api/poll/all"
    status, body = await refused(front, subprotocols=[V1], cookies={"pitchey-session": "some-session"})
    assert (status, body["error"]["code"]) == (503, "SERVICE_UNAVAILABLE")


def used_up(per_second: int, line_seconds: float = 0.0) -> Door:
    """A door that has let in all that it may for a second, and has a line of so many seconds."""
    door = Door(per_second, trio.Event())
    assert door._bucket is not None
    for _ in range(round(per_second * (1 + line_seconds))):
        door._bucket.take(trio.current_time())
    return door


async def test_v1_that_comes_too_fast_is_503_before_its_credential_is_looked_at(front: Front):
    door = used_up(10, 0.3)
    decision = await decide(front, door=door, subprotocols=[V1], authorization="Bearer wrong")
    assert (decision.status, decision.body["error"]["code"]) == (503, "SERVICE_UNAVAILABLE")
    assert decision.headers["Retry-After"] == "1"
    await trio.sleep(0.5)
    assert (await decide(front, door=door, subprotocols=[V1], authorization="Bearer wrong")).status == 401
    await admitted(front, door=door, subprotocols=[V1], authorization=f"Bearer {front.token('17')}")


async def test_as_many_v1_as_may_come_in_while_their_credentials_are_looked_at(front: Front):
    door, statuses = Door(5, trio.Event()), list[int]()

    async def come(user: int) -> None:  # new here: PostgreSQL is asked who it is
        decision = await decide(front, door=door, subprotocols=[V1], authorization=f"Bearer {front.token(str(user))}")
        statuses.append(101 if isinstance(decision, Admitted) else decision.status)

    async with trio.open_nursery() as nursery:
        for user in range(1001, 1031):
            nursery.start_soon(come, user)
    assert sorted(statuses) == [101] * 5 + [503] * 25


@pytest.mark.parametrize(
    ("counts", "shown", "status"),
    [
        (Counts(), {"authorization": "Bearer nonsense"}, 401),
        (Counts(unauthenticated=UNAUTHENTICATED_SOCKETS_MAX), {}, 503),
        (Counts(unauthenticated_by_address={HERE: UNAUTHENTICATED_PER_ADDRESS_MAX}), {}, 429),
    ],
)
async def test_who_is_not_let_in_takes_nobody_s_place(front: Front, counts: Counts, shown: Any, status: int):
    door = Door(5, trio.Event())
    for _ in range(20):
        assert (await refused(front, counts, door=door, subprotocols=[V1], **shown))[0] == status
    await admitted(front, door=door, subprotocols=[V1], authorization=f"Bearer {front.token('17')}")


async def test_the_existing_client_waits_its_turn_and_is_let_in(front: Front):
    began = trio.current_time()
    await admitted(front, door=used_up(10, 0.3), authorization=f"Bearer {front.token('17')}")
    assert 0.25 < trio.current_time() - began < 2  # of 0.4 s: a machine that is busy makes it longer, nothing shorter


async def test_nobody_has_more_in_line_than_they_may_have_sockets(front: Front):
    door, statuses = used_up(10, 15.0), list[int]()

    async def come(user: str) -> None:
        decision = await decide(front, door=door, authorization=f"Bearer {front.token(user)}")
        statuses.append(101 if isinstance(decision, Admitted) else decision.status)

    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(come, "17")
        while door.statistics().waiting + len(statuses) < 50:  # noqa: ASYNC110 - PostgreSQL is asked before
            await trio.sleep(0.01)
        assert (statuses, door.statistics().waiting) == ([429] * (50 - CAPS.per_user), CAPS.per_user)
        nursery.start_soon(come, "18")  # waits behind them, and is let in
        while door.statistics().waiting <= CAPS.per_user:  # noqa: ASYNC110 - likewise
            await trio.sleep(0.01)
        door._is_closing.set()
    assert statuses.count(101) == CAPS.per_user + 1
    assert not door._in_line


async def test_the_existing_client_without_a_credential_hears_so_at_once(front: Front):
    with trio.fail_after(1):
        assert (await refused(front, door=used_up(10, 10.0)))[0] == 401


@pytest.mark.parametrize(
    ("full", "status"),
    [(Counts(total=1000), 503), (Counts(addresses={HERE: 100}), 429), (Counts(users={17: 20}), 429)],
)
async def test_who_has_waited_is_refused_over_the_hard_cap_alone(front: Front, full: Counts, status: int):
    counts, answers, door = Counts(), [], used_up(10, 2.0)

    async def ask() -> None:
        shown = {"authorization": f"Bearer {front.token('17')}"}
        answers.append((await refused(front, counts, door=door, **shown))[0])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        while not door.statistics().waiting:  # noqa: ASYNC110 - PostgreSQL is asked before
            await trio.sleep(0.01)
        counts.__dict__.update(full.__dict__)
    assert answers == [status]


async def test_nobody_is_left_in_line_when_the_process_stops(front: Front):
    door = used_up(10, 10.0)
    with trio.fail_after(2):
        async with trio.open_nursery() as nursery:
            for user in range(1, 6):
                shown = {"authorization": f"Bearer {front.token(str(user))}"}
                nursery.start_soon(partial(admitted, front, door=door, **shown))
            while door.statistics().waiting < 5:  # noqa: ASYNC110 - PostgreSQL is asked before
                await trio.sleep(0.01)
            door._is_closing.set()
    assert door.statistics().waiting == 0


@pytest.mark.parametrize("protocol", [None, V1], ids=["compat", "v1"])
async def test_a_fault_of_ours_is_500_and_tells_the_existing_client_where_to_poll(
    live_house: Any, protocol: str | None, monkeypatch: pytest.MonkeyPatch
):
    async def fail(**shown: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(live_house.house.authenticator, "authenticate", fail)
    async with trio.open_nursery() as nursery:
        with pytest.raises(Refused) as refused_:
            await Socket.open(nursery, live_house, 1, protocol=protocol)
    body = refused_.value.json()
    assert refused_.value.status == 500
    assert "a bug" not in str(body)
    if protocol is None:
        assert (body["code"], body["fallback"], body["pollInterval"]) == ("INTERNAL", True, 30_000)
        assert set(body["endpoints"]) == {"notifications", "messages", "dashboard", "all"}
    else:
        assert body["error"]["code"] == "INTERNAL"
