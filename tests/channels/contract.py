"""The peers of the contract: how a test speaks to each channel over its own wire, and reads what it is answered."""

import asyncio
import re
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from enum import Enum, auto
from typing import Protocol
from urllib.parse import urlencode

import msgspec
from starlette.applications import Starlette

from engine.channels.base import Channel
from engine.channels.feed.channel import FeedChannel
from engine.channels.feed.settings import FeedSettings
from engine.channels.served import Channels
from engine.channels.sip.channel import SipChannel
from engine.channels.sip.settings import SipSettings
from engine.channels.sip.tables import SipPeerSettings
from engine.channels.smpp.arrivals import digest_of, sid_for
from engine.channels.smpp.channel import SmppServerChannel
from engine.channels.smpp.pdu import (
    Bind,
    Command,
    ShortMessage,
    SmeAddress,
    Status,
    Tag,
    frame,
    write_bind,
    write_message,
)
from engine.channels.smpp.peers import SmppPeer
from engine.channels.smpp.session import Role
from engine.channels.smpp.settings import SmppSettings
from engine.channels.sockets import ListenAddress, bind_tcp, reached_at
from engine.channels.twiml.channel import TwimlChannel
from engine.channels.twiml.settings import WebhookSettings
from engine.core.model.records import Kind
from engine.formats.signatures import Form, signature
from engine.http.connections import inbound_protocol
from engine.http.port import HttpPort
from engine.listeners import Listener
from tests.channels.offered import ChannelPlane, Offered
from tests.channels.toy.channel import ToyChannel, ToySettings
from tests.http.rig import ACCOUNT, PATIENCE, PROXY, PUBLIC_URL, ROUTED, SENDER, TOKEN
from tests.outbound.material import client

HERE = "127.0.0.1"
ANYWHERE = ListenAddress(HERE, 0)
BODY = "see you at eight"
Stop = Callable[[], Coroutine[None, None, None]]


class Told(Enum):
    """What an answer comes to for the peer; closed."""

    REACH = auto()
    """Connect the call, or send the message on."""
    NOTHING = auto()
    """Refuse the call, drop the message."""
    AGAIN = auto()
    """Try again."""
    REJECTED = auto()
    """It was nothing that can be decided, or nobody who may ask."""


class Peer(Protocol):
    """One kind of peer; each request has a connection of its own, as a redelivery mostly has."""

    @property
    def asks(self) -> frozenset[Kind]:
        """What it asks about: calls, messages or both."""

    @property
    def is_told_whom(self) -> bool:
        """Whether a routed answer says whom to reach; otherwise we reach them ourselves, and it only hears that."""

    @property
    def reports_legs(self) -> bool:
        """Whether it reports legs by itself, with the interaction of the answer."""

    @property
    def stranger_at(self) -> str:
        """Address that somebody comes from who is no peer: another one only where the address is the credential."""

    def channel(self) -> Channel:
        """Make the channel."""

    def call(self, *, sid: str, secret: str = TOKEN) -> bytes:
        """Ask about a call."""

    def text(self, *, sid: str, secret: str = TOKEN) -> bytes:
        """Ask about a message."""

    def leg(self, *, sid: str) -> bytes:
        """Report that the outbound leg of a call has ended."""

    def broken(self) -> bytes:
        """Ask about something that reached nothing."""

    def named(self, sid: str) -> str:
        """Return what the engine calls an event that the peer calls so."""

    async def read(self, reader: asyncio.StreamReader) -> bytes:
        """Read one answer, whatever belongs to the connection alone taken off."""

    def told(self, answer: bytes) -> Told:
        """Tell what the peer does."""


class _AsksBoth:
    """What is true of most peers."""

    asks = frozenset(Kind)
    is_told_whom = True
    reports_legs = True
    stranger_at = HERE

    def named(self, sid: str) -> str:
        """Name events as it does."""
        return sid


