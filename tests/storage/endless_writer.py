"""A process that commits without end and prints what was acknowledged, to be killed: `DATA_DIR FIRST` as arguments."""

import asyncio
import sys
from pathlib import Path

import msgspec

from engine.core.model.changes import InteractionRecorded, SessionCreated, SessionTouched
from engine.core.model.errors import StoreUnavailable
from engine.core.model.sids import SidKind
from storage.sqlite import SqliteStore
from tests.storage.material import START, Observed, interaction, numbered_sid, participant, session

PER_TURN = 20


def commit_one(store: SqliteStore, number: int, acknowledged: list[int]) -> None:
    """Commit a session, its participant, an interaction and a touch as one changeset."""
    made = msgspec.structs.replace(session(), sid=numbered_sid(SidKind.SESSION, number))
    alice = msgspec.structs.replace(participant(made), sid=numbered_sid(SidKind.PARTICIPANT, number))
    call = msgspec.structs.replace(interaction(made, sender=alice), sid=numbered_sid(SidKind.INTERACTION, number))

    def done(error: StoreUnavailable | None) -> None:
        if error is None:
            acknowledged.append(number)

    store.commit(
        [SessionCreated(made, (alice,)), InteractionRecorded(call), SessionTouched(made.sid, START + number)], done
    )


async def write_for_ever(data_dir: Path, first: int) -> None:
    store = SqliteStore.open(data_dir, observer=Observed())
    number = first
    while True:
        acknowledged: list[int] = []
        for _ in range(PER_TURN):
            number += 1
            commit_one(store, number, acknowledged)
        await store.write([]) if number % 3 else await asyncio.sleep(0)
        sys.stdout.write("".join(f"{one}\n" for one in acknowledged))
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(write_for_ever(Path(sys.argv[1]), int(sys.argv[2])))
