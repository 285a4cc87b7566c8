"""The link to a local Ray: which processes are its, and which are somebody else's."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import msgspec
import pytest

from engine.channels.sockets import ListenAddress, bind_tcp
from engine.cluster import head
from engine.cluster.head import (
    LOST_SECONDS,
    RESTART_SECONDS,
    SILENT_SECONDS,
    HeadEnded,
    HeadWatch,
    RayLink,
    is_reachable,
    is_running,
    ray_environment,
    read_link,
    stop_head,
    write_link,
)
from tests.cluster.live_cluster import session_of

Start = Callable[[], "subprocess.Popen[str]"]

PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], stdout=subprocess.DEVNULL)
print(child.pid, flush=True)
time.sleep(60)
"""


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a process with a child, in a session of its own; both are ended afterwards."""
    started: list[subprocess.Popen[str]] = []

    def start() -> "subprocess.Popen[str]":
        process = subprocess.Popen(  # noqa: S603 - our own code
            [sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        started.append(process)
        assert process.stdout is not None
        process.stdout.readline()
        return process

    yield start
    for process in started:
        with suppress(ProcessLookupError):  # all of them may have ended
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def link_to(process: "subprocess.Popen[str]", temp_dir: Path) -> RayLink:
    return RayLink(
        address="127.0.0.1:1", pid=process.pid, born=head._born(process.pid), boot=head._boot(), temp_dir=str(temp_dir)
    )


def test_the_processes_of_a_local_ray_are_ended_and_what_they_left_is_removed(tmp_path: Path, start: Start) -> None:
    """Children too; the link goes with them."""
    process, temp_dir = start(), tmp_path / "maskline-ray-1"
    temp_dir.mkdir()
    link = link_to(process, temp_dir)
    write_link(tmp_path, link)
    found = read_link(tmp_path)

    stop_head(tmp_path, link)

    assert found == link
    assert session_of(process.pid) == [], "parent and child have ended by now"
    assert process.wait(10) == -signal.SIGTERM
    assert read_link(tmp_path) is None
    assert not temp_dir.exists()


def test_what_is_left_of_a_session_is_ended_when_its_first_process_is_gone(tmp_path: Path, start: Start) -> None:
    """Ray's own processes may outlive it by seconds."""
    process = start()
    link = link_to(process, tmp_path / "maskline-ray-1")
    process.kill()
    process.wait()
    left = session_of(process.pid)

    stop_head(tmp_path, link)

    assert len(left) == 1
    assert session_of(process.pid) == [], "the child has ended by now"


@pytest.mark.parametrize("change", [{"born": 1}, {"boot": "another"}])
def test_a_process_that_has_the_number_of_an_earlier_one_is_left_alone(
    tmp_path: Path, start: Start, change: dict[str, object]
) -> None:
    """Neither it nor its children are ours to end."""
    process = start()
    link = msgspec.structs.replace(link_to(process, tmp_path / "maskline-ray-1"), **change)
    write_link(tmp_path, link)

    stop_head(tmp_path, link)

    assert not is_running(link)
    assert len(session_of(process.pid)) == 2


def test_a_directory_that_is_not_rays_is_not_removed(tmp_path: Path, start: Start) -> None:
    """Whatever the link says."""
    precious = tmp_path / "precious"
    precious.mkdir()
    link = link_to(start(), precious)
    write_link(tmp_path, link)

    stop_head(tmp_path, link)

    assert precious.exists()


def test_a_joined_ray_is_never_ended(tmp_path: Path) -> None:
    """It has no process of ours."""
    link = RayLink(address="10.0.0.5:6379")
    write_link(tmp_path, link)

    assert read_link(tmp_path) == link
    assert not is_running(link)


def test_the_token_is_made_once_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    """It is what Ray asks of whoever joins."""
    first, second = ray_environment(tmp_path), ray_environment(tmp_path)

    token = Path(first["RAY_AUTH_TOKEN_PATH"])
    assert first == second
    assert len(token.read_text("ascii")) == 64
    assert token.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nowhere", "127.0.0.1:x"])
def test_an_address_at_which_nothing_listens_is_not_reachable(address: str) -> None:
    """So that it is told at once, and not after Ray's minutes."""
    assert not is_reachable(address)


class Watched:
    """A joined head that can go and come back at an address of its own, and a clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0
        self.listener = bind_tcp(ListenAddress("127.0.0.1", 0))
        self.listener.listen()
        address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self.watch = HeadWatch(RayLink(address=address), monotonic=lambda: self.now)


def test_a_joined_head_that_is_away_is_waited_for_within_bounds() -> None:
    """It may be cut off; the bound is below the minute after which Ray ends whoever asks."""
    head = Watched()
    head.now = 100.0
    there = head.watch.answers()
    head.listener.close()
    head.now += LOST_SECONDS - 1
    away = head.watch.answers()
    head.now += 1

    with pytest.raises(HeadEnded, match="is gone"):
        head.watch.answers()

    assert (there, away) == (True, False)
    assert LOST_SECONDS < 60


def test_a_local_head_whose_port_is_closed_has_ended(tmp_path: Path, start: Start) -> None:
    """Although the process that started it is there: it may not have noticed."""
    watch = HeadWatch(link_to(start(), tmp_path))

    with pytest.raises(HeadEnded, match="serve again"):
        watch.answers()


def test_a_supervisor_that_starts_is_not_ended_before_it_could_answer() -> None:
    """On a busy machine it takes longer than one that hangs is given: it would be ended for ever."""
    head = Watched()
    told = [head.watch.may_restart()]
    head.watch.restarted()
    told.append(head.watch.may_restart())
    head.now += RESTART_SECONDS
    told.append(head.watch.may_restart())
    head.listener.close()

    assert told == [True, False, True]


def test_a_supervisor_that_ray_does_not_start_again_ends_the_wait() -> None:
    """Its node is lost; one that answered meanwhile is waited for anew."""
    head = Watched()
    head.now = SILENT_SECONDS - 1
    head.watch.demand_supervisor()
    head.watch.heard()
    head.now += SILENT_SECONDS - 1
    head.watch.demand_supervisor()
    head.now += 1

    with pytest.raises(HeadEnded):
        head.watch.demand_supervisor()
    head.listener.close()


@pytest.mark.parametrize("module", head.PRELOADED)
def test_what_processes_are_to_import_is_there(module: str) -> None:
    """Ray only logs what is not."""
    assert find_spec(module) is not None
