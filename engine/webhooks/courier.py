"""The outbox's courier: delivers what is committed, at least once, in order per session; implements the port `Outbox`.

Each account has its own window, lanes and turns for each destination: a dead receiver slows nobody else.
What fails is tried again with growing waits, then joins the dead letters.
Source: design section 5, behaviour 12.1, 16 and 19.
"""

import asyncio
import logging
import random
from collections.abc import Sequence
from typing import Protocol

from tenacity import AsyncRetrying, RetryCallState, retry_if_result, stop_after_attempt

from engine.core.model.changes import EffectFailed, EffectSettled
from engine.core.model.effects import AlertOwed, CallbackOwed, Effect, HangUpOwed, MessageOwed, QueueKey
from engine.core.model.errors import Code
from engine.core.model.records import DebuggerEvent
from engine.core.numbers.masking import masked
from engine.core.ports.observing import DeliveryEnd, DutyKind, EgressObserver
from engine.core.ports.operations import Clock
from engine.formats.signatures import signed_url
from engine.outbound.client import Client
from engine.outbound.delivery import Delivery, Draw, wait_before
from engine.outbound.settings import EgressSettings
from engine.webhooks.hooks import Tokens
from engine.webhooks.posts import Posts
from engine.webhooks.queues import OwedQueue, OwedReader
from engine.webhooks.settlements import Settlements, Writer

LEAST_WINDOW = 8
"""Effects that a queue may have in memory, however many queues there are."""

_KINDS = {
    CallbackOwed: DutyKind.CALLBACK,
    MessageOwed: DutyKind.MESSAGE,
    AlertOwed: DutyKind.ALERT,
    HangUpOwed: DutyKind.HANG_UP,
}

_log = logging.getLogger("maskline.egress")


class OutboxStore(OwedReader, Writer, Protocol):
    """The part of the port `Store` that the courier uses."""

    async def queues_owed(self) -> tuple[QueueKey, ...]:
        """Name the queues of effects that are pending."""


class CarrierSender(Protocol):
    """Sends through carriers; implemented by `engine.channels.clients`."""

    async def deliver(self, effect: Effect, duty: MessageOwed | HangUpOwed) -> Delivery:
        """Try once."""

    async def gave_up(self, effect: Effect, duty: MessageOwed | HangUpOwed, delivery: Delivery) -> None:
        """Take that there will be no further try."""


