"""Calls and messages through the live server (behaviour 21: items 15, 22; behaviour 9 to 11)."""

import json
from collections.abc import Callable

import pytest

from engine.channels.twiml.forms import status_query
from tests.e2e.carrier import DROPPED, REJECTED, call_form, resource_sid
from tests.e2e.live import LiveServer, on_both_runtimes
from tests.e2e.tenant import Tenant, new_tenant, person, proxy_number

TEXT = 'Grüße & <b>"küsse"</b> — 你好, שלום, 👩‍👩‍👧 e\u0301\r\nnew line\ttab'
HTTP_TAKEN = 204


def test_a_call_is_connected_showing_the_partners_own_proxy_number(tenant: Tenant) -> None:
    """The whole document, so that nothing else is in it: no real number but the one that is dialled."""
    service = tenant.service(numbers=2)
    pairing = service.pairing()
    alice, bob = pairing.first, pairing.second

    answer = tenant.carrier.call(alice.identifier, alice.proxy)

    (interaction,) = tenant.get(f"{pairing.path}/Interactions")["interactions"]
    status_url = f"{tenant.server.address}/inbound/status?{status_query(interaction['sid']).replace('&', '&amp;')}"
    assert answer.content.decode() == (
        f'<?xml version="1.0" encoding="UTF-8"?><Response><Dial callerId="{bob.proxy}" answerOnBridge="true">'
        f'<Number statusCallback="{status_url}" statusCallbackEvent="initiated ringing answered completed">'
        f"{bob.identifier}</Number></Dial></Response>"
    )


def test_a_text_of_any_unicode_arrives_as_it_was_sent(tenant: Tenant) -> None:
    """In the TwiML and in the interaction."""
    service = tenant.service(numbers=2)
    pairing = service.pairing()
    alice, bob = pairing.first, pairing.second

    answer = tenant.carrier.message(bob.identifier, bob.proxy, TEXT)

    (interaction,) = tenant.sdk().proxy.v1.services(service.sid).sessions(pairing.sid).interactions.list()
    assert answer.reached == (alice.identifier, alice.proxy)
    assert answer.twiml.body == TEXT
    assert tenant.get(f"{pairing.path}/Interactions/{interaction.sid}")["type"] == "message"
    assert json.loads(interaction.data) == {"body": TEXT}


def test_a_picture_message_carries_its_media(tenant: Tenant) -> None:
    """With a body and without one."""
    service = tenant.service()
    pairing = service.pairing()
    alice, bob = pairing.first, pairing.second
    media = ("https://media.example.com/a?x=1&y=2", "https://media.example.com/b")

    with_text = tenant.carrier.message(alice.identifier, alice.proxy, "look", media, sid=resource_sid("MM"))
    without = tenant.carrier.message(bob.identifier, bob.proxy, "", media[:1], sid=resource_sid("MM"))

    assert (with_text.twiml.body, with_text.twiml.media) == ("look", media)
    assert with_text.reached == (bob.identifier, bob.proxy)
    assert (without.twiml.body, without.twiml.media) == ("", media[:1])
    assert without.reached == (alice.identifier, alice.proxy)


def test_reports_of_both_legs_are_seen_through_the_sdk(tenant: Tenant) -> None:
    """A call from ringing to completed with its duration; what comes after its end is ignored."""
    service = tenant.service()
    pairing = service.pairing()
    inbound_sid, outbound_sid = resource_sid("CA"), resource_sid("CA")
    answer = tenant.carrier.call(pairing.first.identifier, pairing.first.proxy, sid=inbound_sid)
    (listed,) = tenant.get(f"{pairing.path}/Interactions")["interactions"]
    interaction = tenant.sdk().proxy.v1.services(service.sid).sessions(pairing.sid).interactions(listed["sid"])
    at_first = interaction.fetch()

    seen = []
    for status in ("initiated", "ringing", "in-progress"):
        assert tenant.carrier.report(answer.twiml.status_url, CallSid=outbound_sid, CallStatus=status) == HTTP_TAKEN
        seen.append(interaction.fetch().outbound_resource_status)
    ending = {"CallStatus": "completed", "CallDuration": "42"}
    assert tenant.carrier.report(answer.twiml.status_url, CallSid=outbound_sid, **ending) == HTTP_TAKEN
    assert tenant.carrier.report("/inbound/status", CallSid=inbound_sid, **ending) == HTTP_TAKEN
    assert tenant.carrier.report(answer.twiml.status_url, CallSid=outbound_sid, CallStatus="ringing") == HTTP_TAKEN
    ended = interaction.fetch()

    assert (at_first.inbound_resource_status, at_first.outbound_resource_status) == ("ringing", "initiated")
    assert seen == ["initiated", "ringing", "in-progress"]
    assert (ended.inbound_resource_status, ended.outbound_resource_status) == ("completed", "completed")
    assert (ended.inbound_resource_sid, ended.outbound_resource_sid) == (inbound_sid, outbound_sid)
    assert ended.data == '{"duration":"42"}'
    assert ended.date_updated >= at_first.date_updated


