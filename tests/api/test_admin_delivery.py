"""The admin API's part about what leaves: outbox and debugger events."""

import httpx
import msgspec
import pytest

from engine.api.admin.delivery_shapes import AlertList, OutboxChanged, OutboxCount, OutboxPage
from engine.core.model.errors import Code
from engine.core.model.outbox import OutboxAlert, OutboxCallback, OutboxEntry, OutboxMessage
from engine.core.model.records import Account, DebuggerEvent, Interaction, Kind, Leg, WebhookTrace
from engine.core.model.sids import SidKind
from engine.core.ports.lists import AlertFilter, OutboxFilter
from tests.api.fake_control import NOW, FakeControl, sid_of

pytestmark = pytest.mark.anyio

SECRET = "meet me at nine"


def interaction(account: Account) -> Interaction:
    return Interaction(
        sid=sid_of(SidKind.INTERACTION, 1),
        session_sid=sid_of(SidKind.SESSION, 1),
        service_sid=sid_of(SidKind.SERVICE, 1),
        account_sid=account.sid,
        kind=Kind.MESSAGE,
        proxy="+14155550199",
        inbound=Leg(),
        outbound=Leg(),
        body=SECRET,
        date_created=NOW,
        date_updated=NOW,
    )


def owe(
    control: FakeControl, account: Account, content: OutboxCallback | OutboxMessage | OutboxAlert, *, is_dead: bool
) -> OutboxEntry:
    entry = OutboxEntry(
        sid=control.new_sid(SidKind.OUTBOX_ENTRY),
        account_sid=account.sid,
        content=content,
        date_created=NOW,
        attempts=3 if is_dead else 0,
        last_error="no answer in time" if is_dead else "",
        date_died=NOW + 60 if is_dead else None,
    )
    control.entries[entry.sid] = entry
    return entry


def owe_callback(control: FakeControl, account: Account, *, is_dead: bool) -> OutboxEntry:
    content = OutboxCallback(
        url="https://user:word@shop.example/hook?to=%2B14155550123", interaction=interaction(account)
    )
    return owe(control, account, content, is_dead=is_dead)


def owe_message(control: FakeControl, account: Account, *, is_dead: bool) -> OutboxEntry:
    content = OutboxMessage(
        carrier="main", interaction_sid="KI1", sender="+14155550199", to="+14155550123", body=SECRET
    )
    return owe(control, account, content, is_dead=is_dead)


async def test_outbox_shows_entries_without_content_and_recipient(
    admin: httpx.AsyncClient, control: FakeControl, account: Account
) -> None:
    """Kind, destination, path, what it is about, tries, error: no number, no text, no query or password of a URL."""
    callback = owe_callback(control, account, is_dead=True)
    message = owe_message(control, account, is_dead=False)
    control.entries[message.sid] = msgspec.structs.replace(message, date_next=NOW + 90)

    response = await admin.get("/outbox")

    page = msgspec.json.decode(response.content, type=OutboxPage)
    assert [entry.sid for entry in page.effects] == [callback.sid, message.sid]
    assert [entry.kind for entry in page.effects] == ["callback", "message"]
    assert [entry.destination for entry in page.effects] == ["https://shop.example", "carrier:main"]
    assert [(entry.attempts, entry.last_error) for entry in page.effects] == [(3, "no answer in time"), (0, "")]
    assert [entry.date_died for entry in page.effects] == ["2015-07-30T20:01:00Z", None]
    assert [entry.path for entry in page.effects] == ["/hook", ""]
    assert [entry.interaction_sid for entry in page.effects] == [sid_of(SidKind.INTERACTION, 1), "KI1"]
    assert [entry.date_next for entry in page.effects] == [None, "2015-07-30T20:01:30Z"]
    assert page.after is None
    assert not any(secret in response.text for secret in (SECRET, "14155550", "word", "to="))


async def test_outbox_filters_reach_the_control_plane(
    admin: httpx.AsyncClient, control: FakeControl, account: Account
) -> None:
    """All of them together."""
    service, session = sid_of(SidKind.SERVICE, 2), sid_of(SidKind.SESSION, 2)
    query = {
        "account_sid": account.sid,
        "service_sid": service,
        "session_sid": session,
        "is_dead": "true",
        "created_before": "12.5",
        "error": "refused",
    }

    await admin.get("/outbox", params=query)

    assert control.asked == [
        OutboxFilter(
            account_sid=account.sid,
            service_sid=service,
            session_sid=session,
            is_dead=True,
            created_before=12.5,
            error="refused",
        )
    ]


