"""An SMSC that loads whoever binds to it: delivers texts, answers what is submitted, and tells how long each took.

What binds only where it sends, a gateway, gets the texts from an ESME here, which submits them to it.

It runs in the process of the benchmark and reads no more of a PDU than it must, since it has to cost less than those
that it loads. A text carries its number, by which a submitted one is known again.
"""

import select
import socket
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Self

import msgspec

from engine.channels.smpp.pdu import RESPONSE, Bind, Command, ShortMessage, SmeAddress, frame, write_bind, write_message

SILENCE_SECONDS = 20.0
"""Who is silent for so long has lost a message."""

_READ_BYTES = 262_144
_HEAD = struct.Struct(">IIII")
_BINDS = frozenset({Command.BIND_TRANSCEIVER, Command.BIND_TRANSMITTER, Command.BIND_RECEIVER})
_ANSWERED_ALONE = frozenset({*_BINDS, Command.ENQUIRE_LINK, Command.UNBIND})
_SETTLES_SECONDS = 1.0
"""After the last answer: what was answered is still written down."""
_NUMBER = b"#%08d"
_TEXT = b" I am at the corner, where are you? It rains."


class Sample(msgspec.Struct, frozen=True):
    """What one run showed."""

    messages: int
    """Delivered, answered, submitted and answered."""
    seconds: float
    """From the first to the last answer."""
    cpu_seconds: float
    """That the loaded one used."""
    answered: list[float]
    """Seconds from a delivery to its response, in ascending order."""
    passed: list[float]
    """Seconds from a delivery to the text's submission, in ascending order."""

    @property
    def per_second(self) -> float:
        """Messages per second."""
        return self.messages / self.seconds

    @property
    def per_core(self) -> float:
        """Messages per second of the processor."""
        return self.messages / self.cpu_seconds


class _Bound:
    """One connection to the SMSC."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = connection
        self.under_way: dict[int, float] = {}
        """Deliveries without a response: sequence number to when they were sent."""
        self.out = bytearray()
        self._came = bytearray()

    def frames(self) -> Iterator[tuple[int, int, bytes]]:
        """Yield command, sequence number and body of what has come."""
        data = self.socket.recv(_READ_BYTES)
        if not data:
            raise RuntimeError("the other side has closed its connection")
        came = self._came
        came += data
        at = 0
        while len(came) - at >= _HEAD.size:
            length, command, status, sequence = _HEAD.unpack_from(came, at)
            if len(came) - at < length:
                break
            if status:
                raise RuntimeError(f"command {command:#x} was answered with status {status:#x}")
            yield command, sequence, bytes(came[at + _HEAD.size : at + length])
            at += length
        del came[:at]

    def flush(self) -> None:
        """Send what waits."""
        if self.out:
            self.socket.sendall(self.out)
            self.out.clear()


class LoadingSmsc:
    """Listens on the loopback, then loads all that are bound."""

    def __init__(self) -> None:
        """Listen."""
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._bound: list[_Bound] = []
        self._submitting: list[_Bound] = []
        """As an ESME."""
        self._ids = count(1)

    def __enter__(self) -> Self:
        """Be there."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close all connections."""
        for one in (*self._bound, *self._submitting):
            one.socket.close()
        self._listening.close()

    def await_binds(self, connections: int) -> None:
        """Accept so many connections and their binds."""
        self._listening.settimeout(SILENCE_SECONDS)
        for _ in range(connections):
            one = _Bound(self._listening.accept()[0])
            self._bound.append(one)
            for command, sequence, _ in one.frames():
                one.out += frame(command | RESPONSE, sequence, b"smsc\0")
            one.flush()

    def bind(self, port: int, system_id: str, *, password: str, connections: int) -> None:
        """Bind to an SMSC of this machine, to which the texts are submitted from then on."""
        body = write_bind(Bind(system_id=system_id, password=password))
        for _ in range(connections):
            one = _Bound(socket.create_connection(("127.0.0.1", port), SILENCE_SECONDS))
            self._submitting.append(one)
            one.out += frame(Command.BIND_TRANSCEIVER, 1, body)
            one.flush()
            while Command.BIND_TRANSCEIVER | RESPONSE not in (command for command, _, _ in one.frames()):
                pass

    def run(
        self,
        pairs: Sequence[tuple[str, str]],
        *,
        numbers: range,
        window: int,
        cpu_seconds: Callable[[], float],
        per_second: float = 0.0,
    ) -> Sample:
        """Deliver a text of each pair (sender, proxy number) in turn; `window` of a connection wait for responses.

        `numbers` are those of the texts; with `per_second` at that pace, without as fast as they are answered.
        """
        bodies = [_body(*pairs[number % len(pairs)], number) for number in numbers]
        sources, command = (
            (self._submitting, Command.SUBMIT_SM) if self._submitting else (self._bound, Command.DELIVER_SM)
        )
        bound = (*self._bound, *self._submitting)
        return _Run(bound, sources, command, bodies, self._ids, numbers.start, window, per_second).measured(cpu_seconds)


