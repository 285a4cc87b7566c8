"""Three incidents, handled by somebody on call on a live server in a browser: docs/console.md tells them.

Part of `make console-test`. The pictures are kept below `build/console`. The server of one of them lives twenty times
as fast as we do: libfaketime shows it clocks, and ends its waits, so that its retries wait as they always do.
"""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.console.browser import PICTURES
from tests.console.webdriver import ENTER, Browser, browsing
from tests.e2e.application import TOLD, Application, eventually, serving
from tests.e2e.carrier import resource_sid
from tests.e2e.live import MASKLINE, LiveServer
from tests.e2e.tenant import Tenant, new_tenant, person
from tests.outbound.receiver import Reply

ARGUMENTS = ("--rate-limit-per-second", "0", "--outgoing-allow", "127.0.0.0/8")
ONE_TRY = ("--webhook-tries", "1")

SPEED = 20
PATIENCE = (
    *("--connect-timeout-seconds", str(5 * SPEED)),
    *("--webhook-timeout-seconds", str(15 * SPEED)),
    *("--commit-patience-seconds", str(2 * SPEED)),
)
"""Our network, disk and processor are no faster than ever: what waits for them has its usual time of ours."""

DELIVERED = 12
SINCE = re.compile(r"since (\S+ \S+), (\d+) min")

