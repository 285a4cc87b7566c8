"""What is asked at once of a host whose store suspends at every read: whatever order comes of it, nothing contradicts.

Each read takes some turns of the loop to reach the store, and what was read some more to come back, as many as the seed
says; meanwhile whatever else is under way goes on. What a decision relied upon may be gone by then.
"""

import asyncio
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any, Final

import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from engine.core.model.errors import ApiError, Code
from engine.core.model.records import Kind, LegStatus, Participant, ServiceOptions, Session
from engine.core.model.requests import ParticipantUpdate, ServiceRequest
from engine.core.numbers.e164 import mask_address
from engine.core.ports.lists import PageCursor
from engine.core.routing.traffic import Decision, InboundEvent, Outcome, ReportOutcome
from tests.actors.driver import AMERICANS, FOREVER, NUMBERS
from tests.actors.stores import WAIT_SECONDS
from tests.actors.world import World, wanting

IS_DEEP: Final = settings.get_current_profile_name() == "deep"
NAME: Final = "ride"
PAGE: Final = PageCursor(limit=1_000)

which = st.integers(0, 2)
people = st.sampled_from(AMERICANS)
couples = st.permutations(AMERICANS).map(lambda order: order[:2])
numbers = st.sampled_from(NUMBERS)

actions = st.one_of(
    st.tuples(st.just("create"), couples, st.none() | numbers, st.sampled_from([None, NAME])),
    st.tuples(st.sampled_from(["close", "reopen", "delete"]), which),
    st.tuples(st.sampled_from(["join", "leave"]), which, people),
    st.tuples(st.just("change"), which, st.none() | people, st.none() | numbers),
    st.tuples(st.sampled_from(["pool", "unpool"]), numbers),
    st.tuples(st.just("call"), which, st.integers(0, 1), st.integers(1, 3)),
    st.tuples(st.just("again"), which),
)
steps = st.lists(st.tuples(st.lists(actions, min_size=3, max_size=9), st.booleans()), min_size=1, max_size=4)


