"""The bound connections of one peer, and messages of ours over them: window, rate, and which connection."""

import asyncio
import contextlib
import logging
from typing import Final

from engine.channels.base import ChannelContext
from engine.channels.smpp.connection import Connection, Response
from engine.channels.smpp.inbound import Inbound
from engine.channels.smpp.pace import Pace
from engine.channels.smpp.pdu import Command, ShortMessage, write_message
from engine.channels.smpp.peers import SmppPeer
from engine.channels.smpp.session import Bound, Ended, Event, RequestCame, ResponseCame, ResponseMissing, State
from engine.core.ports.observing import SmppCount

_log = logging.getLogger("maskline.smpp")


class Stopping(Exception):  # noqa: N818 - names a state
    """Nothing is sent any more."""


class Links:
    """The connections of one peer; owns each from its bind on."""

    def __init__(self, peer: SmppPeer, context: ChannelContext, inbound: Inbound) -> None:
        """Have none yet."""
        self.peer = peer
        self.pace = Pace(peer.messages_per_second, now=context.monotonic())
        self.inbound = inbound
        self.problem = "it is not connected yet"
        """Why the last connection failed or ended."""
        self._monotonic = context.monotonic
        self._count = context.observer.smpp
        self._bound: list[Connection] = []
        self._changed = asyncio.Event()
        self._is_stopping = False
        self._command = Command.SUBMIT_SM if peer.is_esme else Command.DELIVER_SM
        self._sends = {State.TRANSCEIVER, State.TRANSMITTER if peer.is_esme else State.RECEIVER}
        self._sweeping = asyncio.create_task(self._sweep(), name="smpp-sweep")

    @property
    def connections(self) -> tuple[Connection, ...]:
        """Those that are bound."""
        return tuple(self._bound)

    @property
    def may_send(self) -> bool:
        """Tell whether a connection is there that messages of ours can go over."""
        return any(one.session.state in self._sends for one in self._bound)

    def bound(self, connection: Connection) -> None:
        """Take a connection that is bound."""
        self._bound.append(connection)
        self.problem = ""
        self._count(SmppCount.BOUND)
        self._wake()

    def happened(self, connection: Connection, event: Event) -> None:
        """Take what came over a connection."""
        match event:
            case Bound():
                self.bound(connection)
            case RequestCame():
                if self._is_stopping:
                    connection.answer(event, status=_STOPPING)
                else:
                    self.inbound.take(connection, event)
            case ResponseCame():
                _settle(event.token, (event.status, event.body))
                self._wake()
            case ResponseMissing():
                _settle(event.token, None)
                self._wake()
            case Ended():
                if connection in self._bound:
                    self._bound.remove(connection)
                    self.problem = f"its connection ended: {event.why.value}"
                    self.inbound.ended(connection)
                self._wake()
            case _:
                pass

    async def submit(self, message: ShortMessage, *, lane: str) -> Response | None:
        """Send a message as soon as it may go; return its response, None = it may have been taken. Raises Stopping.

        Messages of one lane go over one connection, as long as that is there.
        """
        body = write_message(message)
        connection = await self._turn(lane)
        self.pace.take(self._monotonic())
        return await connection.ask(self._command, body)

    def complained(self) -> None:
        """Take that the peer asks to be sent less."""
        self.pace.complained(self._monotonic())

    async def _turn(self, lane: str) -> Connection:
        while True:
            if self._is_stopping:
                raise Stopping
            changed = self._changed
            able = [one for one in self._bound if one.session.state in self._sends]
            wait: float | None = None
            if able:
                connection = able[hash(lane) % len(able)]
                if connection.session.room:
                    wait = self.pace.wait(self._monotonic())
                    if not wait:
                        return connection
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await changed.wait()

    def _wake(self) -> None:
        """Let all that wait look again."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def _sweep(self) -> None:
        while True:
            try:
                self.inbound.sweep()
            except Exception:  # noqa: BLE001 - around the loop: it must go on
                _log.exception("What waits for %s could not be looked through", self.peer.name)
            await asyncio.sleep(_SWEEP_SECONDS)

    def stop_accepting(self) -> None:
        """Refuse what comes from now on, and send nothing more."""
        self._is_stopping = True
        self._sweeping.cancel()
        self._wake()

    async def stop(self, grace_seconds: float) -> None:
        """Answer what was taken and hear the answers that are due, within the grace; then unbind."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_seconds):
                await asyncio.gather(*(one.is_idle.wait() for one in self._bound))
                while any(one.session.unanswered for one in self._bound):
                    await self._changed.wait()
        leaving = tuple(self._bound)
        for one in leaving:
            one.session.request(Command.UNBIND, now=self._monotonic())
            one.flush()
        if leaving:
            await asyncio.wait([one.ended for one in leaving], timeout=min(grace_seconds, _UNBIND_SECONDS))
        for one in leaving:
            one.abort()


def _settle(token: object, response: Response | None) -> None:
    if isinstance(token, asyncio.Future) and not token.done():
        token.set_result(response)


_STOPPING = 0x08
_SWEEP_SECONDS: Final = 5.0
_UNBIND_SECONDS: Final = 5.0
