"""PDUs that we write, as another implementation of SMPP reads them: smpp34, in an environment of its own."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from engine.channels.smpp.pdu import Command, ShortMessage, frame, write_message
from engine.channels.smpp.peers import SmppPeer
from engine.channels.smpp.receipts import write_receipt
from engine.channels.smpp.segments import LongForm
from engine.channels.smpp.session import Role
from engine.channels.smpp.texts import Alphabet
from engine.channels.smpp.writing import OutText, parts_of

PYTHON = Path(os.environ.get("SMPP34_PYTHON", ".venv/smpp/bin/python")).absolute()
SCRIPT = Path(__file__).parents[1] / "clients" / "second_opinion.py"
TEXTS = ("hello", "{€} @£$_", "привет 😀", "x" * 500, "ж" * 300, "")


def messages() -> list[ShortMessage]:
    """Return all that we would send: every text in every form and alphabet, and a receipt."""
    texts = [OutText("+12125550111", "12345", text, 65535) for text in TEXTS]
    peers = [
        SmppPeer(name="p", role=Role.ESME, system_id="x", default_alphabet=alphabet, long_messages=form)
        for alphabet in Alphabet
        for form in LongForm
    ]
    made = [part for peer in peers for text in texts for part in parts_of(text, peer, reference=lambda: 777)]
    receipt = write_receipt("0123456789abcdef", "DELIVRD", submitted="2611292100", done="2611292101")
    return [*made, ShortMessage(source=made[0].source, destination=made[0].destination, octets=receipt, esm_class=4)]


@pytest.mark.parametrize("command", [Command.SUBMIT_SM, Command.DELIVER_SM])
def test_another_implementation_reads_what_we_write(command: Command) -> None:
    """Every field, octet and optional parameter."""
    if not PYTHON.exists():
        pytest.skip("there is no smpp34 here; `make smpp-test` fetches it and runs this")
    ours = messages()
    pdus = [frame(command, place + 1, write_message(one)) for place, one in enumerate(ours)]

    run = subprocess.run(  # noqa: S603 - our own script
        [str(PYTHON), str(SCRIPT)],
        input="".join(pdu.hex() + "\n" for pdu in pdus),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    name = {Command.SUBMIT_SM: "SubmitSm", Command.DELIVER_SM: "DeliverSm"}[command]
    wanted = [
        {
            "type": name,
            "sequence": place + 1,
            "source_addr_ton": one.source.ton,
            "source_addr_npi": one.source.npi,
            "source_addr": one.source.digits,
            "dest_addr_ton": one.destination.ton,
            "dest_addr_npi": one.destination.npi,
            "destination_addr": one.destination.digits,
            "esm_class": one.esm_class,
            "registered_delivery": one.registered_delivery,
            "data_coding": one.data_coding,
            "octets": one.octets.hex(),
            "optional": {str(int(tag)): value.hex() for tag, value in one.optional.items()},
        }
        for place, one in enumerate(ours)
    ]
    assert list(map(json.loads, run.stdout.splitlines())) == wanted
