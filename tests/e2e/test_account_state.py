"""What becomes of webhooks, REST and the feed when a token is changed or an account disabled, on live servers."""

from tests.e2e.application import TOLD, Application, alerts, eventually
from tests.e2e.carrier import REJECTED, Carrier, resource_sid
from tests.e2e.feed import Feed
from tests.e2e.tenant import Tenant


def test_the_older_token_signs_callbacks_until_it_ends(tenant: Tenant, application: Application) -> None:
    """Webhooks in are taken with either meanwhile."""
    pairing = tenant.service(numbers=2, CallbackUrl=application.url(TOLD)).pairing()
    fresh = tenant.server.admin("POST", f"/accounts/{tenant.sid}/token", {"overlap_seconds": 600})["auth_token"]
    renewed = Carrier(tenant.server, tenant.sid, fresh)

    heard = [carrier.call(pairing.first.identifier, pairing.first.proxy) for carrier in (tenant.carrier, renewed)]
    assert eventually(lambda: len(application.told(2)) == 2)
    tenant.server.admin("DELETE", f"/accounts/{tenant.sid}/token")
    heard.append(renewed.call(pairing.first.identifier, pairing.first.proxy))
    assert eventually(lambda: len(application.told(3)) == 3)
    refused = tenant.carrier.call(pairing.first.identifier, pairing.first.proxy)

    assert [one.reached for one in heard] == [(pairing.second.identifier, pairing.second.proxy)] * 3
    assert refused.status == 403
    signers = [
        [token for token in (tenant.token, fresh) if application.receiver.is_signed(request, token)]
        for request in application.asked(TOLD)
    ]
    assert signers == [[tenant.token], [tenant.token], [fresh]]
    renewed.close()


def test_a_disabled_account_is_shut_out_of_every_door(tenant: Tenant) -> None:
    """Calls are rejected, open connections of the feed closed, nobody let in; enabled, all goes on."""
    pairing = tenant.service(numbers=2).pairing()
    server, sid = tenant.server, resource_sid("CA")
    key = server.admin("POST", f"/accounts/{tenant.sid}/keys", {"friendly_name": "feed"})
    before = tenant.carrier.call(pairing.first.identifier, pairing.first.proxy, sid=sid)

    with Feed(server.feed, key["key"]["sid"], key["secret"]) as feed:
        server.admin("POST", f"/accounts/{tenant.sid}/disable")
        kind, _, problem = feed.read()
        assert (kind, problem["error"], feed.is_closed()) == ("error", "bad-credentials", True)
    again = tenant.carrier.call(pairing.first.identifier, pairing.first.proxy, sid=sid)
    ended = tenant.carrier.report(f"{server.public_url}/inbound/status", CallSid=sid, CallStatus="completed")
    refused = tenant.http.get("/Services")
    with Feed(server.feed, tenant.sid, tenant.token, wants=None) as shut:
        late = shut.welcome
    server.admin("POST", f"/accounts/{tenant.sid}/enable")
    after = tenant.carrier.call(pairing.first.identifier, pairing.first.proxy)

    assert before.reached == after.reached == (pairing.second.identifier, pairing.second.proxy)
    assert again.verbs == REJECTED
    assert ended == 204
    assert (refused.status_code, refused.json()["code"]) == (401, 20003)
    assert (late[0], late[2]["error"]) == ("error", "bad-credentials")
    assert eventually(lambda: {10001, 10003} <= {int(one["error_code"]) for one in alerts(tenant)})
    states = [one["inbound_resource_status"] for one in tenant.get(f"{pairing.path}/Interactions")["interactions"]]
    assert states == ["completed", "ringing"]
