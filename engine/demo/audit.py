"""What the engine itself says about the traffic: its counters and its interactions, held against the recorded file.

TwiML shows who is reached but not why somebody is not; the reasons are checked here, in sum.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Sequence

import httpx
from prometheus_client.parser import text_string_to_metric_families

from engine.app import RunningEngine
from engine.core.model.records import Kind
from engine.core.ports.observing import Ingress, Rejection
from engine.core.routing.traffic import Outcome, Reason, ReportOutcome
from engine.demo.application import ShopApplication
from engine.demo.provision import Application, Stage
from engine.demo.scene import SCENE, SHOP_POOL
from engine.demo.script import Answered, Door, Expected, Refused, Reported, Routed, TurnedAway, Webhook

Key = tuple[str, ...]
"""A metric's name and its label values."""

_LABELS = {
    "maskline_events": ("ingress", "kind", "outcome", "reason"),
    "maskline_leg_reports": ("outcome",),
    "maskline_turned_away_requests": ("problem",),
}
_PATIENCE_SECONDS, _PAUSE_SECONDS = 10.0, 0.02
_KINDS = {Door.VOICE: Kind.VOICE, Door.MESSAGE: Kind.MESSAGE}


async def audit(engine: RunningEngine, stage: Stage, shop: ShopApplication, webhooks: Iterable[Webhook]) -> list[str]:
    """Say, a sentence each, where the engine's own counts differ from the file's."""
    webhooks = list(webhooks)
    async with httpx.AsyncClient(base_url=engine.address) as client:
        exposition = (await client.get("/metrics")).raise_for_status().text
    wanted, counted = expected_counts(webhooks), _counts(exposition)
    problems = [
        f"{' '.join(key)}: expected {wanted[key]}, the engine counted {counted[key]}"
        for key in sorted(wanted.keys() | counted.keys())
        if wanted[key] != counted[key]
    ]
    recorded, routed = await _interactions(engine, stage), expected_interactions(webhooks)
    if recorded != routed:
        problems.append(f"expected {routed} interactions on record, found {recorded}")
    return [*problems, *await _called_back(shop, expected_callbacks(webhooks))]


def expected_counts(webhooks: Iterable[Webhook]) -> Counter[Key]:
    """Count what the engine's metrics must say."""
    counts: Counter[Key] = Counter()
    for webhook in webhooks:
        kind = _KINDS.get(webhook.door, "")
        match webhook.expect:
            case Routed():
                counts["maskline_events", Ingress.HTTP, kind, Outcome.ROUTED, Reason.IN_SESSION] += 1
            case Refused(reason=reason):
                counts["maskline_events", Ingress.HTTP, kind, Outcome.REFUSED, reason] += 1
            case Answered(reason=reason):
                counts["maskline_events", Ingress.HTTP, kind, Outcome.ANSWERED, reason] += 1
            case Reported(outcome=outcome):
                counts["maskline_leg_reports", outcome] += 1
            case TurnedAway(problem=problem):
                counts["maskline_turned_away_requests", problem] += 1
                if problem is Rejection.UNKNOWN_NUMBER:
                    counts["maskline_events", Ingress.HTTP, kind, Outcome.UNKNOWN_NUMBER, Reason.NOT_IN_POOL] += 1
    return counts


def expected_interactions(webhooks: Iterable[Webhook]) -> int:
    """Count the calls and messages that pass or are blocked at the gate; a redelivered one counts once."""
    return len({tuple(webhook.form.items()) for webhook in webhooks if _is_recorded(webhook.expect)})


def expected_callbacks(webhooks: Sequence[Webhook]) -> int:
    """Count what the shop's application must be told of: what passes on its numbers, and each new state of a leg."""
    passed = {
        webhook.id: tuple(webhook.form.items())
        for webhook in webhooks
        if isinstance(webhook.expect, Routed) and webhook.form["To"] in SHOP_POOL
    }
    reports = [
        webhook
        for webhook in webhooks
        if webhook.leg_of in passed and webhook.expect == Reported(ReportOutcome.RECORDED)
    ]
    return len(set(passed.values())) + len(reports)


def _is_recorded(expect: Expected) -> bool:
    return isinstance(expect, Routed) or expect == Refused(Reason.INTERCEPTED)


async def _called_back(shop: ShopApplication, wanted: int) -> list[str]:
    """Wait for the last callbacks, which leave after their webhook is answered."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while len(shop.called_back) < wanted and time.monotonic() < deadline:  # noqa: ASYNC110 - too many would be wrong as well
        await asyncio.sleep(_PAUSE_SECONDS)
    problems = []
    if len(shop.called_back) != wanted:
        problems.append(f"expected {wanted} callbacks, the application got {len(shop.called_back)}")
    if shop.forged:
        problems.append(f"{shop.forged} webhooks to the application were not signed rightly")
    return problems


def _counts(exposition: str) -> Counter[Key]:
    return Counter(
        {
            (family.name, *(sample.labels[label] for label in _LABELS[family.name])): int(sample.value)
            for family in text_string_to_metric_families(exposition)
            if family.name in _LABELS
            for sample in family.samples
            if sample.name.endswith("_total") and sample.value
        }
    )


async def _interactions(engine: RunningEngine, stage: Stage) -> int:
    count = 0
    for service in SCENE:
        application = Application(engine.address, stage.accounts[service.account])
        try:
            service_sid = stage.services[service.name]
            for session_sid in await application.sessions(service_sid):
                count += await application.interactions(service_sid, session_sid)
        finally:
            await application.close()
    return count
