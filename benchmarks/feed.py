"""The feed over TCP: questions in frames of 64 beside Redis GET in the same pipelining and a bare look-up, and routes.

One server process at a time is loaded, from this process, over raw sockets; rounds alternate, medians are shown. Redis
is left out where `redis-server` is not installed. The ratio is of events per second; the conditions add that of the
server's processor time, which a busy machine disturbs less.
"""

import asyncio
import io
import random
import select
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import count, cycle, islice
from multiprocessing.connection import Connection
from pathlib import Path

import msgspec

from benchmarks.engines import IN_FLIGHT, NUMBERS, Filled, filled, person, proxy_number
from benchmarks.peers import Ready, Routes, Serving, serving, until_told
from benchmarks.report import Figure, median, show
from engine.app import running_engine
from engine.core.requests import ParticipantRequest, SessionRequest
from engine.settings import ListenAddress, Settings
from engine.telemetry.logs import configure_logs
from engine.wire.feed import LENGTH_BYTES, Splitter, framed

BINDINGS = 100_000
BATCH = 64
QUESTIONS = 400_000
ROUTES = 30_000
ROUNDS = 5
CONNECTIONS = 50
WANTS = ("outcome", "reason", "to", "caller_id")
STRANGERS = 4_000_000

_READ_BYTES = 1 << 20
_SILENCE_SECONDS = 10.0
_FRAME_LIMIT = 1 << 20

_encode, _decode = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder().decode

Pairs = Sequence[tuple[str, str]]
"""(sender, proxy number)."""


class Sample(msgspec.Struct, frozen=True):
    """One server under one workload, once."""

    per_second: float
    cpu: float
    """Seconds of the server's processor per event."""


# -- servers -----------------------------------------------------------------------------------------------------------


async def serve_engine(told: Connection, _: Routes) -> None:
    """Serve with the engine, `BINDINGS` pairs in session."""
    configure_logs(as_json=True, level="info", stream=io.StringIO())
    anywhere = ListenAddress("127.0.0.1", 0)
    with tempfile.TemporaryDirectory() as directory:
        settings = Settings(data_dir=Path(directory, "data"), listen=anywhere, feed_listen=anywhere)
        async with running_engine(settings) as engine:
            ready = await filled(engine.host, sessions=0)
            await _pair_up(ready)
            port = int(engine.feed_address.rpartition(":")[2])
            told.send(Ready(port, ready.account.sid, ready.account.auth_token))
            await until_told(told)


async def _pair_up(ready: Filled) -> None:
    """Create sessions whose proxy numbers are known beforehand."""
    numbers = iter(range(0, BINDINGS, 2))

    async def creator() -> None:
        for index in numbers:
            participants = tuple(
                ParticipantRequest(identifier=who, proxy_identifier=proxy) for who, proxy in pairs()[index : index + 2]
            )
            request = SessionRequest(participants=participants)
            await ready.host.control.create_session(ready.account.sid, ready.service.sid, request)

    await asyncio.gather(*(creator() for _ in range(IN_FLIGHT)))


class _Bare(asyncio.Protocol):
    """uvloop, frames, MessagePack, a dict: no hello, no checks, no types."""

    transport: asyncio.Transport

    def __init__(self, routes: Routes) -> None:
        self._routes = routes
        self._splitter = Splitter(_FRAME_LIMIT)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # a server makes these
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        find, out = self._routes.get, b""
        for payload in self._splitter.split(data):
            assert isinstance(payload, memoryview)
            answers = [("routed", find((sender, proxy)), proxy) for _, _, sender, proxy in _decode(payload)]
            out += framed(_encode(("answers", 1, 1, answers)))
        self.transport.write(out)


async def serve_bare(told: Connection, routes: Routes) -> None:
    """Serve with a bare protocol."""
    server = await asyncio.get_running_loop().create_server(lambda: _Bare(routes), "127.0.0.1", 0)
    told.send(Ready(server.sockets[0].getsockname()[1]))
    await until_told(told)
    server.close()


@contextmanager
def redis() -> Iterator[Serving | None]:
    """Run Redis with the same routes, where it is installed."""
    program = shutil.which("redis-server")
    if program is None:
        yield None
        return
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [program, "--port", str(port), "--save", "", "--appendonly", "no", "--bind", "127.0.0.1"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)  # noqa: S603 - made up of our own words
    try:
        server = Serving(Ready(port), process.pid)
        _fill_redis(server.address)
        yield server
    finally:
        process.terminate()
        process.wait()


def _fill_redis(address: tuple[str, int]) -> None:
    with _first_connection(address) as connection:
        for sender, proxy in pairs():
            connection.sendall(_command("SET", sender + proxy, sender + proxy))
            assert connection.recv(100) == b"+OK\r\n"


def _first_connection(address: tuple[str, int]) -> socket.socket:
    deadline = time.monotonic() + _SILENCE_SECONDS
    while True:
        try:
            return socket.create_connection(address)
        except ConnectionRefusedError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def _command(*words: str) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word.encode()) for word in words)


# -- load --------------------------------------------------------------------------------------------------------------


def pairs() -> Pairs:
    """Return all pairs in session, partners side by side."""
    return _PAIRS


_PAIRS: Pairs = [(person(index), proxy_number(index % NUMBERS)) for index in range(BINDINGS)]


def batches(items: Pairs, frame_of: Callable[[Pairs], bytes]) -> Iterator[bytes]:
    """Yield bursts of `BATCH` in random order, without end."""
    shuffled = random.Random(7).sample(items, len(items))  # noqa: S311 - a repeatable load
    frames = [frame_of(shuffled[at : at + BATCH]) for at in range(0, len(shuffled) - BATCH, BATCH)]
    return cycle(frames)


