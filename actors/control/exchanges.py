"""What applications were asked, told and answered, kept for a day beside the hot path: docs/console.md."""

import logging
from collections.abc import Callable, Sequence

import msgspec

from actors.control.pending_records import PendingRecords
from actors.kernel.context import HostContext
from engine.core.fair_share import FairShare
from engine.core.model.changes import NoteKept
from engine.core.model.exchanges import WebhookExchange, exchange_key
from engine.core.model.records import Account

MOST_READ = 100
"""Exchanges about one call or message that are shown, the latest."""

_CHANNEL = "webhook exchanges"
_MICROSECONDS = 1_000_000

_log = logging.getLogger("maskline.host")


class ExchangeBook:
    """Keeps a host's exchanges with applications, of each account a fair share."""

    def __init__(self, context: HostContext, *, account: Callable[[str], Account | None]) -> None:
        """Keep them through this context."""
        self._context = context
        self._pending = PendingRecords(self._write, account=account)
        self._share = FairShare(context.settings.webhooks_kept_per_second)

    def keep(self, exchange: WebhookExchange) -> None:
        """Take an exchange for the next batch, unless its account has filled this second."""
        if not self._context.settings.webhook_trail_hours or self._pending.is_full:
            return
        if self._share.takes(exchange.account_sid, number=None, caller=None, at=exchange.at):
            self._pending.add(exchange)

    @property
    def waiting(self) -> int:
        """Count the exchanges that wait for the next batch."""
        return len(self._pending)

    async def flush(self) -> None:
        """Commit the exchanges that wait; raises StoreUnavailable, and they wait on."""
        await self._pending.flush()

    async def read(self, account_sid: str, about: str) -> tuple[WebhookExchange, ...]:
        """Return those about something, the oldest first; what another version wrote in another shape is left out."""
        now, found = self._context.clock(), []
        notes = await self._context.store.notes_under(_CHANNEL, exchange_key(account_sid, about), MOST_READ)
        for key, note in notes:
            if note.until <= now:
                continue
            try:
                found.append(msgspec.msgpack.decode(note.value, type=WebhookExchange))
            except msgspec.DecodeError as problem:
                _log.warning("The exchange %s with an application cannot be read: %s", key.hex(), problem)
        return tuple(reversed(found))

    async def _write(self, exchanges: Sequence[WebhookExchange]) -> None:
        await self._context.store.write([self._note(one) for one in exchanges])

    def _note(self, exchange: WebhookExchange) -> NoteKept:
        at = int(exchange.at * _MICROSECONDS).to_bytes(8, "big")
        key = exchange_key(exchange.account_sid, exchange.about) + at
        until = exchange.at + self._context.settings.webhook_trail_seconds
        return NoteKept(_CHANNEL, key, msgspec.msgpack.encode(exchange), until, exchange.account_sid)
