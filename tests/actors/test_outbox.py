"""What decisions owe: callbacks, messages through carriers, ended calls; committed with them, handed over after."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
from msgspec import UNSET, UnsetType

from actors.traffic.recent import MOST_RECENT
from engine.core.model.errors import ApiError, Code, StoreUnavailable
from engine.core.model.outbox import OutboxEntry, OutboxMessage
from engine.core.model.records import Kind, LegStatus, Participant, ServiceOptions, SessionStatus
from engine.core.model.requests import AccountUpdate, ParticipantUpdate
from engine.core.routing.receipts import sid_asking
from engine.core.routing.traffic import Decision, LegReport, Outcome, ReportOutcome
from tests.actors.hooked_world import CALLBACK, HookedWorld
from tests.actors.stores import WAIT_SECONDS
from tests.actors.world import ALICE, BOB, CAROL, N1, N2, refused, wanting

pytestmark = [pytest.mark.anyio, pytest.mark.shared]


@pytest.fixture
async def world(
    tmp_path: Path, host_count: int, turns: Callable[[], int], tables: str | None
) -> AsyncIterator[HookedWorld]:
    """Start a host whose service has a callback."""
    world = HookedWorld(tmp_path / "data", count=host_count, turns=turns, database=tables)
    await world.start()
    await world.furnish(N1, N2)
    await world.configure(callback=CALLBACK)
    yield world
    await world.stop()


async def test_every_leg_status_is_told_of_in_order(world: HookedWorld) -> None:
    """One callback for the new interaction and one per change."""
    await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    event = world.event(Kind.VOICE, ALICE, N1)
    sid = (await world.receive(event)).interaction_sid

    await world.report(LegStatus.RINGING, resource_sid="CA2", interaction_sid=sid, is_outbound=True)
    await world.report(LegStatus.COMPLETED, resource_sid="CA2", interaction_sid=sid, is_outbound=True, seconds=7)
    await world.report(LegStatus.COMPLETED, resource_sid=event.resource_sid)

    told = [(one.inbound.status, one.outbound.status, one.duration_seconds) for one in world.outbox.callbacks()]
    assert told == [
        (LegStatus.RINGING, LegStatus.INITIATED, None),
        (LegStatus.RINGING, LegStatus.RINGING, None),
        (LegStatus.RINGING, LegStatus.COMPLETED, 7),
        (LegStatus.COMPLETED, LegStatus.COMPLETED, 7),
    ]


async def test_outbox_entries_are_on_disk_before_they_are_handed_over(world: HookedWorld) -> None:
    """The same entries, in the same order, survive."""
    await world.session(wanting(ALICE, N1), wanting(BOB, N2))

    await world.text(ALICE, N1)
    await world.text(ALICE, N1)

    kept = await world.store.pending_entries(world.outbox.entries[0].queue, after=None, limit=10)
    assert list(kept) == world.outbox.entries
    assert len({one.sid for one in kept}) == 2


async def test_a_failed_commit_owes_nothing(world: HookedWorld) -> None:
    """Neither in memory nor on disk."""
    await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    world.store.is_failing = True

    await world.text(ALICE, N1)
    world.store.is_failing = False

    assert world.outbox.entries == []
    assert await world.store.pending_queues() == ()


async def test_what_a_carrier_took_leaves_the_outbox_with_the_commit_of_its_leg(world: HookedWorld) -> None:
    """A crash right behind that commit does not send it again; what cannot be kept stays."""
    world.carriers.name = "main"
    await world.configure()
    await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    decision = await world.text(ALICE, N1, "hello")
    (entry,) = world.outbox.entries
    report = took(entry, decision)

    world.store.is_failing = True
    failed = await world.tell(report)
    world.store.is_failing = False
    left = await world.store.pending_queues()
    outcome = await world.tell(report)

    assert (failed, left, outcome) == (None, (entry.queue,), ReportOutcome.RECORDED)
    assert await world.store.pending_queues() == ()


def took(entry: OutboxEntry, decision: Decision, *, status: LegStatus = LegStatus.SENT) -> LegReport:
    """Return what the outbox reports of a message that a carrier took."""
    return LegReport(
        kind=Kind.MESSAGE,
        account_sid=entry.account_sid,
        interaction_sid=decision.interaction_sid,
        is_outbound=True,
        resource_sid="SM2",
        status=status,
        entry_sid=entry.sid,
    )


def at_hand(world: HookedWorld, report: LegReport) -> "list[asyncio.Future[ReportOutcome | None]]":
    """Report to each host what it has at hand; returns what will become of it at those that do."""
    told = []
    for host in world.hosts.values():
        outcome: asyncio.Future[ReportOutcome | None] = asyncio.get_running_loop().create_future()
        if host.traffic.report_at_hand(report, outcome.set_result):
            told.append(outcome)
    return told


async def test_the_leg_of_a_message_that_was_just_recorded_is_kept_without_a_look_at_the_disk(
    world: HookedWorld,
) -> None:
    """Sent, and delivered after that; the entry has ended. What is being committed is read, and is not taken twice."""
    world.carriers.name = "main"
    await world.configure()
    await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    decision = await world.text(ALICE, N1, "hello")
    (entry,) = world.outbox.entries

    world.store.keep_back()
    sent = at_hand(world, took(entry, decision))
    meanwhile = at_hand(world, took(entry, decision, status=LegStatus.DELIVERED))
    world.store.let_through()
    outcomes = [await one for one in sent]
    left = await world.store.pending_queues()
    again = at_hand(world, took(entry, decision))
    delivered = [await one for one in at_hand(world, took(entry, decision, status=LegStatus.DELIVERED))]

    assert (outcomes, meanwhile, left, again) == ([ReportOutcome.RECORDED], [], (), [])
    assert delivered == [ReportOutcome.RECORDED]
    kept = world.store.interaction(decision.interaction_sid)
    assert kept is not None
    assert (kept.outbound.status, kept.outbound.resource_sid) == (LegStatus.DELIVERED, "SM2")
    assert at_hand(world, took(entry, decision, status=LegStatus.DELIVERED)) == []


async def test_of_messages_kept_in_memory_only_the_oldest_make_room(world: HookedWorld) -> None:
    """However many are on their way, the latest are at hand."""
    world.carriers.name = "main"
    await world.configure()
    await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    old = await world.text(ALICE, N1, "hello")
    logs = [host.parts.interaction_log for host in world.hosts.values()]
    (recent,) = (log.recent for log in logs if len(log.recent))
    one = recent.find(old.interaction_sid)
    assert one is not None
    for number in range(len(recent), MOST_RECENT - 1):
        recent.add(msgspec.structs.replace(one, sid=f"KI{number:032x}"))

    latest = [await world.text(ALICE, N1, "hello") for _ in range(3)]
    entries = world.outbox.entries
    counts = [len(at_hand(world, took(entries[place], decision))) for place, decision in enumerate((old, *latest))]

    assert (counts, len(recent) <= MOST_RECENT) == ([0, 1, 1, 1], True)


@pytest.mark.parametrize("why", ["callback", "failure", "refusal", "restart", "stranger"])
async def test_the_disk_is_read_where_memory_does_not_suffice(world: HookedWorld, why: str) -> None:
    """Where the application is to be told, the last commit failed, or nothing is in memory that fits."""
    world.carriers.name = "main"
    await world.configure(callback=CALLBACK if why == "callback" else None)
    await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    decision = await world.text(ALICE, N1, "hello")
    (entry,) = (one for one in world.outbox.entries if isinstance(one.content, OutboxMessage))
    report = took(entry, decision, status=LegStatus.FAILED if why == "refusal" else LegStatus.SENT)
    if why == "restart":
        await world.restart()
    if why == "stranger":
        report = msgspec.structs.replace(report, account_sid="AC" + "9" * 32)
    if why == "failure":
        world.store.is_failing = True
        assert [await one for one in at_hand(world, report)] == [None]
        world.store.is_failing = False

    assert at_hand(world, report) == []
    outcome = await world.tell(report)
    assert outcome is (ReportOutcome.NOT_FOUND if why == "stranger" else ReportOutcome.RECORDED)


async def test_the_leg_of_a_message_that_was_erased_meanwhile_tells_nobody(world: HookedWorld) -> None:
    """Its entry ends, and its record stays away."""
    world.carriers.name = "main"
    await world.configure()
    session = await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    decision = await world.text(ALICE, N1, "hello")
    (entry,) = world.outbox.entries
    await world.delete(session)

    await world.tell(took(entry, decision))

    assert await world.store.pending_queues() in {(), (entry.queue,)}  # the outbox ends what is not found
    assert world.store.interaction(decision.interaction_sid) is None
    assert (world.outbox.entries, world.observer.codes()) == ([entry], [])


async def test_who_asked_is_told_each_state_of_the_outbound_leg(world: HookedWorld) -> None:
    """Committed with it; not what the inbound leg comes to, and not what is nothing new."""
    world.carriers.name = "main"
    await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    asking = world.event(Kind.MESSAGE, ALICE, N1, resource_sid=sid_asking("smpp-1", "hub"))
    other = world.event(Kind.MESSAGE, ALICE, N1, resource_sid="smpp-2")
    sids = [(await world.receive(event)).interaction_sid for event in (asking, other)]
    for sid in sids:
        for status in (LegStatus.SENT, LegStatus.SENT, LegStatus.DELIVERED):
            report = LegReport(
                kind=Kind.MESSAGE,
                account_sid=world.account.sid,
                interaction_sid=sid,
                is_outbound=True,
                resource_sid="1",
                status=status,
            )
            await world.tell(report)

    told = world.outbox.receipts()

    assert [(one.carrier, one.resource_sid, one.status) for one in told] == [
        ("hub", "smpp-1@hub", LegStatus.SENT),
        ("hub", "smpp-1@hub", LegStatus.DELIVERED),
    ]
    owed = {one.queue for one in world.outbox.entries if one.content in told}
    (queue,) = owed
    kept = await world.store.pending_entries(queue, after=None, limit=10)
    assert [one.content for one in kept] == told


async def test_a_message_leaves_through_the_carrier_of_its_number(world: HookedWorld) -> None:
    """The answer asks the platform for nothing; the message is owed with the right ends."""
    world.carriers.name = "main"
    await world.configure()
    await world.session(wanting(ALICE, N1), wanting(BOB, N2))

    decision = await world.text(ALICE, N1, "hello")

    (entry,) = world.outbox.messages()
    assert decision.is_sent_by_us
    assert (entry.carrier, entry.sender, entry.to, entry.body) == ("main", N2, BOB, "hello")
    assert entry.interaction_sid == decision.interaction_sid


async def test_a_message_sent_by_a_carrier_is_not_sent_again_by_a_redelivery(world: HookedWorld) -> None:
    """Not after a restart either: the answer asks the platform for nothing, and nothing new is owed."""
    world.carriers.name = "main"
    await world.configure()
    await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    event = world.event(Kind.MESSAGE, ALICE, N1)
    first = await world.receive(event)

    await world.restart()
    again = await world.receive(event)

    assert again == first
    assert again.is_sent_by_us
    assert len(world.outbox.messages()) == 1


async def test_a_pushed_message_leaves_from_the_participants_own_number(world: HookedWorld) -> None:
    """It looks as if the partner wrote; its callback has no inbound leg."""
    world.carriers.name = "main"
    await world.configure(callback=CALLBACK)
    session = await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    alice = world.participant(session, ALICE).sid

    await world.control.send_message(
        world.account.sid, world.service_sid, session.sid, alice, body="your car is here", media=("https://a.b/c",)
    )

    (entry,) = world.outbox.messages()
    (told,) = world.outbox.callbacks()
    assert (entry.sender, entry.to, entry.media) == (N1, ALICE, ("https://a.b/c",))
    assert (told.inbound.participant_sid, told.outbound.participant_sid) == (None, alice)


async def test_closing_hangs_up_where_the_service_wants_it(world: HookedWorld) -> None:
    """The open calls of that session, no others, and only with the option."""
    world.carriers.name = "main"
    session = await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    await world.session(wanting(BOB, N1), wanting(ALICE, N2))
    first = world.event(Kind.VOICE, ALICE, N1)
    await world.receive(first)
    assert (await world.call(BOB, N1)).outcome is Outcome.ROUTED
    await world.close(session)
    assert world.outbox.hang_ups() == []

    await world.reopen(session)
    await world.configure(options=ServiceOptions(hangs_up_on_close=True))
    await world.close(session)

    assert [one.call_sid for one in world.outbox.hang_ups()] == [first.resource_sid]


async def test_an_erased_session_has_its_calls_ended_on_whichever_host_they_are(world: HookedWorld) -> None:
    """Their records are erased with it, but not before they have told which calls these are."""
    world.carriers.name = "main"
    await world.configure(options=ServiceOptions(hangs_up_on_close=True))
    session = await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    calls = [world.event(Kind.VOICE, ALICE, N1), world.event(Kind.VOICE, BOB, N2)]
    for call in calls:
        await world.receive(call)

    await world.delete(session)

    assert sorted(one.call_sid for one in world.outbox.hang_ups()) == sorted(call.resource_sid for call in calls)


async def test_a_session_closes_after_its_first_answered_call_where_the_service_wants_it(world: HookedWorld) -> None:
    """A missed one leaves it open, although the caller's own leg reads completed."""
    await world.configure(options=ServiceOptions(closes_after_first_call=True))
    session = await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    for status, expected in (
        (LegStatus.NO_ANSWER, SessionStatus.IN_PROGRESS),
        (LegStatus.COMPLETED, SessionStatus.CLOSED),
    ):
        event = world.event(Kind.VOICE, ALICE, N1)
        sid = (await world.receive(event)).interaction_sid
        await world.report(status, resource_sid=f"{event.resource_sid}-2", interaction_sid=sid, is_outbound=True)

        await world.report(LegStatus.COMPLETED, resource_sid=event.resource_sid)
        await world.settle()

        async with asyncio.timeout(WAIT_SECONDS):  # its coordinator may be another host, and read a database first
            while (await world.look(session)).status is not expected:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0)


