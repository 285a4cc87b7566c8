"""`make ops-test`: promtool, hadolint and systemd check the kit; a real Prometheus scrapes a loaded engine.

Not part of `make test`, which checks the same files without these tools (`tests/test_deploy.py`).
"""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import jsonschema_rs
import msgspec
import pytest

from tests import postgres
from tests.cluster.live_cluster import LiveCluster, eventually
from tests.cluster.live_node import HOSTS, LiveNode
from tests.e2e.application import serving
from tests.e2e.live import NO_TLS, LiveServer, free_port
from tests.ops.kit import DASHBOARDS, DEPLOY, PROMETHEUS, ROOT, SERVICES, dashboard, panels, rules, selectors
from tests.ops.prometheus import PrometheusServer, Samples, prometheus
from tests.ops.traffic import traffic_on

LOAD_SECONDS = float(os.environ.get("OPS_SECONDS", "60"))
"""How long the engine is loaded before Prometheus is asked."""

SERVE = (
    *("--metrics-services", "3", "--rate-limit-per-second", "40", "--webhook-tries", "2"),
    *("--feed-listen", "127.0.0.1:0", "--outgoing-allow", "127.0.0.0/8"),
)
SIP = """
sip_listen = "127.0.0.1:{port}"
[sip_peers.switch]
networks = ["127.0.0.1"]
"""
GRAFANA = {"$__rate_interval": "10s", "$instance": ".*", "$service": ".*"}
SEEN = ROOT / "build" / "ops" / "panels.json"

SCHEMA = ROOT / "build" / "grafana" / "dashboard.json"
OF_THE_PLUGIN = ("expr", "titleFormat", "definition")

pytestmark = pytest.mark.timeout(LOAD_SECONDS + 240)


def run(*command: str) -> str:
    """Run a tool; its output when it is content, a failure with it when not."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - tools of this task
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_promtool_accepts_configuration_and_rules() -> None:
    """And every case of every alert comes out as it says."""
    run("promtool", "check", "config", str(PROMETHEUS / "prometheus.yml"))
    run("promtool", "check", "rules", str(PROMETHEUS / "maskline.rules.yml"))
    run("promtool", "test", "rules", str(PROMETHEUS / "maskline.test.yml"))


def test_hadolint_accepts_the_dockerfile() -> None:
    """Without a word."""
    assert run("hadolint", str(DEPLOY / "docker" / "Dockerfile")) == ""


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_dashboards_are_what_grafana_takes(path: Path) -> None:
    """By the schema that Grafana's own types make; what Prometheus' plugin adds to it is left out."""
    schema = jsonschema_rs.validator_for(json.loads(SCHEMA.read_bytes()))
    content = dashboard(path)
    for one in (*content["annotations"]["list"], *content["templating"]["list"]):
        for name in OF_THE_PLUGIN:
            one.pop(name, None)

    wrong = [(one.instance_path, one.message[:200]) for one in schema.iter_errors(content)]
    unknown = [one.message for one in schema.iter_errors({**content, "panles": []})]

    assert wrong == []
    assert unknown


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd here")
def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    """With our command at the place of the installed one."""
    unit = (DEPLOY / "systemd" / "maskline.service").read_text("utf-8")
    ours = tmp_path / "maskline.service"
    ours.write_text(
        unit.replace("/opt/maskline/bin/maskline", str(Path(sys.executable).with_name("maskline"))), "utf-8"
    )

    run("systemd-analyze", "verify", str(ours))


@pytest.fixture(scope="module")
def observed(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: postgres.Server
) -> Iterator[tuple[LiveServer, PrometheusServer]]:
    """Load an engine under the eyes of Prometheus, and hand both over while it goes on.

    The hosts of a node of a cluster on a database are scraped beside it, idle, for what only such ones show.
    """
    directory = tmp_path_factory.mktemp("ops")
    sip_port = free_port()
    configuration = directory / "maskline.toml"
    configuration.write_text(SIP.format(port=sip_port))
    with ExitStack() as stack:
        application = stack.enter_context(serving())
        server = LiveServer(directory / "data", "--config", str(configuration), *SERVE)
        stack.callback(server.stop)
        database = stack.enter_context(postgres_server.database())
        node = LiveNode(directory, "node", database)
        stack.callback(node.end)
        node.serve()
        node.await_carriers(*["node"] * HOSTS)
        listed = json.loads((node.data_dir / "prometheus-targets.json").read_bytes())
        hosts = [target for one in listed for target in one["targets"]]
        targets = [server.address.removeprefix("http://"), *hosts]
        prometheus_server = stack.enter_context(prometheus(directory / "prometheus", targets=targets))
        stack.enter_context(traffic_on(server, application, sip_port=sip_port))
        time.sleep(LOAD_SECONDS)
        yield server, prometheus_server


def test_prometheus_scrapes_without_complaint(observed: tuple[LiveServer, PrometheusServer]) -> None:
    """In OpenMetrics, in far less than the second that it has."""
    _, prometheus_server = observed

    (slowest,) = prometheus_server.now("max(max_over_time(scrape_duration_seconds[1m]))")
    (samples,) = prometheus_server.now("max(scrape_samples_scraped)")

    print(f"slowest scrape {float(slowest['value'][1]) * 1000:.1f} ms, {samples['value'][1]} samples")  # noqa: T201
    assert [(one["health"], one["lastError"]) for one in prometheus_server.targets()] == [("up", "")] * (1 + HOSTS)
    assert float(slowest["value"][1]) < 1


def test_promtool_finds_nothing_to_mend_in_the_page(observed: tuple[LiveServer, PrometheusServer]) -> None:
    """Names, types and help, by Prometheus' own conventions."""
    server, _ = observed
    page = httpx.get(f"{server.address}/metrics", verify=NO_TLS).text

    command = ("promtool", "check", "metrics")
    done = subprocess.run(command, input=page, capture_output=True, text=True, check=False)  # noqa: S603 - as above

    assert done.returncode in {0, 3}, done.stderr  # 3: it has remarks
    assert [line for line in done.stderr.splitlines() if line.startswith("maskline_")] == []


