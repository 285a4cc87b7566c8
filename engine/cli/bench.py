"""`maskline bench`: measure this machine, make workloads, and work out what a marketplace needs."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from engine.capacity.files import NAMES, WorkloadFiles
from engine.capacity.plan import Marketplace, plan
from engine.capacity.workload import EXPIRED_TTL_SECONDS, Arrivals, Workload, check
from engine.cli.output import show_facts, show_json
from engine.cli.tree import Refusal

F = TypeVar("F", bound=Callable[..., Any])


@click.group()
def bench() -> None:
    """Benchmarks, workloads, and how much a marketplace needs."""


@bench.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def run(*, arguments: tuple[str, ...]) -> None:
    """Run the benchmarks of a checkout, as `make bench` does; --help among the arguments tells which there are.

    Says how long it takes and asks; --yes does not.
    """
    try:
        benchmarks = importlib.import_module("benchmarks.__main__")
    except ModuleNotFoundError as problem:
        raise Refusal(f"the benchmarks run from a checkout, where `make setup` was done ({problem})") from problem
    asked = [one for one in arguments if one != "--yes"]
    if len(asked) == len(arguments) and not {"-h", "--help"} & {*asked}:
        click.confirm(f"{benchmarks.duration(asked)}. Go on?", abort=True, err=True)
    benchmarks.main(asked)


def _of(struct: type[msgspec.Struct], name: str) -> object:
    """Return the default of a field."""
    return next(field.default for field in msgspec.structs.fields(struct) if field.name == name)


def _option(struct: type[msgspec.Struct], name: str, kind: click.ParamType[Any], text: str) -> Callable[[F], F]:
    flag = f"--{name.replace('_', '-')}"
    return click.option(flag, type=kind, default=_of(struct, name), show_default=True, help=text)


_SHARE, _COUNT = click.FloatRange(0, 1), click.IntRange(min=1)


@bench.command()
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Directory of the files.")
@_option(Workload, "sessions", _COUNT, "Sessions, a tenth of them expired and a tenth narrow in mode.")
@_option(Workload, "numbers", click.IntRange(2, 500), "Proxy numbers.")
@_option(Workload, "events", _COUNT, "Calls and messages.")
@_option(Workload, "seed", click.INT, "The same seed makes the same files.")
@_option(Workload, "skew", click.FLOAT, "Zipf exponent of the events over the sessions; 0 = all alike.")
@_option(Workload, "calls", _SHARE, "Share of calls; the others are messages.")
@_option(Workload, "misses", _SHARE, "Share of events of people whom nobody knows.")
@_option(Workload, "expired", _SHARE, "Share of events in sessions that have expired.")
@_option(Workload, "wrong_mode", _SHARE, "Share of events that their session's mode does not let pass.")
@_option(Workload, "opt_out", _SHARE, "Share of messages that say STOP.")
@_option(Workload, "rate", click.FLOAT, "Events a second, on average.")
@click.option(
    "--arrivals", "process", type=click.Choice([*map(str, Arrivals)]), default="poisson", help="How they follow."
)
def workload(*, out: Path, process: str, **given: float) -> None:
    """Write numbers, sessions, events, and what must become of the events, the same for a seed."""
    wanted = msgspec.convert({**given, "arrivals": process}, Workload)
    try:
        check(wanted)
    except ValueError as problem:
        raise Refusal(str(problem)) from problem
    WorkloadFiles(out).write(wanted)
    show_facts((name, text) for name, text in zip(NAMES, _HOW, strict=True))


_HOW = (
    "maskline numbers import --service SID",
    "maskline sessions batch --service SID --file",
    f"more than {EXPIRED_TTL_SECONDS} s later: maskline feed --as-recorded --to HOST:PORT --file",
    "the endings that it shows then",
)


@bench.command("plan")
@click.option("--drivers", type=_COUNT, required=True, help="People who have many sessions.")
@click.option("--jobs", "jobs_per_hour", type=click.FloatRange(min=0, min_open=True), required=True, help="An hour.")
@_option(Marketplace, "minutes", click.FloatRange(min=0, min_open=True), "Minutes that a session is open, on average.")
@_option(Marketplace, "keep_minutes", click.FloatRange(min=0), "Minutes that it is kept open after that.")
@_option(Marketplace, "skew", click.FloatRange(min=0), "Zipf exponent of the jobs over the drivers; 0 = all alike.")
@_option(Marketplace, "most_at_once", click.IntRange(min=0), "Sessions that a driver has at once; 0 = any number.")
@_option(Marketplace, "events_per_session", click.FloatRange(min=0), "Calls and messages of a session.")
@_option(Marketplace, "hours", click.FloatRange(min=0, min_open=True), "Hours that are simulated.")
@_option(Marketplace, "seed", click.INT, "The same seed simulates the same.")
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
def plan_command(*, as_json: bool, **given: float) -> None:
    """Work out how many proxy numbers and hosts are needed, by giving a day's sessions to the real pool."""
    found = plan(msgspec.convert(given, Marketplace))
    if as_json:
        show_json(found)
        return
    show_facts(
        (
            ("sessions simulated", f"{found.sessions:,}"),
            ("jobs without a free driver", f"{found.turned_away:,}"),
            ("sessions at once, at most", f"{found.sessions_at_once:,}"),
            ("of one driver, at most", f"{found.most_of_a_driver:,}"),
            ("proxy numbers", f"{found.numbers:,}"),
            ("services", f"{found.services:,}"),
            ("calls and messages a second", f"{found.events_per_second:,.1f}"),
            ("sessions made a second", f"{found.creates_per_second:,.2f}"),
            ("hosts (a core each)", f"{found.hosts:,}"),
            ("memory of sessions", f"{found.memory_bytes / 1e6:,.0f} MB"),
        )
    )
