"""A text over SMPP and on: deliver_sm, decision, disk, deliver_sm_resp, submit_sm; beside libraries that only echo.

An SMSC in this process (`benchmarks.smpp_load`) delivers and takes. The engine records each text, its interaction and
its outbox entry, FULL, before it answers; the libraries keep nothing and decide nothing. Jasmin, a gateway, gets each
text from an ESME here, keeps it in RabbitMQ, routes it and submits it.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks.cores import core_apart, on_core
from benchmarks.engines import engine_on, filled
from benchmarks.peers import Ready, Routes, Serving, serving, until_told
from benchmarks.report import Figure, Scale, Section, median, percentile
from benchmarks.rows import pair_at
from benchmarks.smpp_load import LoadingSmsc, Sample
from engine.channels.smpp.peers import SmppPeer
from engine.channels.smpp.session import Role
from engine.core.model.requests import ParticipantRequest, SessionRequest

BINDINGS = 2_000
MESSAGES = 20_000
"""Of a round."""
CONNECTIONS = 8
WINDOW = 25
"""Messages of a connection, each way, that wait for responses."""
OURS = "engine"
GATEWAY = "Jasmin"
GATEWAY_SHARE = 20
"""A slow one gets a message of so many."""

_HERE = Path(__file__).parent
_NODE_MODULE = Path("build/smpp/node_modules/smpp").absolute()
_SMPP34_PYTHON = Path(".venv/smpp/bin/python").absolute()


async def serve(told: Connection, _: Routes, *, data_dir: Path, port: int) -> None:
    """Bind to the SMSC with the engine, commits FULL."""
    peer = SmppPeer(
        name="carrier",
        role=Role.ESME,
        host="127.0.0.1",
        port=port,
        system_id="them",
        password="secret",  # noqa: S106 - of a peer in this process
        connections=CONNECTIONS,
        window=WINDOW,
    )
    async with engine_on(data_dir, smpp_peers=(peer,), carrier_routes={"*": peer.name}) as engine:
        ready = await filled(engine.host, sessions=0)
        for index in range(0, BINDINGS, 2):
            endpoints = (pair_at(index), pair_at(index + 1))
            participants = tuple(ParticipantRequest(identifier=who, proxy_identifier=proxy) for who, proxy in endpoints)
            request = SessionRequest(participants=participants)
            await ready.host.control.create_session(ready.account.sid, ready.service.sid, request)
        told.send(Ready(port))
        await until_told(told)


@contextmanager
def _echoing(command: list[str]) -> Iterator[Serving]:
    """Run a program that echoes, and end it."""
    environment = {**os.environ, "SMPP_MODULE": str(_NODE_MODULE)}
    process = subprocess.Popen(command, env=environment)  # noqa: S603 - our own words
    try:
        yield Serving(Ready(0), process.pid)
    finally:
        process.kill()
        process.wait()


def _echoes() -> dict[str, list[str]]:
    """Return the commands of the peers that are installed; says which are not."""
    node = shutil.which("node")
    there = {
        "npm smpp": [node or "", str(_HERE / "smpp_echo.js")] if node and _NODE_MODULE.is_dir() else [],
        "smpp34": [str(_SMPP34_PYTHON), str(_HERE / "smpp_echo.py")] if _SMPP34_PYTHON.exists() else [],
    }
    for name, command in there.items():
        if not command:
            print(f"{name} is not here (make smpp-tools installs it): figures beside it are left out", file=sys.stderr)
    return {name: command for name, command in there.items() if command}


@contextmanager
def _gateway(smsc: LoadingSmsc, directory: Path) -> Iterator[Callable[[], float] | None]:
    """Run Jasmin between this process and itself; yields its processor time with its broker's, None where it is not."""
    # Imported here: whoever runs other benchmarks needs no tests.
    from tests.e2e.jasmin import Jasmin, NoJasmin  # noqa: PLC0415

    try:
        jasmin = Jasmin(directory)
    except NoJasmin as reason:
        print(f"figures beside {GATEWAY} are left out: {reason}", file=sys.stderr)
        yield None
        return
    with closing(jasmin):
        names = [f"network{number}" for number in range(CONNECTIONS)]
        add = jasmin.console.add
        add("group", gid="all")
        add("user", username="loader", password="secret", gid="all", uid="loader")  # noqa: S106 - of this process
        add("filter", type="UserFilter", fid="loader", uid="loader")
        for name in names:
            jasmin.connect(name, smsc.port)
        smsc.await_binds(CONNECTIONS)
        spread = ";".join(f"smppc({name})" for name in names)
        add("mtrouter", type="RandomRoundrobinMTRoute", order="9", filters="loader", connectors=spread, rate="0.0")
        smsc.bind(jasmin.smpp_port, "loader", password="secret", connections=CONNECTIONS)  # noqa: S106 - likewise
        yield jasmin.running.cpu_seconds


