"""What the console is told, on one host and on several, also when one of them is silent."""

from dataclasses import replace

import msgspec
import pytest

from actors.host.host import Host
from actors.kernel.context import HostContext
from actors.kernel.settings import HostSettings
from engine.core.model.changes import EntryAdded, NoteKept
from engine.core.model.errors import ApiError, Code, PeerUnavailable, StoreUnavailable
from engine.core.model.exchanges import WebhookExchange, exchange_key
from engine.core.model.history import KEPT_MINUTES
from engine.core.model.outbox import OutboxAlert, OutboxEntry
from engine.core.model.overview import History, HostFigures, Minute, TrafficCount
from engine.core.model.records import DebuggerEvent, Kind
from engine.core.model.requests import AccountUpdate
from engine.core.model.sids import SidKind
from engine.core.ports.lists import (
    AlertFilter,
    AlertKind,
    AlertKinds,
    OutboxFilter,
    OutboxKind,
    OutboxKinds,
    PageCursor,
)
from engine.core.routing.traffic import Outcome, Reason
from engine.core.sessions.search import InteractionSought, SessionSought, read_search
from tests.actors.world import ALICE, BOB, CAROL, DAY, N1, START, World
from tests.at_once import at_once

pytestmark = [pytest.mark.anyio, pytest.mark.shared]


def counts(*, routed: int = 0) -> tuple[int, ...]:
    """Return counts in the order of the outcomes."""
    return tuple(routed if one is Outcome.ROUTED else 0 for one in Outcome)


PART = PageCursor(limit=10, is_part_enough=True)


def sought(text: str) -> SessionSought:
    """Read what somebody types."""
    read = read_search(text)
    assert read is not None
    return read


async def test_every_host_tells_how_all_of_them_fare(world: World) -> None:
    """In the order of their places; sessions and bindings are counted where they are."""
    await world.session(ALICE, BOB)
    await world.settle()

    for host in world.hosts.values():
        statuses = await host.console.hosts()

        assert [status.name for status in statuses] == [f"host-{place}" for place in range(world.count)]
        assert all(status.is_answering and status.is_ready and not status.problem for status in statuses)
        assert sum(status.active_sessions for status in statuses) == 1
        assert sum(status.bindings for status in statuses) == 2


async def test_the_pools_are_told_wherever_their_service_is(world: World) -> None:
    """The most saturated first; those of other accounts only to the operator."""
    await world.make_service("empty")
    await world.session(ALICE, BOB)

    for host in world.hosts.values():
        found = await host.console.pools(world.account.sid, most=9)
        first = await host.console.pools(None, most=1)

        assert [(pool.unique_name, pool.active_sessions) for pool in found.pools] == [("rides", 1), ("empty", 0)]
        assert found.pools[0].state.saturation == pytest.approx(0.5)
        assert ([pool.unique_name for pool in first.pools], first.count, first.silent) == (["rides"], 2, ())
        assert (await host.console.pools("AC" + "0" * 32, most=9)).pools == ()


async def test_sessions_are_found_on_every_host(world: World) -> None:
    """By name, number and last digits; by nobody who owns them not."""
    services = [world.service_sid, *[(await world.make_service(f"s{place}")).sid for place in range(4)]]
    for place, service_sid in enumerate(services[1:]):
        await world.pool(f"+1646555001{place}", service_sid=service_sid)
    made = [(await world.session(ALICE, service_sid=service, unique_name="ride")).sid for service in services]

    for host in world.hosts.values():
        for text in ("ride", ALICE, ALICE[-4:], f"{ALICE[:-4]}XXXX"):
            found = await host.console.find_sessions(world.account.sid, sought(text), most=9)
            assert [one.session.sid for one in found.sessions] == sorted(made, reverse=True)
            assert {one.participants[0].identifier for one in found.sessions} == {ALICE}
        few = await host.console.find_sessions(None, sought("ride"), most=2)
        assert ([one.session.sid for one in few.sessions], few.is_cut) == (sorted(made, reverse=True)[:2], True)
        assert (await host.console.find_sessions("AC" + "0" * 32, sought("ride"), most=9)).sessions == ()


