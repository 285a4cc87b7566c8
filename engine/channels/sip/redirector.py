"""The redirect server: requests of peers in, answers out. It keeps no calls, only the INVITEs that wait for a decision.

Told of each whole message and of the time; sockets are its listeners' affair. Source: RFC 3261 8.2, 8.3, 9.2, 11.2 and
17.2.
"""

import hashlib
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from typing import Final, final

from mypy_extensions import i64, mypyc_attr

from engine.channels.sip.addresses import scheme
from engine.channels.sip.answers import ALLOW, Answering, answer
from engine.channels.sip.callers import caller, number_reached
from engine.channels.sip.counts import Counts
from engine.channels.sip.decisions import (
    HOST_NOT_READY,
    NO_SUCH_NUMBER,
    UNPLAYABLE,
    SipAnswer,
    answer_to,
)
from engine.channels.sip.message import read_message
from engine.channels.sip.octets import VISIBLE, end_of
from engine.channels.sip.requests import Dropped, Malformed, Request
from engine.channels.sip.switches import Arrival
from engine.channels.sip.transactions import Key, Recent, Send, State, Transaction, Transactions
from engine.core.model.errors import CATALOGUE, Code
from engine.core.model.records import Address, DebuggerEvent, Kind
from engine.core.ports.observing import SipObserver, SipProblem, TrafficMeter
from engine.core.ports.operations import Clock, DataPlane
from engine.core.routing.traffic import Decision, InboundEvent

PING_SECONDS: Final = 60.0
"""Whoever asked by OPTIONS within this time is thought to go on asking."""

MOST_AMPLIFIED: Final = 2
"""All that goes back over UDP has fewer octets than what it answers times this: the address may be forged.

So it is for what waits too, all its repetitions together, as RFC 9000 8.1 has it for whom nothing is known of yet.
"""


