"""What each webhook is answered, over a real server: TwiML, refusals, problems, and what is counted."""

import logging

import pytest

from engine.channels.twiml.settings import WebhookSettings
from engine.core.model.errors import Code
from engine.core.ports.observing import Rejection
from engine.core.routing.traffic import Decision, Outcome, Reason, ReportOutcome
from tests.http.rig import (
    ACCOUNT,
    NOW,
    OTHER_ACCOUNT,
    OTHER_TOKEN,
    PUBLIC_URL,
    ROUTED,
    Answer,
    Running,
    call,
    connected,
    post,
    serving,
    signed,
    text,
)

pytestmark = pytest.mark.anyio

DOCUMENT = '<?xml version="1.0" encoding="UTF-8"?><Response>%s</Response>'
STATUS_URL = f"{PUBLIC_URL}/inbound/status?interaction={ROUTED.interaction_sid}&amp;leg=outbound"
UNKNOWN_NUMBER = Decision(Outcome.UNKNOWN_NUMBER, Reason.NOT_IN_POOL)
STORE_DOWN = Decision(Outcome.NOT_READY, Reason.STORE_UNAVAILABLE)


async def answer_to(running: Running, request: bytes) -> Answer:
    async with connected(running) as client:
        return await client.ask(request)


# -- decisions -----------------------------------------------------------------------------------------------------


async def test_a_routed_call_dials_the_partner_and_shows_the_proxy_number() -> None:
    """Legs are reported to our own status URL, which names the interaction."""
    async with serving() as running:
        running.plane.decision = ROUTED

        answer = await answer_to(running, post(call()))

    assert answer.status == 200
    assert answer.headers["content-type"] == "text/xml; charset=utf-8"
    assert answer.body.decode() == DOCUMENT % (
        f'<Dial callerId="{ROUTED.caller_id}" answerOnBridge="true"><Number statusCallback="{STATUS_URL}" '
        f'statusCallbackEvent="initiated ringing answered completed">{ROUTED.to}</Number></Dial>'
    )
    assert running.observer.problems == []


async def test_a_routed_message_is_sent_with_body_and_media() -> None:
    """Unicode and markup survive the way through form and TwiML."""
    form = text(Body='Zürich <&> "日本" 😀\n+1', NumMedia="1", MediaUrl0="https://a.example/1?x=1&y=2")
    async with serving() as running:
        running.plane.decision = ROUTED

        answer = await answer_to(running, post(form, "/inbound/message"))

    assert answer.body.decode() == DOCUMENT % (
        f'<Message from="{ROUTED.caller_id}" to="{ROUTED.to}" statusCallback="{STATUS_URL}">'
        "<Body>Zürich &lt;&amp;&gt; &quot;日本&quot; 😀&#10;+1</Body>"
        "<Media>https://a.example/1?x=1&amp;y=2</Media></Message>"
    )
    assert running.plane.events[0].body == form["Body"]


@pytest.mark.parametrize(("path", "form", "verb"), [("voice", call(), "<Reject/>"), ("message", text(), "")])
async def test_a_refused_call_is_rejected_and_a_refused_message_dropped(
    path: str, form: dict[str, str], verb: str
) -> None:
    """The carrier has nothing more to do either way."""
    async with serving() as running:
        answer = await answer_to(running, post(form, f"/inbound/{path}"))

    assert (answer.status, answer.body.decode()) == (200, DOCUMENT % verb)


async def test_a_report_that_may_be_of_several_calls_is_refused_by_name() -> None:
    """It is to say which number was reached."""
    async with serving() as running:
        running.plane.report_outcome = ReportOutcome.AMBIGUOUS
        answer = await answer_to(running, post(call(CallStatus="completed"), "/inbound/status"))

    assert (answer.status, answer.code, answer.message.split()[:3]) == (400, 80701, ["Invalid", "parameter", "To:"])
    assert running.observer.problems == [Rejection.MALFORMED]


async def test_a_status_that_nobody_knows_is_taken_and_counted() -> None:
    """The platform would send it again, or log a failed webhook; an unsigned one is refused as ever."""
    form = call(CallStatus="exploded")
    async with serving() as running:
        signed_one = await answer_to(running, post(form, "/inbound/status"))
        forged = await answer_to(running, post(form, "/inbound/status", sign_as="x"))

    assert (signed_one.status, forged.status) == (204, 403)
    assert running.observer.reports == [ReportOutcome.UNKNOWN_STATUS]
    assert running.plane.reports == []


