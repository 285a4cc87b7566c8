"""How long the console's pages take with a million active sessions, and what one viewer of the overview costs."""

import asyncio
import re
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path

import httpx

from benchmarks.engines import engine_on, person, port_of
from benchmarks.peers import Ready, Routes, Serving, serving, until_told
from benchmarks.report import Figure, Scale, Section, median
from benchmarks.rows import made, pair_at
from engine.console.app import LINK_PATH
from engine.core.model.records import Kind
from engine.core.ports.lists import AlertFilter, PageCursor
from engine.core.routing.traffic import InboundEvent
from engine.core.sessions.search import InteractionSought

SESSIONS = 1_000_000
PASSED = 200
"""Calls that pass, and as many that are refused, before anybody looks."""

EVENTS_SECONDS = 3.0
"""Within which debugger events are filed."""

WATCH_SECONDS = 20.0
PERIOD_SECONDS = 2.0
"""As the overview's script asks for its live part."""

_SECRET = re.compile(r'name="(form|csrf)" value="([^"]*)"')
_HALF = 0.5


class Looked(Ready, frozen=True):
    """An engine whose console can be looked at."""

    link: str = ""
    """The operator's way in, below the port."""
    service: str = ""
    session: str = ""
    interaction: str = ""
    event: str = ""
    """SIDs that have pages."""
    call: str = ""
    """What the carrier calls the interaction."""


async def serve(told: Connection, _: Routes, *, data_dir: Path, sessions: int) -> None:
    """Serve what was made, after some calls."""
    async with engine_on(data_dir, console=True) as engine:
        host, numbers = engine.host, count()
        for place in range(PASSED):
            for sender, proxy in (pair_at(place), (person(2 * sessions + place), pair_at(place)[1])):
                decided = asyncio.get_running_loop().create_future()
                host.traffic.receive(
                    InboundEvent(Kind.VOICE, sender, proxy, f"CA{next(numbers):032x}"), decided.set_result
                )
                await decided
        found = await host.control.find_interactions(None, InteractionSought(proxy=pair_at(0)[1]), most=1)
        (passed,) = found.interactions
        await asyncio.sleep(EVENTS_SECONDS)
        events = await host.control.alerts_page(None, AlertFilter(), PageCursor(limit=1))
        told.send(
            Looked(
                port_of(engine),
                link=f"{LINK_PATH}?code={await host.console.offer_link()}",
                service=passed.service_sid,
                session=passed.session_sid,
                interaction=passed.sid,
                event=events.records[0].sid,
                call=passed.inbound.resource_sid or "",
            )
        )
        await until_told(told)


@contextmanager
def _entered(server: Serving) -> Iterator[httpx.Client]:
    """Log in as the operator."""
    assert isinstance(server.ready, Looked)
    base = f"http://127.0.0.1:{server.ready.port}"
    with httpx.Client(base_url=base, follow_redirects=True, timeout=30.0) as http:
        form = dict(_SECRET.findall(http.get(server.ready.link).text))
        code = server.ready.link.rpartition("=")[2]
        assert "Log out" in http.post("/console/open", data={**form, "code": code}).text
        yield http


def _asked(looked: Looked) -> Iterator[tuple[str, str, Mapping[str, str] | None]]:
    """Name what is asked for: a path, and a form where there is one."""
    paths = {
        "overview": "",
        "its live part": "/live",
        "traffic": "/traffic",
        "traffic, a day": "/traffic?period=day",
        "peers": "/peers",
        "events": "/events",
        "event": f"/events/{looked.event}",
        "outbox": "/outbox",
        "service": f"/services/{looked.service}",
        "unused numbers": f"/services/{looked.service}/unused",
        "session": f"/sessions/{looked.session}",
        "call": f"/interactions/{looked.interaction}",
        "events, CSV": "/exports/events.csv",
    }
    for name, path in paths.items():
        yield name, path, None
    person_, proxy = pair_at(0)
    for name, text in (
        ("number", person_),
        ("carrier's SID", looked.call),
        ("proxy number", proxy),
        ("four digits", "0007"),
    ):
        yield f"search by {name}", "/search", {"text": text}
    yield "search by four digits, thorough", "/search", {"text": "0007", "thorough": "yes"}
    yield "explain", "/explain", {"sender": person_, "proxy": proxy}


def _milliseconds(http: httpx.Client, path: str, form: Mapping[str, str] | None) -> float:
    secrets = {} if form is None else dict(_SECRET.findall(http.get(f"/console{path}").text))
    start = time.perf_counter()
    method, data = ("GET", None) if form is None else ("POST", {**secrets, **form})
    answer = http.request(method, f"/console{path}", data=data)
    took = time.perf_counter() - start
    answer.raise_for_status()
    time.sleep(_HALF * took + 0.2)  # below the console's own limit of requests
    return 1000 * took


def _share_of_a_core(server: Serving, http: httpx.Client | None, seconds: float) -> float:
    """Return what the server takes while one looks at the overview, or nobody."""
    before, start = server.cpu_seconds(), time.perf_counter()
    while time.perf_counter() - start < seconds:
        if http is not None:
            http.get("/console/live").raise_for_status()
        time.sleep(PERIOD_SECONDS)
    return 100 * (server.cpu_seconds() - before) / (time.perf_counter() - start)


def looked_at(data_dir: Path, scale: Scale, sessions: int) -> tuple[Figure, ...]:
    """Look at every page of what was made."""
    with serving(partial(serve, data_dir=data_dir, sessions=sessions), {}) as server, _entered(server) as http:
        assert isinstance(server.ready, Looked)
        figures = []
        for name, path, form in _asked(server.ready):
            took = [_milliseconds(http, path, form) for _ in range(scale.rounds)]
            figures.append(Figure(what=name, value=median(took), unit="ms", note=f"slowest {max(took):.0f} ms"))
        seconds = max(PERIOD_SECONDS, WATCH_SECONDS * scale.share)
        for what, viewer in (("nobody looks", None), ("one overview is open", http)):
            figures.append(Figure(what=what, value=_share_of_a_core(server, viewer, seconds), unit="% of a core"))
    return tuple(figures)


def measure(scale: Scale) -> Section:
    """Measure."""
    sessions = max(PASSED, scale.of(SESSIONS))
    with tempfile.TemporaryDirectory() as directory:
        data_dir = Path(directory, "data")
        made(data_dir, sessions=sessions)
        figures = looked_at(data_dir, scale, sessions)
    return Section(f"pages of the console with {sessions:,} active sessions, loopback", figures)
