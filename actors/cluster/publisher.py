"""Publishes on one other host what coordinators here say of bindings, one message at a time, until that is settled.

An operation is settled when it was acknowledged, or when the other host, having heard nothing for the length of a
lease, routes no more: a host that is cut off can hold up a change for that long, and can never route against it.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import suppress
from typing import Any

from actors.cluster.offset import ClockOffset, Reading, is_apart
from actors.traffic.stream import (
    BEAT_SECONDS,
    LEASE_SECONDS,
    Batch,
    Begun,
    Completed,
    Operation,
    Taken,
    Touch,
    routed,
)
from engine.core.model.errors import MasklineError
from engine.core.ports.operations import Clock
from engine.core.sessions.bindings import ActiveSession

MOST_OPERATIONS = 2_000
"""Operations in one message; bounds how long either host is busy with it."""

RETRY_SECONDS = 0.1
"""How long a publisher rests after a message that was not answered."""

Send = Callable[[Batch], Coroutine[Any, Any, Taken]]
"""Has the other host take a batch; raises MasklineError."""

_log = logging.getLogger("maskline.host")

TakeTouches = Callable[[tuple[Touch, ...], Callable[[], None]], None]
"""Takes touches over; calls back once they are on disk."""

_Sending = tuple[Operation, "asyncio.Future[bool] | None"]


class BindingPublisher:
    """Publishes to one other host."""

    def __init__(
        self,
        *,
        source: int,
        incarnation: str,
        send: Send,
        sessions: Callable[[], Iterable[ActiveSession]],
        concerns: Callable[[ActiveSession], bool],
        take_touches: TakeTouches,
        is_loaded: Callable[[], bool],
        clock: Clock,
        monotonic: Clock,
    ) -> None:
        """Begin with nothing sent.

        `sessions` returns those of all coordinators here, once `is_loaded`; `concerns` tells whether one has a number
        on the other host, and is asked message by message; `take_touches` takes over what passed there.
        """
        self._source = source
        self._incarnation = incarnation
        self._send = send
        self._sessions = sessions
        self._concerns = concerns
        self._take_touches = take_touches
        self._is_loaded = is_loaded
        self._clock = clock
        self._monotonic = monotonic
        self.offset = ClockOffset()
        """Of the other host's clock."""
        self.is_up = False
        """Whether the other host answered the last message and knows all that holds."""
        self._their_incarnation = ""  # that the stream goes to; empty: it has to be asked, and gets all anew
        self._streams_begun = 0  # how often all that holds was sent anew; ends the name of the incarnation we send
        self._first_number = 1  # in the stream, of the first operation that is not acknowledged
        self._snapshot: Iterator[Operation] = iter(())  # what is left to send of all that holds
        self._settled_upon_completion: list[asyncio.Future[bool]] = []  # wait for what the snapshot covers
        self._queue: deque[_Sending] = deque()  # never sent in this stream
        self._unacknowledged: list[_Sending] = []  # of the last batch; sent again as they are until it is answered
        # who waits at all, each with the monotonic time at which the other host routes no more by what it holds
        self._deadlines: deque[tuple[float, asyncio.Future[bool]]] = deque()
        self._begun_upon = 0.0  # the other host's stamp upon which the stream began
        self._stamp_to_echo: float | None = None  # its last stamp: returned, once all is sent, it renews its lease
        self._stamp_heard_at = 0.0  # monotonic
        # until when, monotonic, the other host may route by what it holds: an earlier life of ours may have said so
        self._leased_until = monotonic() + LEASE_SECONDS
        self._touches_kept_to = 0  # the last report that is on disk here; the other host forgets what it told before
        self._wake = asyncio.Event()  # there is something to send
        self._is_complete = False  # the other host has all that the snapshot held

    def tell(self, operation: Operation) -> None:
        """Send something that nobody waits for."""
        self._queue.append((operation, None))
        self._wake.set()

    def put(self, operation: Operation) -> "asyncio.Future[bool]":
        """Send something in its turn; the future tells, once that is settled, whether it was acknowledged."""
        acknowledged: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._queue.append((operation, acknowledged))
        self._deadlines.append((self._leased_until, acknowledged))
        self._wake.set()
        if not self.is_up:
            self._give_up()
        return acknowledged

    async def run(self) -> None:
        """Say what there is to say, and that this host is there, until cancelled."""
        watch = asyncio.create_task(self._watch())
        try:
            while True:
                self._wake.clear()
                if await self._speak() and self._has_more:
                    continue
                await self._rest()
        finally:
            watch.cancel()

    async def _speak(self) -> bool:
        batch, asked = self._next_batch(), Reading.of(self._clock, self._monotonic)
        try:
            taken = await self._send(batch)
            self.offset.measure(taken.clock, asked, Reading.of(self._clock, self._monotonic))
            if is_apart(self.offset.seconds, batch.offset):
                self._wake.set()  # it is told at once
            self._take(taken)
        except MasklineError:
            self.is_up = False
        except Exception:  # noqa: BLE001 - an actor's loop: the unforeseen is logged, and everything is published again
            _log.exception("Publishing to another host failed")
            self.is_up, self._their_incarnation = False, ""
        else:
            return True
        self._give_up()
        return False

    async def _rest(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(BEAT_SECONDS if self.is_up else RETRY_SECONDS):
                await self._wake.wait()
                if not self.is_up:
                    await asyncio.sleep(RETRY_SECONDS)

    @property
    def _has_more(self) -> bool:
        return self._is_loaded() and bool(self._queue or self._unacknowledged or not self._is_complete)

    def _next_batch(self) -> Batch:
        while len(self._unacknowledged) < MOST_OPERATIONS:
            operation = next(self._snapshot, None)
            if operation is not None:
                self._unacknowledged.append((operation, None))
            elif self._queue and self._their_incarnation:
                self._unacknowledged.append(self._queue.popleft())
            else:
                break
        is_all = not self._queue and not self._settled_upon_completion
        if is_all and self._stamp_to_echo is not None:
            self._leased_until = max(self._leased_until, self._stamp_heard_at + LEASE_SECONDS)
        return Batch(
            source=self._source,
            incarnation=f"{self._incarnation}.{self._streams_begun}",
            upon=self._begun_upon,
            first=self._first_number,
            operations=tuple(operation for operation, _ in self._unacknowledged),
            echo=self._stamp_to_echo if is_all else None,
            taken=self._touches_kept_to,
            offset=self.offset.seconds,
        )

    def _take(self, taken: Taken) -> None:
        self._stamp_to_echo, self._stamp_heard_at = taken.stamp, self._monotonic()
        if taken.touches:
            self._take_touches(taken.touches, lambda: self._keep(taken.report))
        if taken.incarnation != self._their_incarnation:
            self._their_incarnation = taken.incarnation
            self._touches_kept_to = 0
            self._begin(upon=taken.stamp)
        elif taken.applied < self._first_number - 1 + len(self._unacknowledged):
            self._begin(upon=taken.stamp)
        else:
            self._first_number += len(self._unacknowledged)
            for operation, acknowledged in self._unacknowledged:
                if isinstance(operation, Completed):
                    self._complete()
                elif acknowledged is not None and not acknowledged.done():
                    acknowledged.set_result(True)
            self._unacknowledged.clear()
            self.is_up = self._is_complete

    def _keep(self, report: int) -> None:
        self._touches_kept_to = max(self._touches_kept_to, report)

    def _begin(self, *, upon: float) -> None:
        """Say anew all that holds; what was said before, or waited to be, is part of it."""
        waiting = (acknowledged for _, acknowledged in (*self._unacknowledged, *self._queue))
        self._settled_upon_completion += (one for one in waiting if one is not None)
        self._unacknowledged.clear()
        self._queue.clear()
        self._is_complete = self.is_up = False
        self._begun_upon = upon
        self._first_number = 1
        if self._is_loaded() and self.offset.seconds is not None:
            self._streams_begun += 1
            self._snapshot = self._whole(tuple(self._sessions()))
        else:
            self._their_incarnation = ""  # asked again, until there is something to say

    def _whole(self, sessions: tuple[ActiveSession, ...]) -> Iterator[Operation]:
        yield Begun()
        for session in sessions:
            if session.is_bound and self._concerns(session):
                yield routed(session)
        yield Completed()

    def _complete(self) -> None:
        self._is_complete = True
        for acknowledged in self._settled_upon_completion:
            if not acknowledged.done():
                acknowledged.set_result(True)
        self._settled_upon_completion.clear()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(BEAT_SECONDS / 2)
            self._give_up()

    def _give_up(self) -> None:
        """Let go who waits for what the other host cannot act against any more."""
        now = self._monotonic()
        while self._deadlines:
            deadline, acknowledged = self._deadlines[0]
            if not acknowledged.done():
                if deadline > now:
                    return
                acknowledged.set_result(False)
            self._deadlines.popleft()
