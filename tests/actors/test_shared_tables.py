"""Hosts on the same tables: what all see is told once, what only one may do one does, and another host takes over."""

import asyncio
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path

import msgspec
import pytest

from actors.host import parts
from actors.kernel.context import Egress
from engine.core.model.changes import EntryAdded, EntryFailed, InteractionRecorded, ServiceErased
from engine.core.model.errors import Code
from engine.core.model.exchanges import WebhookExchange
from engine.core.model.outbox import OutboxAlert, OutboxEntry
from engine.core.model.placement import Placement
from engine.core.model.records import DebuggerEvent, Kind, LegStatus, Session
from engine.core.model.sids import SidKind
from engine.core.ports.lists import AlertFilter, OutboxFilter, PageCursor
from engine.core.routing.traffic import LegReport, Outcome, ReportOutcome
from engine.core.sessions.search import InteractionSought, read_search
from tests.actors.hooked_world import FakeOutbox
from tests.actors.stores import WAIT_SECONDS
from tests.actors.three_hosts import FIRST, HOSTS, SECOND, THIRD, arrived, coordinated_by, outbound_leg_ended
from tests.actors.world import ALICE, BOB, CAROL, DAVE, DAY, START, World, wanting
from tests.storage.material import interaction

pytestmark = pytest.mark.anyio

PAGE = PageCursor(limit=100)

REPORT = LegReport(
    kind=Kind.VOICE,
    account_sid="",
    interaction_sid="",
    is_outbound=True,
    resource_sid="CA" + "9" * 32,
    status=LegStatus.COMPLETED,
)


class SharedWorld(World):
    """Hosts on one database, each with an outbox of its own."""

    def __init__(self, data_dir: Path, database: str) -> None:
        super().__init__(data_dir, count=HOSTS, database=database)
        self.outboxes: dict[int, FakeOutbox] = {}

    async def start_host(self, place: int) -> None:
        """Start a host with an outbox."""
        self.outboxes[place] = FakeOutbox()
        self.egress = Egress(outbox=self.outboxes[place])
        await super().start_host(place)

    def resize(self, hosts: int) -> None:
        """Have so many hosts from the next start on."""
        self.count = hosts
        self.place = Placement(hosts, by_shard=True)
        self.hosts.clear()
        self.stores.clear()

    def cut_off(self, place: int) -> None:
        """Let no message reach a host."""
        for other in range(HOSTS):
            if other != place:
                self.cut(place, other)


@pytest.fixture
async def world(tmp_path: Path, database: str) -> AsyncIterator[SharedWorld]:
    """Start three hosts and a service whose numbers are on all of them, coordinated by the first."""
    world = SharedWorld(tmp_path / "data", database)
    await world.start()
    await world.furnish()
    await coordinated_by(world, 0)
    yield world
    world.mend()
    await world.stop()


def owed(world: World) -> OutboxEntry:
    """Return an entry that died."""
    event = DebuggerEvent(code=Code.STOP_WORD, account_sid=world.account.sid, at=START, message="STOP")
    return OutboxEntry(
        sid=world.id_factory(SidKind.OUTBOX_ENTRY),
        account_sid=world.account.sid,
        service_sid=None,
        session_sid=None,
        content=OutboxAlert(url="https://a.example/x", event=event),
        date_created=START,
    )


def exchanged(world: World, about: str, *, at: float) -> WebhookExchange:
    """Return what an application was asked."""
    return WebhookExchange(
        account_sid=world.account.sid, about=about, kind="intercept", end="passed", url="u", at=at, seconds=0.1
    )


async def died(world: World, place: int) -> OutboxEntry:
    """Have an entry of a host die."""
    entry = owed(world)
    failure = EntryFailed(entry_sid=entry.sid, attempts=3, error="no answer", at=START, is_dead=True)
    await world.stores[place].write((EntryAdded(entry), failure))
    return msgspec.structs.replace(entry, date_died=START, attempts=3, last_error="no answer")


