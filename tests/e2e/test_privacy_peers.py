"""Numbers planted in whatever switches, SMPP peers and strangers may send: an operator reads none of them whole."""

import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import msgspec

from engine.channels.smpp.pdu import (
    RESPONSE,
    Bind,
    Command,
    Frame,
    ShortMessage,
    SmeAddress,
    Splitter,
    frame,
    write_bind,
    write_message,
)
from engine.channels.smpp.receipts import write_receipt
from tests.channels.sip.messages import SDP
from tests.channels.sip.messages import invite as sip_message
from tests.e2e.application import eventually
from tests.e2e.live import NO_TLS, LiveServer, free_port
from tests.e2e.tenant import Pairing, new_tenant
from tests.e2e.test_privacy import READING, Planted, shown

StartServer = Callable[..., LiveServer]

SETTINGS = """
sip_listen = "0.0.0.0:{sip}"
smpp_listen = "127.0.0.1:{smpp}"

[sip_peers.switch]
networks = ["127.0.0.1"]
trust_pai = true

[smpp_peers.hub]
role = "smsc"
system_id = "hub"
password = "secret"

[carrier_routes]
"*" = "hub"
"""

EVENTS = 10
"""That this leaves at least; they are filed a moment after what they tell of."""

STRANGER = "127.0.0.2"
"""In no network of a peer."""


def over_sip(port: int, pairing: Pairing, planted: Planted) -> None:
    """Ask as a switch and as a stranger, rightly and wrongly."""

    def ask(message: bytes, *, source: str = "127.0.0.1", is_answered: bool = True) -> bytes:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire:
            wire.bind((source, 0))
            wire.settimeout(30)
            wire.sendto(message, ("127.0.0.1", port))
            return wire.recv(65_535) if is_answered else b""

    def invite(field: str, *lines: str, method: str = "INVITE", to: str = pairing.first.proxy) -> bytes:
        given = (
            f"From: <sip:{planted.whole(f'{field}: From')}@x>;tag=1",
            f"To: <sip:{planted.whole(f'{field}: To')}@x>",
            f"Call-ID: {planted.whole(f'{field}: Call-ID')}",
            f"Contact: <sip:{planted.whole(f'{field}: Contact')}@x>",
            f"CSeq: 1 {method}",
            "Content-Type: application/sdp",
            f"Content-Length: {len(SDP)}",
            *lines,
        )
        start = f"{method} sip:{to}@x SIP/2.0"
        return sip_message(*(one.encode() for one in given), start=start.encode(), body=SDP)

    identity = f"P-Asserted-Identity: <tel:{planted.whole('asserted')}>"
    ask(invite("stranger"), source=STRANGER, is_answered=False)
    ask(invite("no session"))
    ask(invite("asserted by a peer", identity))
    ask(invite("no number of ours", to=planted.whole("number reached")))
    ask(invite("another method", method="REFER"))
    ask(invite("malformed", f"Max-Forwards: {planted.whole('hops')}"))
    known = f"From: <sip:{pairing.first.identifier}@x>;tag=1"
    ask(invite("routed", known, f"Call-ID: {planted.whole('routed Call-ID')}"))


def over_http(server: LiveServer, pairing: Pairing, planted: Planted) -> Iterator[str]:
    """Ask and tell as a switch does over HTTP, without what would name a call that is there."""
    for path in ("route", "status"):
        for name in ("to", "from", "sid", "kind", "status", "leg", "interaction", "duration", "code"):
            fields = {"to": pairing.first.proxy, "from": planted.whole(f"{path}: caller of {name}"), "sid": "a"}
            fields |= {"status": "completed"} if path == "status" else {}
            fields[name] = planted.in_text(f"{path}: {name}")
            yield httpx.post(f"{server.address}/carrier/{path}", json=fields, verify=NO_TLS).text


def over_smpp(port: int, pairing: Pairing, planted: Planted) -> None:
    """Bind wrongly and rightly, send texts and receipts."""
    with socket.create_connection(("127.0.0.1", port)) as wrong:
        names = Bind(system_id=planted.whole("system id")[:15], password=planted.whole("password")[:8])
        wrong.sendall(frame(Command.BIND_TRANSCEIVER, 1, write_bind(names)))
        answers(wrong, 1)
    ours, known = SmeAddress(1, 1, pairing.first.proxy[1:]), SmeAddress(1, 1, pairing.first.identifier[1:])
    message = ShortMessage(source=known, destination=ours, octets=planted.whole("text").encode("ascii"))
    receipt = write_receipt(planted.whole("id of a receipt"), "UNDELIV", submitted="2611292100", done="2611292101")
    changed: tuple[dict[str, Any], ...] = (
        {},
        {"source": SmeAddress(1, 1, planted.whole("stranger's text")[1:])},
        {"source": SmeAddress(5, 0, f"x{planted.whole('word')[1:]}"[:11])},
        {"destination": SmeAddress(1, 1, planted.whole("text to nobody")[1:])},
        {"octets": receipt, "esm_class": 4},
        {"octets": receipt[:40], "esm_class": 4},
        {"data_coding": 4},
    )
    with socket.create_connection(("127.0.0.1", port)) as wire:
        wire.sendall(frame(Command.BIND_TRANSCEIVER, 1, write_bind(Bind(system_id="hub", password="secret"))))
        answers(wire, 1)
        for sequence, change in enumerate(changed, 2):
            body = write_message(msgspec.structs.replace(message, **change))
            wire.sendall(frame(Command.SUBMIT_SM, sequence, body))
        answers(wire, len(changed))


def answers(wire: socket.socket, count: int) -> None:
    """Read so many responses, and whatever comes between them."""
    wire.settimeout(30)
    splitter, found = Splitter(), list[Frame]()
    while sum(one.command & RESPONSE != 0 for one in found) < count:
        data = wire.recv(65_536)
        assert data, found
        found += splitter.feed(data)


def test_no_whole_number_of_peers_is_written_anywhere(start_server: StartServer, tmp_path: Path) -> None:
    """Logs at debug, metrics, commands, console, debugger events; what is answered to switches over HTTP."""
    sip, smpp = free_port(), free_port()
    (tmp_path / "maskline.toml").write_text(SETTINGS.format(sip=sip, smpp=smpp))
    server = start_server("--config", str(tmp_path / "maskline.toml"), "--log-level", "debug")
    planted = Planted()
    with closing(new_tenant(server)) as tenant:
        service = tenant.service(numbers=2)
        pairing = service.pairing(planted.whole("first"), planted.whole("second"), UniqueName="ride")
        over_sip(sip, pairing, planted)
        told = list(over_http(server, pairing, planted))
        over_smpp(smpp, pairing, planted)
        assert eventually(lambda: len(server.admin("GET", f"/accounts/{tenant.sid}/alerts")["alerts"]) >= EVENTS)
        commands = {**READING, "sip peers": (), "smpp peers": ()}
        written = {**shown(tenant, service, pairing, commands), "answers over HTTP": "\n".join(told)}

    assert [where for where, text in written.items() if not text] == []
    assert len(planted.of) > 40
    found = {where: fields for where, text in written.items() if (fields := planted.found_in(text))}
    assert found == {}
    assert STRANGER in written["log"]
