"""What is owed through a live server: dead receivers, kill -9, dead letters and the operator's commands."""

import asyncio
import json
import re
import socket
import subprocess
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.e2e.application import (
    GATE,
    IDEMPOTENCY,
    TOLD,
    Application,
    codes,
    eventually,
    pending,
    serving,
    settled,
)
from tests.e2e.flood import flood
from tests.e2e.live import MASKLINE, STOP_SECONDS, LiveServer, clean_environment
from tests.e2e.tenant import Json, Pairing, Tenant, new_tenant
from tests.outbound.receiver import Received, Reply

StartServer = Callable[..., LiveServer]
Keep = Callable[[Tenant], Tenant]

FLAGS = ("--rate-limit-per-second", "0", "--outgoing-allow", "127.0.0.0/8", "--webhook-timeout-seconds", "600")
STUBBORN = (*FLAGS, "--webhook-tries", "1000", "--longest-retry-wait-seconds", "0.05")
PUBLIC = "http://maskline.example"


@contextmanager
def dead_port() -> Iterator[int]:
    """Hold a port at which connections are refused."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def texts_told(requests: list[Received]) -> dict[str, list[int]]:
    """Return, session by session, the numbers of the texts that were told, repeats left out by their key."""
    keys: dict[str, str] = {}
    told: dict[str, list[int]] = defaultdict(list)
    for request in requests:
        form = request.form
        key = request.headers[IDEMPOTENCY]
        if key not in keys:
            told[form["interactionSessionSid"]].append(int(json.loads(form["interactionData"])["body"]))
        assert keys.setdefault(key, form["interactionSid"]) == form["interactionSid"]
    assert len(keys) == len(set(keys.values()))
    return told


def test_a_receiver_that_was_dead_is_told_everything_in_order(start_server: StartServer, keep: Keep) -> None:
    """The messages went on meanwhile; 10 sessions, 5 texts each, told once each when the receiver is back."""
    tenant = keep(new_tenant(start_server(*STUBBORN)))
    with dead_port() as port:
        service = tenant.service(numbers=2, CallbackUrl=f"http://127.0.0.1:{port}{TOLD}")
        pairings = [service.pairing() for _ in range(10)]
        answered = asyncio.run(flood(tenant, pairings, each=5))
        assert eventually(lambda: all_tried(tenant, 10))
        left = pending(tenant.server, account_sid=tenant.sid)

    with serving(port=port) as application:
        assert settled(tenant)
        told = texts_told(application.asked(TOLD))

    assert (answered, left) == (50, 50)
    assert told == {pairing.sid: list(range(5)) for pairing in pairings}
    assert len(application.receiver.received) == 50


def all_tried(tenant: Tenant, count: int) -> bool:
    """Tell whether so many entries have failed at least once."""
    entries = tenant.server.admin("GET", "/outbox?limit=1000")["effects"]
    return len([entry for entry in entries if entry["attempts"]]) >= count


SESSIONS, EACH = 50, 200


def test_kill_9_with_ten_thousand_pending_loses_none(start_server: StartServer, keep: Keep) -> None:
    """Two kills, the second in the middle of the delivery: each is told, in order; repeats are known by their key."""
    tenant = keep(new_tenant(start_server(*FLAGS, public_url=PUBLIC)))
    with serving() as application:
        service = tenant.service(numbers=2, CallbackUrl=application.url(TOLD))
        pairings = [service.pairing() for _ in range(SESSIONS)]
        application.answers(TOLD, Reply(hangs=True))
        answered = asyncio.run(flood(tenant, pairings, each=EACH))
        tenant = keep(killed_and_restarted(tenant, start_server))
        left = pending(tenant.server, account_sid=tenant.sid)
        assert eventually(lambda: metric(tenant.server, "maskline_outbox_pending") == SESSIONS * EACH)
        held = metric(tenant.server, "maskline_outbox_held")

        application.answers(TOLD, Reply())
        application.receiver.release()
        assert application.receiver.waits_for(lambda: len(application.receiver.received) >= 3_000, seconds=30)
        tenant = keep(killed_and_restarted(tenant, start_server))
        assert settled(tenant, seconds=40)

    assert (answered, left) == (SESSIONS * EACH, SESSIONS * EACH)
    assert held <= 1_000
    told = texts_told(application.receiver.received)
    assert told == {pairing.sid: list(range(EACH)) for pairing in pairings}


def killed_and_restarted(tenant: Tenant, start_server: StartServer) -> Tenant:
    """Kill a tenant's server with -9 and start another one on its data."""
    tenant.server.kill()
    return tenant.moved(start_server(*FLAGS, public_url=PUBLIC))


def metric(server: LiveServer, name: str) -> float:
    """Read a gauge."""
    found = re.search(rf"^{name} (\S+)$", server.metrics(), re.MULTILINE)
    assert found is not None
    return float(found[1])


def test_a_hanging_receiver_slows_nobody_else(start_server: StartServer, keep: Keep) -> None:
    """600 callbacks hang or wait; 100 of another receiver, a gate on the hanging host and every message go through."""
    tenant = keep(new_tenant(start_server(*FLAGS)))
    with serving() as hanging, serving() as living:
        hanging.answers(TOLD, Reply(hangs=True))
        slow, quick = (tenant.service(numbers=2, CallbackUrl=one.url(TOLD)) for one in (hanging, living))
        gated = tenant.service(numbers=2, InterceptCallbackUrl=hanging.url(GATE), CallbackUrl=living.url(TOLD))
        stuck = [slow.pairing() for _ in range(20)]
        free = [quick.pairing() for _ in range(5)]

        answered = asyncio.run(flood(tenant, stuck, each=30))
        answered += asyncio.run(flood(tenant, free, each=20))
        answered += asyncio.run(flood(tenant, [gated.pairing()], each=5))
        told = living.told(105)

        assert answered == 600 + 100 + 5
        assert len(told) == 105
        assert len(hanging.asked(GATE)) == 5
        assert len(hanging.asked(TOLD)) == 8  # deliveries_per_destination
        assert pending(tenant.server, service_sid=slow.sid) == 600
        hanging.answers(TOLD, Reply())
        hanging.receiver.release()
        assert settled(tenant)
    assert texts_told(hanging.asked(TOLD)) == {pairing.sid: list(range(30)) for pairing in stuck}


