"""A process that imports or exports and kills itself at the n-th thing it tells of: `WHICH DATA_DIR DATABASE N`.

N 0 never dies. It prints how much it told when it is through.
"""

import sys
from pathlib import Path

from storage.transfer import export_file, import_file
from tests.storage.killed import Fatal


def move(which: str, data_dir: Path, database: str, fatal: int) -> int:
    hear = Fatal(fatal)
    if which == "import":
        import_file(data_dir, database, hear, lease_seconds=0)
    else:
        export_file(database, data_dir, hear, lease_seconds=0)
    return hear.told


if __name__ == "__main__":
    sys.stdout.write(f"{move(sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))}\n")
