"""The composition root: the one place where store, host, interfaces and telemetry are made and wired together.

Start: port, data directory (locked), store, host (rebuilt), outbox, listeners. Stop: the same backwards, so that
nothing is accepted that cannot be committed; listeners and outbox share the grace.
"""

import asyncio
import logging
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, closing, contextmanager
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from pathlib import Path

import msgspec
import uvloop
from starlette.applications import Starlette
from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from actors.host.host import Host
from actors.kernel.context import Egress, HostContext
from engine.api.admin.app import create_admin_app
from engine.api.admin.peers import list_sip_peers, smpp_peers_of
from engine.api.admin.pools import list_pools
from engine.api.app import OPERATIONS, create_app
from engine.channel_table import CHANNELS, Row, channels_of
from engine.channels.base import Channel, ChannelContext
from engine.channels.notes import StoredNotes
from engine.channels.served import Channels, ContextFor
from engine.channels.sockets import bind_tcp, reached_at
from engine.console.app import LINK_PATH, console_routes, create_console
from engine.console.monitor import Monitor
from engine.console.settings import ConsoleSettings
from engine.core.model.hosts import HostAddress, HostDirectory, Peers
from engine.core.model.overview import HostFigures, PeerState, ReadFigures
from engine.core.model.placement import Placement, host_name
from engine.core.ports.membership import AT_ONCE, Tenure
from engine.core.ports.observing import ClusterView, NodeFigures
from engine.core.ports.operations import Clock
from engine.core.ports.store import Lease, ServedStore, lease_of
from engine.core.routing.route_cache import cache_if_compiled
from engine.gauges import Watch
from engine.http.connections import inbound_protocol
from engine.http.port import HttpPort
from engine.listeners import Listener, admin_socket, allow_descriptors, bind_unix
from engine.outbound.client import Client, guarded_client
from engine.outgoing import Outgoing
from engine.runtime import OrderedIdFactory, SureClock, choose, clock, monotonic, steady
from engine.settings import Settings
from engine.stores import started_store
from engine.telemetry.debugger import sum_up_each_minute
from engine.telemetry.descriptors import watch_descriptors
from engine.telemetry.logs import ROOT
from engine.telemetry.loop_lag import watch_loop_lag
from engine.telemetry.meter import Meter
from engine.telemetry.observer import Telemetry
from engine.telemetry.readiness import Latch, Readiness
from engine.telemetry.routes import operations_routes

_COMMIT_SECONDS = 1.9
"""What is left, after the grace of the requests, to commit and close."""

_OTHER_DESCRIPTORS = 200
"""Files, and connections to applications and carriers, beside those of clients."""

FindHosts = Callable[[], HostDirectory]
"""Tells who the hosts of the cluster are."""

_log = logging.getLogger(f"{ROOT}.engine")


class RunningEngine(msgspec.Struct, frozen=True):
    """An engine that answers."""

    address: str
    """http://host:port where it listens."""
    public_url: str
    """What its answers and signatures call it."""
    host: Host
    """Its actors; `host.control` is what the operator may ask."""
    outgoing: Outgoing
    """What leaves it."""
    store: ServedStore
    """What it keeps."""
    channels: Channels
    """How traffic enters and leaves it."""
    operations: str
    """http://host:port where metrics and health are served alone; empty where they are not."""

    @property
    def feed_address(self) -> str:
        """host:port of its feed; empty where it has none."""
        return self.channels.addresses.get("feed", "")


