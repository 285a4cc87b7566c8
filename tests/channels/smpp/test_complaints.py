"""What users complain about in other SMPP gateways, a test each, and where they say so; none of it is true of ours.

That an accepted message is lost in a crash (jookies/jasmin 928) is tried in `tests/e2e/test_smpp_crashes.py` as well.
"""

import asyncio
from collections.abc import Callable

import msgspec
import pytest

from engine.channels.smpp.pdu import (
    RESPONSE,
    Command,
    ShortMessage,
    Status,
    Tag,
    frame,
    read_message,
    write_message,
    write_message_id,
)
from engine.channels.smpp.receipts import write_receipt
from engine.channels.smpp.segments import LongForm, Place, header, user_data
from engine.channels.smpp.session import Timing
from engine.core.model.records import LegStatus
from engine.core.ports.notes import NoteDone, NoteLate
from engine.core.ports.observing import SmppCount
from engine.core.routing.traffic import Decision, Outcome, Reason
from tests.channels.offered import MemoryNotes
from tests.channels.smpp.rig import (
    DESTINATION,
    MESSAGE,
    SOURCE,
    Served,
    Wire,
    esme,
    out,
    sending,
    serving,
    smsc,
    smsc_listening,
)
from tests.http.rig import ROUTED, until

pytestmark = pytest.mark.anyio

LONG = "0123456789" * 20


def receipt(message_id: str) -> ShortMessage:
    text = write_receipt(message_id, "DELIVRD", submitted="2611292100", done="2611292101")
    return ShortMessage(source=SOURCE, destination=DESTINATION, octets=text, esm_class=4)


async def taken(served: Served, wire: Wire, *ids: str, text: str = "hello", key: str = "EF1") -> list[ShortMessage]:
    """Send a message whose parts the carrier takes under these ids."""
    async with sending(served, out(text, key=key)) as task:
        parts = [await wire.take(one) for one in ids]
        assert (await task).is_done
    return parts


async def matched(given: str, told: str) -> bool:
    """Tell whether a receipt finds the message that was given an id."""
    async with smsc_listening() as far, serving(esme(far.port)) as served:
        wire = await far.bound()
        await taken(served, wire, given)
        await wire.ask(receipt(told), Command.DELIVER_SM)
        return [report.status for report in served.plane.reports] == [LegStatus.DELIVERED]


async def test_01_accepted_with_an_id_and_lost_in_a_crash() -> None:
    """jookies/jasmin 928: the answer leaves after the commit, and not at all where that fails."""
    async with serving(smsc()) as served:
        served.plane.is_holding, served.plane.decision = True, Decision(Outcome.NOT_READY, Reason.STORE_UNAVAILABLE)
        wire = await served.bound()
        wire.send(Command.SUBMIT_SM, write_message(MESSAGE))
        await until(lambda: len(served.plane.held) == 1)
        wire.send(Command.ENQUIRE_LINK)
        first = await wire.read()
        served.plane.held.pop()()

        assert first.command == Command.ENQUIRE_LINK | RESPONSE
        assert (await wire.read()).status == Status.THROTTLED


async def test_02_a_submit_that_timed_out_is_silently_lost() -> None:
    """jookies/jasmin 247: it is told that the message may have been sent."""
    timing = Timing(response=0.05)
    async with smsc_listening() as far, serving(esme(far.port), timing=timing) as served:
        wire = await far.bound()
        async with sending(served, out("hello")) as task:
            await wire.read()
            sent = await task

    assert (sent.may_be_taken, sent.error) == (True, "the peer did not answer in time")


async def test_03_a_submit_that_timed_out_is_sent_and_charged_again() -> None:
    """jookies/jasmin 268: nothing more is sent."""
    timing = Timing(response=0.05)
    async with smsc_listening() as far, serving(esme(far.port), timing=timing) as served:
        wire = await far.bound()
        async with sending(served, out("hello")) as task:
            await wire.read()
            assert not (await task).may_retry
        async with sending(served, out("next", key="EF2")) as task:
            assert read_message((await wire.read()).body).octets == b"next"


