"""The active sessions as a start reads them: rows to chunks, in whichever process, and chunks to sessions."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, final

from engine.core.sessions.bindings import ActiveSession, Endpoint
from storage.chunk import CHUNK_SESSIONS, Chunk, EndpointRow, SessionRow
from storage.codec import MODE_AT, account_at, address_at, service_at
from storage.rows import Fetched


def chunks_of(sessions: Iterable[Fetched], people: Iterator[Fetched]) -> Iterator[Chunk]:
    """Put sessions and those who are in them together.

    Sessions: SID, service, account, mode, idle since, ttl, date of expiry, unique name. People, in the order of the
    sessions: session, SID, identifier, proxy number.
    """
    shared = _Shared()
    services, accounts, proxies = dict[object, int](), dict[object, int](), dict[object, int]()
    rows: list[SessionRow] = []
    person: Fetched | None = next(people, None)
    for key, service, account, mode, idle_since, ttl_seconds, date_expiry, name in sessions:
        owners = shared.place(services, service, service_at), shared.place(accounts, account, account_at)
        endpoints: list[EndpointRow] = []
        while person is not None and person[0] == key:
            _, sid, identifier, proxy = person
            endpoints.append(("KP" + sid.hex(), address_at(identifier), shared.place(proxies, proxy, address_at)))
            person = next(people, None)
        if len(endpoints) > 1 and endpoints[0][0] > endpoints[1][0]:
            endpoints.reverse()  # a session has two at most
        rows.append(("KC" + key.hex(), *owners, mode, idle_since, ttl_seconds, date_expiry, name, endpoints))
        if len(rows) == CHUNK_SESSIONS:
            yield Chunk(shared.take(), rows)
            rows = []
    yield Chunk(shared.take(), rows)


@final
class _Shared:
    """What was said once; the cells of each kind have places of their own."""

    def __init__(self) -> None:
        self._said = 0
        self._unsaid: list[str] = []

    def place(self, places: dict[object, int], cell: Any, text_of: Callable[[Any], str]) -> int:  # noqa: ANN401 - a cell
        """Return the place of a cell's text among all that is said."""
        place = places.get(cell)
        if place is None:
            place = places[cell] = self._said + len(self._unsaid)
            self._unsaid.append(text_of(cell))
        return place

    def take(self) -> list[str]:
        """Say what was not said before."""
        unsaid, self._unsaid = self._unsaid, []
        self._said += len(unsaid)
        return unsaid


def sessions_of(chunks: Iterable[Chunk]) -> Iterator[ActiveSession]:
    """Make the sessions of chunks that come in their order."""
    shared: list[str] = []
    for chunk in chunks:
        shared += chunk.shared
        for sid, service, account, mode, idle_since, ttl_seconds, date_expiry, unique_name, endpoints in chunk.rows:
            yield ActiveSession(
                sid,
                shared[service],
                shared[account],
                MODE_AT[mode],
                tuple(
                    [Endpoint(participant, identifier, shared[proxy]) for participant, identifier, proxy in endpoints]
                ),
                idle_since,
                ttl_seconds,
                date_expiry,
                unique_name=unique_name,
            )
