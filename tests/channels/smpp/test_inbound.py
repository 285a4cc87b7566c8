"""What comes over SMPP: decided once, answered after its commit, parts put together, redeliveries known."""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from engine.channels.smpp.pdu import (
    RESPONSE,
    Command,
    ShortMessage,
    SmeAddress,
    Status,
    Tag,
    frame,
    read_message_id,
    write_message,
)
from engine.channels.smpp.segments import LongForm, Place, header, segment_parameters
from engine.core.model.errors import StoreUnavailable
from engine.core.ports.notes import NoteDone, NoteLate
from engine.core.ports.observing import SmppCount
from engine.core.routing.traffic import ENDINGS, Decision, Outcome, Reason
from tests.channels.offered import MemoryNotes
from tests.channels.smpp.rig import (
    DESTINATION,
    MESSAGE,
    SOURCE,
    esme,
    serving,
    smsc,
    smsc_listening,
)
from tests.http.rig import PROXY, ROUTED, SENDER, until

pytestmark = pytest.mark.anyio

NOT_READY = Decision(Outcome.NOT_READY, Reason.STORE_UNAVAILABLE)


def part(number: int, total: int, text: str, *, form: LongForm = LongForm.UDH8, reference: int = 7) -> ShortMessage:
    place = Place(form, reference, total, number)
    return ShortMessage(
        source=SOURCE,
        destination=DESTINATION,
        octets=header(place) + text.encode("ascii"),
        esm_class=0 if form is LongForm.SAR else 0x40,
        optional=segment_parameters(place),
    )


async def test_a_message_of_a_carrier_is_decided_and_answered() -> None:
    """As deliver_sm, where we have bound to it."""
    async with smsc_listening() as far, serving(esme(far.port)) as served:
        served.plane.decision = ROUTED
        wire = await far.bound()

        answer = await wire.ask(MESSAGE, Command.DELIVER_SM)

        (event,) = served.plane.events
    assert (event.sender, event.proxy, event.body, event.is_call) == (SENDER, PROXY, "see you at eight", False)
    assert (answer.command, answer.status, answer.body) == (Command.DELIVER_SM | RESPONSE, Status.OK, b"\0")


async def test_a_message_of_an_aggregator_is_answered_with_an_id() -> None:
    """As submit_sm, where it has bound to us; 16 lower-case hexadecimal digits."""
    async with serving(smsc()) as served:
        wire = await served.bound()

        answer = await wire.ask(MESSAGE, Command.SUBMIT_SM)

        (event,) = served.plane.events
    message_id = read_message_id(answer.body)
    assert (answer.status, len(message_id)) == (Status.OK, 16)
    assert event.resource_sid == "smpp-" + event.resource_sid[5:]
    assert event.resource_sid[5:21] == message_id


@pytest.mark.parametrize("reason", ENDINGS[Outcome.REFUSED])
async def test_a_refused_message_is_settled(reason: Reason) -> None:
    """A code of refusal makes many SMSCs try again for hours."""
    async with serving(smsc()) as served:
        served.plane.decision = Decision(Outcome.REFUSED, reason)
        wire = await served.bound()

        answer = await wire.ask(MESSAGE, Command.SUBMIT_SM)

    assert answer.status == Status.OK


async def test_the_answer_leaves_after_the_commit() -> None:
    """Never before: who has heard it forgets the message."""
    async with serving(smsc()) as served:
        served.plane.decision, served.plane.is_holding = ROUTED, True
        wire = await served.bound()
        sequence = wire.send(Command.SUBMIT_SM, write_message(MESSAGE))
        await until(lambda: len(served.plane.held) == 1)
        wire.send(Command.ENQUIRE_LINK)
        first = await wire.read()

        served.plane.held.pop()()
        second = await wire.read()

    assert first.command == Command.ENQUIRE_LINK | RESPONSE
    assert (second.command, second.sequence) == (Command.SUBMIT_SM | RESPONSE, sequence)


