"""One SMPP connection as a state machine, the same for both roles; told the time, asked for its next timer; sans-IO.

It numbers and pairs requests and responses, keeps the window, proves that the other side lives, and says what came as
events. What a message means, and when its response may leave, is its owner's affair. Source: SMPP 3.4 issue 1.2, 2.2 to
2.9.
"""

from collections.abc import Hashable
from enum import IntEnum, StrEnum, auto
from typing import Final, final

from engine.channels.smpp.pdu import (
    GENERIC_NACK,
    RESPONSE,
    BadBody,
    BadFrame,
    Bind,
    Command,
    Frame,
    Splitter,
    Status,
    frame,
    read_bind,
)
from engine.core.model.errors import MasklineError
from engine.core.structs import Value


class Role(StrEnum):
    """Which side we are; closed."""

    ESME = "esme"
    """We bind."""
    SMSC = "smsc"
    """They bind."""


class State(IntEnum):
    """How far the connection has come; closed."""

    OPEN = auto()
    """Connected; nobody is bound."""
    BINDING = auto()
    """A bind is not answered yet."""
    TRANSMITTER = auto()
    """The ESME may send messages."""
    RECEIVER = auto()
    """The SMSC may send messages."""
    TRANSCEIVER = auto()
    """Both may."""
    UNBINDING = auto()
    """We asked to end it."""
    CLOSED = auto()
    """Nothing may be sent or is read any more."""


BOUND_BY: Final = {
    Command.BIND_TRANSMITTER: State.TRANSMITTER,
    Command.BIND_RECEIVER: State.RECEIVER,
    Command.BIND_TRANSCEIVER: State.TRANSCEIVER,
}
"""The state that an accepted bind leads to."""

_BOUND: Final = frozenset(BOUND_BY.values())
_ANY: Final = frozenset(State) - {State.CLOSED}
_FROM_ESME: Final = frozenset({State.TRANSMITTER, State.TRANSCEIVER})
_FROM_SMSC: Final = frozenset({State.RECEIVER, State.TRANSCEIVER})
_OPEN: Final = frozenset({State.OPEN})

MAY_SEND: Final[dict[tuple[Role, int], frozenset[State]]] = {
    **{(Role.ESME, bind): _OPEN for bind in BOUND_BY},
    (Role.SMSC, Command.OUTBIND): _OPEN,
    (Role.ESME, Command.SUBMIT_SM): _FROM_ESME,
    (Role.ESME, Command.DATA_SM): _FROM_ESME,
    (Role.ESME, Command.QUERY_SM): _FROM_ESME,
    (Role.ESME, Command.REPLACE_SM): _FROM_ESME,
    (Role.ESME, Command.CANCEL_SM): _FROM_ESME,
    (Role.SMSC, Command.DELIVER_SM): _FROM_SMSC,
    (Role.SMSC, Command.DATA_SM): _FROM_SMSC,
    (Role.SMSC, Command.ALERT_NOTIFICATION): _FROM_SMSC,
    **{(role, Command.UNBIND): _BOUND for role in Role},
    **{(role, Command.ENQUIRE_LINK): _ANY for role in Role},
}
"""In which states a side may send a request; a missing key is a request that it may never send."""

_UNANSWERED: Final = frozenset({Command.OUTBIND, Command.ALERT_NOTIFICATION})


class Timing(Value, frozen=True, kw_only=True):
    """How long one side waits for the other, in seconds."""

    bind: float = 10.0
    """From the connection to the bind's response."""
    response: float = 30.0
    """For the response to a request; afterwards it is unknown whether the request was carried out."""
    quiet: float = 30.0
    """Without a PDU from the other side until it is asked whether it lives."""
    proof: float = 10.0
    """For its answer; asked twice, then the connection is lost."""


class End(StrEnum):
    """Why a connection is over; closed."""

    UNBOUND = "unbound"
    """Either side asked for it."""
    NOT_BOUND = "not-bound"
    """No bind in time."""
    REFUSED = "refused"
    """The bind was refused."""
    SILENT = "silent"
    """The other side proves no life."""
    UNFRAMED = "unframed"
    """What came is no PDU."""
    LOST = "lost"
    """The connection is gone."""