async def test_a_service_has_its_own_word_on_stop_filtering(world: HookedWorld) -> None:
    """Per service over per account; and the number's own filter must be off."""
    await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    await world.control.update_account(world.account.sid, AccountUpdate(respect_sms_stop_filter=True))
    await world.configure(options=ServiceOptions(respect_sms_stop_filter=False))

    decision = await world.text(ALICE, N1, "STOP")

    assert decision.outcome is Outcome.REFUSED


async def test_a_call_that_no_carrier_can_end_is_left_to_end_by_itself(world: HookedWorld) -> None:
    """Nothing is owed that nobody could deliver; the session closes all the same."""
    world.carriers.name = None
    await world.configure(options=ServiceOptions(hangs_up_on_close=True))
    session = await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    call = world.event(Kind.VOICE, ALICE, N1)
    assert (await world.receive(call)).outcome is Outcome.ROUTED

    await world.close(session)

    assert (await world.call(ALICE, N1)).outcome is Outcome.REFUSED
    assert world.outbox.hang_ups() == []
    assert await world.store.pending_queues() == ()


async def change(
    world: HookedWorld,
    session_sid: str,
    participant_sid: str,
    *,
    identifier: str | UnsetType = UNSET,
    proxy: str | UnsetType = UNSET,
    name: str | UnsetType | None = UNSET,
) -> Participant:
    """Change a participant."""
    return await world.control.update_participant(
        world.account.sid,
        world.service_sid,
        session_sid,
        participant_sid,
        update=ParticipantUpdate(identifier=identifier, proxy_identifier=proxy, friendly_name=name),
    )


