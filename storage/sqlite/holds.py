"""Whether deliveries are held: nothing that a database owes leaves until the operator says so.

The mark is in the header of the database (`PRAGMA user_version`), so that it goes wherever a copy of the file goes: who
looks at a backup must not call anybody.
"""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from storage.sqlite.connections import open_still, open_writer
from storage.sqlite.datadir import DATABASE
from storage.sqlite.errors import reading, unavailable
from storage.sqlite.layout import Layout, host_dir, read_layout

_HELD: Final = 1


def are_held(connection: sqlite3.Connection) -> bool:
    """Tell whether the deliveries of a database are held."""
    ((mark,),) = connection.execute("PRAGMA user_version").fetchall()
    return bool(mark)


def hold(connection: sqlite3.Connection, *, is_held: bool = True) -> None:
    """Hold the deliveries of a database, or release them."""
    connection.execute(f"PRAGMA user_version = {_HELD if is_held else 0}")


def owed(connection: sqlite3.Connection) -> int:
    """Count the deliveries that a server on a database will make, unless they are held."""
    ((entries,),) = connection.execute("SELECT count(*) FROM effects WHERE date_died IS NULL").fetchall()
    return int(entries)


def is_held(database: Path) -> bool:
    """Tell whether the deliveries of a database are held; raises StoreUnavailable."""
    with reading(), closing(open_still(database)) as connection:
        return are_held(connection)


def databases_here(data_dir: Path, layout: Layout) -> dict[int, Path]:
    """Find the databases of a data directory by the places of their hosts; some may lie on other nodes."""
    paths = {place: host_dir(data_dir, place, layout.hosts) / DATABASE for place in range(layout.hosts)}
    return {place: path for place, path in paths.items() if path.is_file()}


def held_here(data_dir: Path) -> bool:
    """Tell whether any database of a data directory holds its deliveries; raises StoreUnavailable, LayoutDamaged."""
    return any(map(is_held, _databases(data_dir)))


def release_here(data_dir: Path) -> int:
    """Release the deliveries of all databases of a data directory, while servers run or not; returns how many held.

    Raises:
        StoreUnavailable: the disk refused; those before it are released.
    """
    held = [database for database in _databases(data_dir) if is_held(database)]
    for database in held:
        try:
            with closing(open_writer(database, "FULL")) as connection:
                hold(connection, is_held=False)
        except sqlite3.Error as failure:
            raise unavailable(failure) from failure
    return len(held)


def _databases(data_dir: Path) -> list[Path]:
    return [*databases_here(data_dir, read_layout(data_dir) or Layout(1)).values()]
