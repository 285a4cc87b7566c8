"""A load generator for pipelined protocols: bursts of bytes out, a word per answer in, over raw sockets.

It parses nothing: each answer to an event holds one and the same word, such as the outcome that is expected, and words
are counted. An answer without it is missed, and the run ends with "silence". Answers of a connection count for its
bursts in the order in which these were sent.
"""

import select
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle
from typing import Self

import msgspec

from benchmarks.report import percentile

CONNECTIONS = 50

SILENCE_SECONDS = 10.0
"""A server that is silent for so long has hung, or answers something else."""

_READ_BYTES = 1 << 20
_SHOWN_BYTES = 200
_CLOCK_SECONDS = 1e-9
"""What the clock of a process can tell apart."""
_SPIN_SECONDS = 0.002
"""Waits for the next burst that are shorter are spun away: epoll's clock ticks in milliseconds."""


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """What one server is asked."""

    address: tuple[str, int]
    bursts: Iterator[bytes]
    """Without end, or long enough."""
    events: int
    """Of a burst."""
    word: bytes
    """In every answer once, never overlapping itself."""
    open: Callable[[tuple[str, int]], socket.socket]
    """Connects, and says hello."""


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """What a run showed."""

    events: int
    seconds: float
    cpu: float
    """Seconds of the servers' processors, all together."""
    latencies: list[float]
    """Seconds from when a burst was due until its last answer, in ascending order."""

    @property
    def per_second(self) -> float:
        """Answers per second."""
        return self.events / self.seconds

    @property
    def per_core(self) -> float:
        """Answers per second of a server's processor."""
        return self.events / self.cpu

    def percentile(self, share: float) -> float:
        """Return the latency that this share of the bursts did not exceed, in seconds."""
        return percentile(self.latencies, share)


def connected(address: tuple[str, int]) -> socket.socket:
    """Connect without a hello."""
    connection = socket.create_connection(address)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


class _Connection:
    """Counts answers; a burst's is whole when all before it are."""

    __slots__ = ("_came", "_due", "_each", "_tail", "_word", "bursts", "last", "latencies", "socket")

    def __init__(self, work: Work) -> None:
        self.socket = work.open(work.address)
        self.bursts = work.bursts
        self.latencies: list[float] = []
        self._word = work.word
        self._each = work.events
        self._due: deque[float] = deque()
        self._came = 0
        self._tail = b""
        self.last = b""
        """The end of what came last."""

    @property
    def is_awaited(self) -> bool:
        """Whether a burst has no answer yet."""
        return bool(self._due)

    def send(self, due: float) -> None:
        """Send the next burst, which was due at a time."""
        self._due.append(due)
        self.socket.sendall(next(self.bursts))

    def receive(self) -> int:
        """Take what came; return how many bursts are answered with it."""
        data = self.socket.recv(_READ_BYTES)
        assert data, "the server has hung up"
        self.last = data[-_SHOWN_BYTES:]
        data = self._tail + data
        self._tail = data[max(0, len(data) - len(self._word) + 1) :]
        done, self._came = divmod(self._came + data.count(self._word), self._each)
        assert done <= len(self._due), "more answers than questions"
        if done:
            now = time.perf_counter()
            self.latencies.extend(now - self._due.popleft() for _ in range(done))
        return done


class _Connections:
    """Connections to all servers of a run, alternately."""

    def __init__(self, works: Sequence[Work], count: int) -> None:
        self.all = [_Connection(work) for _, work in zip(range(count), cycle(works), strict=False)]
        self._by_descriptor = {one.socket.fileno(): one for one in self.all}
        self._poller = select.epoll()
        for descriptor in self._by_descriptor:
            self._poller.register(descriptor, select.EPOLLIN)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._poller.close()
        for connection in self.all:
            connection.socket.close()

    def answered(self, seconds: float) -> Iterator[tuple[_Connection, int]]:
        """Yield connections on which bursts were answered, and how many."""
        for descriptor, _ in self._poller.poll(seconds):
            connection = self._by_descriptor[descriptor]
            done = connection.receive()
            if done:
                yield connection, done

    def silence(self, answered: int, bursts: int) -> str:
        """Say what is missing, and what came last instead."""
        last = next((one.last for one in self.all if one.is_awaited), b"")
        return f"silence: {answered} of {bursts} bursts answered; the last that came where one is missing: {last!r}"

    def latencies(self) -> list[float]:
        """Return those of all bursts, in ascending order."""
        return sorted(latency for connection in self.all for latency in connection.latencies)


def saturate(
    works: Sequence[Work],
    *,
    bursts: int,
    cpu_seconds: Callable[[], float],
    connections: int = CONNECTIONS,
    silence_seconds: float = SILENCE_SECONDS,
) -> Sample:
    """Keep one burst under way on every connection until so many are answered."""
    bursts = max(bursts, connections)
    with _Connections(works, connections) as opened:
        cpu, start = cpu_seconds(), time.perf_counter()
        for connection in opened.all:
            connection.send(start)
        sent, answered, heard = connections, 0, start
        while answered < bursts:
            for connection, done in opened.answered(silence_seconds):
                answered += done
                heard = time.perf_counter()
                if sent < bursts:
                    connection.send(heard)
                    sent += 1
            assert time.perf_counter() - heard < silence_seconds, opened.silence(answered, bursts)
        return _sample(opened, answered * works[0].events, since=(start, cpu), cpu_seconds=cpu_seconds)


def at_rate(works: Sequence[Work], *, per_second: float, seconds: float, cpu_seconds: Callable[[], float]) -> Sample:
    """Send bursts when they are due, whatever is unanswered; latencies count from when a burst was due."""
    gap = works[0].events / per_second
    bursts = max(CONNECTIONS, int(seconds / gap))
    with _Connections(works, CONNECTIONS) as opened:
        turn = cycle(opened.all)
        cpu, start = cpu_seconds(), time.perf_counter()
        sent, answered, heard = 0, 0, start
        while answered < bursts:
            now = time.perf_counter()
            while sent < bursts and start + sent * gap <= now:
                next(turn).send(start + sent * gap)
                sent += 1
            wait = start + sent * gap - now if sent < bursts else SILENCE_SECONDS
            for _, done in opened.answered(0.0 if wait < _SPIN_SECONDS else wait - _SPIN_SECONDS / 2):
                answered += done
                heard = time.perf_counter()
            assert answered == bursts or now - heard < SILENCE_SECONDS, opened.silence(answered, bursts)
        return _sample(opened, answered * works[0].events, since=(start, cpu), cpu_seconds=cpu_seconds)


def _sample(
    opened: _Connections, events: int, *, since: tuple[float, float], cpu_seconds: Callable[[], float]
) -> Sample:
    start, cpu = since
    seconds = time.perf_counter() - start
    return Sample(
        events=events, seconds=seconds, cpu=max(cpu_seconds() - cpu, _CLOCK_SECONDS), latencies=opened.latencies()
    )