async def test_a_leg_report_is_taken() -> None:
    """The signed query names the interaction; there is nothing to execute, so the answer has no body."""
    target = f"/inbound/status?interaction={ROUTED.interaction_sid}&leg=outbound"
    async with serving() as running:
        answer = await answer_to(running, post(call(CallStatus="ringing"), target))

        assert (answer.status, answer.body) == (204, b"")
        [report] = running.plane.reports
        assert (report.interaction_sid, report.is_outbound) == (ROUTED.interaction_sid, True)


@pytest.mark.parametrize("outcome", sorted(set(ReportOutcome) - {ReportOutcome.AMBIGUOUS}))
async def test_a_report_that_changes_nothing_is_taken_all_the_same(outcome: ReportOutcome) -> None:
    """The carrier must not send it again."""
    async with serving() as running:
        running.plane.report_outcome = outcome

        answer = await answer_to(running, post(call(CallStatus="ringing"), "/inbound/status"))

    assert answer.status == 204


async def test_a_number_in_no_pool_is_not_found() -> None:
    """It is not ours to answer, so the carrier goes to its fallback; counted."""
    form = call(To="+14155550000")
    async with serving() as running:
        running.plane.decision = UNKNOWN_NUMBER

        answer = await answer_to(running, post(form))

        assert (answer.status, answer.code) == (404, Code.NOT_FOUND)
        assert running.observer.problems == [Rejection.UNKNOWN_NUMBER]


async def test_what_cannot_be_committed_now_is_to_be_sent_again() -> None:
    """Events and reports alike."""
    async with serving() as running:
        running.plane.decision = STORE_DOWN
        running.plane.report_outcome = None

        answers = [
            await answer_to(running, post(call())),
            await answer_to(running, post(text(), "/inbound/message")),
            await answer_to(running, post(call(CallStatus="ringing"), "/inbound/status")),
        ]

    assert [(one.status, one.code, one.headers["retry-after"]) for one in answers] == [(503, 20503, "1")] * 3


async def test_the_unforeseen_is_logged_and_answered(caplog: pytest.LogCaptureFixture) -> None:
    """A traceback in our log, nothing of it in the answer; the connection serves on."""
    async with serving() as running, connected(running) as client:
        running.plane.failure = RuntimeError("secret")

        with caplog.at_level(logging.ERROR, "maskline.ingress"):
            answer = await client.ask(post(call()))
        running.plane.failure = None
        after = await client.ask(post(call()))

    assert (answer.status, answer.code, after.status) == (500, 20500, 200)
    assert b"secret" not in answer.body
    assert "RuntimeError: secret" in caplog.text


# -- malformed -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "form", "named"),
    [
        ("voice", call(To=""), "To"),
        ("voice", call(CallSid=""), "CallSid"),
        ("message", text(MessageSid=""), "MessageSid"),
        ("message", text(NumMedia="99"), "MediaUrl0"),
        ("message", text(NumMedia="many"), "NumMedia"),
        ("status", call(CallStatus=""), "CallStatus"),
        ("status", call(CallStatus="delivered"), "CallStatus"),
        ("voice", {}, "To"),
    ],
)
async def test_a_malformed_form_is_told_which_field(path: str, form: dict[str, str], named: str) -> None:
    """The carrier's log shows what to mend; counted, and never decided."""
    async with serving() as running:
        answer = await answer_to(running, post(form, f"/inbound/{path}"))

        assert (answer.status, answer.message.split()[:3]) == (400, ["Invalid", "parameter", f"{named}:"])
        assert running.observer.problems == [Rejection.MALFORMED]
        assert running.plane.events == []


@pytest.mark.parametrize("content_type", ["", "application/json", "multipart/form-data; boundary=x"])
async def test_only_urlencoded_forms_are_read(content_type: str) -> None:
    """A JSON body would be a form without fields."""
    async with serving() as running:
        answer = await answer_to(running, post(call(), Content_Type=content_type))

    assert (answer.status, "Content-Type" in answer.message) == (400, True)


@pytest.mark.parametrize(
    "content_type", ["application/x-www-form-urlencoded; charset=UTF-8", "Application/X-WWW-Form-Urlencoded"]
)
async def test_the_content_type_may_be_written_in_any_case_and_with_a_charset(content_type: str) -> None:
    """As HTTP has it."""
    async with serving() as running:
        answer = await answer_to(running, post(call(), Content_Type=content_type))

    assert answer.status == 200


