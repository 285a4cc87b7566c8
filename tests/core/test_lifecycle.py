"""The life of a session: what may be asked for and what not (behaviour 8)."""

from itertools import product

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET, UnsetType

from engine.core.model.changes import SessionChanged
from engine.core.model.errors import ApiError, Code
from engine.core.model.records import ClosedReason, Mode, Session, SessionStatus
from engine.core.model.requests import SessionRequest, SessionUpdate
from engine.core.sessions.bindings import ActiveSession
from engine.core.sessions.expiry import ends_at, expiry_reason, shown_end
from engine.core.sessions.lifecycle import (
    MAX_TTL_SECONDS,
    UpdatePlan,
    closing,
    new_session,
    plan_update,
    session_after,
)

NOW = 1_700_000_000.0
OPEN, IN_PROGRESS, CLOSED = SessionStatus.OPEN, SessionStatus.IN_PROGRESS, SessionStatus.CLOSED


def session(status: SessionStatus = OPEN, *, ttl_seconds: int = 0, date_expiry: float | None = None) -> Session:
    is_closed = status is CLOSED
    return Session(
        sid="KC" + "1" * 32,
        service_sid="KS" + "1" * 32,
        account_sid="AC" + "1" * 32,
        status=status,
        closed_reason=ClosedReason.API if is_closed else None,
        ttl_seconds=ttl_seconds,
        date_expiry=date_expiry,
        idle_since=NOW - 50,
        date_ended=NOW - 10 if is_closed else None,
        date_created=NOW - 50,
        date_updated=NOW - 50,
    )


def created(request: SessionRequest, *, default_ttl_seconds: int = 0) -> Session:
    return new_session(
        request,
        sid="KC" + "2" * 32,
        service_sid="KS" + "1" * 32,
        account_sid="AC" + "1" * 32,
        default_ttl_seconds=default_ttl_seconds,
        now=NOW,
    )


def refusal(of: Session, update: SessionUpdate) -> Code:
    with pytest.raises(ApiError) as caught:
        plan_update(of, update, now=NOW)
    return caught.value.code


LEGAL = {
    (OPEN, OPEN),
    (OPEN, IN_PROGRESS),
    (OPEN, CLOSED),
    (IN_PROGRESS, IN_PROGRESS),
    (IN_PROGRESS, CLOSED),
    (CLOSED, IN_PROGRESS),
    (CLOSED, CLOSED),
}
"""What behaviour 8 lets an update do: from which status to which."""


@pytest.mark.parametrize(("before", "asked"), sorted(LEGAL))
def test_a_legal_status_is_what_the_session_gets(before: SessionStatus, asked: SessionStatus) -> None:
    plan = plan_update(session(before), SessionUpdate(status=asked), now=NOW)

    assert plan.closes == (asked is CLOSED and before is not CLOSED)
    assert plan.reopens == (before is CLOSED and asked is not CLOSED)
    if plan.change is not None:
        assert plan.change.status == (UNSET if asked is before else asked)


@pytest.mark.parametrize(("before", "asked"), sorted({*product(SessionStatus, SessionStatus)} - LEGAL))
def test_every_other_status_is_refused(before: SessionStatus, asked: SessionStatus) -> None:
    """80608; nothing enters or leaves `failed` and `unknown`, which are the platform's own."""
    assert refusal(session(before), SessionUpdate(status=asked)) is Code.SESSION_STATUS_INVALID


@pytest.mark.parametrize("before", [OPEN, IN_PROGRESS])
def test_closing_says_why_and_when(before: SessionStatus) -> None:
    """A close by the application has the reason `api`."""
    plan = plan_update(session(before), SessionUpdate(status=CLOSED), now=NOW)

    assert plan.change is not None
    assert (plan.change.closed_reason, plan.change.date_ended) == (ClosedReason.API, NOW)
    assert plan.change.idle_since is UNSET


def test_closing_a_closed_session_changes_nothing() -> None:
    """Closing is idempotent, whatever else the update says."""
    plan = plan_update(session(CLOSED), SessionUpdate(status=CLOSED, ttl_seconds=7), now=NOW)

    assert plan == UpdatePlan(None)


