"""A real server with the webhook endpoint in front of a data plane that a test controls, and a raw client."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http.client import HTTPMessage, parse_headers
from io import BytesIO
from urllib.parse import urlencode

import msgspec
from starlette.types import Receive, Scope, Send

from engine.channels.sockets import ListenAddress, bind_tcp
from engine.channels.twiml.settings import WebhookSettings
from engine.channels.twiml.webhooks import WebhookEndpoint
from engine.core.model.records import DebuggerEvent
from engine.core.ports.observing import Rejection
from engine.core.ports.store import Lease
from engine.core.routing.resolved import Resolved
from engine.core.routing.traffic import Decision, InboundEvent, LegReport, Outcome, Reason, ReportOutcome
from engine.formats.signatures import Form, signature
from engine.http.connections import InboundProtocol, inbound_protocol
from engine.http.port import HttpPort, PortSettings
from engine.listeners import Listener
from tests.silent import SilentMeter, SilentObserver

ACCOUNT, TOKEN = "AC" + "1" * 32, "a-token"
OTHER_ACCOUNT, OTHER_TOKEN = "AC" + "2" * 32, "another-token"
PROXY, SENDER = "+14155550199", "+14155550100"
PUBLIC_URL = "https://masks.example.com"
NOW = 1_700_000_000.0
PATIENCE = 10.0
"""Seconds after which something that should have happened has not."""

UNSIGNED = WebhookSettings(public_url=PUBLIC_URL, verify_signatures=False)

REFUSED = Decision(Outcome.REFUSED, Reason.NO_SESSION)
ROUTED = Decision(
    Outcome.ROUTED,
    Reason.IN_SESSION,
    to="+14155550101",
    caller_id="+14155550198",
    session_sid="KC" + "1" * 32,
    interaction_sid="KI" + "1" * 32,
)


class FakePlane:
    """Answers at once; keeps the answers back while it is holding; raises when told to."""

    def __init__(self) -> None:
        self.decision = REFUSED
        self.report_outcome: ReportOutcome | None = ReportOutcome.RECORDED
        self.failure: Exception | None = None
        self.on_receive: Callable[[], None] = lambda: None
        self.is_holding = False
        self.events: list[InboundEvent] = []
        self.reports: list[LegReport] = []
        self.held: list[Callable[[], None]] = []

    def receive(self, event: InboundEvent, answer: Callable[[Decision], None]) -> None:
        """Take an event."""
        if self.failure is not None:
            raise self.failure
        self.on_receive()
        self.events.append(event)
        decision = self.decision
        self._answer(lambda: answer(decision))

    def report(self, report: LegReport, answer: Callable[[ReportOutcome | None], None]) -> None:
        """Take a report."""
        self.reports.append(report)
        outcome = self.report_outcome
        self._answer(lambda: answer(outcome))

    def signing_tokens(self, proxy: str) -> tuple[str, ...]:
        """Know one number in a pool."""
        return (TOKEN,) if proxy == PROXY else ()

    def account_tokens(self, account_sid: str) -> tuple[str, ...]:
        """Know two accounts."""
        return {ACCOUNT: (TOKEN,), OTHER_ACCOUNT: (OTHER_TOKEN,)}.get(account_sid, ())

    def owner_of(self, proxy: str) -> str | None:
        """Know that number's owner."""
        return ACCOUNT if proxy == PROXY else None

    def _answer(self, answer: Callable[[], None]) -> None:
        if self.is_holding:
            self.held.append(answer)
        else:
            answer()


class FakeObserver(SilentObserver):
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.problems: list[Rejection] = []
        self.reports: list[ReportOutcome] = []
        self.events: list[DebuggerEvent] = []

    def reported(self, outcome: ReportOutcome) -> None:
        """Remember what became of a report."""
        self.reports.append(outcome)

    def rejected(self, problem: Rejection) -> None:
        """Remember a problem."""
        self.problems.append(problem)

    def debugger(self, event: DebuggerEvent) -> None:
        """Remember an event."""
        self.events.append(event)


