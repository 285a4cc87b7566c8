"""Delivers the entries of the outbox: committed ones, at least once, in order per session; the port `Outbox`.

Each account has its own window, lanes and turns for each destination: a dead receiver slows nobody else.
What fails is tried again with growing waits, then joins the dead letters.
Source: behaviour 12.1, 16 and 19.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Protocol, TypeVar

from engine.core.model.changes import EntryFailed, EntrySettled
from engine.core.model.errors import Code
from engine.core.model.outbox import (
    OutboxCallback,
    OutboxEntry,
    OutboxHangUp,
    OutboxMessage,
    QueueKey,
    ToApplication,
    ToCarrier,
)
from engine.core.model.records import DebuggerEvent
from engine.core.numbers.masking import mask_text
from engine.core.ports.observing import DeliveryEnd, EgressObserver
from engine.core.ports.operations import Clock
from engine.core.ports.store import Lease
from engine.formats.signatures import signed_url
from engine.outbound.client import Client
from engine.outbound.delivery import Delivery, Draw, Rest, wait_before
from engine.outbound.settings import EgressSettings
from engine.webhooks.begun_tries import BeginsTries, BegunTries, kind_of
from engine.webhooks.delivery_log import DeliveryLog, Writer
from engine.webhooks.hooks import Tokens
from engine.webhooks.queue_table import QueueTable
from engine.webhooks.queues import EntryQueue, EntryReader
from engine.webhooks.sender import WebhookSender
from engine.webhooks.turns import Turns

LEASE_SECONDS = 0.25
"""How often a try that may not be made looks whether it may."""

_log = logging.getLogger("maskline.egress")
Made = TypeVar("Made")


class OutboxStore(EntryReader, Writer, Protocol):
    """The part of the port `Store` that the worker uses."""

    async def pending_queues(self) -> tuple[QueueKey, ...]:
        """Name the queues that have pending entries."""


class CarrierSender(BeginsTries, Protocol):
    """Sends through carriers; implemented by `engine.channels.clients`."""

    async def deliver(self, entry: OutboxEntry, content: ToCarrier) -> Delivery:
        """Try once."""

    async def gave_up(self, entry: OutboxEntry, content: OutboxMessage | OutboxHangUp, delivery: Delivery) -> None:
        """Take that there will be no further try."""


class OutboxWorker:
    """Delivers the entries of the outbox."""

    def __init__(
        self,
        *,
        store: OutboxStore,
        client: Client,
        tokens: Tokens,
        carriers: CarrierSender,
        observer: EgressObserver,
        clock: Clock,
        settings: EgressSettings,
        deliveries_to: Mapping[str, int] = {},
        draw: Draw = random.uniform,
        lease: Lease | None = None,
    ) -> None:
        """Deliver nothing before `start`; `deliveries_to` are destinations that take another number at a time.

        No try begins without the lease: the process that took the place may be making the same one.
        """
        self._lease = lease
        self._store = store
        self._webhooks = WebhookSender(client=client, tokens=tokens, clock=clock, observer=observer)
        self._carriers = carriers
        self._observer = observer
        self._clock = clock
        self._settings = settings
        self._draw = draw
        self._deliveries = DeliveryLog(store, pause_seconds=settings.store_pause_seconds)
        self._at_work: set[asyncio.Task[None] | None] = set()
        self._begun = BegunTries(carriers, observer=observer, lease=lease, at_work=self._at_work)
        self._queues = QueueTable(
            store, settings=settings, deliveries_to=deliveries_to, begin=self._begun.begin, work=self._deliver
        )
        self.add = self._queues.add

    @property
    def held(self) -> int:
        """Count the entries in memory."""
        return self._queues.held

    async def start(self) -> None:
        """Deliver from now on, beginning with what the store holds."""
        self._queues.open()
        for key in await self._store.pending_queues():
            self._queues.catch_up(key)

    async def stop(self, grace_seconds: float) -> None:
        """Let requests under way end, but no longer than that; everything else stays on disk."""
        self._queues.close()
        for lane in self._queues.lanes - self._at_work:
            lane.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_seconds):
                await self._begun.none.wait()
                await asyncio.gather(*map(asyncio.shield, self._queues.lanes), return_exceptions=True)
        for lane in self._queues.lanes:
            lane.cancel()
        await asyncio.gather(*self._queues.lanes, return_exceptions=True)
        await self._deliveries.drain(grace_seconds)

    # -- one entry ----------------------------------------------------------------------------------------------

    async def _deliver(self, entry: OutboxEntry, queue: EntryQueue, rest: Rest[Delivery] | None) -> None:
        attempts, most = entry.attempts, max(self._tries(entry), entry.attempts + 1)
        try:
            while True:
                delivery = await self._try(entry, queue.turns) if rest is None else await self._go_on(rest, queue.turns)
                rest = None
                attempts += 1
                if delivery.is_done or not delivery.may_retry or attempts >= most:
                    break
                wait_seconds = wait_before(attempts, delivery, settings=self._settings, draw=self._draw)
                self._failed(entry, delivery, attempts, wait_seconds)
                await asyncio.sleep(wait_seconds)
            if not delivery.is_done:
                await self._to_its_end(lambda: self._give_up(entry, delivery))
        except Exception:  # noqa: BLE001 - around a lane's loop: it must go on
            _log.exception("an entry could not be handled; it joins the dead letters", extra={"entry_sid": entry.sid})
            attempts += 1
            delivery = Delivery(error="an error of ours; it is logged")
        if delivery.is_settled:
            self._begun.end_settled(entry, queue)
        elif delivery.is_done:
            self._end(entry, queue, EntrySettled(entry.sid), DeliveryEnd.DELIVERED)
        else:
            self._end(entry, queue, self._failure(entry, delivery, attempts), DeliveryEnd.DIED)

    async def _try(self, entry: OutboxEntry, turns: Turns) -> Delivery:
        await its_turn(turns)
        try:
            while self._lease is not None and not self._lease():  # noqa: ASYNC110 - a time that passes
                await asyncio.sleep(LEASE_SECONDS)
            return await self._make(lambda: self._once(entry))
        finally:
            turns.give_back()

    async def _go_on(self, rest: Rest[Delivery], turns: Turns) -> Delivery:
        """Await what is left of a try that has its turn."""
        try:
            return await self._make(rest)
        finally:
            turns.give_back()

    async def _make(self, make: Rest[Delivery]) -> Delivery:
        """Await a try, or what is left of it."""
        delivery = await self._to_its_end(make)
        if delivery.may_retry and not self._queues.is_open:
            raise asyncio.CancelledError  # what a stop ends is no try: the entry waits on disk as it is
        return delivery

    async def _to_its_end(self, make: Callable[[], Awaitable[Made]]) -> Made:
        """Await what a stop lets end."""
        lane = asyncio.current_task()
        self._at_work.add(lane)
        try:
            return await make()
        finally:
            self._at_work.discard(lane)

    async def _once(self, entry: OutboxEntry) -> Delivery:
        if isinstance(entry.content, ToApplication):
            return await self._webhooks.deliver(entry, entry.content)
        return await self._carriers.deliver(entry, entry.content)

    def _failed(self, entry: OutboxEntry, delivery: Delivery, attempts: int, wait_seconds: float) -> None:
        self._deliveries.add(self._failure(entry, delivery, attempts, wait_seconds=wait_seconds), _nothing)
        self._observer.delivered(kind_of(entry), DeliveryEnd.FAILED)

    async def _give_up(self, entry: OutboxEntry, delivery: Delivery) -> None:
        if isinstance(entry.content, OutboxMessage | OutboxHangUp):
            await self._carriers.gave_up(entry, entry.content, delivery)
        elif isinstance(entry.content, OutboxCallback):
            url = mask_text(signed_url(entry.content.url))
            self._observer.debugger(
                DebuggerEvent(
                    code=Code.CALLBACK_FAILED,
                    account_sid=entry.account_sid,
                    service_sid=entry.service_sid,
                    session_sid=entry.session_sid,
                    resource_sid=entry.content.interaction.inbound.resource_sid,
                    message=f"Callback to {url} failed: {delivery.error}",
                    at=self._clock(),
                    webhook=delivery.trace,
                )
            )

    def _end(self, entry: OutboxEntry, queue: EntryQueue, change: EntrySettled | EntryFailed, end: DeliveryEnd) -> None:
        self._deliveries.add(change, partial(queue.landed, entry.sid))
        self._observer.delivered(kind_of(entry), end)

    def _failure(
        self, entry: OutboxEntry, delivery: Delivery, attempts: int, *, wait_seconds: float | None = None
    ) -> EntryFailed:
        """Describe a failed try; without a wait before the next one it was the last."""
        now = self._clock()
        return EntryFailed(
            entry_sid=entry.sid,
            attempts=attempts,
            error=delivery.error,
            at=now,
            is_dead=wait_seconds is None,
            next_at=None if wait_seconds is None else now + wait_seconds,
        )

    def _tries(self, entry: OutboxEntry) -> int:
        is_posted = isinstance(entry.content, ToApplication)
        return self._settings.webhook_tries if is_posted else self._settings.carrier_tries


async def its_turn(turns: Turns) -> None:
    """Wait for a turn."""
    if turns.take():
        return
    turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def come() -> None:
        if not turn.done() and turns.take():
            turn.set_result(None)

    turns.wait(come)
    try:
        await turn
    except asyncio.CancelledError:
        if turn.done() and not turn.cancelled():
            turns.give_back()
        raise


def _nothing() -> None:
    """Take that a change has landed which frees nothing."""
