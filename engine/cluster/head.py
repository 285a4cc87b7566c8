"""A local Ray for one data directory: its processes are started here, found again, and ended, these and no others.

It listens on loopback only, wants a token of its own, and outlives whoever started it. `ray stop` is never used: it
would end every Ray of the machine.
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from engine.cluster.notes import read_note, write_note
from engine.core.model.errors import MasklineError

LINK: Final = "ray.json"
TOKEN: Final = "ray.token"  # noqa: S105 - a file's name
LOG: Final = "ray.log"
LOOPBACK: Final = "127.0.0.1"

START_SECONDS: Final = 90.0
STOP_SECONDS: Final = 10.0

_OBJECT_STORE_BYTES: Final = 80_000_000
"""Close to Ray's least: what hosts say to each other travels in the calls themselves."""
_LONGEST_TEMP: Final = 40
"""Ray makes sockets below it, and the system limits their paths to about a hundred characters."""
_PREFIX: Final = "maskline-ray-"
_POLL_SECONDS: Final = 0.05
_ADDRESS_FILE: Final = "ray_current_cluster"
_LOG_TAIL: Final = 1_000


class RayNotStarted(MasklineError):  # noqa: N818 - names a state, as StoreUnavailable does
    """A local Ray cannot be started; the message says why."""


class RayLink(msgspec.Struct, frozen=True, kw_only=True):
    """How the Ray of a data directory is reached."""

    address: str
    """host:port; empty while it starts."""
    pid: int = 0
    """Process that holds a local one together; 0 = it was joined, and is not ours to end."""
    born: int = 0
    """When that process started, in the kernel's ticks: it tells it from a later one of the same number."""
    boot: str = ""
    """Which start of the machine `born` counts from."""
    temp_dir: str = ""
    """Its sockets and logs."""

    @property
    def is_ours(self) -> bool:
        """Whether it was started for this data directory."""
        return self.pid > 0


def read_link(data_dir: Path) -> RayLink | None:
    """Return how the Ray of a data directory is reached; None when it has none that runs. Raises OSError."""
    link = read_note(data_dir / LINK, RayLink)
    if link is None or (link.is_ours and not is_running(link)):
        return None
    return link


def write_link(data_dir: Path, link: RayLink) -> None:
    """Note how the Ray of a data directory is reached."""
    write_note(data_dir / LINK, link)


def is_running(link: RayLink) -> bool:
    """Whether the process that holds a local Ray together is there."""
    return link.is_ours and link.boot == _boot() and _born(link.pid) == link.born


