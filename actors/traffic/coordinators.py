"""The coordinators, wherever they are, as a number actor sees them."""

from enum import StrEnum
from typing import Protocol

import msgspec

from engine.core.model.records import Address, Interaction, Participant, Session
from engine.core.routing.traffic import InboundEvent, SessionWanted


class Expiry(StrEnum):
    """What a coordinator says of a session that was found past its end; closed."""

    OVER = "over"
    NOT_OVER = "not-over"
    UNSURE = "unsure"
    """A host that may know better does not answer."""


class LastSession(msgspec.Struct, frozen=True):
    """The last session that paired somebody with a number, and who was in it."""

    session: Session
    participants: tuple[Participant, ...]


class Coordinators(Protocol):
    """What number actors ask; PeerUnavailable where the coordinator is on a host that does not answer."""

    async def expire(self, service_sid: str, session_sid: str) -> Expiry:
        """Close a session if its end has come by its coordinator's clock, counting what passed on every host."""

    async def make_session(self, service_sid: str, proxy: Address, event: InboundEvent, wanted: SessionWanted) -> None:
        """Make the session that an out-of-session hook asked for; ApiError or StoreUnavailable."""

    async def last_session(self, service_sid: str, identifier: Address, proxy: Address) -> LastSession | None:
        """Find the last session in which the identifier held the proxy number."""

    async def participants(self, service_sid: str, session_sid: str) -> tuple[Participant, ...]:
        """Read all participants of a session, those who left too."""

    async def session(self, service_sid: str, session_sid: str) -> Session | None:
        """Read a session as it is, counting what passed on every host."""

    async def idle_since(self, service_sid: str, session_sid: str) -> float | None:
        """Tell what the ttl of an active session counts from, whatever host it passed on; None when it has ended."""

    async def call_ended(self, interaction: Interaction) -> None:
        """Close the session of a call that has ended, where the service wants that."""
