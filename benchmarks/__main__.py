"""Run all benchmarks, or those named: `python -m benchmarks [NAME …]`; see `--help`."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from benchmarks import (
    batch,
    cluster,
    creates,
    database,
    feed,
    growth,
    hooks,
    idle,
    metrics,
    pages,
    resolve,
    restart,
    route,
    sip,
    smpp,
    soak,
    sql,
    takeover,
    webhook,
    workload,
)
from benchmarks.report import Scale, Section, Surroundings, surroundings
from benchmarks.show import Report, show_table, write_files

BENCHMARKS: dict[str, Callable[[Scale], Section]] = {
    "resolve": resolve.measure,
    "feed": feed.measure,
    "cluster": cluster.measure,
    "route": route.measure,
    "workload": workload.measure,
    "webhook": webhook.measure,
    "sql": sql.measure,
    "sip": sip.measure,
    "smpp": smpp.measure,
    "hooks": hooks.measure,
    "creates": creates.measure,
    "batch": batch.measure,
    "restart": restart.measure,
    "postgres": database.measure,
    "growth": growth.measure,
    "metrics": metrics.measure,
    "idle": idle.measure,
    "pages": pages.measure,
    "takeover": takeover.measure,
}
"""In the order in which they are run."""

SOAK = "soak"
"""Runs only when it is named, alone: it asks for a verdict, and lasts."""

SMALL = 0.02
"""Share of the long runs with `--quick`."""


def options() -> argparse.ArgumentParser:
    """Return what may be asked for."""
    parser = argparse.ArgumentParser(prog="make bench", description="Measure beside peers in the same run.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which: {', '.join(BENCHMARKS)}, or {SOAK} alone")
    parser.add_argument("--json", action="store_true", help="a JSON line per figure instead of tables")
    parser.add_argument("--out", type=Path, metavar="DIR", default=Path("bench-results"), help="where the files go")
    parser.add_argument("--quick", action="store_true", help="one short round: shows that it runs, not how fast")
    parser.add_argument("--minutes", type=float, default=10.0, help=f"how long `{SOAK}` lasts")
    parser.add_argument(
        "--kill-seconds", type=float, default=soak.KILL_SECONDS, help=f"how often `{SOAK}` kills a host; 0 = never"
    )
    parser.add_argument(
        "--redelivery-seconds",
        type=int,
        default=soak.REDELIVERY_SECONDS,
        help=f"how long the hosts of `{SOAK}` keep an answer in memory",
    )
    parser.add_argument(
        "--nodes", action="store_true", help=f"`{SOAK}` loses whole nodes of a cluster on PostgreSQL; takes root"
    )
    parser.add_argument("--rounds", type=int, default=Scale().rounds, help="alternating runs, of which the median")
    return parser


def duration(arguments: Sequence[str]) -> str:
    """Say how long it takes, on two cores as in docs/performance.md, what is asked for."""
    asked = options().parse_args(arguments)
    if asked.names == [SOAK]:
        return f"`{SOAK}` takes {asked.minutes:g} minutes and what it needs to start"
    count = len(asked.names or BENCHMARKS)
    minutes = count if asked.quick else count * asked.rounds
    return f"{count} of {len(BENCHMARKS)} benchmarks take about {minutes} minutes, in which they use all cores"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what was asked for, in the order of the table."""
    parser = options()
    asked = parser.parse_args(arguments)
    if asked.names == [SOAK]:
        soak.run(
            minutes=asked.minutes,
            kill_seconds=asked.kill_seconds,
            redelivery_seconds=asked.redelivery_seconds,
            on_nodes=asked.nodes,
        )
        return
    unknown = set(asked.names) - set(BENCHMARKS)
    if unknown:
        parser.error(
            f"unknown benchmark {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}, and {SOAK} alone"
        )
    scale = Scale(rounds=1, share=SMALL) if asked.quick else Scale(rounds=asked.rounds)
    where = surroundings()
    sections: list[Section] = []
    for name, run in BENCHMARKS.items():
        if not asked.names or name in asked.names:
            sections.append(run(scale))
            _show(sections[-1], where, as_json=asked.json)
            write_files(Report(where, tuple(sections)), asked.out)  # anew after each: a stopped run keeps what it has
    print(f"written to {asked.out}; load average before: {where.load_average:.1f}", file=sys.stderr)


def _show(section: Section, where: Surroundings, *, as_json: bool) -> None:
    if not as_json:
        show_table(section, where)
        return
    for figure in section.figures:
        line = {"benchmark": section.title, "machine": where.machine, **msgspec.to_builtins(figure)}
        print(msgspec.json.encode(line).decode(), flush=True)


if __name__ == "__main__":
    main()
