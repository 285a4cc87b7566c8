"""The debugger's list: events that an account may read back and have posted, kept in batches beside the hot path.

A flood of one kind is kept in part and counted whole (metrics do that): it must not fill the disk, nor hide what else
is refused. Behaviour 16.
"""

from collections.abc import Callable

import msgspec

from actors.kernel.context import HostContext
from engine.core.fair_share import FairShare
from engine.core.model.changes import AlertRaised, AlertsErased, Change, EntryAdded
from engine.core.model.errors import StoreUnavailable
from engine.core.model.outbox import OutboxAlert, OutboxEntry
from engine.core.model.records import Account, DebuggerEvent
from engine.core.model.sids import SidKind

MOST_GATHERED = 5_000
"""Events that wait for the next batch; more are only counted."""


class AlertBook:
    """Keeps the debugger events of a host's accounts."""

    def __init__(self, context: HostContext, *, account: Callable[[str], Account | None]) -> None:
        """Keep events through this context."""
        self._context = context
        self._account = account
        self._gathered: list[DebuggerEvent] = []
        self._share = FairShare(context.settings.alerts_per_second)

    def keep(self, event: DebuggerEvent) -> None:
        """Take an event for the next batch, unless its kind, number and caller have had their share of this second."""
        kind = (event.account_sid, event.code)
        is_taken = self._share.takes(kind, number=event.proxy, caller=event.sender, at=event.at)
        if not is_taken or len(self._gathered) >= MOST_GATHERED:
            return
        sid = self._context.id_factory(SidKind.DEBUGGER_EVENT)
        self._gathered.append(msgspec.structs.replace(event, sid=sid))

    def is_full(self, code: int, account_sid: str, *, number: str | None, caller: str | None, at: float) -> bool:
        """Tell whether `keep` would leave out an event of this kind now; the caller is masked."""
        if len(self._gathered) >= MOST_GATHERED:
            return True
        return self._share.is_full((account_sid, code), number=number, caller=caller, at=at)

    async def flush(self) -> None:
        """Commit the batch with the posts to webhooks; what the disk refuses is tried again with the next one.

        An account that was deleted meanwhile leaves nothing.
        """
        events = [event for event in self._gathered if self._account(event.account_sid) is not None]
        self._gathered = []
        if not events:
            return
        posts = [post for event in events if (post := self._post(event)) is not None]
        changes: list[Change] = [AlertRaised(event) for event in events]
        changes += [EntryAdded(post) for post in posts]
        try:
            await self._context.store.write(changes)
        except StoreUnavailable:
            self._gathered = [*events, *self._gathered][:MOST_GATHERED]
            raise
        if posts:
            self._context.egress.outbox.add(posts)

    async def erase_old(self) -> None:
        """Erase the events that are older than they are listed."""
        before = self._context.sure_now() - self._context.settings.alert_retention_seconds
        await self._context.store.write((AlertsErased(before),))

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
