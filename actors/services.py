"""The services of a host: their names, and the coordinator of each."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import msgspec

from actors.accounts import AccountRegister
from actors.coordinator import ServiceCoordinator
from actors.locks import KeyedLocks
from actors.parts import HostSettings, Parts
from engine.core.errors import ApiError, Code, invalid_parameter, not_found
from engine.core.records import Service
from engine.core.requests import ServiceRequest, given
from engine.core.sids import SidKind, is_sid

MEXICAN_ONE_UNTIL = datetime(2020, 10, 5, tzinfo=UTC).timestamp()
"""Services made from this day on do not insert the "1" after +52 (behaviour 14)."""

MakeCoordinator = Callable[[Service], ServiceCoordinator]


class ServiceRegister:
    """All coordinators of a host."""

    def __init__(self, parts: Parts, accounts: AccountRegister, make: MakeCoordinator) -> None:
        """Start with no services; `make` gives a service its coordinator."""
        self._parts = parts
        self._accounts = accounts
        self._make = make
        self._coordinators: dict[str, ServiceCoordinator] = {}
        self._names: dict[tuple[str, str], str] = {}
        self._locks = KeyedLocks()

    def load(self, services: tuple[Service, ...]) -> None:
        """Take up what the store holds."""
        for service in services:
            self._coordinators[service.sid] = self._make(service)
            self._names[service.account_sid, service.unique_name] = service.sid

    def find(self, service_sid: str) -> ServiceCoordinator | None:
        """Return the coordinator of a service, whoever owns it."""
        return self._coordinators.get(service_sid)

    def __iter__(self) -> Iterator[ServiceCoordinator]:
        """Walk all coordinators."""
        return iter(self._coordinators.values())

    def of(self, account_sid: str) -> tuple[ServiceCoordinator, ...]:
        """Return the coordinators of an account's services."""
        return tuple(one for one in self._coordinators.values() if one.service.account_sid == account_sid)

    def get(self, account_sid: str, service_sid: str) -> ServiceCoordinator:
        """Return the coordinator of an account's service; ApiError NOT_FOUND."""
        coordinator = self._coordinators.get(service_sid)
        if coordinator is None or coordinator.service.account_sid != account_sid:
            raise not_found(f"/Services/{service_sid}")
        return coordinator

    def named(self, account_sid: str, sid_or_name: str) -> ServiceCoordinator:
        """Return the same by SID or unique name."""
        if not is_sid(sid_or_name, SidKind.SERVICE):
            sid_or_name = self._names.get((account_sid, sid_or_name), sid_or_name)
        return self.get(account_sid, sid_or_name)

    async def create(self, account_sid: str, request: ServiceRequest) -> Service:
        """Make a service; ApiError SERVICE_NAME_TAKEN."""
        if not isinstance(request.unique_name, str) or not request.unique_name:
            raise invalid_parameter("UniqueName", "it is required")
        now = self._parts.clock()
        blank = Service(
            sid=self._parts.mint(SidKind.SERVICE),
            account_sid=self._accounts.get(account_sid).sid,
            unique_name=request.unique_name,
            inserts_mexican_one=inserts_mexican_one(self._parts.settings, date_created=now),
            date_created=now,
            date_updated=now,
        )
        service = _with(blank, request, now=now)
        coordinator = self._make(service)
        self._claim(service)
        try:
            await coordinator.change(service)
        except BaseException:
            self._unclaim(service)
            raise
        self._coordinators[service.sid] = coordinator
        return service

    async def update(self, account_sid: str, service_sid: str, request: ServiceRequest) -> Service:
        """Change a service; ApiError SERVICE_NAME_TAKEN."""
        if request.unique_name == "":
            raise invalid_parameter("UniqueName", "it cannot be empty")
        async with self._locks.hold(service_sid):  # a change made from the record of before would undo another
            return await self._change(self.get(account_sid, service_sid), request)

    async def _change(self, coordinator: ServiceCoordinator, request: ServiceRequest) -> Service:
        before = coordinator.service
        after = _with(before, request, now=self._parts.clock())
        is_renamed = after.unique_name != before.unique_name
        if is_renamed:
            self._claim(after)
        try:
            await coordinator.change(after)
        except BaseException:
            if is_renamed:
                self._unclaim(after)
            raise
        if is_renamed:
            self._unclaim(before)
        return after

    async def erase(self, account_sid: str, service_sid: str) -> None:
        """Erase a service with all that is in it; its name is free at once."""
        async with self._locks.hold(service_sid):
            coordinator = self.get(account_sid, service_sid)
            await coordinator.erase()
            self._unclaim(coordinator.service)
            del self._coordinators[service_sid]

    def _claim(self, service: Service) -> None:
        name = (service.account_sid, service.unique_name)
        if name in self._names:
            raise ApiError(Code.SERVICE_NAME_TAKEN, "Another service of the account has this UniqueName")
        self._names[name] = service.sid

    def _unclaim(self, service: Service) -> None:
        self._names.pop((service.account_sid, service.unique_name), None)


def inserts_mexican_one(settings: HostSettings, *, date_created: float) -> bool:
    """Tell whether a new service dials Mexico the old way."""
    if settings.inserts_mexican_one is not None:
        return settings.inserts_mexican_one
    return date_created < MEXICAN_ONE_UNTIL


def _with(service: Service, request: ServiceRequest, *, now: float) -> Service:
    return msgspec.structs.replace(service, **given(request), date_updated=now)
