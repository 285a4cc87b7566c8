"""A token that is changed, an account that is disabled and one that is deleted: over every runtime and store."""

from collections.abc import Awaitable, Callable

import pytest

from engine.core.model.errors import Code
from engine.core.model.records import Account, Kind
from engine.core.model.requests import AccountUpdate, NumberRequest, ServiceRequest, TokenRotation
from engine.core.ports.lists import AlertFilter, PageCursor
from engine.core.routing.traffic import Decision, Outcome, Reason
from tests.actors.world import ALICE, BOB, N1, World, refused

pytestmark = [pytest.mark.anyio, pytest.mark.shared]

DAY = 86_400.0
PAGE = PageCursor(limit=50)


def known(world: World, account: Account, token: str) -> bool:
    """Tell whether a token opens REST."""
    return world.control.authenticate(account.sid, token) is not None


async def call(world: World, number: str, sid: str) -> Decision:
    """Let Alice call, once or again."""
    return await world.receive(world.event(Kind.VOICE, ALICE, number, resource_sid=sid))


async def test_old_and_new_token_are_good_for_a_while_and_the_old_one_signs(world: World) -> None:
    """REST and webhooks in take both; what we send is signed with the one that applications know."""
    old = world.account.auth_token

    fresh = (await world.control.rotate_token(world.account.sid, TokenRotation(overlap_seconds=DAY))).auth_token

    assert fresh != old
    assert world.host.account_tokens(world.account.sid) == (old, fresh)
    assert world.host.signing_tokens(N1) == (old, fresh)
    assert (known(world, world.account, old), known(world, world.account, fresh)) == (True, True)
    world.clock.move(DAY - 1)
    assert known(world, world.account, old)
    world.clock.move(1)
    assert world.host.account_tokens(world.account.sid) == (fresh,)
    assert (known(world, world.account, old), known(world, world.account, fresh)) == (False, True)


async def test_two_good_tokens_survive_a_restart(world: World) -> None:
    """With the time at which the older ends."""
    old = world.account.auth_token
    fresh = (await world.control.rotate_token(world.account.sid, TokenRotation(overlap_seconds=DAY))).auth_token

    await world.restart()

    assert world.host.account_tokens(world.account.sid) == (old, fresh)
    world.clock.move(DAY)
    assert world.host.account_tokens(world.account.sid) == (fresh,)


async def test_the_old_token_can_be_ended_early(world: World) -> None:
    """Once, or again without harm."""
    old = world.account.auth_token
    fresh = (await world.control.rotate_token(world.account.sid, TokenRotation())).auth_token

    await world.control.end_previous_token(world.account.sid)
    await world.control.end_previous_token(world.account.sid)

    assert world.host.account_tokens(world.account.sid) == (fresh,)
    assert not known(world, world.account, old)


async def test_a_leaked_token_ends_at_once(world: World) -> None:
    """Without an overlap, also while two are good."""
    first = world.account.auth_token
    second = (await world.control.rotate_token(world.account.sid, TokenRotation())).auth_token

    third = (await world.control.rotate_token(world.account.sid, TokenRotation(overlap_seconds=0))).auth_token

    assert [known(world, world.account, one) for one in (first, second, third)] == [False, False, True]


async def test_a_third_token_takes_the_place_of_the_second_only_when_asked(world: World) -> None:
    """A second rotation by mistake would cut off who has the new token already; where nobody got it, it is replaced."""
    first, sid = world.account.auth_token, world.account.sid
    second = (await world.control.rotate_token(sid, TokenRotation())).auth_token

    code = await refused(world.control.rotate_token(sid, TokenRotation()))
    third = (await world.control.rotate_token(sid, TokenRotation(is_instead=True))).auth_token

    assert code is Code.CONFLICT
    assert world.host.account_tokens(sid) == (first, third)
    assert not known(world, world.account, second)


@pytest.mark.parametrize("seconds", [-1.0, 91 * DAY, float("nan"), float("inf")])
async def test_an_overlap_has_bounds(world: World, seconds: float) -> None:
    """Ninety days at most."""
    code = await refused(world.control.rotate_token(world.account.sid, TokenRotation(overlap_seconds=seconds)))

    assert code is Code.INVALID_PARAMETER
    assert world.host.account_tokens(world.account.sid) == (world.account.auth_token,)


async def test_a_disabled_account_has_no_access_by_token_or_key(world: World) -> None:
    """Until it is enabled, with what it had before."""
    key, secret = await world.control.create_api_key(world.account.sid, "feed")
    token = world.account.auth_token

    await world.control.enable_account(world.account.sid, is_enabled=False)
    disabled = (known(world, world.account, token), world.control.authenticate(key.sid, secret))
    await world.restart()
    after_restart = (known(world, world.account, token), world.control.authenticate(key.sid, secret))
    await world.control.enable_account(world.account.sid, is_enabled=True)

    assert disabled == after_restart == (False, None)
    assert known(world, world.account, token)
    assert world.control.authenticate(key.sid, secret) is not None


