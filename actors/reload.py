"""What a host reads back at its start besides bindings: open calls, what came lately, and what that did elsewhere."""

import msgspec

from actors.breaths import in_breaths
from actors.ledger import Ledger
from actors.mirror import Mirror
from actors.parts import Parts
from engine.core.ports import Passed
from engine.core.records import Kind
from engine.core.routing import ActiveSession


def reload_calls(parts: Parts, ledger: Ledger) -> None:
    """Take up the open calls."""
    for interaction in parts.store.open_calls():
        ledger.reload_call(interaction)


async def reload_passed(parts: Parts, ledger: Ledger, elsewhere: "PassedElsewhere | None" = None) -> None:
    """Take note of what came within the redelivery window; the loop turns meanwhile."""
    since = parts.clock() - parts.settings.redelivery_window_seconds
    async for passed in in_breaths(parts.store.passed_since(since)):
        ledger.reload_passed(passed.resource_sid, passed.interaction, at=passed.began)
        if elsewhere is not None and passed.elsewhere is not None:
            elsewhere.add(passed.elsewhere, passed)


class _Talk(msgspec.Struct):
    """What passed in a session."""

    first: float
    last: float
    calls: list[tuple[float, float]]
    """Begin and end of those that have ended."""


class PassedElsewhere:
    """What passed in sessions of other hosts, which before this host stopped they may not have come to hear."""

    def __init__(self, hosts: int) -> None:
        """Begin with nothing; so many other hosts are to be told."""
        self._untold = hosts
        self._talks: dict[str, _Talk] = {}

    def add(self, session_sid: str, passed: Passed) -> None:
        """Take note of a call or message."""
        talk = self._talks.get(session_sid)
        if talk is None:
            talk = self._talks[session_sid] = _Talk(passed.began, passed.began, [])
        talk.first = min(talk.first, passed.began)
        talk.last = max(talk.last, passed.began)
        if passed.kind is Kind.VOICE and not passed.is_open_call:
            talk.calls.append((passed.began, passed.updated))

    async def tell(self, mirror: Mirror) -> None:
        """Have the host that a mirror hears, each once, know what passed in its sessions; the loop turns."""
        async for session in in_breaths(tuple(mirror.sessions.values())):
            talk = self._talks.pop(session.sid, None)
            if talk is not None:
                mirror.touch(session, talk.first)
                mirror.touch(session, max((talk.last, *(_last_touch(session, *call) for call in talk.calls))))
        self._untold -= 1
        if not self._untold:
            self._talks.clear()  # of sessions that are over


def _last_touch(session: ActiveSession, began: float, ended: float) -> float:
    """Return when a call last restarted the ttl: its end does, unless it came past the session's."""
    end = session.date_expiry
    if end is None and session.ttl_seconds > 0:
        end = began + session.ttl_seconds
    return ended if end is None or ended < end else began
