"""The admin API's part about services: options that are not on the public wire."""

import httpx
import msgspec
import pytest

from engine.api.admin.service_shapes import Options, ServiceChange, ServiceList, ServiceReport
from engine.api.admin.shapes import AccountChange
from engine.core.model.records import Account, ServiceOptions
from engine.core.model.requests import ServiceRequest
from tests.api.fake_control import FakeControl

pytestmark = pytest.mark.anyio


@pytest.fixture
async def service(control: FakeControl, account: Account) -> str:
    """Make a service."""
    return (await control.create_service(account.sid, ServiceRequest(unique_name="shop"))).sid


async def change(admin: httpx.AsyncClient, service: str, asked: ServiceChange) -> ServiceReport:
    response = await admin.patch(f"/services/{service}", content=msgspec.json.encode(asked))
    assert response.status_code == 200, response.text
    return msgspec.json.decode(response.content, type=ServiceReport)


async def test_report_shows_every_option(admin: httpx.AsyncClient, service: str) -> None:
    """With its value, also where that is the default."""
    report = msgspec.json.decode((await admin.get(f"/services/{service}")).content, type=ServiceReport)

    assert report.unique_name == "shop"
    assert set(report.options) == set(ServiceOptions.__struct_fields__)
    assert report.options["intercept_fails_closed"] is False


async def test_options_change_one_by_one(admin: httpx.AsyncClient, control: FakeControl, service: str) -> None:
    """What is not named stays; None goes back to the account's word."""
    await change(admin, service, ServiceChange(options={"hangs_up_on_close": True, "respect_sms_stop_filter": True}))
    await change(admin, service, ServiceChange(options={"respect_sms_stop_filter": None}))

    report = await change(admin, service, ServiceChange(inserts_mexican_one=True))

    assert control.services[service].options == ServiceOptions(hangs_up_on_close=True)
    assert report.inserts_mexican_one
    assert report.options["hangs_up_on_close"] is True


async def test_documents_are_kept_as_they_will_be_answered(
    admin: httpx.AsyncClient, control: FakeControl, service: str
) -> None:
    """Declaration renewed, nothing else touched; null removes one."""
    document = '<?xml version="1.0" encoding="latin1"?>\n<Response><Say>Grüezi</Say></Response>\n'

    await change(admin, service, ServiceChange(options={"closed_twiml": document}))
    kept = control.services[service].options.closed_twiml or ""
    await change(admin, service, ServiceChange(options={"closed_twiml": None}))

    assert kept.endswith("<Response><Say>Grüezi</Say></Response>")
    assert kept.startswith('<?xml version="1.0" encoding="UTF-8"?>')
    assert control.services[service].options == ServiceOptions()


@pytest.mark.parametrize(
    "options",
    [
        {"hang_up": True},
        {"hangs_up_on_close": "yes"},
        {"hangs_up_on_close": None},
        {"closed_twiml": True},
        {"closed_twiml": "sorry"},
        {"closed_twiml": "<Reply/>"},
        {"closed_twiml": f"<Response><Say>{'a' * 70_000}</Say></Response>"},
        {"closed_twiml": '<!DOCTYPE r [<!ENTITY a "b">]><Response>&a;</Response>'},
    ],
)
async def test_an_option_that_cannot_be_is_refused(
    admin: httpx.AsyncClient, control: FakeControl, service: str, options: Options
) -> None:
    """By name, and nothing changes."""
    asked = ServiceChange(options={"has_rich_callbacks": True, **options})

    response = await admin.patch(f"/services/{service}", content=msgspec.json.encode(asked))

    assert (response.status_code, response.json()["code"]) == (400, 80701)
    assert control.services[service].options == ServiceOptions()


async def test_services_are_listed_in_pages(admin: httpx.AsyncClient, control: FakeControl, account: Account) -> None:
    """Newest first."""
    made = [
        (await control.create_service(account.sid, ServiceRequest(unique_name=f"shop {number}"))).sid
        for number in range(101)
    ]
    path = f"/accounts/{account.sid}/services"

    first = msgspec.json.decode((await admin.get(path)).content, type=ServiceList)
    rest = msgspec.json.decode((await admin.get(f"{path}?after={first.after}")).content, type=ServiceList)

    assert [service.sid for service in (*first.services, *rest.services)] == made[::-1]
    assert rest.after is None


@pytest.mark.parametrize("service", ["KS" + "0" * 32, "shop", "KC" + "0" * 32])
async def test_a_service_that_is_not_there_is_not_found(admin: httpx.AsyncClient, service: str) -> None:
    """A unique name is not enough: accounts may share it."""
    response = await admin.get(f"/services/{service}")

    assert (response.status_code, response.json()["code"]) == (404, 20404)


async def test_debugger_webhook_is_set_and_cleared(
    admin: httpx.AsyncClient, control: FakeControl, account: Account
) -> None:
    """Absent leaves it."""
    path = f"/accounts/{account.sid}"

    async def send(asked: AccountChange) -> str | None:
        await admin.patch(path, content=msgspec.json.encode(asked))
        return control.accounts_by_sid[account.sid].debugger_url

    assert await send(AccountChange(debugger_url="https://shop.example/debug")) == "https://shop.example/debug"
    assert await send(AccountChange(friendly_name="x")) == "https://shop.example/debug"
    assert await send(AccountChange(debugger_url="")) is None


@pytest.mark.parametrize(
    "url",
    [
        "shop.example",
        "ftp://shop.example",
        "https://shop..example",
        "https://shop.example/a\\b",
        "https://masks.example.com/v1/Services",
    ],
)
async def test_a_debugger_webhook_that_cannot_be_is_refused(
    admin: httpx.AsyncClient, account: Account, url: str
) -> None:
    """No URL, or one of our own."""
    asked = msgspec.json.encode(AccountChange(debugger_url=url))

    response = await admin.patch(f"/accounts/{account.sid}", content=asked)

    assert (response.status_code, response.json()["code"]) == (400, 80701)
