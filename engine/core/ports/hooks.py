"""The webhooks that decide about an event while it waits, and what they come to."""

from typing import Protocol

import msgspec

from engine.core.model.errors import Code
from engine.core.model.records import (
    Interaction,
    Participant,
    Session,
    WebhookTrace,
)
from engine.core.routing.traffic import InboundEvent, SessionWanted


class InterceptVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """What an intercept hook came to."""

    is_blocked: bool = False
    """It answered 403."""
    is_failed: bool = False
    """It could not be asked in time, or its answer was no answer; `trace` tells (80908)."""
    body: str | None = None
    """Text that it wants sent instead, from a JSON answer."""
    trace: WebhookTrace | None = None


class OutOfSessionVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """What an out-of-session hook came to; at most one of `twiml` and `wanted` is given."""

    twiml: str | None = None
    """A parsed and checked document."""
    wanted: SessionWanted | None = None
    code: Code | None = None
    """80905 neither one nor the other, 80913 no 2xx, 12100 / 12300 bad TwiML, 11200 / 11205 not reached."""
    trace: WebhookTrace | None = None


class OutOfSessionCase(msgspec.Struct, frozen=True, kw_only=True):
    """An event that met no session, and the last session that paired sender and number."""

    event: InboundEvent
    service_sid: str
    account_sid: str
    session: Session | None = None
    inbound: Participant | None = None
    outbound: Participant | None = None


class Hooks(Protocol):
    """The webhooks that decide about an event while it waits; implemented by `engine.webhooks`, never raises."""

    async def intercept(
        self, url: str, interaction: Interaction, *, may_rewrite: bool, timeout_seconds: float
    ) -> InterceptVerdict:
        """Ask an InterceptCallbackUrl (behaviour 12.3)."""

    async def out_of_session(self, url: str, case: OutOfSessionCase, *, timeout_seconds: float) -> OutOfSessionVerdict:
        """Ask an OutOfSessionCallbackUrl (behaviour 12.4, 13)."""