@pytest.mark.parametrize(
    ("decision", "status"),
    [(Decision(Outcome.UNKNOWN_NUMBER, Reason.NOT_IN_POOL), Status.BAD_DESTINATION), (NOT_READY, Status.THROTTLED)],
)
async def test_what_is_not_settled_has_a_status_of_its_own(decision: Decision, status: Status) -> None:
    """The peer tries again, or tells its sender."""
    async with serving(smsc()) as served:
        served.plane.decision = decision
        wire = await served.bound()

        assert (await wire.ask(MESSAGE, Command.SUBMIT_SM)).status == status


async def test_a_carrier_is_asked_to_deliver_again_with_a_temporary_error() -> None:
    """0x64 to an SMSC; throttling is what an ESME is told."""
    async with smsc_listening() as far, serving(esme(far.port)) as served:
        served.plane.decision = NOT_READY
        wire = await far.bound()

        assert (await wire.ask(MESSAGE, Command.DELIVER_SM)).status == Status.TEMPORARY_ERROR


async def test_a_message_that_nobody_would_send_on_is_not_taken() -> None:
    """No route names a carrier for the number: the peer keeps it until the operator has made one."""
    async with serving(smsc(), sends=False) as served:
        wire = await served.bound()

        answer = await wire.ask(MESSAGE, Command.SUBMIT_SM)

        assert (answer.status, served.plane.events) == (Status.THROTTLED, [])
        assert served.counted(SmppCount.NOT_ROUTED) == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"data_coding": 0x02},
        {"data_coding": 0x04},
        {"data_coding": 0xF5},
        {"esm_class": 0x40, "octets": bytes.fromhex("06 05 04 0b84 0000") + b"push"},
        {"optional": {Tag.DESTINATION_PORT: b"\x0b\x84"}},
    ],
)
async def test_what_is_no_text_is_refused_for_good(fields: dict[str, Any]) -> None:
    """Pictures, cards and pushes: nobody can tell what they say about their sender. By the status of either side."""
    message = msgspec.structs.replace(MESSAGE, **fields)
    async with serving(smsc()) as served:
        wire = await served.bound()
        told = await wire.ask(message, Command.SUBMIT_SM)

        assert (told.status, served.plane.events) == (Status.SUBMIT_FAILED, [])
        assert served.counted(SmppCount.NOT_TEXT) == 1
    async with smsc_listening() as far, serving(esme(far.port)) as served:
        wire = await far.bound()
        told = await wire.ask(message, Command.DELIVER_SM)

        assert (told.status, served.plane.events) == (Status.PERMANENT_ERROR, [])


async def test_a_body_that_cannot_be_read_is_answered_and_the_connection_stays() -> None:
    """The frame was sound."""
    async with serving(smsc()) as served:
        wire = await served.bound()
        wire.send(Command.SUBMIT_SM, b"no end")
        bad = await wire.read()

        good = await wire.ask(MESSAGE, Command.SUBMIT_SM)

    assert (bad.status, good.status) == (Status.BAD_COMMAND_LENGTH, Status.OK)


@pytest.mark.parametrize("form", [LongForm.UDH8, LongForm.UDH16, LongForm.SAR])
@pytest.mark.parametrize("order", [(1, 2, 3), (3, 1, 2), (2, 3, 1)])
async def test_the_parts_of_a_long_message_are_one_event(form: LongForm, order: tuple[int, ...]) -> None:
    """In any order; each is answered, the last one after the decision."""
    texts = {1: "one ", 2: "two ", 3: "three"}
    async with serving(smsc()) as served:
        wire = await served.bound()

        answers = [await wire.ask(part(n, 3, texts[n], form=form), Command.SUBMIT_SM) for n in order]

        (event,) = served.plane.events
    assert event.body == "one two three"
    assert {answer.status for answer in answers} == {Status.OK}
    assert len({read_message_id(answer.body) for answer in answers}) == 3


async def test_a_text_in_message_payload_is_whole() -> None:
    """However long it is."""
    message = msgspec.structs.replace(MESSAGE, octets=b"", optional={Tag.MESSAGE_PAYLOAD: b"x" * 1000})
    async with serving(smsc()) as served:
        wire = await served.bound()

        await wire.ask(message, Command.SUBMIT_SM)

        assert served.plane.events[0].body == "x" * 1000


