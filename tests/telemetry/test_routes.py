"""What monitoring reads."""

import httpx
import pytest
from starlette.applications import Starlette

from engine.telemetry.observer import Telemetry
from engine.telemetry.routes import operations_routes

pytestmark = pytest.mark.anyio


async def ask(path: str, *, is_ready: bool) -> httpx.Response:
    app = Starlette(routes=operations_routes(Telemetry(), is_ready=lambda: is_ready))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://engine") as client:
        return await client.get(path)


async def test_metrics_are_prometheus_text() -> None:
    """The content type names the format and the build is known."""
    answer = await ask("/metrics", is_ready=True)

    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert 'maskline_build_info{python="' in answer.text


@pytest.mark.parametrize(("is_ready", "status"), [(True, 200), (False, 503)])
async def test_readiness_turns_with_the_engine(*, is_ready: bool, status: int) -> None:
    """Balancers see whether traffic may come; health does not depend on it."""
    ready = await ask("/readyz", is_ready=is_ready)
    healthy = await ask("/healthz", is_ready=is_ready)

    assert ready.status_code == status
    assert healthy.status_code == 200
