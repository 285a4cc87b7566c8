"""What the first screen says: a sentence for each thing that is wrong, the most urgent first, and nothing otherwise."""

import re
from collections.abc import Mapping

import pytest

from engine.console.monitor import Monitor
from engine.console.verdict import ERRORS_SECONDS, OLDEST_SECONDS, FirstSeen, Signs, Urgency, findings
from engine.core.model.errors import Code, StoreUnavailable
from engine.core.model.outbox import OutboxCallback, OutboxEntry
from engine.core.model.overview import HostFigures, HostStatus, PoolReport
from engine.core.model.records import Account, DebuggerEvent, Interaction, Kind, Leg
from engine.core.pools.pool import PoolState
from engine.core.ports.lists import OutboxDepth
from tests.api.fake_control import NOW
from tests.console.fakes import Console, add_account, furnish

WELL = HostStatus(name="host-0", is_ready=True)


def host(figures: HostFigures) -> HostStatus:
    """Return a host that is well, but for its figures."""
    return HostStatus(name="host-0", is_ready=True, figures=figures)


def pool(saturation: int, place: int = 0) -> PoolReport:
    """Return a pool of a hundred numbers of which the busiest participant has so many."""
    return PoolReport(
        service_sid=f"KS{place}",
        account_sid="AC1",
        unique_name=f"rides {place}",
        active_sessions=1,
        state=PoolState(100, 0, 0, saturation),
    )


def error(at: float, code: Code = Code.WEBHOOK_FETCH_FAILED) -> DebuggerEvent:
    """Return an event of the level ERROR."""
    return DebuggerEvent(code=code, account_sid="AC1", message="no answer", at=at)


DEAD = OutboxEntry(
    sid="EF1",
    account_sid="AC1",
    content=OutboxCallback(
        url="https://shop.example",
        interaction=Interaction(
            sid="KI1",
            session_sid="KC1",
            service_sid="KS1",
            account_sid="AC1",
            kind=Kind.VOICE,
            proxy="+12125551000",
            inbound=Leg(),
            outbound=Leg(),
            date_created=NOW,
            date_updated=NOW,
        ),
    ),
    date_created=NOW - 900,
    date_died=NOW - 800,
)

NOW_, TODAY, SOON = Urgency.NOW, Urgency.TODAY, Urgency.SOON

