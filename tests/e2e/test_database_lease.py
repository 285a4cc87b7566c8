"""A server that was stopped while another one took its place in the database: it tells nobody anything any more."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.carrier import Carrier, call_form
from tests.e2e.conftest import ONE_COPY, UNLIMITED
from tests.e2e.feed import Feed, FeedGone
from tests.e2e.live import LiveServer
from tests.e2e.tenant import Tenant, new_tenant, person

STOPS = int(os.environ.get("LEASE_STOPS", "1"))
"""How often; each at another moment of what it does."""

BATCH = 64
STOPPED_SECONDS = 90.0
"""Who asks waits longer than the server stands still."""


class Asker(threading.Thread):
    """Asks one thing again and again, and notes when it was told what."""

    def __init__(self, ask: Callable[[], set[str]], gone: type[Exception] | tuple[type[Exception], ...]) -> None:
        super().__init__(daemon=True)
        self._ask = ask
        self._gone = gone
        self.heard: list[tuple[float, set[str]]] = []
        self.has_heard = threading.Event()

    def run(self) -> None:
        """Ask until nobody is there."""
        with suppress(*(self._gone if isinstance(self._gone, tuple) else (self._gone,))):
            while True:
                told = self._ask()
                self.heard.append((time.monotonic(), told))
                if len(self.heard) > BATCH:
                    self.has_heard.set()

    def since(self, at: float) -> set[str]:
        """Return all that it was told since a time."""
        return {word for told_at, told in self.heard for word in told if told_at > at}


@contextmanager
def asking(server: LiveServer, tenant: Tenant, sender: str, proxy: str) -> Iterator[list[Asker]]:
    """Ask over the feed, in bulk and mixed with a call that is refused, and by webhooks of such calls."""
    questions: list[list[object]] = [["resolve", "call", sender, proxy]] * BATCH

    def decide(feed: Feed, *events: list[Any]) -> set[str]:
        return {answer[0] if isinstance(answer, list) else answer for answer in feed.decide(*events)}

    def webhook() -> set[str]:
        form = call_form(tenant.sid, person(), proxy)
        return {"not-ready" if carrier.post("/inbound/voice", form).status_code == 503 else "refused"}

    with (
        Feed(server.feed, tenant.sid, tenant.token) as bulk,
        Feed(server.feed, tenant.sid, tenant.token) as mixed,
        closing(Carrier(server, tenant.sid, tenant.token)) as carrier,
    ):
        bulk._socket.settimeout(STOPPED_SECONDS)
        mixed._socket.settimeout(STOPPED_SECONDS)
        carrier._http.timeout = STOPPED_SECONDS
        call = ["call", person(), proxy, "CA" + "7" * 32]
        askers = [
            Asker(lambda: decide(bulk, *questions), FeedGone),
            Asker(lambda: decide(mixed, *questions[:4], call), FeedGone),
            Asker(webhook, httpx.TransportError),
        ]
        for asker in askers:
            asker.start()
        yield askers
        for asker in askers:
            asker.join(20)


@pytest.mark.timeout(120 * STOPS)
def test_a_server_that_was_stopped_meanwhile_answers_not_ready_and_ends(database: str, tmp_path: Path) -> None:
    """Nothing that was decided before leaves after; whom the session connected, its successor knows by then."""
    settings = (*UNLIMITED, *ONE_COPY, "--feed-listen", "127.0.0.1:0", "--database-url", database)
    server = LiveServer(tmp_path / "data-0", *settings)
    tenant = new_tenant(server)
    service = tenant.service(numbers=2)
    try:
        for stop in range(1, STOPS + 1):
            pairing = service.pairing()
            with asking(server, tenant, pairing.first.identifier, pairing.first.proxy) as askers:
                assert all(asker.has_heard.wait(30) for asker in askers)
                server.process.send_signal(signal.SIGSTOP)
                successor = LiveServer(tmp_path / f"data-{stop}", *settings)
                moved = tenant.moved(successor)
                moved.update(pairing.path, Status="closed")
                at = time.monotonic()
                server.process.send_signal(signal.SIGCONT)
                code = server.process.wait(30)

            assert code == 1
            assert "Another process has taken place 0 in the database; this one ends" in server.log
            assert {"routed", "refused"} <= {word for asker in askers for word in asker.since(0.0)}
            assert {word for asker in askers for word in asker.since(at)} <= {"not-ready"}
            server.kill()
            server, tenant = successor, moved
            service.tenant = tenant
    finally:
        server.process.send_signal(signal.SIGCONT)
        server.kill()
        tenant.close()
