"""What one account sees of another: nothing; what the operator sees: all."""

import pytest

from engine.core.model.overview import HostFigures, HostStatus, TrafficCount
from engine.core.model.records import Account, Kind
from engine.core.ports.lists import OutboxDepth
from engine.core.routing.traffic import Outcome, Reason
from tests.api.fake_control import NOW
from tests.console.fakes import FORM, Console, Holdings, Screen, add_account, explained, furnish

pytestmark = pytest.mark.anyio

LISTS = (
    "",
    "/live",
    "/traffic",
    "/peers",
    "/events",
    "/events?level=error",
    "/outbox",
    "/outbox?state=dead",
    "/search",
    "/explain",
)

BUSY = HostStatus(
    name="host-0",
    is_ready=True,
    started_at=NOW,
    active_sessions=4_321,
    figures=HostFigures(
        traffic=(TrafficCount(Kind.VOICE, Outcome.ROUTED, Reason.IN_SESSION, 8_765),),
        outbox=OutboxDepth(pending=7_654, dead=6_543, oldest=NOW),
    ),
)


async def everything(screen: Screen, holdings: Holdings) -> str:
    """Look at all lists, and search for an account's things in every way."""
    texts = [(await screen.get(path)).text for path in LISTS]
    typed = ("ride-1", "+14155550110", "0110", *holdings.sids)
    texts += [(await screen.submit("/search", text=text)).text for text in typed]
    texts.append((await screen.submit("/explain", proxy="+12125551000", sender="+14155550110")).text)
    return "".join(texts)


async def test_an_account_sees_nothing_of_another(console: Console, account: Account) -> None:
    """In no list, by no search, at no address."""
    other = add_account(console, "b", "Clinic & Sons")
    own, foreign = await furnish(console, account), await furnish(console, other)
    console.control.explanation = explained(foreign)
    screen = await console.screen_of(account)

    seen = await everything(screen, foreign)

    assert own.service.sid in seen
    assert own.session.sid in seen
    assert own.event.sid in seen
    assert not [sid for sid in foreign.sids if sid in seen]
    assert other.sid not in seen
    assert "Clinic" not in seen
    assert [(await screen.get(path)).status_code for path in own.paths] == [200] * 5
    assert [(await screen.get(path)).status_code for path in foreign.paths] == [404] * 5
    assert (await screen.submit(own.paths[3])).status_code == 200
    csrf = dict(FORM.findall((await screen.get(own.paths[3])).text))
    assert (await screen.http.post(f"/console{foreign.paths[3]}", data=csrf)).status_code == 404


async def test_the_operator_sees_all_accounts(console: Console, account: Account) -> None:
    """Each thing with the name of its account."""
    other = add_account(console, "b", "Clinic & Sons")
    held = [await furnish(console, one) for one in (account, other)]
    console.control.explanation = explained(held[1])
    screen = await console.operators_screen()

    seen = await everything(screen, held[1])

    for one in held:
        assert one.service.sid in seen
        assert one.session.sid in seen
        assert one.event.sid in seen
        assert [(await screen.get(path)).status_code for path in one.paths] == [200] * 5
    assert "Clinic &amp; Sons" in seen
    assert "Both are in an active session." in seen


async def test_a_number_of_another_account_is_as_unknown_as_one_of_nobody(console: Console, account: Account) -> None:
    """An explanation does not tell whether somebody else has it."""
    foreign = await furnish(console, add_account(console, "b"))
    screen = await console.screen_of(account)

    answers = []
    for explanation in (explained(foreign), None):
        console.control.explanation = explanation
        answers.append((await screen.submit("/explain", proxy="+12125551000", sender="+14155550110")).text)

    assert answers[0] == answers[1]
    assert "in no pool of this account" in answers[0]


async def test_totals_of_the_hosts_are_for_the_operator_and_an_only_account(console: Console, account: Account) -> None:
    """One of several accounts would see its neighbours' traffic; whether the hosts are well, it may know."""
    console.plane.statuses = (BUSY,)
    totals = ("4,321", "8,765", "7,654", "6,543")

    alone = (await (await console.screen_of(account)).get()).text
    add_account(console, "b")
    console.monotonic.now += 5
    one_of_two = (await (await console.screen_of(account)).get()).text
    operator = (await (await console.operators_screen()).get()).text

    assert all(total in alone for total in totals)
    assert all(total in operator for total in totals)
    assert not [total for total in totals if total in one_of_two]
    assert "host-0" in one_of_two
    assert "All hosts answer and are ready." in one_of_two
