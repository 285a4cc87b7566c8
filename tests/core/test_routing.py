"""What becomes of inbound traffic: behaviour 9's table as far as it needs no webhook, and 14's digits."""

import msgspec
import pytest

from engine.core.model.errors import Code
from engine.core.model.records import (
    Account,
    Address,
    Capability,
    Kind,
    LegStatus,
    Mode,
    Participant,
    ProxyNumber,
    Service,
    Session,
    SessionStatus,
)
from engine.core.model.sids import SidKind
from engine.core.routing.decide import (
    NumberRules,
    decide,
    outbound_address,
    pushed_message,
    resolve,
    rules_for,
)
from engine.core.routing.traffic import InboundEvent, Outcome, Reason
from engine.core.sessions.bindings import ActiveSession, Endpoint, active_session
from tests.core.pairings import (
    ALICE,
    ARGENTINE,
    BOB,
    CAROL,
    MEXICAN,
    NOW,
    P1,
    P2,
    PLAIN,
    arrival,
    bound,
    call,
    couple,
    endpoint,
    message,
    new_sid,
    pairing,
    ruled,
)

BOTH_KINDS = pytest.mark.parametrize("kind", [Kind.VOICE, Kind.MESSAGE])


# -- in session ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", ["", " ", "\n\t"])
@pytest.mark.parametrize("is_ours_to_send", ["in the answer", "by a carrier"])
def test_a_text_with_nothing_in_it_is_refused_where_we_would_send_it(body: str, is_ours_to_send: str) -> None:
    """No platform takes an empty message; nothing is recorded."""
    is_answered = is_ours_to_send == "in the answer"
    rules = PLAIN if is_answered else NumberRules(carrier="main")
    event = msgspec.structs.replace(message(ALICE, body=body), form={"Body": body} if is_answered else None)

    ruling = ruled(bound(couple()), event, rules=rules)

    assert (ruling.decision.outcome, ruling.decision.reason) == (Outcome.REFUSED, Reason.EMPTY_MESSAGE)
    assert ruling.decision.code == 14103
    assert ruling.interaction is None


def test_a_text_with_nothing_in_it_passes_with_media_or_where_its_client_sends_it() -> None:
    """A client of the feed may keep the text to itself; a stranger is a stranger."""
    empty = message(ALICE, body="")
    picture = msgspec.structs.replace(empty, form={}, media=("https://m.example/1",))

    assert ruled(bound(couple()), empty).decision.outcome is Outcome.ROUTED
    assert ruled(bound(couple()), picture).decision.outcome is Outcome.ROUTED
    stranger = msgspec.structs.replace(empty, sender=CAROL, form={})
    assert ruled(bound(couple()), stranger).decision.reason is Reason.NO_SESSION


@BOTH_KINDS
def test_a_participant_reaches_the_partner_who_sees_their_own_number(kind: Kind) -> None:
    """Alice to P1 goes from P2 to Bob: the caller id is the number that Bob would dial."""
    session = couple()

    ruling = ruled(bound(session), arrival(kind, ALICE))

    decision = ruling.decision
    assert (decision.outcome, decision.reason, decision.code) == (Outcome.ROUTED, Reason.IN_SESSION, None)
    assert (decision.to, decision.caller_id, decision.session_sid) == (BOB, P2, session.sid)
    alice, bob = (endpoint.participant_sid for endpoint in session.endpoints)
    assert (decision.inbound_participant_sid, decision.outbound_participant_sid) == (alice, bob)
    assert ruling.session is session


@BOTH_KINDS
def test_the_partner_reaches_back(kind: Kind) -> None:
    """Bob to P2 goes from P1 to Alice."""
    decision = ruled(bound(couple(), to=P2), arrival(kind, BOB, P2)).decision

    assert (decision.to, decision.caller_id) == (ALICE, P1)


@BOTH_KINDS
def test_both_may_share_one_number(kind: Kind) -> None:
    """P1 = P2 is normal in small pools."""
    bindings = bound(pairing(endpoint(ALICE, P1), endpoint(BOB, P1)))

    to_bob = ruled(bindings, arrival(kind, ALICE)).decision
    to_alice = ruled(bindings, arrival(kind, BOB)).decision

    assert (to_bob.to, to_bob.caller_id) == (BOB, P1)
    assert (to_alice.to, to_alice.caller_id) == (ALICE, P1)


