"""What the metrics cost: a scrape of a host with 5,500 numbers, and telling the meter of resolves and of webhooks.

Each is measured with and without in alternating rounds of one run, through two doors of one process. Without: feed and
door call a meter that does nothing and a clock that stands still. What counts is the processor time of the server.
"""

import http.client
import io
import random
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path

import msgspec
from starlette.applications import Starlette

from actors.host.host import Host
from benchmarks.engines import (
    NUMBERS,
    Filled,
    create_sessions,
    engine_on,
    filled,
    host_on,
    person,
    port_of,
    proxy_number,
)
from benchmarks.load import drive
from benchmarks.peers import Ready, Routes, Serving, serving, until_told
from benchmarks.report import Figure, Scale, Section, median
from benchmarks.webhook import PUBLIC_URL, SESSIONS, STRANGERS, pairs_of, webhooks
from engine.channels.feed.server import FeedServer
from engine.channels.feed.settings import FeedSettings
from engine.channels.sockets import ListenAddress, bind_tcp
from engine.channels.twiml.settings import WebhookSettings
from engine.channels.twiml.webhooks import WebhookEndpoint
from engine.core.model.hosts import HostAddress, HostDirectory
from engine.core.model.placement import host_name
from engine.core.model.records import Kind, Mode
from engine.core.pools.pool import MOST_RESERVED, MOST_UNRESERVED
from engine.core.ports.observing import Ingress, TrafficMeter
from engine.core.ports.operations import Clock
from engine.core.routing.resolved import Resolved
from engine.core.routing.traffic import Reason
from engine.http.connections import inbound_protocol
from engine.http.port import HttpPort
from engine.listeners import Listener
from engine.runtime import clock, monotonic
from engine.telemetry.logs import configure_logs
from engine.telemetry.observer import Telemetry
from storage.active import sessions_of
from storage.sqlite.active import chunks_in
from storage.sqlite.datadir import DATABASE

BATCH = 64
FRAMES = 400
UNDER_WAY = 4
"""Frames of a connection that wait for their answer."""
ASKED_ROUNDS = 60
"""So short and so many that a busy machine disturbs both sides alike."""
ROUNDS = 15
SCRAPES = 100
REQUESTS = 3_000
ACCEPTED = ("text/plain;version=0.0.4", "application/openmetrics-text;version=1.0.0")


class SilentMeter:
    """A meter that does nothing."""

    def __init__(self) -> None:
        """Have what a meter has."""
        self.calls = [0] * len(Reason)
        self.messages = [0] * len(Reason)
        self.resolutions = [0] * len(Reason)

    def decided(self, kind: Kind, reason: Reason) -> None:
        """Do nothing."""

    def deciding(self, seconds: float, events: int = 1) -> None:
        """Do nothing."""

    def resolved(self, resolved: Resolved, seconds: float) -> None:
        """Do nothing."""

    def from_cache(self, events: int, strangers: int, seconds: float) -> None:
        """Count nothing."""

    def answered(self, seconds: float, events: int = 1) -> None:
        """Do nothing."""

    def lost(self, events: int) -> None:
        """Do nothing."""

    def burst(self, events: int) -> None:
        """Do nothing."""


class Sample(msgspec.Struct, frozen=True):
    """One run through one door."""

    per_second: float
    cpu: float
    """Seconds of the server's processor per event."""


# -- one host with two doors of each kind ------------------------------------------------------------------------------


class Doors(Ready, frozen=True):
    """Where the host is reached, its events told to the meter or not."""

    metered_feed: int = 0
    silent_feed: int = 0
    metered_http: int = 0
    silent_http: int = 0
    on_http: tuple[tuple[str, str], ...] = ()
    """Pairs (identifier, proxy number) whose calls come over HTTP."""


async def serve_doors(told: Connection, _: Routes) -> None:
    """Serve one host through all doors."""
    configure_logs(as_json=True, level="info", stream=io.StringIO())
    with tempfile.TemporaryDirectory() as directory:
        telemetry = Telemetry()
        async with host_on(Path(directory, "data")) as host, AsyncExitStack() as stack:
            ready = await filled(host, sessions=SESSIONS)
            endpoints = _pairs(Path(directory, "data", DATABASE))
            on_http = await pairs_of(ready, first=SESSIONS, mode=Mode.VOICE_AND_MESSAGE)
            doors = Doors(0, ready.account.sid, ready.account.auth_token, endpoints, on_http=on_http)
            ports = {}
            for name, timer in (("metered", monotonic), ("silent", _stand_still)):
                is_metered = name == "metered"
                meters = [telemetry.meter(one) if is_metered else SilentMeter() for one in (Ingress.FEED, Ingress.HTTP)]
                ports[f"{name}_feed"] = await _open_feed(stack, host, telemetry, meters[0], timer)
                ports[f"{name}_http"] = await _open_door(stack, host, telemetry, meters[1], timer)
            told.send(msgspec.structs.replace(doors, **ports))
            await until_told(told)


