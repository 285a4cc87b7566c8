"""What may be agreed on with a peer beyond the usual: each field of its table does what it says."""

import asyncio

import msgspec
import pytest

from engine.channels.smpp.pdu import Command, ShortMessage, SmeAddress, Status, frame
from engine.channels.smpp.receipts import write_receipt
from engine.channels.smpp.segments import LongForm, Place, header
from engine.channels.smpp.settings import SmppSettings
from engine.channels.sockets import ListenAddress
from engine.core.ports.observing import SmppCount
from engine.core.routing.traffic import Decision, Outcome, Reason
from tests.channels.offered import MemoryNotes
from tests.channels.smpp.rig import DESTINATION, MESSAGE, SOURCE, esme, out, sending, serving, smsc, smsc_listening
from tests.http.rig import NOW, ROUTED, until

pytestmark = pytest.mark.anyio

LISTENING = SmppSettings(smpp_listen=ListenAddress("127.0.0.1", 0))
OUTBIND = b"smsc\0secret\0"


@pytest.mark.parametrize("status", [0x0B, 0x45, 0x66])
async def test_a_refusal_may_have_a_status(status: int) -> None:
    """For aggregators that charge by it; then there is no receipt."""
    async with serving(smsc(refusal_status=status)) as served:
        served.plane.decision = Decision(Outcome.REFUSED, Reason.NO_SESSION)
        wire = await served.bound()

        answer = await wire.ask(msgspec.structs.replace(MESSAGE, registered_delivery=1), Command.SUBMIT_SM)

        assert (answer.status, answer.body) == (status, b"")
        assert served.gauge("smpp_owed_receipts") == 0


@pytest.mark.parametrize(
    ("fields", "sender", "to"),
    [
        ({}, SmeAddress(3, 0, "12345"), SOURCE),
        ({"short_code_ton": 0}, SmeAddress(0, 0, "12345"), SOURCE),
        ({"with_plus": True}, SmeAddress(3, 0, "12345"), SmeAddress(1, 1, "+" + SOURCE.digits)),
    ],
)
async def test_addresses_are_written_as_the_peer_wants_them(
    fields: dict[str, object], sender: SmeAddress, to: SmeAddress
) -> None:
    """Short codes by their type, numbers with or without plus."""
    async with smsc_listening() as far, serving(esme(far.port, **fields)) as served:
        wire = await far.bound()
        async with sending(served, out("hello", sender="12345")) as task:
            came = await wire.take("1")
            await task

    assert (came.source, came.destination) == (sender, to)


@pytest.mark.parametrize(
    ("fields", "status", "may_retry"),
    [
        ({}, 0x66, False),
        ({"temporary_errors": [0x66]}, 0x66, True),
        ({}, 0x64, True),
        ({"permanent_errors": [0x64]}, 0x64, False),
        ({"permanent_errors": [0x58]}, 0x58, False),
    ],
)
async def test_what_an_error_means_may_be_moved(fields: dict[str, object], status: int, *, may_retry: bool) -> None:
    """Peers do not agree on it."""
    async with smsc_listening() as far, serving(esme(far.port, **fields)) as served:
        wire = await far.bound()
        async with sending(served, out("hello")) as task:
            await wire.take(status=status)
            sent = await task

    assert (sent.is_done, sent.may_retry) == (False, may_retry)


@pytest.mark.parametrize("by_text", [False, True])
async def test_a_receipt_may_be_told_by_its_text_alone(*, by_text: bool) -> None:
    """From peers that leave esm_class 0; from all others it is a message."""
    text = write_receipt("a1", "DELIVRD", submitted="2611292100", done="2611292101")
    async with smsc_listening() as far, serving(esme(far.port, receipts_by_text=by_text)) as served:
        served.plane.decision = ROUTED
        wire = await far.bound()
        async with sending(served, out("hello")) as task:
            await wire.take("a1")
            await task

        await wire.ask(ShortMessage(source=SOURCE, destination=DESTINATION, octets=text), Command.DELIVER_SM)

        assert (len(served.plane.reports), len(served.plane.events)) == ((1, 0) if by_text else (0, 1))


async def test_ucs_2_the_wrong_way_round_is_sent_as_it_is_read() -> None:
    """To the rare peer that writes it so."""
    async with smsc_listening() as far, serving(esme(far.port, ucs2_little_endian=True)) as served:
        wire = await far.bound()
        async with sending(served, out("ж")) as task:
            came = await wire.take("1")
            await task

    assert (came.data_coding, came.octets) == (8, "ж".encode("utf-16-le"))


async def test_a_carrier_may_ask_us_to_connect_at_once() -> None:
    """By outbind, from where it may come from; nothing is sent over the connection that it makes."""
    async with smsc_listening() as far:
        peer = esme(far.port, outbind=True, networks=["127.0.0.0/8"])
        async with serving(peer, listening=LISTENING) as served:
            await (await far.wire()).accept_bind(status=Status.ALREADY_BOUND)  # the next try is ten seconds away
            await until(lambda: served.counted(SmppCount.BIND_REFUSED) == 1)
            asking = await served.wire()
            asking.write(frame(Command.OUTBIND, 1, OUTBIND))

            bind = await (await far.wire()).accept_bind()

            assert bind.command == Command.BIND_TRANSCEIVER
            assert await asking.has_ended()


async def test_no_outbind_makes_us_try_a_wrong_password_again() -> None:
    """Peers lock accounts that do."""
    async with smsc_listening() as far:
        async with serving(esme(far.port, outbind=True), listening=LISTENING) as served:
            await (await far.wire()).accept_bind(status=Status.WRONG_PASSWORD)
            await until(lambda: served.counted(SmppCount.BIND_REFUSED) == 1)
            asking = await served.wire()
            asking.write(frame(Command.OUTBIND, 1, OUTBIND))

            assert await asking.has_ended()
            await asyncio.sleep(0)
        assert len(far.made) == 1


async def test_an_outbind_of_a_stranger_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    """Counted and logged."""
    async with serving(smsc()) as served:
        wire = await served.wire()
        wire.write(frame(Command.OUTBIND, 1, OUTBIND))

        assert await wire.has_ended()
        await until(lambda: served.counted(SmppCount.BIND_REFUSED) == 1)
    assert "from 127.0.0.1 sent an outbind that was not expected" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize(("seconds", "count"), [(7, 1), (120, 0)])
async def test_parts_wait_as_long_as_was_agreed_on(seconds: int, count: int) -> None:
    """Then what is there goes on."""
    notes = MemoryNotes()
    octets = header(Place(LongForm.UDH8, 7, 2, 1)) + b"half"
    async with serving(smsc(), notes=notes) as served:
        wire = await served.bound()
        await wire.ask(msgspec.structs.replace(MESSAGE, octets=octets, esm_class=0x40), Command.SUBMIT_SM)

    async with serving(smsc(parts_timeout_seconds=seconds), notes=notes, clock=lambda: NOW + 8) as served:
        await (await served.bound()).close()

        assert [event.body for event in served.plane.events] == ["half"] * count
