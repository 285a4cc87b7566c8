"""Receipts that a peer asks us for: every form of asking, kept over restarts, sent over whichever bind it has."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec
import pytest

from engine.channels.smpp import owed
from engine.channels.smpp.pdu import (
    RESPONSE,
    Command,
    ShortMessage,
    SmeAddress,
    Status,
    Tag,
    read_message,
    read_message_id,
    write_message,
)
from engine.channels.smpp.receipts import read_receipt
from engine.channels.smpp.redeliveries import KEPT_SECONDS
from engine.channels.smpp.segments import LongForm, Place, header
from engine.core.model.errors import StoreUnavailable
from engine.core.model.records import LegStatus
from engine.core.ports.notes import NoteDone, NoteLate
from engine.core.ports.observing import SmppCount
from engine.core.routing.receipts import asked_by
from engine.core.routing.traffic import Decision, Outcome, Reason
from engine.outbound.delivery import Delivery
from tests.at_once import at_once
from tests.channels.offered import MemoryNotes
from tests.channels.smpp.rig import DESTINATION, MESSAGE, Served, Wire, serving, smsc
from tests.http.rig import NOW, ROUTED, until

pytestmark = pytest.mark.anyio

NATIONAL = SmeAddress(2, 1, "02125550122")
REFUSED = Decision(Outcome.REFUSED, Reason.NO_SESSION)


def asking(registered_delivery: int = 1, **more: object) -> ShortMessage:
    return msgspec.structs.replace(MESSAGE, registered_delivery=registered_delivery, **more)


async def submitted(wire: Wire, message: ShortMessage) -> str:
    """Send a message of theirs; return what we call it."""
    answer = await wire.ask(message, Command.SUBMIT_SM)
    assert answer.status == Status.OK
    return read_message_id(answer.body)


async def became(served: Served, status: LegStatus, *, event: int = -1, at: float = NOW) -> Delivery:
    """Have the outbox tell what became of the message that an event was."""
    return await served.tell(served.plane.events[event].resource_sid, status, at=at)


@asynccontextmanager
async def routing(notes: MemoryNotes | None = None, **peer: object) -> AsyncIterator[Served]:
    """Serve a peer whose messages are all routed."""
    async with serving(smsc(**peer), notes=notes) as served:
        served.plane.decision = ROUTED
        yield served


async def has_come(wire: Wire) -> bool:
    """Tell whether anything but the answer to a proof of life comes."""
    sequence = wire.send(Command.ENQUIRE_LINK)
    for _ in range(5):
        await asyncio.sleep(0)
    return (await wire.read()).sequence != sequence


async def test_who_asks_is_told_with_the_id_that_it_was_given() -> None:
    """In the text and as parameters, from the number it sent to, both addresses as they came."""
    async with routing() as served:
        wire = await served.bound()
        message_id = await submitted(wire, asking(source=NATIONAL))

        assert (await became(served, LegStatus.DELIVERED)).is_done
        receipt = await wire.take()

    assert (receipt.source, receipt.destination, receipt.esm_class) == (DESTINATION, NATIONAL, 4)
    assert receipt.optional[Tag.RECEIPTED_MESSAGE_ID] == message_id.encode() + b"\0"
    assert receipt.optional[Tag.MESSAGE_STATE] == b"\2"
    assert receipt.octets.startswith(f"id:{message_id} sub:001 dlvrd:001 submit date:".encode())
    assert b"stat:DELIVRD err:000 text:" in receipt.octets


@pytest.mark.parametrize(
    ("registered_delivery", "status", "state"),
    [
        (0, LegStatus.DELIVERED, 0),
        (0, LegStatus.FAILED, 0),
        (1, LegStatus.SENT, 0),
        (1, LegStatus.DELIVERED, 2),
        (1, LegStatus.UNDELIVERED, 5),
        (1, LegStatus.FAILED, 8),
        (1, LegStatus.DELIVERY_UNKNOWN, 7),
        (2, LegStatus.DELIVERED, 0),
        (2, LegStatus.UNDELIVERED, 5),
        (2, LegStatus.DELIVERY_UNKNOWN, 7),
        (3, LegStatus.DELIVERED, 2),
        (3, LegStatus.UNDELIVERED, 0),
        (3, LegStatus.DELIVERY_UNKNOWN, 0),
        (0x10, LegStatus.SENT, 1),
        (0x10, LegStatus.DELIVERED, 0),
        (0x11, LegStatus.SENT, 1),
        (0x11, LegStatus.DELIVERED, 2),
        (0x12, LegStatus.DELIVERED, 0),
        (0x04, LegStatus.DELIVERED, 0),
    ],
)
async def test_each_way_of_asking_has_its_answers(registered_delivery: int, status: LegStatus, state: int) -> None:
    """Whatever it comes to, failure only, success only, on the way; a phone's own acknowledgement nobody can make."""
    async with routing() as served:
        wire = await served.bound()
        await submitted(wire, asking(registered_delivery))
        asked = asked_by(served.plane.events[0].resource_sid)
        await became(served, status)

        came = await wire.take() if state else None

        assert asked == ("them" if registered_delivery & 0x13 else "")
        assert state or not await has_come(wire)
    assert came is None or came.optional[Tag.MESSAGE_STATE] == bytes((state,))
    assert came is None or came.esm_class == (0x20 if state == 1 else 0x04)


