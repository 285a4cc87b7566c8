"""PDUs that we write, as another implementation of SMPP reads them, and the other way round: smpp34."""

import json
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.channels.smpp.pdu import (
    GENERIC_NACK,
    RESPONSE,
    BadBody,
    Bind,
    Command,
    ShortMessage,
    SmeAddress,
    Splitter,
    Status,
    frame,
    read_message,
    write_bind,
    write_data,
    write_message,
    write_message_id,
    write_state,
)
from engine.channels.smpp.peers import SmppPeer
from engine.channels.smpp.receipts import write_receipt
from engine.channels.smpp.segments import LongForm
from engine.channels.smpp.session import Role
from engine.channels.smpp.texts import Alphabet
from engine.channels.smpp.writing import OutText, parts_of
from tests.e2e.smpp_peers import smpp34_python

SCRIPT = Path(__file__).parents[1] / "clients" / "second_opinion.py"
TEXTS = ("hello", "{€} @£$_", "привет 😀", "x" * 500, "ж" * 300, "")
NAMES = {Command.SUBMIT_SM: "SubmitSm", Command.DELIVER_SM: "DeliverSm"}


def asked(lines: Iterable[str]) -> list[Any]:
    """Return what the other implementation says to each line."""
    run = subprocess.run(  # noqa: S603 - our own script
        [str(smpp34_python()), str(SCRIPT)],
        input="".join(f"{line}\n" for line in lines),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return list(map(json.loads, run.stdout.splitlines()))


def messages() -> list[ShortMessage]:
    """Return all that we would send: every text in every form and alphabet, and a receipt."""
    texts = [OutText("+12125550111", "12345", text, 65535) for text in TEXTS]
    peers = [
        SmppPeer(name="p", role=Role.ESME, system_id="x", default_alphabet=alphabet, long_messages=form)
        for alphabet in Alphabet
        for form in LongForm
    ]
    made = [part for peer in peers for text in texts for part in parts_of(text, peer, reference=777)]
    receipt = write_receipt("0123456789abcdef", "DELIVRD", submitted="2611292100", done="2611292101")
    return [*made, ShortMessage(source=made[0].source, destination=made[0].destination, octets=receipt, esm_class=4)]


def fields_of(one: ShortMessage, command: Command) -> dict[str, Any]:
    """Return a message as the other implementation calls its fields."""
    return {
        "type": NAMES[command],
        "service_type": one.service_type,
        "source_addr_ton": one.source.ton,
        "source_addr_npi": one.source.npi,
        "source_addr": one.source.digits,
        "dest_addr_ton": one.destination.ton,
        "dest_addr_npi": one.destination.npi,
        "destination_addr": one.destination.digits,
        "esm_class": one.esm_class,
        "protocol_id": one.protocol_id,
        "priority_flag": one.priority,
        "schedule_delivery_time": one.schedule,
        "validity_period": one.validity,
        "registered_delivery": one.registered_delivery,
        "replace_if_present_flag": one.replace,
        "data_coding": one.data_coding,
        "sm_default_msg_id": one.default_message,
        "short_message": one.octets.hex(),
        "optional": {str(int(tag)): value.hex() for tag, value in one.optional.items()},
    }


@pytest.mark.parametrize("command", NAMES)
def test_another_implementation_reads_what_we_write(command: Command) -> None:
    """Every field, octet and optional parameter."""
    ours = messages()

    read = asked(frame(command, place + 1, write_message(one)).hex() for place, one in enumerate(ours))

    assert read == [{**fields_of(one, command), "sequence": place + 1} for place, one in enumerate(ours)]


OCTET = st.integers(0, 255)
DIGITS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=20)
TIMES = st.sampled_from(["", "000000001000000R", "261130120000004+"])
ADDRESSES = st.builds(SmeAddress, st.integers(0, 6), st.integers(0, 18), DIGITS)
MESSAGES = st.builds(
    ShortMessage,
    source=ADDRESSES,
    destination=ADDRESSES,
    octets=st.binary(max_size=254),
    service_type=st.sampled_from(["", "CMT", "USSD"]),
    esm_class=OCTET,
    protocol_id=OCTET,
    priority=st.integers(0, 3),
    schedule=TIMES,
    validity=TIMES,
    registered_delivery=OCTET,
    replace=st.integers(0, 1),
    data_coding=OCTET,
    default_message=OCTET,
    optional=st.dictionaries(st.integers(0, 0xFFFF), st.binary(max_size=40), max_size=5),
)


@settings(max_examples=5, deadline=None)
@given(theirs=st.lists(MESSAGES, min_size=40, max_size=40), command=st.sampled_from(list(NAMES)))
def test_we_read_what_another_implementation_writes(theirs: list[ShortMessage], command: Command) -> None:
    """Every field, octet and optional parameter."""
    written = asked(json.dumps(fields_of(one, command)) for one in theirs)

    frames = [found for pdu in written for found in Splitter().feed(bytes.fromhex(pdu))]
    assert [(one.command, one.status, one.sequence) for one in frames] == [(command, 0, 7)] * len(theirs)
    assert [read_message(one.body) for one in frames] == theirs


def other_pdus() -> list[bytes]:
    """Return one of each other kind that we write: requests, their responses, refusals."""
    bind = write_bind(Bind(system_id="masks", password="secret"))
    message = messages()[0]
    bodies = {
        **dict.fromkeys((Command.BIND_TRANSMITTER, Command.BIND_RECEIVER, Command.BIND_TRANSCEIVER), bind),
        Command.DATA_SM: write_data(message),
        Command.UNBIND: b"",
        Command.ENQUIRE_LINK: b"",
    }
    answers = {
        **dict.fromkeys((Command.BIND_TRANSMITTER, Command.BIND_RECEIVER, Command.BIND_TRANSCEIVER), b"maskline\0"),
        Command.SUBMIT_SM: write_message_id("0123456789abcdef"),
        Command.DELIVER_SM: write_message_id(""),
        Command.DATA_SM: write_message_id("7"),
        Command.QUERY_SM: write_state("7", final_date="", state=1),
        Command.UNBIND: b"",
        Command.ENQUIRE_LINK: b"",
    }
    return [
        *(frame(command, 1, body) for command, body in bodies.items()),
        *(frame(command | RESPONSE, 0x7FFFFFFF, body) for command, body in answers.items()),
        *(frame(command | RESPONSE, 2, status=Status.THROTTLED) for command in Command),
        frame(GENERIC_NACK, 3, status=Status.UNKNOWN_COMMAND),
    ]


def test_another_implementation_reads_the_heads_of_all_else_that_we_write() -> None:
    """It leaves their bodies as they are."""
    ours = other_pdus()

    read = asked(pdu.hex() for pdu in ours)

    assert read == [
        {"command": one.command, "status": one.status, "sequence": one.sequence, "body": one.body.hex()}
        for pdu in ours
        for one in Splitter().feed(pdu)
    ]


def test_another_implementation_finds_the_same_bodies_cut() -> None:
    """At whichever octet a message ends; optional parameters that are cut it ignores, and we refuse."""
    whole = write_message(msgspec.structs.replace(messages()[0], optional={}))
    bodies = [whole[:end] for end in range(len(whole) + 1)]

    read = asked(frame(Command.SUBMIT_SM, 1, body).hex() for body in bodies)

    assert ["problem" not in said for said in read] == list(map(is_sound, bodies))


def is_sound(body: bytes) -> bool:
    """Tell whether we can read a message."""
    try:
        read_message(body)
    except BadBody:
        return False
    return True
