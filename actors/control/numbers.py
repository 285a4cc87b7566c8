"""The numbers that accounts own, and which service's pool each is in.

All changes go one after the other, so that limits hold; they are rare beside sessions and traffic.
"""

import asyncio
from collections.abc import Sequence

import msgspec

from actors.control.coordinator import ServiceCoordinator
from actors.kernel.context import HostContext
from actors.kernel.paging import page_of
from actors.kernel.registry import Registry, redecided
from engine.core.model.changes import NumberReleased, NumberSaved
from engine.core.model.errors import ApiError, Code, invalid_parameter, not_found
from engine.core.model.records import Address, Capability, ProxyNumber
from engine.core.model.requests import NumberFilter, NumberRequest, NumberUpdate, given
from engine.core.model.sids import SidKind, is_sid
from engine.core.numbers.countries import is_country_of
from engine.core.numbers.e164 import country_of, mask_address, national_display, parse_proxy_number, parse_short_code
from engine.core.pools.pool import unpooled
from engine.core.ports.lists import Page, PageCursor


class NumberRegister:
    """The owned numbers."""

    def __init__(self, context: HostContext, registry: Registry) -> None:
        """Look after the numbers of a registry."""
        self._context = context
        self._registry = registry
        self.turn = asyncio.Lock()
        """Whoever holds it changes numbers and pools alone."""

    def owns(self, account_sid: str, named: str) -> bool:
        """Tell whether an account owns a number, by SID or by address."""
        number = self._registry.numbers.get(named) or self._registry.number_at(named)
        return number is not None and number.account_sid == account_sid

    def get(self, account_sid: str, number_sid: str) -> ProxyNumber:
        """Return an owned number; ApiError NOT_FOUND."""
        number = self._registry.numbers.get(number_sid)
        if number is None or number.account_sid != account_sid:
            raise not_found(f"/IncomingPhoneNumbers/{number_sid}")
        return number

    def of(self, account_sid: str | None) -> tuple[ProxyNumber, ...]:
        """Return all that an account owns (None = that all accounts own), in no order."""
        numbers = self._registry.numbers.values()
        return tuple(one for one in numbers if account_sid is None or one.account_sid == account_sid)

    def page(self, account_sid: str, cursor: PageCursor, wanted: NumberFilter) -> Page[ProxyNumber]:
        """List the owned numbers that are wanted, newest first."""
        mine = (number for number in self._registry.numbers.values() if number.account_sid == account_sid)
        return page_of(filter(wanted, mine), cursor)

    @redecided
    async def own(self, account_sid: str, requests: Sequence[NumberRequest]) -> tuple[ProxyNumber | ApiError, ...]:
        """Make the account own numbers, in one commit; what is wrong with one does not stop the others."""
        async with self.turn:
            self._registry.active_account(account_sid)
            results: list[ProxyNumber | ApiError] = []
            taken: set[Address] = set()
            for request in requests:
                try:
                    number = self._new(account_sid, request, taken)
                except ApiError as problem:
                    results.append(problem)
                else:
                    taken.add(number.address)
                    results.append(number)
            await self._save(*(result for result in results if isinstance(result, ProxyNumber)))
        return tuple(results)

    @redecided
    async def update(self, account_sid: str, number_sid: str, request: NumberUpdate) -> ProxyNumber:
        """Rename a number or correct its capabilities."""
        async with self.turn:
            number = self.get(account_sid, number_sid)
            number = msgspec.structs.replace(number, **given(request), date_updated=self._context.clock())
            await self._save(number)
        return number

    @redecided
    async def release(self, account_sid: str, number_sid: str) -> None:
        """Stop owning a number; refused with CONFLICT while it is in a pool."""
        async with self.turn:
            number = self.get(account_sid, number_sid)
            if number.service_sid is not None:
                problem = f"The number is in the pool of service {number.service_sid}; remove it there first"
                raise ApiError(Code.CONFLICT, problem)
            await self._registry.write(NumberReleased(number_sid))

    @redecided
    async def pool(
        self, coordinator: ServiceCoordinator, *, number_sid: str | None, address: str | None, is_reserved: bool
    ) -> ProxyNumber:
        """Put a number into a service's pool.

        Raises:
            ApiError: NUMBER_SID_NOT_FOUND, SHORT_CODE_SID_NOT_FOUND, NUMBER_ALREADY_IN_SERVICE,
                SHORT_CODE_ALREADY_IN_SERVICE, NUMBER_IN_ANOTHER_SERVICE, NUMBER_NOT_AVAILABLE, POOL_FULL.
        """
        async with self.turn:
            service = coordinator.service
            number = self._to_pool(service.account_sid, number_sid, address)
            if number.service_sid == service.sid:
                code = Code.SHORT_CODE_ALREADY_IN_SERVICE if number.is_short_code else Code.NUMBER_ALREADY_IN_SERVICE
                raise ApiError(code, f"{mask_address(number.address)} is already in the service")
            if number.service_sid is not None:
                problem = f"{mask_address(number.address)} is already in another service"
                raise ApiError(Code.NUMBER_IN_ANOTHER_SERVICE, problem)
            coordinator.check_room(is_reserved=is_reserved, number_sid=number.sid)
            now = self._context.clock()
            number = msgspec.structs.replace(
                number, service_sid=service.sid, is_reserved=is_reserved, date_pooled=now, date_pool_updated=now
            )
            await self._save(number)
        return number

    @redecided
    async def reserve(
        self, coordinator: ServiceCoordinator, number_sid: str, *, is_reserved: bool | None
    ) -> ProxyNumber:
        """Reserve or free a pool entry; None leaves it. Sessions that use it are not disturbed."""
        async with self.turn:
            number = coordinator.pool_number(number_sid)
            if is_reserved is None or is_reserved == number.is_reserved:
                return number
            coordinator.check_room(is_reserved=is_reserved, number_sid=number_sid)
            now = self._context.clock()
            number = msgspec.structs.replace(number, is_reserved=is_reserved, date_pool_updated=now)
            await self._save(number)
        return number

    @redecided
    async def unpool(self, coordinator: ServiceCoordinator, number_sid: str) -> None:
        """Take a number out of a pool; refused with NUMBER_IN_ACTIVE_SESSIONS while sessions use it."""
        async with self.turn:
            number = coordinator.pool_number(number_sid)
            coordinator.number_leaves(number)
            try:
                await self._save(unpooled(number))
            except BaseException:
                coordinator.number_stays(number)
                raise

    def _to_pool(self, account_sid: str, number_sid: str | None, address: str | None) -> ProxyNumber:
        if number_sid is not None:
            named = self._named(account_sid, number_sid)
            if address is not None and parse_proxy_number(address) != named.address:
                raise invalid_parameter("PhoneNumber", "it is not the number that Sid names")
            return named
        if address is None:
            raise invalid_parameter("Sid", "give Sid or PhoneNumber")
        number = self._registry.number_at(parse_proxy_number(address))
        if number is not None and number.account_sid == account_sid:
            return number
        if number is None and self._context.settings.every_number_is_ours:
            return self._new(account_sid, NumberRequest(address=address), set())
        raise ApiError(Code.NUMBER_NOT_AVAILABLE, f"{mask_address(address)} is not owned by the account")

    def _named(self, account_sid: str, number_sid: str) -> ProxyNumber:
        is_short_code = is_sid(number_sid, SidKind.SHORT_CODE)
        if not is_short_code and not is_sid(number_sid, SidKind.PHONE_NUMBER):
            raise ApiError(Code.NUMBER_SID_INVALID, "Sid must be a PN… or SC… SID")
        number = self._registry.numbers.get(number_sid)
        if number is None or number.account_sid != account_sid:
            code = Code.SHORT_CODE_SID_NOT_FOUND if is_short_code else Code.NUMBER_SID_NOT_FOUND
            raise ApiError(code, f"The account owns no number {number_sid}")
        return number

    def _new(self, account_sid: str, request: NumberRequest, taken: set[Address]) -> ProxyNumber:
        is_short_code = request.address.isdecimal() and len(request.address) <= LONGEST_SHORT_CODE
        address = parse_short_code(request.address) if is_short_code else parse_proxy_number(request.address)
        if self._registry.number_at(address) is not None or address in taken:
            raise ApiError(Code.NUMBER_NOT_AVAILABLE, f"{mask_address(address)} is owned already")
        country = request.iso_country or country_of(address)
        if country is None:
            problem = f"The country of {mask_address(address)} cannot be told; an import may name it"
            raise ApiError(Code.INVALID_PARAMETER, problem)
        if not is_country_of(address, country):
            raise invalid_parameter("country", f"{country.upper()} is no country of {mask_address(address)}")
        capabilities = request.capabilities & ~Capability.VOICE if is_short_code else request.capabilities
        now = self._context.clock()
        return ProxyNumber(
            sid=self._context.id_factory(SidKind.SHORT_CODE if is_short_code else SidKind.PHONE_NUMBER),
            account_sid=account_sid,
            address=address,
            iso_country=country.upper(),
            capabilities=capabilities,
            friendly_name=request.friendly_name or national_display(address),
            date_created=now,
            date_updated=now,
            stop_filtering=request.stop_filtering,
        )

    async def _save(self, *numbers: ProxyNumber) -> None:
        await self._registry.write(*(NumberSaved(number) for number in numbers))


LONGEST_SHORT_CODE = 8
"""Digits of a short code at most; more digits without "+" are a mistyped phone number."""