async def test_04_each_retry_is_a_new_message() -> None:
    """jookies/jasmin 657: tries of one message have one reference and, in parts, only what was not taken."""
    async with smsc_listening() as far, serving(esme(far.port)) as served:
        wire = await far.bound()
        references = set()
        for _ in range(3):
            async with sending(served, out("hello")) as task:
                came = await wire.take(status=Status.TEMPORARY_ERROR)
                references.add(came.optional[Tag.USER_MESSAGE_REFERENCE])
                assert (await task).may_retry

    assert len(references) == 1


async def test_05_a_connector_that_is_down_is_flooded_with_requeues(caplog: pytest.LogCaptureFixture) -> None:
    """jookies/jasmin 1036, 1079: messages wait without a try, a turn of the processor or a line of log each."""
    async with serving(smsc()) as served:
        tasks = [asyncio.create_task(served.sender.send(out("x", key=f"EF{n}"))) for n in range(500)]
        for _ in range(20):
            await asyncio.sleep(0)

        assert [task for task in tasks if task.done()] == []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert [record for record in caplog.records if record.name == "maskline.smpp"] == []


async def test_06_a_receipt_in_decimals_does_not_match_an_id_in_hex() -> None:
    """jookies/jasmin 1034: either way, without a setting."""
    assert await matched("39f99dd5", "972660181")
    assert await matched("972660181", "39F99DD5")


async def test_07_a_receipt_without_leading_zeros_does_not_match() -> None:
    """jookies/jasmin 1129."""
    assert await matched("00B8BE19", "B8BE19")


@pytest.mark.parametrize("given", ["0e999f21-7c4b-4b7e-9f3a-1c2d3e4f5a6b", "SAR-17-xyz", "MixedCase01"])
async def test_08_an_alphanumeric_id_does_not_match(given: str) -> None:
    """jookies/jasmin 535, 643, 916, 418: as it is, and in the other case."""
    assert await matched(given, given)
    assert await matched(given, given.upper())


async def test_09_a_receipt_over_the_other_bind_of_the_account_is_lost() -> None:
    """jookies/jasmin 599: ids are the peer's."""
    async with smsc_listening() as far, serving(esme(far.port, connections=2)) as served:
        wires = [await far.bound(), await far.bound()]
        await until(lambda: served.gauge("smpp_bound_connections") == 2)
        async with sending(served, out("hello")) as task:
            reads = [asyncio.create_task(wire.read()) for wire in wires]
            done, others = await asyncio.wait(reads, return_when=asyncio.FIRST_COMPLETED)
            (came,) = (one.result() for one in done)
            used = reads.index(next(iter(done)))
            for one in others:
                one.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            wires[used].send(came.command | RESPONSE, write_message_id("7"), sequence=came.sequence)
            await task

        await wires[1 - used].ask(receipt("7"), Command.DELIVER_SM)

        assert [report.status for report in served.plane.reports] == [LegStatus.DELIVERED]


async def test_10_of_a_long_message_only_one_id_is_known() -> None:
    """jookies/jasmin 363, 424, 844: each part's is, and the leg is delivered with the last of them."""
    async with smsc_listening() as far, serving(esme(far.port)) as served:
        wire = await far.bound()
        await taken(served, wire, "p1", "p2", text=LONG)

        for one in ("p1", "p2"):
            await wire.ask(receipt(one), Command.DELIVER_SM)

        assert [report.status for report in served.plane.reports] == [LegStatus.DELIVERED]
        assert served.counted(SmppCount.RECEIPT) == 2