class FakeMeter(SilentMeter):
    """Remembers what it is told, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[object, ...]] = []
        self.in_flight = 0

    def deciding(self, seconds: float, events: int = 1) -> None:
        """Remember how long a decision took."""
        self.told.append(("deciding", seconds, events))

    def answered(self, seconds: float, events: int = 1) -> None:
        """Remember how long an answer took."""
        self.in_flight -= events
        self.told.append(("answered", seconds, events))

    def resolved(self, resolved: Resolved, seconds: float) -> None:
        """Remember what was decided for information."""
        for decision in resolved.decisions:
            self.resolutions[decision.reason.slot] += 1
        self.told.append(("resolved", len(resolved.decisions), seconds))

    def from_cache(self, events: int, strangers: int, seconds: float) -> None:
        """Remember what was answered from cached routes."""
        self.told.append(("from_cache", events, strangers, seconds))

    def lost(self, events: int) -> None:
        """Wait no more for events."""
        self.in_flight -= events

    def burst(self, events: int) -> None:
        """Remember a burst."""
        self.in_flight += events
        self.told.append(("burst", events))


class FakeMonotonic:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        """Tell the time."""
        return self.now


class Answer(msgspec.Struct):
    """One HTTP response."""

    status: int
    headers: HTTPMessage
    body: bytes

    @property
    def code(self) -> int:
        """The API's error code."""
        return int(msgspec.json.decode(self.body)["code"])

    @property
    def message(self) -> str:
        """The API's error message."""
        return str(msgspec.json.decode(self.body)["message"])


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, *parts: bytes) -> None:
        """Send parts, each in a segment of its own as far as the system allows."""
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()
            await asyncio.sleep(0)

    async def answer(self, *, is_head: bool = False) -> Answer:
        """Read one response."""
        async with asyncio.timeout(PATIENCE):
            head = await self.reader.readuntil(b"\r\n\r\n")
            status_line, _, fields = head.partition(b"\r\n")
            headers = parse_headers(BytesIO(fields))
            length = 0 if is_head else int(headers.get("content-length", 0))
            return Answer(int(status_line.split()[1]), headers, await self.reader.readexactly(length))

    async def ask(self, *parts: bytes) -> Answer:
        """Send one request and read its response."""
        await self.send(*parts)
        return await self.answer()

    async def ended(self) -> bytes:
        """Wait until the server has closed; return what came before."""
        async with asyncio.timeout(PATIENCE):
            return await self.reader.read()


class Echo:
    """An ASGI application that answers with method, path and body; at `/early` without reading the body."""

    def __init__(self, *, in_parts: bool) -> None:
        self.gate, self.reading_gate = asyncio.Event(), asyncio.Event()
        self.gate.set()
        self.reading_gate.set()
        self.scopes: list[Scope] = []
        self.disconnects = 0
        self._in_parts = in_parts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        self.scopes.append(scope)
        body = bytearray()
        await self.reading_gate.wait()
        while scope["path"] != "/early":
            message = await receive()
            if message["type"] != "http.request":
                self.disconnects += 1
                return
            body += message["body"]
            if not message["more_body"]:
                break
        await self.gate.wait()
        said = f"{scope['method']} {scope['path']} ".encode() + body
        length = [] if self._in_parts else [(b"content-length", b"%d" % len(said))]
        headers = [*length, *((b"seen", name) for name, _ in scope["headers"])]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if self._in_parts:
            await send({"type": "http.response.body", "body": said[:3], "more_body": True})
            said = said[3:]
        await send({"type": "http.response.body", "body": said})