def test_reopening_forgets_the_end_and_restarts_the_idle_clock() -> None:
    """closed_reason and date_ended become null; ttl counts from now."""
    plan = plan_update(session(CLOSED, ttl_seconds=60), SessionUpdate(status=IN_PROGRESS), now=NOW)

    assert plan.change is not None
    assert (plan.change.status, plan.change.closed_reason, plan.change.date_ended) == (IN_PROGRESS, None, None)
    assert plan.change.idle_since == NOW


def test_reopening_may_move_the_expiry_in_the_same_update() -> None:
    """DateExpiry with Status=in-progress: both take effect."""
    update = SessionUpdate(status=IN_PROGRESS, date_expiry=NOW + 60, ttl_seconds=0)

    plan = plan_update(session(CLOSED, ttl_seconds=9), update, now=NOW)

    assert plan.reopens
    assert plan.change is not None
    assert (plan.change.date_expiry, plan.change.ttl_seconds) == (NOW + 60, 0)


def test_a_session_after_a_change_has_what_it_set_and_keeps_the_rest() -> None:
    """None is set too, as a null in the store is: the reason why it was closed, the end."""
    before = session(CLOSED, ttl_seconds=9, date_expiry=NOW + 5)
    change = SessionChanged(
        session_sid=before.sid,
        at=NOW + 1,
        status=IN_PROGRESS,
        closed_reason=None,
        date_ended=None,
        ttl_seconds=0,
        idle_since=NOW + 1,
    )

    after = session_after(before, change)

    assert after == msgspec.structs.replace(
        before,
        status=IN_PROGRESS,
        closed_reason=None,
        date_ended=None,
        ttl_seconds=0,
        idle_since=NOW + 1,
        date_updated=NOW + 1,
    )


@pytest.mark.parametrize(
    "update",
    [
        SessionUpdate(),
        SessionUpdate(ttl_seconds=60),
        SessionUpdate(date_expiry=NOW + 60),
        SessionUpdate(date_expiry=None),
        SessionUpdate(fail_on_participant_conflict=True),
    ],
    ids=["nothing", "ttl", "expiry", "no-expiry", "fail-on"],
)
def test_a_closed_session_takes_no_other_update(update: SessionUpdate) -> None:
    """Anything but Status on a closed session is 80607."""
    assert refusal(session(CLOSED), update) is Code.SESSION_CLOSED


@pytest.mark.parametrize("before", [OPEN, IN_PROGRESS])
def test_an_active_session_takes_limits_without_a_status(before: SessionStatus) -> None:
    """The limits move on the fly; the status is left alone."""
    plan = plan_update(session(before), SessionUpdate(ttl_seconds=0, date_expiry=None), now=NOW)

    assert plan.change is not None
    assert not plan.closes
    assert not plan.reopens
    assert plan.change.status is UNSET
    assert (plan.change.ttl_seconds, plan.change.date_expiry) == (0, None)
    assert plan.change.closed_reason is UNSET
    assert plan.change.date_ended is UNSET


@pytest.mark.parametrize("date_expiry", [NOW, NOW - 1])
@pytest.mark.parametrize("status", [UNSET, IN_PROGRESS])
def test_a_past_expiry_is_refused_on_update(status: SessionStatus | UnsetType, date_expiry: float) -> None:
    """An expiry that has come already is 80701, on re-opening too."""
    before = CLOSED if status is IN_PROGRESS else OPEN

    assert refusal(session(before), SessionUpdate(status=status, date_expiry=date_expiry)) is Code.INVALID_PARAMETER


def test_a_fresh_session_is_open_and_has_no_dates() -> None:
    """Nothing given: open, no ttl, no expiry, nothing started or ended."""
    fresh = created(SessionRequest())

    assert (fresh.status, fresh.ttl_seconds, fresh.mode) == (OPEN, 0, Mode.VOICE_AND_MESSAGE)
    assert (fresh.date_started, fresh.date_ended, fresh.date_last_interaction, fresh.date_expiry) == (None,) * 4
    assert (fresh.closed_reason, fresh.unique_name) == (None, None)
    assert fresh.idle_since == fresh.date_created == NOW


@pytest.mark.parametrize(("given_ttl", "ttl_seconds"), [(None, 600), (0, 0), (5, 5)])
def test_a_session_without_ttl_inherits_the_services(given_ttl: int | None, ttl_seconds: int) -> None:
    """The service's default counts only when the request says nothing."""
    assert created(SessionRequest(ttl_seconds=given_ttl), default_ttl_seconds=600).ttl_seconds == ttl_seconds


