"""The ledger of a node where the database is away, crashes, or says nothing."""

import asyncio
import contextlib
import os
import signal
import time
from functools import partial
from pathlib import Path

import psycopg
import pytest

from engine.core.model.errors import StoreUnavailable
from engine.core.ports.membership import ClusterRows
from storage.postgres import ledger as postgres_ledger
from tests import postgres
from tests.storage.cutting_proxy import CuttingProxy
from tests.storage.nodes import (
    FREE,
    assigned,
    change,
    joined,
    place,
    unserved,
)
from tests.storage.words import PLACE

pytestmark = pytest.mark.anyio


@pytest.fixture
def conninfo(words_server: postgres.Server) -> str:
    """Say how to connect to a database on which nobody has served yet."""
    return unserved(words_server)


async def test_a_ledger_goes_on_when_the_database_is_back(conninfo: str, through: CuttingProxy, tmp_path: Path) -> None:
    """Meanwhile it says so at once; the first beat that succeeds tells that others have failed."""
    async with joined(psycopg.conninfo.make_conninfo(conninfo, host=str(tmp_path))) as ledger:
        before = await ledger.beat({})
        through.refuses = True
        through.cut()
        for act in (
            partial(ledger.beat, {}),
            partial(ledger.give_back, 0),
            partial(ledger.set_drained, 0, is_drained=True),
        ):
            with pytest.raises(StoreUnavailable, match="cannot be reached"):
                await act()
        through.refuses = False
        back, after = await ledger.beat({}), await ledger.beat({})

        assert await ledger.assign(0, epoch=0, node="a", state=FREE)
    assert (before.has_missed, back.has_missed, after.has_missed) == (False, True, False)


async def test_a_ledger_outlives_a_crash_of_the_database(conninfo: str, words_server: postgres.Server) -> None:
    """Every connection ends with it, and the rows are there when it has recovered."""
    async with joined(conninfo) as ledger:
        await assigned(ledger, "a")
        os.kill(connections(conninfo)[0], signal.SIGKILL)

        rows: ClusterRows | None = None
        async with asyncio.timeout(30):
            while rows is None:
                try:
                    rows = await ledger.beat({})
                except StoreUnavailable:
                    await asyncio.sleep(0.05)

    assert rows.places[PLACE].node == "a"


async def test_a_database_that_says_nothing_holds_no_call_up_for_long(
    conninfo: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor do calls pile up behind it; when it speaks again all goes on."""
    monkeypatch.setattr(postgres_ledger, "CALL_SECONDS", 0.3)
    async with joined(conninfo) as ledger:
        await ledger.beat({})
        await ledger.set_drained(0, is_drained=False)
        stopped = connections(conninfo)
        assert len(stopped) == 2
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        try:
            began = time.monotonic()
            for _ in range(3):
                with pytest.raises(StoreUnavailable, match="did not answer"):
                    await ledger.set_drained(0, is_drained=True)
            with pytest.raises(StoreUnavailable):
                await ledger.beat({})
            waited = time.monotonic() - began
        finally:
            for pid in stopped:
                os.kill(pid, signal.SIGCONT)
        async with asyncio.timeout(30):
            while not await is_drained(ledger):  # noqa: ASYNC110 - there is no event for it
                await asyncio.sleep(0.02)

    assert waited < 30


async def is_drained(ledger: postgres_ledger.PostgresLedger) -> bool:
    """Tell it; what was given up may be carried out meanwhile, and then this is refused."""
    with contextlib.suppress(StoreUnavailable):
        return (await place(ledger, 0)).is_drained
    return False


def connections(conninfo: str) -> list[int]:
    """Name the processes of the server that serve a ledger."""
    found = change(
        conninfo,
        "SELECT pid FROM pg_stat_activity WHERE application_name = 'maskline' AND pid <> pg_backend_pid()"
        " AND datname = current_database()",
    )
    return [pid for (pid,) in found if isinstance(pid, int)]
