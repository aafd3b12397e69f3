"""Health: is it up, and what of it works.

`/api/health/ping` says only that the process answers: for liveness. `/api/health` says what checkup.py has found. 503
when the database does not answer or the sockets are moved away, so that a load balancer looks elsewhere; any other
broken part makes it `degraded`, with 200.
"""

from datetime import UTC, datetime
from typing import Literal

from greenroom import __version__
from greenroom.http.checkup import Findings
from greenroom.http.errors import timestamp
from greenroom.http.models import Meta, Output
from greenroom.http.route import Answer, Call, Operations

operations = Operations("health")


class HealthMetrics(Output):
    """Share of checks since the start that found the database well; duration of the slowest probe."""

    uptime: str
    response_time: str


class HealthData(Output):
    """Health in the words of the live system."""

    status: Literal["ok", "degraded", "draining"]
    timestamp: str
    version: str
    services: dict[str, str]


class HealthAnswer(Output):
    """Health in the words of guide A at the top, of the live system under `data`."""

    success: Literal[True]
    status: Literal["healthy", "degraded", "unhealthy", "draining"]
    timestamp: str
    services: dict[str, str]
    metrics: HealthMetrics
    data: HealthData
    meta: Meta


class Pong(Output):
    """The process answers."""

    status: Literal["ok"] = "ok"


@operations.get("/api/health/ping", auth="nobody", answer=Pong)
async def ping(_: Call) -> Answer:
    """Whether the process answers."""
    return Answer(Pong())


@operations.get("/api/health", auth="nobody", whole=HealthAnswer, also=["/health"])
async def get_health(call: Call) -> Answer:
    """Which parts work. 503 when the database does not, and while the sockets are moved away."""
    checkup = await call.services.checkup.result()
    now = timestamp(datetime.now(UTC))
    parts = dict(checkup.parts)
    is_moving = call.services.is_moving()
    takes = checkup.database_is_well and not is_moving
    short: Literal["ok", "degraded", "draining"] = "draining" if is_moving else "ok" if checkup.is_well else "degraded"
    return Answer(
        HealthData(status=short, timestamp=now, version=__version__, services=parts),
        status=200 if takes else 503,
        top={
            "success": takes,
            "status": _status(checkup, is_moving=is_moving),
            "timestamp": now,
            "services": parts,
            "metrics": HealthMetrics(
                uptime=f"{100 * checkup.share_well:.2f}%",
                response_time=f"{checkup.seconds * 1000:.0f}ms",
            ),
        },
    )


def _status(checkup: Findings, *, is_moving: bool) -> str:
    if not checkup.database_is_well:
        return "unhealthy"
    if is_moving:
        return "draining"
    return "healthy" if checkup.is_well else "degraded"