class Courier:
    """Delivers effects."""

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
        draw: Draw = random.uniform,
    ) -> None:
        """Deliver nothing before `start`."""
        self._store = store
        self._posts = Posts(client=client, tokens=tokens, clock=clock)
        self._carriers = carriers
        self._observer = observer
        self._clock = clock
        self._settings = settings
        self._draw = draw
        self._queues: dict[QueueKey, OwedQueue] = {}
        self._settlements = Settlements(store, pause_seconds=settings.store_pause_seconds)
        self._at_work: set[asyncio.Task[None] | None] = set()
        self._is_running = False

    @property
    def held(self) -> int:
        """Count the effects in memory."""
        return sum(queue.held for queue in self._queues.values())

    @property
    def under_way(self) -> int:
        """Count the requests that are being made."""
        return len(self._at_work)

    async def start(self) -> None:
        """Deliver from now on, beginning with what the store holds."""
        self._is_running = True
        for key in await self._store.queues_owed():
            self._queue(key).catch_up()

    def owed(self, effects: Sequence[Effect]) -> None:
        """Deliver these in time; they are on disk."""
        if self._is_running:
            for effect in effects:
                self._queue(effect.queue).offer(effect)

    async def stop(self, grace_seconds: float) -> None:
        """Let requests under way end, but no longer than that; everything else stays on disk."""
        self._is_running = False
        lanes = {lane for queue in self._queues.values() for lane in queue.lanes}
        for queue in self._queues.values():
            queue.close()
        at_work = {lane for lane in lanes if lane in self._at_work}
        for lane in lanes - at_work:
            lane.cancel()
        if at_work:
            await asyncio.wait(at_work, timeout=grace_seconds)
        for lane in at_work:
            lane.cancel()
        await asyncio.gather(*lanes, return_exceptions=True)
        await self._settlements.drain(grace_seconds)

    def _queue(self, key: QueueKey) -> OwedQueue:
        queue = self._queues.get(key)
        if queue is None:
            turns = asyncio.Semaphore(self._settings.deliveries_per_destination)
            queue = OwedQueue(
                key,
                store=self._store,
                window=self._window,
                work=lambda effect: self._deliver(effect, turns),
                pause_seconds=self._settings.store_pause_seconds,
            )
            self._queues[key] = queue
        return queue

    def _window(self) -> int:
        share = self._settings.most_in_memory // max(1, len(self._queues))
        return max(LEAST_WINDOW, min(self._settings.window_per_destination, share))

    # -- one effect ----------------------------------------------------------------------------------------------

    async def _deliver(self, effect: Effect, turns: asyncio.Semaphore) -> None:
        retrying = AsyncRetrying(
            stop=stop_after_attempt(max(1, self._tries(effect) - effect.attempts)),
            wait=lambda state: self._wait(effect, state),
            retry=retry_if_result(_may_retry),
            before_sleep=lambda state: self._failed(effect, state),
            retry_error_callback=_result,
            sleep=self._pause,
        )
        try:
            delivery: Delivery = await retrying(self._try, effect, turns)
            if not delivery.is_done:
                await self._give_up(effect, delivery)
        except Exception:  # noqa: BLE001 - around a lane's loop: it must go on
            _log.exception("an effect could not be handled; it joins the dead letters", extra={"effect": effect.sid})
            delivery = Delivery(error="an error of ours; it is logged")
        if delivery.is_done:
            self._end(effect, EffectSettled(effect.sid), DeliveryEnd.DELIVERED)
        else:
            attempts = effect.attempts + retrying.statistics.get("attempt_number", 1)
            self._end(effect, self._failure(effect, delivery, attempts, is_dead=True), DeliveryEnd.DIED)

    async def _try(self, effect: Effect, turns: asyncio.Semaphore) -> Delivery:
        lane = asyncio.current_task()
        async with turns:
            self._at_work.add(lane)
            try:
                if isinstance(effect.duty, CallbackOwed | AlertOwed):
                    return await self._posts.deliver(effect, effect.duty)
                return await self._carriers.deliver(effect, effect.duty)
            finally:
                self._at_work.discard(lane)

    def _failed(self, effect: Effect, state: RetryCallState) -> None:
        change = self._failure(effect, _result(state), effect.attempts + state.attempt_number, is_dead=False)
        self._settlements.add(change, _nothing)
        self._observer.delivered(_KINDS[type(effect.duty)], DeliveryEnd.FAILED)

    def _wait(self, effect: Effect, state: RetryCallState) -> float:
        tries = effect.attempts + state.attempt_number
        return wait_before(tries, _result(state), settings=self._settings, draw=self._draw)

    async def _pause(self, seconds: float) -> None:
        if not self._is_running:
            raise asyncio.CancelledError
        await asyncio.sleep(seconds)

    async def _give_up(self, effect: Effect, delivery: Delivery) -> None:
        if isinstance(effect.duty, MessageOwed | HangUpOwed):
            await self._carriers.gave_up(effect, effect.duty, delivery)
        elif isinstance(effect.duty, CallbackOwed):
            url = masked(signed_url(effect.duty.url))
            self._observer.debugger(
                DebuggerEvent(
                    code=Code.CALLBACK_FAILED,
                    account_sid=effect.account_sid,
                    service_sid=effect.service_sid,
                    session_sid=effect.session_sid,
                    resource_sid=effect.duty.interaction.inbound.resource_sid,
                    message=f"Callback to {url} failed: {delivery.error}",
                    at=self._clock(),
                    webhook=delivery.trace,
                )
            )

    def _end(self, effect: Effect, change: EffectSettled | EffectFailed, end: DeliveryEnd) -> None:
        self._settlements.add(change, lambda: self._landed(effect))
        self._observer.delivered(_KINDS[type(effect.duty)], end)

    def _landed(self, effect: Effect) -> None:
        key = effect.queue
        queue = self._queues.get(key)
        if queue is not None:
            queue.landed(effect.sid)
            if queue.is_empty:
                del self._queues[key]

    def _failure(self, effect: Effect, delivery: Delivery, attempts: int, *, is_dead: bool) -> EffectFailed:
        return EffectFailed(
            effect_sid=effect.sid, attempts=attempts, error=delivery.error, at=self._clock(), is_dead=is_dead
        )

    def _tries(self, effect: Effect) -> int:
        is_posted = isinstance(effect.duty, CallbackOwed | AlertOwed)
        return self._settings.callback_tries if is_posted else self._settings.carrier_tries


def _may_retry(delivery: Delivery) -> bool:
    return delivery.may_retry


def _result(state: RetryCallState) -> Delivery:
    if state.outcome is None:
        raise RuntimeError("asked before the try has ended")
    delivery: Delivery = state.outcome.result()
    return delivery


def _nothing() -> None:
    """Take that a change has landed which frees nothing."""
