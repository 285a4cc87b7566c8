"""What users asked for and services may switch on, through a live server."""

import json

import pytest

from tests.e2e.application import GATE, OUTSIDE, Application, codes, eventually, settled
from tests.e2e.carrier import DROPPED, REJECTED, resource_sid
from tests.e2e.tenant import Pairing, Service, Tenant, person
from tests.outbound.receiver import Reply

OWN = "<Response><Say>In our own words</Say></Response>"


def switch(service: Service, **options: object) -> None:
    """Set options of a service, as the operator."""
    service.tenant.server.admin("PATCH", f"/services/{service.sid}", {"options": options})


def rewriting(body: str) -> Reply:
    """Answer the gate with another text."""
    return Reply(headers=("Content-Type: application/json; charset=utf-8",), body=json.dumps({"body": body}).encode())


def test_a_gate_may_replace_the_text(tenant: Tenant, application: Application) -> None:
    """The partner reads the new one, pictures stay; a call has none; a redelivery reads the same."""
    service = tenant.service(numbers=2, **application.hooks)
    switch(service, intercept_may_rewrite=True)
    pairing = service.pairing()
    alice = pairing.first
    application.answers(GATE, rewriting("call me at [hidden] & <b>"))
    sid, media = resource_sid("MM"), ("https://m.example/1",)

    first = tenant.carrier.message(alice.identifier, alice.proxy, "call me at 415 555 0100", media, sid=sid)
    again = tenant.carrier.message(alice.identifier, alice.proxy, "call me at 415 555 0100", media, sid=sid)
    call = tenant.carrier.call(alice.identifier, alice.proxy)

    assert first.content == again.content
    assert (first.twiml.body, first.twiml.media) == ("call me at [hidden] & <b>", media)
    assert call.verbs == ("Dial",)
    assert len(application.asked(GATE)) == 2


@pytest.mark.parametrize("body", ["", "x" * 1600])
def test_a_gate_may_empty_or_lengthen_the_text(tenant: Tenant, application: Application, body: str) -> None:
    """Any text that a message may have."""
    service = tenant.service(numbers=2, **application.hooks)
    switch(service, intercept_may_rewrite=True)
    pairing = service.pairing()
    application.answers(GATE, rewriting(body))

    answer = tenant.carrier.message(pairing.first.identifier, pairing.first.proxy, "hello", ("https://m.example/1",))

    assert (answer.verbs, answer.twiml.body) == (("Message",), body)


@pytest.mark.parametrize("kind", ["call", "message"])
@pytest.mark.parametrize("situation", ["no session", "closed", "expired", "no partner"])
def test_a_service_may_answer_in_its_own_words(tenant: Tenant, situation: str, kind: str) -> None:
    """Its own document where a call or message meets no session, no partner, a closed session; the event is told."""
    service = tenant.service(numbers=2)
    switch(service, no_session_twiml=OWN, no_partner_twiml=OWN, closed_twiml=OWN)
    pairing = service.pairing(Ttl=1 if situation == "expired" else 0)
    caller, number = pairing.first.identifier, pairing.first.proxy
    if situation == "no session":
        caller = person()
    elif situation == "closed":
        tenant.update(pairing.path, Status="closed")
    elif situation == "expired":
        assert eventually(lambda: tenant.get(pairing.path)["status"] == "closed")
    else:
        tenant.delete(f"{pairing.path}/Participants/{pairing.second.sid}")

    answer = tenant.carrier.call(caller, number) if kind == "call" else tenant.carrier.message(caller, number)

    stranger = 80902 if kind == "call" else 80905
    assert answer.content.decode().endswith(OWN)
    assert codes(tenant, 1) == [{"expired": 80904, "no partner": 80614}.get(situation, stranger)]


def test_a_session_may_close_after_its_first_answered_call(tenant: Tenant) -> None:
    """Not after one that was missed; its numbers are free then."""
    service = tenant.service(numbers=2)
    switch(service, closes_after_first_call=True)
    pairing = service.pairing()

    call(tenant, pairing, "no-answer")
    after_missed = tenant.get(pairing.path)["status"]
    call(tenant, pairing, "completed")

    assert after_missed == "in-progress"
    assert eventually(lambda: tenant.get(pairing.path)["status"] == "closed")
    assert {one["in_use"] for one in service.numbers().values()} == {0}
    assert tenant.carrier.call(pairing.first.identifier, pairing.first.proxy).verbs == REJECTED


def call(tenant: Tenant, pairing: Pairing, outbound: str) -> None:
    """Let a call run its course."""
    sid = resource_sid("CA")
    url = tenant.carrier.call(pairing.first.identifier, pairing.first.proxy, sid=sid).twiml.status_url
    tenant.carrier.report(url, CallSid=resource_sid("CA"), CallStatus=outbound, CallDuration="9")
    tenant.carrier.report("/inbound/status", CallSid=sid, CallStatus="completed", CallDuration="12")


def test_participants_may_change_where_the_service_lets_them(tenant: Tenant) -> None:
    """405 without the option; with it number and name change at once, and who was removed may come back."""
    service = tenant.service(numbers=2)
    pairing = service.pairing()
    path, new = f"{pairing.path}/Participants/{pairing.first.sid}", person()
    before = tenant.refused("POST", path, Identifier=new)
    switch(service, participants_may_change=True)

    changed = tenant.update(path, Identifier=new, FriendlyName="Al")
    answers = [tenant.carrier.call(who, changed["proxy_identifier"]).reached for who in (pairing.first.identifier, new)]
    tenant.delete(path)
    back = service.join(pairing.path, new)

    assert before == (405, 20004)
    assert (changed["sid"], changed["identifier"], changed["friendly_name"]) == (pairing.first.sid, new, "Al")
    assert answers == [None, (pairing.second.identifier, pairing.second.proxy)]
    assert tenant.carrier.call(pairing.second.identifier, pairing.second.proxy).reached == (new, back.proxy)


def test_an_old_sdk_updates_participants(tenant: Tenant) -> None:
    """The parameters that SDKs had until 2018: ProxyIdentifier moves somebody to another number."""
    service = tenant.service(numbers=2)
    switch(service, participants_may_change=True)
    path = f"{service.path}/Sessions/{service.session()['sid']}"
    alice = service.join(path, person(), ProxyIdentifier=service.pool[0])
    bob = service.join(path, person(), ProxyIdentifier=service.pool[0])

    tenant.update(f"{path}/Participants/{alice.sid}", ProxyIdentifier=service.pool[1])

    assert tenant.carrier.call(alice.identifier, service.pool[0]).verbs == REJECTED
    assert tenant.carrier.message(alice.identifier, service.pool[1]).reached == (bob.identifier, bob.proxy)
    assert tenant.carrier.message(bob.identifier, bob.proxy).reached == (alice.identifier, service.pool[1])


def test_without_the_options_nothing_of_it_happens(tenant: Tenant, application: Application) -> None:
    """All are off until they are switched on."""
    service = tenant.service(numbers=2, **application.hooks)
    pairing = service.pairing()
    application.answers(GATE, rewriting("another text"))
    application.answers(OUTSIDE, Reply(status=500))

    message = tenant.carrier.message(pairing.first.identifier, pairing.first.proxy, "this text")
    call(tenant, pairing, "completed")
    stranger = tenant.carrier.message(person(), pairing.first.proxy)

    assert settled(tenant)
    assert (message.twiml.body, stranger.verbs) == ("this text", DROPPED)
    assert tenant.get(pairing.path)["status"] == "in-progress"
    assert "sessionUniqueName" not in application.told(1)[0]
