"""Random histories, grouped at random, with restarts: the store answers every question as plain dictionaries do."""

# ruff: noqa: D102 - a rule is named for what it does

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from functools import partial
from operator import attrgetter
from typing import Any

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from msgspec import UNSET

from engine.core.model.changes import (
    Change,
    InteractionErased,
    InteractionRecorded,
    InteractionUpdated,
    NumberReleased,
    NumberSaved,
    ParticipantAdded,
    ParticipantChanged,
    ParticipantRemoved,
    ServiceErased,
    ServiceSaved,
    SessionChanged,
    SessionCreated,
    SessionErased,
    SessionTouched,
)
from engine.core.model.records import ClosedReason, Kind, LegStatus, SessionStatus
from engine.core.model.sids import SidKind, ordered_sid
from engine.core.ports.lists import Page, PageCursor
from engine.core.sessions.bindings import active_session
from storage.sqlite.store import SqliteStore
from tests.storage.material import (
    START,
    counting_id_factory,
    interaction,
    interactions_since,
    number,
    participant,
    service,
    session,
)
from tests.storage.model import Model
from tests.storage.stores import Records

SERVICES = tuple(ordered_sid(SidKind.SERVICE, milliseconds=n, counter=0, random_bits=n) for n in (1, 2))
PEOPLE = ("+15005550001", "+15005550002", "whatsapp:+15005550001", "5005")
PROXIES = ("+15105550001", "+15105550002", "51055")
TIMES = st.integers(0, 40).map(lambda n: START + n / 8)
PICK = st.integers(0, 11)


_KEPT = attrgetter(
    *("sid", "service_sid", "account_sid", "mode", "endpoints"),
    *("idle_since", "ttl_seconds", "date_expiry", "unique_name"),
)
"""What of an active session is on disk."""


