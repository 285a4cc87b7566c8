"""Kill -9 while data moves: the old files count until the new ones are complete, and the next run finishes."""

import asyncio
import random
import signal
import sys
from pathlib import Path

import pytest

from storage.sqlite import MoveUnfinished, claim
from storage.sqlite.layout import Layout, read_layout
from storage.sqlite.rebalance import rebalance
from tests.storage.cluster import astray, joined, read_cluster, small_world, write_cluster
from tests.storage.material import quiet

pytestmark = pytest.mark.anyio

MOVES = ((1, 3), (3, 1), (2, 3))
KILLS_AT_RANDOM = 8
SECONDS = 20.0


async def mover(data_dir: Path, hosts: int, fatal: int = 0) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.storage.killed_mover",
        str(data_dir),
        str(hosts),
        str(fatal),
        stdout=asyncio.subprocess.PIPE,
    )


async def ended(process: asyncio.subprocess.Process) -> int | None:
    async with asyncio.timeout(SECONDS):
        await process.communicate()
    return process.returncode


def demand_startable_or_told(data_dir: Path, before: int) -> bool:
    """Check what a start would meet after a kill; returns whether the new files count already."""
    layout = read_layout(data_dir)
    assert layout is not None
    if layout.moving_to is None:
        claim(data_dir, layout.hosts)
        return layout.hosts != before
    for hosts in (before, layout.moving_to):
        with pytest.raises(MoveUnfinished, match="nothing is lost"):
            claim(data_dir, hosts)
    return True


@pytest.mark.parametrize(("before", "after"), MOVES)
async def test_a_kill_at_any_step_loses_nothing(tmp_path: Path, before: int, after: int) -> None:
    """Killed at each step in turn, on the way there and while it finishes: then one more run has all in place."""
    world = small_world()
    await write_cluster(tmp_path / "0", world, before)
    counting: list[str] = []
    rebalance(tmp_path / "0", after, lambda what, done, total: counting.append(what))
    first_switch = counting.index("switch") + 1
    states: set[bool] = set()

    for fatal in (1, first_switch - 1, *range(first_switch, len(counting) + 1)):
        data_dir = tmp_path / f"killed at {fatal}"
        await write_cluster(data_dir, world, before)

        killed = await ended(await mover(data_dir, after, fatal))
        is_new = demand_startable_or_told(data_dir, before)
        if not is_new:
            assert joined(await read_cluster(data_dir, before)) == world
        await ended(await mover(data_dir, after, fatal=2))
        rebalance(data_dir, after, quiet)

        assert killed == -signal.SIGKILL
        assert read_layout(data_dir) == Layout(after)
        held = await read_cluster(data_dir, after)
        assert joined(held) == world
        assert astray(held) == []
        states.add(is_new)

    assert states == {False, True}


async def test_a_kill_at_any_moment_loses_nothing(tmp_path: Path) -> None:
    """At random times, back and forth on the same directory."""
    world = small_world(90)
    await write_cluster(tmp_path, world, 1)
    chance = random.Random(20261126)  # noqa: S311 - moments, not secrets
    killed = 0

    for turn in range(KILLS_AT_RANDOM):
        layout = read_layout(tmp_path)
        assert layout is not None
        process = await mover(tmp_path, 1 + turn % 3)
        await asyncio.sleep(chance.uniform(0.1, 0.6))
        if process.returncode is None:
            process.kill()
        killed += await ended(process) == -signal.SIGKILL
        demand_startable_or_told(tmp_path, layout.hosts)

    rebalance(tmp_path, 4, quiet)
    assert joined(await read_cluster(tmp_path, 4)) == world
    assert killed


async def test_an_interrupted_move_is_finished_without_being_told_where_to(tmp_path: Path) -> None:
    """And before a move to anywhere else."""
    world = small_world()
    counting: list[str] = []
    await write_cluster(tmp_path / "0", world, 2)
    rebalance(tmp_path / "0", 3, lambda what, done, total: counting.append(what))
    fatal = counting.index("switch") + 4
    for name in ("finished", "moved on"):
        await write_cluster(tmp_path / name, world, 2)
        await ended(await mover(tmp_path / name, 3, fatal))

    finished = rebalance(tmp_path / "finished", None, quiet)
    moved_on = rebalance(tmp_path / "moved on", 4, quiet)

    assert (finished.hosts_before, finished.hosts, finished.is_resumed) == (2, 3, True)
    assert (moved_on.hosts_before, moved_on.hosts, moved_on.is_resumed) == (3, 4, False)
    assert joined(await read_cluster(tmp_path / "finished", 3)) == world
    assert joined(await read_cluster(tmp_path / "moved on", 4)) == world


async def test_a_killed_copy_does_not_hinder_a_start(tmp_path: Path) -> None:
    """What it left behind is of no worth, and the next move removes it."""
    world = small_world()
    await write_cluster(tmp_path, world, 2)

    await ended(await mover(tmp_path, 3, fatal=4))

    assert (tmp_path / "rebalance-new").exists()
    assert joined(await read_cluster(tmp_path, 2)) == world
    rebalance(tmp_path, 3, quiet)
    assert not (tmp_path / "rebalance-new").exists()
