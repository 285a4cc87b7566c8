"""Sessions from open to erased, over the wire (behaviour 21: items 7, 8, 10, 11, 18, 21; behaviour 8)."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from time import monotonic

import httpx
import pytest

from actors.host.host import Host
from actors.kernel.context import HostContext
from actors.kernel.settings import SECONDS_PER_DAY
from engine.api.app import create_app
from engine.api.settings import ApiSettings
from engine.core.model.requests import AccountUpdate
from engine.runtime import OrderedIdFactory
from engine.telemetry.observer import Telemetry
from storage.sqlite.store import SqliteStore
from tests.e2e.carrier import DROPPED, REJECTED
from tests.e2e.live import LiveServer
from tests.e2e.tenant import Json, Pairing, Service, Tenant, new_tenant, participants, person

WAIT_SECONDS = 20.0
POLL_SECONDS = 0.1
"""How often a session is looked at while its end is awaited."""


def wait_until_closed(tenant: Tenant, path: str) -> Json:
    """Return a session once it has closed of itself."""
    return wait_for(lambda: tenant.get(path), lambda session: session["status"] == "closed")


def wait_for(look: Callable[[], Json], is_there: Callable[[Json], bool]) -> Json:
    """Look until it is there."""
    end = monotonic() + WAIT_SECONDS
    while not is_there(seen := look()):
        assert monotonic() < end, f"did not happen within {WAIT_SECONDS} s: {seen}"
        Event().wait(POLL_SECONDS)
    return seen


def at(text: str) -> float:
    """Return the epoch seconds of a date on the wire."""
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()


def written_date(at: float) -> str:
    """Return a date as SDKs send it."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def assert_routes(tenant: Tenant, pairing: Pairing) -> None:
    """Hold both directions, by call and by message, against the pairing."""
    for caller, partner in pairing.sides:
        wanted = (partner.identifier, partner.proxy)
        assert tenant.carrier.call(caller.identifier, caller.proxy).reached == wanted
        assert tenant.carrier.message(caller.identifier, caller.proxy).reached == wanted


def assert_routes_nowhere(tenant: Tenant, pairing: Pairing) -> None:
    """See that calls are refused and messages dropped in both directions."""
    for caller, _ in pairing.sides:
        assert tenant.carrier.call(caller.identifier, caller.proxy).verbs == REJECTED
        assert tenant.carrier.message(caller.identifier, caller.proxy).verbs == DROPPED


def test_a_reopened_session_keeps_its_numbers(tenant: Tenant) -> None:
    """`date_ended` and `closed_reason` are cleared, both sides route as before (item 7)."""
    service = tenant.service(numbers=3)
    pairing = service.pairing()
    assert_routes(tenant, pairing)

    closed = tenant.update(pairing.path, Status="closed")
    assert_routes_nowhere(tenant, pairing)
    to_open = tenant.refused("POST", pairing.path, Status="open")
    changed = tenant.refused("POST", pairing.path, Ttl=60)
    reopened = tenant.update(pairing.path, Status="in-progress")

    assert (closed["status"], closed["closed_reason"]) == ("closed", "api")
    assert closed["date_ended"] is not None
    assert to_open == (400, 80608)
    assert changed == (400, 80607)
    assert (reopened["status"], reopened["closed_reason"], reopened["date_ended"]) == ("in-progress", None, None)
    assert {endpoint.proxy for endpoint in service.endpoints(pairing.path)} == {
        pairing.first.proxy,
        pairing.second.proxy,
    }
    assert_routes(tenant, pairing)


@pytest.mark.parametrize("form", [{}, {"FailOnParticipantConflict": True}, {"FailOnParticipantConflict": False}])
def test_a_session_whose_pair_was_reused_is_not_reopened(tenant: Tenant, form: dict[str, bool]) -> None:
    """400/80604, and the newer session goes on (item 8)."""
    service = tenant.service(numbers=1)
    alice = person()
    older = service.pairing(alice)
    tenant.update(older.path, Status="closed")
    newer = service.pairing(alice)

    refused = tenant.refused("POST", older.path, Status="in-progress", **form)

    assert refused == (400, 80604)
    assert tenant.get(older.path)["status"] == "closed"
    assert_routes(tenant, newer)
    assert tenant.carrier.call(older.second.identifier, older.second.proxy).verbs == REJECTED


