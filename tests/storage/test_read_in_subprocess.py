"""The active sessions read by a process of its own: the same as read here, or an error, and no process left behind."""

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import msgspec
import pytest

from engine.core.model.changes import Change, ParticipantRemoved, SessionCreated
from engine.core.model.errors import StoreUnavailable
from engine.core.model.records import Mode, SessionStatus
from engine.core.model.sids import SidKind
from engine.core.sessions.bindings import ActiveSession
from storage.active import sessions_of
from storage.chunk import CHUNK_SESSIONS
from storage.sqlite import SqliteStore, read_in_subprocess
from storage.sqlite.active import chunks_in
from storage.sqlite.datadir import DATABASE
from tests.storage.material import ACCOUNT_SID, SERVICE_SID, START, new_sid, participant, session

pytestmark = [pytest.mark.anyio, pytest.mark.files]

MANY = 2 * CHUNK_SESSIONS + 1
ALIKE = "KS" + ACCOUNT_SID[2:]
"""A service whose SID differs from its account's by the kind alone."""


@pytest.fixture
async def database(store: SqliteStore, tmp_path: Path) -> Path:
    """Fill a database with sessions of all sorts, the ended too."""
    dice = random.Random(7)  # noqa: S311 - repeatable
    services = [SERVICE_SID, ALIKE, new_sid(SidKind.SERVICE)]
    proxies = ["+15105550001", "+15105550002", "12345", "+12345"]
    for start in range(0, MANY + 50, 500):
        changes: list[Change] = []
        for place in range(start, min(start + 500, MANY + 50)):
            is_over = place >= MANY
            made = msgspec.structs.replace(
                session(
                    at=START + place, service_sid=dice.choice(services), unique_name=dice.choice([None, f"é{place}"])
                ),
                mode=dice.choice([*Mode]),
                ttl_seconds=dice.choice([0, 60]),
                date_expiry=dice.choice([None, START + 0.1]),
                status=SessionStatus.CLOSED if is_over else SessionStatus.OPEN,
                date_ended=START if is_over else None,
            )
            identifiers = [f"+1500555{place:04}", f"whatsapp:+1500556{place:04}", f"+1500557{place:04}"]
            endpoints = [
                participant(made, identifier=one, proxy=dice.choice(proxies)) for one in identifiers[: place % 4]
            ]
            changes += [
                SessionCreated(made, tuple(endpoints)),
                *(ParticipantRemoved(one.sid, made.sid, START) for one in endpoints[2:]),
            ]
        await store.write(changes)
    return tmp_path / "data" / DATABASE


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list["subprocess.Popen[bytes]"]:
    """Return the processes that are started; each has to have ended with its walk."""
    started: list[subprocess.Popen[bytes]] = []

    class Kept(subprocess.Popen):  # type: ignore[type-arg] # it is made as the library makes it
        def __init__(self, *args: object, **options: object) -> None:
            started.append(self)
            super().__init__(*args, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(subprocess, "Popen", Kept)
    return started


Fields = tuple[object, ...]


def told(walk: Iterator[ActiveSession]) -> list[Fields]:
    """Return all that a walk tells."""
    names = (
        "sid",
        "service_sid",
        "account_sid",
        "mode",
        "endpoints",
        "idle_since",
        "ttl_seconds",
        "date_expiry",
        "unique_name",
    )
    return [tuple(getattr(one, name) for name in names) for one in walk]


def interpreter(path: Path, then: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have another program run in Python's place: a shell's line, in which "$python" is the right one."""
    path.write_text(f'#!/bin/sh\npython="{sys.executable}"\n{then}\n')
    path.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(path))


async def test_it_reads_what_is_read_here(database: Path, started: list["subprocess.Popen[bytes]"]) -> None:
    """In the same order, to the last bit of a time; more than a chunk."""
    here, there = told(sessions_of(chunks_in(database))), told(read_in_subprocess.active_sessions(database))

    assert there == here
    assert len(there) == MANY
    assert {one[1] for one in there if one[2] == ACCOUNT_SID} >= {ALIKE, SERVICE_SID}
    assert [one.returncode is not None for one in started] == [True]


async def test_numbers_that_sessions_share_are_one_object(database: Path) -> None:
    """As when they are read here: a number is shown to hundreds of thousands."""
    walked = list(read_in_subprocess.active_sessions(database))

    assert len({id(endpoint.proxy) for one in walked for endpoint in one.endpoints}) == 4
    assert len({id(one.service_sid) for one in walked}) == 3


async def test_one_that_ends_early_fails_the_start(
    *, database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: list["subprocess.Popen[bytes]"]
) -> None:
    """A part of the sessions is not enough to route by: strangers would be taken for what they are not."""
    first, *_ = chunks_in(database)
    bytes_ = len(msgspec.msgpack.encode(first)) + 10
    interpreter(tmp_path / "python", f'"$python" "$@" | head -c {bytes_}', monkeypatch)

    walk = read_in_subprocess.active_sessions(database)
    walked = list(islice(walk, CHUNK_SESSIONS))
    with pytest.raises(StoreUnavailable, match="ended before it had read them all"):
        list(walk)

    assert len(walked) == CHUNK_SESSIONS
    assert all(one.returncode is not None for one in started)


@pytest.mark.parametrize(
    "then", ["exit 1", "exit 0", "head -c 3 /dev/zero", "echo Welcome", r"printf '\000\000\000\003abc'", None]
)
async def test_where_none_begins_the_sessions_are_read_here(
    *,
    database: Path,
    tmp_path: Path,
    then: str | None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A start takes longer then, and says so."""
    here = told(sessions_of(chunks_in(database)))
    if then is None:
        monkeypatch.setattr(sys, "executable", str(tmp_path / "nothing"))
    else:
        interpreter(tmp_path / "python", then, monkeypatch)

    assert told(read_in_subprocess.active_sessions(database)) == here
    warnings = [one.message for one in caplog.records if one.name == "maskline.storage"]
    assert ["not read in a process of their own" in one for one in warnings] == [True]


async def test_a_walk_that_is_given_up_leaves_no_process(
    database: Path, started: list["subprocess.Popen[bytes]"]
) -> None:
    """A start that fails for another reason."""
    walk = read_in_subprocess.active_sessions(database)
    next(walk)

    walk.close()  # type: ignore[attr-defined] # a generator

    assert [one.returncode is not None for one in started] == [True]


async def test_many_sessions_are_read_apart_where_there_is_a_core_for_it(
    *, store: SqliteStore, database: Path, monkeypatch: pytest.MonkeyPatch, started: list["subprocess.Popen[bytes]"]
) -> None:
    """Fewer are read sooner than another process starts."""
    del database
    walks = []
    for fewest, cores in ((MANY + 1, {0, 1}), (MANY, {0}), (MANY, {0, 1})):
        monkeypatch.setattr(read_in_subprocess, "FEWEST_SESSIONS", fewest)
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, cores=cores: cores)
        walks.append((told(store.active_sessions()), len(started)))

    assert [processes for _, processes in walks] == [0, 0, 1]
    assert walks[0][0] == walks[1][0] == walks[2][0]
