"""How many proxy numbers and hosts a marketplace needs, by giving its sessions to the real pool of numbers.

Jobs arrive at random over the hours simulated; each pairs somebody who has many (a driver) with somebody who has one (a
rider) in a session that stays open for a while. Whoever is in a session gets a number from the pool as in a service in
strict mode; when none is free for them, the pool gets one more. The size at the end was enough for all.
"""

import heapq
import math
from bisect import bisect_right
from collections.abc import Mapping
from itertools import accumulate
from random import Random
from typing import Final

import msgspec

from engine.core.model.errors import ApiError
from engine.core.model.records import Address, Capability, GeoMatchLevel, Mode, NumberSelectionBehavior, ProxyNumber
from engine.core.pools.binding_index import BindingIndex
from engine.core.pools.pool import MOST_UNRESERVED, Pool

EVENTS_PER_CORE: Final = 20_000
"""Calls and messages a second that one host records; see docs/performance.md."""
CREATES_PER_CORE: Final = 3_000
"""Sessions a second that one host makes, one request each; likewise."""
BYTES_PER_SESSION: Final = 1_200
"""Memory of an active session of two; likewise."""
USED_SHARE: Final = 0.5
"""Of a host's capacity, at the busiest: the rest is for peaks within the second and for a host that is down."""

_SECONDS_AN_HOUR = 3_600.0
_NOTHING: Mapping[Address, float] = {}


class Marketplace(msgspec.Struct, frozen=True, kw_only=True):
    """Who meets whom, how often and for how long."""

    drivers: int
    """People who have many sessions one after the other, or at once."""
    jobs_per_hour: float
    """Sessions that begin, all drivers together."""
    minutes: float = 45.0
    """How long a session stays open, on average; drawn from an exponential distribution."""
    keep_minutes: float = 60.0
    """How long it stays open after that, so that people can come back."""
    skew: float = 0.5
    """Zipf exponent of the jobs over the drivers: 0 = all alike, 1 = a few have most."""
    most_at_once: int = 0
    """Sessions that a driver takes at once, those kept open included; 0 = any number."""
    events_per_session: float = 6.0
    """Calls and messages of a session."""
    hours: float = 24.0
    """How much is simulated."""
    seed: int = 1


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a marketplace needs."""

    sessions: int
    """That were simulated."""
    turned_away: int
    """Jobs for which no driver was free."""
    sessions_at_once: int
    """At the busiest moment."""
    most_of_a_driver: int
    """Sessions of one driver at once: what the numbers follow from, since each needs a number of its own."""
    numbers: int
    """Proxy numbers that were enough for all."""
    services: int
    """That so many unreserved numbers need."""
    events_per_second: float
    """Calls and messages, on average."""
    creates_per_second: float
    """Sessions, on average."""
    hosts: int
    """Hosts, a core each."""
    memory_bytes: int
    """Of all sessions that are active at the busiest moment."""


def plan(market: Marketplace) -> Plan:
    """Simulate a marketplace; ValueError where its numbers make no sense."""
    if market.drivers < 1 or market.jobs_per_hour <= 0 or market.hours <= 0:
        raise ValueError("a marketplace has drivers, jobs and hours")
    run = _Simulation(market)
    run.play()
    events = market.jobs_per_hour * market.events_per_session / _SECONDS_AN_HOUR
    creates = market.jobs_per_hour / _SECONDS_AN_HOUR
    load = events / EVENTS_PER_CORE + creates / CREATES_PER_CORE
    numbers = len(run.pool)
    return Plan(
        sessions=run.sessions,
        turned_away=run.turned_away,
        sessions_at_once=run.most_sessions,
        most_of_a_driver=run.most_of_a_driver,
        numbers=numbers,
        services=math.ceil(numbers / MOST_UNRESERVED),
        events_per_second=events,
        creates_per_second=creates,
        hosts=max(1, math.ceil(load / USED_SHARE)),
        memory_bytes=run.most_sessions * BYTES_PER_SESSION,
    )


class _Simulation:
    """Sessions that begin and end on a pool that grows as it has to."""

    def __init__(self, market: Marketplace) -> None:
        self.pool = Pool()
        self.sessions = self.turned_away = self.most_sessions = self.most_of_a_driver = 0
        self._market = market
        self._random = Random(market.seed)  # noqa: S311 - a repeatable simulation
        self._bindings = BindingIndex()
        self._history: dict[Address, dict[Address, float]] = {}
        self._weights = list(accumulate((rank + 1) ** -market.skew for rank in range(market.drivers)))
        self._ends: list[tuple[float, int, tuple[tuple[Address, Address], ...]]] = []
        self._riders = 0

    def play(self) -> None:
        """Play the whole time."""
        at, until = 0.0, self._market.hours * _SECONDS_AN_HOUR
        rate = self._market.jobs_per_hour / _SECONDS_AN_HOUR
        while (at := at + self._random.expovariate(rate)) < until:
            while self._ends and self._ends[0][0] <= at:
                self._end(heapq.heappop(self._ends)[2])
            self._begin(at)

    def _begin(self, at: float) -> None:
        driver = self._driver()
        most = self._market.most_at_once
        if most and len(self._bindings.proxies_of(driver)) >= most:
            self.turned_away += 1
            return
        rider = f"+1646{2_000_000 + self._riders % 8_000_000:07d}"
        self._riders += 1
        pairs = tuple((who, self._endpoint(who, at)) for who in (driver, rider))
        for who, proxy in pairs:
            self._bindings.add(who, proxy)
        for proxy in {proxy for _, proxy in pairs}:
            self.pool.use(proxy)
        self._history[driver] = {**self._history.get(driver, {}), pairs[0][1]: at}
        lasts = 60.0 * (self._random.expovariate(1 / self._market.minutes) + self._market.keep_minutes)
        self.sessions += 1
        heapq.heappush(self._ends, (at + lasts, self.sessions, pairs))
        self.most_sessions = max(self.most_sessions, len(self._ends))
        self.most_of_a_driver = max(self.most_of_a_driver, len(self._bindings.proxies_of(driver)))

    def _end(self, pairs: tuple[tuple[Address, Address], ...]) -> None:
        for who, proxy in pairs:
            self._bindings.remove(who, proxy)
        for proxy in {proxy for _, proxy in pairs}:
            self.pool.release(proxy)

    def _driver(self) -> Address:
        place = bisect_right(self._weights, self._random.random() * self._weights[-1])
        return f"+1212{2_000_000 + min(place, self._market.drivers - 1):07d}"

    def _endpoint(self, who: Address, at: float) -> Address:
        """Return the number that somebody gets, new if need be."""
        try:
            return self._select(who)
        except ApiError:
            self.pool.add(_number(len(self.pool), at))
            return self._select(who)

    def _select(self, who: Address) -> Address:
        return self.pool.select(
            mode=Mode.VOICE_AND_MESSAGE,
            identifier=who,
            geo=GeoMatchLevel.COUNTRY,
            behavior=NumberSelectionBehavior.PREFER_STICKY,
            held=self._bindings.proxies_of(who),
            history=self._history.get(who, _NOTHING),
            choose=self._random.randrange,
            joins_us_and_canada=False,
        ).address


def _number(place: int, at: float) -> ProxyNumber:
    address = f"+1415{2_000_000 + place:07d}"
    return ProxyNumber(
        sid=f"PN{place:032x}",
        account_sid="AC" + "0" * 32,
        address=address,
        iso_country="US",
        capabilities=Capability.ALL,
        friendly_name=address,
        date_created=at,
        date_updated=at,
    )
