"""A call or message is found by what is known of it, and has a page that tells what became of it."""

import msgspec
import pytest

from engine.console.advice import ADVICE
from engine.core.model.errors import CATALOGUE, Code, PeerUnavailable
from engine.core.model.records import Account
from engine.core.model.sids import SidKind
from engine.core.sessions.search import FoundInteractions, InteractionSought
from tests.api.fake_control import NOW
from tests.console.fakes import Console, add_account, explained, furnish

pytestmark = pytest.mark.anyio


async def test_a_message_is_found_by_the_carriers_sid_with_the_events_about_it(
    console: Console, account: Account
) -> None:
    """By the account and the operator; of another account nothing is found."""
    held = await furnish(console, account)
    other = add_account(console, "b")
    screens = [await console.screen_of(account), await console.operators_screen(), await console.screen_of(other)]

    mine, operators, theirs = [(await one.submit("/search", text=held.resource_sid)).text for one in screens]

    for text in (mine, operators):
        assert f"interactions/{held.interaction.sid}" in text
        assert f"events/{held.event.sid}" in text
    assert held.interaction.sid not in theirs
    assert held.event.sid not in theirs


async def test_a_sid_that_does_not_look_like_one_is_looked_for_where_no_session_has_that_name(
    console: Console, account: Account
) -> None:
    """A Call-ID of SIP."""
    held = await furnish(console, account)
    leg = msgspec.structs.replace(held.interaction.inbound, resource_sid="b7@carrier.example")
    console.control.passed[held.interaction.sid] = msgspec.structs.replace(held.interaction, inbound=leg)
    screen = await console.screen_of(account)

    assert held.interaction.sid in (await screen.submit("/search", text="b7@carrier.example")).text
    assert held.interaction.sid not in (await screen.submit("/search", text="ride-1")).text


async def test_a_proxy_number_leads_to_its_pool_and_what_passed_over_it(console: Console, account: Account) -> None:
    """One of another account is a number like any other."""
    held = await furnish(console, account)
    number = console.control.numbers[held.number_sid]
    console.control.passed[held.interaction.sid] = msgspec.structs.replace(held.interaction, proxy=number.address)
    other = await console.screen_of(add_account(console, "b"))

    found = (await (await console.screen_of(account)).submit("/search", text=number.address)).text
    elsewhere = (await other.submit("/search", text=number.address)).text

    assert f"interactions/{held.interaction.sid}" in found
    assert f"services/{held.service.sid}" in found
    assert held.service.sid not in elsewhere
    assert "is a proxy number" not in elsewhere


async def test_a_search_that_did_not_look_at_all_says_so(console: Console, account: Account) -> None:
    """How far back it came, and which host did not answer."""

    async def find_interactions(_: str | None, __: InteractionSought, *, most: int) -> FoundInteractions:
        return FoundInteractions((), looked_back_to=NOW - 60 * most, silent=("host-1",))

    console.control.find_interactions = find_interactions  # type: ignore[assignment, method-assign]

    text = (await (await console.screen_of(account)).submit("/search", text="CA" + "1" * 32)).text

    assert (
        'there was time to look back to <time datetime="2015-07-30T19:10:00Z">2015-07-30 19:10:00</time> only' in text
    )
    assert "host-1 does not answer" in text


async def test_what_was_refused_is_found_by_who_called(console: Console, account: Account) -> None:
    """Typed whole or masked, or by the proxy number reached; of the last day; the event leads to an explanation."""
    held = await furnish(console, account)
    proxy = "+12125551000"
    refused, old = (
        msgspec.structs.replace(
            held.event,
            sid=console.control.new_sid(SidKind.DEBUGGER_EVENT),
            sender="+1303555XXXX",
            proxy=proxy,
            at=at,
        )
        for at in (NOW, NOW - 2 * 86_400)
    )
    console.control.events |= {refused.sid: refused, old.sid: old}
    screen = await console.screen_of(account)

    found = [(await screen.submit("/search", text=text)).text for text in ("+13035550188", "+1303555XXXX", proxy)]
    page = (await screen.get(f"/events/{refused.sid}")).text
    asking = (await screen.get(f"/explain?about={refused.sid}")).text

    for text in found:
        assert f"/events/{refused.sid}" in text
        assert old.sid not in text
        assert "+1303555XXXX → +12125551000" in text
        assert "3035550188" not in text
    assert "others whose numbers begin so" in found[0]
    assert "others whose numbers begin so" not in found[2]
    assert f"explain?about={refused.sid}" in page
    assert f'value="{proxy}"' in asking
    assert 'placeholder="+1303555XXXX"' in asking


async def test_the_page_tells_of_both_legs_deliveries_and_events(console: Console, account: Account) -> None:
    """With people's numbers masked, and links to session and service."""
    held = await furnish(console, account)
    text = (await (await console.screen_of(account)).get(held.paths[3])).text

    assert text.count(">received<") == 2
    assert "+1415555XXXX" in text
    assert held.resource_sid in text
    assert "participant 1" in text
    assert "participant 2" in text
    assert "https://shop.example" in text
    for path in held.paths[:3]:
        assert path in text
    assert "4155550110" not in text
    assert "I am" not in text


