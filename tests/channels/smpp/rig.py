"""SMPP channels that are served to a test, and the other side of their connections, which the test plays."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from contextvars import ContextVar

import msgspec

from engine.channels.base import BeginsToSend, OutMessage, OutReceipt, SendsMessages, Sent, TakesReceipts
from engine.channels.served import Channels
from engine.channels.smpp.channel import SmppClientChannel, SmppServerChannel
from engine.channels.smpp.dialer import Outbinds
from engine.channels.smpp.pdu import (
    RESPONSE,
    Bind,
    Command,
    Frame,
    ShortMessage,
    SmeAddress,
    Splitter,
    Status,
    frame,
    read_message,
    write_bind,
    write_message,
    write_message_id,
)
from engine.channels.smpp.peers import SmppPeer
from engine.channels.smpp.session import Role, Timing
from engine.channels.smpp.settings import SmppSettings
from engine.channels.sockets import ListenAddress
from engine.core.model.records import LegStatus
from engine.core.ports.observing import SmppCount
from engine.outbound.delivery import Delivery, Rest
from engine.runtime import monotonic
from tests.channels.offered import MemoryNotes, Offered
from tests.http.rig import NOW, PATIENCE, PROXY, ROUTED, SENDER
from tests.outbound.material import client

SYSTEM_ID, PASSWORD = "them", "secret"
SOURCE, DESTINATION = SmeAddress(1, 1, SENDER[1:]), SmeAddress(1, 1, PROXY[1:])
MESSAGE = ShortMessage(source=SOURCE, destination=DESTINATION, octets=b"see you at eight")


def esme(port: int, **more: object) -> SmppPeer:
    """Return a peer to whom we bind."""
    return msgspec.convert(
        {"name": "them", "role": Role.ESME, "host": "127.0.0.1", "port": port}
        | {"system_id": SYSTEM_ID, "password": PASSWORD, **more},
        SmppPeer,
    )


def smsc(**more: object) -> SmppPeer:
    """Return a peer that binds to us."""
    fields = {"name": "them", "role": Role.SMSC, "system_id": SYSTEM_ID, "password": PASSWORD, **more}
    return msgspec.convert(fields, SmppPeer)


class Wire:
    """One connection, as its other side has it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._splitter = Splitter()
        self._read: list[Frame] = []
        self.sequence = 0

    def write(self, data: bytes) -> None:
        """Send octets."""
        self._writer.write(data)

    def read_nothing(self) -> None:
        """Leave what comes where it is, in buffers as small as may be."""
        transport = self._writer.transport
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        transport.pause_reading()  # type: ignore[attr-defined] # of a stream's transport

    def send(self, command: int, body: bytes = b"", *, sequence: int | None = None, status: int = 0) -> int:
        """Send a PDU and return its sequence number."""
        if sequence is None:
            self.sequence += 1
            sequence = self.sequence
        self.write(frame(command, sequence, body, status=status))
        return sequence

    async def read(self) -> Frame:
        """Read a PDU; raises EOFError at the end."""
        async with asyncio.timeout(PATIENCE):
            while not self._read:
                data = await self._reader.read(65536)
                if not data:
                    raise EOFError
                self._read.extend(self._splitter.feed(data))
        return self._read.pop(0)

    async def bind(self, command: Command = Command.BIND_TRANSCEIVER, *, password: str = PASSWORD) -> Frame:
        """Bind, and return the response."""
        self.send(command, write_bind(Bind(system_id=SYSTEM_ID, password=password)))
        return await self.read()

    async def accept_bind(self, *, status: int = 0) -> Frame:
        """Answer the bind that comes, and return it."""
        bind = await self.read()
        self.send(bind.command | RESPONSE, b"smsc\0", sequence=bind.sequence, status=status)
        return bind

    async def ask(self, message: ShortMessage, command: Command) -> Frame:
        """Send a message and return its response."""
        self.send(command, write_message(message))
        return await self.read()

    async def take(self, message_id: str = "", *, status: int = Status.OK) -> ShortMessage:
        """Read a message of ours and answer it."""
        came = await self.read()
        self.send(came.command | RESPONSE, write_message_id(message_id), sequence=came.sequence, status=status)
        return read_message(came.body)

    async def has_ended(self) -> bool:
        """Read what is left, to the end."""
        try:
            while True:
                await self.read()
        except (EOFError, ConnectionError):
            return True

    async def close(self) -> None:
        """Close."""
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()


class Smsc:
    """A carrier's SMSC that a test plays: each connection to it is a wire."""

    def __init__(self) -> None:
        self.wires: asyncio.Queue[Wire] = asyncio.Queue()
        self.port = 0
        self.made: list[Wire] = []

    async def wire(self) -> Wire:
        """Return the next connection."""
        async with asyncio.timeout(PATIENCE):
            return await self.wires.get()

    async def bound(self) -> Wire:
        """Return the next connection once it is bound."""
        wire = await self.wire()
        await wire.accept_bind()
        return wire


