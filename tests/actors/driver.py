"""What drives a host and its model side by side, and the invariants that hold between any two steps."""

import asyncio
import tempfile
from collections.abc import Awaitable, Coroutine, Mapping
from functools import partial
from itertools import product
from pathlib import Path
from random import Random
from types import MappingProxyType
from typing import Any, Final, TypeVar

import pytest
import uvloop
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant

from actors.kernel.settings import HostSettings
from engine.core.model.errors import ApiError, Code, StoreUnavailable
from engine.core.model.placement import owner_of
from engine.core.model.records import Kind, Session
from engine.core.model.requests import AccountUpdate
from engine.core.numbers.e164 import mask_address
from engine.core.ports.lists import PageCursor
from engine.core.ports.operations import Explanation, PoolEntry
from engine.core.routing.traffic import Decision, Outcome, Reason
from tests.actors.model import Model, Pairing, Place
from tests.actors.route_cache_check import check_cached_routes
from tests.actors.stores import WAIT_SECONDS, never
from tests.actors.world import World

Result = TypeVar("Result")

PEOPLE: Final = ("+12122001000", "+12122002000", "+12122003000", "+12122004000", "+525512345678")
"""Told apart without their last four digits; nobody in Mexico gets an American number unless asked for by name."""

AMERICANS: Final = PEOPLE[:4]

SPELLINGS: Final = {"+525512345678": "+5215512345678"}
"""How somebody may be written by their carrier, though the application writes them otherwise."""

NUMBERS: Final = ("+16465550001", "+16465550002", "+16465550003", "+16465550004")

SERVICES: Final = (0, 1)

FOREVER: Final = HostSettings(
    sweep_interval_seconds=3600.0,
    retention_interval_seconds=3600.0,
    redelivery_window_seconds=10**9,
    answers_remembered=1,  # nearly all are made from the records
    longest_call_hours=0,  # a call ends when it is told to; tests/actors/test_reports.py has the others
)

PAGE: Final = PageCursor(limit=100)

people = st.sampled_from(PEOPLE)
numbers = st.sampled_from(NUMBERS)
services = st.sampled_from(SERVICES)
kinds = st.sampled_from(Kind)
which = st.integers(0, 15)
"""One of the sessions, answers, calls there are; taken modulo their number."""
seldom = st.sampled_from([False] * 7 + [True])
joiners = st.tuples(people, st.none() | numbers)
couples = st.permutations(PEOPLE).map(lambda order: order[:2])
ttls = st.sampled_from([0, 5, 60])
lengths = st.sampled_from([None, -1.0, 0.0, 0.5])
"""Seconds past the end of a session; None = no matter."""
expiries = st.sampled_from([None, None, None, 5.0, 50.0])
"""Seconds from now."""


