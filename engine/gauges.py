"""What the metrics read of a running engine at each scrape."""

from collections.abc import Callable

from actors.host import Host
from engine.outgoing import Outgoing
from engine.telemetry.observer import Telemetry


def watch_engine(telemetry: Telemetry, host: Host, outgoing: Outgoing) -> None:
    """Show what a host and its outbox hold."""

    def size(name: str, meaning: str, read: Callable[[], float]) -> None:
        telemetry.gauge(name, meaning, "", lambda: [((), read())])

    size("active_sessions", "Sessions that route", lambda: host.active_sessions)
    size("bindings", "Active pairs of an identifier and a proxy number", lambda: host.bindings)
    size("open_calls", "Calls whose inbound leg has not ended", lambda: host.open_calls)
    size("waiting_events", "Events that wait for webhooks of applications", lambda: host.waiting_events)
    size("outbox_pending", "Deliveries that are owed, as of the last count", lambda: outgoing.depth.pending)
    size("outbox_dead", "Deliveries that are given up until they are replayed", lambda: outgoing.depth.dead)
    size("outbox_held", "Owed deliveries that are in memory", lambda: outgoing.held)
    size("outbox_oldest_seconds", "Age of the oldest delivery that is owed", outgoing.oldest_seconds)