async def test_a_login_is_known_on_every_host_until_it_ends(world: World) -> None:
    """Whichever host began it, whichever ends it."""
    first, last = world.hosts[0].console, world.hosts[world.count - 1].console
    login = await last.begin_login(world.account.sid, "SK1")

    known = [await host.console.find_login(login.token, is_active=True) for host in world.hosts.values()]
    await first.end_login(login.token)

    assert known == [login] * world.count
    assert [await host.console.find_login(login.token, is_active=True) for host in world.hosts.values()] == (
        [None] * world.count
    )


async def test_a_login_idles_by_the_clock_of_its_host(world: World) -> None:
    """Half an hour, and looking on does not count."""
    console = world.hosts[0].console
    login = await console.begin_login(None, "")

    world.clock.move(1_700)
    assert await console.find_login(login.token, is_active=False)
    world.clock.move(100)
    assert await console.find_login(login.token, is_active=False) is None


async def test_a_link_begins_one_operators_login_on_any_host(world: World) -> None:
    """Made here, followed there, once."""
    first, last = world.hosts[0].console, world.hosts[world.count - 1].console
    code = await first.offer_link()

    login = await last.follow_link(code)
    again = await first.follow_link(code)

    assert login is not None
    assert (login.account_sid, again) == (None, None)
    assert await last.find_login(login.token, is_active=True) == login


@pytest.mark.parametrize("token", ["", "0", "7.x", "-1.x", "0.x", "\N{SUPERSCRIPT TWO}.x", "x" * 5000])
async def test_a_made_up_token_is_nobodys(world: World, token: str) -> None:
    """Nor a code."""
    console = world.hosts[0].console

    assert await console.find_login(token, is_active=True) is None
    assert await console.follow_link(token) is None
    await console.end_login(token)


@pytest.mark.parametrize("host_count", [2, 3], indirect=True, ids=["two hosts", "three hosts"])
async def test_a_silent_host_is_named_and_the_others_are_told(world: World, host_count: int) -> None:
    """In everything that lies on several hosts; what lies on one host is missing when it is that one."""
    await world.session(ALICE, BOB)
    asked, silent = world.hosts[0], host_count - 1
    world.cut(0, silent)

    statuses = await asked.console.hosts()
    pools = await asked.console.pools(None, most=9)
    found = await asked.console.find_sessions(None, sought(ALICE), most=9)
    events = await asked.control.alerts_page(None, AlertFilter(), PART)
    entry = await asked.control.outbox_page(OutboxFilter(), PART)
    passed = await asked.control.find_interactions(None, InteractionSought(resource_sid="CA1"), most=9)
    world.mend()

    name = f"host-{silent}"
    assert [status.name for status in statuses if not status.is_answering] == [name]
    assert (pools.silent, found.silent, events.silent, entry.silent, passed.silent) == ((name,),) * 5


@pytest.mark.parametrize("host_count", [3], indirect=True, ids=["three hosts"])
async def test_a_session_is_found_past_a_silent_host(world: World) -> None:
    """One that is nowhere else may be there: it is not said to be absent."""
    session = await world.session(ALICE, BOB)
    holders = {place for place, store in world.stores.items() if at_once(store.inner.session(session.sid))}
    (asked, silent) = sorted(set(world.hosts) - holders)
    world.cut(asked, silent)

    found, _ = await world.hosts[asked].control.find_session(session.sid)
    with pytest.raises(PeerUnavailable):
        await world.hosts[asked].control.find_session("KC" + "0" * 32)
    world.mend()

    assert found.sid == session.sid


