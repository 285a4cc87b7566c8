"""The way to one host: what waits to be sent to it, what it has to answer, and its connection, made again when lost."""

import asyncio
import ssl
from collections import deque
from collections.abc import Callable, Iterator

import msgspec

from engine.channels.feed.events import Event
from engine.channels.feed.frames import (
    Answers,
    Hello,
    Later,
    Limits,
    Problem,
    Refusal,
    Refused,
    Said,
    ServerFrame,
    Terms,
    Welcome,
)
from engine.client.connection import Connection
from engine.core.model.errors import MasklineError
from engine.core.ports.observing import FeedProblem

Answer = Callable[[Said], None]
"""Takes what the server said of an event; None = nothing, in the time that there was."""

_encode = msgspec.msgpack.Encoder().encode


class FeedRefused(MasklineError):  # noqa: N818 - names a state, as StoreUnavailable does
    """The server does not take the hello: wrong credentials, another version."""


class ClientSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How a client behaves where its user may choose."""

    batch_events: int = 256
    """Events of a frame, at most."""
    most_waiting: int = 16_384
    """Events without an answer, past which `send` waits."""
    patience_seconds: float = 30.0
    """How long an event is sent again while the server is not ready or not there."""
    silence_seconds: float = 15.0
    """How long a server may owe answers and say nothing before its connection is given up."""
    connect_seconds: float = 5.0
    """How long a connection may take to be there, hello included."""
    first_wait_seconds: float = 0.05
    """Wait before the second try; it doubles."""
    longest_wait_seconds: float = 2.0
    """Where the doubling ends."""

    def wait_seconds(self, tries: int) -> float:
        """Return how long to wait after n tries."""
        return float(min(self.longest_wait_seconds, self.first_wait_seconds * 2 ** min(tries - 1, 16)))


class Pending(msgspec.Struct, eq=False):
    """An event on its way to its answer."""

    event: Event
    answer: Answer
    deadline: float
    """In the loop's time."""
    tries: int = 0
    """How often it was answered with "not ready"."""


class LinkParts(msgspec.Struct, frozen=True):
    """What all links of a client share."""

    hello: Hello
    tls: ssl.SSLContext | None
    settings: ClientSettings
    answered: Callable[[Pending, Said], None]
    """Gets every answer."""
    welcomed: Callable[["Link", Terms], None]
    """Gets every welcome."""
    heard: Callable[["Link", int], None]
    """Is told the epoch of every frame of answers."""
    refused: Callable[[Refusal], bool]
    """Is told that a hello was not taken; tells whether that is the end."""