def test_a_routed_call_leaves_the_interaction_to_record() -> None:
    """Inbound ringing, outbound initiated, no body; participants and resource are named."""
    session = couple()

    interaction = ruled(bound(session), call(ALICE)).interaction

    assert interaction is not None
    alice, bob = session.endpoints
    assert (interaction.kind, interaction.proxy, interaction.session_sid) == (Kind.VOICE, P1, session.sid)
    assert interaction.inbound.participant_sid == alice.participant_sid
    assert interaction.inbound.resource_sid == "CA" + "1" * 32
    assert interaction.outbound.participant_sid == bob.participant_sid
    assert (interaction.inbound.status, interaction.outbound.status) == (LegStatus.RINGING, LegStatus.INITIATED)
    assert (interaction.body, interaction.date_created) == (None, NOW)
    assert interaction.outbound.resource_sid is None


def test_a_routed_message_leaves_body_and_media() -> None:
    """Inbound received, outbound queued; an empty body with media is a message too."""
    event = InboundEvent(Kind.MESSAGE, ALICE, P1, "MM" + "1" * 32, "", ("https://media.example/1",))

    interaction = ruled(bound(couple()), event).interaction

    assert interaction is not None
    assert (interaction.inbound.status, interaction.outbound.status) == (LegStatus.RECEIVED, LegStatus.QUEUED)
    assert (interaction.body, interaction.media) == ("", ("https://media.example/1",))


def test_a_decision_for_information_leaves_nothing_to_record() -> None:
    """Without an id factory: who would be reached is the same, and no interaction is made."""
    session = couple()

    ruling = decide(bound(session), call(ALICE), rules=PLAIN, now=NOW, id_factory=None)

    assert ruling.interaction is None
    assert (ruling.decision.outcome, ruling.decision.to, ruling.decision.caller_id) == (Outcome.ROUTED, BOB, P2)
    assert (ruling.decision.session_sid, ruling.decision.interaction_sid) == (session.sid, "")


def test_deciding_changes_nothing() -> None:
    """The idle clock is the interaction log's to restart."""
    session = couple(ttl_seconds=60)

    ruled(bound(session), call(ALICE), now=NOW + 30)

    assert session.idle_since == NOW


# -- outside ---------------------------------------------------------------------------------------------------------


OUTSIDE = pytest.mark.parametrize(
    ("kind", "code"), [(Kind.VOICE, Code.NO_ACTIVE_SESSION), (Kind.MESSAGE, Code.UNKNOWN_SCENARIO)]
)


@OUTSIDE
def test_a_stranger_is_refused(kind: Kind, code: Code) -> None:
    """80902 for a call, 80905 for a message."""
    decision = ruled(bound(couple()), arrival(kind, CAROL)).decision

    assert (decision.outcome, decision.reason, decision.code) == (Outcome.REFUSED, Reason.NO_SESSION, code)
    assert (decision.to, decision.caller_id, decision.session_sid) == ("", "", "")


@OUTSIDE
def test_the_partners_number_is_not_ones_own(kind: Kind, code: Code) -> None:
    """Alice to P2, when she was given P1, meets nothing."""
    decision = ruled(bound(couple(), to=P2), arrival(kind, ALICE, P2)).decision

    assert (decision.outcome, decision.code) == (Outcome.REFUSED, code)


@pytest.mark.parametrize("sender", ["", "+266696687", "anonymous", "Restricted", "+0", " "])
@BOTH_KINDS
def test_a_withheld_caller_is_a_stranger(kind: Kind, sender: str) -> None:
    """Lack of a number or of a country is no fault of its own."""
    assert ruled(bound(couple()), arrival(kind, sender)).decision.reason is Reason.NO_SESSION


@pytest.mark.parametrize("sender", ["", "anonymous"])
def test_a_session_end_leaves_a_stranger(sender: str) -> None:
    """After unbinding nobody is met, whoever calls."""
    session = couple()
    bindings = bound(session)

    bindings.unbind(ALICE, session)

    assert ruled(bindings, call(ALICE)).decision.reason is Reason.NO_SESSION
    assert ruled(bindings, call(sender)).decision.reason is Reason.NO_SESSION


