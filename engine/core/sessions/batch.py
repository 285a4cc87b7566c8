"""Many changes of sessions asked for at once: the items, what becomes of each, and which must wait for which.

Items that touch the same person, session, name or key are carried out in the order of the batch; all others may go
side by side. An item that is refused changes nothing, and keeps no other from being carried out.
"""

from collections.abc import Collection, Iterable

import msgspec

from engine.core.model.errors import ApiError
from engine.core.model.records import Participant, Session
from engine.core.model.requests import SessionRequest, SessionUpdate

Thing = str | bytes
"""What items may have in common: a person, a session, a name, a key."""

MAX_ITEMS = 10_000
"""Items of one batch."""

DIGEST_BYTES = 16
"""Length of the digests below."""


class ItemKey(msgspec.Struct, frozen=True, gc=False):
    """An idempotency key as it is kept: neither key nor item can be read from it."""

    digest: bytes
    """Of the key, `DIGEST_BYTES` long; unique in its service."""
    fingerprint: bytes
    """Of the item that it came with, as long; another item may not come with the same key."""


class KeyUse(msgspec.Struct, frozen=True, gc=False):
    """What a key was used for."""

    fingerprint: bytes
    """Of the item that was carried out."""
    session_sid: str
    """The session that it made or changed."""


class CreateItem(msgspec.Struct, frozen=True, kw_only=True, tag="create", gc=False):
    """Make a session."""

    request: SessionRequest
    key: ItemKey | None = None


class UpdateItem(msgspec.Struct, frozen=True, kw_only=True, tag="update", gc=False):
    """Change, close or re-open a session."""

    session: str
    """KC… or unique name."""
    update: SessionUpdate
    key: ItemKey | None = None


BatchItem = CreateItem | UpdateItem
"""Everything that an item can ask for."""


class ItemDone(msgspec.Struct, frozen=True, kw_only=True, tag="done", gc=False):
    """The item is on disk."""

    session: Session
    participants: tuple[Participant, ...] | None = None
    """Those of a session that was made; None when one was changed."""
    is_repeat: bool = False
    """Its key was used before: nothing was done now, the session is shown as it is."""


class ItemRefused(msgspec.Struct, frozen=True, kw_only=True, tag="refused", gc=False):
    """The item changed nothing; only where a host of a cluster did not answer, that is not known."""

    code: int
    message: str
    """What the caller should change or retry; holds no whole phone number."""
    http_status: int
    """Status that a request of its own would have got."""


def item_refused(answer: ApiError) -> ItemRefused:
    """Return what an item comes to that is answered so."""
    return ItemRefused(code=answer.code, message=answer.message, http_status=answer.http_status)


ItemResult = ItemDone | ItemRefused
"""What becomes of an item."""


class Lanes:
    """Puts what touches the same things in order.

    A thing that is only shared (a person for whom sessions are made) is touched in order: the next item may begin when
    the one before has begun, so that both share a commit. A thing that is held alone (a session that changes, a name, a
    key) lets the next item begin when the one before is done.
    """

    def __init__(self) -> None:
        """Start with no items."""
        self._waits: list[int] = []
        self._holder: dict[Thing, int] = {}
        self._sharers: dict[Thing, list[int]] = {}
        self._at_start: dict[int, list[int]] = {}
        self._at_end: dict[int, list[int]] = {}

    def add(self, *, shared: Collection[Thing] = (), alone: Collection[Thing] = ()) -> bool:
        """Put the next item behind the earlier ones; tell whether it waits for none."""
        index = len(self._waits)
        begun: set[int] = set()
        done: set[int] = set()
        for thing in shared:
            if sharers := self._sharers.setdefault(thing, []):
                begun.add(sharers[-1])
            elif thing in self._holder:
                done.add(self._holder[thing])
            sharers.append(index)
        for thing in alone:
            if sharers := self._sharers.pop(thing, []):
                done.update(sharers)
            elif thing in self._holder:
                done.add(self._holder[thing])
            self._holder[thing] = index
        done.discard(index)
        for other in begun:
            self._at_start.setdefault(other, []).append(index)
        for other in done:
            self._at_end.setdefault(other, []).append(index)
        self._waits.append(len(begun) + len(done))
        return not self._waits[index]

    def begun(self, index: int) -> list[int]:
        """Return the items that may begin, now that this one has."""
        return self._freed(self._at_start.pop(index, ()))

    def done(self, index: int) -> list[int]:
        """Return the items that may begin, now that this one is done."""
        return self._freed(self._at_end.pop(index, ()))

    def _freed(self, followers: Iterable[int]) -> list[int]:
        freed = []
        for follower in followers:
            self._waits[follower] -= 1
            if not self._waits[follower]:
                freed.append(follower)
        return freed
