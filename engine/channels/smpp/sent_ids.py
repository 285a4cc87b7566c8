"""The ids that one peer gave our messages, on disk and on their way there, by the form under which they are looked for.

Apart from `receipt_index`, since it is compiled: coroutines of mypyc spoil memory where what they await raises.
"""

from collections.abc import Callable, Container
from typing import Final, final

import msgspec
from mypy_extensions import mypyc_attr

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

    def __init__(
        self, notes: Notes, peer: str, *, awaited: Container[str], found: Callable[[str, float], None]
    ) -> None:
        """Keep them under the peer's name; `found` gets a form that was `awaited`, and when it came."""
        self._notes = notes
        self._awaited = awaited
        self._found = found
        self._prefix = f"id/{peer}/".encode()
        self.pending: dict[str, list[PartOfLeg]] = {}
        """By form, those whose commit is under way, the last one last."""

    def add(self, part: PartOfLeg, now: float, done: NoteDone) -> None:
        """Keep the id of a message under its form; `done` is called once it is on disk."""
        form = form_of(part.message_id)
        pending = self.pending.get(form)
        if pending is None:
            self.pending[form] = [part]
        else:
            pending.append(part)
        at = int(now * 1000).to_bytes(8)
        key = self.prefix_of(form) + at + f"{part.number}{part.interaction_sid[-8:]}".encode()
        self._notes.put(key, _ENCODE(part), now + KEPT_SECONDS, _Pending(self, form, part, done).landed)
        if form in self._awaited:
            self._found(form, now)

    def prefix_of(self, form: str) -> bytes:
        """Return how the keys of a form begin."""
        return self._prefix + form.encode("utf-8") + b"\0"


@final
@mypyc_attr(acyclic=True)
class _Pending:
    """An id on its way to disk."""

    __slots__ = ("_done", "_form", "_ids", "_part")

    def __init__(self, ids: SentIds, form: str, part: PartOfLeg, done: NoteDone) -> None:
        self._ids = ids
        self._form = form
        self._part = part
        self._done = done

    def landed(self, problem: StoreUnavailable | None) -> None:
        pending = self._ids.pending
        parts = pending[self._form]
        if len(parts) == 1:
            del pending[self._form]
        else:
            parts.remove(self._part)
        self._done(problem)


KEPT_SECONDS: Final = 3 * 86_400.0
"""How long a receipt may take."""
_ENCODE: Final = msgspec.msgpack.Encoder().encode
