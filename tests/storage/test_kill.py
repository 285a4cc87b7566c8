"""Kill -9 while it writes: what was acknowledged is there, and nothing is there by halves."""

from pathlib import Path

import pytest

from engine.core.model.records import SessionStatus
from engine.core.model.sids import SidKind
from storage.sqlite import SqliteStore
from tests.storage.killed_writer import acknowledged_before_kill
from tests.storage.material import START, Observed, numbered_sid

pytestmark = pytest.mark.anyio

ROUNDS = 5


async def test_what_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    """Round after round on the same directory; the last changeset is there whole or not at all."""
    acknowledged: list[int] = []

    for round_number in range(ROUNDS):
        first = round_number * 1_000_000
        enough = 150 + 61 * round_number
        lines = await acknowledged_before_kill("endless_writer", tmp_path, first, enough=enough)
        acknowledged += map(int, lines)

    store = SqliteStore.open(tmp_path, observer=Observed())
    walked = list(store.active_sessions())
    present = {made.sid for made in walked}
    assert {numbered_sid(SidKind.SESSION, number) for number in acknowledged} <= present
    for active in walked:
        number = int(active.sid[2:14], 16)
        made = await store.session(active.sid)
        assert made is not None
        assert made.status is SessionStatus.IN_PROGRESS
        assert made.idle_since == active.idle_since == START + number
        assert [endpoint.participant_sid for endpoint in active.endpoints] == [
            numbered_sid(SidKind.PARTICIPANT, number)
        ]
        assert await store.interaction(numbered_sid(SidKind.INTERACTION, number)) is not None
    assert len(list(store.open_calls())) == len(walked)
    await store.close()
