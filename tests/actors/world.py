"""Hosts over real stores, all else in the test's hand: clock, SIDs, choices, observer, network, disks that fail."""

import asyncio
import gc
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from itertools import count as count_from
from itertools import permutations
from math import inf
from pathlib import Path
from time import monotonic
from types import MappingProxyType
from typing import Any, Final

import pytest
from msgspec import UNSET, UnsetType

from actors.host.host import Host
from actors.kernel.context import Egress, HostContext
from actors.kernel.settings import HostSettings
from actors.traffic.stream import LEASE_SECONDS
from engine.core.model.errors import ApiError, Code, PeerUnavailable
from engine.core.model.overview import HostFigures, ReadFigures
from engine.core.model.placement import Placement, host_name, shards_of
from engine.core.model.records import (
    Account,
    Address,
    Kind,
    LegStatus,
    Mode,
    NumberSelectionBehavior,
    Participant,
    Service,
    Session,
    SessionStatus,
)
from engine.core.model.requests import AccountUpdate, ParticipantRequest, ServiceRequest, SessionRequest, SessionUpdate
from engine.core.ports.lists import PageCursor
from engine.core.ports.operations import Clock, ControlPlane, PoolEntry
from engine.core.routing.route_cache import RouteCache
from engine.core.routing.traffic import Decision, InboundEvent, LegReport, ReportOutcome
from engine.runtime import OrderedIdFactory
from storage.postgres.reader import PostgresReader
from storage.postgres.store import PostgresStore
from storage.sqlite import SqliteStore
from storage.sqlite.layout import host_dir
from tests import postgres
from tests.actors.all_hosts import Hosts
from tests.actors.observed import Observed
from tests.actors.stores import WAIT_SECONDS, Mood, MoodyStore, Stores, never
from tests.storage.stores import AnyStore, with_tables

START: Final = 1_800_000_000.0
"""When the world of a test begins."""

DAY: Final = 86_400.0

ALICE: Final = "+12125552001"
BOB: Final = "+12125552002"
CAROL: Final = "+12125552003"
DAVE: Final = "+12125552004"
ERIN: Final = "+12125552005"

N1: Final = "+16465550001"
N2: Final = "+16465550002"
N3: Final = "+16465550003"

ALL: Final = range(1_000_000)
"""Every commit in flight."""

QUIET: Final = HostSettings(sweep_interval_seconds=3600.0, retention_interval_seconds=3600.0)
"""The sweeps run when the test says so."""


