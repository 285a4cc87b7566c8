"""A host as its process runs it, without Ray: starts, failures, drains, what it remembers."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path

import httpx
import msgspec
import pytest

from actors.cluster.fleet import Order
from actors.cluster.hosted import HostPlacement
from actors.cluster.watch import Beat, HostReport, Member, advanced, empty_record, heard
from engine.channels.sockets import ListenAddress
from engine.cluster.hosting import MOST_ATTEMPTS, HostedEngine
from engine.cluster.peer_sockets import SocketPeers
from engine.cluster.plan import settled
from engine.core.model.hosts import HostAddress, HostDirectory, HostState
from engine.settings import Settings
from storage.sqlite.layout import claim
from tests.cluster.peer_rig import came_of
from tests.e2e.live import NO_TLS

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("kept_logging")]

SECONDS = 20.0
"""Bound on every wait."""

LOOPBACK = ListenAddress("127.0.0.1", 0)


@pytest.fixture
def kept_logging() -> Iterator[None]:
    """Take the host's log file away again: its handlers are the process's."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    for handler in root.handlers:
        if handler not in handlers:
            handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)


SECRET = "cluster's own secret"


def engine(data_dir: Path, *, placing: str = "first") -> HostedEngine:
    """Make host 1 of a cluster of two whose other host is never reached."""
    plain = Settings(data_dir=data_dir, hosts=2, listen=LOOPBACK, feed_listen=LOOPBACK, peers_secret=SECRET)
    return HostedEngine(settled(plain), HostPlacement(1, "n1", "10.0.0.1", placing), data_dir=data_dir)


def beat(epoch: int = 0, *, down: tuple[int, ...] = ()) -> Beat:
    hosts = (HostAddress("host-0", "10.0.0.1:9000"), HostAddress("host-1", "10.0.0.1:9001"))
    return Beat(HostDirectory(epoch, 0, hosts), down)


async def settled_report(host: HostedEngine) -> HostReport:
    """Wait until it is no longer starting."""
    async with asyncio.timeout(SECONDS):
        while True:
            report = host.report(beat())
            if report.state is not HostState.STARTING:
                return report
            await asyncio.sleep(0.01)


@asynccontextmanager
async def started(host: HostedEngine) -> AsyncIterator[HostReport]:
    """Start it and stop it."""
    host.start()
    try:
        yield await settled_report(host)
    finally:
        await host.order(Order("stop"))


async def test_it_runs_in_its_own_directory_and_says_where_it_listens(tmp_path: Path) -> None:
    """Without the other host it listens, and is not ready."""
    async with started(engine(tmp_path)) as report:
        assert report.state is HostState.WAITING
        assert report.http.startswith("http://127.0.0.1:")
        assert report.feed.startswith("127.0.0.1:")
        assert (report.operations, report.incarnation, report.restarts) == ("", 1, 0)
        assert (tmp_path / "host-1" / "maskline.db").exists()


async def test_each_process_is_counted(tmp_path: Path) -> None:
    """All of them as incarnations, those since it was placed as restarts."""
    counts = []
    for placing in ("first", "first", "second"):
        async with started(engine(tmp_path, placing=placing)) as report:
            counts.append((report.incarnation, report.restarts))

    assert counts == [(1, 0), (2, 1), (3, 0)]


async def test_a_file_that_is_no_database_is_reported_and_not_tried_again(tmp_path: Path) -> None:
    """Until it is told; then it starts."""
    database = tmp_path / "host-1" / "maskline.db"
    database.parent.mkdir()
    database.write_bytes(b"no database" * 1000)
    host = engine(tmp_path)
    host.start()
    failed = await settled_report(host)
    database.unlink()

    await host.order(Order("start"))
    mended = await settled_report(host)
    await host.order(Order("stop"))

    assert failed.state is HostState.FAILED
    assert "not a database" in failed.problem
    assert failed.http == ""
    assert mended.state is HostState.WAITING


async def test_a_directory_laid_out_for_another_number_is_reported(tmp_path: Path) -> None:
    """With the way out."""
    claim(tmp_path, 3)
    host = engine(tmp_path)
    host.start()

    report = await settled_report(host)

    assert report.state is HostState.FAILED
    assert "maskline rebalance" in report.problem


async def test_a_drained_host_closes_and_stays_out_in_its_next_process(tmp_path: Path) -> None:
    """`undrain` takes it in."""
    first = engine(tmp_path)
    first.start()
    await settled_report(first)
    await first.order(Order("drain"))
    drained = first.report(beat())

    second = engine(tmp_path)
    second.start()
    again = await settled_report(second)
    await second.order(Order("undrain"))
    taken_in = await settled_report(second)
    await second.order(Order("stop"))

    assert (drained.state, drained.http) == (HostState.DRAINED, "")
    assert again.state is HostState.DRAINED
    assert taken_in.state is HostState.WAITING