@BOTH_KINDS
def test_one_without_partner_is_refused(kind: Kind) -> None:
    """80614, without falling back to out-of-session."""
    session = pairing(endpoint(ALICE, P1))

    decision = ruled(bound(session), arrival(kind, ALICE)).decision

    assert (decision.outcome, decision.reason) == (Outcome.REFUSED, Reason.NO_PARTNER)
    assert (decision.code, decision.session_sid) == (Code.NO_PARTNER, session.sid)


@OUTSIDE
def test_a_stranger_on_the_number_of_one_without_partner_is_a_stranger(kind: Kind, code: Code) -> None:
    """Only the participant is told that there is no partner."""
    assert ruled(bound(pairing(endpoint(ALICE, P1))), arrival(kind, CAROL)).decision.code is code


# -- modes -----------------------------------------------------------------------------------------------------------


@BOTH_KINDS
def test_a_question_meets_every_reason_that_is_foreseen_and_no_other(kind: Kind) -> None:
    """But for those of numbers that are nowhere, or not ready."""
    states = [bound(), bound(couple(ttl_seconds=1)), *(bound(couple(mode)) for mode in Mode)]
    lonely = bound(pairing(endpoint(ALICE, P1)))
    rules = (PLAIN, NumberRules(is_disabled=True))
    asked = [arrival(kind, ALICE), message(ALICE, body="STOP"), message(ALICE, body="")]

    met = {
        resolve(one, event, rules=rule, now=NOW + 9).reason
        for one in [*states, lonely]
        for event in asked
        for rule in rules
    }

    elsewhere = {Reason.NOT_IN_POOL, Reason.REBUILDING}
    of_calls = {Reason.CALL_TO_MESSAGE_ONLY} if kind is Kind.MESSAGE else set()
    assert met == {one for one in Reason if one.is_foreseen} - elsewhere - of_calls


MODES = [
    (Mode.VOICE_AND_MESSAGE, Kind.VOICE, None),
    (Mode.VOICE_AND_MESSAGE, Kind.MESSAGE, None),
    (Mode.VOICE_ONLY, Kind.VOICE, None),
    (Mode.VOICE_ONLY, Kind.MESSAGE, (Reason.MESSAGE_TO_VOICE_ONLY, Code.MESSAGE_TO_VOICE_ONLY)),
    (Mode.MESSAGE_ONLY, Kind.VOICE, (Reason.CALL_TO_MESSAGE_ONLY, Code.CALL_TO_MESSAGE_ONLY)),
    (Mode.MESSAGE_ONLY, Kind.MESSAGE, None),
]


@pytest.mark.parametrize(("mode", "kind", "refusal"), MODES)
def test_a_mode_lets_pass_only_what_it_names(mode: Mode, kind: Kind, refusal: tuple[Reason, Code] | None) -> None:
    """80910 and 80911 otherwise, with the session met."""
    session = couple(mode)

    ruling = ruled(bound(session), arrival(kind, ALICE))

    if refusal is None:
        assert ruling.decision.outcome is Outcome.ROUTED
    else:
        assert (ruling.decision.reason, ruling.decision.code) == refusal
        assert ruling.interaction is None
    assert ruling.decision.session_sid == session.sid


@pytest.mark.parametrize(("mode", "kind", "refusal"), [row for row in MODES if row[2] is not None])
def test_the_mode_is_asked_before_the_partner(mode: Mode, kind: Kind, refusal: tuple[Reason, Code]) -> None:
    """Step 7 comes before step 8."""
    lonely = pairing(endpoint(ALICE, P1), mode=mode)

    assert ruled(bound(lonely), arrival(kind, ALICE)).decision.code is refusal[1]


# -- expiry ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", list(Mode))
@BOTH_KINDS
def test_an_expired_session_refuses_both_kinds_in_any_mode(kind: Kind, mode: Mode) -> None:
    """80904; step 5 comes before step 7."""
    session = couple(mode, ttl_seconds=60)

    ruling = ruled(bound(session), arrival(kind, ALICE), now=NOW + 60)

    assert (ruling.decision.reason, ruling.decision.code) == (Reason.SESSION_EXPIRED, Code.SESSION_EXPIRED)
    assert ruling.decision.session_sid == session.sid
    assert ruling.session is session


