"""Writes to PostgreSQL what `storage.apply` gathers, in a transaction that the caller begins and ends."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, final

import psycopg

from engine.core.model.changes import Change
from storage.apply import Applier, Many, One
from storage.postgres.codec import placeholders, shard_at, tagged_cell
from storage.postgres.statements import CHANGE_PARTICIPANT, MANY, ONE
from storage.rows import Row

_ENTRIES: Final = (Many.INSERT_ENTRIES, Many.INSERT_NEW_ENTRIES)


def apply_group(
    connection: psycopg.Connection[Any],
    changesets: Iterable[Sequence[Change]],
    *,
    shard_of_entry: Callable[[str], int] = shard_at,
) -> None:
    """Write changesets in their order; `shard_of_entry` finds the shard of an outbox entry by its key.

    The connection knows columns (`storage.postgres.codec.prepare`) and is in a transaction, best in a pipeline: then
    nothing is known of the statements before the pipeline is synchronised.

    Raises:
        psycopg.Error: the transaction is to be rolled back; in a pipeline, often only at its end.
        UnicodeError, struct.error: a value cannot be stored; the transaction is to be rolled back.
    """
    applier = PostgresApplier(connection, shard_of_entry)
    for changes in changesets:
        applier.apply(changes)
    applier.flush()


@final
class PostgresApplier(Applier):
    """Writes through a connection in a transaction."""

    def __init__(self, connection: psycopg.Connection[Any], shard_of_entry: Callable[[str], int]) -> None:
        super().__init__()
        self._connection = connection
        self._shard_of_entry = shard_of_entry

    def write_many(self, what: Many, rows: Sequence[Row]) -> None:
        """Write rows in their order."""
        statement = MANY[what]
        shard_of = self._shard_of_entry if what in _ENTRIES else shard_at
        self._connection.execute(statement.text, statement.parameters(rows, shard_of))

    def write_one(self, what: One, cells: Row) -> None:
        """Write something else."""
        if what is One.CHANGE_PARTICIPANT:
            self._connection.execute(CHANGE_PARTICIPANT.text, CHANGE_PARTICIPANT.parameters([cells]))
            return
        if what is One.RELEASE_NUMBER:
            cells = tuple(map(tagged_cell, cells))  # type: ignore[arg-type] # it is the tagged SID of a number
        for text in ONE[what]:
            self._connection.execute(text, cells)

    def change_session(self, assignments: Sequence[str], cells: Row) -> None:
        """Change columns of a session."""
        # Only names of `storage.apply` are spliced in.
        text = placeholders(f"UPDATE sessions SET {', '.join(assignments)} WHERE sid = ?")  # noqa: S608
        self._connection.execute(text, [str(cell) if isinstance(cell, str) else cell for cell in cells])  # no StrEnum