async def test_11_a_long_message_whose_last_part_comes_first_is_lost() -> None:
    """jookies/jasmin 513, 1257."""
    async with serving(smsc()) as served:
        wire = await served.bound()
        for number, text in ((3, b"c"), (2, b"b"), (1, b"a")):
            octets = header(Place(LongForm.UDH8, 9, 3, number)) + text
            await wire.ask(msgspec.structs.replace(MESSAGE, octets=octets, esm_class=0x43), Command.SUBMIT_SM)

        assert [event.body for event in served.plane.events] == ["abc"]


async def test_12_long_messages_are_stuck_on_a_reference_that_is_in_use() -> None:
    """jookies/jasmin 850: each number has a counter of its own, and neighbours never share a reference."""
    async with smsc_listening() as far, serving(esme(far.port)) as served:
        wire = await far.bound()
        references = []
        for number in range(5):
            parts = await taken(served, wire, f"{number}x", f"{number}y", text=LONG, key=f"EF{number}")
            (reference,) = {place.reference for part in parts if (place := user_data(part).place)}
            references.append(reference)

    assert len(set(references)) == 5


@pytest.mark.parametrize("text", ["@", "{", "$", "_", "é", "ü", "ç", "€"])
async def test_13_characters_arrive_as_something_else(text: str) -> None:
    """jookies/jasmin 725, 750, python-smpplib 79, 261, node-smpp 97, jsmpp 83: out and in again."""
    async with smsc_listening() as far, serving(esme(far.port)) as served:
        wire = await far.bound()
        (came,) = await taken(served, wire, "1", text=text)

        await wire.ask(msgspec.structs.replace(came, source=SOURCE, destination=DESTINATION), Command.DELIVER_SM)

        assert [event.body for event in served.plane.events] == [text]


@pytest.mark.parametrize(
    ("alphabet", "octets"), [("latin1", b"caf\xe9 @"), ("gsm", b"caf\x05 \0"), ("utf8", "café @".encode())]
)
async def test_14_the_default_alphabet_of_a_client_cannot_be_set(alphabet: str, octets: bytes) -> None:
    """kneodev/ksmppd 50: a client may speak Latin-1 under 0."""
    async with serving(smsc(default_alphabet=alphabet)) as served:
        wire = await served.bound()

        await wire.ask(msgspec.structs.replace(MESSAGE, octets=octets), Command.SUBMIT_SM)

        assert served.plane.events[0].body == "café @"


async def test_15_the_octets_of_a_header_are_left_in_the_text() -> None:
    """joaogervasoni/smppjs 56, node-smpp 171: of one that says nothing of parts too."""
    async with serving(smsc()) as served:
        wire = await served.bound()

        octets = bytes((4, 0x24, 2, 1, 2)) + b"hello"
        await wire.ask(msgspec.structs.replace(MESSAGE, octets=octets, esm_class=0x40), Command.SUBMIT_SM)

        assert served.plane.events[0].body == "hello"


async def test_16_a_vendors_parameter_ends_the_session() -> None:
    """python-smpplib 37."""
    async with serving(smsc()) as served:
        wire = await served.bound()

        answer = await wire.ask(msgspec.structs.replace(MESSAGE, optional={0x1403: b"\xff\0x"}), Command.SUBMIT_SM)

        assert (answer.status, served.plane.events[0].body) == (Status.OK, "see you at eight")


async def test_17_an_answer_to_enquire_link_waits_behind_others() -> None:
    """cloudhopper-smpp 134: it goes first, though 100,000 messages before it are not decided."""
    async with serving(smsc()) as served:
        served.plane.is_holding, served.plane.decision = True, ROUTED
        wire = await served.bound()
        body = write_message(MESSAGE)
        backlog = b"".join(frame(Command.SUBMIT_SM, 100 + number, body) for number in range(100_000))

        wire.write(backlog + frame(Command.ENQUIRE_LINK, 7))
        first = await wire.read()

        assert first.command == Command.ENQUIRE_LINK | RESPONSE
        assert len(served.plane.held) == 1000