def test_stopping_with_deliveries_under_way_is_quick_and_loses_none(start_server: StartServer, keep: Keep) -> None:
    """Exit code 0 in the promised time; the next start tells all of it."""
    tenant = keep(new_tenant(start_server(*FLAGS, public_url=PUBLIC)))
    with serving() as application:
        application.answers(TOLD, Reply(hangs=True))
        service = tenant.service(numbers=2, CallbackUrl=application.url(TOLD))
        pairings = [service.pairing() for _ in range(10)]
        asyncio.run(flood(tenant, pairings, each=3))
        application.told(8)
        code = tenant.server.stop()
        application.answers(TOLD, Reply())
        tenant = keep(tenant.moved(start_server(*FLAGS, public_url=PUBLIC)))
        assert settled(tenant)

    assert (code, STOP_SECONDS) == (0, 5.0)
    assert texts_told(application.asked(TOLD)) == {pairing.sid: [0, 1, 2] for pairing in pairings}


class Letters:
    """A server whose 6 callbacks of 2 sessions are dead, and the operator's command line."""

    def __init__(self, tenant: Tenant, application: Application) -> None:
        """Let 3 texts of each be refused."""
        self.server = tenant.server
        self.application = application
        self.tenant = tenant
        application.answers(TOLD, Reply(status=410, body=b"gone"))
        service = self.tenant.service(numbers=2, CallbackUrl=application.url(TOLD))
        self.pairings: list[Pairing] = [service.pairing() for _ in range(2)]
        self.service_sid = service.sid
        asyncio.run(flood(self.tenant, self.pairings, each=3))
        assert settled(self.tenant)
        application.receiver.received.clear()

    def run(self, *arguments: str) -> str:
        """Run `maskline outbox`."""
        command = [str(MASKLINE), "outbox", *arguments, "--data-dir", str(self.server.data_dir)]
        ran = subprocess.run(command, capture_output=True, text=True, check=False, env=clean_environment())  # noqa: S603 - our own command
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    def listed(self, *filters: str) -> list[Json]:
        """List in JSON."""
        entries: list[Json] = json.loads(self.run("list", "--json", *filters))["effects"]
        return entries


@pytest.fixture
def letters(start_server: StartServer, keep: Keep, application: Application) -> Letters:
    """Return a server with dead letters."""
    return Letters(keep(new_tenant(start_server(*FLAGS))), application)


def test_the_operator_sees_what_was_given_up(letters: Letters) -> None:
    """By session, service, age, error, dead or not; no number and no text is shown."""
    session = letters.pairings[0].sid

    found = letters.listed("--dead")

    assert len(found) == 6
    assert {(one["kind"], one["attempts"], one["last_error"]) for one in found} == {("callback", 1, "answered 410")}
    assert {one["destination"] for one in found} == {letters.application.receiver.url}
    assert [one["session_sid"] for one in letters.listed("--session", session)] == [session] * 3
    assert len(letters.listed("--service", letters.service_sid, "--error", "410")) == 6
    assert letters.listed("--older-than", "1h") == letters.listed("--pending") == letters.listed("--error", "500") == []
    shown = letters.run("list")
    assert letters.pairings[0].first.identifier not in shown
    assert codes(letters.tenant, 6) == [80908] * 6


def test_the_operator_replays_one_session(letters: Letters) -> None:
    """It is told in order, under the keys that it was refused with; the other session's letters stay dead."""
    first, second = (pairing.sid for pairing in letters.pairings)
    keys = [one["sid"] for one in letters.listed("--session", first)]
    letters.application.answers(TOLD, Reply())

    said = letters.run("replay", "--session", first, "--yes")

    letters.application.told(3)
    assert settled(letters.tenant)
    assert "3 replayed" in said
    assert [request.headers[IDEMPOTENCY] for request in letters.application.asked(TOLD)] == keys
    assert texts_told(letters.application.asked(TOLD)) == {first: [0, 1, 2]}
    assert [one["session_sid"] for one in letters.listed()] == [second] * 3


def test_the_operator_replays_while_no_server_runs(letters: Letters, start_server: StartServer, keep: Keep) -> None:
    """The next start delivers it."""
    letters.application.answers(TOLD, Reply())
    assert letters.server.stop() == 0

    assert "6 replayed" in letters.run("replay", "--yes")

    assert letters.application.receiver.received == []
    tenant = keep(letters.tenant.moved(start_server(*FLAGS)))
    assert settled(tenant)
    assert texts_told(letters.application.asked(TOLD)) == {pairing.sid: [0, 1, 2] for pairing in letters.pairings}


def test_the_operator_drops_the_rest(letters: Letters) -> None:
    """It is owed no more, also after a restart."""
    letters.application.answers(TOLD, Reply())

    assert "6 dropped" in letters.run("drop", "--error", "410", "--yes")

    assert letters.listed() == []
    assert letters.server.stop() == 0
    assert letters.listed() == []  # with no server running
    assert letters.application.receiver.received == []
