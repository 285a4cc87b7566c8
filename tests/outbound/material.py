"""What the egress tests are made of: entries, a store in memory, an observer that remembers."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import msgspec

from engine.core.model.changes import Change, EntryFailed, EntrySettled
from engine.core.model.errors import StoreUnavailable
from engine.core.model.exchanges import WebhookExchange
from engine.core.model.outbox import OutboxCallback, OutboxContent, OutboxEntry, QueueKey
from engine.core.model.records import DebuggerEvent, Interaction, Kind, Leg, LegStatus
from engine.core.model.sids import SidKind, ordered_sid
from engine.core.ports.observing import DeliveryEnd, HookEnd, HookKind, OutboxKind
from engine.outbound.client import Client, guarded_client
from engine.outbound.settings import EgressSettings

AC, KS, TOKEN = "AC" + "a" * 32, "KS" + "b" * 32, "t" * 32
OTHER_AC = "AC" + "c" * 32
NOW = 1_700_000_000.0
LOCAL = ("127.0.0.0/8",)

QUICK = EgressSettings(
    outgoing_allow=LOCAL,
    webhook_tries=3,
    carrier_tries=3,
    first_wait_seconds=0.001,
    longest_retry_wait_seconds=0.01,
    store_pause_seconds=0.001,
    webhook_timeout_seconds=10.0,
)
"""Retries without waits that matter."""


def tokens(account_sid: str) -> str | None:
    return TOKEN if account_sid in {AC, OTHER_AC} else None


def clock() -> float:
    return NOW


@asynccontextmanager
async def client(settings: EgressSettings = QUICK) -> AsyncIterator[Client]:
    async with guarded_client(settings) as made:
        yield made


def sid(kind: SidKind, number: int) -> str:
    return ordered_sid(kind, milliseconds=int(NOW * 1000) + number, counter=0, random_bits=number)


def interaction(number: int = 1, *, session: int = 1, status: LegStatus = LegStatus.QUEUED) -> Interaction:
    return Interaction(
        sid=sid(SidKind.INTERACTION, number),
        session_sid=sid(SidKind.SESSION, session),
        service_sid=KS,
        account_sid=AC,
        kind=Kind.MESSAGE,
        proxy="+15105550001",
        inbound=Leg(participant_sid="KP1", resource_sid=f"SM{number}", status=LegStatus.RECEIVED),
        outbound=Leg(participant_sid="KP2", status=status),
        body="call me at +14155550100",
        date_created=NOW,
        date_updated=NOW,
    )


def outbox_entry(
    content: OutboxContent, number: int = 1, *, session: int | None = None, attempts: int = 0
) -> OutboxEntry:
    return OutboxEntry(
        sid=sid(SidKind.OUTBOX_ENTRY, number),
        account_sid=AC,
        service_sid=KS,
        session_sid=None if session is None else sid(SidKind.SESSION, session),
        content=content,
        date_created=NOW,
        attempts=attempts,
    )


def callback(url: str, number: int = 1, *, session: int | None = None, attempts: int = 0) -> OutboxEntry:
    content = OutboxCallback(url=url, interaction=interaction(number, session=session or number))
    return outbox_entry(content, number, session=session or number, attempts=attempts)


class MemoryStore:
    """What the worker needs of a store, in memory; fails when told to."""

    def __init__(self) -> None:
        self.pending: dict[str, OutboxEntry] = {}
        self.dead: dict[str, OutboxEntry] = {}
        self.groups: list[int] = []
        self.is_down = False
        self.most_read = 0
        self._changed = asyncio.Event()

    def keep(self, entries: Sequence[OutboxEntry]) -> None:
        """Hold entries as committed."""
        self.pending |= {entry.sid: entry for entry in entries}

    async def pending_queues(self) -> tuple[QueueKey, ...]:
        """Name them."""
        return tuple({entry.queue for entry in self.pending.values()})

    async def pending_entries(self, queue: QueueKey, *, after: str | None, limit: int) -> tuple[OutboxEntry, ...]:
        """Read as the port says."""
        rows = [self.pending[sid] for sid in sorted(self.pending) if sid > (after or "")]
        found = tuple(row for row in rows if row.queue == queue)[:limit]
        self.most_read = max(self.most_read, len(found))
        await asyncio.sleep(0)
        return found

    async def write(self, changes: Sequence[Change]) -> None:
        """Apply a group, unless the store is down."""
        await asyncio.sleep(0)
        if self.is_down:
            raise StoreUnavailable("told to be")
        self.groups.append(len(changes))
        for change in changes:
            self._apply(change)
        self._changed.set()

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Wait for something that a commit brings about, ten seconds at most."""
        async with asyncio.timeout(10):
            while not is_so():
                self._changed.clear()
                await self._changed.wait()

    def _apply(self, change: Change) -> None:
        match change:
            case EntrySettled(entry_sid):
                self.pending.pop(entry_sid, None)
            case EntryFailed(entry_sid=entry_sid) if entry_sid in self.pending:
                failed = msgspec.structs.replace(
                    self.pending[entry_sid],
                    attempts=change.attempts,
                    last_error=change.error,
                    date_died=change.at if change.is_dead else None,
                    date_next=change.next_at,
                )
                self.pending[entry_sid] = failed
                if change.is_dead:
                    self.dead[entry_sid] = self.pending.pop(entry_sid)
            case _:
                raise AssertionError(change)


class Remembered:
    """An egress observer that remembers."""

    def __init__(self) -> None:
        self.hooks: list[tuple[HookKind, HookEnd]] = []
        self.deliveries: list[tuple[OutboxKind, DeliveryEnd]] = []
        self.events: list[DebuggerEvent] = []
        self.exchanges: list[WebhookExchange] = []

    def asked(self, hook: HookKind, end: HookEnd) -> None:
        """Remember a question."""
        self.hooks.append((hook, end))

    def exchanged(self, exchange: WebhookExchange) -> None:
        """Remember an exchange."""
        self.exchanges.append(exchange)

    def delivered(self, kind: OutboxKind, end: DeliveryEnd) -> None:
        """Remember a try."""
        self.deliveries.append((kind, end))

    def debugger(self, event: DebuggerEvent) -> None:
        """Remember an event."""
        self.events.append(event)
