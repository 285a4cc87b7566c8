"""A switch that loads a redirect server over UDP: INVITEs out, final answers in, an ACK for each.

It parses no more of an answer than its status, its Call-ID and its To, since it has to cost less than the servers that
it loads. An INVITE without an answer is repeated as a switch does, once a half second.
"""

import select
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Self

from benchmarks import bursts

SOCKETS = 8
WINDOW = 8
"""INVITEs of a socket that wait for their answers."""
REPEAT_SECONDS = 0.5
SILENCE_SECONDS = 10.0
"""Who is silent for so long has hung, or answers something else."""

_MAX_BYTES = 65_535
_MOST_READ = 64
"""Answers of one socket in a row."""
_SPIN_SECONDS = 0.002
_SDP = (
    "v=0\r\no=- 3961 3961 IN IP4 198.51.100.20\r\ns=-\r\nc=IN IP4 198.51.100.20\r\nt=0 0\r\n"
    "m=audio 21592 RTP/AVP 8 0 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\n"
    "a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=ptime:20\r\n"
)


class Sample(bursts.Sample, frozen=True, kw_only=True):
    """What one run showed: events are INVITEs that were answered as expected; ACKs take of the processor's time too."""

    repeated: int
    """INVITEs that were sent once more."""


def invite(sender: str, proxy: str, number: int, port: int) -> tuple[bytes, bytes, bytes]:
    """Return an INVITE as a switch behind a trunk sends it, and what stands before and behind To in its ACK."""
    via = (
        f"Via: SIP/2.0/UDP 127.0.0.1:{port};branch=z9hG4bK{number:08x}.7d0c9b6c1;rport\r\n"
        f"Via: SIP/2.0/UDP 198.51.100.20:5060;received=198.51.100.20;branch=z9hG4bK-524287-1---{number:016x}\r\n"
    )
    sender_line = f'From: "Trunk" <sip:{sender}@trunk.example;user=phone>;tag=as{number:08x}\r\n'
    call_id = f"Call-ID: {_CALL % number}@198.51.100.20\r\n"
    start = f"sip:{proxy}@127.0.0.1:5060;user=phone SIP/2.0\r\n"
    question = (
        f"INVITE {start}{via}Max-Forwards: 69\r\n{sender_line}To: <sip:{proxy}@trunk.example;user=phone>\r\n{call_id}"
        f"CSeq: 102 INVITE\r\nContact: <sip:{sender}@198.51.100.20:5060>\r\nUser-Agent: switch\r\n"
        "Allow: INVITE, ACK, CANCEL, OPTIONS, BYE, REFER, NOTIFY, UPDATE\r\nSupported: replaces, timer\r\n"
        f"P-Asserted-Identity: <sip:{sender}@trunk.example;user=phone>\r\n"
        f"Content-Type: application/sdp\r\nContent-Length: {len(_SDP)}\r\n\r\n{_SDP}"
    )
    before = f"ACK {start}{via.partition('Via: SIP/2.0/UDP 198')[0]}Max-Forwards: 69\r\n{sender_line}"
    behind = f"{call_id}CSeq: 102 ACK\r\nContent-Length: 0\r\n\r\n"
    return question.encode(), before.encode(), behind.encode()


class SipLoad:
    """Sockets of one switch at one server."""

    def __init__(self, address: tuple[str, int], cpu_seconds: Callable[[], float]) -> None:
        """Load the server at an address, whose processor time can be asked for."""
        self._cpu_seconds = cpu_seconds
        self._sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(SOCKETS)]
        for one in self._sockets:
            one.connect(address)
            one.setblocking(False)  # noqa: FBT003 - takes no name
        self._next = 0

    def __enter__(self) -> Self:
        """Be there."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the sockets."""
        for one in self._sockets:
            one.close()

    def run(self, pairs: Sequence[tuple[str, str]], *, calls: int, status: int, per_second: float = 0.0) -> Sample:
        """Call from each pair (sender, proxy number) in turn; all answers must have one status.

        With `per_second` at that pace, without as fast as they are answered.
        """
        numbers = range(self._next, self._next + calls)
        self._next += calls
        ports = [one.getsockname()[1] for one in self._sockets]
        asked = [invite(*pairs[number % len(pairs)], number, ports[number % SOCKETS]) for number in numbers]
        return _Run(self._sockets, asked, numbers.start, status, per_second).measured(self._cpu_seconds)