async def test_an_interaction_is_found_by_the_carriers_sid_whichever_host_is_asked(world: World) -> None:
    """It lies on the host that owns the number reached."""
    session = await world.session(ALICE, BOB)
    decision = await world.call(ALICE, world.proxy(session, ALICE))
    record = await world.control.find_interaction(decision.interaction_sid)
    sought_sid = InteractionSought(resource_sid=record.inbound.resource_sid)

    for host in world.hosts.values():
        assert await host.control.find_interaction(record.sid) == record
        assert (await host.control.find_interactions(None, sought_sid, most=9)).interactions == (record,)
        assert (await host.control.find_interactions(world.account.sid, sought_sid, most=9)).interactions == (record,)
        assert (await host.control.find_interactions("AC" + "0" * 32, sought_sid, most=9)).interactions == ()
        with pytest.raises(ApiError):
            await host.control.find_interaction("KI" + "0" * 32)


async def test_a_host_that_has_not_started_says_so(world: World) -> None:
    """It answers, and is not ready."""
    host = Host(HostContext(world.stores[0], world.clock, world.id_factory, lambda _: 0, world.observer))

    (status,) = await host.console.hosts()

    assert (status.is_answering, status.is_ready, status.problem) == (True, False, "it is starting or stopping")


async def test_traffic_is_told_by_the_minute_of_all_hosts_and_after_a_restart(world: World) -> None:
    """Added up, wherever it is asked; the minute that a restart cut short is not there."""
    routed = [0]

    def figures() -> HostFigures:
        return HostFigures(traffic=(TrafficCount(Kind.VOICE, Outcome.ROUTED, Reason.IN_SESSION, routed[0]),))

    world.figures = dict.fromkeys(range(world.count), figures)
    await world.restart()
    for _ in range(3):
        for host in world.hosts.values():
            await host.parts.upkeep.note_traffic()
        routed[0] += 5
        world.clock.move(60)
    at = world.clock() // 60 * 60

    before = [await host.console.history(at - 150) for host in world.hosts.values()]
    await world.restart()
    after = [await host.console.history(at - 150) for host in world.hosts.values()]

    told = History((Minute(int(at) - 120, counts(routed=5 * world.count), counts(), None, {}),))
    assert before == after == [told] * world.count


async def test_minutes_come_oldest_first_also_after_a_restart(world: World) -> None:
    """Whoever looks how a pool fills compares the first with the last."""
    for _ in range(4):
        for host in world.hosts.values():
            await host.parts.upkeep.note_traffic()
        world.clock.move(60)
    await world.restart()

    for host in world.hosts.values():
        times = [one.at for one in (await host.console.history(0.0)).minutes]
        assert len(times) == 3
        assert times == sorted(times)


async def test_a_day_of_traffic_is_kept(world: World) -> None:
    """And no more, in memory and on disk."""
    host = world.hosts[0]
    for _ in range(KEPT_MINUTES + 60):
        await host.parts.upkeep.note_traffic()
        world.clock.move(60)
    await host.parts.upkeep.note_traffic()

    kept = (await host.console.history(0.0)).minutes

    assert KEPT_MINUTES - 1 <= len(kept) <= KEPT_MINUTES
    assert kept[-1].at == int(world.clock()) // 60 * 60 - 60


