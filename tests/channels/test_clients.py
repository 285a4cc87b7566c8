"""Carriers: which sends for which number, what it is sent, and what its answer makes of the leg."""

import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import msgspec
import pytest

from engine.channels.base import OutMessage, OutReceipt, SendsMessages, Sent
from engine.channels.clients import CarrierClients, CarrierMisconfigured, CarrierRoutes
from engine.channels.file.channel import FileChannel
from engine.channels.twiml.sender import MessagesApiChannel
from engine.core.model.changes import InteractionUpdated
from engine.core.model.errors import Code
from engine.core.model.outbox import OutboxEntry, OutboxHangUp, OutboxMessage, OutboxReceipt
from engine.core.model.records import Kind, LegStatus
from engine.core.ports.outgoing import Carriers, RemoteSend
from engine.core.routing.legs import apply_report
from engine.core.routing.traffic import LegReport, ReportOutcome
from engine.outbound.delivery import DELIVERED, SETTLED, Delivery, Ending, Rest
from engine.outbound.settings import CarrierKind, CarrierSettings
from engine.remote_senders import RemoteSender, send_here
from tests.channels.offered import Offered
from tests.http.rig import PUBLIC_URL
from tests.outbound.material import AC, NOW, QUICK, Remembered, client, clock, interaction, outbox_entry
from tests.outbound.receiver import Receiver, Reply

pytestmark = pytest.mark.anyio

PLATFORM_AC = "AC" + "9" * 32
STATUS_URL = f"{PUBLIC_URL}/inbound/status"
MESSAGE = OutboxMessage(
    carrier="main",
    interaction_sid=interaction().sid,
    sender="+15105550001",
    to="+14155550100",
    body="hi",
    media=("https://m.example/1",),
)
HANG_UP = OutboxHangUp(carrier="main", call_sid="CA1")
ENTRY = outbox_entry(MESSAGE, 7, session=1)
HANGING_UP = outbox_entry(HANG_UP, 8, session=1)


class Reports:
    """The leg reports that carriers made, and what they told."""

    def __init__(self, outcomes: tuple[ReportOutcome | None, ...] = (ReportOutcome.RECORDED,)) -> None:
        self.made: list[LegReport] = []
        self.observer = Remembered()
        self._outcomes = list(outcomes)

    def take(self, report: LegReport, answer: Callable[[ReportOutcome | None], None]) -> None:
        """Take a report as the data plane does."""
        self.made.append(report)
        answer(self._outcomes.pop(0) if len(self._outcomes) > 1 else self._outcomes[0])

    def take_at_hand(self, report: LegReport, answer: Callable[[ReportOutcome | None], None]) -> bool:
        """Take a report of what is in memory."""
        self.take(report, answer)
        return True


def messages_api(url: str) -> CarrierSettings:
    return CarrierSettings(
        name="main", kind=CarrierKind.MESSAGES_API, url=url, account_sid=PLATFORM_AC, auth_tokens=("secret",)
    )


@asynccontextmanager
async def clients(reports: Reports, carrier: CarrierSettings) -> AsyncIterator[CarrierClients]:
    async with client(replace(QUICK, webhook_timeout_seconds=0.5)) as posting:
        is_file = carrier.kind is CarrierKind.FILE
        sender = FileChannel(carrier.name, Path(carrier.path)) if is_file else MessagesApiChannel(carrier)
        with ExitStack() as stack:
            await sender.bind(stack).serve(Offered(posting).context(clock=clock))
        yield CarrierClients(
            {carrier.name: sender},
            report=reports.take,
            observer=reports.observer,
            clock=clock,
            sure_clock=clock,
            pause_seconds=0.001,
        )


def leg(status: LegStatus, *, resource_sid: str = "", problem: str = "", entry_sid: str | None = None) -> LegReport:
    return LegReport(
        kind=Kind.MESSAGE,
        account_sid=AC,
        interaction_sid=MESSAGE.interaction_sid,
        is_outbound=True,
        resource_sid=resource_sid,
        status=status,
        problem=problem,
        entry_sid=entry_sid,
    )


