"""Sessions that end by themselves: their first call is over, or their end was found to have passed."""

from functools import partial

from actors.host.upkeep import Background
from actors.kernel.expiry import ExpiryQueue
from actors.kernel.registry import Registry
from actors.traffic.coordinators import Coordinators
from engine.core.model.records import Interaction
from engine.core.sessions.bindings import ActiveSession


class Endings:
    """Has coordinators close what ends, here or on other hosts, behind whoever noticed it."""

    def __init__(
        self, coordinators: Coordinators, registry: Registry, expiries: ExpiryQueue, background: Background
    ) -> None:
        """Ask these coordinators; what is watched waits in `expiries` for the sweep."""
        self._coordinators = coordinators
        self._registry = registry
        self._expiries = expiries
        self._background = background

    def watch(self, session: ActiveSession, at: float | None) -> None:
        """Have the sweep look at a session at its end, or then."""
        if at is None:
            self._expiries.watch(session)
        else:
            self._expiries.look_again(session, at=at)

    def call_ended(self, interaction: Interaction) -> None:
        """Close the session of a call whose end is committed, where its service wants that."""
        service = self._registry.services.get(interaction.service_sid)
        if service is not None and service.options.closes_after_first_call:
            self._background.spawn(Background.guarded(partial(self._coordinators.call_ended, interaction)))

    def found_expired(self, session: ActiveSession) -> None:
        """Close a session that traffic found past its end; once at a time."""
        if not session.is_ending:
            session.is_ending = True
            self._background.spawn(Background.guarded(partial(self._expire, session)))

    async def _expire(self, session: ActiveSession) -> None:
        try:
            await self._coordinators.expire(session.service_sid, session.sid)
        finally:
            session.is_ending = False
