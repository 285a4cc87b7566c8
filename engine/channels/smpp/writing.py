"""A message of ours as the PDUs that carry it; sans-IO."""

import msgspec

from engine.channels.smpp.addresses import write_address
from engine.channels.smpp.pdu import ShortMessage, Tag
from engine.channels.smpp.peers import SmppPeer
from engine.channels.smpp.segments import UDH_INDICATOR, LongForm, Place, header, segment_parameters, split
from engine.channels.smpp.texts import encode
from engine.core.model.records import Address

_WITH_RECEIPT = 1
_MOST_SEPTETS, _MOST_OCTETS = 160, 140
"""Of short_message, without a header."""
_MOST_PARTS = 255


class TooLong(ValueError):  # noqa: N818 - names a state of the text
    """A text needs more parts than a message may have."""


class OutText(msgspec.Struct, frozen=True):
    """A text on its way to a peer."""

    sender: Address
    to: Address
    body: str
    reference: int
    """Of a long message; told apart by it from others to the same number."""
    user_reference: int = 0
    """The same in every try, so that a careful peer knows a message again; 16 bits, of each part its own."""
    wants_receipt: bool = True


def parts_of(text: OutText, peer: SmppPeer) -> list[ShortMessage]:
    """Return the messages that carry a text, in order, as was agreed with a peer. Raises TooLong."""
    encoded = encode(text.body, default=peer.default_alphabet)
    octets = split(encoded, peer.long_messages)
    if len(octets) > _MOST_PARTS:
        raise TooLong(f"the text needs {len(octets)} parts, and a message has {_MOST_PARTS} at the most")
    whole = ShortMessage(
        source=write_address(text.sender),
        destination=write_address(text.to),
        data_coding=encoded.data_coding,
        registered_delivery=_WITH_RECEIPT if text.wants_receipt else 0,
    )
    if len(octets) == 1:
        whole = msgspec.structs.replace(whole, optional=_user_reference(text, 0))
        return [_with_text(whole, octets[0], most=_MOST_SEPTETS if encoded.is_septets else _MOST_OCTETS)]
    places = [Place(peer.long_messages, text.reference, len(octets), number + 1) for number in range(len(octets))]
    return [
        _part(whole, place, one, _user_reference(text, place.number)) for place, one in zip(places, octets, strict=True)
    ]


def _with_text(whole: ShortMessage, octets: bytes, *, most: int) -> ShortMessage:
    if len(octets) > most:
        return msgspec.structs.replace(whole, optional={**whole.optional, Tag.MESSAGE_PAYLOAD: octets})
    return msgspec.structs.replace(whole, octets=octets)


def _user_reference(text: OutText, number: int) -> dict[int, bytes]:
    return {Tag.USER_MESSAGE_REFERENCE: (text.user_reference + number & 0xFFFF).to_bytes(2)}


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
