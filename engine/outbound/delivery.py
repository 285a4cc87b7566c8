"""How one try to deliver an entry ended, and what that means for the next one."""

import re
from collections.abc import Awaitable, Callable
from datetime import UTC
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Final, NoReturn, Protocol, TypeVar

import msgspec

from engine.core.model.records import WebhookTrace
from engine.core.numbers.masking import mask_text
from engine.outbound.client import NotReached
from engine.outbound.exchange import Answer
from engine.outbound.settings import EgressSettings

MAX_ERROR = 200
"""Characters of an error that are kept with the entry."""

Draw = Callable[[float, float], float]
"""Draw a number between two at random."""

_SECONDS = re.compile("[0-9]{1,9}")
TEMPORARY: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})
"""Statuses below 500 after which what may be repeated, a callback or the end of a call, is tried again.

A text is not: each channel that sends texts has its own.
"""


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One try."""

    error: str = ""
    """Why it failed, without phone numbers; empty = it is delivered."""
    may_retry: bool = False
    """Another try is safe and may help."""
    may_be_taken: bool = False
    """The receiver may have acted although no good answer came."""
    retry_after_seconds: float = 0.0
    """How long the receiver asks us to wait."""
    is_settled: bool = False
    """It is on disk already that the entry has ended."""
    trace: WebhookTrace | None = None
    """The request and its answer, of a webhook that failed."""

    @property
    def is_done(self) -> bool:
        """Tell that it leaves the outbox."""
        return not self.error


Outcome_contra = TypeVar("Outcome_contra", bound=Delivery, contravariant=True)
Told = TypeVar("Told", bound=Delivery)

Rest = Callable[[], Awaitable[Told]]
"""What is left of a try once it has to wait: a task awaits it."""


async def known(delivery: Told) -> Told:
    """Return how a try ended that has."""
    return delivery


async def raised(problem: Exception) -> NoReturn:
    """Raise a problem where a try is awaited."""
    raise problem


class Ending(Protocol[Outcome_contra]):
    """Hears, once and later, how a try comes out that was begun without a task."""

    def ended(self, outcome: Outcome_contra, /) -> None:
        """Take how it ended."""

    def goes_on(self, rest: Rest[Outcome_contra], /) -> None:
        """Take that the rest of it is to be awaited."""


DELIVERED = Delivery()
SETTLED = Delivery(is_settled=True)


def not_delivered(outcome: Answer | NotReached, *, now: float, trace: WebhookTrace | None = None) -> Delivery:
    """Judge a failed try of something that may be repeated: no connection, time-outs, 408, 425, 429 and 5xx pass."""
    if isinstance(outcome, NotReached):
        return Delivery(
            error=cut(str(outcome)), may_retry=not outcome.is_for_good, may_be_taken=outcome.may_be_taken, trace=trace
        )
    is_busy = outcome.status in TEMPORARY or outcome.status >= HTTPStatus.INTERNAL_SERVER_ERROR
    return Delivery(
        error=f"answered {outcome.status}",
        may_retry=is_busy,
        retry_after_seconds=retry_after(outcome, now=now),
        trace=trace,
    )


def retry_after(answer: Answer, *, now: float) -> float:
    """Read `Retry-After` as seconds from now, 0 where there is none or it cannot be read; RFC 9110, section 10.2.3."""
    text = answer.header("retry-after").strip()
    if _SECONDS.fullmatch(text):
        return float(text)
    try:
        at = parsedate_to_datetime(text)
        return max(0.0, at.replace(tzinfo=at.tzinfo or UTC).timestamp() - now)
    except (ValueError, OverflowError):
        return 0.0


def wait_before(tries: int, last: Delivery, *, settings: EgressSettings, draw: Draw) -> float:
    """Return the seconds to wait after `tries` tries, of which `last` was the last one.

    They double up to the longest wait, and half of each is drawn at random, so that what failed together does not come
    back together. They come on top of what the receiver asked for.
    """
    longest = min(settings.first_wait_seconds * 2.0 ** min(tries - 1, 32), settings.longest_retry_wait_seconds)
    return min(last.retry_after_seconds, settings.longest_retry_after_seconds) + draw(longest / 2, longest)


def cut(text: str) -> str:
    """Return an error as it may be kept."""
    return mask_text(text)[:MAX_ERROR]
