"""Calls between hosts: typed methods of one host's objects, asked by another host.

An object is served under its class; a method is asked by naming it, and its annotations are its wire format. Whatever
is asked quickly of one host in one turn of the loop travels in one message. Messages are MessagePack. What is asked
may be carried out twice, or carried out and not answered: served methods are idempotent, or their callers say why not.
"""

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Concatenate, ParamSpec, TypeVar

import msgspec

from actors.cluster.shapes import ArgumentShape, argument_shape, result_decoder
from actors.kernel.gathering import gather_available
from actors.kernel.registry import RegistryMoved
from engine.core.model.errors import ApiError, Code, MasklineError, PeerUnavailable, answer_to, failure_behind
from engine.core.model.hosts import Peers
from engine.core.ports.store import Lease

P = ParamSpec("P")
R = TypeVar("R")

_log = logging.getLogger("maskline.rpc")


class _Asked(msgspec.Struct, array_like=True):
    """One call."""

    method: str
    """Class and name."""
    arguments: msgspec.Raw


class _Message(msgspec.Struct, array_like=True):
    """Calls, and what their asker knows."""

    registry_version: int
    """The version of the registry that the calls take for known."""
    calls: tuple[_Asked, ...]


class _Answered(msgspec.Struct, array_like=True):
    """What a call came to: a result, or a refusal."""

    result: msgspec.Raw = msgspec.Raw(b"\xc0")
    refusal: int = 0
    """A code of the catalogue, or that of a registry that moved; 0 = none."""
    message: str = ""


_MOVED = 1
_encode = msgspec.msgpack.Encoder().encode
_read_message = msgspec.msgpack.Decoder(_Message).decode
_read_answered = msgspec.msgpack.Decoder(tuple[_Answered, ...]).decode

_Waiting = tuple[_Asked, "asyncio.Future[_Answered]"]


