"""Random histories of entries and debugger events, grouped at random: the store answers as plain dictionaries do."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import assert_never

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.core.model.changes import AlertRaised, AlertsErased, EntryAdded, EntryFailed, EntryRevived, EntrySettled
from engine.core.model.errors import CATALOGUE, Code, Level
from engine.core.model.outbox import OutboxEntry
from engine.core.model.records import DebuggerEvent
from engine.core.model.sids import SidKind, ordered_sid
from engine.core.ports.lists import AlertFilter, OutboxDepth, OutboxFilter, PageCursor
from tests.storage.material import ACCOUNT_SID, START, alert, callback, new_sid, outbox_entry, session
from tests.storage.stores import AnyStore, Records

WHOLE = PageCursor(limit=100)
SESSIONS = (session(), session())
ACCOUNTS = (ACCOUNT_SID, new_sid(SidKind.ACCOUNT))
URLS = ("https://a.example/1", "https://a.example:8443/2", "http://b.example/")
MOMENTS = st.integers(0, 9).map(lambda n: START + n)
NUMBERS = st.integers(0, 7)

OutboxChange = EntryAdded | EntrySettled | EntryFailed | EntryRevived | AlertRaised | AlertsErased


def numbered_sid(kind: SidKind, number: int) -> str:
    return ordered_sid(kind, milliseconds=int(START * 1000) + number, counter=0, random_bits=number)


def numbered_entry(number: int) -> OutboxEntry:
    """Return an entry; as the real ones, it is the later the higher its SID."""
    of = SESSIONS[number % len(SESSIONS)]
    entry = outbox_entry(of, content=callback(of, url=URLS[number % len(URLS)]), at=START + number)
    account = ACCOUNTS[number // 2 % len(ACCOUNTS)]
    return msgspec.structs.replace(entry, sid=numbered_sid(SidKind.OUTBOX_ENTRY, number), account_sid=account)


def numbered_alert(number: int, at: float) -> DebuggerEvent:
    event = alert(code=Code.STOP_WORD if number % 2 else Code.NO_ACTIVE_SESSION, at=at)
    return msgspec.structs.replace(event, sid=numbered_sid(SidKind.DEBUGGER_EVENT, number))


ENTRY_SIDS = NUMBERS.map(lambda number: numbered_sid(SidKind.OUTBOX_ENTRY, number))
CHANGES: st.SearchStrategy[OutboxChange] = st.one_of(
    st.builds(EntryAdded, NUMBERS.map(numbered_entry)),
    st.builds(EntrySettled, ENTRY_SIDS),
    st.builds(
        EntryFailed,
        entry_sid=ENTRY_SIDS,
        attempts=st.integers(1, 9),
        error=st.sampled_from(["time-out", "refused"]),
        at=MOMENTS,
        is_dead=st.booleans(),
        next_at=st.none() | MOMENTS,
    ),
    st.builds(EntryRevived, ENTRY_SIDS),
    st.builds(AlertRaised, st.builds(numbered_alert, NUMBERS, MOMENTS)),
    st.builds(AlertsErased, MOMENTS),
)


class OutboxModel:
    """Holds entries and debugger events by SID."""

    def __init__(self) -> None:
        self.entries: dict[str, OutboxEntry] = {}
        self.alerts: dict[str, DebuggerEvent] = {}

    def takes(self, change: OutboxChange) -> bool:
        """Tell whether the change is one that a store may be given: nothing is made twice."""
        match change:
            case EntryAdded(entry):
                return entry.sid not in self.entries
            case AlertRaised(event):
                return event.sid not in self.alerts
            case _:
                return True

    def apply(self, change: OutboxChange) -> None:
        """Do what the change says."""
        match change:
            case EntryAdded(entry):
                self.entries[entry.sid] = entry
            case EntrySettled(sid):
                self.entries.pop(sid, None)
            case EntryFailed():
                died = change.at if change.is_dead else None
                self._replace(
                    change.entry_sid,
                    attempts=change.attempts,
                    last_error=change.error,
                    date_died=died,
                    date_next=change.next_at,
                )
            case EntryRevived(sid):
                if sid in self.entries and self.entries[sid].date_died is not None:
                    self._replace(sid, attempts=0, last_error="", date_died=None, date_next=None)
            case AlertRaised(event):
                self.alerts[event.sid] = event
            case AlertsErased(before):
                self.alerts = {sid: event for sid, event in self.alerts.items() if event.at >= before}
            case _:
                assert_never(change)

    def listed(self) -> list[OutboxEntry]:
        """Return all entries, oldest first."""
        return [entry for _, entry in sorted(self.entries.items())]

    def pending(self) -> list[OutboxEntry]:
        """Return those that are to be delivered, oldest first."""
        return [entry for entry in self.listed() if entry.date_died is None]

    def _replace(self, sid: str, **fields: float | str | None) -> None:
        if sid in self.entries:
            self.entries[sid] = msgspec.structs.replace(self.entries[sid], **fields)


@pytest.mark.timeout(300)
@given(st.lists(st.lists(CHANGES, min_size=1, max_size=12), max_size=4))
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_history_ends_as_told_one_by_one(records: Records, groups: Sequence[Sequence[OutboxChange]]) -> None:
    """Each group is one transaction, each change a changeset of its own in it."""
    model = OutboxModel()
    histories: list[list[OutboxChange]] = []
    for group in groups:
        histories.append([])
        for change in group:
            if model.takes(change):
                model.apply(change)
                histories[-1].append(change)

    with records.anew() as anew:
        asyncio.run(agree(anew, histories, model))


async def agree(records: Records, groups: Sequence[Sequence[OutboxChange]], model: OutboxModel) -> None:
    """Commit the groups and put every question of the outbox."""
    store = records.open()
    for group in groups:
        await asyncio.gather(*(store.write([change]) for change in group))
    await entries_agree(store, model)
    await alerts_agree(store, model)
    await store.close()


async def entries_agree(store: AnyStore, model: OutboxModel) -> None:
    entries, pending = model.listed(), model.pending()
    dead = [entry for entry in entries if entry.date_died is not None]
    queues = sorted({entry.queue for entry in pending})

    assert await store.pending_queues() == tuple(queues)
    for queue in queues:
        there = [entry for entry in pending if entry.queue == queue]
        assert await store.pending_entries(queue, after=None, limit=100) == tuple(there)
        assert await store.pending_entries(queue, after=there[0].sid, limit=1) == tuple(there[1:2])
    oldest_of: dict[str, float] = {}
    for queue in queues:
        first = next(entry for entry in pending if entry.queue == queue)
        oldest_of.setdefault(first.service_sid or "", first.date_created)
        oldest_of[first.service_sid or ""] = min(oldest_of[first.service_sid or ""], first.date_created)
    assert await store.outbox_depth() == OutboxDepth(
        pending=len(pending),
        dead=len(dead),
        oldest=pending[0].date_created if pending else None,
        dead_of=Counter(entry.service_sid or "" for entry in dead),
        oldest_of=oldest_of,
    )
    assert list((await store.outbox_page(OutboxFilter(), WHOLE)).records) == entries
    assert list((await store.outbox_page(OutboxFilter(is_dead=True), WHOLE)).records) == dead
    assert list((await store.outbox_page(OutboxFilter(is_dead=False), WHOLE)).records) == pending
    late = OutboxFilter(session_sid=SESSIONS[1].sid, created_before=START + 5, error="time")
    assert list((await store.outbox_page(late, WHOLE)).records) == [
        entry
        for entry in entries
        if entry.session_sid == SESSIONS[1].sid and entry.date_created < START + 5 and "time" in entry.last_error
    ]


async def alerts_agree(store: AnyStore, model: OutboxModel) -> None:
    events = [event for _, event in sorted(model.alerts.items(), reverse=True)]

    assert list((await store.alerts_page(ACCOUNT_SID, AlertFilter(), WHOLE)).records) == events
    wanted = AlertFilter(level=Level.WARNING, since=START + 2, before=START + 7)
    assert list((await store.alerts_page(ACCOUNT_SID, wanted, WHOLE)).records) == [
        event
        for event in events
        if CATALOGUE[Code(event.code)].level is Level.WARNING and START + 2 <= event.at < START + 7
    ]
    assert [await store.alert(event.sid) for event in events] == events
