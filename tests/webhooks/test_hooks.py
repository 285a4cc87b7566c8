"""The two hooks that decide, asked of a real server in every mood."""

import socket
from collections.abc import Iterator

import msgspec
import pytest

from engine.core.model.errors import Code
from engine.core.model.exchanges import WebhookExchange
from engine.core.model.records import Kind
from engine.core.ports.hooks import Hooks, OutOfSessionCase
from engine.core.ports.observing import HookEnd, HookKind
from engine.core.routing.traffic import InboundEvent, SessionWanted
from engine.webhooks.hooks import WebHooks
from tests.outbound.material import AC, KS, NOW, TOKEN, Remembered, client, clock, interaction, tokens
from tests.outbound.receiver import Receiver, Reply

pytestmark = pytest.mark.anyio

STRANGER = InboundEvent(
    Kind.VOICE,
    "+14155550100",
    "+15105550001",
    "CA1",
    form={"CallSid": "CA1", "From": "+14155550100", "To": "+15105550001", "CallerCity": "SAN FRANCISCO"},
)
CASE = OutOfSessionCase(event=STRANGER, service_sid=KS, account_sid=AC)


@pytest.fixture
def nobody() -> Iterator[str]:
    """A URL where nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}/"


async def test_the_gate_is_asked_signed_and_with_a_token_of_its_own(receiver: Receiver, observer: Remembered) -> None:
    """The official validator accepts it, and a repeat of the same question can be told."""
    url = f"{receiver.url}/gate?service=1"

    async with client() as posting:
        hooks: Hooks = WebHooks(client=posting, tokens=tokens, observer=observer, clock=clock)
        verdict = await hooks.intercept(url, interaction(), may_rewrite=False, timeout_seconds=5)

    request = receiver.received[0]
    assert not verdict.is_blocked
    assert not verdict.is_failed
    assert receiver.is_signed(request, TOKEN)
    assert not receiver.is_signed(request, "another token")
    assert request.form["inboundResourceStatus"] == "received"
    assert request.headers["i-twilio-idempotency-token"] == interaction().sid
    assert request.headers["content-type"].startswith("application/x-www-form-urlencoded")
    assert observer.hooks == [(HookKind.INTERCEPT, HookEnd.PASSED)]


async def test_user_and_password_of_a_hook_are_not_signed(receiver: Receiver, observer: Remembered) -> None:
    """The receiver does not see them in its URL."""
    async with client() as posting:
        hooks = WebHooks(client=posting, tokens=tokens, observer=observer, clock=clock)
        url = f"http://me:secret@127.0.0.1:{receiver.port}/gate"
        await hooks.intercept(url, interaction(), may_rewrite=False, timeout_seconds=5)

    assert receiver.is_signed(receiver.received[0], TOKEN, url=f"{receiver.url}/gate")


@pytest.mark.parametrize(
    ("reply", "is_blocked", "is_failed", "end"),
    [
        (Reply(status=200), False, False, HookEnd.PASSED),
        (Reply(status=200, body=b"\x00garbage"), False, False, HookEnd.PASSED),
        (Reply(status=403), True, False, HookEnd.BLOCKED),
        (Reply(raw=b"HTTP/1.1 403 No\r\nContent-Length: 9\r\n\r\nno"), True, False, HookEnd.BLOCKED),
        (Reply(raw=b"HTTP/1.1 403 No\r\nContent-", resets=True), True, False, HookEnd.BLOCKED),
        (Reply(raw=b"HTTP/1.1 403 No\r\nContent-Length: 9\r\n\r\nno", stays=True), True, False, HookEnd.BLOCKED),
        (Reply(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nno"), False, False, HookEnd.PASSED),
        (Reply(raw=b"HTTP/1.1 500 OK\r\nContent-Length: 9\r\n\r\nno"), False, True, HookEnd.FAILED),
        (Reply(status=500), False, True, HookEnd.FAILED),
        (Reply(status=302, headers=("Location: /",)), False, True, HookEnd.FAILED),
        (Reply(resets=True), False, True, HookEnd.FAILED),
        (Reply(hangs=True), False, True, HookEnd.FAILED),
        (Reply(is_endless=True), False, False, HookEnd.PASSED),
    ],
    ids=[
        "200",
        "garbage",
        "403",
        "403-cut",
        "403-reset",
        "403-stalled",
        "200-cut",
        "500-cut",
        "500",
        "redirect",
        "reset",
        "hang",
        "gigabyte",
    ],
)
async def test_the_gate_answers_in_every_way(
    receiver: Receiver, observer: Remembered, reply: Reply, *, is_blocked: bool, is_failed: bool, end: HookEnd
) -> None:
    """403 blocks; a failure is told with its trace; everything else lets pass."""
    receiver.behaviour = lambda _: reply

    async with client() as posting:
        hooks = WebHooks(client=posting, tokens=tokens, observer=observer, clock=clock)
        limit = 0.05 if reply.hangs else 5
        verdict = await hooks.intercept(receiver.url, interaction(), may_rewrite=False, timeout_seconds=limit)

    assert (verdict.is_blocked, verdict.is_failed) == (is_blocked, is_failed)
    assert (verdict.trace is not None) is is_failed
    assert observer.hooks == [(HookKind.INTERCEPT, end)]
    assert [(told.kind, told.end) for told in observer.exchanges] == [(HookKind.INTERCEPT, end)]


async def test_the_gate_may_rewrite_a_text(receiver: Receiver, observer: Remembered) -> None:
    """Where the service allows it."""
    receiver.behaviour = lambda _: Reply(headers=("Content-Type: application/json",), body=b'{"body": "call us"}')

    async with client() as posting:
        hooks = WebHooks(client=posting, tokens=tokens, observer=observer, clock=clock)
        allowed = await hooks.intercept(receiver.url, interaction(), may_rewrite=True, timeout_seconds=5)
        forbidden = await hooks.intercept(receiver.url, interaction(), may_rewrite=False, timeout_seconds=5)

    assert allowed.body == "call us"
    assert forbidden.body is None
    assert [end for _, end in observer.hooks] == [HookEnd.REWRITTEN, HookEnd.PASSED]


@pytest.mark.parametrize(
    ("head", "is_failed"),
    [
        (b"Content-Type: application/json\r\nContent-Length: 99\r\n\r\n", True),
        (b"Content-Type: application/js", True),
        (b"Content-Type: text/plain\r\nContent-Length: 99\r\n\r\n", False),
    ],
)
async def test_a_gate_that_may_rewrite_fails_if_its_text_may_be_lost(
    receiver: Receiver, observer: Remembered, head: bytes, *, is_failed: bool
) -> None:
    """The original would pass by mistake; what is no JSON holds no text."""
    receiver.behaviour = lambda _: Reply(raw=b"HTTP/1.1 200 OK\r\n" + head + b'{"body":')

    async with client() as posting:
        hooks = WebHooks(client=posting, tokens=tokens, observer=observer, clock=clock)
        verdict = await hooks.intercept(receiver.url, interaction(), may_rewrite=True, timeout_seconds=5)

    assert (verdict.is_failed, verdict.body) == (is_failed, None)


async def test_the_gate_is_asked_again_with_the_same_token_where_a_kept_connection_had_ended(
    receiver: Receiver, observer: Remembered
) -> None:
    """What it forbids does not pass because of a connection."""
    answers = iter([Reply(status=403), Reply(resets=True), Reply(status=403)])
    receiver.behaviour = lambda _: next(answers)

    async with client() as posting:
        hooks = WebHooks(client=posting, tokens=tokens, observer=observer, clock=clock)
        verdicts = [
            await hooks.intercept(receiver.url, interaction(number), may_rewrite=False, timeout_seconds=5)
            for number in (1, 2)
        ]

    assert [verdict.is_blocked for verdict in verdicts] == [True, True]
    assert receiver.received[1].headers == receiver.received[2].headers
    assert receiver.received[1].body == receiver.received[2].body


async def test_a_gate_that_nobody_keeps_has_failed(nobody: str, observer: Remembered) -> None:
    """The trace says that no answer came, and why."""
    async with client() as posting:
        hooks = WebHooks(client=posting, tokens=tokens, observer=observer, clock=clock)
        verdict = await hooks.intercept(nobody, interaction(), may_rewrite=False, timeout_seconds=5)

    assert verdict.is_failed
    assert verdict.trace is not None
    assert verdict.trace.status is None
    assert "not connected" in verdict.trace.problem


async def test_a_gate_of_an_account_that_is_gone_has_failed(receiver: Receiver, observer: Remembered) -> None:
    """What cannot be signed is not sent."""
    async with client() as posting:
        hooks = WebHooks(client=posting, tokens=lambda _: None, observer=observer, clock=clock)
        verdict = await hooks.intercept(receiver.url, interaction(), may_rewrite=False, timeout_seconds=5)

    assert verdict.is_failed
    assert receiver.received == []


async def test_a_trace_holds_no_phone_number_and_no_text(receiver: Receiver, observer: Remembered) -> None:
    """Neither of what was sent nor of what came back."""
    receiver.behaviour = lambda _: Reply(status=500, headers=("X-To: +14155550100",), body=b"cannot call +14155550100")

    async with client() as posting:
        hooks = WebHooks(client=posting, tokens=tokens, observer=observer, clock=clock)
        url = f"{receiver.url}/?who=%2B14155550100"
        gate = await hooks.intercept(url, interaction(), may_rewrite=False, timeout_seconds=5)
        outside = await hooks.out_of_session(url, CASE, timeout_seconds=5)

    traces = (gate.trace, outside.trace)
    assert all(trace is not None and trace.status == 500 for trace in traces)
    assert "4155550100" not in repr(traces)
    assert "call me" not in repr(traces)
    assert "1415555XXXX" in repr(traces)
    assert interaction().sid in repr(traces)


async def test_what_was_asked_and_answered_is_told_without_numbers_texts_and_secrets(
    receiver: Receiver, nobody: str, observer: Remembered
) -> None:
    """By the carrier's SID, as what was asked about need not have passed; where no answer came, why."""
    receiver.behaviour = lambda _: Reply(status=403, body=b"cannot call +14155550100")
    gate = receiver.url.replace("://", "://me:secret@") + "/gates/14155550100?key=word"

    async with client() as posting:
        hooks = WebHooks(client=posting, tokens=tokens, observer=observer, clock=clock)
        await hooks.intercept(gate, interaction(), may_rewrite=False, timeout_seconds=5)
        await hooks.out_of_session(nobody, CASE, timeout_seconds=5)

    blocked, failed = observer.exchanges
    assert blocked == WebhookExchange(
        account_sid=AC,
        about=interaction().inbound.resource_sid or "",
        kind=HookKind.INTERCEPT,
        end=HookEnd.BLOCKED,
        url=f"{receiver.url}/gates/1415555XXXX",
        at=NOW,
        seconds=0.0,
        status=403,
    )
    assert (failed.account_sid, failed.about, failed.kind) == (AC, "CA1", HookKind.OUT_OF_SESSION)
    assert (failed.end, failed.status) == (HookEnd.FAILED, None)
    assert failed.problem


