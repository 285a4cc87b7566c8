"""Who the hosts of a cluster are and how they fare: what hosts, supervisor and operator tell each other, as records.

Also what the supervisor makes of a host that answers or does not, decided purely. All of it travels as MessagePack.
"""

from enum import StrEnum
from typing import Final

import msgspec

from engine.core.model.hosts import HostAddress, HostDirectory, HostState
from engine.core.model.placement import host_name

BEAT_SECONDS: Final = 0.5
"""How often every host is asked how it fares."""


_STARTING: Final = frozenset({HostState.UNKNOWN, HostState.UNPLACED, HostState.STARTING, HostState.DOWN})
"""A host in one of these may be loading when it does not answer."""


class HostReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a host answers to a beat."""

    place: int
    state: HostState
    pid: int
    node: str
    """Ray's name of its node."""
    node_address: str
    """IP address of its node."""
    incarnation: int = 0
    """Processes that this host has had since its directory was made."""
    restarts: int = 0
    """Processes before this one since it was placed on its node."""
    http: str = ""
    """URL of REST and inbound webhooks; empty while it does not listen, as are the next two."""
    feed: str = ""
    """host:port."""
    operations: str = ""
    """URL of metrics and health."""
    peers: str = ""
    """host:port at which other hosts ask it; empty while it does not listen there."""
    certificate: str = ""
    """SHA-256 of the certificate that it shows them, hexadecimal."""
    rebuilding: int = 0
    """Numbers that wait for their bindings."""
    bindings: int = 0
    sessions: int = 0
    epoch: int = 0
    """Epoch of the directory that it has."""
    clock: float = 0.0
    """Its clock as it answers, UTC epoch seconds."""
    problem: str = ""
    """Why it is not ready, or what else its operator should know."""


class Beat(msgspec.Struct, frozen=True):
    """What the supervisor tells a host whenever it asks."""

    directory: HostDirectory
    down: tuple[int, ...]
    """Places of hosts that will not answer."""
    secret: bytes = b""
    """On a database: what the hosts of the cluster prove to each other that they know."""
    takeovers: int = 0
    """On a database: hosts that this supervisor has taken from lost machines."""
    rows_age_seconds: float = 0.0
    """On a database: since this supervisor has read the rows of the cluster."""


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """What the supervisor knows of a host."""

    place: int
    state: HostState = HostState.UNKNOWN
    since: float = 0.0
    """When it came to be in this state, seconds of a monotonic clock."""
    heard_at: float | None = None
    """When it last answered, the same clock."""
    node: str = ""
    """Ray's name of the node that it was placed on."""
    report: HostReport | None = None
    """Its last answer."""
    operations: str = ""
    """URL of its metrics and health, kept while it starts: monitoring is to see that it does not answer there."""
    clock_offset: float | None = None
    """How far its clock is ahead of the supervisor's, seconds; None until it was measured."""
    problem: str = ""

    @property
    def name(self) -> str:
        """As in the directory."""
        return host_name(self.place)


LATE_SECONDS: Final = 15.0
"""After which it is said of a host that starts what may hold it up."""

_LATE: Final = "it loads, or Ray has not started its process: each host needs a free CPU of Ray's count on its node"


class Sign(StrEnum):
    """Why a beat brought no report; closed."""

    SILENT = "silent"
    """No answer in time."""
    DOWN = "down"
    """Ray does not reach its process: it ended, and Ray starts another, or the connection to it broke."""
    CUT_OFF = "cut-off"
    """No answer, and nothing on its node takes a connection."""
    GONE = "gone"
    """Ray has no such actor, or will not start it again."""


class Act(StrEnum):
    """What to do about a host; closed."""

    NOTHING = "nothing"
    KILL = "kill"
    """End its process, so that Ray starts another."""
    PLACE = "place"
    """Find a node for it."""


class Patience(msgspec.Struct, frozen=True):
    """How long a host may not answer."""

    silence_seconds: float
    """One that has loaded."""
    start_seconds: float
    """One that starts: loading holds up everything else. One that is starved may not take longer either."""


def heard(member: Member, report: HostReport, now: float, *, clock_offset: float | None = None) -> Member:
    """Take a report."""
    since = member.since if member.state is report.state else now
    return msgspec.structs.replace(
        member,
        state=report.state,
        since=since,
        heard_at=now,
        node=report.node,
        report=report,
        operations=report.operations or ("" if report.state is HostState.DRAINED else member.operations),
        clock_offset=clock_offset,
        problem=report.problem,
    )


def missed(member: Member, sign: Sign, now: float, patience: Patience, *, starved: float = 0.0) -> tuple[Member, Act]:
    """Decide about a host that gave no report.

    For `starved` of the seconds since it was heard, it or the supervisor got no processor: they count as no silence.
    """
    match sign:
        case Sign.GONE:
            problem = member.problem if member.state is HostState.UNPLACED else ""  # why is found out next
            return _moved(member, HostState.UNPLACED, now, problem), Act.PLACE
        case Sign.DOWN:
            return _moved(member, HostState.DOWN, now, _NOT_REACHED), Act.NOTHING
        case Sign.CUT_OFF:
            return _cut_off(member, now), Act.NOTHING
        case Sign.SILENT:
            return _silent(member, now, patience, starved)