async def test_parts_come_over_several_connections() -> None:
    """What belongs together is known per peer."""
    async with serving(smsc(connections=2)) as served:
        one, other = await served.bound(), await served.bound()

        await one.ask(part(2, 2, "world"), Command.SUBMIT_SM)
        await other.ask(part(1, 2, "hello "), Command.SUBMIT_SM)

        assert [event.body for event in served.plane.events] == ["hello world"]


async def test_parts_survive_a_restart() -> None:
    """An answered part is on disk."""
    notes = MemoryNotes()
    async with serving(smsc(), notes=notes) as served:
        await (await served.bound()).ask(part(1, 2, "hello "), Command.SUBMIT_SM)

    async with serving(smsc(), notes=notes) as served:
        await (await served.bound()).ask(part(2, 2, "world"), Command.SUBMIT_SM)

        assert [event.body for event in served.plane.events] == ["hello world"]


async def test_a_part_that_comes_twice_counts_once() -> None:
    """While the others are awaited, and afterwards."""
    async with serving(smsc()) as served:
        wire = await served.bound()

        for number, text in ((1, "hello "), (1, "hello "), (2, "world"), (2, "world"), (1, "hello ")):
            assert (await wire.ask(part(number, 2, text), Command.SUBMIT_SM)).status == Status.OK

        assert [event.body for event in served.plane.events] == ["hello world"]
        assert served.gauge("smpp_waiting_parts") == 0


