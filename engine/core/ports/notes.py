"""Notes: what a channel keeps across restarts for a while, such as the parts of a message that is not whole yet."""

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from engine.core.model.changes import Change
from engine.core.model.errors import StoreUnavailable

NoteDone = Callable[[StoreUnavailable | None], None]
"""Is called on the event loop, after the commit, with None or with why nothing was kept."""

NoteLate = Callable[[], None]
"""Is called on the event loop, perhaps several times, where a commit takes longer than a peer should wait."""


class Note(msgspec.Struct, frozen=True):
    """What is kept under a key."""

    value: bytes
    until: float
    """When it expires, UTC epoch seconds."""


class NoteStore(Protocol):
    """The part of the port `Store` that notes need."""

    def commit(self, changes: Sequence[Change], done: NoteDone, late: NoteLate | None = None) -> None:
        """Commit the changes with the next group."""

    async def note(self, channel: str, key: bytes) -> Note | None:
        """Read a committed note, expired or not."""

    async def latest_notes(self, channel: str, prefix: bytes, limit: int) -> Sequence[tuple[bytes, Note]]:
        """Read the committed notes whose keys begin so, the last by key first, expired or not."""


class Notes(Protocol):
    """The notes of one channel on one host, durable, by key; no other channel sees them.

    A read may suspend, as a point read of `Store`, and raises StoreUnavailable.
    """

    async def get(self, key: bytes) -> bytes | None:
        """Read what is kept and has not expired; what is not committed yet does not show."""

    async def latest(self, prefix: bytes, limit: int) -> Sequence[tuple[bytes, bytes]]:
        """Read keys and values of what is kept under keys that begin so, the last by key first."""

    def put(
        self,
        key: bytes,
        value: bytes,
        until: float,
        done: NoteDone,
        *,
        late: NoteLate | None = None,
        account_sid: str | None = None,
    ) -> None:
        """Keep a value until a time, UTC epoch seconds, in place of what is there.

        `done` is called once it is committed, with the host's next group, and `get` shows it from then on; `late` is
        called before, where that takes long. With an account, it goes when the account is erased.
        """

    def drop(self, key: bytes, done: NoteDone) -> None:
        """Keep nothing under a key any more; dropping what is not there is no error."""
