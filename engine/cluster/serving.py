"""`maskline serve --runtime ray`: starts or joins a Ray, starts the cluster or attaches to it, watches, stops it.

SIGTERM, SIGHUP and Ctrl-C stop the cluster in order. Killed with -9, it leaves the cluster serving; the next one
attaches.
"""

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

from actors.cluster.fleet import Membership
from actors.cluster.hosted import ClusterUnreachable, Makers
from actors.cluster.watch import Member
from engine.app import stop_signals
from engine.cluster.head import (
    LINK,
    LOG,
    LOOPBACK,
    HeadEnded,
    HeadWatch,
    RayLink,
    read_link,
    start_head,
    stop_head,
    write_link,
)
from engine.cluster.link import joined, output_in
from engine.cluster.makers import make_host, make_supervisor, places_here
from engine.cluster.notes import read_record
from engine.cluster.plan import as_node, decode_plan, encode_plan, listen_addresses, reached_at, settled
from engine.cluster.stopping import serving_process, stop_hosts, take_lock
from engine.core.model.errors import MasklineError
from engine.core.model.hosts import HostState
from engine.settings import Settings
from engine.stores import warn_of_files
from engine.telemetry.logs import ROOT
from storage.sqlite.datadir import LOCK, PRIVATE_DIRECTORY, DataDirLock
from storage.sqlite.layout import claim

if TYPE_CHECKING:
    from actors.ray.cluster import RayCluster

_POLL_SECONDS: Final = 0.25
_WATCH_SECONDS: Final = 2.0
_WAITING_SECONDS: Final = 20.0
"""After which a host that listens, but is not ready, is no longer waited for."""
_UNPLACED_SECONDS: Final = 10.0
"""The same of one for which there is no node: a Ray that has just begun may be slow to tell its nodes."""

_log = logging.getLogger(f"{ROOT}.cluster")

Announce = Callable[[str], None]
Ask = Callable[[], Membership | None]


class AlreadyServed(MasklineError):  # noqa: N818 - names a state, as StoreUnavailable does
    """Another `maskline serve` watches over the cluster, or another cluster is where ours should be."""


class ClusterEnded(MasklineError):  # noqa: N818 - names a state, as StoreUnavailable does
    """The cluster is gone, or never came up; the message says what to do."""


class NothingStarts(ClusterEnded):
    """No host of it can start."""


class StoppedElsewhere(ClusterEnded):
    """Somebody else stopped it, as they may."""


def serve_cluster(settings: Settings, announce: Announce, progress: Announce) -> None:
    """Serve until one of `engine.app.stop_signals`; `announce` gets the line of readiness, `progress` a line per host.

    What ends it in any other way, once the cluster has begun, leaves that serving, as kill -9 does.

    Raises:
        MasklineError: the data directory, a port or Ray cannot be used, or the cluster ended without being told to.
    """
    settings = replace(settings, data_dir=settings.data_dir.absolute())
    _prepare(settings)
    for number in stop_signals():  # until it is known how to stop, they undo what was begun
        signal.signal(number, signal.default_int_handler)
    with _sole_server(settings.data_dir), output_in(settings.data_dir / LOG):
        link, must_end = _linked(settings, progress)
        try:
            with joined(settings, link):
                stop = _stop_event()
                try:
                    cluster = _attached(settings) or _begun(settings)
                    must_end = False
                    _serve(cluster, HeadWatch(link), stop, announce=announce, progress=progress)
                    must_end = True
                except HeadEnded as end:
                    progress(f"maskline: {end}")
                    _leave(settings, link)
        except ClusterEnded:
            must_end = True
            raise
        finally:
            if must_end and link.is_ours:
                stop_head(settings.data_dir, link)


def _prepare(settings: Settings) -> None:
    """Make the data directory this cluster's, or this node's; nothing is started yet."""
    if settings.is_node:
        settings.data_dir.mkdir(mode=PRIVATE_DIRECTORY, parents=True, exist_ok=True)
        warn_of_files(settings.data_dir)
    else:
        claim(settings.data_dir, settings.hosts)
    _demand_free(settings.data_dir)


def _leave(settings: Settings, link: RayLink) -> NoReturn:
    """End what was started here, and this process at once: Ray's client may end it first if it is left in order."""
    if link.is_ours:
        stop_head(settings.data_dir, link)
    logging.shutdown()
    for stream in filter(None, (sys.stdout, sys.stderr)):
        with suppress(OSError, ValueError):  # nobody reads it
            stream.flush()
    os._exit(_COULD_NOT_SERVE)


