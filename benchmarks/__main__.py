"""Run all benchmarks, or those named: `python -m benchmarks [NAME …] [--json]`; the names are in `BENCHMARKS`.

The soak runs only when it is named; `--minutes` and `--kill-seconds` are its own.
"""

import argparse
from collections.abc import Callable

from benchmarks import batch, creates, feed, hooks, memory, metrics, resolve, soak, webhook

BENCHMARKS: dict[str, Callable[[], None]] = {
    "resolve": resolve.main,
    "webhook": webhook.main,
    "feed": feed.main,
    "hooks": hooks.main,
    "creates": creates.main,
    "batch": batch.main,
    "memory": memory.main,
    "metrics": metrics.main,
}
BY_NAME: dict[str, Callable[[], None]] = {"soak": soak.main}
"""Those that last too long to be among all."""


def main() -> None:
    """Run what was asked for, in the order of the tables."""
    parser = argparse.ArgumentParser(prog="benchmarks")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS | BY_NAME))
    parser.add_argument("--json", action="store_true", help="a JSON line per figure")
    parser.add_argument("--minutes", type=float, default=10.0, help="how long to soak")
    parser.add_argument("--kill-seconds", type=float, help="how often the soak kills a host; 0 = never")
    names = parser.parse_args().names
    unknown = set(names) - set(BENCHMARKS | BY_NAME)
    if unknown:
        parser.error(f"unknown benchmark {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS | BY_NAME)}")
    for name, run in (BENCHMARKS | BY_NAME).items():
        if name in (names or BENCHMARKS):
            run()


if __name__ == "__main__":
    main()
