"""The outbox: what is owed is found by queue, listed for the operator, counted, and gone once settled."""

import asyncio
import threading
from collections.abc import Sequence

import msgspec
import pytest

from engine.core.model.changes import (
    Change,
    EntryAdded,
    EntryFailed,
    EntryRevived,
    EntrySettled,
    InteractionRecorded,
    ServiceErased,
    SessionCreated,
    SessionErased,
    SessionTouched,
)
from engine.core.model.errors import ChangeRefused
from engine.core.model.outbox import OutboxAlert, OutboxEntry, OutboxHangUp, QueueKey
from engine.core.model.sids import SidKind
from engine.core.ports.lists import OutboxDepth, OutboxFilter, OutboxKind, OutboxKinds, Page, PageCursor
from tests.storage.material import (
    ACCOUNT_SID,
    SERVICE_SID,
    START,
    alert,
    callback,
    interaction,
    new_sid,
    outbox_entry,
    session,
)
from tests.storage.stores import AnyStore

pytestmark = pytest.mark.anyio

ALL = OutboxFilter()
WHOLE = PageCursor(limit=100)


def failed(
    of: OutboxEntry, *, attempts: int = 1, error: str = "", is_dead: bool = False, next_at: float | None = None
) -> EntryFailed:
    return EntryFailed(
        entry_sid=of.sid, attempts=attempts, error=error, at=START + attempts, is_dead=is_dead, next_at=next_at
    )


def added(entries: Sequence[OutboxEntry]) -> list[Change]:
    return [EntryAdded(one) for one in entries]


async def test_pending_entries_are_read_back_in_windows(store: AnyStore) -> None:
    """By account and destination, oldest first, from after the last one seen."""
    made = session()
    here = [outbox_entry(made) for _ in range(5)]
    other = msgspec.structs.replace(here[0], sid=new_sid(SidKind.OUTBOX_ENTRY), account_sid=new_sid(SidKind.ACCOUNT))
    there = outbox_entry(made, content=callback(made, url="https://other.example/callback"))
    await store.write([SessionCreated(made, ()), *added([*here, there, other])])
    queue = here[0].queue

    first = await store.pending_entries(queue, after=None, limit=2)
    rest = await store.pending_entries(queue, after=first[-1].sid, limit=9)

    assert first == tuple(here[:2])
    assert rest == tuple(here[2:])
    assert await store.pending_entries(other.queue, after=None, limit=9) == (other,)
    assert await store.pending_entries(QueueKey(queue.account_sid, "https://nobody.example"), after=None, limit=9) == ()


async def test_queues_are_those_of_pending_entries(store: AnyStore) -> None:
    """Accounts; scheme, host and port of URLs, carriers by name; neither the dead nor the settled name one."""
    made = session()
    other = msgspec.structs.replace(outbox_entry(made), account_sid=new_sid(SidKind.ACCOUNT))
    urls = ("https://b.example/1", "https://b.example/2", "https://b.example:8443/", "http://a.example/?q")
    entry = [outbox_entry(made, content=callback(made, url=url)) for url in urls]
    call = outbox_entry(made, content=OutboxHangUp(carrier="backbone", call_sid=new_sid(SidKind.CALL)))
    told = outbox_entry(made, content=OutboxAlert(url="https://debugger.example/", event=alert()))
    dead, done = (
        outbox_entry(made, content=callback(made, url=f"https://{name}.example/")) for name in ("dead", "done")
    )
    assert await store.pending_queues() == ()

    await store.write(added([*entry, call, told, dead, done, other]))
    await store.write([failed(dead, is_dead=True), EntrySettled(done.sid)])

    destinations = (
        "carrier:backbone",
        "http://a.example",
        "https://b.example",
        "https://b.example:8443",
        "https://debugger.example",
    )
    queues = [other.queue, *(QueueKey(made.account_sid, name) for name in destinations)]
    assert await store.pending_queues() == tuple(sorted(queues))


async def test_a_decision_and_what_it_owes_are_one(store: AnyStore) -> None:
    """Neither is kept without the other."""
    made = session()
    call = interaction(made)
    first, second = outbox_entry(made), outbox_entry(made)
    await store.write([SessionCreated(made, ()), EntryAdded(first)])

    with pytest.raises(ChangeRefused, match="UNIQUE"):
        await store.write([InteractionRecorded(call), SessionTouched(made.sid, START + 1), *added([second, first])])

    assert await store.interaction(call.sid) is None
    assert await store.session(made.sid) == made
    assert (await store.outbox_page(ALL, WHOLE)).records == (first,)


async def test_a_failure_is_remembered_and_the_last_one_ends_it(store: AnyStore) -> None:
    """A dead entry is delivered no more, but kept."""
    entry = outbox_entry(session())
    await store.write([EntryAdded(entry), failed(entry, error="connection refused", next_at=START + 9.5)])
    tried = await store.pending_entries(entry.queue, after=None, limit=9)

    await store.write([failed(entry, attempts=2, error="answered 500", is_dead=True)])

    assert tried == (
        msgspec.structs.replace(entry, attempts=1, last_error="connection refused", date_next=START + 9.5),
    )
    assert await store.pending_entries(entry.queue, after=None, limit=9) == ()
    dead = msgspec.structs.replace(entry, attempts=2, last_error="answered 500", date_died=START + 2)
    assert (await store.outbox_page(ALL, WHOLE)).records == (dead,)


