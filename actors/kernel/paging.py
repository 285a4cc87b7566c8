"""Pages of what is held in memory, newest first, and of what lies on several hosts."""

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Protocol, TypeVar

import msgspec

from engine.core.ports.lists import AlertKind, AlertKinds, OutboxKind, OutboxKinds, Page, PageCursor


class HasSid(Protocol):
    """Anything named by a SID made in time order."""

    @property
    def sid(self) -> str:
        """The SID."""


Record = TypeVar("Record", bound=HasSid)
Kind = TypeVar("Kind", AlertKind, OutboxKind)


def page_of(records: Iterable[Record], cursor: PageCursor) -> Page[Record]:
    """Return one page of records, newest first."""
    newest_first = sorted(records, key=lambda record: record.sid, reverse=True)
    start, stop = 0, cursor.limit
    if cursor.after is not None:
        start = sum(record.sid >= cursor.after for record in newest_first)
        stop = start + cursor.limit
    elif cursor.before is not None:
        stop = sum(record.sid > cursor.before for record in newest_first)
        start = max(0, stop - cursor.limit)
    return Page(tuple(newest_first[start:stop]), has_next=stop < len(newest_first), has_previous=start > 0)


def merged(pages: Sequence[Page[Record]], cursor: PageCursor, *, is_newest_first: bool) -> Page[Record]:
    """Return one page of a list that lies on several hosts, from the same page of each of them."""
    is_backward = cursor.after is None and cursor.before is not None
    records = sorted((one for page in pages for one in page.records), key=_sid_of, reverse=is_newest_first)
    kept = records[-cursor.limit :] if is_backward else records[: cursor.limit]
    is_cut = len(kept) < len(records)
    has_next, has_previous = (any(page.has_next for page in pages), any(page.has_previous for page in pages))
    silent = tuple(name for page in pages for name in page.silent)
    if is_backward:
        return Page(tuple(kept), has_next=has_next, has_previous=has_previous or is_cut, silent=silent)
    return Page(tuple(kept), has_next=has_next or is_cut, has_previous=has_previous, silent=silent)


def kinds_joined(answers: Sequence[AlertKinds], silent: tuple[str, ...]) -> AlertKinds:
    """Return the kinds of debugger events of all hosts, from those of each."""
    every = (kind for answer in answers for kind in answer.kinds)
    joined = _joined(every, lambda one: (one.account_sid, one.code, one.service_sid))
    kinds = sorted(joined, key=lambda one: -one.last_at)
    return AlertKinds(tuple(kinds), any(answer.is_cut for answer in answers), silent)


def outbox_kinds_joined(answers: Sequence[OutboxKinds], silent: tuple[str, ...]) -> OutboxKinds:
    """Return the kinds of outbox entries of all hosts, from those of each."""
    every = (kind for answer in answers for kind in answer.kinds)
    joined = _joined(every, lambda one: (one.account_sid, one.destination, one.is_dead, one.last_error))
    kinds = sorted(joined, key=lambda one: (-one.count, one.destination))
    return OutboxKinds(tuple(kinds), any(answer.is_cut for answer in answers), silent)


def _joined(kinds: Iterable[Kind], key_of: Callable[[Kind], Hashable]) -> Iterable[Kind]:
    joined: dict[Hashable, Kind] = {}
    for one in kinds:
        key = key_of(one)
        joined[key] = _added(joined[key], one) if key in joined else one
    return joined.values()


def _added(one: Kind, other: Kind) -> Kind:
    return msgspec.structs.replace(
        one,
        count=one.count + other.count,
        first_at=min(one.first_at, other.first_at),
        last_at=max(one.last_at, other.last_at),
    )


def _sid_of(record: HasSid) -> str:
    return record.sid
