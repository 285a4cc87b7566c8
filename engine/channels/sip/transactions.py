"""INVITEs whose answer takes longer than a commit: all that is remembered of any; told the time, sans-IO.

After a fifth of a second the client is told that it is being tried, and stops repeating itself; from then on we repeat
the answer until it is acknowledged, or its redirector gives it up. Source: RFC 3261 17.2.1 (server INVITE transaction),
9.2 (CANCEL).
"""

from enum import IntEnum, auto
from heapq import heappop, heappush
from typing import Final

Key = bytes
"""What an INVITE of one peer, its repetitions, its CANCEL and its ACK have in common."""

TRYING_AFTER_SECONDS: Final = 0.2
T1_SECONDS: Final = 0.5
T2_SECONDS: Final = 4.0
GIVE_UP_SECONDS: Final = 64 * T1_SECONDS
"""Timer H: how long an answer is repeated."""


class State(IntEnum):
    """How far an INVITE has come; closed."""

    ASKED = auto()
    """Its decision is awaited, and it was told nothing."""
    TRIED = auto()
    """It was told that it is being tried."""
    ANSWERED = auto()
    """Its answer is repeated until it is acknowledged."""
    OVER = auto()
    """Nothing is remembered any more."""


class Event(IntEnum):
    """What happens to it; closed."""

    REPEATED = auto()
    """The same INVITE arrived again."""
    LATE = auto()
    """It has waited for a fifth of a second."""
    DECIDED = auto()
    """Its answer is known: the decision, the end of the time for one, or a CANCEL's."""
    ACKNOWLEDGED = auto()
    """The client has the answer."""
    UNHEARD = auto()
    """The answer was not acknowledged in time."""
    GIVEN_UP = auto()
    """Nor ever."""


class Send(IntEnum):
    """What goes to the client; closed."""

    NOTHING = auto()
    TRYING = auto()
    ANSWER = auto()


MOVES: Final[dict[tuple[State, Event], tuple[State, Send]]] = {
    (State.ASKED, Event.REPEATED): (State.ASKED, Send.NOTHING),
    (State.ASKED, Event.LATE): (State.TRIED, Send.TRYING),
    (State.ASKED, Event.DECIDED): (State.OVER, Send.ANSWER),
    (State.TRIED, Event.REPEATED): (State.TRIED, Send.TRYING),
    (State.TRIED, Event.DECIDED): (State.ANSWERED, Send.ANSWER),
    (State.ANSWERED, Event.REPEATED): (State.ANSWERED, Send.ANSWER),
    (State.ANSWERED, Event.UNHEARD): (State.ANSWERED, Send.ANSWER),
    (State.ANSWERED, Event.ACKNOWLEDGED): (State.OVER, Send.NOTHING),
    (State.ANSWERED, Event.GIVEN_UP): (State.OVER, Send.NOTHING),
}
"""Every move; what is missing changes nothing.

Whoever is answered before it is told anything repeats itself, and is answered anew without being remembered.
"""