TABLE: Mapping[str, tuple[Signs, tuple[tuple[Urgency, str | None, str, float | None], ...]]] = {
    "all is well": (Signs(now=NOW, hosts=[WELL], depth=OutboxDepth(3, 0, NOW - OLDEST_SECONDS)), ()),
    "a host is silent": (
        Signs(now=NOW, hosts=[WELL, HostStatus(name="host-1", is_answering=False)]),
        ((NOW_, "host-1 does not answer: its numbers and services are not served.", "#hosts", None),),
    ),
    "a disk refuses": (
        Signs(now=NOW, hosts=[HostStatus(name="host-0", problem="its disk refuses commits")]),
        ((NOW_, "host-0: its disk refuses commits.", "#hosts", None),),
    ),
    "a host is not ready and does not say why": (
        Signs(now=NOW, hosts=[HostStatus(name="host-0")]),
        ((NOW_, "host-0 is not ready for traffic.", "#hosts", None),),
    ),
    "traffic is not taken": (
        Signs(now=NOW, hosts=[WELL], not_ready_per_second=2.5),
        ((NOW_, "Calls or messages get not-ready, 2.5 a second.", "#traffic", None),),
    ),
    "deliveries are held": (
        Signs(now=NOW, hosts=[host(HostFigures(is_held=True))]),
        (
            (
                NOW_,
                "host-0: no callback, message or hang-up leaves until maskline outbox release.",
                "outbox?state=pending",
                None,
            ),
        ),
    ),
    "the outbox is full": (
        Signs(now=NOW, hosts=[host(HostFigures(is_outbox_full=True))]),
        (
            (
                NOW_,
                "host-0 is not ready: more deliveries are pending than outbox_limit allows.",
                "outbox?state=pending",
                None,
            ),
        ),
    ),
    "dead letters": (
        Signs(now=NOW, hosts=[WELL], depth=OutboxDepth(0, 1080, None), oldest_dead=DEAD),
        ((TODAY, "Deliveries were given up: 1,080.", "outbox?state=dead", NOW - 800),),
    ),
    "dead letters of one of several accounts": (
        Signs(now=NOW, hosts=[WELL], oldest_dead=DEAD),
        ((TODAY, "Deliveries were given up.", "outbox?state=dead", NOW - 800),),
    ),
    "deliveries are late": (
        Signs(now=NOW, hosts=[WELL], depth=OutboxDepth(4, 0, NOW - OLDEST_SECONDS - 1)),
        ((TODAY, "Deliveries wait: 4 are pending.", "outbox?state=pending", NOW - OLDEST_SECONDS - 1),),
    ),
    "a peer cannot be sent to": (
        Signs(now=NOW, hosts=[host(HostFigures(troubles={"SMPP peers to whom nothing can be sent": 2}))]),
        ((TODAY, "host-0: SMPP peers to whom nothing can be sent: 2.", "peers", None),),
    ),
    "pools are full and nearly full": (
        Signs(now=NOW, hosts=[WELL], pools=[pool(100), pool(85, 1), pool(84, 2)]),
        (
            (
                TODAY,
                "The pool of rides 0 is full: the next session of its busiest participant is refused (80208).",
                "services/KS0",
                None,
            ),
            (SOON, "The pool of rides 1 is nearly full.", "services/KS1", None),
        ),
    ),
    "errors were raised": (
        Signs(
            now=NOW, hosts=[WELL], errors=[error(NOW - 1), error(NOW - 9, Code.DOWNSTREAM_REJECTED), error(NOW - 99)]
        ),
        (
            (TODAY, "HTTP retrieval failure (11200): 2 in the last 10 min.", "events?code=11200&age=10min", NOW - 99),
            (TODAY, None, "events?code=80613&age=10min", NOW - 9),
        ),
    ),
    "strangers call": (
        Signs(now=NOW, hosts=[WELL], errors=[error(NOW - 1, Code.NO_ACTIVE_SESSION)], has_more_errors=True),
        ((SOON, "No active Session (80902): 1 or more in the last 10 min.", "events?code=80902&age=10min", NOW - 1),),
    ),
    "something cannot be read": (
        Signs(now=NOW, hosts=[WELL], unread=["Debugger events: Not to be had now. The disk refuses."]),
        ((NOW_, "Debugger events: Not to be had now. The disk refuses.", "#hosts", None),),
    ),
}


@pytest.mark.parametrize("name", TABLE)
def test_each_thing_that_is_wrong_is_a_sentence_with_a_link(name: str) -> None:
    """With since when, where the signs tell."""
    signs, expected = TABLE[name]

    found = findings(signs, {})

    assert [(one.urgency, one.below, one.since) for one in found] == [(one[0], one[2], one[3]) for one in expected]
    assert [one.text for one, (_, text, *_) in zip(found, expected, strict=True) if text] == [
        text for _, text, *_ in expected if text
    ]


def test_the_most_urgent_comes_first_and_of_those_the_oldest() -> None:
    """Whatever was found first."""
    signs = Signs(
        now=NOW,
        hosts=[WELL, HostStatus(name="host-1", is_answering=False), HostStatus(name="host-2", is_answering=False)],
        pools=[pool(90)],
        depth=OutboxDepth(0, 1, None),
        oldest_dead=DEAD,
    )

    found = findings(signs, {"silent host-2": NOW - 5, "silent host-1": NOW - 3})

    assert [one.key for one in found] == ["silent host-2", "silent host-1", "dead", "nearly full KS0"]
    assert [one.since for one in found] == [NOW - 5, NOW - 3, NOW - 800, None]


def test_many_of_a_kind_are_counted() -> None:
    """Five sentences, and one for the others."""
    found = findings(Signs(now=NOW, hosts=[WELL], pools=[pool(100, place) for place in range(8)]), {})

    assert len(found) == 6
    assert "3 more pools are full." in {one.text for one in found}


def test_what_is_wrong_is_known_since_it_was_first_seen_without_a_break() -> None:
    """What was mended and breaks again begins anew."""
    first_seen = FirstSeen()
    wrong = findings(Signs(now=NOW, hosts=[HostStatus(name="host-0", is_answering=False)]), {})

    seen = [
        dict(first_seen.note(found, now=now)) for now, found in ((1.0, wrong), (2.0, wrong), (3.0, ()), (4.0, wrong))
    ]

    assert [one.get("silent host-0") for one in seen] == [1.0, 1.0, None, 4.0]


