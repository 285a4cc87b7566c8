"""Servers on machines of their own and one database on two others, as an operator has them, with a customer on them."""

import json
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import httpx
import msgspec
import psycopg

from engine.core.model.placement import Placement
from engine.listeners import short_path
from tests.cluster.databases import DATABASE, Databases, replicated
from tests.cluster.live_cluster import START_SECONDS, eventually, title_of
from tests.cluster.machines import Machine, Machines
from tests.cluster.patroni import PatroniCluster, patroni
from tests.cluster.witness import Witness, faults, witnessing
from tests.e2e.application import Application, serving
from tests.e2e.live import MASKLINE, NO_TLS, LiveServer, clean_environment, operator_of
from tests.e2e.tenant import Json, Pairing, Tenant, proxy_number

PUBLIC_URL = "http://maskline.test"
LEASE_SECONDS = 4.0
SILENCE_SECONDS = 3.0

_PLACES = "SELECT place, node, epoch, addresses FROM hosts WHERE place < (SELECT hosts FROM cluster) ORDER BY place"

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
        self._database_url = database_url
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
        paths = [*self.data_dir.glob("maskline.sock"), *self.data_dir.glob("host-*/maskline.sock")]
        problems: list[httpx.HTTPError] = []
        for path_of_socket in filter(_is_listened_at, paths):
            with operator_of(path_of_socket.parent) as http:
                try:
                    answer: Json = http.request(method, path, json=body).raise_for_status().json()
                except httpx.HTTPError as problem:
                    problems.append(problem)
                else:
                    return answer
        raise AssertionError(f"no host of {self.name} answers: {problems}")

    def run(self, *arguments: str) -> str:
        """Run a command of the operator's there."""
        done = subprocess.run(  # noqa: S603 - our own command
            [*self.machine.prefix, str(MASKLINE), *arguments, "--data-dir", str(self.data_dir)],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env=clean_environment() | {"MASKLINE_DATABASE_URL": self._database_url},
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def processes_called(self, title: str) -> list[int]:
        """Find its processes whose title, or the name of whose program, is this."""
        return [pid for pid in self.machine.processes() if title_of(pid).rpartition("/")[2] == title]

    def kill(self) -> None:
        """Lose it: all of its processes at once."""
        self.machine.kill()
        if self.process is not None:
            self.process.wait()


class Place(msgspec.Struct, frozen=True):
    """A row of `hosts`."""

    place: int
    node: str
    epoch: int
    told: Json
    """What its host told last."""


class DatabaseServerOfSite(Protocol):
    """One server of the database."""

    def run(self, statement: str, database: str) -> list[tuple[Any, ...]]:
        """Run a statement and return its rows."""


class DatabaseOfSite(Protocol):
    """The database of a site, whoever looks after it."""

    @property
    def url(self) -> str:
        """What a server is told as `database_url`."""

    @property
    def primary(self) -> DatabaseServerOfSite:
        """The server that takes commits."""


class AnySite:
    """Machines, a database, nodes, and an application of a customer's on the test's own machine."""

    def __init__(self, machines: Machines, database: DatabaseOfSite, place: Path, application: Application) -> None:
        """Know what runs; nodes are added."""
        self.machines = machines
        self._database = database
        self.place = place
        self.application = application
        self.nodes: list[Node] = []

    def places(self) -> list[Place]:
        """Read who has which place of the cluster."""
        rows = self._asked(_PLACES)
        return [Place(place, node or "", epoch, json.loads(told) if told else {}) for place, node, epoch, told in rows]

    def _asked(self, statement: str) -> list[tuple[Any, ...]]:
        try:
            return self._database.primary.run(statement, DATABASE)
        except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn):  # no node has started yet
            return []

    def await_whole(self, *, other_than: str = "") -> list[Place]:
        """Wait until every place has a node, not the one that is named, and a host there that serves."""

        def is_whole() -> bool:
            places = self.places()
            return bool(places) and all(
                one.node not in {"", other_than} and one.told.get("state") == "ready" for one in places
            )

        eventually(is_whole, "every place is served", seconds=START_SECONDS)
        return self.places()

    def await_joined(self, node: Node) -> None:
        """Wait until a node renews its row, which stays when it is lost; one without a host listens nowhere."""

        def beat() -> list[tuple[Any, ...]]:
            return self._asked(f"SELECT beat FROM nodes WHERE name = '{node.name}'")  # noqa: S608 - a test's

        before = beat()
        eventually(lambda: beat() not in ([], before), f"{node.name} has joined", seconds=START_SECONDS)

    def spread(self) -> list[Place]:
        """Move a host, as an operator does, to each node that has none; returns where all are then."""
        for node in self.nodes:
            self.await_joined(node)
            places = self.await_whole()
            names = [one.node for one in places]
            if node.name not in names:
                moved = next(one for one in places if names.count(one.node) > 1)
                self.node(moved.node).run("cluster", "move", f"host-{moved.place}", node.name)
                eventually(lambda node=node: node.name in {one.node for one in self.places()}, "it is moved")  # type: ignore[misc]
        return self.await_whole()

    def node(self, name: str) -> Node:
        """Return a node by its name."""
        (found,) = (one for one in self.nodes if one.name == name)
        return found

    def add_clustered(self, name: str, *arguments: str, hosts: int) -> Node:
        """Set up a node of a cluster, not started yet."""
        return self.add(
            name,
            *("--runtime", "ray", "--hosts", str(hosts), "--node-name", name),
            *("--owner-lease-seconds", str(LEASE_SECONDS), "--host-silence-seconds", "5", *arguments),
        )

    def add(self, name: str, *arguments: str, database_url: str = "") -> Node:
        """Set up a node, not started yet; it reaches the database at its own addresses unless others are given."""
        node = Node(self.machines.add(name), self.place, database_url or self._database.url, *arguments)
        self.nodes.append(node)
        return node

    def end(self) -> None:
        """Kill what still runs of the nodes."""
        for node in self.nodes:
            node.end()

    def tenant(self, node: Node, others: Sequence[Node] = ()) -> Tenant:
        """Make an account on a node, and wait until the others know it."""
        made: Json = patiently(partial(node.admin, "POST", "/accounts", {"friendly_name": "failover"}))
        sid: str = made["account"]["sid"]
        for other in others:
            eventually(partial(_is_known, other, sid, made["auth_token"]), f"{other.name} knows it")
        return Tenant(node, sid, made["auth_token"])

    def pairings(self, tenant: Tenant, *, numbers: int, count: int) -> list[Pairing]:
        """Make a service with numbers, whose application is told of everything, and sessions on it."""
        service = tenant.service(pool=tuple(proxy_number() for _ in range(numbers)), CallbackUrl=self._told_url)
        return [service.pairing() for _ in range(count)]

    def pairings_of(self, tenant: Tenant, place: int, *, count: int, hosts: int) -> list[Pairing]:
        """Make sessions whose service and numbers all belong to one host of so many."""
        owner = Placement(hosts, by_shard=True)
        services = iter(lambda: tenant.service(numbers=0, CallbackUrl=self._told_url), None)
        service = next(one for one in services if owner(one.sid) == place)
        for number in islice((one for one in iter(proxy_number, "") if owner(one) == place), 2):
            tenant.create(f"{service.path}/PhoneNumbers", PhoneNumber=number)
        return [service.pairing() for _ in range(count)]

    @property
    def _told_url(self) -> str:
        return f"http://{self.machines.test.address}:{self.application.receiver.port}/told"

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


