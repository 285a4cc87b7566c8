"""Debugger events in the shapes of the Monitor API."""

import httpx
import pytest

from engine.core.model.errors import Code, Level
from engine.core.model.records import DebuggerEvent, WebhookTrace
from engine.core.model.sids import SidKind
from engine.core.ports.lists import AlertFilter
from tests.api.conftest import Rest
from tests.api.fake_control import NOW

pytestmark = pytest.mark.anyio

TRACE = WebhookTrace(
    url="https://shop.example/hook",
    parameters="interactionSid=KI1",
    status=500,
    headers="server: shop",
    body="out of order",
)


def raise_event(rest: Rest, code: int = Code.CALLBACK_FAILED, **fields: object) -> str:
    sid = rest.control.new_sid(SidKind.DEBUGGER_EVENT)
    event = {"code": code, "account_sid": rest.account.sid, "message": "it failed", "at": NOW, "sid": sid, **fields}
    rest.control.events[sid] = DebuggerEvent(**event)  # type: ignore[arg-type]
    return sid


async def test_list_shows_events_newest_first_without_what_was_sent(rest: Rest) -> None:
    """As Monitor does: only the single event has the request's variables and the response."""
    first = raise_event(rest, webhook=TRACE)
    second = raise_event(rest, Code.NO_ACTIVE_SESSION, session_sid="KC" + "1" * 32)

    listed = (await rest.client.get("/v1/Alerts")).json()

    assert [alert["sid"] for alert in listed["alerts"]] == [second, first]
    assert listed["meta"]["key"] == "alerts"
    assert "response_body" not in listed["alerts"][1]
    assert listed["alerts"][0] == {
        "sid": second,
        "account_sid": rest.account.sid,
        "service_sid": None,
        "resource_sid": "KC" + "1" * 32,
        "error_code": "80902",
        "log_level": "error",
        "alert_text": "it failed",
        "more_info": "https://www.twilio.com/docs/errors/80902",
        "api_version": "2010-04-01",
        "request_method": None,
        "request_url": None,
        "request_headers": None,
        "date_generated": "2015-07-30T20:00:00Z",
        "date_created": "2015-07-30T20:00:00Z",
        "date_updated": "2015-07-30T20:00:00Z",
        "url": f"https://masks.example.com/v1/Alerts/{second}",
    }


async def test_fetched_event_shows_the_webhook_at_fault(rest: Rest) -> None:
    """The request we made and the response that came."""
    sid = raise_event(rest, webhook=TRACE)

    alert = (await rest.client.get(f"/v1/Alerts/{sid}")).json()

    assert (alert["log_level"], alert["request_method"], alert["request_url"]) == ("warning", "POST", TRACE.url)
    assert (alert["request_variables"], alert["response_headers"]) == (TRACE.parameters, TRACE.headers)
    assert alert["response_body"] == "out of order"


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ({}, AlertFilter()),
        ({"LogLevel": "Warning"}, AlertFilter(level=Level.WARNING)),
        ({"StartDate": "2015-07-30T20:00:00Z"}, AlertFilter(since=NOW)),
        ({"EndDate": "2015-07-30T20:00:00Z"}, AlertFilter(before=NOW + 1)),
        ({"EndDate": "2015-07-30"}, AlertFilter(before=NOW + 4 * 3600)),
    ],
)
async def test_filters_reach_the_control_plane(rest: Rest, query: dict[str, str], wanted: AlertFilter) -> None:
    """The end is included: its whole second, or its whole day."""
    await rest.client.get("/v1/Alerts", params=query)

    assert rest.control.asked == [wanted]


@pytest.mark.parametrize("level", ["notice", "debug"])
async def test_levels_that_no_event_has_are_answered_empty(rest: Rest, level: str) -> None:
    """Monitor knows four levels, the catalogue two."""
    raise_event(rest)

    assert (await rest.client.get("/v1/Alerts", params={"LogLevel": level})).json()["alerts"] == []


async def test_neighbouring_pages_keep_the_filters(rest: Rest) -> None:
    """So that a client that follows them does not meet other events."""
    made = [raise_event(rest) for _ in range(5)]
    raise_event(rest, Code.NO_ACTIVE_SESSION)
    found: list[str] = []
    url: str | None = "/v1/Alerts?PageSize=2&LogLevel=warning&StartDate=2015-07-30T00%3A00%3A00Z"

    while url is not None:
        page = (await rest.client.get(url)).json()
        found += [alert["sid"] for alert in page["alerts"]]
        url = page["meta"]["next_page_url"]

    assert found == made[::-1]


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/v1/Alerts?LogLevel=loud", 400, 80701),
        ("/v1/Alerts?StartDate=yesterday", 400, 80701),
        ("/v1/Alerts?PageToken=x", 400, 21481),
        (f"/v1/Alerts/NO{'0' * 32}", 404, 20404),
        ("/v1/Alerts/anything", 404, 20404),
    ],
)
async def test_what_makes_no_sense_is_refused(rest: Rest, path: str, status: int, code: int) -> None:
    """In the API's own codes."""
    response: httpx.Response = await rest.client.get(path)

    assert (response.status_code, response.json()["code"]) == (status, code)


async def test_events_of_another_account_are_not_there(rest: Rest) -> None:
    """Neither listed nor fetched."""
    sid = raise_event(rest, account_sid="AC" + "f" * 32)

    assert (await rest.client.get("/v1/Alerts")).json()["alerts"] == []
    assert (await rest.client.get(f"/v1/Alerts/{sid}")).status_code == 404
