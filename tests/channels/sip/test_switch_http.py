"""What switches ask and tell over HTTP: who may, in which forms, and what comes back."""

import json
from base64 import b64encode
from urllib.parse import parse_qs, urlencode

import msgspec
import pytest

from engine.channels.base import Webhook
from engine.channels.carriers import Carrier
from engine.channels.sip.peers import Peers
from engine.channels.sip.switch_http import ROUTE_PATH, STATUS_PATH, SwitchEndpoint
from engine.channels.sip.tables import SipPeerSettings
from engine.core.model.records import Kind, LegStatus
from engine.core.ports.observing import Rejection
from engine.core.routing.traffic import Decision, LegReport, Outcome, Reason, ReportOutcome
from tests.channels.offered import authenticate
from tests.http.rig import ACCOUNT, PROXY, ROUTED, SENDER, TOKEN, FakeMeter, FakeMonotonic, FakeObserver, FakePlane

SWITCH, STRANGER = "192.0.2.1", "203.0.113.1"
JSON, FORM = b"application/json", b"application/x-www-form-urlencoded"
QUESTION = {"from": SENDER, "to": PROXY, "sid": "call-1"}
REPORT = {"sid": "call-1", "interaction": ROUTED.interaction_sid, "status": "completed", "duration": "61"}