class Driver(RuleBasedStateMachine):
    """Hosts of one account with two services and four numbers, and the model of it."""

    is_permissive = False
    hosts = 1
    skews: Mapping[int, float] = MappingProxyType({})
    """Whose clock is how far ahead; both services are coordinated by a host whose clock is right."""
    reads_suspend = False
    """Every point read takes some turns of the loop, as of a database elsewhere."""

    def furnish(self) -> None:
        """Start a host with two numbers in each service."""
        self.runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self.directory = tempfile.TemporaryDirectory()
        turns = partial(Random(0).randrange, 1, 4) if self.reads_suspend else never  # noqa: S311 - no secret
        data = Path(self.directory.name) / "data"
        self.world = World(data, FOREVER, count=self.hosts, skews=self.skews, turns=turns)
        self.model = Model()
        self.names = 0
        self.run(self._furnish())

    async def _furnish(self) -> None:
        await self.world.start()
        await self.world.furnish(settings=AccountUpdate(allow_participant_conflict=self.is_permissive))
        self.world.service_sid = await self.make_service("one")
        self.service_sids = [self.world.service_sid, await self.make_service("other")]
        self.number_sids = dict(zip(NUMBERS[:2], await self.world.pool(*NUMBERS[:2]), strict=True))
        others = await self.world.pool(*NUMBERS[2:], service_sid=self.service_sids[1])
        self.number_sids |= dict(zip(NUMBERS[2:], others, strict=True))
        self.model.pools = {number: self.service_sids[place // 2] for place, number in enumerate(NUMBERS)}

    async def make_service(self, name: str) -> str:
        """Make a service whose coordinator has the right time."""
        for attempt in range(100):
            service = await self.world.make_service(f"{name}-{attempt}")
            if owner_of(service.sid, self.hosts) not in self.skews:
                return service.sid
        raise AssertionError("no SID of a hundred is of a host whose clock is right")

    def teardown(self) -> None:
        """Stop the host, if it was begun."""
        if hasattr(self, "world"):
            self.run(self.world.stop())
            self.runner.close()
            self.directory.cleanup()

    # -- running ---------------------------------------------------------------------------------------------------

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run something to its end, and a moment longer; `Runner.run` would set handlers of signals each time."""
        return self.runner.get_loop().run_until_complete(asyncio.wait_for(work, WAIT_SECONDS))

    async def _settled(self, request: Awaitable[Result]) -> Result:
        try:
            return await request
        finally:
            await self.world.settle()

    def ask(self, request: Coroutine[Any, Any, Result], *, is_failing: bool = False) -> Result | Code | None:
        """Carry a request out; return the code of a refusal, None when the store failed."""
        self.world.clock.move(0.001)
        self.world.store.is_failing = is_failing
        try:
            return self.run(self._settled(request))
        except ApiError as refusal:
            return refusal.code
        except StoreUnavailable:
            assert is_failing, "the store was well"
            return None
        finally:
            self.world.store.is_failing = False

    @property
    def now(self) -> float:
        """Tell the time."""
        return self.world.clock.now

    def chosen(self, one: int) -> Pairing:
        """Return one of the sessions, more often an active one."""
        sessions = [*self.model.active(), *self.model.active(), *self.model.sessions.values()]
        return sessions[one % len(sessions)]

    def record(self, pairing: Pairing) -> Session:
        """Return the record by which the world names a session."""
        session = self.world.store.session(pairing.sid)
        assert session is not None
        return session

    def _reach_end(self, pairing: Pairing, length: float | None) -> None:
        """Let time pass until so much after the end of a session (or before it), or until a little later."""
        if length is not None and pairing.is_active and pairing.expires_at is not None:
            self.world.clock.now = max(self.now, pairing.expires_at + length)
        else:
            self.world.clock.move(0.5)

    def _check(self, decision: Decision, outcome: Outcome, reason: Reason, partner: Place | None) -> None:
        """Nobody is reached but the partner; no identifier is shown as caller id."""
        assert decision.outcome is outcome
        if reason is Reason.NO_SESSION:
            assert decision.reason in (Reason.NO_SESSION, Reason.SESSION_EXPIRED)  # it may remember an expired one
        else:
            assert decision.reason is reason
        assert decision.caller_id not in PEOPLE
        if partner is None:
            assert (decision.to, decision.caller_id) == ("", "")
        else:
            assert (decision.to, decision.caller_id) == (partner.identifier, partner.proxy)

    # -- what must always hold -------------------------------------------------------------------------------------

    @invariant()
    def every_pair_meets_what_the_model_says(self) -> None:
        """Whoever would call or text any number now: only partners are reached, through their own numbers."""
        for (sender, number), told in self.run(self._explained()).items():
            met = self.model.met(sender, number)
            assert told.expires_at == pytest.approx(None if met is None else met.expires_at, abs=1e-6)
            for kind, decision in ((Kind.VOICE, told.call), (Kind.MESSAGE, told.message)):
                outcome, reason, partner = self.model.expected(kind, sender, number, self.now)
                if partner is not None:
                    partner = Place(partner.sid, mask_address(partner.identifier), partner.proxy)
                self._check(decision, outcome, reason, partner)

    async def _explained(self) -> dict[tuple[str, str], Explanation]:
        explain = self.world.control.explain
        return {pair: await explain(proxy=pair[1], sender=pair[0]) for pair in product(PEOPLE, NUMBERS)}

    @invariant()
    def cached_routes_lead_where_a_full_look_finds(self) -> None:
        """Whatever has changed since they were noted, in this step or long ago."""
        for host in self.world.hosts.values():
            check_cached_routes(host, (*PEOPLE, *SPELLINGS.values()), NUMBERS, account_sid=self.world.account.sid)

    @invariant()
    def numbers_are_used_as_the_model_says(self) -> None:
        """In_use is the count of active sessions, each once; strict accounts have no pair twice."""
        for number, entry in self.run(self._pooled()).items():
            assert entry.in_use == self.model.in_use(number)
        pairs = list(self.model.pairs())
        assert self.is_permissive or len(pairs) == len(set(pairs))
        assert self.world.host.active_sessions == len(self.model.active())
        assert self.world.host.bindings == len(set(pairs))

    async def _pooled(self) -> dict[str, PoolEntry]:
        pooled = {number: service_sid for number, service_sid in self.model.pools.items() if service_sid is not None}
        entry = partial(self.world.control.pool_entry, self.world.account.sid)
        return {number: await entry(service, self.number_sids[number]) for number, service in pooled.items()}

    @invariant()
    def records_are_as_the_model_says(self) -> None:
        """What is on disk is what was acknowledged."""
        for pairing in self.model.sessions.values():
            session = self.record(pairing)
            assert (session.status, session.closed_reason) == (pairing.status, pairing.closed_reason)
            assert (session.ttl_seconds, session.date_expiry) == (pairing.ttl_seconds, pairing.date_expiry)
            assert session.idle_since == pytest.approx(pairing.idle_since, abs=1e-6)


def has_sessions(driver: Driver) -> bool:
    """Tell whether there are sessions to choose from."""
    return bool(driver.model.sessions)
