"""One connection of the feed: frames of events in, frames of decisions out, in the same order.

It decides nothing (the data plane does) and knows no bytes (`engine.channels.feed.frames` does). A burst that was read
is decided in one turn of the loop and answered with one write; an event is a callback at most, no task and no future.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial

import msgspec

from engine.channels.carriers import Carrier
from engine.channels.feed.cached_answers import AnswerLayout, answer_frame
from engine.channels.feed.dispatcher import Dispatcher
from engine.channels.feed.events import MAX_EVENTS, Event, Resolve, read_events, read_resolves
from engine.channels.feed.frames import (
    FIELDS,
    LENGTH_BYTES,
    MAX_HELLO_BYTES,
    UNREADABLE,
    VERSION,
    Answers,
    Directory,
    Encoded,
    EncodedAnswers,
    FeedHost,
    Hello,
    Later,
    Payload,
    Problem,
    Refusal,
    Refused,
    Said,
    ServerFrame,
    Shape,
    Splitter,
    Terms,
    Welcome,
    completed,
    is_hello,
    layout_of,
    read_hello,
    shape_of,
)
from engine.channels.feed.pending_frames import Frame, PendingFrames
from engine.channels.feed.settings import FeedSettings
from engine.core.model.hosts import HostDirectory
from engine.core.ports.observing import FeedObserver, FeedProblem, TrafficMeter
from engine.core.ports.operations import Clock, FeedPlane
from engine.core.ports.store import Lease

LINGER_SECONDS = 1.0
"""How long a peer may go on sending what is not read any more, so that it comes to read its last answers."""

_NO_LENGTH = bytes(LENGTH_BYTES)

_log = logging.getLogger("maskline.feed")


class Admitted(msgspec.Struct, frozen=True):
    """Whose numbers a client may use."""

    account_sid: str | None
    """The account whose they are; None = of all accounts."""
    carrier: Carrier | None = None
    """A carrier of the operator's that may deliver for some of them only."""


class FeedParts(msgspec.Struct, frozen=True):
    """What all connections share."""

    plane: FeedPlane
    admit: Callable[[Hello], Admitted]
    """Returns whose numbers a client may use; raises Refused."""
    directory: Callable[[], HostDirectory]
    observer: FeedObserver
    meter: TrafficMeter
    """Is told what passes."""
    monotonic: Clock
    """Measures durations."""
    settings: FeedSettings
    opened: Callable[["FeedConnection"], bool]
    """Is told of a connection that is there; tells whether there is room for it."""
    closed: Callable[["FeedConnection"], None]
    """Is told when it is gone."""
    lease: Lease | None = None
    """Asked before what was decided leaves."""


class _Client(msgspec.Struct, frozen=True):
    """Who speaks on a connection."""

    account_sid: str | None
    """Whose numbers it may use; None = all."""
    hello: Hello
    """What it said, to be checked again."""
    shape: Shape
    """What its decisions are made of."""
    layout: AnswerLayout | None
    """The same for answers from cached routes; None where the client wants more than a cached route holds."""
    carrier: Carrier | None
    """Looked at for each number, where not all are open to it."""