async def test_the_final_state_is_told_once() -> None:
    """However often the outbox asks for it; what nobody knew may be told later."""
    async with routing() as served:
        wire = await served.bound()
        await submitted(wire, asking(0x11))
        told = (LegStatus.SENT, LegStatus.SENT, LegStatus.DELIVERY_UNKNOWN, LegStatus.DELIVERED, LegStatus.DELIVERED)
        for status in told:
            await became(served, status)

        states = [(await wire.take()).optional[Tag.MESSAGE_STATE] for _ in range(3)]

        assert not await has_come(wire)
    assert states == [b"\1", b"\7", b"\2"]


async def test_who_is_away_is_told_when_it_is_back() -> None:
    """Over whichever bind it makes then; a transmitter takes no receipts."""
    async with routing() as served:
        transmitter = await served.wire()
        await transmitter.bind(Command.BIND_TRANSMITTER)
        message_id = await submitted(transmitter, asking())
        await transmitter.close()
        await became(served, LegStatus.DELIVERED)
        assert served.gauge("smpp_owed_receipts") == 1

        receiver = await served.wire()
        await receiver.bind(Command.BIND_RECEIVER)
        receipt = read_receipt(await receiver.take())

        await until(lambda: served.gauge("smpp_owed_receipts") == 0)
    assert receipt is not None
    assert (receipt.message_id, receipt.status) == (message_id, LegStatus.DELIVERED)


async def test_what_is_owed_outlives_a_restart() -> None:
    """What was asked, and what was not taken yet."""
    notes = MemoryNotes()
    async with routing(notes) as served:
        wire = await served.bound()
        ids = [await submitted(wire, asking(octets=one)) for one in (b"one", b"two")]
        sids = [event.resource_sid for event in served.plane.events]
        await wire.close()
        await until(lambda: served.gauge("smpp_bound_connections") == 0)
        await became(served, LegStatus.DELIVERED, event=0)
    async with routing(notes) as served:
        await served.tell(sids[1], LegStatus.FAILED, at=NOW + 1)

        wire = await served.bound()
        receipts = [read_receipt(await wire.take()) for _ in range(2)]

        await until(lambda: served.gauge("smpp_owed_receipts") == 0)
    assert [(one.message_id, one.status) for one in receipts if one] == [
        (ids[0], LegStatus.DELIVERED),
        (ids[1], LegStatus.FAILED),
    ]
    assert not [key for key in notes.kept if key.startswith(b"due/")]


async def test_more_than_memory_holds_are_each_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest is read when those are taken, of which the disk may still have the last."""
    monkeypatch.setattr(owed, "_MOST_IN_MEMORY", 2)
    async with routing(CommittedNotes()) as served:
        wire = await served.bound()
        ids = [await submitted(wire, asking(octets=str(one).encode())) for one in range(5)]
        await wire.close()
        await until(lambda: served.gauge("smpp_bound_connections") == 0)
        for one in range(5):
            await became(served, LegStatus.DELIVERED, event=one, at=NOW + one)

        wire = await served.bound()
        receipts = [read_receipt(await wire.take()) for _ in ids]

        assert not await has_come(wire)
    assert sorted(one.message_id for one in receipts if one) == sorted(ids)


async def test_a_receipt_without_an_answer_is_sent_again() -> None:
    """Over the next connection: it is on disk until the peer has taken it."""
    async with routing() as served:
        wire = await served.bound()
        await submitted(wire, asking())
        await became(served, LegStatus.DELIVERED)
        first = read_message((await wire.read()).body)
        await wire.close()

        again = await (await served.bound()).take()

    assert again == first


async def test_a_receipt_that_is_refused_for_good_is_not_sent_again(caplog: pytest.LogCaptureFixture) -> None:
    """It is counted and logged, without a number."""
    async with routing() as served:
        wire = await served.bound()
        await submitted(wire, asking())
        await became(served, LegStatus.DELIVERED)

        await wire.take(status=Status.REJECTED)

        await until(lambda: served.gauge("smpp_owed_receipts") == 0)
        assert served.counted(SmppCount.RECEIPT_REFUSED) == 1
    assert "them refuses a receipt with status 0x66" in caplog.text


async def test_receipts_that_nobody_takes_for_three_days_are_dropped_and_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A peer that binds after that is told the later ones."""
    notes, old = MemoryNotes(), NOW - owed.KEPT_SECONDS - 6 * 3600
    async with serving(smsc(), notes=notes, clock=lambda: old) as served:
        served.plane.decision = ROUTED
        wire = await served.bound()
        for _ in range(3):
            await submitted(wire, asking())
        await wire.close()
        await until(lambda: served.gauge("smpp_bound_connections") == 0)
        for event, at in enumerate((old, old, NOW)):
            await became(served, LegStatus.DELIVERED, event=event, at=at)

    async with serving(smsc(), notes=notes) as served:
        await until(lambda: served.gauge("smpp_owed_receipts") == 1)

        wire = await served.bound()
        await wire.take()

        assert not await has_come(wire)
        assert served.counted(SmppCount.RECEIPT_DROPPED) == 2
    assert "them has not taken 2 receipts in three days" in caplog.text


