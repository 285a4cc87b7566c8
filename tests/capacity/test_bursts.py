"""The load generator counts answers, not bytes, and stops at a wrong one."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import repeat

import pytest

from benchmarks.bursts import Work, at_rate, connected, saturate

GOOD, BAD = b"+yes;", b"-no;"


@contextmanager
def answering(*, bad_at: int | None = None, piece: int = 1 << 16) -> Iterator[tuple[str, int]]:
    """Answer each byte with a word, in writes of `piece` bytes; one of them wrongly."""
    count = 0
    lock = threading.Lock()

    def speak(connection: socket.socket) -> None:
        nonlocal count
        with connection:
            while asked := connection.recv(65_536):
                said = b""
                for _ in asked:
                    with lock:
                        said += BAD if count == bad_at else GOOD
                        count += 1
                for at in range(0, len(said), piece):
                    connection.sendall(said[at : at + piece])

    def accept(listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:  # the test is over
                return
            threading.Thread(target=speak, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, args=(listener,), daemon=True).start()
        yield listener.getsockname()
        listener.shutdown(socket.SHUT_RDWR)


def work(address: tuple[str, int], *, events: int = 4) -> Work:
    return Work(address=address, bursts=repeat(b"?" * events), events=events, word=GOOD, open=connected)


def test_every_answer_is_counted_wherever_the_network_cuts_it() -> None:
    """The server writes three bytes at a time."""
    with answering(piece=3) as address:
        sample = saturate([work(address)], bursts=20, cpu_seconds=lambda: 0.0, connections=2)

    assert (sample.events, len(sample.latencies)) == (80, 20)
    assert sample.latencies == sorted(sample.latencies)


def test_a_wrong_answer_ends_the_run() -> None:
    """It is not counted, so its burst stays unanswered."""
    with answering(bad_at=50) as address, pytest.raises(AssertionError, match="silence"):
        saturate([work(address)], bursts=40, cpu_seconds=lambda: 0.0, connections=2, silence_seconds=0.2)


def test_the_servers_of_a_run_are_loaded_alternately() -> None:
    """Half of the connections each."""
    with answering() as first, answering() as second:
        sample = saturate([work(first), work(second)], bursts=30, cpu_seconds=lambda: 0.0, connections=4)

    assert sample.events == 120


def test_bursts_at_a_rate_are_all_sent_and_answered() -> None:
    """As many as the rate makes in the time."""
    clock = iter([1.0, 3.0])

    with answering() as address:
        sample = at_rate([work(address)], per_second=4_000, seconds=0.1, cpu_seconds=lambda: next(clock))

    assert sample.events == 400
    assert (sample.cpu, sample.per_core) == (2.0, 200.0)