_COULD_NOT_SERVE: Final = 2
"""Exit status, as of all commands that fail."""


def _stop_event() -> threading.Event:
    """Return what the signals set; asked for after Ray has been joined, which sets its own."""
    stop = threading.Event()
    for number in stop_signals():
        signal.signal(number, lambda *_: stop.set())
    return stop


def _serve(
    cluster: "RayCluster", head: HeadWatch, stop: threading.Event, *, announce: Announce, progress: Announce
) -> None:
    """Watch over a cluster until told to stop, then stop its hosts; raises ClusterEnded and HeadEnded."""
    settings = decode_plan(cluster.plan())
    ask = partial(_asked, cluster, head, settings)
    try:
        membership = _await_hosts(ask, stop, progress)
        if membership is not None:
            announce(_ready_line(settings, membership))
        _watch(ask, stop)
    except StoppedElsewhere as end:
        _log.info("%s", end)
        return
    except NothingStarts:
        stop_hosts(cluster, settings, head)
        raise
    stop_hosts(cluster, settings, head)


def _demand_free(data_dir: Path) -> None:
    """See that no embedded server has the files, before Ray is started and anything is written; raises DataDirBusy."""
    is_of_a_cluster = (data_dir / LINK).exists() or serving_process(data_dir) is not None
    if not is_of_a_cluster and (data_dir / LOCK).exists():
        DataDirLock(data_dir, makes_database=False).release()


@contextmanager
def _sole_server(data_dir: Path) -> Iterator[None]:
    """Hold the lock of whoever watches over the cluster of a data directory."""
    try:
        descriptor = take_lock(data_dir)
    except BlockingIOError:
        holder = serving_process(data_dir)
        raise AlreadyServed(f"process {holder} watches over the cluster of {data_dir}; stop that one first") from None
    try:
        yield
    finally:
        os.close(descriptor)


def _linked(settings: Settings, progress: Announce) -> tuple[RayLink, bool]:
    """Have a Ray: the one named, the one of this data directory that runs, or a new one; tells whether it is new."""
    data_dir = settings.data_dir
    if settings.ray_address:
        link = RayLink(address=settings.ray_address)
        write_link(data_dir, link)
        return link, False
    found = read_link(data_dir)
    if found is not None and found.is_ours and found.address:
        progress(f"Ray: runs at {found.address}, process {found.pid}")
        return found, False
    if found is not None and found.is_ours:
        stop_head(data_dir, found)  # whoever started it was killed before it was there
    progress("Ray: starting")
    started = start_head(data_dir, hosts=settings.hosts)
    progress(f"Ray: runs at {started.address}, process {started.pid}")
    return started, True


def _attached(settings: Settings) -> "RayCluster | None":
    from actors.ray.cluster import RayCluster  # noqa: PLC0415 - ray is imported by now

    cluster = RayCluster.found()
    if cluster is None:
        return None
    try:
        running = decode_plan(cluster.plan())
    except ClusterUnreachable as problem:
        _log.warning("%s; it is started anew", problem)
        cluster.restart_supervisor()
        running = decode_plan(cluster.plan())
    if (running.data_dir, running.hosts) != (settings.data_dir, settings.hosts):
        raise AlreadyServed(
            f"the Ray at {settings.ray_address} carries the cluster of {running.data_dir} "
            f"({_counted(running)}) already; stop that one or join another Ray"
        )
    if _comparable(running) != _comparable(as_node(settings)):
        _log.warning("the cluster runs on with the settings of its start; stop it and serve again to change them")
    cluster.revive()
    return cluster


def _comparable(settings: Settings) -> Settings:
    """Leave out the ports that 0 leaves open, and the secret."""
    without: dict[str, Any] = {key: one._replace(port=0) for key, one in listen_addresses(settings).items()}
    return replace(settings, peers_secret="", **without)


def _begun(settings: Settings) -> "RayCluster":
    from actors.ray.cluster import RayCluster  # noqa: PLC0415 - ray is imported by now

    return RayCluster.begun(Makers(make_host, make_supervisor, places_here), encode_plan(settled(settings)))