def _questions(some: Pairs) -> bytes:
    return framed(_encode([("resolve", "call", sender, proxy) for sender, proxy in some]))


def _gets(some: Pairs) -> bytes:
    return b"".join(_command("GET", sender + proxy) for sender, proxy in some)


def drive(server: Serving, bursts: Iterable[bytes], *, events: int, hello: bytes, answer_bytes: int = 0) -> Sample:
    """Keep a burst under way on every connection; answers are frames, or of `answer_bytes` a burst."""
    opened = {one.fileno(): one for one in (_connected(server.address, hello) for _ in range(CONNECTIONS))}
    came = dict.fromkeys(opened, b"")
    left = iter(islice(bursts, events // BATCH))
    poller = select.epoll()
    for descriptor in opened:
        poller.register(descriptor, select.EPOLLIN)
    cpu, start, under_way, answered = server.cpu_seconds(), time.perf_counter(), 0, 0
    for connection, burst in zip(opened.values(), left, strict=False):
        connection.sendall(burst)
        under_way += 1
    while under_way:
        ready = poller.poll(_SILENCE_SECONDS)
        assert ready, "silence"
        for descriptor, _ in ready:
            done, came[descriptor] = _count(came[descriptor] + opened[descriptor].recv(_READ_BYTES), answer_bytes)
            answered += done
            under_way -= done
            for burst in islice(left, done):
                opened[descriptor].sendall(burst)
                under_way += 1
    seconds = time.perf_counter() - start
    cpu = server.cpu_seconds() - cpu
    poller.close()
    for connection in opened.values():
        connection.close()
    return Sample(answered * BATCH / seconds, cpu / (answered * BATCH))


def _connected(address: tuple[str, int], hello: bytes) -> socket.socket:
    connection = socket.create_connection(address)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hello:
        connection.sendall(hello)
        length = int.from_bytes(connection.recv(LENGTH_BYTES, socket.MSG_WAITALL))
        welcome = _decode(connection.recv(length, socket.MSG_WAITALL))
        assert welcome[0] == "welcome", welcome
    return connection


def _count(data: bytes, answer_bytes: int) -> tuple[int, bytes]:
    """Count whole answers; returns what is left as well."""
    if answer_bytes:
        done, rest = divmod(len(data), answer_bytes)
        return done, data[len(data) - rest :]
    done, at = 0, 0
    while len(data) - at >= LENGTH_BYTES:
        end = at + LENGTH_BYTES + int.from_bytes(data[at : at + LENGTH_BYTES])
        if end > len(data):
            break
        done, at = done + 1, end
    return done, data[at:]


# -- figures -----------------------------------------------------------------------------------------------------------


def _measure() -> dict[str, list[Sample]]:
    """Return samples by what was done."""
    samples: dict[str, list[Sample]] = {}
    routes = {pair: person(index ^ 1) for index, pair in enumerate(pairs())}
    strangers = [(person(STRANGERS + index), proxy) for index, (_, proxy) in enumerate(pairs())]
    sids = count()
    with ExitStack() as stack:
        engine = stack.enter_context(serving(serve_engine, {}))
        bare = stack.enter_context(serving(serve_bare, routes))
        peer = stack.enter_context(redis())
        hello = {"version": 1, "key": engine.ready.account_sid, "secret": engine.ready.token, "wants": WANTS}
        greeting = framed(_encode(hello))
        asked, unknown, gets = batches(pairs(), _questions), batches(strangers, _questions), batches(pairs(), _gets)

        def calls(some: Pairs) -> bytes:
            return framed(_encode([("call", sender, proxy, f"CA{next(sids)}") for sender, proxy in some]))

        for _ in range(ROUNDS):
            work = {
                IN_SESSION: drive(engine, asked, events=QUESTIONS, hello=greeting),
                STRANGER: drive(engine, unknown, events=QUESTIONS, hello=greeting),
                ROUTED: drive(engine, batches(pairs()[:ROUTES], calls), events=ROUTES, hello=greeting),
                BARE: drive(bare, asked, events=QUESTIONS, hello=b""),
            }
            if peer is not None:
                answer = len(f"${len(''.join(pairs()[0]))}\r\n{''.join(pairs()[0])}\r\n") * BATCH
                work[REDIS] = drive(peer, gets, events=QUESTIONS, hello=b"", answer_bytes=answer)
            for what, sample in work.items():
                samples.setdefault(what, []).append(sample)
    return samples


IN_SESSION, STRANGER, ROUTED = "question, in session", "question of a stranger", "call routed, on disk (FULL)"
BARE, REDIS = "bare uvloop + MessagePack + dict", "Redis GET"


def _figures(samples: dict[str, list[Sample]]) -> Iterator[Figure]:
    peer = REDIS if REDIS in samples else BARE
    for what, own in samples.items():
        cpu = median([one.cpu for one in own]) * 1_000_000
        figure = Figure(
            what=what,
            value=median([one.per_second for one in own]),
            unit="events/s",
            note=f"{cpu:.2f} us of processor an event",
        )
        if what not in {peer, ROUTED}:  # what is written to disk has no peer here
            both = list(zip(own, samples[peer], strict=True))
            spared = median([other.cpu / one.cpu for one, other in both])
            ratio = median([one.per_second / other.per_second for one, other in both])
            figure = msgspec.structs.replace(figure, peer=peer, ratio=ratio, note=f"{figure.note}, {spared:.2f} x")
        yield figure


def main() -> None:
    """Measure and print."""
    title = f"feed over TCP, frames of {BATCH}, {CONNECTIONS} connections, loopback, {BINDINGS:,} bindings"
    show(title, list(_figures(_measure())))


if __name__ == "__main__":
    main()