async def test_17_an_answer_to_enquire_link_waits_until_others_are_decided() -> None:
    """The same while answers leave: it overtakes those to messages that came before it."""
    async with serving(smsc()) as served:
        wire = await served.bound()
        body = write_message(MESSAGE)
        backlog = b"".join(frame(Command.SUBMIT_SM, 100 + number, body) for number in range(300))

        wire.write(backlog + frame(Command.ENQUIRE_LINK, 7))
        answers = [await wire.read() for _ in range(301)]

    (place,) = (place for place, one in enumerate(answers) if one.command == Command.ENQUIRE_LINK | RESPONSE)
    assert place < 300


async def test_18_a_connection_drops_after_minutes_and_is_not_made_again() -> None:
    """node-smpp 204, cloudhopper-smpp 7, go-smpp 2, gosmpp 73: silence is asked about, an end is followed by a bind."""
    timing = Timing(quiet=0.05, proof=0.5)
    async with smsc_listening() as far, serving(esme(far.port), timing=timing) as served:
        wire = await far.bound()
        for _ in range(3):
            probe = await wire.read()
            assert probe.command == Command.ENQUIRE_LINK
            wire.send(probe.command | RESPONSE, sequence=probe.sequence)
        await wire.close()

        await far.bound()

        await until(lambda: served.gauge("smpp_unbound_peers") == 0)


async def test_19_what_a_client_that_is_away_should_get_is_lost() -> None:
    """jookies/jasmin 706, ksmppd 94: it waits until the client is bound again."""
    async with serving(smsc()) as served:
        first = await served.bound()
        await first.close()
        await until(lambda: served.gauge("smpp_bound_connections") == 0)
        async with sending(served, out("later")) as task:
            await asyncio.sleep(0)
            wire = await served.bound()

            came = await wire.take()

            assert (came.octets, (await task).status) == (b"later", LegStatus.SENT)


async def test_19_a_receipt_for_a_client_that_is_away_is_lost() -> None:
    """The same of what became of its messages, over whichever bind it makes then."""
    async with serving(smsc()) as served:
        served.plane.decision = ROUTED
        wire = await served.bound()
        await wire.ask(msgspec.structs.replace(MESSAGE, registered_delivery=1), Command.SUBMIT_SM)
        await wire.close()
        await until(lambda: served.gauge("smpp_bound_connections") == 0)
        await served.tell(served.plane.events[0].resource_sid, LegStatus.DELIVERED)

        back = await served.bound()

        assert b"stat:DELIVRD" in (await back.take()).octets


async def test_20_messages_wait_for_one_another() -> None:
    """jookies/jasmin 441, 787, 852, 963: a hundred are decided although the first is not answered yet."""
    async with serving(smsc()) as served:
        served.plane.is_holding, served.plane.decision = True, ROUTED
        wire = await served.bound()
        for number in range(100):
            octets = str(number).encode()
            wire.send(Command.SUBMIT_SM, write_message(msgspec.structs.replace(MESSAGE, octets=octets)))
        await until(lambda: len(served.plane.events) == 100)
        for answer in reversed(served.plane.held):
            answer()

        sequences = [(await wire.read()).sequence for _ in range(100)]

    assert sorted(sequences) == list(range(2, 102))


async def test_20_a_message_waits_until_what_became_of_others_is_written_down() -> None:
    """The same, out: what the carrier answered makes room at once, not only when that is on disk."""
    async with smsc_listening() as far, serving(esme(far.port, window=1), notes=HeldNotes()) as served:
        wire = await far.bound()
        tasks = [asyncio.create_task(served.sender.send(out("x", key=f"EF{number}"))) for number in range(20)]
        for number in range(20):
            await wire.take(f"{number}")

        sent = await asyncio.gather(*tasks)

    assert {one.status for one in sent} == {LegStatus.SENT}


class HeldNotes(MemoryNotes):
    """Notes of which none is ever said to be committed."""

    def commit(self, key: bytes, change: Callable[[], None], done: NoteDone, late: NoteLate | None) -> None:
        """Say nothing."""