class Rig:
    """An endpoint, one peer by address and one carrier by name."""

    def __init__(self, **peer: object) -> None:
        self.plane, self.observer, self.meter = FakePlane(), FakeObserver(), FakeMeter()
        settings = msgspec.convert({"name": "west", "networks": (SWITCH,), **peer}, SipPeerSettings)
        self.endpoint = SwitchEndpoint(
            self.plane,
            peers=Peers.of([settings]),
            carriers={"AC" + "7" * 32: Carrier(name="x", keys=("key",), numbers=("+1415555",), writes_digits=True)},
            authenticate=authenticate,
            observer=self.observer,
            meter=self.meter,
            monotonic=FakeMonotonic(),
            public_url="https://masks.example.com/p",
            max_body_bytes=1000,
        )

    def post(
        self,
        path: bytes,
        fields: object,
        *,
        source: str = SWITCH,
        login: tuple[str, str] | None = None,
        content_type: bytes = JSON,
        headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> "Said":
        """Post fields; return what was answered by then."""
        if isinstance(fields, bytes):
            body = fields
        else:
            body = json.dumps(fields).encode() if content_type == JSON else urlencode(fields).encode()  # type: ignore[arg-type] # of a form
        if login is not None:
            headers += ((b"AUTHORIZATION", b"Basic " + b64encode(":".join(login).encode())),)
        answers: list[bytes] = []
        known = self.endpoint.paths[path]
        self.endpoint.answer(
            Webhook(known, content_type=content_type, body=body, headers=headers, source=source), answers.append
        )
        (answer,) = answers
        return Said(answer)

    def ask(self, fields: object = None, **more: object) -> "Said":
        """Ask whom a call reaches."""
        return self.post(ROUTE_PATH, QUESTION if fields is None else fields, **more)  # type: ignore[arg-type] # handed on

    def tell(self, fields: object = None, **more: object) -> "Said":
        """Report a leg."""
        return self.post(STATUS_PATH, REPORT if fields is None else fields, **more)  # type: ignore[arg-type] # handed on


class Said:
    """An answer."""

    def __init__(self, answer: bytes) -> None:
        head, _, self.body = answer.partition(b"\r\n\r\n")
        self.status = int(head.split()[1])
        self.head = head.lower()

    @property
    def told(self) -> dict[str, str]:
        """Its object."""
        found: dict[str, str] = json.loads(self.body)
        return found


def routed(**peer: object) -> Rig:
    rig = Rig(**peer)
    rig.plane.decision = ROUTED
    return rig


def test_a_peer_by_its_address_needs_no_credentials() -> None:
    """It reaches what its table says."""
    rig = routed(account=ACCOUNT)

    said = rig.ask()

    (event,) = rig.plane.events
    assert (said.status, said.told["outcome"]) == (200, "routed")
    assert (event.kind, event.sender, event.proxy, event.resource_sid) == (Kind.VOICE, SENDER, PROXY, "call-1")
    assert event.account_sid == ACCOUNT


@pytest.mark.parametrize(
    ("source", "login", "status", "account"),
    [
        (STRANGER, None, 401, None),
        (STRANGER, (ACCOUNT, "wrong"), 401, None),
        (SWITCH, (ACCOUNT, "wrong"), 401, None),
        (STRANGER, (ACCOUNT, TOKEN), 200, ACCOUNT),
        (STRANGER, ("AC" + "7" * 32, "key"), 200, None),
        (STRANGER, ("AC" + "7" * 32, "lock"), 401, None),
        ("", None, 401, None),
    ],
)
def test_anybody_else_shows_credentials(
    source: str, login: tuple[str, str] | None, status: int, account: str | None
) -> None:
    """Of an account, a key of it or a carrier; wrong ones are worse than none."""
    rig = routed()

    said = rig.ask(source=source, login=login)

    assert said.status == status
    assert [event.account_sid for event in rig.plane.events] == ([account] if status == 200 else [])
    assert (rig.observer.problems == [Rejection.BAD_CREDENTIALS]) is (status == 401)


@pytest.mark.parametrize("header", [b"X-Forwarded-For", b"Forwarded", b"X-Real-IP", b"Via"])
def test_what_a_proxy_hands_on_is_not_known_by_its_address(header: bytes) -> None:
    """It is the proxy's, whoever has sent it."""
    rig = routed()

    assert rig.ask(headers=((header, b"whoever"),)).status == 401
    assert rig.plane.events == []


@pytest.mark.parametrize("given", [b"Bearer x", b"Basic !", b"Basic /w==", b"Basic"])
def test_credentials_that_cannot_be_read_are_wrong(given: bytes) -> None:
    """And not none."""
    assert routed().ask(headers=((b"Authorization", given),)).status == 401


def test_an_answer_has_the_form_that_is_accepted() -> None:
    """Text to a form and JSON to JSON where nothing is said."""
    rig = routed()
    line = f"routed|{ROUTED.to}|{ROUTED.caller_id}|{ROUTED.interaction_sid}".encode()
    accept = {kind: ((b"Accept", kind),) for kind in (b"*/*", b"text/plain", JSON, FORM)}

    assert rig.ask(content_type=FORM).body == line
    assert rig.ask(content_type=FORM, headers=accept[b"*/*"]).body == line
    assert rig.ask(headers=accept[b"text/plain"]).body == line
    assert rig.ask(content_type=FORM, headers=accept[JSON]).told["caller_id"] == ROUTED.caller_id
    assert parse_qs(rig.ask(headers=accept[FORM]).body.decode())["to"] == [ROUTED.to]
    assert "session" not in rig.ask().told


def test_a_refusal_is_an_answer_and_not_ready_is_none() -> None:
    """A dial plan takes any body for an answer."""
    rig = Rig()
    refused = rig.ask(content_type=FORM)
    rig.plane.decision = Decision(Outcome.NOT_READY, Reason.BUSY)
    busy = rig.ask(content_type=FORM)

    assert (refused.status, refused.body) == (200, b"refused|||")
    assert (busy.status, busy.body, b"retry-after" in busy.head) == (503, b"", True)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({**QUESTION, "to": ""}, "to"),
        ({**QUESTION, "to": "14155550199"}, "to"),
        ({**QUESTION, "sid": ""}, "sid"),
        ({**QUESTION, "kind": "fax"}, "kind"),
        (b"[]", "body"),
        (b'{"to": {}}', "body"),
        (b'{"to": "\xff"}', "body"),
        (b"{", "body"),
    ],
)
def test_a_question_that_cannot_be_understood_names_its_field(fields: object, named: str) -> None:
    """And is not decided."""
    rig = routed()

    said = rig.ask(fields)

    assert (said.status, said.told["message"].startswith(f"Invalid parameter {named}: ")) == (400, True)
    assert (rig.plane.events, rig.observer.problems) == ([], [Rejection.MALFORMED])


def test_numbers_are_read_as_the_peer_writes_them() -> None:
    """URIs too; a withheld one is a stranger's."""
    rig = routed(national="US", strip_prefixes=("99",))

    rig.ask({"from": "sip:4155550100@h", "to": "994155550199", "sid": "x" * 70})
    rig.ask({"from": "<unknown>", "to": "(415) 555-0199", "sid": "é"})

    first, second = rig.plane.events
    assert (first.sender, first.proxy, len(first.resource_sid)) == (SENDER, PROXY, 42)
    assert (second.sender, second.proxy, second.resource_sid[:2]) == ("anonymous", PROXY, "h-")