async def test_what_all_see_is_listed_once_also_past_silent_hosts(world: SharedWorld) -> None:
    """Debugger events, outbox, exchanges, sessions, interactions: one host tells all, and names nobody as silent."""
    session = await world.session(wanting(ALICE, SECOND), wanting(BOB, THIRD))
    passed = [await world.text(ALICE, SECOND), await world.text(BOB, THIRD)]
    asked, about = world.hosts[0], "CA1"
    for place, host in world.hosts.items():
        await died(world, place)
        event = DebuggerEvent(code=Code.STOP_WORD, account_sid=world.account.sid, at=START + place, message="STOP")
        host.keep_event(event)
        host.keep_exchange(exchanged(world, about, at=START + place))
        await host.parts.upkeep.sweep_alerts()
    world.cut_off(0)

    events = await asked.control.alerts_page(None, AlertFilter(), PAGE)
    kinds = await asked.control.alert_kinds(world.account.sid, AlertFilter(), most=9)
    entries = await asked.control.outbox_page(OutboxFilter(is_dead=True), PAGE)
    outbox = await asked.console.outbox_kinds(OutboxFilter(), most=9)
    exchanges = await asked.console.exchanges(world.account.sid, about)
    sought = read_search(ALICE)
    assert sought is not None
    sessions = await asked.console.find_sessions(None, sought, most=9)
    found = await asked.control.find_interactions(None, InteractionSought(proxy=SECOND), most=9)
    page = await asked.control.interactions_page(world.account.sid, world.service_sid, session.sid, PAGE)

    assert [len(one.records) for one in (events, entries)] == [HOSTS, HOSTS]
    assert [sum(kind.count for kind in one.kinds) for one in (kinds, outbox)] == [HOSTS, HOSTS]
    assert [one.at - START for one in exchanges.exchanges] == [0, 1, 2]
    assert [one.session.sid for one in sessions.sessions] == [session.sid]
    sids = [one.interaction_sid for one in passed]
    assert [one.sid for one in found.interactions] == sids[:1]
    assert [one.sid for one in page.records] == sids
    assert not any(one.silent for one in (events, entries, kinds, outbox, exchanges, sessions, found, page))
    assert (await asked.control.alert(None, events.records[0].sid)).sid == events.records[0].sid
    assert [(await asked.control.find_interaction(sid)).sid for sid in sids] == sids
    assert (await asked.control.find_session(session.sid))[0].sid == session.sid


async def test_a_session_of_a_silent_host_is_found_and_its_interactions_are_told(world: SharedWorld) -> None:
    """Whoever is asked reads the record; only what the coordinator decides has to wait for it."""
    session = await world.session(wanting(ALICE, SECOND), wanting(BOB, THIRD))
    world.cut_off(0)

    found, people = await world.hosts[1].control.find_session(session.sid)

    assert (found.sid, {one.identifier for one in people}) == (session.sid, {ALICE, BOB})


@pytest.mark.parametrize("asked", range(HOSTS))
async def test_a_dead_entry_is_replayed_by_the_host_that_added_it(world: SharedWorld, asked: int) -> None:
    """And by no other, whichever host the operator asks; one that is dropped is dropped once."""
    replayed, dropped = await died(world, 1), await died(world, 2)

    revived = await world.hosts[asked].control.replay((replayed,))
    gone = await world.hosts[asked].control.drop((dropped,))

    assert (revived, gone) == (1, 1)
    added = {place: [one.sid for one in outbox.entries] for place, outbox in world.outboxes.items()}
    assert added == {0: [], 1: [replayed.sid], 2: []}
    left = (await world.hosts[0].control.outbox_page(OutboxFilter(), PAGE)).records
    assert [(one.sid, one.date_died) for one in left] == [(replayed.sid, None)]


async def test_what_is_old_is_erased_by_one_host(world: SharedWorld) -> None:
    """What is no host's by one for all, a session by its coordinator's host."""
    others = [await coordinated_by_anew(world, place) for place in range(HOSTS)]
    sessions = [await world.session(ALICE, BOB, service_sid=sid) for sid in others]
    for session in sessions:
        await world.close(session)
    world.clock.move(91 * DAY)
    world.observer.erasures.clear()

    for host in world.hosts.values():
        await host.parts.upkeep.erase_old()

    assert [store.has_retained for store in world.stores.values()].count(True) == 1
    assert sum(erased for erased, _ in world.observer.erasures) == HOSTS
    assert [world.store.session(one.sid) for one in sessions] == [None] * HOSTS


