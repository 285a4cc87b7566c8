"""Hosts on Ray: the only file that imports it. All calls to Ray are made here, all its errors are translated here.

What a host and a supervisor are is handed in by the composition root, as importable factories; here they become
actors. Source: Ray 2.60's actor, scheduling and fault-tolerance pages.
"""

import asyncio
import logging
import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import msgspec
import ray
from ray.exceptions import ActorUnavailableError, ActorUnschedulableError, RayActorError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors.cluster.fleet import Fleet, Membership, Order
from actors.cluster.hosted import ClusterUnreachable, HostPlacement, MakeHost, Makers
from actors.cluster.processor import Waits, read_waits
from actors.cluster.watch import Beat, HostReport, Node, Sign
from engine.core.model.placement import host_name
from engine.core.ports.membership import AT_ONCE, Tenure

NAMESPACE: Final = "maskline"
SUPERVISOR: Final = "supervisor"

_BEAT_TIMEOUT_SECONDS: Final = 1.0
_LEAVE_SECONDS: Final = 3.0
"""What a supervisor is given to note that its hosts have stopped, beyond what these are given."""
_CONNECT_TIMEOUT_SECONDS: Final = 0.5
_NODES_TIMEOUT_SECONDS: Final = 2.0
_SEARCH_TIMEOUT_SECONDS: Final = 20.0

_log = logging.getLogger("maskline.cluster")


class RayFleet:
    """`actors.cluster.supervisor.Fleet` on Ray's named, detached actors."""

    def __init__(self, makers: Makers, plan: bytes) -> None:
        """Run hosts by a plan, which only the makers read."""
        self._makers = makers
        self._plan = plan
        self._handles = _Handles()
        self._nodes = _Nodes()
        self._heard: dict[int, HostReport] = {}
        self._find = ray.remote(num_cpus=0, max_retries=0)(makers.places)

    async def node_names(self) -> frozenset[str]:
        """Name the nodes that are up."""
        return frozenset(node["NodeID"] for node in await self._nodes.alive())

    async def search(self) -> tuple[Node, ...]:
        """Look on every node that is up for the files of hosts; a node that does not answer is left out."""
        found = await asyncio.gather(*(self._searched(node) for node in await self._nodes.alive()))
        return tuple(node for node in found if node is not None)

    async def _searched(self, node: dict[str, Any]) -> Node | None:
        search = self._find.options(scheduling_strategy=_on(node["NodeID"])).remote(self._plan)
        try:
            places = await asyncio.wait_for(_answer(search), _SEARCH_TIMEOUT_SECONDS)
        except (RayError, TimeoutError) as problem:
            _log.warning("The node %s could not be searched: %s", node["NodeManagerAddress"], type(problem).__name__)
            return None
        return Node(node["NodeID"], node["NodeManagerAddress"], places)

    def here(self) -> str:
        """Name the node that this process runs on."""
        return str(ray.get_runtime_context().get_node_id())

    async def launch(self, place: int, node: str, *, tenure: Tenure = AT_ONCE) -> None:
        """Make a host's actor on a node; it takes one CPU of Ray's count."""
        own = HostPlacement(place, node, "", "", tenure)
        actor = _as_actor(HostActor).options(
            name=host_name(place),
            namespace=NAMESPACE,
            lifetime="detached",
            num_cpus=1,
            max_restarts=-1,
            max_task_retries=0,
            scheduling_strategy=_on(node),
        )
        try:
            await asyncio.to_thread(actor.remote, self._makers.host, self._plan, _encode(own))
        except ValueError:
            _log.warning("%s is there already", host_name(place))

    async def beat(self, place: int, beat: Beat) -> HostReport | Sign:
        """Ask a host how it fares."""
        name = host_name(place)
        try:
            handle = await self._handles.get(name, timeout_seconds=_BEAT_TIMEOUT_SECONDS)
            answer = await asyncio.wait_for(_answer(handle.beat.remote(_encode(beat))), _BEAT_TIMEOUT_SECONDS)
        except TimeoutError:
            return Sign.SILENT if await self._is_reached(place) else Sign.CUT_OFF
        except ActorUnavailableError:
            return Sign.DOWN if await self._is_reached(place) else Sign.CUT_OFF
        except (RayActorError, ActorUnschedulableError, ValueError) as problem:
            self._handles.forget(name, problem)
            return Sign.GONE
        except RayError as problem:
            _log.debug("%s answered a beat with %s", name, problem)
            return Sign.SILENT
        report = self._heard[place] = _read_report(answer)
        return report

    async def _is_reached(self, place: int) -> bool:
        """Tell whether the node of a host takes a connection, as a hung process's does: the kernel answers for Ray.

        In doubt it does not: what is not reached is not ended.
        """
        report = self._heard.get(place)
        if report is None or report.node == self.here():
            return True
        port = await self._nodes.port(report.node)
        if port is None:
            return False
        try:
            connecting = asyncio.open_connection(report.node_address, port)
            _, writer = await asyncio.wait_for(connecting, _CONNECT_TIMEOUT_SECONDS)
        except ConnectionRefusedError:
            return True
        except OSError:  # TimeoutError is one
            return False
        writer.close()
        return True

    async def order(self, place: int, order: Order, *, timeout_seconds: float) -> bool:
        """Have a host do something; False when it did not in time."""
        try:
            handle = await self._handles.get(host_name(place), timeout_seconds=timeout_seconds)
            await asyncio.wait_for(_answer(handle.order.remote(_encode(order))), timeout_seconds)
        except (RayError, ValueError, TimeoutError) as problem:
            _log.warning("%s did not %s: %s", host_name(place), order.verb, type(problem).__name__)
            return False
        return True

    async def kill(self, place: int, *, for_good: bool) -> bool:
        """End a host's process; unless it is for good, Ray starts another. False when it could not be."""
        if not for_good and self._ended_here(place):
            return True
        try:
            handle = await self._handles.get(host_name(place), timeout_seconds=_BEAT_TIMEOUT_SECONDS)
            await asyncio.to_thread(ray.kill, handle, no_restart=for_good)
        except (RayError, ValueError, TimeoutError) as problem:
            _log.info("%s could not be killed: %s", host_name(place), type(problem).__name__)
            return False
        return True

    def waits(self, place: int) -> Waits:
        """Tell how long the threads of a host on this node have waited for a processor so far."""
        process = self._process_here(place)
        return {} if process is None else read_waits(process)

    def _ended_here(self, place: int) -> bool:
        """End a process of this node at once: one that hangs is given five seconds by Ray before it is forced."""
        process = self._process_here(place)
        if process is None:
            return False
        try:
            os.kill(int(process.name), signal.SIGKILL)
        except OSError:
            return False
        return True

    def _process_here(self, place: int) -> Path | None:
        """Return /proc/PID of a host on this node, None where it is on another one or is no more."""
        report = self._heard.get(place)
        if report is None or report.node != self.here():
            return None
        process = Path(f"/proc/{report.pid}")
        try:
            return process if (process / "comm").read_text("utf-8").startswith("ray::") else None
        except OSError:
            return None


