"""Carries out batches of changes of sessions: side by side, in order where items touch the same things, each key once.

All batches of a host share one allowance of items in flight and one slice of a turn of the loop, so that calls are
decided in between. What an item comes to is its own; what it does to a session is the coordinator's.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager

from actors.control.coordinator import ServiceCoordinator
from actors.kernel.context import HostContext
from engine.at_once import Begun
from engine.core.model.changes import BatchKeysErased
from engine.core.model.errors import ApiError, Code, answer_to
from engine.core.numbers.e164 import bare
from engine.core.sessions.batch import (
    BatchItem,
    CreateItem,
    ItemDone,
    ItemKey,
    ItemResult,
    KeyUse,
    Lanes,
    Thing,
    UpdateItem,
    item_refused,
)

IN_FLIGHT = 256
"""Items that wait for their commit side by side: enough to share it, few enough to be answered in one turn."""

STARTED_AT_ONCE = 16
"""Items that begin in one turn of the loop."""

PLANNED_AT_ONCE = 256
"""Items that are put in order in one turn of the loop."""

KEYS_ERASED_AT_ONCE = 10_000
"""Keys past retention that one commit erases."""

_AGAIN = "send the item again, with the same IdempotencyKey"

_log = logging.getLogger("maskline.batch")


class SessionBatches:
    """The batches of one host."""

    def __init__(self, context: HostContext) -> None:
        """Carry batches out with this context."""
        self._context = context
        self._room = asyncio.Semaphore(IN_FLIGHT)
        self._slice = asyncio.Lock()
        self._claims: dict[tuple[str, bytes], asyncio.Future[None]] = {}
        self._is_stopping = False

    def stop(self) -> None:
        """Begin no more items: what is left of the batches under way is refused."""
        self._is_stopping = True

    async def run(self, coordinator: ServiceCoordinator, items: Sequence[BatchItem]) -> tuple[ItemResult, ...]:
        """Carry out a batch of one service; returns what each item came to, in their order."""
        batch = _Batch(self, coordinator, items)
        await batch.plan()
        return await batch.finish()

    @asynccontextmanager
    async def slice(self) -> AsyncIterator[None]:
        """Hold the one slice that batches have of a turn of the loop."""
        async with self._slice:
            yield
            await asyncio.sleep(0)

    async def enter(self) -> None:
        """Wait for room for one more item."""
        await self._room.acquire()

    def leave(self) -> None:
        """Make room for another item."""
        self._room.release()

    async def result(self, coordinator: ServiceCoordinator, item: BatchItem) -> ItemResult:
        """Carry out one item; whatever goes wrong is its own result."""
        if self._is_stopping:
            return item_refused(ApiError(Code.UNAVAILABLE, f"The engine is stopping; {_AGAIN}"))
        try:
            return await self._carry_out(coordinator, item)
        except Exception as problem:  # noqa: BLE001 - the boundary of an item: logged and answered, the others go on
            answer = answer_to(problem)
            if answer is not problem:
                _log.error("an item of a batch failed: %s", problem, exc_info=answer.is_unforeseen)
            return item_refused(answer)

    async def touched_by(self, coordinator: ServiceCoordinator, item: UpdateItem) -> set[str]:
        """Return the session that an item names, and whose bindings it may add or remove."""
        try:
            session_sid = await coordinator.session_sid(item.session)
        except ApiError:
            return {item.session}  # it may be made by an earlier item
        active = coordinator.active_session(session_sid)
        endpoints = await self._context.store.participants(session_sid) if active is None else active.endpoints
        return {item.session, session_sid, *(endpoint.identifier for endpoint in endpoints)}

    async def _carry_out(self, coordinator: ServiceCoordinator, item: BatchItem) -> ItemDone:
        if item.key is None:
            return await _apply(coordinator, item)
        async with self._claimed(coordinator.service.sid, item.key):
            use = await self._context.store.batch_key(coordinator.service.sid, item.key.digest)
            if use is None:
                return await _apply(coordinator, item)
            return await self._repeated(coordinator, item, item.key, use)

    @asynccontextmanager
    async def _claimed(self, service_sid: str, key: ItemKey) -> AsyncIterator[None]:
        """Hold a key alone, so that whoever else brings it finds what became of it."""
        claim = (service_sid, key.digest)
        while claim in self._claims:
            await asyncio.wait((self._claims[claim],))
        held = self._claims[claim] = asyncio.get_running_loop().create_future()
        try:
            yield
        finally:
            del self._claims[claim]
            held.set_result(None)

    async def _repeated(self, coordinator: ServiceCoordinator, item: BatchItem, key: ItemKey, use: KeyUse) -> ItemDone:
        if use.fingerprint != key.fingerprint:
            raise ApiError(Code.CONFLICT, "This IdempotencyKey came with another item before")
        session = await self._context.store.session(use.session_sid)
        if session is None or coordinator.is_erased:
            raise ApiError(Code.NOT_FOUND, "The item was carried out before, and its session has been erased since")
        participants = await self._context.store.participants(session.sid) if isinstance(item, CreateItem) else None
        return ItemDone(session=session, participants=participants, is_repeat=True)


class _Batch:
    """One batch under way."""

    def __init__(self, host: SessionBatches, coordinator: ServiceCoordinator, items: Sequence[BatchItem]) -> None:
        self._host = host
        self._coordinator = coordinator
        self._items = items
        self._lanes = Lanes()
        self._named: dict[str, set[str]] = {}
        self._ready: deque[int] = deque()
        self._freed = asyncio.Event()
        self._results: list[ItemResult | None] = [None] * len(items)

    async def plan(self) -> None:
        """Find out which items wait for which."""
        for start in range(0, len(self._items), PLANNED_AT_ONCE):
            some = self._items[start : start + PLANNED_AT_ONCE]
            async with self._host.slice():
                touched = await self._touched(some)
                for index, item in enumerate(some):
                    if self._joins(item, touched.get(index, ())):
                        self._ready.append(start + index)

    async def _touched(self, items: Sequence[BatchItem]) -> dict[int, Collection[str]]:
        """Read what updates may touch, by their places; all reads are under way at once where they suspend."""
        host, coordinator = self._host, self._coordinator
        updates = ((index, item) for index, item in enumerate(items) if isinstance(item, UpdateItem))
        begun = [(index, Begun(host.touched_by(coordinator, item))) for index, item in updates]
        return {index: await one for index, one in begun}

    async def finish(self) -> tuple[ItemResult, ...]:
        """Begin every item when its turn has come, and wait for the last one."""
        left = len(self._items)
        async with asyncio.TaskGroup() as tasks:
            while left:
                if not self._ready:
                    self._freed.clear()
                    await self._freed.wait()
                async with self._host.slice():
                    for _ in range(min(STARTED_AT_ONCE, len(self._ready))):
                        await self._host.enter()
                        index = self._ready.popleft()
                        tasks.create_task(self._carry_out(index))
                        self._ready.extend(self._lanes.begun(index))  # tasks begin in the order in which they are made
                        left -= 1
        return tuple(result for result in self._results if result is not None)

    async def _carry_out(self, index: int) -> None:
        try:
            self._results[index] = await self._host.result(self._coordinator, self._items[index])
        finally:
            self._host.leave()
        self._ready.extend(self._lanes.done(index))
        self._freed.set()

    def _joins(self, item: BatchItem, touched: Collection[str]) -> bool:
        """Put an item, and what it touches of sessions that are there, into its lanes; tell whether it may begin."""
        alone: set[Thing] = set() if item.key is None else {item.key.digest}
        if isinstance(item, UpdateItem):
            alone |= self._named.get(item.session, set())
            alone.update(touched)
            return self._lanes.add(alone=alone)
        request = item.request
        people = {bare(one.identifier) for one in request.participants}
        if request.unique_name is not None:
            alone.add(request.unique_name)
            self._named.setdefault(request.unique_name, set()).update(people)
        return self._lanes.add(shared=people, alone=alone)


async def _apply(coordinator: ServiceCoordinator, item: BatchItem) -> ItemDone:
    if isinstance(item, CreateItem):
        session, participants = await coordinator.create_with_participants(item.request, key=item.key)
        return ItemDone(session=session, participants=participants)
    session_sid = await coordinator.session_sid(item.session)
    return ItemDone(session=await coordinator.update_session(session_sid, item.update, key=item.key))


async def erase_old_keys(context: HostContext) -> None:
    """Forget the keys that were used longer ago than they are kept."""
    before = context.sure_now() - context.settings.batch_key_seconds
    while True:
        oldest = await context.store.oldest_batch_key()
        if oldest is None or oldest >= before:
            return
        await context.store.write((BatchKeysErased(before, KEYS_ERASED_AT_ONCE),))