@asynccontextmanager
async def smsc_listening() -> AsyncIterator[Smsc]:
    """Listen as a carrier does."""
    far = Smsc()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far.made.append(Wire(reader, writer))
        await far.wires.put(far.made[-1])

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    far.port = server.sockets[0].getsockname()[1]
    try:
        yield far
    finally:
        server.close()
        for wire in far.made:
            await wire.close()


in_tasks: ContextVar[bool] = ContextVar("in_tasks", default=False)
"""Whether a task makes each try from its beginning."""


class _Beginning:
    """Begins a try without a task, where that can be; a task awaits what is left of it."""

    def __init__(self, sender: SendsMessages) -> None:
        self._sender = sender

    async def send(self, message: OutMessage) -> Sent:
        """Try once."""
        ending = _Ended()
        if isinstance(self._sender, BeginsToSend) and self._sender.begin(message, ending):
            rest = await ending.heard
            return rest if isinstance(rest, Sent) else await rest()
        return await self._sender.send(message)


class _Ended:
    """Hears how a try ends that no task waits for."""

    def __init__(self) -> None:
        self.heard: asyncio.Future[Sent | Rest[Sent]] = asyncio.get_running_loop().create_future()

    def ended(self, sent: Sent) -> None:
        """Take how it ended."""
        self._hear(sent)

    def goes_on(self, rest: Rest[Sent]) -> None:
        """Take what is left."""
        self._hear(rest)

    def _hear(self, told: Sent | Rest[Sent]) -> None:
        if not self.heard.done():  # else the test waits no more
            self.heard.set_result(told)


class Served:
    """A channel that is served."""

    def __init__(self, channels: Channels, offered: Offered) -> None:
        self.channels = channels
        self.offered = offered
        self.plane = offered.plane
        self.made: list[Wire] = []

    @property
    def sender(self) -> SendsMessages:
        """What sends to the peer, as the outbox has it."""
        sender = self.channels.senders["them"]
        return sender if in_tasks.get() else _Beginning(sender)

    async def tell(self, resource_sid: str, status: LegStatus, *, at: float = NOW) -> Delivery:
        """Have the outbox tell what became of a message of the peer."""
        sender = self.channels.senders["them"]
        assert isinstance(sender, TakesReceipts)
        return await sender.tell(OutReceipt("EF1", resource_sid, status, at))

    def counted(self, count: SmppCount) -> int:
        """Tell how often something happened."""
        return self.offered.observer.smpp_counts[count]

    def gauge(self, name: str) -> float:
        """Read a gauge."""
        return next(one.read() for one in self.channels.gauges if one.name == name)

    async def wire(self) -> Wire:
        """Connect to it."""
        address = ListenAddress.parse(self.channels.addresses["smpp"])
        self.made.append(Wire(*await asyncio.open_connection(address.host, address.port)))
        return self.made[-1]

    async def bound(self) -> Wire:
        """Connect to it and bind."""
        wire = await self.wire()
        await wire.bind()
        return wire


@asynccontextmanager
async def serving(
    peer: SmppPeer,
    *,
    notes: MemoryNotes | None = None,
    sends: bool = True,
    timing: Timing | None = None,
    listening: SmppSettings | None = None,
    clock: Callable[[], float] = lambda: NOW,
    sure_clock: Callable[[], float] | None = None,
) -> AsyncIterator[Served]:
    """Serve a channel for one peer, as the composition root does; with `listening`, one that peers may bind to."""
    outbinds, made = Outbinds(), list[SmppClientChannel | SmppServerChannel]()
    if listening is not None or not peer.is_esme:
        at = listening or SmppSettings(smpp_listen=ListenAddress("127.0.0.1", 0))
        bound = [] if peer.is_esme else [peer]
        made.append(SmppServerChannel(at, bound, sends_from=lambda _: sends, outbinds=outbinds, timing=timing))
    if peer.is_esme:
        made.append(SmppClientChannel(peer, sends_from=lambda _: sends, outbinds=outbinds, timing=timing))
    async with client() as posting, AsyncExitStack() as closers:
        offered = Offered(posting)
        if notes is not None:
            offered.notes = notes
        channels = Channels([("smpp", channel) for channel in made])
        with ExitStack() as sockets:
            channels.bind(sockets, is_ours=lambda _: True)
            context = msgspec.structs.replace(offered.context(clock=clock, sure_clock=sure_clock), monotonic=monotonic)
            await channels.serve(lambda *_: context)
            closers.push_async_callback(channels.stop, 0.2)
            served = Served(channels, offered)
            try:
                yield served
            finally:
                for wire in served.made:
                    await wire.close()


def out(body: str, *, key: str = "EF1", interaction: str = ROUTED.interaction_sid, **more: object) -> OutMessage:
    """Return a message that leaves."""
    fields = {"sender": PROXY, "to": SENDER, **more}
    return msgspec.convert(
        {"key": key, "account_sid": "AC1", "interaction_sid": interaction, "body": body, **fields}, OutMessage
    )


@asynccontextmanager
async def sending(served: Served, message: OutMessage) -> AsyncIterator["asyncio.Task[Sent]"]:
    """Send a message while a test plays the other side."""
    task = asyncio.create_task(served.sender.send(message))
    try:
        yield task
    finally:
        task.cancel()