class HostActor:
    """A host's engine as Ray runs it: on the loop that Ray gives to an actor with async methods, which is uvloop's."""

    def __init__(self, make: MakeHost, plan: bytes, placement: bytes) -> None:
        """Make the engine and begin to start it; run again by Ray after each restart."""
        context = ray.get_runtime_context()
        own = msgspec.structs.replace(
            _read_placement(placement),
            node=context.get_node_id(),
            node_address=_node_address(),
            placing=context.get_actor_id() or "",
        )
        self._engine = make(plan, own)
        self._engine.start()

    async def beat(self, beat: bytes) -> bytes:
        """Tell how it fares."""
        return _encode(self._engine.report(_read_beat(beat)))

    async def order(self, order: bytes) -> None:
        """Do as told."""
        await self._engine.order(_read_order(order))


class SupervisorActor:
    """The supervisor as Ray runs it."""

    def __init__(self, makers: Makers, plan: bytes) -> None:
        """Watch the hosts from now on; run again by Ray after each restart."""
        self._plan = plan
        self._supervisor = makers.supervisor(plan, RayFleet(makers, plan))
        self._supervisor.start()

    async def plan(self) -> bytes:
        """Return what the cluster runs by."""
        return self._plan

    async def membership(self) -> bytes:
        """Tell who the hosts are and how they fare."""
        return _encode(self._supervisor.membership())

    async def revive(self) -> None:
        """Start what failed, was drained or has no node."""
        await self._supervisor.revive()

    async def order(self, place: int, verb: str, timeout_seconds: float) -> bool:
        """Have a host drain or undrain."""
        return await self._supervisor.order(place, verb, timeout_seconds=timeout_seconds)

    async def move(self, place: int, node: str, timeout_seconds: float) -> bool:
        """Have a host go on on another node."""
        return await self._supervisor.move(place, node, timeout_seconds=timeout_seconds)

    async def stop(self, timeout_seconds: float) -> None:
        """Stop the hosts in order."""
        await self._supervisor.stop(timeout_seconds=timeout_seconds)


