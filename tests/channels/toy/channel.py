"""A channel that exists in tests alone: lines of JSON over TCP; it shows all that a new channel needs.

A peer says `["hello", key, secret]`, then `["call", sid, from, to]`, `["text", sid, from, to, body]`,
`["leg", sid, interaction, status]` and `["taken", key, sid]`. It is answered `[sid, what, …]`, and gets
`["out", key, interaction, from, to, body]` for messages that leave.
"""

import asyncio
import socket
from collections.abc import Iterable
from contextlib import ExitStack, closing
from functools import partial

import msgspec

from engine.channel_table import Row
from engine.channels.base import Bound, Channel, ChannelContext, Gauge, OutMessage, Sent, Served, Spread
from engine.channels.sockets import ListenAddress, bind_tcp, reached_at
from engine.core.model.records import Kind, LegStatus
from engine.core.routing.legs import read_status
from engine.core.routing.traffic import Decision, InboundEvent, LegReport, Outcome, ReportOutcome
from engine.settings import Settings


class ToySettings(msgspec.Struct, frozen=True):
    """Its section of the settings."""

    listen: ListenAddress
    answer_seconds: float = 5.0
    """How long a peer may take to say that it has taken a message."""


def toy_row(settings: ToySettings) -> Row:
    """Return its line of the table."""

    def make(_: Settings) -> Iterable[Channel]:
        return (ToyChannel("toy", settings),)

    return Row("toy", "toy", make)


class ToyChannel:
    """The channel as it is configured; messages leave by the connection that was made last."""

    spread = Spread.EVERY_HOST
    most_connections = 100

    def __init__(self, name: str, settings: ToySettings) -> None:
        self.name = name
        self.connections: list[Connection] = []
        self._settings = settings

    def bind(self, stack: ExitStack) -> Bound:
        """Bind its socket."""
        return _BoundToy(self, stack.enter_context(closing(bind_tcp(self._settings.listen, option="toy.listen"))))

    async def send(self, message: OutMessage) -> Sent:
        """Hand a message to the last peer that came."""
        if not self.connections:
            return Sent(error="no peer is connected", may_retry=True)
        try:
            async with asyncio.timeout(self._settings.answer_seconds):
                sid = await self.connections[-1].hand_out(message)
        except (TimeoutError, ConnectionError):
            return Sent(error="the peer did not answer", may_be_taken=True)
        return Sent(status=LegStatus.SENT, resource_sid=sid)


class _BoundToy:
    def __init__(self, channel: ToyChannel, bound: socket.socket) -> None:
        self._channel = channel
        self._bound = bound

    @property
    def address(self) -> str:
        """host:port."""
        return str(reached_at(self._bound))

    async def serve(self, context: ChannelContext) -> Served:
        """Listen."""
        make = partial(Connection, self._channel, context)
        return _ServedToy(self._channel, await asyncio.get_running_loop().create_server(make, sock=self._bound))


class _ServedToy:
    def __init__(self, channel: ToyChannel, server: asyncio.Server) -> None:
        self._channel = channel
        self._server = server

    @property
    def gauges(self) -> tuple[Gauge, ...]:
        """Its connections."""
        return (Gauge("toy_connections", "Open connections of the toy", lambda: len(self._channel.connections)),)

    def stop_accepting(self) -> None:
        """Listen no more."""
        self._server.close()

    async def stop(self, grace_seconds: float) -> None:
        """Wait for what is due, then close."""
        due = [one.is_idle.wait() for one in self._channel.connections]
        try:
            async with asyncio.timeout(grace_seconds):
                await asyncio.gather(*due)
        except TimeoutError:
            pass
        for one in tuple(self._channel.connections):
            one.close()


