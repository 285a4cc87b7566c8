"""What the metrics read of a running engine at each scrape, once a scrape and without walking what can be large."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Generic, TypeVar

import msgspec

from actors.host.host import Host
from engine.core.model.records import ACTIVE, Service, SessionStatus
from engine.core.pools.pool import PoolState
from engine.core.ports.observing import ClusterView, NodeFigures
from engine.core.ports.store import ServedStore
from engine.outgoing import Outgoing
from engine.telemetry.instruments import Labels
from engine.telemetry.labels import OTHER, safe_label
from engine.telemetry.observer import Telemetry
from storage.sqlite.store import SqliteStore

Read = TypeVar("Read")

STATUSES = (*ACTIVE, SessionStatus.CLOSED)
"""Statuses that a session can have on disk."""


class Watch:
    """Adds gauges to a telemetry."""

    def __init__(self, telemetry: Telemetry) -> None:
        """Add to this one."""
        self.telemetry = telemetry
        self._labels: Callable[[], Mapping[str, str]] | None = None

    def by_service(self, host: Host, *, most: int) -> None:
        """Show by service what follows, that many of the services by name; 0 = none is named, and nothing shown so."""
        if most:
            self._labels = OncePerScrape(self.telemetry, lambda: service_labels(host.services, most=most))

    def one(self, name: str, meaning: str, read: Callable[[], float]) -> None:
        """Show one value."""
        self.telemetry.gauge(name, meaning, "", lambda: [((), read())])

    def host(self, host: Host) -> None:
        """Show what a host holds in memory."""
        self.one("active_sessions", "Sessions that route", lambda: host.active_sessions)
        self.one("bindings", "Active pairs of an identifier and a proxy number", lambda: host.bindings)
        self.one("rebuild_seconds", "How long the last start took to rebuild all numbers", lambda: host.rebuild_seconds)
        self.one("rebuilding_numbers", "Numbers that wait for their bindings", lambda: host.rebuilding_numbers)
        self.one("open_calls", "Calls whose inbound leg has not ended", lambda: host.open_calls)
        self.one("waiting_events", "Events that wait for webhooks of applications", lambda: host.waiting_events)

    def outbox(self, outgoing: Outgoing) -> None:
        """Show the outbox as of the last count."""
        self.one("outbox_pending", "Deliveries that are pending", lambda: outgoing.depth.pending)
        self.one("outbox_dead", "Deliveries given up until they are replayed", lambda: outgoing.depth.dead)
        self.one("outbox_held", "Owed deliveries that are in memory", lambda: outgoing.held)
        self.one("deliveries_held", "1 while nothing that is owed may leave", lambda: outgoing.is_held)
        self.one("outbox_oldest_seconds", "Age of the oldest delivery that is owed", outgoing.oldest_seconds)
        self._of_services(
            "service_outbox_dead", "The same of a service; without a name: of none", lambda: outgoing.depth.dead_of, sum
        )
        self._of_services(
            "service_outbox_oldest_seconds", "The same of the oldest of each queue", outgoing.oldest_seconds_of, max
        )

    def _of_services(
        self,
        name: str,
        meaning: str,
        read: Callable[[], Mapping[str, float]],
        together: Callable[[Iterable[float]], float],
    ) -> None:
        """Show a value of each service, what has no service under an empty name."""
        labels = self._labels
        if labels is None:
            return

        def values() -> list[tuple[Labels, float]]:
            found: dict[str, list[float]] = {label: [0] for label in labels().values()}
            for service_sid, value in read().items():
                found.setdefault(labels().get(service_sid, OTHER) if service_sid else "", []).append(value)
            return [((label,), together(several)) for label, several in found.items()]

        self.telemetry.gauge(name, meaning, "service", values)

    def store(self, store: ServedStore) -> None:
        """Show what a store takes, and what of a file is to be watched: a database has monitoring of its own."""
        self.one("commit_backlog", "Changesets that wait for a group commit to begin", lambda: store.backlog)
        self.one("unknown_outcomes", "Commits whose outcome had to be asked for", lambda: store.unknown_outcomes)
        self.one("leases_lost", "How often the lease on the place in the database ran out", lambda: store.leases_lost)
        if isinstance(store, SqliteStore):
            self._file(store)

    def _file(self, store: SqliteStore) -> None:
        sizes = OncePerScrape(self.telemetry, store.sizes)
        self.one("database_bytes", "The database file", lambda: sizes().database_bytes)
        self.one("wal_bytes", "The write-ahead log beside the database", lambda: sizes().wal_bytes)
        self.one("disk_free_bytes", "What the disk of the database has left", lambda: sizes().free_bytes)
        self.one("cut_logs", "Logs kept because part of them was cut off at a start", lambda: sizes().cut_logs)

        def sessions() -> list[tuple[Labels, float]]:
            counts = store.session_counts()
            return [((status,), counts.get(status, 0)) for status in STATUSES]

        self.telemetry.gauge("sessions", "Sessions on disk", "status", sessions)

    def cluster(self, view: Callable[[], ClusterView]) -> None:
        """Show which hosts there are and answer, as one of them sees it."""
        self.telemetry.gauge(
            "host_up",
            "1 while this host of the cluster is heard by the one that tells",
            "peer",
            lambda: [((name,), is_up) for name, is_up in view().hosts.items()],
        )
        self.telemetry.gauge(
            "clock_offset_seconds",
            "How far the clock of another host is ahead of that of the one that tells",
            "peer",
            lambda: [((name,), seconds) for name, seconds in view().clock_offsets.items()],
        )
        self.one("directory_epoch", "Grows with every change of a host's address", lambda: view().epoch)

    def node(self, read: Callable[[], NodeFigures]) -> None:
        """Show a machine's part in a cluster on a database."""
        self.one("takeovers", "Hosts taken from lost machines by this one's supervisor", lambda: read().takeovers)
        self.one(
            "membership_age_seconds",
            "Since this machine's supervisor has read who carries which host",
            lambda: read().rows_age_seconds,
        )
        self.one(
            "rejected_peer_connections",
            "Connections to the port for other hosts that were closed before a host was admitted",
            lambda: read().rejected,
        )

    def pools(self, host: Host) -> None:
        """Show how full the pools are."""
        labels = self._labels
        all_pools = OncePerScrape(self.telemetry, lambda: summed(host.pools(), labels and labels()))
        gauge = self.telemetry.gauge
        gauge("pool_numbers", "Numbers in pools", "state", lambda: _by_state(all_pools().total))
        self.one("pool_saturation_ratio", "The fullest pool's saturation", lambda: all_pools().most_saturated)
        self.one("pool_limit_ratio", "The largest pool's share of its limit", lambda: all_pools().fullest)
        if labels is None:
            return
        gauge(
            "service_pool_numbers",
            "Numbers in the pool of a service",
            "service state",
            lambda: [
                ((name, *state), count)
                for name, one in all_pools().by_service.items()
                for state, count in _by_state(one.numbers)
            ],
        )
        gauge(
            "service_pool_saturation_ratio",
            "Saturation of the pool of a service",
            "service",
            lambda: [((name,), one.saturation) for name, one in all_pools().by_service.items()],
        )
        gauge(
            "service_pool_limit_ratio",
            "Share of its limit that the pool of a service has",
            "service",
            lambda: [((name,), one.fill) for name, one in all_pools().by_service.items()],
        )
        gauge(
            "service_active_sessions",
            "Sessions of a service that route",
            "service",
            lambda: [((name,), one.sessions) for name, one in all_pools().by_service.items()],
        )


