"""A text over SMPP and on: deliver_sm, decision, disk, deliver_sm_resp, submit_sm; beside libraries that only echo.

An SMSC in this process (`benchmarks.smpp_load`) delivers and takes. The engine records each text, its interaction and
its outbox entry, FULL, before it answers; the peers keep nothing and decide nothing.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
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
WINDOW = 100
"""Messages of a connection, each way, that wait for responses."""
OURS = "engine"

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


class _Loaded:
    """One of those that are measured, bound to an SMSC of its own."""

    def __init__(self, smsc: LoadingSmsc, server: Serving) -> None:
        self._smsc = smsc
        self._server = server
        self._next = 0

    def run(self, messages: int, *, per_second: float = 0.0) -> Sample:
        numbers = range(self._next, self._next + messages)
        self._next += messages
        return self._smsc.run(
            _PAIRS, numbers=numbers, window=WINDOW, cpu_seconds=self._server.cpu_seconds, per_second=per_second
        )


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
            loaded[name] = _Loaded(smsc, server)
        full: dict[str, list[Sample]] = {name: [] for name in loaded}
        half: dict[str, list[Sample]] = {name: [] for name in loaded}
        for _ in range(scale.rounds):
            for name, one in loaded.items():
                full[name].append(one.run(messages))
                half[name].append(one.run(messages // 4, per_second=full[name][-1].per_second / 2))
    others = {name: samples for name, samples in full.items() if name != OURS}
    figures = [_figure(OURS, full[OURS], others, half[OURS])]
    figures += [_figure(f"{name} (echo, nothing kept)", full[name], {}, half[name]) for name in others]
    title = f"SMPP, {CONNECTIONS} connections, window {WINDOW}, loopback, FULL, each on one core"
    return Section(title, tuple(figures))


_PAIRS = [pair_at(index) for index in range(BINDINGS)]
