"""The REST application over a control plane in memory, and a client that has an account on it."""

from collections.abc import AsyncIterator

import httpx
import msgspec
import pytest
from starlette.types import ASGIApp

from engine.api.admin.app import create_admin_app
from engine.api.app import create_app
from engine.api.settings import ApiSettings
from engine.core.model.records import Account, DebuggerEvent
from engine.core.model.requests import NumberRequest
from tests.api.fake_control import NOW, FakeControl
from tests.silent import SilentObserver

BASE = "https://masks.example.com"


class FakeObserver(SilentObserver):
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, int]] = []
        self.durations: list[float] = []
        self.events: list[DebuggerEvent] = []

    def debugger(self, event: DebuggerEvent) -> None:
        """Remember an event."""
        self.events.append(event)

    def requested(self, *, method: str, route: str, status: int, seconds: float) -> None:
        """Remember a request, and how long it took."""
        self.requests.append((method, route, status))
        self.durations.append(seconds)


class FakeClock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        """Tell the time."""
        return self.now


class Rest(msgspec.Struct):
    """The application and everything around it."""

    control: FakeControl
    observer: FakeObserver
    clock: FakeClock
    account: Account
    app: ASGIApp
    client: httpx.AsyncClient
    is_ready: list[bool]

    def url(self, *parts: str) -> str:
        """Return the path of something below the services."""
        return "/".join(("/v1/Services", *parts))

    async def make(self, path: str, **form: str) -> str:
        """Make a resource and return its SID."""
        response = await self.client.post(path, data=form)
        assert response.status_code == 201, response.text
        return str(response.json()["sid"])

    async def own_short_code(self, digits: str) -> str:
        """Own a short code, as the operator's import does, and return its SID."""
        request = NumberRequest(address=digits, iso_country="US")
        return (await self.control.own_number(self.account.sid, request)).sid

    async def make_session(self) -> tuple[str, str]:
        """Make a service and a session in it; returns the session's path and SID."""
        service = await self.make(self.url(), UniqueName="shop")
        session = await self.make(self.url(service, "Sessions"))
        return self.url(service, "Sessions", session), session


def client_of(app: ASGIApp, username: str, password: str) -> httpx.AsyncClient:
    """Make a client with credentials; an unforeseen exception of the application fails the test."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE, auth=(username, password))


@pytest.fixture
def api_settings() -> ApiSettings:
    """Leave the rate limit off where a test is about something else."""
    return ApiSettings(
        public_url=BASE + "/", rate_limit_per_second=0, max_api_body_bytes=10_000, max_batch_body_bytes=1_000_000
    )


@pytest.fixture
def account() -> Account:
    """Return the account whose credentials the client has."""
    return Account(sid="AC" + "a" * 32, auth_token="b" * 32, friendly_name="first")


@pytest.fixture
def control(account: Account) -> FakeControl:
    """Return a control plane that knows the account."""
    control = FakeControl()
    control.accounts_by_sid[account.sid] = account
    return control


@pytest.fixture
async def admin(anyio_backend: object, control: FakeControl) -> AsyncIterator[httpx.AsyncClient]:
    """Serve the admin API in process."""
    transport = httpx.ASGITransport(create_admin_app(control, public_url=BASE))
    async with httpx.AsyncClient(transport=transport, base_url="http://admin") as client:
        yield client


@pytest.fixture
async def rest(
    anyio_backend: object, api_settings: ApiSettings, control: FakeControl, account: Account
) -> AsyncIterator[Rest]:
    """Serve in process."""
    observer, clock, is_ready = FakeObserver(), FakeClock(), [True]
    app = create_app(control, settings=api_settings, clock=clock, observer=observer, is_ready=lambda: is_ready[0])
    async with client_of(app, account.sid, account.auth_token) as client:
        yield Rest(control, observer, clock, account, app, client, is_ready)
