"""A feed in front of a data plane that a test controls, and a raw client."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from engine.channels.carriers import Carrier
from engine.channels.feed.server import FeedServer
from engine.channels.feed.settings import FeedSettings
from engine.channels.sockets import ListenAddress, bind_tcp
from engine.channels.tls import Certificate
from engine.core.model.hosts import HostAddress, HostDirectory
from engine.core.model.records import Account
from engine.core.ports.observing import FeedProblem
from engine.core.routing.resolved import Resolved
from engine.core.routing.route_cache import RouteCache
from engine.core.routing.traffic import Decision, InboundEvent, LegReport, Outcome, Question, ReportOutcome
from tests.http.rig import ACCOUNT, PATIENCE, PROXY, REFUSED, ROUTED, SENDER, FakeMeter, FakeMonotonic, until

KEY, SECRET = "SK" + "0" * 32, "a secret"
REGIONAL = "AC" + "8" * 32
DIGITS = "switch-7"
"""A carrier that may deliver for numbers in +1415 only."""
CARRIER, CARRIER_TOKEN = "AC" + "9" * 32, "a carrier's token"
HELLO = {"version": 1, "key": KEY, "secret": SECRET, "wants": ["outcome", "to"]}
STRANGER, HOOKED, FAR = "+12125550199", "+12125550188", "+12125550177"
"""Senders that are refused, that wait for a hook, whose number another host owns."""

TOLD = {SENDER: ["routed", ROUTED.to], STRANGER: ["refused", ""], HOOKED: ["routed", ROUTED.to], FAR: ["refused", ""]}
"""What the fake plane says of each, as `HELLO` wants it."""

encode = msgspec.msgpack.encode


class FakePlane:
    """Routes, refuses, waits for a hook or asks another host, by the sender; commits when the loop turns, or is let."""

    def __init__(self) -> None:
        self.events: list[InboundEvent] = []
        self.reports: list[LegReport] = []
        self.accounts: list[str | None] = []
        self.report_outcome: ReportOutcome | None = ReportOutcome.RECORDED
        self.decide: Callable[[Question], Decision] = _decision
        self.waits = {HOOKED, FAR}
        self.failure: Exception | None = None
        self.known: RouteCache | None = None
        """What it has cached routes for; None while it is not ready."""
        self.asked: list[tuple[int, bool]] = []
        """How many questions it was asked at once, and whether cached routes were to be kept."""
        self.is_holding_commits = False
        self.uncommitted: list[Callable[[], None]] = []
        self.hooks: list[Callable[[], None]] = []
        """What waits for a hook or another host."""

    def receive(self, event: InboundEvent, answer: Callable[[Decision], None]) -> None:
        """Take an event."""
        if self.failure is not None:
            raise self.failure
        self.events.append(event)
        decision = self.decide(event)
        if event.sender in self.waits:
            self.hooks.append(lambda: answer(decision))
        elif decision.outcome is Outcome.ROUTED:
            self._commit(lambda: answer(decision))
        else:
            answer(decision)

    def report(self, report: LegReport, answer: Callable[[ReportOutcome | None], None]) -> None:
        """Take a report."""
        self.reports.append(report)
        outcome = self.report_outcome
        self._commit(lambda: answer(outcome))

    def resolve(self, event: InboundEvent) -> Decision | None:
        """Tell what would be decided."""
        if self.failure is not None:
            raise self.failure
        self.accounts.append(event.account_sid)
        return None if event.sender == FAR else self.decide(event)

    def resolve_elsewhere(self, event: InboundEvent, answer: Callable[[Decision], None]) -> None:
        """Ask another host."""
        decision = self.decide(event)
        self.hooks.append(lambda: answer(decision))

    def route_cache(self) -> RouteCache | None:
        """Have a test's."""
        return self.known

    def resolve_all(
        self, questions: Sequence[Question], *, account_sid: str | None, fills_cache: bool = False
    ) -> Resolved | None:
        """Tell what would be decided about many."""
        if self.failure is not None:
            raise self.failure
        if any(question.sender == FAR for question in questions):
            return None
        self.accounts.append(account_sid)
        self.asked.append((len(questions), fills_cache))
        return Resolved([self.decide(question) for question in questions], strangers=0, others=len(questions))

    def settle(self, done: Callable[[], None]) -> None:
        """Tell when all before it is committed."""
        self._commit(done)

    def signing_tokens(self, proxy: str) -> tuple[str, ...]:
        """Is not asked by a feed."""
        return ()

    def account_tokens(self, account_sid: str) -> tuple[str, ...]:
        """Is not asked by a feed."""
        return ()

    def owner_of(self, proxy: str) -> str | None:
        """Is not asked by a feed."""
        return None

    def commit(self, count: int | None = None) -> None:
        """Let so many commits land, or all."""
        for _ in range(len(self.uncommitted) if count is None else min(count, len(self.uncommitted))):
            self.uncommitted.pop(0)()

    def answer_hooks(self) -> None:
        """Let all hooks answer."""
        hooks, self.hooks = self.hooks, []
        for hook in hooks:
            hook()

    def _commit(self, land: Callable[[], None]) -> None:
        self.uncommitted.append(land)
        if not self.is_holding_commits:
            asyncio.get_running_loop().call_soon(self.commit, 1)