async def coordinated_by_anew(world: World, host: int) -> str:
    """Make a service that this host coordinates, with two numbers that nobody has."""
    while True:
        world.clock.move(0.001)
        service = await world.make_service(f"more-{world.clock.now}")
        if world.place(service.sid) == host:
            await world.pool(f"+164655577{host}0", f"+164655577{host}1", service_sid=service.sid)
            return service.sid


async def test_a_report_changes_an_interaction_on_the_host_of_its_number_alone(world: SharedWorld) -> None:
    """The others can read the record, see whose it is, and leave it alone: what is being committed they do not know."""
    await world.session(wanting(ALICE, SECOND), wanting(BOB, THIRD))
    decision = await world.call(ALICE, SECOND)
    world.said.clear()

    told = await outbound_leg_ended(world, decision)
    report = msgspec.structs.replace(REPORT, account_sid=world.account.sid, interaction_sid=decision.interaction_sid)
    known = [await host.parts.recorded.knows(report) for host in world.hosts.values()]

    assert told == [ReportOutcome.RECORDED] * 3
    assert known == [False, True, False]
    assert not any(b"knows" in what for _, _, what in world.said)


async def test_each_host_loads_its_part(world: SharedWorld) -> None:
    """And no more, after all were stopped: sessions by their service, open calls by their number."""
    services = [world.service_sid, *[await coordinated_by_anew(world, place) for place in (1, 2)]]
    for service_sid in services[1:]:
        await world.session(ALICE, BOB, service_sid=service_sid)
    await world.session(wanting(ALICE, SECOND), wanting(BOB, THIRD))
    await world.call(ALICE, SECOND)
    await world.call(BOB, THIRD)

    await world.restart()

    assert [host.active_sessions for host in world.hosts.values()] == [1, 1, 1]
    assert [host.open_calls for host in world.hosts.values()] == [0, 1, 1]


@pytest.mark.parametrize("lost", range(HOSTS))
async def test_another_host_takes_the_place_of_one_that_is_lost(world: SharedWorld, lost: int) -> None:
    """It was never stopped: its successor answers redeliveries as it did, and it commits nothing any more."""
    session = await world.session(wanting(ALICE, SECOND), wanting(BOB, THIRD))
    events = [world.event(Kind.MESSAGE, ALICE, SECOND), world.event(Kind.MESSAGE, BOB, THIRD)]
    answers = [await world.receive(event) for event in events]
    await silenced(world, lost)
    before = world.stores[lost]

    await world.start_host(lost)
    world.renew()
    await world.joined()

    assert [await world.receive(event) for event in events] == answers
    assert (await world.text(ALICE, SECOND)).to == BOB
    late = before.inner.write((InteractionRecorded(interaction(session), is_elsewhere=True),))
    with pytest.raises(TimeoutError):  # nothing is answered: its process has been ended by then
        await asyncio.wait_for(late, 0.5)
    assert len(world.store.interactions_since(0.0)) == len(events) + 1
    await before.close()


