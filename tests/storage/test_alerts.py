"""Debugger events: kept per account, listed newest first, narrowed by level and time, and gone in time."""

import msgspec
import pytest

from engine.core.model.changes import AlertRaised, AlertsErased
from engine.core.model.errors import Code, Level
from engine.core.model.records import DebuggerEvent
from engine.core.model.sids import SidKind
from engine.core.ports.lists import AlertFilter, AlertKind, AlertKinds, Page, PageCursor
from tests.storage.material import ACCOUNT_SID, START, alert, new_sid
from tests.storage.stores import AnyStore

pytestmark = pytest.mark.anyio

WHOLE = PageCursor(limit=100)


async def test_an_event_is_read_by_its_sid(store: AnyStore) -> None:
    """With all that was known of it; any other text names none."""
    event = alert()

    await store.write([AlertRaised(event)])

    assert await store.alert(event.sid) == event
    assert await store.alert(new_sid(SidKind.DEBUGGER_EVENT)) is None
    assert await store.alert("NO") is None


async def test_events_come_newest_first_in_pages(store: AnyStore) -> None:
    """Those of another account are elsewhere."""
    events = [alert(at=START + n) for n in range(3)]
    other = alert(account_sid=new_sid(SidKind.ACCOUNT))
    await store.write([AlertRaised(one) for one in (*events, other)])

    first = await store.alerts_page(ACCOUNT_SID, AlertFilter(), PageCursor(limit=2))
    second = await store.alerts_page(ACCOUNT_SID, AlertFilter(), PageCursor(limit=2, after=events[1].sid))
    back = await store.alerts_page(ACCOUNT_SID, AlertFilter(), PageCursor(limit=2, before=events[0].sid))

    assert first == back == Page((events[2], events[1]), has_next=True, has_previous=False)
    assert second == Page((events[0],), has_next=False, has_previous=True)
    assert (await store.alerts_page(other.account_sid, AlertFilter(), WHOLE)).records == (other,)
    assert (await store.alerts_page("no SID", AlertFilter(), WHOLE)).records == ()


async def test_events_are_narrowed(store: AnyStore) -> None:
    """By the level that the catalogue gives their code, from a time on and up to before another."""
    error = alert(code=Code.NO_ACTIVE_SESSION, at=START)
    warning = alert(code=Code.STOP_WORD, at=START + 1)
    late = alert(code=Code.NO_ACTIVE_SESSION, at=START + 2)
    await store.write([AlertRaised(one) for one in (error, warning, late)])

    async def listed(wanted: AlertFilter) -> tuple[DebuggerEvent, ...]:
        return (await store.alerts_page(ACCOUNT_SID, wanted, WHOLE)).records

    assert await listed(AlertFilter(level=Level.WARNING)) == (warning,)
    assert await listed(AlertFilter(level=Level.ERROR)) == (late, error)
    assert await listed(AlertFilter(since=START + 1)) == (late, warning)
    assert await listed(AlertFilter(before=START + 1)) == (error,)
    assert await listed(AlertFilter(since=START + 1, before=START + 2)) == (warning,)
    assert await listed(AlertFilter(level=Level.ERROR, since=START + 1)) == (late,)


async def test_events_are_found_by_what_they_are_about(store: AnyStore) -> None:
    """By code, service, session, and what a carrier calls the call, whatever form that has."""
    call, odd = f"CA{'a' * 32}", "sip-call-id@carrier"
    session_sid, other_service = new_sid(SidKind.SESSION), new_sid(SidKind.SERVICE)
    plain = alert(code=Code.STOP_WORD)
    of_call = msgspec.structs.replace(alert(), resource_sid=call, session_sid=session_sid)
    of_odd = msgspec.structs.replace(alert(), resource_sid=odd, service_sid=other_service)
    await store.write([AlertRaised(one) for one in (plain, of_call, of_odd)])

    async def listed(wanted: AlertFilter, account_sid: str | None = ACCOUNT_SID) -> list[DebuggerEvent]:
        return list((await store.alerts_page(account_sid, wanted, WHOLE)).records)

    assert (
        await listed(AlertFilter(resource_sid=call)) == await listed(AlertFilter(resource_sid=call), None) == [of_call]
    )
    assert (
        await listed(AlertFilter(resource_sid=odd)) == await listed(AlertFilter(service_sid=other_service)) == [of_odd]
    )
    assert await listed(AlertFilter(session_sid=session_sid)) == [of_call]
    assert await listed(AlertFilter(code=Code.STOP_WORD)) == [plain]
    assert await listed(AlertFilter(resource_sid=call), new_sid(SidKind.ACCOUNT)) == []
    assert await listed(AlertFilter(service_sid="no SID")) == []


