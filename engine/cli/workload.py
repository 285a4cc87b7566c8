"""`maskline demo --workload`: the files of `maskline bench workload` through a fresh engine."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import uvloop

from engine.app import running_engine
from engine.capacity.files import WorkloadFiles
from engine.capacity.workload import EXPIRED_TTL_SECONDS
from engine.channels.feed.records import read_lines
from engine.channels.sockets import ListenAddress
from engine.cli.feedrun import WANTS, FeedReport, Pace, Tally, send_records
from engine.client.feed import FeedClient
from engine.core.model.records import Account
from engine.core.model.requests import AccountUpdate
from engine.demo.provision import Application
from engine.demo.run import own_directory
from engine.settings import Settings

ITEMS_AT_ONCE = 1_000
"""Sessions of one batch."""

Progress = Callable[[str], None]


class WorkloadReport(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a workload."""

    sessions: int
    feed: FeedReport
    expected: dict[str, int]
    """How often each ending had to come."""

    def endings(self) -> Iterator[tuple[str, int, int]]:
        """Walk the endings: how often each had to come, and came; the most frequent first."""
        came = self.feed.endings
        for ending in sorted({*came, *self.expected}, key=lambda one: (-self.expected.get(one, 0), one)):
            yield ending, self.expected.get(ending, 0), came.get(ending, 0)

    @property
    def is_as_expected(self) -> bool:
        """Whether every event was sent, and every ending came as often as it had to."""
        return self.feed.is_clean and self.feed.endings == self.expected


def play_workload(directory: Path, *, listen: ListenAddress, progress: Progress) -> WorkloadReport:
    """Play a workload at its own pace through an engine of its own; raises what `WorkloadFiles` does."""
    files = WorkloadFiles(directory)
    with own_directory() as data_dir:
        settings = Settings(
            data_dir=data_dir, listen=listen, feed_listen=ListenAddress("127.0.0.1", 0), rate_limit_per_second=0
        )
        return uvloop.run(_played(files, settings, progress))


async def _played(files: WorkloadFiles, settings: Settings, progress: Progress) -> WorkloadReport:
    expected, items = files.expected(), files.items()
    async with running_engine(settings) as engine:
        account = await engine.host.control.create_account(AccountUpdate(friendly_name="Workload"))
        progress(f"bringing in {len(items):,} sessions over REST")
        await bring_in(engine.address, account, files)
        progress(f"sending {sum(expected.values()):,} events over the feed, as recorded")
        feed = ListenAddress.parse(engine.feed_address)
        pace = Pace(is_as_recorded=True)
        report = await send_to((feed.host, feed.port), files, key=account.sid, secret=account.auth_token, pace=pace)
    return WorkloadReport(sessions=len(items), feed=report, expected=expected)


async def bring_in(address: str, account: Account, files: WorkloadFiles) -> None:
    """Make the service, its pool and the sessions of a workload over REST, and let those expire that have to.

    Raises:
        RuntimeError: one of them is refused; the message is the engine's.
    """
    application = Application(address, account)
    try:
        service = (await application.post("/Services", UniqueName="workload"))["sid"]
        for number in files.numbers():
            await application.post(f"/Services/{service}/PhoneNumbers", PhoneNumber=number)
        items = files.items()
        for start in range(0, len(items), ITEMS_AT_ONCE):
            await application.batch(service, items[start : start + ITEMS_AT_ONCE])
    finally:
        await application.close()
    await asyncio.sleep(EXPIRED_TTL_SECONDS + 1)


async def send_to(address: tuple[str, int], files: WorkloadFiles, *, key: str, secret: str, pace: Pace) -> FeedReport:
    """Send the events of a workload to a feed."""
    tally = Tally()
    async with FeedClient(address, key=key, secret=secret, wants=WANTS) as client:
        with files.events.open("rb") as lines:
            await send_records(client, read_lines(lines), pace=pace, tally=tally, turned=lambda: None)
    return tally.report()
