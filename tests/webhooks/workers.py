"""A worker that runs, carriers that do as they are told, and an observer that looks at its memory."""

import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from engine.core.model.outbox import OutboxEntry, OutboxHangUp, OutboxMessage, ToCarrier
from engine.core.ports.observing import DeliveryEnd, OutboxKind
from engine.core.ports.store import Lease
from engine.outbound.delivery import DELIVERED, Delivery, Draw, Ending
from engine.outbound.settings import EgressSettings
from engine.webhooks.worker import OutboxWorker
from tests.outbound.material import QUICK, MemoryStore, Remembered, client, clock, tokens


class FakeCarriers:
    """Carriers that do as they are told."""

    def __init__(self, *answers: Delivery) -> None:
        self.answers = list(answers)
        self.tried: list[OutboxEntry] = []
        self.given_up: list[Delivery] = []

    async def deliver(self, entry: OutboxEntry, content: ToCarrier) -> Delivery:
        """Answer with the next one, the last for ever."""
        self.tried.append(entry)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def begin(self, entry: OutboxEntry, content: OutboxMessage, ending: Ending[Delivery]) -> bool:
        """Need a task for everything."""
        del entry, content, ending
        return False

    async def gave_up(self, entry: OutboxEntry, content: OutboxMessage | OutboxHangUp, delivery: Delivery) -> None:
        """Remember."""
        self.given_up.append(delivery)


class BeginningCarriers(FakeCarriers):
    """Carriers that need no task for a first try, whose end they tell when they are told to."""

    def __init__(self, *answers: Delivery, most: int = 1_000) -> None:
        super().__init__(*answers)
        self.endings: list[Ending[Delivery]] = []
        """Of the tries under way."""
        self._most = most

    def begin(self, entry: OutboxEntry, content: OutboxMessage, ending: Ending[Delivery]) -> bool:
        """Begin, as long as there are not so many."""
        if len(self.endings) >= self._most:
            return False
        self.tried.append(entry)
        self.endings.append(ending)
        return True

    def end(self, delivery: Delivery, *, place: int = 0) -> None:
        """End the first of them, or that at another place."""
        self.endings.pop(place).ended(delivery)


@asynccontextmanager
async def worker(
    store: MemoryStore,
    observer: Remembered | None = None,
    *,
    settings: EgressSettings = QUICK,
    deliveries_to: Mapping[str, int] = {},
    carriers: FakeCarriers | None = None,
    grace: float = 10,
    draw: Draw = random.uniform,
    lease: Lease | None = None,
) -> AsyncIterator[OutboxWorker]:
    async with client(settings) as posting:
        made = OutboxWorker(
            store=store,
            client=posting,
            tokens=tokens,
            carriers=carriers or FakeCarriers(DELIVERED),
            observer=observer or Remembered(),
            clock=clock,
            settings=settings,
            deliveries_to=deliveries_to,
            draw=draw,
            lease=lease,
        )
        await made.start()
        try:
            yield made
        finally:
            await made.stop(grace)


class Sampler(Remembered):
    """An observer that looks, at every delivery, how many entries are in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.worker: OutboxWorker | None = None
        self.most_held = 0

    def delivered(self, kind: OutboxKind, end: DeliveryEnd) -> None:
        """Look."""
        if self.worker is not None:
            self.most_held = max(self.most_held, self.worker.held)
