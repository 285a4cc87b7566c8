"""Three incidents, handled by somebody on call on a live server in a browser: docs/console.md tells them.

Part of `make console-test`. The pictures are kept below `build/console`.
"""

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

ARGUMENTS = ("--rate-limit-per-second", "0", "--outgoing-allow", "127.0.0.0/8", "--webhook-tries", "1")

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LiveServer]:
    """Serve."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    server = LiveServer(tmp_path / "data", *ARGUMENTS)
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


def maskline(server: LiveServer, *arguments: str) -> str:
    """Run a command of the operator's."""
    command = [str(MASKLINE), *arguments, "--data-dir", str(server.data_dir)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603 - our own command


def dead_letters(server: LiveServer) -> int:
    """Count what was given up."""
    count: int = server.admin("GET", "/outbox/count?is_dead=true")["count"]
    return count


def overview(browser: Browser, server: LiveServer, *, says: str) -> str:
    """Wait until the overview says something; returns its verdict."""
    browser.go(f"{server.address}/console")
    browser.run_until(f"document.querySelector('#verdict')?.textContent.includes({says!r})")
    return browser.text("#verdict")


def test_a_receiver_is_down(browser: Browser, server: LiveServer, tenant: Tenant, application: Application) -> None:
    """The verdict names it, the outbox the receiver, the command replays what was given up, and all is calm again."""
    application.answers(TOLD, Reply(status=503))
    pairing = tenant.service(numbers=9, UniqueName="rides", CallbackUrl=application.url(TOLD)).pairing()
    for _ in range(12):
        tenant.carrier.call(pairing.first.identifier, pairing.first.proxy)
    assert eventually(lambda: dead_letters(server) >= 12)

    verdict = overview(browser, server, says="Deliveries were given up")
    browser.shoot(PICTURES / "incident-receiver.png", is_whole=False)
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
