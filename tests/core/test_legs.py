"""Leg reports: in order, late, twice, after the end (behaviour 9: 80906; 10; 11.1)."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.model.changes import InteractionUpdated
from engine.core.model.records import Interaction, Kind, Leg, LegStatus
from engine.core.routing.legs import ENDED, apply_report, ends_call, is_open_call, read_status, was_answered
from engine.core.routing.traffic import LegReport, ReportOutcome

NOW = 1_700_000_000.0
INBOUND_SID = "CA" + "1" * 32
OUTBOUND_SID = "CA" + "2" * 32


def interaction(
    kind: Kind = Kind.VOICE,
    *,
    inbound: LegStatus = LegStatus.RINGING,
    outbound: LegStatus = LegStatus.INITIATED,
    outbound_sid: str | None = None,
    duration_seconds: int | None = None,
) -> Interaction:
    return Interaction(
        sid="KI" + "1" * 32,
        session_sid="KC" + "1" * 32,
        service_sid="KS" + "1" * 32,
        account_sid="AC" + "1" * 32,
        kind=kind,
        proxy="+16465550001",
        inbound=Leg(participant_sid="KP" + "1" * 32, resource_sid=INBOUND_SID, status=inbound),
        outbound=Leg(participant_sid="KP" + "2" * 32, resource_sid=outbound_sid, status=outbound),
        duration_seconds=duration_seconds,
        date_created=NOW,
        date_updated=NOW,
    )


def report(status: LegStatus, *, is_outbound: bool, kind: Kind = Kind.VOICE, seconds: int | None = None) -> LegReport:
    return LegReport(
        kind=kind,
        account_sid="AC" + "1" * 32,
        interaction_sid="KI" + "1" * 32,
        is_outbound=is_outbound,
        resource_sid=OUTBOUND_SID if is_outbound else INBOUND_SID,
        status=status,
        duration_seconds=seconds,
    )


def after(before: Interaction, change: InteractionUpdated) -> Interaction:
    return msgspec.structs.replace(
        before, inbound=change.inbound, outbound=change.outbound, duration_seconds=change.duration_seconds
    )


def play(start: Interaction, *reports: LegReport) -> tuple[Interaction, list[ReportOutcome]]:
    outcomes = []
    for each in reports:
        outcome, change = apply_report(start, each, now=NOW + 1)
        outcomes.append(outcome)
        start = start if change is None else after(start, change)
    return start, outcomes


def test_a_report_moves_its_own_leg_only() -> None:
    """The outbound leg learns its SID and state; the inbound one stays."""
    outcome, change = apply_report(interaction(), report(LegStatus.RINGING, is_outbound=True), now=NOW + 1)

    assert outcome is ReportOutcome.RECORDED
    assert change is not None
    assert change.outbound == Leg(participant_sid="KP" + "2" * 32, resource_sid=OUTBOUND_SID, status=LegStatus.RINGING)
    assert change.inbound == interaction().inbound
    assert change.at == NOW + 1


@pytest.mark.parametrize("end", sorted(ENDED))
@pytest.mark.parametrize("late", list(LegStatus))
def test_an_ended_leg_does_not_move(end: LegStatus, late: LegStatus) -> None:
    """Another end is 80906; the same end, or what came before it, is told again or late and no news."""
    expected = ReportOutcome.NOT_OPEN if late in ENDED - {end} else ReportOutcome.REPEATED

    for sid in (None, OUTBOUND_SID):
        ended = interaction(outbound=end, outbound_sid=sid)
        assert apply_report(ended, report(late, is_outbound=True), now=NOW) == (expected, None)


CALL_WORDS = {"initiated", "ringing", "in-progress", "answered", "completed", "busy", "no-answer"}
MESSAGE_WORDS = {"accepted", "sending", "sent", "receiving", "received", "delivered", "undelivered", "delivery-unknown"}
MESSAGE_WORDS |= {"read", "partially_delivered"}
BOTH_WORDS = {"queued", "canceled", "failed", "scheduled", "deleted"}


@pytest.mark.parametrize("word", sorted(CALL_WORDS | MESSAGE_WORDS | BOTH_WORDS))
@pytest.mark.parametrize("kind", list(Kind))
def test_a_status_is_of_its_kind(word: str, kind: Kind) -> None:
    """A message cannot be busy, nor a call delivered; the refusal names the status and the kind."""
    if word in (MESSAGE_WORDS if kind is Kind.VOICE else CALL_WORDS):
        named = {"read": "delivered", "partially_delivered": "sent"}.get(word, word)
        thing = "call" if kind is Kind.VOICE else "message"
        with pytest.raises(ValueError, match=f"^{named} is no status of a {thing}$"):
            read_status(word, kind)
    else:
        assert read_status(word, kind) is not LegStatus.UNKNOWN


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("Delivered", LegStatus.DELIVERED),
        (" SENT ", LegStatus.SENT),
        ("read", LegStatus.DELIVERED),
        ("partially_delivered", LegStatus.SENT),
        ("delivery_unknown", LegStatus.DELIVERY_UNKNOWN),
        ("cancelled", LegStatus.CANCELED),
        ("exploded", LegStatus.UNKNOWN),
        ("", LegStatus.UNKNOWN),
    ],
)
def test_a_platforms_word_is_read_however_it_is_written(word: str, status: LegStatus) -> None:
    """In any case, with underscores; what nobody knows is no reason to refuse."""
    assert read_status(word, Kind.MESSAGE) is status


@pytest.mark.parametrize(
    ("current", "late"),
    [
        (LegStatus.RINGING, LegStatus.INITIATED),
        (LegStatus.IN_PROGRESS, LegStatus.RINGING),
        (LegStatus.IN_PROGRESS, LegStatus.ANSWERED),
        (LegStatus.SENT, LegStatus.QUEUED),
        (LegStatus.SENDING, LegStatus.QUEUED),
        (LegStatus.QUEUED, LegStatus.ACCEPTED),
        (LegStatus.SENT, LegStatus.SENDING),
        (LegStatus.IN_PROGRESS, LegStatus.UNKNOWN),
        (LegStatus.ACCEPTED, LegStatus.SCHEDULED),
        (LegStatus.ACCEPTED, LegStatus.UNKNOWN),
    ],
)
def test_a_report_that_came_late_is_not_applied(current: LegStatus, late: LegStatus) -> None:
    """The platform's reports overtake each other; a leg never goes back."""
    ahead = interaction(outbound=current, outbound_sid=OUTBOUND_SID)

    assert apply_report(ahead, report(late, is_outbound=True), now=NOW) == (ReportOutcome.REPEATED, None)


