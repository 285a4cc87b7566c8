"""Carriers: which sends for which number, what it is sent, and what its answer makes of the leg."""

import json
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from engine.channels.senders import CarrierMisconfigured, CarrierRoutes, Switchboard
from engine.core.model.changes import InteractionUpdated
from engine.core.model.effects import Effect, HangUpOwed, MessageOwed
from engine.core.model.errors import Code
from engine.core.model.records import Kind, LegStatus
from engine.core.ports.operations import Carriers
from engine.core.routing.legs import apply_report
from engine.core.routing.traffic import LegReport, ReportOutcome
from engine.outbound.settings import CarrierKind, CarrierSettings
from tests.outbound.material import AC, NOW, QUICK, Remembered, client, clock, effect, interaction
from tests.outbound.receiver import Receiver, Reply, receiving

pytestmark = pytest.mark.anyio

PLATFORM_AC = "AC" + "9" * 32
STATUS_URL = "https://mask.example/inbound/status"
MESSAGE = MessageOwed(
    carrier="main",
    interaction_sid=interaction().sid,
    sender="+15105550001",
    to="+14155550100",
    body="hi",
    media=("https://m.example/1",),
)
HANG_UP = HangUpOwed(carrier="main", call_sid="CA1")
OWED = effect(MESSAGE, 7, session=1)
HANGING_UP = effect(HANG_UP, 8, session=1)


class Desk:
    """A switchboard, the leg reports that it made, and what it told."""

    def __init__(self, outcomes: tuple[ReportOutcome | None, ...] = (ReportOutcome.RECORDED,)) -> None:
        self.reports: list[LegReport] = []
        self.observer = Remembered()
        self._outcomes = list(outcomes)

    def report(self, report: LegReport, answer: Callable[[ReportOutcome | None], None]) -> None:
        """Take a report as the data plane does."""
        self.reports.append(report)
        answer(self._outcomes.pop(0) if len(self._outcomes) > 1 else self._outcomes[0])


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A carrier."""
    with receiving() as running:
        yield running


def messages_api(url: str) -> CarrierSettings:
    return CarrierSettings(
        name="main", kind=CarrierKind.MESSAGES_API, url=url, account_sid=PLATFORM_AC, auth_tokens=("secret",)
    )


@asynccontextmanager
async def switchboard(desk: Desk, carrier: CarrierSettings) -> AsyncIterator[Switchboard]:
    async with client(msgspec.structs.replace(QUICK, timeout_seconds=0.5)) as posting:
        yield Switchboard(
            CarrierRoutes([carrier], {}),
            client=posting,
            report=desk.report,
            status_url=STATUS_URL,
            observer=desk.observer,
            clock=clock,
            pause_seconds=0.001,
        )


def leg(status: LegStatus, *, resource_sid: str = "", problem: str = "") -> LegReport:
    return LegReport(
        kind=Kind.MESSAGE,
        account_sid=AC,
        interaction_sid=MESSAGE.interaction_sid,
        is_outbound=True,
        resource_sid=resource_sid,
        status=status,
        problem=problem,
    )


def answer(status: int, /, **body: object) -> Reply:
    return Reply(status=status, body=json.dumps(body).encode())


def test_the_longest_prefix_names_the_carrier() -> None:
    """A route for everything else may be given; without one the webhook's answer sends."""
    carriers = [msgspec.structs.replace(messages_api("https://x"), name=name) for name in ("west", "city", "rest")]

    routes: Carriers = CarrierRoutes(
        carriers, {"+1": "west", "+1415": "city", "+1510": "twiml", "*": "rest", "whatsapp:": "city"}
    )
    bare = CarrierRoutes(carriers, {"+1415": "city"})

    assert routes.sender_for("+12025550100") == "west"
    assert routes.sender_for("+14155550100") == "city"
    assert routes.sender_for("+15105550001") is None
    assert routes.sender_for("+441632960001") == "rest"
    assert routes.sender_for("whatsapp:+15105550001") == "city"
    assert routes.caller_for("+14155550100") == "city"
    assert bare.sender_for("+12025550100") is None


@pytest.mark.parametrize(
    ("carrier", "routes"),
    [
        (messages_api("https://x"), {"*": "other"}),
        (messages_api(""), {"*": "main"}),
        (msgspec.structs.replace(messages_api("https://x"), auth_tokens=()), {"*": "main"}),
        (CarrierSettings(name="f", kind=CarrierKind.FILE), {"+1415": "f"}),
    ],
)
def test_a_configuration_that_cannot_work_is_refused(carrier: CarrierSettings, routes: dict[str, str]) -> None:
    """At start, not with the first message."""
    with pytest.raises(CarrierMisconfigured):
        CarrierRoutes([carrier], routes)


