"""Webhooks of the operator's carriers, which sign with tokens of their own, and what is said where none fits."""

import logging
from dataclasses import replace

import pytest

from engine.channels.twiml.settings import WebhookSettings
from engine.core.model.errors import Code
from engine.core.ports.observing import Rejection
from engine.outbound.settings import CarrierKind, CarrierSettings
from tests.http.rig import (
    ACCOUNT,
    OTHER_ACCOUNT,
    PROXY,
    PUBLIC_URL,
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

PLATFORM, REGIONAL = "AC" + "7" * 32, "0f8fad5b-d9cb-469f-a165-70867728950e"
DIGITS = "switch-7"
NEW, OLD = "the-new-token", "the-old-token"


def carrier(
    name: str, account_sid: str, keys: tuple[str, ...], *, numbers: tuple[str, ...] = (), writes_digits: bool = False
) -> CarrierSettings:
    """Return one that has webhooks signed with any of its keys."""
    return CarrierSettings(
        name=name,
        kind=CarrierKind.MESSAGES_API,
        account_sid=account_sid,
        auth_tokens=keys,
        numbers=numbers,
        writes_digits=writes_digits,
    )


SETTINGS = WebhookSettings(
    public_url=PUBLIC_URL,
    carriers=(
        carrier("main", PLATFORM, (NEW, OLD)),
        carrier("regional", REGIONAL, (NEW,), numbers=("+1646", "12345")),
        carrier("digits", DIGITS, (NEW,), writes_digits=True),
    ),
)
ELSEWHERE = "+16465550123"


async def ask(running: Running, form: dict[str, str], path: str = "voice", *, token: str | None = NEW) -> Answer:
    """Post a webhook, signed with a token or not at all."""
    target = f"/inbound/{path}"
    async with connected(running) as client:
        request = post(form, target, sign_as="" if token is None else signed(form, target, token=token))
        return await client.ask(request if token is not None else request.replace(b"X-Twilio-Signature", b"X-Other"))


@pytest.mark.parametrize("token", [NEW, OLD])
@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("voice", call(AccountSid=PLATFORM)),
        ("message", text(AccountSid=PLATFORM)),
        ("status", call(AccountSid=PLATFORM, CallStatus="ringing")),
    ],
)
async def test_a_carriers_webhooks_are_taken_with_any_of_its_keys(path: str, form: dict[str, str], token: str) -> None:
    """For numbers of every account; so the platform's token can be changed without a webhook lost."""
    async with serving(settings=SETTINGS) as running:
        answer = await ask(running, form, path, token=token)

        assert answer.status == (204 if path == "status" else 200)
        assert running.observer.problems == []


@pytest.mark.parametrize(("also", "status"), [("", 200), ("X-Twilio-Signature: wrong\r\n", 403)])
async def test_a_signature_may_have_the_name_that_signalwire_gives_it(also: str, status: int) -> None:
    """It is computed alike; where both are there, the usual one counts."""
    form = call(AccountSid=PLATFORM)
    request = post(form, sign_as=signed(form, "/inbound/voice", token=NEW))
    renamed = request.replace(b"X-Twilio-Signature: ", f"{also}X-SignalWire-Signature: ".encode())
    async with serving(settings=SETTINGS) as running, connected(running) as client:
        answer = await client.ask(renamed)

    assert answer.status == status


async def test_a_carrier_that_serves_some_numbers_is_refused_for_all_others() -> None:
    """In doubt its word does not count, though its key is right."""
    ours, short, other = (call(AccountSid=REGIONAL, To=to) for to in (ELSEWHERE, "12345", PROXY))
    async with serving(settings=SETTINGS) as running:
        answers = [await ask(running, form) for form in (ours, short, other)]

        assert [answer.status for answer in answers] == [200, 200, 403]
        assert [event.proxy for event in running.plane.events] == [ELSEWHERE, "12345"]
        [told] = running.observer.events
        assert (told.account_sid, "numbers" in told.message) == (ACCOUNT, True)


@pytest.mark.parametrize("verify_signatures", [True, False])
async def test_a_carriers_report_says_which_numbers_are_its_own(*, verify_signatures: bool) -> None:
    """A report need not name a number, and may name any: what it is of is held against them."""
    settings = replace(SETTINGS, verify_signatures=verify_signatures)
    bare = {"CallSid": "CA1", "CallStatus": "completed"}
    async with serving(settings=settings) as running:
        answers = [
            await ask(running, {**bare, "AccountSid": account_sid, **to}, "status")
            for account_sid in (REGIONAL, PLATFORM)
            for to in ({"To": PROXY}, {})
        ]

        assert [answer.status for answer in answers] == [204] * 4
        assert {report.account_sid for report in running.plane.reports} == {None}
        assert [report.numbers for report in running.plane.reports] == [("+1646", "12345")] * 2 + [()] * 2


