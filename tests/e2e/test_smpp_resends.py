"""kill -9 of a server, or of a carrier's connection, while messages go out: none that had an answer is sent again.

SMPP_CRASHES=50 in the environment tries it that often.
"""

import asyncio
import contextlib
import os
import re
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from engine.channels.smpp.pdu import RESPONSE, Command, Frame, Splitter, frame, read_message, write_message_id
from engine.channels.smpp.segments import user_data
from tests.e2e.application import eventually
from tests.e2e.live import LiveServer, free_port
from tests.e2e.smpp_traffic import serving_arguments
from tests.e2e.tenant import Pairing, Tenant, new_tenant

CRASHES = int(os.environ.get("SMPP_CRASHES", "4"))
PATIENCE = 60.0
"""Bound on every wait, in seconds; it is not an expectation."""
UNKNOWN = "delivery-unknown"
SESSIONS, EACH, WHOLE = 4, 3, 7
"""Sessions, messages to each between two crashes, and messages that the carrier takes whole until then."""

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60 + 30 * CRASHES)]

Part = tuple[int, int]
"""Number of a message and of its part."""


class HesitatingCarrier:
    """An SMSC that takes so many messages whole, and of the others no more than the first part."""

    def __init__(self) -> None:
        self.answers_left = 0
        """Of messages that it takes whole."""
        self.is_silent = False
        """It answers nothing but messages."""
        self.arrived: set[Part] = set()
        self.answered: set[Part] = set()
        self.settled: set[Part] = set()
        """What must not come any more."""
        self.again: list[Part] = []
        """What came all the same."""
        self.hesitated: set[int] = set()
        """Messages that had to wait for an answer: for too long, where the machine is slow."""
        self.waiting: dict[Part, tuple[asyncio.StreamWriter, Frame]] = {}
        self._writers: list[asyncio.StreamWriter] = []
        self._ids = count(1)

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take whatever comes."""
        splitter = Splitter()
        self._writers.append(writer)
        with contextlib.suppress(ConnectionError), contextlib.closing(writer):
            while data := await reader.read(65536):
                for one in splitter.feed(data):
                    if one.command == Command.SUBMIT_SM:
                        self._take(writer, one)
                    elif not (one.command & RESPONSE or self.is_silent):
                        writer.write(frame(one.command | RESPONSE, one.sequence, b"x\0"))

    def answer(self, answers: int) -> None:
        """Take so many messages more, first those that wait."""
        self.answers_left = answers
        for part, (writer, one) in tuple(self.waiting.items()):
            self._answer(part, writer, one)

    def abort(self) -> None:
        """End all connections without a word; what waits for an answer gets none."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()
        self.waiting.clear()

    def _take(self, writer: asyncio.StreamWriter, one: Frame) -> None:
        message = read_message(one.body)
        held = user_data(message)
        found = re.search(rb"<(\d+)>", held.octets)
        assert found is not None
        part = (int(found[1]), 1 if held.place is None else held.place.number)
        self.arrived.add(part)
        if part in self.settled:
            self.again.append(part)
        self._answer(part, writer, one)

    def _answer(self, part: Part, writer: asyncio.StreamWriter, one: Frame) -> None:
        is_first = part[1] == 1 and user_data(read_message(one.body)).place is not None
        if not (self.answers_left or is_first):
            self.waiting[part] = (writer, one)
            self.hesitated.add(part[0])
            return
        self.answers_left -= not is_first
        self.waiting.pop(part, None)
        self.answered.add(part)
        writer.write(frame(one.command | RESPONSE, one.sequence, write_message_id(f"{next(self._ids):08x}")))


class Traffic:
    """Messages to several people, most of them in two parts."""

    def __init__(self, tenant: Tenant, pairings: list[Pairing]) -> None:
        self.parts: dict[int, int] = {}
        """Number of a message to how many parts it has."""
        self._tenant = tenant
        self._pairings = pairings
        self._sids: dict[str, int] = {}

    def moved(self, server: LiveServer) -> None:
        """Go on with a server that was started later."""
        self._tenant = self._tenant.moved(server)

    def close(self) -> None:
        """Close what it asks over."""
        self._tenant.close()

    def push(self) -> None:
        """Have messages sent; each is acknowledged when this returns."""
        for pairing in self._pairings * EACH:
            number = len(self.parts)
            self.parts[number] = 2 if number % 3 else 1
            path = f"{pairing.path}/Participants/{pairing.first.sid}/MessageInteractions"
            body = f"<{number}>" * (80 if number % 3 else 3)
            self._sids[self._tenant.create(path, Body=body[:240])["sid"]] = number

    def in_state(self, *states: str) -> set[int]:
        """Return the messages whose leg to the carrier reads so."""
        found = [
            one
            for pairing in self._pairings
            for one in self._tenant.everything(f"{pairing.path}/Interactions", "interactions")
        ]
        return {self._sids[one["sid"]] for one in found if one["outbound_resource_status"] in states}

    def whole(self, carrier: HesitatingCarrier) -> set[int]:
        """Return the messages of which every part was answered."""
        return {
            number
            for number, total in self.parts.items()
            if carrier.answered >= {(number, part + 1) for part in range(total)}
        }


