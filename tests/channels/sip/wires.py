"""A SIP server without sockets: datagrams and connections are handed to it, and what goes back is kept."""

import asyncio
from collections.abc import Iterable
from ipaddress import ip_network
from typing import Any

from engine.channels.sip.answers import Answering
from engine.channels.sip.peers import Peers
from engine.channels.sip.redirector import Redirector
from engine.channels.sip.server import SipServer, Stream
from engine.channels.sip.styles import AnswerStyle
from engine.channels.sip.switches import Arrival, Peer
from tests.channels.sip.test_redirector import FakePlane, FakeSipObserver
from tests.silent import SilentMeter

PEER_HOST, STRANGER_HOST = "192.0.2.1", "198.51.100.1"


class FakeTransport(asyncio.Transport):
    """Keeps what is written to a connection."""

    def __init__(self, host: str) -> None:
        super().__init__({"peername": (host, 5060)})
        self.written = bytearray()
        self.is_closed = False

    def write(self, data: Any) -> None:  # noqa: ANN401 - any buffer
        """Keep octets."""
        assert not self.is_closed
        self.written += data

    def close(self) -> None:
        """Write no more."""
        self.is_closed = True

    def abort(self) -> None:
        """Write no more."""
        self.is_closed = True

    def is_closing(self) -> bool:
        """Tell."""
        return self.is_closed


class Wires:
    """One server and one peer."""

    def __init__(self, *, most_waiting: int = 100) -> None:
        self.plane, self.observer = FakePlane(), FakeSipObserver()
        self.now = 1_000.0
        self.peer = Peer(
            name="carrier",
            style=AnswerStyle(contact_host="192.0.2.1"),
            read_number=lambda text: text if text[1:].isdigit() else None,
        )
        self.redirector = Redirector(
            self.plane,
            answering=Answering(b"k" * 16),
            is_ready=lambda: True,
            observer=self.observer,
            meter=SilentMeter(),
            clock=lambda: 1_000_000.0,
            monotonic=lambda: self.now,
            deadline_seconds=2.0,
            most_waiting=most_waiting,
        )
        self.server = SipServer(
            self.redirector,
            Peers([(self.peer, [ip_network(PEER_HOST)])]),
            observer=self.observer,
            clock=lambda: self.now,
            monotonic=lambda: self.now,
            most_connections=10,
        )

    def datagram(self, data: bytes) -> list[bytes]:
        """Return what the peer is answered at once."""
        sent: list[bytes] = []
        arrival = Arrival(self.peer, (PEER_HOST, 5060), is_reliable=False, reply=sent.append)
        self.redirector.take(data, arrival, now=self.now)
        self.redirector.tell()
        return sent

    def connection(self, parts: Iterable[bytes], *, host: str = PEER_HOST) -> tuple[bytes, bool]:
        """Return what is written to a connection on which octets come in these parts, and whether it is closed."""
        transport = FakeTransport(host)
        stream = Stream(self.server)
        stream.connection_made(transport)
        for part in parts:
            stream.data_received(part)
        stream.connection_lost(None)
        return bytes(transport.written), transport.is_closed
