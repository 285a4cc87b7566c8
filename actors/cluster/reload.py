"""What a host reads back at its start besides bindings: open calls, what came lately, and what that did elsewhere.

Of all that may be very much: the loop turns in between, or the host would be taken for dead.
"""

import asyncio

import msgspec

from actors.cluster.replica import BindingReplica
from actors.kernel.context import HostContext
from actors.kernel.yielding import yielding
from actors.traffic.interaction_log import InteractionLog
from engine.core.model.sids import pack
from engine.core.sessions.bindings import ActiveSession
from engine.core.sessions.expiry import ends_at


def reload_calls(context: HostContext, interaction_log: InteractionLog) -> None:
    """Take up the open calls."""
    for interaction in context.store.open_calls():
        interaction_log.reload_call(interaction)


async def reload_passed(context: HostContext, interaction_log: InteractionLog) -> None:
    """Take note of what came within the redelivery window."""
    for passed in context.store.passed_since(_since(context)):
        interaction_log.reload_passed(passed)
        await asyncio.sleep(0)


def _since(context: HostContext) -> float:
    return context.clock() - context.settings.redelivery_window_seconds


class _Activity(msgspec.Struct):
    """What passed in a session."""

    first: float
    last: float
    calls: list[tuple[float, float]]
    """Begin and end of those that have ended."""


class RemoteActivity:
    """What passed in sessions of other hosts, which before this host stopped they may not have come to hear."""

    def __init__(self, hosts: int) -> None:
        """Begin with nothing; so many other hosts are to be told."""
        self._untold = hosts
        self._by_session: dict[bytes, _Activity] = {}

    async def reload(self, context: HostContext) -> None:
        """Read what passed within the redelivery window."""
        by_session = self._by_session
        for passed in context.store.passed_elsewhere_since(_since(context)):
            for session, began, updated, is_ended_call in passed:
                activity = by_session.get(session)
                if activity is None:
                    activity = by_session[session] = _Activity(began, began, [])
                elif began > activity.last:
                    activity.last = began
                elif began < activity.first:
                    activity.first = began
                if is_ended_call:
                    activity.calls.append((began, updated))
            await asyncio.sleep(0)

    async def tell(self, replica: BindingReplica) -> None:
        """Have the host that a replica hears, each once, know what passed in its sessions."""
        async for session in yielding(tuple(replica.sessions.values())):
            activity = self._by_session.pop(pack(session.sid), None)
            if activity is not None:
                replica.touch(session, activity.first)
                replica.touch(session, max((activity.last, *(_last_touch(session, *call) for call in activity.calls))))
        self._untold -= 1
        if not self._untold:
            self._by_session.clear()  # of sessions that are over


def _last_touch(session: ActiveSession, began: float, ended: float) -> float:
    """Return when a call last restarted the ttl: its end does, unless it came past the session's."""
    return ended if ended < ends_at(session.date_expiry, began, session.ttl_seconds) else began