@asynccontextmanager
async def running_engine(
    settings: Settings,
    *,
    peers: Peers | None = None,
    directory: FindHosts | None = None,
    protocols: Sequence[Row] = CHANNELS,
    tenure: Tenure = AT_ONCE,
    node: Callable[[], NodeFigures] = NodeFigures,
) -> AsyncIterator[RunningEngine]:
    """Run the whole engine; it answers inside the context and is stopped in order after it.

    With peers it is one host of a cluster, which `directory` tells of: the settings are this host's own
    (`engine.cluster.plan` makes them), the ports on one node are shared, and whose the data directory is was checked.
    Nothing is answered before its tenure: until then another process may be that host. `node` tells of its machine.

    Raises:
        MasklineError: the port, the data directory or its database cannot be used.
    """
    telemetry = Telemetry(ingresses=[row.ingress for row in protocols if row.ingress])
    channels = channels_of(settings, protocols)
    allow_descriptors(settings.max_http_connections + channels.most_connections + _OTHER_DESCRIPTORS)
    async with AsyncExitStack() as stack:
        listener = stack.enter_context(closing(bind_tcp(settings.listen, is_shared=peers is not None)))
        address = _address(listener)
        channels.bind(stack.enter_context(ExitStack()), is_ours=_ours(settings, peers))
        public_url = (settings.public_url or address).rstrip("/")
        operations = _bind_operations(settings, stack)
        store = await stack.enter_async_context(started_store(settings, telemetry, peers=peers, tenure=tenure))
        client = await stack.enter_async_context(guarded_client(settings))
        sure_clock, lease = SureClock(), lease_of(store, steady, since=store.not_before)
        host, outgoing = await stack.enter_async_context(
            _sending_host(
                settings,
                store,
                telemetry,
                client=client,
                channels=channels,
                sure_clock=sure_clock,
                lease=lease,
                peers=peers,
            )
        )
        unix = stack.enter_context(_unix_socket(settings.data_dir))
        await stack.enter_async_context(_watched_process(telemetry))
        reached = _address(operations[0]) if operations else ""
        engine = RunningEngine(address, public_url, host, outgoing, store, channels, reached)
        find_hosts = directory or _only_host(engine.feed_address)
        await stack.enter_async_context(
            _listening(
                settings,
                engine,
                telemetry,
                sockets=(unix, listener, *operations),
                context=_contexts(engine, telemetry, client, find_hosts, sure_clock=sure_clock, lease=lease),
                directory=find_hosts,
            )
        )
        Watch(telemetry).node(node)
        _warn(settings)
        yield engine


def _warn(settings: Settings) -> None:
    for warning in settings.warnings():
        _log.warning("%s", warning)


def _ours(settings: Settings, peers: Peers | None) -> Callable[[str], bool]:
    """Return what tells whether a channel of some name is placed on this host."""
    if peers is None:
        return lambda _: True
    place = Placement(peers.count, by_shard=bool(settings.database_url))
    return lambda name: place(name) == peers.me


@asynccontextmanager
async def offline_admin(settings: Settings) -> AsyncIterator[ASGIApp]:
    """Open a data directory that no server has, for the operator's commands only.

    Raises:
        MasklineError: the data directory or its database cannot be used.
    """
    telemetry = Telemetry()
    async with (
        started_store(settings, telemetry, serves=False) as store,
        _started_host(settings, store, telemetry, egress=Egress(), sure_clock=SureClock()) as host,
    ):
        yield create_admin_app(host.control, public_url=settings.public_url)


def serve_until_stopped(settings: Settings, announce: Callable[[str], None]) -> None:
    """Run the engine until one of `stop_signals`; `announce` gets one line when it is ready."""
    uvloop.run(_serve(settings, announce))