async def test_reviving_starts_from_the_first_attempt(store: AnyStore) -> None:
    """In the old place of its lane; what is not dead keeps its count."""
    dead, tried = outbox_entry(session()), outbox_entry(session())
    await store.write(added([dead, tried]))
    await store.write([failed(dead, attempts=7, error="answered 500", is_dead=True), failed(tried, error="slow")])

    await store.write([EntryRevived(dead.sid), EntryRevived(tried.sid), EntryRevived(new_sid(SidKind.OUTBOX_ENTRY))])

    assert await store.pending_entries(dead.queue, after=None, limit=9) == (
        dead,
        msgspec.structs.replace(tried, attempts=1, last_error="slow"),
    )


async def test_changes_of_one_entry_keep_their_order_in_a_group(store: AnyStore) -> None:
    """Whatever happens to it within one transaction happens in turn."""
    settled, revived, added_again, early, died_again = (outbox_entry(session()) for _ in range(5))

    await store.write(
        [
            EntryAdded(settled),
            failed(settled),
            EntrySettled(settled.sid),
            EntryAdded(revived),
            failed(revived, attempts=9, is_dead=True),
            EntryRevived(revived.sid),
            EntryAdded(added_again),
            EntrySettled(added_again.sid),
            EntryAdded(added_again),
            failed(early, attempts=3),
            EntrySettled(early.sid),
            EntryAdded(early),
            EntryAdded(died_again),
            failed(died_again, is_dead=True),
            EntryRevived(died_again.sid),
            failed(died_again, attempts=2, error="again", is_dead=True),
        ]
    )

    died = msgspec.structs.replace(died_again, attempts=2, last_error="again", date_died=START + 2)
    assert (await store.outbox_page(ALL, WHOLE)).records == (revived, added_again, early, died)


async def test_an_entry_outlives_what_it_is_about(store: AnyStore) -> None:
    """The application still hears of an interaction whose session or service is gone."""
    made, other = session(), session()
    entry = [outbox_entry(made), outbox_entry(other)]
    await store.write([SessionCreated(made, ()), SessionCreated(other, ()), *added(entry)])

    await store.write([SessionErased(made.sid), ServiceErased(SERVICE_SID, START)])

    assert await store.session(other.sid) is None
    assert await store.pending_entries(entry[0].queue, after=None, limit=9) == tuple(entry)


async def test_the_operators_list_comes_oldest_first_in_pages(store: AnyStore) -> None:
    """Forward and back, each page knowing its neighbours among what is meant."""
    made = session()
    entries = [outbox_entry(made) for _ in range(6)]
    await store.write(added(entries))
    await store.write([failed(entries[1], is_dead=True)])
    pending = OutboxFilter(is_dead=False)
    kept = (entries[0], *entries[2:])

    first = await store.outbox_page(pending, PageCursor(limit=2))
    second = await store.outbox_page(pending, PageCursor(limit=2, after=first.records[-1].sid))
    third = await store.outbox_page(pending, PageCursor(limit=2, after=second.records[-1].sid))
    back = await store.outbox_page(pending, PageCursor(limit=2, before=second.records[0].sid))

    assert first == back == Page(kept[:2], has_next=True, has_previous=False)
    assert second == Page(kept[2:4], has_next=True, has_previous=True)
    assert third == Page(kept[4:], has_next=False, has_previous=True)


async def test_nothing_else_waits_for_a_list_of_the_outbox(store: AnyStore) -> None:
    """Neither the deliveries nor other lists: whose account has little looks through all that there is."""
    made, may_end = session(), threading.Event()
    await store.write([SessionCreated(made, ()), *added([entry := outbox_entry(made)])])
    store._search_thread.submit(may_end.wait, 10)  # as if one list took that long
    listing = asyncio.create_task(store.outbox_page(ALL, WHOLE))

    due = await store.pending_entries(entry.queue, after=None, limit=9)
    sessions = await store.sessions_page(SERVICE_SID, WHOLE)
    is_waiting = not listing.done()
    may_end.set()

    assert (due, [one.sid for one in sessions.records], is_waiting) == ((entry,), [made.sid], True)
    assert (await listing).records == (entry,)


