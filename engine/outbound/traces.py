"""What is kept of a webhook that failed: cut short, phone numbers masked, texts of messages left out.

Source: behaviour 16; no whole phone number leaves the records (docs/architecture.md, invariant 5).
"""

from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import urlencode

from engine.core.model.exchanges import WebhookExchange
from engine.core.model.records import WebhookTrace
from engine.core.numbers.masking import mask_text
from engine.formats.signatures import signed_url
from engine.outbound.client import NotReached
from engine.outbound.exchange import Answer

MAX_URL, MAX_PARAMETERS, MAX_HEADERS, MAX_BODY, MAX_PROBLEM = 500, 4_000, 1_000, 2_000, 200
"""Characters that are kept."""

_PRIVATE = frozenset({"Body", "interactionData", "Payload"})
"""Parameters that carry what people wrote to one another, or a trace of their own."""
_LEFT_OUT = "[left out]"


def exchange(
    *, account_sid: str, about: str, kind: str, end: str, url: str, outcome: Answer | NotReached, at: float, now: float
) -> WebhookExchange:
    """Describe for the console when an application was called, and what came of it."""
    status, problem = (outcome.status, outcome.problem) if isinstance(outcome, Answer) else (None, str(outcome))
    return WebhookExchange(
        account_sid=account_sid,
        about=about,
        kind=kind,
        end=end,
        url=_shown(url),
        at=at,
        seconds=max(0.0, now - at),
        status=status,
        problem=mask_text(problem)[:MAX_PROBLEM],
    )


@lru_cache(1024)
def _shown(url: str) -> str:
    return mask_text(signed_url(url).partition("?")[0])[:MAX_URL]


def trace(url: str, fields: Mapping[str, str], outcome: Answer | NotReached) -> WebhookTrace:
    """Describe a request and what came of it."""
    sent = {name: _LEFT_OUT if name in _PRIVATE and value else mask_text(value) for name, value in fields.items()}
    kept_url, parameters = mask_text(signed_url(url))[:MAX_URL], urlencode(sent)[:MAX_PARAMETERS]
    if isinstance(outcome, NotReached):
        return WebhookTrace(url=kept_url, parameters=parameters, problem=str(outcome))
    lines = "\n".join(f"{name}: {value}" for name, value in outcome.headers)
    return WebhookTrace(
        url=kept_url,
        parameters=parameters,
        status=outcome.status,
        problem=outcome.problem,
        headers=mask_text(lines)[:MAX_HEADERS],
        body=mask_text(outcome.body[: MAX_BODY * 4].decode("utf-8", "replace"))[:MAX_BODY],
    )
