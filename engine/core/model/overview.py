"""What somebody on call asks of the engine as a whole: its hosts, its traffic by outcome, its pools.

Records only. A host that does not answer is told of, not raised: when one is down the others are what is looked at.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Final, Protocol

import msgspec

from engine.core.model.exchanges import Exchanges
from engine.core.model.logins import LoginSession
from engine.core.model.records import Kind, ProxyNumber
from engine.core.pools.pool import PoolState
from engine.core.ports.lists import OutboxDepth, OutboxFilter, OutboxKinds
from engine.core.routing.traffic import Outcome, Reason
from engine.core.sessions.search import FoundSessions, SessionSought


class TrafficCount(msgspec.Struct, frozen=True):
    """How many inbound events of a host ended in one way."""

    kind: Kind
    outcome: Outcome
    reason: Reason
    count: int
    """Since the host started."""


class PeerState(msgspec.Struct, frozen=True, kw_only=True):
    """How one peer of a channel fares, as one host sees it."""

    protocol: str
    """`smpp` or `sip`."""
    name: str
    """As in the settings; empty for all those that are no peers and were refused."""
    role: str = ""
    problem: str = ""
    """What is wrong with it; empty while all is well."""
    bound_connections: int = 0
    can_send: bool = False
    is_slowed: bool = False
    """It asked to be sent less."""
    waiting_parts: int = 0
    """Of long messages."""
    address: str = ""
    """Where it was last heard from."""
    heard_at: float | None = None
    """When, UTC epoch seconds; None = never."""
    answers: Mapping[str, int] = msgspec.field(default_factory=dict)
    """How many answers it got since the host started, by status."""
    refused: int = 0
    """How many requests or connections were refused: of a peer by an answer, of a stranger without one."""


class HostFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What is counted beside a host's actors, by telemetry and egress."""

    traffic: tuple[TrafficCount, ...] = ()
    answers: tuple[tuple[float, int], ...] = ()
    """How many answers took at most so many seconds, and longer than the bound before; the last has no bound above."""
    outbox: OutboxDepth = OutboxDepth(0, 0, None)
    """As of its last count."""
    is_held: bool = False
    """Whether nothing of the outbox leaves, until the operator releases it."""
    is_outbox_full: bool = False
    """Whether more is pending than the settings allow, so that the host is not ready."""
    peers: tuple[PeerState, ...] = ()
    """How the peers of its channels fare."""
    troubles: Mapping[str, int] = msgspec.field(default_factory=dict)
    """What channels complain of, such as "SMPP peers to whom nothing can be sent": how many."""


ReadFigures = Callable[[], HostFigures]
"""Reads the figures of this host."""


class HostStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How one host fares."""

    name: str
    """As in `engine.core.model.placement`."""
    is_answering: bool = True
    is_ready: bool = False
    """Whether it may be sent traffic."""
    problem: str = ""
    """Why it does not answer or is not ready, or what it does not serve."""
    started_at: float = 0.0
    """UTC epoch seconds; the counts begin there."""
    active_sessions: int = 0
    bindings: int = 0
    open_calls: int = 0
    waiting_events: int = 0
    """Events that wait for webhooks of applications."""
    figures: HostFigures = HostFigures()


class PoolReport(msgspec.Struct, frozen=True, kw_only=True):
    """The pool of one service."""

    service_sid: str
    account_sid: str
    unique_name: str
    """Of the service."""
    active_sessions: int
    state: PoolState


class PoolReports(msgspec.Struct, frozen=True):
    """The pools of an account, or of all, the most saturated first."""

    pools: tuple[PoolReport, ...]
    count: int
    """How many there are; `pools` may be fewer."""
    silent: tuple[str, ...] = ()
    """Hosts that did not answer, whose services are missing."""


def most_saturated(pools: list[PoolReport], *, most: int) -> tuple[PoolReport, ...]:
    """Return at most n pools, the most saturated first, then by name."""
    ordered = sorted(pools, key=lambda pool: (-pool.state.saturation, pool.unique_name, pool.service_sid))
    return tuple(ordered[:most])


def longest_owned_first(numbers: Iterable[ProxyNumber]) -> list[ProxyNumber]:
    """Put numbers in the order in which they came to be owned: those first that may long be given back."""
    return sorted(numbers, key=attrgetter("date_created", "address"))


NEARLY_ALL: Final = 0.99
"""Share of the answers that were written within `Minute.answered_within`."""

Counts = tuple[int, ...]
"""Events by `Outcome`, in its order."""


class Minute(msgspec.Struct, frozen=True, array_like=True):
    """What a host, or several, did from a time on: for a minute, or for as many as were added up."""

    at: int
    """When it began, UTC epoch seconds."""
    calls: Counts
    messages: Counts
    answered_within: float | None = None
    """Seconds within which `NEARLY_ALL` answers were written, those of the slowest host; None where there were none."""
    pools: Mapping[str, float] = {}
    """How saturated the fullest pools were, by service SID."""


class History(msgspec.Struct, frozen=True):
    """The minutes of all hosts, the oldest first."""

    minutes: tuple[Minute, ...]
    silent: tuple[str, ...] = ()
    """Hosts that did not answer, whose traffic is missing."""


class ConsolePlane(Protocol):
    """What the operator's console may ask besides the control plane.

    In a cluster every host answers for all. A login session is kept by the host that began it, which the others ask.
    """

    async def hosts(self) -> tuple[HostStatus, ...]:
        """Tell how the hosts fare, in the order of their places; never raises for one that does not answer."""

    async def pools(self, account_sid: str | None, *, most: int) -> PoolReports:
        """Tell how full the pools of an account (None = of all) are; at most `most` are shown."""

    async def busiest(self, service_sids: Sequence[str]) -> Mapping[str, str]:
        """Tell, by service SID, which participant has the most numbers of the service's pool, masked."""

    async def unused(self, service_sids: Sequence[str]) -> Mapping[str, tuple[ProxyNumber, ...]]:
        """Tell, by service SID, which numbers of its pool no session on record has had; looks for a second at most.

        Without the services that there was no time for, or whose host does not answer.
        """

    async def outbox_kinds(self, wanted: OutboxFilter, *, most: int) -> OutboxKinds:
        """Count by kind the oldest entries of the outbox that are meant, so many of each host."""

    async def history(self, since: float) -> History:
        """Tell of the traffic of all hosts since a time, UTC epoch seconds, a minute each."""

    async def exchanges(self, account_sid: str, about: str) -> Exchanges:
        """Tell what applications were asked and told about a call or message of an account, by its carrier's SID."""

    async def find_sessions(self, account_sid: str | None, sought: SessionSought, *, most: int) -> FoundSessions:
        """Search the sessions of an account (None = of all), newest first; at most `most` are found."""

    async def begin_login(self, account_sid: str | None, credential: str, proof: bytes = b"") -> LoginSession:
        """Let somebody in who has proved who they are, with this; None = the operator, to all accounts."""

    async def find_login(self, token: str, *, is_active: bool) -> LoginSession | None:
        """Return the login session of a token, if it has not ended; PeerUnavailable when its host does not answer."""

    async def end_login(self, token: str) -> None:
        """End a login session."""

    async def offer_link(self) -> str:
        """Make a code that begins one operator's login session, soon and once."""

    async def follow_link(self, code: str) -> LoginSession | None:
        """Use a code up and begin the login session that it stands for; None for one that is not good."""
