"""The number actors and interactions on other hosts, as a coordinator sees them."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from engine.core.model.errors import not_found
from engine.core.model.records import Interaction
from engine.core.ports.lists import Page, PageCursor
from engine.core.sessions.bindings import Endpoint

ForSessions = Callable[[tuple[str, ...]], Awaitable[None]]
"""Has a host do something for sessions; raises MasklineError."""


class RemoteTraffic(Protocol):
    """The number actors on other hosts, and the interactions in their files, as a coordinator needs them."""

    async def push(self, endpoint: Endpoint, session_sid: str, *, body: str, media: tuple[str, ...]) -> Interaction:
        """Record a message of the application to a participant whose number is on another host."""

    async def interaction(self, interaction_sid: str) -> Interaction | None:
        """Find an interaction."""

    async def interactions_pages(
        self, session_sid: str, cursor: PageCursor, sent_to: str | None
    ) -> Sequence[Page[Interaction]]:
        """Read a page of a session's interactions on every other host."""

    async def erase_interaction(self, interaction_sid: str) -> None:
        """Erase an interaction wherever it is."""

    def erasers(self) -> Mapping[int, ForSessions]:
        """Return, by host, what has it erase the interactions of sessions that are gone."""

    def settlers(self) -> Mapping[int, ForSessions]:
        """Return, by host, what waits until interactions of sessions that are withdrawn are committed there.

        Only where that host's are in the same tables, and so erased from here; elsewhere it erases its own.
        """

    async def hang_up(self, session_sid: str) -> None:
        """End the running calls of a session."""


class NothingElsewhere:
    """Interactions of which other hosts have none that are not found here."""

    async def interaction(self, interaction_sid: str) -> Interaction | None:
        """Find nothing."""
        del interaction_sid
        return None

    async def interactions_pages(
        self, session_sid: str, cursor: PageCursor, sent_to: str | None
    ) -> Sequence[Page[Interaction]]:
        """Find nothing."""
        del session_sid, cursor, sent_to
        return ()

    async def erase_interaction(self, interaction_sid: str) -> None:
        """Erase nothing."""


class NoRemoteTraffic(NothingElsewhere):
    """The other hosts of a host that is alone."""

    async def push(self, endpoint: Endpoint, session_sid: str, *, body: str, media: tuple[str, ...]) -> Interaction:
        """Not find the number."""
        del body, media
        raise not_found(f"/Sessions/{session_sid}/Participants/{endpoint.participant_sid}")

    def erasers(self) -> Mapping[int, ForSessions]:
        """Know no hosts."""
        return {}

    def settlers(self) -> Mapping[int, ForSessions]:
        """Know no hosts."""
        return {}

    async def hang_up(self, session_sid: str) -> None:
        """End nothing."""
