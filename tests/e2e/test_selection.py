"""Which proxy number a participant gets, over the wire (behaviour 21: items 4 to 6, 9; behaviour 6)."""

import asyncio
from collections import Counter

import httpx
import pytest

from tests.e2e.live import NO_TLS
from tests.e2e.tenant import Tenant, participants, person, proxy_number

NUMBERS_IN_USE = {80208, 80623}
"""All numbers are taken by this person; or, retryable, another request for them is under way."""


def test_the_worked_example_needs_two_numbers(tenant: Tenant) -> None:
    """Three live sessions, two of them of one driver, over two numbers (item 4; behaviour 6.2)."""
    service = tenant.service(numbers=2)
    driver_x = person()

    first = service.pairing(person(), driver_x)
    second = service.pairing(person(), person())
    third = service.pairing(person(), driver_x)

    assert third.second.proxy != first.second.proxy
    assert {third.second.proxy, first.second.proxy} == set(service.pool)
    for pairing in (first, second, third):
        for caller, partner in pairing.sides:
            assert tenant.carrier.call(caller.identifier, caller.proxy).reached == (partner.identifier, partner.proxy)


def test_one_number_cannot_hold_the_same_pair_twice(tenant: Tenant) -> None:
    """The second pairing is refused whole; it works once the first is closed (item 4)."""
    service = tenant.service(numbers=1)
    alice, bob = person(), person()
    first = service.pairing(alice, bob)

    refused = tenant.refused("POST", f"{service.path}/Sessions", Participants=participants(alice, bob))
    left = tenant.everything(f"{service.path}/Sessions", "sessions")
    tenant.update(first.path, Status="closed")
    second = service.pairing(alice, bob)

    assert refused == (400, 80208)
    assert [one["sid"] for one in left] == [first.sid]
    assert second.first.proxy == first.first.proxy == service.pool[0]


def test_prefer_sticky_gives_the_number_held_before(tenant: Tenant) -> None:
    """Each time, out of ten, however the load lies (item 5)."""
    service = tenant.service(numbers=10, NumberSelectionBehavior="prefer-sticky")
    alice = person()

    held = []
    for _ in range(5):
        pairing = service.pairing(alice)
        tenant.update(pairing.path, Status="closed")
        held.append(pairing.first.proxy)

    assert len(set(held)) == 1


def test_avoid_sticky_gives_another_number(tenant: Tenant) -> None:
    """All of the pool before any comes again (item 5)."""
    service = tenant.service(numbers=4, NumberSelectionBehavior="avoid-sticky")
    alice = person()

    held = []
    for _ in range(8):
        pairing = service.pairing(alice)
        tenant.update(pairing.path, Status="closed")
        held.append(pairing.first.proxy)

    assert set(held[:4]) == set(held[4:]) == set(service.pool)
    assert held[:4] == held[4:]


@pytest.mark.parametrize(
    "identifier",
    [
        "+12684641234",
        "+12642351234",
        "+14413701234",
        "+12423591234",
        "+16644911234",
        "+16492311234",
        "+12843001234",
        "+13406421234",
    ],
    ids=["AG", "AI", "BM", "BS", "MS", "TC", "VG", "VI"],
)
def test_small_countries_under_plus_one_get_an_american_number(tenant: Tenant, identifier: str) -> None:
    """And are called through it (item 6)."""
    service = tenant.service()

    pairing = service.pairing(identifier)

    assert pairing.first.proxy == service.pool[0]
    assert tenant.carrier.call(identifier, service.pool[0]).reached == (pairing.second.identifier, service.pool[0])


@pytest.mark.parametrize("identifier", ["+447400123456", "+447781123456", "+447924123456", "+447797712345"])
def test_the_british_islands_share_their_numbers(tenant: Tenant, identifier: str) -> None:
    """GB, GG, IM and JE: any number of theirs (item 6)."""
    suffix = proxy_number()[-6:]
    service = tenant.service(pool=(f"+44207{int(suffix) % 10_000_000:07d}",))

    pairing = service.pairing(identifier, "+447400123457")

    assert pairing.first.proxy == service.pool[0]


