"""The redirect server: requests of peers in, answers out. It keeps no calls, only the INVITEs that wait for a decision.

Told of each whole message and of the time; sockets are its listeners' affair. Source: RFC 3261 8.2, 8.3, 9.2, 11.2 and
17.2.
"""

import hashlib
import re
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from typing import Final

from engine.channels.sip.addresses import scheme
from engine.channels.sip.answers import ALLOW, Answering, answer
from engine.channels.sip.callers import caller, number_reached
from engine.channels.sip.decisions import (
    HOST_NOT_READY,
    NO_SUCH_NUMBER,
    UNPLAYABLE,
    SipAnswer,
    answer_to,
)
from engine.channels.sip.message import read_message
from engine.channels.sip.requests import Dropped, Key, Malformed, Request
from engine.channels.sip.switches import Arrival
from engine.channels.sip.transactions import Recent, Send, State, Transaction, Transactions
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
        self._unacknowledged: set[Key] = set()
        """Those of them whose answer is repeated until its ACK."""

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

    def take(self, data: bytes, arrival: Arrival) -> None:
        """Take one whole message of a peer; it is answered at once, after its commit, or never."""
        if not self._unacknowledged and data.startswith(b"ACK "):  # of an answer that nobody would repeat
            self._observer.sip_requested(arrival.peer.name, "ACK")
            return
        message = read_message(data)
        if isinstance(message, Dropped):
            self._observer.sip_dropped(_DROPPED[message])
            return
        self._observer.sip_requested(arrival.peer.name, _METHODS.get(message.method, _OTHER))
        if isinstance(message, Malformed):
            self._observer.sip_dropped(SipProblem.MALFORMED)
            if message.method != b"ACK":
                said = answer(message.echo, message.status, arrival.source, reason=message.reason)
                self.reply(arrival, message.status, said)
            return
        self._take(message, arrival)

    def send_elsewhere(self, data: bytes, arrival: Arrival) -> None:
        """Answer a message of a peer that asks too much, without looking at what it asks."""
        message = read_message(data)
        if not isinstance(message, Request):
            return
        if message.method in _OF_TRANSACTIONS:
            self._take(message, arrival)
        else:
            self._answer(message, arrival, HOST_NOT_READY)

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

    def _take(self, request: Request, arrival: Arrival) -> None:
        method = request.method
        if method == b"ACK":
            self._acknowledge(request, arrival)
        elif method == b"CANCEL":
            self._cancel(request, arrival)
        elif method in _WITHIN_DIALOGS or (method == b"INVITE" and request.to_tag):
            self._answer(request, arrival, _NO_CALL)
        elif method not in _TAKEN:
            known = method in _NOT_TAKEN
            self._answer(request, arrival, _NOT_ALLOWED if known else _NOT_IMPLEMENTED)
        elif (problem := _problem(request)) is not None:
            self._answer(request, arrival, problem)
        elif method == b"OPTIONS":
            self._options(request, arrival)
        else:
            self._invite(request, arrival)

    @property
    def _decides(self) -> bool:
        return self._untold is None and self._is_ready()

    def _answer(self, request: Request, arrival: Arrival, said: SipAnswer) -> None:
        self.reply(arrival, said.status, self.made(request, arrival, said))

    def _options(self, request: Request, arrival: Arrival) -> None:
        if self._untold is None:
            self._note_ping(arrival.source)
        else:
            self._untold.discard(arrival.source)
        self._answer(request, arrival, _ALIVE if self._decides else HOST_NOT_READY)

    def _note_ping(self, source: tuple[str, int]) -> None:
        if len(self._pinged) >= _MOST_PINGING:
            self._pinged.clear()
        self._pinged[source] = self._monotonic()

    def _invite(self, request: Request, arrival: Arrival) -> None:
        key = _key_of(request, arrival)
        now = self._monotonic()
        is_repeated = self._recent.has(hash(key), now=now)
        if is_repeated:
            self._observer.sip_repeated(arrival.peer.name)
        known = self._waiting.get(key)
        if known is not None:
            if self._is_ready():  # else this may not be the host any more: who asks again elsewhere is answered there
                known.repeated(arrival)
            return
        if not self._decides or self._transactions.is_full:
            self._answer(request, arrival, HOST_NOT_READY)
            return
        peer = arrival.peer
        proxy = peer.read_reached(number_reached(request))
        if proxy is None:
            self._observer.sip_dropped(SipProblem.UNCLEAR_NUMBER)
            self._answer(request, arrival, NO_SUCH_NUMBER)
            return
        asked = _Asked(self, request, arrival, began=now, proxy="" if is_repeated else proxy)
        event = InboundEvent(
            Kind.VOICE,
            peer.read_caller(caller(request, peer.trust)),
            proxy,
            call_sid(request.echo.call_id),
            account_sid=peer.account_sid,
        )
        self._meter.burst(1)
        try:
            self._data.receive(event, asked.decided)
        except Exception:
            asked.answer(HOST_NOT_READY)
            raise
        if not asked.is_answered:
            deadline = now + self._deadline_seconds
            transaction = Transaction(key, is_reliable=arrival.is_reliable, now=now, deadline=deadline)
            asked.waiting = self._waiting[key] = _Waiting(self, request, arrival, transaction, began=now)
            self._transactions.hold(transaction)
        self._meter.deciding(self._monotonic() - now)

    def _cancel(self, request: Request, arrival: Arrival) -> None:
        waiting = self._waiting.get(_key_of(request, arrival))
        if waiting is None or not waiting.transaction.is_undecided:
            self._answer(request, arrival, _NO_CALL)
            return
        self._answer(request, arrival, _DONE)
        waiting.answer(_CANCELLED)

    def _acknowledge(self, request: Request, arrival: Arrival) -> None:
        waiting = self._waiting.get(_key_of(request, arrival))
        if waiting is not None:
            waiting.send(waiting.transaction.acknowledge())

    # -- what waits -----------------------------------------------------------------------------------------------

    def made(self, request: Request, arrival: Arrival, said: SipAnswer) -> bytes:
        """Return an answer's bytes."""
        return self._answering.answer(request, said.status, arrival.source, headers=said.headers)

    def reply(self, arrival: Arrival, status: int, data: bytes) -> None:
        """Send an answer, unless it is too long for what it answers."""
        if not arrival.is_reliable and len(data) >= MOST_AMPLIFIED * arrival.octets:
            self.count_too_short()
        else:
            self.send(arrival, status, data)

    def send(self, arrival: Arrival, status: int, data: bytes) -> None:
        """Send an answer, however long it is."""
        self._observer.sip_answered(arrival.peer.name, status)
        arrival.reply(data)

    def count_too_short(self) -> None:
        """Count a request that is too short for its answer."""
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

    def answered(self, began: float) -> float:
        """Note that an INVITE has its answer; return the time of the transactions."""
        now = self._monotonic()
        self._observer.sip_decided(now - began)
        self._meter.answered(now - began)
        return now

    def settle(self, transaction: Transaction) -> None:
        """Note when it is to be woken; forget what is over."""
        self._transactions.settle(transaction)
        if transaction.state is State.ANSWERED:
            self._unacknowledged.add(transaction.key)
        elif transaction.state is State.OVER:
            self._waiting.pop(transaction.key, None)
            self._unacknowledged.discard(transaction.key)


