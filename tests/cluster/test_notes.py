"""The small files of a cluster."""

import json
import stat
from pathlib import Path

import pytest

from actors.cluster.watch import HostReport, Member, Placed, empty_record
from engine.cluster.notes import HostNote, read_note, read_record, save_cluster, write_note
from engine.core.model.hosts import HostState

MEMBERS = (
    Member(
        place=0,
        report=HostReport(place=0, state=HostState.STARTING, pid=1, node="n", node_address="10.0.0.1"),
        operations="http://10.0.0.1:9100",
    ),
    Member(place=1),
)


def test_a_note_is_read_as_it_was_written(tmp_path: Path) -> None:
    """It is replaced whole, and only its owner can read it."""
    path = tmp_path / "host.json"
    note = HostNote(incarnation=7, is_drained=True, directory=empty_record(2).directory)
    write_note(path, HostNote())

    write_note(path, note)

    assert read_note(path, HostNote) == note
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", [None, b"", b"{", b'{"incarnation": "many"}'])
def test_a_note_that_is_none_counts_as_missing(tmp_path: Path, content: bytes | None) -> None:
    """A host starts all the same."""
    path = tmp_path / "host.json"
    if content is not None:
        path.write_bytes(content)

    assert read_note(path, HostNote) is None


def test_monitoring_is_told_where_the_hosts_are(tmp_path: Path) -> None:
    """As Prometheus's file-based discovery has it; a host that starts again stays, one not known yet is left out."""
    save_cluster(tmp_path, empty_record(2), MEMBERS)

    targets = json.loads((tmp_path / "prometheus-targets.json").read_bytes())

    assert targets == [{"targets": ["10.0.0.1:9100"], "labels": {"host": "host-0", "node": "10.0.0.1"}}]


def test_the_record_is_kept_for_the_next_supervisor(tmp_path: Path) -> None:
    """As long as the number of hosts is the same."""
    record = empty_record(2)
    save_cluster(tmp_path, record, MEMBERS)

    assert read_record(tmp_path, 2) == record


def test_after_a_move_to_another_number_the_epoch_goes_on_and_no_host_starts_empty(tmp_path: Path) -> None:
    """Clients of the feed learn of the new hosts, and every host has files somewhere."""
    save_cluster(tmp_path, empty_record(2), MEMBERS)

    record = read_record(tmp_path, 3)

    assert record.directory.epoch == 1
    assert [one.name for one in record.directory.hosts] == ["host-0", "host-1", "host-2"]
    assert all(record.placed[place].has_files for place in range(3))
    assert isinstance(record.placed[0], Placed)
