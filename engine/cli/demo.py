"""`maskline demo`: the main job on recorded traffic, or a workload, in a temporary directory."""

import sys
from pathlib import Path

import click
import msgspec

from engine.channels.sockets import ListenAddress
from engine.cli.output import console, show_json, show_table
from engine.cli.tree import REFUSED, Refusal
from engine.cli.workload import WorkloadReport, play_workload
from engine.demo.run import DemoOptions, run_demo
from engine.settings import load_settings


@click.command()
@click.option("--once", "is_once", is_flag=True, help="End after the traffic; exit code 1 when a decision differs.")
@click.option("--listen", default="127.0.0.1:0", show_default=True, metavar="HOST:PORT", help="Port 0 = a free one.")
@click.option(
    "--workload",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Play the files of `maskline bench workload` over the feed instead, once.",
)
@click.option("--json", "as_json", is_flag=True, help="Report in JSON.")
def demo(*, is_once: bool, listen: str, workload: Path | None, as_json: bool) -> None:
    """Play a recorded day of calls and messages through a fresh engine and hold every decision against the file.

    Everything is real but the people: the REST interface sets the scene up, the webhooks are signed and go through
    the HTTP listener, the engine commits to disk. Then it serves until Ctrl-C, to be tried by hand.
    """
    address = load_settings(config=None, environ={}, flags={"listen": listen}).settings.listen
    if workload is not None:
        _play(workload, address, as_json=as_json)
        return
    click.echo("an engine starts on a temporary directory, and the recorded traffic is played: some seconds", err=True)
    options = DemoOptions(listen=address, is_once=is_once, as_json=as_json, program=sys.argv[0])
    report = run_demo(options, console())
    if report.differences:
        raise SystemExit(REFUSED)


def _play(workload: Path, address: ListenAddress, *, as_json: bool) -> None:
    try:
        report = play_workload(workload, listen=address, progress=lambda line: click.echo(line, err=True))
    except (OSError, UnicodeDecodeError, msgspec.DecodeError, RuntimeError) as problem:
        raise Refusal(f"{workload} is no workload that can be played: {problem}") from problem
    if as_json:
        show_json(report)
    else:
        _show(report)
    if not report.is_as_expected:
        raise SystemExit(REFUSED)


def _show(report: WorkloadReport) -> None:
    rows = ((ending, f"{wanted:,}", f"{came:,}") for ending, wanted, came in report.endings())
    show_table(("ending", "must come", "came"), rows)
    feed, latency = report.feed, report.feed.latency
    late = f"; p50 {latency.p50:g}, p99 {latency.p99:g} ms" if latency else ""
    click.echo(
        f"{report.sessions:,} sessions, {feed.events:,} events, {feed.answered:,} answered in {feed.seconds:g} s{late}"
    )
    click.echo("every ending came as often as it had to" if report.is_as_expected else "the endings differ")
