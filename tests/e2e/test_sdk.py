"""The official SDK, unmodified but for its base URLs, on a live server (behaviour 21: items 1 to 3, 24)."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from twilio.base.exceptions import TwilioRestException

from tests.e2e.carrier import resource_sid
from tests.e2e.tenant import Tenant, person, proxy_number

DATES_OF_A_FRESH_SESSION = {"date_started", "date_ended", "date_last_interaction", "date_expiry"}


def unset_dates(resource: Any) -> set[str]:  # noqa: ANN401 - the SDK has no types
    """Check that every date of a resource parsed; returns the names of those that are not set."""
    dates = {name: value for name, value in vars(resource).items() if name.startswith("date_")}
    assert {type(value) for value in dates.values()} <= {datetime, type(None)}
    assert {"date_created", "date_updated"} <= dates.keys()
    assert all(abs(value - datetime.now(UTC)) < timedelta(minutes=5) for value in dates.values() if value)  # noqa: TID251 - held against the server's own clock
    return {name for name, value in dates.items() if value is None}


def test_the_sdk_creates_reads_updates_lists_and_deletes_services(tenant: Tenant) -> None:
    """Every setting comes back as it was sent."""
    services = tenant.sdk().proxy.v1.services
    service = services.create(
        "rides",
        default_ttl=60,
        callback_url="https://example.com/callback",
        intercept_callback_url="https://example.com/intercept",
        out_of_session_callback_url="https://example.com/out",
        geo_match_level="area-code",
        number_selection_behavior="avoid-sticky",
        chat_instance_sid="IS" + "0" * 32,
    )

    changed = service.update(unique_name="trips", default_ttl=90, geo_match_level="country")
    fetched = services("trips").fetch()
    listed = services.list()
    deleted = service.delete()

    assert unset_dates(service) == set()
    assert (service.default_ttl, service.number_selection_behavior) == (60, "avoid-sticky")
    assert (changed.unique_name, changed.default_ttl, changed.geo_match_level) == ("trips", 90, "country")
    assert fetched.intercept_callback_url == "https://example.com/intercept"
    assert [one.sid for one in listed] == [service.sid] == [fetched.sid]
    assert deleted is True
    assert services.list() == []


def test_the_sdk_owns_numbers_and_keeps_their_sids_in_the_pool(tenant: Tenant) -> None:
    """A pool entry is the owned number."""
    sdk, address = tenant.sdk(), proxy_number()
    owned = sdk.incoming_phone_numbers.create(phone_number=address)
    numbers = sdk.proxy.v1.services.create("rides").phone_numbers

    pooled = numbers.create(sid=owned.sid)
    reserved = pooled.update(is_reserved=True)
    fetched = numbers(owned.sid).fetch()
    listed = numbers.list()
    with pytest.raises(TwilioRestException) as kept:
        owned.delete()

    assert unset_dates(pooled) == set()
    assert pooled.sid == owned.sid
    assert (pooled.phone_number, pooled.in_use, pooled.is_reserved) == (address, 0, False)
    assert pooled.capabilities["voice_inbound"] is True
    assert reserved.is_reserved is fetched.is_reserved is True
    assert [one.sid for one in listed] == [owned.sid]
    assert kept.value.status == 409
    assert pooled.delete() is True
    assert [one.sid for one in sdk.incoming_phone_numbers.list()] == [owned.sid]
    assert owned.date_created is not None
    assert owned.delete() is True


def test_the_sdk_manages_sessions(tenant: Tenant) -> None:
    """From create over fetch by name to close, re-open and delete."""
    sessions = tenant.sdk().proxy.v1.services.create("rides").sessions
    expiry = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=200)  # noqa: TID251 - the server's own clock

    session = sessions.create(unique_name="ride-1", ttl=60, mode="message-only")
    extended = session.update(date_expiry=expiry, ttl=0)
    closed = session.update(status="closed")
    by_name = sessions("ride-1").fetch()
    reopened = sessions(by_name.sid).update(status="in-progress")
    listed = sessions.list()
    deleted = session.delete()

    assert unset_dates(session) == DATES_OF_A_FRESH_SESSION
    assert (session.status, session.closed_reason, session.mode, session.ttl) == ("open", None, "message-only", 60)
    assert (extended.date_expiry, extended.ttl) == (expiry, 0)
    assert (closed.status, closed.closed_reason) == ("closed", "api")
    assert unset_dates(closed) == {"date_started", "date_last_interaction"}
    assert (reopened.sid, reopened.status, reopened.date_ended) == (session.sid, "in-progress", None)
    assert [one.sid for one in listed] == [session.sid]
    assert deleted is True


def test_the_sdk_manages_participants(tenant: Tenant) -> None:
    """Added one by one, one with a number of the application's choice; a removed one stays to be read."""
    service = tenant.service(numbers=2)
    session = tenant.sdk().proxy.v1.services(service.sid).sessions.create()
    alice, bob = person(), person()

    first = session.participants.create(alice, friendly_name="Alice")
    second = session.participants.create(bob, proxy_identifier=service.pool[1])
    removed = first.delete()
    fetched = session.participants(first.sid).fetch()
    listed = session.participants.list()

    assert unset_dates(first) == {"date_deleted"}
    assert (first.identifier, first.friendly_name) == (alice, "Alice")
    assert first.proxy_identifier in service.pool
    assert (second.identifier, second.proxy_identifier) == (bob, service.pool[1])
    assert removed is True
    assert unset_dates(fetched) == set()
    assert {one.sid for one in listed} == {first.sid, second.sid}


