"""Where inbound traffic goes: `decide()`, and what answers in bulk, `resolve_all()`.

Source: behaviour 9, 10, 11, 14. No clock, no randomness, no await: `now` and the id factory are arguments. A call or
message is routed only to the other endpoint of the one active session that binds (sender, number reached); everything
else is refused.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

import msgspec

from engine.core.model.errors import Code, PeerUnavailable
from engine.core.model.records import (
    Account,
    Address,
    Interaction,
    Kind,
    Leg,
    LegStatus,
    ProxyNumber,
    Service,
    ServiceOptions,
)
from engine.core.model.sids import IdFactory, SidKind
from engine.core.numbers.e164 import canonical, dial_form
from engine.core.numbers.keywords import is_stop_word
from engine.core.routing.resolved import Resolved, Route
from engine.core.routing.route_cache import put_route
from engine.core.routing.traffic import Decision, InboundEvent, Outcome, Question, Reason
from engine.core.sessions.bindings import ActiveSession, Bindings, Endpoint
from engine.core.sessions.modes import Refusal
from engine.core.structs import Leaf


class Reached(Protocol):
    """A number of ours, as `resolve_all` looks at it."""

    @property
    def is_ready(self) -> bool:
        """Whether its bindings are known."""

    @property
    def account_sid(self) -> str:
        """Its owner."""

    @property
    def bindings(self) -> Bindings:
        """Its bindings."""

    @property
    def rules(self) -> "NumberRules":
        """What shapes its decisions."""


class NumberRules(Leaf, frozen=True, gc=False):
    """What of its account, service and number shapes a proxy number's decisions."""

    forwards_stop_words: bool = False
    """The account leaves stop words to the number's own filter, and that is off (behaviour 11.2)."""
    inserts_mexican_one: bool = False
    """Outbound legs to Mexico carry the "1" (behaviour 14)."""
    argentina: bool = False
    """Outbound calls to Argentina carry the "9" (behaviour 14)."""
    callback_url: str | None = None
    """Informational webhook of the service."""
    intercept_url: str | None = None
    """Gate webhook of the service."""
    out_of_session_url: str | None = None
    """Fall-back webhook of the service."""
    options: ServiceOptions = ServiceOptions()
    """Extensions of the service."""
    has_fall_backs: bool = False
    """The options hold TwiML for refusals."""
    carrier: str | None = None
    """Carrier that sends messages from this number; None = the inbound webhook's answer does."""
    is_disabled: bool = False
    """The operator has disabled the account: nothing is routed."""


class Ruling(Leaf, frozen=True, gc=False):
    """What was decided about an event, and what that is about to change."""

    decision: Decision
    """The answer."""
    session: ActiveSession | None = None
    """The active session met."""
    interaction: Interaction | None = None
    """Routed: what to commit before the answer leaves."""


# A member of an enumeration is found tenfold faster here than in its class (3.11); compiled, what is final at once.
_REFUSED: Final = Outcome.REFUSED
_ROUTED: Final = Outcome.ROUTED
_IN_SESSION: Final = Reason.IN_SESSION
_RINGING: Final = LegStatus.RINGING
_INITIATED: Final = LegStatus.INITIATED
_RECEIVED: Final = LegStatus.RECEIVED
_QUEUED: Final = LegStatus.QUEUED
_VOICE: Final = Kind.VOICE
_INTERACTION: Final = SidKind.INTERACTION
_PLAIN: Final = NumberRules()
_EXPIRED = (Reason.SESSION_EXPIRED, Code.SESSION_EXPIRED)
_NO_PARTNER = (Reason.NO_PARTNER, Code.NO_PARTNER)
_EMPTY_MESSAGE = (Reason.EMPTY_MESSAGE, Code.MESSAGE_WITHOUT_CONTENT)

