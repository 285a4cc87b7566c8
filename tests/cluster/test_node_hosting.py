"""A host on a database as its process runs it, without Ray: what it waits for, what it tells, how it ends."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path

import httpx
import msgspec
import psycopg
import pytest

from actors.cluster.fleet import Order
from actors.cluster.hosted import HostPlacement
from actors.cluster.watch import Beat, HostReport
from engine import app, stores
from engine.channels.sockets import ListenAddress
from engine.cluster.node_hosting import NodeHost
from engine.cluster.peer_sockets import SocketPeers
from engine.cluster.plan import settled
from engine.core.model.changes import AccountSaved, EntryAdded
from engine.core.model.errors import PeerUnavailable
from engine.core.model.hosts import HostAddress, HostDirectory, HostState
from engine.core.model.outbox import OutboxAlert
from engine.core.model.placement import shards_of
from engine.core.ports.membership import Tenure
from engine.runtime import steady
from engine.settings import Runtime, Settings
from storage.postgres.apply import apply_group
from storage.postgres.codec import prepare, shard_among
from storage.postgres.ledger import PostgresLedger
from tests.cluster.test_hosting import LOOPBACK, SECONDS, kept_logging
from tests.e2e.live import NO_TLS
from tests.outbound.receiver import receiving
from tests.storage.material import account, alert, outbox_entry, session

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("kept_logging")]

__all__ = ["kept_logging"]

SECRET = b"s" * 32


def settings_of(data_dir: Path, database: str, **more: object) -> Settings:
    plain = Settings(
        data_dir=data_dir,
        database_url=database,
        database_replicas=0,
        runtime=Runtime.RAY,
        hosts=2,
        listen=LOOPBACK,
        feed_listen=LOOPBACK,
        node_name="a",
        **more,  # type: ignore[arg-type]
    )
    return settled(plain)


def host_of(settings: Settings) -> NodeHost:
    return NodeHost(settings, HostPlacement(1, "ray's", "10.0.0.1", "first"), data_dir=settings.data_dir)


def beat(epoch: int = 0, *, secret: bytes = SECRET, peers: str = "", certificate: str = "") -> Beat:
    hosts = (HostAddress("host-0", ""), HostAddress("host-1", "", peers, certificate))
    return Beat(HostDirectory(epoch, 0, hosts), (0,), secret)


async def reported(host: NodeHost, holds: Callable[[HostReport], bool]) -> HostReport:
    """Beat until what it tells is so."""
    async with asyncio.timeout(SECONDS):
        while True:
            report = host.report(beat())
            if holds(report):
                return report
            await asyncio.sleep(0.01)


def listens(report: HostReport) -> bool:
    """Tell whether it runs."""
    return bool(report.http)


def has_problem(report: HostReport) -> bool:
    """Tell whether it has something to say."""
    return bool(report.problem)


async def assigned_to(database: str, node: str) -> None:
    """Have a node take part, and assign the place to it."""
    ledger = await PostgresLedger.join(database, node="a", address="127.0.0.1", hosts=2, lease_seconds=0.25)
    await ledger.close()
    with closing(psycopg.connect(database, autocommit=True)) as connection:
        connection.execute("UPDATE hosts SET node = %s WHERE place = 1", (node,))


@asynccontextmanager
async def started(host: NodeHost) -> AsyncIterator[None]:
    """Start it and stop it."""
    host.start()
    try:
        yield
    finally:
        await host.order(Order("stop"))


async def test_it_starts_when_it_has_heard_what_the_hosts_have_in_common(tmp_path: Path, database: str) -> None:
    """And tells where others ask it, at the address of its node."""
    await assigned_to(database, "a")
    settings = settings_of(tmp_path, database)
    host = host_of(settings)
    async with started(host):
        early = host.report(beat(secret=b""))
        report = await reported(host, listens)

    assert (early.state, early.peers) == (HostState.STARTING, "")
    assert ListenAddress.parse(report.peers).host == "127.0.0.1" == settings.node_address
    assert len(report.certificate) == 64


async def assert_strangers_are_refused(report: HostReport) -> None:
    """Ask a host that listens, without the cluster's secret."""
    directory = beat(peers=report.peers, certificate=report.certificate).directory
    with (
        closing(SocketPeers(0, secret=b"x" * 32, directory=lambda: directory, timeout_seconds=SECONDS)) as stranger,
        pytest.raises(PeerUnavailable),
    ):
        await stranger.ask(1, b"anything")