class _Loaded:
    """One of those that are measured, bound to an SMSC of its own."""

    def __init__(self, smsc: LoadingSmsc, cpu_seconds: Callable[[], float]) -> None:
        self._smsc = smsc
        self._cpu_seconds = cpu_seconds
        self._next = 0

    def run(self, messages: int, *, per_second: float = 0.0) -> Sample:
        numbers = range(self._next, self._next + messages)
        self._next = numbers.stop
        return self._smsc.run(
            _PAIRS, numbers=numbers, window=WINDOW, cpu_seconds=self._cpu_seconds, per_second=per_second
        )


Samples = dict[str, list[Sample]]


def _rounds(loaded: dict[str, _Loaded], rounds: int, messages: int) -> tuple[Samples, Samples]:
    """Return the samples of each at full speed, and at half of that."""
    full: Samples = {name: [] for name in loaded}
    half: Samples = {name: [] for name in loaded}
    for _ in range(rounds):
        for name, one in loaded.items():
            full[name].append(one.run(messages))
            half[name].append(one.run(messages // 4, per_second=full[name][-1].per_second / 2))
    return full, half


def _gateway_rounds(rounds: int, messages: int) -> tuple[Samples, Samples]:
    """Return those of the gateway, which is there only then: idle, it and its broker take a part of the core."""
    with core_apart() as core, ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        smsc = stack.enter_context(LoadingSmsc())
        with on_core(core):
            cpu_seconds = stack.enter_context(_gateway(smsc, directory))
        return ({}, {}) if cpu_seconds is None else _rounds({GATEWAY: _Loaded(smsc, cpu_seconds)}, rounds, messages)


def _figure(name: str, own: list[Sample], others: dict[str, list[Sample]], half: list[Sample]) -> Figure:
    per_core = median([sample.per_core for sample in own])
    p50, p99 = (median([percentile(sample.answered, share) for sample in half]) * 1e3 for share in (0.5, 0.99))
    on_p50, on_p99 = (median([percentile(sample.passed, share) for sample in half]) * 1e3 for share in (0.5, 0.99))
    spared = ", ".join(
        f"{median([a.per_core / b.per_core for a, b in zip(own, peer, strict=True)]):.2f} x {other}"
        for other, peer in others.items()
    )
    first = next(iter(others), "")
    return Figure(
        what=f"text in and on over SMPP, {name}",
        value=median([sample.per_second for sample in own]),
        unit="messages/s",
        peer=f"{first}, echo" if first else "",
        ratio=median([a.per_second / b.per_second for a, b in zip(own, others[first], strict=True)]) if first else None,
        note=f"{per_core:,.0f} messages/s of a core{', ' + spared if spared else ''}; at half of the rate answered p50"
        f" {p50:.1f} ms, p99 {p99:.1f} ms, sent on p50 {on_p50:.1f} ms, p99 {on_p99:.1f} ms",
    )


def measure(scale: Scale) -> Section:
    """Measure."""
    messages = max(scale.of(MESSAGES), CONNECTIONS * WINDOW)
    with core_apart() as core, ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        loaded = {}
        for name, command in {OURS: [], **_echoes()}.items():
            smsc = stack.enter_context(LoadingSmsc())
            with on_core(core):
                run = (
                    _echoing([*command, str(smsc.port), str(CONNECTIONS)])
                    if command
                    else serving(partial(serve, data_dir=directory / "data", port=smsc.port), {})
                )
                server = stack.enter_context(run)
            smsc.await_binds(CONNECTIONS)
            loaded[name] = _Loaded(smsc, server.cpu_seconds)
        full, half = _rounds(loaded, scale.rounds, messages)
    full_of_gateway, half_of_gateway = _gateway_rounds(scale.rounds, messages // GATEWAY_SHARE)
    full |= full_of_gateway
    half |= half_of_gateway
    others = {name: samples for name, samples in full.items() if name != OURS}
    figures = [_figure(OURS, full[OURS], others, half[OURS])]
    figures += [
        _figure(f"{name} ({'routed' if name == GATEWAY else 'echo, nothing kept'})", full[name], {}, half[name])
        for name in others
    ]
    title = f"SMPP, {CONNECTIONS} connections, window {WINDOW}, loopback, FULL, each on one core"
    return Section(title, tuple(figures))


_PAIRS = [pair_at(index) for index in range(BINDINGS)]
