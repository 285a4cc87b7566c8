"""INVITE to 302 over UDP: the real decision without a record, with one on disk, and of strangers; ACKs included.

Engine, Kamailio and a bare echo share one core, one of them loaded at a time; `benchmarks.sip_load` has the others.
Rounds alternate. Values and ratios are calls per second of the server's processor, which a busy machine disturbs less
than the rate; the conditions tell the rate, and the latencies at half of it.
"""

import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from socket import AF_INET, SOCK_DGRAM, socket

import msgspec

from benchmarks.cores import core_apart, on_core
from benchmarks.engines import engine_on
from benchmarks.peers import Ready, Routes, serving, until_told
from benchmarks.report import Figure, Scale, Section, median, percentiles
from benchmarks.rows import made, pair_at
from benchmarks.sip_load import Sample, SipLoad
from benchmarks.sip_peers import kamailio, serve_echo
from engine.app import RunningEngine
from engine.channels.sip.answers import Answering
from engine.channels.sip.peers import Peers
from engine.channels.sip.redirector import Redirector
from engine.channels.sip.server import SipServer
from engine.channels.sip.tables import SipPeerSettings
from engine.channels.sockets import ListenAddress
from engine.core.ports.operations import FeedPlane
from engine.core.routing.traffic import Decision, InboundEvent, LegReport, Outcome, ReportOutcome
from engine.runtime import clock, monotonic
from engine.telemetry.observer import Telemetry

BINDINGS = 100_000
CALLS = 40_000
"""Of a round."""
RECORDED = 20_000
"""Of a round, where each is written to disk."""
HALF_SECONDS = 2.0
"""Of a run at half of what saturates."""
STRANGERS = 4_000_000

QUESTION, CALL, STRANGER = "question, in session", "call recorded on disk (FULL)", "call of a stranger"
KAMAILIO, KAMAILIO_STRANGER = "Kamailio, redirect from htable", "Kamailio, of a stranger"
ECHO = "bare uvloop, echo of as many octets"
_PEER = SipPeerSettings(name="switch", networks=("127.0.0.1",), trust_pai=True)
_INTERACTION = "KI" + "0" * 32


class _Questions:
    """Decides as the engine does, and records nothing."""

    def __init__(self, traffic: FeedPlane) -> None:
        self._traffic = traffic
        self.signing_tokens = traffic.signing_tokens
        self.account_tokens = traffic.account_tokens
        self.owner_of = traffic.owner_of

    def receive(self, event: InboundEvent, answer: Callable[[Decision], None]) -> None:
        decision = self._traffic.resolve(event)
        assert decision is not None
        if decision.outcome is Outcome.ROUTED:  # what is not recorded has no interaction, without which no 302 is made
            decision = msgspec.structs.replace(decision, interaction_sid=_INTERACTION)
        answer(decision)

    def report(self, report: LegReport, answer: Callable[[ReportOutcome | None], None]) -> None:
        self._traffic.report(report, answer)


async def _serve_questions(engine: RunningEngine) -> tuple[SipServer, int]:
    telemetry = Telemetry()
    telemetry.expect_sip_peers([_PEER.name])
    redirector = Redirector(
        _Questions(engine.host.traffic),
        answering=Answering(b"k" * 32),
        is_ready=lambda: True,
        observer=telemetry,
        meter=telemetry.meter("sip"),
        clock=clock,
        monotonic=monotonic,
        deadline_seconds=2.0,
        most_waiting=10_000,
    )
    server = SipServer(
        redirector,
        Peers.of([_PEER]),
        observer=telemetry,
        clock=clock,
        monotonic=monotonic,
        most_connections=1,
    )
    bound = socket(AF_INET, SOCK_DGRAM)
    bound.bind(("127.0.0.1", 0))
    await server.open(datagrams=[bound])
    return server, bound.getsockname()[1]


async def serve(told: Connection, _: Routes, *, data_dir: Path, is_recorded: bool) -> None:
    """Serve with the engine, calls recorded or only decided."""
    settings = {"sip_listen": ListenAddress("127.0.0.1", 0), "sip_peers": (_PEER,)} if is_recorded else {}
    async with engine_on(data_dir, **settings) as engine:
        if is_recorded:
            told.send(Ready(int(engine.channels.addresses["sip"].rpartition(":")[2])))
            await until_told(told)
            return
        server, port = await _serve_questions(engine)
        told.send(Ready(port))
        await until_told(told)
        await server.close()