STOPPED = Ruling(Decision(Outcome.REFUSED, Reason.STOP_WORD, code=Code.STOP_WORD))
CALL_OF_STRANGER = Ruling(Decision(Outcome.REFUSED, Reason.NO_SESSION, code=Code.NO_ACTIVE_SESSION))
MESSAGE_OF_STRANGER = Ruling(Decision(Outcome.REFUSED, Reason.NO_SESSION, code=Code.UNKNOWN_SCENARIO))
STRANGERS = (CALL_OF_STRANGER.decision, MESSAGE_OF_STRANGER.decision)
"""What somebody without a session meets, by far the most frequent refusal."""
DISABLED = Ruling(Decision(Outcome.REFUSED, Reason.ACCOUNT_DISABLED, code=Code.INBOUND_TO_INACTIVE_ACCOUNT))
NOT_IN_POOL = Decision(Outcome.UNKNOWN_NUMBER, Reason.NOT_IN_POOL)
REBUILDING = Decision(Outcome.NOT_READY, Reason.REBUILDING)
STORE_DOWN = Decision(Outcome.NOT_READY, Reason.STORE_UNAVAILABLE)
BUSY = Decision(Outcome.NOT_READY, Reason.BUSY)


def undecided(problem: BaseException) -> Decision:
    """Return the answer to an event that a failure left undecided; whoever sent it retries."""
    return REBUILDING if isinstance(problem, PeerUnavailable) else STORE_DOWN


OUT_OF_SESSION = frozenset({Reason.NO_SESSION, Reason.SESSION_EXPIRED})
"""What the out-of-session hook is asked about (behaviour 9 and 13)."""


def decide(
    bindings: Bindings,
    event: InboundEvent,
    *,
    rules: NumberRules,
    now: float,
    id_factory: IdFactory | None,
    going_on: str = "",
) -> Ruling:
    """Decide what becomes of a call or message that reached a number (behaviour 9, steps 3 to 11).

    A routed decision comes with the interaction to commit before the answer leaves; nothing is changed here. Without
    an id factory the decision is for information: nothing is recorded. `going_on` names a session that its coordinator
    has just said is not over, whatever the time is here.
    """
    is_call = event.kind is _VOICE
    met = _meet(bindings, event, is_call=is_call, rules=rules, now=now, going_on=going_on)
    if isinstance(met, Ruling):
        return met
    session, caller, partner = met
    if id_factory is not None and not is_call and _is_unsendable(event, rules):
        return _refused(_EMPTY_MESSAGE, session)
    if id_factory is None:
        return Ruling(
            routed(caller, partner, is_call=is_call, rules=rules, session_sid=session.sid, interaction_sid=""), session
        )
    interaction = _interaction(event, session, caller, partner, sid=id_factory(_INTERACTION), now=now)
    return Ruling(
        routed(caller, partner, is_call=is_call, rules=rules, session_sid=session.sid, interaction_sid=interaction.sid),
        session,
        interaction,
    )


def resolve(bindings: Bindings, question: Question, *, rules: NumberRules, now: float) -> Decision:
    """Tell what `decide` would decide; no hook is asked, and nothing is to be recorded."""
    is_call = question.is_call
    met = _meet(bindings, question, is_call=is_call, rules=rules, now=now)
    if isinstance(met, Ruling):
        return met.decision
    session, caller, partner = met
    return routed(caller, partner, is_call=is_call, rules=rules, session_sid=session.sid, interaction_sid="")