async def test_a_message_is_sent_and_its_leg_reported(receiver: Receiver) -> None:
    """Authenticated, with our status URL and the effect's SID as idempotency token."""
    desk = Desk()
    receiver.behaviour = lambda _: answer(201, sid="SM9", status="accepted")

    async with switchboard(desk, messages_api(receiver.url)) as board:
        delivery = await board.deliver(OWED, MESSAGE)

    request = receiver.received[0]
    assert delivery.is_done
    assert request.path == f"/2010-04-01/Accounts/{PLATFORM_AC}/Messages.json"
    assert request.headers["authorization"].startswith("Basic ")
    assert request.headers["i-twilio-idempotency-token"] == OWED.sid
    assert request.lists == {
        "From": ["+15105550001"],
        "To": ["+14155550100"],
        "Body": ["hi"],
        "MediaUrl": ["https://m.example/1"],
        "StatusCallback": [f"{STATUS_URL}?interaction={MESSAGE.interaction_sid}&leg=outbound"],
    }
    assert desk.reports == [leg(LegStatus.ACCEPTED, resource_sid="SM9")]


async def test_a_good_answer_that_says_nothing_leaves_the_state_open(receiver: Receiver) -> None:
    """It was taken, so it is not sent again."""
    desk = Desk()

    async with switchboard(desk, messages_api(receiver.url)) as board:
        delivery = await board.deliver(OWED, MESSAGE)

    assert delivery.is_done
    assert desk.reports == [leg(LegStatus.DELIVERY_UNKNOWN)]


@pytest.mark.parametrize("rest", [b"Content-Length: 99\r\n\r\n{", b"Content-Le", b"Transfer-Encoding: x\r\n\r\n"])
async def test_a_carrier_whose_answer_broke_off_has_taken_the_message(receiver: Receiver, rest: bytes) -> None:
    """201 says so; the SID is lost, and the message is not sent again."""
    desk = Desk()
    receiver.behaviour = lambda _: Reply(raw=b"HTTP/1.1 201 Created\r\n" + rest)

    async with switchboard(desk, messages_api(receiver.url)) as board:
        delivery = await board.deliver(OWED, MESSAGE)

    assert delivery.is_done
    assert desk.reports == [leg(LegStatus.DELIVERY_UNKNOWN)]


async def test_a_message_is_not_repeated_where_a_kept_connection_had_ended(receiver: Receiver) -> None:
    """No carrier knows a repeat by our token: whether it was taken stays unknown."""
    desk = Desk()
    answers = iter([answer(201, sid="SM8", status="accepted"), Reply(resets=True), answer(201, sid="SM9")])
    receiver.behaviour = lambda _: next(answers)

    async with switchboard(desk, messages_api(receiver.url)) as board:
        await board.deliver(OWED, MESSAGE)
        delivery = await board.deliver(OWED, MESSAGE)

    assert (delivery.may_retry, delivery.may_be_taken) == (False, True)
    assert len(receiver.received) == 2


@pytest.mark.parametrize("status", [429, 503])
async def test_a_carrier_that_is_busy_is_tried_again(receiver: Receiver, status: int) -> None:
    """It has surely not taken the message; the leg stays as it is."""
    desk = Desk()
    receiver.behaviour = lambda _: answer(status, code=20429, message="Too many requests")

    async with switchboard(desk, messages_api(receiver.url)) as board:
        delivery = await board.deliver(OWED, MESSAGE)

    assert (delivery.may_retry, delivery.may_be_taken) == (True, False)
    assert desk.reports == []


async def test_a_carrier_that_is_not_reached_is_tried_again() -> None:
    """Nothing was sent."""
    desk = Desk()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        async with switchboard(desk, messages_api(f"http://127.0.0.1:{taken.getsockname()[1]}")) as board:
            delivery = await board.deliver(OWED, MESSAGE)

    assert (delivery.may_retry, delivery.may_be_taken) == (True, False)


@pytest.mark.parametrize(
    "reply", [Reply(hangs=True), Reply(resets=True), Reply(status=500), Reply(status=504)], ids=str
)
async def test_what_may_have_been_taken_is_not_sent_again(receiver: Receiver, reply: Reply) -> None:
    """A time-out or reset behind the request, and a 5xx that does not say it was turned away."""
    desk = Desk()
    receiver.behaviour = lambda _: reply

    async with switchboard(desk, messages_api(receiver.url)) as board:
        delivery = await board.deliver(OWED, MESSAGE)
        await board.gave_up(OWED, MESSAGE, delivery)

    assert (delivery.is_done, delivery.may_retry, delivery.may_be_taken) == (False, False, True)
    assert desk.reports == [leg(LegStatus.DELIVERY_UNKNOWN, problem=delivery.error)]
    assert [event.code for event in desk.observer.events] == [Code.DOWNSTREAM_ERROR]