class Site(AnySite):
    """One whose database is on two machines, which the test looks after itself."""

    def __init__(self, machines: Machines, databases: Databases, place: Path, application: Application) -> None:
        """Know what runs; nodes are added."""
        super().__init__(machines, databases, place, application)
        self.databases = databases

    @property
    def database_machines(self) -> tuple[Machine, Machine]:
        """Where the database is."""
        return self.databases.primary.machine, self.databases.standby.machine


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
        stack.callback(here.end)
        yield here


@contextmanager
def patroni_site(place: Path) -> Iterator[tuple[AnySite, PatroniCluster]]:
    """Do the same on a database that Patroni looks after.

    Raises:
        NoMachines, NoPostgres: as above.
        NoPatroni: it or etcd is not installed.
    """
    with ExitStack() as stack:
        machines = stack.enter_context(Machines())
        application = stack.enter_context(serving())
        cluster = stack.enter_context(patroni(machines))
        here = AnySite(machines, cluster, place, application)
        stack.callback(here.end)
        yield here, cluster


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


def _is_listened_at(path: Path) -> bool:
    """A client that is refused there leaves its socket open, which is told as a fault of the test."""
    with closing(socket.socket(socket.AF_UNIX)) as probe, short_path(path) as short:
        return probe.connect_ex(short) == 0


def _is_known(node: Node, sid: str, token: str) -> bool:
    try:
        answer = httpx.get(f"{node.address}/v1/Services", auth=(sid, token), verify=NO_TLS, timeout=5)
    except httpx.TransportError:
        return False
    return answer.status_code == httpx.codes.OK
