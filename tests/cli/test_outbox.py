"""`maskline outbox`, with a server running and without."""

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from engine.core.model.changes import AccountSaved, EntryAdded, EntryFailed
from engine.core.model.outbox import OutboxEntry, OutboxHangUp, OutboxMessage
from engine.core.model.records import Account
from engine.core.model.sids import SidKind, ordered_sid
from engine.runtime import clock
from engine.telemetry.observer import Telemetry
from storage.sqlite.store import SqliteStore
from tests.cli.conftest import Server

StartServer = Callable[..., Server]
Run = Callable[..., Result]

ACCOUNT = "AC" + "a" * 32
OTHER = "AC" + "b" * 32
SESSION = "KC" + "c" * 32


def outbox_entry(
    number: int, *, account: str = ACCOUNT, age: float = 0.0, session: str | None = SESSION
) -> OutboxEntry:
    """A message of a carrier that is not configured, so that nobody can send it."""
    sid = ordered_sid(SidKind.OUTBOX_ENTRY, milliseconds=number, counter=0, random_bits=0)
    content = OutboxMessage(
        carrier="main", interaction_sid="KI" + "0" * 32, sender="+14155550199", to="+14155550123", body="secret"
    )
    return OutboxEntry(sid=sid, account_sid=account, session_sid=session, content=content, date_created=clock() - age)


async def fill(
    directory: Path,
    *dead: OutboxEntry,
    pending: tuple[OutboxEntry, ...] = (),
    failures: tuple[EntryFailed, ...] = (),
) -> None:
    store = SqliteStore.open(directory, observer=Telemetry())
    await store.start()
    try:
        await store.write(
            [AccountSaved(Account(sid=sid, auth_token="0" * 32, friendly_name="")) for sid in (ACCOUNT, OTHER)]
        )
        await store.write([EntryAdded(one) for one in (*dead, *pending)])
        await store.write(
            [
                EntryFailed(entry_sid=one.sid, attempts=3, error=f"refused {index}", at=clock(), is_dead=True)
                for index, one in enumerate(dead)
            ]
        )
        await store.write(failures)
    finally:
        await store.close()


@pytest.fixture(params=["server", "no server"])
def place(request: pytest.FixtureRequest, start_server: StartServer, tmp_path: Path) -> Path:
    """A data directory with three dead entries and one of another account, that a server has or nobody."""
    dead = (outbox_entry(1, age=7200), outbox_entry(2), outbox_entry(3, session=None), outbox_entry(4, account=OTHER))
    asyncio.run(fill(tmp_path, *dead))
    if request.param == "server":
        start_server("--data-dir", str(tmp_path))
    return tmp_path


def listed(run: Run, place: Path, *arguments: object) -> list[int]:
    """Return which of the entries are listed."""
    page = json.loads(run("outbox", "list", *arguments, "--data-dir", place, "--json").output)
    return [int(one["sid"][2:14], 16) for one in page["effects"]]


def test_entries_are_listed_without_numbers(run: Run, place: Path) -> None:
    """A table for people: kind, destination, what it is about, age, tries, state, next try, error."""
    table = run("outbox", "list", "--data-dir", place).output

    first = table.splitlines()[1].split()
    assert first[1:] == ["message", "carrier:main", "KI" + "0" * 32, "2h", "3", "dead", "never", "refused", "0"]
    assert len(table.splitlines()) == 5
    assert "1415555" not in table
    assert "secret" not in table


@pytest.mark.parametrize(("at", "shown"), [(150.0, "in 2m"), (-1.0, "now"), (None, "in turn")])
def test_the_next_try_is_shown(run: Run, tmp_path: Path, at: float | None, shown: str) -> None:
    """As a time from now; one that waits for its turn has none, nor has one that was not tried."""
    entry = outbox_entry(1)
    failure = EntryFailed(
        entry_sid=entry.sid,
        attempts=1,
        error="slow",
        at=clock(),
        is_dead=False,
        next_at=None if at is None else clock() + at,
    )
    asyncio.run(fill(tmp_path, pending=(entry,), failures=(failure,)))

    table = run("outbox", "list", "--data-dir", tmp_path).output

    assert f"  pending  {shown}" in table.splitlines()[1]


