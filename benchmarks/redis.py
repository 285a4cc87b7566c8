"""Redis as a peer, on a port and with data of its own."""

import socket
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from benchmarks.packages import program
from benchmarks.peers import Ready, Serving

REDIS = "Redis GET"

_START_SECONDS = 10.0
_FILL = 1_000
"""Keys that are set with one write."""


@contextmanager
def redis(pairs: Sequence[tuple[str, str]]) -> Iterator[Serving | None]:
    """Run Redis with each (sender, proxy number) as key and value; None where it is missing."""
    server_program = program("redis-server", package="redis-server")
    if server_program is None:
        yield None
        return
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as directory:
        command = [server_program, "--port", str(port), "--save", "", "--appendonly", "no", "--bind", "127.0.0.1"]
        process = subprocess.Popen([*command, "--dir", directory], stdout=subprocess.DEVNULL)  # noqa: S603 - our words
        try:
            server = Serving(Ready(port), process.pid)
            _fill(server.address, pairs)
            yield server
        finally:
            process.terminate()
            process.wait()


def hit_word(pairs: Sequence[tuple[str, str]]) -> bytes:
    """Return what begins the answer to every GET that finds something."""
    (length,) = {len(sender + proxy) for sender, proxy in pairs}
    return b"$%d\r\n" % length


def gets(some: Iterable[tuple[str, str]]) -> bytes:
    """Return a burst of GETs."""
    return b"".join(_command("GET", sender + proxy) for sender, proxy in some)


def _fill(address: tuple[str, int], pairs: Sequence[tuple[str, str]]) -> None:
    with _first_connection(address) as connection, connection.makefile("rb") as answers:
        for at in range(0, len(pairs), _FILL):
            some = pairs[at : at + _FILL]
            connection.sendall(b"".join(_command("SET", sender + proxy, sender + proxy) for sender, proxy in some))
            assert answers.read(5 * len(some)) == b"+OK\r\n" * len(some)


def _first_connection(address: tuple[str, int]) -> socket.socket:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            return socket.create_connection(address)
        except ConnectionRefusedError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def _command(*words: str) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word.encode()) for word in words)
