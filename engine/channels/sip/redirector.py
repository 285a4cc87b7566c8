"""The redirect server: requests of peers in, answers out. It keeps no calls, only the INVITEs that wait for a decision.

Told of each whole message and of the time; sockets are its listeners' affair. Source: RFC 3261 8.2, 8.3, 9.2, 11.2 and
17.2.
"""

import hashlib
from collections.abc import Callable
from typing import Final

import msgspec

from engine.channels.sip.addresses import scheme
from engine.channels.sip.answers import ALLOW, Answering, answer
from engine.channels.sip.callers import Trust, caller, number_reached
from engine.channels.sip.decisions import HOST_NOT_READY, AnswerStyle, SipAnswer, answer_to
from engine.channels.sip.message import Dropped, Malformed, Request, read_message
from engine.channels.sip.transactions import Key, Send, State, Transaction, Transactions
from engine.core.model.records import Kind
from engine.core.ports.operations import Clock, DataPlane
from engine.core.routing.traffic import Decision, InboundEvent

Reply = Callable[[bytes], None]
"""Sends one whole message to where a request came from."""

ReadNumber = Callable[[str], str | None]
"""Reads a number as one peer writes it: E.164 or short code; None where it can mean none, or more than one."""


class Peer(msgspec.Struct, frozen=True, kw_only=True):
    """A switch that may ask."""

    name: str
    style: AnswerStyle
    trust: Trust = Trust()
    read_number: ReadNumber
    account_sid: str | None = None
    """Whose numbers it reaches; None = all accounts', as a carrier of the operator's."""


class Arrival(msgspec.Struct, frozen=True):
    """Where a message came from, and how it is answered."""

    peer: Peer
    source: tuple[str, int]
    """Address and port."""
    is_reliable: bool
    """It came over TCP or TLS."""
    reply: Reply


class Redirector:
    """Answers peers from a data plane."""

    def __init__(
        self,
        data: DataPlane,
        *,
        answering: Answering,
        is_ready: Callable[[], bool],
        monotonic: Clock,
        deadline_seconds: float,
        most_waiting: int,
    ) -> None:
        """Ask a data plane; an INVITE that is not decided by its deadline is told to ask elsewhere."""
        self._data = data
        self._answering = answering
        self._is_ready = is_ready
        self._monotonic = monotonic
        self._deadline_seconds = deadline_seconds
        self._transactions = Transactions(most=most_waiting)
        self._waiting: dict[Key, _Waiting] = {}

    @property
    def waiting(self) -> int:
        """Count the INVITEs that are remembered."""
        return len(self._transactions)

    def take(self, data: bytes, arrival: Arrival) -> None:
        """Take one whole message of a peer; it is answered at once, after its commit, or never."""
        message = read_message(data)
        if isinstance(message, Dropped):
            return
        if isinstance(message, Malformed):
            if message.method != b"ACK":
                arrival.reply(answer(message.echo, message.status, arrival.source, reason=message.reason))
            return
        self._take(message, arrival)

    def send_elsewhere(self, data: bytes, arrival: Arrival) -> None:
        """Answer a message of a peer that asks too much, without looking at what it asks."""
        message = read_message(data)
        if isinstance(message, Request) and message.method != b"ACK":
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
            else:
                waiting.send(transaction.wake(now=now))

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
        elif not self._is_ready():
            self._answer(request, arrival, HOST_NOT_READY)
        elif method == b"OPTIONS":
            self._answer(request, arrival, _ALIVE)
        else:
            self._invite(request, arrival)

    def _answer(self, request: Request, arrival: Arrival, said: SipAnswer) -> None:
        arrival.reply(self._answering.answer(request, said.status, arrival.source, headers=said.headers))

    def _invite(self, request: Request, arrival: Arrival) -> None:
        key = _key_of(request, arrival)
        known = self._waiting.get(key)
        if known is not None:
            known.send(known.transaction.repeat())
            return
        proxy = arrival.peer.read_number(number_reached(request))
        if proxy is None:
            self._answer(request, arrival, _NO_SUCH_NUMBER)
            return
        if self._transactions.is_full:
            self._answer(request, arrival, HOST_NOT_READY)
            return
        now = self._monotonic()
        transaction = self._transactions.begin(
            key, is_reliable=arrival.is_reliable, now=now, deadline=now + self._deadline_seconds
        )
        waiting = self._waiting[key] = _Waiting(self, request, arrival, transaction)
        written = caller(request, arrival.peer.trust)
        event = InboundEvent(
            Kind.VOICE,
            arrival.peer.read_number(written) or written,
            proxy,
            call_sid(request.echo.call_id),
            account_sid=arrival.peer.account_sid,
        )
        self._data.receive(event, waiting.decided)

    def _cancel(self, request: Request, arrival: Arrival) -> None:
        waiting = self._waiting.get(_key_of(request, arrival))
        if waiting is None or waiting.transaction.state not in {State.ASKED, State.TRIED}:
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

    def now(self) -> float:
        """Return the time of the transactions."""
        return self._monotonic()

    def settle(self, transaction: Transaction) -> None:
        """Forget what is over."""
        if transaction.state is State.OVER:
            self._transactions.settle(transaction)
            self._waiting.pop(transaction.key, None)


class _Waiting:
    """An INVITE, and how it is answered."""

    __slots__ = ("_arrival", "_redirector", "_request", "transaction")

    def __init__(self, redirector: Redirector, request: Request, arrival: Arrival, transaction: Transaction) -> None:
        self._redirector = redirector
        self._request = request
        self._arrival = arrival
        self.transaction = transaction

    def decided(self, decision: Decision) -> None:
        """Take the decision."""
        self.answer(answer_to(decision, self._arrival.peer.style))

    def answer(self, said: SipAnswer) -> None:
        """Answer, unless that was done."""
        data = self._redirector.made(self._request, self._arrival, said)
        self.send(self.transaction.decide(data, now=self._redirector.now()))

    def send(self, send: Send) -> None:
        """Send what the transaction says."""
        if send is Send.TRYING:
            self._arrival.reply(self._redirector.made(self._request, self._arrival, _TRYING))
        elif send is Send.ANSWER:
            self._arrival.reply(self.transaction.answer)
        self._redirector.settle(self.transaction)


def call_sid(call_id: bytes) -> str:
    """Return the SID of a call: its Call-ID, or where that is too long a hash of it."""
    if len(call_id) <= _LONGEST_SID:
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
_LONGEST_SID = 64
_TRYING = SipAnswer(100)
_DONE = SipAnswer(200)
_ALIVE = SipAnswer(200, (ALLOW, "Accept: application/sdp", "Supported:"))
_BAD_URI = SipAnswer(400)
_NO_SUCH_NUMBER = SipAnswer(404, ("Reason: Q.850;cause=1",))
_NOT_ALLOWED = SipAnswer(405, (ALLOW,))
_NO_SUCH_SCHEME = SipAnswer(416)
_NO_CALL = SipAnswer(481)
_CANCELLED = SipAnswer(487)
_NOT_IMPLEMENTED = SipAnswer(501)
