"""The official SDK, unmodified but for its base URLs, does every operation and understands every answer."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from starlette.types import ASGIApp
from twilio.base.exceptions import TwilioRestException
from twilio.http.response import Response
from twilio.rest import Client

from engine.api.app import create_app
from engine.api.settings import ApiSettings
from engine.core.model.records import Account, DebuggerEvent, Kind, Leg, LegStatus, WebhookTrace
from engine.core.model.sids import SidKind
from tests.api.conftest import BASE, FakeClock, FakeObserver
from tests.api.fake_control import NOW, FakeControl

WHEN = datetime.fromtimestamp(NOW, UTC)


class AsgiClient:
    """The SDK's transport, in process."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    def request(
        self,
        method: str,
        url: str,
        *,
        params: dict[str, Any] | None = None,
        data: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
        auth: tuple[str, str] | None = None,
        **_: object,
    ) -> Response:
        """Send a request."""

        async def send() -> httpx.Response:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(self._app)) as client:
                return await client.request(method, url, params=params, data=data, headers=headers, auth=auth)

        response = asyncio.run(send())
        return Response(response.status_code, response.text, response.headers)


@pytest.fixture
def sdk(control: FakeControl, account: Account) -> Client:
    """Return the official client of the account."""
    settings = ApiSettings(public_url=BASE, rate_limit_per_second=0)
    app = create_app(control, settings=settings, clock=FakeClock(), observer=FakeObserver())
    client = Client(account.sid, account.auth_token, http_client=AsgiClient(app))
    client.proxy.base_url = BASE
    client.api.base_url = BASE
    client.monitor.base_url = BASE
    return client


def test_sdk_creates_reads_updates_and_deletes_services(sdk: Client) -> None:
    """Every date parses."""
    service = sdk.proxy.v1.services.create("shop", default_ttl=60, callback_url="https://example.com")
    changed = service.update(default_ttl=90, geo_match_level="area-code", number_selection_behavior="avoid-sticky")
    fetched = sdk.proxy.v1.services("shop").fetch()

    assert service.date_created == service.date_updated == WHEN
    assert (changed.default_ttl, changed.geo_match_level) == (90, "area-code")
    assert fetched.sid == service.sid
    assert [listed.sid for listed in sdk.proxy.v1.services.list()] == [service.sid]
    assert service.delete() is True


def test_sdk_pages_over_250_sessions(sdk: Client) -> None:
    """Without repeats, whatever page size it asks for."""
    sessions = sdk.proxy.v1.services.create("shop").sessions
    made = [sessions.create().sid for _ in range(250)]

    assert [session.sid for session in sessions.list(page_size=1000)] == made[::-1]
    assert len(sessions.list(limit=120)) == 120


def test_sdk_manages_sessions_and_participants(sdk: Client, control: FakeControl) -> None:
    """Participants come along on create, or one by one."""
    service = sdk.proxy.v1.services.create("shop")
    session = service.sessions.create(
        unique_name="order",
        date_expiry=datetime(2035, 1, 1, tzinfo=UTC),
        ttl=60,
        mode="voice-only",
        participants=[{"Identifier": "+14155550100"}, {"Identifier": "+14155550101"}],
    )
    first = session.participants.list()[0]
    added = session.participants.create("+14155550102", friendly_name="Ann", proxy_identifier="+14155550199")

    assert session.date_expiry == datetime(2035, 1, 1, tzinfo=UTC)
    assert (session.date_started, session.closed_reason, session.status) == (None, None, "open")
    assert first.identifier == "+14155550101"
    assert added.fetch().friendly_name == "Ann"
    assert added.date_created == WHEN
    assert service.sessions("order").fetch().sid == session.sid
    assert session.update(status="closed").status == "closed"
    assert added.delete() is True
    assert control.people[added.sid].date_deleted == NOW
    assert session.delete() is True