def test_the_same_state_twice_is_told_once() -> None:
    """The second of two equal reports changes nothing."""
    _, outcomes = play(interaction(), *[report(LegStatus.RINGING, is_outbound=True)] * 2)

    assert outcomes == [ReportOutcome.RECORDED, ReportOutcome.REPEATED]


@pytest.mark.parametrize("status", [LegStatus.UNKNOWN, LegStatus.SCHEDULED, LegStatus.RINGING])
def test_a_leg_of_which_nothing_is_known_takes_any_report(status: LegStatus) -> None:
    """There is nothing yet that it could be behind."""
    start = interaction()
    blank = msgspec.structs.replace(start, outbound=msgspec.structs.replace(start.outbound, status=None))

    done, outcomes = play(blank, report(status, is_outbound=True))

    assert outcomes == [ReportOutcome.RECORDED]
    assert done.outbound.status is status


@pytest.mark.parametrize("status", [LegStatus.SCHEDULED, LegStatus.QUEUED, LegStatus.COMPLETED])
def test_any_state_follows_one_that_nobody_knew(status: LegStatus) -> None:
    """A leg in an unknown state has not come far."""
    done, outcomes = play(interaction(outbound=LegStatus.UNKNOWN), report(status, is_outbound=True))

    assert outcomes == [ReportOutcome.RECORDED]
    assert done.outbound.status is status


