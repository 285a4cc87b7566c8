"""Shapes of the admin API about lists of numbers and sessions, and names; see `engine.api.admin.shapes`.

    GET    /numbers?NumberQuery                            200 NumberPage
    GET    /services/{service}/sessions?SessionQuery       200 SessionPage
    GET    /sids?NameQuery                                 200 SidFound

Numbers that are ours are whole; what applications have named is masked.
"""

from typing import Annotated, Literal

import msgspec

from engine.core.model.records import Capability, Mode, ProxyNumber, Session, SessionStatus
from engine.core.numbers.masking import mask_text
from engine.core.sessions.expiry import expires_at
from engine.formats.values import format_date, optional_date

Limit = Annotated[int, msgspec.Meta(ge=1, le=1000)]


class NumberQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which numbers are meant; what is absent is any."""

    account_sid: str | None = None
    service_sid: str | None = None
    """Those in its pool."""
    is_reserved: bool | None = None
    after: str | None = None
    """Those behind this one only."""
    limit: Limit = 100


class NumberReport(msgspec.Struct, frozen=True, kw_only=True):
    """A number or short code of ours."""

    sid: str
    """PN… or SC…"""
    number: str
    account_sid: str
    service_sid: str | None
    """Whose pool it is in."""
    in_use: int | None
    """Active sessions that use it; None for one that is in no pool, or whose host does not answer."""
    is_reserved: bool
    country: str
    capabilities: tuple[str, ...]
    stop_filtering: bool
    date_created: str


class NumberPage(msgspec.Struct, frozen=True):
    """Numbers, short codes first, of each the newest first."""

    numbers: tuple[NumberReport, ...]
    after: str | None
    """Where the next page goes on; None at the end."""


class SessionQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which sessions are meant; what is absent is any."""

    status: SessionStatus | None = None
    created_since: float | None = None
    """UTC epoch seconds."""
    after: str | None = None
    """Those behind this one only."""
    limit: Limit = 100


class SessionLine(msgspec.Struct, frozen=True, kw_only=True):
    """A session, without its people."""

    sid: str
    unique_name: str | None
    status: SessionStatus
    mode: Mode
    date_created: str
    date_last_interaction: str | None
    expires_at: str | None
    """When it ends if nothing more passes; None for one that has no end, or has ended."""
    closed_reason: str | None


class SessionPage(msgspec.Struct, frozen=True):
    """Sessions, newest first; there may be fewer than asked for although there are more."""

    sessions: tuple[SessionLine, ...]
    after: str | None
    """Where the next page goes on; None at the end."""


class NameQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A name, of an account or key (friendly), a service or session (unique)."""

    kind: Literal["AC", "SK", "KS", "KC"]
    name: str
    service_sid: str | None = None
    """Of a session: in which service."""


class SidFound(msgspec.Struct, frozen=True):
    """The one thing of that name."""

    sid: str


def number_report(number: ProxyNumber, in_use: int | None) -> NumberReport:
    """Show a number."""
    return NumberReport(
        sid=number.sid,
        number=number.address,
        account_sid=number.account_sid,
        service_sid=number.service_sid,
        in_use=in_use,
        is_reserved=number.is_reserved,
        country=number.iso_country,
        capabilities=tuple(str(one.name).lower().replace("_", "-") for one in _words(number.capabilities)),
        stop_filtering=number.stop_filtering,
        date_created=format_date(number.date_created),
    )


def session_line(session: Session) -> SessionLine:
    """Show a session in a list."""
    return SessionLine(
        sid=session.sid,
        unique_name=session.unique_name and mask_text(session.unique_name),
        status=session.status,
        mode=session.mode,
        date_created=format_date(session.date_created),
        date_last_interaction=optional_date(session.date_last_interaction),
        expires_at=optional_date(expires_at(session)),
        closed_reason=session.closed_reason,
    )


def _words(capabilities: Capability) -> list[Capability]:
    """Name both ways of a kind in one word where a number has both."""
    kinds = (
        (Capability.VOICE, Capability.VOICE_INBOUND, Capability.VOICE_OUTBOUND),
        (Capability.SMS, Capability.SMS_INBOUND, Capability.SMS_OUTBOUND),
        (Capability.MMS, Capability.MMS_INBOUND, Capability.MMS_OUTBOUND),
    )
    return [
        word
        for both, *ways in kinds
        for word in ((both,) if both in capabilities else tuple(way for way in ways if way in capabilities))
    ]