async def test_outbox_goes_on_where_the_page_before_ended(
    admin: httpx.AsyncClient, control: FakeControl, account: Account
) -> None:
    """Also over pages longer than the control plane's."""
    entry = [owe_callback(control, account, is_dead=False).sid for _ in range(250)]

    first = msgspec.json.decode((await admin.get("/outbox?limit=150")).content, type=OutboxPage)
    rest = msgspec.json.decode((await admin.get(f"/outbox?limit=150&after={first.after}")).content, type=OutboxPage)

    assert [entry.sid for entry in (*first.effects, *rest.effects)] == entry
    assert rest.after is None


async def test_entries_are_counted(admin: httpx.AsyncClient, control: FakeControl, account: Account) -> None:
    """Those that are meant."""
    for _ in range(120):
        owe_callback(control, account, is_dead=True)
    owe_callback(control, account, is_dead=False)

    response = await admin.get("/outbox/count?is_dead=true")

    assert msgspec.json.decode(response.content, type=OutboxCount) == OutboxCount(120, is_whole=True)


@pytest.mark.parametrize("verb", ["replay", "drop"])
async def test_only_dead_entries_are_changed(
    admin: httpx.AsyncClient, control: FakeControl, account: Account, verb: str
) -> None:
    """Whatever the query says; those that are pending are on their way."""
    dead = owe_callback(control, account, is_dead=True)
    pending = owe_callback(control, account, is_dead=False)

    response = await admin.post(f"/outbox/{verb}?is_dead=false")

    assert msgspec.json.decode(response.content, type=OutboxChanged) == OutboxChanged(1, None)
    assert pending.sid in control.entries
    assert (dead.sid in control.entries) == (verb == "replay")


async def test_many_are_changed_in_several_requests(
    admin: httpx.AsyncClient, control: FakeControl, account: Account
) -> None:
    """A thousand each, going on after the last one, so that one that dies again meanwhile is not met twice."""
    for _ in range(1200):
        owe_callback(control, account, is_dead=True)

    first = msgspec.json.decode((await admin.post("/outbox/replay")).content, type=OutboxChanged)
    rest = msgspec.json.decode((await admin.post(f"/outbox/replay?after={first.after}")).content, type=OutboxChanged)

    assert (first.changed, rest.changed, rest.after) == (1000, 200, None)
    assert all(entry.date_died is None for entry in control.entries.values())


@pytest.mark.parametrize(
    "query", ["session_sid=KC1", "after=EF1", "limit=0", "created_before=yesterday", "is_dead=perhaps", "sessoin=1"]
)
async def test_a_query_that_makes_no_sense_is_refused(admin: httpx.AsyncClient, query: str) -> None:
    """Before anything is changed; a misspelt filter would mean everything."""
    response = await admin.post(f"/outbox/drop?{query}")

    assert (response.status_code, response.json()["code"]) == (400, 80701)


async def test_latest_events_of_an_account_are_shown_like_a_log(
    admin: httpx.AsyncClient, control: FakeControl, account: Account
) -> None:
    """The newest last, with what the webhook at fault answered."""
    for number in range(3):
        sid = control.new_sid(SidKind.DEBUGGER_EVENT)
        trace = WebhookTrace(url="https://shop.example/", problem="no answer in time") if number == 2 else None
        control.events[sid] = DebuggerEvent(
            code=Code.CALLBACK_FAILED,
            account_sid=account.sid,
            message=f"event {number}",
            at=NOW,
            sid=sid,
            webhook=trace,
        )

    response = await admin.get(f"/accounts/{account.sid}/alerts?limit=2&level=warning&since=5")

    alerts = msgspec.json.decode(response.content, type=AlertList).alerts
    assert [alert.message for alert in alerts] == ["event 1", "event 2"]
    assert alerts[0].title == "Callback error"
    assert (alerts[1].webhook_url, alerts[1].webhook_problem) == ("https://shop.example/", "no answer in time")
    assert control.asked[-1] == AlertFilter(level="WARNING", since=5.0)  # type: ignore[arg-type]
