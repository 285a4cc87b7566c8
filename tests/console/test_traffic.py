"""The page of traffic over time: its charts, its tables, and who may see it."""

import math
import re
from html import unescape

import pytest

from engine.console.charts import HEIGHT, WIDTH, Span, outcomes_chart, pool_chart
from engine.core.model.overview import HostFigures, HostStatus, Minute, PeerState, TrafficCount
from engine.core.model.records import Account, Kind
from engine.core.pools.pool import PoolState
from engine.core.ports.lists import OutboxDepth
from engine.core.routing.traffic import Outcome, Reason
from tests.api.fake_control import NOW
from tests.console.fakes import Console, add_account, furnish

pytestmark = pytest.mark.anyio

NONE = (0,) * len(Outcome)
AT = int(NOW) // 60 * 60


def counts(**by_outcome: int) -> tuple[int, ...]:
    """Return counts in the order of the outcomes."""
    return tuple(by_outcome.get(one.name.lower(), 0) for one in Outcome)


def test_outcomes_stand_one_upon_the_other() -> None:
    """A second each, below a number that is read easily; the last span holds now."""
    span = Span(60, 60, now=6_000.0)

    chart = outcomes_chart([Minute(6_000, counts(routed=180, refused=60), NONE)], span, lambda one: one.calls)

    lower, upper = chart.bars
    assert chart.top == 4.0
    assert (lower.name, upper.name) == ("routed", "refused")
    assert (lower.y + lower.height, upper.y + upper.height) == pytest.approx((HEIGHT, lower.y))
    assert (lower.height, upper.height) == pytest.approx((HEIGHT * 3 / 4, HEIGHT / 4))
    assert WIDTH * 59 / 60 < lower.x < lower.x + lower.width < WIDTH
    assert chart.lines[0].values == tuple(one / 60 for one in counts(routed=180, refused=60))


def test_what_is_older_than_the_chart_is_not_drawn() -> None:
    """Nor what seems to be of the future, by another clock."""
    span = Span(60, 60, now=6_000.0)
    minutes = [Minute(at, counts(routed=1), NONE) for at in (span.begins - 60, span.begins, 6_000, 6_060)]

    assert len(outcomes_chart(minutes, span, lambda one: one.calls).bars) == 2


def test_a_pool_is_drawn_below_its_whole() -> None:
    """However full it is."""
    chart = pool_chart([Minute(0, NONE, NONE, None, {"KS1": 0.5})], Span(60, 60, now=59.0), "KS1")

    assert (chart.top, chart.bars[0].height) == pytest.approx((1.0, HEIGHT / 2))


async def test_the_traffic_of_the_last_hour_is_shown(console: Console, account: Account) -> None:
    """As pictures that tell what they show, and the same figures as tables; a day in spans of 15 minutes."""
    await furnish(console, account)
    console.plane.minutes = (
        Minute(AT - 7200, counts(routed=9_000), NONE, 0.005),
        Minute(AT - 60, counts(routed=120), counts(not_ready=60), 0.25),
    )
    screen = await console.screen_of(account)

    hour, day = (await screen.get("/traffic")).text, (await screen.get("/traffic?period=day")).text

    assert re.findall(r'role="img" aria-label="([^"]*)"', hour) == [
        "Calls a second by outcome, the last hour",
        "Messages a second by outcome, the last hour",
        "Milliseconds within which 99 of 100 answers were written, the last hour",
    ]
    assert re.findall(r'<rect class="([^"]*)"', hour) == ["routed", "not-ready", "answered"]
    assert '<td role="cell" class="number" data-label="routed">2</td>' in hour
    assert '<td role="cell" class="number" data-label="answered">250</td>' in hour
    assert '<td role="cell" class="number" data-label="routed">10</td>' in day


async def test_answers_past_all_bounds_are_drawn_and_told(console: Console, account: Account) -> None:
    """Beside others, and alone."""
    screen = await console.screen_of(account)
    slow, quick = Minute(AT - 60, NONE, NONE, math.inf), Minute(AT - 120, NONE, NONE, 0.05)

    pages = []
    for minutes in ((quick, slow), (slow,)):
        console.plane.minutes = minutes
        pages.append(await screen.get("/traffic"))

    assert [page.status_code for page in pages] == [200, 200]
    assert all('data-label="answered">∞</td>' in page.text for page in pages)
    assert 'data-label="answered">50</td>' in pages[0].text


async def test_a_pool_that_fills_says_when_it_is_full(console: Console, account: Account) -> None:
    """From what the last hour shows."""
    holdings = await furnish(console, account)
    console.plane.pool_state = PoolState(free=1, in_use=3, reserved=0, most_held=3)
    console.plane.minutes = tuple(
        Minute(AT - 60 * ago, NONE, NONE, None, {holdings.service.sid: saturation})
        for ago, saturation in ((40, 0.25), (20, 0.5), (0, 0.75))
    )

    page = (await (await console.screen_of(account)).get("/traffic")).text

    assert "full in 20 min" in page
    assert "Saturation of the pool of ride-1" in page