class FeedConnection(asyncio.Protocol):
    """A connection, from its hello to its end."""

    def __init__(self, parts: FeedParts) -> None:
        """Take a connection over."""
        self._parts = parts
        self._splitter = Splitter(MAX_HELLO_BYTES)
        self._encode_into = msgspec.msgpack.Encoder().encode_into
        self._client: _Client | None = None
        self._next_number = 0
        self._expects_resolves = True
        self._pending = PendingFrames(self._turn)
        self._dispatcher = Dispatcher(parts.plane, parts.meter, parts.observer)
        self._out = bytearray()
        self._read_at = 0.0
        self._done_at = 0.0  # when what was read before the next frame was answered
        self._burst = 0
        self._at_once = 0  # of these, how many have their answers written
        self._answered: list[tuple[float, int]] = []  # when others were read, and how many
        self._in_flight = 0
        self._is_decided = False  # while this process was surely the host, and it has not left
        self._is_turning = False
        self._is_paused = False
        self._is_write_paused = False
        self._is_ending = False
        self._has_ended = False

    # -- the connection ------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # a server makes these
        """Wait for the hello."""
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(self._parts.settings.feed_hello_timeout_seconds, self._miss_hello)
        if not self._parts.opened(self):
            detail = f"there are {self._parts.settings.max_feed_connections} connections, and may be no more"
            self._refuse(Refusal(FeedProblem.TOO_MANY_CONNECTIONS, detail=detail), is_last=True)
            self._turn()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the answers that nobody awaits; what they answer is committed all the same."""
        del exc
        self._timer.cancel()
        self._has_ended = self._is_ending = True
        self._parts.meter.lost(self._in_flight)
        self._in_flight = 0
        self._parts.closed(self)

    def eof_received(self) -> bool:
        """Stay open towards a peer that has said all it wants and waits for answers; TLS cannot."""
        if self._has_ended:
            return False
        self._is_ending = True
        return not self._pending.is_done and self._transport.can_write_eof()

    def finish(self) -> None:
        """Take no more frames, and close when those that were taken are answered."""
        if not self._is_ending:
            self._is_ending = True
            self._turn()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    def check(self) -> None:
        """End the connection of a client whose credentials hold no more."""
        if self._client is None or self._is_ending:
            return
        try:
            self._parts.admit(self._client.hello)
        except Refused as problem:
            self._refuse(problem.refusal, is_last=True)
            self._turn()

    def _miss_hello(self) -> None:
        self._refuse(Refusal(FeedProblem.HELLO_EXPECTED, detail="no hello came in time"), is_last=True)
        self._turn()

    # -- reading -------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Decide what came, and answer what can be answered with one write."""
        if self._is_ending:
            return
        self._is_turning = True
        first = self._next_number
        self._read_at = self._done_at = self._parts.monotonic()
        self._burst = 0
        if self._parts.lease is not None and self._parts.lease():
            self._is_decided = True
        self._read(data)
        if self._burst:
            self._in_flight += self._burst
            self._parts.meter.burst(self._burst)
        if self._pending.waits_since(first):
            self._parts.plane.settle(partial(self._pending.settle, self._next_number))
        self._turn_over()

    def _read(self, data: bytes) -> None:
        try:
            for payload in self._splitter.split(data):
                self._take(payload)
                if self._is_ending:
                    break
        except Refused as problem:
            self._refuse(problem.refusal, is_last=True)

    def _take(self, payload: Payload | Refusal) -> None:
        try:
            if isinstance(payload, Refusal):
                self._refuse(payload, is_last=self._client is None)
            elif is_hello(payload):
                self._greet(payload)
            elif self._client is None:
                problem = Refusal(FeedProblem.HELLO_EXPECTED, detail="the first frame is a hello, which is a map")
                self._refuse(problem, is_last=True)
            else:
                self._take_events(payload, self._client)
        except Refused as problem:
            is_kept = self._client is not None or problem.refusal.error is FeedProblem.UNKNOWN_VERSION
            self._refuse(problem.refusal, is_last=not is_kept)
        except Exception:  # noqa: BLE001 - the listener's task: the unforeseen is logged and answered
            _log.exception("A frame could not be answered")
            self._refuse(Refusal(FeedProblem.INTERNAL_ERROR), is_last=False)

    def _greet(self, payload: Payload) -> None:
        hello = read_hello(payload)
        shape = shape_of(hello.wants)
        try:
            admitted = self._parts.admit(hello)
        except Refused as problem:
            self._refuse(problem.refusal, is_last=True)
            return
        self._timer.cancel()
        account_sid, carrier = admitted.account_sid, admitted.carrier
        layout = layout_of(hello.wants) if carrier is None else None
        self._client = _Client(account_sid, hello, shape, layout, carrier)
        settings, directory = self._parts.settings, self._parts.directory()
        self._splitter.allow(settings.max_feed_frame_bytes)
        hosts = tuple(FeedHost(host.name, host.feed) for host in directory.hosts)
        terms = Terms(
            VERSION,
            account_sid,
            tuple(FIELDS) if hello.wants is None else hello.wants,
            settings.feed_limits,
            Directory(directory.epoch, directory.me, hosts, directory.shards),
        )
        self._answer(Welcome(self._next_number, terms))

    def _take_events(self, payload: Payload, client: _Client) -> None:
        if self._answer_from_cache(payload, client):
            return
        questions, events = self._read_events(payload)
        self._burst += len(events)
        meter, monotonic = self._parts.meter, self._parts.monotonic
        began = monotonic()
        if questions is not None and client.carrier is None:
            resolved = self._parts.plane.resolve_all(questions, account_sid=client.account_sid)
            if resolved is not None:
                self._done_at = done = monotonic()
                meter.resolved(resolved, done - began)
                said = client.shape.all(resolved.decisions, is_plain=not (resolved.others or resolved.strangers))
                self._say_all(said, len(said))
                return
        frame = self._stand(size=len(payload))
        frame.begin(events, client.shape)
        self._dispatcher.ask(frame, events, client.account_sid, client.carrier)
        self._done_at = done = monotonic()
        if events:
            meter.deciding(done - began, len(events))

    def _answer_from_cache(self, payload: Payload, client: _Client) -> bool:
        """Answer a frame of questions, most of them without a look at what they meet; tell whether it was one."""
        route_cache = self._parts.plane.route_cache()
        if route_cache is None or client.layout is None:
            return False
        account = route_cache.account(client.account_sid)
        answers = answer_frame(bytes(payload), route_cache, account, client.layout, MAX_EVENTS)
        if answers is None:
            return False
        monotonic, began = self._parts.monotonic, self._done_at
        self._done_at = found = monotonic()
        missing: list[Said] = []
        if answers.missing:
            try:
                questions = read_resolves(answers.rest)
            except UNREADABLE:
                return False
            resolved = self._parts.plane.resolve_all(questions, account_sid=client.account_sid, fills_cache=True)
            if resolved is None:
                return False
            self._done_at = done = monotonic()
            self._parts.meter.resolved(resolved, done - found)
            missing = client.shape.all(resolved.decisions)
        at_once = answers.count - answers.missing
        if at_once:
            self._parts.meter.from_cache(at_once, answers.strangers, found - began)
        self._burst += answers.count
        self._say_all(completed(answers, missing), answers.count)
        return True

    def _read_events(self, payload: Payload) -> tuple[Sequence[Resolve] | None, Sequence[Event | Refusal]]:
        """Return the events, and the same as questions if they are nothing else; a client mostly goes on as it was."""
        if self._expects_resolves:
            try:
                questions = read_resolves(payload)
            except UNREADABLE:
                pass
            else:
                return questions, questions
        events = read_events(payload)
        questions = [event for event in events if isinstance(event, Resolve)]
        self._expects_resolves = len(questions) == len(events)
        return questions if self._expects_resolves else None, events

    # -- refusing ------------------------------------------------------------------------------------------------

    def _refuse(self, refusal: Refusal, *, is_last: bool) -> None:
        """Refuse the frame that is next in number; after the last one nothing more is read."""
        self._parts.observer.feed_refused(refusal.error)
        self._answer(Problem(self._next_number, refusal))
        self._is_ending = self._is_ending or is_last

    # -- answering -----------------------------------------------------------------------------------------------

    def _stand(self, *, size: int = 0) -> Frame:
        """Put the frame that is next in number at the end of the line."""
        frame = self._pending.append(self._next_number, size=size, read_at=self._read_at)
        self._next_number += 1
        return frame

    def _answer(self, answer: Welcome | Problem) -> None:
        self._stand().answer = answer

    def _say_all(self, said: list[Said] | Encoded, events: int) -> None:
        """Answer the frame that is next in number, at once where none is before it."""
        if self._pending:
            frame = self._stand()
            frame.said, frame.events = said, events
        else:
            self._write(self._answers(self._next_number, said))
            self._at_once += events
            self._next_number += 1

    def _turn(self) -> None:
        """Let what has become ready leave, at the end of the loop's turn."""
        if not self._is_turning and not self._has_ended:
            self._is_turning = True
            self._loop.call_soon(self._turn_over)

    def _turn_over(self) -> None:
        self._is_turning = False
        if self._has_ended:
            return
        pending = self._pending
        for frame in pending.leaving():
            self._answered.append((frame.read_at, frame.events - frame.waiting))
            self._write(frame.answer or self._answers(frame.number, frame.said))
        if deferred := pending.deferred_answers():
            self._write(Later(self._parts.directory().epoch, deferred))
            self._answered += [(read_at, 1) for read_at in pending.deferred_since]
            pending.deferred_since.clear()
        if self._out:
            if self._is_decided and not self._may_tell():
                self._is_ending = True
                self.abort()  # what would leave may hold no more, and its client asks anew
                return
            out, self._out = self._out, bytearray()
            self._transport.write(out)
            self._tell_answered()
        if self._is_ending and pending.is_done:
            self._end()
        else:
            self._regulate()

    def _may_tell(self) -> bool:
        """Tell whether what was decided under the lease leaves under it, too."""
        self._is_decided = not self._pending.is_done
        return self._parts.lease is None or self._parts.lease()

    def _tell_answered(self) -> None:
        meter, now = self._parts.meter, self._parts.monotonic()
        self._answered.append((self._read_at, self._at_once))
        self._at_once = 0
        for read_at, events in self._answered:
            if events:
                self._in_flight -= events
                meter.answered(now - read_at, events)
        self._answered.clear()

    def _answers(self, number: int, said: list[Said] | Encoded) -> Answers | EncodedAnswers:
        epoch = self._parts.directory().epoch
        return Answers(number, epoch, said) if isinstance(said, list) else EncodedAnswers(number, epoch, said)

    def _write(self, answer: ServerFrame | EncodedAnswers) -> None:
        out = self._out
        at = len(out)
        start = at + LENGTH_BYTES
        out += _NO_LENGTH
        self._encode_into(answer, out, start)
        out[at:start] = (len(out) - start).to_bytes(LENGTH_BYTES)

    def _end(self) -> None:
        """Close; go on reading for a while where there may be more, or the peer's system drops the last answers."""
        self._has_ended = True
        if not self._transport.can_write_eof():
            self._transport.close()
            return
        self._transport.write_eof()
        self._transport.resume_reading()
        self._timer.cancel()
        self._timer = self._loop.call_later(LINGER_SECONDS, self._transport.close)

    # -- back-pressure -------------------------------------------------------------------------------------------

    def _regulate(self) -> None:
        settings = self._parts.settings
        is_full = (
            self._is_write_paused
            or len(self._pending) >= settings.feed_window_frames
            or self._pending.size >= settings.feed_window_bytes
            or self._pending.awaited_deferred >= settings.most_deferred_events
        )
        if is_full and not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()
        elif self._is_paused and not is_full:
            self._is_paused = False
            self._transport.resume_reading()

    def pause_writing(self) -> None:
        """Read no more from a peer that does not take its answers."""
        self._is_write_paused = True
        self._turn()

    def resume_writing(self) -> None:
        """Read again."""
        self._is_write_paused = False
        self._turn()
