"""What monitoring asks for: /metrics, /healthz (the process answers), /readyz (it may be sent traffic)."""

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from engine.telemetry.observer import Telemetry
from engine.telemetry.readiness import Readiness


def operations_routes(telemetry: Telemetry, readiness: Readiness) -> list[Route]:
    """Make the routes; none asks for credentials and none tells more than counts."""

    async def metrics(request: Request) -> Response:
        text, content_type = telemetry.exposition(request.headers.get("accept", ""))
        return Response(text, headers={"content-type": content_type})

    async def healthz(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(_: Request) -> Response:
        lacking = readiness.lacking()
        if not lacking:
            limits = readiness.limits()
            return PlainTextResponse(f"ready, but {limits}\n" if limits else "ready\n")
        return PlainTextResponse(f"not ready, because these do not hold: {', '.join(lacking)}\n", status_code=503)

    return [Route("/metrics", metrics), Route("/healthz", healthz), Route("/readyz", readyz)]