async def test_a_carrier_may_write_numbers_without_plus_where_that_is_set() -> None:
    """Calls, messages and reports; short codes and withheld callers are what they were."""
    bare = {"AccountSid": DIGITS, "From": "14155550100", "To": PROXY[1:]}
    async with serving(settings=SETTINGS) as running:
        answers = [
            await ask(running, call(**bare)),
            await ask(running, text(**bare), "message"),
            await ask(running, call(**{**bare, "From": "anonymous", "To": "12345"})),
            await ask(running, call(**bare, CallStatus="ringing"), "status"),
        ]

        assert [answer.status for answer in answers] == [200, 200, 200, 204]
        assert [(event.sender, event.proxy) for event in running.plane.events] == [
            ("+14155550100", PROXY),
            ("+14155550100", PROXY),
            ("anonymous", "12345"),
        ]
        assert [report.proxy for report in running.plane.reports] == [PROXY]


async def test_a_number_reached_without_plus_is_refused_where_that_is_not_set() -> None:
    """It may be a number as it is written at home; the answer says what to do."""
    async with serving(settings=SETTINGS) as running:
        answer = await ask(running, call(AccountSid=PLATFORM, To=PROXY[1:]))

        assert (answer.status, answer.message.split()[:3]) == (400, ["Invalid", "parameter", "To:"])
        assert "writes_digits" in answer.message
        assert running.observer.problems == [Rejection.MALFORMED]
        assert running.plane.events == []


async def test_an_account_still_signs_for_its_own_numbers_beside_carriers() -> None:
    """With its own token, and nobody with that token for others."""
    async with serving(settings=SETTINGS) as running:
        async with connected(running) as client:
            own = await client.ask(post(call()))
        foreign = await ask(running, call(AccountSid=PLATFORM), token="a-tokem")

    assert (own.status, foreign.status) == (200, 403)


@pytest.mark.parametrize(
    ("account_sid", "token", "advice"),
    [
        (PLATFORM, "guessed", "Compare auth_token (or signing_key)"),
        ("AC" + "9" * 32, "its-own", "add [carriers.NAME]"),
        (ACCOUNT, "its-own", "add [carriers.NAME]"),
        (OTHER_ACCOUNT, "its-own", "add [carriers.NAME]"),
        ("", "its-own", "add [carriers.NAME]"),
        (PLATFORM, None, "it has no X-Twilio-Signature"),
    ],
)
async def test_the_owner_of_the_number_and_the_log_are_told_what_to_do(
    account_sid: str, token: str | None, advice: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever the webhook says it is from; with neither the number nor an identifier whole."""
    form = call(AccountSid=account_sid)
    async with serving(settings=SETTINGS) as running:
        with caplog.at_level(logging.WARNING, "maskline.ingress"):
            answer = await ask(running, form, token=token)

        [event] = running.observer.events
        [line] = caplog.messages
        assert (answer.status, event.code, event.account_sid) == (403, Code.BAD_SIGNATURE, ACCOUNT)
        assert advice in event.message
        assert advice in line
        assert "/inbound/voice for +1415555XXXX" in line
        assert PROXY not in line + event.message
        assert len(account_sid) < 34 or account_sid not in line + event.message


async def test_a_flood_of_wrong_signatures_is_told_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    """However many come, of however many pretended senders; each is counted."""
    async with serving(settings=SETTINGS) as running:
        with caplog.at_level(logging.WARNING, "maskline.ingress"):
            for number in range(50):
                await ask(running, call(AccountSid=f"AC{number:032x}", CallSid=f"CA{number:032x}"), token="x")
            running.monotonic.now += 60
            await ask(running, call(AccountSid="AC" + "5" * 32), token="x")

        assert len(running.observer.problems) == 51
        assert set(running.observer.problems) == {Rejection.BAD_SIGNATURE}
        assert len(running.observer.events) == 2
        assert len(caplog.messages) == 2
        assert "(49 more since the last such line)" in caplog.messages[1]


@pytest.mark.parametrize("hostile", ["+14155550199", "14155550199141555501991415555", "AC\n2026 CRITICAL all is lost"])
async def test_what_a_stranger_writes_is_not_written_down(hostile: str, caplog: pytest.LogCaptureFixture) -> None:
    """A number in the place of an identifier, or a line of its own for the log."""
    form = call(AccountSid=hostile, CallSid="CA-1-415-555-0199", To=PROXY)
    async with serving(settings=SETTINGS) as running:
        with caplog.at_level(logging.WARNING, "maskline.ingress"):
            await ask(running, form, token="x")

        [event] = running.observer.events
        said = caplog.text + event.message
        assert event.resource_sid is None
        assert "0199" not in said
        assert "all is lost" not in said
