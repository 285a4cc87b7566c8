"""Why an event goes where it goes, told to the operator in sentences, without whole numbers of people."""

from collections.abc import Iterable, Iterator

import msgspec

from actors.traffic.coordinators import Coordinators
from actors.traffic.directory import Directory
from actors.traffic.number import NumberActor
from engine.core.model.errors import CATALOGUE
from engine.core.model.records import Address, Kind, Session
from engine.core.numbers.e164 import canonical, mask_address
from engine.core.ports.operations import Explanation
from engine.core.routing.decide import NOT_IN_POOL, OUT_OF_SESSION, REBUILDING, NumberRules, fall_back
from engine.core.routing.traffic import Decision, InboundEvent, Outcome
from engine.core.sessions.bindings import ActiveSession, Endpoint, endpoint_of


async def explain(proxy: str, sender: str, *, directory: Directory, coordinators: Coordinators) -> Explanation:
    """Tell what would become of a call and a message now; nothing is recorded."""
    actor = directory.find(proxy)
    if actor is None:
        nowhere = (f"{mask_address(proxy)} is in no service's pool.",)
        return Explanation(
            proxy=mask_address(proxy), sender=mask_address(sender), call=NOT_IN_POOL, message=NOT_IN_POOL, story=nowhere
        )
    active = await _met(actor, canonical(sender), coordinators)
    call = _would_be(actor, Kind.VOICE, sender)
    message = _would_be(actor, Kind.MESSAGE, sender)
    pairing = await _pairing(actor, canonical(sender), active, coordinators)
    story = [f"{actor.address} is in the pool of service {actor.service_sid}, with {len(actor.bindings)} bindings."]
    if canonical(sender) != sender:
        story.append(f"The sender is known as {mask_address(canonical(sender))}.")
    if pairing.session is not None:
        story.append(f"Session {pairing.session.sid} {_of_whom(pairing)}; it is {pairing.session.status}.")
    for what, decision in (("A call", call), ("A message", message)):
        story += _sentences(what, decision, pairing.partner, actor.rules)
    return Explanation(
        proxy=actor.address,
        sender=mask_address(canonical(sender)),
        account_sid=actor.account_sid,
        service_sid=actor.service_sid,
        call=call,
        message=message,
        session=pairing.session,
        sender_sid=None if pairing.sender is None else pairing.sender.participant_sid,
        partner_sid=None if pairing.partner is None else pairing.partner.participant_sid,
        expires_at=None if active is None or active.expires_at is None else active.expires_at - _ahead(actor),
        story=tuple(story),
    )


class _Pairing(msgspec.Struct, frozen=True):
    """The session that a sender meets, or met last, and the two in it."""

    session: Session | None = None
    sender: Endpoint | None = None
    partner: Endpoint | None = None


async def _met(actor: NumberActor, sender: Address, coordinators: Coordinators) -> ActiveSession | None:
    """Return the session that a sender meets, with its idle clock as every host has moved it."""
    session = actor.bindings.find(sender)
    if session is not None and session.is_spread:
        idle_since = await coordinators.idle_since(actor.service_sid, session.sid)
        session.idle_since = max(session.idle_since, (idle_since or 0.0) + _ahead(actor))
    return session


def _ahead(actor: NumberActor) -> float:
    """Return how far the clock of a number's host is ahead of its coordinator's, by which sessions are told."""
    return 0.0 if actor.source is None else actor.source.offset


def _would_be(actor: NumberActor, kind: Kind, sender: Address) -> Decision:
    if not actor.is_ready:
        return REBUILDING
    decision = actor.would_decide(InboundEvent(kind, sender, actor.address, "")).decision
    return msgspec.structs.replace(decision, to=mask_address(decision.to), interaction_sid="")


async def _pairing(
    actor: NumberActor, sender: Address, active: ActiveSession | None, coordinators: Coordinators
) -> _Pairing:
    if active is not None:
        return _paired(await coordinators.session(actor.service_sid, active.sid), active.endpoints, actor, sender)
    last = await coordinators.last_session(actor.service_sid, sender, actor.address)
    return _Pairing() if last is None else _paired(last.session, map(endpoint_of, last.participants), actor, sender)


def _paired(session: Session | None, people: Iterable[Endpoint], actor: NumberActor, sender: Address) -> _Pairing:
    own, others = None, []
    for one in people:
        if (one.identifier, one.proxy) == (sender, actor.address):
            own = one
        else:
            others.append(one)
    return _Pairing(session, own, others[0] if len(others) == 1 else None)


def _of_whom(pairing: _Pairing) -> str:
    """Tell who is in a session: two numbers may look the same when masked, SIDs do not."""
    who = "pairs them" if pairing.sender is None else f"has the sender as participant {_named(pairing.sender)}"
    return who if pairing.partner is None else f"{who} and as the other {_named(pairing.partner)}"


def _named(endpoint: Endpoint) -> str:
    return f"{endpoint.participant_sid} ({mask_address(endpoint.identifier)})"


def _sentences(what: str, decision: Decision, partner: Endpoint | None, rules: NumberRules) -> Iterator[str]:
    why = decision.reason.why
    if decision.outcome is Outcome.ROUTED:
        who = "" if partner is None else f" ({partner.participant_sid})"
        yield f"{what} reaches {decision.to}{who}, who sees {decision.caller_id}: {why}."
        if rules.intercept_url is not None:
            yield "The intercept hook is asked first and may block it."
        return
    title = "" if decision.code is None else f" (debugger {int(decision.code)}, {CATALOGUE[decision.code].title})"
    if decision.reason in OUT_OF_SESSION and rules.out_of_session_url is not None:
        yield f"{what} is left to the out-of-session hook: {why}{title}."
        return
    yield f"{what} is refused: {why}{title}."
    if fall_back(decision, rules.options).outcome is Outcome.ANSWERED:
        yield "The service's own TwiML is the answer."