class RayCluster:
    """A cluster as a driver outside sees it: its supervisor, asked from a thread that may wait."""

    def __init__(self, supervisor: Any) -> None:  # noqa: ANN401 - Ray's handle knows no methods
        """Speak to a supervisor; `found` and `begun` are how to get one."""
        self._supervisor = supervisor

    @classmethod
    def found(cls) -> "RayCluster | None":
        """Find the cluster of the Ray that this process is connected to; None when Ray knows of none.

        Raises:
            ClusterUnreachable: Ray's head does not answer. One that is gone makes Ray end this process after a minute.
        """
        try:
            return cls(ray.get_actor(SUPERVISOR, NAMESPACE))
        except ValueError:
            return None
        except RayError as problem:
            raise ClusterUnreachable(f"Ray's head does not answer ({type(problem).__name__})") from problem

    @classmethod
    def begun(cls, makers: Makers, plan: bytes) -> "RayCluster":
        """Start a supervisor on this node, where its record is; it starts the hosts."""
        actor = _as_actor(SupervisorActor).options(
            name=SUPERVISOR,
            namespace=NAMESPACE,
            lifetime="detached",
            num_cpus=0,
            max_restarts=-1,
            scheduling_strategy=_on(ray.get_runtime_context().get_node_id()),
        )
        return cls(actor.remote(makers, plan))

    def plan(self, *, timeout_seconds: float = 30.0) -> bytes:
        """Return what the cluster runs by; raises ClusterUnreachable, as all that follow."""
        return bytes(self._asked(self._supervisor.plan.remote(), timeout_seconds))

    def membership(self, *, timeout_seconds: float = 5.0) -> Membership:
        """Tell who the hosts are and how they fare."""
        return _read_membership(self._asked(self._supervisor.membership.remote(), timeout_seconds))

    def revive(self, *, timeout_seconds: float = 60.0) -> None:
        """Start what failed, was drained or has no node."""
        self._asked(self._supervisor.revive.remote(), timeout_seconds)

    def order(self, place: int, verb: str, *, timeout_seconds: float) -> bool:
        """Have a host drain or undrain; False when it did not in time."""
        asked = self._supervisor.order.remote(place, verb, timeout_seconds)
        return bool(self._asked(asked, timeout_seconds + _BEAT_TIMEOUT_SECONDS))

    def move(self, place: int, node: str, *, timeout_seconds: float) -> bool:
        """Have a host go on on another node; False when it did not in time, or cannot."""
        asked = self._supervisor.move.remote(place, node, timeout_seconds)
        return bool(self._asked(asked, timeout_seconds + _BEAT_TIMEOUT_SECONDS))

    def stop(self, *, timeout_seconds: float) -> None:
        """Stop all hosts of the supervisor in order, then that itself."""
        self._asked(self._supervisor.stop.remote(timeout_seconds), timeout_seconds + _LEAVE_SECONDS)
        ray.kill(self._supervisor)

    def restart_supervisor(self) -> None:
        """End the supervisor's process, so that Ray starts another: it may hang."""
        ray.kill(self._supervisor, no_restart=False)

    def kill_all(self) -> None:
        """End a cluster whose supervisor does not answer: that first, so that it starts nothing."""
        ray.kill(self._supervisor)
        for actor in ray.util.list_named_actors(all_namespaces=True):
            if actor["namespace"] == NAMESPACE and actor["name"] != SUPERVISOR:
                with suppress(ValueError):  # it has ended meanwhile
                    ray.kill(ray.get_actor(actor["name"], NAMESPACE))

    @staticmethod
    def _asked(asked: Any, timeout_seconds: float) -> Any:  # noqa: ANN401 - what the method returns
        try:
            return ray.get(asked, timeout=timeout_seconds)
        except RayError as problem:
            raise ClusterUnreachable(
                f"the cluster's supervisor does not answer ({type(problem).__name__})"
            ) from problem


