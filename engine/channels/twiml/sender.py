"""Sends messages and ends calls through a platform's 2010 API (`engine.channels.twiml.messages_api`).

After a time-out behind the request, or a 5xx other than 503, the platform may have taken a message; not connected, 429
and 503 mean that it has not.
"""

from http import HTTPStatus
from typing import Final

from engine.channels.base import ChannelContext, OutHangUp, OutMessage, Sent, Served, Spread, Unserved
from engine.channels.twiml.forms import status_query
from engine.channels.twiml.messages_api import (
    CALL_NOT_IN_PROGRESS,
    HANG_UP_FORM,
    authorization,
    call_url,
    carrier_answer,
    message_form,
    messages_url,
)
from engine.channels.twiml.webhooks import STATUS_PATH
from engine.formats.signatures import FORM_TYPE, IDEMPOTENCY_HEADER
from engine.outbound.client import NotReached, any_body
from engine.outbound.delivery import DELIVERED, Delivery, cut, not_delivered, retry_after
from engine.outbound.exchange import Answer
from engine.outbound.settings import CarrierSettings
from engine.outbound.traces import trace

TEMPORARY: Final = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
"""Statuses after which a text may be sent again: the platform did not take it. After another 5xx it may have."""


class MessagesApiChannel(Unserved):
    """One platform."""

    spread = Spread.EVERY_HOST
    _context: ChannelContext

    def __init__(self, carrier: CarrierSettings) -> None:
        """Send to a platform as the settings have it."""
        self.name = carrier.name
        self._carrier = carrier

    async def serve(self, context: ChannelContext) -> Served:
        """Send through the client of the context; the platform reports legs to the status path of TwiML."""
        self._context = context
        return self

    async def send(self, message: OutMessage) -> Sent:
        """Send a message once."""
        url = messages_url(self._carrier.url, self._carrier.account_sid)
        form = message_form(
            to=message.to,
            sender=message.sender,
            body=message.body,
            media=message.media,
            status_url=f"{self._context.public_url}{STATUS_PATH.decode()}?{status_query(message.interaction_sid)}",
        )
        outcome = await self._post(url, form, key=message.key, account_sid=message.account_sid)
        if isinstance(outcome, NotReached):
            return Sent(
                error=cut(str(outcome)),
                may_retry=not outcome.may_be_taken and not outcome.is_for_good,
                may_be_taken=outcome.may_be_taken,
                trace=trace(url, _shown(message), outcome),
            )
        if not outcome.is_ok:
            return _refused(outcome, url, message, now=self._context.clock())
        answer = carrier_answer(outcome.body)
        return Sent(status=answer.status, resource_sid=answer.sid or "")

    async def end_call(self, call: OutHangUp) -> Delivery:
        """End a call; one that the platform does not know, or that is not in progress, has ended."""
        url = call_url(self._carrier.url, self._carrier.account_sid, call.call_sid)
        outcome = await self._post(url, HANG_UP_FORM, key=call.key, account_sid=call.account_sid)
        if isinstance(outcome, NotReached):
            return not_delivered(outcome, now=self._context.clock())
        is_over = outcome.status == HTTPStatus.NOT_FOUND or carrier_answer(outcome.body).code == CALL_NOT_IN_PROGRESS
        return DELIVERED if outcome.is_ok or is_over else not_delivered(outcome, now=self._context.clock())

    async def _post(self, url: str, form: bytes, *, key: str, account_sid: str) -> Answer | NotReached:
        headers = {
            "Content-Type": FORM_TYPE,
            "Authorization": authorization(self._carrier.account_sid, self._carrier.auth_tokens[0]),
            IDEMPOTENCY_HEADER: key,
        }
        try:
            return await self._context.client.post(
                url, form, headers=headers, account_sid=account_sid, needs_body=any_body
            )
        except NotReached as problem:
            return problem


def _refused(outcome: Answer, url: str, message: OutMessage, *, now: float) -> Sent:
    answer = carrier_answer(outcome.body)
    code = "" if answer.code is None else f" with {answer.code}"
    is_unsure = outcome.status >= HTTPStatus.INTERNAL_SERVER_ERROR and outcome.status not in TEMPORARY
    return Sent(
        error=cut(f"carrier answered {outcome.status}{code}: {answer.message}".removesuffix(": ")),
        may_retry=outcome.status in TEMPORARY,
        may_be_taken=is_unsure,
        retry_after_seconds=retry_after(outcome, now=now),
        trace=trace(url, _shown(message), outcome),
    )


def _shown(message: OutMessage) -> dict[str, str]:
    return {"From": message.sender, "To": message.to, "Body": message.body}
