"""A real Prometheus of the test's own, on the kit's configuration, and its answers."""

import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.e2e.live import NO_TLS, free_port
from tests.ops.kit import PROMETHEUS

START_SECONDS = 30.0
SCRAPE_SECONDS = 1

Samples = list[dict[str, Any]]
"""Series as Prometheus answers them: `metric` and `value` or `values`."""


class PrometheusServer:
    """Asks a running server."""

    def __init__(self, address: str) -> None:
        """Speak to it."""
        self._http = httpx.Client(base_url=f"http://{address}/api/v1", verify=NO_TLS, timeout=30)

    def close(self) -> None:
        """Hang up."""
        self._http.close()

    def ask(self, path: str, **params: object) -> Any:  # noqa: ANN401 - whatever it answers
        """Ask its API."""
        answer = self._http.get(path, params={name: str(value) for name, value in params.items()}).json()
        assert answer["status"] == "success", answer
        return answer["data"]

    def now(self, expr: str) -> Samples:
        """Evaluate an expression."""
        found: Samples = self.ask("/query", query=expr)["result"]
        return found

    def lately(self, expr: str, *, seconds: float) -> Samples:
        """Evaluate an expression for each second of a time that ends now."""
        end = time.time()  # noqa: TID251 - Prometheus is asked about the real time
        found: Samples = self.ask("/query_range", query=expr, start=end - seconds, end=end, step=1)["result"]
        return found

    def rules(self) -> list[dict[str, Any]]:
        """Return what it makes of the rules."""
        return [rule for group in self.ask("/rules")["groups"] for rule in group["rules"]]

    def targets(self) -> list[dict[str, Any]]:
        """Return what it scrapes."""
        found: list[dict[str, Any]] = self.ask("/targets")["activeTargets"]
        return found

    def is_ready(self) -> bool:
        """Tell whether it answers."""
        try:
            return self._http.get("/status/buildinfo").is_success
        except httpx.TransportError:
            return False


@contextmanager
def prometheus(
    directory: Path, *, targets: Sequence[str] = (), discovery: Path | None = None
) -> Iterator[PrometheusServer]:
    """Run Prometheus on the kit's files, a scrape a second of these targets, or of those that a file lists."""
    configuration = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text("utf-8"))
    configuration["global"] = {f"{what}_interval": f"{SCRAPE_SECONDS}s" for what in ("scrape", "evaluation")}
    job = configuration["scrape_configs"][0]
    if discovery is None:
        job["static_configs"] = [{"targets": list(targets)}]
    else:
        del job["static_configs"]
        job["file_sd_configs"] = [{"files": [str(discovery)]}]
    directory.mkdir()
    (directory / "prometheus.yml").write_text(yaml.safe_dump(configuration), "utf-8")
    shutil.copy(PROMETHEUS / "maskline.rules.yml", directory)
    address = f"127.0.0.1:{free_port()}"
    command = (
        "prometheus",
        f"--config.file={directory / 'prometheus.yml'}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address={address}",
        "--log.level=warn",
    )
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)  # noqa: S603 - the tool under `make ops-test`
    server = PrometheusServer(address)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not server.is_ready():
            assert process.poll() is None, (directory / "log").read_text("utf-8")
            assert time.monotonic() < deadline, "Prometheus does not start"
            time.sleep(0.1)
        yield server
    finally:
        server.close()
        process.terminate()
        process.wait(10)