class TwimlPeer(_AsksBoth):
    """A TwiML platform."""

    def channel(self) -> Channel:
        """Verify signatures."""
        return TwimlChannel("twiml", WebhookSettings(public_url=PUBLIC_URL))

    def call(self, *, sid: str, secret: str = TOKEN) -> bytes:
        """Post a form."""
        return _post("/inbound/voice", secret, CallSid=sid, From=SENDER, To=PROXY)

    def text(self, *, sid: str, secret: str = TOKEN) -> bytes:
        """Post a form."""
        return _post("/inbound/message", secret, MessageSid=sid, From=SENDER, To=PROXY, Body=BODY)

    def leg(self, *, sid: str) -> bytes:
        """Post to the status URL of the answer."""
        path = f"/inbound/status?interaction={ROUTED.interaction_sid}&leg=outbound"
        return _post(path, TOKEN, CallSid=sid, CallStatus="completed", CallDuration="61")

    def broken(self) -> bytes:
        """Lack the number reached."""
        return _post("/inbound/voice", TOKEN, CallSid="CA1", From=SENDER)

    async def read(self, reader: asyncio.StreamReader) -> bytes:
        """Read a response; its date is no part of the answer."""
        head = await reader.readuntil(b"\r\n\r\n")
        lines = [line for line in head.splitlines(keepends=True) if not line.lower().startswith(b"date:")]
        length = next((int(line[15:]) for line in lines if line.lower().startswith(b"content-length:")), 0)
        return b"".join(lines) + await reader.readexactly(length)

    def told(self, answer: bytes) -> Told:
        """Go by the status, then by the verb."""
        status = int(answer.split(maxsplit=2)[1])
        if status == 503 and b"retry-after" in answer:
            return Told.AGAIN
        if status >= 400:
            return Told.REJECTED
        return Told.REACH if b"<Dial" in answer or b"<Message" in answer else Told.NOTHING


class FeedPeer(_AsksBoth):
    """A switch on the feed, which wants what it needs to put a call through; SIDs of sessions are for who asks."""

    def channel(self) -> Channel:
        """Listen in clear."""
        return FeedChannel("feed", FeedSettings(feed_listen=ANYWHERE))

    def call(self, *, sid: str, secret: str = TOKEN) -> bytes:
        """Say hello, then ask."""
        return _frames(secret, ["call", SENDER, PROXY, sid])

    def text(self, *, sid: str, secret: str = TOKEN) -> bytes:
        """Say hello, then ask."""
        return _frames(secret, ["message", SENDER, PROXY, sid, BODY, []])

    def leg(self, *, sid: str) -> bytes:
        """Say hello, then report."""
        return _frames(TOKEN, ["status", "call", "outbound", sid, "completed", PROXY, ROUTED.interaction_sid, 61])

    def broken(self) -> bytes:
        """Lack the number reached."""
        return _frames(TOKEN, ["call", SENDER])

    async def read(self, reader: asyncio.StreamReader) -> bytes:
        """Read the welcome and what comes behind it; a refused hello has nothing behind it."""
        first = await self._frame(reader)
        return await self._frame(reader) if msgspec.msgpack.decode(first)[0] == "welcome" else first

    def told(self, answer: bytes) -> Told:
        """Go by the outcome."""
        kind, _, *rest = msgspec.msgpack.decode(answer)
        if kind == "error":
            return Told.REJECTED
        (said,) = rest[1]
        if isinstance(said, dict):
            return Told.REJECTED
        outcome = said if isinstance(said, str) else said[0]
        return {"routed": Told.REACH, "not-ready": Told.AGAIN}.get(outcome, Told.NOTHING)

    async def _frame(self, reader: asyncio.StreamReader) -> bytes:
        return await reader.readexactly(int.from_bytes(await reader.readexactly(4)))


