"""What the platform is answered when an application's webhook, or a carrier of ours, had a word in the decision."""

from collections.abc import Callable
from urllib.parse import urlencode

import msgspec
import pytest

from engine.channels.base import Webhook
from engine.channels.twiml.settings import WebhookSettings
from engine.channels.twiml.webhooks import MESSAGE_PATH, VOICE_PATH, WebhookEndpoint
from engine.core.routing.traffic import Decision, InboundEvent, LegReport, Outcome, Reason, ReportOutcome
from tests.silent import SilentMeter, SilentObserver

ROUTED = Decision(
    Outcome.ROUTED, Reason.IN_SESSION, to="+14155550101", caller_id="+14155550198", interaction_sid="KI" + "0" * 32
)
EMPTY = b'<?xml version="1.0" encoding="UTF-8"?><Response></Response>'


class FakeData:
    """Decides as it is told, and keeps the event."""

    def __init__(self, decision: Decision) -> None:
        self.decision = decision
        self.events: list[InboundEvent] = []

    def receive(self, event: InboundEvent, answer: Callable[[Decision], None]) -> None:
        """Answer at once."""
        self.events.append(event)
        answer(self.decision)

    def report(self, report: LegReport, answer: Callable[[ReportOutcome | None], None]) -> None:
        """Take it."""
        answer(ReportOutcome.RECORDED)

    def signing_tokens(self, proxy: str) -> tuple[str, ...]:
        """Know none."""
        return ()

    def account_tokens(self, account_sid: str) -> tuple[str, ...]:
        """Know none."""
        return ()

    def owner_of(self, proxy: str) -> str | None:
        """Know none."""
        return None


def answered(decision: Decision, path: bytes, **fields: str) -> tuple[bytes, bytes, InboundEvent]:
    """Post a webhook; returns head and body of the answer, and the event."""
    data = FakeData(decision)
    settings = WebhookSettings(public_url="https://masks.example.com", verify_signatures=False)
    endpoint = WebhookEndpoint(
        data,
        observer=SilentObserver(),
        meter=SilentMeter(),
        clock=lambda: 0.0,
        monotonic=lambda: 0.0,
        settings=settings,
    )
    form = {"From": "+14155550100", "To": "+14155550199", **fields}
    body = urlencode(form).encode()
    replies: list[bytes] = []
    endpoint.answer(
        Webhook(path=path, query=b"", signature=b"", content_type=b"application/x-www-form-urlencoded", body=body),
        replies.append,
    )
    ((head, _, answer),) = (reply.partition(b"\r\n\r\n") for reply in replies)
    return head, answer, data.events[0]


def call(decision: Decision) -> tuple[bytes, bytes, InboundEvent]:
    return answered(decision, VOICE_PATH, CallSid="CA1", FromCity="OAKLAND")


def text(decision: Decision) -> tuple[bytes, bytes, InboundEvent]:
    return answered(decision, MESSAGE_PATH, MessageSid="SM1", Body="hello", NumSegments="1")


@pytest.mark.parametrize("post", [call, text])
def test_application_answers_with_its_own_document(
    post: Callable[[Decision], tuple[bytes, bytes, InboundEvent]],
) -> None:
    """Bytes for bytes, as XML, its length in bytes."""
    document = "<Response><Say>Grüß Gott</Say></Response>"

    head, body, _ = post(Decision(Outcome.ANSWERED, Reason.OUT_OF_SESSION, twiml=document))

    assert body == document.encode()
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"content-type: text/xml" in head
    assert f"content-length: {len(document.encode())}".encode() in head


@pytest.mark.parametrize("post", [call, text])
def test_application_that_has_handled_it_leaves_nothing_to_do(
    post: Callable[[Decision], tuple[bytes, bytes, InboundEvent]],
) -> None:
    """An empty Response: a call is not rejected, a message is not answered."""
    _, body, _ = post(Decision(Outcome.ANSWERED, Reason.LEFT_TO_APPLICATION))

    assert body == EMPTY


def test_blocked_call_is_rejected() -> None:
    """As any other that is refused."""
    _, body, _ = call(Decision(Outcome.REFUSED, Reason.INTERCEPTED))

    assert b"<Reject/>" in body


def test_platform_sends_nothing_that_a_carrier_of_ours_sends() -> None:
    """Or the text would arrive twice."""
    _, body, _ = text(msgspec.structs.replace(ROUTED, is_sent_by_us=True))

    assert body == EMPTY


@pytest.mark.parametrize(("replacement", "sent"), [(None, "hello"), ("goodbye", "goodbye")])
def test_gate_may_replace_the_text(replacement: str | None, sent: str) -> None:
    """And only the text."""
    _, body, _ = text(msgspec.structs.replace(ROUTED, body=replacement))

    assert f"<Body>{sent}</Body>".encode() in body


def test_events_carry_all_that_the_platform_sent() -> None:
    """For the out-of-session hook."""
    *_, called = call(ROUTED)
    *_, written = text(ROUTED)

    assert (called.form or {})["FromCity"] == "OAKLAND"
    assert (written.form or {})["NumSegments"] == "1"


def test_too_many_waiting_events_are_told_to_come_again() -> None:
    """503 with Retry-After."""
    head, _, _ = call(Decision(Outcome.NOT_READY, Reason.BUSY))

    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: 1" in head
