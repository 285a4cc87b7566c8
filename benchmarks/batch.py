"""Durable session creates over REST, in batches and one by one: alone, beside webhooks or resolves; and raw SQLite.

One engine in a process of its own is loaded from this one; webhooks (calls of strangers) and resolves (questions over
the feed) come from a third process.
The engine has one core to itself, with its loop and its writer; the others share what is left.
"""

import json
import multiprocessing
import os
import tempfile
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from http.client import HTTPConnection
from itertools import count, islice, product
from multiprocessing.connection import Connection
from pathlib import Path
from urllib.parse import urlencode

import msgspec

from benchmarks.bursts import Work, saturate
from benchmarks.cores import core_apart
from benchmarks.creates import raw_per_second
from benchmarks.engines import NUMBERS, engine_on, feed_port_of, filled, person, port_of, proxy_number
from benchmarks.feed import ROUTED, bursts_of, greeted, questions
from benchmarks.load import Load, drive
from benchmarks.peers import Ready, Routes, Serving, serving, until_told
from benchmarks.report import Figure, Scale, Section, median
from benchmarks.webhook import STRANGERS, pairs_of, webhooks
from engine.core.model.records import Mode

ITEMS = 1_000
"""Of a batch."""
BATCHES = 10
"""Of a round."""
SENDERS = 2
"""Batches under way side by side."""
SINGLES = 2_000
"""Requests of a round, one session each."""
WEBHOOKS = 2_000
"""Calls that are sent again and again beside the batches."""
FRAME = 64
"""Questions of a frame."""
FRAMES = 500
"""Frames that are sent again and again beside the batches."""
TABLES = {"sessions": 1, "participants": 2}
KEYED_TABLES = {**TABLES, "batch_keys": 1}
"""Rows of each table for a session."""


class Shop(Ready, frozen=True):
    """A server with a service."""

    service_sid: str = ""
    feed_port: int = 0


class Sample(msgspec.Struct, frozen=True):
    """What a round showed."""

    per_second: float
    cpu: float
    """Seconds of the server's processor per session, whatever else it did meanwhile."""
    beside: Load | None = None
    """The webhooks meanwhile."""


async def serve(told: Connection, _: Routes, *, data_dir: Path, core: int) -> None:
    """Serve with the engine on one core, commits FULL, without limits of requests and without signatures."""
    os.sched_setaffinity(0, {core})
    async with engine_on(data_dir, rate_limit_per_second=0, verify_signatures=False) as engine:
        ready = await filled(engine.host, sessions=1_000)
        account = ready.account
        in_session = await pairs_of(ready, first=1_000, mode=Mode.VOICE_AND_MESSAGE)
        told.send(
            Shop(
                port_of(engine),
                account.sid,
                account.auth_token,
                in_session,
                service_sid=ready.service.sid,
                feed_port=feed_port_of(engine),
            )
        )
        await until_told(told)


class Application:
    """Makes sessions of two people nobody else meets."""

    def __init__(self, server: Serving, shop: Shop) -> None:
        """Speak to a server for its account."""
        self._server = server
        self._path = f"/v1/Services/{shop.service_sid}/Sessions"
        self._basic = b64encode(f"{shop.account_sid}:{shop.token}".encode()).decode()
        self._rides = count(10_000)

    def batches(self, *, has_keys: bool) -> Sample:
        """Send a round of batches."""
        bodies = [self._batch(has_keys=has_keys) for _ in range(BATCHES)]
        before, start = self._server.cpu_seconds(), time.perf_counter()
        with ThreadPoolExecutor(SENDERS) as senders:
            for sender in [senders.submit(self._send, bodies[place::SENDERS]) for place in range(SENDERS)]:
                sender.result()
        seconds, cpu = time.perf_counter() - start, self._server.cpu_seconds() - before
        return Sample(ITEMS * BATCHES / seconds, cpu / (ITEMS * BATCHES))

    def singles(self) -> Sample:
        """Send a round of requests that make one session each."""
        requests = [self._single() for _ in range(SINGLES)]
        before = self._server.cpu_seconds()
        load = drive(self._server.address, requests)
        return Sample(load.per_second, (self._server.cpu_seconds() - before) / load.requests)

    def _people(self) -> list[dict[str, str]]:
        ride = next(self._rides)
        return [{"Identifier": person(2 * ride)}, {"Identifier": person(2 * ride + 1)}]

    def _batch(self, *, has_keys: bool) -> bytes:
        items = [{"Participants": self._people()} for _ in range(ITEMS)]
        keys = [
            {"IdempotencyKey": f"order-{one['Participants'][0]['Identifier']}"} if has_keys else {} for one in items
        ]
        return "\n".join(json.dumps({**item, **key}) for item, key in zip(items, keys, strict=True)).encode()

    def _send(self, bodies: list[bytes]) -> None:
        http = HTTPConnection(*self._server.address)
        headers = {"Authorization": f"Basic {self._basic}", "Content-Type": "application/x-ndjson"}
        for body in bodies:
            http.request("POST", f"{self._path}/Batch", body, headers)
            answer = http.getresponse().read()
            assert answer.count(b'"status":201') == ITEMS
        http.close()

    def _single(self) -> bytes:
        form = urlencode([("Participants", json.dumps(one)) for one in self._people()])
        return (
            f"POST {self._path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Basic {self._basic}\r\n"
            f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(form)}\r\n\r\n{form}"
        ).encode()