@pytest.mark.parametrize(
    ("ttl_seconds", "date_expiry", "last_moment"),
    [(60, None, NOW + 59.999), (0, NOW + 5, NOW + 4.999), (60, NOW + 5, NOW + 4.999), (5, NOW + 60, NOW + 59.999)],
)
def test_a_session_routes_until_the_very_end(ttl_seconds: int, date_expiry: float | None, last_moment: float) -> None:
    """The end is exact; date_expiry wins over ttl."""
    bindings = bound(couple(ttl_seconds=ttl_seconds, date_expiry=date_expiry))

    assert ruled(bindings, call(ALICE), now=last_moment).decision.outcome is Outcome.ROUTED
    assert ruled(bindings, call(ALICE), now=last_moment + 0.001).decision.reason is Reason.SESSION_EXPIRED


def test_both_numbers_look_at_the_same_idle_clock() -> None:
    """What passes on one proxy number keeps the session alive on the other."""
    session = couple(ttl_seconds=60)
    at_p2 = bound(session, to=P2)

    session.idle_since = NOW + 50

    assert ruled(at_p2, call(BOB, P2), now=NOW + 100).decision.outcome is Outcome.ROUTED


# -- opt-out words ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", ["STOP", " stop ", "Stop", "UNSTOP", "unsubscribe", "REVOKE", "OptOut", "ar"])
def test_only_the_listed_words_stop(body: str) -> None:
    """80901 for a listed word, from participant and stranger alike; no session is named."""
    is_listed = body.strip().lower() in {"stop", "unstop", "unsubscribe", "revoke", "optout"}

    for sender in (ALICE, CAROL):
        decision = ruled(bound(couple()), message(sender, body=body)).decision

        assert (decision.code is Code.STOP_WORD) is is_listed
        assert (decision.reason is Reason.STOP_WORD) is is_listed


@pytest.mark.parametrize("body", ["STOPPING", "stop it", "start", "YES", "debut", "HELP", "info", ""])
def test_ordinary_words_are_forwarded(body: str) -> None:
    """START, YES, DEBUT and help words are text, in any case."""
    assert ruled(bound(couple()), message(ALICE, body=body)).decision.outcome is Outcome.ROUTED


def test_stop_words_pass_where_the_number_does_its_own_filtering() -> None:
    """The account's flag with the number's filter off: words are forwarded."""
    rules = NumberRules(forwards_stop_words=True)

    assert ruled(bound(couple()), message(ALICE, body="STOP"), rules=rules).decision.outcome is Outcome.ROUTED


def test_a_call_is_never_an_opt_out() -> None:
    """Only messages are looked at."""
    event = InboundEvent(Kind.VOICE, ALICE, P1, "CA" + "1" * 32, "STOP")

    assert ruled(bound(couple()), event).decision.outcome is Outcome.ROUTED


@pytest.mark.parametrize("session", [couple(Mode.VOICE_ONLY), pairing(endpoint(ALICE, P1))], ids=["mode", "partner"])
def test_an_opt_out_comes_before_everything(session: ActiveSession) -> None:
    """Step 3 comes before the session is even looked for."""
    assert ruled(bound(session), message(ALICE, body="STOP")).decision.code is Code.STOP_WORD


# -- Mexico and Argentina --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("identifier", "shown"),
    [
        (MEXICAN, "+525512345678"),
        (MEXICAN, "+5215512345678"),
        (ARGENTINE, "+542231234567"),
        (ARGENTINE, "+5492231234567"),
        (ALICE, " 12125552001"),
        ("whatsapp:" + MEXICAN, "whatsapp:+5215512345678"),
    ],
)
@BOTH_KINDS
def test_inbound_variants_are_the_same_person(kind: Kind, identifier: Address, shown: str) -> None:
    """With or without the inserted digit, or with a "+" that became a space."""
    bindings = bound(pairing(endpoint(identifier, P1), endpoint(BOB, P2)))

    assert ruled(bindings, arrival(kind, shown)).decision.to == BOB


OLD_MEXICO = NumberRules(inserts_mexican_one=True)
ARGENTINA = NumberRules(argentina=True)