def answer(status: int, /, **body: object) -> Reply:
    return Reply(status=status, body=json.dumps(body).encode())


class OnlyMessages:
    """A carrier that cannot end calls."""

    async def send(self, message: OutMessage) -> Sent:
        """Take anything."""
        return Sent(resource_sid=f"SM{message.body}")


def test_the_longest_prefix_names_the_carrier() -> None:
    """A route for everything else may be given; without one the webhook's answer sends."""
    senders: dict[str, SendsMessages] = dict.fromkeys(("west", "city", "rest"), OnlyMessages())

    routes: Carriers = CarrierRoutes(
        senders, {"+1": "west", "+1415": "city", "+1510": "twiml", "*": "rest", "whatsapp:": "city"}
    )
    bare = CarrierRoutes(senders, {"+1415": "city"})

    assert routes.sender_for("+12025550100") == "west"
    assert routes.sender_for("+14155550100") == "city"
    assert routes.sender_for("+15105550001") is None
    assert routes.sender_for("+441632960001") == "rest"
    assert routes.sender_for("whatsapp:+15105550001") == "city"
    assert bare.sender_for("+12025550100") is None


def test_calls_are_ended_by_carriers_that_can(tmp_path: Path) -> None:
    """Elsewhere they go on until their parties hang up."""
    senders: dict[str, SendsMessages] = {
        "file": FileChannel("file", tmp_path / "sent.jsonl"),
        "texts": OnlyMessages(),
    }

    routes = CarrierRoutes(senders, {"+1415": "file", "+1510": "texts"})

    assert routes.caller_for("+14155550100") == "file"
    assert routes.caller_for("+15105550001") is None
    assert routes.caller_for("+12025550100") is None


def test_a_route_to_no_sender_is_refused() -> None:
    """At start, not with the first message."""
    with pytest.raises(CarrierMisconfigured, match="'\\*' names carrier 'other'"):
        CarrierRoutes({"main": OnlyMessages()}, {"*": "other"})


@pytest.mark.parametrize(
    "carrier",
    [
        messages_api(""),
        msgspec.structs.replace(messages_api("https://x"), auth_tokens=()),
        CarrierSettings(name="f", kind=CarrierKind.FILE),
    ],
)
def test_a_carrier_that_lacks_what_it_needs_sends_nothing(carrier: CarrierSettings) -> None:
    """Somewhere to send to, and who we are there."""
    assert not carrier.is_sender


def only_messages(reports: Reports, *, wall: Callable[[], float] = clock) -> CarrierClients:
    """Return clients of a carrier that ends no calls; what is sure is the tests' time."""
    return CarrierClients(
        {"main": OnlyMessages()}, report=reports.take, observer=reports.observer, clock=wall, sure_clock=clock
    )


async def test_a_hang_up_through_a_carrier_that_cannot_is_a_dead_end() -> None:
    """It was owed before the routes were changed."""
    reports = Reports()
    carriers = only_messages(reports)

    delivery = await carriers.deliver(HANGING_UP, HANG_UP)

    assert (delivery.error, delivery.may_retry) == ("the carrier cannot end calls", False)


@pytest.mark.parametrize("kept", [ReportOutcome.RECORDED, None])
async def test_an_entry_ends_with_the_report_that_was_at_hand(kept: ReportOutcome | None) -> None:
    """Unless that could not be kept: then the leg is reported as any is, and the entry ended by itself."""
    reports, first = Reports(), Reports((kept,))
    carriers = CarrierClients(
        {"main": OnlyMessages()},
        report=reports.take,
        report_at_hand=first.take_at_hand,
        observer=reports.observer,
        clock=clock,
        sure_clock=clock,
    )

    delivery = await carriers.deliver(ENTRY, MESSAGE)

    assert delivery == (DELIVERED if kept is None else SETTLED)
    assert first.made[0].entry_sid == ENTRY.sid
    assert reports.made == (first.made if kept is None else [])


class Begins(OnlyMessages):
    """A carrier that needs no task, or one for the rest."""

    def __init__(self, *, goes_on: bool) -> None:
        self._goes_on = goes_on

    def begin(self, message: OutMessage, ending: Ending[Sent]) -> bool:
        """Take anything, at once or in the rest."""
        if self._goes_on:
            ending.goes_on(partial(self.send, message))
        else:
            ending.ended(Sent(resource_sid=f"SM{message.body}"))
        return True


