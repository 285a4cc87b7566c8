"""The inbound webhook over HTTP: the whole engine beside a bare protocol and beside FastAPI doing only a look-up.

One server process at a time is loaded, from this process; rounds of all servers alternate, medians are shown. The ratio
is of requests per second; the conditions add that of processor time, which a busy machine disturbs less.
"""

import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from itertools import cycle, product
from multiprocessing.connection import Connection
from pathlib import Path
from urllib.parse import urlencode

import msgspec

from benchmarks.engines import NUMBERS, Filled, engine_on, filled, person, port_of, proxy_number
from benchmarks.load import drive
from benchmarks.peers import Ready, Routes, Serve, Serving, serve_bare, serve_fastapi, serving, until_told
from benchmarks.report import Figure, Scale, Section, median
from engine.app import RunningEngine
from engine.core.model.records import Mode
from engine.core.model.requests import ParticipantRequest, SessionRequest
from engine.formats.signatures import Form, signature

SESSIONS = 5_000
PAIRS = 100
"""Sessions made for each workload that needs them."""
REQUESTS = 10_000
CONNECTIONS = 32
PUBLIC_URL = "https://masks.example.com"
STRANGERS = 4_000_000


class Workload(msgspec.Struct, frozen=True):
    """A kind of call."""

    name: str
    callers: tuple[tuple[str, str], ...]
    """(sender, proxy number), taken in turn."""
    depth: int = 1
    """Requests under way on each connection."""
    requests: int = REQUESTS


def webhooks(ready: Ready, callers: Iterable[tuple[str, str]], *, first: int, count: int) -> list[bytes]:
    """Return signed calls as a platform posts them, each with a CallSid of its own."""
    return [
        _webhook(ready, sender=sender, proxy=proxy, call_sid=f"CA{number:032x}")
        for number, (sender, proxy) in zip(range(first, first + count), cycle(callers), strict=False)
    ]


def _webhook(ready: Ready, *, sender: str, proxy: str, call_sid: str) -> bytes:
    fields = {"CallSid": call_sid, "CallStatus": "ringing", "Called": proxy, "Caller": sender, "Direction": "inbound"}
    return posted(ready, "/inbound/voice", fields, sender=sender, proxy=proxy)


def posted(ready: Ready, path: str, given: dict[str, str], *, sender: str, proxy: str) -> bytes:
    """Return a signed webhook with these fields and those that come with every call and message."""
    place = {"City": "SAN FRANCISCO", "Country": "US", "State": "CA", "Zip": "94105"}
    fields = {
        "AccountSid": ready.account_sid,
        "ApiVersion": "2010-04-01",
        "From": sender,
        "To": proxy,
        **given,
        **{side + part: value for side in ("Called", "Caller", "From", "To") for part, value in place.items()},
    }
    body = urlencode(fields)
    signed = signature(ready.token, f"{PUBLIC_URL}{path}", Form(fields)).decode()
    return (
        f"POST {path} HTTP/1.1\r\n"
        "Host: masks.example.com\r\n"
        "User-Agent: TwilioProxy/1.1\r\n"
        "Accept: */*\r\n"
        "Cache-Control: max-age=259200\r\n"
        "Content-Type: application/x-www-form-urlencoded; charset=UTF-8\r\n"
        f"Content-Length: {len(body)}\r\n"
        f"I-Twilio-Idempotency-Token: {hash(body):x}\r\n"
        f"X-Twilio-Signature: {signed}\r\n"
        "\r\n"
        f"{body}"
    ).encode()


async def _serve_engine(told: Connection, *, is_signed: bool) -> None:
    with tempfile.TemporaryDirectory() as directory:
        data_dir = Path(directory, "data")
        async with engine_on(data_dir, public_url=PUBLIC_URL, verify_signatures=is_signed) as engine:
            told.send(await _provisioned(engine))
            await until_told(told)


async def _provisioned(engine: RunningEngine) -> Ready:
    ready = await filled(engine.host, sessions=SESSIONS)
    account = ready.account
    in_session = await pairs_of(ready, first=SESSIONS, mode=Mode.VOICE_AND_MESSAGE)
    wrong_mode = await pairs_of(ready, first=SESSIONS + PAIRS, mode=Mode.MESSAGE_ONLY)
    return Ready(port_of(engine), account.sid, account.auth_token, in_session, wrong_mode)


