"""`maskline cluster`: how the hosts of a cluster fare, taking one out and in again, stopping it."""

from collections.abc import Callable
from itertools import starmap

import click
import msgspec

from actors.cluster.fleet import Membership
from actors.cluster.warden import balancing_moves
from actors.cluster.watch import Member
from engine.cli.durations import ago
from engine.cli.options import admin_options
from engine.cli.output import show_answer, show_json, show_table
from engine.cli.tree import Refused
from engine.cluster.link import running_cluster
from engine.cluster.stopping import stop_cluster
from engine.core.model.hosts import HostState
from engine.core.model.placement import host_name
from engine.settings import Settings

_ORDER_MARGIN_SECONDS = 10.0
"""What a host is given to commit and close, or to open and load, beyond the grace of requests."""


class HostStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A host, as `status --json` tells it."""

    host: str
    state: HostState
    node: str | None
    """IP address."""
    node_id: str | None
    """The node's name in a cluster on a database, otherwise Ray's name of it."""
    pid: int | None
    incarnation: int
    restarts: int
    http: str
    feed: str
    operations: str
    rebuilding_numbers: int
    """Numbers that wait for their bindings and answer 503, though the host is ready for the others."""
    bindings: int
    sessions: int
    last_beat_seconds: float | None
    """Age of its last answer to the supervisor."""
    clock_offset_seconds: float | None
    """How far its clock is ahead of that of the supervisor's machine."""
    problem: str


class ClusterStatus(msgspec.Struct, frozen=True):
    """A cluster, as `status --json` tells it."""

    epoch: int
    supervisor_pid: int
    hosts: tuple[HostStatus, ...]
    node: str | None = None
    """Name of the node that was asked, in a cluster on a database."""
    problem: str = ""
    """What keeps its supervisor from its work."""


@click.group()
def cluster() -> None:
    """Hosts on Ray: how they fare, taking one out, moving one, stopping all."""


@cluster.command()
@admin_options
def status(*, settings: Settings, as_json: bool) -> None:
    """Show every host; exits with 1 unless all are ready, with all their numbers, or drained."""
    with running_cluster(settings) as running:
        membership = _status(running.membership())
    if as_json:
        show_json(membership)
    else:
        show_table(_COLUMNS, [_row(host, has_nodes=membership.node is not None) for host in membership.hosts])
        asked = f"node {membership.node}, " if membership.node else ""
        click.echo(f"{asked}directory epoch {membership.epoch}, supervisor process {membership.supervisor_pid}")
        if membership.problem:
            click.echo(membership.problem)
    if membership.problem or not all(_is_well(host) for host in membership.hosts):
        raise click.exceptions.Exit(1)


def _is_well(host: HostStatus) -> bool:
    return host.state is HostState.DRAINED or (host.state is HostState.READY and not host.rebuilding_numbers)


@cluster.command()
@click.argument("host")
@admin_options
def drain(*, host: str, settings: Settings, as_json: bool) -> None:
    """Take HOST (its name or place) out: it finishes what is in flight, then calls to its numbers get 503.

    It stays out, also over restarts of its process, until `undrain` or the next `serve`.
    """
    _ordered(settings, host, "drain", as_json=as_json)


@cluster.command()
@click.argument("host")
@admin_options
def undrain(*, host: str, settings: Settings, as_json: bool) -> None:
    """Take HOST in again; also has one try again that could not start."""
    _ordered(settings, host, "undrain", as_json=as_json)


@cluster.command()
@click.argument("host")
@click.argument("node")
@admin_options
def move(*, host: str, node: str, settings: Settings, as_json: bool) -> None:
    """Have HOST (its name or place) stop in order where it is, and go on on NODE; in a cluster on a database."""
    with running_cluster(settings) as running:
        membership = _on_a_database(running.membership())
        place = _place(host, membership.members)
        if node not in membership.nodes:
            raise Refused(f"there is no node {node!r} that shows life; there are {', '.join(sorted(membership.nodes))}")
        if membership.members[place].state is HostState.DRAINED:
            raise Refused(f"{host_name(place)} is drained, so no node is to carry it; undrain it first")
        _moved(running.move, settings, place, node)
    show_answer({"host": host_name(place), "node": node}, _moved_line(place, node), as_json=as_json)


