"""What receipts say, in the standard's parameters and in the texts that peers write."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.channels.smpp.pdu import ShortMessage, SmeAddress, Tag
from engine.channels.smpp.receipts import Receipt, form_of, forms_of, is_receipt, read_receipt, write_receipt
from engine.core.model.records import LegStatus

NOWHERE = SmeAddress(0, 0, "")


def receipt(text: str = "", *, esm_class: int = 0x04, **optional: bytes) -> ShortMessage:
    tags: dict[int, bytes] = {Tag[name.upper()]: value for name, value in optional.items()}
    return ShortMessage(
        source=NOWHERE, destination=NOWHERE, octets=text.encode("latin-1"), esm_class=esm_class, optional=tags
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "id:39f99dd5 sub:001 dlvrd:001 submit date:2611290949 done date:2611290950 stat:DELIVRD err:000 text:hi",
            Receipt("39f99dd5", LegStatus.DELIVERED, "000"),
        ),
        ("id:0e999f21-1ab2 stat:UNDELIV err:0A1 Text:", Receipt("0e999f21-1ab2", LegStatus.UNDELIVERED, "0A1")),
        ("STAT:delivrd ID:7 done_date:20261129095012", Receipt("7", LegStatus.DELIVERED)),
        ("id:7sub:001dlvrd:000stat:EXPIREDerr:12", Receipt("7", LegStatus.UNDELIVERED, "12")),
        ("id:7 stat:ACCEPTED err:", Receipt("7", None)),
        ("id:7 stat:ACCEPTD", Receipt("7", LegStatus.SENT)),
        ("id:7 stat:REJECTD err:69 text:id:8 stat:DELIVRD", Receipt("7", LegStatus.FAILED, "69")),
        ("id:7 stat:UNKNOWN", Receipt("7", None)),
        ("id:7", Receipt("7", None)),
    ],
)
def test_a_receipt_is_read_by_its_keys(text: str, said: Receipt) -> None:
    """In any order and case."""
    assert read_receipt(receipt(text)) == said


def test_parameters_are_believed_before_the_text() -> None:
    """They are the standard's."""
    told = receipt(
        "id:other stat:UNDELIV err:001",
        receipted_message_id=b"00B8BE19\0",
        message_state=b"\x02",
        network_error_code=b"\x03\x00\x21",
    )

    assert read_receipt(told) == Receipt("00B8BE19", LegStatus.DELIVERED, "33")


def test_a_receipt_that_names_no_message_says_nothing() -> None:
    """Whatever else stands in it."""
    assert read_receipt(receipt("stat:DELIVRD")) is None
    assert read_receipt(receipt("hello")) is None


@pytest.mark.parametrize(
    ("esm_class", "is_one"), [(0x00, False), (0x04, True), (0x44, True), (0x20, True), (0x43, False)]
)
def test_the_class_tells_a_receipt_from_a_message(esm_class: int, is_one: bool) -> None:  # noqa: FBT001 - a column
    """Whatever mode and header stand beside it."""
    assert is_receipt(receipt(esm_class=esm_class)) is is_one


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("39f99dd5", "39F99DD5"),
        ("39f99dd5", "972660181"),
        ("972660181", "39F99DD5"),
        ("00B8BE19", "b8be19"),
        ("0012", "12"),
        ("0e999f21-1ab2-4c", "0E999F21-1AB2-4C"),
        ("SAR-7f-1", "sar-7F-1"),
        ("a0001", "655361"),
    ],
)
def test_an_id_is_the_same_however_a_peer_writes_it(one: str, other: str) -> None:
    """Case, leading zeros, hex here and decimals there."""
    assert form_of(one) in forms_of(other)
    assert form_of(other) in forms_of(one)


@pytest.mark.parametrize(("one", "other"), [("12", "13"), ("abc", "abd"), ("a-1", "a-01"), ("", "0")])
def test_another_id_is_another(one: str, other: str) -> None:
    """Where it is no number, it is compared as it stands."""
    assert form_of(one) not in forms_of(other)
    assert form_of(other) not in forms_of(one)


@given(st.text(st.characters(max_codepoint=255), max_size=80), st.binary(max_size=4))
def test_nothing_in_a_receipt_can_do_harm(text: str, octets: bytes) -> None:
    """It says something or nothing."""
    read_receipt(receipt(text, message_state=octets, network_error_code=octets))


def test_a_receipt_that_we_write_is_one_that_we_read() -> None:
    """With the words of the custom."""
    text = write_receipt("00112233aabbccdd", "DELIVRD", submitted="2611290949", done="2611290950").decode()

    assert read_receipt(receipt(text)) == Receipt("00112233aabbccdd", LegStatus.DELIVERED, "000")
