"""One try to post a callback or a debugger event to an application."""

from engine.core.model.exchanges import about
from engine.core.model.outbox import OutboxCallback, OutboxEntry, ToApplication
from engine.core.ports.observing import DeliveryEnd, EgressObserver, OutboxKind
from engine.core.ports.operations import Clock
from engine.formats.signatures import SignedForm, signed_form
from engine.outbound.client import Client, NotReached, sent_url
from engine.outbound.delivery import DELIVERED, Delivery, not_delivered
from engine.outbound.exchange import Answer
from engine.outbound.traces import exchange, trace
from engine.webhooks.callbacks import callback_fields, debugger_fields
from engine.webhooks.hooks import Tokens


class WebhookSender:
    """Posts callbacks and debugger events to applications."""

    def __init__(self, *, client: Client, tokens: Tokens, clock: Clock, observer: EgressObserver) -> None:
        """Post through `client`, signing with the account's token; the observer hears what became of callbacks."""
        self._observer = observer
        self._clock = clock
        self._client = client
        self._tokens = tokens

    async def deliver(self, entry: OutboxEntry, content: ToApplication) -> Delivery:
        """Post once; any 2xx is a receipt, what it says is not read."""
        token = self._tokens(entry.account_sid)
        if token is None:
            return Delivery(error="the account to sign for does not exist")
        fields = callback_fields(content) if isinstance(content, OutboxCallback) else debugger_fields(content)
        form = signed_form(sent_url(content.url), fields, token=token, idempotency_token=entry.sid)
        at = self._clock()
        outcome = await self._posted(entry, content, form)
        if isinstance(content, OutboxCallback):
            self._exchanged(content, outcome, at)
        if isinstance(outcome, Answer) and outcome.is_ok:
            return DELIVERED
        return not_delivered(outcome, now=self._clock(), trace=trace(content.url, fields, outcome))

    async def _posted(self, entry: OutboxEntry, content: ToApplication, form: SignedForm) -> Answer | NotReached:
        try:
            return await self._client.post(
                content.url, form.body, headers=form.headers, account_sid=entry.account_sid, may_repeat=True
            )
        except NotReached as problem:
            return problem

    def _exchanged(self, content: OutboxCallback, outcome: Answer | NotReached, at: float) -> None:
        is_taken = isinstance(outcome, Answer) and outcome.is_ok
        self._observer.exchanged(
            exchange(
                account_sid=content.interaction.account_sid,
                about=about(content.interaction),
                kind=OutboxKind.CALLBACK,
                end=DeliveryEnd.DELIVERED if is_taken else DeliveryEnd.FAILED,
                url=content.url,
                outcome=outcome,
                at=at,
                now=self._clock(),
            )
        )