class Connection(asyncio.Protocol):
    """One peer."""

    _transport: asyncio.Transport

    def __init__(self, channel: ToyChannel, context: ChannelContext) -> None:
        self.is_idle = asyncio.Event()
        self.is_idle.set()
        self._channel = channel
        self._context = context
        self._unread = b""
        self._account_sid: str | None = None
        self._due = 0
        self._out: dict[str, asyncio.Future[str]] = {}

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as asyncio's own do
        """Await the hello."""
        self._transport = transport
        self._channel.connections.append(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Whoever waits for this peer waits no more."""
        self._channel.connections.remove(self)
        self.is_idle.set()
        for waiting in self._out.values():
            if not waiting.done():
                waiting.set_exception(ConnectionError("the peer is gone"))

    def data_received(self, data: bytes) -> None:
        """Read whole lines."""
        *lines, self._unread = (self._unread + data).split(b"\n")
        for line in lines:
            try:
                self._read(*msgspec.json.decode(line, type=list[str]))
            except (msgspec.DecodeError, TypeError, ValueError):
                self._say("", "bad")

    def close(self) -> None:
        """Close."""
        self._transport.close()

    async def hand_out(self, message: OutMessage) -> str:
        """Return what the peer calls a message that it has taken."""
        taken: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._out[message.key] = taken
        self._say("out", message.key, message.interaction_sid, message.sender, message.to, message.body)
        try:
            return await taken
        finally:
            del self._out[message.key]

    def _read(self, word: str, *rest: str) -> None:
        if word == "hello":
            account = self._context.authenticate(*rest)
            self._account_sid = None if account is None else account.sid
            self._say("hello", "no" if account is None else "yes")
        elif self._account_sid is None:
            self._say("", "bad")
        elif word == "taken":
            key, sid = rest
            if (waiting := self._out.get(key)) is not None and not waiting.done():
                waiting.set_result(sid)
        elif word == "leg":
            self._report(*rest)
        else:
            self._receive(word, *rest)

    def _receive(self, word: str, sid: str, sender: str, *rest: str) -> None:
        proxy, body = (*rest, "") if word == "call" else rest
        kind = Kind.VOICE if word == "call" else Kind.MESSAGE
        event = InboundEvent(kind, sender, proxy, sid, body, account_sid=self._account_sid)
        counts = self._context.meter.calls if event.is_call else self._context.meter.messages

        def answered(decision: Decision) -> None:
            counts[decision.reason.slot] += 1
            self._answer(sid, *_words(event, decision))

        self._await()
        self._context.traffic.receive(event, answered)

    def _report(self, sid: str, interaction_sid: str, status: str) -> None:
        report = LegReport(
            kind=Kind.VOICE,
            account_sid=self._account_sid,
            interaction_sid=interaction_sid,
            is_outbound=True,
            resource_sid=sid,
            status=read_status(status, Kind.VOICE),
        )

        def taken(outcome: ReportOutcome | None) -> None:
            self._answer(sid, "again" if outcome is None else outcome.value)

        self._await()
        self._context.traffic.report(report, taken)

    def _await(self) -> None:
        self._due += 1
        self.is_idle.clear()

    def _answer(self, *words: str) -> None:
        self._due -= 1
        if not self._due:
            self.is_idle.set()
        self._say(*words)

    def _say(self, *words: str) -> None:
        if not self._transport.is_closing():
            self._transport.write(msgspec.json.encode(words) + b"\n")


def _words(event: InboundEvent, decision: Decision) -> tuple[str, ...]:
    match decision.outcome:
        case Outcome.ROUTED if decision.is_sent_by_us:
            return ("drop",)
        case Outcome.ROUTED:
            text = () if event.is_call else (event.body if decision.body is None else decision.body,)
            return (
                "dial" if event.is_call else "send",
                decision.to,
                decision.caller_id,
                decision.interaction_sid,
                *text,
            )
        case Outcome.NOT_READY:
            return ("again",)
        case Outcome.REFUSED | Outcome.ANSWERED | Outcome.UNKNOWN_NUMBER:
            return ("drop",)