async def test_an_out_of_session_hook_answers_with_twiml(receiver: Receiver, observer: Remembered) -> None:
    """It got what the platform sent, signed, with the service."""
    receiver.behaviour = lambda _: Reply(headers=("Content-Type: text/xml",), body=b"<Response><Reject/></Response>")

    async with client() as posting:
        hooks: Hooks = WebHooks(client=posting, tokens=tokens, observer=observer, clock=clock)
        verdict = await hooks.out_of_session(f"{receiver.url}/oos", CASE, timeout_seconds=5)

    request = receiver.received[0]
    assert verdict.twiml is not None
    assert verdict.twiml.endswith("<Response><Reject/></Response>")
    assert receiver.is_signed(request, TOKEN)
    assert request.form == {**(STRANGER.form or {}), "ServiceSid": KS}
    assert observer.hooks == [(HookKind.OUT_OF_SESSION, HookEnd.TWIML)]


async def test_an_out_of_session_hook_knows_each_event_by_its_token(receiver: Receiver, observer: Remembered) -> None:
    """The same for a redelivery in another spelling, another for the same SID on another number or of a message."""
    events = [
        STRANGER,
        msgspec.structs.replace(STRANGER, proxy=f" {STRANGER.proxy[1:]}"),
        msgspec.structs.replace(STRANGER, proxy="+14155550198"),
        msgspec.structs.replace(STRANGER, kind=Kind.MESSAGE),
    ]

    async with client() as posting:
        hooks = WebHooks(client=posting, tokens=tokens, observer=observer, clock=clock)
        for event in events:
            case = msgspec.structs.replace(CASE, event=event)
            await hooks.out_of_session(f"{receiver.url}/oos", case, timeout_seconds=5)

    sent = [request.headers["i-twilio-idempotency-token"] for request in receiver.received]
    assert sent[0] == sent[1]
    assert len(set(sent)) == 3