class SmppPeerOfUs:
    """An aggregator that binds to us and sends messages, each with an id of its own."""

    asks = frozenset({Kind.MESSAGE})
    is_told_whom = False
    reports_legs = False
    stranger_at = HERE

    def channel(self) -> Channel:
        """Let one peer bind."""
        peer = SmppPeer(
            name="them", role=Role.SMSC, system_id=ACCOUNT[:15], password=TOKEN, id_tlv=Tag.USER_MESSAGE_REFERENCE
        )
        return SmppServerChannel(SmppSettings(smpp_listen=ANYWHERE), [peer], sends_from=lambda _: True)

    def call(self, *, sid: str, secret: str = TOKEN) -> bytes:
        """Know no calls."""
        raise NotImplementedError

    def text(self, *, sid: str, secret: str = TOKEN) -> bytes:
        """Bind, then send."""
        return self._bind(secret) + frame(Command.SUBMIT_SM, 2, write_message(_short_message(sid)))

    def leg(self, *, sid: str) -> bytes:
        """Know legs by receipts alone."""
        raise NotImplementedError

    def broken(self) -> bytes:
        """Lack the number reached."""
        return self._bind(TOKEN) + frame(Command.SUBMIT_SM, 2, b"\0\1\1" + SENDER[1:].encode() + b"\0")

    def named(self, sid: str) -> str:
        """Name events by what the peer says."""
        message = _short_message(sid)
        return sid_for(digest_of(message), "them", message.optional[Tag.USER_MESSAGE_REFERENCE])

    async def read(self, reader: asyncio.StreamReader) -> bytes:
        """Read the response to the message, or to a bind that was refused."""
        first = await self._pdu(reader)
        return first if first[8:12] != b"\0\0\0\0" else await self._pdu(reader)

    def told(self, answer: bytes) -> Told:
        """Go by the status."""
        status = int.from_bytes(answer[8:12])
        return {Status.OK: Told.NOTHING, Status.THROTTLED: Told.AGAIN}.get(Status(status), Told.REJECTED)

    def _bind(self, secret: str) -> bytes:
        bind = write_bind(Bind(system_id=ACCOUNT[:15], password=secret))
        return frame(Command.BIND_TRANSCEIVER, 1, bind)

    async def _pdu(self, reader: asyncio.StreamReader) -> bytes:
        head = await reader.readexactly(4)
        return head + await reader.readexactly(int.from_bytes(head) - 4)


class ToyPeer(_AsksBoth):
    """A peer of the channel that exists in tests alone."""

    def channel(self) -> Channel:
        """Listen anywhere."""
        return ToyChannel("toy", ToySettings(ANYWHERE))

    def call(self, *, sid: str, secret: str = TOKEN) -> bytes:
        """Say hello, then ask."""
        return _lines(["hello", ACCOUNT, secret], ["call", sid, SENDER, PROXY])

    def text(self, *, sid: str, secret: str = TOKEN) -> bytes:
        """Say hello, then ask."""
        return _lines(["hello", ACCOUNT, secret], ["text", sid, SENDER, PROXY, BODY])

    def leg(self, *, sid: str) -> bytes:
        """Say hello, then report."""
        return _lines(["hello", ACCOUNT, TOKEN], ["leg", sid, ROUTED.interaction_sid, "completed"])

    def broken(self) -> bytes:
        """Lack the number reached."""
        return _lines(["hello", ACCOUNT, TOKEN], ["call", "CA1", SENDER])

    async def read(self, reader: asyncio.StreamReader) -> bytes:
        """Read the line behind the answer to the hello."""
        await reader.readuntil(b"\n")
        return await reader.readuntil(b"\n")

    def told(self, answer: bytes) -> Told:
        """Go by the word."""
        word = msgspec.json.decode(answer)[1]
        known = {"dial": Told.REACH, "send": Told.REACH, "again": Told.AGAIN, "bad": Told.REJECTED}
        return known.get(word, Told.NOTHING)