def _call_until_told(told: Connection, address: tuple[str, int], requests: list[bytes]) -> None:
    told.send(None)
    loads = []
    while not told.poll():
        loads.append(drive(address, requests, connections=1))
    latencies = sorted(latency for load in loads for latency in load.latencies)
    told.send(Load(sum(load.requests for load in loads), sum(load.seconds for load in loads), latencies))


def _ask_until_told(told: Connection, shop: Shop) -> None:
    frames = list(islice(bursts_of(shop.in_session, FRAME, questions), FRAMES))
    told.send(None)
    loads = []
    while not told.poll():
        work = Work(
            address=("127.0.0.1", shop.feed_port),
            bursts=iter(frames),
            events=FRAME,
            word=ROUTED,
            open=partial(greeted, account_sid=shop.account_sid, token=shop.token),
        )
        loads.append(saturate([work], bursts=len(frames), cpu_seconds=lambda: 0.0, connections=1))
    latencies = sorted(latency for load in loads for latency in load.latencies)
    told.send(Load(sum(load.events for load in loads), sum(load.seconds for load in loads), latencies))


@contextmanager
def meanwhile(work: Callable[..., None], *arguments: object) -> Iterator[Callable[[], Load]]:
    """Load the server from another process too while the context lasts; the function it yields ends that."""
    ours, theirs = multiprocessing.Pipe()
    target = multiprocessing.get_context("spawn").Process(target=work, args=(theirs, *arguments))
    target.start()
    ours.recv()

    def stop() -> Load:
        ours.send(None)
        load: Load = ours.recv()
        return load

    yield stop
    target.join()


def _beside(create: Callable[[], Sample], work: Callable[..., None], *arguments: object) -> Sample:
    with meanwhile(work, *arguments) as stop:
        sample = create()
        beside = stop()
    return msgspec.structs.replace(sample, beside=beside)


def _samples(data_dir: Path, scale: Scale) -> dict[str, list[Sample]]:
    samples: dict[str, list[Sample]] = {}
    with core_apart() as core, serving(partial(serve, data_dir=data_dir, core=core), {}) as server:
        shop = server.ready
        assert isinstance(shop, Shop)
        application = Application(server, shop)
        strangers = [(person(STRANGERS + index), proxy_number(index % NUMBERS)) for index in range(1_000)]
        requests = webhooks(shop, strangers, first=0, count=WEBHOOKS)
        batches = partial(application.batches, has_keys=False)
        rounds: dict[str, Callable[[], Sample]] = {
            "in batches": batches,
            "in batches, each with a key": partial(application.batches, has_keys=True),
            "in batches, beside webhooks": partial(_beside, batches, _call_until_told, server.address, requests),
            "in batches, beside resolves": partial(_beside, batches, _ask_until_told, shop),
            "one by one, 32 connections": application.singles,
            "one by one, beside resolves": partial(_beside, application.singles, _ask_until_told, shop),
        }
        for _, (name, run) in product(range(scale.rounds), rounds.items()):
            samples.setdefault(name, []).append(run())
    return samples


def _figure(name: str, samples: list[Sample], raw: float) -> Figure:
    rate = median([sample.per_second for sample in samples])
    note = f"{median([sample.cpu for sample in samples]) * 1_000_000:.0f} us of the server's processor each"
    besides = [sample.beside for sample in samples if sample.beside is not None]
    if besides:
        calls, p99 = (median([read(one) for one in besides]) for read in (_rate, _p99))
        asked = "resolves" if "resolves" in name else "webhooks"
        note += f"; {calls:,.0f} {asked}/s meanwhile on one connection, p99 {p99 * 1000:.1f} ms"
    return Figure(
        what=f"create session {name}",
        value=rate,
        unit="sessions/s",
        peer="SQLite executemany, same rows",
        ratio=rate / raw,
        note=note,
    )


def _rate(load: Load) -> float:
    return load.per_second


def _p99(load: Load) -> float:
    return load.percentile(0.99)


def measure(scale: Scale) -> Section:
    """Measure."""
    with tempfile.TemporaryDirectory() as directory:
        data_dir = Path(directory, "data")
        samples = _samples(data_dir, scale)
        written = data_dir / "maskline.db"
        plain, keyed = (
            median(
                [raw_per_second(written, Path(directory, f"{name}{turn}.db"), tables) for turn in range(scale.rounds)]
            )
            for name, tables in (("plain", TABLES), ("keyed", KEYED_TABLES))
        )
    figures = [_figure(name, some, keyed if "key" in name else plain) for name, some in samples.items()]
    note = "transactions of 200 sessions, FULL"
    figures += [
        Figure(what="the peer", value=plain, unit="sessions/s", note=note),
        Figure(what="the peer, with keys", value=keyed, unit="sessions/s", note=note),
    ]
    title = f"durable session creates over REST, two participants, {ITEMS:,} a batch, {SENDERS} under way, one core"
    return Section(title, tuple(figures))
