"""Which database keeps the records, where it is not a file, and what is asked of it."""

from collections.abc import Iterator
from dataclasses import dataclass

from engine.core.model.settings import Misfit, NotNegative, Seconds, SharedSettings


@dataclass(frozen=True, kw_only=True)
class DatabaseSettings(SharedSettings):
    """What a PostgreSQL database is asked."""

    database_url: str = ""
    """PostgreSQL that keeps everything instead of a file: postgresql://user@host1,host2/name?passfile=FILE."""
    database_replicas: NotNegative = 1
    """Synchronous standbys without which /readyz is red; 0 = one copy is wanted."""
    owner_lease_seconds: Seconds = 4.0
    """Seconds after which a server whose row in the database has not changed is taken for gone, and replaced."""

    def misfits(self) -> Iterator[Misfit]:
        """Find what names no database, and a password, which belongs into a file."""
        yield from super().misfits()
        if self.database_url:
            # Imported here, since whoever has no such database needs none of it.
            from storage.postgres.connections import BadDatabaseUrl, conninfo_of  # noqa: PLC0415

            try:
                conninfo_of(self.database_url)
            except BadDatabaseUrl as problem:
                yield Misfit("database_url", str(problem))

    def warnings(self) -> Iterator[str]:
        """Say what one copy may cost."""
        yield from super().warnings()
        if self.database_url and not self.database_replicas:
            yield "database_replicas=0: what is acknowledged may be on one server of the database, and be lost with it"