class SipPeer(_AsksBoth):
    """A switch that asks over TCP; how calls end it tells over HTTP."""

    asks = frozenset({Kind.VOICE})
    reports_legs = False
    stranger_at = "127.0.0.2"

    def channel(self) -> Channel:
        """Let one address in."""
        peers = (SipPeerSettings(name="switch", networks=(HERE,)),)
        return SipChannel("sip", SipSettings(sip_listen=ANYWHERE, sip_peers=peers))

    def call(self, *, sid: str, secret: str = TOKEN) -> bytes:
        """Send an INVITE."""
        return _invite(sid, f"To: <sip:{PROXY}@masks.example.com>")

    def text(self, *, sid: str, secret: str = TOKEN) -> bytes:
        """Carry none."""
        raise NotImplementedError

    def leg(self, *, sid: str) -> bytes:
        """Tell it elsewhere."""
        raise NotImplementedError

    def broken(self) -> bytes:
        """Lack a header that each request has."""
        return _invite("CA1", "X-To: nobody")

    async def read(self, reader: asyncio.StreamReader) -> bytes:
        """Read a response without the addresses that it repeats as they came; a stranger gets none."""
        try:
            answer = await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionResetError):
            return b""
        return re.sub(rb"(From|To): <[^>]*>", rb"\1: <>", answer)

    def told(self, answer: bytes) -> Told:
        """Go by the status."""
        status = int(answer.split(maxsplit=2)[1]) if answer else 0
        if status in {500, 503} and b"Retry-After" in answer:
            return Told.AGAIN
        return {302: Told.REACH, 404: Told.NOTHING}.get(status, Told.REJECTED)


class SwitchPeer(_AsksBoth):
    """A switch that asks and tells over HTTP, with an account's credentials."""

    def channel(self) -> Channel:
        """Have no SIP."""
        return SipChannel("sip", SipSettings())

    def call(self, *, sid: str, secret: str = TOKEN) -> bytes:
        """Post an object."""
        return _ask("/carrier/route", secret, {"from": SENDER, "to": PROXY, "sid": sid})

    def text(self, *, sid: str, secret: str = TOKEN) -> bytes:
        """Post an object."""
        return _ask(
            "/carrier/route", secret, {"from": SENDER, "to": PROXY, "sid": sid, "kind": "message", "body": BODY}
        )

    def leg(self, *, sid: str) -> bytes:
        """Post an object."""
        fields = {"sid": sid, "interaction": ROUTED.interaction_sid, "leg": "outbound", "status": "completed"}
        return _ask("/carrier/status", TOKEN, {**fields, "duration": 61})

    def broken(self) -> bytes:
        """Lack the number reached."""
        return _ask("/carrier/route", TOKEN, {"from": SENDER, "sid": "CA1"})

    async def read(self, reader: asyncio.StreamReader) -> bytes:
        """Read a response."""
        return await TwimlPeer().read(reader)

    def told(self, answer: bytes) -> Told:
        """Go by the status, then by the outcome."""
        status = int(answer.split(maxsplit=2)[1])
        if status == 503 and b"retry-after" in answer:
            return Told.AGAIN
        if status >= 400 and status != 404:
            return Told.REJECTED
        return Told.REACH if b'"outcome":"routed"' in answer else Told.NOTHING


class Talk:
    """A channel that is served, and a peer of it."""

    def __init__(self, peer: Peer, offered: Offered, *, port: int, stop: Stop) -> None:
        self.peer = peer
        self.offered = offered
        self.plane = offered.plane
        self.stop = stop
        """Stops the channel as the engine does."""
        self._port = port

    async def ask(self, request: bytes, *, source: str = HERE) -> bytes:
        """Send a request on a connection of its own, from an address, and read the answer."""
        async with self.connected(request, source=source) as reader, asyncio.timeout(PATIENCE):
            return await self.peer.read(reader)

    @asynccontextmanager
    async def connected(self, request: bytes, *, source: str = HERE) -> AsyncIterator[asyncio.StreamReader]:
        """Send a request on a connection of its own, which ends with the context."""
        reader, writer = await asyncio.open_connection(HERE, self._port, local_addr=(source, 0))
        try:
            writer.write(request)
            yield reader
        finally:
            writer.close()


