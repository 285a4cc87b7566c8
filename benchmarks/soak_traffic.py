"""What the soak does to a cluster, and what it remembers: rides over batch REST, messages over the feed, and the audit.

A message says whom it is for and its place among those of its ride; what was acknowledged is kept by that place, with
the interaction that the answer named, and is held against REST afterwards.
"""

import asyncio
import itertools
import json
import random
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial
from http import HTTPStatus
from typing import Any, Self

import httpx
import msgspec

from benchmarks.soak_cluster import NO_TLS, Json, Shop, Soaked
from engine.channels.feed.events import Message
from engine.channels.feed.frames import Said
from engine.client.feed import FeedClient
from engine.client.link import ClientSettings
from engine.core.routing.traffic import Outcome

WANTS = ("outcome", "reason", "to", "caller_id", "interaction")
PATIENT = ClientSettings(patience_seconds=60.0, silence_seconds=5.0)

TICK_SECONDS = 0.01
"""How often what is due is sent."""
AGAIN_EVERY = 50
"""One message in so many is followed by one of the last of the ride, delivered again with the same SID."""
LAST = 5
READERS = 8
"""Rides that are audited side by side."""
RETRY_SECONDS = 0.2
DRAIN_SECONDS = 90.0

_SID_BYTES = 16
_NONE = bytes(_SID_BYTES)
_LINES = {"content-type": "application/x-ndjson"}


class Endpoint(msgspec.Struct, frozen=True):
    """A participant of a ride."""

    sid: str
    identifier: str
    proxy: str


class Ride(msgspec.Struct, eq=False):
    """A session of two people nobody else meets."""

    number: int
    sid: str
    endpoints: tuple[Endpoint, Endpoint]
    sent: int = 0
    """Messages so far; they are numbered from 0."""
    waiting: int = 0
    """Events without an answer."""
    acknowledged: bytearray = msgspec.field(default_factory=bytearray)
    """16 bytes a message: its interaction; zeros while it is not acknowledged."""
    in_doubt: int = 0
    """Messages that got no answer in time: they may be recorded or not."""

    def note(self, place: int) -> bytes:
        """Return what is known of a message: its interaction, or zeros."""
        return bytes(self.acknowledged[place * _SID_BYTES : (place + 1) * _SID_BYTES])

    def keep(self, place: int, interaction: bytes) -> None:
        """Note that a message is acknowledged."""
        self.acknowledged[place * _SID_BYTES : (place + 1) * _SID_BYTES] = interaction

    def message(self, place: int) -> Message:
        """Return a message, the same whenever it is asked for: both people write in turn."""
        sender, partner = self.sides(place)
        return Message(sender.identifier, sender.proxy, f"SM-{self.number}-{place}", f"{partner.identifier} {place}")

    def sides(self, place: int) -> tuple[Endpoint, Endpoint]:
        """Return who writes a message, and who is to read it."""
        first, second = self.endpoints
        return (first, second) if place % 2 == 0 else (second, first)


class Tally(msgspec.Struct):
    """What has happened so far."""

    acknowledged: int = 0
    repeated: int = 0
    """Deliveries again that got the answer of the first."""
    unanswered: int = 0
    opened: int = 0
    closed: int = 0
    latencies: list[float] = msgspec.field(default_factory=list)
    """Seconds, since they were taken last."""
    wrong: Counter[str] = msgspec.field(default_factory=Counter)
    """Kinds of what must not be."""
    examples: list[str] = msgspec.field(default_factory=list)

    def fault(self, kind: str, example: str) -> None:
        """Count what must not be."""
        self.wrong[kind] += 1
        if self.wrong[kind] <= 5:  # noqa: PLR2004 - enough to look into
            self.examples.append(f"{kind}: {example}")


class Gaps:
    """How long each proxy number went without an answer."""

    def __init__(self) -> None:
        """Begin."""
        self._last: dict[str, float] = {}
        self._longest: dict[str, float] = {}

    def hear(self, number: str, now: float) -> None:
        """Note that an event of a number was acknowledged."""
        self._longest[number] = max(self._longest.get(number, 0.0), now - self._last.get(number, now))
        self._last[number] = now

    def take(self, now: float) -> list[float]:
        """Return the longest of each number since they were taken last, those that still last among them."""
        found = [max(longest, now - self._last[number]) for number, longest in self._longest.items()]
        self._longest = dict.fromkeys(self._longest, 0.0)
        return found


