"""What the actors of one host share, from the composition root: clock, id factory, store, egress, observer."""

import time
from collections.abc import Callable, Sequence

import msgspec

from engine.core.model.changes import Change, EntryAdded
from engine.core.model.errors import Code, StoreUnavailable
from engine.core.model.outbox import OutboxEntry
from engine.core.model.records import Address, DebuggerEvent, Interaction, WebhookTrace
from engine.core.model.sids import IdFactory
from engine.core.ports.hooks import Hooks, InterceptVerdict, OutOfSessionCase, OutOfSessionVerdict
from engine.core.ports.observing import Observer
from engine.core.ports.operations import Clock
from engine.core.ports.outgoing import Carriers, LocalSenders, Outbox
from engine.core.ports.store import Store

SECONDS_PER_DAY = 86_400


class HostSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How a host behaves where an operator may choose."""

    redelivery_window_seconds: float = 600.0
    """How long a carrier's redelivery of the same CallSid / MessageSid is known again."""
    answers_remembered: int = 50_000
    """Routed events whose answers are kept as they are; those of the window before them are made from the records."""
    refusals_remembered: int = 50_000
    """Refused events that are known again when redelivered; the oldest are decided anew."""
    sweep_interval_seconds: float = 0.25
    """How often expired sessions are looked for."""
    retention_seconds: float = 90.0 * SECONDS_PER_DAY
    """How long a closed session is kept."""
    longest_call_seconds: float = 4 * 3600.0
    """After which a call whose end nobody has told has ended; 0 = never."""
    retention_interval_seconds: float = 60.0
    """How often sessions past retention are looked for."""
    intercept_timeout_seconds: float = 5.0
    """How long an intercept hook may take; then the event goes on, or is blocked where the service says so."""
    carrier_deadline_seconds: float = 10.0
    """How long a carrier waits for an answer: all hooks of one event together take no longer."""
    most_waiting_events: int = 10_000
    """Events that may wait for hooks at once, of one account at most as many as are free; more get not-ready."""
    alerts_per_second: int = 20
    """Debugger events of one account and code that are kept in a second; more are only counted."""
    alert_retention_seconds: float = 30.0 * SECONDS_PER_DAY
    """How long a debugger event is listed."""
    batch_key_seconds: float = 1.0 * SECONDS_PER_DAY
    """How long an item of a batch is known again by its idempotency key."""
    every_number_is_ours: bool = True
    """A pool takes any `PhoneNumber=`; the account comes to own it then."""
    joins_us_and_canada: bool = False
    """Numbers of the US serve Canada and the other way round (behaviour 6.5)."""
    inserts_mexican_one: bool | None = None
    """New services insert the "1" after +52; None = those made before 2020-10-05 do (behaviour 14)."""


class Detached:
    """Egress of a host that is only opened for the operator: the outbox waits on disk, no hook is asked."""

    async def intercept(
        self, url: str, interaction: Interaction, *, may_rewrite: bool, timeout_seconds: float
    ) -> InterceptVerdict:
        """Say that the hook cannot be asked."""
        del url, interaction, may_rewrite, timeout_seconds
        return InterceptVerdict(is_failed=True)

    async def out_of_session(self, url: str, case: OutOfSessionCase, *, timeout_seconds: float) -> OutOfSessionVerdict:
        """Say that the hook cannot be asked."""
        del url, case, timeout_seconds
        return OutOfSessionVerdict(code=Code.OUT_OF_SESSION_CALLBACK_FAILED)

    def add(self, entries: Sequence[OutboxEntry]) -> None:
        """Leave them to the next start."""

    def sender_for(self, proxy: Address) -> str | None:
        """No carrier sends."""
        del proxy
        return None

    def caller_for(self, proxy: Address) -> str | None:
        """No carrier calls."""
        del proxy
        return None

    async def send_here(self, sender: str, message: bytes) -> bytes:
        """Tell nothing: nothing is sent."""
        del sender, message
        return b""


class Egress(msgspec.Struct, frozen=True):
    """How a host reaches the world."""

    hooks: Hooks = Detached()
    outbox: Outbox = Detached()
    carriers: Carriers = Detached()
    local_senders: LocalSenders = Detached()
    """Send what other hosts hand over."""


class HostContext(msgspec.Struct, frozen=True):
    """The collaborators of every actor on a host."""

    store: Store
    clock: Clock
    id_factory: IdFactory
    choose: Callable[[int], int]
    """A random index below n."""
    observer: Observer
    settings: HostSettings
    egress: Egress = Egress()
    monotonic: Clock = time.monotonic
    """Seconds of a clock that only runs forward."""
    sure_clock: Clock | None = None
    """`engine.runtime.SureClock`; None: the clock is sure."""

    def sure_now(self) -> float:
        """Return the time that has surely come, for what cannot be undone; never later than the clock says."""
        return self.clock() if self.sure_clock is None else self.sure_clock()

    def commit(
        self,
        changes: Sequence[Change],
        settled: Callable[[StoreUnavailable | None], None],
        entries: Sequence[OutboxEntry],
    ) -> None:
        """Commit changes with their outbox entries, and hand those over for delivery once they are on disk."""
        if not entries:
            self.store.commit(changes, settled)
            return

        def done(problem: StoreUnavailable | None) -> None:
            settled(problem)
            if problem is None:
                self.egress.outbox.add(entries)

        self.store.commit((*changes, *(EntryAdded(entry) for entry in entries)), done)

    async def write(self, changes: Sequence[Change], entries: Sequence[OutboxEntry] = ()) -> None:
        """Commit and wait, as `commit`; raises StoreUnavailable."""
        await self.store.write((*changes, *(EntryAdded(entry) for entry in entries)))
        if entries:
            self.egress.outbox.add(entries)

    def notify(
        self,
        code: Code,
        message: str,
        *,
        account_sid: str,
        service_sid: str | None = None,
        session_sid: str | None = None,
        resource_sid: str | None = None,
        webhook: WebhookTrace | None = None,
    ) -> None:
        """Raise a debugger event; `message` holds no whole phone number."""
        self.observer.debugger(
            DebuggerEvent(
                code=code,
                account_sid=account_sid,
                service_sid=service_sid,
                session_sid=session_sid,
                resource_sid=resource_sid,
                message=message,
                at=self.clock(),
                webhook=webhook,
            )
        )
