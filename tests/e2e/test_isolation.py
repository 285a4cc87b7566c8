"""Accounts see nothing of one another, over the wire (issue: multi-account)."""

import re
import time
from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.e2e.carrier import Carrier, call_form, resource_sid
from tests.e2e.live import NO_TLS, LiveServer
from tests.e2e.tenant import Json, Pairing, Service, Tenant, client, participants, person, proxy_number

VALID = {
    "Identifier": "+14153450100",
    "Body": "hello",
    "UniqueName": "theirs",
    "IsReserved": "true",
    "FriendlyName": "theirs",
}
"""What the fields of all forms may be, so that a refusal is not for them; `Sid` and `PhoneNumber` come along."""

FORM = "application/x-www-form-urlencoded"


class Possessions:
    """Everything that an account can have, once each."""

    def __init__(self, tenant: Tenant) -> None:
        self.service: Service = tenant.service(numbers=2, UniqueName="mine")
        self.pairing: Pairing = self.service.pairing(UniqueName="ride-1")
        self.call = tenant.carrier.call(self.pairing.first.identifier, self.pairing.first.proxy)
        participant = f"{self.pairing.path}/Participants/{self.pairing.first.sid}"
        self.pushed: Json = tenant.create(f"{participant}/MessageInteractions", Body="pushed")
        row = {"number": str(int(proxy_number()[-7:])), "country": "US"}
        body = {"rows": [row], "service": self.service.sid}
        code = tenant.server.admin("POST", f"/accounts/{tenant.sid}/numbers", body)["results"][0]["number_sid"]
        self.short_code: str = code
        tenant.carrier.call(person(), self.pairing.first.proxy)
        number = self.service.numbers()[self.service.pool[0]]
        self.names = {
            "AccountSid": tenant.sid,
            "ServiceSid": self.service.sid,
            "SessionSid": self.pairing.sid,
            "ParticipantSid": self.pairing.first.sid,
        }
        self.leaves = {
            "{AccountSid}": tenant.sid,
            "Services": self.service.sid,
            "Sessions": self.pairing.sid,
            "Participants": self.pairing.first.sid,
            "Interactions": tenant.get(f"{self.pairing.path}/Interactions")["interactions"][0]["sid"],
            "MessageInteractions": self.pushed["sid"],
            "PhoneNumbers": number["sid"],
            "ShortCodes": code,
            "IncomingPhoneNumbers": number["sid"],
            "Alerts": first_alert(tenant),
        }

    def path(self, template: str) -> str:
        """Fill a path template with what the account has."""
        resource = template.removesuffix(".json").removesuffix("/{Sid}").removesuffix("/Batch")
        leaf = self.leaves[resource.rpartition("/")[2]]
        names = {**self.names, "Sid": leaf}
        return re.sub(r"\{(\w+)\}", lambda name: names[name[1]], template)


def first_alert(tenant: Tenant) -> str:
    """Wait until a debugger event of the account is kept, which happens beside the call that raised it."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if alerts := tenant.get(f"{tenant.server.address}/v1/Alerts")["alerts"]:
            return str(alerts[0]["sid"])
    raise AssertionError("no event was kept")


def described(server: LiveServer) -> Iterator[tuple[str, str, Json]]:
    """Read method, path template and description of everything that is served."""
    document = httpx.get(f"{server.address}/openapi.json", verify=NO_TLS).json()
    for path, methods in document["paths"].items():
        yield from ((method.upper(), path, operation) for method, operation in methods.items())


def operations(server: LiveServer) -> Iterator[tuple[str, str]]:
    """Read method and path template of everything that is served."""
    return ((method, path) for method, path, _ in described(server))


def fields_of(operation: Json) -> set[str]:
    """Return the fields of an operation's form; none where it takes another body, or none."""
    return set(
        operation.get("requestBody", {}).get("content", {}).get(FORM, {}).get("schema", {}).get("properties", ())
    )


def picture(tenant: Tenant, mine: Possessions) -> list[Json]:
    """Read everything an account has."""
    return [
        tenant.get(f"{tenant.server.address}{mine.path(path)}")
        for method, path in operations(tenant.server)
        if method == "GET"
    ]


def test_every_resource_of_one_account_is_not_found_by_another(tenant: Tenant, neighbour: Tenant) -> None:
    """All operations of the document below a resource, by the neighbour's credentials: 404, and nothing changes."""
    mine = Possessions(tenant)
    before = picture(tenant, mine)
    asked = [one for one in described(tenant.server) if "{" in one[1].replace("{AccountSid}", neighbour.sid)]

    answers = {}
    for method, path, operation in asked:
        valid = VALID | {"Sid": mine.leaves["ShortCodes" if "ShortCodes" in path else "PhoneNumbers"]}
        form = {name: value for name, value in valid.items() if name in fields_of(operation)}
        url = mine.path(path).replace(tenant.sid, neighbour.sid)
        url = f"{neighbour.server.address}{url}"
        body = {"json": [{"UniqueName": "theirs"}]} if path.endswith("/Batch") else {"data": form}
        response = neighbour.http.request(method, url, **(body if method == "POST" else {}))
        answers[method, path] = (response.status_code, response.json()["code"])

    assert len(answers) >= 28
    assert set(answers.values()) == {(404, 20404)}, answers
    assert picture(tenant, mine) == before


def test_the_account_in_a_path_must_be_ones_own(tenant: Tenant, neighbour: Tenant) -> None:
    """The neighbouring API's paths name the account: another's is not for these credentials."""
    mine = Possessions(tenant)

    answers = [
        neighbour.http.request(method, f"{neighbour.server.address}{mine.path(path)}", data={})
        for method, path in operations(tenant.server)
        if "{AccountSid}" in path
    ]

    assert {(one.status_code, one.json()["code"]) for one in answers} == {(401, 20003)}