class HostRpc:
    """One host's calls to the others, and theirs to it."""

    def __init__(self, peers: Peers, *, lease: Lease | None = None) -> None:
        """Speak through these peers; without the lease nothing is asked or answered."""
        self._peers = peers
        self._lease = lease
        self._served: dict[str, Callable[..., Awaitable[Any]]] = {}
        self._shapes: dict[str, ArgumentShape] = {}
        self._of_registry: set[str] = set()
        self._gathered: dict[int, list[_Waiting]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._version: Callable[[], int] = _none_known
        self._know: Callable[[int], Awaitable[None]] | None = None

    def follow(self, *, version: Callable[[], int], know: Callable[[int], Awaitable[None]]) -> None:
        """Say with every message which version of the registry is held, and wait for the asker's before answering."""
        self._version = version
        self._know = know

    @property
    def me(self) -> int:
        """The place of this host."""
        return self._peers.me

    @property
    def others(self) -> tuple[int, ...]:
        """The places of all other hosts."""
        return tuple(place for place in range(self._peers.count) if place != self._peers.me)

    def serve(self, target: object, *, is_of_registry: bool = False) -> None:
        """Let other hosts ask the public coroutine methods of an object; those of the registry bring it forward."""
        for name, method in inspect.getmembers(type(target), inspect.iscoroutinefunction):
            if not name.startswith("_"):
                self._served[method.__qualname__] = getattr(target, name)
                self._shapes[method.__qualname__] = argument_shape(method)
                if is_of_registry:
                    self._of_registry.add(method.__qualname__)

    async def ask(
        self,
        host: int,
        method: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        """Have a host carry a method out, in a message of its own, however long it takes.

        Raises:
            ApiError, StoreUnavailable: as the method does.
            PeerUnavailable: no answer came; whether it was carried out is not known.
        """
        asked = _Asked(method.__qualname__, _arguments(method, args, kwargs))
        (answered,) = await self._carried_over(host, (asked,))
        result: R = _result(method, answered)
        return result

    async def ask_quickly(
        self,
        host: int,
        method: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        """Do the same in one message with all that this turn of the loop asks of the host; for quick answers."""
        waiting = asyncio.get_running_loop().create_future()
        gathered = self._gathered.get(host)
        if gathered is None:
            gathered = self._gathered[host] = []
            asyncio.get_running_loop().call_soon(self._send, host)
        gathered.append((_Asked(method.__qualname__, _arguments(method, args, kwargs)), waiting))
        result: R = _result(method, await waiting)
        return result

    async def ask_all(
        self,
        method: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> list[R]:
        """Ask every other host quickly, and wait for all; the first that fails is raised."""
        return list(await asyncio.gather(*(self.ask_quickly(host, method, *args, **kwargs) for host in self.others)))

    async def ask_available(
        self,
        own: Any,  # noqa: ANN401 - whatever has the method
        method: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> tuple[list[R], tuple[str, ...]]:
        """Carry a method out on `own`, and have every other host do so that answers soon.

        Returns the answers, the own one first, and the names of the hosts that gave none.
        """
        asked = {host: self.ask(host, method, *args, **kwargs) for host in self.others}
        mine, (others, silent) = await asyncio.gather(method(own, *args, **kwargs), gather_available(asked))
        return [mine, *others], silent

    async def answer(self, message: bytes) -> bytes:
        """Carry out what another host asks; never raises what the asker could not be told."""
        read = _read_message(message)
        answers: Sequence[_Answered] = ()
        problem = self._unsure() or await self._behind(read)
        if problem is None:
            if len(read.calls) == 1:
                answers = (await self._carried_out(read.calls[0]),)
            else:
                answers = await asyncio.gather(*map(self._carried_out, read.calls))
            problem = self._unsure()
        if problem is not None:
            answers = (_Answered(refusal=Code.UNAVAILABLE, message=problem),) * len(read.calls)
        return _encode(answers)

    def _unsure(self) -> str | None:
        """Return why this process may speak for its place no more."""
        return None if self._lease is None or self._lease() else "Another process may have taken the place of this host"

    async def _behind(self, message: _Message) -> str | None:
        """Come to know what the asker takes for known; return why that cannot be."""
        is_of_registry = message.calls[0].method in self._of_registry
        if self._know is None or is_of_registry or message.registry_version <= self._version():
            return None
        try:
            await self._know(message.registry_version)
        except MasklineError as problem:
            return f"The registry cannot be caught up with: {problem}"
        return None

    async def _carried_over(self, host: int, calls: Sequence[_Asked]) -> Sequence[_Answered]:
        problem = self._unsure()
        if problem is not None:
            raise PeerUnavailable(problem)
        return _read_answered(await self._peers.ask(host, _encode(_Message(self._version(), tuple(calls)))))

    def _send(self, host: int) -> None:
        task = asyncio.create_task(self._sent(host, self._gathered.pop(host)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _sent(self, host: int, gathered: Sequence[_Waiting]) -> None:
        try:
            answers = await self._carried_over(host, [asked for asked, _ in gathered])
        except PeerUnavailable as problem:
            for _, waiting in gathered:
                if not waiting.done():
                    waiting.set_exception(PeerUnavailable(str(problem)))
            return
        for (_, waiting), answered in zip(gathered, answers, strict=True):
            if not waiting.done():
                waiting.set_result(answered)

    async def _carried_out(self, asked: _Asked) -> _Answered:
        method = self._served.get(asked.method)
        if method is None:
            return _Answered(refusal=Code.UNAVAILABLE, message="The other host is starting")
        try:
            result = await method(**self._shapes[asked.method].decode(asked.arguments))
            return _Answered(msgspec.Raw(_encode(result)))
        except RegistryMoved:
            return _Answered(refusal=_MOVED)
        except Exception as problem:  # noqa: BLE001 - the boundary of a listener: logged and answered
            answer = answer_to(problem)
            if answer.is_unforeseen:
                _log.exception("Another host's call of %s failed", asked.method)
            return _Answered(refusal=answer.code, message=answer.detail or answer.message)


def _none_known() -> int:
    return 0


def _arguments(method: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> msgspec.Raw:
    return msgspec.Raw(argument_shape(method).encode(args, kwargs))


def _result(method: Callable[..., Any], answered: _Answered) -> Any:  # noqa: ANN401 - the method's own type
    if answered.refusal:
        raise _raised(answered)
    return result_decoder(method).decode(answered.result)


def _raised(answered: _Answered) -> MasklineError:
    if answered.refusal == _MOVED:
        return RegistryMoved()
    return failure_behind(ApiError(Code(answered.refusal), answered.message))
