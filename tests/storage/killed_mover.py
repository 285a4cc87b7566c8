"""A process that moves data and kills itself at the n-th thing it tells of: `DATA_DIR HOSTS N` as arguments.

HOSTS 0 only finishes; N 0 never dies. It prints how much it told when it is through.
"""

import os
import signal
import sys
from pathlib import Path

from storage.sqlite.rebalance import rebalance


def move(data_dir: Path, hosts: int | None, fatal: int) -> int:
    told = 0

    def hear(what: str, done: int, total: int) -> None:
        nonlocal told
        told += 1
        if told == fatal:
            os.kill(os.getpid(), signal.SIGKILL)

    rebalance(data_dir, hosts, hear)
    return told


if __name__ == "__main__":
    sys.stdout.write(f"{move(Path(sys.argv[1]), int(sys.argv[2]) or None, int(sys.argv[3]))}\n")
