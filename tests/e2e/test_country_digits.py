"""Mexico's "1" and Argentina's "9" through the live server (behaviour 14)."""

from collections.abc import Callable

import pytest

from tests.e2e.live import LiveServer
from tests.e2e.tenant import Tenant, new_tenant, person

MEXICAN, ARGENTINE = "+525512345678", "+542231234567"


def reached(tenant: Tenant, abroad: str) -> tuple[str, str]:
    """Return whom a call and a message to somebody abroad reach."""
    service = tenant.service(numbers=1)
    path = f"{service.path}/Sessions/{service.session()['sid']}"
    alice = service.join(path, person(), ProxyIdentifier=service.pool[0])
    service.join(path, abroad, ProxyIdentifier=service.pool[0])
    call = tenant.carrier.call(alice.identifier, alice.proxy).twiml.to
    return call, tenant.carrier.message(alice.identifier, alice.proxy).twiml.to


@pytest.mark.parametrize(("setting", "dialled"), [("by-date", MEXICAN), ("always", "+5215512345678")])
def test_the_mexican_one_is_dialled_by_services_of_old_only(
    start_server: Callable[..., LiveServer], keep: Callable[[Tenant], Tenant], setting: str, dialled: str
) -> None:
    """Those made before 2020-10-05, so none today unless the operator says so; the operator may switch one over."""
    tenant = keep(new_tenant(start_server("--rate-limit-per-second", "0", "--inserts-mexican-one", setting)))

    assert reached(tenant, MEXICAN) == (dialled, dialled)


def test_an_operator_switches_a_service_over(tenant: Tenant) -> None:
    """At once, for calls and messages; who writes from Mexico is known with the 1 and without."""
    service = tenant.service(numbers=1)
    path = f"{service.path}/Sessions/{service.session()['sid']}"
    alice = service.join(path, person(), ProxyIdentifier=service.pool[0])
    service.join(path, MEXICAN, ProxyIdentifier=service.pool[0])

    before = tenant.carrier.call(alice.identifier, alice.proxy).twiml.to
    tenant.server.admin("PATCH", f"/services/{service.sid}", {"inserts_mexican_one": True})
    after = tenant.carrier.call(alice.identifier, alice.proxy).twiml.to

    assert (before, after) == (MEXICAN, "+5215512345678")
    for sender in (MEXICAN, "+5215512345678"):
        assert tenant.carrier.message(sender, service.pool[0]).twiml.to == alice.identifier


def test_the_argentine_nine_is_dialled_on_request_and_in_calls_only(tenant: Tenant) -> None:
    """A flag of the account; texts never have it."""
    before = reached(tenant, ARGENTINE)

    tenant.server.admin("PATCH", f"/accounts/{tenant.sid}", {"argentina": True})

    assert before == (ARGENTINE, ARGENTINE)
    assert reached(tenant, ARGENTINE[:-1] + "8") == ("+5492231234568", ARGENTINE[:-1] + "8")