async def test_participants_change_only_where_the_service_lets_them(world: HookedWorld) -> None:
    """405 by default; with the option the new identifier routes and the old one does not."""
    session = await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    bob = world.participant(session, BOB).sid
    assert await refused(change(world, session.sid, bob, identifier=CAROL)) is Code.METHOD_NOT_ALLOWED

    await world.configure(options=ServiceOptions(participants_may_change=True))
    await change(world, session.sid, bob, identifier=CAROL)

    proxy = world.proxy(session, CAROL)
    assert world.participant(session, CAROL).sid == bob
    assert (await world.call(ALICE, N1)).to == CAROL
    assert (await world.call(CAROL, proxy)).to == ALICE
    assert (await world.call(BOB, N2)).outcome is Outcome.REFUSED
    assert (await world.in_use(N1), await world.in_use(N2)) == (1, 1)


@pytest.mark.parametrize("is_failing", [False, True])
@pytest.mark.parametrize(
    ("theirs", "partners", "new", "uses"),
    [
        (N1, N2, N1, (1, 2)),
        (N1, N2, N2, (0, 2)),
        (N1, N1, N2, (1, 2)),
        (N2, N1, N1, (1, 1)),
        (N2, N2, N1, (1, 2)),
    ],
)
async def test_a_number_is_in_use_until_nobody_of_the_session_has_it(  # noqa: PLR0917 - a table of changes
    world: HookedWorld, theirs: str, partners: str, new: str, uses: tuple[int, int], *, is_failing: bool
) -> None:
    """One of two who share a number leaves it in use; another session's use stays; a full disk changes nothing."""
    await world.configure(options=ServiceOptions(participants_may_change=True))
    await world.session(wanting(CAROL, N2))
    session = await world.session(wanting(ALICE, theirs), wanting(BOB, partners))
    before = (await world.in_use(N1), await world.in_use(N2))
    assert before == ((N1 in {theirs, partners}), 1 + (N2 in {theirs, partners}))

    world.store.is_failing = is_failing
    with suppress(StoreUnavailable):
        await change(world, session.sid, world.participant(session, ALICE).sid, proxy=new)
    world.store.is_failing = False

    assert (await world.in_use(N1), await world.in_use(N2)) == (before if is_failing else uses)
    assert (await world.call(ALICE, theirs if is_failing else new)).to == BOB
    await world.close(session)
    assert (await world.in_use(N1), await world.in_use(N2)) == (0, 1)