async def test_a_host_whose_processes_end_while_they_start_gives_up(tmp_path: Path) -> None:
    """As its note counts them; otherwise Ray would start it for ever."""
    note = {"placing": "first", "attempts": MOST_ATTEMPTS, "incarnation": 9, "restarts": 8}
    (tmp_path / "host-1").mkdir()
    (tmp_path / "host-1" / "host.json").write_text(json.dumps(note))
    host = engine(tmp_path)
    host.start()

    report = await settled_report(host)

    assert report.state is HostState.FAILED
    assert "5 times" in report.problem
    assert report.incarnation == 10


async def test_a_newer_directory_is_kept_over_a_restart_and_an_older_one_is_not_taken(tmp_path: Path) -> None:
    """Clients of the feed are never sent back."""
    async with started(first := engine(tmp_path)):
        first.report(beat(4))
        first.report(beat(3))

        second = engine(tmp_path)
        read = first.directory

    async with started(second):
        kept = second.directory

    assert (read.epoch, read.me, read.hosts) == (4, 1, beat().directory.hosts)
    assert kept == read


def asking(report: HostReport, *, secret: str = SECRET) -> "closing[SocketPeers]":
    """Ask host 1 as host 0 does."""
    hosts = (HostAddress("host-0", ""), HostAddress("host-1", "", report.peers, report.certificate))
    directory = HostDirectory(1, 0, hosts)
    return closing(SocketPeers(0, secret=secret.encode(), directory=lambda: directory, timeout_seconds=SECONDS))


async def test_the_other_host_asks_it_and_no_stranger_does(tmp_path: Path) -> None:
    """Its metrics count the stranger."""
    async with started(engine(tmp_path)) as report, httpx.AsyncClient(verify=NO_TLS) as http:
        with asking(report) as other, asking(report, secret="some other secret") as stranger:
            answer = await other.ask(1, ASKED)
            came = await came_of(stranger.ask(1, ASKED))
        page = (await http.get(f"{report.http}/metrics")).text

    assert b"is starting" in answer
    assert came == "host-1 is not reached (it does not accept that this host has the cluster's secret)"
    assert "\nmaskline_rejected_peer_connections 1.0\n" in page


async def test_hosts_that_are_told_of_each_other_become_ready(tmp_path: Path) -> None:
    """Over connections of their own: each knows no more than beats tell it."""
    settings = settled(Settings(data_dir=tmp_path, hosts=2, listen=LOOPBACK, feed_listen=LOOPBACK))
    places = (HostPlacement(place, "n1", "127.0.0.1", "first") for place in range(2))
    hosts = [HostedEngine(settings, place, data_dir=tmp_path) for place in places]
    directory = empty_record(2).directory
    async with AsyncExitStack() as stack, asyncio.timeout(SECONDS):
        for host in hosts:
            host.start()
            stack.push_async_callback(host.order, Order("stop"))
        reports: list[HostReport] = []
        while {one.state for one in reports} != {HostState.READY}:
            reports = [host.report(Beat(directory, ())) for host in hosts]
            directory = advanced(directory, tuple(heard(Member(place=one.place), one, 0.0) for one in reports))
            await asyncio.sleep(0.01)

    assert [one.peers for one in directory.hosts] == [one.peers for one in reports]
    assert directory.hosts[0].certificate != directory.hosts[1].certificate


ASKED = msgspec.msgpack.encode((0, [("Nothing.there", [])]))
"""A call of what no host has, as `actors.cluster.rpc` writes it."""


async def test_its_next_process_is_reached_as_it_was(tmp_path: Path) -> None:
    """Nobody needs to be told of it, so that a supervisor that is away holds nothing up."""
    plain = settled(Settings(data_dir=tmp_path, hosts=2, listen=LOOPBACK))
    reached = []
    for _ in range(2):
        async with started(HostedEngine(plain, HostPlacement(1, "n1", "", "first"), data_dir=tmp_path)) as report:
            reached.append((report.peers, report.certificate))

    assert reached[0] == reached[1]


async def test_it_does_not_ask_who_is_down_until_that_one_asks(tmp_path: Path) -> None:
    """It may have been said to be down a moment ago."""
    async with started(host := engine(tmp_path)) as report:
        assert host._peers is not None
        host.report(beat(down=(0,)))
        known = await came_of(host._peers.ask(0, ASKED))
        with asking(report) as other:
            await other.ask(1, ASKED)
        since = await came_of(host._peers.ask(0, ASKED))

    assert known == "host-0 is down"
    assert since == "host-0 is not reached (the directory does not tell where it is)"


async def test_before_it_runs_it_answers_no_other_host(tmp_path: Path) -> None:
    """None tells the asker to come again."""
    assert await engine(tmp_path).ask(0, b"anything") is None


async def test_nothing_is_known_of_the_others_before_the_first_beat(tmp_path: Path) -> None:
    """But how many they are."""
    assert engine(tmp_path).directory == msgspec.structs.replace(empty_record(2).directory, me=1)
