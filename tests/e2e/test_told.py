"""CallbackUrl through the live server: what it is told, when, in which order, how often (behaviour 12.2, 12.5)."""

import itertools
import json
import re
from collections import defaultdict

import pytest
from twilio.request_validator import RequestValidator

from tests.e2e.application import (
    CALLBACK_FIELDS,
    GATE,
    IDEMPOTENCY,
    INTERCEPT_FIELDS,
    TOLD,
    Application,
    codes,
    settled,
)
from tests.e2e.carrier import resource_sid
from tests.e2e.tenant import Pairing, Tenant, person
from tests.outbound.receiver import Received, Reply

DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def statuses(forms: list[dict[str, str]]) -> list[tuple[str, str]]:
    """Return the states of both legs, callback by callback."""
    return [(form["inboundResourceStatus"], form["outboundResourceStatus"]) for form in forms]


def written(tenant: Tenant, pairing: Pairing, text: str = "hello") -> str:
    """Let the first of a pairing write; returns where the leg is reported."""
    return tenant.carrier.message(pairing.first.identifier, pairing.first.proxy, text).twiml.status_url


def test_a_message_is_told_at_once_and_at_each_state_of_its_leg(tenant: Tenant, application: Application) -> None:
    """18 fields exactly, in order; a state told twice and what comes after the end are not told again."""
    service = tenant.service(numbers=2, **application.hooks)
    pairing = service.pairing()
    inbound, outbound = resource_sid("SM"), resource_sid("SM")
    answer = tenant.carrier.message(pairing.first.identifier, pairing.first.proxy, "¿sí? 🎉 & <b>", sid=inbound)

    for status in ("sending", "sent", "sent", "delivered", "sent", "failed"):
        tenant.carrier.report(answer.twiml.status_url, MessageSid=outbound, MessageStatus=status)

    assert settled(tenant)
    forms = application.told(4)
    (interaction,) = tenant.get(f"{pairing.path}/Interactions")["interactions"]
    assert statuses(forms) == [("received", one) for one in ("queued", "sending", "sent", "delivered")]
    assert all(form.keys() == CALLBACK_FIELDS for form in forms)
    assert len(CALLBACK_FIELDS) == 18
    assert [form["outboundResourceSid"] for form in forms] == ["", outbound, outbound, outbound]
    assert {name: value for name, value in forms[-1].items() if not name.startswith("interactionDate")} == {
        "inboundParticipantSid": pairing.first.sid,
        "inboundResourceSid": inbound,
        "inboundResourceStatus": "received",
        "inboundResourceType": "message",
        "inboundResourceUrl": "",
        "interactionAccountSid": tenant.sid,
        "interactionData": '{"body":"¿sí? 🎉 & <b>"}',
        "interactionServiceSid": service.sid,
        "interactionSessionSid": pairing.sid,
        "interactionSid": interaction["sid"],
        "interactionType": "Message",
        "outboundParticipantSid": pairing.second.sid,
        "outboundResourceSid": outbound,
        "outboundResourceStatus": "delivered",
        "outboundResourceType": "message",
        "outboundResourceUrl": "",
    }
    assert all(DATE.fullmatch(form[f"interactionDate{which}"]) for form in forms for which in ("Created", "Updated"))


def test_a_call_is_told_from_its_first_ring_to_its_end(tenant: Tenant, application: Application) -> None:
    """Both legs' states; the length at the end, in a string (10, 12.2)."""
    pairing = tenant.service(numbers=2, **application.hooks).pairing()
    inbound, outbound = resource_sid("CA"), resource_sid("CA")
    url = tenant.carrier.call(pairing.first.identifier, pairing.first.proxy, sid=inbound).twiml.status_url

    for status in ("ringing", "in-progress"):
        tenant.carrier.report(url, CallSid=outbound, CallStatus=status)
    tenant.carrier.report("/inbound/status", CallSid=inbound, CallStatus="in-progress")
    tenant.carrier.report(url, CallSid=outbound, CallStatus="completed", CallDuration="5")
    for _ in range(2):
        tenant.carrier.report("/inbound/status", CallSid=inbound, CallStatus="completed", CallDuration="7")
    tenant.carrier.report("/inbound/status", CallSid=inbound, CallStatus="no-answer")

    assert settled(tenant)
    forms = application.told(6)
    assert statuses(forms) == [
        ("ringing", "initiated"),
        ("ringing", "ringing"),
        ("ringing", "in-progress"),
        ("in-progress", "in-progress"),
        ("in-progress", "completed"),
        ("completed", "completed"),
    ]
    assert [form["interactionData"] for form in forms] == ["", "", "", "", '{"duration":"5"}', '{"duration":"5"}']
    assert all(form.keys() == CALLBACK_FIELDS for form in forms)
    assert {(form["interactionType"], form["inboundResourceType"], form["outboundResourceType"]) for form in forms} == {
        ("Voice", "call", "call")
    }
    assert codes(tenant, 1) == [80906]  # the other end; the same one again is no news


