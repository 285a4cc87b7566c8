"""A process that owes and settles without end and prints what was acknowledged, to be killed: `DATA_DIR` as argument.

It prints `owed N` for a session, an interaction and its callback in one changeset, `settled N` for every third of them.
"""

import asyncio
import sys
from pathlib import Path

import msgspec

from engine.core.model.changes import (
    Change,
    EntryAdded,
    EntrySettled,
    InteractionRecorded,
    SessionCreated,
    SessionTouched,
)
from engine.core.model.errors import StoreUnavailable
from engine.core.model.sids import SidKind
from storage.sqlite import SqliteStore
from tests.storage.material import START, Observed, callback, numbered_sid, outbox_entry, session

PER_TURN = 20
SETTLED_EVERY = 3


def decision(number: int) -> list[Change]:
    """Return what a routed event commits: a session here too, so that every number stands alone."""
    made = msgspec.structs.replace(session(), sid=numbered_sid(SidKind.SESSION, number))
    told = callback(made)
    passed = msgspec.structs.replace(told.interaction, sid=numbered_sid(SidKind.INTERACTION, number))
    entry = outbox_entry(made, content=msgspec.structs.replace(told, interaction=passed))
    return [
        SessionCreated(made, ()),
        InteractionRecorded(passed),
        SessionTouched(made.sid, START + number),
        EntryAdded(msgspec.structs.replace(entry, sid=numbered_sid(SidKind.OUTBOX_ENTRY, number))),
    ]


def commit(store: SqliteStore, changes: list[Change], line: str) -> None:
    """Commit, and print the line once it is acknowledged."""

    def done(error: StoreUnavailable | None) -> None:
        if error is None:
            sys.stdout.write(f"{line}\n")

    store.commit(changes, done)


async def owe_for_ever(data_dir: Path) -> None:
    store = SqliteStore.open(data_dir, observer=Observed())
    number = 0
    while True:
        for _ in range(PER_TURN):
            number += 1
            commit(store, decision(number), f"owed {number}")
            if number % SETTLED_EVERY == 0:
                commit(store, [EntrySettled(numbered_sid(SidKind.OUTBOX_ENTRY, number))], f"settled {number}")
        await store.write([]) if number % 7 else await asyncio.sleep(0)
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(owe_for_ever(Path(sys.argv[1])))