def test_a_permissive_account_may_activate_a_pair_twice(shared_server: LiveServer) -> None:
    """The session activated last is met, each conflict is told; a request can ask for the strict rule (behaviour 7)."""
    tenant = new_tenant(shared_server, allow_participant_conflict=True)
    service = tenant.service(numbers=1)
    alice, number = person(), service.pool[0]
    older, newer = service.pairing(alice), service.session()["sid"]
    path = f"{service.path}/Sessions/{newer}"
    again = {"Identifier": alice, "ProxyIdentifier": number}

    strict = tenant.refused("POST", f"{path}/Participants", **again, FailOnParticipantConflict=True)
    service.join(path, alice, ProxyIdentifier=number)
    carol = service.join(path, person())
    met_after_create = tenant.carrier.call(alice, number).reached
    tenant.update(older.path, Status="closed")
    strict_reopening = tenant.refused("POST", older.path, Status="in-progress", FailOnParticipantConflict=True)
    tenant.update(older.path, Status="in-progress")
    met_after_reopening = tenant.carrier.call(alice, number).reached
    tenant.update(older.path, Status="closed")
    met_at_last = tenant.carrier.call(alice, number).reached
    tenant.close()

    told = [line for line in shared_server.log.splitlines() if service.sid in line]
    assert strict == strict_reopening == (400, 80604)
    assert met_after_create == met_at_last == (carol.identifier, number)
    assert met_after_reopening == (older.second.identifier, number)
    assert [code for code in ("80801", "80802") if any(f"code={code}" in line for line in told)] == ["80801", "80802"]


def test_a_permissive_account_meets_the_same_session_after_a_restart(start_server: Callable[..., LiveServer]) -> None:
    """The one activated last, also when the pair joined an older session later (behaviour 7)."""
    tenant = new_tenant(start_server(), allow_participant_conflict=True)
    service, alice = tenant.service(), person()
    older = f"{service.path}/Sessions/{service.session(person())['sid']}"
    newer = service.pairing(alice)
    service.join(older, alice, ProxyIdentifier=service.pool[0])

    before = tenant.carrier.call(alice, service.pool[0]).reached
    tenant.server.crash()
    tenant = tenant.moved(start_server())
    after = tenant.carrier.call(alice, service.pool[0]).reached
    tenant.close()

    assert before == after == (newer.second.identifier, newer.second.proxy)


def test_every_interaction_restarts_the_idle_clock(tenant: Tenant) -> None:
    """Traffic from either side keeps a session alive past its ttl; idle, it closes with reason ttl (item 10)."""
    ttl = 2
    service = tenant.service(numbers=2)
    pairing = service.pairing(Ttl=ttl)
    started, last = monotonic(), monotonic()
    sides = 2 * pairing.sides

    while monotonic() - started < ttl + 0.5:
        (caller, partner), *_ = sides = (*sides[1:], sides[0])
        before = monotonic()
        answer = tenant.carrier.message(caller.identifier, caller.proxy)
        if answer.reached is None:
            assert monotonic() - last >= ttl, "closed although it was not idle"
            pytest.skip("this machine stood still for longer than the ttl")
        assert answer.reached == (partner.identifier, partner.proxy)
        last = before
        Event().wait(0.4)
    closed = wait_until_closed(tenant, pairing.path)
    expired = tenant.carrier.call(pairing.first.identifier, pairing.first.proxy)

    assert closed["closed_reason"] == "ttl"
    assert at(closed["date_ended"]) - at(closed["date_last_interaction"]) >= ttl - 1  # both without fractions
    assert expired.verbs == REJECTED
    assert_routes_nowhere(tenant, pairing)
    assert any("code=80904" in line and pairing.sid in line for line in tenant.server.log.splitlines())
    assert {one["in_use"] for one in service.numbers().values()} == {0}