@pytest.mark.parametrize("status", ["busy", "no-answer", "failed", "canceled"])
def test_a_call_that_fails_is_told_with_its_end(tenant: Tenant, application: Application, status: str) -> None:
    """The callback carries the terminal state (9)."""
    pairing = tenant.service(numbers=2, **application.hooks).pairing()
    url = tenant.carrier.call(pairing.first.identifier, pairing.first.proxy).twiml.status_url

    tenant.carrier.report(url, CallSid=resource_sid("CA"), CallStatus=status)

    assert statuses(application.told(2)) == [("ringing", "initiated"), ("ringing", status)]
    assert settled(tenant)
    assert codes(tenant, int(status == "failed")) == ([80613] if status == "failed" else [])


@pytest.mark.parametrize("status", ["failed", "undelivered"])
def test_a_message_that_fails_is_told_with_its_end(tenant: Tenant, application: Application, status: str) -> None:
    """80613, and the callback carries the terminal state (9)."""
    pairing = tenant.service(numbers=2, **application.hooks).pairing()

    tenant.carrier.report(written(tenant, pairing), MessageSid=resource_sid("SM"), MessageStatus=status)

    assert statuses(application.told(2)) == [("received", "queued"), ("received", status)]
    assert codes(tenant, 1) == [80613]


def test_pictures_are_told_to_gate_and_callback(tenant: Tenant, application: Application) -> None:
    """MediaUrls as a JSON array and one field each, for an MMS only (changelog 13 and 14)."""
    pairing = tenant.service(numbers=2, **application.hooks).pairing()
    media = ("https://media.example.com/a?x=1&y=2", "https://media.example.com/ü")
    extra = {"MediaUrls", "MediaUrl0", "MediaUrl1"}

    tenant.carrier.message(pairing.first.identifier, pairing.first.proxy, "", media, sid=resource_sid("MM"))
    application.told(1)
    written(tenant, pairing)

    (with_media, without), gates = application.told(2), [request.form for request in application.asked(GATE)]
    assert with_media.keys() == CALLBACK_FIELDS | extra
    assert gates[0].keys() == INTERCEPT_FIELDS | extra
    assert (set(without), set(gates[1])) == (CALLBACK_FIELDS, INTERCEPT_FIELDS)
    assert len(INTERCEPT_FIELDS) == 13
    for form in (with_media, gates[0]):
        assert tuple(json.loads(form["MediaUrls"])) == (form["MediaUrl0"], form["MediaUrl1"]) == media
        assert form["interactionData"] == '{"body":""}'


def test_the_official_validator_accepts_every_webhook(tenant: Tenant, application: Application) -> None:
    """Also for URLs with user, query, a bare host and odd characters; with another token it does not (item 19)."""
    root = application.receiver.url
    urls = (root, f"{root}/a%20b/ü?x=1&y=%2B&x=2", root.replace("://", "://us%40er:pass@") + "/told")

    for url in urls:
        pairing = tenant.service(numbers=2, CallbackUrl=url).pairing()
        written(tenant, pairing, "¿qué? 🎉\n+ & = %")
    assert settled(tenant)

    assert len(application.receiver.received) == 3
    for request in application.receiver.received:
        signature = request.headers["x-twilio-signature"]
        url = f"http://{request.headers['host']}{request.path}"
        assert RequestValidator(tenant.token).validate(url, request.form, signature)
        assert not RequestValidator(tenant.token[::-1]).validate(url, request.form, signature)
        assert not RequestValidator(tenant.token).validate(url, request.form | {"interactionSid": "x"}, signature)
    by_user = [request for request in application.receiver.received if "authorization" in request.headers]
    assert [request.headers["authorization"] for request in by_user] == ["Basic dXNAZXI6cGFzcw=="]


def test_a_callback_that_fails_is_repeated_under_the_same_key(tenant: Tenant, application: Application) -> None:
    """500, 429, a reset: the same bytes and the same idempotency header again; what follows it waits (19)."""
    pairing = tenant.service(numbers=2, **application.hooks).pairing()
    application.answers(TOLD, Reply(status=500), Reply(resets=True), Reply())

    url = written(tenant, pairing)
    tenant.carrier.report(url, MessageSid=resource_sid("SM"), MessageStatus="delivered")

    application.told(4)
    assert settled(tenant)
    first, second, third, last = application.asked(TOLD)
    assert (
        len({(one.body, one.headers[IDEMPOTENCY], one.headers["x-twilio-signature"]) for one in (first, second, third)})
        == 1
    )
    assert last.headers[IDEMPOTENCY] != first.headers[IDEMPOTENCY]
    assert statuses([first.form, last.form]) == [("received", "queued"), ("received", "delivered")]
    assert tenant.get("/Alerts")["alerts"] == []


