"""How the demo reads an answer, and every way in which it can find it wrong."""

import msgspec
import pytest

from engine.core.ports.observing import Rejection
from engine.core.routing.traffic import Reason, ReportOutcome
from engine.demo.answer import difference
from engine.demo.script import Answered, Door, Expected, Refused, Reported, Routed, TurnedAway, Webhook

ROUTED = Routed(to="+16465550130", caller_id="+12125550172")
CALL = Webhook(id="1", lane="a", door=Door.VOICE, account="rides", form={}, expect=ROUTED, story="")
TEXT = Webhook(
    id="2",
    lane="a",
    door=Door.MESSAGE,
    account="rides",
    form={"Body": "a < b", "NumMedia": "1", "MediaUrl0": "https://media.example.com/1?a&b"},
    expect=ROUTED,
    story="",
)
DIAL = '<Response><Dial callerId="+12125550172"><Number statusCallback="u">+16465550130</Number></Dial></Response>'
MESSAGE = (
    '<Response><Message from="+12125550172" to="+16465550130" statusCallback="u"><Body>a &lt; b</Body>'
    "<Media>https://media.example.com/1?a&amp;b</Media></Message></Response>"
)
REJECT, EMPTY = "<Response><Reject/></Response>", "<Response/>"


def expecting(webhook: Webhook, expect: Expected) -> Webhook:
    return msgspec.structs.replace(webhook, expect=expect)


@pytest.mark.parametrize(
    ("webhook", "status", "document"),
    [
        (CALL, 200, DIAL),
        (TEXT, 200, MESSAGE),
        (expecting(CALL, Refused(Reason.NO_SESSION)), 200, REJECT),
        (expecting(TEXT, Refused(Reason.STOP_WORD)), 200, EMPTY),
        (expecting(CALL, Answered(Reason.OUT_OF_SESSION, ("Say",))), 200, "<Response><Say>No</Say></Response>"),
        (expecting(TEXT, Answered(Reason.LEFT_TO_APPLICATION)), 200, EMPTY),
        (expecting(CALL, TurnedAway(Rejection.BAD_SIGNATURE)), 403, "{}"),
        (expecting(CALL, TurnedAway(Rejection.UNKNOWN_NUMBER)), 404, "{}"),
        (expecting(CALL, TurnedAway(Rejection.MALFORMED)), 400, "{}"),
        (expecting(CALL, Reported(ReportOutcome.RECORDED)), 204, ""),
    ],
)
def test_the_expected_answer_does_not_differ(webhook: Webhook, status: int, document: str) -> None:
    """Each kind of expectation has an answer that meets it."""
    assert difference(webhook, status, document) is None


@pytest.mark.parametrize(
    ("webhook", "status", "document", "said"),
    [
        (CALL, 503, "", "expected HTTP 200, got 503"),
        (expecting(CALL, Answered(Reason.FALL_BACK, ("Say",))), 200, REJECT, "expected Say, got Reject"),
        (expecting(CALL, Answered(Reason.LEFT_TO_APPLICATION)), 200, REJECT, "expected nothing, got Reject"),
        (CALL, 200, "not ready", "no XML"),
        (CALL, 200, REJECT, "expected +1646555XXXX to see +12125550172, got Reject"),
        (CALL, 200, EMPTY, "got nothing"),
        (CALL, 200, DIAL.replace("0130", "0131"), "expected +1646555XXXX"),
        (CALL, 200, DIAL.replace("0172", "0171"), "got +1646555XXXX to see +12125550171"),
        (CALL, 200, DIAL.replace('"u"', '""'), "no address to report the leg to"),
        (CALL, 200, MESSAGE, "came out differently"),
        (TEXT, 200, MESSAGE.replace("a &lt; b", "a &gt; b"), "came out differently"),
        (TEXT, 200, MESSAGE.replace("/1?", "/2?"), "came out differently"),
        (expecting(CALL, Refused(Reason.NO_SESSION)), 200, DIAL, "expected a refusal, got +1646555XXXX"),
        (expecting(CALL, Refused(Reason.NO_SESSION)), 200, EMPTY, "expected a refusal, got nothing"),
        (expecting(CALL, TurnedAway(Rejection.BAD_SIGNATURE)), 200, DIAL, "expected HTTP 403, got 200"),
        (expecting(CALL, Reported(ReportOutcome.RECORDED)), 503, "", "expected HTTP 204, got 503"),
    ],
)
def test_any_other_answer_is_told_with_numbers_masked(webhook: Webhook, status: int, document: str, said: str) -> None:
    """A wrong partner, a wrong caller id, a changed text, a refusal turned round: each is found."""
    found = difference(webhook, status, document)

    assert found is not None
    assert said in found
    assert "+16465550130" not in found