def connect(address: str, *, node_address: str | None) -> None:
    """Join a Ray as a driver; `node_address` is this machine's in it, None = Ray finds out.

    Raises:
        ClusterUnreachable: it does not answer, or refuses.
    """
    try:
        ray.init(
            address=address,
            namespace=NAMESPACE,
            log_to_driver=False,
            logging_level=logging.ERROR,
            _node_ip_address=node_address,
        )
    except (RayError, RuntimeError, ConnectionError) as problem:
        raise ClusterUnreachable(f"cannot join the Ray at {address}: {problem}") from problem


def disconnect() -> None:
    """Leave Ray; what is detached in it goes on."""
    ray.shutdown()


class _Nodes:
    """The nodes as Ray's head tells them. It is asked once at a time: while it is away, whoever asks waits a minute."""

    def __init__(self) -> None:
        self._asked: asyncio.Future[list[dict[str, Any]]] | None = None
        self._ports: dict[str, int] = {}

    async def alive(self) -> list[dict[str, Any]]:
        """Return the nodes that are up; none when the head does not say in time."""
        if self._asked is None or self._asked.done():
            self._asked = asyncio.ensure_future(asyncio.to_thread(ray.nodes))
        try:
            nodes = await asyncio.wait_for(asyncio.shield(self._asked), _NODES_TIMEOUT_SECONDS)
        except (TimeoutError, RayError) as problem:
            _log.warning("Ray's head does not tell its nodes: %s", type(problem).__name__)
            return []
        self._ports.update((node["NodeID"], node["NodeManagerPort"]) for node in nodes)
        return [node for node in nodes if node["Alive"]]

    async def port(self, node: str) -> int | None:
        """Return where a node's raylet listens, also of one that the head has given up meanwhile; None if not known."""
        if node not in self._ports:
            await self.alive()
        return self._ports.get(node)


class _Handles:
    """Handles of named actors, looked up once, and one look at a time: without Ray's head each takes a minute."""

    def __init__(self) -> None:
        self._known: dict[str, Any] = {}
        self._sought: dict[str, asyncio.Future[Any]] = {}

    async def get(self, name: str, *, timeout_seconds: float) -> Any:  # noqa: ANN401 - methods by name, which no type knows
        """Find an actor; raises ValueError when there is none, TimeoutError when Ray's head does not say in time."""
        handle = self._known.get(name)
        if handle is None:
            sought = self._sought.get(name)
            if sought is None or sought.done():
                sought = self._sought[name] = asyncio.ensure_future(asyncio.to_thread(ray.get_actor, name, NAMESPACE))
            handle = self._known[name] = await asyncio.wait_for(asyncio.shield(sought), timeout_seconds)
        return handle

    def forget(self, name: str, problem: Exception) -> None:
        """Look an actor up anew when it is gone for good: another one may have its name by then."""
        if not isinstance(problem, ActorUnavailableError):
            self._known.pop(name, None)


def _as_actor(plain: type) -> Any:  # noqa: ANN401 - Ray's own types say no more
    """Make a Ray actor of a class: the one place where that happens."""
    return ray.remote(plain)


def _node_address() -> str:
    return str(ray.util.get_node_ip_address())  # type: ignore[no-untyped-call] # Ray's, and not a word of types


def _on(node: str) -> NodeAffinitySchedulingStrategy:
    return NodeAffinitySchedulingStrategy(node, soft=False)


async def _answer(asked: Any) -> Any:  # noqa: ANN401 - what the method returns
    return await asked


_encode = msgspec.msgpack.Encoder().encode
_read_beat = msgspec.msgpack.Decoder(Beat).decode
_read_placement = msgspec.msgpack.Decoder(HostPlacement).decode
_read_order = msgspec.msgpack.Decoder(Order).decode
_read_report = msgspec.msgpack.Decoder(HostReport).decode
_read_membership = msgspec.msgpack.Decoder(Membership).decode

_FLEET: type[Fleet] = RayFleet
"""Checked: it satisfies its port."""
