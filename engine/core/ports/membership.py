"""Who is in a cluster with a database, and which of its nodes carries which host: rows of that database.

A *place* is one of the hosts of the cluster, by its number. A *node* is a machine that carries some of them. What the
rows say is the truth about both; who acts on it does so by updates that only one of several can make.
"""

from collections.abc import Mapping
from enum import IntEnum
from typing import Final, Protocol

import msgspec

from engine.core.model.errors import MasklineError
from engine.core.model.hosts import HostState


class MembershipRefused(MasklineError):  # noqa: N818 - names a state, as StoreUnavailable does
    """This node may not take part in the cluster, now and until its operator has changed something; the text says what.

    Raised when a node joins, and by a beat when that comes about later: then the node ends.
    """


class HostsDiffer(MembershipRefused):
    """The cluster in the database has another number of hosts than this node was started with."""


class NodeNameTaken(MembershipRefused):
    """Another machine takes part under the name of this node."""


class PlaceState(IntEnum):
    """What its last owner left of a place; closed. The numbers are those of the database."""

    FREE = 0
    """It was given back in order: whoever takes it need not wait for a lease."""
    HELD = 1
    """A host has attached under the row's epoch, and serves or may."""
    TAKEN = 2
    """It was taken from an owner that was silent, which may answer what needs no commit until its lease is over.

    It stays so until a host that has attached since knows that the lease is over."""


class Tenure(msgspec.Struct, frozen=True):
    """Since when a place may be answered for, as the node knew that launched a host for it."""

    epoch: int = 0
    """Of the assignment that this is about: after another one it says nothing."""
    not_before: float = 0.0
    """When the lease of the owner before it is over, seconds of the node's boot-time clock."""


AT_ONCE: Final = Tenure()
"""Nobody else can have had it."""


class HostTold(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a node tells the others of a host that it carries; as JSON in the host's row."""

    state: HostState
    pid: int = 0
    http: str = ""
    """URL of REST and inbound webhooks; empty while it does not listen, as are the next three."""
    feed: str = ""
    """host:port."""
    operations: str = ""
    """URL of metrics and health."""
    peers: str = ""
    """host:port at which other hosts ask it."""
    certificate: str = ""
    """SHA-256 of the certificate that it shows to them, hexadecimal; empty = it shows none."""
    problem: str = ""
    """Why it is not ready, or what else the operator should know."""
    incarnation: int = 0
    """Processes that this host has had on its node."""


class PlaceRow(msgspec.Struct, frozen=True, kw_only=True):
    """A place as the database has it."""

    place: int
    epoch: int = 0
    """Grows with each assignment, and with each process that attaches; what has an older one can commit nothing."""
    attached: int = 0
    """Connections that the process has attached with; one that takes the place leaves this and the next as they are."""
    group_no: int = 0
    """Its last commit; a host that has nothing to commit counts on too, each second."""
    node: str | None = None
    """The node that it is assigned to."""
    state: PlaceState = PlaceState.FREE
    is_drained: bool = False
    """The operator took it out: it is assigned to nobody."""
    moves_to: str | None = None
    """The node that it is assigned to once the one that has it gives it back; its own: to be started anew."""
    told: HostTold | None = None
    """What that node told of it since it was assigned to it."""


class NodeRow(msgspec.Struct, frozen=True):
    """A node that takes part, or did and has not left in order."""

    name: str
    beat: int
    """Grows twice a second."""
    address: str
    """Where the others reach its machine."""


class ClusterRows(msgspec.Struct, frozen=True):
    """All of it, at one moment."""

    version: int
    """Grows with every change of an assignment and of what is told, and never falls."""
    secret: bytes
    """32 random bytes that those who can read the database have in common; never changes."""
    places: tuple[PlaceRow, ...]
    """One for each host of the cluster, in order."""
    nodes: tuple[NodeRow, ...]
    """In the order of their names."""
    has_missed: bool = False
    """The beat before this one failed: the database was away, and others may still look for it."""


class Ledger(Protocol):
    """The rows as one node sees and changes them; used on one event loop.

    Every call takes 2 seconds at most, and raises StoreUnavailable when the database has not answered by then: what it
    was to change may then be changed or not, or be so in a while. Look again. Any may raise MembershipRefused.
    """

    async def beat(self, told: Mapping[int, HostTold]) -> ClusterRows:
        """Show that this node lives, and read all rows.

        `told` has the places of hosts that this node carries. What of it differs from the rows is written, behind the
        beat: other nodes, and this one's next beat, see it. A place that is assigned elsewhere is left alone.
        """

    async def assign(self, place: int, *, epoch: int, node: str, state: PlaceState) -> bool:
        """Assign a place that is still at an epoch to a node; False when somebody else was faster, or it is drained.

        FREE is for a place that is free, and leaves it so. TAKEN fences its owner, and ends that one's connection to
        the database. The epoch grows, and what was told of it is forgotten.
        """

    async def set_drained(self, place: int, is_drained: bool) -> None:  # noqa: FBT001 - the value, not a switch
        """Take a place out, or in again; it moves nowhere then."""

    async def move(self, place: int, node: str, to: str) -> bool:
        """Have a node give a place back for another one, or for itself; False: it has it no more, or it is drained."""

    async def stay(self, place: int, to: str) -> None:
        """Have a place that is to move to a node, and has not been given back yet, stay where it is."""

    async def give_back(self, place: int) -> None:
        """Assign a place of this node, whose host has stopped, to the node that it moves to, or to nobody.

        Then its state stays what the host has left. Another node fences that host where it has not given the place up.
        """

    async def leave(self) -> None:
        """Take part no more: what this node still has is assigned to nobody, and its row goes."""