async def test_minutes_of_another_version_are_left_out(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """And the start goes on."""
    await world.stores[0].write((NoteKept("history of host-0", b"\0" * 8, b"\xff?", START + DAY),))

    await world.restart()

    assert (await world.hosts[0].console.history(0.0)).minutes == ()
    assert "cannot be read" in caplog.text


async def test_events_are_counted_by_kind_over_all_hosts(world: World) -> None:
    """Each where it was raised; the same kind on several hosts is one."""
    for place, host in world.hosts.items():
        host.keep_event(
            DebuggerEvent(code=Code.STOP_WORD, account_sid=world.account.sid, at=START + place, message="STOP")
        )
        await host.parts.upkeep.sweep_alerts()

    counted = [await host.control.alert_kinds(None, AlertFilter(), most=100) for host in world.hosts.values()]

    for one in counted:
        last_at = START + world.count - 1
        kind = AlertKind(world.account.sid, Code.STOP_WORD, None, world.count, START, last_at)
        assert one == AlertKinds((kind,), is_cut=False)


async def test_a_host_says_when_the_list_of_a_kind_is_full(world: World) -> None:
    """Exactly when it would leave the next one out: after so many of an account and a code in one second."""
    host = world.hosts[0]
    stop = DebuggerEvent(code=Code.STOP_WORD, account_sid=world.account.sid, at=START, message="STOP")
    most = HostSettings().alerts_per_second

    def is_full(code: int = stop.code, account_sid: str = stop.account_sid, at: float = START) -> bool:
        return host.is_full_of(code, account_sid, number=None, caller=None, at=at)

    for _ in range(most):
        assert not is_full()
        host.keep_event(stop)
    host.keep_event(stop)

    assert is_full(at=START + 0.9)
    assert not is_full(at=START + 1)
    assert not is_full(account_sid="AC" + "1" * 32)
    assert not is_full(Code.NO_PARTNER)
    await host.parts.upkeep.sweep_alerts()
    assert (await host.control.alert_kinds(None, AlertFilter(), most=100)).kinds[0].count == most


async def test_a_flooding_stranger_hides_no_other_refused_call(world: World) -> None:
    """Of whom the list has a few."""
    host = world.hosts[0]
    flood = DebuggerEvent(
        code=Code.NO_ACTIVE_SESSION,
        account_sid=world.account.sid,
        at=START,
        message="",
        proxy=N1,
        sender="+1303555XXXX",
    )
    driver = msgspec.structs.replace(flood, sender="+1415555XXXX")
    for _ in range(1_000):
        host.keep_event(flood)
    is_full = host.is_full_of(flood.code, flood.account_sid, number=N1, caller=flood.sender, at=START)

    host.keep_event(driver)
    await host.parts.upkeep.sweep_alerts()

    kept = (await host.control.alerts_page(None, AlertFilter(), PageCursor(limit=100))).records
    assert is_full
    assert kept[0].sender == driver.sender
    assert 1 < len(kept) < 12


async def test_numbers_that_were_never_used_are_named_by_every_host(world: World) -> None:
    """One that a closed session had was used; of an unknown service nothing is told."""
    empty = await world.make_service("empty")
    await world.pool("+16465550010", service_sid=empty.sid, is_reserved=True)
    session = await world.session(ALICE, BOB)
    used = {world.proxy(session, ALICE), world.proxy(session, BOB)}
    pooled = {one.address for one in world.control.numbers_of(None) if one.service_sid == world.service_sid}
    await world.close(session)

    for host in world.hosts.values():
        found = await host.console.unused([world.service_sid, empty.sid, f"KS{'0' * 32}"])
        addresses = {sid: {one.address for one in numbers} for sid, numbers in found.items()}

        assert addresses == {world.service_sid: pooled - used, empty.sid: {"+16465550010"}}


async def test_the_busiest_of_a_pool_is_named_by_every_host(world: World) -> None:
    """Masked; of a pool that nobody uses nobody is."""
    empty = await world.make_service("empty")
    await world.session(ALICE, BOB)
    await world.session(ALICE, CAROL)

    for host in world.hosts.values():
        assert await host.console.busiest([world.service_sid, empty.sid]) == {world.service_sid: f"{ALICE[:-4]}XXXX"}


def exchange(world: World, *, at: float = 0.0, about: str = "CA1", account_sid: str = "") -> WebhookExchange:
    """A gate that let a call pass."""
    return WebhookExchange(
        account_sid=account_sid or world.account.sid,
        about=about,
        kind="intercept",
        end="passed",
        url="https://shop.example/gate",
        at=START + at,
        seconds=0.25,
        status=200,
    )


async def test_what_applications_were_asked_is_told_by_every_host_also_after_a_restart(world: World) -> None:
    """In the order in which it happened, wherever it did; of another account or another call nothing is."""
    asked = [exchange(world, at=at) for at in range(4)]
    for one in (*reversed(asked), exchange(world, about="CA2"), exchange(world, account_sid="AC" + "0" * 32)):
        world.host.keep_exchange(one)
    await world.host.sweep_alerts()

    await world.restart()

    for host in world.hosts.values():
        told = await host.console.exchanges(world.account.sid, "CA1")
        assert (list(told.exchanges), told.silent) == (asked, ())
        assert (await host.console.exchanges("AC" + "0" * 32, "CA1")).exchanges == ()


async def test_exchanges_with_applications_are_kept_for_a_day(world: World) -> None:
    """An account that was deleted has none at once."""
    host = world.hosts[0]
    host.keep_exchange(exchange(world))
    await host.parts.upkeep.sweep_alerts()
    kept = await host.console.exchanges(world.account.sid, "CA1")

    world.clock.move(DAY + 1)

    assert len(kept.exchanges) == 1
    assert (await host.console.exchanges(world.account.sid, "CA1")).exchanges == ()


async def test_each_account_has_its_share_of_the_exchanges_of_a_second(world: World) -> None:
    """What is more is not kept; nothing is where the operator wants none."""
    other = (await world.control.create_account(AccountUpdate(friendly_name="other"))).sid
    host, most = world.hosts[0], world.settings.webhooks_kept_per_second
    for _ in range(most + 5):
        host.keep_exchange(exchange(world, at=0.5))
    host.keep_exchange(exchange(world, at=0.6, account_sid=other))
    host.keep_exchange(exchange(world, at=1.0, about="CA2"))
    gathered = host.parts.exchanges.waiting

    world.settings = replace(world.settings, webhook_trail_hours=0)
    await world.restart()
    host = world.hosts[0]
    host.keep_exchange(exchange(world, at=2.0, about="CA3"))
    await host.parts.upkeep.sweep_alerts()

    assert gathered == most + 2
    assert len((await host.console.exchanges(other, "CA1")).exchanges) == 1
    assert (await host.console.exchanges(world.account.sid, "CA3")).exchanges == ()


async def test_an_exchange_that_the_disk_refuses_is_kept_later(world: World) -> None:
    """Unless there are too many."""
    host = world.hosts[0]
    host.keep_exchange(exchange(world))
    world.store.is_failing = True
    with pytest.raises(StoreUnavailable):
        await host.parts.upkeep.sweep_alerts()
    world.store.is_failing = False

    await host.parts.upkeep.sweep_alerts()

    assert len((await host.console.exchanges(world.account.sid, "CA1")).exchanges) == 1


async def test_exchanges_of_another_version_are_left_out(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """The page is shown without."""
    key = exchange_key(world.account.sid, "CA1") + b"\0" * 8
    await world.stores[0].write((NoteKept("webhook exchanges", key, b"\xff?", START + DAY),))

    assert (await world.hosts[0].console.exchanges(world.account.sid, "CA1")).exchanges == ()
    assert "cannot be read" in caplog.text


async def test_the_outbox_is_counted_by_kind_over_all_hosts(world: World) -> None:
    """Entries of several hosts that go to the same receiver are of one kind."""
    event = DebuggerEvent(code=Code.STOP_WORD, account_sid=world.account.sid, at=START, message="STOP")
    owed = OutboxAlert(url="https://a.example/x", event=event)
    for place, store in world.stores.items():
        entry = OutboxEntry(
            sid=world.id_factory(SidKind.OUTBOX_ENTRY),
            account_sid=world.account.sid,
            service_sid=None,
            session_sid=None,
            content=owed,
            date_created=START + place,
        )
        await store.write((EntryAdded(entry),))

    last_at = START + world.count - 1
    kind = OutboxKind(world.account.sid, "https://a.example", False, "", world.count, START, last_at)  # noqa: FBT003 - pending

    for host in world.hosts.values():
        counted = await host.console.outbox_kinds(OutboxFilter(), most=100)

        assert counted == OutboxKinds((kind,), is_cut=False)
