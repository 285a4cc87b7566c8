"""Servers on machines of their own and one database on two others, as an operator has them, with a customer on them."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from tests.cluster.databases import Databases, replicated
from tests.cluster.live_cluster import START_SECONDS, eventually
from tests.cluster.machines import Machine, Machines
from tests.cluster.witness import Witness, faults, witnessing
from tests.e2e.application import Application, serving
from tests.e2e.live import MASKLINE, NO_TLS, LiveServer, clean_environment
from tests.e2e.tenant import Json, Pairing, Tenant, proxy_number

PUBLIC_URL = "http://maskline.test"
LEASE_SECONDS = 4.0
SILENCE_SECONDS = 3.0

# As under systemd with Restart=always.
_AGAIN = 'while :; do "$@"; sleep 1; done'


class Node(LiveServer):
    """A machine with a server, started again whenever it ends."""

    def __init__(self, machine: Machine, place: Path, database_url: str, *arguments: str) -> None:
        """Know it; nothing is started yet."""
        self.machine = machine
        self.name = machine.name
        self.data_dir = place / machine.name
        self.log_path = self.data_dir.with_suffix(".log")
        self.process: subprocess.Popen[bytes] | None = None  # type: ignore[assignment]
        self.address = f"http://{machine.address}:8080"
        self.feed = f"{machine.address}:9000"
        self.public_url = PUBLIC_URL
        self._arguments = (
            *("--data-dir", str(self.data_dir), "--database-url", database_url, "--public-url", PUBLIC_URL),
            *("--listen", "0.0.0.0:8080", "--feed-listen", "0.0.0.0:9000", "--operations-listen", "0.0.0.0:9100"),
            *("--rate-limit-per-second", "0", "--outgoing-allow", "198.18.0.0/15", "--webhook-tries", "20"),
            *arguments,
        )

    def serve(self) -> None:
        """Start it, or start it again; `await_ready` waits for it."""
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603 - our own command
                [*self.machine.prefix, "sh", "-c", _AGAIN, "sh", str(MASKLINE), "serve", *self._arguments],
                stdout=log,
                stderr=log,
                env=clean_environment(),
                start_new_session=True,
            )

    @property
    def answers(self) -> bool:
        """Whether it answers REST."""
        try:
            return httpx.get(f"{self.address}/healthz", verify=NO_TLS, timeout=1.0).is_success
        except httpx.TransportError:
            return False

    def await_ready(self) -> None:
        """Wait until it answers."""
        try:
            eventually(lambda: self.answers, f"{self.name} answers", seconds=START_SECONDS)
        except AssertionError as late:
            late.add_note(self.log[-4000:])
            raise

    def admin(self, method: str, path: str, body: Json | None = None) -> Json:
        """Ask the operator's socket of a host that runs here."""
        sockets = [*self.data_dir.glob("maskline.sock"), *self.data_dir.glob("host-*/maskline.sock")]
        problems: list[httpx.HTTPError] = []
        for socket in sockets:
            transport = httpx.HTTPTransport(uds=str(socket), verify=NO_TLS)
            with httpx.Client(transport=transport, base_url="http://maskline", timeout=30.0) as http:
                try:
                    answer: Json = http.request(method, path, json=body).raise_for_status().json()
                except httpx.HTTPError as problem:
                    problems.append(problem)
                else:
                    return answer
        raise AssertionError(f"no host of {self.name} answers: {problems}")

    def kill(self) -> None:
        """Lose it: all of its processes at once."""
        self.machine.kill()
        if self.process is not None:
            self.process.wait()