class Transaction:
    """One INVITE that waits."""

    __slots__ = ("_answer", "_deadline", "_is_reliable", "_repeat_seconds", "_until", "key", "noted", "state", "timer")

    def __init__(self, key: Key, *, is_reliable: bool, now: float, deadline: float) -> None:
        """Begin when it is asked about; over a reliable transport no answer is repeated."""
        self.key = key
        self.state = State.ASKED
        self.timer: float | None = min(now + TRYING_AFTER_SECONDS, deadline)
        """When `wake` is due."""
        self.noted: float | None = None
        """Which timer `Transactions` has noted."""
        self._deadline = deadline
        self._is_reliable = is_reliable
        self._answer = b""
        self._repeat_seconds = T1_SECONDS
        self._until = 0.0

    def repeat(self) -> Send:
        """Take the INVITE again."""
        return self._move(Event.REPEATED)

    def acknowledge(self) -> Send:
        """Take its ACK."""
        return self._move(Event.ACKNOWLEDGED)

    def give_up(self) -> None:
        """Repeat its answer no more, although nobody acknowledged it."""
        self._move(Event.GIVEN_UP)

    def decide(self, answer: bytes, *, now: float) -> Send:
        """Take its answer; a second one changes nothing."""
        if self.is_undecided:
            self._answer = answer
            self._until = now + GIVE_UP_SECONDS
            self.timer = None if self._is_reliable else now + self._repeat_seconds
        send = self._move(Event.DECIDED)
        if self.state is State.ANSWERED and self._is_reliable:
            self.state = State.OVER
        return send

    def wake(self, *, now: float) -> Send:
        """Take the time."""
        if self.timer is None or now < self.timer:
            return Send.NOTHING
        if self.is_undecided:
            self.timer = self._deadline
            return self._move(Event.LATE)
        if now >= self._until:
            return self._move(Event.GIVEN_UP)
        self._repeat_seconds = min(2 * self._repeat_seconds, T2_SECONDS)
        self.timer = now + self._repeat_seconds
        return self._move(Event.UNHEARD)

    @property
    def is_undecided(self) -> bool:
        """Whether it waits for its decision."""
        return self.state is State.ASKED or self.state is State.TRIED

    def is_overdue(self, *, now: float) -> bool:
        """Tell whether it has waited for its decision as long as it may: then it is to be decided without."""
        return self.is_undecided and now >= self._deadline

    @property
    def answer(self) -> bytes:
        """The answer; empty before there is one."""
        return self._answer

    def _move(self, event: Event) -> Send:
        self.state, send = MOVES.get((self.state, event), (self.state, Send.NOTHING))
        if self.state is State.OVER:
            self.timer = None
        return send


class Transactions:
    """All that wait, each found by its key."""

    def __init__(self, *, most: int) -> None:
        """Hold so many at the most."""
        self._most = most
        self._held: dict[Key, Transaction] = {}
        self._timers: list[tuple[float, int, Transaction]] = []
        """A heap; what has another timer by now, or none, is passed over, and the second of two that are the same."""
        self._count = 0

    def __len__(self) -> int:
        """Count them."""
        return len(self._held)

    @property
    def is_full(self) -> bool:
        """Whether no more INVITE may wait."""
        return len(self._held) >= self._most

    def find(self, key: Key) -> Transaction | None:
        """Return the one of a key."""
        return self._held.get(key)

    def hold(self, transaction: Transaction) -> None:
        """Remember an INVITE."""
        self._held[transaction.key] = transaction
        self.settle(transaction)

    def settle(self, transaction: Transaction) -> None:
        """Note its timer, which may be another one now; forget one that is over."""
        if transaction.state is State.OVER:
            if self._held.get(transaction.key) is transaction:
                del self._held[transaction.key]
        elif transaction.timer is not None and transaction.timer != transaction.noted:
            transaction.noted = transaction.timer
            self._count += 1
            heappush(self._timers, (transaction.timer, self._count, transaction))

    def due(self, *, now: float) -> list[Transaction]:
        """Return those to be woken."""
        found = []
        while self._timers and self._timers[0][0] <= now:
            timer, _, transaction = heappop(self._timers)
            if transaction.noted == transaction.timer == timer and transaction.state is not State.OVER:
                transaction.noted = None
                found.append(transaction)
        return found

    def next_timer(self) -> float | None:
        """Return when the first is to be woken."""
        while self._timers and self._timers[0][2].timer != self._timers[0][0]:
            heappop(self._timers)
        return self._timers[0][0] if self._timers else None


class Recent:
    """Tells whether an INVITE came before, by the hash of its key, within the time that a client repeats it."""

    def __init__(self, *, seconds: float = GIVE_UP_SECONDS, most: int = 65_536) -> None:
        """Remember for these seconds at least, as long as they are not more than `most`, and twice as long at most."""
        self._seconds = seconds
        self._most = most
        self._new: set[int] = set()
        self._old: set[int] = set()
        self._turned_at = 0.0

    def has(self, key: int, *, now: float) -> bool:
        """Tell, and remember it."""
        if now >= self._turned_at + self._seconds or len(self._new) >= self._most:
            self._old, self._new = self._new, set()
            self._turned_at = now
        if key in self._new:
            return True
        self._new.add(key)
        return key in self._old