_NOT_REACHED: Final = "Ray does not reach its process; if that has ended, Ray starts another"


def _cut_off(member: Member, now: float) -> Member:
    """Leave a host alone that may serve on, or start; `since` is when it was last seen to be cut off."""
    where = member.report.node_address if member.report is not None else "its node"
    problem = f"nothing at {where} answers; it may serve on there"
    state = member.state if member.state in _STARTING else HostState.UNREACHABLE
    return msgspec.structs.replace(member, state=state, since=now, problem=problem)


STARVED: Final = "it does not answer, but waits for a processor: too much else runs on its machine"


def _silent(member: Member, now: float, patience: Patience, starved: float) -> tuple[Member, Act]:
    is_starting = member.state in _STARTING
    quiet_since = member.since if is_starting or member.heard_at is None else member.heard_at
    limit = patience.start_seconds if is_starting else patience.silence_seconds
    if member.state is HostState.UNREACHABLE:  # joined again: TCP repeats after pauses as long as the cut was
        limit += 2 * (member.since - quiet_since)
    if now - quiet_since < limit:
        is_late = is_starting and not member.problem and now - quiet_since > LATE_SECONDS
        return msgspec.structs.replace(member, problem=_LATE) if is_late else member, Act.NOTHING
    if now - quiet_since < min(limit + starved, patience.start_seconds):
        return msgspec.structs.replace(member, problem=STARVED), Act.NOTHING
    problem = f"it did not answer for {now - quiet_since:.0f} seconds and is killed; Ray starts another"
    return msgspec.structs.replace(_moved(member, HostState.DOWN, now, problem), since=now), Act.KILL


def not_killed(member: Member) -> Member:
    """Note that a host that was to be killed could not be; that is tried again when its patience has run out anew."""
    return msgspec.structs.replace(member, problem="it does not answer, and Ray could not kill it")


def launched(member: Member, node: str, now: float) -> Member:
    """Note that a host was given to a node."""
    return msgspec.structs.replace(member, state=HostState.STARTING, since=now, node=node, problem="")


def unplaced(member: Member, problem: str, now: float) -> Member:
    """Note why no node carries a host."""
    return _moved(member, HostState.UNPLACED, now, problem)


def _moved(member: Member, state: HostState, now: float, problem: str) -> Member:
    since = member.since if member.state is state else now
    return msgspec.structs.replace(member, state=state, since=since, problem=problem)


def advanced(directory: HostDirectory, members: tuple[Member, ...]) -> HostDirectory:
    """Return the directory as the reports have it; its epoch grows when an address is another one.

    A host that does not listen keeps the address that it had. An epoch that some host has already seen is passed.
    """
    reports = {member.place: member.report for member in members if member.report is not None}
    hosts = tuple(_address(known, reports.get(place)) for place, known in enumerate(directory.hosts))
    newest = max((report.epoch for report in reports.values()), default=0)
    if hosts == directory.hosts and newest <= directory.epoch:
        return directory
    return HostDirectory(epoch=max(directory.epoch, newest) + 1, me=directory.me, hosts=hosts)


def _address(known: HostAddress, report: HostReport | None) -> HostAddress:
    if report is None:
        return known
    feed, peers = report.feed or known.feed, report.peers or known.peers
    return HostAddress(known.name, feed, peers, report.certificate or known.certificate)


class Placed(msgspec.Struct, frozen=True):
    """Where a host was placed last."""

    node_address: str
    has_files: bool
    """It has been ready once: where its files are, there it must run."""


class ClusterRecord(msgspec.Struct, frozen=True):
    """What the supervisor must know again after its own end."""

    directory: HostDirectory
    placed: dict[int, Placed] = {}
    """By place."""
    is_stopped: bool = False
    """All hosts were stopped in order, and nothing was started since."""


def empty_record(hosts: int) -> ClusterRecord:
    """Return what is known before the first start."""
    names = tuple(HostAddress(host_name(place), "") for place in range(hosts))
    return ClusterRecord(HostDirectory(epoch=0, me=0, hosts=names))


class Node(msgspec.Struct, frozen=True):
    """A node of Ray that is up."""

    name: str
    """Ray's own, new whenever the node starts."""
    address: str
    """IP address."""
    places: frozenset[int]
    """Places of the hosts whose files lie there."""


class NoNode(msgspec.Struct, frozen=True):
    """No node can carry a host."""

    problem: str


def choose_node(place: int, nodes: tuple[Node, ...], record: ClusterRecord, load: dict[str, int]) -> Node | NoNode:
    """Choose where a host runs: where its files are, or, before it has any, where the fewest hosts are (`load`)."""
    holders = [node for node in nodes if place in node.places]
    placed = record.placed.get(place)
    if len(holders) == 1:
        return holders[0]
    if holders:
        where = " and ".join(sorted(node.address for node in holders))
        return NoNode(f"its files are on several nodes ({where}); move all but the right ones away")
    if placed is not None and placed.has_files:
        return NoNode(f"no node that is up has its files, which were on {placed.node_address}")
    if not nodes:
        return NoNode("no node is up")
    return min(nodes, key=lambda node: (load.get(node.name, 0), node.address, node.name))
