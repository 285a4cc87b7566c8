"""What the metrics read of a running engine: sums of pools, once a scrape, and what readiness says."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from engine.app import running_engine
from engine.channels.sockets import ListenAddress
from engine.core.model.records import Service
from engine.core.model.requests import AccountUpdate, ParticipantRequest, ServiceRequest, SessionRequest
from engine.core.model.sids import SidKind
from engine.core.pools.pool import PoolState
from engine.core.ports.lists import OutboxDepth
from engine.gauges import OncePerScrape, service_labels, summed
from engine.runtime import clock
from engine.settings import Settings
from engine.telemetry.observer import Telemetry
from tests.storage.material import new_sid, service


def named(name: str) -> Service:
    return service(new_sid(SidKind.SERVICE), unique_name=name)


def test_pools_are_added_up_and_the_fullest_is_known() -> None:
    """Without a cap no service has a name in the metrics."""
    pools = [
        (named("rides"), PoolState(free=1, in_use=3, reserved=2, most_held=2), 7),
        (named("shops"), PoolState(free=399, in_use=1, reserved=0, most_held=1), 1),
    ]

    found = summed(pools, None)

    assert found.total == {"free": 400, "in-use": 4, "reserved": 2}
    assert found.most_saturated == 0.5
    assert found.fullest == 0.8
    assert found.by_service == {}


def test_services_beyond_the_cap_are_one() -> None:
    """The oldest have their names."""
    pools = [(named(f"s{index}"), PoolState(free=index, in_use=0, reserved=0), 1) for index in range(5)]

    found = summed(pools, service_labels((one for one, _, _ in pools), most=2))

    assert list(found.by_service) == ["s0", "s1", "other"]
    assert found.by_service["other"].numbers["free"] == 2 + 3 + 4
    assert found.by_service["other"].sessions == 3


def test_services_of_one_label_are_added_up() -> None:
    """Two accounts may use one name; a number in a name is taken out."""
    pools = [
        (named("desk 4155550100"), PoolState(free=1, in_use=0, reserved=0), 1),
        (named("desk 4155550101"), PoolState(free=0, in_use=1, reserved=0, most_held=1), 1),
    ]

    found = summed(pools, service_labels((one for one, _, _ in pools), most=9))

    assert list(found.by_service) == ["desk #"]
    assert found.by_service["desk #"].numbers == {"free": 1, "in-use": 1, "reserved": 0}
    assert found.by_service["desk #"].saturation == 1.0
    assert found.by_service["desk #"].fill == 1 / 500


def test_without_services_there_are_no_numbers() -> None:
    """And still every state reads zero."""
    assert summed([], {}).total == {"free": 0, "in-use": 0, "reserved": 0}


def test_what_several_gauges_share_is_read_once_a_scrape() -> None:
    """And anew at the next one."""
    telemetry = Telemetry()
    counted: Iterator[int] = iter(range(9))
    shared = OncePerScrape(telemetry, lambda: next(counted))
    telemetry.gauge("first", "One", "", lambda: [((), shared())])
    telemetry.gauge("second", "Another", "", lambda: [((), shared())])

    pages = [telemetry.exposition()[0].decode() for _ in range(2)]

    assert [f"maskline_first {n}.0" in page and f"maskline_second {n}.0" in page for n, page in enumerate(pages)] == [
        True,
        True,
    ]


@pytest.mark.anyio
async def test_a_running_engine_shows_its_sessions_pools_and_files(tmp_path: Path) -> None:
    """In OpenMetrics, as the strict parser reads it."""
    settings = Settings(data_dir=tmp_path, listen=ListenAddress("127.0.0.1", 0), metrics_services=1)
    async with running_engine(settings) as engine, httpx.AsyncClient(base_url=engine.address) as client:
        control = engine.host.control
        account = await control.create_account(AccountUpdate(friendly_name="Rides"))
        rides = await control.create_service(account.sid, ServiceRequest(unique_name="rides"))
        for address in ("+16465550001", "+16465550002"):
            await control.add_to_pool(account.sid, rides.sid, number_sid=None, address=address, is_reserved=False)
        request = SessionRequest(participants=(ParticipantRequest(identifier="+12125552001"),))
        await control.create_session(account.sid, rides.sid, request)
        page = (await client.get("/metrics", headers={"accept": "application/openmetrics-text;version=1.0.0"})).text

    values = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(page)  # type: ignore[no-untyped-call] # the library's
        for sample in family.samples
    }
    assert values["maskline_sessions", "open"] == 1
    assert values["maskline_sessions", "closed"] == 0
    assert values["maskline_pool_numbers", "in-use"] == values["maskline_pool_numbers", "free"] == 1
    assert values["maskline_service_pool_numbers", "rides", "free"] == 1
    assert values["maskline_service_pool_saturation_ratio", "rides"] == 0.5
    assert values["maskline_service_active_sessions", "rides"] == 1
    assert values["maskline_service_pool_limit_ratio", "rides"] == 2 / 500
    assert values["maskline_session_operations_total", "create", "done"] == 1
    assert values["maskline_host_up", "host-0"] == values["maskline_directory_epoch",] == 1
    assert values["maskline_database_bytes",] > 0
    assert values["maskline_disk_free_bytes",] > 0
    assert values["maskline_rebuild_seconds",] > 0


@pytest.mark.anyio
async def test_what_the_outbox_holds_is_shown_by_service(tmp_path: Path) -> None:
    """The dead and the age of what waits: of each named service, of the others together, of none under no name."""
    settings = Settings(data_dir=tmp_path, listen=ListenAddress("127.0.0.1", 0), metrics_services=2)
    async with running_engine(settings) as engine, httpx.AsyncClient(base_url=engine.address) as client:
        control = engine.host.control
        account = await control.create_account(AccountUpdate())
        names = ("rides", "shops", "desks", "yards")
        made = [await control.create_service(account.sid, ServiceRequest(unique_name=name)) for name in names]
        rides, _, *others = (one.sid for one in made)
        engine.outgoing.depth = OutboxDepth(
            pending=3,
            dead=9,
            oldest=1.0,
            dead_of={rides: 4, others[0]: 1, others[1]: 2, "": 2},
            oldest_of={others[0]: 1.0, others[1]: clock()},
        )
        page = (await client.get("/metrics")).text

    assert re.findall(r"^maskline_service_outbox_dead(.*)", page, re.MULTILINE) == [
        '{service="rides"} 4.0',
        '{service="shops"} 0.0',
        '{service="other"} 3.0',
        '{service=""} 2.0',
    ]
    ages = dict(re.findall(r'^maskline_service_outbox_oldest_seconds{service="(.*)"} (.*)', page, re.MULTILINE))
    assert list(ages) == ["rides", "shops", "other"]
    assert float(ages["rides"]) == 0
    assert float(ages["other"]) > clock() - 1000


@pytest.mark.anyio
async def test_an_outbox_past_its_limit_is_named(tmp_path: Path) -> None:
    """Readiness turns red and shows which condition does not hold."""
    settings = Settings(data_dir=tmp_path, listen=ListenAddress("127.0.0.1", 0), outbox_limit=2)
    async with running_engine(settings) as engine, httpx.AsyncClient(base_url=engine.address) as client:
        within = await client.get("/readyz")
        engine.outgoing.depth = OutboxDepth(pending=3, dead=0, oldest=None)
        beyond = await client.get("/readyz")
        page = (await client.get("/metrics")).text

    assert within.status_code == 200
    assert (beyond.status_code, "outbox-within-limit" in beyond.text) == (503, True)
    assert 'maskline_ready_check{check="outbox-within-limit"} 0.0' in page
    assert 'maskline_ready_check{check="disk-writable"} 1.0' in page
    assert "maskline_ready 0.0" in page