class Heard:
    """Hears how a try ends."""

    def __init__(self) -> None:
        self.told: list[Delivery] = []
        self.rests: list[Rest[Delivery]] = []

    def ended(self, delivery: Delivery) -> None:
        """Take how it ended."""
        self.told.append(delivery)

    def goes_on(self, rest: Rest[Delivery]) -> None:
        """Take what is left."""
        self.rests.append(rest)


@pytest.mark.parametrize("goes_on", [False, True])
@pytest.mark.parametrize("kept", [ReportOutcome.RECORDED, None])
async def test_a_message_that_was_begun_ends_as_another(kept: ReportOutcome | None, *, goes_on: bool) -> None:
    """With the report at hand, else by itself; a task is there for what has to wait."""
    reports, first, heard = Reports(), Reports((kept,)), Heard()
    carriers = CarrierClients(
        {"main": Begins(goes_on=goes_on)},
        report=reports.take,
        report_at_hand=first.take_at_hand,
        observer=reports.observer,
        clock=clock,
        sure_clock=clock,
    )

    is_begun = carriers.begin(ENTRY, MESSAGE, heard)
    ends = [*heard.told, *[await rest() for rest in heard.rests]]

    assert is_begun
    assert ends == [DELIVERED if kept is None else SETTLED]
    assert first.made[0].entry_sid == ENTRY.sid
    assert reports.made == (first.made if kept is None else [])
    assert len(heard.rests) == (goes_on or kept is None)


async def test_a_carrier_that_needs_tasks_begins_nothing() -> None:
    """Nor does one that is not configured any more."""
    carriers = only_messages(Reports())

    assert not carriers.begin(ENTRY, MESSAGE, Heard())
    assert not carriers.begin(ENTRY, msgspec.structs.replace(MESSAGE, carrier="gone"), Heard())


async def test_a_message_past_its_time_is_not_sent() -> None:
    """By no carrier; its leg is undelivered."""
    reports, message = Reports(), msgspec.structs.replace(MESSAGE, valid_until=NOW)
    carriers = only_messages(reports)

    delivery = await carriers.deliver(ENTRY, message)
    await carriers.gave_up(ENTRY, message, delivery)

    assert (delivery.is_done, delivery.may_retry) == (False, False)
    assert reports.made == [leg(LegStatus.UNDELIVERED, problem="its validity period was over")]


async def test_a_wall_clock_that_has_jumped_ahead_gives_no_message_up() -> None:
    """Its time has not surely come."""
    message = msgspec.structs.replace(MESSAGE, valid_until=NOW + 60)
    carriers = only_messages(Reports(), wall=lambda: NOW + 86_400)

    delivery = await carriers.deliver(ENTRY, message)

    assert delivery.is_done


async def test_a_receipt_goes_to_the_peer_that_asked() -> None:
    """Under the entry's SID; a carrier that asks nothing of us, and has the name now, is told nothing."""
    told = Told()
    content = OutboxReceipt(carrier="main", resource_sid="smpp-1@main", status=LegStatus.DELIVERED, at=NOW)
    entry = outbox_entry(content, 9, session=1)
    ends = []
    for sender in (told, OnlyMessages()):
        carriers = CarrierClients(
            {"main": sender}, report=Reports().take, observer=Remembered(), clock=clock, sure_clock=clock
        )
        ends.append(await carriers.deliver(entry, content))

    assert [end.is_done for end in ends] == [True, True]
    assert told.receipts == [OutReceipt(entry.sid, "smpp-1@main", LegStatus.DELIVERED, NOW)]