class BindAsked(Value, frozen=True):
    """They want to bind: answer with `accept_bind` or `refuse_bind`."""

    command: Command
    bind: Bind


class OutbindAsked(Value, frozen=True):
    """They want us to connect and bind as receiver."""

    body: bytes


class Bound(Value, frozen=True):
    """Messages may pass, as the state says."""

    state: State


class RequestCame(Value, frozen=True):
    """A request to be answered with `respond`."""

    command: Command
    sequence: int
    body: bytes


class ResponseCame(Value, frozen=True):
    """What became of a request of ours."""

    token: Hashable
    status: int
    body: bytes


class ResponseMissing(Value, frozen=True):
    """A request of ours that may have been carried out, or not: nobody knows."""

    token: Hashable


class Ended(Value, frozen=True):
    """The connection is to be closed, once what is left to send is sent; the last event of a session."""

    why: End
    status: int = Status.OK
    """Of a refused bind."""


Event = BindAsked | OutbindAsked | Bound | RequestCame | ResponseCame | ResponseMissing | Ended


class NotNow(MasklineError):  # noqa: N818 - names a state of the connection
    """Something was asked of a connection that its state does not allow: a mistake of ours."""


@final
class _Request:
    __slots__ = ("command", "token", "until")

    def __init__(self, command: int, token: Hashable, until: float) -> None:
        self.command = command
        self.token = token
        self.until = until


