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
from engine.channels.smpp.turns import Overdue, Turns, Waiting
from engine.core.ports.observing import SmppCount

_log = logging.getLogger("maskline.smpp")


class Stopping(Exception):  # noqa: N818 - names a state
    """Nothing is sent any more."""


class _Awaited:
    """Has a task hear of a message; implements `Hears`."""

    def __init__(self) -> None:
        self.response: asyncio.Future[Response | None] = asyncio.get_running_loop().create_future()

    def answered(self, response: Response | None) -> None:
        """Take the response."""
        if not self.response.done():
            self.response.set_result(response)

    def unsent(self, why: Exception) -> None:
        """Take that it is not sent."""
        if not self.response.done():
            self.response.set_exception(why)


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
        self._turns: dict[Connection, Turns] = {}
        """What waits for each connection that may send, in the order in which they were bound."""
        self._able: tuple[Connection, ...] = ()
        """The keys of these."""
        self._unplaced = Turns()
        """What waits while there is none."""
        self._pausing: asyncio.TimerHandle | None = None
        self._first = 0
        self._answered = asyncio.Event()
        """Something has happened that `stop` may wait for."""
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
        return bool(self._turns)

    def bound(self, connection: Connection) -> None:
        """Take a connection that is bound."""
        self._bound.append(connection)
        self.problem = ""
        self._count(SmppCount.BOUND)
        if connection.session.state in self._sends:
            self._turns[connection] = Turns()
            self._able = tuple(self._turns)
            self._place_anew()

    def happened(self, connection: Connection, event: Event) -> None:
        """Take what came over a connection."""
        match event:
            case RequestCame():
                if self._is_stopping:
                    connection.answer(event, status=_STOPPING)
                else:
                    self.inbound.deciding.take(connection, event)
            case ResponseCame():
                self._settle(connection, event.token, (event.status, event.body))
            case ResponseMissing():
                self._settle(connection, event.token, None)
            case Bound():
                self.bound(connection)
            case Ended():
                if connection in self._bound:
                    self._bound.remove(connection)
                    self.problem = f"its connection ended: {event.why.value}"
                    self.inbound.ended(connection)
                self._leave(connection)
                self._answered.set()
            case _:
                pass

    async def submit(
        self, message: ShortMessage, *, lane: str, account_sid: str, within_seconds: float | None = None
    ) -> Response | None:
        """Send a message as soon as it may go; return its response, None = it may have been taken.

        Messages of one lane go over one connection, as long as that is there; accounts take turns.

        Raises:
            Stopping: nothing is sent any more.
            Overdue: it could not be sent within so many seconds.
        """
        if within_seconds is not None and within_seconds <= 0:
            raise Overdue
        awaited = _Awaited()
        waiting = Waiting(account_sid, lane, write_message(message), awaited)
        self.put(waiting)
        giving_up = None
        if within_seconds is not None:
            giving_up = asyncio.get_running_loop().call_later(within_seconds, waiting.unsent, Overdue())
        try:
            return await awaited.response
        finally:
            waiting.is_over = True
            if giving_up is not None:
                giving_up.cancel()

    def put(self, waiting: Waiting) -> None:
        """Send a message as `submit` does; whoever it names hears of it, later. Raises Stopping."""
        if self._is_stopping:
            raise Stopping
        connection = self._connection_of(waiting)
        if connection is None:
            self._unplaced.put(waiting)
        elif not self._turns[connection].by_account and self._may_send_over(connection):
            self._hand_over(connection, waiting)
        else:
            self._turns[connection].put(waiting)

    def complained(self) -> None:
        """Take that the peer asks to be sent less."""
        self.pace.complained(self._monotonic())

    # -- whose turn it is -----------------------------------------------------------------------------------------

    def _connection_of(self, waiting: Waiting) -> Connection | None:
        """Return the connection of a message's lane; None while there is none."""
        able = self._able
        return able[hash(waiting.lane) % len(able)] if able else None

    def _place_anew(self) -> None:
        """Share out what waits, since the connections are other ones now."""
        for waiting in self._take_all():
            connection = self._connection_of(waiting)
            (self._unplaced if connection is None else self._turns[connection]).put(waiting)
        self._send_all()

    def _take_all(self) -> list[Waiting]:
        return [waiting for turns in (self._unplaced, *self._turns.values()) for waiting in turns.all()]

    def _leave(self, connection: Connection) -> None:
        """Give what waits for a connection to the others."""
        turns = self._turns.pop(connection, None)
        if turns is not None:
            self._able = tuple(self._turns)
            for waiting in turns.all():
                self._unplaced.put(waiting)
            self._place_anew()

    def _send(self, connection: Connection) -> None:
        """Send what waits for a connection, as far as its window and the rate allow."""
        turns = self._turns.get(connection)
        while turns is not None and turns.by_account and self._may_send_over(connection):
            waiting = turns.take()
            if waiting is not None:
                self._hand_over(connection, waiting)

    def _may_send_over(self, connection: Connection) -> bool:
        """Tell whether a message may go over a connection now; where only the rate forbids it, see to it later."""
        session = connection.session
        if session.state not in self._sends or not session.room:
            return False
        pause = self.pace.wait(self._monotonic())
        if pause:
            self._send_after(pause)
        return not pause

    def _hand_over(self, connection: Connection, waiting: Waiting) -> None:
        self.pace.take(self._monotonic())
        waiting.is_sent = True
        connection.send(self._command, waiting.body, token=waiting)

    def _send_after(self, seconds: float) -> None:
        if self._pausing is None:
            self._pausing = asyncio.get_running_loop().call_later(seconds, self._send_all)

    def _send_all(self) -> None:
        if self._pausing is not None:
            self._pausing.cancel()
            self._pausing = None
        self._first += 1  # another one each time, since the rate may not suffice for all
        connections = tuple(self._turns)
        for place in range(len(connections)):
            self._send(connections[(self._first + place) % len(connections)])

    def _settle(self, connection: Connection, token: object, response: Response | None) -> None:
        if isinstance(token, Waiting):
            token.answered(response)
        self._send(connection)
        self._answered.set()

    async def _sweep(self) -> None:
        while True:
            try:
                await self.inbound.sweep()
            except Exception:  # noqa: BLE001 - around the loop: it must go on
                _log.exception("What waits for %s could not be looked through", self.peer.name)
            await asyncio.sleep(_SWEEP_SECONDS)

    def stop_accepting(self) -> None:
        """Refuse what comes from now on, and send nothing more."""
        self._is_stopping = True
        self._sweeping.cancel()
        if self._pausing is not None:
            self._pausing.cancel()
        for waiting in self._take_all():
            waiting.unsent(Stopping())

    async def stop(self, grace_seconds: float) -> None:
        """Answer what was taken and hear the answers that are due, within the grace; then unbind."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_seconds):
                await asyncio.gather(*(one.is_idle.wait() for one in self._bound))
                while any(one.session.unanswered for one in self._bound):
                    self._answered.clear()
                    await self._answered.wait()
        leaving = tuple(self._bound)
        for one in leaving:
            one.session.request(Command.UNBIND, now=self._monotonic())
            one.flush()
        if leaving:
            await asyncio.wait([one.ended for one in leaving], timeout=min(grace_seconds, _UNBIND_SECONDS))
        await self.inbound.finish()
        for one in leaving:
            one.abort()


_STOPPING = 0x08
_SWEEP_SECONDS: Final = 5.0
_UNBIND_SECONDS: Final = 5.0
