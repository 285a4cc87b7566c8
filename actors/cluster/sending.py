"""Messages that leave by a connection of another host: handed to that host, sent there once, however long that takes.

An answer may be lost on the way, and a host may end in the middle. So a message is handed over under the incarnation of
the host that is asked: the same incarnation knows it again by its key, another one tells that it may have been sent.
"""

import asyncio
from contextlib import suppress
from enum import StrEnum
from typing import Final

import msgspec

from actors.cluster.rpc import HostRpc
from engine.core.model.errors import MasklineError
from engine.core.ports.outgoing import LocalSenders, RemoteSend


class _State(StrEnum):
    DONE = "done"
    WAITING = "waiting"
    """Ask again."""
    OTHER_INCARNATION = "other-incarnation"
    """Nothing is known of what an earlier one did."""


class SendStep(msgspec.Struct, frozen=True, array_like=True):
    """How far a message has come."""

    state: _State
    result: bytes = b""


class HostSenders:
    """What other hosts ask of the senders here."""

    def __init__(self, senders: LocalSenders, incarnation: str) -> None:
        """Send through these, from a start to an end that the incarnation names."""
        self._senders = senders
        self._incarnation = incarnation
        self._under_way: dict[str, asyncio.Task[bytes]] = {}

    async def incarnation(self) -> str:
        """Name this start of the host."""
        return self._incarnation

    async def send(
        self, sender: str, key: str, message: bytes, *, incarnation: str, patience_seconds: float
    ) -> SendStep:
        """Send a message, or wait for what becomes of it; asked again under the same key, it is sent once."""
        if incarnation != self._incarnation:
            return SendStep(_State.OTHER_INCARNATION)
        task = self._under_way.get(key)
        if task is None:
            task = self._under_way[key] = asyncio.create_task(self._senders.send_here(sender, message))
            task.add_done_callback(lambda _: self._forget_later(key))
        with suppress(TimeoutError):
            async with asyncio.timeout(patience_seconds):
                return SendStep(_State.DONE, await asyncio.shield(task))
        return SendStep(_State.WAITING)

    def stop(self) -> None:
        """Give up what is under way."""
        for task in self._under_way.values():
            task.cancel()

    def _forget_later(self, key: str) -> None:
        asyncio.get_running_loop().call_later(_REMEMBERED_SECONDS, self._under_way.pop, key, None)


async def send_at(rpc: HostRpc, host: int, *, sender: str, key: str, message: bytes) -> RemoteSend:
    """Have another host send a message; returns when it is known, or cannot be known, what became of it."""
    began_at: str | None = None
    failures = 0
    while True:
        incarnation = began_at
        if incarnation is None:
            try:
                incarnation = await rpc.ask_quickly(host, HostSenders.incarnation)
            except MasklineError:
                return RemoteSend(may_be_taken=False)
        try:
            step = await rpc.ask(
                host,
                HostSenders.send,
                sender,
                key,
                message,
                incarnation=incarnation,
                patience_seconds=_PATIENCE_SECONDS,
            )
        except MasklineError:
            began_at = incarnation
            failures += 1
            if failures == _MOST_FAILURES:
                return RemoteSend(may_be_taken=True)
            await asyncio.sleep(_PAUSE_SECONDS)
            continue
        if step.state is _State.DONE:
            return RemoteSend(result=step.result)
        if step.state is _State.OTHER_INCARNATION and began_at is not None:
            return RemoteSend(may_be_taken=True)
        if step.state is _State.WAITING:
            began_at, failures = incarnation, 0


_PATIENCE_SECONDS: Final = 1.0
_PAUSE_SECONDS: Final = 0.5
_MOST_FAILURES: Final = 60
_REMEMBERED_SECONDS: Final = 120.0
