"""A process that keeps and drops notes without end and prints what was acknowledged, to be killed: `DATA_DIR`.

It prints `kept N` for each note and `dropped N` for every third of them.
"""

import asyncio
import sys
from pathlib import Path

from engine.channels.notes import StoredNotes
from engine.core.model.errors import StoreUnavailable
from engine.core.ports.notes import NoteDone
from storage.sqlite import SqliteStore
from tests.storage.material import START, Observed

PER_TURN = 20
DROPPED_EVERY = 3
CHANNEL = "smpp"


def key(number: int) -> bytes:
    return number.to_bytes(4)


def value(number: int) -> bytes:
    return f"part {number}".encode()


def telling(line: str) -> NoteDone:
    """Print a line once it is acknowledged."""

    def done(error: StoreUnavailable | None) -> None:
        if error is None:
            sys.stdout.write(f"{line}\n")

    return done


async def keep_for_ever(data_dir: Path) -> None:
    store = SqliteStore.open(data_dir, observer=Observed())
    notes = StoredNotes(store, channel=CHANNEL, clock=lambda: START)
    number = 0
    while True:
        for _ in range(PER_TURN):
            number += 1
            notes.put(key(number), value(number), START + 60, telling(f"kept {number}"))
            if number % DROPPED_EVERY == 0:
                notes.drop(key(number), telling(f"dropped {number}"))
        await store.write([]) if number % 7 else await asyncio.sleep(0)
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(keep_for_ever(Path(sys.argv[1])))