class Site:
    """Machines, a database on two of them, nodes, and an application of a customer's on the test's own."""

    def __init__(self, machines: Machines, databases: Databases, place: Path, application: Application) -> None:
        """Know what runs; nodes are added."""
        self.machines = machines
        self.databases = databases
        self.place = place
        self.application = application
        self.nodes: list[Node] = []

    @property
    def database_machines(self) -> tuple[Machine, Machine]:
        """Where the database is."""
        return self.databases.primary.machine, self.databases.standby.machine

    def add(self, name: str, *arguments: str) -> Node:
        """Set up a node, not started yet."""
        node = Node(self.machines.add(name), self.place, self.databases.url, *arguments)
        self.nodes.append(node)
        return node

    def tenant(self, node: Node, others: tuple[Node, ...] = ()) -> Tenant:
        """Make an account on a node, and wait until the others know it."""
        made = node.admin("POST", "/accounts", {"friendly_name": "failover"})
        sid: str = made["account"]["sid"]
        for other in others:
            eventually(partial(_is_known, other, sid, made["auth_token"]), f"{other.name} knows it")
        return Tenant(node, sid, made["auth_token"])

    def pairings(self, tenant: Tenant, *, numbers: int, count: int) -> list[Pairing]:
        """Make a service with numbers, whose application is told of everything, and sessions on it."""
        port = self.application.receiver.port
        url = f"http://{self.machines.test.address}:{port}/told"
        service = tenant.service(pool=tuple(proxy_number() for _ in range(numbers)), CallbackUrl=url)
        return [service.pairing() for _ in range(count)]

    @contextmanager
    def witness(self, tenant: Tenant, pairings: list[Pairing], *, pause_seconds: float = 0.2) -> Iterator[Witness]:
        """Have a carrier call and write by way of all nodes."""
        nodes = {node.name: node.address for node in self.nodes}
        with witnessing(tenant, pairings, nodes, self.place, pause_seconds=pause_seconds) as witness:
            yield witness

    def faults(self, witness: Witness, tenant: Tenant, node: Node) -> list[str]:
        """Hold what was answered, and what the application was told, against what is recorded, as a node tells it."""
        with closing(tenant.moved(node)) as reader:
            listed = {
                one.sid: patiently(partial(reader.everything, f"{one.path}/Interactions", "interactions"))
                for one in witness.orders.pairings
            }
        return [*faults(witness, listed), *self._untold(witness)]

    def _untold(self, witness: Witness) -> list[str]:
        """Find whose effects were never told, or first after those of later events of their number."""
        wanted: dict[tuple[int, int], list[str]] = {}
        for one in witness.answers:
            if not one.is_again:
                wanted.setdefault((one.pairing, one.side), []).append(one.interaction)
        all_of_them = {sid for sids in wanted.values() for sid in sids}
        receiver = self.application.receiver
        receiver.waits_for(lambda: all_of_them <= set(self._told()), seconds=60.0)
        first = {sid: place for place, sid in reversed([*enumerate(self._told())])}
        found = [f"never told: {sid}" for sid in sorted(all_of_them - first.keys())]
        for number, sids in wanted.items():
            order = [first[sid] for sid in sids if sid in first]
            if order != sorted(order):
                found.append(f"told out of order: {number}")
        return found

    def _told(self) -> list[str]:
        return [one.form["interactionSid"] for one in self.application.receiver.received if one.path == "/told"]


@contextmanager
def site(place: Path) -> Iterator[Site]:
    """Run the database and the application while the context lasts; whatever runs at its end is killed.

    Raises:
        NoMachines: no namespaces can be made here.
        NoPostgres: there are no programs for the database.
    """
    with ExitStack() as stack:
        machines = stack.enter_context(Machines())
        application = stack.enter_context(serving())
        here = Site(machines, stack.enter_context(replicated(machines)), place, application)
        try:
            yield here
        finally:
            for node in here.nodes:
                node.end()


def patiently(ask: Any, *, seconds: float = 60.0) -> Any:  # noqa: ANN401 - whatever is asked
    """Ask again while what is asked cannot be told: a host is away."""
    until = time.monotonic() + seconds
    while True:
        try:
            return ask()
        except (AssertionError, httpx.TransportError):
            if time.monotonic() > until:
                raise
            time.sleep(0.2)


def _is_known(node: Node, sid: str, token: str) -> bool:
    try:
        answer = httpx.get(f"{node.address}/v1/Services", auth=(sid, token), verify=NO_TLS, timeout=5)
    except httpx.TransportError:
        return False
    return answer.status_code == httpx.codes.OK
