"""Run all benchmarks, or those named: `python -m benchmarks [NAME …] [--json]`; the names are in `BENCHMARKS`."""

import sys
from collections.abc import Callable

from benchmarks import batch, creates, feed, hooks, memory, metrics, resolve, webhook

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


def main() -> None:
    """Run what was asked for, in the order of the table."""
    asked = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
    unknown = set(asked) - set(BENCHMARKS)
    if unknown:
        sys.exit(f"unknown benchmark {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    for name, run in BENCHMARKS.items():
        if not asked or name in asked:
            run()


if __name__ == "__main__":
    main()
