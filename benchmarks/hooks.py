"""What webhooks of applications cost: messages with callbacks, calls behind an intercept hook, a growing outbox.

The engine, the application and the load are three processes on one machine; the same traffic without hooks is the peer.
"""

import asyncio
import sqlite3
import tempfile
import time
from contextlib import ExitStack, closing
from itertools import cycle
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Event, Thread

import httptools

from benchmarks.engines import engine_on, filled, port_of
from benchmarks.load import Load, drive
from benchmarks.peers import Ready, Routes, Serving, serving, until_told
from benchmarks.report import Figure, Scale, Section, median
from benchmarks.webhook import PUBLIC_URL, pairs_of, posted
from engine.core.model.records import Mode
from engine.core.model.requests import ServiceRequest

MESSAGES = 10_000
CONNECTIONS = 32
SAMPLE_SECONDS = 0.1
DRAIN_SECONDS = 120.0

DATA_DIR, CALLBACK, INTERCEPT = ("data", "dir"), ("url", "callback"), ("url", "intercept")
"""What the engine is told beside nothing else, in the shape of `Routes`."""

_OK = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"


class _Application(asyncio.Protocol):
    """Answers every POST with an empty 200."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # a stream's is one
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        self.transport.write(_OK)


async def serve_application(told: Connection, _: Routes) -> None:
    """Serve as the application's webhooks."""
    server = await asyncio.get_running_loop().create_server(_Application, "127.0.0.1", 0)
    told.send(Ready(server.sockets[0].getsockname()[1]))
    await until_told(told)
    server.close()


async def serve_engine(told: Connection, options: Routes) -> None:
    """Serve with the engine and the hooks that the options name."""
    data_dir = Path(options[DATA_DIR])
    async with engine_on(data_dir, public_url=PUBLIC_URL, outgoing_allow=("127.0.0.0/8",)) as engine:
        ready = await filled(engine.host, sessions=1_000)
        request = ServiceRequest(callback_url=options.get(CALLBACK), intercept_callback_url=options.get(INTERCEPT))
        await engine.host.control.update_service(ready.account.sid, ready.service.sid, request)
        pairs = await pairs_of(ready, first=1_000, mode=Mode.VOICE_AND_MESSAGE)
        told.send(Ready(port_of(engine), ready.account.sid, ready.account.auth_token, pairs))
        await until_told(told)


class Depth:
    """Samples how many effects are owed, straight from the database, while a load runs and until all is delivered."""

    def __init__(self, data_dir: Path) -> None:
        self.samples: list[tuple[float, int]] = []
        self._data_dir = data_dir
        self._is_over = Event()
        self._thread = Thread(target=self._sample)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wait_until_empty(self) -> float:
        """Return the seconds from now until nothing is owed."""
        start = time.perf_counter()
        while (not self.samples or self.samples[-1][1]) and time.perf_counter() - start < DRAIN_SECONDS:
            time.sleep(SAMPLE_SECONDS)
        self._is_over.set()
        self._thread.join()
        return time.perf_counter() - start

    def _sample(self) -> None:
        with closing(sqlite3.connect(f"file:{self._data_dir}/maskline.db?mode=ro", uri=True)) as connection:
            start = time.perf_counter()
            while not self._is_over.wait(SAMPLE_SECONDS):
                ((pending,),) = connection.execute("SELECT count(*) FROM effects WHERE date_died IS NULL")
                self.samples.append((time.perf_counter() - start, pending))


def _messages(ready: Ready, *, first: int) -> list[bytes]:
    return [
        posted(
            ready,
            "/inbound/message",
            {"MessageSid": f"SM{number:032x}", "Body": "I am at the corner, where are you?", "NumMedia": "0"},
            sender=sender,
            proxy=proxy,
        )
        for number, (sender, proxy) in zip(range(first, first + MESSAGES), cycle(ready.in_session), strict=False)
    ]


def _run(server: Serving, *, first: int) -> Load:
    return drive(server.address, _messages(server.ready, first=first), connections=CONNECTIONS)


def _figures(name: str, own: list[Load], plain: list[Load], note: str) -> Figure:
    p99 = median([load.percentile(0.99) for load in own]) * 1000
    p50 = median([load.percentile(0.5) for load in own]) * 1000
    return Figure(
        what=name,
        value=median([load.per_second for load in own]),
        unit="messages/s",
        peer="" if own is plain else "the same without hooks",
        ratio=None if own is plain else median([a.per_second / b.per_second for a, b in zip(own, plain, strict=True)]),
        note=f"answer p50 {p50:.1f} ms, p99 {p99:.1f} ms{note}",
    )


def measure(scale: Scale) -> Section:
    """Measure."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        application = stack.enter_context(serving(serve_application, {}))
        url = f"http://127.0.0.1:{application.ready.port}"
        kinds: dict[str, Routes] = {
            "routed, no hooks": {},
            "routed, a callback owed for each": {CALLBACK: f"{url}/callback"},
            "routed behind an intercept hook": {INTERCEPT: f"{url}/intercept"},
        }
        servers = {
            name: stack.enter_context(serving(serve_engine, {**kind, DATA_DIR: str(directory / str(index))}))
            for index, (name, kind) in enumerate(kinds.items())
        }
        loads: dict[str, list[Load]] = {name: [] for name in kinds}
        drains: list[tuple[int, float]] = []
        for turn in range(scale.rounds):
            for index, (name, server) in enumerate(servers.items()):
                depth = Depth(directory / str(index))
                depth.start()
                loads[name].append(_run(server, first=turn * MESSAGES))
                drained = depth.wait_until_empty()
                if CALLBACK in kinds[name]:
                    drains.append((max(pending for _, pending in depth.samples), drained))
    plain = loads["routed, no hooks"]
    figures = [_figures(name, own, plain, "") for name, own in loads.items()]
    figures.append(
        Figure(
            what="deepest outbox",
            value=median([float(deepest) for deepest, _ in drains]),
            unit="callbacks",
            note=f"of {MESSAGES:,}; empty {median([seconds for _, seconds in drains]):.1f} s after the last answer",
        )
    )
    return Section(f"webhooks of applications, {CONNECTIONS} connections, loopback, FULL", tuple(figures))