def _await_hosts(ask: Ask, stop: threading.Event, progress: Announce) -> Membership | None:
    """Wait until every host is ready or says why it is not; None when told to stop before that.

    Raises:
        NothingStarts: none can start.
    """
    shown: dict[int, str] = {}
    problem = ""
    while not stop.is_set():
        membership = ask()
        if membership is not None and membership.problem != problem:
            problem = membership.problem
            progress(f"node {membership.node}: {problem or 'the database answers'}")
        for member in membership.members if membership else ():
            line = f"{member.name}: {state_line(member)}"
            is_news = shown.get(member.place) != line and member.state is not HostState.UNKNOWN
            if is_news and (member.state is not HostState.UNPLACED or member.problem):
                shown[member.place] = line
                progress(line)
        if membership is not None and all(_is_settled(member, membership.now) for member in membership.members):
            if not any(member.state in _SERVING for member in membership.members):
                raise NothingStarts("no host can start; the lines above say why")
            return membership
        stop.wait(_POLL_SECONDS)
    return None


_SERVING: Final = frozenset({HostState.READY, HostState.WAITING})
_SETTLED: Final = frozenset({HostState.READY, HostState.FAILED, HostState.DRAINED})


def _is_settled(member: Member, now: float) -> bool:
    match member.state:
        case HostState.UNPLACED:
            return bool(member.problem) and now - member.since > _UNPLACED_SECONDS
        case HostState.WAITING:
            return now - member.since > _WAITING_SECONDS
        case state:
            return state in _SETTLED


def state_line(member: Member) -> str:
    """Say in a line how a host fares."""
    report = member.report
    where = f" at {report.http}, process {report.pid}" if report and report.http and member.state in _SERVING else ""
    why = f": {member.problem}" if member.problem else ""
    return f"{member.state}{where}{why}"


def _ready_line(settings: Settings, membership: Membership) -> str:
    """Say where this machine serves, and what of the cluster."""
    if not settings.is_node:
        return f"Maskline is ready at {_address(settings)} ({_counted(settings)}, data in {settings.data_dir})"
    here = sum(member.node == membership.node for member in membership.members)
    at = f" at {_address(settings)}" if here else ""
    return f"Maskline is ready{at} ({here} of {_counted(settings)}, node {membership.node}, data in PostgreSQL)"


def _watch(ask: Ask, stop: threading.Event) -> None:
    """Log what changes until told to stop; raises ClusterEnded when the cluster ends by itself."""
    known: dict[int, str] = {}
    while not stop.wait(_WATCH_SECONDS):
        membership = ask()
        for member in membership.members if membership else ():
            line = f"{member.name}: {state_line(member)}"
            if known.setdefault(member.place, line) != line:
                known[member.place] = line
                _log.log(logging.INFO if member.state in _SERVING else logging.WARNING, "%s", line)


def _asked(cluster: "RayCluster", head: HeadWatch, settings: Settings) -> Membership | None:
    """Ask the supervisor; None when it does not answer, and is ended for that, or Ray's head is away.

    Raises:
        HeadEnded: Ray's head is gone, or the supervisor's node.
        StoppedElsewhere: the cluster was stopped in order.
        NothingStarts: this node may not take part.
    """
    if not head.answers():
        return None
    try:
        membership = cluster.membership()
    except ClusterUnreachable as problem:
        if head.answers():
            _demand_supervisor(head, settings)
            if head.may_restart():
                _log.warning("%s; the hosts serve on, and it is started anew", problem)
                cluster.restart_supervisor()
                head.restarted()
        return None
    head.heard()
    if membership.is_refused:
        raise NothingStarts(membership.problem)
    return membership


def _demand_supervisor(head: HeadWatch, settings: Settings) -> None:
    """See that Ray knows the supervisor: one that stops in order notes that, one whose node is lost does not."""
    from actors.ray.cluster import RayCluster  # noqa: PLC0415 - ray is imported by now

    head.demand_supervisor()
    try:
        found = RayCluster.found()
    except ClusterUnreachable:
        raise head.ended() from None
    if found is None:
        if read_record(settings.data_dir, settings.hosts).is_stopped:
            raise StoppedElsewhere("the cluster was stopped from elsewhere")
        raise head.ended()


def _address(settings: Settings) -> str:
    """Return what the hosts of this node share."""
    return f"http://{reached_at(settings.listen, LOOPBACK)}"


def _counted(settings: Settings) -> str:
    return f"{settings.hosts} host{'' if settings.hosts == 1 else 's'}"
