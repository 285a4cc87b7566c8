"""PDUs: octets to records and back, and that nothing in them can do harm."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.channels.smpp.pdu import (
    BadBody,
    BadFrame,
    Bind,
    Command,
    Frame,
    ShortMessage,
    SmeAddress,
    Splitter,
    Status,
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

octets = st.integers(0, 255)
texts = st.text(st.characters(min_codepoint=1, max_codepoint=255), max_size=20)
addresses = st.builds(SmeAddress, octets, octets, texts)
messages = st.builds(
    ShortMessage,
    source=addresses,
    destination=addresses,
    octets=st.binary(max_size=254),
    service_type=texts,
    esm_class=octets,
    protocol_id=octets,
    priority=octets,
    schedule=texts,
    validity=texts,
    registered_delivery=octets,
    replace=octets,
    data_coding=octets,
    default_message=octets,
    optional=st.dictionaries(st.integers(0, 0xFFFF), st.binary(max_size=30), max_size=4),
)

DELIVER = bytes.fromhex(
    "0000003f 00000005 00000000 00000007"
    "00 01 01 3132313235353530313131 00 01 01 3134313535353530313030 00"
    "00 00 00 00 00 00 00 00 00 02 6f6b"
    "0204 0002 1234"
)
"""From 12125550111 to 14155550100: ok; with a user_message_reference."""


def test_a_deliver_sm_is_read() -> None:
    """Field by field, from octets written by hand."""
    (read,) = Splitter().feed(DELIVER)

    message = read_message(read.body)

    assert (read.command, read.status, read.sequence) == (Command.DELIVER_SM, Status.OK, 7)
    assert message == ShortMessage(
        source=SmeAddress(1, 1, "12125550111"),
        destination=SmeAddress(1, 1, "14155550100"),
        octets=b"ok",
        optional={Tag.USER_MESSAGE_REFERENCE: b"\x12\x34"},
    )
    assert frame(Command.DELIVER_SM, 7, write_message(message)) == DELIVER


@given(messages)
def test_a_message_is_read_as_it_was_written(message: ShortMessage) -> None:
    """Every field, in either PDU; a data_sm has some of them."""
    data = ShortMessage(
        source=message.source,
        destination=message.destination,
        service_type=message.service_type,
        esm_class=message.esm_class,
        registered_delivery=message.registered_delivery,
        data_coding=message.data_coding,
        optional=message.optional,
    )

    assert read_message(write_message(message)) == message
    assert read_data(write_data(message)) == data


@given(st.builds(Bind, system_id=texts, password=texts, system_type=texts, interface_version=octets))
def test_a_bind_is_read_as_it_was_written(bind: Bind) -> None:
    """Every field."""
    assert read_bind(write_bind(bind)) == bind


def test_a_bind_does_not_show_its_password() -> None:
    """Wherever it is printed."""
    assert "secret" not in repr(Bind(system_id="carrier", password="secret"))


def test_a_response_may_have_an_id_or_no_body_at_all() -> None:
    """As Kannel and others answer a deliver_sm."""
    assert read_message_id(write_message_id("39f99dd5")) == "39f99dd5"
    assert read_message_id(b"\0") == read_message_id(b"") == ""


def test_a_text_stands_in_the_message_or_in_its_payload() -> None:
    """Never in both."""
    message = ShortMessage(source=SmeAddress(0, 0, ""), destination=SmeAddress(0, 0, ""))

    assert message.payload == b""
    assert read_message(write_message(message)).payload == b""
    assert ShortMessage(
        source=message.source, destination=message.destination, optional={Tag.MESSAGE_PAYLOAD: b"long"}
    ).payload == b"long"  # fmt: skip


def test_a_stream_is_cut_wherever_its_octets_are_parted() -> None:
    """By length alone; unknown commands are frames like others."""
    stream = DELIVER + frame(Command.ENQUIRE_LINK, 8) + frame(0x0001_0001, 9, b"x", status=0x400)
    whole = [Frame(0x05, 0, 7, DELIVER[16:]), Frame(0x15, 0, 8), Frame(0x0001_0001, 0x400, 9, b"x")]

    def cut(*parts: bytes) -> list[Frame]:
        splitter = Splitter()
        return [one for part in parts for one in splitter.feed(part)]

    assert cut(stream) == whole
    assert cut(*(bytes([octet]) for octet in stream)) == whole
    assert [at for at in range(len(stream)) if cut(stream[:at], stream[at:]) != whole] == []


@pytest.mark.parametrize("length", [0, 15, 65_537, 0xFFFF_FFFF])
def test_a_length_that_cannot_be_ends_the_stream(length: int) -> None:
    """The PDUs before it were handed on."""
    frames = Splitter().feed(DELIVER + length.to_bytes(4) + bytes(12))

    assert next(frames).sequence == 7
    with pytest.raises(BadFrame):
        next(frames)


@pytest.mark.parametrize("end", range(len(DELIVER) - 16 - 6))
def test_a_body_cut_anywhere_is_one_error(end: int) -> None:
    """With a status to answer it."""
    with pytest.raises(BadBody) as caught:
        read_message(DELIVER[16 : 16 + end])

    assert caught.value.status is Status.BAD_COMMAND_LENGTH


@pytest.mark.parametrize(
    ("tail", "status"), [(b"\x02", Status.BAD_OPTIONAL), (b"\x02\x04\x00\x09x", Status.BAD_OPTIONAL_LENGTH)]
)
def test_an_optional_parameter_that_is_cut_has_its_own_status(tail: bytes, status: Status) -> None:
    """Of the standard."""
    with pytest.raises(BadBody) as caught:
        read_message(DELIVER[16:] + tail)

    assert caught.value.status is status


@given(st.integers(0, len(DELIVER) - 17), octets)
def test_a_changed_octet_gives_a_message_or_one_error(at: int, octet: int) -> None:
    """And nothing else."""
    body = bytearray(DELIVER[16:])
    body[at] = octet

    for read in (read_message, read_data):
        with suppress(BadBody):
            assert isinstance(read(bytes(body)), ShortMessage)
