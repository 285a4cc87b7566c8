"""What an operator sees of a live server: health, metrics, log, rate limit, data directory, imports."""

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.e2e.carrier import resource_sid
from tests.e2e.live import MASKLINE, NO_TLS, LiveServer, clean_environment
from tests.e2e.tenant import Tenant, new_tenant, participants, person, proxy_number

StartServer = Callable[..., LiveServer]

SID = re.compile(r"(AC|CA|CH|IS|KC|KI|KP|KS|MM|NO|PN|RE|SC|SK|SM)[0-9a-f]{32}")


def traffic_of_every_kind(tenant: Tenant) -> list[str]:
    """Let everything happen that says something to log or metrics; returns every phone number that was used."""
    service = tenant.service(numbers=2)
    talkers, closed = service.pairing(), service.pairing(Mode="voice-only")
    stranger, unknown, mexican, joining = person(), proxy_number(), "+525512345678", person()
    alice, bob = talkers.first, talkers.second
    call = tenant.carrier.call(alice.identifier, alice.proxy)
    failed = {"CallSid": resource_sid("CA"), "CallStatus": "failed"}
    tenant.carrier.report(call.twiml.status_url, **failed)
    tenant.carrier.report(call.twiml.status_url, **failed | {"CallStatus": "ringing"})
    tenant.carrier.report("/inbound/status", CallSid=resource_sid("CA"), CallStatus="completed")
    tenant.carrier.message(bob.identifier, bob.proxy, f"call me at {stranger}")
    tenant.carrier.message(bob.identifier, bob.proxy, "STOP")
    tenant.carrier.call(stranger, alice.proxy)
    tenant.carrier.message(stranger, alice.proxy)
    tenant.carrier.message(closed.first.identifier, closed.first.proxy)
    tenant.carrier.call(stranger, unknown)
    tenant.carrier.post("/inbound/voice", {"From": stranger, "To": alice.proxy, "CallSid": "CA1"}, signature="x")
    tenant.carrier.post("/inbound/voice", {"From": stranger, "To": alice.proxy})
    tenant.update(closed.path, Status="closed")
    tenant.carrier.call(closed.first.identifier, closed.first.proxy)
    sessions = f"{service.path}/Sessions"
    number = service.numbers()[alice.proxy]["sid"]
    for refused in (
        tenant.http.post(sessions, data={"Participants": participants(mexican, "+15550001234")}),
        tenant.http.post(sessions, data={"Participants": participants(mexican)}),
        tenant.http.post(f"{service.path}/PhoneNumbers", data={"PhoneNumber": alice.proxy}),
        tenant.http.delete(f"{service.path}/PhoneNumbers/{number}"),
        tenant.http.get(f"{sessions}/{stranger}"),
        tenant.http.get(f"/Nowhere/{stranger}"),
        tenant.http.get(f"{sessions}?PageToken={stranger}"),
        tenant.http.post(f"{talkers.path}/Participants", data={"Identifier": joining}),
    ):
        assert refused.is_client_error
        assert not holds_any(refused.text, [stranger, mexican, joining, alice.proxy, "+15550001234"])
    people = [endpoint.identifier for pairing in (talkers, closed) for endpoint in (pairing.first, pairing.second)]
    return [*service.pool, *people, stranger, unknown, mexican, joining, "+15550001234"]


def holds_any(text: str, numbers: list[str]) -> list[str]:
    """Return the numbers that stand in a text in full, with or without their plus."""
    return [number for number in numbers if number.lstrip("+") in text]


def test_neither_metrics_nor_log_tell_a_phone_number(start_server: StartServer) -> None:
    """No whole number in any line; in metrics no SID either, and no label that grows with traffic."""
    server = start_server("--rate-limit-per-second", "0", "--log-level", "debug")
    tenant = new_tenant(server)

    numbers = traffic_of_every_kind(tenant)
    names = {line.partition(" ")[0] for line in server.metrics().splitlines()}
    traffic_of_every_kind(tenant)
    metrics = server.metrics()
    names_later = {line.partition(" ")[0] for line in metrics.splitlines()}
    tenant.close()
    assert server.stop() == 0

    assert 'maskline_events_total{ingress="http",kind="voice",outcome="routed",reason="in-session"} 2.0' in metrics
    assert 'maskline_turned_away_requests_total{problem="bad-signature"} 2.0' in metrics
    assert "code=80901" in server.log
    assert holds_any(metrics, numbers) == []
    assert SID.search(metrics) is None
    assert names == names_later
    assert holds_any(server.log, numbers) == []