async def test_the_operators_list_is_narrowed(store: AnyStore) -> None:
    """By each condition alone and by all of them; a text that is no SID means nothing."""
    made, elsewhere = session(), session(service_sid=new_sid(SidKind.SERVICE))
    ours, theirs = outbox_entry(made), outbox_entry(elsewhere, at=START + 9)
    of_account = msgspec.structs.replace(outbox_entry(made), account_sid=new_sid(SidKind.ACCOUNT), service_sid=None)
    dead = outbox_entry(made, at=START + 5)
    await store.write(added([ours, theirs, of_account, dead]))
    await store.write([failed(dead, attempts=3, error="time-out after 10 s", is_dead=True)])
    buried = msgspec.structs.replace(dead, attempts=3, last_error="time-out after 10 s", date_died=START + 3)

    async def listed(**conditions: str | float) -> tuple[OutboxEntry, ...]:
        return (await store.outbox_page(msgspec.convert(conditions, OutboxFilter), WHOLE)).records

    assert await listed() == (ours, theirs, of_account, buried)
    assert await listed(account_sid=ACCOUNT_SID) == (ours, theirs, buried)
    assert await listed(service_sid=elsewhere.service_sid) == (theirs,)
    assert await listed(session_sid=made.sid) == (ours, of_account, buried)
    assert await listed(created_before=START + 9) == (ours, of_account, buried)
    assert await listed(is_dead=True) == (buried,)
    assert await listed(is_dead=False) == (ours, theirs, of_account)
    assert await listed(error="10 s") == (buried,)
    assert await listed(error="%") == ()
    assert await listed(account_sid=ACCOUNT_SID, session_sid=made.sid, created_before=START + 1) == (ours,)
    assert await listed(service_sid="rides") == ()


async def test_depth_counts_the_pending_and_the_dead(store: AnyStore) -> None:
    """And tells since when the oldest pending one waits, whatever its destination."""
    made = session()
    oldest = outbox_entry(made, at=START + 1)
    others = [
        outbox_entry(made, content=callback(made, url=f"https://{n % 3}.example/"), at=START + 2 + n) for n in range(5)
    ]
    nothing = await store.outbox_depth()

    await store.write(added([oldest, *others]))
    everything = await store.outbox_depth()
    await store.write([failed(oldest, is_dead=True), EntrySettled(others[0].sid)])
    fewer = await store.outbox_depth()
    await store.write([EntrySettled(one.sid) for one in others])
    only_dead = await store.outbox_depth()

    of = made.service_sid
    assert nothing == OutboxDepth(pending=0, dead=0, oldest=None)
    assert everything == OutboxDepth(pending=6, dead=0, oldest=START + 1, oldest_of={of: START + 1})
    assert fewer == OutboxDepth(pending=4, dead=1, oldest=START + 3, dead_of={of: 1}, oldest_of={of: START + 3})
    assert only_dead == OutboxDepth(pending=0, dead=1, oldest=None, dead_of={of: 1})


async def test_depth_tells_whose_the_dead_and_the_oldest_are(store: AnyStore) -> None:
    """By service; what is an account's, as a debugger webhook, by none."""
    rides, shops = session(), session(service_sid=new_sid(SidKind.SERVICE))
    dead = [outbox_entry(rides), outbox_entry(shops), outbox_entry(shops)]
    nobodys = msgspec.structs.replace(outbox_entry(rides), service_sid=None)
    waiting = [
        outbox_entry(rides, content=callback(rides, url="https://a.example/"), at=START + 2),
        outbox_entry(shops, content=callback(shops, url="https://b.example/"), at=START + 3),
        outbox_entry(shops, content=callback(shops, url="https://c.example/"), at=START + 1),
    ]
    await store.write(added([*dead, nobodys, *waiting]))
    await store.write([failed(one, is_dead=True) for one in (*dead, nobodys)])

    depth = await store.outbox_depth()

    assert depth.dead_of == {rides.service_sid: 1, shops.service_sid: 2, "": 1}
    assert depth.oldest_of == {rides.service_sid: START + 2, shops.service_sid: START + 1}
    assert (depth.pending, depth.dead, depth.oldest) == (3, 4, START + 1)


async def test_entries_are_counted_by_receiver_and_error(store: AnyStore) -> None:
    """The most frequent first, the dead apart; only what is meant, and no more than the oldest so many."""
    made = session()
    entries = [outbox_entry(made, at=START + place) for place in range(5)]
    await store.write(added(entries))
    await store.write([failed(one, error="answered 503", is_dead=True) for one in entries[:3]])
    await store.write([failed(entries[3], error="answered 503")])

    every = await store.outbox_kinds(ALL, most=9)
    pending = await store.outbox_kinds(OutboxFilter(is_dead=False), most=9)
    few = await store.outbox_kinds(ALL, most=2)
    others = await store.outbox_kinds(OutboxFilter(account_sid=new_sid(SidKind.ACCOUNT)), most=9)

    where = (ACCOUNT_SID, entries[0].destination)
    dead = OutboxKind(*where, True, "answered 503", 3, START, START + 2)  # noqa: FBT003 - as stored
    assert every.kinds[0] == dead
    assert {(one.is_dead, one.last_error, one.count) for one in every.kinds[1:]} == {
        (False, "answered 503", 1),
        (False, "", 1),
    }
    assert [one.is_dead for one in pending.kinds] == [False, False]
    assert few == OutboxKinds((msgspec.structs.replace(dead, count=2, last_at=START + 1),), is_cut=True)
    assert (others, every.is_cut) == (OutboxKinds((), is_cut=False), False)