def test_a_carrier_reaches_its_own_numbers_alone() -> None:
    """And writes digits if it is said to."""
    rig = routed()
    login = ("AC" + "7" * 32, "key")

    theirs = rig.ask({"from": "14155550100", "to": "14155550199", "sid": "1"}, source=STRANGER, login=login)
    other = rig.ask({"from": "14155550100", "to": "12125550199", "sid": "2"}, source=STRANGER, login=login)

    assert (theirs.told["outcome"], other.told["outcome"]) == ("routed", "unknown-number")
    assert [(event.sender, event.proxy) for event in rig.plane.events] == [(SENDER, PROXY)]


def test_a_report_says_which_numbers_are_its_carriers_own() -> None:
    """It names an interaction or a number, which may be another carrier's; a peer without one carries all."""
    rig = Rig()
    login = ("AC" + "7" * 32, "key")

    rig.tell(source=STRANGER, login=login)
    rig.tell({"sid": "call-1", "to": PROXY[1:], "status": "completed"}, source=STRANGER, login=login)
    rig.tell()

    assert [report.numbers for report in rig.plane.reports] == [("+1415555",)] * 3 + [()] * 2


def test_a_report_tells_of_both_legs_of_a_call() -> None:
    """One switch carries both; the interaction names them, whatever Call-ID it has by then."""
    rig = Rig(account=ACCOUNT)

    said = rig.tell()

    common = {"kind": Kind.VOICE, "account_sid": ACCOUNT, "interaction_sid": ROUTED.interaction_sid}
    end = {"status": LegStatus.COMPLETED, "duration_seconds": 61}
    assert (said.status, said.body) == (204, b"")
    assert rig.plane.reports == [
        LegReport(is_outbound=True, resource_sid="call-1", **common, **end),  # type: ignore[arg-type] # as above
        LegReport(is_outbound=False, resource_sid="", **common, **end),  # type: ignore[arg-type] # as above
    ]


def test_a_report_may_name_its_leg() -> None:
    """Or the number reached, where the switch has kept no interaction: then it is of the inbound one."""
    rig = Rig()

    rig.tell({**REPORT, "leg": "outbound", "status": "failed", "code": 486, "duration": None}, content_type=JSON)
    rig.tell({"sid": "call-1", "to": PROXY, "status": "ANSWER", "duration": ""}, content_type=FORM)

    outbound, inbound = rig.plane.reports
    assert (outbound.is_outbound, outbound.status, outbound.duration_seconds) == (True, LegStatus.BUSY, None)
    assert (inbound.is_outbound, inbound.status, inbound.proxy) == (False, LegStatus.COMPLETED, PROXY)
    assert (inbound.resource_sid, inbound.interaction_sid) == ("call-1", None)


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (ReportOutcome.RECORDED, 204),
        (ReportOutcome.REPEATED, 204),
        (ReportOutcome.NOT_OPEN, 204),
        (ReportOutcome.NOT_FOUND, 404),
        (ReportOutcome.AMBIGUOUS, 400),
        (None, 503),
    ],
)
def test_a_report_is_acknowledged_unless_it_should_come_again(outcome: ReportOutcome | None, status: int) -> None:
    """Or is of no call."""
    rig = Rig()
    rig.plane.report_outcome = outcome

    assert rig.tell().status == status


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"interaction": "KIx"}, "interaction"),
        ({"interaction": "", "leg": "outbound"}, "interaction"),
        ({"interaction": ""}, "to"),
        ({"leg": "middle"}, "leg"),
        ({"status": ""}, "status"),
        ({"status": "delivered"}, "status"),
        ({"duration": "long"}, "duration"),
        ({"duration": "nan"}, "duration"),
        ({"duration": -1}, "duration"),
        ({"code": "4xx"}, "code"),
        ({"sid": ""}, "sid"),
    ],
)
def test_a_report_that_cannot_be_understood_names_its_field(changed: dict[str, object], named: str) -> None:
    """And changes nothing."""
    rig = Rig()

    said = rig.tell({**REPORT, **changed})

    assert (said.status, said.told["message"].startswith(f"Invalid parameter {named}: ")) == (400, True)
    assert rig.plane.reports == []


def test_a_word_that_nobody_knows_is_taken_and_counted() -> None:
    """A switch that is refused tells it for ever."""
    rig = Rig()

    assert rig.tell({**REPORT, "status": "gone fishing"}).status == 204
    assert (rig.plane.reports, rig.observer.reports) == ([], [ReportOutcome.UNKNOWN_STATUS])


def test_paths_are_taken_with_and_without_the_prefix() -> None:
    """A proxy may strip it."""
    assert routed().post(b"/p/carrier/route", QUESTION).status == 200