def test_a_report_without_a_sid_keeps_the_legs() -> None:
    """What is known of a leg is not lost to a report that says less, and one that says more is believed."""
    known = interaction(outbound_sid=OUTBOUND_SID)
    silent = msgspec.structs.replace(report(LegStatus.RINGING, is_outbound=True), resource_sid="")
    other = msgspec.structs.replace(report(LegStatus.IN_PROGRESS, is_outbound=True), resource_sid="CA" + "3" * 32)

    first, _ = play(known, silent)
    second, _ = play(first, other)

    assert first.outbound.resource_sid == OUTBOUND_SID
    assert second.outbound.resource_sid == "CA" + "3" * 32


def test_a_report_changes_the_interaction_that_it_is_of() -> None:
    """The whole change, as it is committed."""
    before = interaction(duration_seconds=12)

    _, change = apply_report(before, report(LegStatus.COMPLETED, is_outbound=False, seconds=45), now=NOW + 1)

    assert change == InteractionUpdated(
        interaction_sid=before.sid,
        inbound=Leg(participant_sid="KP" + "1" * 32, resource_sid=INBOUND_SID, status=LegStatus.COMPLETED),
        outbound=before.outbound,
        duration_seconds=12,
        at=NOW + 1,
    )


def test_a_report_of_the_outbound_leg_changes_nothing_else_but_the_length_of_the_call() -> None:
    """So it need not be written whole."""
    reports = (
        report(LegStatus.ANSWERED, is_outbound=True),
        report(LegStatus.COMPLETED, is_outbound=True, seconds=45),
        report(LegStatus.COMPLETED, is_outbound=False),
    )

    changes = [apply_report(interaction(), one, now=NOW)[1] for one in reports]

    assert [change is not None and change.is_outbound_alone for change in changes] == [True, False, False]


def test_the_same_state_is_news_when_it_brings_the_sid() -> None:
    """`initiated` is what we assumed; the report tells which call it is."""
    done, outcomes = play(interaction(), report(LegStatus.INITIATED, is_outbound=True))

    assert outcomes == [ReportOutcome.RECORDED]
    assert done.outbound.resource_sid == OUTBOUND_SID


@pytest.mark.parametrize(
    ("kind", "statuses"),
    [
        (Kind.VOICE, (LegStatus.INITIATED, LegStatus.RINGING, LegStatus.IN_PROGRESS, LegStatus.COMPLETED)),
        (Kind.VOICE, (LegStatus.RINGING, LegStatus.ANSWERED, LegStatus.COMPLETED)),
        (Kind.VOICE, (LegStatus.RINGING, LegStatus.BUSY)),
        (Kind.VOICE, (LegStatus.INITIATED, LegStatus.NO_ANSWER)),
        (Kind.VOICE, (LegStatus.CANCELED,)),
        (Kind.MESSAGE, (LegStatus.QUEUED, LegStatus.SENDING, LegStatus.SENT, LegStatus.DELIVERED)),
        (Kind.MESSAGE, (LegStatus.SENT, LegStatus.UNDELIVERED)),
        (Kind.MESSAGE, (LegStatus.FAILED,)),
    ],
)
def test_the_usual_courses_are_recorded_step_by_step(kind: Kind, statuses: tuple[LegStatus, ...]) -> None:
    """Behaviour 10 and 11.1: every step in order is news."""
    first = LegStatus.INITIATED if kind is Kind.VOICE else LegStatus.QUEUED
    start = interaction(kind, outbound=first)

    done, outcomes = play(start, *(report(status, is_outbound=True, kind=kind) for status in statuses))

    assert set(outcomes) == {ReportOutcome.RECORDED}
    assert done.outbound.status is statuses[-1]


@pytest.mark.parametrize("is_inbound_first", [True, False])
def test_the_length_of_a_call_is_the_outbound_legs(is_inbound_first: bool) -> None:  # noqa: FBT001 - a column
    """The inbound leg may count the ringing; its length stands only until the outbound one's is known."""
    reports = [
        report(LegStatus.COMPLETED, is_outbound=False, seconds=45),
        report(LegStatus.COMPLETED, is_outbound=True, seconds=30),
    ]

    done, _ = play(interaction(), *(reports if is_inbound_first else reversed(reports)))

    assert done.duration_seconds == 30


