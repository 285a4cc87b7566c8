"""The debugger's list: events that an account may read back and have posted, kept in batches beside the hot path.

A flood of one kind is kept in part and counted whole (metrics do that): it must not fill the disk, nor hide what else
is refused. Behaviour 16.
"""

from collections.abc import Callable, Sequence

import msgspec

from actors.control.pending_records import PendingRecords
from actors.kernel.context import HostContext
from engine.core.fair_share import FairShare
from engine.core.model.changes import AlertRaised, AlertsErased
from engine.core.model.outbox import OutboxAlert, OutboxEntry
from engine.core.model.records import Account, DebuggerEvent
from engine.core.model.sids import SidKind


class AlertBook:
    """Keeps the debugger events of a host's accounts."""

    def __init__(self, context: HostContext, *, account: Callable[[str], Account | None]) -> None:
        """Keep events through this context."""
        self._context = context
        self._account = account
        self._pending = PendingRecords(self._write, account=account)
        self._share = FairShare(context.settings.alerts_per_second)

    def keep(self, event: DebuggerEvent) -> None:
        """Take an event for the next batch, unless its kind, number and caller have had their share of this second."""
        kind = (event.account_sid, event.code)
        is_taken = self._share.takes(kind, number=event.proxy, caller=event.sender, at=event.at)
        if is_taken and not self._pending.is_full:
            sid = self._context.id_factory(SidKind.DEBUGGER_EVENT)
            self._pending.add(msgspec.structs.replace(event, sid=sid))

    def is_full(self, code: int, account_sid: str, *, number: str | None, caller: str | None, at: float) -> bool:
        """Tell whether `keep` would leave out an event of this kind now; the caller is masked."""
        kind = (account_sid, code)
        return self._pending.is_full or self._share.is_full(kind, number=number, caller=caller, at=at)

    async def flush(self) -> None:
        """Commit the events that wait, with the posts to webhooks; raises StoreUnavailable, and they wait on."""
        await self._pending.flush()

    async def erase_old(self) -> None:
        """Erase the events that are older than they are listed."""
        before = self._context.sure_now() - self._context.settings.alert_retention_seconds
        await self._context.store.write((AlertsErased(before),))

    async def _write(self, events: Sequence[DebuggerEvent]) -> None:
        posts = [post for event in events if (post := self._post(event)) is not None]
        await self._context.write([AlertRaised(event) for event in events], posts)

    def _post(self, event: DebuggerEvent) -> OutboxEntry | None:
        account = self._account(event.account_sid)
        if account is None or account.debugger_url is None:
            return None
        return OutboxEntry(
            sid=self._context.id_factory(SidKind.OUTBOX_ENTRY),
            account_sid=event.account_sid,
            service_sid=event.service_sid,
            content=OutboxAlert(url=account.debugger_url, event=event),
            date_created=self._context.clock(),
        )