async def test_nothing_is_routed_on_the_numbers_of_a_disabled_account(world: World) -> None:
    """Not even the redelivery of what was routed before, also after a restart; enabled, all is as it was."""
    session = await world.session(ALICE, BOB)
    number = world.proxy(session, ALICE)
    before = await call(world, number, "CA1")

    await world.control.enable_account(world.account.sid, is_enabled=False)
    calls = [await call(world, number, sid) for sid in ("CA1", "CA2")]
    told = await world.control.explain(proxy=number, sender=ALICE)
    text = await world.text(ALICE, number)
    await world.restart()
    restarted = await call(world, number, "CA3")
    await world.control.enable_account(world.account.sid, is_enabled=True)
    again, anew = [await call(world, number, sid) for sid in ("CA1", "CA3")]

    assert before.to == BOB
    for decision in (*calls, text, restarted):
        assert (decision.outcome, decision.reason) == (Outcome.REFUSED, Reason.ACCOUNT_DISABLED)
        assert (decision.to, decision.code) == ("", Code.INBOUND_TO_INACTIVE_ACCOUNT)
    assert (told.call.reason, told.call.to) == (Reason.ACCOUNT_DISABLED, "")
    assert "the operator has disabled the account" in told.story[-1]
    assert (again.to, again.interaction_sid) == (BOB, before.interaction_sid)
    assert anew.to == BOB


async def test_other_accounts_go_on_beside_a_disabled_one(world: World) -> None:
    """Their traffic and their REST."""
    session = await world.session(ALICE, BOB)
    other = await world.control.create_account(AccountUpdate(friendly_name="Other"))

    await world.control.enable_account(other.sid, is_enabled=False)

    assert (await world.call(ALICE, world.proxy(session, ALICE))).to == BOB
    assert known(world, world.account, world.account.auth_token)


async def test_a_disabled_account_gets_nothing_new(world: World) -> None:
    """Not by a request that was let in before it was disabled."""
    sid = world.account.sid
    await world.control.enable_account(sid, is_enabled=False)
    attempts: list[Callable[[], Awaitable[object]]] = [
        lambda: world.control.create_service(sid, ServiceRequest(unique_name="late")),
        lambda: world.control.own_number(sid, NumberRequest(address="+16465550009")),
    ]

    assert [await refused(attempt()) for attempt in attempts] == [Code.PERMISSION_DENIED] * 2


async def test_changes_of_an_account_are_told_to_it(world: World) -> None:
    """As debugger events, each once."""
    sid = world.account.sid
    await world.control.rotate_token(sid, TokenRotation())
    await world.control.end_previous_token(sid)
    await world.control.end_previous_token(sid)
    await world.control.enable_account(sid, is_enabled=False)
    await world.control.enable_account(sid, is_enabled=False)
    await world.control.enable_account(sid, is_enabled=True)

    codes = [event.code for event in world.observer.events if event.account_sid == sid]

    assert codes == [Code.ACCOUNT_CHANGED, Code.ACCOUNT_CHANGED, Code.ACCOUNT_NOT_ACTIVE, Code.ACCOUNT_CHANGED]


async def test_only_a_disabled_account_without_services_and_numbers_is_deleted(world: World) -> None:
    """Whatever is left is named, and nothing is erased."""
    sid = world.account.sid

    active = await refused(world.control.delete_account(sid))
    await world.control.enable_account(sid, is_enabled=False)
    owning = await refused(world.control.delete_account(sid))

    assert (active, owning) == (Code.CONFLICT, Code.CONFLICT)
    assert world.control.account(sid).is_disabled
    assert not world.control.account_holdings(sid).is_nothing


async def test_an_account_that_is_deleted_is_gone_everywhere_for_good(world: World) -> None:
    """With its keys, sessions and events; its numbers are anybody's, and nobody else lost anything."""
    sid = world.account.sid
    other = await world.control.create_account(AccountUpdate(friendly_name="Other"))
    key, secret = await world.control.create_api_key(sid, "feed")
    session = await world.session(ALICE, BOB)
    number = world.proxy(session, ALICE)
    await world.control.enable_account(sid, is_enabled=False)
    await world.call(ALICE, number)
    world.host.keep_event(world.observer.events[-1])
    left = world.control.account_holdings(sid)

    for service_sid in left.services:
        await world.control.delete_service(sid, service_sid)
    for number_sid in left.numbers:
        await world.control.release_number(sid, number_sid)
    await world.control.delete_account(sid)
    await world.host.sweep_alerts()
    await world.restart()

    assert [account.sid for account in world.control.accounts()] == [other.sid]
    assert world.control.authenticate(key.sid, secret) is None
    assert world.host.account_tokens(sid) == ()
    assert (await world.call(ALICE, number)).outcome is Outcome.UNKNOWN_NUMBER
    kept = (await world.control.alerts_page(None, AlertFilter(), PAGE)).records
    assert sid not in {event.account_sid for event in kept}
    assert (await world.control.own_number(other.sid, NumberRequest(address=number))).account_sid == other.sid
    assert await refused(world.control.delete_account(sid)) is Code.NOT_FOUND
