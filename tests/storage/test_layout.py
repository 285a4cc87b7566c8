"""How many hosts a data directory is laid out for: told once, held to, and never guessed."""

import stat
from pathlib import Path

import pytest

from engine.core.model.errors import MasklineError, StoreUnavailable
from storage.sqlite import LayoutDamaged, LayoutMismatch, MoveUnfinished, SqliteStore, claim, host_dir
from storage.sqlite.datadir import DATABASE, LOCK
from storage.sqlite.errors import HostsDirectory
from storage.sqlite.layout import LAYOUT, Layout, read_layout, replace_layout
from tests.storage.material import Observed

pytestmark = pytest.mark.anyio


def test_one_host_has_the_data_directory_and_several_have_their_own(tmp_path: Path) -> None:
    """So that a cluster of one and the embedded engine are the same on disk."""
    assert host_dir(tmp_path, 0, 1) == tmp_path
    assert [host_dir(tmp_path, place, 3).name for place in range(3)] == ["host-0", "host-1", "host-2"]
    assert host_dir(tmp_path, 2, 3).parent == tmp_path


def test_the_first_claim_of_a_directory_lays_it_out(tmp_path: Path) -> None:
    """Made 0700 with a note of 0600; claiming the same again changes nothing."""
    data_dir = tmp_path / "deep" / "data"

    claim(data_dir, 3)
    claim(data_dir, 3)

    assert [path.name for path in data_dir.iterdir()] == [LAYOUT]
    assert read_layout(data_dir) == Layout(3)
    assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700
    assert stat.S_IMODE((data_dir / LAYOUT).stat().st_mode) == 0o600


async def test_one_host_is_noted_once_its_database_is_there(tmp_path: Path) -> None:
    """So that a note without a database tells of one that is missing, wherever a first start was killed."""
    claim(tmp_path, 1)
    before = read_layout(tmp_path)
    store = SqliteStore.open(tmp_path, observer=Observed())
    claim(tmp_path, 1)
    await store.close()

    assert before is None
    assert (tmp_path / LAYOUT).exists()
    assert read_layout(tmp_path) == Layout(1)


@pytest.mark.parametrize(("laid_out", "wanted"), [(3, 1), (1, 3), (3, 4)])
def test_another_number_of_hosts_is_refused_with_the_way_out(tmp_path: Path, laid_out: int, wanted: int) -> None:
    """The note stays as it is."""
    replace_layout(tmp_path, Layout(laid_out))

    with pytest.raises(LayoutMismatch, match=f"maskline rebalance --hosts {wanted} --data-dir {tmp_path}"):
        claim(tmp_path, wanted)

    assert read_layout(tmp_path) == Layout(laid_out)


async def test_a_database_without_a_note_is_of_one_host(tmp_path: Path) -> None:
    """As every version before the note left it, or a backup that was copied back."""
    store = SqliteStore.open(tmp_path, observer=Observed())
    await store.close()

    claim(tmp_path, 1)

    with pytest.raises(LayoutMismatch, match="laid out for 1 host, not for 2 hosts"):
        claim(tmp_path, 2)


@pytest.mark.parametrize("name", ["host-1", "link"])
def test_the_directory_of_one_host_of_a_cluster_is_no_data_directory(tmp_path: Path, name: str) -> None:
    """It holds a part of the sessions; the message names the cluster's."""
    claim(tmp_path, 2)
    host_dir(tmp_path, 1, 2).mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "host-1")

    with pytest.raises(HostsDirectory, match=f"--data-dir {tmp_path}$"):
        claim(tmp_path / name, 1)
    with pytest.raises(HostsDirectory):
        read_layout(tmp_path / name)

    assert not [*(tmp_path / "host-1").iterdir()]


def test_a_directory_that_is_only_called_like_a_hosts_is_one_as_any_other(tmp_path: Path) -> None:
    """Beside it, a server of one host may have its data."""
    claim(tmp_path, 2)
    replace_layout(tmp_path, Layout(1))

    claim(tmp_path / "host-0", 1)

    assert read_layout(tmp_path / "host-0") is None


def test_directories_of_hosts_without_a_note_are_not_guessed_at(tmp_path: Path) -> None:
    """One of them may be missing."""
    claim(tmp_path, 2)
    host_dir(tmp_path, 0, 2).mkdir()
    (host_dir(tmp_path, 0, 2) / DATABASE).touch()
    (tmp_path / LAYOUT).unlink()

    with pytest.raises(LayoutDamaged, match="hosts = N"):
        claim(tmp_path, 2)


def test_directories_of_hosts_on_a_database_are_no_files_cluster(tmp_path: Path) -> None:
    """They hold a lock and a socket."""
    host_dir(tmp_path, 0, 2).mkdir()
    (host_dir(tmp_path, 0, 2) / LOCK).touch()

    assert read_layout(tmp_path) is None


@pytest.mark.parametrize("text", [b"", b"hosts = 0", b"hosts = true", b'hosts = "3"', b"hosts 3", b"\xff"])
def test_a_note_that_tells_nothing_is_refused(tmp_path: Path, text: bytes) -> None:
    """It is named, with what it should say."""
    (tmp_path / LAYOUT).write_bytes(text)

    with pytest.raises(LayoutDamaged, match=str(tmp_path / LAYOUT)) as refused:
        claim(tmp_path, 1)

    assert isinstance(refused.value, MasklineError)


def test_an_operator_can_read_and_write_the_note(tmp_path: Path) -> None:
    """It says what it is for."""
    claim(tmp_path, 3)
    told = (tmp_path / LAYOUT).read_text()
    (tmp_path / LAYOUT).write_text("hosts = 5 # restored by hand\n")

    claim(tmp_path, 5)

    assert "maskline rebalance" in told
    assert "hosts = 3" in told


def test_a_file_in_place_of_the_directory_is_not_claimed(tmp_path: Path) -> None:
    """Not with a traceback either."""
    (tmp_path / "data").write_text("")

    with pytest.raises(StoreUnavailable, match="must be a directory"):
        claim(tmp_path / "data", 1)


def test_a_directory_whose_move_was_interrupted_is_refused_to_all(tmp_path: Path) -> None:
    """Old files may be gone and new ones not yet in place; the message says how to go on."""
    replace_layout(tmp_path, Layout(hosts=3, moving_to=5, kept_in="before-rebalance-1"))

    for hosts in (3, 5):
        with pytest.raises(MoveUnfinished, match=f"Finish it: maskline rebalance --data-dir {tmp_path}"):
            claim(tmp_path, hosts)


def test_a_note_is_replaced_whole(tmp_path: Path) -> None:
    """And no draft stays behind."""
    claim(tmp_path, 3)
    moving = Layout(hosts=3, moving_to=5, kept_in="before-rebalance-1")

    replace_layout(tmp_path, moving)

    assert read_layout(tmp_path) == moving
    assert [path.name for path in tmp_path.iterdir()] == [LAYOUT]


def test_a_note_that_an_editor_wrote_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    """The operator restores it by hand."""
    (tmp_path / LAYOUT).write_bytes(b"\xef\xbb\xbfhosts = 3\r\n")

    assert read_layout(tmp_path) == Layout(3)
