"""What applications were asked, told and answered, kept for a day beside the hot path: docs/console.md."""

import logging
from collections import Counter
from collections.abc import Callable

import msgspec

from actors.kernel.context import HostContext
from engine.core.model.changes import NoteKept
from engine.core.model.errors import StoreUnavailable
from engine.core.model.exchanges import WebhookExchange, exchange_key
from engine.core.model.records import Account

MOST_GATHERED = 5_000
"""Exchanges that wait for the next batch; more are not kept."""
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
        self._account = account
        self._gathered: list[WebhookExchange] = []
        self._second = 0
        self._kept: Counter[str] = Counter()

    def keep(self, exchange: WebhookExchange) -> None:
        """Take an exchange for the next batch, unless its account has filled this second."""
        settings = self._context.settings
        if not settings.webhook_trail_hours:
            return
        if int(exchange.at) != self._second:
            self._second = int(exchange.at)
            self._kept.clear()
        account_sid = exchange.account_sid
        if self._kept[account_sid] >= settings.webhooks_kept_per_second or len(self._gathered) >= MOST_GATHERED:
            return
        self._kept[account_sid] += 1
        self._gathered.append(exchange)

    @property
    def waiting(self) -> int:
        """Count the exchanges that wait for the next batch."""
        return len(self._gathered)

    async def flush(self) -> None:
        """Commit the batch; what the disk refuses is tried again with the next one.

        An account that was deleted meanwhile leaves nothing.
        """
        if not self._gathered:
            return
        exchanges = [one for one in self._gathered if self._account(one.account_sid) is not None]
        self._gathered = []
        try:
            await self._context.store.write([self._note(one) for one in exchanges])
        except StoreUnavailable:
            self._gathered = [*exchanges, *self._gathered][:MOST_GATHERED]
            raise

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

    def _note(self, exchange: WebhookExchange) -> NoteKept:
        at = int(exchange.at * _MICROSECONDS).to_bytes(8, "big")
        key = exchange_key(exchange.account_sid, exchange.about) + at
        until = exchange.at + self._context.settings.webhook_trail_seconds
        return NoteKept(_CHANNEL, key, msgspec.msgpack.encode(exchange), until, exchange.account_sid)
