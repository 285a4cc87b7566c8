"""Kill -9 while it owes and settles: what was acknowledged as owed is owed, what was settled is not owed again."""

from pathlib import Path

import pytest

from engine.core.model.outbox import OutboxCallback
from engine.core.model.sids import SidKind
from engine.core.ports.lists import OutboxFilter, PageCursor
from storage.sqlite import SqliteStore
from tests.storage.killed_writer import acknowledged_before_kill, numbers_by_kind
from tests.storage.material import Observed, interactions_since, numbered_sid
from tests.storage.owing_writer import SETTLED_EVERY

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("enough", [150, 900])
async def test_the_outbox_survives_a_kill(tmp_path: Path, enough: int) -> None:
    """With the interaction it tells of, and no interaction is there without its callback."""
    lines = await acknowledged_before_kill("owing_writer", tmp_path, enough=enough)
    acknowledged = numbers_by_kind(lines, "owed", "settled")

    store = SqliteStore.open(tmp_path, observer=Observed())
    (queue,) = await store.pending_queues()
    entry = {one.sid: one for one in await store.pending_entries(queue, after=None, limit=10**6)}
    recorded = interactions_since(store, 0.0)
    depth = await store.outbox_depth()
    oldest = await store.outbox_page(OutboxFilter(), PageCursor(limit=1))
    await store.close()

    assert {
        numbered_sid(SidKind.OUTBOX_ENTRY, number) for number in acknowledged["owed"] if number % SETTLED_EVERY
    } <= entry.keys()
    assert not entry.keys() & {numbered_sid(SidKind.OUTBOX_ENTRY, number) for number in acknowledged["settled"]}
    assert {one.content.interaction.sid for one in entry.values() if isinstance(one.content, OutboxCallback)} <= {
        one.sid for one in recorded
    }
    assert len(recorded) >= len(acknowledged["owed"])
    assert depth.pending == len(entry)
    assert oldest.records == (entry[min(entry)],)
    for passed in recorded:
        number = int(passed.sid[2:14], 16)
        assert numbered_sid(SidKind.OUTBOX_ENTRY, number) in entry or number % SETTLED_EVERY == 0