fast = pytest.mark.parametrize("server", [True], indirect=True)

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def server(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[LiveServer]:
    """Serve; fast where the test says so."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    if getattr(request, "param", False):
        server = LiveServer(tmp_path / "data", *ARGUMENTS, *PATIENCE, environment=hurrying())
    else:
        server = LiveServer(tmp_path / "data", *ARGUMENTS, *ONE_TRY)
    yield server
    server.kill()


@pytest.fixture
def tenant(server: LiveServer) -> Iterator[Tenant]:
    """Make an account with a name."""
    tenant = new_tenant(server)
    server.admin("PATCH", f"/accounts/{tenant.sid}", {"friendly_name": "Rides Ltd"})
    yield tenant
    tenant.close()


@pytest.fixture
def application() -> Iterator[Application]:
    """Run the account's webhooks."""
    with serving() as application:
        yield application


@pytest.fixture
def browser(tmp_path: Path, server: LiveServer) -> Iterator[Browser]:
    """Open the operator's console; at the end the browser must have nothing to complain of."""
    with browsing(tmp_path / "profile") as browser:
        browser.go(server.admin("POST", "/console/links")["url"])
        browser.click("main button")
        browser.run_until("document.querySelector('#hosts')")
        yield browser
        assert browser.log() == []


def hurrying() -> dict[str, str]:
    """Return the environment of a process all whose clocks go `SPEED` times as fast."""
    found = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
    assert found, "libfaketime is not installed: make console-test installs it"
    return {"LD_PRELOAD": str(found), "FAKETIME": f"+0 x{SPEED}"}


def maskline(server: LiveServer, *arguments: str) -> str:
    """Run a command of the operator's."""
    command = [str(MASKLINE), *arguments, "--data-dir", str(server.data_dir)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603 - our own command


def dead_letters(server: LiveServer) -> int:
    """Count what was given up."""
    count: int = server.admin("GET", "/outbox/count?is_dead=true")["count"]
    return count


def minutes_wrong(browser: Browser) -> int:
    """Read for how long the most urgent thing has been wrong, by the server's clock."""
    since = SINCE.search(browser.text("#verdict"))
    return int(since[2]) if since else 0


def overview(browser: Browser, server: LiveServer, *, says: str) -> str:
    """Wait until the overview says something; returns its verdict."""
    browser.go(f"{server.address}/console")
    browser.run_until(f"document.querySelector('#verdict')?.textContent.includes({says!r})")
    return browser.text("#verdict")


@fast
def test_a_receiver_is_down_for_ten_minutes(
    browser: Browser, server: LiveServer, tenant: Tenant, application: Application
) -> None:
    """Of the server's time: each delivery is tried and put off, none is given up, and when it is back all arrive."""
    application.answers(TOLD, Reply(status=503))
    service = tenant.service(numbers=9, UniqueName="rides", CallbackUrl=application.url(TOLD))
    for _ in range(DELIVERED):
        person = service.pairing().first
        tenant.carrier.call(person.identifier, person.proxy)
    browser.go(f"{server.address}/console")
    browser.run_until(f"document.querySelector('#glance').textContent.includes('{DELIVERED} pending')")

    assert eventually(lambda: minutes_wrong(browser) >= 9, seconds=60)
    during = browser.text("#verdict")
    browser.shoot(PICTURES / "incident-receiver.png", is_whole=False)
    browser.click("#verdict a[href*='state=pending']")
    browser.run_until("document.querySelector('h1').textContent === 'Outbox'")
    outbox = browser.text("main")
    browser.shoot(PICTURES / "incident-waiting.png", is_whole=False)
    browser.go(f"{server.address}/console")
    assert eventually(lambda: minutes_wrong(browser) >= 10, seconds=60)
    refused, given_up = len(application.asked(TOLD)), dead_letters(server)
    application.answers(TOLD, Reply())
    browser.run_until("document.querySelector('#verdict').className === 'fine'")
    after = browser.text("#glance")
    browser.shoot(PICTURES / "incident-receiver-back.png", is_whole=False)

    taken = [request.form["interactionSid"] for request in application.asked(TOLD)[refused:]]
    assert f"Deliveries wait: {DELIVERED} are pending." in during
    assert SINCE.search(during)
    assert application.receiver.url in outbox
    assert "answered 503" in outbox
    assert given_up == 0
    assert refused >= 10 * DELIVERED
    assert len(set(taken)) == len(taken) == DELIVERED
    assert "0 pending" in after
    assert dead_letters(server) == 0


def test_deliveries_were_given_up(
    browser: Browser, server: LiveServer, tenant: Tenant, application: Application
) -> None:
    """The verdict names it, the outbox the receiver, the command replays what was given up, and all is calm again."""
    application.answers(TOLD, Reply(status=503))
    pairing = tenant.service(numbers=9, UniqueName="rides", CallbackUrl=application.url(TOLD)).pairing()
    for _ in range(12):
        tenant.carrier.call(pairing.first.identifier, pairing.first.proxy)
    assert eventually(lambda: dead_letters(server) >= 12)

    verdict = overview(browser, server, says="Deliveries were given up")
    browser.shoot(PICTURES / "incident-dead.png", is_whole=False)
    browser.click("#verdict a[href*='state=dead']")
    browser.run_until("document.querySelector('h1').textContent === 'Outbox'")
    outbox = browser.text("main")
    browser.shoot(PICTURES / "incident-outbox.png", is_whole=False)
    application.answers(TOLD, Reply())
    maskline(server, "outbox", "replay", "--yes")
    assert eventually(lambda: dead_letters(server) == 0)
    browser.go(f"{server.address}/console/outbox?state=dead")
    after = browser.text("main")

    assert "12" in verdict
    assert application.receiver.url in outbox
    assert "answered 503" in outbox
    assert "Nothing." in after


def test_a_pool_fills(browser: Browser, server: LiveServer, tenant: Tenant) -> None:
    """The verdict names the service, the command the participant; a number more, and it is gone."""
    service, busy = tenant.service(numbers=2, UniqueName="rides"), person()
    for _ in range(2):
        service.session(busy, person())
    refused = tenant.refused("POST", f"{service.path}/Sessions", Participants=[f'{{"Identifier": "{busy}"}}'])

    verdict = overview(browser, server, says="The pool of rides is full")
    browser.shoot(PICTURES / "incident-pool.png", is_whole=False)
    browser.click("#verdict a[href*='services/']")
    browser.run_until("document.querySelector('#pool')")
    page = browser.text("main")
    report = maskline(server, "pool", "report")
    for _ in range(2):
        tenant.create(f"{service.path}/PhoneNumbers", PhoneNumber=f"+1646{person()[5:]}")
    browser.go(f"{server.address}/console")
    calm = browser.text("main")

    assert refused == (400, 80208)
    assert "(80208)" in verdict
    assert page.count("+1") >= 2
    assert f"{busy[:-4]}XXXX" in report
    assert "is full" not in calm


def test_my_drivers_calls_fail_since_two(browser: Browser, server: LiveServer, tenant: Tenant) -> None:
    """Found by the CallSid and by the driver's number; the event leads to the reason, the session to its end."""
    service, driver = tenant.service(numbers=2, UniqueName="rides"), person()
    pairing = service.pairing(driver, UniqueName="ride 17")
    tenant.carrier.call(driver, pairing.first.proxy)
    tenant.update(pairing.path, Status="closed")
    failed = resource_sid("CA")
    tenant.carrier.call(driver, pairing.first.proxy, sid=failed)
    assert eventually(lambda: bool(tenant.everything("/Alerts", "alerts")))

    browser.click("nav a[href$=search]")
    browser.write("#text", failed + ENTER)
    browser.run_until("document.querySelector('#about')")
    by_sid = browser.text("main")
    browser.click("nav a[href$=search]")
    browser.write("#text", driver + ENTER)
    browser.run_until("document.querySelector('#found')")
    by_number = browser.text("main")
    browser.shoot(PICTURES / "incident-driver.png", is_whole=False)
    browser.click("section[aria-labelledby=about] td a")
    browser.run_until("document.querySelector('h1').textContent.includes('80902')")
    browser.click("main a[href*='explain']")
    browser.run_until("document.querySelector('#proxy').value")
    browser.write("#sender", driver + ENTER)
    browser.run_until("document.querySelector('#answer')")
    explained = browser.text("main")

    masked = f"{driver[:-4]}XXXX"
    assert "80902" in by_sid
    assert masked in by_sid
    assert pairing.sid in by_number
    assert "closed" in by_number
    assert "80902" in by_number
    assert "closed" in explained
    assert driver not in by_sid + by_number + explained
