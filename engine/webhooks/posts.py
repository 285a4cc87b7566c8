"""One try to post a callback or a debugger event to the application that it is owed to."""

from engine.core.model.effects import AlertOwed, CallbackOwed, Effect
from engine.core.ports.operations import Clock
from engine.formats.signatures import signed_form
from engine.outbound.client import Client, NotReached, sent_url
from engine.outbound.delivery import DELIVERED, Delivery, not_delivered
from engine.outbound.traces import trace
from engine.webhooks.callbacks import callback_fields, debugger_fields
from engine.webhooks.hooks import Tokens


class Posts:
    """Posts what is owed to applications."""

    def __init__(self, *, client: Client, tokens: Tokens, clock: Clock) -> None:
        """Post through `client`, signing with the account's token."""
        self._clock = clock
        self._client = client
        self._tokens = tokens

    async def deliver(self, effect: Effect, duty: CallbackOwed | AlertOwed) -> Delivery:
        """Post once; any 2xx is a receipt, what it says is not read."""
        token = self._tokens(effect.account_sid)
        if token is None:
            return Delivery(error="the account to sign for does not exist")
        fields = callback_fields(duty) if isinstance(duty, CallbackOwed) else debugger_fields(duty)
        form = signed_form(sent_url(duty.url), fields, token=token, idempotency_token=effect.sid)
        try:
            answer = await self._client.post(
                duty.url, form.body, headers=form.headers, account_sid=effect.account_sid, may_repeat=True
            )
        except NotReached as problem:
            return not_delivered(problem, now=self._clock(), trace=trace(duty.url, fields, problem))
        if answer.is_ok:
            return DELIVERED
        return not_delivered(answer, now=self._clock(), trace=trace(duty.url, fields, answer))