class LateNotes(MemoryNotes):
    """Notes whose parts are on disk when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.held: list[NoteDone] = []
        self.late: list[NoteLate] = []

    def commit(self, key: bytes, change: Callable[[], None], done: NoteDone, late: NoteLate | None) -> None:
        """Hold back the commit of a part."""
        if key.startswith(b"part/"):
            change()
            self.held.append(done)
            assert late is not None
            self.late.append(late)
        else:
            super().commit(key, change, done, late)


async def test_a_part_that_comes_again_before_it_is_on_disk_is_answered_twice_and_decided_once() -> None:
    """Also where the second commit lands when the message has gone on."""
    notes = LateNotes()
    async with serving(smsc(), notes=notes) as served:
        wire = await served.bound()
        for number, text in ((1, "hello "), (2, "world"), (2, "world")):
            wire.send(Command.SUBMIT_SM, write_message(part(number, 2, text)))
        await until(lambda: len(notes.held) == 3)

        for done in notes.held:
            done(None)

        assert [(await wire.read()).status for _ in range(3)] == [Status.OK] * 3
        assert [event.body for event in served.plane.events] == ["hello world"]


async def test_a_message_that_is_to_come_again_is_the_same_when_it_does() -> None:
    """What it leads to may have been committed all the same: another name for it would send it on twice."""
    async with serving(smsc()) as served:
        wire = await served.bound()
        served.plane.decision = NOT_READY
        refused = [await wire.ask(MESSAGE, Command.SUBMIT_SM) for _ in range(2)]
        served.plane.decision = ROUTED

        taken = [await wire.ask(MESSAGE, Command.SUBMIT_SM) for _ in range(2)]

        assert [one.status for one in refused + taken] == [Status.THROTTLED] * 2 + [Status.OK] * 2
        first, again, known, other = [event.resource_sid for event in served.plane.events]
        assert (first == again == known, other != first) == (True, True)


async def test_a_message_that_was_to_come_again_is_known_once_when_its_connection_ends_too() -> None:
    """An equal one that its sender writes later is another one."""
    async with serving(smsc()) as served:
        wire = await served.bound()
        served.plane.decision = NOT_READY
        await wire.ask(MESSAGE, Command.SUBMIT_SM)
        await wire.close()
        await until(lambda: served.gauge("smpp_bound_connections") == 0)
        served.plane.decision = ROUTED
        again = await served.bound()

        for _ in range(2):
            await again.ask(MESSAGE, Command.SUBMIT_SM)

        first, second, third = [event.resource_sid for event in served.plane.events]
        assert (second, third != first) == (first, True)


async def test_a_part_that_is_not_on_disk_in_time_is_to_come_again() -> None:
    """It counts once when it does; the commit that was late decides the message, and nobody is answered twice."""
    notes = LateNotes()
    async with serving(smsc(), notes=notes) as served:
        wire = await served.bound()
        for number, text in ((1, "hello "), (2, "world")):
            wire.send(Command.SUBMIT_SM, write_message(part(number, 2, text)))
        await until(lambda: len(notes.held) == 2)
        for late in notes.late:
            late()
        refused = [await wire.read() for _ in range(2)]
        for done in notes.held:
            done(None)

        again = await wire.ask(part(2, 2, "world"), Command.SUBMIT_SM)

        assert [one.status for one in (*refused, again)] == [Status.THROTTLED, Status.THROTTLED, Status.OK]
        assert [event.body for event in served.plane.events] == ["hello world"]


async def test_a_reference_that_wraps_begins_a_new_message() -> None:
    """Other octets at the same place are of another message."""
    async with serving(smsc()) as served:
        wire = await served.bound()

        for number, text in ((1, "old "), (1, "new "), (2, "end"), (2, "ending")):
            await wire.ask(part(number, 2, text), Command.SUBMIT_SM)

        assert sorted(event.body for event in served.plane.events) == ["new end", "old ending"]


async def test_a_long_message_that_is_not_ready_is_decided_when_its_part_comes_again() -> None:
    """What is on disk stays there."""
    async with serving(smsc()) as served:
        wire = await served.bound()
        await wire.ask(part(1, 2, "hello "), Command.SUBMIT_SM)
        served.plane.decision = NOT_READY
        refused = await wire.ask(part(2, 2, "world"), Command.SUBMIT_SM)
        served.plane.decision = ROUTED

        taken = await wire.ask(part(2, 2, "world"), Command.SUBMIT_SM)

        assert (refused.status, taken.status) == (Status.THROTTLED, Status.OK)
        first, second = served.plane.events
        assert (first.resource_sid, first.body) == (second.resource_sid, second.body)


async def test_two_equal_texts_on_purpose_stay_two() -> None:
    """Content alone is no key."""
    async with serving(smsc()) as served:
        wire = await served.bound()

        ids = {read_message_id((await wire.ask(MESSAGE, Command.SUBMIT_SM)).body) for _ in range(2)}

        assert len(ids) == 2
        assert len({event.resource_sid for event in served.plane.events}) == 2


async def test_what_was_not_answered_before_its_connection_ended_is_known_again_once() -> None:
    """The peer sends it again over the next connection; what it sends after that is new."""
    async with serving(smsc()) as served:
        served.plane.is_holding = True
        wire = await served.bound()
        wire.send(Command.SUBMIT_SM, write_message(MESSAGE))
        await until(lambda: len(served.plane.events) == 1)
        await wire.close()
        await until(lambda: served.gauge("smpp_bound_connections") == 0)
        served.plane.is_holding = False
        again = await served.bound()

        for _ in range(2):
            await again.ask(MESSAGE, Command.SUBMIT_SM)

        first, second, third = [event.resource_sid for event in served.plane.events]
        assert (second, third != first) == (first, True)
        assert served.counted(SmppCount.REDELIVERED) == 1


async def test_what_came_just_before_a_crash_is_known_again() -> None:
    """Nobody knows which answers were written."""
    notes = MemoryNotes()
    async with serving(smsc(), notes=notes) as served:
        wire = await served.bound()
        await wire.ask(MESSAGE, Command.SUBMIT_SM)
        before = served.plane.events[0].resource_sid
        kept = dict(notes.kept)  # as a crash leaves it
    notes.kept = kept

    async with serving(smsc(), notes=notes) as served:
        wire = await served.bound()
        await wire.ask(MESSAGE, Command.SUBMIT_SM)

        assert served.plane.events[0].resource_sid == before


async def test_a_part_of_a_message_that_was_whole_before_a_crash_begins_no_other() -> None:
    """Its message has gone on."""
    notes = MemoryNotes()
    async with serving(smsc(), notes=notes) as served:
        wire = await served.bound()
        for number, text in ((1, "hello "), (2, "world")):
            await wire.ask(part(number, 2, text), Command.SUBMIT_SM)

    async with serving(smsc(), notes=notes) as served:
        wire = await served.bound()
        answer = await wire.ask(part(2, 2, "world"), Command.SUBMIT_SM)

        assert (answer.status, served.plane.events) == (Status.OK, [])
        assert served.gauge("smpp_waiting_parts") == 0


async def test_a_message_is_known_by_the_id_that_a_peer_gives_it() -> None:
    """In the optional parameter that was agreed on."""
    message = msgspec.structs.replace(MESSAGE, optional={Tag.USER_MESSAGE_REFERENCE: b"\0\7"})
    async with serving(smsc(id_tlv=int(Tag.USER_MESSAGE_REFERENCE))) as served:
        wire = await served.bound()

        for _ in range(2):
            await wire.ask(message, Command.SUBMIT_SM)

        assert len({event.resource_sid for event in served.plane.events}) == 1


async def test_a_sequence_number_that_is_outstanding_is_the_same_pdu() -> None:
    """It is decided once, and answered once."""
    async with serving(smsc()) as served:
        served.plane.is_holding = True
        wire = await served.bound()
        for _ in range(2):
            wire.send(Command.SUBMIT_SM, write_message(MESSAGE), sequence=9)
        wire.send(Command.ENQUIRE_LINK)
        await wire.read()

        assert len(served.plane.events) == 1


@pytest.mark.parametrize(
    ("address", "national", "read"),
    [
        (SmeAddress(2, 1, "07700900123"), "GB", "+447700900123"),
        (SmeAddress(0, 0, "447700900123"), "", "+447700900123"),
        (SmeAddress(2, 1, "0012125550122"), "US", "+12125550122"),
        (SmeAddress(3, 0, "12345"), "", "12345"),
        (SmeAddress(5, 0, "SHOP"), "", "SHOP"),
    ],
)
async def test_senders_are_read_as_they_are_written(address: SmeAddress, national: str, read: str) -> None:
    """By type, and by what was agreed on."""
    async with serving(smsc(national=national)) as served:
        wire = await served.bound()

        await wire.ask(msgspec.structs.replace(MESSAGE, source=address), Command.SUBMIT_SM)

        assert served.plane.events[0].sender == read


async def test_a_bug_ends_one_message_and_no_connection(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged with its traceback, and the peer may try again."""
    async with serving(smsc()) as served:
        wire = await served.bound()
        served.plane.failure = RuntimeError("a bug")
        bad = await wire.ask(MESSAGE, Command.SUBMIT_SM)
        served.plane.failure = None

        good = await wire.ask(MESSAGE, Command.SUBMIT_SM)

    assert (bad.status, good.status) == (Status.SYSTEM_ERROR, Status.OK)
    assert [record.message for record in caplog.records] == ["A message of them could not be handled"]


