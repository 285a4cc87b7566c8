"""A message of ours as the PDUs that carry it; sans-IO."""

from typing import Final

import msgspec

from engine.channels.smpp.addresses import write_address
from engine.channels.smpp.pdu import ShortMessage, Tag
from engine.channels.smpp.peers import SmppPeer
from engine.channels.smpp.segments import UDH_INDICATOR, LongForm, Place, header, segment_parameters, split
from engine.channels.smpp.texts import EncodedText, as_it_came, encode
from engine.channels.smpp.times import relative
from engine.core.model.records import Address, RawText
from engine.core.structs import Value

_WITH_RECEIPT: Final = 1
_MOST_SEPTETS: Final = 160
"""Of short_message, without a header."""
_MOST_OCTETS: Final = 140
"""The same."""
_MOST_PARTS: Final = 255
_USER_REFERENCE: Final = Tag.USER_MESSAGE_REFERENCE  # a member is found tenfold faster here than in its class (3.11)
_PAYLOAD: Final = Tag.MESSAGE_PAYLOAD


class TooLong(ValueError):  # noqa: N818 - names a state of the text
    """A text needs more parts than a message may have."""


class OutText(Value, frozen=True):
    """A text on its way to a peer."""

    sender: Address
    to: Address
    body: str
    user_reference: int = 0
    """The same in every try, so that a careful peer knows a message again; 16 bits, of each part its own."""
    wants_receipt: bool = True
    raw: RawText | None = None
    """The same text as it came."""


def parts_of(text: OutText, peer: SmppPeer, *, reference: int) -> list[ShortMessage]:
    """Return the messages that carry a text, in order, as was agreed with a peer. Raises TooLong.

    A long one is told apart by its `reference` from others to the same number.
    """
    raw = text.raw
    encoded = None if raw is None else as_it_came(raw, reading=peer.reading, keeps_class=peer.message_class)
    is_swapped = peer.ucs2_little_endian and encoded is None
    encoded = encoded or encode(
        text.body,
        default=peer.default_alphabet,
        transliterates=peer.transliterate,
        prefers_latin1=peer.prefer_latin1,
    )
    octets = split(encoded, peer.long_messages)
    if is_swapped and encoded.alphabet is None:
        octets = [one.decode("utf-16-be", "surrogatepass").encode("utf-16-le", "surrogatepass") for one in octets]
    if len(octets) > _MOST_PARTS:
        raise TooLong(f"the text needs {len(octets)} parts, and a message has {_MOST_PARTS} at the most")
    if len(octets) == 1:
        return [_single(text, peer, encoded, octets[0])]
    whole = _message(text, peer, encoded.data_coding, b"", {})
    places = [Place(peer.long_messages, reference, len(octets), number + 1) for number in range(len(octets))]
    return [
        _part(whole, place, one, _user_reference(text, place.number)) for place, one in zip(places, octets, strict=True)
    ]


def _single(text: OutText, peer: SmppPeer, encoded: EncodedText, octets: bytes) -> ShortMessage:
    optional = _user_reference(text, 0)
    if len(octets) > (_MOST_SEPTETS if encoded.is_septets else _MOST_OCTETS):
        return _message(text, peer, encoded.data_coding, b"", {**optional, _PAYLOAD: octets})
    return _message(text, peer, encoded.data_coding, octets, optional)


def _message(  # noqa: PLR0917 - what a message is made of
    text: OutText, peer: SmppPeer, data_coding: int, octets: bytes, optional: dict[int, bytes]
) -> ShortMessage:
    return ShortMessage(
        source=write_address(text.sender, with_plus=peer.with_plus, short_code_ton=peer.short_code_ton),
        destination=write_address(text.to, with_plus=peer.with_plus, short_code_ton=peer.short_code_ton),
        validity=relative(peer.validity_seconds) if peer.validity_seconds else "",
        data_coding=data_coding,
        registered_delivery=_WITH_RECEIPT if text.wants_receipt else 0,
        octets=octets,
        optional=optional,
    )


def _user_reference(text: OutText, number: int) -> dict[int, bytes]:
    return {_USER_REFERENCE: (text.user_reference + number & 0xFFFF).to_bytes(2)}


def _part(whole: ShortMessage, place: Place, octets: bytes, optional: dict[int, bytes]) -> ShortMessage:
    optional |= segment_parameters(place)
    if place.number < place.total:
        optional[Tag.MORE_MESSAGES_TO_SEND] = b"\1"
    return msgspec.structs.replace(
        whole,
        octets=header(place) + octets,
        esm_class=0 if place.form is LongForm.SAR else UDH_INDICATOR,
        optional=optional,
    )