def test_a_japanese_number_needs_a_japanese_pool_or_an_explicit_choice(tenant: Tenant) -> None:
    """No country matches: 80203; a number chosen by the application skips geography (item 6)."""
    service = tenant.service()
    session = service.session()
    path = f"{service.path}/Sessions/{session['sid']}/Participants"

    refused = tenant.refused("POST", path, Identifier="+819012345678")
    chosen = tenant.create(path, Identifier="+819012345678", ProxyIdentifier=service.pool[0])

    assert refused == (400, 80203)
    assert chosen["proxy_identifier"] == service.pool[0]


def test_a_reserved_number_is_given_by_hand_only(tenant: Tenant) -> None:
    """Automatic selection leaves it out, naming it does not (behaviour 6.6)."""
    service = tenant.service()
    number = service.numbers()[service.pool[0]]
    tenant.update(f"{service.path}/PhoneNumbers/{number['sid']}", IsReserved=True)
    path = f"{service.path}/Sessions/{service.session()['sid']}/Participants"

    automatic = tenant.refused("POST", path, Identifier=person())
    by_sid = tenant.create(path, Identifier=person(), ProxyIdentifierSid=number["sid"])

    assert automatic == (400, 80207)
    assert by_sid["proxy_identifier"] == service.pool[0]


@pytest.mark.anyio
async def test_a_hundred_creates_for_one_person_over_ten_numbers(tenant: Tenant) -> None:
    """Exactly ten succeed, all numbers distinct, whatever the order of arrival (item 9)."""
    service = tenant.service(numbers=10)
    alice = person()
    http = httpx.AsyncClient(
        base_url=f"{tenant.server.address}/v1",
        auth=(tenant.sid, tenant.token),
        verify=NO_TLS,
        timeout=30,
        limits=httpx.Limits(max_connections=100),
    )

    async with http:
        forms = [{"Participants": participants(alice, person())} for _ in range(100)]
        answers = await asyncio.gather(*(http.post(f"{service.path}/Sessions", data=form) for form in forms))

    made = [f"{service.path}/Sessions/{one.json()['sid']}" for one in answers if one.status_code == httpx.codes.CREATED]
    refused = {one.json()["code"] for one in answers if one.status_code != httpx.codes.CREATED}
    endpoints = [endpoint for path in made for endpoint in service.endpoints(path)]
    assert len(made) == 10
    assert refused <= NUMBERS_IN_USE
    assert {endpoint.proxy for endpoint in endpoints if endpoint.identifier == alice} == set(service.pool)
    assert len(tenant.everything(f"{service.path}/Sessions", "sessions")) == 10
    used = Counter(proxy for path in made for proxy in {endpoint.proxy for endpoint in service.endpoints(path)})
    assert {address: one["in_use"] for address, one in service.numbers().items()} == used


@pytest.mark.anyio
async def test_a_hundred_people_joining_a_hundred_sessions_at_once(tenant: Tenant) -> None:
    """The same race through participant create: one person, a hundred open sessions, ten numbers (item 9)."""
    service = tenant.service(numbers=10)
    alice = person()
    paths = [f"{service.path}/Sessions/{service.session()['sid']}/Participants" for _ in range(100)]
    http = httpx.AsyncClient(
        base_url=f"{tenant.server.address}/v1",
        auth=(tenant.sid, tenant.token),
        verify=NO_TLS,
        timeout=30,
        limits=httpx.Limits(max_connections=100),
    )

    async with http:
        answers = await asyncio.gather(*(http.post(path, data={"Identifier": alice}) for path in paths))

    made = [one.json() for one in answers if one.status_code == httpx.codes.CREATED]
    refused = {one.json()["code"] for one in answers if one.status_code != httpx.codes.CREATED}
    assert sorted(one["proxy_identifier"] for one in made) == sorted(service.pool)
    assert refused <= NUMBERS_IN_USE