async def test_a_host_that_hears_of_an_erased_service_erases_what_it_has_committed_since(
    world: SharedWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever erased the service could only erase what was committed by then; a database that is away is waited for."""
    monkeypatch.setattr(parts, "ERASE_AGAIN_SECONDS", 0.01)
    session = await world.session(wanting(ALICE, SECOND), wanting(BOB, THIRD))
    await world.control.delete_service(world.account.sid, world.service_sid)
    await world.settle()
    await world.stores[1].write((InteractionRecorded(interaction(session), is_elsewhere=True),))
    left = world.store.interactions_since(0.0)

    world.mood.is_failing = True
    world.hosts[1].parts.registry.apply((ServiceErased(session.service_sid, world.clock.now),))
    await world.breathe()
    kept = world.store.interactions_since(0.0)
    world.mood.is_failing = False
    async with asyncio.timeout(WAIT_SECONDS):
        while world.store.interactions_since(0.0):  # noqa: ASYNC110 - rows tell nobody
            await asyncio.sleep(0.01)

    assert [one.session_sid for one in left] == [session.sid]
    assert kept == left


@pytest.mark.parametrize("hosts", [1, 2, 4])
async def test_the_number_of_hosts_changes_at_a_full_stop_without_a_row_moved(world: SharedWorld, hosts: int) -> None:
    """All is there, each thing on one host: what routes, what was answered, calls that go on, the outbox."""
    services = [world.service_sid, *[await coordinated_by_anew(world, place) for place in (1, 2)]]
    sessions = [await world.session(ALICE, BOB, service_sid=service_sid) for service_sid in services[1:]]
    sessions.append(await world.session(wanting(ALICE, SECOND), wanting(BOB, THIRD)))
    events = [world.event(Kind.VOICE, ALICE, world.proxy(one, ALICE)) for one in sessions]
    answers = [await world.receive(event) for event in events]
    entries = [owed(world) for _ in range(HOSTS)]
    for store, entry in zip(world.stores.values(), entries, strict=True):
        await store.write((EntryAdded(entry),))

    await world.stop()
    world.resize(hosts)
    await world.start()

    assert [await world.receive(event) for event in events] == answers
    assert sum(host.active_sessions for host in world.hosts.values()) == len(sessions)
    assert sum(host.open_calls for host in world.hosts.values()) == len(events)
    pending = [await store.pending_entries(entries[0].queue, after=None, limit=9) for store in world.stores.values()]
    assert sorted(one.sid for some in pending for one in some) == [entry.sid for entry in entries]
    assert [(await world.text(BOB, world.proxy(one, BOB))).to for one in sessions] == [ALICE] * len(sessions)
    depths = [(await store.outbox_depth()).pending for store in world.stores.values()]
    assert sum(depths) == HOSTS


async def silenced(world: World, place: int) -> None:
    """Let a host say and do nothing more, as if its machine were lost; its connection to the database stays."""
    host = world.hosts.pop(place)
    assert host.parts.node is not None
    host.traffic.is_open = False
    await host.parts.node.leave()
    await host.parts.background.stop()


async def test_hosts_that_erase_sessions_of_each_others_numbers_erase_them_whole(world: SharedWorld) -> None:
    """While calls of these and of others go on and end; what is not erased stays."""
    of_first, of_second = world.service_sid, await coordinated_by_anew(world, 1)
    kept = await world.session(wanting(CAROL, SECOND), wanting(DAVE, FIRST), service_sid=of_first)
    await world.text(CAROL, SECOND)
    gone: list[Session] = []
    for nth in range(6):
        people = (f"+1212555{nth}001", f"+1212555{nth}002")
        one = await world.session(wanting(people[0], SECOND), wanting(people[1], THIRD), service_sid=of_first)
        other = await world.session(*people, service_sid=of_second)
        gone += (one, other)
        await asyncio.gather(world.text(people[0], SECOND), world.text(people[1], THIRD))
        await asyncio.gather(*(world.text(who, world.proxy(other, who)) for who in people))

    async with asyncio.timeout(WAIT_SECONDS):
        asking = count()
        controls = [world.hosts[next(asking) % HOSTS].control for _ in gone]
        deletions = [
            control.delete_session(world.account.sid, one.service_sid, one.sid)
            for control, one in zip(controls, gone, strict=True)
        ]
        await asyncio.gather(*deletions, *(world.text(CAROL, SECOND) for _ in range(9)))

    assert {one.session_sid for one in world.store.interactions_since(0.0)} == {kept.sid}
    assert all(world.store.session(one.sid) is None for one in gone)
    assert await world.stores[0].planned_erasures() == ()
    again = await arrived(world, 1, world.event(Kind.MESSAGE, "+12125550001", SECOND))
    assert again.outcome is Outcome.REFUSED