class Crowd:
    """A world of one host, and those who ask it at once."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.sessions: list[Session] = []
        """Those on disk before this step, the newest first."""
        self.routed: dict[str, tuple[InboundEvent, Decision]] = {}
        """By the SID of the call."""

    async def begin(self) -> None:
        """Start, with four numbers, two sessions and a service that lets participants change."""
        world = self.world
        await world.start()
        await world.furnish(*NUMBERS)
        request = ServiceRequest(options=ServiceOptions(participants_may_change=True))
        await world.control.update_service(world.account.sid, world.service_sid, request)
        for couple in (AMERICANS[:2], AMERICANS[2:]):
            await world.session(*couple)

    async def step(self, asked: Sequence[tuple[Any, ...]], *, is_restarted: bool) -> None:
        """Ask all of it at once; afterwards nothing contradicts."""
        self.world.clock.move(1.0)
        page = await self.world.control.sessions_page(self.world.account.sid, self.world.service_sid, PAGE)
        self.sessions = list(page.records)
        outcomes = await asyncio.gather(*(self.ask(*one) for one in asked), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException) and not isinstance(outcome, ApiError):
                raise outcome
        await self.world.settle()
        if is_restarted:
            await self.world.restart()
        await self.check()

    async def ask(self, what: str, *which_one: Any) -> None:  # noqa: ANN401 - what was drawn for it
        """Ask for one thing."""
        await getattr(self, f"_{what}")(*which_one)

    # -- what is asked ---------------------------------------------------------------------------------------------

    def _chosen(self, one: int) -> Session:
        if not self.sessions:
            raise ApiError(Code.NOT_FOUND, "there is no session yet")
        return self.sessions[one % len(self.sessions)]

    async def _create(self, couple: list[str], number: str | None, name: str | None) -> None:
        joining = [person if number is None else wanting(person, number) for person in couple]
        await self.world.session(*joining, unique_name=name)

    async def _close(self, one: int) -> None:
        await self.world.close(self._chosen(one))

    async def _reopen(self, one: int) -> None:
        await self.world.reopen(self._chosen(one))

    async def _delete(self, one: int) -> None:
        await self.world.delete(self._chosen(one))

    async def _join(self, one: int, person: str) -> None:
        await self.world.join(self._chosen(one), person)

    async def _leave(self, one: int, person: str) -> None:
        session = self._chosen(one)
        if person in [each.identifier for each in self.world.store.participants(session.sid)]:
            await self.world.leave(session, person)

    async def _change(self, one: int, person: str | None, number: str | None) -> None:
        session = self._chosen(one)
        update = ParticipantUpdate(
            identifier=UNSET if person is None else person, proxy_identifier=UNSET if number is None else number
        )
        for participant in self.world.store.participants(session.sid)[:1]:
            await self.world.control.update_participant(
                self.world.account.sid, session.service_sid, session.sid, participant.sid, update=update
            )

    async def _pool(self, number: str) -> None:
        await self.world.pool(number)

    async def _unpool(self, number: str) -> None:
        try:
            sid = await self.world.number_sid(number)
        except LookupError:
            return
        await self.world.control.remove_from_pool(self.world.account.sid, self.world.service_sid, sid)

    async def _call(self, one: int, side: int, times: int) -> None:
        """Call, sent so many times at once; if it is routed, both legs come to their ends."""
        people = self.world.store.participants(self._chosen(one).sid)
        if not people:
            return
        caller = people[side % len(people)]
        arriving = self.world.event(Kind.VOICE, caller.identifier, caller.proxy_identifier)

        decisions = await asyncio.gather(*(self.world.receive(arriving) for _ in range(times)))

        assert decisions == [decisions[0]] * times
        if decisions[0].outcome is Outcome.ROUTED:
            self.routed[arriving.resource_sid] = (arriving, decisions[0])
            await self._end(arriving, decisions[0])

    async def _end(self, arriving: InboundEvent, decision: Decision) -> None:
        """Report both legs' states, one right after the other."""
        told = [
            self.world.tell_report(status, sid, decision.interaction_sid, is_outbound=sid != arriving.resource_sid)
            for status in (LegStatus.RINGING, LegStatus.IN_PROGRESS, LegStatus.COMPLETED)
            for sid in (f"{arriving.resource_sid}-out", arriving.resource_sid)
        ]

        outcomes = await asyncio.wait_for(asyncio.gather(*told), WAIT_SECONDS)

        assert set(outcomes) <= {ReportOutcome.RECORDED, ReportOutcome.REPEATED, ReportOutcome.NOT_FOUND}
        kept = self.world.store.interaction(decision.interaction_sid)
        if kept is not None and ReportOutcome.NOT_FOUND not in outcomes:
            assert (kept.inbound.status, kept.outbound.status) == (LegStatus.COMPLETED, LegStatus.COMPLETED)
            assert kept.outbound.resource_sid == f"{arriving.resource_sid}-out"

    async def _again(self, one: int) -> None:
        """Send again, twice, what was routed before: it is not decided anew while its record is there."""
        if self.routed:
            arriving, decision = list(self.routed.values())[one % len(self.routed)]

            again = await asyncio.gather(*(self.world.receive(arriving) for _ in range(2)))

            assert again[0] == again[1]
            kept = self.world.store.interaction(decision.interaction_sid)
            people = () if kept is None else self.world.store.participants(kept.session_sid)
            callers = [one.identifier for one in people if kept and one.sid == kept.inbound.participant_sid]
            is_kept = callers == [arriving.sender]  # one who has become somebody else repeats nothing
            is_anew = again[0].outcome is Outcome.ROUTED and again[0].interaction_sid != decision.interaction_sid
            assert not (is_anew and is_kept)
            if is_anew:
                self.routed[arriving.resource_sid] = (arriving, again[0])
                await self._end(arriving, again[0])

    # -- what must be true -----------------------------------------------------------------------------------------

    async def check(self) -> None:
        """Disk, bindings and pool say the same, and nobody has a number twice."""
        world = self.world
        page = await world.control.sessions_page(world.account.sid, world.service_sid, PAGE)
        active = [one for one in page.records if one.is_active]
        people = {one.sid: self._live(one) for one in active}
        pairs = [(one.identifier, one.proxy_identifier) for some in people.values() for one in some]
        assert len(pairs) == len(set(pairs))
        assert all(len(some) <= 2 for some in people.values())
        names = [one.unique_name for one in page.records if one.unique_name is not None]
        assert len(names) == len(set(names))
        assert (world.host.active_sessions, world.host.bindings) == (len(active), len(pairs))
        used = Counter(number for some in people.values() for number in {one.proxy_identifier for one in some})
        pooled = await world.control.pool_page(world.account.sid, world.service_sid, PAGE, short_codes=False)
        assert {one.number.address: one.in_use for one in pooled.records if one.in_use} == used
        for some in people.values():
            await self._check_partners(some)
        assert world.host.open_calls == 0

    def _live(self, session: Session) -> list[Participant]:
        return [one for one in self.world.store.participants(session.sid) if one.date_deleted is None]

    async def _check_partners(self, people: list[Participant]) -> None:
        for caller in people:
            told = await self.world.control.explain(proxy=caller.proxy_identifier, sender=caller.identifier)
            met = [(mask_address(one.identifier), one.proxy_identifier) for one in people if one is not caller]
            assert [(told.call.to, told.call.caller_id)] == (met or [("", "")])


@settings(max_examples=1_000 if IS_DEEP else 25, deadline=None, suppress_health_check=(HealthCheck.too_slow,))
@pytest.mark.timeout(0 if IS_DEEP else 300)
@given(told=steps, seed=st.integers(0, 2**16))
def test_nothing_that_is_asked_at_once_contradicts(told: list[tuple[list[tuple[Any, ...]], bool]], seed: int) -> None:
    """Creations, closes, moves, calls and their redeliveries and reports, in whatever order the reads come back."""
    turns = Random(seed)  # noqa: S311 - no secret

    async def live(directory: Path) -> None:
        crowd = Crowd(World(directory / "data", FOREVER, turns=lambda: turns.randrange(4)))
        await crowd.begin()
        try:
            for asked, is_restarted in told:
                await crowd.step(asked, is_restarted=is_restarted)
        finally:
            await crowd.world.stop()

    with tempfile.TemporaryDirectory() as directory, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(live(Path(directory)))