class Session:
    """One connection, from its beginning to its end."""

    def __init__(self, role: Role, *, window: int, timing: Timing, now: float) -> None:
        """Begin with the connection; `window` is how many messages of ours may wait for responses."""
        self.state = State.OPEN
        self._ours = _MAY_SEND_BY_ROLE[role]
        self._theirs = _MAY_SEND_BY_ROLE[Role.SMSC if role is Role.ESME else Role.ESME]
        self._window = window
        self._timing = timing
        self._splitter = Splitter()
        self._events: list[Event] = []
        self._urgent: list[bytes] = []
        self._outgoing: list[bytes] = []
        self._sequence = 0
        self._waiting: dict[int, _Request] = {}
        """In the order in which they were sent, and so in which their time runs out."""
        self._asked_bind: tuple[Command, int] | None = None
        self._early: list[Frame] = []
        """Messages that came before their bind was answered."""
        self._bind_until = now + timing.bind
        self._heard_at = now
        self._probes = 0
        self._probed_at = now

    # -- what comes -----------------------------------------------------------------------------------------------

    def receive(self, data: bytes, *, now: float) -> list[Event]:
        """Return what these octets bring; answers that need no decision are put in line to be sent."""
        try:
            self._splitter.add(data)
            while self.state is not _CLOSED and (one := self._splitter.next()) is not None:
                self._heard_at, self._probes = now, 0
                self._take(one)
        except BadFrame:
            self._put(frame(GENERIC_NACK, 0, status=Status.BAD_COMMAND_LENGTH))
            self._end(End.UNFRAMED)
        return self._happened()

    def lose(self) -> list[Event]:
        """Return what it means that the connection is gone."""
        self._end(End.LOST)
        return self._happened()

    def _take(self, one: Frame) -> None:
        if one.command & RESPONSE:
            self._take_response(one)
            return
        states = self._theirs.get(one.command)
        if states is not None and self.state in states:
            self._take_request(_COMMANDS[one.command], one)
        elif one.command == Command.OUTBIND and self.state is State.OPEN:
            self._events.append(OutbindAsked(one.body))  # an SMSC that has connected to where ESMEs do
        elif self._asked_bind is not None and one.command in _MESSAGES:
            self._early.append(one)
        elif one.command not in _COMMANDS:
            self._put(frame(GENERIC_NACK, one.sequence, status=Status.UNKNOWN_COMMAND))
        elif one.command not in _UNANSWERED:
            self._put(frame(one.command | RESPONSE, one.sequence, status=self._refusal(one.command)))

    def _refusal(self, command: int) -> Status:
        if self.state is State.UNBINDING:
            return Status.SYSTEM_ERROR  # another time, on another connection
        return Status.ALREADY_BOUND if command in BOUND_BY else Status.WRONG_BIND_STATE

    def _take_request(self, command: Command, one: Frame) -> None:
        if command not in _OF_CONNECTIONS:
            self._events.append(RequestCame(command, one.sequence, one.body))
            return
        match command:
            case Command.ENQUIRE_LINK:
                self._urgent.append(frame(command | RESPONSE, one.sequence))
            case Command.UNBIND:
                self._put(frame(command | RESPONSE, one.sequence))
                self._end(End.UNBOUND)
            case Command.OUTBIND:
                self._events.append(OutbindAsked(one.body))
            case _:
                self._take_bind(command, one)

    def _take_bind(self, command: Command, one: Frame) -> None:
        try:
            bind = read_bind(one.body)
        except BadBody as bad:
            self._put(frame(command | RESPONSE, one.sequence, status=bad.status))
            self._end(End.REFUSED, bad.status)
        else:
            self.state = State.BINDING
            self._asked_bind = (command, one.sequence)
            self._events.append(BindAsked(command, bind))

    def _take_response(self, one: Frame) -> None:
        request = self._waiting.get(one.sequence)
        if request is None or one.command not in (request.command | RESPONSE, GENERIC_NACK):
            return
        del self._waiting[one.sequence]
        if request.command not in _OF_CONNECTIONS:
            self._events.append(ResponseCame(request.token, one.status, one.body))
        elif request.command == Command.UNBIND:
            self._end(End.UNBOUND)
        elif one.status == Status.OK:
            self.state = BOUND_BY[Command(request.command)]
            self._events.append(Bound(self.state))
        else:
            self._end(End.REFUSED, one.status)

    # -- what is sent ---------------------------------------------------------------------------------------------

    @property
    def unanswered(self) -> int:
        """Count the requests of ours that wait for their responses."""
        return len(self._waiting)

    @property
    def room(self) -> int:
        """How many messages may be sent before a response has come."""
        return max(0, self._window - len(self._waiting))

    def request(self, command: Command, body: bytes = b"", *, now: float, token: Hashable = None) -> None:
        """Put a request in line; its `ResponseCame` or `ResponseMissing` has the token. The caller minds `room`.

        Raises:
            NotNow: this side may not send it in this state; a mistake of the caller's.
        """
        if self.state not in self._ours.get(command, ()):
            raise NotNow(f"{command.name} while {self.state.name}")
        self._sequence = self._sequence % _LAST_SEQUENCE + 1
        if command in _UNAWAITED:
            self._urgent.append(frame(command, self._sequence, body))
            return
        self._put(frame(command, self._sequence, body))
        self._waiting[self._sequence] = _Request(command, token, now + self._timing.response)
        if command in _OF_CONNECTIONS:
            self.state = State.UNBINDING if command is Command.UNBIND else State.BINDING

    def respond(self, request: RequestCame, body: bytes = b"", *, status: int = 0) -> None:
        """Put the response to a request in line; nothing, where the connection is over."""
        self._put(frame(request.command | RESPONSE, request.sequence, body, status=status))

    def accept_bind(self, body: bytes, *, window: int | None = None) -> list[Event]:
        """Let them in, and return what they sent without waiting for that. Raises NotNow without `BindAsked`.

        `body` is our system_id and what else the response has.
        `window` is theirs, where it is another one than was thought before it was known who they are.
        """
        command, sequence = self._taken_bind()
        self._window = self._window if window is None else window
        self._put(frame(command | RESPONSE, sequence, body))
        self.state = BOUND_BY[command]
        early, self._early = self._early, []
        for one in early:
            self._take(one)
        return self._happened()

    def refuse_bind(self, status: Status) -> list[Event]:
        """Do not let them in, and end. Raises NotNow without `BindAsked`."""
        command, sequence = self._taken_bind()
        self._put(frame(command | RESPONSE, sequence, status=status))
        self._end(End.REFUSED, status)
        return self._happened()

    def data_to_send(self) -> bytes:
        """Return, once, what is in line: proofs of life first, so that no backlog delays them."""
        data = b"".join((*self._urgent, *self._outgoing))
        self._urgent.clear()
        self._outgoing.clear()
        return data

    # -- time -----------------------------------------------------------------------------------------------------

    def next_timer(self) -> float | None:
        """Return when `wake` is to be called at the latest; None when the connection is over."""
        if self.state is _CLOSED:
            return None
        first = next(iter(self._waiting.values()), None)
        due = self._bind_until if self.state in _NOT_BOUND else self._proof_due()
        return due if first is None else min(due, first.until)

    def wake(self, *, now: float) -> list[Event]:
        """Return what the time brings: requests without a response, a side that is silent."""
        if self.state in _NOT_BOUND:
            if now >= self._bind_until:
                self._end(End.NOT_BOUND)
            return self._happened()
        for sequence in [sequence for sequence, request in self._waiting.items() if now >= request.until]:
            request = self._waiting.pop(sequence)
            if request.command == Command.UNBIND:
                self._end(End.UNBOUND)
            else:
                self._events.append(ResponseMissing(request.token))
        if self.state is not State.CLOSED and now >= self._proof_due():
            self._probe(now)
        return self._happened()

    def _probe(self, now: float) -> None:
        if self._probes == _MOST_PROBES:
            self._end(End.SILENT)
            return
        self._probes += 1
        self._probed_at = now
        self.request(Command.ENQUIRE_LINK, now=now)

    def _proof_due(self) -> float:
        if self._probes:
            return self._probed_at + self._timing.proof
        return self._heard_at + self._timing.quiet

    # -- within ---------------------------------------------------------------------------------------------------

    def _taken_bind(self) -> tuple[Command, int]:
        asked, self._asked_bind = self._asked_bind, None
        if asked is None or self.state is not State.BINDING:
            raise NotNow(f"nobody asks to bind while {self.state.name}")
        return asked

    def _put(self, pdu: bytes) -> None:
        if self.state is not _CLOSED:
            self._outgoing.append(pdu)

    def _end(self, why: End, status: int = Status.OK) -> None:
        if self.state is State.CLOSED:
            return
        self.state = State.CLOSED
        for request in self._waiting.values():
            if request.command not in _WITHOUT_OUTCOME:
                self._events.append(ResponseMissing(request.token))
        self._waiting.clear()
        self._events.append(Ended(why, status))

    def _happened(self) -> list[Event]:
        events, self._events = self._events, []
        return events


_MAY_SEND_BY_ROLE: Final[dict[Role, dict[int, frozenset[State]]]] = {
    role: {command: states for (one, command), states in MAY_SEND.items() if one is role} for role in Role
}
_CLOSED: Final = State.CLOSED  # a member is found tenfold faster here than in its class (3.11)
_COMMANDS: Final[dict[int, Command]] = {command.value: command for command in Command}
_OF_CONNECTIONS: Final = frozenset({*BOUND_BY, Command.UNBIND, Command.ENQUIRE_LINK, Command.OUTBIND})
"""Requests that change what a connection may do, or prove that it lives; the others are for its owner."""
_UNAWAITED: Final = _UNANSWERED | {Command.ENQUIRE_LINK}
"""Requests whose response, if there is one, tells nothing but that the other side lives."""
_MESSAGES: Final = frozenset({Command.SUBMIT_SM, Command.DATA_SM})
_NOT_BOUND: Final = frozenset({State.OPEN, State.BINDING})
_WITHOUT_OUTCOME: Final = frozenset({*BOUND_BY, Command.UNBIND})
_LAST_SEQUENCE = 0x7FFF_FFFF
_MOST_PROBES = 2