async def test_nothing_that_had_an_answer_is_sent_again(tmp_path: Path) -> None:
    """Parts of long messages neither; what the carrier left without an answer is told to be unknown."""
    carrier, ports = HesitatingCarrier(), (free_port(), free_port())
    far = await asyncio.start_server(carrier.connected, "127.0.0.1", ports[1])
    start = serving_arguments(tmp_path, listen=ports[0], port=ports[1])
    server = await asyncio.to_thread(LiveServer, tmp_path / "data", *start)
    tenant = await asyncio.to_thread(new_tenant, server)
    service = await asyncio.to_thread(tenant.service, numbers=2)
    traffic = Traffic(tenant, [await asyncio.to_thread(service.pairing) for _ in range(SESSIONS)])
    unknown: set[int] = set()

    async def reached(is_so: Callable[[], bool]) -> None:
        assert await asyncio.to_thread(eventually, is_so, seconds=PATIENCE)

    for crash in range(CRASHES):
        carrier.answer(WHOLE)
        await asyncio.to_thread(traffic.push)
        await reached(lambda: not carrier.answers_left and bool(carrier.waiting))
        await reached(lambda: traffic.whole(carrier) <= traffic.in_state("sent", UNKNOWN))
        carrier.settled |= {
            (number, part)
            for number, part in carrier.answered
            if number in traffic.whole(carrier) or (number, part + 1) in carrier.arrived
        }
        if crash % 2:
            left = set(carrier.waiting)
            carrier.settled |= left
            unknown |= {number for number, _ in left}
            carrier.abort()
        else:
            await asyncio.to_thread(server.crash)
            carrier.waiting.clear()
            server = await asyncio.to_thread(LiveServer, tmp_path / "data", *start)
            traffic.moved(server)
    carrier.answer(1_000_000)
    await reached(lambda: traffic.in_state("sent", UNKNOWN) == set(traffic.parts))
    sent, told_unknown = traffic.in_state("sent"), traffic.in_state(UNKNOWN)
    traffic.close()
    server.end()
    far.close()

    assert carrier.again == []
    assert unknown <= told_unknown <= carrier.hesitated
    assert sent <= traffic.whole(carrier)


async def test_a_stop_keeps_its_promise_beside_a_silent_carrier(tmp_path: Path) -> None:
    """It does not wait for an answer to its unbind; what had no answer is told as unknown, and not sent again."""
    carrier, ports = HesitatingCarrier(), (free_port(), free_port())
    far = await asyncio.start_server(carrier.connected, "127.0.0.1", ports[1])
    start = serving_arguments(tmp_path, listen=ports[0], port=ports[1])
    server = await asyncio.to_thread(LiveServer, tmp_path / "data", *start)
    tenant = await asyncio.to_thread(new_tenant, server)
    traffic = Traffic(tenant, [await asyncio.to_thread(lambda: tenant.service().pairing())])
    await asyncio.to_thread(traffic.push)
    assert await asyncio.to_thread(eventually, lambda: bool(carrier.waiting), seconds=PATIENCE)
    carrier.is_silent = True
    carrier.settled |= set(carrier.waiting)
    unknown = {number for number, _ in carrier.waiting}

    code = await asyncio.to_thread(server.stop)

    carrier.waiting.clear()
    carrier.is_silent = False
    carrier.answer(1_000_000)
    server = await asyncio.to_thread(LiveServer, tmp_path / "data", *start)
    traffic.moved(server)
    rest = set(traffic.parts) - unknown
    assert await asyncio.to_thread(eventually, lambda: traffic.in_state("sent") == rest, seconds=PATIENCE)
    assert (code, carrier.again, traffic.in_state(UNKNOWN)) == (0, [], unknown)
    traffic.close()
    server.end()
    far.close()