class Redirector:
    """Answers peers from a data plane."""

    def __init__(
        self,
        data: DataPlane,
        *,
        answering: Answering,
        is_ready: Callable[[], bool],
        observer: SipObserver,
        meter: TrafficMeter,
        clock: Clock,
        monotonic: Clock,
        deadline_seconds: float,
        most_waiting: int,
    ) -> None:
        """Ask a data plane; an INVITE that is not decided by its deadline is told to ask elsewhere."""
        self._data = data
        self._observer = observer
        self._meter = meter
        self._counts = Counts(observer, meter, monotonic)
        self._recent = Recent()
        self._pinged: dict[tuple[str, int], float] = {}
        self._untold: set[tuple[str, int]] | None = None
        self._answering = answering
        self._is_ready = is_ready
        self._clock = clock
        self._monotonic = monotonic
        self._deadline_seconds = deadline_seconds
        self._transactions = Transactions(most=most_waiting)
        self._waiting: dict[Key, _Waiting] = {}
        self._unacknowledged: dict[bytes, set[Key]] = {}
        """Those of them whose answer is repeated until its ACK, by Call-ID."""

    @property
    def waiting(self) -> int:
        """Count the INVITEs that are remembered."""
        return len(self._transactions)

    @property
    def undecided(self) -> int:
        """Count those of them that have no answer yet."""
        return sum(one.transaction.is_undecided for one in self._waiting.values())

    @property
    def untold(self) -> AbstractSet[tuple[str, int]]:
        """Switches that look by OPTIONS whether this server lives, and do not know yet that it stops."""
        return self._untold or set()

    def stop(self) -> None:
        """Decide nothing new from now on; whoever asks is told to ask elsewhere."""
        if self._untold is None:
            since = self._monotonic() - PING_SECONDS
            self._untold = {source for source, at in self._pinged.items() if at >= since}

    def take(self, data: bytes, arrival: Arrival, *, now: float) -> None:
        """Take one whole message of a peer, read at a time; it is answered at once, after its commit, or never."""
        if data.startswith(b"ACK ") and not self._may_be_awaited(data):
            self._counts.requested(arrival.peer.name, "ACK")
            return
        message = read_message(data)
        if isinstance(message, Dropped):
            self._observer.sip_dropped(_DROPPED[message])
            return
        self._counts.requested(arrival.peer.name, _METHODS.get(message.method, _OTHER))
        if isinstance(message, Malformed):
            self._observer.sip_dropped(SipProblem.MALFORMED)
            if message.method != b"ACK":
                said = answer(message.echo, message.status, arrival.seen, reason=message.reason)
                self.reply(arrival, message.status, said, octets=len(data))
            return
        self._take(_Asked(self, message, arrival, octets=len(data), began=now))

    def _may_be_awaited(self, ack: bytes) -> bool:
        """Tell whether an ACK may be of an answer that is repeated until it comes; nearly all are of others."""
        if not self._unacknowledged:
            return False
        start = ack.find(_CALL_ID) + len(_CALL_ID)
        call_id = ack[start : ack.find(b"\r", start)].strip()
        return start < len(_CALL_ID) or not call_id or call_id in self._unacknowledged

    def send_elsewhere(self, data: bytes, arrival: Arrival, *, now: float) -> None:
        """Answer a message of a peer that asks too much, without looking at what it asks."""
        message = read_message(data)
        if not isinstance(message, Request):
            return
        asked = _Asked(self, message, arrival, octets=len(data), began=now)
        if message.method in _OF_TRANSACTIONS:
            self._take(asked)
        else:
            asked.reply(HOST_NOT_READY)

    def tell(self) -> None:
        """Tell observer and meter what was counted; to be called at the end of each turn."""
        self._counts.tell()

    def next_timer(self) -> float | None:
        """Return when `wake` is due."""
        return self._transactions.next_timer()

    def wake(self) -> None:
        """Take the time."""
        now = self._monotonic()
        for transaction in self._transactions.due(now=now):
            waiting = self._waiting[transaction.key]
            if transaction.is_overdue(now=now):
                waiting.answer(HOST_NOT_READY)
            elif transaction.is_undecided or self._is_ready():
                waiting.send(transaction.wake(now=now))
            else:
                waiting.forget()

    # -- requests -------------------------------------------------------------------------------------------------

    def _take(self, asked: "_Asked") -> None:
        request = asked.request
        method = request.method
        if method == b"ACK":
            self._acknowledge(asked)
        elif method == b"CANCEL":
            self._cancel(asked)
        elif method in _WITHIN_DIALOGS or (request.to_tag and method == b"INVITE"):
            asked.reply(_NO_CALL)
        elif method not in _TAKEN:
            asked.reply(_NOT_ALLOWED if method in _NOT_TAKEN else _NOT_IMPLEMENTED)
        elif (problem := _problem(request)) is not None:
            asked.reply(problem)
        elif method == b"OPTIONS":
            self._options(asked)
        else:
            self._invite(asked)

    @property
    def _decides(self) -> bool:
        return self._untold is None and self._is_ready()

    def _options(self, asked: "_Asked") -> None:
        source = asked.arrival.source
        if self._untold is None:
            self._note_ping(source, asked.began)
        else:
            self._untold.discard(source)
        asked.reply(_ALIVE if self._decides else HOST_NOT_READY)

    def _note_ping(self, source: tuple[str, int], now: float) -> None:
        if len(self._pinged) >= _MOST_PINGING:
            self._pinged.clear()
        self._pinged[source] = now

    def _invite(self, asked: "_Asked") -> None:
        request, arrival, peer = asked.request, asked.arrival, asked.arrival.peer
        key, now = asked.key, asked.began
        is_repeated = self._recent.has(hash(key), now=now)
        if is_repeated:
            self._observer.sip_repeated(peer.name)
        known = self._waiting.get(key)
        if known is not None:
            if self._is_ready():  # else this may not be the host any more: who asks again elsewhere is answered there
                known.repeated(asked.octets)
            return
        if not self._decides or self._transactions.is_full:
            asked.reply(HOST_NOT_READY)
            return
        proxy = peer.read_reached(number_reached(request))
        if proxy is None:
            self._observer.sip_dropped(SipProblem.UNCLEAR_NUMBER)
            asked.reply(NO_SUCH_NUMBER)
            return
        if not is_repeated:
            asked.proxy = proxy
        sender = peer.read_caller(caller(request, peer.trust))
        event = InboundEvent(_VOICE, sender, proxy, call_sid(request.echo.call_id), account_sid=peer.account_sid)
        before = self._monotonic()
        try:
            self._data.receive(event, asked.decided)
        except Exception:
            asked.answer(HOST_NOT_READY)
            raise
        if not asked.is_answered:
            deadline = now + self._deadline_seconds
            transaction = Transaction(key, is_reliable=arrival.is_reliable, now=now, deadline=deadline)
            asked.waiting = self._waiting[key] = _Waiting(self, asked, transaction)
            self._transactions.hold(transaction)
        self._counts.deciding(self._monotonic() - before)

    def _cancel(self, asked: "_Asked") -> None:
        waiting = self._waiting.get(asked.key)
        if waiting is None or not waiting.transaction.is_undecided:
            asked.reply(_NO_CALL)
            return
        asked.reply(_DONE)
        waiting.answer(_CANCELLED)

    def _acknowledge(self, asked: "_Asked") -> None:
        waiting = self._waiting.get(asked.key)
        if waiting is not None:
            waiting.send(waiting.transaction.acknowledge())

    # -- what waits -----------------------------------------------------------------------------------------------

    def made(self, request: Request, arrival: Arrival, said: SipAnswer) -> bytes:
        """Return an answer's bytes."""
        return self._answering.answer(request, said.status, arrival.seen, lines=said.lines)

    def reply(self, arrival: Arrival, status: int, data: bytes, *, octets: int) -> None:
        """Send an answer, unless it is too long for what it answers."""
        if not arrival.is_reliable and len(data) >= MOST_AMPLIFIED * octets:
            self.count_too_short()
        else:
            self.send(arrival, status, data)

    def send(self, arrival: Arrival, status: int, data: bytes) -> None:
        """Send an answer, however long it is."""
        self._counts.answered(arrival.peer.name, status)
        arrival.reply(data)

    def count_too_short(self) -> None:
        """Count a request that is too short for its answer."""
        self._counts.tell()  # nothing may follow that would
        self._observer.sip_dropped(SipProblem.TOO_SHORT)

    def count(self, decision: Decision) -> None:
        """Count what was decided."""
        self._meter.calls[decision.reason.slot] += 1

    def unplayable(self, proxy: Address, call_id: bytes) -> None:
        """Tell the account of a number that the document which answered a call is nothing that a switch can play."""
        owner = self._data.owner_of(proxy)
        if owner is not None:
            title = CATALOGUE[Code.OUT_OF_SESSION_CALLBACK_FAILED].title
            self._observer.debugger(
                DebuggerEvent(
                    code=Code.OUT_OF_SESSION_CALLBACK_FAILED,
                    account_sid=owner,
                    resource_sid=call_sid(call_id),
                    proxy=proxy,
                    message=f"{title}: a call over SIP was answered 480, since a switch plays no document but <Reject>",
                    at=self._clock(),
                )
            )

    def ended(self, began: float) -> float:
        """Note that an INVITE has its answer; return the time of the transactions."""
        self._counts.ended(began)
        return self._monotonic()

    def settle(self, transaction: Transaction, call_id: bytes) -> None:
        """Note when it is to be woken; forget what is over."""
        self._transactions.settle(transaction)
        if transaction.state is State.ANSWERED:
            self._unacknowledged.setdefault(call_id, set()).add(transaction.key)
        elif transaction.state is State.OVER:
            self._waiting.pop(transaction.key, None)
            if (keys := self._unacknowledged.get(call_id)) is not None:
                keys.discard(transaction.key)
                if not keys:
                    del self._unacknowledged[call_id]


