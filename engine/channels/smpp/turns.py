"""Messages of ours that wait until a connection may take them: accounts in turn, those of one account in order."""

from collections import deque
from typing import Protocol

from engine.channels.smpp.connection import Response


class Overdue(Exception):  # noqa: N818 - names a state of the message
    """It is not to be sent any more."""


class Hears(Protocol):
    """Hears what becomes of a message that waits."""

    def answered(self, response: Response | None, /) -> None:
        """Take the response; None = it may have been taken."""

    def unsent(self, why: Exception, /) -> None:
        """Take that it is not sent."""


class Waiting:
    """A message that waits, then for its response."""

    __slots__ = ("_hears", "account", "body", "is_over", "is_sent", "lane")

    def __init__(self, account: str, lane: str, body: bytes, hears: Hears) -> None:
        """Wait with the body of a PDU."""
        self.account = account
        self.lane = lane
        self.body = body
        self.is_sent = False
        self.is_over = False
        """Nobody is to hear of it any more."""
        self._hears = hears

    def answered(self, response: Response | None) -> None:
        """Tell the response."""
        if not self.is_over:
            self.is_over = True
            self._hears.answered(response)

    def unsent(self, why: Exception) -> None:
        """Send it no more, where it has not been sent."""
        if not self.is_sent and not self.is_over:
            self.is_over = True
            self._hears.unsent(why)


class Turns:
    """What waits for one connection; an account with many messages delays no other one."""

    def __init__(self) -> None:
        """Have nothing that waits."""
        self.by_account: dict[str, deque[Waiting]] = {}
        """Those that have messages here, the next one first."""

    def put(self, waiting: Waiting) -> None:
        """Let a message wait behind those of its account."""
        self.by_account.setdefault(waiting.account, deque()).append(waiting)

    def take(self) -> Waiting | None:
        """Return the next message that is still to be sent; None where there is none."""
        while self.by_account:
            account, line = next(iter(self.by_account.items()))
            del self.by_account[account]
            waiting = line.popleft()
            if line:
                self.by_account[account] = line
            if not waiting.is_over:
                return waiting
        return None

    def all(self) -> list[Waiting]:
        """Take out all that waits, in the order of each account."""
        waiting = [one for line in self.by_account.values() for one in line]
        self.by_account.clear()
        return waiting
