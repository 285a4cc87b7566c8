"""Nodes of a Ray that an operator started by hand, each with a data directory of its own, all on this machine."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.cluster.live_cluster import START_SECONDS, end_session, eventually, session_of
from tests.e2e.live import clean_environment

HEAD, SECOND = "127.0.0.2", "127.0.0.3"
"""Not 127.0.0.1, for which Ray takes an address that other machines reach."""

_QUICK = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "3",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "15",
}
"""So that a lost node is noticed within seconds, by both sides."""


class Nodes:
    """A head and others on addresses of their own, with a token of their own; `prefix` is put before each command."""

    def __init__(
        self,
        place: Path,
        *,
        head: str = HEAD,
        prefixes: dict[str, tuple[str, ...]] | None = None,
        is_quick: bool = True,
    ) -> None:
        """Start the head; its data directory is the cluster's. Unless quick, a node is lost when Ray says by itself."""
        self._settings = _QUICK if is_quick else {}
        self.place = place
        self.data_dir = place / "data"
        self.temp_dir = Path(tempfile.mkdtemp(prefix="ray-"))
        self.nodes: list[subprocess.Popen[bytes]] = []
        self.prefixes = prefixes or {}
        token = place / "token"
        token.write_text("0" * 64)
        self.environ = {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token),
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        self.head = self._joined(head, "--head", "--port=0", "--include-dashboard=false", "--no-monitor")
        self.address = (self.temp_dir / head / "ray_current_cluster").read_text("ascii").strip()

    def data_dir_of(self, address: str) -> Path:
        """Return the data directory of a node that is not the head."""
        return self.place / address

    def add(self, address: str = SECOND) -> "subprocess.Popen[bytes]":
        """Start another node, and wait until it has joined."""
        return self._joined(address, f"--address={self.address}", data_dir=self.data_dir_of(address))

    def kill(self, node: "subprocess.Popen[bytes]") -> None:
        """End a node with -9, and with it its processes."""
        node.kill()
        node.wait()
        eventually(lambda: session_of(node.pid) == [], "the processes of the node ended")

    def stop(self) -> None:
        """End all that was started."""
        for node in self.nodes:
            end_session(node.pid)
            node.wait()
        shutil.rmtree(self.temp_dir, ignore_errors=True)

    def _joined(self, address: str, *arguments: str, data_dir: Path | None = None) -> "subprocess.Popen[bytes]":
        own = {} if data_dir is None else {"MASKLINE_NODE_DATA_DIR": str(data_dir)}
        path = self.place / f"{address}.log"
        with path.open("wb") as log:
            node = subprocess.Popen(  # noqa: S603 - our own interpreter
                [
                    *self.prefixes.get(address, ()),
                    *(sys.executable, "-m", "ray.scripts.scripts", "start", "--block", *arguments),
                    *(f"--node-ip-address={address}", "--num-cpus=2", "--object-store-memory=80000000"),
                    *("--include-log-monitor=false", "--disable-usage-stats", f"--temp-dir={self.temp_dir / address}"),
                ],
                stdout=log,
                stderr=log,
                env=clean_environment() | self.environ | self._settings | own,
                start_new_session=True,
            )
        self.nodes.append(node)
        eventually(
            lambda: "Ray runtime started" in path.read_text("utf-8") or node.poll() is not None,
            "the node has joined",
            seconds=START_SECONDS,
        )
        assert node.poll() is None, path.read_text("utf-8")
        return node
