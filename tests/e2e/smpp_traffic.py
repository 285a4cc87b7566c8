"""SMPP traffic that a test plays itself: a carrier that takes everything, an aggregator that is heard."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from engine.channels.smpp.pdu import (
    RESPONSE,
    Bind,
    Command,
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
from engine.channels.smpp.receipts import write_receipt
from engine.channels.smpp.segments import LongForm, Place, header
from tests.e2e.tenant import Pairing

SETTINGS = """
smpp_listen = "127.0.0.1:{listen}"

[smpp_peers.carrier]
role = "esme"
host = "127.0.0.1"
port = {port}
system_id = "masks"
password = "secret"

[smpp_peers.hub]
role = "smsc"
system_id = "hub"
password = "secret"

[carrier_routes]
"*" = "carrier"
"""
"""Of a server with both; `listen` is its port, `port` the carrier's."""


def serving_arguments(directory: Path, *, listen: int, port: int) -> tuple[str, ...]:
    """Write settings, and return what serves with them: peers bind to `listen`, the carrier listens on `port`."""
    configuration = directory / "maskline.toml"
    configuration.write_text(SETTINGS.format(listen=listen, port=port))
    return ("--config", str(configuration), "--rate-limit-per-second", "0")


class Carrier:
    """An SMSC that takes everything."""

    def __init__(self, *, reports: bool = False) -> None:
        self.texts: Counter[str] = Counter()
        self._reports = reports

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer whatever comes."""
        splitter = Splitter()
        with contextlib.suppress(ConnectionError), contextlib.closing(writer):
            while data := await reader.read(65536):
                for one in splitter.feed(data):
                    if one.command & RESPONSE:
                        continue
                    body = b"x\0"
                    if one.command == Command.SUBMIT_SM:
                        message = read_message(one.body)
                        self.texts[message.octets[6 * (message.esm_class >> 6) :].decode("ascii")] += 1
                        body = write_message_id(f"{self.texts.total():08x}")
                    writer.write(frame(one.command | RESPONSE, one.sequence, body))
                    if self._reports and one.command == Command.SUBMIT_SM:
                        self._report(writer, read_message(one.body), f"{self.texts.total():08X}")

    def _report(self, writer: asyncio.StreamWriter, message: ShortMessage, message_id: str) -> None:
        text = write_receipt(message_id, "DELIVRD", submitted="2611292100", done="2611292101")
        receipt = ShortMessage(source=message.destination, destination=message.source, octets=text, esm_class=4)
        writer.write(frame(Command.DELIVER_SM, self.texts.total(), write_message(receipt)))


_THROTTLED_SECONDS = 0.1


class Hub:
    """An aggregator that sends again, as real ones do: unanswered over its next link, throttled a moment later."""

    def __init__(self, port: int, pairing: Pairing) -> None:
        self._port = port
        self._ends = (SmeAddress(1, 1, pairing.first.identifier[1:]), SmeAddress(1, 1, pairing.first.proxy[1:]))
        self.unanswered: list[ShortMessage] = []
        self.answered = 0

    def add(self, text: str, *, reference: int | None = None) -> None:
        """Have a text to send; with a reference in two parts, the second one first."""
        source, destination = self._ends
        if reference is None:
            self.unanswered.append(ShortMessage(source=source, destination=destination, octets=text.encode("ascii")))
            return
        half = len(text) // 2
        for number, part in ((2, text[half:]), (1, text[:half])):
            octets = header(Place(LongForm.UDH8, reference, 2, number)) + part.encode("ascii")
            self.unanswered.append(ShortMessage(source=source, destination=destination, octets=octets, esm_class=0x40))

    async def run(self, *, crash_after: int | None = None, crash: Callable[[], None] = lambda: None) -> None:
        """Send all that is unanswered, ten at a time; `crash` once so many answers have come."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        splitter, sequence, got = Splitter(), 1, 0
        waiting: dict[int, ShortMessage] = {}
        writer.write(frame(Command.BIND_TRANSCEIVER, 1, write_bind(Bind(system_id="hub", password="secret"))))
        try:
            while self.unanswered:
                data = await reader.read(65536)
                if not data:
                    return
                for one in splitter.feed(data):
                    if one.command == Command.SUBMIT_SM | RESPONSE:
                        message = waiting.pop(one.sequence)
                        if one.status == Status.THROTTLED:  # a host of the cluster is not back yet
                            await asyncio.sleep(_THROTTLED_SECONDS)
                            continue
                        assert one.status == 0, Status(one.status)
                        self.unanswered.remove(message)
                        got += 1
                        self.answered += 1
                if crash_after is not None and got >= crash_after:
                    crash()
                    return
                for message in self.unanswered:
                    if len(waiting) < 10 and not any(message is other for other in waiting.values()):
                        sequence += 1
                        waiting[sequence] = message
                        writer.write(frame(Command.SUBMIT_SM, sequence, write_message(message)))
        except ConnectionError:
            pass
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