@pytest.mark.anyio
async def test_the_first_screen_is_green_only_when_there_is_nothing(console: Console, account: Account) -> None:
    """Dead letters, and errors of the last minutes, are not all well: for the operator and for the account."""
    screens = {"account": await console.screen_of(account), "operator": await console.operators_screen()}
    before = {name: (await screen.get()).text for name, screen in screens.items()}

    await furnish(console, account)
    console.plane.statuses = (host(HostFigures(outbox=OutboxDepth(0, 80, None))),)
    console.monotonic.now += 2
    after = {name: (await screen.get("/live")).text for name, screen in screens.items()}

    assert all('class="fine"' in text for text in before.values())
    assert not any('class="fine"' in text for text in after.values())
    assert all("Deliveries were given up: 80." in text for text in after.values())


@pytest.mark.anyio
async def test_one_of_several_accounts_hears_of_its_own_dead_letters_only(console: Console, account: Account) -> None:
    """Without the number of all."""
    other = add_account(console, "b")
    await furnish(console, account)
    console.plane.statuses = (host(HostFigures(outbox=OutboxDepth(0, 80, None), troubles={"peers away": 3})),)

    mine, theirs = [(await (await console.screen_of(one)).get("/live")).text for one in (account, other)]

    assert "Deliveries were given up." in mine
    assert "Deliveries were given up" not in theirs
    assert not [text for text in (mine, theirs) if "80." in text or "peers away" in text]


@pytest.mark.anyio
async def test_since_when_a_host_is_silent_is_known_though_nobody_looked(console: Console, account: Account) -> None:
    """The monitor looks by itself, and outlives what fails."""
    monitor = Monitor(console.control, console.plane, clock=console.clock, monotonic=console.monotonic)
    console.plane.statuses = (HostStatus(name="host-0", is_answering=False),)
    await monitor.look()

    console.clock.now += 120
    console.monotonic.now += 120
    await monitor.look()
    (found,) = (await monitor.view(None, is_whole=True)).findings

    assert found.since == NOW


@pytest.mark.anyio
async def test_what_cannot_be_read_is_said_and_is_not_well(console: Console, account: Account) -> None:
    """A store that fails, and a host that gave no answer in time."""

    async def fail(*_: object) -> None:
        raise StoreUnavailable("disk I/O error")

    console.control.alerts_page = fail  # type: ignore[assignment, method-assign]
    console.plane.silent = ("host-1",)

    text = (await (await console.screen_of(account)).get("/live")).text

    assert "Debugger events: Not to be had now" in text
    assert "Pools of host-1" in text


@pytest.mark.anyio
async def test_links_of_the_live_part_are_those_of_the_page(console: Console, account: Account) -> None:
    """The script puts it into the overview, whose address is another than that which it was asked of."""
    await furnish(console, account)
    screen = await console.screen_of(account)

    page, live = [
        set(re.findall(r'href="([^"]*services/[^"]*)"', (await screen.get(path)).text)) for path in ("", "/live")
    ]

    assert page == live
    assert page


@pytest.mark.anyio
async def test_only_errors_of_the_last_minutes_count(console: Console, account: Account) -> None:
    """Those of before are in the list."""
    await furnish(console, account)
    console.control.entries.clear()
    screen = await console.screen_of(account)

    console.clock.now = NOW + ERRORS_SECONDS - 1
    recent = (await screen.get("/live")).text
    console.clock.now = NOW + ERRORS_SECONDS + 1
    later = (await screen.get("/live")).text

    assert "in the last 10 min" in recent
    assert 'class="fine"' in later


@pytest.mark.anyio
async def test_whoever_looks_first_sees_since_when(console: Console, account: Account) -> None:
    """The operator's own look counts; an account that looks later is told the same."""
    await furnish(console, account)
    add_account(console, "b")
    console.plane.pool_state = PoolState(free=0, in_use=2, reserved=0, most_held=2)
    operator, screen = await console.operators_screen(), await console.screen_of(account)

    first = (await operator.get()).text
    console.clock.now += 300
    console.monotonic.now += 300
    pages = [first, (await operator.get()).text, (await screen.get()).text]

    since = [re.findall(r"is full.*\n.*since <time[^>]*>([^<]*)</time>", page) for page in pages]
    assert since[0]
    assert since[0] == since[1] == since[2]
