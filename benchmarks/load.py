"""A load generator for HTTP: raw sockets, keep-alive, optionally pipelined, closed loop.

It parses no HTTP: every answer must be as long as the first one, so that counting bytes counts answers. It has to cost
less than the servers that it loads, hence no event loop.
"""

import select
import socket
import time
from collections import deque
from collections.abc import Iterator, Sequence

import msgspec

from benchmarks.report import percentile

SILENCE_SECONDS = 10.0
"""A server that is silent for so long has hung, or its answers differ in length."""

_READ_BYTES = 262_144


class Load(msgspec.Struct, frozen=True):
    """What a run showed."""

    requests: int
    """Answers that came."""
    seconds: float
    """From the first request to the last answer."""
    latencies: list[float]
    """Seconds from sending a request to its answer, in ascending order."""

    @property
    def per_second(self) -> float:
        """Answers per second."""
        return self.requests / self.seconds

    def percentile(self, share: float) -> float:
        """Return the latency that this share of the answers did not exceed, in seconds."""
        return percentile(self.latencies, share)


class _Connection:
    """Keeps so many requests under way until there are no more."""

    def __init__(self, address: tuple[str, int], requests: Iterator[bytes], *, answer_bytes: int) -> None:
        self.latencies: list[float] = []
        self.sent_at: deque[float] = deque()
        self.socket = socket.create_connection(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._requests = requests
        self._answer_bytes = answer_bytes
        self._came = 0

    def send(self, count: int) -> None:
        """Send so many requests in one write, or what is left of them."""
        burst = [request for _, request in zip(range(count), self._requests, strict=False)]
        if burst:
            self.sent_at.extend([time.perf_counter()] * len(burst))
            self.socket.sendall(burst[0] if len(burst) == 1 else b"".join(burst))

    def receive(self) -> int:
        """Take what came; return how many answers are complete with it."""
        data = self.socket.recv(_READ_BYTES)
        if not data or (not self._came and not data.startswith(b"HTTP/1.1 20")):
            raise RuntimeError(f"unexpected answer {data[:200]!r}")
        answers, self._came = divmod(self._came + len(data), self._answer_bytes)
        now = time.perf_counter()
        for _ in range(answers):
            self.latencies.append(now - self.sent_at.popleft())
        return answers


def drive(address: tuple[str, int], requests: Sequence[bytes], *, connections: int = 32, depth: int = 1) -> Load:
    """Send all requests over so many connections, each with `depth` of them under way; the first one is a probe."""
    answer_bytes, left = _probe(address, requests[0]), iter(requests[1:])
    opened = [_Connection(address, left, answer_bytes=answer_bytes) for _ in range(connections)]
    by_descriptor = {connection.socket.fileno(): connection for connection in opened}
    poller = select.epoll()
    for descriptor in by_descriptor:
        poller.register(descriptor, select.EPOLLIN)
    start, answered = time.perf_counter(), 0
    for connection in opened:
        connection.send(depth)
    while answered < len(requests) - 1:
        ready = poller.poll(SILENCE_SECONDS)
        if not ready:
            raise RuntimeError(f"silence after {answered} answers")
        for descriptor, _ in ready:
            connection = by_descriptor[descriptor]
            answers = connection.receive()
            answered += answers
            connection.send(answers)
    seconds = time.perf_counter() - start
    poller.close()
    for connection in opened:
        connection.socket.close()
    return Load(answered, seconds, sorted(latency for connection in opened for latency in connection.latencies))


def _probe(address: tuple[str, int], request: bytes) -> int:
    """Return the length of the first answer."""
    with socket.create_connection(address) as probe, probe.makefile("rb") as answer:
        probe.sendall(request)
        head = b"".join(iter(answer.readline, b"\r\n")) + b"\r\n"
        length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        return len(head) + len(answer.read(length))