def test_a_session_that_ends_while_the_server_is_down_is_closed_at_its_start(
    start_server: Callable[..., LiveServer],
) -> None:
    """Its clock goes on; not one call passes, and its numbers are free."""
    tenant = new_tenant(start_server())
    service = tenant.service()
    ending, going_on = service.pairing(Ttl=1), service.pairing(Ttl=3600)
    tenant.server.crash()
    Event().wait(1.5)  # the ttl runs out
    tenant = tenant.moved(start_server())

    late = tenant.carrier.call(ending.first.identifier, ending.first.proxy)
    closed = wait_until_closed(tenant, ending.path)
    service = Service(tenant, service.path, service.sid, service.pool)
    (number,) = service.numbers().values()
    goes_on = tenant.carrier.call(going_on.first.identifier, going_on.first.proxy).reached
    tenant.close()

    assert late.verbs == REJECTED
    assert "code=80904" in tenant.server.log
    assert closed["closed_reason"] == "ttl"
    assert number["in_use"] == 1
    assert goes_on == (going_on.second.identifier, going_on.second.proxy)


def test_a_fixed_end_overrides_the_idle_limit(tenant: Tenant) -> None:
    """A session with both outlives its ttl; a near end closes in spite of a long ttl (item 11)."""
    service = tenant.service(numbers=3)
    with_both = service.pairing(Ttl=1, DateExpiry="2099-12-31T00:00:00Z")
    with_ttl = service.pairing(Ttl=1)
    made = tenant.get(with_ttl.path)
    near = service.pairing(Ttl=3600, DateExpiry=written_date(at(made["date_created"]) + 3))

    closed_by_ttl = wait_until_closed(tenant, with_ttl.path)
    closed_by_date = wait_until_closed(tenant, near.path)
    still_open = tenant.get(with_both.path)

    assert closed_by_ttl["closed_reason"] == "ttl"
    assert closed_by_date["closed_reason"] == "date-expiry"
    assert (still_open["status"], still_open["ttl"]) == ("open", 1)
    assert_routes(tenant, with_both)
    assert_routes_nowhere(tenant, near)


def test_a_past_end_is_refused(tenant: Tenant) -> None:
    """On create and on update (item 11)."""
    service = tenant.service()
    session = service.session()

    on_create = tenant.refused("POST", f"{service.path}/Sessions", DateExpiry="2016-07-31")
    on_update = tenant.refused("POST", f"{service.path}/Sessions/{session['sid']}", DateExpiry="2016-07-31T00:00:00Z")

    assert on_create == on_update == (400, 80701)


def test_a_new_end_and_a_reopening_take_effect_together(tenant: Tenant) -> None:
    """The end is kept, and can be cleared (item 11)."""
    service = tenant.service()
    pairing = service.pairing()
    tenant.update(pairing.path, Status="closed")

    reopened = tenant.update(pairing.path, Status="in-progress", DateExpiry="2099-01-01T00:00:00Z")
    cleared = tenant.update(pairing.path, DateExpiry="", Ttl=0)

    assert (reopened["status"], reopened["date_expiry"]) == ("in-progress", "2099-01-01T00:00:00Z")
    assert (cleared["date_expiry"], cleared["ttl"]) == (None, 0)
    assert_routes(tenant, pairing)


def test_a_deleted_session_is_gone_and_its_name_free(tenant: Tenant) -> None:
    """With its participants and interactions, at once (item 18)."""
    service = tenant.service()
    pairing = service.pairing(UniqueName="ride-1")
    assert_routes(tenant, pairing)
    interaction = tenant.get(f"{pairing.path}/Interactions")["interactions"][0]["sid"]
    taken = tenant.refused("POST", f"{service.path}/Sessions", UniqueName="ride-1")

    tenant.delete(pairing.path)

    assert taken == (400, 80603)
    for path in (
        pairing.path,
        f"{pairing.path}/Participants",
        f"{pairing.path}/Participants/{pairing.first.sid}",
        f"{pairing.path}/Interactions",
        f"{pairing.path}/Interactions/{interaction}",
        f"{pairing.path}/Participants/{pairing.first.sid}/MessageInteractions",
    ):
        assert tenant.refused("GET", path) == (404, 20404)
    assert tenant.refused("DELETE", pairing.path) == (404, 20404)
    assert_routes_nowhere(tenant, pairing)
    again = service.pairing(pairing.first.identifier, pairing.second.identifier, UniqueName="ride-1")
    assert_routes(tenant, again)