class Running(msgspec.Struct):
    """A server and everything around it."""

    plane: FakePlane
    observer: FakeObserver
    meter: FakeMeter
    monotonic: FakeMonotonic
    listener: Listener
    port: int
    http: HttpPort
    echo: Echo
    """The ASGI side."""

    @property
    def asgi_gate(self) -> asyncio.Event:
        """ASGI requests are answered when it is set."""
        return self.echo.gate

    @property
    def reading_gate(self) -> asyncio.Event:
        """Their bodies are read when it is set."""
        return self.echo.reading_gate

    @property
    def scopes(self) -> list[Scope]:
        """What the ASGI side was asked."""
        return self.echo.scopes

    @property
    def disconnects(self) -> int:
        """How often the ASGI side was told that its client is gone."""
        return self.echo.disconnects

    @property
    def protocols(self) -> list[InboundProtocol]:
        """The connections that are open."""
        return [one for one in self.listener.server_state.connections if isinstance(one, InboundProtocol)]


@asynccontextmanager
async def serving(
    *,
    settings: WebhookSettings | None = None,
    limits: PortSettings | None = None,
    keep_alive_seconds: int = 75,
    grace_seconds: int = 5,
    in_parts: bool = False,
    lease: Lease | None = None,
) -> AsyncIterator[Running]:
    """Run a server whose ASGI side answers every request with its method and path."""
    plane, observer, echo = FakePlane(), FakeObserver(), Echo(in_parts=in_parts)
    meter, monotonic = FakeMeter(), FakeMonotonic()
    endpoint = WebhookEndpoint(
        plane,
        observer=observer,
        meter=meter,
        clock=lambda: NOW,
        monotonic=monotonic,
        settings=settings or WebhookSettings(public_url=PUBLIC_URL),
    )
    port = HttpPort(observer, endpoint=endpoint, settings=limits, lease=lease)
    listener = Listener(echo, grace_seconds=grace_seconds, protocol=inbound_protocol(port))
    listener.config.timeout_keep_alive = keep_alive_seconds
    bound = bind_tcp(ListenAddress("127.0.0.1", 0))
    await listener.open(bound)
    try:
        yield Running(plane, observer, meter, monotonic, listener, bound.getsockname()[1], port, echo)
    finally:
        await listener.close()


@asynccontextmanager
async def connected(running: Running) -> AsyncIterator[Client]:
    """Open a connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port, limit=1 << 20)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()


async def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds, as the loop turns."""
    async with asyncio.timeout(PATIENCE):
        while not holds():  # noqa: ASYNC110 - what is awaited has no event of its own
            await asyncio.sleep(0.001)


async def held(running: Running, count: int) -> None:
    """Wait until at least so many webhooks wait for their commit."""
    await until(lambda: len(running.plane.held) >= count)


def call(**changed: str) -> dict[str, str]:
    """Return the form of a call on our number; an empty value leaves a field out."""
    fields = {"AccountSid": ACCOUNT, "CallSid": "CA" + "1" * 32, "From": SENDER, "To": PROXY, **changed}
    return {name: value for name, value in fields.items() if value}


def numbered(number: int) -> dict[str, str]:
    """Return the form of one of many calls."""
    return call(CallSid=f"CA{number:032x}")


def text(**changed: str) -> dict[str, str]:
    """Return the form of a message on our number."""
    return call(**{"CallSid": "", "MessageSid": "SM" + "1" * 32, "Body": "hello", **changed})


def signed(form: dict[str, str], target: str, *, token: str = TOKEN, base: str = PUBLIC_URL) -> str:
    """Return the signature header's value."""
    return signature(token, base + target, Form(form)).decode()


def post(form: dict[str, str], target: str = "/inbound/voice", *, sign_as: str | None = None, **headers: str) -> bytes:
    """Return a signed webhook; `sign_as` replaces the signature, headers are named with underscores."""
    body = urlencode(form).encode()
    fields = {
        "Host": "masks.example.com",
        "Content-Type": "application/x-www-form-urlencoded",
        "Content-Length": str(len(body)),
        "X-Twilio-Signature": signed(form, target) if sign_as is None else sign_as,
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    lines = [f"POST {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items() if value)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body
