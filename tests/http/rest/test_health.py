"""Health: the parts, for real, within bounds."""

from dataclasses import replace
from typing import Any

import trio
import trio.testing

from greenroom.http.checkup import PROBE_SECONDS_MAX, Checkup
from greenroom.http.rest.health import HealthAnswer

Front = Any  # tests/http/conftest.py, which cannot be imported


async def test_health_has_the_words_of_guide_a_at_the_top_and_the_live_ones_under_data(front: Front):
    status, body, _ = await front.ask(front.client(), "GET", "/api/health")
    assert status == 200
    HealthAnswer.model_validate(body)
    assert body["status"] == "healthy"
    assert body["services"] == {
        "database": "healthy",
        "redis": "not_configured",
        "email": "not_configured",
        "messaging": "not_configured",
    }
    assert body["metrics"]["uptime"] == "100.00%"
    assert body["metrics"]["responseTime"].endswith("ms")
    assert (body["data"]["status"], body["data"]["services"]) == ("ok", body["services"])


async def broken() -> None:
    await trio.lowlevel.checkpoint()
    raise OSError("away")


async def fine() -> None:
    await trio.lowlevel.checkpoint()


async def test_a_database_that_is_away_makes_it_unhealthy_with_503_and_liveness_stays(front: Front):
    services = replace(front.services, checkup=Checkup({"database": broken}))
    client = replace(front, services=services).client()
    status, body, _ = await front.ask(client, "GET", "/api/health")
    assert (status, body["status"], body["services"]["database"]) == (503, "unhealthy", "unhealthy")
    assert body["data"]["status"] == "degraded"
    assert (await front.ask(client, "GET", "/api/health/ping"))[0] == 200


async def test_another_part_that_is_away_makes_it_degraded(front: Front):
    services = replace(front.services, checkup=Checkup({"database": fine, "email": broken}))
    status, body, _ = await front.ask(replace(front, services=services).client(), "GET", "/api/health")
    assert (status, body["status"], body["services"]["email"]) == (200, "degraded", "unhealthy")


async def test_a_part_that_does_not_answer_is_waited_for_only_so_long_and_shared(
    autojump_clock: trio.testing.MockClock,
):
    asked = 0

    async def silent() -> None:
        nonlocal asked
        asked += 1
        await trio.sleep_forever()

    checkup = Checkup({"database": silent})
    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(checkup.result)
    assert asked == 1
    assert trio.current_time() <= PROBE_SECONDS_MAX + 1
    assert not (await checkup.result()).database_is_well