def questions(peer: Peer, *, sid: str = "1", secret: str = TOKEN) -> list[bytes]:
    """Return one question of each kind that a peer asks."""
    calls = [peer.call(sid="CA" + sid, secret=secret)] if Kind.VOICE in peer.asks else []
    texts = [peer.text(sid="SM" + sid, secret=secret)] if Kind.MESSAGE in peer.asks else []
    return calls + texts


@asynccontextmanager
async def talking(peer: Peer, plane: ChannelPlane | None = None) -> AsyncIterator[Talk]:
    """Serve a channel as the composition root does: on its own socket, or on the shared HTTP port."""
    async with client() as posting, AsyncExitStack() as closers:
        offered = Offered(posting)
        offered.plane = plane or offered.plane
        context = offered.context()
        channels = Channels([("toy", peer.channel())])
        with ExitStack() as sockets:
            channels.bind(sockets, is_ours=lambda _: True)
            endpoint = channels.endpoint(lambda *_: context)
            await channels.serve(lambda *_: context)
            if channels.addresses:
                (address,) = channels.addresses.values()
                port = ListenAddress.parse(address).port
            else:
                http = HttpPort(offered.observer, endpoint=endpoint)
                listener = Listener(Starlette(), grace_seconds=5, protocol=inbound_protocol(http))
                bound = bind_tcp(ANYWHERE)
                port = reached_at(bound).port
                await listener.open(bound)
                closers.push_async_callback(listener.close)

            async def stop() -> None:
                await asyncio.gather(channels.stop(PATIENCE), closers.aclose())

            try:
                yield Talk(peer, offered, port=port, stop=stop)
            finally:
                await stop()


def _short_message(sid: str) -> ShortMessage:
    return ShortMessage(
        source=SmeAddress(1, 1, SENDER[1:]),
        destination=SmeAddress(1, 1, PROXY[1:]),
        octets=BODY.encode("ascii"),
        optional={Tag.USER_MESSAGE_REFERENCE: sid.encode("ascii")},
    )


def _post(path: str, secret: str, **fields: str) -> bytes:
    fields = {"AccountSid": ACCOUNT, **fields}
    body = urlencode(fields).encode()
    signed = signature(secret, PUBLIC_URL + path, Form(fields))
    head = (
        f"POST {path} HTTP/1.1\r\nHost: masks.example.com\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        f"X-Twilio-Signature: {signed.decode()}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _frames(secret: str, event: list[object]) -> bytes:
    wants = ["outcome", "to", "caller_id", "interaction", "body"]
    hello = {"version": 1, "key": ACCOUNT, "secret": secret, "wants": wants}
    frames = [msgspec.msgpack.encode(one) for one in (hello, [event])]
    return b"".join(len(frame).to_bytes(4) + frame for frame in frames)


def _lines(*lines: list[str]) -> bytes:
    return b"".join(msgspec.json.encode(line) + b"\n" for line in lines)


def _invite(sid: str, to: str) -> bytes:
    lines = (
        f"INVITE sip:{PROXY}@masks.example.com;user=phone SIP/2.0",
        f"Via: SIP/2.0/TCP {HERE};branch=z9hG4bK{sid}",
        f"From: <sip:{SENDER}@carrier.example>;tag=1",
        to,
        f"Call-ID: {sid}",
        "CSeq: 1 INVITE",
        "Content-Length: 0",
    )
    return "\r\n".join((*lines, "", "")).encode()


def _ask(path: str, secret: str, fields: dict[str, str | int]) -> bytes:
    body = msgspec.json.encode(fields)
    credentials = b64encode(f"{ACCOUNT}:{secret}".encode()).decode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: masks.example.com\r\nContent-Type: application/json\r\n"
        f"Authorization: Basic {credentials}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
