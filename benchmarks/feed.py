"""The feed over TCP: questions and calls in frames of 1, 16, 64 and 256, beside Redis GET and a bare look-up.

Engine, Redis and the bare protocol share one core, one of them loaded at a time; this process has the others. Rounds
alternate. Values and ratios are events per second of the server's processor, all its threads together, which a busy
machine disturbs less than the rate; the conditions tell the rate, and the latencies at half of it.
"""

import asyncio
import random
import socket
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import count, cycle
from multiprocessing.connection import Connection
from pathlib import Path

import msgspec

from benchmarks.bursts import CONNECTIONS, Sample, Work, at_rate, connected, saturate
from benchmarks.cores import core_apart, on_core
from benchmarks.engines import IN_FLIGHT, NUMBERS, Filled, engine_on, feed_port_of, filled, person, proxy_number
from benchmarks.peers import Ready, Routes, Serving, serving, until_told
from benchmarks.redis import REDIS, gets, hit_word, redis
from benchmarks.report import Figure, Scale, Section, median, percentiles
from engine.channels.feed.frames import LENGTH_BYTES, Splitter, framed
from engine.core.model.requests import ParticipantRequest, SessionRequest

BINDINGS = 100_000
DEPTHS = (1, 16, 64, 256)
"""Events of a frame, or GETs of a write."""
QUESTIONS = {1: 60_000, 16: 400_000, 64: 1_000_000, 256: 2_000_000}
"""Of a round, by depth."""
CALLS = {1: 10_000, 16: 20_000, 64: 20_000, 256: 25_600}
"""Recorded ones, likewise."""
HALF_SECONDS = 1.5
"""Of a run at half of what saturates."""
WANTS = ("outcome", "reason", "to", "caller_id")
STRANGERS = 4_000_000
ROUTED, REFUSED = b"\xa6routed", b"\xa7refused"
"""Outcomes as they are on the wire."""

_FRAME_LIMIT = 1 << 20

_encode, _decode = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder().decode

Pairs = Sequence[tuple[str, str]]
"""(sender, proxy number)."""

QUESTION, STRANGER, CALL = "question, in session", "question of a stranger", "call recorded on disk (FULL)"
IN_FULL = "question, its session wanted"
"""Has no cached route and is looked up in full, as all are where nothing is compiled."""
BARE = "bare uvloop + MessagePack + dict"


# -- servers -----------------------------------------------------------------------------------------------------------


async def serve_engine(told: Connection, _: Routes) -> None:
    """Serve with the engine, `BINDINGS` pairs in session."""
    with tempfile.TemporaryDirectory() as directory:
        async with engine_on(Path(directory, "data")) as engine:
            ready = await filled(engine.host, sessions=0)
            await _pair_up(ready)
            told.send(Ready(feed_port_of(engine), ready.account.sid, ready.account.auth_token))
            await until_told(told)


