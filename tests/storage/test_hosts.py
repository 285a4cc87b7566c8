"""The file of one host of several: interactions whose session lies elsewhere, and how far the registry has come."""

import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from engine.core.model.changes import (
    AccountSaved,
    Change,
    InteractionRecorded,
    InteractionUpdated,
    RegistryAdvanced,
    ServiceErased,
    ServiceSaved,
    SessionCreated,
    SessionErased,
    SessionTouched,
)
from engine.core.model.errors import ChangeRefused
from engine.core.model.records import Kind, LegStatus, Session
from engine.core.model.sids import SidKind, pack
from engine.core.ports.lists import Page, PageCursor
from storage.sqlite.statements import ERASE_SERVICE, ERASE_SESSION
from tests.storage.material import (
    START,
    account,
    interaction,
    interactions_since,
    new_sid,
    participant,
    service,
    session,
)
from tests.storage.stores import AnyStore, Records

pytestmark = pytest.mark.anyio


def elsewhere(of: Session, *, kind: Kind = Kind.VOICE, at: float = START) -> InteractionRecorded:
    return InteractionRecorded(interaction(of, kind=kind, sender=participant(of), at=at), is_elsewhere=True)


async def test_an_interaction_is_read_without_its_session(store: AnyStore) -> None:
    """By SID, in the walks of a start and in pages, with its service and account."""
    of = session()
    recorded = [elsewhere(of, at=START + n) for n in range(3)]
    passed = [one.interaction for one in recorded]

    await store.write(recorded)

    assert [await store.interaction(one.sid) for one in passed] == passed
    assert [key for some in store.passed_since(START + 1) for _, _, _, key in some] == [
        pack(one.sid) for one in passed[1:]
    ]
    assert [one for some in store.passed_elsewhere_since(START + 1) for one in some] == [
        (pack(of.sid), one.date_created, one.date_updated, False) for one in passed[1:]
    ]
    assert list(store.open_calls()) == passed
    first = await store.interactions_page(of.sid, PageCursor(limit=2))
    rest = await store.interactions_page(of.sid, PageCursor(limit=2, after=passed[1].sid))
    assert first == Page(tuple(passed[:2]), has_next=True, has_previous=False)
    assert rest == Page(tuple(passed[2:]), has_next=False, has_previous=True)


async def test_a_pushed_message_is_listed_without_its_session(store: AnyStore) -> None:
    """In the list of its receiver."""
    of = session()
    receiver = participant(of)
    pushed = interaction(of, kind=Kind.MESSAGE, receiver=receiver)

    await store.write([InteractionRecorded(pushed, is_elsewhere=True)])

    page = await store.interactions_page(of.sid, PageCursor(limit=9), sent_to=receiver.sid)
    assert page.records == (pushed,)


async def test_an_interaction_with_its_session_follows_it(store: AnyStore) -> None:
    """One recorded after its session was erased, here, stays out of sight."""
    of, gone = session(), session()
    seen, late = interaction(of), interaction(gone)

    await store.write([SessionCreated(of, ()), InteractionRecorded(seen), InteractionRecorded(late)])

    assert await store.interaction(seen.sid) == seen
    assert await store.interaction(late.sid) is None
    assert list(store.open_calls()) == [seen]
    assert (await store.interactions_page(gone.sid, PageCursor(limit=9))).records == ()


async def test_reports_change_an_interaction_without_its_session(store: AnyStore) -> None:
    """And touching a session that lies elsewhere changes nothing here."""
    of = session()
    recorded = elsewhere(of)
    before = recorded.interaction
    ended = msgspec.structs.replace(before.inbound, status=LegStatus.COMPLETED)
    report = InteractionUpdated(
        interaction_sid=before.sid, inbound=ended, outbound=before.outbound, duration_seconds=7, at=START + 9
    )

    await store.write([recorded, SessionTouched(of.sid, START), report])

    after = msgspec.structs.replace(before, inbound=ended, duration_seconds=7, date_updated=START + 9)
    assert await store.interaction(before.sid) == after
    assert list(store.open_calls()) == []
    assert await store.session(of.sid) is None


async def test_erasing_a_session_elsewhere_erases_its_interactions_here(store: AnyStore) -> None:
    """And no others."""
    gone, kept = elsewhere(session()), elsewhere(session())
    await store.write([gone, kept])

    await store.write([SessionErased(gone.interaction.session_sid)])

    assert await store.interaction(gone.interaction.sid) is None
    assert await store.interaction(kept.interaction.sid) == kept.interaction


async def test_erasing_a_service_elsewhere_erases_its_interactions_here(store: AnyStore) -> None:
    """Those of sessions here and elsewhere, and none of another service."""
    here = session()
    near, far = interaction(here), elsewhere(session())
    kept = elsewhere(session(service_sid=new_sid(SidKind.SERVICE)))
    await store.write([ServiceSaved(service()), SessionCreated(here, ()), InteractionRecorded(near), far, kept])

    await store.write([ServiceErased(here.service_sid, START + 1)])

    assert interactions_since(store, 0.0) == [kept.interaction]


@pytest.mark.files
@pytest.mark.usefixtures("store")
async def test_no_erasing_scans_a_table(tmp_path: Path) -> None:
    """A cluster erases at every host, most of which hold little or nothing of it."""
    with closing(sqlite3.connect(tmp_path / "data" / "maskline.db")) as connection:
        plans = [
            step[3]
            for text in (*ERASE_SESSION, *ERASE_SERVICE)
            for step in connection.execute(f"EXPLAIN QUERY PLAN {text}", (b"",))
        ]

    assert not [plan for plan in plans if plan.startswith("SCAN")]


async def test_the_registry_version_starts_at_none(store: AnyStore) -> None:
    """And is what the last changeset said."""
    before = (await store.held_registry()).version

    await store.write([AccountSaved(account()), RegistryAdvanced(1)])
    await store.write([ServiceSaved(service()), RegistryAdvanced(41)])

    assert before == 0
    assert (await store.held_registry()).version == 41


async def test_the_registry_version_outlives_a_restart(records: Records) -> None:
    """It is as durable as what it numbers."""
    store = records.open()
    await store.write([AccountSaved(account()), RegistryAdvanced(7)])
    await store.close()

    again = records.open()

    assert (await again.held_registry()).version == 7
    await again.close()


async def test_a_refused_registry_change_leaves_the_version(store: AnyStore) -> None:
    """Both are of one changeset, in whatever order they stand in it."""
    await store.write([ServiceSaved(service()), RegistryAdvanced(1)])
    double: list[Change] = [RegistryAdvanced(2), ServiceSaved(service(new_sid(SidKind.SERVICE)))]

    with pytest.raises(ChangeRefused):
        await store.write(double)

    assert (await store.held_registry()).version == 1