@pytest.mark.parametrize("status", [OPEN, IN_PROGRESS])
def test_a_session_may_start_open_or_in_progress(status: SessionStatus) -> None:
    """Both are active and have not ended."""
    made = created(SessionRequest(status=status))

    assert made.is_active
    assert (made.status, made.date_ended, made.closed_reason) == (status, None, None)


def test_a_session_may_be_made_closed() -> None:
    """It has ended when it begins."""
    made = created(SessionRequest(status=CLOSED))

    assert not made.is_active
    assert (made.date_ended, made.closed_reason) == (NOW, ClosedReason.API)


@pytest.mark.parametrize("status", [SessionStatus.FAILED, SessionStatus.UNKNOWN])
def test_a_session_is_not_made_failed_or_unknown(status: SessionStatus) -> None:
    """80608, as on update."""
    with pytest.raises(ApiError) as caught:
        created(SessionRequest(status=status))

    assert caught.value.code is Code.SESSION_STATUS_INVALID


@pytest.mark.parametrize("date_expiry", [NOW, NOW - 1, 0.0])
def test_a_past_expiry_is_refused_on_create(date_expiry: float) -> None:
    """80701."""
    with pytest.raises(ApiError) as caught:
        created(SessionRequest(date_expiry=date_expiry))

    assert caught.value.code is Code.INVALID_PARAMETER


@pytest.mark.parametrize(
    ("date_expiry", "ttl_seconds", "end"),
    [
        (None, 0, None),
        (None, 60, NOW + 60),
        (NOW + 5, 0, NOW + 5),
        (NOW + 5, 60, NOW + 5),
        (NOW + 600, 60, NOW + 600),
    ],
)
def test_the_expiry_overrides_the_ttl(date_expiry: float | None, ttl_seconds: int, end: float | None) -> None:
    """date_expiry if there is one, else idle_since + ttl, else never."""
    assert shown_end(ends_at(date_expiry, NOW, ttl_seconds)) == end


@pytest.mark.parametrize(
    ("date_expiry", "reason"), [(None, ClosedReason.TTL), (NOW, ClosedReason.DATE_EXPIRY)], ids=["ttl", "date"]
)
def test_an_expired_session_says_which_limit_ended_it(date_expiry: float | None, reason: ClosedReason) -> None:
    """The close carries the reason and the time."""
    change = closing("KC" + "1" * 32, expiry_reason(date_expiry=date_expiry), at=NOW)

    assert (change.status, change.closed_reason, change.date_ended) == (CLOSED, reason, NOW)


@given(
    idle_since=st.floats(0, 2e9),
    ttl_seconds=st.integers(0, MAX_TTL_SECONDS),
    date_expiry=st.none() | st.floats(0, 2e9),
    now=st.floats(0, 4e9),
)
def test_a_session_is_expired_exactly_from_its_end_on(
    idle_since: float, ttl_seconds: int, date_expiry: float | None, now: float
) -> None:
    """The hot path's test and the end that is told never differ."""
    active = ActiveSession(
        "KC" + "1" * 32, "KS", "AC", Mode.VOICE_ONLY, (), idle_since, ttl_seconds=ttl_seconds, date_expiry=date_expiry
    )

    end = active.expires_at

    assert active.is_expired(now) == (end is not None and end <= now)


def test_a_plan_leaves_what_the_update_does_not_name() -> None:
    """Traffic and control never overwrite each other: an empty update changes date_updated alone."""
    plan = plan_update(session(OPEN), SessionUpdate(), now=NOW)

    assert plan.change is not None
    named = {field for field in plan.change.__struct_fields__ if getattr(plan.change, field) is not UNSET}
    assert named == {"session_sid", "at"}
    assert msgspec.structs.asdict(plan.change)["at"] == NOW


def test_a_new_session_has_exactly_what_was_asked_for() -> None:
    asked = SessionRequest(
        unique_name="order-7", status=CLOSED, mode=Mode.VOICE_ONLY, ttl_seconds=60, date_expiry=NOW + 1
    )

    assert created(asked, default_ttl_seconds=5) == Session(
        sid="KC" + "2" * 32,
        service_sid="KS" + "1" * 32,
        account_sid="AC" + "1" * 32,
        unique_name="order-7",
        status=CLOSED,
        closed_reason=ClosedReason.API,
        mode=Mode.VOICE_ONLY,
        ttl_seconds=60,
        date_expiry=NOW + 1,
        idle_since=NOW,
        date_ended=NOW,
        date_created=NOW,
        date_updated=NOW,
    )