async def test_a_receipt_is_told_on_the_host_of_the_connections() -> None:
    """In the cluster the outbox may be another host's; where that is not reached, the entry stays."""
    told, receipt = Told(), OutReceipt("EF1", "smpp-1@main", LegStatus.DELIVERED, NOW)
    there, nobody = Elsewhere({"main": told}), Elsewhere(None)

    ends = []
    for plane in (there, nobody, None):
        sender = RemoteSender("main", "smpp", partial(lambda one: one, plane))
        ends.append(await sender.tell(receipt))

    assert [(end.is_done, end.may_retry) for end in ends] == [(True, False), (False, True), (False, True)]
    assert told.receipts == [receipt]


class Told(OnlyMessages):
    """A peer that is told what became of its messages."""

    def __init__(self) -> None:
        self.receipts: list[OutReceipt] = []

    async def tell(self, receipt: OutReceipt) -> Delivery:
        """Take it."""
        self.receipts.append(receipt)
        return DELIVERED


class Elsewhere:
    """Another host with these senders; None = it cannot be reached."""

    def __init__(self, senders: dict[str, SendsMessages] | None) -> None:
        self._senders = senders

    async def send_elsewhere(self, channel: str, sender: str, key: str, message: bytes) -> RemoteSend:
        """Hand it over."""
        assert (channel, key) == ("smpp", "EF1")
        if self._senders is None:
            return RemoteSend(may_be_taken=True)
        return RemoteSend(result=await send_here(self._senders, sender, message))


async def test_a_message_is_sent_and_its_leg_reported(receiver: Receiver) -> None:
    """Authenticated, with our status URL and the entry's SID as idempotency token."""
    reports = Reports()
    receiver.behaviour = lambda _: answer(201, sid="SM9", status="accepted")

    async with clients(reports, messages_api(receiver.url)) as carriers:
        delivery = await carriers.deliver(ENTRY, MESSAGE)

    request = receiver.received[0]
    assert delivery.is_done
    assert request.path == f"/2010-04-01/Accounts/{PLATFORM_AC}/Messages.json"
    assert request.headers["authorization"].startswith("Basic ")
    assert request.headers["i-twilio-idempotency-token"] == ENTRY.sid
    assert request.lists == {
        "From": ["+15105550001"],
        "To": ["+14155550100"],
        "Body": ["hi"],
        "MediaUrl": ["https://m.example/1"],
        "StatusCallback": [f"{STATUS_URL}?interaction={MESSAGE.interaction_sid}&leg=outbound"],
    }
    assert reports.made == [leg(LegStatus.ACCEPTED, resource_sid="SM9", entry_sid=ENTRY.sid)]


async def test_a_good_answer_that_says_nothing_leaves_the_state_open(receiver: Receiver) -> None:
    """It was taken, so it is not sent again."""
    reports = Reports()

    async with clients(reports, messages_api(receiver.url)) as carriers:
        delivery = await carriers.deliver(ENTRY, MESSAGE)

    assert delivery.is_done
    assert reports.made == [leg(LegStatus.DELIVERY_UNKNOWN, entry_sid=ENTRY.sid)]


@pytest.mark.parametrize("rest", [b"Content-Length: 99\r\n\r\n{", b"Content-Le", b"Transfer-Encoding: x\r\n\r\n"])
async def test_a_carrier_whose_answer_broke_off_has_taken_the_message(receiver: Receiver, rest: bytes) -> None:
    """201 says so; the SID is lost, and the message is not sent again."""
    reports = Reports()
    receiver.behaviour = lambda _: Reply(raw=b"HTTP/1.1 201 Created\r\n" + rest)

    async with clients(reports, messages_api(receiver.url)) as carriers:
        delivery = await carriers.deliver(ENTRY, MESSAGE)

    assert delivery.is_done
    assert reports.made == [leg(LegStatus.DELIVERY_UNKNOWN, entry_sid=ENTRY.sid)]


async def test_a_message_is_not_repeated_where_a_kept_connection_had_ended(receiver: Receiver) -> None:
    """No carrier knows a repeat by our token: whether it was taken stays unknown."""
    reports = Reports()
    answers = iter([answer(201, sid="SM8", status="accepted"), Reply(resets=True), answer(201, sid="SM9")])
    receiver.behaviour = lambda _: next(answers)

    async with clients(reports, messages_api(receiver.url)) as carriers:
        await carriers.deliver(ENTRY, MESSAGE)
        delivery = await carriers.deliver(ENTRY, MESSAGE)

    assert (delivery.may_retry, delivery.may_be_taken) == (False, True)
    assert len(receiver.received) == 2