def resolve_all(
    questions: Sequence[Question],
    numbers: Mapping[Address, Reached],
    *,
    account_sid: str | None,
    now: float,
    otherwise: Callable[[Question], Decision | None],
    fills_cache: bool = False,
) -> Resolved | None:
    """Resolve many at once for an account (None = for all), the plain ones of them here, in one loop.

    Plain is a call or a message without a text, in a session whose mode refuses nothing, whose partner is dialled as
    the number is kept. `otherwise` tells of numbers that are not among these, or not to be looked at; where it returns
    None, so does this. `fills_cache` puts what is found into the route cache.
    """
    resolved: list[Decision | Route] = []
    strangers = others = 0
    caller, sender = STRANGERS
    add, find = resolved.append, numbers.get
    for question in questions:
        number = find(question.proxy)
        if number is not None and (account_sid is None or number.account_sid == account_sid) and not question.body:
            rules, who = number.rules, question.sender
            if fills_cache:
                number.bindings.start_caching()
            session = number.bindings.find(who)  # a canonical sender is found as it came
            if (
                session is not None
                and session.mode_rules.lets_all_pass
                and not session.is_expired(now)
                and session.second
                and not (rules.inserts_mexican_one or rules.argentina or rules.is_disabled or rules.carrier is not None)
                and number.is_ready
            ):
                if session.first == who:
                    route = Route(session.second, session.second_proxy, session)
                else:
                    route = Route(session.first, session.first_proxy, session)
                add(route)
                if fills_cache and number.bindings.routes is not None:
                    until = session.is_surely_open_until
                    put_route(number.bindings.routes, who, route.to, route.caller_id, until)
                continue
        decision = otherwise(question)
        if decision is None:
            return None
        if decision is caller or decision is sender:
            strangers += 1
        else:
            others += 1
        add(decision)
    return Resolved(resolved, strangers, others)


def _meet(
    bindings: Bindings, question: Question, *, is_call: bool, rules: NumberRules, now: float, going_on: str = ""
) -> tuple[ActiveSession, Endpoint, Endpoint] | Ruling:
    """Find the session, who sends and who is to be reached, or the refusal; `resolve_all` finds plain ones itself."""
    if rules.is_disabled:
        return DISABLED
    if not is_call and not rules.forwards_stop_words and is_stop_word(question.body):
        return STOPPED
    sender = question.sender
    session = bindings.find(sender)  # a canonical sender is found as it came
    if session is None:
        sender = canonical(sender)
        session = bindings.find(sender)
        if session is None:
            return _outside(bindings, sender, is_call=is_call)
    if session.is_expired(now) and session.sid != going_on:
        return _refused(_EXPIRED, session)
    mode = session.mode_rules
    refusal = mode.call if is_call else mode.message
    if refusal is not None:
        return _refused(refusal, session)
    if len(session.endpoints) != 2:  # noqa: PLR2004 - a pairing
        return _refused(_NO_PARTNER, session)
    first, second = session.endpoints
    if first.identifier == sender:
        return session, first, second
    return (session, second, first) if mode.reply is None else _refused(mode.reply, session)


def routed(
    caller: Endpoint, partner: Endpoint, *, is_call: bool, rules: NumberRules, session_sid: str, interaction_sid: str
) -> Decision:
    """Return the decision that an event reaches this partner; the same again after a restart."""
    return Decision(
        _ROUTED,
        _IN_SESSION,
        to=outbound_address(partner.identifier, is_call=is_call, rules=rules),
        caller_id=partner.proxy,
        session_sid=session_sid,
        interaction_sid=interaction_sid,
        inbound_participant_sid=caller.participant_sid,
        outbound_participant_sid=partner.participant_sid,
        is_sent_by_us=rules.carrier is not None and not is_call,
    )


def decision_of(route: Route) -> Decision:
    """Return the whole of what a plain question is answered."""
    first, second = route.session.endpoints
    caller, partner = (second, first) if first.identifier == route.to else (first, second)
    return routed(caller, partner, is_call=True, rules=_PLAIN, session_sid=route.session.sid, interaction_sid="")


def _is_unsendable(event: InboundEvent, rules: NumberRules) -> bool:
    """Tell whether our answer, or a carrier of ours, would have to send nothing; a client of the feed sends itself."""
    if event.media or (event.form is None and rules.carrier is None):
        return False
    return not event.body.strip()


def _outside(bindings: Bindings, sender: Address, *, is_call: bool) -> Ruling:
    expired = bindings.recently_expired(sender)
    if expired is not None:
        return Ruling(Decision(Outcome.REFUSED, Reason.SESSION_EXPIRED, session_sid=expired, code=Code.SESSION_EXPIRED))
    return CALL_OF_STRANGER if is_call else MESSAGE_OF_STRANGER


