"""SMPP's protocol data units: octets to records and back; sans-IO.

A frame is cut by its length alone. What is wrong within a sound frame is one error, `BadBody`, that names the status to
answer with; unknown commands and optional parameters are no errors. Source: SMPP 3.4 issue 1.2, sections 3 to 5.
"""

import struct
from collections.abc import Callable, Iterator, Mapping
from enum import IntEnum
from typing import Final

from engine.core.model.errors import MasklineError
from engine.core.structs import Leaf

HEAD_BYTES: Final = 16
MAX_FRAME_BYTES: Final = 65_536
"""Of a PDU; 3.4 has no bound, and nothing of use is longer."""

RESPONSE: Final = 0x8000_0000
"""Set in the command of a response."""


class Command(IntEnum):
    """What a PDU asks; the response to it has `RESPONSE` added."""

    BIND_RECEIVER = 0x01
    BIND_TRANSMITTER = 0x02
    QUERY_SM = 0x03
    SUBMIT_SM = 0x04
    DELIVER_SM = 0x05
    UNBIND = 0x06
    REPLACE_SM = 0x07
    CANCEL_SM = 0x08
    BIND_TRANSCEIVER = 0x09
    OUTBIND = 0x0B
    ENQUIRE_LINK = 0x15
    ALERT_NOTIFICATION = 0x102
    DATA_SM = 0x103


GENERIC_NACK: Final = RESPONSE
"""Answers what cannot be told."""


class Status(IntEnum):
    """command_status, where we send it or mean it."""

    OK = 0x00
    BAD_LENGTH = 0x01
    BAD_COMMAND_LENGTH = 0x02
    UNKNOWN_COMMAND = 0x03
    WRONG_BIND_STATE = 0x04
    ALREADY_BOUND = 0x05
    SYSTEM_ERROR = 0x08
    BAD_SOURCE = 0x0A
    BAD_DESTINATION = 0x0B
    BIND_FAILED = 0x0D
    WRONG_PASSWORD = 0x0E
    UNKNOWN_SYSTEM_ID = 0x0F
    CANCEL_FAILED = 0x11
    REPLACE_FAILED = 0x13
    QUEUE_FULL = 0x14
    SUBMIT_FAILED = 0x45
    THROTTLED = 0x58
    TEMPORARY_ERROR = 0x64
    PERMANENT_ERROR = 0x65
    REJECTED = 0x66
    QUERY_FAILED = 0x67
    BAD_OPTIONAL = 0xC0
    BAD_OPTIONAL_LENGTH = 0xC2


class Tag(IntEnum):
    """Optional parameters that are read or sent."""

    RECEIPTED_MESSAGE_ID = 0x001E
    USER_MESSAGE_REFERENCE = 0x0204
    DESTINATION_PORT = 0x020B
    SAR_MSG_REF_NUM = 0x020C
    SAR_TOTAL_SEGMENTS = 0x020E
    SAR_SEGMENT_SEQNUM = 0x020F
    SC_INTERFACE_VERSION = 0x0210
    NETWORK_ERROR_CODE = 0x0423
    MESSAGE_PAYLOAD = 0x0424
    MORE_MESSAGES_TO_SEND = 0x0426
    MESSAGE_STATE = 0x0427
    CONGESTION_STATE = 0x0428


class BadFrame(MasklineError):  # noqa: N818 - names a state of the stream
    """Where the next PDU begins cannot be told: answer with a generic_nack and close."""


class BadBody(MasklineError):  # noqa: N818 - names a state of the PDU
    """A sound frame holds no sound body; its sender is told the status."""

    def __init__(self, status: Status, field: str) -> None:
        """Say which field is wrong."""
        super().__init__(f"{field} cannot be read")
        self.status = status
        self.field = field


class Frame(Leaf, frozen=True, gc=False):
    """A PDU with its body unread."""

    command: int
    """A `Command`, with `RESPONSE` or not, or something else."""
    status: int
    sequence: int
    body: bytes = b""