@pytest.mark.parametrize("status", [429, 503])
async def test_a_carrier_that_is_busy_is_tried_again(receiver: Receiver, status: int) -> None:
    """It has surely not taken the message; the leg stays as it is."""
    reports = Reports()
    receiver.behaviour = lambda _: answer(status, code=20429, message="Too many requests")

    async with clients(reports, messages_api(receiver.url)) as carriers:
        delivery = await carriers.deliver(ENTRY, MESSAGE)

    assert (delivery.may_retry, delivery.may_be_taken) == (True, False)
    assert reports.made == []


async def test_a_carrier_that_is_not_reached_is_tried_again() -> None:
    """Nothing was sent."""
    reports = Reports()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        async with clients(reports, messages_api(f"http://127.0.0.1:{taken.getsockname()[1]}")) as carriers:
            delivery = await carriers.deliver(ENTRY, MESSAGE)

    assert (delivery.may_retry, delivery.may_be_taken) == (True, False)


@pytest.mark.parametrize(
    "reply", [Reply(hangs=True), Reply(resets=True), Reply(status=500), Reply(status=504)], ids=str
)
async def test_what_may_have_been_taken_is_not_sent_again(receiver: Receiver, reply: Reply) -> None:
    """A time-out or reset behind the request, and a 5xx that does not say it was turned away."""
    reports = Reports()
    receiver.behaviour = lambda _: reply

    async with clients(reports, messages_api(receiver.url)) as carriers:
        delivery = await carriers.deliver(ENTRY, MESSAGE)
        await carriers.gave_up(ENTRY, MESSAGE, delivery)

    assert (delivery.is_done, delivery.may_retry, delivery.may_be_taken) == (False, False, True)
    assert reports.made == [leg(LegStatus.DELIVERY_UNKNOWN, problem=delivery.error)]
    assert [event.code for event in reports.observer.events] == [Code.DOWNSTREAM_ERROR]


@pytest.mark.parametrize("status", [400, 401, 403, 404])
async def test_a_refusal_fails_the_leg(receiver: Receiver, status: int) -> None:
    """With the platform's code and words, the number in them masked; not tried again."""
    reports = Reports()
    receiver.behaviour = lambda _: answer(status, code=21610, message="+14155550100 has opted out")

    async with clients(reports, messages_api(receiver.url)) as carriers:
        delivery = await carriers.deliver(ENTRY, MESSAGE)
        await carriers.gave_up(ENTRY, MESSAGE, delivery)

    problem = f"carrier answered {status} with 21610: +1415555XXXX has opted out"
    assert (delivery.error, delivery.may_retry, delivery.may_be_taken) == (problem, False, False)
    assert reports.made == [leg(LegStatus.FAILED, problem=problem)]
    assert "4155550100" not in repr(delivery)


async def test_a_report_that_the_store_cannot_take_is_made_again(receiver: Receiver) -> None:
    """The message is sent once all the same."""
    reports = Reports((None, None, ReportOutcome.RECORDED))
    receiver.behaviour = lambda _: answer(201, sid="SM9", status="queued")

    async with clients(reports, messages_api(receiver.url)) as carriers:
        await carriers.deliver(ENTRY, MESSAGE)

    assert len(receiver.received) == 1
    assert reports.made == [leg(LegStatus.QUEUED, resource_sid="SM9", entry_sid=ENTRY.sid)] * 3


async def test_a_call_is_ended(receiver: Receiver) -> None:
    """By an update of the call."""
    reports = Reports()

    async with clients(reports, messages_api(receiver.url)) as carriers:
        delivery = await carriers.deliver(HANGING_UP, HANG_UP)

    request = receiver.received[0]
    assert delivery.is_done
    assert request.path == f"/2010-04-01/Accounts/{PLATFORM_AC}/Calls/CA1.json"
    assert request.form == {"Status": "completed"}
    assert reports.made == []