def test_a_deleted_service_is_gone_and_its_name_and_numbers_free(tenant: Tenant) -> None:
    """Active sessions do not hold it; its numbers can join another service at once (item 18)."""
    service = tenant.service(UniqueName="rides")
    pairing = service.pairing()
    number = service.numbers()[service.pool[0]]["sid"]
    taken = tenant.refused("POST", "/Services", UniqueName="rides")

    tenant.delete(service.path)

    assert taken == (400, 80602)
    for path in (
        service.path,
        "/Services/rides",
        f"{service.path}/Sessions",
        f"{service.path}/PhoneNumbers",
        f"{service.path}/PhoneNumbers/{number}",
        pairing.path,
        f"{pairing.path}/Participants/{pairing.first.sid}",
        f"{pairing.path}/Interactions",
    ):
        assert tenant.refused("GET", path) == (404, 20404)
    assert tenant.carrier.call(pairing.first.identifier, pairing.first.proxy).status == 404
    again = tenant.service(UniqueName="rides", pool=service.pool)
    assert_routes(tenant, again.pairing(pairing.first.identifier, pairing.second.identifier))


class MovedClock:
    """A clock that the test sets."""

    def __init__(self, start: float) -> None:
        self.now = start

    def __call__(self) -> float:
        """Tell the time."""
        return self.now


@pytest.mark.anyio
async def test_a_session_closed_for_ninety_days_is_erased(tmp_path: Path) -> None:
    """Reopened on day 89 another one lives on, and the count starts anew (item 21).

    The engine's own parts on a real file, but with a clock that can be moved; nothing else waits ninety days.
    """
    clock = MovedClock(1_800_000_000.0)
    telemetry = Telemetry()
    store = SqliteStore.open(tmp_path / "data", observer=telemetry)
    await store.start()
    host = Host(HostContext(store, clock, OrderedIdFactory(clock), lambda _: 0, telemetry))
    await host.start()
    account = await host.control.create_account(AccountUpdate())
    settings = ApiSettings(public_url="http://maskline", rate_limit_per_second=0)
    app = create_app(host.control, settings=settings, clock=clock, observer=telemetry)
    http = httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://maskline/v1", auth=(account.sid, account.auth_token)
    )

    async with http:
        service = (await http.post("/Services", data={"UniqueName": "rides"})).json()["sid"]
        path = f"/Services/{service}/Sessions"
        await http.post(f"/Services/{service}/PhoneNumbers", data={"PhoneNumber": "+12123450100"})
        form = {"Participants": participants("+14153450100", "+14153450101")}
        forgotten = (await http.post(path, data=form)).json()["sid"]
        await http.post(f"{path}/{forgotten}", data={"Status": "closed"})
        kept = (await http.post(path, data=form)).json()["sid"]
        await http.post(f"{path}/{kept}", data={"Status": "closed"})

        clock.now += 89 * SECONDS_PER_DAY
        await host.parts.upkeep.erase_old()
        on_day_89 = [(await http.get(f"{path}/{sid}")).status_code for sid in (forgotten, kept)]
        reopened = await http.post(f"{path}/{kept}", data={"Status": "in-progress"})
        await http.post(f"{path}/{kept}", data={"Status": "closed"})
        clock.now += 1 * SECONDS_PER_DAY + 1
        await host.parts.upkeep.erase_old()
        on_day_90 = [(await http.get(f"{path}/{sid}")).status_code for sid in (forgotten, kept)]
        participants_left = await http.get(f"{path}/{forgotten}/Participants")
        clock.now += 89 * SECONDS_PER_DAY
        await host.parts.upkeep.erase_old()
        at_last = (await http.get(f"{path}/{kept}")).status_code
    await host.stop()
    await store.close()

    assert on_day_89 == [200, 200]
    assert reopened.json()["status"] == "in-progress"
    assert on_day_90 == [404, 200]
    assert participants_left.status_code == 404
    assert at_last == 404


def test_a_session_inherits_the_services_idle_limit(tenant: Tenant) -> None:
    """Unless it is given its own, 0 included (behaviour 3.4)."""
    service: Service = tenant.service(DefaultTtl=600)

    assert [service.session()["ttl"], service.session(Ttl=0)["ttl"], service.session(Ttl=5)["ttl"]] == [600, 0, 5]
