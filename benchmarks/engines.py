"""An embedded host on a real store, filled through its own control plane."""

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from actors.host.host import Host
from actors.kernel.context import HostContext
from actors.kernel.settings import HostSettings
from engine.app import RunningEngine, running_engine
from engine.channels.sockets import ListenAddress
from engine.core.model.records import Account, Service
from engine.core.model.requests import AccountUpdate, ParticipantRequest, ServiceRequest, SessionRequest
from engine.core.ports.store import ServedStore
from engine.core.routing.route_cache import cache_if_compiled
from engine.runtime import OrderedIdFactory, choose, clock
from engine.settings import Settings
from engine.telemetry.logs import configure_logs
from engine.telemetry.observer import Telemetry
from storage.sqlite.store import SqliteStore

NUMBERS = 100
"""Proxy numbers of the pool."""

IN_FLIGHT = 200
"""Creates that wait for their commit side by side."""

_ANYWHERE = ListenAddress("127.0.0.1", 0)


class Filled(msgspec.Struct, frozen=True):
    """A host with one account, one service and a pool."""

    host: Host
    account: Account
    service: Service


def proxy_number(index: int) -> str:
    """Return a proxy number, fictitious."""
    return f"+1415555{index:04d}"


def person(index: int) -> str:
    """Return a person's number; distinct for 8 million of them."""
    return f"+1213{2_000_000 + index}"


@asynccontextmanager
async def host_on(data_dir: Path, *, settings: HostSettings | None = None) -> AsyncIterator[Host]:
    """Run a host on a data directory, commits FULL."""
    store = SqliteStore.open(data_dir, synchronous="FULL", observer=Telemetry())
    async with host_over(store, settings=settings) as host:
        yield host


@asynccontextmanager
async def host_over(store: ServedStore, *, settings: HostSettings | None = None) -> AsyncIterator[Host]:
    """Run a host on a store that is open, and close that."""
    await store.start()
    context = HostContext(store, clock, OrderedIdFactory(), choose, Telemetry(), settings or HostSettings())
    host = Host(context, route_cache=cache_if_compiled())
    await host.start()
    try:
        yield host
    finally:
        await host.stop()
        await store.close()


@asynccontextmanager
async def engine_on(data_dir: Path, **settings: Any) -> AsyncIterator[RunningEngine]:  # noqa: ANN401 - fields of Settings
    """Run an engine in a process made for it: on ports that the system chooses, its log goes nowhere."""
    configure_logs(as_json=True, level="info", stream=io.StringIO())
    usual = Settings(data_dir=data_dir, listen=_ANYWHERE, feed_listen=_ANYWHERE)
    async with running_engine(replace(usual, **settings)) as engine:
        yield engine


def port_of(engine: RunningEngine) -> int:
    """Return where an engine listens on 127.0.0.1."""
    port = urlsplit(engine.address).port
    assert port is not None
    return port


def feed_port_of(engine: RunningEngine) -> int:
    """Return where its feed does."""
    return int(engine.feed_address.rpartition(":")[2])


async def filled(host: Host, *, sessions: int) -> Filled:
    """Give a host an account, a service, a pool and that many sessions of two people each."""
    control = host.control
    account = await control.create_account(AccountUpdate(friendly_name="benchmark"))
    service = await control.create_service(account.sid, ServiceRequest(unique_name="benchmark"))
    for index in range(NUMBERS):
        await control.add_to_pool(
            account.sid, service.sid, number_sid=None, address=proxy_number(index), is_reserved=False
        )
    ready = Filled(host, account, service)
    await create_sessions(ready, first=0, count=sessions)
    return ready


async def create_sessions(ready: Filled, *, first: int, count: int) -> None:
    """Create sessions durably, `IN_FLIGHT` at a time, each with two people nobody else meets."""
    numbers = iter(range(first, first + count))

    async def creator() -> None:
        for index in numbers:
            await ready.host.control.create_session(
                ready.account.sid,
                ready.service.sid,
                SessionRequest(
                    participants=(
                        ParticipantRequest(identifier=person(2 * index)),
                        ParticipantRequest(identifier=person(2 * index + 1)),
                    )
                ),
            )

    await asyncio.gather(*(creator() for _ in range(IN_FLIGHT)))
