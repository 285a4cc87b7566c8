"""What the metrics cost: a scrape of a host with 5,500 numbers, and telling the meter of resolves and of webhooks.

Each is measured with and without in alternating rounds of one run. Without: resolve makes no call to the meter and
takes no time; the door calls a meter that does nothing and a clock that stands still.
"""

import http.client
import io
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from multiprocessing.connection import Connection
from pathlib import Path

import msgspec
from starlette.applications import Starlette

from benchmarks.engines import NUMBERS, Filled, create_sessions, filled, host_on, person, proxy_number
from benchmarks.load import drive
from benchmarks.peers import Ready, Routes, Serving, serving, until_told
from benchmarks.report import Figure, median, show
from benchmarks.resolve import BINDINGS, bindings_of_numbers
from benchmarks.resolve import events as frames_of
from benchmarks.webhook import PUBLIC_URL, SESSIONS, STRANGERS, Workload, pairs_of, port_of, webhooks
from engine.app import running_engine
from engine.core.observing import Ingress, TrafficMeter
from engine.core.pool import MOST_RESERVED, MOST_UNRESERVED
from engine.core.records import Kind, Mode
from engine.core.routing import Bindings, NumberRules, Passage, decide
from engine.core.traffic import Decision, InboundEvent, Reason
from engine.ingress.door import Door, DoorSettings
from engine.ingress.http import inbound_protocol
from engine.listeners import Listener, bind_tcp
from engine.runtime import clock, monotonic
from engine.settings import ListenAddress, Settings
from engine.telemetry.logs import configure_logs
from engine.telemetry.observer import Telemetry

BATCH = 64
PART = 20
"""Frames that are measured in one go: so short that a busy machine disturbs both sides alike."""
ROUNDS = 9
SCRAPES = 100
REQUESTS = 6_000
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

    def resolved(self, decisions: Sequence[Decision | Passage], seconds: float) -> None:
        """Do nothing."""

    def answered(self, seconds: float, events: int = 1) -> None:
        """Do nothing."""

    def lost(self, events: int) -> None:
        """Do nothing."""

    def burst(self, events: int) -> None:
        """Do nothing."""


# -- resolve -----------------------------------------------------------------------------------------------------------

_decoder = msgspec.msgpack.Decoder(list[InboundEvent])
_encoder = msgspec.msgpack.Encoder()


def batches(frames: Sequence[bytes]) -> list[bytes]:
    """Return events as frames of `BATCH` of them."""
    decode = msgspec.msgpack.Decoder(InboundEvent).decode
    events = [decode(frame) for frame in frames]
    return [_encoder.encode(events[start : start + BATCH]) for start in range(0, len(events), BATCH)]


def resolve(numbers: dict[str, Bindings], frames: Sequence[bytes]) -> None:
    """Decode a frame, decide, encode; nothing is told."""
    decode, encode, rules = _decoder.decode, _encoder.encode, NumberRules()
    for frame in frames:
        encode([decide(numbers[one.proxy], one, rules=rules, now=1.0, mint=None).decision for one in decode(frame)])


def resolve_and_tell(numbers: dict[str, Bindings], frames: Sequence[bytes], meter: TrafficMeter) -> None:
    """Do the same, and tell the meter as an ingress of frames does."""
    decode, encode, rules = _decoder.decode, _encoder.encode, NumberRules()
    for frame in frames:
        read_at = monotonic()
        events = decode(frame)
        began = monotonic()
        decisions = [decide(numbers[one.proxy], one, rules=rules, now=1.0, mint=None).decision for one in events]
        meter.resolved(decisions, monotonic() - began)
        encode(decisions)
        meter.burst(len(events))
        meter.answered(monotonic() - read_at, len(events))


def _pair(
    numbers: dict[str, Bindings], frames: Sequence[bytes], meter: TrafficMeter, *, is_turned: bool
) -> tuple[float, float]:
    """Return the seconds with and without a meter, of the same frames, right after each other."""
    works = (lambda: resolve_and_tell(numbers, frames, meter), lambda: resolve(numbers, frames))
    if is_turned:
        untold = _seconds(works[1])
        return _seconds(works[0]), untold
    return _seconds(works[0]), _seconds(works[1])