@pytest.mark.parametrize(
    ("identifier", "proxy"),
    [
        (ALICE, UNSET),
        (" 1 (212) 555-2001", UNSET),
        ("+1.212.555.2001", UNSET),
        (ALICE, N1),
        ("+1 212 555 2001", "+1 646 555 0001"),
        (UNSET, N1),
        (UNSET, UNSET),
    ],
)
async def test_who_stays_who_they_are_keeps_their_number(
    world: HookedWorld, identifier: str | UnsetType, proxy: str | UnsetType
) -> None:
    """In whatever spelling; also where every other number is theirs too, and theirs is reserved by now."""
    await world.configure(options=ServiceOptions(participants_may_change=True))
    await world.session(wanting(ALICE, N2))
    session = await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    number_sid = world.participant(session, ALICE).proxy_identifier_sid
    await world.control.reserve(world.account.sid, world.service_sid, number_sid, is_reserved=True)

    after = await change(
        world, session.sid, world.participant(session, ALICE).sid, identifier=identifier, proxy=proxy, name="Al"
    )

    assert (after.identifier, after.proxy_identifier, after.friendly_name) == (ALICE, N1, "Al")
    assert world.participant(session, ALICE) == after
    assert (await world.call(ALICE, N1)).to == BOB
    assert (await world.in_use(N1), await world.in_use(N2)) == (1, 2)


