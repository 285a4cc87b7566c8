"""What leaves over SMPP, and what its peers say became of it."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack

import msgspec
import pytest

from engine.channels.base import Sent
from engine.channels.smpp.pdu import RESPONSE, Command, ShortMessage, Status, Tag, read_message, write_message_id
from engine.channels.smpp.receipts import write_receipt
from engine.channels.smpp.segments import user_data
from engine.channels.smpp.session import Timing
from engine.channels.smpp.settings import SmppSettings
from engine.channels.smpp.texts import Reading, decode
from engine.channels.sockets import ListenAddress
from engine.core.model.errors import StoreUnavailable
from engine.core.model.records import LegStatus
from engine.core.ports.observing import SmppCount
from tests.channels.offered import MemoryNotes
from tests.channels.smpp.rig import (
    DESTINATION,
    MESSAGE,
    SOURCE,
    Served,
    Wire,
    esme,
    in_tasks,
    out,
    sending,
    serving,
    smsc,
    smsc_listening,
)
from tests.http.rig import PROXY, ROUTED, SENDER, until

pytestmark = pytest.mark.anyio

LONG = "0123456789" * 20


@pytest.fixture(autouse=True, params=[False, True], ids=["begun", "in-a-task"])
def _ways(request: pytest.FixtureRequest) -> Iterator[None]:
    """What becomes of a message is the same where a task makes the try from its beginning."""
    token = in_tasks.set(request.param)
    yield
    in_tasks.reset(token)


def receipt(message_id: str, state: str = "DELIVRD", **optional: bytes) -> ShortMessage:
    text = write_receipt(message_id, state, submitted="2611292100", done="2611292101")
    tags = {int(Tag[name]): value for name, value in optional.items()}
    return ShortMessage(source=SOURCE, destination=DESTINATION, octets=text, esm_class=0x04, optional=tags)


class LostNotes(MemoryNotes):
    """Notes whose store is away."""

    async def get(self, key: bytes) -> bytes | None:
        """Fail."""
        raise StoreUnavailable(f"{key!r} cannot be read")


def text_of(message: ShortMessage) -> object:
    return decode(user_data(message).octets, message.data_coding, reading=Reading())


async def test_a_message_leaves_as_a_submit_and_counts_as_sent() -> None:
    """From the proxy number to the real one, with a receipt asked for."""
    async with smsc_listening() as far, serving(esme(far.port)) as served:
        wire = await far.bound()
        async with sending(served, out("hello {€}")) as task:
            came = await wire.take("a0001")

            assert await task == Sent(status=LegStatus.SENT, resource_sid="a0001")
    assert (came.source.digits, came.destination.digits) == (PROXY[1:], SENDER[1:])
    assert (came.source.ton, came.source.npi, came.registered_delivery, came.data_coding) == (1, 1, 1, 0)
    assert (came.octets, text_of(came)) == (b"hello \x1b\x28\x1b\x65\x1b\x29", "hello {€}")


async def test_what_is_not_in_the_alphabet_leaves_as_ucs_2() -> None:
    """An emoji is a surrogate pair."""
    async with smsc_listening() as far, serving(esme(far.port)) as served:
        wire = await far.bound()
        async with sending(served, out("grüß dich 😀")) as task:
            came = await wire.take("1")
            await task
    assert (came.data_coding, came.octets.decode("utf-16-be")) == (8, "grüß dich 😀")


@pytest.mark.parametrize("form", ["udh8", "udh16", "sar"])
async def test_a_long_message_leaves_in_parts_of_one_reference(form: str) -> None:
    """In order; all but the last say that more follow."""
    async with smsc_listening() as far, serving(esme(far.port, long_messages=form)) as served:
        wire = await far.bound()
        async with sending(served, out(LONG)) as task:
            parts = [await wire.take("1"), await wire.take("2")]
            assert (await task).status is LegStatus.SENT
    places = [user_data(one).place for one in parts]
    assert [(one.form, one.total, one.number) for one in places if one] == [(form, 2, 1), (form, 2, 2)]
    assert len({one.reference for one in places if one}) == 1
    assert "".join(str(text_of(one)) for one in parts) == LONG
    assert [Tag.MORE_MESSAGES_TO_SEND in one.optional for one in parts] == [True, False]


async def test_a_long_message_may_leave_whole() -> None:
    """In message_payload, where that was agreed on."""
    async with smsc_listening() as far, serving(esme(far.port, long_messages="payload")) as served:
        wire = await far.bound()
        async with sending(served, out(LONG)) as task:
            came = await wire.take("1")
            await task
    assert (came.octets, came.optional[Tag.MESSAGE_PAYLOAD]) == (b"", LONG.encode())


async def test_a_pair_sends_over_its_transmitter_and_takes_over_its_receiver() -> None:
    """Two connections, one of each kind."""
    async with smsc_listening() as far, serving(esme(far.port, bind="pair")) as served:
        wires = {}
        for _ in range(2):
            wire = await far.wire()
            wires[(await wire.accept_bind()).command] = wire
        await until(lambda: served.gauge("smpp_bound_connections") == 2)
        async with sending(served, out("hello")) as task:
            await wires[Command.BIND_TRANSMITTER].take("7")
            await task
        answer = await wires[Command.BIND_RECEIVER].ask(receipt("7"), Command.DELIVER_SM)

        assert (answer.status, served.plane.reports[0].status) == (Status.OK, LegStatus.DELIVERED)


async def test_a_message_to_who_binds_to_us_leaves_as_a_delivery() -> None:
    """Once it is bound: until then the outbox keeps it."""
    async with serving(smsc()) as served, sending(served, out("hello")) as task:
        await asyncio.sleep(0)
        assert not task.done()
        wire = await served.bound()

        came = await wire.read()
        wire.send(came.command | RESPONSE, b"\0", sequence=came.sequence)

        assert (came.command, (await task).status) == (Command.DELIVER_SM, LegStatus.SENT)


@pytest.mark.parametrize("status", [Status.BAD_DESTINATION, Status.SUBMIT_FAILED, Status.REJECTED, 0x33])
async def test_a_permanent_error_fails_the_message(status: int) -> None:
    """Another try would end alike."""
    async with smsc_listening() as far, serving(esme(far.port)) as served:
        wire = await far.bound()
        async with sending(served, out("hello")) as task:
            came = await wire.read()
            wire.send(came.command | RESPONSE, sequence=came.sequence, status=status)
            sent = await task
    assert (sent.is_done, sent.may_retry, sent.may_be_taken) == (False, False, False)
    assert f"0x{status:02x}" in sent.error


@pytest.mark.parametrize("status", [Status.SYSTEM_ERROR, Status.TEMPORARY_ERROR])
async def test_a_temporary_error_is_tried_again_by_the_outbox(status: Status) -> None:
    """As often as the settings say."""
    async with smsc_listening() as far, serving(esme(far.port)) as served:
        wire = await far.bound()
        async with sending(served, out("hello")) as task:
            await wire.take(status=status)
            sent = await task
    assert (sent.may_retry, sent.may_be_taken) == (True, False)


@pytest.mark.parametrize("status", [Status.THROTTLED, Status.QUEUE_FULL])
async def test_a_throttled_message_is_sent_again_and_slows_the_peer_down(status: Status) -> None:
    """It is no failure: the same message, a second later."""
    async with smsc_listening() as far, serving(esme(far.port)) as served:
        wire = await far.bound()
        async with sending(served, out("hello")) as task:
            first = await wire.take(status=status)
            again = await wire.take("1")

            assert (await task).status is LegStatus.SENT
        assert first == again
        assert served.gauge("smpp_slowed_peers") == 1
        assert served.counted(SmppCount.THROTTLED) == 1


async def test_only_the_parts_that_were_not_taken_are_tried_again() -> None:
    """Under the same reference, so that they are one message on the phone."""
    async with smsc_listening() as far, serving(esme(far.port)) as served:
        wire = await far.bound()
        async with sending(served, out(LONG)) as task:
            first = await wire.take("1")
            await wire.take(status=Status.TEMPORARY_ERROR)
            assert (await task).may_retry
        async with sending(served, out(LONG)) as task:
            second = await wire.take("2")

            assert (await task).resource_sid == "1"
    places = [user_data(one).place for one in (first, second)]
    assert [place.number for place in places if place] == [1, 2]
    assert len({place.reference for place in places if place}) == 1


async def test_the_parts_that_were_taken_before_a_crash_are_not_sent_again() -> None:
    """Nor is a message of which all were: the crash came before that was reported."""
    notes = MemoryNotes()
    async with smsc_listening() as far, serving(esme(far.port), notes=notes) as served:
        wire = await far.bound()
        async with sending(served, out(LONG)):
            first = await wire.take("1")
            await wire.read()  # the second; we end before its answer
    async with smsc_listening() as far, serving(esme(far.port), notes=notes) as served:
        wire = await far.bound()
        async with sending(served, out(LONG)) as task:
            second = await wire.take("2")
            assert (await task).resource_sid == "1"
    async with smsc_listening() as far, serving(esme(far.port), notes=notes) as served:
        assert (await served.sender.send(out(LONG))).resource_sid == "1"
    places = [user_data(one).place for one in (first, second)]
    assert [place.number for place in places if place] == [1, 2]
    assert len({place.reference for place in places if place}) == 1


async def test_an_account_with_many_messages_delays_no_other_one() -> None:
    """While the window is full, accounts take turns."""
    messages = [out(f"a{number}", key=f"EF{number}") for number in range(5)]
    messages.append(out("b", key="EF9", account_sid="AC2"))
    async with smsc_listening() as far, serving(esme(far.port, window=1)) as served, AsyncExitStack() as stack:
        wire = await far.bound()
        tasks = [await stack.enter_async_context(sending(served, one)) for one in messages]

        texts = [(await wire.take(str(number))).octets for number in range(6)]

        assert all([(await task).is_done for task in tasks])
    assert texts == [b"a0", b"a1", b"b", b"a2", b"a3", b"a4"]


async def test_a_message_without_an_answer_may_have_been_taken() -> None:
    """The connection ends: it is told, and not guessed."""
    async with smsc_listening() as far, serving(esme(far.port)) as served:
        wire = await far.bound()
        async with sending(served, out("hello")) as task:
            await wire.read()
            await wire.close()
            sent = await task
        assert (sent.may_be_taken, sent.may_retry) == (True, False)
        assert served.counted(SmppCount.UNANSWERED) == 1


async def test_a_message_without_an_answer_is_sent_once_more_where_that_was_agreed_on() -> None:
    """With the same reference, by which a careful peer knows it again; a second silence is told."""
    async with smsc_listening() as far, serving(esme(far.port, resend_unknown="once")) as served:
        wire = await far.bound()
        async with sending(served, out("hello")) as task:
            first = read_message((await wire.read()).body)
            await wire.close()
            wire = await far.bound()
            again = read_message((await wire.read()).body)
            await wire.close()

            assert (await task).may_be_taken
    assert first.optional[Tag.USER_MESSAGE_REFERENCE] == again.optional[Tag.USER_MESSAGE_REFERENCE]


async def test_a_message_counts_as_sent_although_its_id_cannot_be_kept() -> None:
    """It has left; only its receipt will find nothing."""
    async with smsc_listening() as far, serving(esme(far.port), notes=LostNotes()) as served:
        wire = await far.bound()
        async with sending(served, out("hello")) as task:
            await wire.take("1")

            assert (await task).status is LegStatus.SENT


async def test_media_are_refused_clearly() -> None:
    """SMPP carries none; a text without its picture would be another message."""
    async with serving(smsc()) as served:
        sent = await served.sender.send(out("look", media=("https://media.example.com/1",)))

    assert (sent.is_done, sent.may_retry, "media" in sent.error) == (False, False, True)


async def test_no_more_messages_wait_for_answers_than_the_window_has() -> None:
    """The next one leaves when an answer has come; answers come in any order."""
    async with smsc_listening() as far, serving(esme(far.port, window=2)) as served:
        wire = await far.bound()
        async with (
            sending(served, out("1", key="EF1")) as first,
            sending(served, out("2", key="EF2")) as second,
            sending(served, out("3", key="EF3")) as third,
        ):
            one, two = await wire.read(), await wire.read()
            wire.send(Command.ENQUIRE_LINK)
            proof = await wire.read()
            wire.send(two.command | RESPONSE, write_message_id("b"), sequence=two.sequence)
            three = await wire.read()
            for came, message_id in ((one, "a"), (three, "c")):
                wire.send(came.command | RESPONSE, write_message_id(message_id), sequence=came.sequence)

            ids = {(await task).resource_sid for task in (first, second, third)}
    assert (proof.command, ids) == (Command.ENQUIRE_LINK | RESPONSE, {"a", "b", "c"})


async def test_a_lost_connection_is_made_again() -> None:
    """And what waited leaves over the new one."""
    async with smsc_listening() as far, serving(esme(far.port)) as served:
        await (await far.bound()).close()
        wire = await far.bound()
        async with sending(served, out("hello")) as task:
            await wire.take("1")
            assert (await task).is_done
        assert served.counted(SmppCount.BOUND) == 2


async def test_an_unbind_is_answered_and_followed_by_a_new_bind() -> None:
    """A carrier restarts its SMSC that way."""
    async with smsc_listening() as far, serving(esme(far.port)) as served:
        wire = await far.bound()
        wire.send(Command.UNBIND)

        answer = await wire.read()
        await far.bound()

        assert answer.command == Command.UNBIND | RESPONSE
        await until(lambda: served.gauge("smpp_unbound_peers") == 0)


async def test_silence_is_found_out(caplog: pytest.LogCaptureFixture) -> None:
    """Two questions without an answer end the connection."""
    del caplog
    timing = Timing(quiet=0.02, proof=0.02)
    async with smsc_listening() as far, serving(esme(far.port), timing=timing) as served:
        wire = await far.bound()
        commands = [(await wire.read()).command for _ in range(2)]
        del served
        assert await wire.has_ended()
    assert commands == [Command.ENQUIRE_LINK, Command.ENQUIRE_LINK]


# -- receipts ----------------------------------------------------------------------------------------------------------


async def sent_as(served: Served, wire: Wire, ids: Sequence[str], *, text: str = "hello") -> None:
    """Send a message whose parts get these ids."""
    async with sending(served, out(text)) as task:
        for one in ids:
            await wire.take(one)
        assert (await task).is_done


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("a0001", "a0001"),
        ("A0001", "a0001"),
        ("a0001", "655361"),
        ("655361", "A0001"),
        ("00B8BE19", "B8BE19"),
        ("0007", "7"),
        ("39f99dd5", "972660181"),
        ("0e999f21-7c4b-4b7e-9f3a-1c2d3e4f5a6b", "0E999F21-7C4B-4B7E-9F3A-1C2D3E4F5A6B"),
        ("SAR-17", "SAR-17"),
    ],
)
async def test_a_receipt_finds_its_message_by_every_form_of_its_id(given: str, told: str) -> None:
    """Without a setting."""
    async with smsc_listening() as far, serving(esme(far.port)) as served:
        wire = await far.bound()
        await sent_as(served, wire, [given])

        answer = await wire.ask(receipt(told), Command.DELIVER_SM)

        (report,) = served.plane.reports
    assert answer.status == Status.OK
    assert (report.interaction_sid, report.status) == (ROUTED.interaction_sid, LegStatus.DELIVERED)
    assert (report.is_outbound, report.resource_sid) == (True, given)


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ("ACCEPTD", LegStatus.SENT),
        ("DELIVRD", LegStatus.DELIVERED),
        ("EXPIRED", LegStatus.UNDELIVERED),
        ("UNDELIV", LegStatus.UNDELIVERED),
        ("REJECTD", LegStatus.FAILED),
    ],
)
async def test_a_receipt_moves_the_leg(state: str, status: LegStatus) -> None:
    """As the table of states says."""
    async with smsc_listening() as far, serving(esme(far.port)) as served:
        wire = await far.bound()
        await sent_as(served, wire, ["1"])

        await wire.ask(receipt("1", state), Command.DELIVER_SM)

        assert [report.status for report in served.plane.reports] == [status]


async def test_a_receipt_may_come_before_the_response() -> None:
    """It waits, on disk, until the response has told the id."""
    async with smsc_listening() as far, serving(esme(far.port)) as served:
        wire = await far.bound()
        async with sending(served, out("hello")) as task:
            came = await wire.read()
            early = await wire.ask(receipt("77"), Command.DELIVER_SM)
            before = list(served.plane.reports)
            wire.send(came.command | RESPONSE, write_message_id("77"), sequence=came.sequence)
            await task

        assert (early.status, before) == (Status.OK, [])
        assert [report.status for report in served.plane.reports] == [LegStatus.DELIVERED]


async def test_an_early_receipt_is_not_taken_for_that_of_an_id_that_is_the_same_number() -> None:
    """The peer counts in hex: its 10 is not our message a, although that is ten as well."""
    async with smsc_listening() as far, serving(esme(far.port)) as served:
        wire = await far.bound()
        await sent_as(served, wire, ["0000000a"])
        async with sending(served, out("hello", key="EF2", interaction="KI" + "2" * 32)) as task:
            came = await wire.read()
            await wire.ask(receipt("00000010", "UNDELIV"), Command.DELIVER_SM)
            before = list(served.plane.reports)
            wire.send(came.command | RESPONSE, write_message_id("00000010"), sequence=came.sequence)
            await task

        assert before == []
        assert [report.interaction_sid for report in served.plane.reports] == ["KI" + "2" * 32]


async def test_a_receipt_may_come_over_another_connection_after_a_restart() -> None:
    """Ids belong to the peer, and are on disk."""
    notes = MemoryNotes()
    async with smsc_listening() as far, serving(esme(far.port), notes=notes) as served:
        await sent_as(served, await far.bound(), ["1"])
    async with smsc_listening() as far, serving(esme(far.port, connections=2), notes=notes) as served:
        await far.bound()
        other = await far.bound()

        await other.ask(receipt("1"), Command.DELIVER_SM)

        assert [report.status for report in served.plane.reports] == [LegStatus.DELIVERED]


async def test_a_long_message_is_delivered_when_all_its_parts_are() -> None:
    """Each part has an id of its own."""
    async with smsc_listening() as far, serving(esme(far.port)) as served:
        wire = await far.bound()
        await sent_as(served, wire, ["x1", "x2"], text=LONG)

        await wire.ask(receipt("x2"), Command.DELIVER_SM)
        before = list(served.plane.reports)
        await wire.ask(receipt("x1"), Command.DELIVER_SM)

        told = [(report.status, report.resource_sid) for report in served.plane.reports]
        assert (before, told) == ([], [(LegStatus.DELIVERED, "x1")])


async def test_a_long_message_has_failed_when_one_part_has() -> None:
    """Nobody can read the rest."""
    async with smsc_listening() as far, serving(esme(far.port)) as served:
        wire = await far.bound()
        await sent_as(served, wire, ["x1", "x2"], text=LONG)

        await wire.ask(receipt("x1", "UNDELIV"), Command.DELIVER_SM)

        assert [report.status for report in served.plane.reports] == [LegStatus.UNDELIVERED]


async def test_the_parameters_of_a_receipt_go_before_its_text() -> None:
    """The text is by custom only."""
    parameters = {"RECEIPTED_MESSAGE_ID": b"1\0", "MESSAGE_STATE": b"\x05"}
    async with smsc_listening() as far, serving(esme(far.port)) as served:
        wire = await far.bound()
        await sent_as(served, wire, ["1"])

        await wire.ask(receipt("other", "DELIVRD", **parameters), Command.DELIVER_SM)

        assert [report.status for report in served.plane.reports] == [LegStatus.UNDELIVERED]


async def test_a_receipt_that_means_two_messages_means_none() -> None:
    """One has the number in hex, another in decimals; it is counted."""
    async with smsc_listening() as far, serving(esme(far.port)) as served:
        wire = await far.bound()
        await sent_as(served, wire, ["10"])
        async with sending(served, out("hello", key="EF2", interaction="KI" + "2" * 32)) as task:
            await wire.take("016")
            await task

        await wire.ask(receipt("0016"), Command.DELIVER_SM)

        assert (served.plane.reports, served.counted(SmppCount.RECEIPT_AMBIGUOUS)) == ([], 1)


async def test_a_receipt_whose_state_is_not_kept_is_to_come_again() -> None:
    """The store is away."""
    async with smsc_listening() as far, serving(esme(far.port)) as served:
        wire = await far.bound()
        await sent_as(served, wire, ["1"])
        served.plane.report_outcome = None

        answer = await wire.ask(receipt("1"), Command.DELIVER_SM)

    assert answer.status == Status.TEMPORARY_ERROR


# -- who may bind ------------------------------------------------------------------------------------------------------


async def test_a_wrong_password_and_an_unknown_name_are_refused_alike() -> None:
    """Nobody learns which names there are."""
    async with serving(smsc()) as served:
        wrong = await (await served.wire()).bind(password="guess")
        unknown = await served.wire()
        unknown.send(Command.BIND_TRANSCEIVER, b"nobody\0secret\0\0\x34\0\0\0")
        other = await unknown.read()

        assert (wrong.status, other.status) == (Status.WRONG_PASSWORD, Status.WRONG_PASSWORD)
        assert served.counted(SmppCount.BIND_REFUSED) == 2


async def test_who_comes_from_elsewhere_is_refused() -> None:
    """The settings name the peer's networks."""
    async with serving(smsc(networks=["10.0.0.0/8"])) as served:
        assert (await (await served.wire()).bind()).status == Status.BIND_FAILED


