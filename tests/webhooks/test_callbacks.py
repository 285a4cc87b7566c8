"""The forms that applications receive, held to the field lists of behaviour 12 and to the official validator."""

import json
from urllib.parse import parse_qsl

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from twilio.request_validator import RequestValidator

from engine.core.model.errors import Code
from engine.core.model.outbox import OutboxAlert, OutboxCallback
from engine.core.model.records import (
    DebuggerEvent,
    Interaction,
    Kind,
    Leg,
    LegStatus,
    Participant,
    Session,
    WebhookTrace,
)
from engine.core.ports.hooks import OutOfSessionCase
from engine.core.routing.traffic import InboundEvent
from engine.formats.signatures import signed_form, signed_url
from engine.webhooks.callbacks import callback_fields, debugger_fields, intercept_fields, out_of_session_fields

AC, KS, KC, KI = "AC" + "a" * 32, "KS" + "b" * 32, "KC" + "c" * 32, "KI" + "d" * 32
KP1, KP2, SM1, SM2 = "KP" + "1" * 32, "KP" + "2" * 32, "SM" + "1" * 32, "SM" + "2" * 32
AT = 1520980974.4
URL = "https://app.example.com/callback"

INTERCEPT_FIELDS = {
    "inboundParticipantSid",
    "inboundResourceSid",
    "inboundResourceStatus",
    "inboundResourceType",
    "inboundResourceUrl",
    "interactionAccountSid",
    "interactionData",
    "interactionDateCreated",
    "interactionDateUpdated",
    "interactionServiceSid",
    "interactionSessionSid",
    "interactionSid",
    "interactionType",
}
OUTBOUND_FIELDS = {
    "outboundParticipantSid",
    "outboundResourceSid",
    "outboundResourceStatus",
    "outboundResourceType",
    "outboundResourceUrl",
}
PARTICIPANT_KEYS = [
    "AccountSid",
    "DateCreated",
    "DateUpdated",
    "FriendlyName",
    "Identifier",
    "ProxyIdentifier",
    "ProxyIdentifierSid",
    "ServiceSid",
    "SessionSid",
    "Sid",
]
SESSION_KEYS = [
    "AccountSid",
    "ClosedReason",
    "DateCreated",
    "DateEnded",
    "DateUpdated",
    "Mode",
    "ServiceSid",
    "Sid",
    "Status",
    "UniqueName",
]


def text_message(*, media: tuple[str, ...] = (), outbound: Leg | None = None) -> Interaction:
    return Interaction(
        sid=KI,
        session_sid=KC,
        service_sid=KS,
        account_sid=AC,
        kind=Kind.MESSAGE,
        proxy="+15105550001",
        inbound=Leg(participant_sid=KP1, resource_sid=SM1, status=LegStatus.RECEIVED),
        outbound=outbound or Leg(participant_sid=KP2, resource_sid=SM2, status=LegStatus.QUEUED),
        body="on my way",
        media=media,
        date_created=AT,
        date_updated=AT,
    )


def call(*, duration: int | None, outbound: Leg) -> Interaction:
    inbound = Leg(participant_sid=KP1, resource_sid="CA" + "1" * 32, status=LegStatus.RINGING)
    return msgspec.structs.replace(
        text_message(outbound=outbound), kind=Kind.VOICE, inbound=inbound, body=None, duration_seconds=duration
    )


def participant(sid: str, identifier: str) -> Participant:
    return Participant(
        sid=sid,
        session_sid=KC,
        service_sid=KS,
        account_sid=AC,
        identifier=identifier,
        proxy_identifier="+15105550001",
        proxy_identifier_sid="PN" + "1" * 32,
        date_created=AT,
        date_updated=AT,
    )


def test_a_callback_has_the_eighteen_documented_fields() -> None:
    """A message with both legs known carries exactly the list of behaviour 12.2."""
    fields = callback_fields(OutboxCallback(url=URL, interaction=text_message()))

    assert set(fields) == INTERCEPT_FIELDS | OUTBOUND_FIELDS
    assert fields["interactionType"] == "Message"
    assert fields["inboundResourceType"] == "message"
    assert fields["interactionDateCreated"] == "2018-03-13T22:42:54Z"
    assert json.loads(fields["interactionData"]) == {"body": "on my way"}
    assert fields["outboundResourceStatus"] == "queued"


def test_a_callback_leaves_out_a_leg_that_does_not_exist_yet() -> None:
    """The first callback of a call has no outbound field at all, and its data is empty."""
    fields = callback_fields(
        OutboxCallback(url=URL, interaction=call(duration=None, outbound=Leg(participant_sid=KP2)))
    )

    assert set(fields) == INTERCEPT_FIELDS
    assert fields["interactionType"] == "Voice"
    assert fields["inboundResourceType"] == "call"
    assert fields["interactionData"] == ""