class _Asked:
    """An INVITE whose decision is asked for: nearly all are answered in the same turn, or after one commit."""

    __slots__ = ("_arrival", "_began", "_proxy", "_redirector", "_request", "is_answered", "waiting")

    def __init__(
        self, redirector: Redirector, request: Request, arrival: Arrival, *, began: float, proxy: Address
    ) -> None:
        self._redirector = redirector
        self._request = request
        self._arrival = arrival
        self._began = began
        self._proxy = proxy
        """Number reached; empty where the INVITE came before, so that nobody is told twice."""
        self.is_answered = False
        """In the turn in which it came."""
        self.waiting: _Waiting | None = None
        """What is remembered of it after that turn."""

    def decided(self, decision: Decision) -> None:
        """Take the decision."""
        self._redirector.count(decision)
        said = answer_to(decision, self._arrival.peer.style, came_from=self._arrival.source[0])
        if said is UNPLAYABLE and self._proxy:
            self._redirector.unplayable(self._proxy, self._request.echo.call_id)
        self.answer(said)

    def answer(self, said: SipAnswer) -> None:
        """Answer, unless that was done."""
        if self.waiting is not None:
            self.waiting.answer(said)
        elif not self.is_answered:
            self.is_answered = True
            redirector = self._redirector
            data = redirector.made(self._request, self._arrival, said)
            redirector.answered(self._began)
            redirector.reply(self._arrival, said.status, data)