def test_the_sdk_reads_and_deletes_interactions(tenant: Tenant) -> None:
    """A call and a message that really passed, oldest first."""
    service = tenant.service()
    pairing = service.pairing()
    session = tenant.sdk().proxy.v1.services(service.sid).sessions(pairing.sid)
    call_sid, message_sid = resource_sid("CA"), resource_sid("SM")
    tenant.carrier.call(pairing.first.identifier, pairing.first.proxy, sid=call_sid)
    tenant.carrier.message(pairing.second.identifier, pairing.second.proxy, "on my way", sid=message_sid)

    call, message = session.interactions.list()
    fetched = session.interactions(message.sid).fetch()
    started = session.fetch()

    assert unset_dates(call) == unset_dates(message) == set()
    assert (call.type, call.inbound_resource_sid, call.outbound_participant_sid) == (
        "voice",
        call_sid,
        pairing.second.sid,
    )
    assert (fetched.type, fetched.inbound_resource_sid, fetched.data) == (
        "message",
        message_sid,
        '{"body":"on my way"}',
    )
    assert unset_dates(started) == {"date_ended", "date_expiry"}
    assert call.delete() is True
    assert [one.sid for one in session.interactions.list()] == [message.sid]


def test_the_sdk_pushes_message_interactions(tenant: Tenant) -> None:
    """They stand queued, in the participant's list and in the session's."""
    service = tenant.service()
    pairing = service.pairing()
    session = tenant.sdk().proxy.v1.services(service.sid).sessions(pairing.sid)
    pushes = session.participants(pairing.first.sid).message_interactions

    pushed = pushes.create(body="hello", media_url=["https://example.com/1.png"])
    fetched = pushes(pushed.sid).fetch()

    assert unset_dates(pushed) == unset_dates(fetched) == set()
    assert pushed.participant_sid == pushed.outbound_participant_sid == pairing.first.sid
    assert (pushed.outbound_resource_status, pushed.inbound_participant_sid) == ("queued", None)
    assert [one.sid for one in pushes.list()] == [one.sid for one in session.interactions.list()] == [pushed.sid]


def test_the_sdk_pages_over_250_sessions(tenant: Tenant) -> None:
    """At most 100 a page whatever it asks for, every session once (item 2)."""
    service = tenant.service()
    made = [service.session()["sid"] for _ in range(250)]
    sessions = tenant.sdk().proxy.v1.services(service.sid).sessions

    listed = [one.sid for one in sessions.list(page_size=1000)]
    first = sessions.page(page_size=1000)
    second = first.next_page()
    third = second.next_page()
    back = third.previous_page()

    assert listed == made[::-1]
    assert [len(list(page)) for page in (sessions.page(page_size=1000), second, third)] == [100, 100, 50]
    assert third.next_page() is None
    assert [one.sid for one in back] == made[149:49:-1]
    assert tenant.get(f"{service.path}/Sessions")["meta"]["key"] == "sessions"


def test_participants_come_repeated_or_as_one_array(tenant: Tenant) -> None:
    """The SDK repeats the key, hand-written clients send one JSON array: the same session (item 3)."""
    service = tenant.service(numbers=2)
    sessions = tenant.sdk().proxy.v1.services(service.sid).sessions
    alice, bob, carol, dave = (person() for _ in range(4))

    repeated = sessions.create(participants=[{"Identifier": alice}, {"Identifier": bob, "FriendlyName": "Bob"}])
    array = f'[{{"Identifier": "{carol}"}}, {{"identifier": "{dave}", "friendlyName": "Dave"}}]'
    as_one = tenant.create(f"{service.path}/Sessions", Participants=array)["sid"]

    assert {one.identifier: one.friendly_name for one in repeated.participants.list()} == {alice: None, bob: "Bob"}
    assert {one.identifier: one.friendly_name for one in sessions(as_one).participants.list()} == {
        carol: None,
        dave: "Dave",
    }


