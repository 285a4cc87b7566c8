"""Commits changes with the outbox entries that follow from them.

Apart from `context`, since it is compiled: coroutines of mypyc spoil memory where what they await raises.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import final

from mypy_extensions import mypyc_attr

from actors.kernel.context import HostContext
from engine.core.model.changes import Change, EntryAdded
from engine.core.model.errors import StoreUnavailable
from engine.core.model.outbox import OutboxEntry
from engine.core.model.records import Interaction
from engine.core.ports.outgoing import Outbox

Settled = Callable[[StoreUnavailable | None], None]
"""Is called with None, or with why nothing was committed."""


def commit(  # noqa: PLR0917 - as `Store.commit` has them
    context: HostContext,
    changes: tuple[Change, ...],
    settled: Settled,
    entries: Sequence[OutboxEntry],
    late: Callable[[], None] | None = None,
) -> None:
    """Commit changes with their outbox entries, and hand those over for delivery once they are on disk."""
    if entries:
        settled = _WithEntries(context.egress.outbox, entries, settled).settled
        changes = (*changes, *[EntryAdded(entry) for entry in entries])
    context.store.commit(changes, settled, late)


class CommitFuture:
    """Awaits the commit of an interaction; harmless when nobody waits any more."""

    def __init__(self, interaction: Interaction) -> None:
        """Return this interaction, once it is committed, to who awaits `future`, or raise StoreUnavailable there."""
        self.future: asyncio.Future[Interaction] = asyncio.get_running_loop().create_future()
        self._interaction = interaction

    def on_commit(self, problem: StoreUnavailable | None) -> None:
        """Take the end of the commit."""
        if self.future.done():
            return
        if problem is None:
            self.future.set_result(self._interaction)
        else:
            self.future.set_exception(problem)


@final
@mypyc_attr(acyclic=True)
class _WithEntries:
    """A commit with entries."""

    __slots__ = ("_entries", "_outbox", "_settled")

    def __init__(self, outbox: Outbox, entries: Sequence[OutboxEntry], settled: Settled) -> None:
        self._outbox = outbox
        self._entries = entries
        self._settled = settled

    def settled(self, problem: StoreUnavailable | None) -> None:
        self._settled(problem)
        if problem is None:
            self._outbox.add(self._entries)