class _Waiting:
    """An INVITE that waits for its decision, or whose answer waits for its ACK."""

    __slots__ = ("_arrival", "_began", "_redirector", "_request", "_room", "_status", "transaction")

    def __init__(
        self, redirector: Redirector, request: Request, arrival: Arrival, transaction: Transaction, *, began: float
    ) -> None:
        self._redirector = redirector
        self._request = request
        self._arrival = arrival
        self._began = began
        self._status = 0
        self._room = MOST_AMPLIFIED * arrival.octets
        """All answers together, repetitions too, have fewer octets, where they go over UDP."""
        self.transaction = transaction

    def repeated(self, arrival: Arrival) -> None:
        """Take the INVITE again."""
        self._room += MOST_AMPLIFIED * arrival.octets
        self._reply(self.transaction.repeat())

    def answer(self, said: SipAnswer) -> None:
        """Answer, unless that was done."""
        if not self.transaction.is_undecided:
            return
        self._status = said.status
        data = self._redirector.made(self._request, self._arrival, said)
        self._reply(self.transaction.decide(data, now=self._redirector.answered(self._began)))

    def send(self, send: Send) -> bool:
        """Send what the transaction says; tell whether there was room for it, and forget it where there was none."""
        has_room = True
        if send is Send.TRYING:
            self._send_trying()
        elif send is Send.ANSWER:
            has_room = self._send_within_room(self._status, self.transaction.answer)
            if not has_room:
                self.transaction.give_up()
        self._redirector.settle(self.transaction)
        return has_room

    def forget(self) -> None:
        """Repeat its answer no more."""
        self.transaction.give_up()
        self._redirector.settle(self.transaction)

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
    if len(call_id) <= _LONGEST_SID and _IS_PRINTABLE(call_id):
        return call_id.decode("ascii")
    return f"h-{hashlib.sha256(call_id).hexdigest()[:40]}"


def _problem(request: Request) -> SipAnswer | None:
    """Return the refusal of a request that asks for what a redirect server does not know."""
    if scheme(request.uri) not in _SCHEMES:
        return _NO_SUCH_SCHEME
    if request.method == b"INVITE" and b"?" in request.uri:  # headers, which no Request-URI has
        return _BAD_URI
    if request.requires:
        return SipAnswer(420, tuple(f"Unsupported: {value.decode('latin-1')}" for value in request.requires))
    return None


def _key_of(request: Request, arrival: Arrival) -> Key:
    via = request.echo.via
    return Key(arrival.peer.name, request.echo.call_id, request.cseq_number, b"" if via is None else via.branch)


_TAKEN: Final = frozenset({b"INVITE", b"OPTIONS"})
_WITHIN_DIALOGS: Final = frozenset({b"BYE", b"UPDATE", b"PRACK", b"INFO"})
_NOT_TAKEN: Final = frozenset({b"REGISTER", b"SUBSCRIBE", b"NOTIFY", b"MESSAGE", b"REFER", b"PUBLISH"})
_SCHEMES: Final = frozenset({b"sip", b"sips", b"tel"})
_OF_TRANSACTIONS: Final = frozenset({b"ACK", b"CANCEL"})
_OTHER: Final = "other"
_METHODS: Final = {one: one.decode() for one in (*_TAKEN, *_OF_TRANSACTIONS, *_WITHIN_DIALOGS, *_NOT_TAKEN)}
_DROPPED: Final = {Dropped.RESPONSE: SipProblem.RESPONSE, Dropped.NO_VIA: SipProblem.NO_SIP}
_MOST_PINGING: Final = 1_024
_LONGEST_SID = 64
_MORE_THAN_TRYING: Final = 256
"""How many octets a redirection has more than a 100, as long as `contact_host` is no longer than most."""

_IS_PRINTABLE = re.compile(rb"[!-~]+").fullmatch
_TRYING = SipAnswer(100)
_DONE = SipAnswer(200)
_ALIVE = SipAnswer(200, (ALLOW, "Accept: application/sdp", "Supported:"))
_BAD_URI = SipAnswer(400)
_NOT_ALLOWED = SipAnswer(405, (ALLOW,))
_NO_SUCH_SCHEME = SipAnswer(416)
_NO_CALL = SipAnswer(481)
_CANCELLED = SipAnswer(487)
_NOT_IMPLEMENTED = SipAnswer(501)
