"""The numbers and bindings of one service: who gets which proxy number, reserved in the turn that decides.

It reads nothing, commits nothing and publishes nothing; the coordinator does. Source: behaviour 3.5, 6, 7.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from actors.kernel.context import HostContext
from engine.core.model.errors import ApiError, Code
from engine.core.model.records import Account, Address, Participant, Service, Session
from engine.core.model.requests import ParticipantRequest
from engine.core.model.sids import SidKind
from engine.core.numbers.e164 import mask_address, parse_identifier
from engine.core.pools.allocation import (
    MOST_PARTICIPANTS,
    Surroundings,
    admit,
    choose_number,
    conflicts,
    keeps_binding,
    not_in_service,
)
from engine.core.pools.binding_index import BindingIndex
from engine.core.pools.pool import Pool, PoolState
from engine.core.sessions.bindings import ActiveSession, Endpoint

Histories = Mapping[Address, Mapping[Address, float]]
"""By identifier, the proxy numbers that it has had before, each with when."""

_NO_HISTORIES: Final[Histories] = MappingProxyType({})


class Allocator:
    """The pool and the bindings of a service."""

    def __init__(
        self,
        context: HostContext,
        *,
        service: Callable[[], Service],
        account: Callable[[], Account],
        owns: Callable[[str], bool],
    ) -> None:
        """Start with an empty pool and no bindings."""
        self.pool = Pool()
        self._context = context
        self._service = service
        self._account = account
        self._owns = owns
        self._bindings = BindingIndex()
        self._reloaded: dict[Address, int] = {}

    @property
    def pool_state(self) -> PoolState:
        """How full the pool is."""
        return self.pool.state(most_held=self._bindings.most_held)

    @property
    def busiest(self) -> Address | None:
        """Who has the most numbers of the pool."""
        return self._bindings.busiest

    def is_strict(self, *, asked: bool) -> bool:
        """Tell whether a request may not make a binding active twice."""
        return asked or not self._account().allow_participant_conflict

    def asks_history_of(self, requests: Sequence[ParticipantRequest]) -> list[Address]:
        """Return of whom the choice of numbers wants to know what they have had: of those who name none, in a pool."""
        if len(self.pool) <= 1:
            return []
        try:
            return [
                parse_identifier(request.identifier)
                for request in requests[:MOST_PARTICIPANTS]  # `join` refuses more
                if request.proxy_identifier is None and request.proxy_identifier_sid is None
            ]
        except ApiError:
            return []  # `join` refuses this too

    def join(
        self,
        session: Session,
        requests: tuple[ParticipantRequest, ...],
        present: tuple[Participant, ...] = (),
        *,
        histories: Histories,
        asks_strict: bool = False,
    ) -> tuple[Participant, ...]:
        """Choose the proxy numbers of those who join, and make their records; nothing is reserved yet.

        `asks_strict` has the strict rule hold for all of them, not only for those who ask for it themselves.
        """
        around = self._surroundings(histories)
        joined = []
        may_return = around.service.options.participants_may_change
        identifiers = admit(requests, present=present, mode=session.mode, around=around, may_return=may_return)
        for request, identifier in zip(requests, identifiers, strict=True):
            is_strict = self.is_strict(asked=asks_strict or request.fail_on_participant_conflict)
            choice = choose_number(request, identifier, mode=session.mode, is_strict=is_strict, around=around)
            participant = Participant(
                sid=self._context.id_factory(SidKind.PARTICIPANT),
                session_sid=session.sid,
                service_sid=session.service_sid,
                account_sid=session.account_sid,
                identifier=identifier,
                proxy_identifier=choice.number.address,
                proxy_identifier_sid=choice.number.sid,
                friendly_name=request.friendly_name,
                date_created=self._context.clock(),
                date_updated=self._context.clock(),
            )
            if choice.is_conflict:
                self._notify_conflict(Code.SIMULTANEOUS_REQUESTS, participant)
            joined.append(participant)
        return tuple(joined)

    def keeps_binding(self, before: Participant, request: ParticipantRequest) -> bool:
        """Tell whether what an update makes of somebody leaves them their identifier and their number."""
        return keeps_binding(before, request, self._surroundings())

    def check_return(self, participants: Iterable[Participant], *, is_strict: bool) -> None:
        """Refuse to re-open a session whose numbers left the pool or whose bindings are taken."""
        for participant in participants:
            if self.pool.get_by_sid(participant.proxy_identifier_sid) is None:
                raise not_in_service(participant.proxy_identifier)
            held = self._bindings.proxies_of(participant.identifier)
            if conflicts(participant.identifier, participant.proxy_identifier, held=held, is_strict=is_strict):
                self._notify_conflict(Code.INVALID_REOPEN, participant)

    def reserve(self, participants: Iterable[Participant]) -> None:
        """Add the bindings of a session; a number that its participants share counts as used once."""
        used: set[Address] = set()
        for participant in participants:
            proxy = participant.proxy_identifier
            self.add(participant.identifier, proxy, is_new_use=proxy not in used)
            used.add(proxy)

    def reload(self, sessions: Iterable[ActiveSession]) -> None:
        """Add the bindings of active sessions that are loaded; `reloaded` counts their numbers as used."""
        bindings, reloaded = self._bindings, self._reloaded
        for session in sessions:
            used = ""
            for endpoint in session.endpoints:
                proxy = endpoint.proxy
                bindings.add(endpoint.identifier, proxy)
                if proxy != used:  # a session has two at most
                    reloaded[proxy] = reloaded.get(proxy, 0) + 1
                used = proxy

    def reloaded(self) -> None:
        """Count what was loaded as used, each number once: moving it for every session takes a third of a start."""
        self.pool.use_all(self._reloaded)
        self._reloaded.clear()

    def release(self, participants: Iterable[Participant]) -> None:
        """Undo `reserve`."""
        self._release((participant.identifier, participant.proxy_identifier) for participant in participants)

    def release_session(self, session: ActiveSession) -> None:
        """Remove the bindings of a session that has ended."""
        self._release((endpoint.identifier, endpoint.proxy) for endpoint in session.endpoints)

    def _release(self, bindings: Iterable[tuple[Address, Address]]) -> None:
        freed: set[Address] = set()
        for identifier, proxy in bindings:
            self.remove(identifier, proxy, is_last_use=proxy not in freed)
            freed.add(proxy)

    def add(self, identifier: Address, proxy: Address, *, is_new_use: bool) -> None:
        """Add one binding; `is_new_use` unless the session uses the number already."""
        self._bindings.add(identifier, proxy)
        if is_new_use:
            self.pool.use(proxy)

    def remove(self, identifier: Address, proxy: Address, *, is_last_use: bool) -> None:
        """Remove one binding; `is_last_use` unless the session uses the number still."""
        self._bindings.remove(identifier, proxy)
        if is_last_use:
            self.pool.release(proxy)

    def _surroundings(self, histories: Histories = _NO_HISTORIES) -> Surroundings:
        return Surroundings(
            service=self._service(),
            pool=self.pool,
            bindings=self._bindings,
            owns=self._owns,
            histories=histories,
            choose=self._context.choose,
            joins_us_and_canada=self._context.settings.joins_us_and_canada,
        )

    def _notify_conflict(self, code: Code, participant: Participant) -> None:
        held_twice = f"{mask_address(participant.identifier)} holds {mask_address(participant.proxy_identifier)}"
        self._context.notify(
            code,
            f"{held_twice} in two active sessions",
            account_sid=participant.account_sid,
            service_sid=participant.service_sid,
            session_sid=participant.session_sid,
            resource_sid=participant.sid,
        )


def is_shared(session: ActiveSession, endpoint: Endpoint) -> bool:
    """Tell whether another endpoint of the session has the same proxy number."""
    return any(other is not endpoint and other.proxy == endpoint.proxy for other in session.endpoints)
