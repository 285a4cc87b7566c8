"""How one try to deliver an effect ended, and what that means for the next one."""

from http import HTTPStatus

import msgspec

from engine.core.masking import masked
from engine.core.records import WebhookTrace
from engine.egress.client import NotReached
from engine.egress.exchange import Answer

MAX_ERROR = 200
"""Characters of an error that are kept with the effect."""

_TRY_AGAIN = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One try."""

    error: str = ""
    """Why it failed, without phone numbers; empty = it is delivered."""
    may_retry: bool = False
    """Another try is safe and may help."""
    may_be_taken: bool = False
    """The receiver may have acted although no good answer came."""
    trace: WebhookTrace | None = None
    """The request and its answer, of a webhook that failed."""

    @property
    def is_done(self) -> bool:
        """Tell that nothing is owed any more."""
        return not self.error


DELIVERED = Delivery()


def not_delivered(outcome: Answer | NotReached, *, trace: WebhookTrace | None = None) -> Delivery:
    """Judge a failed try of something that may be repeated: no connection, time-outs, 408, 425, 429 and 5xx pass."""
    if isinstance(outcome, NotReached):
        return Delivery(
            error=cut(str(outcome)), may_retry=not outcome.is_for_good, may_be_taken=outcome.may_be_taken, trace=trace
        )
    is_busy = outcome.status in _TRY_AGAIN or outcome.status >= HTTPStatus.INTERNAL_SERVER_ERROR
    return Delivery(error=f"answered {outcome.status}", may_retry=is_busy, trace=trace)


def cut(text: str) -> str:
    """Return an error as it may be kept."""
    return masked(text)[:MAX_ERROR]