async def test_receipts_are_dropped_on_disk_and_on_their_way_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory holds some of them only; what is under way is not sent once more."""
    monkeypatch.setattr(owed, "_MOST_IN_MEMORY", 2)
    receipts, old = owed.OwedReceipts(MemoryNotes(), "them"), NOW - owed.KEPT_SECONDS - 6 * 3600
    for number, at in enumerate((old, old, old, NOW)):
        await receipts.asked(owed.asked_by(asking(), str(number), NOW, account_sid=None), is_again=False)
        receipts.answered(str(number), is_taken=True)
        await receipts.become([str(number)], "DELIVRD", at, lambda _: None)
    under_way = await receipts.next()

    dropped = await receipts.give_up(NOW)

    left = await receipts.next()
    assert dropped == 3
    assert under_way is not None
    assert not receipts.owes(under_way)
    assert left is not None
    assert left.message_id == "3"


@pytest.mark.parametrize(
    ("fields", "status", "is_sent_again"),
    [
        ({"temporary_errors": [0x66]}, 0x66, True),
        ({"permanent_errors": [0x64]}, 0x64, False),
        ({"permanent_errors": [0x58]}, 0x58, False),
    ],
)
async def test_what_an_error_means_is_agreed_on_for_receipts_too(
    fields: dict[str, list[int]], status: int, *, is_sent_again: bool
) -> None:
    """As for texts that the peer is sent."""
    async with routing(None, **fields) as served:
        wire = await served.bound()
        await submitted(wire, asking())
        await became(served, LegStatus.DELIVERED)
        first = await wire.take(status=status)

        again = await wire.take() if is_sent_again else None

        await until(lambda: served.gauge("smpp_owed_receipts") == 0)
        assert again == (first if is_sent_again else None)
        assert served.counted(SmppCount.RECEIPT_REFUSED) == (0 if is_sent_again else 1)


async def test_a_receipt_never_comes_before_the_response() -> None:
    """Who has no id yet cannot match it."""
    async with routing() as served:
        served.plane.is_holding = True
        wire = await served.bound()
        sequence = wire.send(Command.SUBMIT_SM, write_message(asking()))
        await until(lambda: len(served.plane.held) == 1)
        await became(served, LegStatus.DELIVERED)
        for _ in range(5):
            await asyncio.sleep(0)

        served.plane.held.pop()()
        first, second = await wire.read(), await wire.read()

    assert (first.command, first.sequence) == (Command.SUBMIT_SM | RESPONSE, sequence)
    assert second.command == Command.DELIVER_SM


@pytest.mark.parametrize(
    ("decision", "state"),
    [(REFUSED, 8), (Decision(Outcome.ANSWERED, Reason.LEFT_TO_APPLICATION), 6)],
)
async def test_a_message_that_leads_to_none_has_a_receipt_at_once(decision: Decision, state: int) -> None:
    """Refused: it was answered with 0x00. Left to the application: that has accepted it. Both are on disk by then."""
    async with serving(smsc(), notes=CommittedNotes()) as served:
        served.plane.decision = decision
        wire = await served.bound()
        wire.send(Command.SUBMIT_SM, write_message(asking()))
        answer = await wire.read()

        receipt = await wire.take()

    assert receipt.optional[Tag.RECEIPTED_MESSAGE_ID].rstrip(b"\0") == answer.body.rstrip(b"\0")
    assert receipt.optional[Tag.MESSAGE_STATE] == bytes((state,))


async def test_a_message_whose_receipt_cannot_be_kept_is_not_taken() -> None:
    """It would never be told."""
    notes = FullNotes()
    async with serving(smsc(), notes=notes) as served:
        served.plane.decision, notes.is_full = REFUSED, True
        wire = await served.bound()

        refused = await wire.ask(asking(), Command.SUBMIT_SM)
        notes.is_full = False
        taken = await wire.ask(asking(), Command.SUBMIT_SM)

        receipt = read_receipt(await wire.take())
    assert (refused.status, taken.status) == (Status.THROTTLED, Status.OK)
    assert receipt is not None
    assert receipt.message_id == read_message_id(taken.body)


async def test_what_comes_again_is_not_told_again() -> None:
    """Its response may have been lost; what is known of it is not."""
    async with routing(CommittedNotes()) as served:
        wire = await served.bound()
        message_id = await submitted(wire, asking())
        await became(served, LegStatus.DELIVERED)
        await wire.take()
        await wire.close()
        await until(lambda: served.gauge("smpp_bound_connections") == 0)
        wire = await served.bound()

        again = await submitted(wire, asking())
        await became(served, LegStatus.DELIVERED)
        wire.send(Command.QUERY_SM, message_id.encode() + b"\0\1\1" + b"12125550100\0")
        state = (await wire.read()).body

        assert not await has_come(wire)
    assert again == message_id
    assert state[-2] == 2


async def put_off_and_delivered(served: Served, wire: Wire) -> tuple[Status, bool]:
    """Answer a message "not ready", and deliver it all the same; returns its status, and whether its receipt came."""
    served.plane.decision = Decision(Outcome.NOT_READY, Reason.STORE_UNAVAILABLE)
    put_off = await wire.ask(asking(), Command.SUBMIT_SM)
    await became(served, LegStatus.DELIVERED)
    is_early = await has_come(wire)
    served.plane.decision = ROUTED
    return Status(put_off.status), is_early


async def test_what_comes_again_while_we_are_not_ready_is_still_known() -> None:
    """Who is asked to send it once more means the same message, and is told what became of it in between."""
    async with routing(CommittedNotes()) as served:
        wire = await served.bound()
        message_id = await submitted(wire, asking())
        await wire.close()
        await until(lambda: served.gauge("smpp_bound_connections") == 0)
        wire = await served.bound()
        put_off, is_early = await put_off_and_delivered(served, wire)

        again = await submitted(wire, asking())

        receipt = read_receipt(await wire.take())
        assert len({event.resource_sid for event in served.plane.events}) == 1
    assert (put_off, is_early, again) == (Status.THROTTLED, False, message_id)
    assert receipt is not None
    assert (receipt.message_id, receipt.status) == (message_id, LegStatus.DELIVERED)


async def test_what_was_put_off_is_told_of_when_it_comes_again() -> None:
    """Its commit was late and made all the same; its receipt waits for the id that the peer has not got."""
    async with routing(CommittedNotes()) as served:
        wire = await served.bound()
        put_off, is_early = await put_off_and_delivered(served, wire)

        message_id = await submitted(wire, asking())

        receipt = read_receipt(await wire.take())
    assert (put_off, is_early) == (Status.THROTTLED, False)
    assert receipt is not None
    assert (receipt.message_id, receipt.status) == (message_id, LegStatus.DELIVERED)


def test_what_was_put_off_and_never_came_again_is_forgotten() -> None:
    """Its peer has an error and no id; what happened to a message that had been taken before is told."""
    notes = MemoryNotes()
    receipts = owed.OwedReceipts(notes, "them")
    for message_id, is_again in (("new", False), ("taken", False), ("taken", True)):
        at_once(receipts.asked(owed.asked_by(asking(), message_id, NOW, account_sid=None), is_again=is_again))
        if is_again or message_id == "new":
            receipts.put_off(message_id, NOW)
        else:
            receipts.answered(message_id, is_taken=True)
    at_once(receipts.become(["new", "taken"], "DELIVRD", NOW, lambda _: None))
    receipts.sweep(NOW + KEPT_SECONDS - 1)
    before = at_once(receipts.next())

    receipts.sweep(NOW + KEPT_SECONDS)

    due = at_once(receipts.next())
    assert before is None
    assert due is not None
    assert due.message_id == "taken"
    assert at_once(receipts.next()) is None
    assert at_once(receipts.state_of("new")) is None


async def test_nothing_is_owed_of_a_message_that_was_not_taken() -> None:
    """Ksmppd 111: its sender has an error and no id."""
    async with serving(smsc()) as served:
        served.plane.decision = Decision(Outcome.UNKNOWN_NUMBER, Reason.NOT_IN_POOL)
        wire = await served.bound()

        answer = await wire.ask(asking(), Command.SUBMIT_SM)

        assert answer.status == Status.BAD_DESTINATION
        assert not await has_come(wire)
        assert not [key for key in served.offered.notes.kept if key.startswith(b"asked/")]


async def test_each_part_that_asks_has_its_own_receipt() -> None:
    """Many ask with the last part only; what the whole came to is true of each."""
    parts = [
        asking(
            wanted,
            octets=header(Place(LongForm.UDH8, 7, 3, number)) + b"part",
            esm_class=0x40,
        )
        for number, wanted in ((1, 0), (2, 1), (3, 1))
    ]
    async with routing() as served:
        wire = await served.bound()
        ids = [await submitted(wire, part) for part in parts]
        await became(served, LegStatus.UNDELIVERED)

        receipts = [read_receipt(await wire.take()) for _ in range(2)]

        assert not await has_come(wire)
    assert [(one.message_id, one.status) for one in receipts if one] == [
        (ids[1], LegStatus.UNDELIVERED),
        (ids[2], LegStatus.UNDELIVERED),
    ]


@pytest.mark.parametrize(
    ("status", "state", "is_final"),
    [(None, 1, False), (LegStatus.SENT, 1, False), (LegStatus.DELIVERED, 2, True), (LegStatus.FAILED, 8, True)],
)
async def test_who_asked_may_query_the_state_too(status: LegStatus | None, state: int, *, is_final: bool) -> None:
    """By our id, in whichever case; with the time at which it became final."""
    async with routing() as served:
        wire = await served.bound()
        message_id = await submitted(wire, asking(2))
        if status is not None:
            await became(served, status)
        if status is LegStatus.FAILED:
            await wire.take()
        wire.send(Command.QUERY_SM, message_id.upper().encode() + b"\0\1\1" + b"12125550100\0")

        answer = await wire.read()

    told, final_date, rest = answer.body.split(b"\0", 2)
    assert (answer.command, answer.status, told.decode()) == (Command.QUERY_SM | RESPONSE, Status.OK, message_id)
    assert len(final_date) == (16 if is_final else 0)
    assert rest == bytes((state, 0))


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (Command.QUERY_SM, Status.QUERY_FAILED),
        (Command.CANCEL_SM, Status.CANCEL_FAILED),
        (Command.REPLACE_SM, Status.REPLACE_FAILED),
    ],
)
async def test_what_cannot_be_done_is_answered_so(command: Command, status: Status) -> None:
    """A message is decided when it comes, and of one that was not asked about no state is kept."""
    async with routing() as served:
        wire = await served.bound()
        message_id = await submitted(wire, MESSAGE)
        wire.send(command, message_id.encode() + b"\0\1\1" + b"12125550100\0")

        answer = await wire.read()

    assert (answer.command, answer.status) == (command | RESPONSE, status)


async def test_the_outbox_keeps_what_could_not_be_written_down() -> None:
    """It tells again later."""
    notes = FullNotes()
    async with routing(notes) as served:
        wire = await served.bound()
        await submitted(wire, asking())
        notes.is_full = True

        told = await became(served, LegStatus.DELIVERED)

    assert (told.is_done, told.may_retry) == (False, True)


async def test_a_receipt_of_what_was_never_asked_about_is_dropped() -> None:
    """Its note has expired, or somebody has made the name up."""
    async with routing() as served:
        wire = await served.bound()

        told = await served.tell("smpp-0@them", LegStatus.DELIVERED)

        assert told.is_done
        assert not await has_come(wire)


class CommittedNotes(MemoryNotes):
    """Notes that show what was committed, some turns after it was asked for, as a store does."""

    def commit(self, key: bytes, change: Callable[[], None], done: NoteDone, late: NoteLate | None) -> None:
        """Keep it soon."""
        self._soon(lambda: MemoryNotes.commit(self, key, change, done, late))

    def drop(self, key: bytes, done: NoteDone) -> None:
        """Keep it no more soon."""
        self._soon(lambda: MemoryNotes.drop(self, key, done))

    def _soon(self, change: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        loop.call_soon(loop.call_soon, change)


class FullNotes(MemoryNotes):
    """Notes that keep nothing any more."""

    is_full = False

    def commit(self, key: bytes, change: Callable[[], None], done: NoteDone, late: NoteLate | None) -> None:
        """Say that the disk is full."""
        if self.is_full:
            done(StoreUnavailable("the disk is full"))
        else:
            super().commit(key, change, done, late)
