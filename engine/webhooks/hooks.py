"""The two webhooks that decide about an event while it waits; implements the port `Hooks`.

One try each, since the caller is waiting; a second one only where a kept connection had ended.
Source: behaviour 12.3, 12.4 and 13.
"""

from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import NamedTuple

from engine.core.model.errors import Code
from engine.core.model.exchanges import about
from engine.core.model.records import Interaction, WebhookTrace
from engine.core.ports.hooks import InterceptVerdict, OutOfSessionCase, OutOfSessionVerdict
from engine.core.ports.observing import EgressObserver, HookEnd, HookKind
from engine.core.ports.operations import Clock
from engine.core.routing.event_keys import key_of
from engine.core.routing.traffic import InboundEvent
from engine.formats.answers import HookAnswer, intercept_verdict, out_of_session_verdict
from engine.formats.signatures import signed_form
from engine.outbound.client import Client, NotReached, body_of_success, no_body, sent_url
from engine.outbound.exchange import Answer, NeedsBody
from engine.outbound.traces import exchange, trace
from engine.webhooks.callbacks import intercept_fields, out_of_session_fields

Tokens = Callable[[str], str | None]
"""Auth token of an account, by its SID."""


class WebHooks:
    """Asks applications over HTTP."""

    def __init__(self, *, client: Client, tokens: Tokens, observer: EgressObserver, clock: Clock) -> None:
        """Ask through `client`, signing with the account's token."""
        self._clock = clock
        self._client = client
        self._tokens = tokens
        self._observer = observer

    async def intercept(
        self, url: str, interaction: Interaction, *, may_rewrite: bool, timeout_seconds: float
    ) -> InterceptVerdict:
        """Ask an InterceptCallbackUrl."""
        fields, at = intercept_fields(interaction), self._clock()
        asking = _Asking(url, fields, interaction.account_sid, about(interaction), interaction.sid, at)
        outcome = await self._ask(asking, timeout_seconds, body_of_success if may_rewrite else no_body)
        if isinstance(outcome, NotReached):
            verdict = InterceptVerdict(is_failed=True, trace=asking.trace(outcome))
        else:
            verdict = intercept_verdict(_hook_answer(outcome), may_rewrite=may_rewrite)
            if verdict.is_failed:
                verdict = InterceptVerdict(is_failed=True, trace=asking.trace(outcome))
        self._ended(HookKind.INTERCEPT, _intercept_end(verdict), asking, outcome)
        return verdict

    async def out_of_session(self, url: str, case: OutOfSessionCase, *, timeout_seconds: float) -> OutOfSessionVerdict:
        """Ask an OutOfSessionCallbackUrl."""
        fields, event, at = out_of_session_fields(case), case.event, self._clock()
        asking = _Asking(url, fields, case.account_sid, event.resource_sid, _token_of(event), at)
        outcome = await self._ask(asking, timeout_seconds, body_of_success)
        if isinstance(outcome, NotReached):
            verdict = OutOfSessionVerdict(code=outcome.code, trace=asking.trace(outcome))
        else:
            verdict = out_of_session_verdict(_hook_answer(outcome))
            if verdict.code is not None:
                verdict = OutOfSessionVerdict(code=verdict.code, trace=asking.trace(outcome))
        self._ended(HookKind.OUT_OF_SESSION, _out_of_session_end(verdict), asking, outcome)
        return verdict

    def _ended(self, kind: HookKind, end: HookEnd, asking: "_Asking", outcome: Answer | NotReached) -> None:
        self._observer.asked(kind, end)
        self._observer.exchanged(
            exchange(
                account_sid=asking.account_sid,
                about=asking.about,
                kind=kind,
                end=end,
                url=asking.url,
                outcome=outcome,
                at=asking.at,
                now=self._clock(),
            )
        )

    async def _ask(self, asking: "_Asking", timeout_seconds: float, needs_body: NeedsBody) -> Answer | NotReached:
        token = self._tokens(asking.account_sid)
        if token is None:
            problem = "no account to sign for"
            return NotReached(Code.WEBHOOK_FETCH_FAILED, problem, may_be_taken=False, is_for_good=True)
        form = signed_form(sent_url(asking.url), asking.fields, token=token, idempotency_token=asking.token)
        try:
            return await self._client.post(
                asking.url,
                form.body,
                headers=form.headers,
                account_sid=asking.account_sid,
                timeout_seconds=timeout_seconds,
                needs_body=needs_body,
                may_repeat=True,
            )
        except NotReached as problem:
            return problem


class _Asking(NamedTuple):
    """One question."""

    url: str
    fields: Mapping[str, str]
    account_sid: str
    about: str
    token: str
    at: float

    def trace(self, outcome: Answer | NotReached) -> WebhookTrace:
        return trace(self.url, self.fields, outcome)


def _token_of(event: InboundEvent) -> str:
    """Return what is the same for every delivery of an event, and of no other: the SID alone may be another's too."""
    return blake2b(key_of(event).encode(), digest_size=16).hexdigest()


def _hook_answer(answer: Answer) -> HookAnswer:
    return HookAnswer(
        status=answer.status,
        content_type=answer.header("content-type"),
        body=answer.body,
        is_cut=answer.is_cut,
        is_broken=bool(answer.problem),
    )


def _intercept_end(verdict: InterceptVerdict) -> HookEnd:
    if verdict.is_failed:
        return HookEnd.FAILED
    if verdict.is_blocked:
        return HookEnd.BLOCKED
    return HookEnd.PASSED if verdict.body is None else HookEnd.REWRITTEN


def _out_of_session_end(verdict: OutOfSessionVerdict) -> HookEnd:
    if verdict.twiml is not None:
        return HookEnd.TWIML
    if verdict.wanted is not None:
        return HookEnd.SESSION
    return HookEnd.LEFT if verdict.code is Code.UNKNOWN_SCENARIO else HookEnd.FAILED
