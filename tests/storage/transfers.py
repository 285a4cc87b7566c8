"""Everything that a store may be asked about some records, and what moves all of them from one store to another."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.core.model.changes import (
    AlertRaised,
    BatchKeyUsed,
    Change,
    EntryAdded,
    InteractionRecorded,
    NoteKept,
    ServiceSaved,
    SessionCreated,
)
from engine.core.ports.lists import AlertFilter, OutboxFilter, PageCursor
from engine.core.ports.store import Store
from engine.core.sessions.search import InteractionSought, SessionSought
from storage.transfer import Copied, export_file, import_file
from tests.storage.material import quiet

NOT_READS = {
    "backlog",
    "close",
    "commit",
    "is_late",
    "is_shared",
    "is_writable",
    "lacks",
    "lease_until",
    "loading",
    "not_before",
    "registry_news",
    "start",
    "unknown_outcomes",
    "write",
}
"""What of a store reads no record."""

ALL = PageCursor(limit=100)
LEASE_SECONDS = 0.3


class Noticed:
    """A store that remembers what it was asked."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.asked: set[str] = set()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - as the store's
        self.asked.add(name)
        return getattr(self._store, name)


def imported(data_dir: Path, database: str) -> Copied:
    return import_file(data_dir, database, quiet, lease_seconds=LEASE_SECONDS)


def exported(database: str, data_dir: Path) -> Copied:
    return export_file(database, data_dir, quiet, lease_seconds=LEASE_SECONDS)


async def every_read(store: Any, changes: Sequence[Change]) -> list[object]:  # noqa: ANN401 - or what stands for it
    """Ask a store everything that may be asked about these records."""
    await store.start()
    found: list[object] = [
        await store.held_registry(),
        [
            (one.sid, one.service_sid, one.account_sid, one.unique_name, one.mode, one.expires_at)
            for one in store.active_sessions()
        ],
        sorted((one for some in store.passed_since(0.0) for one in some), key=str),
        sorted((one for some in store.passed_elsewhere_since(0.0) for one in some), key=str),
        sorted(store.open_calls(), key=lambda one: one.sid),
        await store.oldest_batch_key(),
        await store.oldest_note(),
        sorted(await store.planned_erasures()),
        sorted(await store.sessions_closed_before(9e9, limit=100)),
        await store.outbox_page(OutboxFilter(), ALL),
        await store.outbox_page(OutboxFilter(error="t"), ALL),
        await store.outbox_depth(),
        await store.outbox_kinds(OutboxFilter(), most=99),
        await store.alerts_page(None, AlertFilter(), ALL),
        await store.alert_kinds(None, AlertFilter(), most=99),
        store.deliveries_held(),
    ]
    queues = await store.pending_queues()
    found.append(sorted(queues, key=str))
    found += [await store.pending_entries(queue, after=None, limit=99) for queue in sorted(queues, key=str)]
    found += [await _read(store, change) for change in changes]
    return found


async def _read(store: Any, change: Change) -> object:  # noqa: ANN401 - as above
    match change:
        case ServiceSaved(made):
            return await store.sessions_page(made.sid, ALL)
        case SessionCreated(made, people):
            return [
                await store.session(made.sid),
                made.unique_name and await store.session_sid_by_name(made.service_sid, made.unique_name),
                await store.participants(made.sid),
                await store.participants_page(made.sid, ALL),
                await store.interactions_page(made.sid, ALL),
                [await store.interactions_page(made.sid, ALL, sent_to=one.sid) for one in people],
                await store.numbers_had({made.service_sid: [one.proxy_identifier for one in people]}),
                await store.find_sessions((made.service_sid,), SessionSought(name=made.unique_name or "x"), most=9),
                [await store.last_session_of(made.service_sid, one.identifier, one.proxy_identifier) for one in people],
                await store.proxies_held_before(made.service_sid, [one.identifier for one in people] or ["+1"]),
            ]
        case InteractionRecorded(passed):
            sought = InteractionSought(resource_sid=passed.inbound.resource_sid, proxy=passed.proxy)
            return [
                await store.interaction(passed.sid),
                await store.find_interactions(passed.account_sid, sought, most=9),
            ]
        case EntryAdded(entry):
            return await store.entries_held([entry.sid])
        case AlertRaised(event):
            return await store.alert(event.sid)
        case BatchKeyUsed(service_sid, key):
            return await store.batch_key(service_sid, key.digest)
        case NoteKept(channel, key):
            return [
                await store.note(channel, key),
                await store.latest_notes(channel, key[:1], 9),
                await store.notes_under(channel, key[:1], 9),
            ]
        case _:
            return None
