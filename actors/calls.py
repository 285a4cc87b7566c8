"""The calls of a host that are open or ended lately, by what a carrier's report says of them."""

from collections.abc import Iterable

from actors.recents import Became
from engine.core.event_keys import event_key
from engine.core.records import Interaction
from engine.core.sids import pack


class Calls:
    """Finds a call by its key, or, for a report that does not say the number reached, those that it may mean."""

    def __init__(self, *, window_seconds: float) -> None:
        """Begin with none; those that ended are known for the window."""
        self._open: dict[str, str] = {}
        self._by_sid: dict[str, dict[str, tuple[str, str]]] = {}
        # CallSid to the interactions of the open calls that have it, nearly always one, with account and key of each.
        self._ended = Became(window_seconds=window_seconds)

    def __len__(self) -> int:
        """Count those that are open."""
        return len(self._open)

    def interactions(self) -> Iterable[str]:
        """Return the interactions of those that are open."""
        return self._open.values()

    def add(self, call: Interaction) -> None:
        """Take up an open call."""
        call_sid = call.inbound.resource_sid
        if call_sid is None:
            return
        key = event_key(call.proxy, call.kind, call_sid)
        self._open[key] = call.sid
        named = self._by_sid.get(call_sid)
        if named is None:
            named = self._by_sid[call_sid] = {}
        named[call.sid] = (call.account_sid, key)

    def end(self, call: Interaction, *, now: float) -> None:
        """Note that a call is over; the last of an account with its CallSid is still known by that."""
        call_sid = call.inbound.resource_sid
        if call_sid is not None:
            self.forget(call_sid, call.sid)
            packed = pack(call.sid)
            self._ended.note(f"{call.account_sid} {call_sid}", packed, now=now)
            self._ended.note(f" {call_sid}", packed, now=now)

    def forget(self, call_sid: str, interaction_sid: str) -> None:
        """Forget an open call that was not kept, or whose record is gone."""
        named = self._by_sid.get(call_sid)
        known = None if named is None else named.pop(interaction_sid, None)
        if named is None or known is None:
            return
        if self._open.get(known[1]) == interaction_sid:
            del self._open[known[1]]
        if not named:
            del self._by_sid[call_sid]

    def find(self, key: str) -> str | None:
        """Return the interaction of an open call."""
        return self._open.get(key)

    def named(self, call_sid: str, account_sid: str | None) -> tuple[str, ...]:
        """Return the interactions of an account's calls (None = of all accounts) that a CallSid alone may mean."""
        named = self._by_sid.get(call_sid)
        found = [] if named is None else [sid for sid, (owner, _) in named.items() if account_sid in {None, owner}]
        ended = self._ended.find(f"{account_sid or ''} {call_sid}")
        if ended and ended[-1] not in found:
            found.append(ended[-1])
        return tuple(found)
