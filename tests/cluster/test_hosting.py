"""A host as its process runs it, without Ray: starts, failures, drains, what it remembers."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from actors.cluster.fleet import Order
from actors.cluster.hosted import HostPlacement
from actors.cluster.watch import Beat, HostReport, empty_record
from engine.channels.sockets import ListenAddress
from engine.cluster.hosting import MOST_ATTEMPTS, HostedEngine
from engine.cluster.plan import settled
from engine.core.model.errors import PeerUnavailable
from engine.core.model.hosts import HostAddress, HostDirectory, HostState
from engine.settings import Settings
from storage.sqlite.layout import claim

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


class NoPeers:
    """A cluster of two whose other host is never reached."""

    me, count = 1, 2

    def __init__(self) -> None:
        self.down: tuple[int, ...] = ()
        self.up: list[int] = []

    def heard(self, place: int) -> None:
        """Note it."""
        self.up.append(place)

    def expect_down(self, places: tuple[int, ...], *, seconds: float) -> None:
        """Note it."""
        self.down = places

    async def ask(self, host: int, message: bytes) -> bytes:
        """Reach nobody."""
        raise PeerUnavailable(f"host-{host} is not there")


def engine(data_dir: Path, *, placing: str = "first", peers: NoPeers | None = None) -> HostedEngine:
    settings = settled(Settings(data_dir=data_dir, hosts=2, listen=LOOPBACK, feed_listen=LOOPBACK))
    return HostedEngine(settings, HostPlacement(1, "n1", "10.0.0.1", placing), peers or NoPeers(), data_dir=data_dir)


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


async def test_its_peers_hear_who_is_down(tmp_path: Path) -> None:
    """With each beat."""
    peers = NoPeers()
    host = engine(tmp_path, peers=peers)

    host.report(beat(down=(0,)))

    assert peers.down == (0,)


async def test_before_it_runs_it_answers_no_other_host(tmp_path: Path) -> None:
    """None tells the asker to come again."""
    assert await engine(tmp_path).ask(0, b"anything") is None


async def test_a_host_that_asks_is_known_to_be_up(tmp_path: Path) -> None:
    """It may have been said to be down a moment ago."""
    peers = NoPeers()

    await engine(tmp_path, peers=peers).ask(0, b"anything")

    assert peers.up == [0]


async def test_nothing_is_known_of_the_others_before_the_first_beat(tmp_path: Path) -> None:
    """But how many they are."""
    assert engine(tmp_path).directory == msgspec.structs.replace(empty_record(2).directory, me=1)