class Splitter:
    """What came on one connection and is not a whole PDU yet."""

    __slots__ = ("_at", "_octets")

    def __init__(self) -> None:
        """Begin between two PDUs."""
        self._octets = b""
        self._at = 0
        """Where the next PDU begins in them."""

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield the PDUs that are whole now that these octets have come. Raises BadFrame; nothing may follow then."""
        self.add(data)
        while (one := self.next()) is not None:
            yield one

    def add(self, data: bytes) -> None:
        """Take octets."""
        left = self._octets[self._at :]
        self._octets = left + data if left else data
        self._at = 0

    def next(self) -> Frame | None:
        """Return the next PDU; None where it is not whole yet. Raises BadFrame; nothing may follow then."""
        octets, start = self._octets, self._at
        held = len(octets) - start
        if held < HEAD_BYTES:
            return None
        length, command, status, sequence = _READ_HEAD(octets, start)
        if not HEAD_BYTES <= length <= MAX_FRAME_BYTES:
            raise BadFrame(f"a PDU of {length} octets")
        if held < length:
            return None
        self._at = start + length
        return Frame(command, status, sequence, octets[start + HEAD_BYTES : start + length])


class Bind(Leaf, frozen=True, gc=False, kw_only=True):
    """The body of bind_receiver, bind_transmitter and bind_transceiver."""

    system_id: str
    password: str
    system_type: str = ""
    interface_version: int = 0x34

    def __repr__(self) -> str:
        """Show no password."""
        return f"Bind(system_id={self.system_id!r}, interface_version={self.interface_version:#x})"


class SmeAddress(Leaf, frozen=True, gc=False):
    """A number with its type and plan."""

    ton: int
    npi: int
    digits: str


class ShortMessage(Leaf, frozen=True, gc=False, kw_only=True):
    """The body of submit_sm and deliver_sm; of data_sm too, which has fewer fields and its text as a payload."""

    source: SmeAddress
    destination: SmeAddress
    octets: bytes = b""
    """short_message: text, or a user data header and text."""
    service_type: str = ""
    esm_class: int = 0
    protocol_id: int = 0
    priority: int = 0
    schedule: str = ""
    validity: str = ""
    registered_delivery: int = 0
    replace: int = 0
    data_coding: int = 0
    default_message: int = 0
    optional: Mapping[int, bytes] = {}
    """By tag; of a tag that came twice, the last value."""

    @property
    def payload(self) -> bytes:
        """Return the text wherever it stands: short_message, else message_payload."""
        return self.octets or self.optional.get(Tag.MESSAGE_PAYLOAD, b"")


def frame(command: int, sequence: int, body: bytes = b"", *, status: int = 0) -> bytes:
    """Return a PDU."""
    return _WRITE_HEAD(HEAD_BYTES + len(body), command, status, sequence) + body


def read_bind(body: bytes) -> Bind:
    """Read a bind. Raises BadBody."""
    reader = _Reader(body)
    system_id, password, system_type = (reader.text(name) for name in ("system_id", "password", "system_type"))
    version = reader.octet("interface_version")
    return Bind(system_id=system_id, password=password, system_type=system_type, interface_version=version)


def write_bind(bind: Bind) -> bytes:
    """Return the body of a bind, for any address."""
    texts = b"".join(map(_text, (bind.system_id, bind.password, bind.system_type)))
    return texts + bytes([bind.interface_version, 0, 0]) + b"\0"


def read_message(body: bytes) -> ShortMessage:
    """Read the body of a submit_sm or deliver_sm. Raises BadBody."""
    try:
        at = _end_of_text(body, 0)
        source, after_source = _address_at(body, at + 1)
        destination, fixed = _address_at(body, after_source)
        schedule_end = _end_of_text(body, fixed + 3)
        validity_end = _end_of_text(body, schedule_end + 1)
        start = validity_end + 6
        end = start + body[start - 1]
    except IndexError:
        raise BadBody(Status.BAD_COMMAND_LENGTH, _field_cut(body)) from None
    if end > len(body):
        raise BadBody(Status.BAD_COMMAND_LENGTH, "short_message")
    return ShortMessage(  # in the order of its fields, which is the fastest
        source=source,
        destination=destination,
        octets=body[start:end],
        service_type=body[:at].decode("latin-1"),
        esm_class=body[fixed],
        protocol_id=body[fixed + 1],
        priority=body[fixed + 2],
        schedule=body[fixed + 3 : schedule_end].decode("latin-1"),
        validity=body[schedule_end + 1 : validity_end].decode("latin-1"),
        registered_delivery=body[start - 5],
        replace=body[start - 4],
        data_coding=body[start - 3],
        default_message=body[start - 2],
        optional=_Reader(body, end).optional() if end < len(body) else {},
    )


def _address_at(body: bytes, at: int) -> tuple[SmeAddress, int]:
    """Return the address at a place, and where it ends; raises IndexError."""
    end = _end_of_text(body, at + 2)
    return SmeAddress(body[at], body[at + 1], body[at + 2 : end].decode("latin-1")), end + 1


def _end_of_text(body: bytes, at: int) -> int:
    """Return where the next NUL is; raises IndexError. Compiled, texts as short as these are gone through faster so."""
    while body[at]:
        at += 1
    return at


def _field_cut(body: bytes) -> str:
    """Return the field in which a message ends too early."""
    reader = _Reader(body)
    try:
        reader.text("service_type")
        reader.address("source_addr")
        reader.address("destination_addr")
        reader.octets("esm_class", 3)
        reader.text("schedule_delivery_time")
        reader.text("validity_period")
        reader.octets("registered_delivery", 5)
    except BadBody as bad:
        return bad.field
    return "short_message"


def write_message(message: ShortMessage) -> bytes:
    """Return the body of a submit_sm or deliver_sm; `octets` has 254 at the most, a longer text goes as a payload."""
    source, destination, octets = message.source, message.destination, message.octets
    return b"%b\0%c%c%b\0%c%c%b\0%c%c%c%b\0%b\0%c%c%c%c%c%b%b" % (
        message.service_type.encode("latin-1"),
        source.ton,
        source.npi,
        source.digits.encode("latin-1"),
        destination.ton,
        destination.npi,
        destination.digits.encode("latin-1"),
        message.esm_class,
        message.protocol_id,
        message.priority,
        message.schedule.encode("latin-1"),
        message.validity.encode("latin-1"),
        message.registered_delivery,
        message.replace,
        message.data_coding,
        message.default_message,
        len(octets),
        octets,
        _optional(message.optional),
    )


def read_data(body: bytes) -> ShortMessage:
    """Read the body of a data_sm. Raises BadBody."""
    reader = _Reader(body)
    service_type = reader.text("service_type")
    source, destination = reader.address("source_addr"), reader.address("destination_addr")
    esm_class, registered, coding = (reader.octet(name) for name in ("esm_class", "registered_delivery", "data_coding"))
    return ShortMessage(
        service_type=service_type,
        source=source,
        destination=destination,
        esm_class=esm_class,
        registered_delivery=registered,
        data_coding=coding,
        optional=reader.optional(),
    )


def write_data(message: ShortMessage) -> bytes:
    """Return the body of a data_sm; fields that it has not are left out."""
    return b"".join((
        _text(message.service_type),
        _address(message.source),
        _address(message.destination),
        bytes((message.esm_class, message.registered_delivery, message.data_coding)),
        _optional(message.optional),
    ))  # fmt: skip


def read_message_id(body: bytes) -> str:
    """Read the id in the response to a submit_sm or data_sm; empty where its sender has none, or sent no body."""
    if not body:
        return ""
    try:
        return body[: _end_of_text(body, 0)].decode("latin-1")
    except IndexError:
        raise BadBody(Status.BAD_COMMAND_LENGTH, "message_id") from None


def write_message_id(message_id: str) -> bytes:
    """Return the body of a response; that to a deliver_sm has the empty id."""
    return _text(message_id)


def write_state(message_id: str, *, final_date: str, state: int) -> bytes:
    """Return the body of the response to a query_sm; `final_date` is empty as long as the state is not final."""
    return _text(message_id) + _text(final_date) + bytes((state, 0))


class _Reader:
    """Walks through a body."""

    __slots__ = ("_at", "_body")

    def __init__(self, body: bytes, at: int = 0) -> None:
        self._body = body
        self._at = at

    def octet(self, field: str) -> int:
        return self.octets(field, 1)[0]

    def octets(self, field: str, length: int) -> bytes:
        start, end = self._at, self._at + length
        if end > len(self._body):
            raise BadBody(Status.BAD_COMMAND_LENGTH, field)
        self._at = end
        return self._body[start:end]

    def text(self, field: str) -> str:
        """Read up to a NUL; Latin-1, since any octet has to be held."""
        end = self._body.find(b"\0", self._at)
        if end < 0:
            raise BadBody(Status.BAD_COMMAND_LENGTH, field)
        return self.octets(field, end + 1 - self._at)[:-1].decode("latin-1")

    def address(self, field: str) -> SmeAddress:
        ton, npi = self.octets(field, 2)
        return SmeAddress(ton, npi, self.text(field))

    def optional(self) -> dict[int, bytes]:
        found = {}
        while self._at < len(self._body):
            if len(self._body) - self._at < _TLV.size:
                raise BadBody(Status.BAD_OPTIONAL, "optional parameters")
            tag, length = _TLV.unpack(self.octets("tag", _TLV.size))
            if length > len(self._body) - self._at:
                raise BadBody(Status.BAD_OPTIONAL_LENGTH, f"parameter {tag:#06x}")
            found[tag] = self.octets("value", length)
        return found


def _text(text: str) -> bytes:
    return text.encode("latin-1") + b"\0"


def _address(address: SmeAddress) -> bytes:
    return bytes((address.ton, address.npi)) + _text(address.digits)


def _optional(values: Mapping[int, bytes]) -> bytes:
    return b"".join([_TLV.pack(tag, len(value)) + value for tag, value in values.items()])


_HEAD: Final = struct.Struct(">IIII")
_READ_HEAD: Final[Callable[[bytes, int], tuple[int, int, int, int]]] = _HEAD.unpack_from
_WRITE_HEAD: Final[Callable[[int, int, int, int], bytes]] = _HEAD.pack
_TLV: Final = struct.Struct(">HH")