class _Measured:
    """One kind of call of one server."""

    def __init__(self, load: SipLoad, pairs: Sequence[tuple[str, str]], *, status: int, calls: int) -> None:
        self._load = load
        self._pairs = pairs
        self._status = status
        self._calls = calls
        self.full: list[Sample] = []
        self.half: list[Sample] = []

    def round(self) -> None:
        """Load it as fast as it answers, then half as fast."""
        run = partial(self._load.run, self._pairs, status=self._status)
        self.full.append(run(calls=self._calls))
        rate = self.full[-1].per_second / 2
        self.half.append(run(calls=min(self._calls, int(rate * HALF_SECONDS)), per_second=rate))

    def figure(self, what: str, others: dict[str, "_Measured"]) -> Figure:
        """Return what is told of it, beside others."""
        ratios = {
            name: median([a.per_core / b.per_core for a, b in zip(self.full, other.full, strict=True)])
            for name, other in others.items()
        }
        late = percentiles([sample.latencies for sample in self.half])
        rate, half = (median([sample.per_second for sample in some]) for some in (self.full, self.half))
        again = sum(sample.repeated for sample in (*self.full, *self.half))
        first = next(iter(ratios), "")
        return Figure(
            what=what,
            value=median([sample.per_core for sample in self.full]),
            unit="calls/s/core",
            peer=first,
            ratio=ratios.get(first),
            note=f"{rate:,.0f}/s measured"
            + "".join(f", {ratio:.2f} x {name}" for name, ratio in ratios.items() if name != first)
            + f"; at {half:,.0f}/s {late} ms; {again} repeated",
        )


def _started(stack: ExitStack, core: int, scale: Scale) -> dict[str, _Measured]:
    sessions = scale.of(BINDINGS // 2)
    everyone = [pair_at(index) for index in range(2 * sessions)]
    strangers = [(pair_at(STRANGERS + index)[0], proxy) for index, (_, proxy) in enumerate(everyone)]
    with on_core(core):
        engines = []
        for is_recorded in (False, True):
            data_dir = Path(stack.enter_context(tempfile.TemporaryDirectory()), "data")
            made(data_dir, sessions=sessions)
            engines.append(stack.enter_context(serving(partial(serve, data_dir=data_dir, is_recorded=is_recorded), {})))
        echo = stack.enter_context(serving(serve_echo, {}))
        peer = stack.enter_context(kamailio(everyone))
    asked, recorded, bare = (stack.enter_context(SipLoad(one.address, one.cpu_seconds)) for one in (*engines, echo))
    calls = scale.of(CALLS)
    found = {
        QUESTION: _Measured(asked, everyone, status=302, calls=calls),
        CALL: _Measured(recorded, everyone, status=302, calls=scale.of(RECORDED)),
        STRANGER: _Measured(recorded, strangers, status=404, calls=calls),
        ECHO: _Measured(bare, everyone, status=302, calls=calls),
    }
    if peer is not None:
        load = stack.enter_context(SipLoad(peer.address, peer.cpu_seconds))
        found[KAMAILIO] = _Measured(load, everyone, status=302, calls=calls)
        found[KAMAILIO_STRANGER] = _Measured(load, strangers, status=404, calls=calls)
    return found


def _peers_of(what: str, measured: dict[str, _Measured]) -> dict[str, _Measured]:
    names = {QUESTION: (KAMAILIO, ECHO), CALL: (KAMAILIO, ECHO), STRANGER: (KAMAILIO_STRANGER, ECHO)}.get(what, ())
    return {name: measured[name] for name in names if name in measured}


def measure(scale: Scale) -> Section:
    """Measure."""
    with core_apart() as core, ExitStack() as stack:
        measured = _started(stack, core, scale)
        for turn in range(scale.rounds):
            for what in sorted(measured, reverse=bool(turn % 2)):
                measured[what].round()
    figures = [one.figure(what, _peers_of(what, measured)) for what, one in measured.items()]
    bindings = 2 * scale.of(BINDINGS // 2)
    title = f"SIP over UDP, INVITE, answer and ACK, loopback, {bindings:,} bindings, servers on one core"
    return Section(title, tuple(figures))