# -- signatures ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "signature",
    ["wrong", " ", signed(call(), "/inbound/message"), signed(call(), "/inbound/voice", token=OTHER_TOKEN), "ü"],
)
async def test_a_wrong_signature_is_refused_and_told_to_the_account(signature: str) -> None:
    """80625 in the account's debugger with the call concerned; counted, never decided."""
    async with serving() as running:
        answer = await answer_to(running, post(call(), sign_as=signature))

        assert (answer.status, answer.code) == (403, Code.BAD_SIGNATURE)
        assert running.observer.problems == [Rejection.BAD_SIGNATURE]
        [event] = running.observer.events
        assert (event.code, event.account_sid, event.at) == (Code.BAD_SIGNATURE, ACCOUNT, NOW)
        assert event.resource_sid == call()["CallSid"]
        assert running.plane.events == []


@pytest.mark.parametrize(
    ("path", "form"), [("voice", call()), ("message", text()), ("status", call(CallStatus="ringing"))]
)
async def test_an_unsigned_webhook_is_refused_at_every_path(path: str, form: dict[str, str]) -> None:
    """A header that is missing is as wrong as a false one."""
    async with serving() as running:
        answer = await answer_to(running, post(form, f"/inbound/{path}").replace(b"X-Twilio-Signature", b"X-Other"))

        assert answer.status == 403
        assert (running.plane.events, running.plane.reports) == ([], [])


async def test_an_unknown_account_raises_no_event() -> None:
    """There is no debugger to tell where nobody owns the number; it is counted all the same."""
    async with serving() as running:
        form = call(AccountSid="AC" + "9" * 32, To="+14155550000")
        answer = await answer_to(running, post(form, sign_as="wrong"))

        assert answer.status == 403
        assert (running.observer.problems, running.observer.events) == ([Rejection.BAD_SIGNATURE], [])


async def test_another_account_cannot_sign_for_our_number() -> None:
    """The number's owner signs, whatever AccountSid the form names."""
    form = call(AccountSid=OTHER_ACCOUNT)
    async with serving() as running:
        answer = await answer_to(running, post(form, sign_as=signed(form, "/inbound/voice", token=OTHER_TOKEN)))

    assert answer.status == 403


async def test_the_owner_may_leave_its_account_sid_out() -> None:
    """Other platforms than the first send none; the number tells whose token it is."""
    async with serving() as running:
        answer = await answer_to(running, post(call(AccountSid="")))

    assert answer.status == 200


async def test_signatures_may_be_left_unchecked() -> None:
    """An operator's explicit choice."""
    async with serving(settings=WebhookSettings(public_url=PUBLIC_URL, verify_signatures=False)) as running:
        answer = await answer_to(running, post(call(), sign_as="wrong"))

    assert answer.status == 200


async def test_the_query_is_signed_with_the_rest() -> None:
    """A query that was changed on the way is refused."""
    form, target = call(CallStatus="ringing"), f"/inbound/status?interaction={ROUTED.interaction_sid}&leg=outbound"
    async with serving() as running:
        right = await answer_to(running, post(form, target))
        changed = await answer_to(running, post(form, target + "x", sign_as=signed(form, target)))

    assert (right.status, changed.status) == (204, 403)


@pytest.mark.parametrize(
    ("public_url", "signed_bases"),
    [
        ("https://h.example", ("https://h.example", "https://h.example:443")),
        ("https://h.example:443", ("https://h.example", "https://h.example:443")),
        ("http://h.example", ("http://h.example", "http://h.example:80")),
        ("http://h.example:8080", ("http://h.example:8080",)),
        ("https://user:secret@h.example/p", ("https://h.example/p", "https://h.example:443/p")),
        ("http://[2001:db8::1]", ("http://[2001:db8::1]", "http://[2001:db8::1]:80")),
    ],
)
async def test_a_signature_is_right_with_and_without_the_default_port(
    public_url: str, signed_bases: tuple[str, ...]
) -> None:
    """Platforms differ, even between calls and messages; user-info is never signed."""
    async with serving(settings=WebhookSettings(public_url=public_url)) as running:
        for base in signed_bases:
            answer = await answer_to(running, post(call(), sign_as=signed(call(), "/inbound/voice", base=base)))
            assert answer.status == 200, base

        other = signed(call(), "/inbound/voice", base=signed_bases[0] + ":8443")
        assert (await answer_to(running, post(call(), sign_as=other))).status == 403


@pytest.mark.parametrize("target", ["/inbound/voice", "/masks/inbound/voice"])
async def test_a_proxy_may_strip_the_prefix_of_the_public_url_or_not(target: str) -> None:
    """Either way the platform signed the public URL, and reports go there."""
    base = f"{PUBLIC_URL}/masks"
    async with serving(settings=WebhookSettings(public_url=base)) as running:
        running.plane.decision = ROUTED

        answer = await answer_to(running, post(call(), target, sign_as=signed(call(), "/inbound/voice", base=base)))

    assert answer.status == 200
    assert f'statusCallback="{base}/inbound/status?'.encode() in answer.body
