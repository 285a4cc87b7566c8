"""The last messages that carriers of ours send, so that reports about them need not read the disk."""

from itertools import islice
from typing import Final

import msgspec

from engine.core.model.records import Interaction

MOST_RECENT: Final = 10_000
_FORGOTTEN_AT_ONCE: Final = 100
"""How many of the oldest make room for others; a dict takes long to find the first key behind those that it lost."""


class RecentMessages:
    """Some of them, by KI…, as they were last committed; none after a restart, and any may be forgotten.

    One that has been reported is kept packed: its next report comes late, if at all, and ten thousand trees of small
    objects that go in the order in which they came leave holes all over the memory that the next ones are put into.
    """

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        """Begin with none."""
        self._kept: dict[str, Interaction | bytes] = {}

    def __len__(self) -> int:
        """Count them."""
        return len(self._kept)

    def add(self, interaction: Interaction) -> None:
        """Keep a new one; the oldest are forgotten where they are too many."""
        kept = self._kept
        if len(kept) >= MOST_RECENT:
            for sid in tuple(islice(kept, _FORGOTTEN_AT_ONCE)):
                del kept[sid]
        kept[interaction.sid] = interaction

    def find(self, sid: str) -> Interaction | None:
        """Return one."""
        found = self._kept.get(sid)
        return _UNPACK(found) if isinstance(found, bytes) else found

    def report(self, updated: Interaction) -> None:
        """Keep one as it is after a report; in its place, so that it is no younger for that."""
        if updated.sid in self._kept:
            self._kept[updated.sid] = _PACK(updated)

    def forget(self, sid: str) -> None:
        """Forget one, where it is known."""
        self._kept.pop(sid, None)


_PACK: Final = msgspec.msgpack.Encoder().encode
_UNPACK: Final = msgspec.msgpack.Decoder(Interaction).decode