def test_sdk_reads_interactions_and_pushes_messages(sdk: Client, control: FakeControl) -> None:
    """Lists of both understand the shared key."""
    session = sdk.proxy.v1.services.create("shop").sessions.create()
    person = session.participants.create("+14155550100")
    leg = Leg(participant_sid=person.sid, resource_sid="CA" + "0" * 32, status=LegStatus.COMPLETED)
    call = control.record(control.sessions[session.sid], Kind.VOICE, leg, leg, duration_seconds=5)

    pushed = person.message_interactions.create(body="hello", media_url=["https://example.com/1"])

    assert pushed.fetch().outbound_resource_status == "queued"
    assert [one.sid for one in person.message_interactions.list()] == [pushed.sid]
    assert [one.sid for one in session.interactions.list()] == [call.sid, pushed.sid]
    fetched = session.interactions(call.sid).fetch()
    assert (fetched.type, fetched.data, fetched.date_created) == ("voice", '{"duration":"5"}', WHEN)
    assert fetched.delete() is True


def test_sdk_owns_numbers_and_fills_the_pool(sdk: Client) -> None:
    """The owned number's SID is the pool entry's."""
    owned = sdk.incoming_phone_numbers.create(phone_number="+14155550199", friendly_name="desk")
    service = sdk.proxy.v1.services.create("shop")

    pooled = service.phone_numbers.create(sid=owned.sid, is_reserved=True)

    assert pooled.sid == owned.sid
    assert pooled.update(is_reserved=False).is_reserved is False
    assert [number.phone_number for number in service.phone_numbers.list()] == ["+14155550199"]
    assert pooled.capabilities["voice_inbound"] is True
    assert pooled.delete() is True
    assert owned.date_created == WHEN
    assert owned.update(friendly_name="front").friendly_name == "front"
    assert sdk.incoming_phone_numbers(owned.sid).fetch().capabilities == {
        "fax": False,
        "mms": True,
        "sms": True,
        "voice": True,
    }
    assert owned.delete() is True


def test_sdk_pages_over_owned_numbers(sdk: Client) -> None:
    """The 2010 API's relative URIs are followed."""
    made = [sdk.incoming_phone_numbers.create(phone_number=f"+1415555{number:04}").sid for number in range(7)]

    assert [number.sid for number in sdk.incoming_phone_numbers.list(page_size=3)] == made[::-1]


def test_sdk_reads_debugger_events(sdk: Client, control: FakeControl, account: Account) -> None:
    """Through the Monitor API's client, over several pages and filtered."""
    codes = [80902, 80908] * 4
    for code in codes:
        sid = control.new_sid(SidKind.DEBUGGER_EVENT)
        trace = WebhookTrace(url="https://shop.example/", body="no")
        control.events[sid] = DebuggerEvent(
            code=code, account_sid=account.sid, message="it failed", at=NOW, sid=sid, webhook=trace
        )

    alerts = sdk.monitor.v1.alerts.list(page_size=3)
    warnings = sdk.monitor.v1.alerts.list(log_level="warning", start_date=WHEN, end_date=WHEN, page_size=3)
    fetched = alerts[0].fetch()

    assert [alert.error_code for alert in alerts] == [str(code) for code in codes[::-1]]
    assert [alert.error_code for alert in warnings] == ["80908"] * 4
    assert (fetched.date_generated, fetched.log_level) == (WHEN, "warning")
    assert (fetched.response_body, fetched.alert_text) == ("no", "it failed")


@pytest.mark.parametrize(
    ("ask", "status", "code"),
    [
        (lambda sdk: sdk.proxy.v1.services("nowhere").fetch(), 404, 20404),
        (lambda sdk: sdk.proxy.v1.services.create(""), 400, 80701),
        (lambda sdk: sdk.incoming_phone_numbers("PN" + "0" * 32).fetch(), 404, 20404),
    ],
)
def test_sdk_sees_the_code_of_an_error(sdk: Client, ask: Callable[[Client], object], status: int, code: int) -> None:
    """And not just the status."""
    with pytest.raises(TwilioRestException) as problem:
        ask(sdk)

    assert (problem.value.status, problem.value.code) == (status, code)