@pytest.mark.parametrize(
    ("partner", "rules", "kind", "dialled"),
    [
        (MEXICAN, PLAIN, Kind.VOICE, "+525512345678"),
        (MEXICAN, PLAIN, Kind.MESSAGE, "+525512345678"),
        (MEXICAN, OLD_MEXICO, Kind.VOICE, "+5215512345678"),
        (MEXICAN, OLD_MEXICO, Kind.MESSAGE, "+5215512345678"),
        (MEXICAN, ARGENTINA, Kind.VOICE, "+525512345678"),
        (ARGENTINE, PLAIN, Kind.VOICE, "+542231234567"),
        (ARGENTINE, PLAIN, Kind.MESSAGE, "+542231234567"),
        (ARGENTINE, ARGENTINA, Kind.VOICE, "+5492231234567"),
        (ARGENTINE, ARGENTINA, Kind.MESSAGE, "+542231234567"),
        (ARGENTINE, OLD_MEXICO, Kind.VOICE, "+542231234567"),
        (BOB, NumberRules(inserts_mexican_one=True, argentina=True), Kind.VOICE, BOB),
    ],
)
def test_the_outbound_leg_is_dialled_as_the_country_needs(
    partner: Address, rules: NumberRules, kind: Kind, dialled: str
) -> None:
    """Mexico's "1" for calls and texts, Argentina's "9" for calls alone."""
    bindings = bound(pairing(endpoint(ALICE, P1), endpoint(partner, P2)))

    decision = ruled(bindings, arrival(kind, ALICE), rules=rules).decision

    assert decision.to == dialled
    assert outbound_address(partner, is_call=kind is Kind.VOICE, rules=rules) == dialled


# -- rules and records -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("respects", [False, True])
@pytest.mark.parametrize("filters", [False, True])
@pytest.mark.parametrize("is_old", [False, True])
@pytest.mark.parametrize("argentina", [False, True])
def test_the_rules_of_a_number_come_from_its_owners(
    *, respects: bool, filters: bool, is_old: bool, argentina: bool
) -> None:
    """Account, service and number each give their part."""
    account = Account(
        sid="AC" + "1" * 32,
        auth_token="0" * 32,
        friendly_name="Rides",
        respect_sms_stop_filter=respects,
        argentina=argentina,
    )
    service = Service(
        sid="KS" + "1" * 32,
        account_sid=account.sid,
        unique_name="rides",
        inserts_mexican_one=is_old,
        date_created=NOW,
        date_updated=NOW,
    )
    number = ProxyNumber(
        sid="PN" + "1" * 32,
        account_sid=account.sid,
        address=P1,
        iso_country="US",
        capabilities=Capability.ALL,
        friendly_name=P1,
        date_created=NOW,
        date_updated=NOW,
        stop_filtering=filters,
    )

    rules = rules_for(account, service, number)

    assert rules == NumberRules(
        forwards_stop_words=respects and not filters, inserts_mexican_one=is_old, argentina=argentina
    )


def test_an_active_session_is_its_record_and_live_participants() -> None:
    """What the hot path needs, and nothing else."""
    session = Session(
        sid=new_sid(SidKind.SESSION),
        service_sid="KS" + "1" * 32,
        account_sid="AC" + "1" * 32,
        status=SessionStatus.IN_PROGRESS,
        mode=Mode.VOICE_ONLY,
        ttl_seconds=60,
        idle_since=NOW + 5,
        date_created=NOW,
        date_updated=NOW,
    )
    participant = Participant(
        sid=new_sid(SidKind.PARTICIPANT),
        session_sid=session.sid,
        service_sid=session.service_sid,
        account_sid=session.account_sid,
        identifier=ALICE,
        proxy_identifier=P1,
        proxy_identifier_sid="PN" + "1" * 32,
        date_created=NOW,
        date_updated=NOW,
    )

    active = active_session(session, (participant,))

    assert active.endpoints == (Endpoint(participant.sid, ALICE, P1),)
    assert (active.mode, active.expires_at) == (Mode.VOICE_ONLY, NOW + 65)
    assert active.proxies() == {P1}


def test_a_shared_number_is_one_of_the_sessions_numbers_once() -> None:
    """In_use counts a session once per number."""
    assert pairing(endpoint(ALICE, P1), endpoint(BOB, P1)).proxies() == {P1}
    assert couple().proxies() == {P1, P2}


def test_a_pushed_message_leaves_from_the_recipients_own_number() -> None:
    """It looks as if the partner wrote; the inbound half is empty."""
    session = couple()

    interaction = pushed_message(session, session.endpoints[1], sid="KI" + "1" * 32, body="Hi", media=(), now=NOW)

    assert interaction.is_message_interaction
    assert (interaction.kind, interaction.proxy, interaction.body) == (Kind.MESSAGE, P2, "Hi")
    assert interaction.outbound.participant_sid == session.endpoints[1].participant_sid
    assert interaction.outbound.status is LegStatus.QUEUED
