"""The services: their names, their settings, and the coordinator of each."""

from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import UTC, datetime
from heapq import nlargest
from operator import itemgetter

import msgspec

from actors.control.coordinator import ServiceCoordinator
from actors.kernel.context import HostContext
from actors.kernel.locks import KeyedLocks
from actors.kernel.registry import Registry, redecided
from actors.kernel.settings import HostSettings, MexicanOne
from engine.core.model.changes import ServiceSaved
from engine.core.model.errors import ApiError, Code, invalid_parameter, not_found
from engine.core.model.records import Service
from engine.core.model.requests import ServiceRequest, given
from engine.core.model.sids import SidKind, is_sid

MEXICAN_ONE_UNTIL = datetime(2020, 10, 5, tzinfo=UTC).timestamp()
"""Services made from this day on do not insert the "1" after +52 (behaviour 14)."""

MakeCoordinator = Callable[[Service], ServiceCoordinator]


class ServiceRegister:
    """The services, and the coordinators of those that this host coordinates."""

    def __init__(
        self, context: HostContext, registry: Registry, *, make: MakeCoordinator, is_ours: Callable[[str], bool]
    ) -> None:
        """Look after the services of a registry.

        `make` gives a service its coordinator; `is_ours` tells whether this host is the one to coordinate it.
        """
        self._context = context
        self._registry = registry
        self._make = make
        self._is_ours = is_ours
        self._coordinators: dict[str, ServiceCoordinator] = {}
        self._claimed: set[tuple[str, str]] = set()
        self._locks = KeyedLocks()

    def take_up(self, service: Service) -> None:
        """Coordinate a service that is new or changed, if that is for this host to do."""
        coordinator = self._coordinators.get(service.sid)
        if coordinator is not None:
            coordinator.service = service
        elif self._is_ours(service.sid):
            self._coordinators[service.sid] = self._make(service)

    def let_go(self, service_sid: str) -> None:
        """Coordinate a service no more."""
        self._coordinators.pop(service_sid, None)

    def find(self, service_sid: str) -> ServiceCoordinator | None:
        """Return the coordinator of a service of this host, whoever owns it."""
        return self._coordinators.get(service_sid)

    def __iter__(self) -> Iterator[ServiceCoordinator]:
        """Walk all coordinators."""
        return iter(self._coordinators.values())

    def saturations(self, *, most: int) -> Mapping[str, float]:
        """Return how saturated the fullest pools are, by service SID; at most so many, none that is not used."""
        states = ((one.service.sid, one.pool_state.saturation) for one in self)
        return dict(nlargest(most, (one for one in states if one[1] > 0), key=itemgetter(1)))

    @property
    def known(self) -> Collection[Service]:
        """All services of all hosts, the oldest first."""
        return self._registry.services.values()

    def of(self, account_sid: str) -> tuple[Service, ...]:
        """Return an account's services."""
        return tuple(one for one in self.known if one.account_sid == account_sid)

    def record(self, account_sid: str, sid_or_name: str) -> Service:
        """Return an account's service, by SID or unique name; ApiError NOT_FOUND."""
        sid = sid_or_name
        if not is_sid(sid_or_name, SidKind.SERVICE):
            sid = self._registry.service_named(account_sid, sid_or_name) or sid_or_name
        service = self._registry.services.get(sid)
        if service is None or service.account_sid != account_sid:
            raise not_found(f"/Services/{sid_or_name}")
        return service

    def get(self, account_sid: str, service_sid: str) -> ServiceCoordinator:
        """Return the coordinator of an account's service, which must be this host's; ApiError NOT_FOUND."""
        return self._coordinators[self.record(account_sid, service_sid).sid]

    async def create(self, account_sid: str, request: ServiceRequest) -> Service:
        """Make a service; ApiError SERVICE_NAME_TAKEN."""
        if not isinstance(request.unique_name, str) or not request.unique_name:
            raise invalid_parameter("UniqueName", "it is required")
        self._registry.active_account(account_sid)
        now = self._context.clock()
        blank = Service(
            sid=self._context.id_factory(SidKind.SERVICE),
            account_sid=account_sid,
            unique_name=request.unique_name,
            inserts_mexican_one=inserts_mexican_one(self._context.settings, date_created=now),
            date_created=now,
            date_updated=now,
        )
        service = _with(blank, request, now=now)
        await self._save(service)
        return service

    @redecided
    async def update(self, account_sid: str, service_sid: str, request: ServiceRequest) -> Service:
        """Change a service; ApiError SERVICE_NAME_TAKEN."""
        if request.unique_name == "":
            raise invalid_parameter("UniqueName", "it cannot be empty")
        async with self._locks.hold(service_sid):  # a change made from the record of before would undo another
            coordinator = self.get(account_sid, service_sid)
            coordinator.check_present()
            after = _with(coordinator.service, request, now=self._context.clock())
            await self._save(after)
            return after

    @redecided
    async def erase(self, account_sid: str, service_sid: str) -> None:
        """Erase a service with all that is in it; its name is free at once."""
        async with self._locks.hold(service_sid):
            await self.get(account_sid, service_sid).erase()

    async def _save(self, service: Service) -> None:
        """Commit a service, whose name is claimed meanwhile; ApiError SERVICE_NAME_TAKEN."""
        name = (service.account_sid, service.unique_name)
        owner = self._registry.service_named(*name)
        if owner not in {None, service.sid} or (owner is None and name in self._claimed):
            raise name_taken()
        self._claimed.add(name)
        try:
            await self._registry.write(ServiceSaved(service))
        finally:
            self._claimed.discard(name)


def name_taken() -> ApiError:
    """Return the refusal of a UniqueName that another service of the account has."""
    return ApiError(Code.SERVICE_NAME_TAKEN, "Another service of the account has this UniqueName")


def inserts_mexican_one(settings: HostSettings, *, date_created: float) -> bool:
    """Tell whether a new service dials Mexico the old way."""
    if settings.inserts_mexican_one is not MexicanOne.BY_DATE:
        return settings.inserts_mexican_one is MexicanOne.ALWAYS
    return date_created < MEXICAN_ONE_UNTIL


def _with(service: Service, request: ServiceRequest, *, now: float) -> Service:
    return msgspec.structs.replace(service, **given(request), date_updated=now)
