"""`maskline feed`: send the events of a file to a feed and show what came back."""

import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import BinaryIO

import click
import msgspec
import uvloop
from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from engine.api.admin.shapes import ApiKeyCreated, ApiKeyShape
from engine.channels.feed.records import MAX_RECORD_BYTES, Record, read_lines, read_maps
from engine.channels.sockets import ListenAddress
from engine.cli.client import AdminClient, served_socket, the_account, with_admin
from engine.cli.feedrun import WANTS, FeedReport, Pace, Tally, send_records
from engine.cli.files import past_mark
from engine.cli.options import settings_from
from engine.cli.output import console, show_json, show_table
from engine.cli.tree import REFUSED, Refusal
from engine.client.feed import FeedClient
from engine.settings import Settings

_CHUNK_BYTES = 262_144
_BAR_WIDTH = 40
_SHOW_SECONDS = 0.2
_MAP_HEADS = frozenset({*range(0x80, 0x90), 0xDE, 0xDF})


class Target(msgspec.Struct, frozen=True):
    """Where events go, and as whom."""

    address: ListenAddress
    key: str
    secret: str
    tls: ssl.SSLContext | None


@click.command()
@click.option(
    "--file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    required=True,
    help="NDJSON, or MessagePack maps.",
)
@click.option("--to", metavar="HOST:PORT", required=True, help="Where a feed listens; of a cluster, any host.")
@click.option(
    "--rate",
    type=click.FloatRange(min=0, min_open=True),
    metavar="N",
    help="Events a second; else as fast as they are taken.",
)
@click.option("--as-recorded", is_flag=True, help="At the times that the events have as `at`, from the first one on.")
@click.option(
    "--key", envvar="FEED_KEY", metavar="SK…", help="Key to say hello with (or FEED_KEY); else one is made for the run."
)
@click.option("--secret", envvar="FEED_SECRET", metavar="TEXT", help="Secret of the key; better given as FEED_SECRET.")
@click.option("--account", metavar="SID|NAME", help="Whose key is made; may be left out while there is only one.")
@click.option("--tls", "is_tls", is_flag=True, help="Speak TLS.")
@click.option("--ca", type=click.Path(path_type=Path, exists=True), help="PEM file of whom to trust; speaks TLS.")
@click.option("--config", type=click.Path(path_type=Path), help="TOML file of settings, for the data directory.")
@click.option("--data-dir", metavar="DIR", help="Data directory of the running server that makes the key.")
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
def feed(
    *,
    file: Path,
    to: str,
    rate: float | None,
    as_recorded: bool,
    key: str | None,
    secret: str | None,
    account: str | None,
    is_tls: bool,
    ca: Path | None,
    config: Path | None,
    data_dir: str | None,
    as_json: bool,
) -> None:
    """Send the calls, messages, leg statuses and questions of a file over a feed; bad rows are named by line."""
    pace = Pace(rate=rate, is_as_recorded=as_recorded)
    address, tls = _address(to), ssl.create_default_context(cafile=ca) if is_tls or ca else None
    if key is not None:
        if secret is None:
            raise Refusal("a key goes with its secret: set FEED_SECRET, or give --secret")
        report = _run(file, Target(address, key, secret, tls), pace, is_quiet=as_json)
    else:
        settings = settings_from(config=config, data_dir=data_dir).settings
        with _made_key(settings, account) as made:
            report = _run(file, Target(address, made.key.sid, made.secret, tls), pace, is_quiet=as_json)
    if as_json:
        show_json(report)
    else:
        _show(report)
    if not report.is_clean:
        raise SystemExit(REFUSED)


def _address(text: str) -> ListenAddress:
    try:
        return ListenAddress.parse(text)
    except ValueError as problem:
        raise Refusal(f"--to: {problem}; got {text!r}") from problem


# -- a key for the run -----------------------------------------------------------------------------------------------