def test_an_old_sdk_manages_short_codes(tenant: Tenant) -> None:
    """The resource that SDKs dropped in 2025 is still there, down to the delete (item 24)."""
    server = tenant.server
    service = tenant.service()
    code = str(int(proxy_number()[-6:]))
    row = {"number": code, "country": "US"}
    imported = server.admin("POST", f"/accounts/{tenant.sid}/numbers", {"rows": [row]})
    sid = imported["results"][0]["number_sid"]
    path = f"{service.path}/ShortCodes"

    made = tenant.create(path, Sid=sid)
    reserved = tenant.update(f"{path}/{sid}", IsReserved=True)
    listed = tenant.get(path)
    again = tenant.refused("POST", path, Sid=sid)
    tenant.delete(f"{path}/{sid}")

    assert (made["sid"], made["short_code"], made["is_reserved"]) == (sid, code, False)
    assert reserved["is_reserved"] is True
    assert (listed["meta"]["key"], [one["sid"] for one in listed["short_codes"]]) == ("short_codes", [sid])
    assert again == (400, 80105)
    assert tenant.refused("GET", f"{path}/{sid}") == (404, 20404)


def test_an_old_sdk_may_send_what_newer_ones_dropped(tenant: Tenant) -> None:
    """FailOnParticipantConflict everywhere, enumerations with underscores, names of 2017; no filter is lost."""
    service = tenant.service(
        numbers=2,
        NumberSelectionBehavior="prefer_sticky",
        GeoMatchLevel="area_code",
        FriendlyName="rides",
    )
    sessions = f"{service.path}/Sessions"

    session = tenant.create(sessions, Mode="voice_only", FailOnParticipantConflict=True, UniqueName="ride-1")
    joined = tenant.create(
        f"{sessions}/{session['sid']}/Participants",
        Identifier="+12122340100",
        FailOnParticipantConflict=True,
        ParticipantType="phone",
    )
    reopened = tenant.update(f"{sessions}/{session['sid']}", Status="in_progress", FailOnParticipantConflict=False)
    filtered = [tenant.refused("GET", f"{sessions}?{query}") for query in ("UniqueName=other", "Status=completed")]

    assert tenant.get(service.path)["number_selection_behavior"] == "prefer-sticky"
    assert tenant.get(service.path)["geo_match_level"] == "area-code"
    assert (session["mode"], reopened["status"]) == ("voice-only", "in-progress")
    assert joined["proxy_identifier"] in service.pool
    assert filtered == [(400, 80701)] * 2


def test_a_lost_plus_is_restored(tenant: Tenant) -> None:
    """A client that forgets to encode it sends a space."""
    service = tenant.service()
    session = service.session()
    number = person()

    response = tenant.http.post(
        f"{service.path}/Sessions/{session['sid']}/Participants",
        content=f"Identifier={number}",
        headers={"content-type": "application/x-www-form-urlencoded"},
    )

    assert (response.status_code, response.json()["identifier"]) == (httpx.codes.CREATED, number)


def test_set_up_scripts_find_their_account_and_one_number(tenant: Tenant) -> None:
    """What they ask first, then the number to release: that one, not the newest; short codes by their digits."""
    numbers = [proxy_number() for _ in range(3)]
    client = tenant.sdk()
    for number in numbers:
        client.incoming_phone_numbers.create(phone_number=number, friendly_name=f"line {number}")

    account = client.api.v2010.accounts(tenant.sid).fetch()
    (found,) = client.incoming_phone_numbers.list(phone_number=numbers[0])
    (named,) = client.incoming_phone_numbers.list(friendly_name=f"line {numbers[1]}", page_size=1)
    found.delete()

    assert (account.sid, account.status, account.auth_token) == (tenant.sid, "active", None)
    assert account.date_created is not None
    assert (found.phone_number, named.phone_number) == (numbers[0], numbers[1])
    assert {one.phone_number for one in client.incoming_phone_numbers.list()} == set(numbers[1:])
    assert client.short_codes.list(short_code="55123") == []