async def test_others_of_the_cluster_ask_it_and_nobody_else_does(tmp_path: Path, database: str) -> None:
    """They have the secret."""
    await assigned_to(database, "a")
    host = host_of(settings_of(tmp_path, database))
    async with started(host):
        report = await reported(host, listens)
        await assert_strangers_are_refused(report)


async def test_its_metrics_tell_of_its_supervisor_and_of_strangers(tmp_path: Path, database: str) -> None:
    """A supervisor has none of its own; one that is not heard has read nothing since."""
    await assigned_to(database, "a")
    host = host_of(settings_of(tmp_path, database))
    async with started(host), httpx.AsyncClient(verify=NO_TLS) as http:
        report = await reported(host, listens)
        await assert_strangers_are_refused(report)
        host.report(msgspec.structs.replace(beat(), takeovers=2, rows_age_seconds=40.0))
        page = (await http.get(f"{report.http}/metrics")).text
    shown = dict(line.rsplit(" ", 1) for line in page.splitlines() if not line.startswith("#"))

    assert (shown["maskline_takeovers"], shown["maskline_rejected_peer_connections"]) == ("2.0", "1.0")
    assert float(shown["maskline_membership_age_seconds"]) >= 40.0


async def test_a_process_whose_place_is_assigned_elsewhere_says_so(tmp_path: Path, database: str) -> None:
    """It waits to be ended."""
    await assigned_to(database, "b")
    host = host_of(settings_of(tmp_path, database))
    async with started(host):
        report = await reported(host, has_problem)

    assert report.state is HostState.FAILED
    assert "assigned to b" in report.problem


async def test_a_database_that_is_away_is_waited_for(tmp_path: Path) -> None:
    """With the reason in the report; it stops when told to."""
    host = host_of(settings_of(tmp_path, f"host={tmp_path} dbname=nothing user=nobody"))
    async with started(host):
        report = await reported(host, has_problem)

    assert report.state is HostState.STARTING


async def test_a_host_that_has_heard_nothing_stops_when_told_to(tmp_path: Path, database: str) -> None:
    """Nothing was opened."""
    host = host_of(settings_of(tmp_path, database))

    async with asyncio.timeout(SECONDS), started(host):
        report = host.report(beat(secret=b""))

    assert report.state is HostState.STARTING


async def test_the_directory_is_the_supervisors_and_is_not_kept(tmp_path: Path, database: str) -> None:
    """A newer one is taken."""
    host = host_of(settings_of(tmp_path, database))

    host.report(beat(4, secret=b"", peers="127.0.0.1:7001"))
    host.report(beat(3, secret=b""))

    assert (host.directory.epoch, host.directory.me, host.directory.shards) == (4, 1, 1024)
    assert host.directory.hosts[1].peers == "127.0.0.1:7001"
    assert not (tmp_path / "host-1" / "host.json").exists()


class MovedClock:
    """The steady clock, which a test moves on."""

    def __init__(self) -> None:
        self.ahead = 0.0
        self.reads = 0

    def __call__(self) -> float:
        self.reads += 1
        return steady() + self.ahead


async def test_it_delivers_nothing_while_its_predecessor_may(
    tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What its outbox holds leaves when the lease of whoever had its place has run out."""
    clock = MovedClock()
    monkeypatch.setattr(app, "steady", clock)
    monkeypatch.setattr(stores, "steady", clock)
    await assigned_to(database, "a")
    with receiving() as receiver:
        entry = outbox_entry(session(), content=OutboxAlert(url=receiver.url, event=alert()))
        with psycopg.connect(database) as connection:
            prepare(connection)
            mine = shard_among(shards_of(1, 2))
            apply_group(connection, [[AccountSaved(account()), EntryAdded(entry)]], shard_of_entry=mine)
        settings = settings_of(tmp_path, database, outgoing_allow=("127.0.0.0/8",))
        placement = HostPlacement(1, "ray's", "10.0.0.1", "first", Tenure(not_before=steady() + 3600))
        host = NodeHost(settings, placement, data_dir=settings.data_dir)
        async with started(host):
            await reported(host, lambda _: host._engine is not None and host._engine.outgoing.held == 1)
            reads = clock.reads
            await reported(host, lambda _: clock.reads > reads + 8)
            early = len(receiver.received)
            clock.ahead = 3600.0
            await receiver.has_got(1)

    assert early == 0
