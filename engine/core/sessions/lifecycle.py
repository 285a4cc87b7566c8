"""The life of a session: one table of what may be asked for, what an update or a close changes.

Source: behaviour 8. It does not choose numbers or look at conflicts (`engine.core.pools.allocation` does).
"""

from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from engine.core.model.changes import SessionChanged
from engine.core.model.errors import ApiError, Code, invalid_parameter
from engine.core.model.records import ClosedReason, Session, SessionStatus
from engine.core.model.requests import SessionRequest, SessionUpdate
from engine.core.structs import Leaf

_OPEN, _IN_PROGRESS, _CLOSED = SessionStatus.OPEN, SessionStatus.IN_PROGRESS, SessionStatus.CLOSED

MAY_BECOME: Final = {
    _OPEN: frozenset({_OPEN, _IN_PROGRESS, _CLOSED}),
    _IN_PROGRESS: frozenset({_IN_PROGRESS, _CLOSED}),
    _CLOSED: frozenset({_IN_PROGRESS, _CLOSED}),
}
"""What an update may ask a session of a status to become; all else is 80608. A new session may have any of the keys.

Two things move a status unasked: the first interaction makes an open session in-progress, in the commit of its touch
(`TOUCH_SESSIONS` of a store), and the coordinator closes one whose end has come (`closing`).
"""

_CHANGED = tuple(name for name in SessionChanged.__struct_fields__ if name in Session.__struct_fields__)

MAX_TTL_SECONDS = 2**31 - 2
"""The longest ttl (behaviour 5)."""


def closing(session_sid: str, reason: ClosedReason, *, at: float) -> SessionChanged:
    """Return the change that closes an active session."""
    return SessionChanged(session_sid=session_sid, at=at, status=_CLOSED, closed_reason=reason, date_ended=at)


def new_session(
    request: SessionRequest, *, sid: str, service_sid: str, account_sid: str, default_ttl_seconds: int, now: float
) -> Session:
    """Return the session that a request asks for.

    Raises:
        ApiError: INVALID_PARAMETER for a past DateExpiry, SESSION_STATUS_INVALID for a status nobody can ask for.
    """
    _check_expiry(request.date_expiry, now=now)
    if request.status not in MAY_BECOME:
        raise ApiError(Code.SESSION_STATUS_INVALID, f"Status {request.status} cannot be asked for")
    is_closed = request.status is _CLOSED
    return Session(
        sid=sid,
        service_sid=service_sid,
        account_sid=account_sid,
        unique_name=request.unique_name,
        status=request.status,
        closed_reason=ClosedReason.API if is_closed else None,
        mode=request.mode,
        ttl_seconds=default_ttl_seconds if request.ttl_seconds is None else request.ttl_seconds,
        date_expiry=request.date_expiry,
        idle_since=now,
        date_ended=now if is_closed else None,
        date_created=now,
        date_updated=now,
    )


class UpdatePlan(Leaf, frozen=True, gc=False):
    """What an update comes to."""

    change: SessionChanged | None
    """What to commit; None when the update changes nothing."""
    closes: bool = False
    """The session stops routing."""
    reopens: bool = False
    """The session routes again, if its bindings are still free."""


def plan_update(session: Session, update: SessionUpdate, *, now: float) -> UpdatePlan:
    """Return what an update of a session comes to.

    Raises:
        ApiError: SESSION_CLOSED for a closed session that is not re-opened, SESSION_STATUS_INVALID for an illegal
            move, INVALID_PARAMETER for a past DateExpiry.
    """
    status = _status_after(session, update)
    if status is _CLOSED and session.status is _CLOSED:
        return UpdatePlan(None)
    date_expiry = update.date_expiry
    if not isinstance(date_expiry, UnsetType):
        _check_expiry(date_expiry, now=now)
    closes = status is _CLOSED
    reopens = session.status is _CLOSED
    return UpdatePlan(
        SessionChanged(
            session_sid=session.sid,
            at=now,
            status=UNSET if status is session.status else status,
            closed_reason=ClosedReason.API if closes else None if reopens else UNSET,
            date_ended=now if closes else None if reopens else UNSET,
            idle_since=now if reopens else UNSET,
            ttl_seconds=update.ttl_seconds,
            date_expiry=date_expiry,
        ),
        closes=closes,
        reopens=reopens,
    )


def _status_after(session: Session, update: SessionUpdate) -> SessionStatus:
    if isinstance(update.status, UnsetType):
        if session.status is _CLOSED:
            raise ApiError(Code.SESSION_CLOSED, "The session is closed; only Status=in-progress re-opens it")
        return session.status
    if update.status not in MAY_BECOME.get(session.status, ()):
        problem = f"A session cannot go from {session.status} to {update.status}"
        raise ApiError(Code.SESSION_STATUS_INVALID, problem)
    return update.status


def session_after(session: Session, change: SessionChanged) -> Session:
    """Return a session as a change leaves it."""
    changed = {name: value for name in _CHANGED if (value := getattr(change, name)) is not UNSET}
    return msgspec.structs.replace(session, date_updated=change.at, **changed)


def _check_expiry(date_expiry: float | None, *, now: float) -> None:
    if date_expiry is not None and date_expiry <= now:
        raise invalid_parameter("DateExpiry", "it has already passed")
