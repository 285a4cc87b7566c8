"""The active sessions of a SQLite file, in chunks."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

from storage.active import chunks_of
from storage.chunk import Chunk
from storage.sqlite.connections import open_reader
from storage.sqlite.errors import reading

_SESSIONS: Final = (
    "SELECT sid, service_sid, account_sid, mode, idle_since, ttl_seconds, date_expiry, unique_name FROM sessions"
    " WHERE date_activated IS NOT NULL ORDER BY date_activated, sid"
)
_PARTICIPANTS: Final = (
    "SELECT participants.session_sid, participants.sid, identifier, proxy_identifier"
    " FROM sessions CROSS JOIN participants ON participants.session_sid = sessions.sid"
    " WHERE date_activated IS NOT NULL AND date_deleted IS NULL"
    " ORDER BY date_activated, sessions.sid"
)
"""In the order of the sessions, which an index gives; to sort the participants too would cost a third more."""


def chunks_in(database: Path) -> Iterator[Chunk]:
    """Walk the active sessions in the order of activation, as of one moment; only what routing needs is read."""
    with reading(), closing(open_reader(database)) as connection:
        connection.execute("BEGIN")
        yield from chunks_of(connection.execute(_SESSIONS), connection.execute(_PARTICIPANTS))
