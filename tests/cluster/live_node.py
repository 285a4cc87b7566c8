"""A machine of a cluster on a database, as far as one machine can play several."""

import os
import signal
from contextlib import suppress
from pathlib import Path

import httpx

from tests.cluster.live_cluster import LiveCluster, eventually, session_of
from tests.e2e.live import NO_TLS

PUBLIC_URL = "http://maskline.test"
HOSTS = 2


class LiveNode(LiveCluster):
    """Carries what the database says; `serve` waits until it has joined."""

    def __init__(self, place: Path, name: str, database: str) -> None:
        """Know it; `serve` starts it."""
        config = place / f"{name}.toml"
        config.write_text(f'database_url = "{database}"\ndatabase_replicas = 0\nnode_name = "{name}"\n')
        super().__init__(place / name, "--config", str(config), hosts=HOSTS, public_url=PUBLIC_URL)
        self.name = name
        where = self.arguments.index("--listen") + 1
        self.listen = f"http://{self.arguments[where]}"

    def _is_ready_at(self, address: str) -> None:
        self.address = self.listen
        self.is_serving = bool(address)

    def crash(self) -> None:
        """Kill with -9 all that the machine runs: the driver, Ray and the hosts."""
        head = self.head
        self.process.kill()
        for pid in session_of(head):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        eventually(lambda: not session_of(head), "all of it ended")
        self.kill()

    def carriers(self) -> dict[str, str]:
        """Tell by host which node carries it, of those that are ready."""
        return {one["host"]: one["node_id"] for one in self.status() if one["state"] == "ready"}

    def await_carriers(self, *names: str) -> None:
        """Wait until each place is ready on the node of the name."""
        wanted = {f"host-{place}": name for place, name in enumerate(names)}
        try:
            eventually(lambda: self.carriers() == wanted, f"the hosts are carried by {names}", seconds=120.0)
        except AssertionError as late:
            late.add_note(f"{self.run('cluster', 'status').stdout}\n{self.log[-8000:]}")
            late.add_note((self.data_dir / "supervisor.log").read_text("utf-8")[-8000:])
            raise

    def knows(self, sid: str, token: str) -> bool:
        """Tell whether an account is known here."""
        try:
            answer = httpx.get(f"{self.address}/v1/Services", auth=(sid, token), verify=NO_TLS, timeout=5.0)
        except httpx.TransportError:
            return False
        return answer.is_success
