"""A host of a cluster on a database, as its process runs it: keeps nothing but a lock here.

Its supervisor's beats bring what it must know before it starts: where the others are, and what the cluster's hosts have
in common. A process that another one has taken the place of ends; the one that Ray starts after it waits to be ended.
"""

import asyncio
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import msgspec

from actors.cluster.hosted import HostPlacement
from actors.cluster.watch import Beat, HostReport, empty_record
from engine.app import RunningEngine
from engine.cluster.hosting import HostedEngine
from engine.cluster.peer_identity import PeerIdentity
from engine.core.model.errors import MasklineError, StoreUnavailable
from engine.core.model.hosts import HostDirectory
from engine.core.model.placement import SHARDS
from engine.core.ports.observing import NodeFigures
from engine.settings import Settings
from storage.sqlite.datadir import PRIVATE_DIRECTORY

_AWAY_SECONDS: Final = 1.0
"""How long a database that does not answer is left alone."""


class NodeHost(HostedEngine):
    """One host; who the others are, the supervisor tells anew with each beat, and nothing of it is written down."""

    def __init__(self, settings: Settings, placement: HostPlacement, *, data_dir: Path) -> None:
        """Take the node's settings and its data directory; nothing is opened before the first beat."""
        own = msgspec.structs.replace(placement, node_address=settings.node_address)
        super().__init__(settings, own, data_dir=data_dir)
        self._known = empty_record(settings.hosts).directory
        self._identity = PeerIdentity.made()
        self._secret = b""
        self._is_told = asyncio.Event()
        self._heard = Beat(self._known, ())
        self._heard_at = time.monotonic()

    @property
    def directory(self) -> HostDirectory:
        """The hosts, as far as this one has heard."""
        return msgspec.structs.replace(self._known, me=self._placement.place, shards=SHARDS)

    def _take(self, directory: HostDirectory) -> None:
        self._known = directory

    def report(self, beat: Beat) -> HostReport:
        """Take the supervisor's word and tell how this host fares."""
        report = super().report(beat)
        self._heard, self._heard_at = beat, time.monotonic()
        if beat.secret and not self._is_told.is_set():
            self._secret = beat.secret
            self._is_told.set()
        return report

    def _figures(self) -> NodeFigures:
        return msgspec.structs.replace(
            super()._figures(),
            takeovers=self._heard.takeovers,
            rows_age_seconds=self._heard.rows_age_seconds + time.monotonic() - self._heard_at,
        )

    async def _stop(self) -> None:
        self._is_told.set()
        await super()._stop()

    def _make_directory(self) -> None:
        self._own.data_dir.mkdir(mode=PRIVATE_DIRECTORY, exist_ok=True)

    def _pause_after(self, problem: MasklineError, since: float) -> float | None:
        if isinstance(problem, StoreUnavailable):
            self._problem = str(problem)
            return _AWAY_SECONDS
        return super()._pause_after(problem, since)

    async def _tried(self, stack: AsyncExitStack) -> RunningEngine | None:
        await self._is_told.wait()
        if self._leaving.is_set():
            return None
        return await self._among_peers(stack, self._secret, self._identity)