@final
@mypyc_attr(acyclic=True)
class _Asked:
    """A request in hand; of INVITEs nearly all are answered in the same turn, or after one commit."""

    __slots__ = ("_redirector", "arrival", "began", "is_answered", "key", "octets", "proxy", "request", "waiting")

    def __init__(
        self, redirector: Redirector, request: Request, arrival: Arrival, *, octets: int, began: float
    ) -> None:
        self._redirector = redirector
        self.request = request
        self.arrival = arrival
        self.octets = octets
        """Of the request."""
        self.began = began
        """When it was read."""
        self.key = arrival.peer.key + request.identity
        self.proxy = ""
        """Number reached; empty where the INVITE came before, so that nobody is told twice."""
        self.is_answered = False
        """In the turn in which it came."""
        self.waiting: _Waiting | None = None
        """What is remembered of it after that turn."""

    def decided(self, decision: Decision) -> None:
        """Take the decision."""
        redirector, arrival = self._redirector, self.arrival
        redirector.count(decision)
        said = answer_to(decision, arrival.peer.style, came_from=arrival.source[0])
        if said is UNPLAYABLE and self.proxy:
            redirector.unplayable(self.proxy, self.request.echo.call_id)
        self.answer(said)

    def answer(self, said: SipAnswer) -> None:
        """Answer an INVITE, unless that was done."""
        if self.waiting is not None:
            self.waiting.answer(said)
        elif not self.is_answered:
            self.is_answered = True
            self._redirector.ended(self.began)
            self.reply(said)

    def reply(self, said: SipAnswer) -> None:
        """Answer whatever it is."""
        data = self._redirector.made(self.request, self.arrival, said)
        self._redirector.reply(self.arrival, said.status, data, octets=self.octets)