def test_closing_changes_the_status_the_reason_and_the_end_alone() -> None:
    sid = "KC" + "1" * 32

    assert closing(sid, ClosedReason.TTL, at=NOW) == SessionChanged(
        session_sid=sid, at=NOW, status=CLOSED, closed_reason=ClosedReason.TTL, date_ended=NOW
    )


def test_a_refused_expiry_is_named_by_its_field() -> None:
    with pytest.raises(ApiError, match=r"\bDateExpiry\b") as caught:
        created(SessionRequest(date_expiry=NOW))

    assert caught.value.code is Code.INVALID_PARAMETER


@pytest.mark.parametrize(
    ("before", "update", "told"),
    [
        (OPEN, SessionUpdate(status=SessionStatus.FAILED), "A session cannot go from open to failed"),
        (IN_PROGRESS, SessionUpdate(status=OPEN), "A session cannot go from in-progress to open"),
        (CLOSED, SessionUpdate(), "The session is closed; only Status=in-progress re-opens it"),
        (OPEN, SessionUpdate(date_expiry=NOW), "Invalid parameter DateExpiry: it has already passed"),
    ],
)
def test_a_refused_update_says_what_stands_in_its_way(before: SessionStatus, update: SessionUpdate, told: str) -> None:
    """The states or the field, so that an application knows what to change."""
    with pytest.raises(ApiError) as caught:
        plan_update(session(before), update, now=NOW)

    assert str(caught.value) == told


@pytest.mark.parametrize("status", [SessionStatus.FAILED, SessionStatus.UNKNOWN])
def test_a_refused_status_is_named(status: SessionStatus) -> None:
    with pytest.raises(ApiError) as caught:
        created(SessionRequest(status=status))

    assert str(caught.value) == f"Status {status} cannot be asked for"


@pytest.mark.parametrize("ttl_seconds", [0, 1, MAX_TTL_SECONDS])
def test_a_ttl_is_kept_to_the_second(ttl_seconds: int) -> None:
    """From none to the longest, from the request or from the service, on create and on update."""
    update = SessionUpdate(ttl_seconds=ttl_seconds)

    change = plan_update(session(OPEN, ttl_seconds=9), update, now=NOW).change

    assert created(SessionRequest(ttl_seconds=ttl_seconds), default_ttl_seconds=9).ttl_seconds == ttl_seconds
    assert created(SessionRequest(), default_ttl_seconds=ttl_seconds).ttl_seconds == ttl_seconds
    assert change is not None
    assert change.ttl_seconds == ttl_seconds


@pytest.mark.parametrize("date_expiry", [NOW + 0.001, NOW + 60])
def test_an_expiry_that_is_still_to_come_is_taken(date_expiry: float) -> None:
    change = plan_update(session(OPEN), SessionUpdate(date_expiry=date_expiry), now=NOW).change

    assert created(SessionRequest(date_expiry=date_expiry)).date_expiry == date_expiry
    assert change is not None
    assert change.date_expiry == date_expiry


@pytest.mark.parametrize(
    ("before", "update", "expected"),
    [
        (
            OPEN,
            SessionUpdate(status=CLOSED),
            UpdatePlan(closing("KC" + "1" * 32, ClosedReason.API, at=NOW), closes=True),
        ),
        (
            CLOSED,
            SessionUpdate(status=IN_PROGRESS),
            UpdatePlan(
                SessionChanged(
                    session_sid="KC" + "1" * 32,
                    at=NOW,
                    status=IN_PROGRESS,
                    closed_reason=None,
                    date_ended=None,
                    idle_since=NOW,
                ),
                reopens=True,
            ),
        ),
        (OPEN, SessionUpdate(status=OPEN), UpdatePlan(SessionChanged(session_sid="KC" + "1" * 32, at=NOW))),
    ],
    ids=["close", "reopen", "stay"],
)
def test_an_update_comes_to_exactly_this(before: SessionStatus, update: SessionUpdate, expected: UpdatePlan) -> None:
    """What is committed is all of it: no other field moves."""
    assert plan_update(session(before), update, now=NOW) == expected