def _stand_still() -> float:
    return 0.0


async def _open_feed(  # noqa: PLR0917 - the parts of a door
    stack: AsyncExitStack, host: Host, telemetry: Telemetry, meter: TrafficMeter, timer: Clock
) -> int:
    server = FeedServer(
        host.traffic,
        authenticate=host.control.authenticate,
        carriers={},
        directory=lambda: HostDirectory(1, 0, (HostAddress(host_name(0), ""),)),
        observer=telemetry,
        meter=meter,
        monotonic=timer,
        settings=FeedSettings(),
    )
    bound = bind_tcp(ListenAddress("127.0.0.1", 0))
    await server.open(bound)
    stack.push_async_callback(server.stop, 1)
    return _port(bound)


async def _open_door(  # noqa: PLR0917
    stack: AsyncExitStack, host: Host, telemetry: Telemetry, meter: TrafficMeter, timer: Clock
) -> int:
    settings = WebhookSettings(public_url=PUBLIC_URL)
    endpoint = WebhookEndpoint(
        host.traffic, observer=telemetry, meter=meter, clock=clock, monotonic=timer, settings=settings
    )
    listener = Listener(Starlette(), grace_seconds=1, protocol=inbound_protocol(HttpPort(telemetry, endpoint=endpoint)))
    bound = bind_tcp(ListenAddress("127.0.0.1", 0))
    await listener.open(bound)
    stack.push_async_callback(listener.close)
    return _port(bound)


def _port(bound: socket.socket) -> int:
    port: int = bound.getsockname()[1]
    return port


def _pairs(database: Path) -> tuple[tuple[str, str], ...]:
    """Return (identifier, proxy number) of the sessions that route."""
    endpoints = [endpoint for session in sessions_of(chunks_in(database)) for endpoint in session.endpoints]
    return tuple((endpoint.identifier, endpoint.proxy) for endpoint in endpoints)


# -- resolve -----------------------------------------------------------------------------------------------------------


class Asker:
    """One connection to a feed, which keeps some frames under way."""

    def __init__(self, port: int, ready: Ready) -> None:
        """Connect and say hello."""
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._file = self._socket.makefile("rb")
        hello = {"version": 1, "key": ready.account_sid, "secret": ready.token, "wants": ["outcome", "to", "caller_id"]}
        self._socket.sendall(framed(hello))
        self._read()

    def ask(self, frames: Sequence[bytes]) -> None:
        """Send frames, `UNDER_WAY` at a time, and read their answers."""
        for start in range(0, len(frames), UNDER_WAY):
            some = frames[start : start + UNDER_WAY]
            self._socket.sendall(b"".join(some))
            for _ in some:
                self._read()

    def close(self) -> None:
        """Hang up."""
        self._file.close()
        self._socket.close()

    def _read(self) -> None:
        length = int.from_bytes(self._file.read(4))
        assert len(self._file.read(length)) == length


def framed(message: object) -> bytes:
    """Return the bytes of a frame."""
    payload = msgspec.msgpack.encode(message)
    return len(payload).to_bytes(4) + payload


def questions(callers: Sequence[tuple[str, str]]) -> list[bytes]:
    """Return frames of `BATCH` questions each, in random order."""
    chosen = random.Random(7)  # noqa: S311 - a repeatable load
    return [framed([["resolve", "call", *chosen.choice(callers)] for _ in range(BATCH)]) for _ in range(FRAMES)]


def _asked(server: Serving, doors: Doors, port: int, frames: Sequence[bytes]) -> Sample:
    asker = Asker(port, doors)
    before, start = server.cpu_seconds(), time.perf_counter()
    asker.ask(frames)
    cpu, seconds = server.cpu_seconds() - before, time.perf_counter() - start
    asker.close()
    events = len(frames) * BATCH
    return Sample(events / seconds, cpu / events)


def resolve_figures(server: Serving, doors: Doors) -> Iterator[Figure]:
    """Measure resolves over the feed with and without a meter."""
    strangers = [(person(STRANGERS + index), proxy_number(index % NUMBERS)) for index in range(2 * SESSIONS)]
    for what, callers in (("in session", doors.in_session), ("strangers", strangers)):
        frames = questions(callers)
        pairs = paired(
            ASKED_ROUNDS,
            lambda _, asked=frames: _asked(server, doors, doors.metered_feed, asked),  # type: ignore[misc]
            lambda _, asked=frames: _asked(server, doors, doors.silent_feed, asked),  # type: ignore[misc]
        )
        yield _figure(
            f"resolve over the feed, {what}",
            pairs,
            f"frames of {BATCH}, {UNDER_WAY} under way, {2 * SESSIONS:,} bindings, loopback",
        )