async def test_a_new_server_says_that_nothing_was_counted(console: Console, account: Account) -> None:
    """And what silent hosts hold is missing by name."""
    console.plane.silent = ("host-1",)

    page = (await (await console.screen_of(account)).get("/traffic?period=nonsense")).text

    assert page.count("Nothing was counted yet") == 2
    assert "<svg" not in page
    assert "host-1 does not answer" in page


async def test_one_of_several_accounts_does_not_see_its_neighbours_traffic(console: Console, account: Account) -> None:
    """Neither the page nor the way to it; the operator does."""
    add_account(console, "b")
    screen, operator = await console.screen_of(account), await console.operators_screen()

    assert (await screen.get("/traffic")).status_code == 404
    assert "console/traffic" not in (await screen.get()).text
    assert (await operator.get("/traffic")).status_code == 200
    assert "console/traffic" in (await operator.get()).text


async def test_the_overview_draws_the_last_hour(console: Console, account: Account) -> None:
    """Calls and messages together, and what came of all traffic as shares of all; a new server has nothing to draw."""
    counted = ((Outcome.ROUTED, Reason.IN_SESSION, 398), (Outcome.REFUSED, Reason.NO_SESSION, 2))
    traffic = tuple(TrafficCount(Kind.VOICE, *one) for one in counted)
    console.plane.statuses = (HostStatus(name="host-0", is_ready=True, figures=HostFigures(traffic=traffic)),)
    screen = await console.screen_of(account)

    new = (await screen.get()).text
    console.plane.minutes = (Minute(AT - 60, counts(routed=120), counts(refused=60)),)
    console.monotonic.now += 60
    page = (await screen.get()).text

    assert "Nothing was counted yet" in new
    assert re.findall(r'<rect class="([^"]*)" x', page) == ["routed", "refused"]
    assert [unescape(one) for one in re.findall(r'class="percent">([^<]*)<', page)] == [
        *(">99 %", "0 %", "<1 %", "0 %", "0 %"),
        *(">99 %", "<1 %"),
    ]


def busy_host(count: int) -> HostStatus:
    """Return a host that has routed, refused and failed 6, 3 and 1 times as much as the count says."""
    ends = (
        (Outcome.ROUTED, Reason.IN_SESSION, 6),
        (Outcome.REFUSED, Reason.NO_SESSION, 3),
        (Outcome.NOT_READY, Reason.REBUILDING, 1),
    )
    figures = HostFigures(
        traffic=tuple(TrafficCount(Kind.VOICE, outcome, reason, count * share) for outcome, reason, share in ends),
        outbox=OutboxDepth(7, 2, NOW - 120),
        peers=(
            PeerState(protocol="sip", name="spare", problem="it has asked nothing yet"),
            PeerState(protocol="sip", name="switch"),
            PeerState(protocol="sip", name="", refused=1),
        ),
    )
    return HostStatus(name="host-0", is_ready=True, figures=figures)


async def test_the_first_screen_has_a_line_for_each_part(console: Console, account: Account) -> None:
    """Traffic and how much of it fails, the outbox, the fullest pool, hosts and peers; red as the verdict is."""
    name = (await furnish(console, account)).service.unique_name
    console.plane.pool_state = PoolState(free=1, in_use=3, reserved=0, most_held=4)
    screen = await console.screen_of(account)

    console.plane.statuses = (busy_host(0),)
    await screen.get("/live")
    console.plane.statuses = (busy_host(50), HostStatus(name="host-1", is_answering=False))
    console.monotonic.now += 5
    page = (await screen.get("/live")).text

    tiles = re.findall(r"<li[^>]*>.*</li>", page.partition('id="glance"')[2].partition("</ul>")[0])
    assert [re.sub(r"<[^>]*>", "", one) for one in tiles] == [
        "Traffic 100 /s 30 % refused, 10 % not ready",
        "Outbox 7 pending oldest 2 min, 2 dead letters",
        f"Fullest pool 100 % {name}: the busiest has 4 of 4",
        "Hosts 1 of 2 ready 1 of 2 peers well",
    ]
    assert all('class="bad"' in one for one in tiles)


async def test_more_findings_than_fit_a_screen_are_folded(console: Console, account: Account) -> None:
    """The most urgent are shown; none is lost."""
    console.plane.statuses = tuple(HostStatus(name=f"host-{place}", is_answering=False) for place in range(8))
    screen = await console.screen_of(account)

    shown, fold, folded = (await screen.get("/live")).text.partition("<summary>3 more, as urgent or less</summary>")

    assert fold
    assert (shown.count("its numbers and services"), folded.count("its numbers and services")) == (5, 3)