async def test_where_it_would_go_now_is_explained_without_a_number_in_the_page(
    console: Console, account: Account
) -> None:
    """The number is that of the record."""
    held = await furnish(console, account)
    console.control.explanation = explained(held)
    screen = await console.screen_of(account)

    before, after = (await screen.get(held.paths[3])).text, (await screen.submit(held.paths[3])).text

    assert "Both are in an active session." not in before
    assert "Both are in an active session." in after
    assert "4155550110" not in before + after


async def test_an_explanation_names_both_people_since_their_masked_numbers_may_be_the_same(
    console: Console, account: Account
) -> None:
    """By the SIDs of the participants."""
    console.control.explanation = told = explained(await furnish(console, account))
    screen = await console.screen_of(account)

    text = (await screen.submit("/explain", proxy="+12125551000", sender="+14155550110")).text

    assert told.sender_sid is not None
    assert told.partner_sid is not None
    assert text.index("Sender") < text.index(told.sender_sid) < text.index("Partner") < text.index(told.partner_sid)


async def test_an_explanation_of_a_number_that_changed_hands_is_not_shown(console: Console, account: Account) -> None:
    """It is another account's now."""
    held = await furnish(console, account)
    console.control.explanation = explained(await furnish(console, add_account(console, "b")))

    text = (await (await console.screen_of(account)).submit(held.paths[3])).text

    assert "account&#39;s now" in text
    assert "Both are in an active session." not in text


async def test_what_is_left_is_shown_when_the_session_is_erased_or_its_host_silent(
    console: Console, account: Account
) -> None:
    """With why the rest is not there."""
    held = await furnish(console, account)
    screen = await console.screen_of(account)
    del console.control.sessions[held.session.sid]
    erased = await screen.get(held.paths[3])

    async def fail(_: str) -> None:
        raise PeerUnavailable("host-1 is down")

    console.control.find_session = fail  # type: ignore[assignment, method-assign]
    silent = await screen.get(held.paths[3])

    assert "Its session was erased." in erased.text
    assert "Not to be had now" in silent.text
    assert (erased.status_code, silent.status_code) == (200, 200)


async def test_an_interaction_that_is_nowhere_has_no_page(console: Console, account: Account) -> None:
    """Nor has what is none."""
    screen = await console.screen_of(account)

    assert [(await screen.get(f"/interactions/{sid}")).status_code for sid in ("KI" + "0" * 32, "x")] == [404, 404]


async def test_the_page_tells_what_hooks_and_callbacks_came_to(console: Console, account: Account) -> None:
    """With status, time and why there was none; the page of an event about the same call or message likewise."""
    held = await furnish(console, account)
    (failed,) = console.plane.exchanged
    told = msgspec.structs.replace(failed, kind="callback", end="delivered", status=204, problem="", seconds=1.5)
    console.plane.exchanged = [msgspec.structs.replace(failed, problem="no answer in time"), told]
    console.plane.silent = ("host-1",)
    screen = await console.screen_of(account)

    for path in (held.paths[3], held.paths[2]):
        text = (await screen.get(path)).text
        assert text.index("intercept") < text.index(">callback<")
        assert '>failed</span></td>\n<td role="cell" data-label="Answer">none <span' in text
        assert "no answer in time" in text
        assert '>delivered</span></td>\n<td role="cell" data-label="Answer">204</td>' in text
        assert "1,500 ms" in text
        assert "host-1 does not answer" in text


async def test_the_page_says_that_no_hook_or_callback_is_on_record(console: Console, account: Account) -> None:
    """None was asked or told, or it is longer ago than they are kept."""
    held = await furnish(console, account)
    console.plane.exchanged = []
    screen = await console.screen_of(account)

    assert "None is on record." in (await screen.get(held.paths[3])).text
    assert "Hooks and callbacks" not in (await screen.get(held.paths[2])).text


def test_every_code_of_debugger_events_says_what_to_do() -> None:
    """Of those that no request is answered with; some of the catalogue are never raised."""
    never = {
        Code.UNKNOWN_PARTICIPANT,
        Code.CHAT_CHANNEL_ATTRIBUTE,
        Code.CHAT_PROXY_NOT_FOUND,
        Code.FLEX_CONFIGURATION_2,
    }

    assert {code for code, entry in CATALOGUE.items() if entry.http_status is None} - never <= {*ADVICE}


async def test_an_event_says_what_to_do(console: Console, account: Account) -> None:
    """By its code."""
    held = await furnish(console, account)

    page = (await (await console.screen_of(account)).get(f"/events/{held.event.sid}")).text

    assert "the page of their session says when it ended and why" in page