@pytest.mark.parametrize("status", [400, 401, 403, 404])
async def test_a_refusal_fails_the_leg(receiver: Receiver, status: int) -> None:
    """With the platform's code and words, the number in them masked; not tried again."""
    desk = Desk()
    receiver.behaviour = lambda _: answer(status, code=21610, message="+14155550100 has opted out")

    async with switchboard(desk, messages_api(receiver.url)) as board:
        delivery = await board.deliver(OWED, MESSAGE)
        await board.gave_up(OWED, MESSAGE, delivery)

    problem = f"carrier answered {status} with 21610: +1415555XXXX has opted out"
    assert (delivery.error, delivery.may_retry, delivery.may_be_taken) == (problem, False, False)
    assert desk.reports == [leg(LegStatus.FAILED, problem=problem)]
    assert "4155550100" not in repr(delivery)


async def test_a_report_that_the_store_cannot_take_is_made_again(receiver: Receiver) -> None:
    """The message is sent once all the same."""
    desk = Desk((None, None, ReportOutcome.RECORDED))
    receiver.behaviour = lambda _: answer(201, sid="SM9", status="queued")

    async with switchboard(desk, messages_api(receiver.url)) as board:
        await board.deliver(OWED, MESSAGE)

    assert len(receiver.received) == 1
    assert desk.reports == [leg(LegStatus.QUEUED, resource_sid="SM9")] * 3


async def test_a_call_is_ended(receiver: Receiver) -> None:
    """By an update of the call."""
    desk = Desk()

    async with switchboard(desk, messages_api(receiver.url)) as board:
        delivery = await board.deliver(HANGING_UP, HANG_UP)

    request = receiver.received[0]
    assert delivery.is_done
    assert request.path == f"/2010-04-01/Accounts/{PLATFORM_AC}/Calls/CA1.json"
    assert request.form == {"Status": "completed"}
    assert desk.reports == []


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

    async with switchboard(Desk(), messages_api(receiver.url)) as board:
        delivery = await board.deliver(HANGING_UP, HANG_UP)

    assert (delivery.is_done, delivery.may_retry) == (is_done, may_retry)


async def test_a_call_that_could_not_be_ended_is_told() -> None:
    """80613, naming the call."""
    desk = Desk()

    async with switchboard(desk, messages_api("http://127.0.0.1:1")) as board:
        delivery = await board.deliver(HANGING_UP, HANG_UP)
        await board.gave_up(HANGING_UP, HANG_UP, delivery)

    assert [(event.code, event.resource_sid) for event in desk.observer.events] == [(Code.DOWNSTREAM_REJECTED, "CA1")]


async def test_the_file_carrier_appends_what_would_be_sent(tmp_path: Path) -> None:
    """A line each, readable by its owner alone; the leg is `sent`, since nobody will report a receipt."""
    desk, path = Desk(), tmp_path / "sent.jsonl"
    carrier = CarrierSettings(name="main", kind=CarrierKind.FILE, path=str(path))

    async with switchboard(desk, carrier) as board:
        sent = await board.deliver(OWED, MESSAGE)
        ended = await board.deliver(HANGING_UP, HANG_UP)

    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert sent.is_done
    assert ended.is_done
    assert [line["type"] for line in lines] == ["message", "hang-up"]
    assert lines[0].items() >= {"effect": OWED.sid, "at": NOW, "to": "+14155550100", "body": "hi"}.items()
    assert path.stat().st_mode & 0o777 == 0o600
    assert desk.reports == [leg(LegStatus.SENT, resource_sid="SM" + OWED.sid[2:])]


async def test_a_file_that_cannot_be_written_is_tried_again(tmp_path: Path) -> None:
    """The disk may have room later."""
    carrier = CarrierSettings(name="main", kind=CarrierKind.FILE, path=str(tmp_path / "missing" / "sent.jsonl"))

    async with switchboard(Desk(), carrier) as board:
        delivery = await board.deliver(OWED, MESSAGE)

    assert delivery.may_retry


async def test_a_carrier_that_is_configured_no_more_is_a_dead_end() -> None:
    """The operator may replay the effect when it is back."""
    gone = Effect(sid=OWED.sid, account_sid=AC, duty=msgspec.structs.replace(MESSAGE, carrier="gone"), date_created=NOW)
    assert isinstance(gone.duty, MessageOwed)

    async with switchboard(Desk(), messages_api("http://127.0.0.1:1")) as board:
        delivery = await board.deliver(gone, gone.duty)

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
