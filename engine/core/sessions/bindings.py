"""Who meets what on a proxy number: the active session as the hot path sees it, and the bindings of one number.

No clock, no await: times are arguments. Source: behaviour 7, 9.
"""

from bisect import insort
from collections.abc import Callable, Iterator
from itertools import chain
from operator import attrgetter
from typing import final

from mypy_extensions import mypyc_attr

from engine.core.model.records import Address, Mode, Participant, Session
from engine.core.routing.route_cache import FlatTable, evict, invalidate
from engine.core.sessions.expiry import ends_at, shown_end
from engine.core.sessions.modes import MODES, ModeRules
from engine.core.structs import Leaf


class Endpoint(Leaf, frozen=True, gc=False):
    """A live participant of an active session."""

    participant_sid: str
    """KP…"""
    identifier: Address
    """The real number."""
    proxy: Address
    """The proxy number that it dials, and from which the partner's calls arrive."""


@final
@mypyc_attr(acyclic=True)
class ActiveSession:
    """An active session; both proxy numbers' actors share the one object, so the idle clock is exact.

    Whoever changes its endpoints or its limits while it is bound makes the numbers look it up in full again. Not a
    msgspec Struct: compiled code reads its own classes many times as fast.
    """

    __slots__ = (
        *("account_sid", "activation", "date_expiry", "endpoints", "first", "first_proxy", "idle_since", "is_bound"),
        *("is_ending", "is_replica", "is_spread", "kept_idle_since", "mode_rules", "second", "second_proxy"),
        *("service_sid", "sid", "swept_at", "ttl_seconds", "unique_name"),
    )

    sid: str
    """KC…"""
    service_sid: str
    """Its service."""
    account_sid: str
    """The owner."""
    mode_rules: ModeRules
    """What it lets pass."""
    endpoints: tuple[Endpoint, ...]
    """The live participants, at most two; changed by `set_endpoints` alone."""
    idle_since: float
    """What the ttl counts from, UTC epoch seconds."""
    ttl_seconds: int
    """Idle limit; 0 = none."""
    date_expiry: float | None
    """Fixed end; overrides the ttl."""
    first: Address
    """The identifier of the first of two endpoints; empty where there are not two. These four are copies: reading an
    endpoint misses the processor's cache, and the hot path reads them with the rest."""
    second: Address
    """That of the other one."""
    first_proxy: Address
    """The proxy number of the first of two endpoints."""
    second_proxy: Address
    """That of the other one."""
    swept_at: float
    """When the expiry sweep looks at it next; 0 = it is not queued."""
    activation: int
    """Its place in the order in which the host's sessions became active; 0 = it never routed."""
    kept_idle_since: float
    """What of `idle_since` is on disk; 0 = what the session began with."""
    is_bound: bool
    """Its numbers hold its bindings."""
    is_ending: bool
    """It was found expired and is being closed."""
    is_spread: bool
    """An endpoint's number is on another host than the coordinator: no one host knows all that passes."""
    is_replica: bool
    """Its coordinator is on another host, and so is its record."""
    unique_name: str | None
    """UniqueName."""

    def __init__(  # noqa: PLR0917 - the fields of a record, made by the million
        self,
        sid: str,
        service_sid: str,
        account_sid: str,
        mode: Mode,
        endpoints: tuple[Endpoint, ...],
        idle_since: float,
        ttl_seconds: int = 0,
        date_expiry: float | None = None,
        *,
        activation: int = 0,
        is_bound: bool = False,
        is_spread: bool = False,
        is_replica: bool = False,
        unique_name: str | None = None,
    ) -> None:
        self.sid = sid
        self.service_sid = service_sid
        self.account_sid = account_sid
        self.mode_rules = MODES[mode]
        self.idle_since = idle_since
        self.ttl_seconds = ttl_seconds
        self.date_expiry = date_expiry
        self.swept_at = 0.0
        self.activation = activation
        self.kept_idle_since = 0.0
        self.is_bound = is_bound
        self.is_ending = False
        self.is_spread = is_spread
        self.is_replica = is_replica
        self.unique_name = unique_name
        self.set_endpoints(endpoints)

    def set_endpoints(self, endpoints: tuple[Endpoint, ...]) -> None:
        """Take these as the live participants."""
        self.endpoints = endpoints
        if len(endpoints) == 2:  # noqa: PLR2004 - a pairing
            one, other = endpoints
            self.first, self.first_proxy = one.identifier, one.proxy
            self.second, self.second_proxy = other.identifier, other.proxy
        else:
            self.first = self.second = self.first_proxy = self.second_proxy = ""

    @property
    def mode(self) -> Mode:
        """The name of what it lets pass."""
        return self.mode_rules.mode

    @property
    def is_surely_open_until(self) -> int:
        """When it ends, whole UTC epoch seconds, if nothing more passes and what is being committed fails."""
        idle_since = min(self.idle_since, self.kept_idle_since or self.idle_since)
        return int(ends_at(self.date_expiry, idle_since, self.ttl_seconds))

    @property
    def expires_at(self) -> float | None:
        """When it ends if nothing more passes; None = never."""
        return shown_end(ends_at(self.date_expiry, self.idle_since, self.ttl_seconds))

    @property
    def has_fixed_end(self) -> bool:
        """Whether no traffic moves its end."""
        return self.date_expiry is not None

    def is_expired(self, now: float) -> bool:
        """Tell whether its end has come."""
        return ends_at(self.date_expiry, self.idle_since, self.ttl_seconds) <= now

    def touch(self, at: float) -> None:
        """Restart the idle clock, for an interaction that is being committed."""
        self.kept_idle_since = self.kept_idle_since or self.idle_since
        self.idle_since = max(self.idle_since, at)

    def keep_touch(self, at: float) -> None:
        """Note that a touch is on disk."""
        self.kept_idle_since = max(self.kept_idle_since, at)
        self.idle_since = max(self.idle_since, at)

    def undo_touch(self, at: float) -> None:
        """Set the idle clock back to what is on disk, unless a later touch is under way."""
        if self.idle_since <= at:
            self.idle_since = self.kept_idle_since

    def proxies(self) -> set[Address]:
        """Return the distinct proxy numbers in use; a shared one counts once."""
        return {endpoint.proxy for endpoint in self.endpoints}