class _Run:
    def __init__(  # noqa: PLR0917 - made in one place
        self,
        sockets: list[socket.socket],
        asked: list[tuple[bytes, bytes, bytes]],
        first: int,
        status: int,
        per_second: float,
    ) -> None:
        self._sockets = sockets
        self._asked = asked
        self._first = first
        self._word = b"SIP/2.0 %d " % status
        self._pace = 1 / per_second if per_second else 0.0
        self._sent = 0
        self._due: dict[int, float] = {}
        """INVITEs without an answer: index to when it was due."""
        self._latencies: list[float] = []
        self._repeated = 0
        self._heard = self._look_at = 0.0

    def measured(self, cpu_seconds: Callable[[], float]) -> Sample:
        poller = select.epoll()
        by_descriptor = {one.fileno(): one for one in self._sockets}
        for descriptor in by_descriptor:
            poller.register(descriptor, select.EPOLLIN)
        cpu, began = cpu_seconds(), time.perf_counter()
        self._heard = began
        self._look_at = began + REPEAT_SECONDS
        total = len(self._asked)
        while len(self._latencies) < total:
            wait = self._send(began)
            for descriptor, _ in poller.poll(0.0 if wait < _SPIN_SECONDS else wait):
                self._take(by_descriptor[descriptor])
            self._look()
        seconds = time.perf_counter() - began
        spent = cpu_seconds() - cpu
        poller.close()
        return Sample(
            events=total,
            seconds=seconds,
            cpu=spent,
            repeated=self._repeated,
            latencies=sorted(self._latencies),
        )

    def _send(self, began: float) -> float:
        """Send what is due; return how long nothing else is."""
        now, total = time.perf_counter(), len(self._asked)
        if not self._pace:
            while self._sent < total and len(self._due) < SOCKETS * WINDOW:
                self._ask(now)
            return REPEAT_SECONDS
        while self._sent < total and (due := began + self._sent * self._pace) <= now:
            self._ask(due)
        return REPEAT_SECONDS if self._sent == total else began + self._sent * self._pace - now

    def _ask(self, due: float) -> None:
        index = self._sent
        self._sent += 1
        self._due[index] = due
        self._sockets[(self._first + index) % SOCKETS].send(self._asked[index][0])

    def _take(self, one: socket.socket) -> None:
        for data in _came(one):
            if not data.startswith(self._word):
                if data.startswith(b"SIP/2.0 100 "):
                    continue
                raise RuntimeError(f"unexpected answer {data[:400]!r}")
            at = data.index(_MARK) + len(_MARK)
            index = int(data[at : at + _DIGITS]) - self._first
            due = self._due.pop(index, None)
            if due is None:  # of an INVITE that was repeated
                continue
            self._heard = time.perf_counter()
            self._latencies.append(self._heard - due)
            to = data.index(b"To: ")
            _, before, behind = self._asked[index]
            one.send(before + data[to : data.index(b"\r\n", to) + 2] + behind)

    def _look(self) -> None:
        """Send again what waits too long."""
        now = time.perf_counter()
        if now - self._heard > SILENCE_SECONDS:
            raise RuntimeError(f"silence after {len(self._latencies)} answers")
        if now < self._look_at:
            return
        self._look_at = now + REPEAT_SECONDS
        for index, due in self._due.items():
            if now - due > REPEAT_SECONDS:
                self._repeated += 1
                self._sockets[(self._first + index) % SOCKETS].send(self._asked[index][0])


def _came(one: socket.socket) -> Iterator[bytes]:
    for _ in range(_MOST_READ):
        try:
            yield one.recv(_MAX_BYTES)
        except BlockingIOError:
            return


_MARK = b"Call-ID: call-"
_DIGITS = 10
_CALL = "call-%010d"
