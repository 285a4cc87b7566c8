"""Kill -9 while it owes and settles: what was acknowledged as owed is owed, what was settled is not owed again."""

import asyncio
import sys
from pathlib import Path

import pytest

from engine.core.model.effects import CallbackOwed
from engine.core.model.sids import SidKind
from engine.core.ports.operations import OutboxFilter, PageCursor
from storage.sqlite import SqliteStore
from tests.storage.material import Observed, interactions_since
from tests.storage.owing_writer import SETTLED_EVERY, sid

pytestmark = pytest.mark.anyio


async def acknowledged_before_kill(data_dir: Path, enough: int) -> dict[str, set[int]]:
    """Run the writer until it acknowledged enough, kill it, and return all that it acknowledged, by kind."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.storage.owing_writer", str(data_dir), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    told = b""
    while told.count(b"\n") < enough:
        part = await process.stdout.read(65_536)
        assert part, "the writer ended by itself"
        told += part
    process.kill()
    told += await process.stdout.read()
    await process.wait()
    acknowledged: dict[str, set[int]] = {"owed": set(), "settled": set()}
    for line in told[: told.rfind(b"\n")].decode().split("\n"):
        kind, _, number = line.partition(" ")
        acknowledged[kind].add(int(number))
    return acknowledged


@pytest.mark.parametrize("enough", [150, 900])
async def test_what_is_owed_survives_a_kill(tmp_path: Path, enough: int) -> None:
    """With the interaction it tells of, and no interaction is there without its callback."""
    acknowledged = await acknowledged_before_kill(tmp_path, enough)

    store = SqliteStore.open(tmp_path, observer=Observed())
    (queue,) = await store.queues_owed()
    owed = {one.sid: one for one in await store.effects_owed(queue, after=None, limit=10**6)}
    recorded = interactions_since(store, 0.0)
    depth = await store.outbox_depth()
    oldest = await store.effects_page(OutboxFilter(), PageCursor(limit=1))
    await store.close()

    assert {sid(SidKind.EFFECT, number) for number in acknowledged["owed"] if number % SETTLED_EVERY} <= owed.keys()
    assert not owed.keys() & {sid(SidKind.EFFECT, number) for number in acknowledged["settled"]}
    assert {one.duty.interaction.sid for one in owed.values() if isinstance(one.duty, CallbackOwed)} <= {
        one.sid for one in recorded
    }
    assert len(recorded) >= len(acknowledged["owed"])
    assert depth.pending == len(owed)
    assert oldest.records == (owed[min(owed)],)
    for passed in recorded:
        number = int(passed.sid[2:14], 16)
        assert sid(SidKind.EFFECT, number) in owed or number % SETTLED_EVERY == 0