async def test_an_out_of_session_hook_wants_a_session(receiver: Receiver, observer: Remembered) -> None:
    """JSON, whatever charset it names."""
    body = b'{"participantIdentifier": "+14155550123"}'
    receiver.behaviour = lambda _: Reply(headers=("Content-Type: application/json; charset=utf-8",), body=body)

    async with client() as posting:
        hooks = WebHooks(client=posting, tokens=tokens, observer=observer, clock=clock)
        verdict = await hooks.out_of_session(receiver.url, CASE, timeout_seconds=5)

    assert verdict.wanted == SessionWanted(identifier="+14155550123")
    assert observer.hooks == [(HookKind.OUT_OF_SESSION, HookEnd.SESSION)]


@pytest.mark.parametrize(
    ("reply", "code", "end"),
    [
        (Reply(), Code.UNKNOWN_SCENARIO, HookEnd.LEFT),
        (Reply(status=204), Code.UNKNOWN_SCENARIO, HookEnd.LEFT),
        (
            Reply(headers=("Content-Type: application/json",), body=b'{"uniqueName": "x"}'),
            Code.UNKNOWN_SCENARIO,
            HookEnd.LEFT,
        ),
        (Reply(status=500), Code.OUT_OF_SESSION_CALLBACK_FAILED, HookEnd.FAILED),
        (Reply(status=301, headers=("Location: /",)), Code.OUT_OF_SESSION_CALLBACK_FAILED, HookEnd.FAILED),
        (Reply(headers=("Content-Type: text/xml",), body=b"<Resp"), Code.TWIML_INVALID, HookEnd.FAILED),
        (Reply(headers=("Content-Type: text/plain",), body=b"<Response/>"), Code.TWIML_CONTENT_TYPE, HookEnd.FAILED),
        (Reply(headers=("Content-Type: text/xml",), is_endless=True), Code.WEBHOOK_RESPONSE_TOO_LARGE, HookEnd.FAILED),
        (Reply(resets=True), Code.WEBHOOK_FETCH_FAILED, HookEnd.FAILED),
        (Reply(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n<R"), Code.WEBHOOK_FETCH_FAILED, HookEnd.FAILED),
        (
            Reply(raw=b"HTTP/1.1 404 No\r\nContent-Length: 9\r\n\r\n<R"),
            Code.OUT_OF_SESSION_CALLBACK_FAILED,
            HookEnd.FAILED,
        ),
        (Reply(hangs=True), Code.WEBHOOK_FETCH_FAILED, HookEnd.FAILED),
    ],
    ids=[
        "empty",
        "204",
        "no-identifier",
        "500",
        "redirect",
        "no-xml",
        "no-type",
        "gigabyte",
        "reset",
        "200-cut",
        "404-cut",
        "hang",
    ],
)
async def test_an_out_of_session_hook_fails_in_every_way(
    receiver: Receiver, observer: Remembered, reply: Reply, code: Code, *, end: HookEnd
) -> None:
    """Each with the code of behaviour 9 and 13, and with its trace."""
    async with client() as posting:
        await posting.post(receiver.url, b"", headers={}, account_sid=AC)  # the short time goes into no connecting
        receiver.behaviour = lambda _: reply
        hooks = WebHooks(client=posting, tokens=tokens, observer=observer, clock=clock)
        verdict = await hooks.out_of_session(receiver.url, CASE, timeout_seconds=1 if reply.hangs else 30)

    assert verdict.code is code
    assert verdict.trace is not None
    assert observer.hooks == [(HookKind.OUT_OF_SESSION, end)]


async def test_an_out_of_session_hook_that_nobody_keeps_is_unreachable(nobody: str, observer: Remembered) -> None:
    """11205, not 11200: no connection was made."""
    async with client() as posting:
        hooks = WebHooks(client=posting, tokens=tokens, observer=observer, clock=clock)
        verdict = await hooks.out_of_session(nobody, CASE, timeout_seconds=5)

    assert verdict.code is Code.WEBHOOK_UNREACHABLE
