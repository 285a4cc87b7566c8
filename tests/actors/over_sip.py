"""A call that a switch asks about, as octets: to the redirector, and what comes back."""

import asyncio
from collections.abc import Callable

from engine.channels.sip.answers import Answering
from engine.channels.sip.redirector import Redirector
from engine.channels.sip.styles import AnswerStyle
from engine.channels.sip.switches import Arrival, Peer
from engine.core.routing.traffic import Decision, InboundEvent
from tests.actors.stores import WAIT_SECONDS
from tests.channels.sip.messages import invite
from tests.channels.sip.test_redirector import FakePlane
from tests.silent import SilentMeter, SilentSipObserver

Receive = Callable[[InboundEvent, Callable[[Decision], None]], None]


class Plane(FakePlane):
    """Hands events to hosts."""

    def __init__(self, hosts: Receive) -> None:
        super().__init__()
        self._hosts = hosts

    def receive(self, event: InboundEvent, answer: Callable[[Decision], None]) -> None:
        """Hand one on."""
        self._hosts(event, answer)


async def asked_over_sip(hosts: Receive, event: InboundEvent) -> tuple[int, str, str]:
    """Return status, whom the answer dials and the caller id beside it; empty where it has none."""
    answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    redirector = Redirector(
        Plane(hosts),
        answering=Answering(b"k" * 16),
        is_ready=lambda: True,
        observer=SilentSipObserver(),
        meter=SilentMeter(),
        clock=lambda: 1_000_000.0,
        monotonic=lambda: 0.0,
        deadline_seconds=2.0,
        most_waiting=1,
    )
    peer = Peer(name="switch", style=AnswerStyle(), read_number=lambda text: text or None)
    question = invite(
        f"From: <sip:{event.sender}@h>;tag=1".encode(),
        f"Call-ID: {event.resource_sid}".encode(),
        b"CSeq: 1 INVITE",
        start=f"INVITE sip:{event.proxy}@h SIP/2.0".encode(),
    )
    arrival = Arrival(peer, ("192.0.2.1", 5060), is_reliable=True, reply=answer.set_result)
    redirector.take(question, arrival, now=0.0)
    line, *lines = (await asyncio.wait_for(answer, WAIT_SECONDS)).decode().split("\r\n")
    headers = dict(one.partition(": ")[::2] for one in lines)
    dialled = headers.get("Contact", "").partition("sip:")[2].partition("@")[0]
    return int(line.split(" ")[1]), dialled, headers.get("X-Maskline-Caller-Id", "")