def _body(sender: str, proxy: str, number: int) -> bytes:
    source, destination = SmeAddress(1, 1, sender[1:]), SmeAddress(1, 1, proxy[1:])
    return write_message(ShortMessage(source=source, destination=destination, octets=_NUMBER % number + _TEXT))


class _Run:
    def __init__(  # noqa: PLR0917 - made in one place
        self,
        bound: Sequence[_Bound],
        sources: Sequence[_Bound],
        command: Command,
        bodies: list[bytes],
        ids: "count[int]",
        first: int,
        window: int,
        per_second: float,
    ) -> None:
        self._bound = bound
        self._sources = sources
        self._command = command
        self._answer = command | RESPONSE
        self._bodies = bodies
        self._ids = ids
        self._first = first
        self._window = window
        self._pace = 1 / per_second if per_second else 0.0
        self._sent = 0
        self._sent_at = [0.0] * len(bodies)
        self._answered: list[float] = []
        self._passed: list[float] = []
        self._began = 0.0

    def measured(self, cpu_seconds: Callable[[], float]) -> Sample:
        poller = select.epoll()
        by_descriptor = {one.socket.fileno(): one for one in self._bound}
        for descriptor in by_descriptor:
            poller.register(descriptor, select.EPOLLIN)
        cpu, self._began = cpu_seconds(), time.perf_counter()
        heard = self._began
        for one in self._sources:
            self._write(one)
        total = len(self._bodies)
        while len(self._answered) < total or len(self._passed) < total:
            ready = poller.poll(min(self._pace, SILENCE_SECONDS) or SILENCE_SECONDS)
            now = time.perf_counter()
            heard = now if ready else heard
            if now - heard > SILENCE_SECONDS:
                raise RuntimeError(f"silence after {len(self._answered)} answers, {len(self._passed)} texts")
            for descriptor, _ in ready:
                self._take(by_descriptor[descriptor], now)
            for one in self._bound if self._pace else (by_descriptor[descriptor] for descriptor, _ in ready):
                self._write(one)
        seconds = time.perf_counter() - self._began
        time.sleep(_SETTLES_SECONDS)
        spent = cpu_seconds() - cpu
        poller.close()
        return Sample(total, seconds, spent, sorted(self._answered), sorted(self._passed))

    def _take(self, one: _Bound, now: float) -> None:
        for command, sequence, body in one.frames():
            if command == self._answer:
                self._answered.append(now - one.under_way.pop(sequence))
            elif command == Command.SUBMIT_SM:
                at = body.index(b"#")
                self._passed.append(now - self._sent_at[int(body[at + 1 : at + 9]) - self._first])
                one.out += frame(command | RESPONSE, sequence, b"%012x\0" % next(self._ids))
            elif command in _ANSWERED_ALONE:
                one.out += frame(command | RESPONSE, sequence)

    def _write(self, one: _Bound) -> None:
        if one in self._sources:
            self._add_due(one)
        one.flush()

    def _add_due(self, one: _Bound) -> None:
        now = time.perf_counter()
        due = int((now - self._began) / self._pace) + 1 if self._pace else len(self._bodies)
        while self._sent < min(due, len(self._bodies)) and len(one.under_way) < self._window:
            sequence = self._sent + 1
            one.under_way[sequence] = self._sent_at[self._sent] = now
            one.out += frame(self._command, sequence, self._bodies[self._sent])
            self._sent += 1
