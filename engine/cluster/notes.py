"""The small files of a cluster: a host's note in its directory, the supervisor's record, the list of scrape targets.

Each is replaced whole, so that whoever reads one sees the last that was written.
"""

import os
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import urlsplit

import msgspec

from actors.cluster.watch import ClusterRecord, Member, Placed, empty_record
from engine.core.model.hosts import HostDirectory
from storage.sqlite.layout import sync, write_durably

HOST_NOTE = "host.json"
RECORD = "cluster.json"
TARGETS = "prometheus-targets.json"

Note = TypeVar("Note")


class HostNote(msgspec.Struct, frozen=True, kw_only=True):
    """What a host must know again after a restart, beside its database."""

    incarnation: int = 0
    """Processes that it has had."""
    placing: str = ""
    """Which placing on a node `restarts` counts from."""
    restarts: int = 0
    attempts: int = 0
    """Starts since it was ready last, this one included."""
    is_drained: bool = False
    has_database: bool = False
    """It has had one; should it be away, none is made in its place."""
    directory: HostDirectory | None = None
    """The last that it was told."""


class _Target(msgspec.Struct, frozen=True):
    """As Prometheus's file-based discovery reads it."""

    targets: tuple[str, ...]
    labels: dict[str, str]


def read_note(path: Path, kind: type[Note]) -> Note | None:
    """Read a file; None where there is none that can be understood. Raises OSError."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def write_note(path: Path, note: object) -> None:
    """Replace a file (0600), durably. Raises OSError."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    write_durably(draft, msgspec.json.format(msgspec.json.encode(note)).decode() + "\n")
    draft.replace(path)
    sync(path.parent)


def read_record(data_dir: Path, hosts: int) -> ClusterRecord:
    """Read the supervisor's record, for so many hosts. Raises OSError.

    One of another number is from before the data was moved: all files are somewhere, and every address is another one.
    """
    known = read_note(data_dir / RECORD, ClusterRecord)
    record = empty_record(hosts)
    if known is None or len(known.directory.hosts) == hosts:
        return known or record
    directory = msgspec.structs.replace(record.directory, epoch=known.directory.epoch + 1)
    return ClusterRecord(directory, {place: Placed(_BEFORE, has_files=True) for place in range(hosts)})


_BEFORE: Final = "the nodes of another number of hosts"


def save_cluster(data_dir: Path, record: ClusterRecord, members: tuple[Member, ...]) -> None:
    """Write the supervisor's record and the scrape targets. Raises OSError."""
    write_note(data_dir / RECORD, record)
    save_targets(data_dir, members)


def save_targets(data_dir: Path, members: tuple[Member, ...]) -> None:
    """Write the scrape targets. Raises OSError."""
    write_note(data_dir / TARGETS, scrape_targets(members))


def scrape_targets(members: tuple[Member, ...]) -> tuple[object, ...]:
    """List where monitoring finds the hosts that have an operations port."""
    return tuple(
        _Target((urlsplit(member.operations).netloc,), {"host": member.name, "node": member.report.node_address})
        for member in members
        if member.report is not None and member.operations
    )
