"""A file of events sent over the feed: how fast, what came back, how long it took; behind `maskline feed`."""

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Iterable
from time import perf_counter

import msgspec

from engine.channels.feed.events import Event
from engine.channels.feed.frames import Refusal, Said
from engine.channels.feed.records import Record
from engine.cli.csvrows import BadRow
from engine.client.feed import FeedClient
from engine.core.numbers.e164 import mask_address

WANTS = ("outcome", "reason")
"""All that is counted of a decision."""

BAD_ROWS_SHOWN = 100
"""Bad rows that are listed; the others are only counted."""

_AHEAD_SECONDS = 0.002
_SHORTEST_SECONDS = 1e-6
_STEPS_PER_DOUBLING = 4


class Bucket(msgspec.Struct, frozen=True):
    """Answers that took about as long."""

    up_to_ms: float
    events: int


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """How long answers took, from sending to hearing, in milliseconds; percentiles are the upper ends of buckets."""

    p50: float
    p90: float
    p99: float
    p999: float
    highest: float
    buckets: tuple[Bucket, ...]


class FeedReport(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a file."""

    events: int
    """Sent."""
    answered: int
    """Of those, with an answer."""
    seconds: float
    per_second: int
    """Answers."""
    endings: dict[str, int]
    """Outcome and reason, what became of leg statuses, problems of events: how often."""
    bad_rows: int
    """Rows for which nothing was sent."""
    shown: tuple[BadRow, ...]
    """The first of them."""
    latency: Latency | None

    @property
    def is_clean(self) -> bool:
        """Whether every row was sent and every event decided."""
        problems = sum(count for ending, count in self.endings.items() if ending.startswith(PROBLEM))
        return not self.bad_rows and not problems and self.answered == self.events


PROBLEM = "problem "
"""Begins the endings that are mistakes."""


class Tally:
    """Counts what comes back, as it comes."""

    def __init__(self) -> None:
        self.events = 0
        self.answered = 0
        self.endings: Counter[str] = Counter()
        self.bad_rows = 0
        self.shown: list[BadRow] = []
        self.began = perf_counter()
        self._latencies: Counter[int] = Counter()
        self._highest = 0.0

    def refuse(self, place: int, refusal: Refusal) -> None:
        """Count a row for which nothing is sent."""
        self.bad_rows += 1
        if len(self.shown) < BAD_ROWS_SHOWN:
            named = f"{refusal.field}: " if refusal.field else ""
            self.shown.append(BadRow(place, f"{named}{mask_address(refusal.detail)} ({refusal.error})"))

    def take(self, sent_at: float, said: Said) -> None:
        """Count an answer."""
        if said is None:
            self.endings[f"{PROBLEM}no answer"] += 1
            return
        self.answered += 1
        seconds = max(perf_counter() - sent_at, _SHORTEST_SECONDS)
        self._highest = max(self._highest, seconds)
        self._latencies[math.ceil(math.log2(seconds / _SHORTEST_SECONDS) * _STEPS_PER_DOUBLING)] += 1
        if isinstance(said, str):
            self.endings[f"status {said}"] += 1
        elif isinstance(said, Refusal):
            self.endings[f"{PROBLEM}{said.error}"] += 1
        else:
            self.endings[f"{said[0]} {said[1]}"] += 1

    def report(self) -> FeedReport:
        """Sum up."""
        seconds = perf_counter() - self.began
        return FeedReport(
            events=self.events,
            answered=self.answered,
            seconds=round(seconds, 3),
            per_second=round(self.answered / seconds),
            endings=dict(self.endings.most_common()),
            bad_rows=self.bad_rows,
            shown=tuple(self.shown),
            latency=self._latency() if self.answered else None,
        )

    def _latency(self) -> Latency:
        buckets = [Bucket(_milliseconds(step), count) for step, count in sorted(self._latencies.items())]

        def percentile(share: float) -> float:
            left = share * self.answered
            for bucket in buckets:
                left -= bucket.events
                if left <= 0:
                    return bucket.up_to_ms
            return buckets[-1].up_to_ms

        return Latency(
            p50=percentile(0.5),
            p90=percentile(0.9),
            p99=percentile(0.99),
            p999=percentile(0.999),
            highest=round(self._highest * 1e3, 3),
            buckets=tuple(buckets),
        )


def _milliseconds(step: int) -> float:
    return float(f"{2 ** (step / _STEPS_PER_DOUBLING) / 1e3:.3g}")


class Pace:
    """When the events of a file are sent: a number of them a second, as their `at` says, or when they are taken."""

    def __init__(self, *, rate: float | None = None, is_as_recorded: bool = False) -> None:
        self._rate = rate
        self._is_as_recorded = is_as_recorded
        self._first: float | None = None

    def due(self, place: int, at: float | None) -> float | None:
        """Return how long after the beginning an event is sent, given how many were; None = now."""
        if self._is_as_recorded and at is not None:
            self._first = at if self._first is None else self._first
            return at - self._first
        return None if self._rate is None else place / self._rate


async def send_records(
    client: FeedClient, records: Iterable[Record], *, pace: Pace, tally: Tally, turned: Callable[[], None]
) -> None:
    """Send the events of a file; `turned` is called now and then."""
    for record in records:
        if isinstance(record.event, Refusal):
            tally.refuse(record.place, record.event)
            continue
        due = pace.due(tally.events, record.at)
        if due is not None:
            ahead = due - (perf_counter() - tally.began)
            if ahead > _AHEAD_SECONDS:
                turned()
                await asyncio.sleep(ahead)
        await _send(client, record.event, tally)
        if tally.events % 256 == 0:
            turned()
            await asyncio.sleep(0)
    await client.drain()
    turned()


async def _send(client: FeedClient, event: Event, tally: Tally) -> None:
    sent_at = perf_counter()
    tally.events += 1
    await client.send(event, lambda said: tally.take(sent_at, said))