class Link:
    """The way to one host."""

    def __init__(self, address: tuple[str, int], parts: LinkParts) -> None:
        """Lead to a host; `run` opens the way."""
        self.address = address
        self._parts = parts
        self._queue: deque[Pending] = deque()
        self._in_flight: deque[tuple[int, int, list[Pending]]] = deque()
        self._bytes_in_flight = 0
        self._late: dict[tuple[int, int], Pending] = {}
        self._connection: Connection | None = None
        self._limits: Limits | None = None
        self._gone = asyncio.Event()
        self._is_flushing = False
        self._is_refused = False

    @property
    def is_open(self) -> bool:
        """Whether events can be sent now."""
        return self._limits is not None

    # -- sending ---------------------------------------------------------------------------------------------------

    def put(self, pending: Pending) -> None:
        """Send an event with the others of the loop's turn."""
        self._queue.append(pending)
        if not self._is_flushing and self._limits is not None:
            self._is_flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    def ask_directory(self) -> None:
        """Have the server say where the hosts are."""
        if self._connection is not None and self._limits is not None and self._connection.is_writable:
            self._connection.greet()

    def take_all(self) -> Iterator[Pending]:
        """Take away what is queued here."""
        while self._queue:
            yield self._queue.popleft()

    def take_overdue(self, now: float) -> Iterator[Pending]:
        """Take away what has waited here past its deadline, and give a connection up that owes answers in silence."""
        overdue = [pending for pending in self._queue if pending.deadline <= now]
        if overdue:
            self._queue = deque(pending for pending in self._queue if pending.deadline > now)
            yield from overdue
        connection = self._connection
        is_pending = bool(self._in_flight or self._late)
        if connection is not None and is_pending and now - connection.heard_at > self._parts.settings.silence_seconds:
            connection.abort()

    def _flush(self) -> None:
        self._is_flushing = False
        connection, limits = self._connection, self._limits
        while (
            self._queue
            and connection is not None
            and limits is not None
            and connection.is_writable
            and len(self._in_flight) < limits.window_frames
            and self._bytes_in_flight < limits.window_bytes
        ):
            most = min(self._parts.settings.batch_events, limits.frame_events)
            batch = [self._queue.popleft() for _ in range(min(most, len(self._queue)))]
            self._send(connection, batch, limits)

    def _send(self, connection: Connection, batch: list[Pending], limits: Limits) -> None:
        payload = _encode([pending.event for pending in batch])
        if len(payload) <= limits.frame_bytes:
            self._in_flight.append((connection.send(payload), len(payload), batch))
            self._bytes_in_flight += len(payload)
        elif len(batch) == 1:
            detail = f"an event of {len(payload)} bytes; a frame has at most {limits.frame_bytes}"
            self._parts.answered(batch[0], Refusal(FeedProblem.FRAME_TOO_LONG, detail=detail))
        else:
            half = len(batch) // 2
            self._send(connection, batch[:half], limits)
            self._send(connection, batch[half:], limits)

    # -- hearing ---------------------------------------------------------------------------------------------------

    def _hear(self, frame: ServerFrame) -> None:
        match frame:
            case Answers(number, epoch, said):
                self._take_answers(number, said)
                self._parts.heard(self, epoch)
            case Later(epoch, answers):
                for answer in answers:
                    pending = self._late.pop((answer.frame, answer.index), None)
                    if pending is not None:
                        self._parts.answered(pending, answer.said)
                self._parts.heard(self, epoch)
            case Welcome(_, terms):
                self._limits = terms.limits
                self._parts.welcomed(self, terms)
            case Problem(number, refusal):
                if self._limits is None:
                    self._is_refused = self._parts.refused(refusal)
                for pending in self._landed(number):
                    self._parts.answered(pending, refusal)

    def _landed(self, number: int) -> list[Pending]:
        """Return the events of a frame that is answered."""
        if not self._in_flight or self._in_flight[0][0] != number:
            return []
        _, size, batch = self._in_flight.popleft()
        self._bytes_in_flight -= size
        return batch

    def _take_answers(self, number: int, said: list[Said]) -> None:
        batch = self._landed(number)
        if len(batch) != len(said):
            raise Refused(FeedProblem.BAD_FIELD, f"{len(said)} answers to {len(batch)} events of frame {number}")
        for index, (pending, answer) in enumerate(zip(batch, said, strict=True)):
            if answer is None:
                self._late[number, index] = pending
            else:
                self._parts.answered(pending, answer)

    # -- the connection --------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep the connection until cancelled, or until the server does not take the hello."""
        settings, tries = self._parts.settings, 0
        while not self._is_refused:
            try:
                async with asyncio.timeout(settings.connect_seconds):
                    await self._connect()
                tries = 0
                await self._gone.wait()
            except OSError:  # a TimeoutError is one
                pass
            finally:
                self._lose()
            tries += 1
            await asyncio.sleep(settings.wait_seconds(tries))

    async def _connect(self) -> None:
        loop, (host, port) = asyncio.get_running_loop(), self.address
        greeted: asyncio.Future[None] = loop.create_future()
        self._gone.clear()

        def said(frame: ServerFrame) -> None:
            self._hear(frame)
            if self._limits is not None and not greeted.done():
                greeted.set_result(None)

        def lost() -> None:
            self._gone.set()
            if not greeted.done():
                greeted.set_exception(ConnectionResetError("the server has closed the connection"))

        _, self._connection = await loop.create_connection(
            lambda: Connection(self._parts.hello, said=said, changed=self._flush, lost=lost),
            host,
            port,
            ssl=self._parts.tls,
        )
        await greeted

    def _lose(self) -> None:
        """Queue again, first, what the lost connection had not answered: the server knows it by its SID."""
        if self._connection is not None:
            self._connection.abort()
        pending = [pending for _, _, batch in self._in_flight for pending in batch]
        self._queue.extendleft(reversed([*self._late.values(), *pending]))
        self._connection = self._limits = None
        self._in_flight.clear()
        self._late.clear()
        self._bytes_in_flight = 0
