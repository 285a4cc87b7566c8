"""The ids that one peer gave our messages, on disk and on their way there, by the form under which they are looked for.

Apart from `receipt_index`, since it is compiled: coroutines of mypyc spoil memory where what they await raises.
"""

from typing import Final

import msgspec

from engine.channels.smpp.receipts import form_of
from engine.core.model.errors import StoreUnavailable
from engine.core.ports.notes import NoteDone, Notes
from engine.core.structs import Row


class PartOfLeg(Row, frozen=True, array_like=True):
    """A message that a peer has taken."""

    message_id: str
    """As the peer wrote it in its response."""
    interaction_sid: str
    leg_id: str
    """What the leg is called: the id of its first part."""
    number: int = 1
    total: int = 1
    """Of the parts of a long message."""


class SentIds:
    """The ids of one peer."""

    def __init__(self, notes: Notes, peer: str) -> None:
        """Keep them under the peer's name."""
        self._notes = notes
        self._prefix = f"id/{peer}/".encode()
        self.pending: dict[str, list[PartOfLeg]] = {}
        """By form, those whose commit is under way, the last one last."""

    def add(self, part: PartOfLeg, now: float, done: NoteDone) -> str:
        """Keep the id of a message under its form, which is returned; `done` is called once it is on disk."""
        form = form_of(part.message_id)
        pending = self.pending.get(form)
        if pending is None:
            self.pending[form] = [part]
        else:
            pending.append(part)

        def landed(problem: StoreUnavailable | None) -> None:
            pending = self.pending[form]
            pending.remove(part)
            if not pending:
                del self.pending[form]
            done(problem)

        at = int(now * 1000).to_bytes(8)
        key = self.prefix_of(form) + at + f"{part.number}{part.interaction_sid[-8:]}".encode()
        self._notes.put(key, _ENCODE(part), now + KEPT_SECONDS, landed)
        return form

    def prefix_of(self, form: str) -> bytes:
        """Return how the keys of a form begin."""
        return self._prefix + form.encode("utf-8") + b"\0"


KEPT_SECONDS: Final = 3 * 86_400.0
"""How long a receipt may take."""
_ENCODE: Final = msgspec.msgpack.Encoder().encode
