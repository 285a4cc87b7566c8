"""Debugger events of a live server: read with the official SDK, posted, counted, logged (behaviour 16)."""

import json
import re
from collections import Counter
from datetime import datetime, timedelta

import httpx
import pytest
from twilio.rest import Client

from tests.e2e.application import (
    DEBUGGER,
    GATE,
    IDEMPOTENCY,
    OUTSIDE,
    Application,
    alerts,
    codes,
    eventually,
    settled,
)
from tests.e2e.carrier import resource_sid
from tests.e2e.tenant import Tenant, person, proxy_number
from tests.outbound.receiver import Reply


def monitor(tenant: Tenant) -> Client:
    """Return the official SDK, its Monitor at our door."""
    sdk = tenant.sdk()
    sdk.monitor.base_url = tenant.server.address
    return sdk


def test_the_official_sdk_lists_and_fetches_events(tenant: Tenant, application: Application) -> None:
    """Every field it knows; the webhook at fault with request and answer, texts left out, numbers masked (16)."""
    service = tenant.service(numbers=2, **application.hooks)
    pairing = service.pairing()
    application.answers(GATE, Reply(status=500, headers=("X-Why: because",), body=b"call +14155550100"))
    sid = resource_sid("SM")
    tenant.carrier.message(pairing.first.identifier, pairing.first.proxy, "our secret", sid=sid)
    codes(tenant, 1)

    (listed,) = monitor(tenant).monitor.v1.alerts.list()
    fetched = monitor(tenant).monitor.v1.alerts(listed.sid).fetch()

    assert re.fullmatch("NO[0-9a-f]{32}", listed.sid)
    assert (listed.error_code, listed.log_level, listed.resource_sid) == ("80908", "warning", sid)
    assert (listed.account_sid, listed.service_sid) == (tenant.sid, service.sid)
    assert isinstance(listed.date_generated, datetime)
    assert (fetched.request_method, fetched.request_url) == ("POST", application.url(GATE))
    assert "interactionSid=KI" in fetched.request_variables
    assert "our+secret" not in fetched.request_variables
    assert "our secret" not in fetched.request_variables
    assert "x-why" in str(fetched.response_headers).lower()
    assert fetched.response_body == "call +1415555XXXX"


def test_the_official_sdk_pages_and_filters(tenant: Tenant) -> None:
    """Newest first, each once; by level and by date (16)."""
    service = tenant.service()
    for _ in range(7):
        tenant.carrier.call(person(), service.pool[0])
    codes(tenant, 7)
    sdk = monitor(tenant).monitor.v1.alerts

    events = sdk.list(page_size=3)

    everything, tomorrow = [one.sid for one in events], events[0].date_generated + timedelta(days=1)
    assert everything == sorted(everything, reverse=True)
    assert len(set(everything)) == 7
    assert {one.error_code for one in sdk.list(log_level="error")} == {"80902"}
    assert sdk.list(log_level="warning") == []
    assert sdk.list(start_date=tomorrow) == []
    assert len(sdk.list(end_date=tomorrow)) == 7


def test_events_of_a_neighbour_are_not_there(tenant: Tenant, neighbour: Tenant) -> None:
    """Neither in the list nor by SID."""
    tenant.carrier.call(person(), tenant.service().pool[0])
    codes(tenant, 1)
    sid = alerts(tenant)[0]["sid"]

    assert alerts(neighbour) == []
    assert neighbour.refused("GET", f"/Alerts/{sid}") == (404, 20404)