def test_filters_narrow_the_list(run: Run, place: Path) -> None:
    """By account, session, age, error and state."""
    assert listed(run, place, "--account", ACCOUNT) == [1, 2, 3]
    assert listed(run, place, "--session", SESSION, "--account", ACCOUNT) == [1, 2]
    assert listed(run, place, "--older-than", "1h") == [1]
    assert listed(run, place, "--error", "refused 2") == [3]
    assert listed(run, place, "--pending") == []
    assert listed(run, place, "--dead", "--limit", 2) == [1, 2]


def test_dropped_entries_are_gone(run: Run, place: Path) -> None:
    """Those that the filters mean, and no others."""
    dropped = run("outbox", "drop", "--account", OTHER, "--yes", "--data-dir", place)

    assert dropped.output == "1 dropped\n"
    assert listed(run, place) == [1, 2, 3]


def test_nothing_changes_without_a_yes(run: Run, place: Path) -> None:
    """The question says how many are meant."""
    refused = run("outbox", "drop", "--data-dir", place)

    assert refused.exit_code == 1
    assert "drop 4 dead deliveries?" in refused.output
    assert listed(run, place) == [1, 2, 3, 4]


def test_replayed_entries_are_pending_again(run: Run, tmp_path: Path) -> None:
    """From the first try; a server that starts later delivers them."""
    asyncio.run(fill(tmp_path, outbox_entry(1), outbox_entry(2), pending=(outbox_entry(3),)))

    replayed = run("outbox", "replay", "--error", "refused 0", "--yes", "--data-dir", tmp_path, "--json")

    assert json.loads(replayed.output) == {"changed": 1}
    assert listed(run, tmp_path, "--pending") == [1, 3]
    assert listed(run, tmp_path, "--dead") == [2]


def test_a_running_server_tries_replayed_entries_at_once(run: Run, start_server: StartServer, tmp_path: Path) -> None:
    """Without a restart: a hang-up is written to the carrier's file."""
    hang_up = OutboxHangUp(carrier="paper", call_sid="CA1")
    sid = ordered_sid(SidKind.OUTBOX_ENTRY, milliseconds=1, counter=0, random_bits=0)
    asyncio.run(fill(tmp_path, OutboxEntry(sid=sid, account_sid=ACCOUNT, content=hang_up, date_created=clock())))
    config, file = tmp_path / "maskline.toml", tmp_path / "sent.ndjson"
    config.write_text(f'[carriers.paper]\nkind = "file"\npath = "{file}"\n')
    start_server("--data-dir", str(tmp_path), "--config", str(config))

    run("outbox", "replay", "--yes", "--data-dir", tmp_path)

    deadline = time.monotonic() + 10
    while listed(run, tmp_path) and time.monotonic() < deadline:
        pass
    assert listed(run, tmp_path) == []
    assert json.loads(file.read_text())["call_sid"] == "CA1"


@pytest.mark.parametrize("age", ["2", "2w", "soon", "-1h"])
def test_an_age_that_is_none_is_refused(run: Run, tmp_path: Path, age: str) -> None:
    """Before anything is opened."""
    refused = run("outbox", "list", f"--older-than={age}", "--data-dir", tmp_path)

    assert refused.exit_code == 2
    assert "write 90s, 15m, 2h or 3d" in refused.output


def test_a_sid_of_something_else_is_refused(run: Run, tmp_path: Path) -> None:
    """In one line."""
    run("account", "create", "--data-dir", tmp_path)
    refused = run("outbox", "drop", "--yes", "--session", ACCOUNT, "--data-dir", tmp_path)

    assert refused.exit_code == 1
    assert "session_sid: expected KC" in refused.output