def test_reports_of_a_message_are_seen_through_the_sdk(tenant: Tenant) -> None:
    """Queued, sent, delivered."""
    service = tenant.service()
    pairing = service.pairing()
    answer = tenant.carrier.message(pairing.first.identifier, pairing.first.proxy)
    outbound_sid = resource_sid("SM")

    seen = []
    for status in ("sent", "delivered"):
        tenant.carrier.report(answer.twiml.status_url, MessageSid=outbound_sid, MessageStatus=status)
        seen += tenant.sdk().proxy.v1.services(service.sid).sessions(pairing.sid).interactions.list()

    assert [one.outbound_resource_status for one in seen] == ["sent", "delivered"]
    assert {one.inbound_resource_status for one in seen} == {"received"}
    assert {one.outbound_resource_sid for one in seen} == {outbound_sid}


def test_a_redelivery_gets_the_same_answer_and_creates_nothing(tenant: Tenant) -> None:
    """Byte for byte, for calls and messages, also after the session has closed."""
    service = tenant.service()
    pairing = service.pairing()
    alice = pairing.first
    call_sid, message_sid = resource_sid("CA"), resource_sid("SM")

    def deliver() -> tuple[bytes, bytes]:
        call = tenant.carrier.call(alice.identifier, alice.proxy, sid=call_sid)
        return call.content, tenant.carrier.message(alice.identifier, alice.proxy, sid=message_sid).content

    first, again = deliver(), deliver()
    tenant.update(pairing.path, Status="closed")
    after_close = deliver()

    assert first == again == after_close
    assert b"<Dial" in first[0]
    assert len(tenant.get(f"{pairing.path}/Interactions")["interactions"]) == 2


@on_both_runtimes
def test_a_restart_in_between_changes_nothing(start_server: Callable[..., LiveServer]) -> None:
    """Bindings, interactions, open calls, answers to redeliveries, names and counts are as they were."""
    public = {"public_url": "http://maskline.example:8080/masked"}
    tenant = new_tenant(start_server(**public))
    service = tenant.service(numbers=3)
    live, closed = service.pairing(UniqueName="ride-1"), service.pairing()
    tenant.update(closed.path, Status="closed")
    alice, bob = live.first, live.second
    call_sid, outbound_sid = resource_sid("CA"), resource_sid("CA")
    call = tenant.carrier.call(alice.identifier, alice.proxy, sid=call_sid)
    text = tenant.carrier.message(bob.identifier, bob.proxy, TEXT, sid=resource_sid("SM"))

    def picture() -> list[object]:
        return [
            tenant.get(path)
            for path in (
                "/Services",
                f"{service.path}/PhoneNumbers",
                f"{service.path}/Sessions",
                f"{service.path}/Sessions/ride-1",
                f"{live.path}/Participants",
                f"{live.path}/Interactions",
                f"{closed.path}/Participants",
            )
        ]

    before = picture()
    assert tenant.server.stop() == 0
    tenant = tenant.moved(start_server(**public))
    after = picture()

    assert after == before
    assert tenant.carrier.call(alice.identifier, alice.proxy, sid=call_sid).content == call.content
    assert tenant.carrier.call(bob.identifier, bob.proxy).reached == (alice.identifier, alice.proxy)
    assert tenant.carrier.call(closed.first.identifier, closed.first.proxy).verbs == REJECTED
    url = text.twiml.status_url
    assert tenant.carrier.report(url, MessageSid=resource_sid("SM"), MessageStatus="delivered") == HTTP_TAKEN
    ending = {"CallStatus": "completed", "CallDuration": "7"}
    assert tenant.carrier.report(call.twiml.status_url, CallSid=outbound_sid, **ending) == HTTP_TAKEN
    assert tenant.carrier.report("/inbound/status", CallSid=call_sid, **ending) == HTTP_TAKEN
    reported = tenant.get(f"{live.path}/Interactions")["interactions"]
    assert [one["outbound_resource_status"] for one in reported[:2]] == ["completed", "delivered"]
    assert [one["inbound_resource_status"] for one in reported[:2]] == ["completed", "received"]
    assert len(reported) == 3
    tenant.close()