def test_events_are_posted_to_the_accounts_debugger(tenant: Tenant, application: Application) -> None:
    """Seven fields, signed, a key each; the payload as documented (16)."""
    server = tenant.server
    server.admin("PATCH", f"/accounts/{tenant.sid}", {"debugger_url": application.url(DEBUGGER)})
    service = tenant.service(numbers=2, **application.hooks)
    pairing = service.pairing(Mode="message-only")
    application.answers(OUTSIDE, Reply(status=500))
    caller = person()

    tenant.carrier.call(pairing.first.identifier, pairing.first.proxy)
    tenant.carrier.call(caller, pairing.first.proxy)

    assert application.receiver.waits_for(lambda: len(application.asked(DEBUGGER)) == 2)
    assert settled(tenant)
    requests = application.asked(DEBUGGER)
    events = {json.loads(request.form["Payload"])["error_code"]: request.form for request in requests}
    assert all(application.receiver.is_signed(request, tenant.token) for request in requests)
    assert len({request.headers[IDEMPOTENCY] for request in requests}) == 2
    assert {(code, form["Level"]) for code, form in events.items()} == {("80911", "WARNING"), ("80913", "ERROR")}
    form, payload = events["80913"], json.loads(events["80913"]["Payload"])
    assert form.keys() == {"Sid", "AccountSid", "ParentAccountSid", "Timestamp", "Level", "PayloadType", "Payload"}
    assert (form["AccountSid"], form["ParentAccountSid"], form["PayloadType"]) == (tenant.sid, "", "application/json")
    assert {request.form["Sid"] for request in requests} == {one["sid"] for one in alerts(tenant)}
    assert payload["service_sid"] == service.sid
    assert payload["more_info"]["ErrorCode"] == "80913"
    assert payload["webhook"]["request"]["url"] == application.url(OUTSIDE)
    assert payload["webhook"]["request"]["parameters"]["From"] == caller[:-4] + "XXXX"
    assert payload["webhook"]["response"]["status_code"] == 500


def test_a_debugger_that_is_down_raises_no_events_of_its_own(tenant: Tenant, application: Application) -> None:
    """What cannot be posted joins the dead letters; no event tells of it, or there would be no end."""
    tenant.server.admin("PATCH", f"/accounts/{tenant.sid}", {"debugger_url": application.url(DEBUGGER)})
    application.answers(DEBUGGER, Reply(status=410))

    tenant.carrier.call(person(), tenant.service().pool[0])
    codes(tenant, 1)
    assert application.receiver.waits_for(lambda: len(application.asked(DEBUGGER)) == 1)

    assert settled(tenant)
    assert codes(tenant, 1) == [80902]
    (dead,) = tenant.server.admin("GET", f"/outbox?account_sid={tenant.sid}")["effects"]
    assert (dead["kind"], dead["last_error"]) == ("alert", "answered 410")


@pytest.mark.parametrize("own", ["", "/v1/Services"])
def test_a_debugger_on_our_own_host_is_refused(tenant: Tenant, own: str) -> None:
    """It would call itself (80701)."""
    change = {"debugger_url": tenant.server.public_url + own}

    with pytest.raises(httpx.HTTPStatusError) as refused:
        tenant.server.admin("PATCH", f"/accounts/{tenant.sid}", change)

    assert (refused.value.response.status_code, refused.value.response.json()["code"]) == (400, 80701)


def test_a_flood_is_kept_in_part_and_counted_whole(tenant: Tenant) -> None:
    """Of a kind in a second, so that strangers cannot fill the disk, and of a number less; the metric has all (16)."""
    service = tenant.service()
    before = counted(tenant, "80905")

    for _ in range(60):
        tenant.carrier.message(person(), service.pool[0])

    assert eventually(lambda: counted(tenant, "80905") >= before + 60)
    assert len(codes(tenant, 7)) >= 7
    seconds = Counter(one["date_generated"] for one in alerts(tenant))
    assert max(seconds.values()) <= 20


def counted(tenant: Tenant, code: str) -> int:
    """Read the counter of a code, over all levels."""
    pattern = rf'^maskline_debugger_events_total{{code="{code}",level="\w+"}} (\S+)$'
    return sum(int(float(value)) for value in re.findall(pattern, tenant.server.metrics(), re.MULTILINE))


def test_each_event_is_one_line_of_the_log_without_whole_numbers(tenant: Tenant) -> None:
    """With code, title and resource; who called whom is not written out (16)."""
    service, caller, sid = tenant.service(), person(), resource_sid("CA")

    tenant.carrier.call(caller, service.pool[0], sid=sid)

    assert eventually(lambda: sid in tenant.server.log)
    (line,) = (one for one in tenant.server.log.splitlines() if sid in one)
    assert "80902" in line
    assert service.sid in line
    assert caller not in tenant.server.log
    assert proxy_number()[:-4] not in line