def test_metrics_count_what_passed(start_server: StartServer) -> None:
    """Gauges follow sessions, pairs and open calls; counters what was answered."""
    server = start_server()
    tenant = new_tenant(server)
    service = tenant.service(numbers=2)
    pairing, _ = service.pairing(), service.pairing()
    call_sid = resource_sid("CA")
    tenant.carrier.call(pairing.first.identifier, pairing.first.proxy, sid=call_sid)
    during = server.metrics()
    tenant.carrier.report("/inbound/status", CallSid=call_sid, CallStatus="completed", CallDuration="3")
    tenant.update(pairing.path, Status="closed")
    after = server.metrics()
    tenant.close()

    def sizes(metrics: str) -> tuple[str, ...]:
        names = ("maskline_active_sessions", "maskline_bindings", "maskline_open_calls", "maskline_ready")
        return tuple(found[1] for name in names if (found := re.search(rf"^{name} (\S+)$", metrics, re.MULTILINE)))

    assert sizes(during) == ("2.0", "4.0", "1.0", "1.0")
    assert sizes(after) == ("1.0", "2.0", "0.0", "1.0")
    assert 'maskline_leg_reports_total{outcome="recorded"} 1.0' in after
    assert 'route="/v1/Services/{ServiceSid}/Sessions",status="201"} 2.0' in after


def test_health_and_readiness_ask_for_no_credentials(shared_server: LiveServer) -> None:
    """Both are green on a server that answers."""
    for path in ("/healthz", "/readyz"):
        assert httpx.get(f"{shared_server.address}{path}", verify=NO_TLS).status_code == 200


def test_too_many_requests_to_one_service_do_not_slow_another(start_server: StartServer) -> None:
    """A burst above five seconds' allowance meets 429/20429 with Retry-After; elsewhere all is well (item 20)."""
    server = start_server("--log-level", "info")  # the default limit: 30 a second over 5 seconds
    tenant = new_tenant(server)
    busy, quiet = tenant.service(numbers=0), tenant.service(numbers=0)

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: tenant.http.get(busy.path), range(400)))
    refused = [one for one in answers if one.status_code != httpx.codes.OK]
    elsewhere = [tenant.http.get(quiet.path).status_code, tenant.http.get(f"{busy.path}/Sessions").status_code]
    tenant.close()

    assert refused
    assert len(answers) - len(refused) >= 150
    assert {(one.status_code, one.json()["code"]) for one in refused} == {(429, 20429)}
    assert all(1 <= int(one.headers["retry-after"]) <= 5 for one in refused)
    assert elsewhere == [200, 200]


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_writes_are_limited_as_reads_are(start_server: StartServer, method: str) -> None:
    """Each for itself: more than 150 in five seconds meet 429/20429, reads go on (changelog 6)."""
    tenant = new_tenant(start_server("--log-level", "info"))  # the default limit: 30 a second over 5 seconds
    service = tenant.service(numbers=0)
    path = f"{service.path}/Sessions/KC{'0' * 32}"

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: tenant.http.request(method, path), range(400)))
    read = tenant.http.get(path)
    tenant.close()

    counts = Counter(one.status_code for one in answers)
    assert counts.keys() == {404, 429}
    assert counts[404] >= 150
    assert read.status_code == 404


def test_a_second_process_on_the_same_data_is_refused_while_the_first_serves(start_server: StartServer) -> None:
    """In one line that names the directory and the owner; the first server does not notice."""
    server = start_server()
    tenant = new_tenant(server)
    pairing = tenant.service(numbers=2).pairing()

    second = subprocess.run(  # noqa: S603 - our own command
        [str(MASKLINE), "serve", "--data-dir", str(server.data_dir), "--listen", "127.0.0.1:0"],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
        env=clean_environment(),
    )
    routed = tenant.carrier.call(pairing.first.identifier, pairing.first.proxy).reached
    again = new_tenant(server)
    again.close()
    tenant.close()

    assert (second.returncode, second.stdout) == (2, "")
    (line,) = second.stderr.splitlines()
    assert str(server.data_dir) in line
    assert str(server.process.pid) in line
    assert routed == (pairing.second.identifier, pairing.second.proxy)


def test_the_embedded_engine_runs_without_ray(start_server: StartServer) -> None:
    """Not only at the start: an engine that has served has not imported it either."""
    script = """
import asyncio, sys, pathlib, urllib.request
from engine.channels.sockets import ListenAddress
from engine.app import running_engine
from engine.settings import Settings
import engine.cli

async def main():
    settings = Settings(data_dir=pathlib.Path(sys.argv[1]), listen=ListenAddress("127.0.0.1", 0))
    async with running_engine(settings) as engine:
        await asyncio.to_thread(urllib.request.urlopen, engine.address + "/readyz")
    print("ray" in sys.modules)

asyncio.run(main())
"""
    server = start_server()

    ran = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-c", script, str(server.data_dir.with_name("other"))],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
        env=clean_environment(),
    )

    assert ran.stdout == "False\n"
