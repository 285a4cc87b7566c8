"""The calls of a host that are open or ended lately, by what a carrier's report says of them."""

from collections.abc import Iterable
from typing import Final, final

from mypy_extensions import mypyc_attr

from actors.traffic.answers import RedeliveryIndex
from engine.core.model.records import Interaction, Kind
from engine.core.model.sids import pack
from engine.core.ports.store import Passed

_VOICE: Final = Kind.VOICE  # a member is found tenfold faster here than in its class (3.11)


@final
@mypyc_attr(acyclic=True)
class _Open:
    """An open call; `older` is another one that has the same CallSid, which is rare."""

    __slots__ = ("account_sid", "begun_at", "older", "proxy", "session_sid", "sid")

    def __init__(self, call: Interaction) -> None:
        self.sid = call.sid
        self.begun_at = call.date_created
        self.account_sid = call.account_sid
        self.session_sid = call.session_sid
        self.proxy = call.proxy
        self.older: _Open | None = None


class Calls:
    """Finds a call by its CallSid and the number reached, or all that a CallSid alone may mean."""

    def __init__(self, *, window_seconds: float) -> None:
        """Begin with none; those that ended are known for the window."""
        self._open: dict[str, _Open] = {}
        """By CallSid, the one taken up last."""
        self._count = 0
        self._ended = RedeliveryIndex(window_seconds=window_seconds)

    def __len__(self) -> int:
        """Count those that are open."""
        return self._count

    def of_session(self, session_sid: str) -> list[str]:
        """Return the interactions of those that are open in a session."""
        found: list[str] = []
        for newest in self._open.values():
            call: _Open | None = newest
            while call is not None:
                if call.session_sid == session_sid:
                    found.append(call.sid)
                call = call.older
        return found

    def begun_before(self, at: float) -> list[tuple[str, str]]:
        """Return CallSid and interaction of those that are open and began before a time."""
        chains = self._open.items()
        return [(call_sid, call.sid) for call_sid, newest in chains for call in _chain(newest) if call.begun_at < at]

    def add(self, call_sid: str, call: Interaction) -> None:
        """Take up an open call."""
        added = _Open(call)
        older = self._open.setdefault(call_sid, added)
        if older is not added:
            if added.sid in [one.sid for one in _chain(older)]:
                return
            added.older = older
            self._open[call_sid] = added
        self._count += 1

    def reload_passed(self, passed: Iterable[Passed], *, now: float) -> None:
        """Take note of calls that came before the host stopped: those that are not open have ended."""
        for _, kind, call_sid, interaction in passed:
            if kind is _VOICE:
                self._ended.add(f" {call_sid}", interaction, now=now)

    def end(self, call: Interaction, *, now: float) -> None:
        """Note that a call is over; it is still known by its CallSid."""
        call_sid = call.inbound.resource_sid
        if call_sid is not None:
            self.forget(call_sid, call.sid)
            packed = pack(call.sid)
            self._ended.add(f"{call.account_sid} {call_sid}", packed, now=now)
            self._ended.add(f" {call_sid}", packed, now=now)

    def forget(self, call_sid: str, interaction_sid: str) -> None:
        """Forget an open call that was not kept, or whose record is gone."""
        newest = self._open.get(call_sid)
        if newest is None:
            return
        kept: _Open | None = None
        for call in reversed(_chain(newest)):
            if call.sid == interaction_sid:
                self._count -= 1
            else:
                call.older = kept
                kept = call
        if kept is None:
            del self._open[call_sid]
        else:
            self._open[call_sid] = kept

    def find(self, call_sid: str, proxy: str) -> str | None:
        """Return the interaction of the open call that has a CallSid and reached a number."""
        newest = self._open.get(call_sid)
        return None if newest is None else next((call.sid for call in _chain(newest) if call.proxy == proxy), None)

    def open(self, call_sid: str, account_sid: str | None, numbers: tuple[str, ...] = ()) -> tuple[str, ...]:
        """Return the interactions of open calls that have a CallSid.

        Of an account's (None = of all accounts), and of those to numbers that begin so (none = to all).
        """
        newest = self._open.get(call_sid)
        if newest is None:
            return ()
        return tuple(
            [
                call.sid
                for call in _chain(newest)
                if account_sid in (None, call.account_sid) and (not numbers or call.proxy.startswith(numbers))
            ]
        )

    def ended(self, call_sid: str, account_sid: str | None) -> list[str]:
        """Return the interactions of what may be ended calls with a CallSid, the latest first.

        They are to be held against their records: after a restart some are open, and some are of other accounts.
        """
        found = self._ended.find(f" {call_sid}")
        if account_sid is not None:
            found += self._ended.find(f"{account_sid} {call_sid}")
        found.reverse()
        return found


def _chain(newest: _Open) -> list[_Open]:
    """Return the open calls that share a CallSid, the newest first."""
    calls, older = [newest], newest.older
    while older is not None:
        calls.append(older)
        older = older.older
    return calls
