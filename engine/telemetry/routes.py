"""What monitoring asks for: /metrics, /healthz (the process answers), /readyz (it may be sent traffic)."""

from collections.abc import Callable

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from engine.telemetry.observer import Telemetry


def operations_routes(telemetry: Telemetry, *, is_ready: Callable[[], bool]) -> list[Route]:
    """Make the routes; none asks for credentials and none tells more than counts."""

    async def metrics(_: Request) -> Response:
        return Response(telemetry.exposition(), media_type=CONTENT_TYPE_PLAIN_0_0_4)

    async def healthz(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(_: Request) -> Response:
        if is_ready():
            return PlainTextResponse("ready\n")
        return PlainTextResponse("not ready: rebuilding, stopping, or the disk refuses commits\n", status_code=503)

    return [Route("/metrics", metrics), Route("/healthz", healthz), Route("/readyz", readyz)]
