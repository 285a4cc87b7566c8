"""One connection: carries octets and timers between a transport and its session."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Protocol, final

from engine.channels.smpp.answered import AnsweredArrivals
from engine.channels.smpp.arrivals import Arrival
from engine.channels.smpp.pdu import Command
from engine.channels.smpp.session import Ended, Event, RequestCame, Session
from engine.core.ports.operations import Clock

Response = tuple[int, bytes]
"""Status and body."""


class Owner(Protocol):
    """Whose connection it is."""

    def happened(self, connection: "Connection", event: Event) -> None:
        """Take what came over it."""


@final
class Connection:
    """A connection of either role, with the methods of `asyncio.Protocol`: what is compiled has no base that is not."""

    _transport: asyncio.Transport

    def __init__(
        self,
        session: Session,
        owner: Owner,
        *,
        monotonic: Clock,
        most_undecided: int = 1000,
        most_held_bytes: int = 64 * 1024 * 1024,
        came: "Callable[[Connection], None] | None" = None,
    ) -> None:
        """Carry a session whose events go to its owner, `most_undecided` requests at a time; `came` hears it is open.

        The others are read and held, so that what stands behind them, such as an enquire_link, is not kept waiting;
        reading stops while those take `most_held_bytes`.
        """
        self.session = session
        self.owner = owner
        self.ended: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()
        """Why it is over."""
        self.undecided: dict[int, Arrival | None] = {}
        """Requests of theirs that are not answered, by sequence number."""
        self._answered = AnsweredArrivals()
        """Messages of theirs."""
        self.is_idle = asyncio.Event()
        """Nothing of theirs waits for an answer."""
        self.is_idle.set()
        self.peer_address = ""
        """IP address of the other side."""
        self._monotonic = monotonic
        self._came = came
        self._most_undecided = most_undecided
        self._held: OrderedDict[int, RequestCame] = OrderedDict()
        """Requests of theirs that the owner has not got yet, by sequence number, in the order in which they came."""
        self._held_bytes = 0
        self._most_held_bytes = most_held_bytes
        self._is_releasing = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = float("inf")
        self._is_flushing = False
        self._is_reading = True
        self._is_blocked = False

    # -- the transport's calls ------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Begin."""
        self._transport = transport
        name = transport.get_extra_info("peername")
        self.peer_address = str(name[0]) if name else ""
        self._set_timer()
        if self._came is not None:
            self._came(self)

    def data_received(self, data: bytes) -> None:
        """Take octets."""
        self._hand_on(self.session.receive(data, now=self._monotonic()))
        self.flush()

    def eof_received(self) -> None:
        """Have the transport close."""

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        del exc
        self._hand_on(self.session.lose())
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def pause_writing(self) -> None:
        """Read no more from a side that does not read."""
        self._is_blocked = True
        self._mind_reading()

    def resume_writing(self) -> None:
        """Read again."""
        self._is_blocked = False
        self._mind_reading()

    # -- what is sent ---------------------------------------------------------------------------------------------

    def ask(self, command: Command, body: bytes = b"") -> "asyncio.Future[Response | None]":
        """Send a request; awaited, gives its response, or None: it may have been carried out. Raises NotNow."""
        answer: asyncio.Future[Response | None] = asyncio.get_running_loop().create_future()
        self.session.request(command, body, now=self._monotonic(), token=answer)
        self.flush()
        return answer

    def send(self, command: Command, body: bytes, *, token: object) -> None:
        """Send a request at the end of the loop's turn; what comes of it has the token. Raises NotNow."""
        self.session.request(command, body, now=self._monotonic(), token=token)
        self._flush_soon()

    def unbind(self) -> None:
        """Ask the other side to end it."""
        self.session.request(Command.UNBIND, now=self._monotonic())
        self.flush()

    def await_answer(self, request: RequestCame, arrival: Arrival | None) -> None:
        """Count a request of theirs as undecided."""
        if not self.undecided:
            self.is_idle.clear()
        self.undecided[request.sequence] = arrival

    def answer(self, request: RequestCame, body: bytes = b"", *, status: int = 0) -> bool:
        """Answer a request of theirs; tells whether its connection is still there."""
        is_open = not self.ended.done()
        self.session.respond(request, body, status=status)
        arrival = self.undecided.pop(request.sequence, None)
        if arrival is not None:
            self._answered.add(arrival, self._monotonic())
        if self._held:
            self._release_soon()
        elif not self.undecided:
            self.is_idle.set()
        if is_open:
            self._flush_soon()
        return is_open

    def flush(self) -> None:
        """Write what is in line."""
        self._is_flushing = False
        data = self.session.data_to_send()
        if data and not self._transport.is_closing():
            self._transport.write(data)
        self._set_timer()

    def close(self) -> None:
        """Close, once what is in line is written."""
        self.flush()
        self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    def unsettled(self) -> list[Arrival]:
        """Return the messages of theirs that they may send again: not answered, or only just."""
        undecided = [arrival for arrival in self.undecided.values() if arrival is not None]
        return self._answered.recent(self._monotonic()) + undecided

    # -- within ---------------------------------------------------------------------------------------------------

    def hand_on(self, event: Event) -> None:
        """Tell the owner of an event, of a request once it is its turn; the last one closes the connection."""
        if isinstance(event, RequestCame) and (self._held or len(self.undecided) >= self._most_undecided):
            self._hold(event)
            return
        self.owner.happened(self, event)
        if isinstance(event, Ended):
            self._held.clear()  # they were not taken: their sender has no answer, and sends them again
            if not self.ended.done():
                self.ended.set_result(event)
            self.is_idle.set()
            self.close()

    def _hand_on(self, events: list[Event]) -> None:
        for event in events:
            self.hand_on(event)

    def _hold(self, request: RequestCame) -> None:
        if request.sequence not in self._held:  # else the same once more
            self._held[request.sequence] = request
            self._held_bytes += _bytes_of(request)
            self._mind_reading()

    def _release_soon(self) -> None:
        if not self._is_releasing:
            self._is_releasing = True
            asyncio.get_running_loop().call_soon(self._release)

    def _release(self) -> None:
        """Give the owner requests that were held: some, since others' octets are to be read between them."""
        self._is_releasing = False
        for _ in range(_RELEASED_AT_ONCE):
            if not self._held or len(self.undecided) >= self._most_undecided:
                break
            _, request = self._held.popitem(last=False)
            self._held_bytes -= _bytes_of(request)
            self.owner.happened(self, request)
        self._mind_reading()
        if self._held and len(self.undecided) < self._most_undecided:
            self._release_soon()

    def _mind_reading(self) -> None:
        may_read = not self._is_blocked and self._held_bytes < self._most_held_bytes
        if may_read is self._is_reading or self._transport.is_closing():
            return
        self._is_reading = may_read
        if may_read:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def _flush_soon(self) -> None:
        """Write once for all that the loop's turn puts in line."""
        if not self._is_flushing:
            self._is_flushing = True
            asyncio.get_running_loop().call_soon(self.flush)

    def _set_timer(self) -> None:
        due = self.session.next_timer()
        if due is None or (self._timer is not None and self._timer_at <= due):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = due
        self._timer = asyncio.get_running_loop().call_later(max(0.0, due - self._monotonic()), self._wake)

    def _wake(self) -> None:
        self._timer = None
        self._hand_on(self.session.wake(now=self._monotonic()))
        self.flush()


def _bytes_of(request: RequestCame) -> int:
    return len(request.body) + _BYTES_BESIDE_BODY


_BYTES_BESIDE_BODY: Final = 256
"""What a held request takes besides its body, about."""
_RELEASED_AT_ONCE: Final = 100
"""How many held requests go to the owner before what has come is read again."""
