"""Texts of short messages: each alphabet there and back, long ones in each form, and nothing that raises."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.channels.smpp.gsm import decode_gsm, encode_gsm, pack_septets, unpack_septets
from engine.channels.smpp.pdu import ShortMessage, SmeAddress, Tag
from engine.channels.smpp.segments import (
    UDH_INDICATOR,
    LongForm,
    Place,
    UserData,
    header,
    segment_parameters,
    split,
    user_data,
)
from engine.channels.smpp.texts import Alphabet, NotText, Reading, as_it_came, decode, encode
from engine.core.model.records import RawText

GSM_TEXT = "@£$¥ Hello {world} [x] ~ \\ ^ | € Ça é Ñ"
NOWHERE = SmeAddress(0, 0, "")
alphabets = st.sampled_from(Alphabet)
parted_forms = st.sampled_from([LongForm.UDH8, LongForm.UDH16, LongForm.SAR])


def carrying(octets: bytes, *, esm_class: int = 0, optional: dict[int, bytes] | None = None) -> ShortMessage:
    return ShortMessage(
        source=NOWHERE, destination=NOWHERE, octets=octets, esm_class=esm_class, optional=optional or {}
    )


def test_the_gsm_alphabet_is_a_septet_an_octet() -> None:
    """As peers send it under 0; the extension table is behind an escape."""
    assert encode_gsm("@{€") == b"\x00\x1b\x28\x1b\x65"
    assert decode_gsm(b"\x00\x1b\x28\x1b\x65\x40\x24") == "@{€¡¤"
    assert decode_gsm(encode_gsm(GSM_TEXT) or b"") == GSM_TEXT


def test_a_look_alike_is_not_in_the_alphabet() -> None:
    """A small c with a cedilla is not its capital."""
    assert encode_gsm("ç") is None
    assert encode_gsm("😀") is None


@pytest.mark.parametrize(("octets", "text"), [(b"\x1ba", "a"), (b"a\x1b", "a"), (b"\x1b\x1b", "�"), (b"\x80a", "�a")])
def test_what_is_no_septet_is_shown_and_nothing_else_is_lost(octets: bytes, text: str) -> None:
    """A lone escape is nothing; an unknown one shows the plain character."""
    assert decode_gsm(octets) == text


def test_septets_are_packed_as_on_the_air() -> None:
    """The example that everybody knows; eight septets in seven octets."""
    packed = bytes.fromhex("e8329bfd4697d9ec37")

    assert pack_septets(b"hellohello") == packed
    assert unpack_septets(packed, 10) == b"hellohello"


@given(st.text(st.characters(max_codepoint=0x7F), max_size=160))
def test_ascii_is_written_in_gsm_as_in_company(text: str) -> None:
    """It is gone through at once where nothing else stands in a text."""
    alone, together = encode_gsm(text), encode_gsm(text + "é")

    assert together == (None if alone is None else alone + b"\x05")


@given(st.binary(max_size=160).map(lambda octets: bytes(octet & 0x7F for octet in octets)), st.integers(0, 6))
def test_packing_is_undone_by_unpacking(septets: bytes, skipped: int) -> None:
    """Behind any padding."""
    assert unpack_septets(pack_septets(septets, skipped_bits=skipped), len(septets), skipped_bits=skipped) == septets


@pytest.mark.parametrize(
    ("coding", "octets", "text"),
    [
        (0x00, b"\x00", "@"),
        (0x01, b"\x00", "@"),
        (0x03, b"\xe9", "é"),
        (0x08, b"\xd8\x3d\xde\x00", "😀"),
        (0x08, b"\xff\xfea\x00", "a"),
        (0x08, b"\xfe\xff\x00a", "a"),
        (0x08, b"\x00a\x00", "a�"),
        (0x08, b"\xd8\x3d", "�"),
        (0x05, b"\x83\x65", "テ"),
        (0x06, b"\xbf\xe0", "Пр"),
        (0x07, b"\xf9\xec", "של"),
        (0x0E, b"\xc7\xd1", "한"),
        (0x10, b"\x00", "@"),
        (0x18, b"\x00a", "a"),
        (0xF0, b"\x00", "@"),
    ],
)
def test_octets_are_read_by_what_their_data_coding_means(coding: int, octets: bytes, text: str) -> None:
    """Of the standard, of peers that break it, and of phones."""
    assert decode(octets, coding, reading=Reading()) == text


@pytest.mark.parametrize(
    ("reading", "coding", "octets", "text"),
    [
        (Reading(Alphabet.LATIN_1), 0, b"\xe9", "é"),
        (Reading(Alphabet.LATIN_1), 1, b"\x00", "@"),
        (Reading(ia5=Alphabet.ASCII), 1, b"$", "$"),
        (Reading(is_little_endian=True), 8, b"a\0", "a"),
        (Reading(is_little_endian=True), 8, b"\xfe\xff\0a", "a"),
        (Reading(finds_ucs2=True), 0, b"\0a\0b", "ab"),
        (Reading(finds_ucs2=True), 0, b"\0a\1b", "@a£b"),
        (Reading(finds_ucs2=True), 0, b"\0a\0", "@a@"),
        (Reading(), 0, b"\0a\0b", "@a@b"),
    ],
)
def test_what_a_peer_means_by_its_octets_is_agreed_on(reading: Reading, coding: int, octets: bytes, text: str) -> None:
    """Alphabets, the order of the octets of UCS-2, and UCS-2 that is not declared."""
    assert decode(octets, coding, reading=reading) == text


@pytest.mark.parametrize(
    ("text", "coding", "octets"),
    [
        ("ça va", 0, b"ca va"),
        ("\u201cso\u201d \u2013 yes\u2026", 0, b'"so" - yes...'),
        ("Ça", 0, b"\ta"),
        ("ça ж", 8, "ça ж".encode("utf-16-be")),
    ],
)
def test_look_alikes_stand_for_what_the_alphabet_lacks_where_that_was_agreed_on(
    text: str, coding: int, octets: bytes
) -> None:
    """All of a text, or it is UCS-2 as it is."""
    encoded = encode(text, default=Alphabet.GSM, transliterates=True)

    assert (encoded.data_coding, encoded.octets) == (coding, octets)


@pytest.mark.parametrize(("text", "coding"), [("é@", 3), ("€", 0), ("ç", 8), ("Δ", 0)])
def test_latin_1_is_preferred_for_what_is_in_both_alphabets(text: str, coding: int) -> None:
    """Peers convert it to the other one."""
    assert encode(text, default=Alphabet.GSM, prefers_latin1=True).data_coding == coding


@pytest.mark.parametrize(
    ("coding", "kept", "without"), [(0x10, 0x10, 0), (0xF1, 0xF1, 0), (0x18, 0x18, 8), (0, 0, 0), (8, 8, 8)]
)
def test_a_message_class_is_passed_on_where_that_was_agreed_on(coding: int, kept: int, without: int) -> None:
    """A message that is shown at once may startle."""
    raw = RawText("gsm", coding, b"\x1b\x65")

    told = [as_it_came(raw, reading=Reading(), keeps_class=keeps) for keeps in (True, False)]

    assert [one.data_coding for one in told if one is not None] == [kept, without]


@pytest.mark.parametrize(
    ("coding", "what"),
    [
        (0x02, NotText.BINARY),
        (0x04, NotText.BINARY),
        (0x14, NotText.BINARY),
        (0xF5, NotText.BINARY),
        (0xC8, NotText.WAITING),
    ],
)
def test_what_is_no_text_is_not_read_as_one(coding: int, what: NotText) -> None:
    """Data for the phone, or a lamp on it."""
    assert decode(b"abc", coding, reading=Reading()) is what


@given(st.binary(max_size=50), st.integers(0, 255), alphabets, st.integers(0, 8))
def test_no_octets_are_an_error(octets: bytes, coding: int, default: Alphabet, header_bytes: int) -> None:
    """Whatever they are declared to be."""
    decode(octets, coding, reading=Reading(default, default), header_bytes=header_bytes)


@given(st.text(max_size=30), alphabets.filter(lambda one: one is not Alphabet.GSM_PACKED))
def test_a_text_is_read_as_it_was_sent(text: str, default: Alphabet) -> None:
    """In the agreed alphabet or in UCS-2; a lone surrogate is the only thing that is replaced."""
    encoded = encode(text, default=default)

    read = decode(encoded.octets, encoded.data_coding, reading=Reading(default))

    assert read == text.encode("utf-16-be", "replace").decode("utf-16-be")


@pytest.mark.parametrize(
    ("text", "form", "parts"),
    [
        ("a" * 160, LongForm.UDH8, [160]),
        ("a" * 161, LongForm.UDH8, [153, 8]),
        ("a" * 161, LongForm.UDH16, [152, 9]),
        ("a" * 161, LongForm.SAR, [153, 8]),
        ("a" * 161, LongForm.PAYLOAD, [161]),
        ("a" * 152 + "€" + "b" * 10, LongForm.UDH8, [152, 12]),
        ("я" * 70, LongForm.UDH8, [140]),
        ("я" * 71, LongForm.UDH8, [134, 8]),
        ("я" * 71, LongForm.UDH16, [132, 10]),
        ("я" * 66 + "😀" + "я" * 5, LongForm.UDH8, [132, 14]),
    ],
)
def test_a_long_text_is_parted_where_it_may_be(text: str, form: LongForm, parts: list[int]) -> None:
    """Never within an escaped character or a surrogate pair."""
    assert [len(part) for part in split(encode(text, default=Alphabet.GSM), form)] == parts


def relayed(text: str, form: LongForm, default: Alphabet) -> tuple[str, list[Place | None]]:
    """Return a text as the other side reads it, with the places of its parts."""
    encoded = encode(text, default=default)
    parts = split(encoded, form)
    read, places = "", []
    for number, part in enumerate(parts, 1):
        place = Place(form, 7, len(parts), number)
        front = header(place) if len(parts) > 1 else b""
        optional = segment_parameters(place) if len(parts) > 1 else {}
        found = user_data(carrying(front + part, esm_class=UDH_INDICATOR if front else 0, optional=optional))
        told = decode(found.octets, encoded.data_coding, reading=Reading(default), header_bytes=len(found.header))
        assert isinstance(told, str)
        read += told
        places.append(found.place)
    return read, places


@given(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=400),
    parted_forms,
    alphabets.filter(lambda one: one is not Alphabet.GSM_PACKED),
)
def test_the_parts_of_a_text_are_the_text(text: str, form: LongForm, default: Alphabet) -> None:
    """Each with its place, in each form and alphabet."""
    read, places = relayed(text, form, default)

    assert read == text
    assert places in ([None], [Place(form, 7, len(places), number) for number in range(1, len(places) + 1)])


@pytest.mark.parametrize("form", [LongForm.UDH8, LongForm.UDH16])
def test_packed_parts_begin_behind_their_header(form: LongForm) -> None:
    """At the next boundary of a septet."""
    text = "hello {world} " * 20

    read, places = relayed(text, form, Alphabet.GSM_PACKED)

    assert read.replace("@", "") == text
    assert len(places) > 1


@pytest.mark.parametrize(
    ("payload", "place", "rest"),
    [
        ("05 00 03 2a 02 01 6869", Place(LongForm.UDH8, 42, 2, 1), b"hi"),
        ("06 08 04 012a 03 02 6869", Place(LongForm.UDH16, 298, 3, 2), b"hi"),
        ("08 24 01 01 00 03 2a 02 02 6869", Place(LongForm.UDH8, 42, 2, 2), b"hi"),
        ("05 00 03 2a 01 01 6869", None, b"hi"),
        ("05 00 03 2a 00 00 6869", None, b"hi"),
        ("05 00 03 2a 02 03 6869", None, b"hi"),
        ("00 6869", None, b"hi"),
    ],
)
def test_a_header_tells_the_place_of_a_part(payload: str, place: Place | None, rest: bytes) -> None:
    """Among other elements; a place that cannot be makes it a message of its own."""
    found = user_data(carrying(bytes.fromhex(payload), esm_class=0x43))

    assert (found.place, found.octets) == (place, rest)


@pytest.mark.parametrize("payload", ["", "09 00 03 2a 02 01", "05 00 09 2a 02 01 68", "03 00 03 2a", "ff"])
def test_a_header_that_contradicts_itself_is_text(payload: str) -> None:
    """Nothing is thrown away."""
    octets = bytes.fromhex(payload)

    assert user_data(carrying(octets, esm_class=UDH_INDICATOR)) == UserData(octets)


@pytest.mark.parametrize("header", ["06 05 04 158a 0000 ff", "04 04 02 f500 ff"])
def test_data_for_a_port_is_no_text(header: str) -> None:
    """It is for an application on the phone."""
    assert user_data(carrying(bytes.fromhex(header), esm_class=UDH_INDICATOR)).is_addressed


@pytest.mark.parametrize("esm_class", [0, UDH_INDICATOR])
@pytest.mark.parametrize(("port", "is_addressed"), [(b"\x0b\x84", True), (b"\0\0", False)])
def test_a_parameter_may_name_the_port(esm_class: int, port: bytes, *, is_addressed: bool) -> None:
    """0 is none."""
    message = carrying(b"\5\0\3\7\2\1hi", esm_class=esm_class, optional={Tag.DESTINATION_PORT: port})

    assert user_data(message).is_addressed is is_addressed


def test_a_part_may_be_told_by_parameters_alone() -> None:
    """All three of them."""
    whole: dict[int, bytes] = {
        Tag.SAR_MSG_REF_NUM: b"\x00\x07",
        Tag.SAR_TOTAL_SEGMENTS: b"\x02",
        Tag.SAR_SEGMENT_SEQNUM: b"\x01",
    }

    assert user_data(carrying(b"hi", optional=whole)).place == Place(LongForm.SAR, 7, 2, 1)
    for tag in whole:
        assert user_data(carrying(b"hi", optional={one: whole[one] for one in whole if one != tag})).place is None


@given(st.binary(max_size=40), st.integers(0, 255))
def test_nothing_in_a_payload_can_do_harm(octets: bytes, esm_class: int) -> None:
    """It has a place or none; what it carries is the end of what came."""
    found = user_data(carrying(octets, esm_class=esm_class))

    assert octets == found.header + found.octets