@cluster.command()
@admin_options
def balance(*, settings: Settings, as_json: bool) -> None:
    """Move hosts, one after the other, until all nodes that are up carry the same number, or one more."""
    with running_cluster(settings) as running:
        membership = _on_a_database(running.membership())
        moves = balancing_moves({member.place: member.node for member in membership.members}, membership.nodes)
        for place, node in moves:
            _moved(running.move, settings, place, node)
    if as_json:
        show_json([{"host": host_name(place), "node": node} for place, node in moves])
    else:
        click.echo(
            "\n".join(starmap(_moved_line, moves)) or "nothing to move: no node carries two hosts more than another"
        )


@cluster.command()
@admin_options
def stop(*, settings: Settings, as_json: bool) -> None:
    """Stop all hosts in order, and the Ray that was started for them.

    In a cluster on a database those of this machine, which the others take over.
    """
    stop_cluster(settings)
    show_answer({"stopped": True}, "the cluster is stopped", as_json=as_json)


def _on_a_database(membership: Membership) -> Membership:
    if not membership.node:
        raise Refused("this cluster keeps files, and a host runs where its files are")
    return membership


def _moved(move: Callable[..., bool], settings: Settings, place: int, node: str) -> None:
    seconds = settings.shutdown_grace_seconds + _ORDER_MARGIN_SECONDS
    if not move(place, node, timeout_seconds=seconds):
        raise Refused(f"{host_name(place)} was not moved within {seconds:g} seconds; see `maskline cluster status`")


def _moved_line(place: int, node: str) -> str:
    return f"{host_name(place)}: moved to {node}"


def _ordered(settings: Settings, host: str, verb: str, *, as_json: bool) -> None:
    with running_cluster(settings) as running:
        members = running.membership().members
        place = _place(host, members)
        seconds = settings.shutdown_grace_seconds + _ORDER_MARGIN_SECONDS
        if not running.order(place, verb, timeout_seconds=seconds):
            raise Refused(
                f"{host_name(place)} did not {verb} within {seconds:g} seconds; see `maskline cluster status`"
            )
    show_answer({"host": host_name(place), "done": verb}, f"{host_name(place)}: {verb}ed", as_json=as_json)


def _place(host: str, members: tuple[Member, ...]) -> int:
    for member in members:
        if host in {member.name, str(member.place)}:
            return member.place
    raise Refused(f"there is no host {host!r}; there are {', '.join(member.name for member in members)}")


def _status(membership: Membership) -> ClusterStatus:
    hosts = tuple(_host_status(member, membership.now) for member in membership.members)
    return ClusterStatus(membership.epoch, membership.pid, hosts, membership.node or None, membership.problem)


def _host_status(member: Member, now: float) -> HostStatus:
    report = member.report
    is_there = report is not None and member.state not in {HostState.DOWN, HostState.UNPLACED}
    return HostStatus(
        host=member.name,
        state=member.state,
        node=report.node_address if report else None,
        node_id=member.node or None,
        pid=report.pid if report and is_there else None,
        incarnation=report.incarnation if report else 0,
        restarts=report.restarts if report else 0,
        http=report.http if report else "",
        feed=report.feed if report else "",
        operations=report.operations if report else "",
        rebuilding_numbers=report.rebuilding if report else 0,
        bindings=report.bindings if report else 0,
        sessions=report.sessions if report else 0,
        last_beat_seconds=None if member.heard_at is None else round(now - member.heard_at, 1),
        clock_offset_seconds=None if member.clock_offset is None else round(member.clock_offset, 3),
        problem=member.problem,
    )


_COLUMNS = (
    "host",
    "node",
    "pid",
    "state",
    "incarnation",
    "restarts",
    "HTTP",
    "feed",
    "operations",
    "bindings",
    "sessions",
    "last beat",
    "clock",
    "problem",
)


def _row(host: HostStatus, *, has_nodes: bool) -> tuple[str, ...]:
    return (
        host.host,
        (host.node_id if has_nodes else host.node) or "",
        str(host.pid or ""),
        host.state,
        str(host.incarnation),
        str(host.restarts),
        host.http.removeprefix("http://"),
        host.feed,
        host.operations.removeprefix("http://"),
        str(host.bindings),
        str(host.sessions),
        "" if host.last_beat_seconds is None else ago(host.last_beat_seconds),
        "" if host.clock_offset_seconds is None else f"{host.clock_offset_seconds:+.1f} s",
        host.problem,
    )