async def _pair_up(ready: Filled) -> None:
    """Create sessions whose proxy numbers are known beforehand."""
    numbers = iter(range(0, BINDINGS, 2))
    everyone = all_pairs()

    async def creator() -> None:
        for index in numbers:
            participants = tuple(
                ParticipantRequest(identifier=who, proxy_identifier=proxy) for who, proxy in everyone[index : index + 2]
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


# -- load --------------------------------------------------------------------------------------------------------------


def all_pairs() -> list[tuple[str, str]]:
    """Return all pairs in session, partners side by side."""
    return [(person(index), proxy_number(index % NUMBERS)) for index in range(BINDINGS)]


def bursts_of(items: Pairs, depth: int, burst_of: Callable[[Pairs], bytes]) -> Iterator[bytes]:
    """Yield bursts in random order, without end."""
    shuffled = random.Random(7).sample(items, len(items))  # noqa: S311 - a repeatable load
    return cycle([burst_of(shuffled[at : at + depth]) for at in range(0, len(shuffled) - depth + 1, depth)])


def questions(some: Pairs) -> bytes:
    """Return a frame of questions."""
    return framed(_encode([("resolve", "call", sender, proxy) for sender, proxy in some]))


def calls(pairs: Pairs, depth: int, events: int, *, sids: Iterator[int]) -> Iterator[bytes]:
    """Return frames of calls that are all different, made beforehand."""
    callers = cycle(random.Random(7).sample(pairs, len(pairs)))  # noqa: S311 - a repeatable load
    frames = [
        framed(_encode([("call", *next(callers), f"CA{next(sids):032x}") for _ in range(depth)]))
        for _ in range(max(events // depth, CONNECTIONS))
    ]
    return iter(frames)


def greeted(address: tuple[str, int], *, account_sid: str, token: str, wants: tuple[str, ...] = WANTS) -> socket.socket:
    """Connect to a feed and say hello."""
    connection = connected(address)
    connection.sendall(framed(_encode({"version": 1, "key": account_sid, "secret": token, "wants": wants})))
    length = int.from_bytes(connection.recv(LENGTH_BYTES, socket.MSG_WAITALL))
    welcome = _decode(connection.recv(length, socket.MSG_WAITALL))
    assert welcome[0] == "welcome", welcome
    return connection


class Runner(msgspec.Struct, frozen=True):
    """Asks one kind of thing of one server, at any depth."""

    server: Serving
    bursts: dict[int, Iterator[bytes]]
    """By depth."""
    word: bytes
    open: Callable[[tuple[str, int]], socket.socket] = connected

    def work(self, depth: int) -> Work:
        """Return it as the load generator takes it."""
        return Work(
            address=self.server.address, bursts=self.bursts[depth], events=depth, word=self.word, open=self.open
        )


# -- figures -----------------------------------------------------------------------------------------------------------


class Run(msgspec.Struct):
    """What was measured of one kind of thing at one depth."""

    full: list[Sample] = msgspec.field(default_factory=list)
    """At saturation, a round each."""
    half: list[Sample] = msgspec.field(default_factory=list)
    """At half of it."""

    def rate(self) -> float:
        """Return how many events a second saturate."""
        return median([sample.per_second for sample in self.full])

    def figure(self, what: str, peer: str, beside: "Run | None") -> Figure:
        """Return what is told of it."""
        ratio = note = None
        if beside is not None:
            both = list(zip(self.full, beside.full, strict=True))
            ratio = median([own.per_core / other.per_core for own, other in both])
            note = median([own.per_second / other.per_second for own, other in both])
        told = f"{self.rate():,.0f}/s measured" + ("" if note is None else f", {note:.2f} x")
        if self.half:
            late = percentiles([sample.latencies for sample in self.half])
            told += f"; at {median([sample.per_second for sample in self.half]):,.0f}/s {late} ms"
        return Figure(
            what=what,
            value=median([sample.per_core for sample in self.full]),
            unit="events/s/core",
            peer=peer if beside is not None else "",
            ratio=ratio,
            note=told,
        )


def _runners(stack: ExitStack, core: int) -> dict[str, Runner]:
    everyone = all_pairs()
    strangers = [(person(STRANGERS + index), proxy) for index, (_, proxy) in enumerate(everyone)]
    routes = {pair: person(index ^ 1) for index, pair in enumerate(everyone)}
    with on_core(core):
        engine = stack.enter_context(serving(serve_engine, {}))
        bare = stack.enter_context(serving(serve_bare, routes))
        peer = stack.enter_context(redis(everyone))
    hello = partial(greeted, account_sid=engine.ready.account_sid, token=engine.ready.token)
    asked = {depth: bursts_of(everyone, depth, questions) for depth in DEPTHS}
    unknown = {depth: bursts_of(strangers, depth, questions) for depth in DEPTHS}
    runners = {
        QUESTION: Runner(engine, asked, ROUTED, hello),
        IN_FULL: Runner(engine, asked, ROUTED, partial(hello, wants=(*WANTS, "session"))),
        STRANGER: Runner(engine, unknown, REFUSED, hello),
        BARE: Runner(bare, {depth: bursts_of(everyone, depth, questions) for depth in DEPTHS}, ROUTED),
        CALL: Runner(engine, {}, ROUTED, hello),
    }
    if peer is not None:
        found = {depth: bursts_of(everyone, depth, gets) for depth in DEPTHS}
        runners[REDIS] = Runner(peer, found, hit_word(everyone))
    return runners


def _samples(scale: Scale) -> dict[tuple[int, str], Run]:
    """Return what was measured, by depth and what was done."""
    runs: dict[tuple[int, str], Run] = {}
    sids = count()
    everyone = all_pairs()
    with core_apart() as core, ExitStack() as stack:
        runners = _runners(stack, core)
        for turn in range(scale.rounds):
            for depth in DEPTHS:
                for what in sorted(runners, reverse=bool(turn % 2)):
                    runner = runners[what]
                    events = scale.of((CALLS if what == CALL else QUESTIONS)[depth])
                    if what == CALL:
                        runner.bursts[depth] = calls(everyone, depth, events, sids=sids)
                    run = runs.setdefault((depth, what), Run())
                    bursts = events // depth
                    run.full.append(
                        saturate([runner.work(depth)], bursts=bursts, cpu_seconds=runner.server.cpu_seconds)
                    )
        for turn in range(scale.rounds):
            for (depth, what), run in runs.items():
                runner, rate = runners[what], run.rate() / 2
                seconds = HALF_SECONDS * max(scale.share, 0.1)
                if what == CALL:
                    runner.bursts[depth] = calls(everyone, depth, int(rate * seconds) + depth, sids=sids)
                cpu = runner.server.cpu_seconds
                run.half.append(at_rate([runner.work(depth)], per_second=rate, seconds=seconds, cpu_seconds=cpu))
            del turn
    return runs


def measure(scale: Scale) -> Section:
    """Measure."""
    runs = _samples(scale)
    peer = REDIS if (DEPTHS[0], REDIS) in runs else BARE
    figures = []
    for depth in DEPTHS:
        for what in (QUESTION, IN_FULL, STRANGER, BARE, REDIS, CALL):
            if (depth, what) in runs:
                is_compared = what not in {peer, CALL}  # what is written to disk has a peer in `benchmarks.route`
                beside = runs[depth, peer] if is_compared else None
                figures.append(
                    runs[depth, what].figure(f"{what}, {depth} a frame", f"{peer}, {depth} pipelined", beside)
                )
    title = f"feed over TCP, {CONNECTIONS} connections, loopback, {BINDINGS:,} bindings, servers on one core"
    return Section(title, tuple(figures))
