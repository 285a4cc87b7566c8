"""Mutated PDUs, of one or both sides: each is a PDU or one defined error, and no connection does anything else.

As many as one likes: `python -m tests.channels.smpp.fuzz 1000000 SEED`.
"""

import resource
import sys
from contextlib import suppress
from random import Random
from time import monotonic

from engine.channels.smpp.pdu import (
    MAX_FRAME_BYTES,
    RESPONSE,
    BadBody,
    BadFrame,
    Bind,
    Command,
    Frame,
    ShortMessage,
    SmeAddress,
    Splitter,
    Tag,
    frame,
    read_bind,
    read_data,
    read_message,
    read_message_id,
    write_bind,
    write_data,
    write_message,
    write_message_id,
)
from engine.channels.smpp.receipts import forms_of, is_receipt, read_receipt, write_receipt
from engine.channels.smpp.segments import LongForm, Place, header, segment_parameters, user_data
from engine.channels.smpp.session import RequestCame, Role, Session, State, Timing
from engine.channels.smpp.texts import Alphabet, Reading, decode

_SOURCE, _DESTINATION = SmeAddress(1, 1, "12125550111"), SmeAddress(1, 1, "14155550100")
_PLACE, _SAR = Place(LongForm.UDH16, 7, 2, 1), Place(LongForm.SAR, 7, 2, 1)
_RECEIPT = write_receipt("00112233aabbccdd", "DELIVRD", submitted="2611290949", done="2611290950")
_MESSAGES = (
    ShortMessage(source=_SOURCE, destination=_DESTINATION, octets=b"hello {\x1b\x28}"),
    ShortMessage(
        source=_SOURCE,
        destination=_DESTINATION,
        octets="привет 😀".encode("utf-16-be"),
        data_coding=8,
        validity="000000010000000R",
    ),
    ShortMessage(source=_SOURCE, destination=_DESTINATION, octets=header(_PLACE) + b"x" * 100, esm_class=0x40),
    ShortMessage(source=_SOURCE, destination=_DESTINATION, octets=b"x" * 100, optional=segment_parameters(_SAR)),
    ShortMessage(
        source=_SOURCE, destination=_DESTINATION, optional={Tag.MESSAGE_PAYLOAD: b"y" * 400, 0x1403: b"vendor"}
    ),
    ShortMessage(
        source=_SOURCE,
        destination=_DESTINATION,
        octets=_RECEIPT,
        esm_class=4,
        optional={Tag.RECEIPTED_MESSAGE_ID: b"1\0"},
    ),
)
_BIND = write_bind(Bind(system_id="them", password="secret"))
_BODIES = (
    *((command, write_message(one)) for one in _MESSAGES for command in (Command.SUBMIT_SM, Command.DELIVER_SM)),
    *((Command.DATA_SM, write_data(one)) for one in _MESSAGES),
    (Command.BIND_TRANSCEIVER, _BIND),
    (Command.OUTBIND, b"them\0secret\0"),
    (Command.SUBMIT_SM | RESPONSE, write_message_id("00112233")),
    *((command, b"") for command in (Command.ENQUIRE_LINK, Command.UNBIND, Command.QUERY_SM, RESPONSE)),
)
_TIMING = Timing()
_HEAD_BYTES, _MOST_CHANGES = 16, 6


def mutated(random: Random) -> bytes:
    """Return a PDU of which something is changed; its length is right more often than not."""
    command, body = random.choice(_BODIES)
    data = bytearray(frame(command, random.randrange(1, 5), body))
    for _ in range(random.randrange(_MOST_CHANGES)):
        _change(random, data)
    if random.random() < 0.8:
        data[:4] = len(data).to_bytes(4)
    return bytes(data)


def _change(random: Random, data: bytearray) -> None:
    at = random.randrange(len(data) + 1)
    match random.randrange(6):
        case 0 if at < len(data):
            data[at] = random.randrange(256)
        case 1 if at < len(data):
            data[at] ^= 1 << random.randrange(8)
        case 2:
            data[at:at] = random.randbytes(random.randrange(1, 9))
        case 3 if at > _HEAD_BYTES:
            del data[at:]
        case 4:
            del data[max(at, _HEAD_BYTES) : at + random.randrange(9)]
        case _:
            data[at:at] = data[random.randrange(len(data) + 1) :][: random.randrange(40)]


class Fuzz:
    """Judges mutated PDUs: any assertion or other exception is a fault of ours."""

    def __init__(self, seed: int) -> None:
        self.pdus = self.messages = self.errors = 0
        """Judged; which were messages; how often an error was told."""
        self._random = Random(seed)  # noqa: S311 - the same PDUs for the same seed
        self._sessions = {role: bound(role) for role in Role}

    def pdu(self) -> None:
        """Judge one."""
        data = mutated(self._random)
        self.pdus += 1
        for one in self._frames(data):
            self._read(one)
        for role in Role:
            self._receive(role, data)

    def _frames(self, data: bytes) -> list[Frame]:
        frames: list[Frame] = []
        try:
            frames.extend(Splitter().feed(data))
        except BadFrame:
            self.errors += 1
            assert not _HEAD_BYTES <= int.from_bytes(data[:4]) <= MAX_FRAME_BYTES or frames
        return frames

    def _read(self, one: Frame) -> None:
        for read in (read_bind, read_data, read_message_id):
            with suppress(BadBody):
                read(one.body)
        try:
            message = read_message(one.body)
        except BadBody:
            self.errors += 1
            return
        self.messages += 1
        assert read_message(write_message(message)) == message
        held = user_data(message)
        default = self._random.choice(list(Alphabet))
        decode(held.octets, message.data_coding, reading=Reading(default, default), header_bytes=len(held.header))
        if is_receipt(message):
            receipt = read_receipt(message)
            assert receipt is None or forms_of(receipt.message_id)

    def _receive(self, role: Role, data: bytes) -> None:
        """Have a connection take it, anywhere parted; what it says then is sound."""
        session, at = self._sessions[role], self._random.randrange(len(data) + 1)
        events = [*session.receive(data[:at], now=1.0), *session.receive(data[at:], now=1.0)]
        for event in events:
            if isinstance(event, RequestCame):
                session.respond(event)
        said = session.data_to_send()
        assert sum(_HEAD_BYTES + len(one.body) for one in Splitter().feed(said)) == len(said)
        self._sessions[role] = bound(role)


def bound(role: Role) -> Session:
    """Return a connection that is bound, and waits for the response to a message of ours."""
    session = Session(role, window=10, timing=_TIMING, now=0.0)
    if role is Role.ESME:
        session.request(Command.BIND_TRANSCEIVER, _BIND, now=0.0)
        session.receive(frame(Command.BIND_TRANSCEIVER | RESPONSE, 1, b"smsc\0"), now=0.0)
        session.request(Command.SUBMIT_SM, b"", now=0.0)
    else:
        session.receive(frame(Command.BIND_TRANSCEIVER, 1, _BIND), now=0.0)
        session.accept_bind(b"smsc\0")
        session.request(Command.DELIVER_SM, b"", now=0.0)
    session.data_to_send()
    assert session.state is State.TRANSCEIVER
    return session


def main(pdus: int, seed: int) -> None:
    """Judge so many, and tell."""
    fuzz, began = Fuzz(seed), monotonic()
    for _ in range(pdus):
        fuzz.pdu()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sys.stdout.write(
        f"seed {seed}: {fuzz.pdus:,} PDUs in {monotonic() - began:.0f} s, {fuzz.messages:,} messages,"
        f" {fuzz.errors:,} errors told; {peak:,} KiB at the most\n"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1)
