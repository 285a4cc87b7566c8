"""Accounts and their keys; nothing of one account is visible to another (behaviour 2.1, 3.0)."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from engine.core.model.errors import ApiError, Code
from engine.core.model.records import Account, SessionStatus
from engine.core.model.requests import (
    AccountUpdate,
    NumberFilter,
    NumberUpdate,
    ParticipantRequest,
    ServiceRequest,
    SessionRequest,
    SessionUpdate,
)
from engine.core.ports.lists import PageCursor
from tests.actors.world import ALICE, BOB, CAROL, N1, World, refused, wanting

pytestmark = pytest.mark.anyio

PAGE = PageCursor(limit=50)


async def stranger(world: World) -> Account:
    return await world.control.create_account(AccountUpdate(friendly_name="Stranger"))


async def test_an_account_is_known_by_its_token(world: World) -> None:
    """And by nothing else."""
    account = world.account

    assert world.control.authenticate(account.sid, account.auth_token) == account
    for username, password in (
        (account.sid, "0" * 32),
        (account.sid, ""),
        ("AC" + "0" * 32, account.auth_token),
        ("", ""),
    ):
        assert world.control.authenticate(username, password) is None


async def test_a_key_works_until_it_is_revoked(world: World) -> None:
    """The secret is nowhere kept; revoking twice is harmless; other keys go on."""
    key, secret = await world.control.create_api_key(world.account.sid, "deploy")
    other, other_secret = await world.control.create_api_key(world.account.sid, "other")
    assert world.control.authenticate(key.sid, secret) == world.account
    assert world.control.authenticate(key.sid, other_secret) is None
    assert secret.encode() not in key.secret_hash

    await world.control.revoke_api_key(key.sid)
    revoked = await world.control.revoke_api_key(key.sid)

    assert revoked.date_revoked is not None
    assert world.control.authenticate(key.sid, secret) is None
    assert world.control.authenticate(other.sid, other_secret) == world.account
    assert [one.sid for one in world.control.api_keys(world.account.sid)] == [key.sid, other.sid]


async def test_credentials_survive_a_restart(world: World) -> None:
    """Keys, revocations and settings too."""
    key, secret = await world.control.create_api_key(world.account.sid, "deploy")
    gone, gone_secret = await world.control.create_api_key(world.account.sid, "gone")
    await world.control.revoke_api_key(gone.sid)
    await world.control.update_account(world.account.sid, AccountUpdate(argentina=True))

    await world.restart()

    found = world.control.authenticate(key.sid, secret)
    assert found is not None
    assert found.argentina
    assert world.control.authenticate(gone.sid, gone_secret) is None


async def test_a_key_that_does_not_exist_cannot_be_revoked(world: World) -> None:
    """404."""
    assert await refused(world.control.revoke_api_key("SK" + "0" * 32)) is Code.NOT_FOUND


async def test_another_account_sees_nothing(world: World) -> None:
    """Every operation on what is not one's own is 404, as if it did not exist."""
    other = (await stranger(world)).sid
    session = await world.session(ALICE, BOB, unique_name="ride-1")
    decision = await world.text(ALICE, world.proxy(session, ALICE))
    service, control, number = world.service_sid, world.control, await world.number_sid(N1)
    participant = world.participant(session, ALICE).sid
    attempts: list[Callable[[], Awaitable[object]]] = [
        lambda: control.update_service(other, service, ServiceRequest(unique_name="mine")),
        lambda: control.delete_service(other, service),
        lambda: control.add_to_pool(other, service, number_sid=None, address="+16465550009", is_reserved=False),
        lambda: control.reserve(other, service, number, is_reserved=True),
        lambda: control.remove_from_pool(other, service, number),
        lambda: control.update_owned_number(other, number, NumberUpdate(friendly_name="mine")),
        lambda: control.release_number(other, number),
        lambda: control.create_session(other, service, SessionRequest()),
        lambda: control.sessions_page(other, service, PAGE),
        lambda: control.update_session(other, service, session.sid, SessionUpdate(status=SessionStatus.CLOSED)),
        lambda: control.delete_session(other, service, session.sid),
        lambda: control.add_participant(other, service, session.sid, ParticipantRequest(identifier=CAROL)),
        lambda: control.participants_page(other, service, session.sid, PAGE),
        lambda: control.remove_participant(other, service, session.sid, participant),
        lambda: control.interactions_page(other, service, session.sid, PAGE),
        lambda: control.delete_interaction(other, service, session.sid, decision.interaction_sid),
        lambda: control.send_message(other, service, session.sid, participant, body="Hi", media=()),
    ]

    codes = [await refused(attempt()) for attempt in attempts]

    assert codes == [Code.NOT_FOUND] * len(attempts)
    assert (await world.text(ALICE, world.proxy(session, ALICE))).to == BOB


