"""Workloads to try a server with: sessions to make, and events whose endings are known beforehand; the same for a seed.

Who is in which session on which proxy number is decided here, so that the events can be written before the server is
asked. Sessions are items of a batch (`maskline sessions batch`), events are records of the feed (`maskline feed`).
"""

from bisect import bisect_right
from collections.abc import Iterator
from enum import StrEnum
from itertools import accumulate
from random import Random
from typing import Any, Final

import msgspec

from engine.core.model.records import Address, Mode
from engine.core.routing.traffic import Outcome, Reason

EXPIRED_TTL_SECONDS: Final = 1
"""Of sessions that are to have expired: the events come later than that after the sessions were made."""

_MOST_PEOPLE = 8_000_000
_STRANGER = "+1929{:07d}"
_WORDS = ("I'm outside", "Two minutes", "Which door?", "Thanks!", "Could you call me?")


class Arrivals(StrEnum):
    """How events follow each other."""

    STEADY = "steady"
    """At equal distances."""
    POISSON = "poisson"
    """At random, none knowing of another."""
    BURSTS = "bursts"
    """Poisson, at five times the rate in one second of five, and not at all in the others."""


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be made."""

    sessions: int = 1_000
    numbers: int = 100
    """Proxy numbers, each session on two of them."""
    events: int = 10_000
    seed: int = 1
    skew: float = 0.9
    """Zipf exponent of the events over the sessions: 0 = all alike, 1 = a few have most."""
    calls: float = 0.4
    """Share of calls; the others are messages."""
    misses: float = 0.02
    """Share of events of people whom nobody knows."""
    expired: float = 0.01
    """Share of events in sessions that have expired."""
    wrong_mode: float = 0.01
    """Share of calls in sessions for messages, and of messages in sessions for calls."""
    opt_out: float = 0.005
    """Share of messages that say STOP."""
    rate: float = 1_000.0
    """Events a second, on average."""
    arrivals: Arrivals = Arrivals.POISSON


class Pair(msgspec.Struct, frozen=True):
    """A session as the events meet it."""

    endpoints: tuple[tuple[Address, Address], tuple[Address, Address]]
    """(person, proxy number) of both."""
    mode: Mode = Mode.VOICE_AND_MESSAGE
    is_expired: bool = False


class Arrival(msgspec.Struct, frozen=True):
    """An event, and what must become of it."""

    at: float
    """Seconds after the first one could be."""
    record: dict[str, Any]
    """As a file of events has it."""
    outcome: Outcome
    reason: Reason

    @property
    def ending(self) -> str:
        """What must become of it, named as `maskline feed` does."""
        return f"{self.outcome} {self.reason}"


def check(workload: Workload) -> None:
    """Raise ValueError where a workload makes no sense."""
    shares = (workload.misses, workload.expired, workload.wrong_mode, workload.opt_out, workload.calls)
    if any(not 0 <= share <= 1 for share in shares) or sum(shares[:3]) > 1:
        raise ValueError("shares are from 0 to 1, and those of misses, expired and wrong mode no more together")
    if workload.numbers < 2:  # noqa: PLR2004 - a session has two
        raise ValueError("a session needs two numbers")
    if not 3 <= workload.sessions <= _MOST_PEOPLE // 2:  # noqa: PLR2004 - one of each kind
        raise ValueError(f"from 3 to {_MOST_PEOPLE // 2:,} sessions can be made")
    if workload.rate <= 0:
        raise ValueError("a rate is more than nothing")


def proxy_numbers(workload: Workload) -> list[Address]:
    """Return the numbers of the pool."""
    return [f"+1415{2_000_000 + place:07d}" for place in range(workload.numbers)]


def pairs(workload: Workload) -> list[Pair]:
    """Return the sessions: the plain ones first, then a tenth each that has expired, or whose mode is narrow."""
    numbers = proxy_numbers(workload)
    few = max(1, workload.sessions // 10)
    made = []
    for place in range(workload.sessions):
        left = workload.sessions - place
        mode, is_expired = Mode.VOICE_AND_MESSAGE, left <= few
        if few < left <= 2 * few:
            mode = Mode.VOICE_ONLY if left % 2 else Mode.MESSAGE_ONLY
        endpoints = [
            (f"+1213{2_000_000 + 2 * place + side:07d}", numbers[(2 * place + side) % len(numbers)]) for side in (0, 1)
        ]
        made.append(Pair((endpoints[0], endpoints[1]), mode, is_expired))
    return made


def batch_items(workload: Workload) -> Iterator[dict[str, Any]]:
    """Yield the sessions as items of a batch."""
    for place, pair in enumerate(pairs(workload)):
        item: dict[str, Any] = {
            "IdempotencyKey": f"workload-{workload.seed}-{place}",
            "Participants": [{"Identifier": who, "ProxyIdentifier": proxy} for who, proxy in pair.endpoints],
        }
        if pair.mode is not Mode.VOICE_AND_MESSAGE:
            item["Mode"] = pair.mode.value
        if pair.is_expired:
            item["Ttl"] = EXPIRED_TTL_SECONDS
        yield item


def arrivals(workload: Workload) -> Iterator[Arrival]:
    """Yield the events in order, with what must become of them."""
    check(workload)
    chosen = Random(workload.seed)  # noqa: S311 - a repeatable load
    cast = _Cast(pairs(workload), skew=workload.skew)
    at = 0.0
    for place in range(workload.events):
        at = _next(at, workload, chosen)
        yield _arrival(place, at, cast=cast, workload=workload, chosen=chosen)


class _Cast:
    """Sessions of each kind, of which some are chosen more often."""

    def __init__(self, everybody: list[Pair], *, skew: float) -> None:
        plain = [one for one in everybody if one.mode is Mode.VOICE_AND_MESSAGE and not one.is_expired]
        self.plain = plain
        self.expired = [one for one in everybody if one.is_expired]
        self.narrow = [one for one in everybody if one.mode is not Mode.VOICE_AND_MESSAGE]
        self._weights = list(accumulate((rank + 1) ** -skew for rank in range(len(plain))))

    def one(self, chosen: Random) -> Pair:
        """Return a plain session, by rank."""
        return self.plain[bisect_right(self._weights, chosen.random() * self._weights[-1], hi=len(self.plain) - 1)]


def _arrival(place: int, at: float, *, cast: _Cast, workload: Workload, chosen: Random) -> Arrival:
    is_call = chosen.random() < workload.calls
    kind = chosen.random()
    pair, outcome, reason = cast.one(chosen), Outcome.ROUTED, Reason.IN_SESSION
    if (kind := kind - workload.misses) < 0:
        outcome, reason = Outcome.REFUSED, Reason.NO_SESSION
    elif (kind := kind - workload.expired) < 0:
        pair, outcome, reason = chosen.choice(cast.expired), Outcome.REFUSED, Reason.SESSION_EXPIRED
    elif kind - workload.wrong_mode < 0:
        pair, outcome = chosen.choice(cast.narrow), Outcome.REFUSED
        is_call = pair.mode is Mode.MESSAGE_ONLY
        reason = Reason.CALL_TO_MESSAGE_ONLY if is_call else Reason.MESSAGE_TO_VOICE_ONLY
    sender, proxy = chosen.choice(pair.endpoints)
    if reason is Reason.NO_SESSION:
        sender = _STRANGER.format(2_000_000 + chosen.randrange(_MOST_PEOPLE - 2_000_000))
    if is_call:
        return Arrival(at, _record("call", sender, proxy, f"CA{place:032x}"), outcome, reason)
    body = chosen.choice(_WORDS)
    if chosen.random() < workload.opt_out:
        body, outcome, reason = "STOP", Outcome.REFUSED, Reason.STOP_WORD
    return Arrival(at, {**_record("message", sender, proxy, f"SM{place:032x}"), "body": body}, outcome, reason)


def _record(event: str, sender: Address, proxy: Address, sid: str) -> dict[str, Any]:
    return {"event": event, "sender": sender, "proxy": proxy, "sid": sid}


def _next(at: float, workload: Workload, chosen: Random) -> float:
    match workload.arrivals:
        case Arrivals.STEADY:
            return at + 1 / workload.rate
        case Arrivals.POISSON:
            return at + chosen.expovariate(workload.rate)
        case Arrivals.BURSTS:
            later = at + chosen.expovariate(5 * workload.rate)
            return later if int(later) % 5 == 0 else float(int(later) + 5 - int(later) % 5)