@contextmanager
def _made_key(settings: Settings, account: str | None) -> Iterator[ApiKeyCreated]:
    """Make an API key through the operator's socket, and revoke it afterwards."""
    if served_socket(settings.data_dir) is None:
        raise Refusal(
            f"no server of {settings.data_dir} runs here that could make a key: give --key, or its --data-dir"
        )

    async def make(admin: AdminClient) -> ApiKeyCreated:
        owner = await the_account(admin, account)
        body = {"friendly_name": "maskline feed"}
        return await admin.call("POST", f"/accounts/{owner}/keys", answer=ApiKeyCreated, body=body)

    made = with_admin(settings, make)
    try:
        yield made
    finally:
        with_admin(settings, lambda admin: admin.call("DELETE", f"/keys/{made.key.sid}", answer=ApiKeyShape))


# -- the run ---------------------------------------------------------------------------------------------------------


def _run(file: Path, target: Target, pace: Pace, *, is_quiet: bool) -> FeedReport:
    async def work() -> FeedReport:
        address = (target.address.host, target.address.port)
        async with FeedClient(address, key=target.key, secret=target.secret, wants=WANTS, tls=target.tls) as client:
            tally = Tally()
            with file.open("rb") as data, _live(file, data, tally, is_quiet=is_quiet) as turned:
                records = _records(past_mark(data, name=file))
                await send_records(client, records, pace=pace, tally=tally, turned=turned)
            return tally.report()

    try:
        return uvloop.run(work())
    except TimeoutError as problem:
        raise Refusal(f"no feed answers at {target.address}") from problem
    except OSError as problem:
        raise Refusal(f"cannot read {file}: {problem.strerror or problem}") from problem


def _records(data: BinaryIO) -> Iterator[Record]:
    start = data.tell()
    first = data.read(1)
    data.seek(start)
    if first and first[0] in _MAP_HEADS:
        return read_maps(iter(lambda: data.read(_CHUNK_BYTES), b""))
    return read_lines(_lines(data))


def _lines(data: BinaryIO) -> Iterator[bytes]:
    """Walk the lines, of one that is too long only as much as shows it."""
    while line := data.readline(MAX_RECORD_BYTES + 1):
        yield line
        while line and not line.endswith(b"\n"):
            line = data.readline(MAX_RECORD_BYTES)


@contextmanager
def _live(file: Path, data: BinaryIO, tally: Tally, *, is_quiet: bool) -> Iterator[Callable[[], None]]:
    """Show how far the file is and what came back; yields what is to be called when there is something new."""
    screen = console(is_error=True)
    if is_quiet or not screen.is_terminal:
        yield lambda: None
        return
    progress = Progress(TextColumn("sending"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    task = progress.add_task("sending", total=file.stat().st_size)
    shown_at = 0.0
    with Live(console=screen, transient=True) as live:

        def turned() -> None:
            nonlocal shown_at
            if perf_counter() - shown_at < _SHOW_SECONDS:
                return
            shown_at = perf_counter()
            progress.update(task, completed=data.tell())
            live.update(Group(progress, _endings(tally.endings.most_common())))

        yield turned


# -- what is shown ---------------------------------------------------------------------------------------------------


def _endings(endings: list[tuple[str, int]]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    for ending, count in endings:
        table.add_row(ending, f"{count:,}")
    return table


def _show(report: FeedReport) -> None:
    for bad in report.shown:
        click.echo(f"line {bad.line}: {bad.message}")
    if report.bad_rows > len(report.shown):
        click.echo(f"and {report.bad_rows - len(report.shown)} more bad rows")
    show_table(
        ("ending", "events"),
        ((ending, f"{count:,}") for ending, count in report.endings.items()),
        none="nothing was answered",
    )
    latency = report.latency
    if latency is not None:
        most = max(bucket.events for bucket in latency.buckets)
        click.echo()
        show_table(
            ("up to ms", "events", ""),
            (
                (f"{bucket.up_to_ms:g}", f"{bucket.events:,}", "█" * -(-bucket.events * _BAR_WIDTH // most))
                for bucket in latency.buckets
            ),
        )
        figures = f"p50 {latency.p50:g}, p90 {latency.p90:g}, p99 {latency.p99:g}, p99.9 {latency.p999:g}"
        click.echo(f"latency in ms: {figures}, highest {latency.highest:g}")
    rate = f"{report.per_second:,} answers a second"
    click.echo(f"{report.events:,} sent, {report.answered:,} answered, {report.bad_rows:,} bad rows; {rate}")
