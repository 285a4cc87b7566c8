"""A live server with something to look at: two accounts, traffic of all sorts, dead letters, a pool that is full."""

import asyncio
import json
import math
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from engine.core.model.changes import NoteKept
from engine.core.model.history import KEPT_MINUTES, MINUTE_SECONDS
from engine.core.model.overview import Minute
from engine.core.routing.traffic import Outcome
from engine.runtime import clock
from engine.telemetry.observer import Telemetry
from storage.sqlite.store import SqliteStore
from tests.e2e.application import TOLD, Application, eventually, serving
from tests.e2e.live import MASKLINE, LiveServer, free_port
from tests.e2e.tenant import Pairing, Service, Tenant, new_tenant, person
from tests.outbound.receiver import Reply

OUTAGE = (300, 360)
FAILED = range(20, 30)
"""Minutes ago."""

PEERS = """
sip_listen = "127.0.0.1:{port}"

[sip_peers.switch]
networks = ["127.0.0.1"]

[sip_peers.spare]
networks = ["192.0.2.0/24"]

[smpp_peers.carrier]
role = "esme"
host = "127.0.0.1"
port = 1
system_id = "masks"
password = "hush"
tls = false
"""
"""A switch that asks, one that never did, and a carrier to whom nobody can bind."""

ARGUMENTS = ("--rate-limit-per-second", "0", "--outgoing-allow", "127.0.0.0/8", "--webhook-tries", "1")


class Furnished(msgspec.Struct, frozen=True):
    """What there is."""

    server: LiveServer
    tenant: Tenant
    neighbour: Tenant
    service: Service
    pairing: Pairing
    """A session named "ride 17", through which calls and messages have passed."""
    stranger: str


@contextmanager
def furnished(data_dir: Path) -> Iterator[Furnished]:
    """Serve it."""
    LiveServer(data_dir).stop()
    asyncio.run(_remember_a_day(data_dir))
    with serving() as application:
        configuration, port = data_dir.with_suffix(".toml"), free_port()
        configuration.write_text(PEERS.format(port=port), "utf-8")
        server = LiveServer(data_dir, *ARGUMENTS, "--config", str(configuration))
        tenant, neighbour = new_tenant(server), new_tenant(server)
        try:
            found = _filled(server, tenant, neighbour, application)
            _ask_over_sip(found, f"127.0.0.1:{port}")
            yield found
        finally:
            tenant.close()
            neighbour.close()
            server.kill()


async def _remember_a_day(data_dir: Path) -> None:
    """Have traffic behind the server: an hour without it, and ten minutes of a disk that failed."""
    now = int(clock()) // MINUTE_SECONDS * MINUTE_SECONDS
    kept = []
    for ago in range(1, KEPT_MINUTES):
        if not OUTAGE[0] <= ago < OUTAGE[1]:
            at = now - ago * MINUTE_SECONDS
            routed = round(3_000 + 2_500 * math.sin(at / 86_400 * 2 * math.pi) + 200 * math.sin(ago))
            failed = routed // 3 if ago in FAILED else 0
            by_outcome = {Outcome.ROUTED: routed - failed, Outcome.REFUSED: routed // 9, Outcome.NOT_READY: failed}
            calls = tuple(by_outcome.get(one, 0) for one in Outcome)
            minute = Minute(at, calls, tuple(count // 2 for count in calls), 0.25 if failed else 0.005)
            value = msgspec.msgpack.encode(minute)
            kept.append(NoteKept("history of host-0", at.to_bytes(8, "big"), value, at + 86_400.0))
    store = SqliteStore.open(data_dir, observer=Telemetry())
    await store.start()
    await store.write(kept)
    await store.close()


def _filled(server: LiveServer, tenant: Tenant, neighbour: Tenant, application: Application) -> Furnished:
    server.admin("PATCH", f"/accounts/{tenant.sid}", {"friendly_name": "Rides Ltd"})
    server.admin("PATCH", f"/accounts/{neighbour.sid}", {"friendly_name": "Clinic & Sons"})
    application.answers(TOLD, Reply(status=500))
    service = tenant.service(numbers=4, UniqueName="rides", CallbackUrl=application.url(TOLD))
    pairing = service.pairing(UniqueName="ride 17")
    busy = person()
    for place in range(3):
        service.session(busy, person(), UniqueName=f"shift {place}")
    tenant.service(numbers=2, UniqueName="parcels")
    clinic = neighbour.service(numbers=1, UniqueName="clinic")
    clinic.pairing()
    stranger = person()
    for _ in range(6):
        tenant.carrier.call(pairing.first.identifier, pairing.first.proxy)
        tenant.carrier.message(pairing.second.identifier, pairing.second.proxy, "I am at the corner")
    for _ in range(3):
        tenant.carrier.call(stranger, pairing.first.proxy)
        neighbour.carrier.call(stranger, clinic.pool[0])
    tenant.carrier.message(pairing.first.identifier, pairing.first.proxy, "STOP")
    dead = lambda: server.admin("GET", "/outbox/count?is_dead=true")["count"] >= 12  # noqa: E731
    assert eventually(dead), json.dumps(server.admin("GET", "/outbox"))
    return Furnished(server, tenant, neighbour, service, pairing, stranger)


def _ask_over_sip(found: Furnished, server: str) -> None:
    """Have the switch ask about somebody in a session, and about a stranger."""
    for sender in (found.pairing.first.identifier, found.stranger):
        asked = ("sip", "ask", "--from", sender, "--to", found.pairing.first.proxy, "--server", server)
        subprocess.run([str(MASKLINE), *asked], check=False, capture_output=True)  # noqa: S603 - our own command
