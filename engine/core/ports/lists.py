"""Lists: which part of one is wanted, and what it holds."""

from collections.abc import Mapping
from typing import Generic, TypeVar

import msgspec

from engine.core.model.errors import Level

Record = TypeVar("Record")


class PageCursor(msgspec.Struct, frozen=True, kw_only=True):
    """Where a page of a list starts; at most one of `after` and `before` is given."""

    limit: int
    """Records on the page, 1 to 100."""
    after: str | None = None
    """The last SID of the page before."""
    before: str | None = None
    """The first SID of the page after."""
    is_part_enough: bool = False
    """In a cluster: a page without the records of hosts that do not answer is wanted rather than none."""


class Page(msgspec.Struct, Generic[Record], frozen=True):
    """One page of a list, in the list's order."""

    records: tuple[Record, ...]
    has_next: bool
    has_previous: bool
    silent: tuple[str, ...] = ()
    """Hosts that did not answer, whose records are missing."""


class OutboxFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which entries the operator means; None = any."""

    account_sid: str | None = None
    service_sid: str | None = None
    session_sid: str | None = None
    is_dead: bool | None = None
    created_before: float | None = None
    error: str | None = None
    """Text that the last error contains."""


class AlertFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which debugger events are listed; None = any."""

    level: Level | None = None
    code: int | None = None
    service_sid: str | None = None
    session_sid: str | None = None
    resource_sid: str | None = None
    mentions: str | None = None
    """Text that the event contains, such as a proxy number or a masked sender."""
    since: float | None = None
    """At or after, UTC epoch seconds; `before` likewise."""
    before: float | None = None


class AlertKind(msgspec.Struct, frozen=True):
    """Debugger events of an account that have the same code and service."""

    account_sid: str
    code: int
    service_sid: str | None
    count: int
    first_at: float
    """UTC epoch seconds; `last_at` likewise."""
    last_at: float


class AlertKinds(msgspec.Struct, frozen=True):
    """Debugger events by kind, those of the latest event first."""

    kinds: tuple[AlertKind, ...]
    is_cut: bool
    """Whether there were more events than were looked at, so that the oldest are not counted."""
    silent: tuple[str, ...] = ()
    """Hosts that did not answer, whose events are missing."""


class OutboxKind(msgspec.Struct, frozen=True):
    """Entries of an account to the same destination that failed alike, or not yet."""

    account_sid: str
    destination: str
    is_dead: bool
    last_error: str
    count: int
    first_at: float
    """When the oldest was committed, UTC epoch seconds; `last_at`: the latest."""
    last_at: float


class OutboxKinds(msgspec.Struct, frozen=True):
    """The outbox by kind, the most frequent first."""

    kinds: tuple[OutboxKind, ...]
    is_cut: bool
    """Whether there were more entries than were looked at, so that the latest are not counted."""
    silent: tuple[str, ...] = ()
    """Hosts that did not answer, whose entries are missing."""


class OutboxDepth(msgspec.Struct, frozen=True):
    """How full the outbox is."""

    pending: int
    dead: int
    oldest: float | None
    """When the oldest pending entry was committed."""
    dead_of: Mapping[str, int] = {}
    """The dead by service; those of none, such as debugger webhooks, under ""."""
    oldest_of: Mapping[str, float] = {}
    """When the oldest entries of the queues were committed, by service likewise."""