def endpoint_of(participant: Participant) -> Endpoint:
    """Return the endpoint of a live participant."""
    return Endpoint(participant.sid, participant.identifier, participant.proxy_identifier)


def active_session(session: Session, participants: tuple[Participant, ...]) -> ActiveSession:
    """Return what the hot path needs of a session and its live participants."""
    return ActiveSession(
        session.sid,
        session.service_sid,
        session.account_sid,
        session.mode,
        tuple(endpoint_of(participant) for participant in participants),
        session.idle_since,
        session.ttl_seconds,
        session.date_expiry,
        unique_name=session.unique_name,
    )


_activation = attrgetter("activation")

MOST_RECENTLY_EXPIRED = 128
"""Recently expired sessions that a number remembers, for the right debugger code; the oldest are forgotten."""


class Bindings:
    """The bindings of one proxy number: identifier → session.

    In permissive mode (behaviour 7) an identifier may be bound several times; the session activated last is met, and
    the one before it again when that ends.
    """

    __slots__ = ("_met", "_recently_expired", "_shadowed", "_unasked", "find", "routes")

    find: Callable[[Address], ActiveSession | None]
    """Returns the session that a canonical sender meets."""

    routes: FlatTable | None
    """The cached routes of its identifiers (`engine.core.routing.route_cache`); None before the first question."""

    def __init__(self, routes: FlatTable | None = None) -> None:
        """Start with no bindings; `routes`, an empty table, is used from the first question on."""
        if routes is not None:
            routes.is_whole = False
        self._unasked = routes
        self.routes = None
        self._met: dict[Address, ActiveSession] = {}
        self.find = self._met.get  # a call less for every call and message
        self._recently_expired: dict[Address, str] = {}
        self._shadowed: dict[Address, list[ActiveSession]] = {}

    def __len__(self) -> int:
        """Count the identifiers bound."""
        return len(self._met)

    def bind(self, identifier: Address, session: ActiveSession) -> None:
        """Let an identifier meet a session from now on."""
        met = self._met.setdefault(identifier, session)
        if met is not session:
            older, newer = sorted((met, session), key=_activation)
            insort(self._shadowed.setdefault(identifier, []), older, key=_activation)
            self._met[identifier] = newer
        self._recently_expired.pop(identifier, None)
        if self.routes is not None:
            invalidate(self.routes, identifier)

    def start_caching(self) -> None:
        """Cache routes from now on, all invalid at first; not from the start, as they cost memory and start time."""
        table = self._unasked
        if table is None:
            return
        self._unasked = None
        table.is_whole = True
        for identifier in chain(self._met, self._recently_expired):
            invalidate(table, identifier)
        self.routes = table

    def unbind(self, identifier: Address, session: ActiveSession) -> None:
        """End a binding; KeyError or ValueError is our bug."""
        shadowed = self._shadowed.get(identifier)
        if self._met[identifier] is not session:
            self._shadowed[identifier].remove(session)
        elif shadowed:
            self._met[identifier] = shadowed.pop()
        else:
            del self._met[identifier]
        if shadowed is not None and not shadowed:
            del self._shadowed[identifier]
        self.reset_route(identifier)

    def reset_route(self, identifier: Address) -> None:
        """Look at what an identifier meets in full again: it may have changed."""
        if self.routes is not None:
            reset = invalidate if identifier in self._met or identifier in self._recently_expired else evict
            reset(self.routes, identifier)

    def remember_expired(self, identifier: Address, session_sid: str) -> None:
        """Remember that the session of an identifier has expired, for the right debugger event (80904)."""
        if identifier in self._met:
            return
        self._recently_expired[identifier] = session_sid
        self.reset_route(identifier)
        if len(self._recently_expired) > MOST_RECENTLY_EXPIRED:
            self._forget_expired(next(iter(self._recently_expired)))

    def recently_expired(self, sender: Address) -> str | None:
        """Return the last session of a canonical sender, if it expired recently."""
        return self._recently_expired.get(sender)

    def forget_expired(self, identifier: Address, session_sid: str) -> None:
        """Treat the identifier as a stranger again: its expired session was erased or re-opened."""
        if self._recently_expired.get(identifier) == session_sid:
            self._forget_expired(identifier)

    def _forget_expired(self, identifier: Address) -> None:
        del self._recently_expired[identifier]
        self.reset_route(identifier)

    def sessions(self) -> Iterator[tuple[Address, ActiveSession]]:
        """Walk what each identifier meets."""
        yield from self._met.items()
