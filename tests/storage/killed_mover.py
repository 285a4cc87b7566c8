"""A process that moves data and kills itself at the n-th thing it tells of: `DATA_DIR HOSTS N` as arguments.

HOSTS 0 only finishes; N 0 never dies. It prints how much it told when it is through.
"""

import sys
from pathlib import Path

from storage.sqlite.rebalance import rebalance
from tests.storage.killed import Fatal


def move(data_dir: Path, hosts: int | None, fatal: int) -> int:
    hear = Fatal(fatal)
    rebalance(data_dir, hosts, hear)
    return hear.told


if __name__ == "__main__":
    sys.stdout.write(f"{move(Path(sys.argv[1]), int(sys.argv[2]) or None, int(sys.argv[3]))}\n")