class FakeClock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        """Tell the time."""
        return self.now

    def move(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


class Wire:
    """The network of a world, as one host sees it: every message arrives, unless the test cuts it."""

    def __init__(self, world: "World", me: int) -> None:
        self.me = me
        self._world = world

    @property
    def count(self) -> int:
        """How many hosts there are."""
        return self._world.count

    async def ask(self, host: int, message: bytes) -> bytes:
        """Carry a message over and the answer back."""
        await asyncio.sleep(0)
        self._world.said.append((self.me, host, message))
        fate = next(self._world.fates, "through")
        if fate == "late":
            await asyncio.sleep(0.02)
        if fate == "lost" or host not in self._world.hosts or not self._world.is_joined(self.me, host):
            raise PeerUnavailable(f"Host {host} does not answer")
        answer = await self._world.hosts[host].answer(self.me, message)
        if fate == "twice":
            answer = await self._world.hosts[host].answer(self.me, message)
        if fate == "unanswered" or not self._world.is_joined(self.me, host):
            raise PeerUnavailable(f"Host {host} did not answer")
        return answer


class World:
    """One host or several, their stores and one account, ready for traffic."""

    egress: Egress | None = None
    lease_seconds: float = inf
    """How long the leases of hosts run that start from then on, unless the test says otherwise."""
    not_before: float = 0.0
    """Before which hosts that start answer nothing, by the steady clock."""
    figures: Mapping[int, ReadFigures] = MappingProxyType({})
    """What is counted beside the actors of the host at a place."""

    def __init__(
        self,
        data_dir: Path,
        settings: HostSettings = QUIET,
        *,
        count: int = 1,
        skews: Mapping[int, float] = MappingProxyType({}),
        turns: Callable[[], int] = never,
        database: str | None = None,
    ) -> None:
        self.count = count
        self.place = Placement(count, by_shard=database is not None)
        """Which host owns a number or service."""
        self.is_shared = database is not None
        """Whether all hosts are on one database."""
        self._database = database
        self._shared = None if database is None else PostgresReader(database, None, deadline_seconds=WAIT_SECONDS)
        self.clock = FakeClock()
        self.steady = FakeClock()
        self.skipped_seconds = 0.0
        """How far the monotonic clocks of hosts, by which they hear of each other, are ahead of the real one."""
        self.sure_clock: Clock | None = None
        """Given to hosts that start from then on; None: the clock is believed."""
        self.skews = dict(skews)
        """How far the clocks of hosts are ahead of the world's, seconds; 0 where nothing is said."""
        self.observer = Observed()
        self.settings = settings
        self.mood = Mood(turns)
        bits = count_from(1)
        self.id_factory = OrderedIdFactory(self.clock, lambda: f"{next(bits):016x}")
        self._data_dir = data_dir
        self._resources = count_from(1)
        self._cut: set[frozenset[int]] = set()
        self.fates: Iterator[str] = iter(())
        """What becomes of the next messages: through (as of all after them), lost, unanswered, twice, late."""
        self.said: deque[tuple[int, int, bytes]] = deque(maxlen=1_000)
        """The latest messages between hosts: from, to, and what."""
        self.hosts: dict[int, Host] = {}
        self.stores: dict[int, MoodyStore] = {}
        self.store: Stores
        self.host: Hosts
        self.account: Account
        self.service_sid: str

    @property
    def control(self) -> ControlPlane:
        """The control plane."""
        return self.host.control

    # -- life ------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Open the data directories and load them."""
        for place in range(self.count):
            await self.start_host(place)
        self.renew()
        await self.joined()

    def renew(self) -> None:
        """Speak from now on to the hosts that there are now."""
        self.store = Stores(self.mood, tuple(self.stores.values()), self._shared)
        self.host = Hosts(tuple(self.hosts.values()))

    async def start_host(self, place: int) -> None:
        """Open the records of one host and load them."""
        store = MoodyStore(self.opened(place), self.mood)  # type: ignore[abstract] # the rest of the port is the real store's
        store.lease_until = self.steady() + self.lease_seconds
        store.not_before = self.not_before
        self.stores[place] = store
        context = HostContext(
            store=store,
            clock=lambda: self.clock() + self.skews.get(place, 0.0),
            id_factory=self.id_factory,
            choose=lambda _count: 0,
            observer=self.observer,
            settings=self.settings,
            egress=self.egress or Egress(),
            sure_clock=self.sure_clock,
            monotonic=lambda: monotonic() + self.skipped_seconds,
            steady=self.steady,
        )
        self.hosts[place] = Host(
            context,
            peers=Wire(self, place) if self.count > 1 else None,
            figures=self.figures.get(place, HostFigures),
            route_cache=RouteCache(),
        )
        await self.hosts[place].start()

    def opened(self, place: int) -> AnyStore:
        """Open the records of the host at a place."""
        if self._database is None:
            data_dir = with_tables(host_dir(self._data_dir, place, self.count))
            return SqliteStore.open(data_dir, synchronous="NORMAL", observer=self.observer)
        postgres.assign(self._database, place, node=host_name(place))
        return PostgresStore.open(
            self._database,
            observer=self.observer,
            fenced=print,
            place=place,
            node=host_name(place),
            shards=shards_of(place, self.count),
        )

    async def joined(self) -> None:
        """Wait until every host has heard of every other, and commits nothing that no test asked for."""
        async with asyncio.timeout(WAIT_SECONDS):
            while not (self.host.is_ready and self.store.have_retained):  # noqa: ASYNC110 - hosts tell nobody when
                await asyncio.sleep(0.001)

    async def stop(self) -> None:
        """Stop and let the data directories go."""
        self.store.let_through()
        await self.host.stop()
        for store in self.store.all:
            await store.close()
        if self._shared is not None:
            self._shared.close()
        gc.unfreeze()

    async def restart(self) -> None:
        """Stop and start on the same data directories."""
        await self.stop()
        await self.start()

    async def settle(self) -> None:
        """Let everything that is under way come to its end."""
        for _ in range(3):
            for store in self.store.all:
                await store.land()
            await self.breathe()
        await self.catch_up()

    async def catch_up(self) -> None:
        """Let every host hear of what passed on the others, and have it on disk."""
        for host in self.host.all:
            await host.parts.catch_up()

    async def breathe(self) -> None:
        """Let the loop turn, without waiting for the disk."""
        for _ in range((10 if self.count == 1 else 40) * (1 if self.mood.turns is never else 10)):
            await asyncio.sleep(0)

    async def in_flight(self) -> None:
        """Wait until a commit is in flight, which the store is keeping back."""
        async with asyncio.timeout(WAIT_SECONDS):
            while not self.store.kept_back:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0)

    def is_joined(self, one: int, other: int) -> bool:
        """Tell whether two hosts reach each other."""
        return frozenset((one, other)) not in self._cut

    def cut(self, one: int, other: int) -> None:
        """Let no message pass between two hosts any more."""
        self._cut.add(frozenset((one, other)))

    def mend(self) -> None:
        """Let messages pass again."""
        self._cut.clear()

    async def outlast_leases(self) -> None:
        """Let more time pass than a host routes for one that it does not hear; those that are joined speak again."""
        self.skipped_seconds += LEASE_SECONDS + 0.3
        nodes = {place: host.parts.node for place, host in self.hosts.items() if host.parts.node is not None}
        joined = [
            (nodes[one].replicas[other], nodes[other].publishers[one])
            for one, other in permutations(nodes, 2)
            if self.is_joined(one, other)
        ]
        async with asyncio.timeout(WAIT_SECONDS):
            while waited_for := [publisher for replica, publisher in joined if not replica.is_ready]:
                for publisher in waited_for:
                    publisher._wake.set()  # it would in half a second
                await asyncio.sleep(0.001)

    # -- provisioning ----------------------------------------------------------------------------------------------

    async def furnish(self, *numbers: Address, settings: AccountUpdate | None = None) -> None:
        """Make the account, its service and a pool."""
        self.account = await self.control.create_account(settings or AccountUpdate(friendly_name="Rides"))
        self.service_sid = (await self.make_service("rides")).sid
        await self.pool(*numbers)

    async def make_service(
        self,
        unique_name: str,
        *,
        account: Account | None = None,
        ttl_seconds: int = 0,
        behavior: NumberSelectionBehavior = NumberSelectionBehavior.PREFER_STICKY,
    ) -> Service:
        """Make a service."""
        request = ServiceRequest(
            unique_name=unique_name, default_ttl_seconds=ttl_seconds, number_selection_behavior=behavior
        )
        return await self.control.create_service((account or self.account).sid, request)

    async def pool(self, *addresses: Address, service_sid: str | None = None, is_reserved: bool = False) -> list[str]:
        """Put numbers into the pool; return their SIDs."""
        entries = [
            await self.control.add_to_pool(
                self.account.sid,
                service_sid or self.service_sid,
                number_sid=None,
                address=address,
                is_reserved=is_reserved,
            )
            for address in addresses
        ]
        return [entry.number.sid for entry in entries]

    async def in_use(self, address: Address) -> int:
        """Tell how many active sessions use a number."""
        return (await self._entry(address)).in_use

    async def number_sid(self, address: Address) -> str:
        """Tell the SID of a pooled number."""
        return (await self._entry(address)).number.sid

    async def _entry(self, address: Address) -> PoolEntry:
        for short_codes in (False, True):
            page, after = None, None
            while page is None or page.has_next:
                page = await self.control.pool_page(
                    self.account.sid, self.service_sid, PageCursor(limit=100, after=after), short_codes=short_codes
                )
                for entry in page.records:
                    if entry.number.address == address:
                        return entry
                    after = entry.number.sid
        raise LookupError(f"{address} is not in the pool")

    # -- sessions --------------------------------------------------------------------------------------------------

    async def session(
        self,
        *participants: Address | ParticipantRequest,
        unique_name: str | None = None,
        ttl_seconds: int | None = None,
        date_expiry: float | None = None,
        mode: Mode = Mode.VOICE_AND_MESSAGE,
        service_sid: str | None = None,
        fail_on: bool = False,
    ) -> Session:
        """Make a session; a plain address takes whatever number is chosen."""
        request = SessionRequest(
            unique_name=unique_name,
            ttl_seconds=ttl_seconds,
            date_expiry=date_expiry,
            mode=mode,
            participants=tuple(asking(one) for one in participants),
            fail_on_participant_conflict=fail_on,
        )
        return await self.control.create_session(self.account.sid, service_sid or self.service_sid, request)

    async def join(self, session: Session, participant: Address | ParticipantRequest) -> Participant:
        """Add a participant."""
        return await self.control.add_participant(
            self.account.sid, session.service_sid, session.sid, asking(participant)
        )

    async def leave(self, session: Session, identifier: Address) -> None:
        """Remove a participant."""
        await self.control.remove_participant(
            self.account.sid, session.service_sid, session.sid, self.participant(session, identifier).sid
        )

    async def update(
        self,
        session: Session,
        *,
        status: SessionStatus | UnsetType = UNSET,
        ttl_seconds: int | UnsetType = UNSET,
        date_expiry: float | UnsetType | None = UNSET,
        fail_on: bool | UnsetType = UNSET,
    ) -> Session:
        """Change a session."""
        update = SessionUpdate(
            status=status, ttl_seconds=ttl_seconds, date_expiry=date_expiry, fail_on_participant_conflict=fail_on
        )
        return await self.control.update_session(self.account.sid, session.service_sid, session.sid, update)

    async def close(self, session: Session) -> Session:
        """Close a session."""
        return await self.update(session, status=SessionStatus.CLOSED)

    async def reopen(self, session: Session, *, fail_on: bool | UnsetType = UNSET) -> Session:
        """Re-open a session."""
        return await self.update(session, status=SessionStatus.IN_PROGRESS, fail_on=fail_on)

    async def delete(self, session: Session) -> None:
        """Erase a session."""
        await self.control.delete_session(self.account.sid, session.service_sid, session.sid)

    async def look(self, session: Session) -> Session:
        """Read a session anew."""
        return await self.control.session(self.account.sid, session.service_sid, session.sid)

    def participant(self, session: Session, identifier: Address) -> Participant:
        """Return the participant of a session with that identifier, the last one if there were several."""
        found = [one for one in self.store.participants(session.sid) if one.identifier == identifier]
        return found[-1]

    def proxy(self, session: Session, identifier: Address) -> Address:
        """Return the proxy number that a participant dials."""
        return self.participant(session, identifier).proxy_identifier

    # -- traffic ---------------------------------------------------------------------------------------------------

    def event(
        self, kind: Kind, sender: Address, proxy: Address, *, resource_sid: str | None = None, body: str = "on my way"
    ) -> InboundEvent:
        """Return something that arrives, with a SID of its own unless one is given."""
        prefix = "CA" if kind is Kind.VOICE else "SM"
        sid = resource_sid or f"{prefix}{next(self._resources):032x}"
        return InboundEvent(kind, sender, proxy, sid, "" if kind is Kind.VOICE else body)

    def deliver(self, event: InboundEvent) -> asyncio.Future[Decision]:
        """Hand an event in; the answer may take a commit."""
        answer: asyncio.Future[Decision] = asyncio.get_running_loop().create_future()
        self.host.receive(event, answer.set_result)
        return answer

    async def receive(self, event: InboundEvent) -> Decision:
        """Hand an event in and wait for the answer."""
        return await asyncio.wait_for(self.deliver(event), WAIT_SECONDS)

    async def call(self, sender: Address, proxy: Address) -> Decision:
        """Let somebody call a proxy number."""
        return await self.receive(self.event(Kind.VOICE, sender, proxy))

    async def text(self, sender: Address, proxy: Address, body: str = "on my way") -> Decision:
        """Let somebody text a proxy number."""
        return await self.receive(self.event(Kind.MESSAGE, sender, proxy, body=body))

    def tell(self, report: LegReport) -> asyncio.Future[ReportOutcome | None]:
        """Hand a leg report in; the outcome may take a commit."""
        outcome: asyncio.Future[ReportOutcome | None] = asyncio.get_running_loop().create_future()
        self.host.report(report, outcome.set_result)
        return outcome

    def tell_report(
        self, status: LegStatus, resource_sid: str, interaction_sid: str | None, *, is_outbound: bool
    ) -> asyncio.Future[ReportOutcome | None]:
        """Report a leg of a call, without waiting."""
        return self.tell(
            LegReport(
                kind=Kind.VOICE,
                account_sid=self.account.sid,
                interaction_sid=interaction_sid,
                is_outbound=is_outbound,
                resource_sid=resource_sid,
                status=status,
            )
        )

    async def report(
        self,
        status: LegStatus,
        *,
        resource_sid: str,
        interaction_sid: str | None = None,
        is_outbound: bool = False,
        kind: Kind = Kind.VOICE,
        seconds: int | None = None,
        account_sid: str | None = None,
        proxy: Address | None = None,
    ) -> ReportOutcome | None:
        """Report a leg and wait for what became of it."""
        report = LegReport(
            kind=kind,
            account_sid=account_sid or self.account.sid,
            interaction_sid=interaction_sid,
            is_outbound=is_outbound,
            resource_sid=resource_sid,
            status=status,
            proxy=proxy,
            duration_seconds=seconds,
        )
        return await asyncio.wait_for(self.tell(report), WAIT_SECONDS)


def asking(participant: Address | ParticipantRequest) -> ParticipantRequest:
    """Return a request to join."""
    return ParticipantRequest(identifier=participant) if isinstance(participant, str) else participant


def wanting(identifier: Address, proxy: Address, *, fail_on: bool = False) -> ParticipantRequest:
    """Return a request to join with that proxy number."""
    return ParticipantRequest(identifier=identifier, proxy_identifier=proxy, fail_on_participant_conflict=fail_on)


async def begun(*requests: Coroutine[Any, Any, Any]) -> list[asyncio.Task[Any]]:
    """Begin requests one after the other, each up to its commit, which the store must be keeping back."""
    tasks = []
    for request in requests:
        tasks.append(asyncio.create_task(request))
        for _ in range(40):
            await asyncio.sleep(0)
    return tasks


async def refused(request: Awaitable[object]) -> Code:
    """Return the code with which a request is refused."""
    with pytest.raises(ApiError) as caught:
        await asyncio.wait_for(request, WAIT_SECONDS)
    return caught.value.code
