"""Fills in a port over the hosts of a cluster by one rule, so that its methods are written once, in the port.

A method that takes a `service_sid` is asked of the host that owns the service. Any other concerns what every host
holds, and is answered here. A class writes only the methods for which it decides something else, and gets the rest from
`fills_in` when it is defined: each derived method takes the port's arguments, by name or place, and hands them on.
"""

import inspect
from collections.abc import Callable, Coroutine
from enum import StrEnum
from functools import wraps
from typing import Any, ClassVar, Concatenate, Generic, ParamSpec, TypeVar

from actors.cluster.rpc import HostRpc
from actors.control.routes import Place

P = ParamSpec("P")
R = TypeVar("R")
Own = TypeVar("Own")
Filled = TypeVar("Filled", bound="type[AsksOwners[Any]]")


class Rule(StrEnum):
    """Who answers a method of a port; closed."""

    HERE = "here"
    """This host."""
    OWNER = "owner"
    """The host that owns the service of `service_sid`."""
    WRITTEN = "written"
    """The class says it itself."""


class AsksOwners(Generic[Own]):
    """Implements a port over the hosts of a cluster, the same on every host."""

    rules: ClassVar[dict[str, Rule]]
    """Who answers each method of the port."""

    def __init__(self, own: Own, rpc: HostRpc, place: Place) -> None:
        """Answer from `own` what is this host's, and ask others by RPC."""
        self._own = own
        self._rpc = rpc
        self._place = place

    async def _at(
        self, key: str, method: Callable[Concatenate[Own, P], Coroutine[Any, Any, R]], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Ask the host that owns a service or number."""
        host = self._place(key)
        if host == self._rpc.me:
            return await method(self._own, *args, **kwargs)
        return await self._rpc.ask(host, method, *args, **kwargs)

    async def _ask_owner(self, method: Callable[..., Coroutine[Any, Any, R]], asked: dict[str, Any]) -> R:
        """Ask the host that owns the service; `asked` are the arguments by name."""
        return await self._at(asked["service_sid"], method, **asked)


def fills_in(port: type, own: type) -> Callable[[Filled], Filled]:
    """Give a class the methods of a port that it does not write itself, carried out by those of `own`."""

    def fill(cluster: Filled) -> Filled:
        cluster.rules = {}
        for name, declared in inspect.getmembers(port, inspect.isfunction):
            if name.startswith("_"):
                continue
            cluster.rules[name] = rule = Rule.WRITTEN if name in vars(cluster) else _rule(declared)
            if rule is not Rule.WRITTEN:
                setattr(cluster, name, _DERIVED[rule](declared, getattr(own, name)))
        return cluster

    return fill


def _rule(declared: Callable[..., Any]) -> Rule:
    return Rule.OWNER if "service_sid" in inspect.signature(declared).parameters else Rule.HERE


def _here(declared: Callable[..., R], method: Callable[..., R]) -> Callable[..., R]:
    @wraps(declared)
    def answered_here(self: AsksOwners[Any], *args: Any, **kwargs: Any) -> R:  # noqa: ANN401 - those of the port
        return method(self._own, *args, **kwargs)

    return answered_here


def _of_owner(
    declared: Callable[..., R], method: Callable[..., Coroutine[Any, Any, R]]
) -> Callable[..., Coroutine[Any, Any, R]]:
    _, *names = inspect.signature(declared).parameters

    @wraps(declared)
    async def asked_of_owner(self: AsksOwners[Any], *args: Any, **kwargs: Any) -> R:  # noqa: ANN401 - likewise
        return await self._ask_owner(method, dict(zip(names, args, strict=False)) | kwargs)

    return asked_of_owner


_DERIVED: dict[Rule, Callable[..., Any]] = {Rule.HERE: _here, Rule.OWNER: _of_owner}
