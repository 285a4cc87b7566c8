"""Machines on this one: network namespaces around a router, whose cables are cut by pair and by direction.

Whatever becomes of the process that laid them, a guard takes them away with all that runs in them.
"""

import itertools
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Self

import msgspec

BOUND_SECONDS = 30.0
"""Within which what was killed has ended."""

_ROOT = Path(__file__).parents[2]
_PREFIX = "maskline-of-"
_OURS = re.compile(rf"{_PREFIX}(\d+)-")
_POLL_SECONDS = 0.05
_numbers = itertools.count()


class NoMachines(Exception):  # noqa: N818 - names a state
    """No namespace can be made here; the message says why."""


class Machine(msgspec.Struct, frozen=True):
    """A namespace and where it is reached."""

    name: str
    namespace: str
    """"" for the machine of the test itself."""
    address: str
    cable: str
    """The router's end of it."""

    @property
    def prefix(self) -> tuple[str, ...]:
        """What runs a command on it."""
        return ("ip", "netns", "exec", self.namespace)

    def processes(self) -> list[int]:
        """List what runs on it."""
        return _processes(self.namespace)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to all that runs on it, in whatever session and group."""
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self) -> None:
        """Kill all that runs on it, as a loss of power would."""
        _kill(self.namespace)


class Machines:
    """A router with the test on one of its cables; a context that leaves nothing behind."""

    def __init__(self) -> None:
        """Lay the first cable.

        Raises:
            NoMachines: this takes root and the command ip.
        """
        remove_leftovers()
        self._names = f"{_PREFIX}{os.getpid()}-{next(_numbers)}-"
        self._router = f"{self._names}router"
        self._count = 0
        self._cut: list[tuple[str, ...]] = []
        try:
            ip("netns", "add", self._router)
        except FileNotFoundError:
            raise NoMachines("the command ip is not installed") from None
        except subprocess.CalledProcessError as problem:
            raise NoMachines(f"network namespaces are not permitted here: {problem.stderr.strip()}") from None
        self._guard = subprocess.Popen(  # noqa: S603 - our own interpreter
            [sys.executable, "-m", __name__, self._names], stdin=subprocess.PIPE, cwd=_ROOT, start_new_session=True
        )
        try:
            self._net = _free_net()
            _run("ip", "netns", "exec", self._router, "sysctl", "-q", "-w", "net.ipv4.ip_forward=1")
            self.test = self._lay("test", "")
            ip("route", "add", f"{self._net}.0/24", "via", f"{self._net}.1")
        except BaseException:
            self.remove()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def add(self, name: str) -> Machine:
        """Set up another machine."""
        namespace = f"{self._names}{name}"
        ip("netns", "add", namespace)
        ip("-n", namespace, "link", "set", "lo", "up")
        machine = self._lay(name, namespace)
        gateway = machine.address.rpartition(".")
        ip("-n", namespace, "route", "add", "default", "via", f"{gateway[0]}.{int(gateway[2]) - 1}")
        return machine

    def cut(self, one: Machine, *others: Machine, one_way: bool = False) -> None:
        """Lose in silence what a machine sends to others, and, unless one way, what they send to it."""
        for other in others:
            self._lose("from", one.address, "to", other.address)
            if not one_way:
                self._lose("from", other.address, "to", one.address)

    def isolate(self, machine: Machine) -> None:
        """Lose all that it sends and all that is sent to it."""
        self._lose("from", machine.address)
        self._lose("to", machine.address)

    def join(self) -> None:
        """Mend every cable."""
        while self._cut:
            ip("-n", self._router, "rule", "delete", *self._cut.pop())

    def remove(self) -> None:
        """Kill all that runs on the machines, and take them away."""
        assert self._guard.stdin is not None
        self._guard.stdin.close()
        self._guard.wait(2 * BOUND_SECONDS)

    def _lose(self, *which: str) -> None:
        rule = (*which, "blackhole")
        ip("-n", self._router, "rule", "add", *rule)
        self._cut.append(rule)

    def _lay(self, name: str, namespace: str) -> Machine:
        cable, low = f"cable{self._count}", 4 * self._count
        self._count += 1
        end = "eth0" if namespace else f"mk{os.getpid()}t"
        there = ("netns", namespace) if namespace else ("netns", str(os.getpid()))
        ip("link", "add", cable, "netns", self._router, "type", "veth", "peer", "name", end, *there)
        where = ("-n", namespace) if namespace else ()
        for at, device, host in ((("-n", self._router), cable, low + 1), (where, end, low + 2)):
            ip(*at, "address", "add", f"{self._net}.{host}/30", "dev", device)
            ip(*at, "link", "set", device, "up")
        return Machine(name, namespace, f"{self._net}.{low + 2}", cable)


def remove_leftovers() -> None:
    """Take away what processes left that have ended, and their guards with them."""
    for namespace in _namespaces():
        ours = _OURS.match(namespace)
        if ours and not Path("/proc", ours[1]).exists():
            _remove(ours[0])


def ip(*arguments: str) -> str:
    """Run the command."""
    return _run("ip", *arguments)


def _run(*command: str) -> str:
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=BOUND_SECONDS)  # noqa: S603 - the system's own
    return done.stdout


def _free_net() -> str:
    """Choose a /24 that nobody on this machine has, of those for benchmarks (RFC 2544)."""
    for number in range(512):
        chosen = (os.getpid() + number) % 512
        net = f"198.{18 + chosen // 256}.{chosen % 256}"
        if not ip("route", "show", "root", f"{net}.0/24"):
            return net
    raise NoMachines("every network of 198.18.0.0/15 is taken")


def _namespaces() -> list[str]:
    try:
        return [line.split()[0] for line in ip("netns", "list").splitlines()]
    except FileNotFoundError:
        return []


def _processes(namespace: str) -> list[int]:
    return [int(pid) for pid in ip("netns", "pids", namespace).split()]


def _kill(namespace: str) -> None:
    until = time.monotonic() + BOUND_SECONDS
    while pids := _processes(namespace):
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert time.monotonic() < until, f"still there on {namespace}: {pids}"
        time.sleep(_POLL_SECONDS)


def _remove(names: str) -> None:
    found = [one for one in _namespaces() if one.startswith(names)]
    for namespace in found:
        _kill(namespace)
    for namespace in found:
        ip("netns", "delete", namespace)


if __name__ == "__main__":
    sys.stdin.read()  # ends with the process that laid them
    _remove(sys.argv[1])