def paired(
    rounds: int, metered: Callable[[int], Sample], silent: Callable[[int], Sample]
) -> list[tuple[Sample, Sample]]:
    """Measure both in each round, in turn the one and the other first."""
    pairs = []
    for turn in range(rounds):
        if turn % 2:
            untold = silent(turn)
            pairs.append((metered(turn), untold))
        else:
            pairs.append((metered(turn), silent(turn)))
    return pairs


def _figure(what: str, pairs: Sequence[tuple[Sample, Sample]], conditions: str) -> Figure:
    more = median([told.cpu - untold.cpu for told, untold in pairs])
    return Figure(
        what=f"{what}, metered",
        value=median([told.per_second for told, _ in pairs]),
        unit="events/s",
        peer="not metered",
        ratio=median([untold.cpu / told.cpu for told, untold in pairs]),
        note=f"ratio of processor time; {more * 1e9:.0f} ns more an event; {conditions}",
    )


# -- webhooks ----------------------------------------------------------------------------------------------------------


def webhook_figures(server: Serving, doors: Doors) -> Iterator[Figure]:
    """Measure webhooks with and without a meter."""
    strangers = tuple((person(STRANGERS + index), proxy_number(index % NUMBERS)) for index in range(1_000))
    numbers = count()

    def called(port: int, callers: tuple[tuple[str, str], ...]) -> Sample:
        requests = webhooks(doors, callers, first=next(numbers) * REQUESTS, count=REQUESTS)
        before = server.cpu_seconds()
        load = drive(("127.0.0.1", port), requests)
        return Sample(load.per_second, (server.cpu_seconds() - before) / load.requests)

    for what, callers in (("call of a stranger", strangers), ("call routed, on disk", doors.on_http)):
        pairs = paired(
            ROUNDS,
            lambda _, some=callers: called(doors.metered_http, some),  # type: ignore[misc]
            lambda _, some=callers: called(doors.silent_http, some),  # type: ignore[misc]
        )
        yield _figure(what, pairs, "32 connections, signature checked, loopback")


# -- scrapes -----------------------------------------------------------------------------------------------------------


async def serve_large(told: Connection, _: Routes) -> None:
    """Serve a whole engine with as many numbers as one service can have."""
    with tempfile.TemporaryDirectory() as directory:
        async with engine_on(Path(directory, "data"), metrics_services=20) as engine:
            ready = await filled(engine.host, sessions=0)
            await _fill_pool(ready)
            await create_sessions(ready, first=0, count=SESSIONS)
            told.send(Ready(port_of(engine)))
            await until_told(told)


async def _fill_pool(ready: Filled) -> None:
    for index in range(NUMBERS, MOST_UNRESERVED + MOST_RESERVED):
        await ready.host.control.add_to_pool(
            ready.account.sid,
            ready.service.sid,
            number_sid=None,
            address=f"+1{415 if index < MOST_RESERVED else 628}555{index % 10_000:04d}",
            is_reserved=index >= MOST_UNRESERVED,
        )


def scrape_figures() -> Iterator[Figure]:
    """Measure scrapes of a large host."""
    with serving(serve_large, {}) as server:
        for accepted in ACCEPTED:
            connection = http.client.HTTPConnection(*server.address)
            before, started, page = server.cpu_seconds(), time.perf_counter(), b""
            for _ in range(SCRAPES):
                connection.request("GET", "/metrics", headers={"accept": accepted})
                page = connection.getresponse().read()
            cpu = (server.cpu_seconds() - before) / SCRAPES
            seconds = (time.perf_counter() - started) / SCRAPES
            connection.close()
            samples = sum(not line.startswith(b"#") for line in page.splitlines())
            yield Figure(
                what=f"scrape, {accepted.partition(';')[0]}",
                value=cpu * 1e6,
                unit="us of a core",
                note=f"{cpu:.3%} of a core once a second; {seconds * 1e3:.1f} ms; {samples} samples, "
                f"{len(page):,} bytes; {MOST_UNRESERVED + MOST_RESERVED:,} numbers, {SESSIONS:,} sessions",
            )


def measure(scale: Scale) -> Section:
    """Measure."""
    del scale  # short alternating rounds of its own, see ASKED_ROUNDS
    with serving(serve_doors, {}) as server:
        doors = server.ready
        assert isinstance(doors, Doors)
        figures = [*resolve_figures(server, doors), *webhook_figures(server, doors)]
    return Section("metrics", (*figures, *scrape_figures()))