def test_the_last_callback_of_a_call_tells_its_length() -> None:
    """The length is a string inside JSON text."""
    done = call(duration=5, outbound=Leg(participant_sid=KP2, status=LegStatus.COMPLETED))

    fields = callback_fields(OutboxCallback(url=URL, interaction=done))

    assert json.loads(fields["interactionData"]) == {"duration": "5"}


def test_a_pushed_message_has_empty_inbound_fields() -> None:
    """They are present and empty: nobody sent it."""
    pushed = msgspec.structs.replace(text_message(), inbound=Leg())

    fields = callback_fields(OutboxCallback(url=URL, interaction=pushed))

    assert {name for name, value in fields.items() if name.startswith("inbound")} == {
        name for name in INTERCEPT_FIELDS if name.startswith("inbound")
    }
    assert not any(value for name, value in fields.items() if name.startswith("inbound"))


def test_media_come_as_json_and_one_by_one() -> None:
    """Both hooks about a picture message carry the addresses."""
    pictures = text_message(media=("https://m.example/1", "https://m.example/2"))

    for fields in (intercept_fields(pictures), callback_fields(OutboxCallback(url=URL, interaction=pictures))):
        assert json.loads(fields["MediaUrls"]) == ["https://m.example/1", "https://m.example/2"]
        assert fields["MediaUrl0"] == "https://m.example/1"
        assert fields["MediaUrl1"] == "https://m.example/2"


def test_the_gate_is_asked_with_the_thirteen_documented_fields() -> None:
    """None of the outbound leg's, whatever is known of it."""
    assert set(intercept_fields(text_message())) == INTERCEPT_FIELDS


def test_rich_callbacks_name_the_session_and_both_participants() -> None:
    """An extension: also while there is no outbound leg yet."""
    early = call(duration=None, outbound=Leg(participant_sid=KP2))

    fields = callback_fields(OutboxCallback(url=URL, interaction=early, session_name="order-77", is_rich=True))

    assert set(fields) == INTERCEPT_FIELDS | OUTBOUND_FIELDS | {"sessionUniqueName"}
    assert fields["sessionUniqueName"] == "order-77"
    assert fields["outboundParticipantSid"] == KP2


def test_an_out_of_session_hook_gets_the_platforms_fields_and_the_last_context() -> None:
    """Everything the platform sent is passed on; ten fields each for the participants and the session."""
    event = InboundEvent(
        Kind.VOICE, "+14155550100", "+15105550001", "CA1", form={"CallSid": "CA1", "CallerCity": "SF", "AddOns": "{}"}
    )
    ended = Session(
        sid=KC,
        service_sid=KS,
        account_sid=AC,
        unique_name="order-77",
        idle_since=AT,
        date_ended=AT,
        date_created=AT,
        date_updated=AT,
        ttl_seconds=60,
    )
    case = OutOfSessionCase(
        event=event,
        service_sid=KS,
        account_sid=AC,
        session=ended,
        inbound=participant(KP1, "+14155550100"),
        outbound=participant(KP2, "+14155550101"),
    )

    fields = out_of_session_fields(case)

    assert fields.items() >= {"CallSid": "CA1", "CallerCity": "SF", "AddOns": "{}", "ServiceSid": KS}.items()
    assert {f"inboundParticipant{key}" for key in PARTICIPANT_KEYS} <= set(fields)
    assert {f"outboundParticipant{key}" for key in PARTICIPANT_KEYS} <= set(fields)
    assert {f"session{key}" for key in SESSION_KEYS} <= set(fields)
    assert fields["outboundParticipantIdentifier"] == "+14155550101"
    assert fields["sessionDateEnded"] == "2018-03-13T22:42:54Z"
    assert fields["ttl"] == "60"


def test_a_stranger_brings_no_context() -> None:
    """The context keys are absent, not empty; an event without a form is described as a platform would."""
    event = InboundEvent(Kind.MESSAGE, "+14155550100", "+15105550001", "SM1", "hello", ("https://m.example/1",))

    fields = out_of_session_fields(OutOfSessionCase(event=event, service_sid=KS, account_sid=AC))

    assert not [name for name in fields if name.startswith(("inbound", "outbound", "session"))]
    assert fields["From"] == "+14155550100"
    assert fields["SmsStatus"] == "received"
    assert fields["NumMedia"] == "1"
    assert fields["MediaUrl0"] == "https://m.example/1"