async def test_a_store_that_cannot_be_read_makes_the_peer_try_again() -> None:
    """It is no bug of ours, and passes."""
    async with serving(smsc()) as served:
        wire = await served.bound()
        served.plane.failure = StoreUnavailable("the disk is away")

        assert (await wire.ask(MESSAGE, Command.SUBMIT_SM)).status == Status.THROTTLED


async def test_enquire_link_is_answered_in_the_middle_of_a_backlog() -> None:
    """With 2,000 messages undecided before it: what has no place in the window waits in TCP."""
    async with serving(smsc()) as served:
        served.plane.is_holding = True
        wire = await served.bound()
        body = write_message(MESSAGE)
        wire.write(b"".join(frame(Command.SUBMIT_SM, 100 + number, body) for number in range(500)))
        wire.send(Command.ENQUIRE_LINK)

        assert (await wire.read()).command == Command.ENQUIRE_LINK | RESPONSE


async def test_messages_are_refused_while_the_server_stops() -> None:
    """Another time, over another connection; what was taken is answered."""
    async with serving(smsc()) as served:
        served.plane.is_holding = True
        wire = await served.bound()
        wire.send(Command.SUBMIT_SM, write_message(MESSAGE))
        await until(lambda: len(served.plane.held) == 1)
        stopping = asyncio.create_task(served.channels.stop(5.0))
        await asyncio.sleep(0)
        refused = await wire.ask(MESSAGE, Command.SUBMIT_SM)
        served.plane.held.pop()()
        taken, unbind = await wire.read(), await wire.read()
        wire.send(unbind.command | RESPONSE, sequence=unbind.sequence)
        await stopping

        assert (refused.status, taken.status) == (Status.SYSTEM_ERROR, Status.OK)
        assert unbind.command == Command.UNBIND
        assert await wire.has_ended()