def stop_signals() -> tuple[signal.Signals, ...]:
    """Return the signals that stop a server in order; SIGHUP is one unless it is ignored, as `nohup` has it."""
    is_kept_up = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return (signal.SIGTERM, signal.SIGINT) if is_kept_up else (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


async def _serve(settings: Settings, announce: Callable[[str], None]) -> None:
    stop = asyncio.Event()
    for number in stop_signals():
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with running_engine(settings) as engine:
        others = "".join(f", {name} at {address}" for name, address in engine.channels.addresses.items())
        place = "PostgreSQL" if settings.database_url else settings.data_dir
        announce(f"Maskline is ready at {engine.address} (data in {place}{others})")
        await stop.wait()
        _log.info("stopping: finishing what is in flight")
        deadline = asyncio.get_running_loop().call_later(
            settings.shutdown_grace_seconds + _COMMIT_SECONDS, _give_up_stopping
        )
    deadline.cancel()
    _log.info("stopped")


def _give_up_stopping() -> None:
    """End the process although something hangs: what was acknowledged is on disk, the rest was never promised."""
    _log.error("stopping takes too long; ending now")
    os._exit(1)


@asynccontextmanager
async def _sending_host(
    settings: Settings,
    store: ServedStore,
    telemetry: Telemetry,
    *,
    client: Client,
    channels: Channels,
    sure_clock: SureClock,
    lease: Lease | None,
    peers: Peers | None,
) -> AsyncIterator[tuple[Host, Outgoing]]:
    """Start a host, and what sends for it through channels and webhooks."""
    outgoing = Outgoing(
        settings,
        store=store,
        client=client,
        telemetry=telemetry,
        channels=channels,
        sure_clock=sure_clock,
        held=store.deliveries_held,
        lease=lease,
    )
    figures = partial(_figures, settings, outgoing, channels, telemetry)
    async with _started_host(
        settings,
        store,
        telemetry,
        egress=outgoing.egress,
        sure_clock=sure_clock,
        peers=peers,
        figures=figures,
    ) as host:
        yield host, outgoing


@asynccontextmanager
async def _started_host(
    settings: Settings,
    store: ServedStore,
    telemetry: Telemetry,
    *,
    egress: Egress,
    sure_clock: SureClock,
    peers: Peers | None = None,
    figures: ReadFigures = HostFigures,
) -> AsyncIterator[Host]:
    Watch(telemetry).one(
        "clock_jump_seconds", "By how much the clock has jumped ahead, negative: back", lambda: sure_clock.ahead_seconds
    )
    context = HostContext(
        store=store,
        clock=clock,
        sure_clock=sure_clock,
        monotonic=monotonic,
        steady=steady,
        id_factory=OrderedIdFactory(),
        choose=choose,
        observer=telemetry,
        settings=settings,
        egress=egress,
    )
    host = Host(context, peers=peers, figures=figures, route_cache=cache_if_compiled())
    telemetry.keep_events(host.keep_event, is_full=host.is_full_of)
    telemetry.keep_exchanges(host.keep_exchange)
    with store.loading():
        await host.start()
    try:
        yield host
    finally:
        await host.stop()


def _figures(settings: Settings, outgoing: Outgoing, channels: Channels, telemetry: Telemetry) -> HostFigures:
    return HostFigures(
        traffic=telemetry.traffic(),
        answers=telemetry.answers(),
        outbox=outgoing.depth,
        is_held=outgoing.is_held,
        is_outbox_full=outgoing.depth.pending > settings.outbox_limit,
        peers=tuple(_answered(one, telemetry) for one in channels.peer_states),
        troubles=channels.troubles(),
    )


def _answered(peer: PeerState, telemetry: Telemetry) -> PeerState:
    """Say what a peer was answered, where that is counted."""
    if peer.protocol != "sip" or not peer.name:
        return peer
    answers = telemetry.sip_answers(peer.name)
    refused = sum(count for status, count in answers.items() if status[0] in "46")
    return msgspec.structs.replace(peer, answers=answers, refused=refused)


@asynccontextmanager
async def _listening(
    settings: Settings,
    engine: RunningEngine,
    telemetry: Telemetry,
    *,
    sockets: Sequence[socket.socket],
    context: ContextFor,
    directory: FindHosts,
) -> AsyncIterator[None]:
    host, stopping, channels = engine.host, asyncio.Event(), engine.channels
    main = HttpPort(telemetry, endpoint=channels.endpoint(context), settings=settings, lease=host.lease)
    readiness = _readiness(settings, engine, stopping)
    readiness.show(telemetry)
    routes = operations_routes(telemetry, readiness)
    monitor = Monitor(host.control, host.console, clock=clock, monotonic=monotonic)
    rest = create_app(
        host.control,
        settings=replace(settings, public_url=engine.public_url),
        clock=clock,
        monotonic=monotonic,
        observer=telemetry,
        is_ready=lambda: host.is_answering,
        extra_routes=[*routes, *_console(settings, engine, telemetry, monitor)],
    )
    grace = settings.shutdown_grace_seconds
    listeners = (
        Listener(_admin(settings, engine), grace_seconds=grace, protocol=inbound_protocol(_port(settings, telemetry))),
        Listener(rest, grace_seconds=grace, protocol=inbound_protocol(main)),
        Listener(Starlette(routes=routes), grace_seconds=grace, protocol=inbound_protocol(_port(settings, telemetry))),
    )
    try:
        await channels.serve(context)
        _watch(telemetry, engine, settings, http=main, directory=directory)
        await engine.outgoing.start(host.traffic)
        for listener, bound in zip(listeners, sockets, strict=False):  # the last has no socket unless it is set
            await listener.open(bound)
        async with _monitored(monitor if settings.console else None):
            yield
    finally:
        stopping.set()
        await asyncio.gather(
            engine.outgoing.stop(grace), channels.stop(grace), *(listener.close() for listener in listeners)
        )


def _port(settings: Settings, telemetry: Telemetry) -> HttpPort:
    """Make what the connections of one listener share; each has its own room."""
    return HttpPort(telemetry, settings=settings)


def _readiness(settings: Settings, engine: RunningEngine, stopping: asyncio.Event) -> Readiness:
    host = engine.host
    # Once: numbers that lose their coordinator later must not take the host's other numbers out of a balancer.
    rebuilt = Latch(lambda: host.is_loaded and not host.rebuilding_numbers)
    return Readiness(
        {
            "not-stopping": lambda: not stopping.is_set(),
            "numbers-rebuilt": lambda: rebuilt() and host.is_loaded,
            "disk-writable": lambda: engine.store.is_writable,
            **(_of_database(engine) if settings.database_url else {}),
            "outbox-within-limit": lambda: engine.outgoing.depth.pending <= settings.outbox_limit,
        },
        limits=lambda: host.limits,
    )


def _of_database(engine: RunningEngine) -> dict[str, Callable[[], bool]]:
    return {"database-replicated": lambda: not engine.store.lacks, "lease": lambda: engine.host.is_leased}


def _console(settings: Settings, engine: RunningEngine, telemetry: Telemetry, monitor: Monitor) -> list[BaseRoute]:
    if not settings.console:
        return []
    host = engine.host
    console = create_console(
        host.control,
        host.console,
        settings=ConsoleSettings(is_secure=engine.public_url.startswith("https://")),
        observer=telemetry,
        clock=clock,
        is_ready=lambda: host.is_answering,
        monitor=monitor,
    )
    return console_routes(console)


def _admin(settings: Settings, engine: RunningEngine) -> ASGIApp:
    async def link() -> str:
        return f"{engine.public_url}{LINK_PATH}?code={await engine.host.console.offer_link()}"

    return create_admin_app(
        engine.host.control,
        public_url=engine.public_url,
        console_link=link if settings.console else None,
        smpp_peers=lambda: smpp_peers_of(engine.channels.peer_states),
        sip_peers=partial(list_sip_peers, engine.host.console),
        pools=partial(list_pools, engine.host.console, clock),
    )


def _only_host(feed_address: str) -> FindHosts:
    alone = HostDirectory(1, 0, (HostAddress(host_name(0), feed_address),))
    return lambda: alone


def _contexts(
    engine: RunningEngine,
    telemetry: Telemetry,
    client: Client,
    directory: FindHosts,
    *,
    sure_clock: Clock,
    lease: Lease | None,
) -> ContextFor:
    host = engine.host

    def context(channel: Channel, ingress: str) -> ChannelContext:
        return ChannelContext(
            traffic=host.traffic,
            authenticate=host.control.authenticate,
            observer=telemetry,
            meter=telemetry.meter(ingress) if ingress else Meter(),
            notes=StoredNotes(engine.store, channel=channel.name, clock=sure_clock),
            client=client,
            directory=directory,
            is_ready=lambda: host.is_answering,
            lease=lease,
            clock=clock,
            sure_clock=sure_clock,
            monotonic=monotonic,
            public_url=engine.public_url,
        )

    return context


def _watch(
    telemetry: Telemetry,
    engine: RunningEngine,
    settings: Settings,
    *,
    http: HttpPort,
    directory: FindHosts,
) -> None:
    watch = Watch(telemetry)
    watch.host(engine.host)
    watch.by_service(engine.host, most=settings.metrics_services)
    watch.pools(engine.host)
    watch.outbox(engine.outgoing)
    watch.store(engine.store)
    watch.cluster(lambda: ClusterView(directory().epoch, engine.host.hosts_heard(), engine.host.clock_offsets()))
    watch.one("http_connections", "Open connections of the HTTP port", lambda: http.connections)
    for gauge in engine.channels.gauges:
        watch.one(gauge.name, gauge.meaning, gauge.read)
    telemetry.expect_sip_peers(one.name for one in settings.sip_peers)
    telemetry.expect_requests(
        (one.method, one.path, status)
        for one in OPERATIONS
        for status in (one.status, HTTPStatus.INTERNAL_SERVER_ERROR)
    )


@asynccontextmanager
async def _watched_process(telemetry: Telemetry) -> AsyncIterator[None]:
    watching = (
        asyncio.create_task(watch_loop_lag(telemetry.lagged, monotonic), name="loop-lag"),
        asyncio.create_task(watch_descriptors(telemetry.lacked_descriptor, monotonic), name="descriptors"),
        asyncio.create_task(sum_up_each_minute(telemetry.debugger_log, clock), name="debugger-log"),
    )
    try:
        yield
    finally:
        for one in watching:
            one.cancel()


@asynccontextmanager
async def _monitored(monitor: Monitor | None) -> AsyncIterator[None]:
    """Have the console know since when something is wrong."""
    watching = None if monitor is None else asyncio.create_task(monitor.run(), name="console-monitor")
    try:
        yield
    finally:
        if watching is not None:
            watching.cancel()


def _bind_operations(settings: Settings, stack: AsyncExitStack) -> list[socket.socket]:
    """Bind the port of metrics and readiness alone; none where it is not set."""
    if settings.operations_listen is None:
        return []
    return [stack.enter_context(closing(bind_tcp(settings.operations_listen, option="--operations-listen")))]


@contextmanager
def _unix_socket(data_dir: Path) -> Iterator[socket.socket]:
    path = admin_socket(data_dir)
    with closing(bind_unix(path)) as bound:
        try:
            yield bound
        finally:
            path.unlink(missing_ok=True)


def _address(bound: socket.socket) -> str:
    return f"http://{reached_at(bound)}"
