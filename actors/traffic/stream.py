"""What a host with coordinators tells a host with number actors: a numbered stream of operations on bindings.

Every operation states what holds from now on, so that carrying one out twice changes nothing. A stream begins with all
that holds (`Begun` … `Completed`) whenever either end is new to the other. Source: design sections 3 and 4.
"""

import msgspec

from engine.core.model.records import Address, Mode
from engine.core.sessions.bindings import ActiveSession, Endpoint

LEASE_SECONDS = 4.0
"""How long a host routes for a coordinator that it hears nothing of."""

GUARD_SECONDS = 0.5
"""How long before the end of a lease nothing is decided any more: what was is committed and answered by then."""

BEAT_SECONDS = 0.5
"""How often a coordinator's host says that it is there, when it has nothing else to say."""


class Begun(msgspec.Struct, frozen=True, tag=True):
    """All that holds follows; what was said before is void once it is complete."""


class Completed(msgspec.Struct, frozen=True, tag=True):
    """All that holds was said."""


class Routed(msgspec.Struct, frozen=True, tag=True):
    """A session routes, with these endpoints and limits."""

    sid: str
    service_sid: str
    account_sid: str
    mode: Mode
    endpoints: tuple[Endpoint, ...]
    """Its live participants, on whichever host their numbers are."""
    idle_since: float
    ttl_seconds: int
    date_expiry: float | None
    activation: int
    unique_name: str | None


class Withdrawn(msgspec.Struct, frozen=True, tag=True):
    """A session routes no more."""

    sid: str


class Expired(msgspec.Struct, frozen=True, tag=True):
    """A session that was withdrawn had expired."""

    sid: str
    pairs: tuple[tuple[Address, Address], ...]
    """Identifier and proxy number of each endpoint."""


class ExpiredForgotten(msgspec.Struct, frozen=True, tag=True):
    """An expired session was erased: whoever was in it is a stranger again."""

    sid: str
    identifier: Address
    proxy: Address


class Checked(msgspec.Struct, frozen=True, tag=True):
    """Nothing changes; the answer tells what has passed."""


Operation = Begun | Completed | Routed | Withdrawn | Expired | ExpiredForgotten | Checked


class Touch(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Something passed in a session whose coordinator is elsewhere."""

    service_sid: str
    session_sid: str
    first: float
    """When the first of what is told passed, by the coordinator's clock."""
    at: float
    """When the last did."""

    def until(self, now: float) -> "Touch":
        """Return the same, with nothing that has not passed yet: clocks are known to some milliseconds only."""
        return Touch(self.service_sid, self.session_sid, min(self.first, now), min(self.at, now))

    def beside(self, other: "Touch | None") -> "Touch":
        """Return this and another of the same session in one."""
        if other is None:
            return self
        return Touch(self.service_sid, self.session_sid, min(self.first, other.first), max(self.at, other.at))


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """Operations of one host's coordinators, in order."""

    source: int
    """The place of the host that speaks."""
    incarnation: str
    """Which life of it."""
    upon: float
    """`Taken.stamp` that the stream was begun upon; one begun upon an earlier stamp is of an earlier life."""
    first: int
    """The number of the first operation; the stream begins with 1."""
    operations: tuple[Operation, ...] = ()
    echo: float | None = None
    """`Taken.stamp` as last heard: routing may go on until LEASE_SECONDS after it. None = it is not prolonged."""
    taken: int = 0
    """The latest report of touches that is on disk."""
    offset: float | None = None
    """How far the clock of the host that listens is ahead of that of the one that speaks, seconds: what operations say
    of times is of the latter, and so is what touches tell. None = it was not measured yet."""


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """How far a batch was taken."""

    incarnation: str
    """Which life of the host with the number actors."""
    applied: int
    """The number of the last operation carried out; 0 = the stream must begin anew."""
    stamp: float
    """Its clock: seconds of a clock that only runs forward, comparable with itself alone."""
    clock: float = 0.0
    """Its other clock: UTC epoch seconds, as it answers."""
    report: int = 0
    """Number of the report that follows."""
    touches: tuple[Touch, ...] = ()
    """What has passed and is on disk, as far as the coordinators have not said that they know."""


def routed(session: ActiveSession) -> Routed:
    """Return the operation that lets a session route as it does now."""
    return Routed(
        session.sid,
        session.service_sid,
        session.account_sid,
        session.mode,
        session.endpoints,
        session.idle_since,
        session.ttl_seconds,
        session.date_expiry,
        session.activation,
        session.unique_name,
    )
