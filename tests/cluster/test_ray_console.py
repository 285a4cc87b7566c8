"""The console of a cluster on a real Ray: the same on every host, also while one is away."""

import re

import httpx
import pytest

from tests.cluster.live_cluster import LiveCluster, eventually
from tests.e2e.live import NO_TLS
from tests.e2e.tenant import Tenant

pytestmark = pytest.mark.timeout(180)

CONNECTIONS = 16
"""The kernel spreads them over the hosts: none is likely to be left out."""


def fresh(cookies: httpx.Cookies | None = None) -> httpx.Client:
    """Return a browser that makes a new connection for every request."""
    return httpx.Client(verify=NO_TLS, cookies=cookies, limits=httpx.Limits(max_keepalive_connections=0))


def enter(cluster: LiveCluster) -> httpx.Cookies:
    """Follow the operator's link, whichever hosts the requests reach; returns what the browser keeps."""
    link = cluster.run("console").stdout.strip()
    with fresh() as browser:
        form = dict(re.findall(r'name="(form|code)" value="([^"]*)"', browser.get(link).text))
        entered = browser.post(f"{cluster.address}/console/open", data=form)
        assert entered.status_code == 303, entered.text
        return browser.cookies


def shows_all_ready(text: str) -> bool:
    """Tell whether a page shows both hosts ready; a full pool of another test may need attention beside."""
    return text.count(">ready</span>") == 2


def test_somebody_who_is_logged_in_is_known_on_every_host(cluster: LiveCluster, tenant: Tenant) -> None:
    """Each shows all hosts, and the sessions of all of them."""
    services = [tenant.service() for _ in range(4)]
    pairings = [service.pairing(UniqueName="ride") for service in services]

    with fresh(enter(cluster)) as browser:
        pages = [browser.get(f"{cluster.address}/console") for _ in range(CONNECTIONS)]
        csrf = re.findall(r'name="csrf" value="([^"]*)"', pages[0].text)[0]
        search = {"csrf": csrf, "text": "ride"}
        found = [browser.post(f"{cluster.address}/console/search", data=search).text for _ in range(4)]

    assert [page.status_code for page in pages] == [200] * CONNECTIONS
    assert all(shows_all_ready(page.text) for page in pages)
    assert all("host-0" in page.text and "host-1" in page.text for page in pages)
    assert all(pairing.sid in text for text in found for pairing in pairings)


def test_a_host_that_is_away_is_named_and_the_rest_is_shown(cluster: LiveCluster) -> None:
    """Within seconds; afterwards all is well again."""
    assert cluster.run("cluster", "drain", "host-1").returncode == 0
    cookies = enter(cluster)

    with fresh(cookies) as browser:
        page = browser.get(f"{cluster.address}/console")
        events = browser.get(f"{cluster.address}/console/events")
        assert cluster.run("cluster", "undrain", "host-1").returncode == 0

        def is_well() -> bool:
            return shows_all_ready(browser.get(f"{cluster.address}/console/live").text)

        eventually(is_well, "the console shows that all hosts are back")

    assert (page.status_code, events.status_code) == (200, 200)
    assert "host-1 does not answer" in page.text
    assert "host-1 does not answer" in events.text