def test_a_redelivery_of_what_was_erased_is_decided_anew(start_server: Callable[..., LiveServer]) -> None:
    """Nobody is reached through a deleted session, nor is an answer repeated whose record is gone; restarted or not."""
    tenant = new_tenant(start_server(public_url="http://maskline.example"))
    service = tenant.service(numbers=2)
    kept, deleted = service.pairing(), service.pairing()
    again, never_again = resource_sid("CA"), resource_sid("CA")
    tenant.carrier.call(kept.first.identifier, kept.first.proxy, sid=again)
    tenant.carrier.call(deleted.first.identifier, deleted.first.proxy, sid=never_again)
    (recorded,) = tenant.get(f"{kept.path}/Interactions")["interactions"]
    tenant.delete(f"{kept.path}/Interactions/{recorded['sid']}")
    tenant.delete(deleted.path)

    anew = tenant.carrier.call(kept.first.identifier, kept.first.proxy, sid=again)
    refused = tenant.carrier.call(deleted.first.identifier, deleted.first.proxy, sid=never_again)
    tenant.server.crash()
    tenant = tenant.moved(start_server(public_url="http://maskline.example"))
    anew_later = tenant.carrier.call(kept.first.identifier, kept.first.proxy, sid=again)
    refused_later = tenant.carrier.call(deleted.first.identifier, deleted.first.proxy, sid=never_again)

    (recorded_anew,) = tenant.get(f"{kept.path}/Interactions")["interactions"]
    tenant.close()
    assert refused.verbs == refused_later.verbs == REJECTED
    assert anew.reached == (kept.second.identifier, kept.second.proxy)
    assert anew.content == anew_later.content
    assert recorded_anew["sid"] in anew.twiml.status_url
    assert recorded_anew["sid"] != recorded["sid"]


def test_a_removed_participant_neither_reaches_nor_is_reached(tenant: Tenant) -> None:
    """The one who is left is told there is no partner; a successor may join (behaviour 3.5)."""
    service = tenant.service(numbers=2)
    pairing = service.pairing()
    alice, bob = pairing.first, pairing.second

    tenant.delete(f"{pairing.path}/Participants/{bob.sid}")
    from_alice = tenant.carrier.call(alice.identifier, alice.proxy)
    from_bob = tenant.carrier.message(bob.identifier, bob.proxy)
    again = tenant.refused("POST", f"{pairing.path}/Participants", Identifier=bob.identifier)
    carol = service.join(pairing.path, person())
    third = tenant.refused("POST", f"{pairing.path}/Participants", Identifier=person())

    assert (from_alice.verbs, from_bob.verbs) == (REJECTED, DROPPED)
    assert (again, third) == ((400, 80612), (400, 80609))
    assert tenant.carrier.call(alice.identifier, alice.proxy).reached == (carol.identifier, carol.proxy)
    assert tenant.carrier.call(carol.identifier, carol.proxy).reached == (alice.identifier, alice.proxy)


def test_an_only_participant_has_nobody_to_reach(tenant: Tenant) -> None:
    """Until the second one joins; a session stays open until something passes."""
    service = tenant.service()
    session = service.session()
    path = f"{service.path}/Sessions/{session['sid']}"
    alice = service.join(path, person())

    alone = tenant.carrier.call(alice.identifier, alice.proxy)
    bob = service.join(path, person())
    status_before = tenant.get(path)["status"]
    together = tenant.carrier.call(alice.identifier, alice.proxy)

    assert alone.verbs == REJECTED
    assert together.reached == (bob.identifier, bob.proxy)
    assert (status_before, tenant.get(path)["status"]) == ("open", "in-progress")


@pytest.mark.parametrize(
    ("mode", "passing"),
    [("voice-and-message", {"call", "message"}), ("voice-only", {"call"}), ("message-only", {"message"})],
)
def test_a_mode_lets_its_own_kind_pass(tenant: Tenant, mode: str, passing: set[str]) -> None:
    """3 modes by 2 kinds; what does not fit leaves no interaction (item 15)."""
    service = tenant.service(numbers=2)
    pairing = service.pairing(Mode=mode)
    alice, bob = pairing.first, pairing.second

    call = tenant.carrier.call(alice.identifier, alice.proxy)
    message = tenant.carrier.message(bob.identifier, bob.proxy)

    assert call.reached == ((bob.identifier, bob.proxy) if "call" in passing else None)
    assert message.reached == ((alice.identifier, alice.proxy) if "message" in passing else None)
    assert call.verbs == (("Dial",) if "call" in passing else REJECTED)
    assert message.verbs == (("Message",) if "message" in passing else DROPPED)
    assert len(tenant.get(f"{pairing.path}/Interactions")["interactions"]) == len(passing)


