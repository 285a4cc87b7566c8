"""When a session ends: the one rule, for routing, sweeps, lists and what a start reads.

Source: behaviour 8.
"""

from typing import Final

from engine.core.model.records import ClosedReason, Session

NEVER: Final = 1 << 60
"""The end of what has none, UTC epoch seconds."""


def ends_at(date_expiry: float | None, idle_since: float, ttl_seconds: int) -> float:
    """Return when a session ends if nothing more passes: date_expiry, else the idle limit, else `NEVER`."""
    if date_expiry is not None:
        return date_expiry
    return idle_since + ttl_seconds if ttl_seconds > 0 else float(NEVER)


def shown_end(end: float) -> float | None:
    """Return an end as it is shown: None = never."""
    return end if end < NEVER else None


def expires_at(session: Session) -> float | None:
    """Return when a session ends if nothing more passes, None when it never does or has ended."""
    return (
        shown_end(ends_at(session.date_expiry, session.idle_since, session.ttl_seconds)) if session.is_active else None
    )


def expiry_reason(*, date_expiry: float | None) -> ClosedReason:
    """Return what an expired session is closed with."""
    return ClosedReason.TTL if date_expiry is None else ClosedReason.DATE_EXPIRY