def start_head(data_dir: Path, *, hosts: int) -> RayLink:
    """Start a Ray of this machine with a CPU for each host and one more, in a session of its own.

    Raises:
        RayNotStarted: it ended, or was not there in time.
    """
    if not sys.platform.startswith("linux"):
        raise RayNotStarted("a Ray of Maskline's own needs Linux; start one by hand and name it with --address")
    left = read_note(data_dir / LINK, RayLink)
    if left is not None and left.is_ours:
        stop_head(data_dir, left)
    temp_dir = _make_temp_dir()
    with (data_dir / LOG).open("ab") as log:
        log.truncate(0)
        process = subprocess.Popen(  # noqa: S603 - our own interpreter
            [sys.executable, "-m", "ray.scripts.scripts", "start", *_arguments(temp_dir, hosts)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={
                **_kept_environment(),
                **ray_environment(data_dir),
                **_HEAD_ENVIRONMENT,
                "RAY_worker_maximum_startup_concurrency": str(_processes(hosts)),
            },
            start_new_session=True,
        )
    _children[process.pid] = process
    link = RayLink(address="", pid=process.pid, born=_born(process.pid), boot=_boot(), temp_dir=str(temp_dir))
    try:
        write_link(data_dir, link)
        link = msgspec.structs.replace(link, address=_awaited_address(data_dir, process, temp_dir))
        write_link(data_dir, link)
    except BaseException:
        stop_head(data_dir, link)
        raise
    return link


def _awaited_address(data_dir: Path, process: "subprocess.Popen[bytes]", temp_dir: Path) -> str:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        address = _read_address(temp_dir)
        if address:
            return address
        time.sleep(_POLL_SECONDS)
    raise RayNotStarted(f"Ray did not start; the end of {data_dir / LOG} says: {_tail(data_dir / LOG)}")


def stop_head(data_dir: Path, link: RayLink) -> None:
    """End the processes of a local Ray, in order first, and remove what they left."""
    if is_running(link):
        _signal(link.pid, signal.SIGTERM)
        until = time.monotonic() + STOP_SECONDS
        while is_running(link) and time.monotonic() < until:
            _reap(link.pid)
            time.sleep(_POLL_SECONDS)
    _end_session(link)
    _reap(link.pid)
    _children.pop(link.pid, None)
    _clean_up(data_dir)


def _end_session(link: RayLink) -> None:
    """Kill until none is left: one that is looked at may be starting another, and holds its files until it is gone."""
    until = time.monotonic() + STOP_SECONDS
    while (left := _session(link)) and time.monotonic() < until:
        for pid in left:
            _signal(pid, signal.SIGKILL)
        time.sleep(_POLL_SECONDS)


def ray_environment(data_dir: Path) -> dict[str, str]:
    """Return the variables that a local Ray and whoever joins it need, the latter before ray is imported."""
    return {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(_token(data_dir)),
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # the same on Linux: one machine, so loopback instead of its address
        "RAY_USAGE_STATS_ENABLED": "0",
    }


def is_reachable(address: str, *, timeout_seconds: float = 5.0) -> bool:
    """Whether something listens at host:port; Ray itself would wait for minutes."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout_seconds).close()
    except (OSError, ValueError):
        return False
    return True


class HeadEnded(MasklineError):  # noqa: N818 - names a state, as StoreUnavailable does
    """Ray's head is gone; the message says what to do."""


class HeadWatch:
    """Whether Ray's head answers; to be asked before Ray is, which ends a process that asks a lost head.

    Ray's client calls `_exit(1)` after a minute, and no handler runs. `LOST_SECONDS` stays below that.
    """

    def __init__(self, link: RayLink, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Watch the head of a Ray that answers now."""
        self._link = link
        self._monotonic = monotonic
        self._answered_at = self._heard_at = monotonic()
        self._restarted_at = -RESTART_SECONDS

    def answers(self) -> bool:
        """Tell whether it takes a connection.

        Raises:
            HeadEnded: a local one is gone; a joined one, which may be cut off, has been away for `LOST_SECONDS`.
        """
        link, now = self._link, self._monotonic()
        if (is_running(link) or not link.is_ours) and is_reachable(link.address, timeout_seconds=_PROBE_SECONDS):
            self._answered_at = now
            return True
        if link.is_ours or now - self._answered_at >= LOST_SECONDS:
            raise self.ended()
        return False

    def heard(self) -> None:
        """Note that the cluster's supervisor answered."""
        self._heard_at = self._monotonic()

    def demand_supervisor(self) -> None:
        """Raise HeadEnded when the supervisor has been silent for so long that Ray does not start another."""
        if self._monotonic() - self._heard_at >= SILENT_SECONDS:
            raise self.ended()

    def may_restart(self) -> bool:
        """Tell whether a supervisor that does not answer may be ended: not one that was restarted just now."""
        return self._monotonic() - self._restarted_at >= RESTART_SECONDS

    def restarted(self) -> None:
        """Note that the supervisor was ended, so that Ray starts another."""
        self._restarted_at = self._monotonic()

    def ended(self) -> HeadEnded:
        """Say that it is gone, or that it lost the cluster."""
        return HeadEnded(_OURS_ENDED if self._link.is_ours else _JOINED_ENDED.format(self._link.address))


LOST_SECONDS: Final = 30.0
SILENT_SECONDS: Final = 90.0
"""Many times what Ray takes to start a process."""
RESTART_SECONDS: Final = 30.0
"""How long a supervisor that was restarted has to answer, where all processors are busy."""
_PROBE_SECONDS: Final = 1.0

_OURS_ENDED: Final = (
    "Ray's head process ended, and the hosts with it; what was acknowledged is stored: "
    "serve again on the same directory"
)
_JOINED_ENDED: Final = (
    "the Ray at {} is gone, or has lost the node of the cluster's supervisor; what was acknowledged is stored: "
    "see that Ray runs on every machine, then serve again"
)


def _processes(hosts: int) -> int:
    """Tell how many processes Ray is to start at once, at no fewer cores either: for the supervisor and each host."""
    return hosts + 1


def _arguments(temp_dir: Path, hosts: int) -> tuple[str, ...]:
    return (
        "--head",
        "--block",
        f"--node-ip-address={LOOPBACK}",
        "--port=0",
        f"--num-cpus={_processes(hosts)}",
        f"--object-store-memory={_OBJECT_STORE_BYTES}",
        f"--temp-dir={temp_dir}",
        "--include-dashboard=false",
        "--include-log-monitor=false",
        "--no-monitor",
        "--disable-usage-stats",
    )


PRELOADED: Final = (
    "engine.cluster.makers",
    "actors.ray.cluster",
    "storage.postgres.store",
    "ray._common.pydantic_compat",
)
"""Modules that each process of Ray's imports before it gets work.

So those that Ray has started for hosts that this node does not carry, yet, are ready when another node is lost.
"""

_HEAD_ENVIRONMENT: Final = {
    "RAY_preload_python_modules": ",".join(PRELOADED),
    "RAY_BACKEND_LOG_LEVEL": "warning",
    "RAY_ROTATION_MAX_BYTES": "10000000",
    "RAY_ROTATION_BACKUP_COUNT": "2",
    "RAY_worker_niceness": "0",  # Ray's own 15 lets whatever else the machine does go before calls
    "RAY_memory_monitor_refresh_ms": "0",  # the kernel decides whom to end when memory is short, not Ray
}


def _kept_environment() -> dict[str, str]:
    """Leave out what belongs to another Ray."""
    return {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}


def _token(data_dir: Path) -> Path:
    path = data_dir.absolute() / TOKEN
    if not path.exists():
        path.touch(0o600)
        path.write_text(secrets.token_hex(32), "ascii")
    return path


def _make_temp_dir() -> Path:
    where = tempfile.gettempdir()
    return Path(tempfile.mkdtemp(prefix=_PREFIX, dir=where if len(where) <= _LONGEST_TEMP else "/tmp"))  # noqa: S108 - mkdtemp makes it ours


def _read_address(temp_dir: Path) -> str:
    try:
        return (temp_dir / _ADDRESS_FILE).read_text("ascii").strip()
    except FileNotFoundError:
        return ""


def _clean_up(data_dir: Path) -> None:
    link = read_note(data_dir / LINK, RayLink)
    if link is not None and link.temp_dir and Path(link.temp_dir).name.startswith(_PREFIX):
        shutil.rmtree(link.temp_dir, ignore_errors=True)
    (data_dir / LINK).unlink(missing_ok=True)


_children: Final[dict[int, "subprocess.Popen[bytes]"]] = {}
"""The Ray that this process started: it is waited for when it ends."""


def _tail(log: Path) -> str:
    return " ".join(log.read_text("utf-8", "replace")[-_LOG_TAIL:].split())


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _reap(pid: int) -> None:
    """Take leave of a child that has ended; another process's child is left to that."""
    if pid in _children:
        _children[pid].poll()


def _born(pid: int) -> int:
    """Return when a process started, in ticks since the machine did; -1 when there is none, or it is a zombie."""
    state, *fields = _stat(pid)
    return -1 if state in {"", "Z"} else int(fields[_STARTED])


def _session(link: RayLink) -> list[int]:
    """Find what runs of the session that a local Ray was started in, whose number is its first process's."""
    leader = _stat(link.pid)
    is_another = bool(leader[0]) and int(leader[1 + _STARTED]) != link.born
    if not link.is_ours or link.boot != _boot() or is_another:
        return []  # the number was given again
    numbers = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal())
    return [pid for pid in numbers if _is_of_session(_stat(pid), link.pid)]


def _is_of_session(stat: list[str], leader: int) -> bool:
    state, *fields = stat
    return state not in {"", "Z"} and int(fields[_SESSION]) == leader


def _boot() -> str:
    """Name this start of the machine."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return ""


_SESSION, _STARTED = 2, 18
"""Where they stand after the state in /proc/PID/stat."""


def _stat(pid: int) -> list[str]:
    """Return what the kernel says of a process, from its state on; an empty state when there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    except OSError:
        return [""]
