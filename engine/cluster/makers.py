"""How a cluster's hosts and supervisors are made on the nodes where they run, of the plan that the cluster runs by."""

import time
from collections.abc import Callable
from functools import partial

from actors.cluster.fleet import Fleet
from actors.cluster.hosted import ClusterSupervisor, Hosted, HostPlacement
from actors.cluster.node_supervisor import NodeSupervisor
from actors.cluster.supervisor import Supervisor
from actors.cluster.warden import Warden
from actors.cluster.watch import Patience
from engine.cluster.hosting import SUPERVISOR_LOG, HostedEngine, log_to_file
from engine.cluster.node_hosting import NodeHost
from engine.cluster.notes import read_record, save_cluster, save_targets
from engine.cluster.plan import decode_plan, node_data_dir
from engine.runtime import clock, steady
from engine.settings import Settings
from storage.sqlite.datadir import DATABASE
from storage.sqlite.layout import host_dir


def make_host(plan: bytes, placement: HostPlacement) -> Hosted:
    """Make the host of a placement in the cluster that runs by a plan."""
    settings = decode_plan(plan)
    if settings.is_node:
        return NodeHost(settings, placement, data_dir=settings.data_dir)
    return HostedEngine(settings, placement, data_dir=node_data_dir(settings))


def make_supervisor(plan: bytes, fleet: Fleet) -> ClusterSupervisor:
    """Make the supervisor of the cluster that runs by a plan, on the node where its record is, or of a node."""
    settings = decode_plan(plan)
    data_dir = settings.data_dir
    log_to_file(data_dir / SUPERVISOR_LOG, settings)
    if settings.is_node:
        return _node_supervisor(settings, fleet)
    save: Callable[..., None] = lambda record, members: save_cluster(data_dir, record, members)  # noqa: E731
    return Supervisor(
        fleet,
        record=read_record(data_dir, settings.hosts),
        patience=Patience(settings.host_silence_seconds, settings.host_start_seconds),
        clock=time.monotonic,
        wall=clock,
        save=save,
    )


def places_here(plan: bytes) -> frozenset[int]:
    """Tell which hosts' files lie on the node where this is called."""
    settings = decode_plan(plan)
    data_dir = node_data_dir(settings)
    return frozenset(
        place for place in range(settings.hosts) if (host_dir(data_dir, place, settings.hosts) / DATABASE).exists()
    )


def _node_supervisor(settings: Settings, fleet: Fleet) -> NodeSupervisor:
    from storage.postgres.ledger import PostgresLedger  # noqa: PLC0415 - who keeps files needs none of it

    join = partial(
        PostgresLedger.join,
        settings.database_url,
        node=settings.node_name,
        address=settings.node_address,
        hosts=settings.hosts,
        lease_seconds=settings.owner_lease_seconds,
    )
    return NodeSupervisor(
        fleet,
        join,
        node=settings.node_name,
        hosts=settings.hosts,
        decide=Warden(settings.node_name, start_seconds=settings.host_start_seconds).decide,
        patience=Patience(settings.host_silence_seconds, settings.host_start_seconds),
        lease_seconds=settings.owner_lease_seconds,
        clock=time.monotonic,
        steady=steady,
        wall=clock,
        save=partial(save_targets, settings.data_dir),
    )
