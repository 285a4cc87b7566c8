"""What the actors of one host share, from the composition root: clock, id factory, store, egress, observer."""

import time
from collections.abc import Callable, Sequence

import msgspec

from actors.kernel.settings import HostSettings
from engine.core.model.changes import Change, EntryAdded
from engine.core.model.errors import Code
from engine.core.model.outbox import OutboxEntry
from engine.core.model.records import Address, DebuggerEvent, Interaction, WebhookTrace
from engine.core.model.sids import IdFactory
from engine.core.numbers.e164 import mask_address
from engine.core.ports.hooks import Hooks, InterceptVerdict, OutOfSessionCase, OutOfSessionVerdict
from engine.core.ports.observing import Observer
from engine.core.ports.operations import Clock
from engine.core.ports.outgoing import Carriers, LocalSenders, Outbox
from engine.core.ports.store import Lease, Store, lease_of


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
    settings: HostSettings = HostSettings()
    egress: Egress = Egress()
    monotonic: Clock = time.monotonic
    """Seconds of a clock that only runs forward."""
    steady: Clock = time.monotonic
    """`engine.runtime.steady`: leases run by it."""
    sure_clock: Clock | None = None
    """`engine.runtime.SureClock`; None: the clock is sure."""

    def sure_now(self) -> float:
        """Return the time that has surely come, for what cannot be undone; never later than the clock says."""
        return self.clock() if self.sure_clock is None else self.sure_clock()

    @property
    def lease(self) -> Lease | None:
        """Tells whether this process is still this host; None: nothing else ever can be."""
        return lease_of(self.store, self.steady)

    async def write(self, changes: Sequence[Change], entries: Sequence[OutboxEntry] = ()) -> None:
        """Commit and wait, as `commits.commit`; raises StoreUnavailable."""
        await self.store.write((*changes, *map(EntryAdded, entries)))
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
        proxy: Address | None = None,
        sender: Address | None = None,
        webhook: WebhookTrace | None = None,
    ) -> None:
        """Raise a debugger event; `message` holds no whole phone number."""
        at, caller = self.clock(), None if sender is None else mask_address(sender)
        if self.observer.only_counted(code, account_sid, number=proxy, caller=caller, at=at):
            return
        self.observer.debugger(
            DebuggerEvent(
                code=code,
                account_sid=account_sid,
                service_sid=service_sid,
                session_sid=session_sid,
                resource_sid=resource_sid,
                proxy=proxy,
                sender=caller,
                message=message,
                at=at,
                webhook=webhook,
            )
        )
