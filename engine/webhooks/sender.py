"""One try to post a callback or a debugger event to an application."""

from engine.core.model.outbox import OutboxAlert, OutboxCallback, OutboxEntry
from engine.core.ports.operations import Clock
from engine.formats.signatures import signed_form
from engine.outbound.client import Client, NotReached, sent_url
from engine.outbound.delivery import DELIVERED, Delivery, not_delivered
from engine.outbound.traces import trace
from engine.webhooks.callbacks import callback_fields, debugger_fields
from engine.webhooks.hooks import Tokens


class WebhookSender:
    """WebhookSender callbacks and debugger events to applications."""

    def __init__(self, *, client: Client, tokens: Tokens, clock: Clock) -> None:
        """Post through `client`, signing with the account's token."""
        self._clock = clock
        self._client = client
        self._tokens = tokens

    async def deliver(self, entry: OutboxEntry, content: OutboxCallback | OutboxAlert) -> Delivery:
        """Post once; any 2xx is a receipt, what it says is not read."""
        token = self._tokens(entry.account_sid)
        if token is None:
            return Delivery(error="the account to sign for does not exist")
        fields = callback_fields(content) if isinstance(content, OutboxCallback) else debugger_fields(content)
        form = signed_form(sent_url(content.url), fields, token=token, idempotency_token=entry.sid)
        try:
            answer = await self._client.post(
                content.url, form.body, headers=form.headers, account_sid=entry.account_sid, may_repeat=True
            )
        except NotReached as problem:
            return not_delivered(problem, now=self._clock(), trace=trace(content.url, fields, problem))
        if answer.is_ok:
            return DELIVERED
        return not_delivered(answer, now=self._clock(), trace=trace(content.url, fields, answer))
