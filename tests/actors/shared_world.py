"""Hosts that see the same tables, some by other ways or through other stores than all."""

from pathlib import Path

from engine.core.model.placement import host_name, shards_of
from storage.postgres.store import PostgresStore
from tests import postgres
from tests.actors.world import World


class SharedWorld(World):
    """Several hosts on one database."""

    def __init__(self, database: str, *, count: int) -> None:
        super().__init__(Path("none"), count=count, database=database)
        self.database = database
        self.ways: dict[int, str] = {}
        """How hosts at a place connect, if not as all do."""
        self.kinds: dict[int, type[PostgresStore]] = {}
        """What store a host at a place has, if not that of all."""

    def opened(self, place: int) -> PostgresStore:
        """Take a place in the database."""
        postgres.assign(self.database, place, node=host_name(place))
        kind = self.kinds.get(place, PostgresStore)
        return kind.open(
            self.ways.get(place, self.database),
            observer=self.observer,
            fenced=print,
            place=place,
            node=host_name(place),
            shards=shards_of(place, self.count),
        )