@pytest.mark.parametrize(
    ("reply", "is_done", "may_retry"),
    [
        (answer(404, code=20404), True, False),
        (answer(400, code=21220, message="Call is not in-progress"), True, False),
        (answer(401, code=20003), False, False),
        (answer(500), False, True),
        (Reply(resets=True), False, True),
    ],
)
async def test_a_call_that_is_over_needs_no_end(
    receiver: Receiver, reply: Reply, *, is_done: bool, may_retry: bool
) -> None:
    """Ending a call twice does no harm, so whatever may pass is tried again."""
    receiver.behaviour = lambda _: reply

    async with clients(Reports(), messages_api(receiver.url)) as carriers:
        delivery = await carriers.deliver(HANGING_UP, HANG_UP)

    assert (delivery.is_done, delivery.may_retry) == (is_done, may_retry)


async def test_a_call_that_could_not_be_ended_is_told() -> None:
    """80613, naming the call."""
    reports = Reports()

    async with clients(reports, messages_api("http://127.0.0.1:1")) as carriers:
        delivery = await carriers.deliver(HANGING_UP, HANG_UP)
        await carriers.gave_up(HANGING_UP, HANG_UP, delivery)

    assert [(event.code, event.resource_sid) for event in reports.observer.events] == [
        (Code.DOWNSTREAM_REJECTED, "CA1")
    ]


async def test_the_file_carrier_appends_what_would_be_sent(tmp_path: Path) -> None:
    """A line each, readable by its owner alone; the leg is `sent`, since nobody will report a receipt."""
    reports, path = Reports(), tmp_path / "sent.jsonl"
    carrier = CarrierSettings(name="main", kind=CarrierKind.FILE, path=str(path))

    async with clients(reports, carrier) as carriers:
        sent = await carriers.deliver(ENTRY, MESSAGE)
        ended = await carriers.deliver(HANGING_UP, HANG_UP)

    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert sent.is_done
    assert ended.is_done
    assert [line["type"] for line in lines] == ["message", "hang-up"]
    assert lines[0].items() >= {"effect": ENTRY.sid, "at": NOW, "to": "+14155550100", "body": "hi"}.items()
    assert path.stat().st_mode & 0o777 == 0o600
    assert reports.made == [leg(LegStatus.SENT, resource_sid="SM" + ENTRY.sid[2:], entry_sid=ENTRY.sid)]


async def test_a_file_that_cannot_be_written_is_tried_again(tmp_path: Path) -> None:
    """The disk may have room later."""
    carrier = CarrierSettings(name="main", kind=CarrierKind.FILE, path=str(tmp_path / "missing" / "sent.jsonl"))

    async with clients(Reports(), carrier) as carriers:
        delivery = await carriers.deliver(ENTRY, MESSAGE)

    assert delivery.may_retry


async def test_a_carrier_that_is_configured_no_more_is_a_dead_end() -> None:
    """The operator may replay the entry when it is back."""
    gone = OutboxEntry(
        sid=ENTRY.sid, account_sid=AC, content=msgspec.structs.replace(MESSAGE, carrier="gone"), date_created=NOW
    )
    assert isinstance(gone.content, OutboxMessage)

    async with clients(Reports(), messages_api("http://127.0.0.1:1")) as carriers:
        delivery = await carriers.deliver(gone, gone.content)

    assert (delivery.is_done, delivery.may_retry) == (False, False)


def test_a_failed_leg_keeps_no_made_up_sid_and_an_unknown_one_may_still_be_corrected() -> None:
    """What the rules make of the reports of this module."""
    queued = interaction()
    unknown = apply_report(queued, leg(LegStatus.DELIVERY_UNKNOWN), now=NOW)[1]
    assert isinstance(unknown, InteractionUpdated)
    later = msgspec.structs.replace(queued, outbound=unknown.outbound)

    outcome, corrected = apply_report(later, leg(LegStatus.DELIVERED, resource_sid="SM9"), now=NOW)

    assert unknown.outbound.resource_sid is None
    assert outcome is ReportOutcome.RECORDED
    assert corrected is not None
    assert (corrected.outbound.status, corrected.outbound.resource_sid) == (LegStatus.DELIVERED, "SM9")