CALL_FROM_THE_FEED = {
    "AccountSid": AC,
    "ApiVersion": "2010-04-01",
    "From": "+14155550100",
    "To": "+15105550001",
    "CallSid": "CA1",
    "CallStatus": "ringing",
    "Direction": "inbound",
    "Caller": "+14155550100",
    "Called": "+15105550001",
    "ServiceSid": KS,
}
TEXT_FROM_THE_FEED = {
    "AccountSid": AC,
    "ApiVersion": "2010-04-01",
    "From": "+14155550100",
    "To": "+15105550001",
    "MessageSid": "SM1",
    "SmsSid": "SM1",
    "SmsMessageSid": "SM1",
    "SmsStatus": "received",
    "Body": "hello",
    "NumMedia": "2",
    "MediaUrl0": "https://m.example/1",
    "MediaUrl1": "https://m.example/2",
    "ServiceSid": KS,
}


def test_an_event_of_the_feed_is_told_as_a_platform_would_tell_it() -> None:
    """It came without a form: every field, and no other."""
    urls = ("https://m.example/1", "https://m.example/2")
    call = InboundEvent(Kind.VOICE, "+14155550100", "+15105550001", "CA1")
    text = InboundEvent(Kind.MESSAGE, "+14155550100", "+15105550001", "SM1", "hello", urls)

    told = [out_of_session_fields(OutOfSessionCase(event=one, service_sid=KS, account_sid=AC)) for one in (call, text)]

    assert told == [CALL_FROM_THE_FEED, TEXT_FROM_THE_FEED]


def test_a_leg_has_a_type_where_it_has_a_participant_or_a_sid() -> None:
    """A leg that is not there has neither type nor anything else."""
    legs = [Leg(), Leg(participant_sid=KP1), Leg(resource_sid=SM1), Leg(participant_sid=KP1, resource_sid=SM1)]

    types = [
        callback_fields(OutboxCallback(url=URL, interaction=msgspec.structs.replace(text_message(), inbound=leg)))[
            "inboundResourceType"
        ]
        for leg in legs
    ]

    assert types == ["", "message", "message", "message"]


def test_a_debugger_event_is_posted_in_the_documented_shape() -> None:
    """The code is a string, the level a word, the webhook at fault spelled out."""
    trace = WebhookTrace(
        url=URL, parameters="interactionSid=KI1&x=", status=500, headers="content-type: text/html", body="oh"
    )
    event = DebuggerEvent(
        sid="NO1", code=Code.CALLBACK_FAILED, account_sid=AC, service_sid=KS, message="it failed", at=AT, webhook=trace
    )

    fields = debugger_fields(OutboxAlert(url=URL, event=event))

    payload = json.loads(fields.pop("Payload"))
    assert fields == {
        "Sid": "NO1",
        "AccountSid": AC,
        "ParentAccountSid": "",
        "Timestamp": "2018-03-13T22:42:54Z",
        "Level": "WARNING",
        "PayloadType": "application/json",
    }
    assert payload["error_code"] == "80908"
    assert payload["service_sid"] == KS
    assert payload["more_info"]["Msg"] == "it failed"
    assert payload["webhook"]["request"]["parameters"] == {"interactionSid": "KI1", "x": ""}
    assert payload["webhook"]["response"] == {
        "status_code": 500,
        "headers": {"content-type": "text/html"},
        "body": "oh",
    }


def test_the_documented_signature_vector_comes_out() -> None:
    """Behaviour 12.6."""
    fields = {
        "CallSid": "CA1234567890ABCDE",
        "Caller": "+14158675310",
        "Digits": "1234",
        "From": "+14158675310",
        "To": "+18005551212",
    }

    form = signed_form("https://example.com/myapp.php?foo=1&bar=2", fields, token="12345", idempotency_token="EF1")

    assert form.headers["X-Twilio-Signature"] == "L/OH5YylLD5NRKLltdqwSvS0BnU="
    assert form.headers["I-Twilio-Idempotency-Token"] == "EF1"
    assert dict(parse_qsl(form.body.decode())) == fields


@given(
    fields=st.dictionaries(st.text(min_size=1), st.text()),
    path=st.sampled_from(["", "/", "/hook", "/hook?a=1&b=%20", "?a=1"]),
    authority=st.sampled_from(["example.com", "user:secret@example.com", "example.com:8443", "Example.COM"]),
)
def test_the_official_validator_accepts_every_form(fields: dict[str, str], path: str, authority: str) -> None:
    """Whatever is said, the receiver that decodes the form and rebuilds its own URL finds it signed."""
    url = f"https://{authority}{path}"

    form = signed_form(url, fields, token="secret", idempotency_token="EF1")

    received = dict(parse_qsl(form.body.decode(), keep_blank_values=True))
    assert RequestValidator("secret").validate(signed_url(url), received, form.headers["X-Twilio-Signature"])


def test_a_signed_url_is_what_the_receiver_sees() -> None:
    """Credentials and fragment stay with us."""
    assert signed_url("https://me:pass@Example.com:81/a?b=c#d") == "https://example.com:81/a?b=c"
    assert signed_url("https://example.com") == "https://example.com/"