@pytest.mark.parametrize(
    ("text", "passes"),
    [
        (" stop ", False),
        ("Stop", False),
        ("UNSTOP", False),
        ("arrêt", True),
        ("ARRET", False),
        ("RevokE", False),
        ("OPTOUT", False),
        ("STOPPING", True),
        ("please stop", True),
        ("start", True),
        ("HELP", True),
        ("YES", True),
    ],
)
def test_stop_words_do_not_pass(tenant: Tenant, text: str, passes: bool) -> None:  # noqa: FBT001 - a column
    """The whole text, trimmed, in any case (item 14)."""
    pairing = tenant.service().pairing()

    answer = tenant.carrier.message(pairing.first.identifier, pairing.first.proxy, text)

    assert answer.verbs == (("Message",) if passes else DROPPED)
    assert len(tenant.get(f"{pairing.path}/Interactions")["interactions"]) == passes


@pytest.mark.parametrize("withheld", ["anonymous", "+266696687", "Restricted", "+8656696"])
def test_a_caller_of_unknown_country_is_answered_like_any_stranger(tenant: Tenant, withheld: str) -> None:
    """Refused for want of a session, not for want of a country (item 22)."""
    service = tenant.service()
    service.pairing()

    withheld_call = tenant.carrier.call(withheld, service.pool[0], FromCountry="")
    stranger_call = tenant.carrier.call(person(), service.pool[0], FromCountry="US")

    assert (withheld_call.status, withheld_call.content) == (stranger_call.status, stranger_call.content)
    assert withheld_call.verbs == REJECTED


def test_a_participant_is_connected_whatever_country_the_platform_says(tenant: Tenant) -> None:
    """The number decides, not the geography that came along (item 22)."""
    pairing = tenant.service(numbers=2).pairing()
    alice, bob = pairing.first, pairing.second

    for fields in ({}, {"FromCountry": "", "CallerCountry": ""}, {"FromCountry": "XX"}):
        answer = tenant.carrier.call(alice.identifier, alice.proxy, **fields)
        assert answer.reached == (bob.identifier, bob.proxy)


def test_a_proxy_number_of_the_partner_does_not_reach_the_partner(tenant: Tenant) -> None:
    """Only one's own proxy number does (behaviour 1.1)."""
    service = tenant.service(numbers=2)
    session = service.session()
    path = f"{service.path}/Sessions/{session['sid']}"
    alice = service.join(path, person(), ProxyIdentifier=service.pool[0])
    service.join(path, person(), ProxyIdentifier=service.pool[1])

    assert tenant.carrier.call(alice.identifier, service.pool[1]).verbs == REJECTED


@pytest.mark.parametrize("forgery", ["", "AAAAAAAAAAAAAAAAAAAAAAAAAAA=", "nonsense"])
def test_a_webhook_without_a_right_signature_is_refused(tenant: Tenant, forgery: str) -> None:
    """403/80625, and nothing is recorded."""
    pairing = tenant.service().pairing()
    form = call_form(tenant.sid, pairing.first.identifier, pairing.first.proxy)

    refused = tenant.carrier.post("/inbound/voice", form, signature=forgery)

    assert (refused.status_code, refused.json()["code"]) == (403, 80625)
    assert tenant.get(f"{pairing.path}/Interactions")["interactions"] == []


def test_a_webhook_that_was_changed_under_way_is_refused(tenant: Tenant) -> None:
    """The signature covers every field."""
    pairing = tenant.service().pairing()
    form = call_form(tenant.sid, pairing.first.identifier, pairing.first.proxy)
    signature = tenant.carrier.signature("/inbound/voice", form)

    changed = tenant.carrier.post("/inbound/voice", form | {"From": person()}, signature=signature)

    assert changed.status_code == 403


def test_what_the_door_does_not_take_is_told_clearly(tenant: Tenant) -> None:
    """Unknown number, malformed form, wrong type, wrong method, oversized body, unknown path: each its status."""
    carrier, http = tenant.carrier, tenant.http
    address = tenant.server.address
    form = call_form(tenant.sid, person(), proxy_number())

    unknown_number = carrier.post("/inbound/voice", form)
    malformed = carrier.post("/inbound/voice", {key: value for key, value in form.items() if key != "CallSid"})
    wrong_type = http.post(f"{address}/inbound/voice", content=b"{}", headers={"content-type": "application/json"})
    wrong_method = http.get(f"{address}/inbound/voice")
    oversized = carrier.post("/inbound/message", form | {"Body": "x" * 70_000})
    unknown_path = carrier.post("/inbound/fax", form)

    answers = (unknown_number, malformed, wrong_type, wrong_method, oversized, unknown_path)
    assert [one.status_code for one in answers] == [404, 400, 400, 405, 413, 404]
    assert all(one.json()["status"] == one.status_code for one in answers)
