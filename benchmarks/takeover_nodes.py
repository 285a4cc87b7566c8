"""Two machines of a cluster on PostgreSQL whose losses are watched stage by stage, for the benchmark `takeover`."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import httpx

from tests.cluster.databases import DATABASE
from tests.cluster.site import Node, Site, site
from tests.e2e.carrier import Carrier, resource_sid
from tests.e2e.live import NO_TLS
from tests.e2e.tenant import Pairing, Tenant

HOSTS: Final = 2
NODES: Final = ("node-a", "node-b")
PLACE: Final = 1
"""Of the host that is lost: of the first machine, since the other one was moved to the second, which takes over."""

BOUND_SECONDS: Final = 120.0
POLL_SECONDS: Final = 0.02
OPERATIONS_PORT: Final = 9100

_MULTIPLY: Final = """
    INSERT INTO sessions
    SELECT made.* FROM sessions AS one, generate_series(1, {count}) AS number,
        LATERAL jsonb_populate_record(one, jsonb_build_object(
            'sid', '\\x' || lpad(to_hex(number), 32, '0'), 'unique_name', NULL)) AS made
    WHERE one.sid = '\\x{sid}'
"""
_MULTIPLY_ENDPOINTS: Final = """
    INSERT INTO participants
    SELECT made.* FROM (SELECT *, row_number() OVER (ORDER BY sid) - 1 AS side FROM participants
        WHERE session_sid = '\\x{sid}') AS ordered
    JOIN participants AS one USING (session_sid, sid), generate_series(1, {count}) AS number,
        LATERAL jsonb_populate_record(one, jsonb_build_object(
            'session_sid', '\\x' || lpad(to_hex(number), 32, '0'),
            'sid', '\\x' || lpad(to_hex(2 * number + side), 32, '0'),
            'identifier', '+1628' || lpad((2 * number + side)::TEXT, 7, '0'))) AS made
"""


class Watch:
    """Notes when each stage of a takeover is seen first; times are those of the steady clock since the loss."""

    def __init__(self, node: Node) -> None:
        """Watch a machine that takes over from one that is lost just now."""
        self._node = node
        self._known = set(_hosts_of(node))
        self._cpu = {pid: _cpu_seconds(pid) for pid in node.machine.processes()}
        self._lost = time.monotonic()
        self._threads: list[threading.Thread] = []
        self.seen: dict[str, float] = {}
        self.cpu_seconds = 0.0
        """Of the new host's process, from then on until its first answer."""

    def begin(self, stage: str, has_come: Callable[[], bool]) -> None:
        """Look for a stage from now on, on a thread of its own."""
        thread = threading.Thread(target=self._look, args=(stage, has_come))
        thread.start()
        self._threads.append(thread)

    def wait(self) -> None:
        """Wait until all are seen, or the time is over."""
        for thread in self._threads:
            thread.join()
        assert len(self.seen) == len(self._threads), f"within {BOUND_SECONDS:.0f} seconds only {self.seen}"
        self.cpu_seconds = sum(_cpu_seconds(pid) - self._cpu.get(pid, 0.0) for pid in self._new_hosts())

    def has_process(self) -> bool:
        """Tell whether there is another host's process."""
        return bool(self._new_hosts())

    def _new_hosts(self) -> list[int]:
        return [pid for pid in _hosts_of(self._node) if pid not in self._known]

    def _look(self, stage: str, has_come: Callable[[], bool]) -> None:
        until = self._lost + BOUND_SECONDS
        while time.monotonic() < until:
            if has_come():
                self.seen[stage] = time.monotonic() - self._lost
                return
            time.sleep(POLL_SECONDS)


def _hosts_of(node: Node) -> Iterator[int]:
    """Find the processes of hosts; Ray's titles name the class, or what it does just now."""
    for pid in node.machine.processes():
        try:
            title = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if title.startswith(b"ray::") and b"HostActor" in title:
            yield pid


def _cpu_seconds(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def running(place: Path) -> Iterator[Site]:
    """Run two machines, each with a host; raises NoMachines, NoPostgres."""
    with site(place) as here:
        for name in NODES:
            node = here.add_clustered(name, hosts=HOSTS)
            node.serve()
            here.await_joined(node)
        here.spread()
        yield here


def filled(here: Site, tenant: Tenant, sessions: int) -> Pairing:
    """Make sessions whose service and numbers are the host's; returns one of them."""
    (pairing,) = here.pairings_of(tenant, PLACE, count=1, hosts=HOSTS)
    primary, sid = here.databases.primary, pairing.sid[2:]
    for statement in (_MULTIPLY, _MULTIPLY_ENDPOINTS):
        primary.run(statement.format(count=sessions - 1, sid=sid), DATABASE)
    primary.run("ANALYZE", DATABASE)
    return pairing


def measured(here: Site, tenant: Tenant, pairing: Pairing) -> Watch:
    """Lose the machine of the host, and watch until the other one answers."""
    row = here.places()[PLACE]
    lost = here.node(row.node)
    (other,) = (node for node in here.nodes if node is not lost)
    primary = here.databases.primary
    watch = Watch(other)
    lost.kill()

    def row_says(told: str) -> bool:
        return primary.run(f"SELECT {told} FROM hosts WHERE place = {PLACE}", DATABASE) == [(True,)]  # noqa: S608 - ours

    watch.begin("fenced", lambda: row_says(f"epoch > {row.epoch}"))
    watch.begin("begun", watch.has_process)
    watch.begin("attached", lambda: row_says(f"epoch > {row.epoch + 1} AND attached > 0"))
    watch.begin("loaded", lambda: _listens(other))
    watch.begin("answered", lambda: _answers(other, tenant, pairing))
    watch.wait()
    assert here.places()[PLACE].epoch == row.epoch + 2
    return watch


def _listens(node: Node) -> bool:
    try:
        port = OPERATIONS_PORT + PLACE
        return httpx.get(f"http://{node.machine.address}:{port}/healthz", verify=NO_TLS, timeout=1.0).is_success
    except httpx.TransportError:
        return False


def _answers(node: Node, tenant: Tenant, pairing: Pairing) -> bool:
    caller, partner = pairing.sides[0]
    with closing(Carrier(node, tenant.sid, tenant.token)) as carrier:
        try:
            answer = carrier.call(caller.identifier, caller.proxy, sid=resource_sid("CA"))
        except httpx.TransportError:
            return False
    assert answer.reached in {None, (partner.identifier, partner.proxy)}
    return answer.reached is not None
