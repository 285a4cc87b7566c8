"""A marketplace's traffic over the feed, from the files of `maskline bench workload`, beside events that are all alike.

Each round starts an engine of its own on one core, brings the sessions in over REST and sends the events as fast as
they are taken; both kinds alternate. Every ending must come as often as the files say, or the run stops.
"""

import tempfile
from contextlib import ExitStack
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import msgspec
import uvloop

from benchmarks.cores import core_apart, on_core
from benchmarks.engines import engine_on, feed_port_of
from benchmarks.peers import Ready, Routes, Serving, serving, until_told
from benchmarks.report import Figure, Scale, Section, median
from engine.capacity.files import WorkloadFiles
from engine.capacity.workload import Workload
from engine.cli.feedrun import FeedReport, Pace
from engine.cli.workload import bring_in, send_to
from engine.core.model.requests import AccountUpdate

EVENTS = 60_000
"""Of a round."""
MIXED = Workload(sessions=10_000, numbers=100, skew=0.9, misses=0.1, expired=0.02, wrong_mode=0.02, opt_out=0.01)
ALIKE = Workload(sessions=10_000, numbers=100, skew=0.0, misses=0.0, expired=0.0, wrong_mode=0.0, opt_out=0.0)
MARKETPLACE, PLAIN = "marketplace: Zipf 0.9, a tenth strangers, some refused", "all routed, sessions alike"


class Sample(msgspec.Struct, frozen=True):
    """What a round showed."""

    report: FeedReport
    cpu: float
    """Seconds of the server's processor."""

    @property
    def per_core(self) -> float:
        """Events per second of the processor."""
        return self.report.events / self.cpu


async def serve(told: Connection, _: Routes, *, directory: Path) -> None:
    """Serve with the engine, the sessions of a workload brought in and expired where they are to be."""
    with tempfile.TemporaryDirectory() as data_dir:
        async with engine_on(Path(data_dir, "data"), rate_limit_per_second=0) as engine:
            account = await engine.host.control.create_account(AccountUpdate(friendly_name="benchmark"))
            await bring_in(engine.address, account, WorkloadFiles(directory))
            told.send(Ready(feed_port_of(engine), account.sid, account.auth_token))
            await until_told(told)


def _sample(directory: Path, core: int) -> Sample:
    files = WorkloadFiles(directory)
    with ExitStack() as stack:
        with on_core(core):
            server: Serving = stack.enter_context(serving(partial(serve, directory=directory), {}))
        before = server.cpu_seconds()
        ready = server.ready
        report = uvloop.run(send_to(server.address, files, key=ready.account_sid, secret=ready.token, pace=Pace()))
        cpu = server.cpu_seconds() - before
    assert report.endings == files.expected(), (report.endings, files.expected())
    return Sample(report, cpu)


def measure(scale: Scale) -> Section:
    """Measure."""
    mixed: list[Sample] = []
    alike: list[Sample] = []
    with tempfile.TemporaryDirectory() as name, core_apart() as core:
        kinds = [(Path(name, "mixed"), MIXED, mixed), (Path(name, "alike"), ALIKE, alike)]
        for directory, wanted, _ in kinds:
            WorkloadFiles(directory).write(msgspec.structs.replace(wanted, events=scale.of(EVENTS)))
        for turn in range(scale.rounds):
            for directory, _, samples in kinds[:: -1 if turn % 2 else 1]:
                samples.append(_sample(directory, core))
    unit = "events/s/core"
    figures = (
        Figure(
            what=MARKETPLACE,
            value=median([one.per_core for one in mixed]),
            unit=unit,
            peer=PLAIN,
            ratio=median([one.per_core / other.per_core for one, other in zip(mixed, alike, strict=True)]),
            note="; ".join(f"{ending} {count:,}" for ending, count in mixed[0].report.endings.items()),
        ),
        Figure(what=PLAIN, value=median([one.per_core for one in alike]), unit=unit),
    )
    return Section(f"a workload over the feed, {MIXED.sessions:,} sessions, calls and messages on disk", figures)