def _seconds(work: Callable[[], None]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def resolve_figures() -> Iterator[Figure]:
    """Measure resolves with and without a meter."""
    numbers, meter = bindings_of_numbers(), Telemetry().meter(Ingress.FEED)
    for what, are_strangers in (("in session", False), ("stranger", True)):
        frames = batches(frames_of(are_strangers=are_strangers))
        parts = [frames[start : start + PART] for start in range(0, len(frames) - PART, PART)] * ROUNDS
        times = [_pair(numbers, part, meter, is_turned=bool(turn % 2)) for turn, part in enumerate(parts)]
        events = PART * BATCH
        more = median([told - untold for told, untold in times])
        yield Figure(
            what=f"resolve, {what}, metered",
            value=events / median([told for told, _ in times]),
            unit="events/s",
            peer="not metered",
            ratio=median([untold / told for told, untold in times]),
            note=f"{more / events * 1e9:.0f} ns more an event; frames of {BATCH}, {BINDINGS:,} bindings, no network",
        )


# -- webhooks ----------------------------------------------------------------------------------------------------------


async def _serve_door(told: Connection, *, is_metered: bool) -> None:
    configure_logs(as_json=True, level="info", stream=io.StringIO())
    with tempfile.TemporaryDirectory() as directory:
        telemetry = Telemetry()
        async with host_on(Path(directory, "data")) as host:
            ready = await filled(host, sessions=SESSIONS)
            in_session = await pairs_of(ready, first=SESSIONS, mode=Mode.VOICE_AND_MESSAGE)
            door = Door(
                host,
                observer=telemetry,
                meter=telemetry.meter(Ingress.HTTP) if is_metered else SilentMeter(),
                clock=clock,
                monotonic=monotonic if is_metered else lambda: 0.0,
                settings=DoorSettings(public_url=PUBLIC_URL),
            )
            listener = Listener(Starlette(), grace_seconds=1, protocol=inbound_protocol(door))
            bound = bind_tcp(ListenAddress("127.0.0.1", 0))
            await listener.open(bound)
            told.send(Ready(bound.getsockname()[1], ready.account.sid, ready.account.auth_token, in_session))
            await until_told(told)
            await listener.close()


async def serve_metered(told: Connection, _: Routes) -> None:
    """Serve webhooks, each told to the meter."""
    await _serve_door(told, is_metered=True)


async def serve_unmetered(told: Connection, _: Routes) -> None:
    """Serve webhooks, none told."""
    await _serve_door(told, is_metered=False)


class Sample(msgspec.Struct, frozen=True):
    """One run against one server."""

    per_second: float
    cpu: float
    """Seconds of the server's processor per request."""


def _sample(server: Serving, workload: Workload, *, first: int) -> Sample:
    requests = webhooks(server.ready, workload.callers, first=first, count=REQUESTS)
    before = server.cpu_seconds()
    load = drive(server.address, requests, depth=workload.depth)
    return Sample(load.per_second, (server.cpu_seconds() - before) / load.requests)


def webhook_figures() -> Iterator[Figure]:
    """Measure webhooks with and without a meter."""
    strangers = tuple((person(STRANGERS + index), proxy_number(index % NUMBERS)) for index in range(1_000))
    with ExitStack() as stack:
        metered = stack.enter_context(serving(serve_metered, {}))
        silent = stack.enter_context(serving(serve_unmetered, {}))
        for number, workload in enumerate(
            (Workload("call of a stranger", strangers), Workload("call routed, on disk", metered.ready.in_session))
        ):
            pairs = []
            for turn in range(ROUNDS):
                first = (turn + number * ROUNDS) * 2 * REQUESTS
                order = (metered, silent) if turn % 2 else (silent, metered)
                taken = {server.pid: _sample(server, workload, first=first) for server in order}
                pairs.append((taken[metered.pid], taken[silent.pid]))
            more = median([told.cpu - untold.cpu for told, untold in pairs])
            yield Figure(
                what=f"{workload.name}, metered",
                value=median([told.per_second for told, _ in pairs]),
                unit="requests/s",
                peer="not metered",
                ratio=median([untold.cpu / told.cpu for told, untold in pairs]),
                note=f"ratio of processor time; {more * 1e6:.2f} us more a request",
            )


# -- scrapes -----------------------------------------------------------------------------------------------------------


async def serve_large(told: Connection, _: Routes) -> None:
    """Serve a whole engine with as many numbers as one service can have."""
    configure_logs(as_json=True, level="info", stream=io.StringIO())
    with tempfile.TemporaryDirectory() as directory:
        settings = Settings(data_dir=Path(directory, "data"), listen=ListenAddress("127.0.0.1", 0), metrics_services=20)
        async with running_engine(settings) as engine:
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


def main() -> None:
    """Measure and print."""
    show("metrics", [*resolve_figures(), *webhook_figures(), *scrape_figures()])


if __name__ == "__main__":
    main()
