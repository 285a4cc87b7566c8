"""What monitoring reads."""

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as plain_text
from starlette.applications import Starlette

from engine.telemetry.observer import Telemetry
from engine.telemetry.readiness import Latch, Readiness
from engine.telemetry.routes import operations_routes

pytestmark = pytest.mark.anyio


async def ask(path: str, *, accept: str = "*/*", **checks: bool) -> httpx.Response:
    readiness = Readiness({name.replace("_", "-"): lambda holds=holds: holds for name, holds in checks.items()})  # type: ignore[misc]
    app = Starlette(routes=operations_routes(Telemetry(), readiness))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://engine") as client:
        return await client.get(path, headers={"accept": accept})


async def test_metrics_are_prometheus_text_unless_something_else_is_asked_for() -> None:
    """The content type names the format and the build is known."""
    answer = await ask("/metrics")

    families = {family.name: family for family in plain_text(answer.text)}
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert families["maskline_build_info"].samples[0].labels["version"]
    assert families["maskline_events"].type == "counter"


async def test_metrics_are_openmetrics_for_who_accepts_it() -> None:
    """As a current Prometheus asks; the strict parser reads it to its end, and it has the same metrics."""
    accept = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2"
    answer = await ask("/metrics", accept=accept)
    plain = await ask("/metrics")

    families = {family.name for family in open_metrics(answer.text)}  # type: ignore[no-untyped-call] # the library's
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0; charset=utf-8")
    assert answer.text.endswith("# EOF\n")
    assert {name for name in families if name.startswith("maskline_")} == {
        family.name for family in plain_text(plain.text) if family.name.startswith("maskline_")
    }


@pytest.mark.parametrize(
    "accept", ["", "application/json", "application/openmetrics-text;version=new", "text/plain;version=;q=x"]
)
async def test_an_odd_accept_header_is_answered_all_the_same(accept: str) -> None:
    """With one of the two formats."""
    answer = await ask("/metrics", accept=accept)

    assert answer.status_code == 200
    assert "maskline_build_info" in answer.text


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("application/openmetrics-text", "application/openmetrics-text"),
        ("application/openmetrics-text;q=0", "text/plain"),
        ("text/plain;version=0.0.4,application/openmetrics-text;q=0.0", "text/plain"),
        ("text/plain;version=0.0.4;q=0.9,application/openmetrics-text;version=1.0.0;q=0.1", "text/plain"),
        ("application/openmetrics-text; q=0.9 , text/plain; q=0.8", "application/openmetrics-text"),
        ("text/plain, application/openmetrics-text", "application/openmetrics-text"),
        ("application/openmetrics-text;q=0.5,*/*;q=0.1", "application/openmetrics-text"),
        ("application/openmetrics-text;q=0.5,*/*", "text/plain"),
        ("application/openmetrics-text;q=0.5,text/plain;q=0.4,*/*", "application/openmetrics-text"),
        ("*/*", "text/plain"),
        ("text/html", "text/plain"),
    ],
)
async def test_the_better_liked_format_is_answered(accept: str, media_type: str) -> None:
    """By quality (RFC 9110 12.4.2); OpenMetrics where both are liked alike, plain text where neither is named."""
    answer = await ask("/metrics", accept=accept)

    assert answer.headers["content-type"].partition(";")[0] == media_type


async def test_openmetrics_of_a_later_version_is_answered_in_ours() -> None:
    """The header says which it is."""
    answer = await ask("/metrics", accept="application/openmetrics-text;version=2.0.0")

    assert "version=1.0.0" in answer.headers["content-type"]


async def test_readiness_names_what_does_not_hold() -> None:
    """Balancers see whether traffic may come, operators see why not; health does not depend on it."""
    ready = await ask("/readyz", disk_writable=True, numbers_rebuilt=True)
    not_ready = await ask("/readyz", disk_writable=False, numbers_rebuilt=True, outbox_within_limit=False)
    healthy = await ask("/healthz", disk_writable=False)

    assert (ready.status_code, ready.text) == (200, "ready\n")
    assert not_ready.status_code == 503
    assert "disk-writable" in not_ready.text
    assert "outbox-within-limit" in not_ready.text
    assert "numbers-rebuilt" not in not_ready.text
    assert healthy.status_code == 200


async def test_what_a_ready_host_does_not_serve_stands_in_the_answer() -> None:
    """It is 200 still: a balancer that took the host out would lose the rest of its traffic too."""
    readiness = Readiness({"disk-writable": lambda: True}, limits=lambda: "12 numbers wait")
    app = Starlette(routes=operations_routes(Telemetry(), readiness))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://engine") as client:
        answer = await client.get("/readyz")

    assert (answer.status_code, answer.text) == (200, "ready, but 12 numbers wait\n")


def test_a_latch_holds_for_good_once_it_held() -> None:
    """Numbers that lose their coordinator later do not take the host out of a balancer."""
    now: list[bool] = [False]
    latch = Latch(lambda: now[0])

    before = latch()
    now[0] = True
    then = latch()
    now[0] = False

    assert (before, then, latch()) == (False, True, True)
