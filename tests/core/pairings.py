"""What the tests of routing are made of: people, proxy numbers, pairings, arrivals."""

from collections.abc import Callable

from engine.core.model.records import Address, Kind, Mode
from engine.core.model.sids import SidKind, ordered_sid
from engine.core.routing.decide import NumberRules, Ruling, decide
from engine.core.routing.traffic import InboundEvent
from engine.core.sessions.bindings import ActiveSession, Bindings, Endpoint

NOW = 1_700_000_000.0
ALICE, BOB, CAROL = "+12125552001", "+12125552002", "+12125552003"
MEXICAN, ARGENTINE = "+525512345678", "+542231234567"
P1, P2 = "+16465550001", "+16465550002"
BOTH = Mode.VOICE_AND_MESSAGE
PLAIN = NumberRules()


def counting() -> Callable[[SidKind], str]:
    made = 0

    def new_sid(kind: SidKind) -> str:
        nonlocal made
        made += 1
        return ordered_sid(kind, milliseconds=made, counter=0, random_bits=0)

    return new_sid


new_sid = counting()


def endpoint(identifier: Address, proxy: Address) -> Endpoint:
    return Endpoint(new_sid(SidKind.PARTICIPANT), identifier, proxy)


def pairing(
    *endpoints: Endpoint,
    mode: Mode = BOTH,
    ttl_seconds: int = 0,
    date_expiry: float | None = None,
    idle_since: float = NOW,
) -> ActiveSession:
    sid = new_sid(SidKind.SESSION)
    return ActiveSession(
        sid,
        "KS" + "1" * 32,
        "AC" + "1" * 32,
        mode,
        endpoints,
        idle_since,
        ttl_seconds=ttl_seconds,
        date_expiry=date_expiry,
    )


def couple(mode: Mode = BOTH, *, ttl_seconds: int = 0, date_expiry: float | None = None) -> ActiveSession:
    """Return the session in which Alice dials P1 and Bob dials P2."""
    return pairing(endpoint(ALICE, P1), endpoint(BOB, P2), mode=mode, ttl_seconds=ttl_seconds, date_expiry=date_expiry)


def bound(*sessions: ActiveSession, to: Address = P1) -> Bindings:
    bindings = Bindings()
    for session in sessions:
        for one in session.endpoints:
            if one.proxy == to:
                bindings.bind(one.identifier, session)
    return bindings


def call(sender: Address, to: Address = P1) -> InboundEvent:
    return InboundEvent(Kind.VOICE, sender, to, "CA" + "1" * 32)


def message(sender: Address, to: Address = P1, body: str = "on my way") -> InboundEvent:
    return InboundEvent(Kind.MESSAGE, sender, to, "SM" + "1" * 32, body)


def arrival(kind: Kind, sender: Address, to: Address = P1) -> InboundEvent:
    return call(sender, to) if kind is Kind.VOICE else message(sender, to)


def ruled(bindings: Bindings, event: InboundEvent, *, rules: NumberRules = PLAIN, now: float = NOW) -> Ruling:
    return decide(bindings, event, rules=rules, now=now, id_factory=new_sid)