async def test_a_new_name_is_no_conflict_in_a_permissive_account(world: HookedWorld) -> None:
    """Neither told (80802), nor refused when the account has become strict: the pair was theirs before."""
    await world.configure(options=ServiceOptions(participants_may_change=True))
    await world.control.update_account(world.account.sid, AccountUpdate(allow_participant_conflict=True))
    await world.session(wanting(ALICE, N1), BOB)
    session = await world.session(wanting(ALICE, N1), CAROL)
    world.observer.codes()
    alice = world.participant(session, ALICE).sid

    await change(world, session.sid, alice, identifier=ALICE, name="Al")
    await world.control.update_account(world.account.sid, AccountUpdate(allow_participant_conflict=False))
    after = await change(world, session.sid, alice, proxy=N1, name=None)

    assert (after.friendly_name, world.observer.codes()) == (None, [])
    assert (await world.call(ALICE, N1)).to == CAROL


async def test_a_change_that_is_refused_or_fails_leaves_everything_as_it_was(world: HookedWorld) -> None:
    """A bad identifier, and a full disk."""
    await world.configure(options=ServiceOptions(participants_may_change=True))
    session = await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    bob = world.participant(session, BOB).sid

    assert await refused(change(world, session.sid, bob, identifier="+1555")) is Code.IDENTIFIER_INVALID
    world.store.is_failing = True
    with pytest.raises(Exception, match="disk"):
        await change(world, session.sid, bob, identifier=CAROL)
    world.store.is_failing = False

    assert (await world.call(ALICE, N1)).to == BOB
    assert (await world.call(BOB, N2)).to == ALICE
    assert (await world.in_use(N1), await world.in_use(N2)) == (1, 1)


async def test_one_who_was_removed_may_come_back_where_the_service_lets_it(world: HookedWorld) -> None:
    """80612 by default."""
    session = await world.session(wanting(ALICE, N1), wanting(BOB, N2))
    await world.leave(session, BOB)
    assert await refused(world.join(session, BOB)) is Code.DUPLICATE_ENTRY

    await world.configure(options=ServiceOptions(participants_may_change=True))
    await world.join(session, wanting(BOB, N2))

    assert (await world.call(ALICE, N1)).to == BOB


async def test_debugger_events_are_kept_listed_and_posted(world: HookedWorld) -> None:
    """In batches; posted where the account has a debugger webhook; another account sees nothing."""
    await world.control.update_account(
        world.account.sid, AccountUpdate(debugger_url="https://ops.example.net/debugger")
    )
    await world.call(CAROL, N1)
    for event in world.observer.events:
        world.host.keep_event(event)

    await world.host.sweep_alerts()

    (sent,) = [one for one in world.outbox.entries if one.destination == "https://ops.example.net"]
    kept = await world.store.pending_entries(sent.queue, after=None, limit=10)
    assert [one.sid for one in kept] == [sent.sid]
    other = await world.control.create_account(AccountUpdate(friendly_name="other"))
    alert = world.store.alert(sent.content.event.sid)  # type: ignore[union-attr]
    assert alert is not None
    assert (await world.control.alert(world.account.sid, alert.sid)).code == Code.NO_ACTIVE_SESSION
    with pytest.raises(ApiError):
        await world.control.alert(other.sid, alert.sid)