async def pairs_of(ready: Filled, *, first: int, mode: Mode) -> tuple[tuple[str, str], ...]:
    """Create sessions whose proxy numbers are chosen here; return (identifier, proxy number) of their participants."""
    pairs = [(person(index), proxy_number(index % NUMBERS)) for index in range(2 * first, 2 * (first + PAIRS))]
    for endpoints in zip(pairs[::2], pairs[1::2], strict=True):
        participants = tuple(ParticipantRequest(identifier=who, proxy_identifier=proxy) for who, proxy in endpoints)
        request = SessionRequest(participants=participants, mode=mode)
        await ready.host.control.create_session(ready.account.sid, ready.service.sid, request)
    return tuple(pairs)


async def serve_signed(told: Connection, _: Routes) -> None:
    """Serve with the engine as it is by default."""
    await _serve_engine(told, is_signed=True)


async def serve_unsigned(told: Connection, _: Routes) -> None:
    """Serve with the engine, signatures unchecked."""
    await _serve_engine(told, is_signed=False)


SERVERS: dict[str, Serve] = {
    "engine": serve_signed,
    "engine, signatures off": serve_unsigned,
    "bare uvloop + httptools": serve_bare,
    "FastAPI": serve_fastapi,
}
BARE, FASTAPI = "bare uvloop + httptools", "FastAPI"


class Sample(msgspec.Struct, frozen=True):
    """One server under one workload, once."""

    per_second: float
    p99: float
    """Seconds."""
    cpu: float
    """Seconds of the server's processor per request."""


def _sample(server: Serving, workload: Workload, owner: Ready, *, first: int) -> Sample:
    requests = webhooks(owner, workload.callers, first=first, count=workload.requests)
    before = server.cpu_seconds()
    load = drive(server.address, requests, connections=CONNECTIONS, depth=workload.depth)
    return Sample(load.per_second, load.percentile(0.99), (server.cpu_seconds() - before) / load.requests)


def _workloads(ready: Ready) -> list[Workload]:
    strangers = tuple((person(STRANGERS + index), proxy_number(index % NUMBERS)) for index in range(1_000))
    return [
        Workload("call of a stranger", strangers),
        Workload("call of a stranger, 16 pipelined", strangers, depth=16),
        Workload("call in the wrong mode", ready.wrong_mode),
        Workload("call routed, on disk", ready.in_session),
    ]


def _samples(scale: Scale) -> dict[str, dict[str, list[Sample]]]:
    """Return samples by workload and server."""
    pairs = range(2 * SESSIONS)
    routes = {(person(index), proxy_number(index % NUMBERS)): person(index ^ 1) for index in pairs}
    samples: dict[str, dict[str, list[Sample]]] = {}
    with ExitStack() as stack:
        servers = {name: stack.enter_context(serving(serve, routes)) for name, serve in SERVERS.items()}
        workloads = _workloads(servers["engine"].ready)
        for turn, workload, (name, server) in product(range(scale.rounds), workloads, servers.items()):
            first = (turn * len(workloads) + workloads.index(workload)) * 2 * REQUESTS
            owner = server.ready if server.ready.token else servers["engine"].ready
            sample = _sample(server, workload, owner, first=first)
            samples.setdefault(workload.name, {}).setdefault(name, []).append(sample)
    return samples


def _figures(workload: str, by_server: dict[str, list[Sample]]) -> Iterator[Figure]:
    for name, samples in by_server.items():
        rates = {peer: _ratio(samples, by_server[peer], lambda sample: sample.per_second) for peer in (BARE, FASTAPI)}
        spared = 1 / _ratio(samples, by_server[BARE], lambda sample: sample.cpu)
        p99 = median([sample.p99 for sample in samples]) * 1000
        cpu = median([sample.cpu for sample in samples]) * 1_000_000
        yield Figure(
            what=f"{workload}: {name}",
            value=median([sample.per_second for sample in samples]),
            unit="requests/s",
            peer="" if name == BARE else BARE,
            ratio=None if name == BARE else rates[BARE],
            note=f"p99 {p99:.2f} ms; {cpu:.1f} us of processor, {spared:.2f} x; {rates[FASTAPI]:.1f} x FastAPI",
        )


def _ratio(own: list[Sample], others: list[Sample], value: Callable[[Sample], float]) -> float:
    return median([value(one) / value(other) for one, other in zip(own, others, strict=True)])


def measure(scale: Scale) -> Section:
    """Measure."""
    figures = [figure for workload, by_server in _samples(scale).items() for figure in _figures(workload, by_server)]
    return Section(f"inbound webhook, {CONNECTIONS} connections, loopback, {2 * SESSIONS:,} bindings", tuple(figures))
