"""Tries to deliver that no task waits for: they are begun, hear their end, and are a lane's task where they go on.

Apart from `worker`, since it is compiled: coroutines of mypyc spoil memory where what they await raises.
"""

import asyncio
from functools import partial
from typing import Final, Protocol, final, get_args

from mypy_extensions import mypyc_attr

from engine.core.model.outbox import OutboxContent, OutboxEntry, OutboxMessage
from engine.core.ports.observing import DeliveryEnd, EgressObserver, OutboxKind
from engine.core.ports.store import Lease
from engine.outbound.delivery import Delivery, Ending, Rest, known, raised
from engine.webhooks.queues import EntryQueue, lane_of


class BeginsTries(Protocol):
    """Sends through carriers."""

    def begin(self, entry: OutboxEntry, content: OutboxMessage, ending: Ending[Delivery]) -> bool:
        """Begin a try without a task; False, and nothing was done: one is needed."""


class BegunTries:
    """Those of one worker that are under way."""

    def __init__(
        self,
        carriers: BeginsTries,
        *,
        observer: EgressObserver,
        lease: Lease | None,
        at_work: "set[asyncio.Task[None] | None]",
    ) -> None:
        """Begin through carriers; tasks that go on with a try are put `at_work`."""
        self._carriers = carriers
        self._observer = observer
        self._lease = lease
        self._at_work = at_work
        self._under_way = 0
        self.none = asyncio.Event()
        """Set while none is under way."""
        self.none.set()

    def begin(self, entry: OutboxEntry, queue: EntryQueue) -> bool:
        """Begin a try that needs no task, as soon as it has its turn; False: this one needs one."""
        content = entry.content
        if not isinstance(content, OutboxMessage) or (self._lease is not None and not self._lease()):
            return False
        turns = queue.turns
        if not turns.take():
            turns.wait(partial(queue.go_on, lane_of(entry)))
            return True
        attempt = _Try(self, entry, queue)
        self._add(1)
        try:
            is_begun = self._carriers.begin(entry, content, attempt)
        except Exception as problem:  # noqa: BLE001 - it may have left: it joins the dead letters
            is_begun = True
            attempt.goes_on(partial(raised, problem))
        if not is_begun:
            self._add(-1)
            turns.give_back()
        return is_begun

    def end_settled(self, entry: OutboxEntry, queue: EntryQueue) -> None:
        """Take that an entry was delivered, and has ended on disk."""
        self._observer.delivered(kind_of(entry), _DELIVERED)
        queue.landed(entry.sid)

    def end(self) -> None:
        """Take that a try has ended."""
        self._add(-1)

    def go_on(self, lane: "asyncio.Task[None]") -> None:
        """Take that a task makes the rest of a try; a stop lets that end."""
        self._at_work.add(lane)
        self._add(-1)

    def _add(self, tries: int) -> None:
        self._under_way += tries
        if not self._under_way:
            self.none.set()
        elif self._under_way == tries:
            self.none.clear()


@final
@mypyc_attr(acyclic=True)
class _Try:
    """One; has its turn until it is over. Implements `Ending`."""

    __slots__ = ("_entry", "_is_over", "_queue", "_tries")

    def __init__(self, tries: BegunTries, entry: OutboxEntry, queue: EntryQueue) -> None:
        self._tries = tries
        self._entry = entry
        self._queue = queue
        self._is_over = False

    def ended(self, delivery: Delivery) -> None:
        """Take how it ended."""
        if not delivery.is_settled:
            self.goes_on(partial(known, delivery))
        elif not self._is_over:
            self._is_over = True
            self._tries.end()
            self._queue.turns.give_back()
            self._tries.end_settled(self._entry, self._queue)
            self._queue.ended(self._entry)

    def goes_on(self, rest: Rest[Delivery]) -> None:
        """Have its lane go on with it in a task, which gives the turn back."""
        if not self._is_over:
            self._is_over = True
            self._tries.go_on(self._queue.goes_on(self._entry, rest))


def kind_of(entry: OutboxEntry) -> OutboxKind:
    """Return what metrics call an entry."""
    return _KINDS[type(entry.content)]


_KINDS: Final = {kind: OutboxKind(str(kind.__struct_config__.tag)) for kind in get_args(OutboxContent)}
_DELIVERED: Final = DeliveryEnd.DELIVERED  # a member is found tenfold faster here than in its class (3.11)