class OncePerScrape(Generic[Read]):
    """Reads at the first question of a scrape and remembers the answer until the next scrape."""

    def __init__(self, telemetry: Telemetry, read: Callable[[], Read]) -> None:
        """Read when a scrape of `telemetry` asks."""
        self._telemetry = telemetry
        self._read = read
        self._known: tuple[int, Read] | None = None

    def __call__(self) -> Read:
        """Return what was read in this scrape."""
        scrape = self._telemetry.scrapes
        if self._known is None or self._known[0] != scrape:
            self._known = (scrape, self._read())
        return self._known[1]


class ServiceSum(msgspec.Struct):
    """What services of one label have."""

    numbers: Counter[str]
    """By state."""
    saturation: float = 0.0
    """Of the fullest pool."""
    fill: float = 0.0
    """Of the largest."""
    sessions: int = 0
    """That route."""


class PoolsSum(msgspec.Struct):
    """What all services have."""

    total: Counter[str]
    """Numbers by state."""
    by_service: dict[str, ServiceSum]
    """By the service's name as a label; services of one label are added up, those beyond the cap are `other`."""
    most_saturated: float = 0.0
    fullest: float = 0.0


def service_labels(services: Iterable[Service], *, most: int) -> dict[str, str]:
    """Return the labels of the first services, by SID; all others are `other`."""
    return {service.sid: safe_label(service.unique_name) for service in islice(services, most)}


def summed(pools: Iterable[tuple[Service, PoolState, int]], labels: Mapping[str, str] | None) -> PoolsSum:
    """Add pools up, also by the labels of their services where there are such."""
    found = PoolsSum(Counter(_states()), {})
    for service, state, sessions in pools:
        numbers = _states(state)
        found.total.update(numbers)
        found.most_saturated = max(found.most_saturated, state.saturation)
        found.fullest = max(found.fullest, state.fill)
        if labels is not None:
            one = found.by_service.setdefault(labels.get(service.sid, OTHER), ServiceSum(Counter()))
            one.numbers.update(numbers)
            one.saturation = max(one.saturation, state.saturation)
            one.fill = max(one.fill, state.fill)
            one.sessions += sessions
    return found


_NO_NUMBERS = PoolState(0, 0, 0)


def _states(state: PoolState = _NO_NUMBERS) -> dict[str, int]:
    return {"free": state.free, "in-use": state.in_use, "reserved": state.reserved}


def _by_state(numbers: Counter[str]) -> list[tuple[Labels, float]]:
    return [((state,), count) for state, count in numbers.items()]
