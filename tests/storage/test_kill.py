"""Kill -9 while it writes: what was acknowledged is there, and nothing is there by halves."""

import asyncio
import sys
from pathlib import Path

import pytest

from engine.core.model.records import SessionStatus
from engine.core.model.sids import SidKind
from storage.sqlite import SqliteStore
from tests.storage.endless_writer import sid
from tests.storage.material import START, Observed

pytestmark = pytest.mark.anyio

ROUNDS = 5


async def acknowledged_before_kill(data_dir: Path, first: int, enough: int) -> list[int]:
    """Run the endless writer until it acknowledged enough, kill it, and return all that it acknowledged."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.storage.endless_writer",
        str(data_dir),
        str(first),
        stdout=asyncio.subprocess.PIPE,
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
    return [int(line) for line in told[: told.rfind(b"\n")].split(b"\n")]


async def test_what_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    """Round after round on the same directory; the last changeset is there whole or not at all."""
    acknowledged: list[int] = []

    for round_number in range(ROUNDS):
        first = round_number * 1_000_000
        acknowledged += await acknowledged_before_kill(tmp_path, first, 150 + 61 * round_number)

    store = SqliteStore.open(tmp_path, observer=Observed())
    walked = list(store.active_sessions())
    present = {made.sid for made in walked}
    assert {sid(SidKind.SESSION, number) for number in acknowledged} <= present
    for active in walked:
        number = int(active.sid[2:14], 16)
        made = store.session(active.sid)
        assert made is not None
        assert made.status is SessionStatus.IN_PROGRESS
        assert made.idle_since == active.idle_since == START + number
        assert [endpoint.participant_sid for endpoint in active.endpoints] == [sid(SidKind.PARTICIPANT, number)]
        assert store.interaction(sid(SidKind.INTERACTION, number)) is not None
    assert len(list(store.open_calls())) == len(walked)
    await store.close()