def test_the_inbound_legs_length_stands_while_no_other_is_known() -> None:
    """It is better than none, and gives way to the outbound one's."""
    first, _ = play(interaction(), report(LegStatus.COMPLETED, is_outbound=False, seconds=45))
    second, _ = play(first, report(LegStatus.COMPLETED, is_outbound=True, seconds=30))

    assert (first.duration_seconds, second.duration_seconds) == (45, 30)


def test_an_end_without_length_keeps_the_known_one() -> None:
    """A report that says nothing of duration does not erase it."""
    done, _ = play(interaction(duration_seconds=12), report(LegStatus.COMPLETED, is_outbound=True))

    assert done.duration_seconds == 12


def test_a_message_has_no_length() -> None:
    """Whatever a report says."""
    sent = interaction(Kind.MESSAGE, inbound=LegStatus.RECEIVED, outbound=LegStatus.QUEUED)

    done, _ = play(sent, report(LegStatus.DELIVERED, is_outbound=True, kind=Kind.MESSAGE, seconds=3))

    assert done.duration_seconds is None


@pytest.mark.parametrize(
    ("kind", "inbound", "is_open"),
    [
        (Kind.VOICE, LegStatus.RINGING, True),
        (Kind.VOICE, LegStatus.IN_PROGRESS, True),
        (Kind.VOICE, LegStatus.COMPLETED, False),
        (Kind.MESSAGE, LegStatus.RECEIVED, False),
    ],
)
def test_a_call_is_open_until_its_inbound_leg_ends(kind: Kind, inbound: LegStatus, is_open: bool) -> None:  # noqa: FBT001
    """Messages are never open calls."""
    assert is_open_call(interaction(kind, inbound=inbound)) is is_open


@pytest.mark.parametrize(
    ("is_outbound", "status", "is_end"),
    [
        (False, LegStatus.COMPLETED, True),
        (False, LegStatus.IN_PROGRESS, False),
        (True, LegStatus.COMPLETED, False),
    ],
)
def test_only_the_inbound_legs_end_ends_a_call(is_outbound: bool, status: LegStatus, is_end: bool) -> None:  # noqa: FBT001
    """The caller may still hear something after the partner hung up."""
    _, change = apply_report(interaction(), report(status, is_outbound=is_outbound), now=NOW)

    assert change is not None
    assert ends_call(interaction(), change) is is_end


@given(
    st.lists(
        st.builds(
            report,
            st.sampled_from(list(LegStatus)),
            is_outbound=st.booleans(),
            seconds=st.none() | st.integers(0, 9),
        ),
        max_size=12,
    )
)
def test_a_leg_that_ended_stays_as_it_ended(reports: list[LegReport]) -> None:
    """Reports in any order, any number of times: once ended, neither state nor SID of a leg changes."""
    current = interaction()

    for each in reports:
        ended = [leg for leg in (current.inbound, current.outbound) if leg.status in ENDED]
        current, _ = play(current, each)

        assert all(leg in (current.inbound, current.outbound) for leg in ended)


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("status", list(LegStatus))
def test_a_call_was_answered_once_its_outbound_leg_was_taken(kind: Kind, status: LegStatus) -> None:
    """Ringing, busy or cancelled is no answer, whatever the inbound leg says; messages are never answered."""
    taken = {LegStatus.ANSWERED, LegStatus.IN_PROGRESS, LegStatus.COMPLETED}

    found = was_answered(interaction(kind, inbound=LegStatus.COMPLETED, outbound=status))

    assert found is (kind is Kind.VOICE and status in taken)


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("inbound", [LegStatus.RINGING, LegStatus.COMPLETED])
@pytest.mark.parametrize("after_it", [LegStatus.IN_PROGRESS, LegStatus.FAILED])
def test_only_an_open_call_ends(kind: Kind, inbound: LegStatus, after_it: LegStatus) -> None:
    """A change of a message, or of a call that had ended, ends none."""
    before = interaction(kind, inbound=inbound)
    change = InteractionUpdated(
        interaction_sid=before.sid,
        inbound=msgspec.structs.replace(before.inbound, status=after_it),
        outbound=before.outbound,
        duration_seconds=None,
        at=NOW,
    )

    is_end = kind is Kind.VOICE and inbound is LegStatus.RINGING and after_it is LegStatus.FAILED
    assert ends_call(before, change) is is_end
