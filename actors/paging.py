"""Pages of what is held in memory, newest first."""

from collections.abc import Iterable
from typing import Protocol, TypeVar

from engine.core.ports import Page, PageCursor


class HasSid(Protocol):
    """Anything named by a SID minted in time order."""

    @property
    def sid(self) -> str:
        """The SID."""


Record = TypeVar("Record", bound=HasSid)


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
