"""Where a server keeps its records: in a file of its data directory or, if `database_url` names one, in a database."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

from engine.core.model.errors import Fenced
from engine.core.model.hosts import Peers
from engine.core.model.placement import shards_of
from engine.core.ports.membership import AT_ONCE, Tenure
from engine.core.ports.observing import Observer
from engine.core.ports.store import ServedStore
from engine.runtime import steady
from engine.settings import Settings
from storage.sqlite.datadir import DataDirLock
from storage.sqlite.layout import claim, has_data
from storage.sqlite.store import SqliteStore

_log = logging.getLogger("maskline.engine")


@asynccontextmanager
async def started_store(
    settings: Settings,
    observer: Observer,
    *,
    peers: Peers | None = None,
    serves: bool = True,
    tenure: Tenure = AT_ONCE,
) -> AsyncIterator[ServedStore]:
    """Open the store that the settings choose, of one host of a cluster where there are peers.

    Beside a database, only what `serves` makes a data directory. `tenure` tells when that host may answer.

    Raises:
        MasklineError: the data directory, or the database, cannot be used.
    """
    if settings.database_url:
        async with _in_database(settings, observer, peers, serves=serves, tenure=tenure) as store:
            yield store
        return
    if peers is None:
        claim(settings.data_dir, hosts=1)
    file = SqliteStore.open(
        settings.data_dir,
        synchronous=settings.synchronous.value,
        observer=observer,
        commit_patience_seconds=settings.commit_patience_seconds,
    )
    async with _started(file):
        if peers is None:
            claim(settings.data_dir, hosts=1)  # a second time: now that the database is there
        yield file


@asynccontextmanager
async def _started(store: ServedStore) -> AsyncIterator[None]:
    try:
        await store.start()
        yield
    finally:
        await store.close()


@asynccontextmanager
async def _in_database(
    settings: Settings, observer: Observer, peers: Peers | None, *, serves: bool, tenure: Tenure
) -> AsyncIterator[ServedStore]:
    from storage.postgres.places import this_process  # noqa: PLC0415 - who keeps a file needs none of it
    from storage.postgres.store import PostgresStore  # noqa: PLC0415 - likewise

    with ExitStack() as held:
        if serves or settings.data_dir.exists():
            held.callback(DataDirLock(settings.data_dir, makes_database=False).release)
        if peers is None:
            warn_of_files(settings.data_dir)
        store = await asyncio.to_thread(
            PostgresStore.open,
            settings.database_url,
            observer=observer,
            fenced=_end_process,
            place=0 if peers is None else peers.me,
            shards=None if peers is None else shards_of(peers.me, peers.count),
            node=this_process() if peers is None else settings.node_name,
            tenure=tenure,
            lease_seconds=settings.owner_lease_seconds,
            steady=steady,
            replicas=settings.database_replicas,
            commit_patience_seconds=settings.commit_patience_seconds,
        )
        async with _started(store):
            yield store


def warn_of_files(data_dir: Path) -> None:
    """Say that the files of a data directory are left alone, where it has any."""
    if has_data(data_dir):
        _log.warning("database_url is set: what the files in %s hold is not served", data_dir)


def _end_process(fenced: Fenced) -> None:
    """End at once, without a further answer: whatever was promised is in the database, whose owner is another one."""
    _log.critical("%s", fenced)
    os._exit(1)