async def test_retention_takes_what_is_older(store: AnyStore) -> None:
    """Also what was raised in the same group; whose events they are makes no difference."""
    old, foreign, kept = alert(at=START), alert(account_sid=new_sid(SidKind.ACCOUNT), at=START), alert(at=START + 1)
    late = alert(at=START)

    await store.write([*map(AlertRaised, (old, foreign, kept)), AlertsErased(START + 1), AlertRaised(late)])

    assert await store.alert(foreign.sid) is None
    assert (await store.alerts_page(ACCOUNT_SID, AlertFilter(), WHOLE)).records == (late, kept)


async def test_events_are_counted_by_kind(store: AnyStore) -> None:
    """Those of one code and service together, the latest kind first; what is not meant is not counted."""
    service = new_sid(SidKind.SERVICE)
    times = (START, START + 1, START + 5)
    of_service = [msgspec.structs.replace(alert(at=at), service_sid=service) for at in times]
    of_none = msgspec.structs.replace(alert(code=Code.STOP_WORD, at=START + 9), service_sid=None)
    foreign = alert(account_sid=new_sid(SidKind.ACCOUNT), at=START + 20)
    await store.write([AlertRaised(one) for one in (*of_service, of_none, foreign)])

    mine = await store.alert_kinds(ACCOUNT_SID, AlertFilter(), most=9)
    recent = await store.alert_kinds(ACCOUNT_SID, AlertFilter(since=START + 1, before=START + 9), most=9)
    everybodys = await store.alert_kinds(None, AlertFilter(), most=9)

    stop_words = AlertKind(ACCOUNT_SID, of_none.code, None, 1, START + 9, START + 9)
    assert mine == AlertKinds(
        (stop_words, AlertKind(ACCOUNT_SID, of_service[0].code, service, 3, START, START + 5)), is_cut=False
    )
    assert recent.kinds == (AlertKind(ACCOUNT_SID, of_service[0].code, service, 2, START + 1, START + 5),)
    assert [one.account_sid for one in everybodys.kinds] == [foreign.account_sid, ACCOUNT_SID, ACCOUNT_SID]


async def test_only_the_latest_events_are_counted(store: AnyStore) -> None:
    """And it is said that there are more."""
    await store.write([AlertRaised(alert(at=START + n)) for n in range(3)])

    counted = await store.alert_kinds(None, AlertFilter(), most=2)

    assert [(one.count, one.first_at) for one in counted.kinds] == [(2, START + 1)]
    assert counted.is_cut


async def test_events_are_found_by_the_numbers_that_they_mention(store: AnyStore) -> None:
    """The proxy number whole, the sender as it was masked; by no part of another field's name."""
    proxy, sender = "+16465550001", "+1415555XXXX"
    reached = msgspec.structs.replace(alert(), proxy=proxy, sender=sender)
    other = msgspec.structs.replace(alert(), proxy="+16465550002", sender="+1415556XXXX")
    await store.write([AlertRaised(one) for one in (reached, other)])

    async def mentioning(text: str) -> tuple[DebuggerEvent, ...]:
        return (await store.alerts_page(ACCOUNT_SID, AlertFilter(mentions=text), WHOLE)).records

    assert await mentioning(proxy) == await mentioning(sender) == (reached,)
    assert await mentioning("+16465550003") == ()