def test_every_query_of_every_panel_returns_data(observed: tuple[LiveServer, PrometheusServer]) -> None:
    """A finite value at least; what was seen is kept for `make ops-pictures`."""
    _, prometheus_server = observed
    seen, empty, drawn = [], [], panels()
    for panel in (*drawn, *panels(SERVICES)):
        series = []
        for expr, legend in panel.targets:
            found = prometheus_server.lately(filled_in(expr), seconds=LOAD_SECONDS)
            series.append({"legend": legend, "series": found})
            if not has_values(found):
                empty.append((panel.title, expr))
        if panel in drawn:
            seen.append({**msgspec.structs.asdict(panel), "targets": series})
    SEEN.parent.mkdir(parents=True, exist_ok=True)
    SEEN.write_text(json.dumps(seen), "utf-8")

    assert empty == []


def test_every_rule_is_evaluated_on_data(observed: tuple[LiveServer, PrometheusServer]) -> None:
    """Without an error; records have values, and whatever an alert compares is there."""
    _, prometheus_server = observed
    health = {rule["name"]: (rule["health"], rule.get("lastError", "")) for rule in prometheus_server.rules()}
    empty = [
        (rule.name, found.metric)
        for rule in rules()
        for found in selectors(rule.expr)
        if not prometheus_server.now(series_of(rule.expr, found.metric))
    ]
    unrecorded = [
        rule.name for rule in rules() if not rule.is_alert and not has_values(prometheus_server.now(rule.name))
    ]

    assert set(health.values()) == {("ok", "")}
    assert (empty, unrecorded) == ([], [])


def test_alerts_fire_for_what_the_traffic_does_wrong(observed: tuple[LiveServer, PrometheusServer]) -> None:
    """Those that wait for nothing; the others have their cases."""
    _, prometheus_server = observed

    firing = {rule["name"] for rule in prometheus_server.rules() if rule.get("state") == "firing"}

    print("firing:", ", ".join(sorted(firing)))  # noqa: T201
    assert {"MasklineDeadLetters", "MasklinePoolExhausted"} <= firing
    assert not firing & {"MasklineDown", "MasklineNotReady", "MasklineCommitsFail", "MasklineOperationsFail"}


def test_prometheus_follows_the_hosts_of_a_cluster(tmp_path: Path) -> None:
    """It finds them in their file; one that hangs is seen by the other, and is back after its restart."""
    cluster = LiveCluster(tmp_path / "data")
    cluster.serve()
    try:
        cluster.await_ready()
        with prometheus(tmp_path / "prometheus", discovery=cluster.data_dir / "prometheus-targets.json") as server:
            eventually(lambda: len(server.now('up{job="maskline"} == 1')) == 2, "both hosts are scraped")
            both = ready(server)
            old = cluster.kill_host(1, signal.SIGSTOP)
            eventually(lambda: down(server) == {("host-0", "host-1")}, "host-0 hears host-1 no more")
            cluster.await_ready(other_than={1: old})
            eventually(lambda: down(server) == set(), "host-0 hears host-1 again")
            eventually(lambda: ready(server) == both, "both are scraped where they were")
    finally:
        cluster.stop()

    assert set(both) == {"host-0", "host-1"}


def ready(server: PrometheusServer) -> dict[str, str]:
    """Return the hosts that say that they are ready, and where they are scraped."""
    return {one["metric"]["host"]: one["metric"]["instance"] for one in server.now("maskline_ready == 1")}


def down(server: PrometheusServer) -> set[tuple[str, str]]:
    """Return (who tells, who is not heard)."""
    return {(one["metric"]["host"], one["metric"]["peer"]) for one in server.now("maskline_host_up == 0")}


def filled_in(expr: str) -> str:
    """Return an expression as Grafana would send it."""
    for name, value in GRAFANA.items():
        expr = expr.replace(name, value)
    return expr


def has_values(series: Samples) -> bool:
    """Tell whether any sample is a finite number."""
    samples = [sample for one in series for sample in (one["values"] if "values" in one else [one["value"]])]
    return any(math.isfinite(float(value)) for _, value in samples)


def series_of(expr: str, metric: str) -> str:
    """Cut the selector of a metric out of an expression."""
    start = expr.index(metric)
    end = start + len(metric)
    return expr[start : expr.index("}", end) + 1] if expr[end : end + 1] == "{" else metric