def _refused(why: Refusal, session: ActiveSession) -> Ruling:
    reason, code = why
    return Ruling(Decision(_REFUSED, reason, session_sid=session.sid, code=code), session)


def _interaction(
    event: InboundEvent, session: ActiveSession, caller: Endpoint, partner: Endpoint, *, sid: str, now: float
) -> Interaction:
    is_call = event.kind is _VOICE
    return Interaction(
        sid=sid,
        session_sid=session.sid,
        service_sid=session.service_sid,
        account_sid=session.account_sid,
        kind=event.kind,
        proxy=caller.proxy,
        inbound=Leg(
            participant_sid=caller.participant_sid,
            resource_sid=event.resource_sid,
            status=_RINGING if is_call else _RECEIVED,
        ),
        outbound=Leg(
            participant_sid=partner.participant_sid,
            status=_INITIATED if is_call else _QUEUED,
        ),
        body=None if is_call else event.body,
        media=event.media,
        date_created=now,
        date_updated=now,
    )


def pushed_message(
    session: ActiveSession, endpoint: Endpoint, *, sid: str, body: str, media: tuple[str, ...], now: float
) -> Interaction:
    """Return the record of a message that the application pushes to a participant (behaviour 3.7)."""
    return Interaction(
        sid=sid,
        session_sid=session.sid,
        service_sid=session.service_sid,
        account_sid=session.account_sid,
        kind=Kind.MESSAGE,
        proxy=endpoint.proxy,
        inbound=Leg(),
        outbound=Leg(participant_sid=endpoint.participant_sid, status=LegStatus.QUEUED),
        body=body,
        media=media,
        date_created=now,
        date_updated=now,
    )


def outbound_address(identifier: Address, *, is_call: bool, rules: NumberRules) -> Address:
    """Return an identifier in the form to dial: with the Mexican "1", or the Argentine "9" of calls."""
    return dial_form(identifier, inserts_mexican_one=rules.inserts_mexican_one, argentina=rules.argentina and is_call)


def rules_for(account: Account, service: Service, number: ProxyNumber, *, carrier: str | None = None) -> NumberRules:
    """Return what shapes the decisions of a number in a service's pool."""
    options = service.options
    respects_filter = options.respect_sms_stop_filter
    if respects_filter is None:
        respects_filter = account.respect_sms_stop_filter
    return NumberRules(
        forwards_stop_words=respects_filter and not number.stop_filtering,
        inserts_mexican_one=service.inserts_mexican_one,
        argentina=account.argentina,
        callback_url=service.callback_url,
        intercept_url=service.intercept_callback_url,
        out_of_session_url=service.out_of_session_callback_url,
        options=options,
        has_fall_backs=any((options.no_session_twiml, options.no_partner_twiml, options.closed_twiml)),
        carrier=carrier,
        is_disabled=account.is_disabled,
    )


def fall_back(decision: Decision, options: ServiceOptions) -> Decision:
    """Return the service's own TwiML for a refusal, where it has one; the debugger code stays."""
    twiml = None
    if decision.reason is Reason.NO_PARTNER:
        twiml = options.no_partner_twiml
    elif decision.reason is Reason.SESSION_EXPIRED:
        twiml = options.closed_twiml or options.no_session_twiml
    elif decision.reason in {Reason.NO_SESSION, Reason.OUT_OF_SESSION_FAILED, Reason.AUTO_CREATE_FAILED}:
        twiml = options.no_session_twiml
    if twiml is None:
        return decision
    return msgspec.structs.replace(decision, outcome=Outcome.ANSWERED, reason=Reason.FALL_BACK, twiml=twiml)


def still_meets(bindings: Bindings, session: ActiveSession, interaction: Interaction) -> bool:
    """Tell, after a wait, whether the two of an interaction still meet in its session."""
    people = {endpoint.participant_sid for endpoint in session.endpoints}
    caller = next(
        (endpoint for endpoint in session.endpoints if endpoint.participant_sid == interaction.inbound.participant_sid),
        None,
    )
    if caller is None or interaction.outbound.participant_sid not in people:
        return False
    return bindings.find(caller.identifier) is session
