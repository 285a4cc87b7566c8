"""Calls that keep coming while hosts of a real cluster are killed."""

import itertools
import threading
from contextlib import suppress

import httpx
import msgspec
import pytest

from tests.cluster.live_cluster import LiveCluster, eventually
from tests.e2e.carrier import resource_sid
from tests.e2e.tenant import Json, Pairing, Tenant, numbers_of

pytestmark = pytest.mark.timeout(240)

FEWEST = 20
"""Calls that have to be answered before and after each kill."""


class Caller(threading.Thread):
    """Calls from one session after the other until told to stop; keeps what was acknowledged, and how."""

    def __init__(self, tenant: Tenant, pairings: list[Pairing]) -> None:
        super().__init__(name="caller")
        self.tenant = tenant
        self.pairings = pairings
        self.routed: dict[str, str] = {}
        self.wrong: list[object] = []
        self.told_to_come_again = 0
        self.stopping = threading.Event()

    def run(self) -> None:
        """Call; a connection that breaks and a 503 acknowledge nothing."""
        for pairing in itertools.cycle(self.pairings):
            if self.stopping.is_set():
                return
            sid = resource_sid("CA")
            try:
                heard = self.tenant.carrier.call(pairing.first.identifier, pairing.first.proxy, sid=sid)
            except httpx.TransportError:
                continue
            if heard.status == httpx.codes.SERVICE_UNAVAILABLE:
                self.told_to_come_again += 1
            elif heard.reached == (pairing.second.identifier, pairing.second.proxy):
                self.routed[sid] = pairing.path
            else:
                self.wrong.append((heard.status, heard.verbs))

    def await_more(self) -> None:
        """Wait until some more were routed."""
        least = len(self.routed) + FEWEST
        eventually(lambda: len(self.routed) >= least, "calls are routed")


class Listed(msgspec.Struct):
    """An interaction, as far as it matters here."""

    inbound_resource_sid: str


def read_patiently(tenant: Tenant, path: str) -> list[Json]:
    """Read a list; a host that is just back may still be told to be down, which is 503 for a moment."""
    found: list[Json] = []

    def is_read() -> bool:
        with suppress(AssertionError):
            found[:] = tenant.everything(path, "interactions")
            return True
        return False

    eventually(is_read, f"{path} can be read")
    return found


def test_no_acknowledged_call_is_lost_when_hosts_are_killed(cluster: LiveCluster, tenant: Tenant) -> None:
    """Each in turn, under way; nothing is ever routed wrongly, and what is not acknowledged is told to come again."""
    service = tenant.service(pool=numbers_of(0, 3) + numbers_of(1, 3))
    pairings = [service.pairing() for _ in range(8)]
    caller = Caller(tenant, pairings)
    caller.start()

    for place in (1, 0):
        caller.await_more()
        cluster.await_ready(other_than={place: cluster.kill_host(place)})
    caller.await_more()
    caller.stopping.set()
    caller.join(30)
    kept = {
        msgspec.convert(one, Listed).inbound_resource_sid
        for pairing in pairings
        for one in read_patiently(tenant, f"{pairing.path}/Interactions")
    }

    assert caller.wrong == []
    assert caller.routed.keys() - kept == set()
    assert len(caller.routed) >= 3 * FEWEST
