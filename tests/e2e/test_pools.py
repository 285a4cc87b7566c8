"""Pools at their limits and numbers that leave them, over the wire (behaviour 21: items 16, 17; behaviour 3.2)."""

from tests.e2e.tenant import Tenant, person, proxy_number


def test_a_number_in_use_stays_until_its_sessions_end(tenant: Tenant) -> None:
    """Drained by reserving it: no new session gets it, and once idle it can go (item 16)."""
    service = tenant.service(numbers=1)
    pairing = service.pairing()
    path = f"{service.path}/PhoneNumbers/{service.numbers()[service.pool[0]]['sid']}"

    in_use = tenant.get(path)["in_use"]
    refused = tenant.refused("DELETE", path)
    reserved = tenant.update(path, IsReserved=True)
    none_left = tenant.refused(
        "POST", f"{service.path}/Sessions/{service.session()['sid']}/Participants", Identifier=person()
    )
    still = tenant.carrier.call(pairing.first.identifier, pairing.first.proxy).reached
    tenant.update(pairing.path, Status="closed")
    idle = tenant.get(path)["in_use"]
    tenant.delete(path)

    assert (in_use, idle) == (1, 0)  # both sides share the number: counted once
    assert refused == (400, 80611)
    assert reserved["is_reserved"] is True
    assert none_left == (400, 80207)
    assert still == (pairing.second.identifier, pairing.second.proxy)
    assert tenant.refused("GET", path) == (404, 20404)
    assert tenant.carrier.call(pairing.first.identifier, pairing.first.proxy).status == 404


def test_a_number_is_in_one_service_only(tenant: Tenant) -> None:
    """Twice in one: 80104; in a second: 80101; free again after it left (behaviour 3.2)."""
    service = tenant.service(numbers=1)
    other = tenant.service(numbers=0)
    number = service.pool[0]

    twice = tenant.refused("POST", f"{service.path}/PhoneNumbers", PhoneNumber=number)
    elsewhere = tenant.refused("POST", f"{other.path}/PhoneNumbers", PhoneNumber=number)
    unknown = tenant.refused("POST", f"{other.path}/PhoneNumbers", Sid="PN" + "0" * 32)
    nothing = tenant.refused("POST", f"{other.path}/PhoneNumbers")
    sid = service.numbers()[number]["sid"]
    tenant.delete(f"{service.path}/PhoneNumbers/{sid}")
    moved = tenant.create(f"{other.path}/PhoneNumbers", Sid=sid)

    assert (twice, elsewhere) == ((400, 80104), (400, 80101))
    assert unknown[1] == 80301
    assert nothing[0] == 400
    assert (moved["sid"], moved["phone_number"]) == (sid, number)


def test_a_pool_holds_500_unreserved_numbers(tenant: Tenant) -> None:
    """The 425th is told to the debugger, the 501st is refused; a reserved one still fits (item 17)."""
    service = tenant.service(numbers=0)
    path = f"{service.path}/PhoneNumbers"
    rows = [{"number": proxy_number()} for _ in range(424)]
    tenant.server.admin("POST", f"/accounts/{tenant.sid}/numbers", {"rows": rows, "service": service.sid})

    def warnings() -> int:
        return sum(f"service_sid={service.sid}" in line and "code=80624" in line for line in lines())

    def lines() -> list[str]:
        return tenant.server.log.splitlines()

    before = warnings()
    tenant.create(path, PhoneNumber=proxy_number())
    after = warnings()
    rows = [{"number": proxy_number()} for _ in range(75)]
    tenant.server.admin("POST", f"/accounts/{tenant.sid}/numbers", {"rows": rows, "service": service.sid})
    refused = tenant.refused("POST", path, PhoneNumber=proxy_number())
    reserved = tenant.create(path, PhoneNumber=proxy_number(), IsReserved=True)
    freed = tenant.refused("POST", f"{path}/{reserved['sid']}", IsReserved=False)
    count = len(tenant.everything(path, "phone_numbers"))

    assert (before, after) == (0, 1)
    assert refused == freed == (400, 80622)
    assert count == 501