class Traffic:
    """Rides that open and close, and what is written in them."""

    def __init__(self, cluster: Soaked, shop: Shop, *, seed: int) -> None:
        """Make nothing yet."""
        self._cluster = cluster
        self.gaps = Gaps()
        self.tally = Tally()
        self.rides: list[Ride] = []
        """Every one that was ever made."""
        self.open: list[Ride] = []
        """Those that are written in, the oldest first."""
        self._dice = random.Random(seed)  # noqa: S311 - a repeatable load
        self._numbers = itertools.count()
        limits = httpx.Limits(max_connections=READERS, max_keepalive_connections=READERS)
        auth = (shop.account_sid, shop.token)
        self._http = httpx.AsyncClient(auth=auth, verify=NO_TLS, timeout=60, limits=limits)
        self._path = f"/v1/Services/{shop.service_sid}/Sessions"
        self.feed = FeedClient(*cluster.feeds, key=shop.account_sid, secret=shop.token, wants=WANTS, settings=PATIENT)

    async def __aenter__(self) -> Self:
        """Connect to the feed."""
        await self.feed.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.feed.close()
        await self._http.aclose()

    # -- rides -----------------------------------------------------------------------------------------------------

    async def open_rides(self, count: int) -> None:
        """Make rides; they are written in from their answer on."""
        numbers = [next(self._numbers) for _ in range(count)]
        items = [
            {"IdempotencyKey": f"open {number}", "Participants": [{"Identifier": one} for one in _people(number)]}
            for number in numbers
        ]
        for number, result in zip(numbers, await self._done(items), strict=True):
            if result["status"] != HTTPStatus.CREATED:
                self.tally.fault("not opened", str(result))
                continue
            endpoints = {
                one["identifier"]: Endpoint(one["sid"], one["identifier"], one["proxy_identifier"])
                for one in result["participants"]
            }
            first, second = (endpoints[one] for one in _people(number))
            ride = Ride(number, result["session"]["sid"], (first, second))
            self.rides.append(ride)
            self.open.append(ride)
            self.tally.opened += 1

    async def close_rides(self, count: int) -> None:
        """Close the oldest rides when all that was written in them is answered; nobody is reached there afterwards."""
        leaving, self.open = self.open[:count], self.open[count:]
        until = time.monotonic() + DRAIN_SECONDS
        while any(ride.waiting for ride in leaving) and time.monotonic() < until:  # noqa: ASYNC110 - many at once
            await asyncio.sleep(TICK_SECONDS)
        items = [{"Operation": "close", "Sid": ride.sid, "IdempotencyKey": f"close {ride.number}"} for ride in leaving]
        for ride, result in zip(leaving, await self._done(items), strict=True):
            if result["status"] != HTTPStatus.OK or result["session"]["status"] != "closed":
                self.tally.fault("not closed", str(result))
                continue
            self.tally.closed += 1
            probe = msgspec.structs.replace(ride.message(0), sid=f"SM-{ride.number}-late")
            await self.feed.send(probe, partial(self._heard_late, ride))

    def _heard_late(self, ride: Ride, said: Said) -> None:
        if isinstance(said, list | tuple) and said[0] == Outcome.ROUTED:
            self.tally.fault("routed after close", f"ride {ride.number}: {said}")

    async def _done(self, items: list[Json]) -> list[Json]:
        """Send items, again as long as a host does not answer; returns the results in order."""
        results: dict[int, Json] = {}
        while len(results) < len(items):
            left = [place for place in range(len(items)) if place not in results]
            body = b"\n".join(json.dumps(items[place]).encode() for place in left)
            told = zip(left, await self._batch(body, len(left)), strict=True)
            results |= {place: one for place, one in told if one["status"] < HTTPStatus.INTERNAL_SERVER_ERROR}
            if len(results) < len(items):
                await asyncio.sleep(RETRY_SECONDS)
        return [results[place] for place in range(len(items))]

    async def _batch(self, body: bytes, count: int) -> Sequence[Json]:
        try:
            response = await self._http.post(f"{self._cluster.address}{self._path}/Batch", content=body, headers=_LINES)
        except httpx.TransportError:
            return [_AGAIN] * count
        if response.status_code != HTTPStatus.OK:
            assert response.is_server_error, response.text
            return [_AGAIN] * count
        results = [json.loads(line) for line in response.text.splitlines()]
        return results if len(results) == count else [_AGAIN] * count  # its host was killed in the middle

    # -- messages --------------------------------------------------------------------------------------------------

    async def write(self, *, seconds: float, per_second: float) -> None:
        """Write messages at a rate; what a slow moment left undone is made up for."""
        start, sent = time.perf_counter(), 0
        while (passed := time.perf_counter() - start) < seconds:
            due = int(passed * per_second)
            while sent < due:
                await self._write_one()
                sent += 1
            await asyncio.sleep(TICK_SECONDS)

    async def write_at_will(self, *, seconds: float) -> None:
        """Write as fast as the cluster answers."""
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            for _ in range(256):
                await self._write_one()
            await asyncio.sleep(0)

    async def drained(self) -> None:
        """Wait until every message has its answer."""
        async with asyncio.timeout(DRAIN_SECONDS):
            await self.feed.drain()

    async def _write_one(self) -> None:
        ride = self._dice.choice(self.open)
        place = ride.sent
        ride.sent += 1
        ride.acknowledged += _NONE
        await self._send(ride, place)
        if place % AGAIN_EVERY == AGAIN_EVERY - 1:
            await self._send(ride, place - self._dice.randint(1, LAST))

    async def _send(self, ride: Ride, place: int) -> None:
        ride.waiting += 1
        start = time.perf_counter()
        await self.feed.send(ride.message(place), lambda said: self._heard(ride, place, said, start))

    def _heard(self, ride: Ride, place: int, said: Said, start: float) -> None:
        ride.waiting -= 1
        tally, (_, partner) = self.tally, ride.sides(place)
        if said is None:
            tally.unanswered += 1
            ride.in_doubt += 1
            return
        tally.latencies.append(time.perf_counter() - start)
        if not isinstance(said, list | tuple):
            tally.fault("not decided", f"ride {ride.number}, message {place}: {said}")
            return
        outcome, reason, to, caller_id, interaction = said
        if outcome != Outcome.ROUTED:
            tally.fault("refused", f"ride {ride.number}, message {place}: {outcome} {reason}")
        elif (to, caller_id) != (partner.identifier, partner.proxy):
            tally.fault("misrouted", f"ride {ride.number}, message {place}: {interaction}")
        else:
            self._acknowledge(ride, place, str(interaction))

    def _acknowledge(self, ride: Ride, place: int, interaction: str) -> None:
        told, known = bytes.fromhex(interaction[2:]), ride.note(place)
        if known == _NONE:
            ride.keep(place, told)
            self.tally.acknowledged += 1
            self.gaps.hear(ride.sides(place)[0].proxy, time.perf_counter())
        elif known == told:
            self.tally.repeated += 1
        else:
            self.tally.fault("answered twice", f"ride {ride.number}, message {place}: {interaction} and {known.hex()}")

    # -- the audit -------------------------------------------------------------------------------------------------

    async def audit(self) -> int:
        """Hold every ride against what REST says of it; returns how many interactions were read."""
        left = iter(self.rides)

        async def read() -> int:
            return sum([await self._audit(ride) for ride in left])

        return sum(await asyncio.gather(*(read() for _ in range(READERS))))

    async def _audit(self, ride: Ride) -> int:
        listed = await self._interactions(ride)
        seen: Counter[str] = Counter(one["inbound_resource_sid"] for one in listed)
        for sid, times in seen.items():
            if times > 1:
                self.tally.fault("twice", f"ride {ride.number}: {sid} {times} times")
        places = {int(one["inbound_resource_sid"].rpartition("-")[2]): one for one in listed}
        unasked = 0
        for place, one in places.items():
            self._check_partner(ride, place, one)
            unasked += ride.note(place) == _NONE
        if unasked > ride.in_doubt:
            self.tally.fault("not acknowledged", f"ride {ride.number}: {unasked} recorded, {ride.in_doubt} in doubt")
        for place in range(ride.sent):
            known = ride.note(place)
            if known != _NONE and (place not in places or places[place]["sid"] != f"KI{known.hex()}"):
                self.tally.fault("missing", f"ride {ride.number}, message {place}: KI{known.hex()}")
        return len(listed)

    def _check_partner(self, ride: Ride, place: int, shown: Json) -> None:
        """Compare who wrote, who was reached, and whom the body was for."""
        sender, partner = ride.sides(place)
        reached = (shown["inbound_participant_sid"], shown["outbound_participant_sid"])
        body = json.loads(shown["data"])["body"]
        if reached != (sender.sid, partner.sid) or body != f"{partner.identifier} {place}":
            self.tally.fault("misrouted", f"ride {ride.number}, message {place}: {shown['sid']}")

    async def _interactions(self, ride: Ride) -> list[Json]:
        found: list[Json] = []
        url: str | None = f"{self._path}/{ride.sid}/Interactions?PageSize=100"
        while url is not None:
            page = await self._read(url)
            found += page["interactions"]
            url = page["meta"]["next_page_url"]
        return found

    async def _read(self, url: str) -> Any:  # noqa: ANN401 - JSON
        for _ in range(int(DRAIN_SECONDS / RETRY_SECONDS)):
            try:
                response = await self._http.get(self._cluster.address + httpx.URL(url).raw_path.decode())
            except httpx.TransportError:
                await asyncio.sleep(RETRY_SECONDS)
                continue
            if response.status_code == HTTPStatus.OK:
                return msgspec.json.decode(response.content)
            assert response.is_server_error, response.text
            await asyncio.sleep(RETRY_SECONDS)
        raise TimeoutError(url)


_AGAIN: Json = {"status": HTTPStatus.SERVICE_UNAVAILABLE}


def _people(number: int) -> tuple[str, str]:
    return f"+1213{2_000_000 + 2 * number}", f"+1213{2_000_001 + 2 * number}"


def quantiles(latencies: Iterable[float]) -> tuple[float, float, float]:
    """Return p50, p99 and the longest; zeros for none."""
    ordered = sorted(latencies) or [0.0]
    return ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.99)], ordered[-1]