async def test_no_more_connections_are_bound_than_were_agreed_on() -> None:
    """A transmitter and a receiver count as one."""
    async with serving(smsc()) as served:
        statuses = [(await (await served.wire()).bind()).status for _ in range(3)]

    assert statuses == [Status.OK, Status.OK, Status.ALREADY_BOUND]


async def test_strangers_who_do_not_bind_keep_no_peer_out(caplog: pytest.LogCaptureFixture) -> None:
    """The oldest of them makes room; who is bound stays. They are told of once a minute."""
    listening = SmppSettings(smpp_listen=ListenAddress("127.0.0.1", 0), max_smpp_connections=3)
    async with serving(smsc(), listening=listening) as served:
        bound = await served.bound()
        strangers = [await served.wire() for _ in range(10)]
        await until(lambda: served.counted(SmppCount.TOO_MANY_CONNECTIONS) == 8)
        for stranger in strangers[:8]:
            with pytest.raises(EOFError):
                await stranger.read()

        other = await (await served.wire()).bind()

        assert other.status == Status.OK
        assert (await bound.ask(MESSAGE, Command.SUBMIT_SM)).status == Status.OK
        assert served.gauge("smpp_bound_connections") == 2
    assert [record.message for record in caplog.records if "max_smpp_connections" in record.message] == [
        "The SMPP connection from 127.0.0.1 is closed, not being bound: max_smpp_connections are open"
    ]


async def test_a_bind_is_answered_with_our_name_and_version() -> None:
    """The version as an optional parameter."""
    async with serving(smsc()) as served:
        answer = await (await served.wire()).bind()

    assert answer.body == b"maskline\0\x02\x10\x00\x01\x34"


async def test_a_refused_bind_is_logged_without_a_password(caplog: pytest.LogCaptureFixture) -> None:
    """And tried again later: peers lock accounts that try often."""
    async with smsc_listening() as far, serving(esme(far.port)) as served:
        await (await far.wire()).accept_bind(status=Status.WRONG_PASSWORD)
        await until(lambda: served.counted(SmppCount.BIND_REFUSED) == 1)

    assert [record.message for record in caplog.records] == ["SMPP peer them: the bind was refused with status 0x0e"]


def test_a_peer_shows_no_password() -> None:
    """Wherever it is printed."""
    assert "secret" not in repr(smsc())
    assert msgspec.structs.asdict(smsc())["password"] == "secret"
