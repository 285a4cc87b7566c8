"""The notes of a channel in the store of its host; implements the port `Notes`."""

from collections.abc import Sequence

from engine.core.model.changes import NoteDropped, NoteKept
from engine.core.ports.notes import NoteDone, NoteLate, NoteStore
from engine.core.ports.operations import Clock


class StoredNotes:
    """What one channel keeps."""

    def __init__(self, store: NoteStore, *, channel: str, clock: Clock) -> None:
        """Keep notes under the name of a channel."""
        self._store = store
        self._channel = channel
        self._clock = clock

    async def get(self, key: bytes) -> bytes | None:
        """Read what is kept and has not expired; what is not committed yet does not show."""
        note = await self._store.note(self._channel, key)
        return None if note is None or note.until <= self._clock() else note.value

    async def latest(self, prefix: bytes, limit: int) -> Sequence[tuple[bytes, bytes]]:
        """Read keys and values of what is kept under keys that begin so, the last by key first."""
        now = self._clock()
        found = await self._store.latest_notes(self._channel, prefix, limit)
        return [(key, note.value) for key, note in found if note.until > now]

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
        """Keep a value until a time; `done` is called once it is committed."""
        self._store.commit((NoteKept(self._channel, key, value, until, account_sid),), done, late)

    def drop(self, key: bytes, done: NoteDone) -> None:
        """Keep nothing under a key any more."""
        self._store.commit((NoteDropped(self._channel, key),), done)