def _decision(question: Question) -> Decision:
    return ROUTED if question.sender in {SENDER, HOOKED} else REFUSED


class FakeObserver:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.problems: list[FeedProblem] = []

    def feed_refused(self, problem: FeedProblem) -> None:
        """Remember a problem."""
        self.problems.append(problem)


class Running(msgspec.Struct):
    """A feed and everything around it."""

    plane: FakePlane
    observer: FakeObserver
    meter: FakeMeter
    monotonic: FakeMonotonic
    server: FeedServer
    port: int
    keys: dict[str, str]
    """Secret by key."""
    directory: HostDirectory


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def write(self, *messages: object) -> None:
        """Send messages in one go, without waiting."""
        self.writer.write(b"".join(frame(message) for message in messages))

    async def read(self) -> list[Any]:
        """Read a frame."""
        async with asyncio.timeout(PATIENCE):
            length = int.from_bytes(await self.reader.readexactly(4))
            return msgspec.msgpack.decode(await self.reader.readexactly(length), type=list)

    async def ask(self, *messages: object) -> list[Any]:
        """Send messages and read a frame."""
        self.write(*messages)
        return await self.read()

    async def hears_nothing(self) -> bool:
        """Let all that is ready happen; tell whether the server has said nothing."""
        for _ in range(50):
            await asyncio.sleep(0)
        return not self.reader._buffer  # type: ignore[attr-defined] # there is no other way to look

    async def ended(self) -> bytes:
        """Wait until the server has closed its side; return what came before."""
        async with asyncio.timeout(PATIENCE):
            return await self.reader.read()


def frame(message: object) -> bytes:
    """Return the bytes of a frame."""
    payload = encode(message)
    return len(payload).to_bytes(4) + payload


@asynccontextmanager
async def feeding(
    settings: FeedSettings | None = None, *, certificate: Certificate | None = None, grace_seconds: float = 0.05
) -> AsyncIterator[Running]:
    """Run a feed."""
    plane, observer, keys = FakePlane(), FakeObserver(), {KEY: SECRET}
    directory = HostDirectory(1, 0, (HostAddress("host-0", "127.0.0.1:9090"),))

    def authenticate(key: str, secret: str) -> Account | None:
        return Account(sid=ACCOUNT, auth_token="", friendly_name="") if keys.get(key) == secret else None

    meter, monotonic = FakeMeter(), FakeMonotonic()
    server = FeedServer(
        plane,
        authenticate=authenticate,
        carriers={
            CARRIER: Carrier(name="main", keys=(CARRIER_TOKEN, "older")),
            REGIONAL: Carrier(name="regional", keys=(CARRIER_TOKEN,), numbers=("+1415",)),
            DIGITS: Carrier(name="digits", keys=(CARRIER_TOKEN,), writes_digits=True),
        },
        directory=lambda: running.directory,
        observer=observer,
        meter=meter,
        monotonic=monotonic,
        settings=settings or FeedSettings(),
    )
    bound = bind_tcp(ListenAddress("127.0.0.1", 0))
    running = Running(plane, observer, meter, monotonic, server, bound.getsockname()[1], keys, directory)
    await server.open(bound, certificate=certificate)
    try:
        yield running
    finally:
        await server.stop(grace_seconds)


@asynccontextmanager
async def connected(
    running: Running, *, tls: ssl.SSLContext | None = None, limit: int = 1 << 24
) -> AsyncIterator[Client]:
    """Open a connection that reads so many bytes ahead."""
    name = "localhost" if tls is not None else None
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", running.port, limit=limit, ssl=tls, server_hostname=name
    )
    try:
        yield Client(reader, writer)
    finally:
        writer.close()


@asynccontextmanager
async def greeted(running: Running, **changed: object) -> AsyncIterator[Client]:
    """Open a connection and say hello; a changed key of None is left out."""
    hello = {key: value for key, value in (HELLO | changed).items() if value is not None}
    async with connected(running) as client:
        welcome = await client.ask(hello)
        assert welcome[0] == "welcome", welcome
        yield client


def call(sender: str = SENDER, sid: str = "CA1") -> list[object]:
    """Return a call."""
    return ["call", sender, PROXY, sid]


def resolve(sender: str = SENDER) -> list[object]:
    """Return a question about a call."""
    return ["resolve", "call", sender, PROXY]


__all__ = [
    "ACCOUNT",
    "PATIENCE",
    "PROXY",
    "REFUSED",
    "ROUTED",
    "SENDER",
    "until",
]
