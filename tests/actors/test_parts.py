"""How a host is put together: its parts work without the host, and each is handed what it needs."""

from pathlib import Path

import pytest

from actors.host.parts import HostParts
from actors.host.traffic import HostTraffic
from actors.kernel.context import HostContext
from engine.core.model.overview import HostFigures
from engine.core.model.records import Kind
from engine.core.routing.decide import NOT_IN_POOL, REBUILDING
from engine.core.routing.traffic import InboundEvent
from storage.sqlite.store import SqliteStore
from tests.actors.world import ALICE, N1, World

pytestmark = pytest.mark.anyio


async def test_the_data_plane_decides_from_when_it_is_open(tmp_path: Path, world: World) -> None:
    """Until then every carrier is to come again; no sweep, no other host and no start is needed for it."""
    store = SqliteStore.open(tmp_path / "other", observer=world.observer)
    context = HostContext(store, world.clock, world.id_factory, lambda _: 0, world.observer)
    parts = HostParts(context, peers=None, figures=HostFigures, route_cache=None)
    traffic = HostTraffic(parts)
    event = InboundEvent(Kind.VOICE, ALICE, N1, "CA1")

    closed = traffic.resolve(event)
    traffic.is_open = True

    assert (closed, traffic.resolve(event)) == (REBUILDING, NOT_IN_POOL)
    await store.close()


async def test_a_host_that_is_alone_has_no_replica_of_any_session(tmp_path: Path, world: World) -> None:
    """It neither publishes bindings nor asks anybody."""
    store = SqliteStore.open(tmp_path / "other", observer=world.observer)
    context = HostContext(store, world.clock, world.id_factory, lambda _: 0, world.observer)

    parts = HostParts(context, peers=None, figures=HostFigures, route_cache=None)

    assert (parts.node, parts.publishers, parts.remote_sessions.replica_of("KS1")) == (None, {}, None)
    await store.close()