async def test_another_account_reads_nothing(world: World) -> None:
    """The same for what is read at once; its own lists are empty."""
    other = (await stranger(world)).sid
    session = await world.session(ALICE, BOB, unique_name="ride-1")
    decision = await world.text(ALICE, world.proxy(session, ALICE))
    service, control, number_sid = world.service_sid, world.control, await world.number_sid(N1)
    reads: list[Callable[[], object]] = [
        lambda: control.service(other, service),
        lambda: control.service(other, "rides"),
        lambda: control.owned_number(other, number_sid),
    ]
    participant_sid = world.participant(session, ALICE).sid
    reads_of_actors: list[Callable[[], Awaitable[object]]] = [
        lambda: control.pool_entry(other, service, number_sid),
        lambda: control.pool_page(other, service, PAGE, short_codes=False),
        lambda: control.session(other, service, session.sid),
        lambda: control.session(other, service, "ride-1"),
        lambda: control.participant(other, service, session.sid, participant_sid),
        lambda: control.interaction(other, service, session.sid, decision.interaction_sid),
    ]

    for read in reads:
        with pytest.raises(ApiError) as caught:
            read()
        assert caught.value.code is Code.NOT_FOUND
    codes = [await refused(read()) for read in reads_of_actors]
    assert codes == [Code.NOT_FOUND] * len(reads_of_actors)
    assert control.services_page(other, PAGE).records == ()
    assert control.owned_numbers_page(other, PAGE, NumberFilter()).records == ()


async def test_a_session_of_ones_own_sister_service_is_an_odd_mix(world: World) -> None:
    """80610: the parent exists, the child belongs elsewhere."""
    sister = await world.make_service("sister")
    session = await world.session(ALICE, BOB)
    update = SessionUpdate(status=SessionStatus.CLOSED)

    code = await refused(world.control.update_session(world.account.sid, sister.sid, session.sid, update))

    assert code is Code.UNAUTHORIZED_OPERATION
    assert (await world.look(session)).is_active


async def test_a_participant_of_a_sister_session_is_not_found(world: World) -> None:
    """Every nested path checks its parents."""
    first, second = await world.session(ALICE), await world.session(BOB)
    alice = world.participant(first, ALICE).sid

    remove = world.control.remove_participant(world.account.sid, world.service_sid, second.sid, alice)

    assert await refused(remove) is Code.NOT_FOUND


async def test_accounts_do_not_share_service_names_or_people(world: World) -> None:
    """The same name, the same person: no conflict between accounts."""
    other = await stranger(world)
    theirs = await world.make_service("rides", account=other)
    await world.session(ALICE, BOB)
    entry = await world.control.add_to_pool(
        other.sid, theirs.sid, number_sid=None, address="+16465550009", is_reserved=False
    )

    request = SessionRequest(participants=(ParticipantRequest(identifier=ALICE), ParticipantRequest(identifier=CAROL)))
    await world.control.create_session(other.sid, theirs.sid, request)

    assert (await world.call(ALICE, entry.number.address)).to == CAROL


async def test_the_token_that_signs_is_the_owners(world: World) -> None:
    """By proxy number in a pool; nobody's otherwise."""
    assert world.host.signing_tokens(N1) == (world.account.auth_token,)
    assert world.host.signing_tokens("+16465559999") == ()
    assert world.host.account_tokens(world.account.sid) == (world.account.auth_token,)
    assert world.host.account_tokens("AC" + "0" * 32) == ()
    assert (world.host.owner_of(N1), world.host.owner_of("+16465559999")) == (world.account.sid, None)


async def test_settings_of_the_account_reach_traffic_at_once(world: World) -> None:
    """Argentina's "9" appears in the next call."""
    argentine = "+542231234567"
    await world.session(wanting(ALICE, N1), wanting(argentine, N1))
    before = await world.call(ALICE, N1)

    await world.control.update_account(world.account.sid, AccountUpdate(argentina=True))
    after = await world.call(ALICE, N1)

    assert (before.to, after.to) == (argentine, "+5492231234567")


async def test_simultaneous_changes_of_an_account_all_count(world: World) -> None:
    """Each touches its own field; none is overwritten by another that began at the same time."""
    changes = (
        AccountUpdate(friendly_name="Rides 2"),
        AccountUpdate(argentina=True),
        AccountUpdate(respect_sms_stop_filter=True),
        AccountUpdate(allow_participant_conflict=True),
    )

    await asyncio.gather(*(world.control.update_account(world.account.sid, change) for change in changes))

    account = world.control.account(world.account.sid)
    assert account.friendly_name == "Rides 2"
    assert account.argentina
    assert account.respect_sms_stop_filter
    assert account.allow_participant_conflict


async def test_a_callers_hanging_up_does_not_keep_settings_from_traffic(world: World) -> None:
    """The change runs to its end, up to the rules of the numbers."""
    argentine = "+542231234567"
    await world.session(wanting(ALICE, N1), wanting(argentine, N1))
    request = asyncio.create_task(world.control.update_account(world.account.sid, AccountUpdate(argentina=True)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    request.cancel()
    await world.settle()

    assert world.control.account(world.account.sid).argentina
    assert (await world.call(ALICE, N1)).to == "+5492231234567"