@final
class _Waiting:
    """An INVITE that waits for its decision, or whose answer waits for its ACK."""

    __slots__ = ("_arrival", "_began", "_redirector", "_request", "_room", "_status", "transaction")

    def __init__(self, redirector: Redirector, asked: _Asked, transaction: Transaction) -> None:
        self._redirector = redirector
        self._request = asked.request
        self._arrival = asked.arrival
        self._began = asked.began
        self._status = 0
        self._room = MOST_AMPLIFIED * asked.octets
        """All answers together, repetitions too, have fewer octets, where they go over UDP."""
        self.transaction = transaction

    def repeated(self, octets: int) -> None:
        """Take the INVITE again."""
        self._room += MOST_AMPLIFIED * octets
        self._reply(self.transaction.repeat())

    def answer(self, said: SipAnswer) -> None:
        """Answer, unless that was done."""
        if not self.transaction.is_undecided:
            return
        self._status = said.status
        data = self._redirector.made(self._request, self._arrival, said)
        self._reply(self.transaction.decide(data, now=self._redirector.ended(self._began)))

    def send(self, send: Send) -> bool:
        """Send what the transaction says; tell whether there was room for it, and forget it where there was none."""
        has_room = True
        if send is Send.TRYING:
            self._send_trying()
        elif send is Send.ANSWER:
            has_room = self._send_within_room(self._status, self.transaction.answer)
            if not has_room:
                self.transaction.give_up()
        self._redirector.settle(self.transaction, self._request.echo.call_id)
        return has_room

    def forget(self) -> None:
        """Repeat its answer no more."""
        self.transaction.give_up()
        self._redirector.settle(self.transaction, self._request.echo.call_id)

    def _reply(self, send: Send) -> None:
        if not self.send(send):
            self._redirector.count_too_short()

    def _send_trying(self) -> None:
        """Say that it is tried, if an answer and its repetition can follow: who hears this repeats itself no more.

        Whoever hears nothing goes on asking, and each of its questions draws the answer once that is known.
        """
        data = self._redirector.made(self._request, self._arrival, _TRYING)
        if self._arrival.is_reliable or len(data) + 2 * (len(data) + _MORE_THAN_TRYING) < self._room:
            self._send_within_room(_TRYING.status, data)

    def _send_within_room(self, status: int, data: bytes) -> bool:
        """Send an answer if there is room for it; tell whether there was."""
        if not self._arrival.is_reliable:
            if len(data) >= self._room:
                return False
            self._room -= len(data)
        self._redirector.send(self._arrival, status, data)
        return True


def call_sid(call_id: bytes) -> str:
    """Return the SID of a call: its Call-ID, or where that is too long, or more than printable ASCII, a hash of it."""
    size: i64 = len(call_id)
    if size <= _LONGEST_SID and end_of(call_id, 0, size, VISIBLE) == size:
        return call_id.decode("ascii")
    return f"h-{hashlib.sha256(call_id).hexdigest()[:40]}"


def _problem(request: Request) -> SipAnswer | None:
    """Return the refusal of a request that asks for what a redirect server does not know."""
    uri = request.uri
    if not uri.startswith(b"sip:") and scheme(uri) not in _SCHEMES:
        return _NO_SUCH_SCHEME
    if b"?" in uri and request.method == b"INVITE":  # headers, which no Request-URI has
        return _BAD_URI
    if request.requires:
        return SipAnswer(420, "".join([f"\r\nUnsupported: {value.decode('latin-1')}" for value in request.requires]))
    return None


_TAKEN: Final = frozenset({b"INVITE", b"OPTIONS"})
_WITHIN_DIALOGS: Final = frozenset({b"BYE", b"UPDATE", b"PRACK", b"INFO"})
_NOT_TAKEN: Final = frozenset({b"REGISTER", b"SUBSCRIBE", b"NOTIFY", b"MESSAGE", b"REFER", b"PUBLISH"})
_SCHEMES: Final = frozenset({b"sip", b"sips", b"tel"})
_OF_TRANSACTIONS: Final = frozenset({b"ACK", b"CANCEL"})
_VOICE: Final = Kind.VOICE  # a member is found tenfold faster here than in its class (3.11)
_CALL_ID: Final = b"\r\nCall-ID:"
_OTHER: Final = "other"
_METHODS: Final = {one: one.decode() for one in (*_TAKEN, *_OF_TRANSACTIONS, *_WITHIN_DIALOGS, *_NOT_TAKEN)}
_DROPPED: Final = {Dropped.RESPONSE: SipProblem.RESPONSE, Dropped.NO_VIA: SipProblem.NO_SIP}
_MOST_PINGING: Final = 1_024
_LONGEST_SID: Final = 64
_MORE_THAN_TRYING: Final = 256
"""How many octets a redirection has more than a 100, as long as `contact_host` is no longer than most."""

_TRYING: Final = SipAnswer(100)
_DONE: Final = SipAnswer(200)
_ALIVE: Final = SipAnswer(200, f"{ALLOW}\r\nAccept: application/sdp\r\nSupported:")
_BAD_URI: Final = SipAnswer(400)
_NOT_ALLOWED: Final = SipAnswer(405, ALLOW)
_NO_SUCH_SCHEME: Final = SipAnswer(416)
_NO_CALL: Final = SipAnswer(481)
_CANCELLED: Final = SipAnswer(487)
_NOT_IMPLEMENTED: Final = SipAnswer(501)