def test_lists_show_only_ones_own(tenant: Tenant, neighbour: Tenant) -> None:
    """Services by name and list, owned numbers: empty for the neighbour."""
    Possessions(tenant)
    owned = f"{neighbour.server.address}/2010-04-01/Accounts/{neighbour.sid}/IncomingPhoneNumbers.json"

    assert neighbour.get("/Services")["services"] == []
    assert neighbour.get(owned)["incoming_phone_numbers"] == []
    assert neighbour.refused("GET", "/Services/mine") == (404, 20404)


def test_names_are_ones_own(tenant: Tenant, neighbour: Tenant) -> None:
    """Two accounts may use the same service name."""
    mine = tenant.service(UniqueName="rides")
    theirs = neighbour.service(UniqueName="rides")

    assert tenant.get("/Services/rides")["sid"] == mine.sid
    assert neighbour.get("/Services/rides")["sid"] == theirs.sid


def test_numbers_of_another_account_cannot_be_used(tenant: Tenant, neighbour: Tenant) -> None:
    """Neither pooled by SID or digits nor given to a participant; the same people may be in both accounts."""
    mine, theirs = Possessions(tenant), Possessions(neighbour)
    sid, address = mine.leaves["PhoneNumbers"], mine.service.pool[0]
    numbers = f"{theirs.service.path}/PhoneNumbers"
    session = f"{theirs.service.path}/Sessions/{theirs.service.session()['sid']}/Participants"

    assert neighbour.refused("POST", numbers, Sid=sid)[1] == 80301
    assert neighbour.refused("POST", numbers, PhoneNumber=address)[1] == 80601
    assert neighbour.refused("POST", f"{theirs.service.path}/ShortCodes", Sid=mine.short_code)[1] == 80303
    assert neighbour.refused("POST", session, Identifier=person(), ProxyIdentifier=address)[1] == 80606
    assert neighbour.refused("POST", session, Identifier=person(), ProxyIdentifierSid=sid)[1] == 80606
    both = mine.pairing.first.identifier, mine.pairing.second.identifier
    theirs_too = theirs.service.pairing(*both)
    assert tenant.carrier.call(both[0], mine.pairing.first.proxy).reached == (both[1], mine.pairing.second.proxy)
    assert neighbour.carrier.call(both[0], theirs_too.first.proxy).reached == (both[1], theirs_too.second.proxy)


def test_a_webhook_signed_by_another_account_is_refused(tenant: Tenant, neighbour: Tenant) -> None:
    """Whatever AccountSid it claims."""
    pairing = tenant.service().pairing()

    for claimed in (tenant.sid, neighbour.sid):
        form = call_form(claimed, pairing.first.identifier, pairing.first.proxy)
        assert neighbour.carrier.post("/inbound/voice", form).status_code == 403
    assert tenant.get(f"{pairing.path}/Interactions")["interactions"] == []


def test_a_leg_cannot_be_reported_by_another_account(tenant: Tenant, neighbour: Tenant) -> None:
    """Rightly signed as itself, it changes nothing of others."""
    mine = Possessions(tenant)
    before = tenant.get(f"{mine.pairing.path}/Interactions")

    ending = {"CallSid": resource_sid("CA"), "CallStatus": "completed", "CallDuration": "1"}
    neighbour.carrier.report(mine.call.twiml.status_url, **ending)

    assert tenant.get(f"{mine.pairing.path}/Interactions") == before


@pytest.mark.parametrize("spoil", [str.upper, lambda token: token[:-1], lambda _: "", lambda token: token + " "])
def test_wrong_credentials_are_refused_alike(tenant: Tenant, spoil: Callable[[str], str]) -> None:
    """401/20003 with a challenge."""
    with client(tenant.server.address, tenant.sid, spoil(tenant.token)) as http:
        response = http.get("/Services")

    assert (response.status_code, response.json()["code"]) == (401, 20003)
    assert response.headers["www-authenticate"].startswith("Basic")


def test_an_api_key_opens_its_own_account_until_it_is_revoked(tenant: Tenant, neighbour: Tenant) -> None:
    """Key and secret act for the account; they sign no webhooks."""
    mine = Possessions(tenant)
    key = tenant.server.admin("POST", f"/accounts/{tenant.sid}/keys", {"friendly_name": "app"})
    sid, secret = key["key"]["sid"], key["secret"]

    with client(tenant.server.address, sid, secret) as http:
        opened = http.get(mine.pairing.path)
        made = http.post(f"{mine.service.path}/Sessions", data={"Participants": participants(person())})
        elsewhere = http.get(neighbour.service().path)
        tenant.server.admin("DELETE", f"/keys/{sid}")
        revoked = http.get(mine.pairing.path)
    forger = Carrier(tenant.server, tenant.sid, secret)
    forged = forger.call(mine.pairing.first.identifier, mine.pairing.first.proxy)
    forger.close()

    assert [one.status_code for one in (opened, made, elsewhere, revoked)] == [200, 201, 404, 401]
    assert made.json()["account_sid"] == tenant.sid
    assert forged.status == 403


def test_resources_of_a_sister_service_are_told_apart(tenant: Tenant) -> None:
    """Within one account a session asked of the wrong service is an odd combination, not a routing mistake."""
    mine = Possessions(tenant)
    sister = tenant.service()
    leaf = mine.pairing.path.removeprefix(mine.service.path)

    status, code = tenant.refused("GET", f"{sister.path}{leaf}")

    assert (status, code) in {(401, 80610), (403, 80610), (404, 20404)}
    assert tenant.refused("GET", f"{sister.path}/PhoneNumbers/{mine.leaves['PhoneNumbers']}") == (404, 20404)
