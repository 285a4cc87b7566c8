"""The verdict: what somebody on call has to look at, in sentences, the most urgent first; nothing when all is well.

Pure: it is given what was read, and since when each finding has been seen.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import IntEnum
from typing import Final

import msgspec

from engine.core.model.errors import CATALOGUE, Code
from engine.core.model.outbox import OutboxEntry
from engine.core.model.overview import HostStatus, PoolReport
from engine.core.model.records import DebuggerEvent
from engine.core.numbers.masking import mask_text
from engine.core.ports.lists import OutboxDepth
from engine.core.routing.traffic import Outcome

ERRORS_SECONDS: Final = 600.0
"""For so long a debugger event of the level ERROR counts."""

OLDEST_SECONDS: Final = 300.0
"""A delivery that has waited for longer is told of; the alert on it has the same limit."""

NEARLY_FULL: Final = 0.85
"""Saturation from which a pool is told of; the alert on it has the same limit."""

_MOST_OF_A_KIND: Final = 5
"""Pools or codes that get a sentence of their own."""

_OF_STRANGERS: Final = frozenset({Code.NO_ACTIVE_SESSION.value})
"""Errors that whoever dials a wrong number raises: every service has some."""

_TITLES: Final = {code.value: entry.title for code, entry in CATALOGUE.items()}


class Urgency(IntEnum):
    """How soon somebody has to look; closed."""

    NOW = 0
    """Calls or messages are not answered, or nothing leaves."""
    TODAY = 1
    """Something was refused or lost for some; the rest goes on."""
    SOON = 2
    """Nothing was lost yet."""


class Finding(msgspec.Struct, frozen=True):
    """One thing that is wrong."""

    key: str
    """What it is about; the same for as long as it lasts."""
    urgency: Urgency
    text: str
    """A sentence."""
    below: str
    """The page below the console that shows it; one that begins with "#" is a part of the overview."""
    since: float | None = None
    """UTC epoch seconds, as far as it is known."""


class Signs(msgspec.Struct, frozen=True, kw_only=True):
    """What was read."""

    now: float
    hosts: Sequence[HostStatus]
    not_ready_per_second: float = 0.0
    """Traffic that was answered not-ready, of all hosts."""
    depth: OutboxDepth | None = None
    """What the hosts owe; None where the viewer may not know."""
    oldest_dead: OutboxEntry | None = None
    """Of the dead entries that the viewer may see."""
    pools: Sequence[PoolReport] = ()
    errors: Sequence[DebuggerEvent] = ()
    """Those of the last `ERRORS_SECONDS`, newest first."""
    has_more_errors: bool = False
    """There were more than these."""
    unread: Sequence[str] = ()
    """What could not be read, a sentence each."""


def findings(signs: Signs, first_seen: Mapping[str, float]) -> tuple[Finding, ...]:
    """Judge; `first_seen` tells since when findings whose signs have no time of their own have been seen, by key."""
    found = [one for rule in _RULES for one in rule(signs)]
    dated = [msgspec.structs.replace(one, since=first_seen.get(one.key)) if one.since is None else one for one in found]
    return tuple(sorted(dated, key=lambda one: (one.urgency, one.since or signs.now, one.key)))


class FirstSeen:
    """Since when each finding has been seen without a break."""

    def __init__(self) -> None:
        """Begin with none."""
        self._at: dict[str, float] = {}

    def note(self, found: Iterable[Finding], *, now: float) -> Mapping[str, float]:
        """Take a new look at all findings: what is there no more is forgotten."""
        self._at = {one.key: self._at.get(one.key, now) for one in found}
        return self._at


def _hosts(signs: Signs) -> Iterator[Finding]:
    for host in signs.hosts:
        if not host.is_answering:
            text = f"{host.name} does not answer: its numbers and services are not served."
            yield Finding(f"silent {host.name}", Urgency.NOW, text, "#hosts")
        elif host.problem:
            yield Finding(f"problem {host.name}", Urgency.NOW, f"{host.name}: {host.problem}.", "#hosts")
        elif not host.is_ready:
            yield Finding(f"problem {host.name}", Urgency.NOW, f"{host.name} is not ready for traffic.", "#hosts")


def _not_ready(signs: Signs) -> Iterator[Finding]:
    if signs.not_ready_per_second > 0:
        text = f"Calls or messages get {Outcome.NOT_READY}, {signs.not_ready_per_second:,.1f} a second."
        yield Finding("not-ready", Urgency.NOW, text, "#traffic")


def _outbox(signs: Signs) -> Iterator[Finding]:
    for host in signs.hosts:
        if host.figures.is_held:
            text = f"{host.name}: no callback, message or hang-up leaves until maskline outbox release."
            yield Finding(f"held {host.name}", Urgency.NOW, text, "outbox?state=pending")
        if host.figures.is_outbox_full:
            text = f"{host.name} is not ready: more deliveries are pending than outbox_limit allows."
            yield Finding(f"full {host.name}", Urgency.NOW, text, "outbox?state=pending")
    depth = signs.depth
    if (depth is not None and depth.dead) or signs.oldest_dead is not None:
        count = "" if depth is None else f": {depth.dead:,}"
        since = None if signs.oldest_dead is None else signs.oldest_dead.date_died
        yield Finding("dead", Urgency.TODAY, f"Deliveries were given up{count}.", "outbox?state=dead", since)
    if depth is not None and depth.oldest is not None and signs.now - depth.oldest > OLDEST_SECONDS:
        text = f"Deliveries wait: {depth.pending:,} are pending."
        yield Finding("waiting", Urgency.TODAY, text, "outbox?state=pending", depth.oldest)


def _peers(signs: Signs) -> Iterator[Finding]:
    for host in signs.hosts:
        for problem, count in sorted(host.figures.troubles.items()):
            yield Finding(f"{problem} {host.name}", Urgency.TODAY, f"{host.name}: {problem}: {count}.", "peers")


def _pools(signs: Signs) -> Iterator[Finding]:
    full = [pool for pool in signs.pools if pool.state.saturation >= 1]
    near = [pool for pool in signs.pools if NEARLY_FULL <= pool.state.saturation < 1]
    yield from _of_pools(
        full, "full", Urgency.TODAY, "is full: the next session of its busiest participant is refused (80208)."
    )
    yield from _of_pools(near, "nearly full", Urgency.SOON, "is nearly full.")


def _of_pools(pools: Sequence[PoolReport], state: str, urgency: Urgency, what: str) -> Iterator[Finding]:
    for pool in pools[:_MOST_OF_A_KIND]:
        text = f"The pool of {mask_text(pool.unique_name)} {what}"
        yield Finding(f"{state} {pool.service_sid}", urgency, text, f"services/{pool.service_sid}")
    others = len(pools) - _MOST_OF_A_KIND
    if others > 0:
        yield Finding(f"{state} others", urgency, f"{others} more pools are {state}.", "#pools")


def _errors(signs: Signs) -> Iterator[Finding]:
    counts = Counter(event.code for event in signs.errors)
    first = {event.code: event.at for event in signs.errors}  # the newest is first, so the oldest stays
    for code, count in counts.most_common(_MOST_OF_A_KIND):
        more = " or more" if signs.has_more_errors else ""
        text = f"{_TITLES.get(code, 'Error')} ({code}): {count}{more} in the last {int(ERRORS_SECONDS) // 60} min."
        urgency = Urgency.SOON if code in _OF_STRANGERS else Urgency.TODAY
        yield Finding(f"error {code}", urgency, text, f"events?code={code}&age=10min", first[code])


def _unread(signs: Signs) -> Iterator[Finding]:
    for text in signs.unread:
        yield Finding(f"unread {text}", Urgency.NOW, text, "#hosts")


_RULES: Final[tuple[Callable[[Signs], Iterator[Finding]], ...]] = (
    _hosts,
    _not_ready,
    _unread,
    _outbox,
    _peers,
    _pools,
    _errors,
)
