"""The bound connections of one peer, and messages of ours over them: window, rate, and which connection."""

import asyncio

from engine.channels.base import ChannelContext
from engine.channels.smpp.connection import Connection, Response
from engine.channels.smpp.inbound import Inbound
from engine.channels.smpp.pace import Pace
from engine.channels.smpp.pdu import Command
from engine.channels.smpp.peers import SmppPeer
from engine.channels.smpp.session import Bound, Ended, Event, RequestCame, ResponseCame, ResponseMissing, State
from engine.channels.smpp.turns import Turns, Waiting
from engine.core.ports.observing import SmppCount


class Stopping(Exception):  # noqa: N818 - names a state
    """Nothing is sent any more."""


class Links:
    """The connections of one peer; owns each from its bind on."""

    def __init__(
        self, peer: SmppPeer, context: ChannelContext, inbound: Inbound, *, sweeping: "asyncio.Task[None]"
    ) -> None:
        """Have none yet; `sweeping` ends when they do."""
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
        self.has_heard = asyncio.Event()
        """Set when something has happened that a stop may wait for."""
        self._is_stopping = False
        self._command = Command.SUBMIT_SM if peer.is_esme else Command.DELIVER_SM
        self._sends = {State.TRANSCEIVER, State.TRANSMITTER if peer.is_esme else State.RECEIVER}
        self._sweeping = sweeping

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
                self.has_heard.set()
            case _:
                pass

    def put(self, waiting: Waiting) -> None:
        """Send a message as soon as it may go; it is told what comes of it, later. Raises Stopping.

        Messages of one lane go over one connection, as long as that is there; accounts take turns.
        """
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
        if self._is_stopping:
            self.has_heard.set()

    def stop_accepting(self) -> None:
        """Refuse what comes from now on, and send nothing more."""
        self._is_stopping = True
        self._sweeping.cancel()
        if self._pausing is not None:
            self._pausing.cancel()
        for waiting in self._take_all():
            waiting.unsent(Stopping())


_STOPPING = 0x08