class StoreMachine(RuleBasedStateMachine):
    """Applies every change to the model at once and to the store in groups of changesets."""

    def __init__(self, records: Records) -> None:
        super().__init__()
        self.model = Model()
        self.changes: list[Change] = []
        self.group: list[list[Change]] = []
        self.id_factory = counting_id_factory()
        self.runner = asyncio.Runner()
        self.records = records
        self.store = records.open()

    def teardown(self) -> None:
        """Check once more after a restart, and tidy up."""
        self._commit()
        self.restart()
        self.agrees()
        self.runner.run(self.store.close())
        self.runner.close()

    @initialize()
    def services_are_made(self) -> None:
        for index, sid in enumerate(SERVICES):
            self._add(ServiceSaved(service(sid, unique_name=f"service {index}")))

    @rule(at=TIMES, pick=PICK, size=st.integers(0, 2), is_closed=st.booleans(), is_named=st.booleans())
    def create_session(self, at: float, pick: int, size: int, *, is_closed: bool, is_named: bool) -> None:
        sid = self.id_factory(SidKind.SESSION)
        made = session(
            at=at,
            service_sid=SERVICES[pick % len(SERVICES)],
            unique_name=f"name of {sid}" if is_named else None,
            status=SessionStatus.CLOSED if is_closed else SessionStatus.OPEN,
        )
        made = msgspec.structs.replace(made, sid=sid)
        people = tuple(self._participant(sid, made.service_sid, pick + place, at) for place in range(size))
        self._add(SessionCreated(made, people))

    @precondition(lambda self: self.model.sessions)
    @rule(at=TIMES, pick=PICK)
    def touch_session(self, at: float, pick: int) -> None:
        self._add(SessionTouched(self._some_session(pick), at))

    @precondition(lambda self: self.model.sessions)
    @rule(at=TIMES, pick=PICK)
    def close_session(self, at: float, pick: int) -> None:
        self._add(
            SessionChanged(
                session_sid=self._some_session(pick),
                at=at,
                status=SessionStatus.CLOSED,
                closed_reason=ClosedReason.TTL,
                date_ended=at,
            )
        )

    @precondition(lambda self: self.model.sessions)
    @rule(at=TIMES, pick=PICK, ttl=st.just(UNSET) | st.integers(0, 99), expiry=st.just(UNSET) | st.none() | TIMES)
    def reopen_session(self, at: float, pick: int, ttl: Any, expiry: Any) -> None:  # noqa: ANN401 - a field or UNSET
        self._add(
            SessionChanged(
                session_sid=self._some_session(pick),
                at=at,
                status=SessionStatus.IN_PROGRESS,
                closed_reason=None,
                date_ended=None,
                idle_since=at,
                ttl_seconds=ttl,
                date_expiry=expiry,
            )
        )

    @precondition(lambda self: self.model.sessions)
    @rule(at=TIMES, pick=PICK, ttl=st.integers(0, 9))
    def change_session(self, at: float, pick: int, ttl: int) -> None:
        sid = self._some_session(pick)
        self._add(SessionChanged(session_sid=sid, at=at, ttl_seconds=ttl))

    @precondition(lambda self: self.model.sessions)
    @rule(at=TIMES, pick=PICK)
    def add_participant(self, at: float, pick: int) -> None:
        sid = self._some_session(pick)
        self._add(ParticipantAdded(self._participant(sid, self.model.sessions[sid].service_sid, pick, at)))

    @precondition(lambda self: self.model.participants)
    @rule(at=TIMES, pick=PICK)
    def remove_participant(self, at: float, pick: int) -> None:
        sid = self._some(self.model.participants, pick)
        self._add(ParticipantRemoved(sid, self.model.participants[sid].session_sid, at))

    @precondition(lambda self: self.model.participants)
    @rule(at=TIMES, pick=PICK, identifier=st.sampled_from(PEOPLE), proxy=st.sampled_from(PROXIES))
    def change_participant(self, at: float, pick: int, identifier: str, proxy: str) -> None:
        before = self.model.participants[self._some(self.model.participants, pick)]
        changed = msgspec.structs.replace(
            before,
            identifier=identifier,
            proxy_identifier=proxy,
            friendly_name=f"number {pick}",
            date_updated=at,
            date_deleted=None,
        )
        self._add(ParticipantChanged(changed))

    @precondition(lambda self: self.model.participants)
    @rule(at=TIMES, pick=PICK, kind=st.sampled_from(Kind), is_pushed=st.booleans())
    def record_interaction(self, at: float, pick: int, kind: Kind, *, is_pushed: bool) -> None:
        one = self.model.participants[self._some(self.model.participants, pick)]
        of = self.model.sessions[one.session_sid]
        passed = interaction(of, kind=kind, sender=None if is_pushed else one, receiver=one, at=at)
        self._add(InteractionRecorded(msgspec.structs.replace(passed, sid=self.id_factory(SidKind.INTERACTION))))

    @precondition(lambda self: self.model.interactions)
    @rule(
        at=TIMES,
        pick=PICK,
        inbound=st.sampled_from(LegStatus),
        outbound=st.sampled_from(LegStatus),
        resource_sid=st.sampled_from(("CAx", "0012345", None)),
        is_alone=st.booleans(),
    )
    def update_interaction(  # noqa: PLR0917 - Hypothesis calls it
        self, at: float, pick: int, inbound: LegStatus, outbound: LegStatus, resource_sid: str | None, *, is_alone: bool
    ) -> None:
        passed = self.model.interactions[self._some(self.model.interactions, pick)]
        self._add(
            InteractionUpdated(
                interaction_sid=passed.sid,
                inbound=passed.inbound if is_alone else msgspec.structs.replace(passed.inbound, status=inbound),
                outbound=msgspec.structs.replace(passed.outbound, resource_sid=resource_sid, status=outbound),
                duration_seconds=passed.duration_seconds if is_alone else pick % 60,
                at=at,
                is_outbound_alone=is_alone,
            )
        )

    @precondition(lambda self: self.model.interactions)
    @rule(pick=PICK)
    def erase_interaction(self, pick: int) -> None:
        self._add(InteractionErased(self._some(self.model.interactions, pick)))

    @precondition(lambda self: self.model.sessions)
    @rule(pick=PICK)
    def erase_session(self, pick: int) -> None:
        self._add(SessionErased(self._some_session(pick)))

    @rule(pick=st.integers(0, 7))
    def erase_service(self, pick: int) -> None:
        if pick < len(SERVICES):
            self._add(ServiceErased(SERVICES[pick], START))
            self._add(ServiceSaved(service(SERVICES[pick], unique_name=f"service {pick}")))

    @rule(pick=PICK)
    def save_number(self, pick: int) -> None:
        pooled = number(f"+1510555{pick % 3:04}", service_sid=SERVICES[pick % 2])
        owner = next((one.sid for one in self.model.numbers.values() if one.address == pooled.address), None)
        self._add(NumberSaved(msgspec.structs.replace(pooled, sid=owner or self.id_factory(SidKind.PHONE_NUMBER))))

    @precondition(lambda self: self.model.numbers)
    @rule(pick=PICK)
    def release_number(self, pick: int) -> None:
        self._add(NumberReleased(self._some(self.model.numbers, pick)))

    @rule()
    def end_changeset(self) -> None:
        self.group.append(self.changes)
        self.changes = []

    @rule()
    def commit(self) -> None:
        self._commit()

    @rule()
    def restart(self) -> None:
        self._commit()
        self.runner.run(self.store.close())
        self.store = self.records.open()

    @invariant()
    def agrees(self) -> None:
        """Every question gets the model's answer, as soon as all is committed."""
        if self.changes or self.group:
            return
        model, store = self.model, self.store
        registry = self.runner.run(store.held_registry()).registry
        assert registry.services == tuple(one for _, one in sorted(model.services.items()))
        assert registry.numbers == tuple(one for _, one in sorted(model.numbers.items()))
        expected = (active_session(*one) for one in model.active_sessions())
        assert [*map(_KEPT, store.active_sessions())] == [*map(_KEPT, expected)]
        assert list(store.open_calls()) == model.open_calls()
        everything = sorted(model.interactions.items())
        assert interactions_since(store, START + 3) == [one for _, one in everything if one.date_created >= START + 3]
        if isinstance(store, SqliteStore):
            assert Counter(store.session_counts()) == Counter(one.status for one in model.sessions.values())
        self.runner.run(self._reads_agree())

    async def _reads_agree(self) -> None:
        await self._points_agree()
        await self._histories_agree()
        await self._lists_agree()

    async def _points_agree(self) -> None:
        model, store = self.model, self.store
        for sid, made in model.sessions.items():
            assert await store.session(sid) == made
            assert await store.participants(sid) == model.people(sid)
            if made.unique_name is not None:
                assert await store.session_sid_by_name(made.service_sid, made.unique_name) == sid
        for sid, passed in model.interactions.items():
            assert await store.interaction(sid) == passed

    async def _histories_agree(self) -> None:
        for service_sid in SERVICES:
            held = {one: given for one in PEOPLE if (given := self.model.held(service_sid, one))}
            assert await self.store.proxies_held_before(service_sid, PEOPLE) == held
            for identifier in PEOPLE:
                for proxy in PROXIES:
                    last = self.model.last_session(service_sid, identifier, proxy)
                    assert await self.store.last_session_of(service_sid, identifier, proxy) == last

    async def _lists_agree(self) -> None:
        model, store = self.model, self.store
        for service_sid in SERVICES:
            made = [one for _, one in sorted(model.sessions.items(), reverse=True) if one.service_sid == service_sid]
            assert await whole(partial(store.sessions_page, service_sid)) == made
        for sid in model.sessions:
            people = list(reversed(model.people(sid)))
            assert await whole(partial(store.participants_page, sid)) == people
            passed = list(model.passed(sid))
            assert await whole(partial(store.interactions_page, sid)) == passed
            for one in people:
                sent = [i for i in passed if i.is_message_interaction and i.outbound.participant_sid == one.sid]
                listed = await whole(partial(store.interactions_page, sid, sent_to=one.sid))
                assert listed == sent
        ended = sorted((one.date_ended, one.sid) for one in model.sessions.values() if one.date_ended is not None)
        found = await store.sessions_closed_before(START + 4, limit=100)
        assert list(found) == [sid for at, sid in ended if at < START + 4]

    def _participant(self, session_sid: str, service_sid: str, pick: int, at: float) -> Any:  # noqa: ANN401
        made = session(service_sid=service_sid)
        person = participant(
            msgspec.structs.replace(made, sid=session_sid),
            identifier=PEOPLE[pick % len(PEOPLE)],
            proxy=PROXIES[pick % len(PROXIES)],
            at=at,
        )
        return msgspec.structs.replace(person, sid=self.id_factory(SidKind.PARTICIPANT))

    def _some(self, records: dict[str, Any], pick: int) -> str:
        """Pick among the latest few, so that changes meet on one record."""
        return sorted(records)[-1 - pick % min(3, len(records))]

    def _some_session(self, pick: int) -> str:
        return self._some(self.model.sessions, pick)

    def _add(self, change: Change) -> None:
        self.model.apply(change)
        self.changes.append(change)

    def _commit(self) -> None:
        self.end_changeset()
        group, self.group = self.group, []
        self.runner.run(self._commit_group(group))

    async def _commit_group(self, group: list[list[Change]]) -> None:
        await asyncio.gather(*(self.store.write(changes) for changes in group))


async def whole(read: Callable[[PageCursor], Awaitable[Page[Any]]]) -> list[Any]:
    """Read a list in pages of two, check that each page knows its neighbours, and return it whole."""
    records: list[Any] = []
    page = await read(PageCursor(limit=2))
    while True:
        assert page.has_previous is bool(records)
        records.extend(page.records)
        if not page.has_next:
            return records
        page = await read(PageCursor(limit=2, after=records[-1].sid))


@pytest.mark.timeout(300)
def test_any_history_is_answered_as_told_one_by_one(records: Records, store_kind: str) -> None:
    """Fewer of them where every question goes to a server."""
    examples = 100 if store_kind == "sqlite" else 25
    with ExitStack() as stack:

        class Machine(StoreMachine):
            def __init__(self) -> None:
                super().__init__(stack.enter_context(records.anew()))

        run_state_machine_as_test(
            Machine, settings=settings(max_examples=examples, stateful_step_count=50, deadline=None)
        )
