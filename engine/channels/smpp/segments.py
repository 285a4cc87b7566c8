"""Long messages: how a part says which of how many it is, and how a text is cut into parts; sans-IO.

Source: 3GPP TS 23.040 9.2.3.24 (user data header), SMPP 3.4 5.3.2.22 to 24 (sar_*).
"""

from enum import StrEnum
from typing import Final

from engine.channels.smpp.gsm import pack_septets
from engine.channels.smpp.pdu import ShortMessage, Tag
from engine.channels.smpp.texts import Alphabet, EncodedText, pieces, septet_padding
from engine.core.structs import Leaf

UDH_INDICATOR: Final = 0x40
"""Bit of esm_class: a user data header stands before the text."""


class LongForm(StrEnum):
    """How a long message is sent; closed."""

    UDH8 = "udh8"
    UDH16 = "udh16"
    SAR = "sar"
    PAYLOAD = "payload"
    """Whole, in message_payload."""


class Place(Leaf, frozen=True, gc=False):
    """Which part of a long message this is."""

    form: LongForm
    """With the reference it tells the message; never `PAYLOAD`."""
    reference: int
    total: int
    """2 to 255."""
    number: int
    """From 1."""


class UserData(Leaf, frozen=True, gc=False):
    """What a message carries, its headers taken off."""

    octets: bytes
    place: Place | None = None
    """None = a message of its own."""
    is_addressed: bool = False
    """For a port of an application on the phone: no text."""
    header: bytes = b""
    """The user data header as it came, with its length; empty where there is none."""


ALONE: Final = Place(LongForm.PAYLOAD, 0, 1, 1)
"""Of a message that is none of several parts."""


def user_data(message: ShortMessage) -> UserData:
    """Return what a message carries; a header that contradicts itself makes it a message of its own, text and all."""
    if not message.optional and not message.esm_class & UDH_INDICATOR:
        return UserData(message.octets)
    payload, is_addressed = message.payload, any(message.optional.get(Tag.DESTINATION_PORT, b""))
    if message.esm_class & UDH_INDICATOR:
        found = _read_header(payload, is_addressed=is_addressed)
        return UserData(payload, is_addressed=is_addressed) if found is None else found
    return UserData(payload, _segment(message), is_addressed)


def _read_header(payload: bytes, *, is_addressed: bool) -> UserData | None:
    end = 1 + payload[0] if payload else 0
    if end == 0 or end > len(payload):
        return None
    at, place = 1, None
    while at < end:
        if at + 2 > end or at + 2 + payload[at + 1] > end:
            return None
        kind, value = payload[at], payload[at + 2 : at + 2 + payload[at + 1]]
        at += 2 + len(value)
        if kind in _REFERENCE_BYTES and len(value) == _REFERENCE_BYTES[kind] + 2:
            form = LongForm.UDH8 if kind == _CONCATENATED_8 else LongForm.UDH16
            place = _place(form, int.from_bytes(value[:-2]), value[-2], value[-1])
        elif kind in _PORTS:
            is_addressed = True
    return UserData(payload[end:], place, is_addressed, payload[:end])


def _segment(message: ShortMessage) -> Place | None:
    values = [message.optional.get(tag, b"") for tag in _SAR]
    if not all(values):
        return None
    reference, total, number = map(int.from_bytes, values)
    return _place(LongForm.SAR, reference, total, number)


def _place(form: LongForm, reference: int, total: int, number: int) -> Place | None:
    return (
        Place(form, reference, total, number)
        if _FEWEST_PARTS <= total <= _MOST_PARTS and 1 <= number <= total
        else None
    )


def split(text: EncodedText, form: LongForm) -> list[bytes]:
    """Return the octets of the parts of a text, without their headers; one part where it fits or is sent whole."""
    whole = _MOST_SEPTETS if text.is_septets else _MOST_OCTETS
    if form is LongForm.PAYLOAD or len(text.octets) <= whole:
        return [_packed(text.octets, text.alphabet)]
    most = (_PART_SEPTETS if text.is_septets else _PART_OCTETS)[form]
    return [_packed(one, text.alphabet, header_bytes=_HEADER_BYTES[form]) for one in pieces(text, most)]


def _packed(octets: bytes, alphabet: Alphabet | None, *, header_bytes: int = 0) -> bytes:
    if alphabet is not Alphabet.GSM_PACKED:
        return octets
    return pack_septets(octets, skipped_bits=septet_padding(header_bytes))


def header(place: Place) -> bytes:
    """Return the user data header of a part; empty for `SAR`."""
    if place.form is LongForm.UDH8:
        return bytes((5, _CONCATENATED_8, 3, place.reference & 0xFF, place.total, place.number))
    if place.form is LongForm.UDH16:
        reference = (place.reference & 0xFFFF).to_bytes(2)
        return bytes((6, _CONCATENATED_16, 4)) + reference + bytes((place.total, place.number))
    return b""


def segment_parameters(place: Place) -> dict[int, bytes]:
    """Return the optional parameters of a part; empty but for `SAR`."""
    if place.form is not LongForm.SAR:
        return {}
    reference = (place.reference & 0xFFFF).to_bytes(2)
    return dict(zip(_SAR, (reference, bytes((place.total,)), bytes((place.number,))), strict=True))


_CONCATENATED_8, _CONCATENATED_16 = 0x00, 0x08
_REFERENCE_BYTES: Final = {_CONCATENATED_8: 1, _CONCATENATED_16: 2}
_PORTS: Final = frozenset({0x04, 0x05})
_SAR: Final = (Tag.SAR_MSG_REF_NUM, Tag.SAR_TOTAL_SEGMENTS, Tag.SAR_SEGMENT_SEQNUM)
_FEWEST_PARTS, _MOST_PARTS = 2, 255
_MOST_SEPTETS, _MOST_OCTETS = 160, 140
_PART_SEPTETS: Final = {LongForm.UDH8: 153, LongForm.UDH16: 152, LongForm.SAR: 153}
_PART_OCTETS: Final = {LongForm.UDH8: 134, LongForm.UDH16: 133, LongForm.SAR: 134}
_HEADER_BYTES: Final = {LongForm.UDH8: 6, LongForm.UDH16: 7, LongForm.SAR: 0}