@pytest.mark.parametrize(
    ("replies", "tries"),
    [
        ((Reply(status=410),), 1),
        ((Reply(status=302, headers=("Location: /elsewhere",)),), 1),
        ((Reply(status=503),), 3),
    ],
)
def test_a_callback_that_is_given_up_joins_the_dead_letters(
    tenant: Tenant, application: Application, replies: tuple[Reply, ...], tries: int
) -> None:
    """At once when trying again is vain, else after the last try; 80908, and the session's next callback goes on."""
    pairing = tenant.service(numbers=2, **application.hooks).pairing()
    application.answers(TOLD, *replies * tries, Reply())

    url = written(tenant, pairing)
    tenant.carrier.report(url, MessageSid=resource_sid("SM"), MessageStatus="delivered")

    forms = application.told(tries + 1)
    assert settled(tenant)
    assert [form["outboundResourceStatus"] for form in forms] == ["queued"] * tries + ["delivered"]
    assert codes(tenant, 1) == [80908]
    (dead,) = tenant.server.admin("GET", f"/outbox?account_sid={tenant.sid}")["effects"]
    assert (dead["attempts"], dead["last_error"]) == (tries, f"answered {replies[0].status}")
    assert dead["date_died"] is not None


def test_what_is_told_of_a_session_keeps_its_order(tenant: Tenant, application: Application) -> None:
    """12 sessions side by side, every fifth delivery fails at first: in each, message after message, state by state."""
    service = tenant.service(numbers=2, **application.hooks)
    pairings = [service.pairing() for _ in range(12)]
    count = itertools.count()
    application.handles(TOLD, lambda _: Reply(status=503 if next(count) % 5 == 0 else 200))

    for text in ("one", "two", "three"):
        for pairing in pairings:
            url = written(tenant, pairing, text)
            tenant.carrier.report(url, MessageSid=resource_sid("SM"), MessageStatus="sent")
            tenant.carrier.report(url, MessageSid=url[-34:], MessageStatus="delivered")
    assert settled(tenant)

    told: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for request in first_of_each(application.asked(TOLD)):
        form = request.form
        told[form["interactionSessionSid"]].append((form["interactionData"], form["outboundResourceStatus"]))
    expected = [
        (json.dumps({"body": text}, separators=(",", ":")), status)
        for text in ("one", "two", "three")
        for status in ("queued", "sent")
    ]
    assert told == {pairing.sid: expected for pairing in pairings}


def first_of_each(requests: list[Received]) -> list[Received]:
    """Leave repeats out, as a receiver does: by idempotency key."""
    return list({request.headers[IDEMPOTENCY]: request for request in reversed(requests)}.values())[::-1]


def test_a_pushed_message_is_told_and_not_gated(tenant: Tenant, application: Application) -> None:
    """MessageInteractions pass no gate; the inbound leg is empty, the outbound one is the recipient's (3.7, 12.5)."""
    pairing = tenant.service(numbers=2, **application.hooks).pairing()
    sdk = tenant.sdk().proxy.v1.services(application_service(tenant)).sessions(pairing.sid)

    pushed = sdk.participants(pairing.second.sid).message_interactions.create(body="for you")

    assert settled(tenant)
    (form,) = application.told(1)
    assert [request.path for request in application.receiver.received] == [TOLD]
    assert form.keys() == CALLBACK_FIELDS
    assert {name: value for name, value in form.items() if name.startswith("inbound")} == dict.fromkeys(
        (name for name in CALLBACK_FIELDS if name.startswith("inbound")), ""
    )
    assert (form["interactionSid"], form["outboundParticipantSid"]) == (pushed.sid, pairing.second.sid)
    assert (form["interactionData"], form["outboundResourceStatus"]) == ('{"body":"for you"}', "queued")


def application_service(tenant: Tenant) -> str:
    """Return the tenant's only service."""
    sid: str = tenant.get("/Services")["services"][0]["sid"]
    return sid


def test_what_happens_to_sessions_is_not_told(tenant: Tenant, application: Application) -> None:
    """Created, joined, closed, opened again, left, deleted: callbacks concern interactions only (8, 12.5)."""
    service = tenant.service(numbers=2, **application.hooks)
    pairing = service.pairing()
    tenant.update(pairing.path, Status="closed")
    tenant.update(pairing.path, Status="in-progress")
    tenant.delete(f"{pairing.path}/Participants/{pairing.first.sid}")
    service.join(pairing.path, person())
    tenant.delete(pairing.path)

    assert settled(tenant)
    assert application.receiver.received == []


def test_richer_callbacks_name_the_session_and_always_both_legs(tenant: Tenant, application: Application) -> None:
    """An option of the service."""
    service = tenant.service(numbers=2, **application.hooks)
    tenant.server.admin("PATCH", f"/services/{service.sid}", {"options": {"has_rich_callbacks": True}})
    pairing = service.pairing(UniqueName="ride-7")

    written(tenant, pairing)

    (form,) = application.told(1)
    assert form.keys() == CALLBACK_FIELDS | {"sessionUniqueName"}
    assert (form["sessionUniqueName"], form["outboundParticipantSid"]) == ("ride-7", pairing.second.sid)
