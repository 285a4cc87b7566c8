"""The registry: the accounts, keys, services and numbers as they were last committed, known whole to every host.

It keeps and tells; what may change is decided by the registers that write through it.
"""

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from functools import wraps
from typing import Any, ParamSpec, Protocol, TypeVar

from engine.core.model.changes import (
    AccountErased,
    AccountSaved,
    ApiKeySaved,
    NumberReleased,
    NumberSaved,
    RegistryChange,
    ServiceErased,
    ServiceSaved,
)
from engine.core.model.errors import ApiError, Code, MasklineError, not_found
from engine.core.model.records import Account, AccountHoldings, Address, ApiKey, ProxyNumber, Service
from engine.core.numbers.e164 import canonical
from engine.core.pools.pool import unpooled
from engine.core.ports import store as ports
from engine.core.ports.store import Store

P = ParamSpec("P")
R = TypeVar("R")

MOST_DECISIONS = 20
"""How often a change is decided again while other hosts change the same record."""

Changed = Callable[[RegistryChange], None]
"""Told of a change before the registry takes it over, so that what was before can still be looked up."""


class RegistryMoved(MasklineError):  # noqa: N818 - names a state, as StoreUnavailable does
    """A record has changed since a change of it was decided; nothing was committed, and the newest is held now."""


class RegistryWriter(Protocol):
    """Commits changes of the registry wherever it is held."""

    async def write(self, changes: Sequence[RegistryChange]) -> None:
        """Commit changes and have `Registry.apply` take them over.

        Raises:
            RegistryMoved, ApiError, StoreUnavailable: nothing was committed.
            PeerUnavailable: what was committed is not known.
        """


class Registry:
    """What every host knows of accounts, keys, services and numbers."""

    def __init__(self, store: Store) -> None:
        """Start with nothing; changes are committed to this store unless another writer is set."""
        self.version = 0
        self.accounts: dict[str, Account] = {}
        self.keys: dict[str, ApiKey] = {}
        self.services: dict[str, Service] = {}
        self.numbers: dict[str, ProxyNumber] = {}
        self.writer: RegistryWriter = _LocalWriter(store, self)
        self.changing: Changed = _ignore
        self.changed: Changed = _ignore
        self._numbers_at: dict[Address, ProxyNumber] = {}
        self._names: dict[tuple[str, str], str] = {}

    def load(self, held: ports.Registry, *, version: int = 0) -> None:
        """Take up what the store holds."""
        self.version = version
        self.accounts = {account.sid: account for account in held.accounts}
        self.keys = {key.sid: key for key in held.api_keys}
        for service in held.services:
            self._keep_service(service)
        for number in held.numbers:
            self._keep_number(number)

    async def write(self, *changes: RegistryChange) -> None:
        """Commit changes and take them over; raises as `RegistryWriter.write`."""
        if changes:
            await self.writer.write(changes)

    def apply(self, changes: Sequence[RegistryChange]) -> None:
        """Take over committed changes and tell of each."""
        for change in changes:
            self.changing(change)
            self._take_over(change)
            self.changed(change)

    def number_at(self, address: str) -> ProxyNumber | None:
        """Return the number at an address, whichever way a carrier writes it."""
        return self._numbers_at.get(address) or self._numbers_at.get(canonical(address))

    def service_named(self, account_sid: str, unique_name: str) -> str | None:
        """Return the SID of an account's service of that name."""
        return self._names.get((account_sid, unique_name))

    def active_account(self, account_sid: str) -> Account:
        """Return an account that may have something new; ApiError NOT_FOUND, PERMISSION_DENIED."""
        account = self.accounts.get(account_sid)
        if account is None:
            raise not_found(f"/Accounts/{account_sid}")
        if account.is_disabled:
            raise ApiError(Code.PERMISSION_DENIED, "The account is disabled")
        return account

    def holdings_of(self, account_sid: str) -> AccountHoldings:
        """Return what an account has."""
        return AccountHoldings(
            services=tuple(one.sid for one in self.services.values() if one.account_sid == account_sid),
            numbers=tuple(one.sid for one in self.numbers.values() if one.account_sid == account_sid),
        )

    def numbers_of(self, service_sid: str) -> tuple[ProxyNumber, ...]:
        """Return the numbers in the pool of a service."""
        return tuple(number for number in self.numbers.values() if number.service_sid == service_sid)

    def _take_over(self, change: RegistryChange) -> None:
        match change:
            case AccountSaved(account):
                self.accounts[account.sid] = account
            case AccountErased(account_sid):
                self.accounts.pop(account_sid, None)
                self.keys = {sid: key for sid, key in self.keys.items() if key.account_sid != account_sid}
            case ApiKeySaved(key):
                self.keys[key.sid] = key
            case NumberSaved(number):
                self._keep_number(number)
            case NumberReleased(number_sid):
                number = self.numbers.pop(number_sid)
                del self._numbers_at[number.address]
            case ServiceSaved(service):
                self._keep_service(service)
            case ServiceErased(service_sid):
                self._forget_service(service_sid)

    def _keep_number(self, number: ProxyNumber) -> None:
        self.numbers[number.sid] = number
        self._numbers_at[number.address] = number

    def _keep_service(self, service: Service) -> None:
        self._forget_name(self.services.get(service.sid))
        self.services[service.sid] = service
        self._names[service.account_sid, service.unique_name] = service.sid

    def _forget_service(self, service_sid: str) -> None:
        self._forget_name(self.services.pop(service_sid, None))
        for number in self.numbers_of(service_sid):
            self._keep_number(unpooled(number))

    def _forget_name(self, service: Service | None) -> None:
        if service is not None and self.service_named(service.account_sid, service.unique_name) == service.sid:
            del self._names[service.account_sid, service.unique_name]


class _LocalWriter:
    """Commits to the store of the only host."""

    def __init__(self, store: Store, registry: Registry) -> None:
        self._store = store
        self._registry = registry

    async def write(self, changes: Sequence[RegistryChange]) -> None:
        await self._store.write(changes)
        self._registry.apply(changes)


def redecided(method: Callable[P, Awaitable[R]]) -> Callable[P, Coroutine[Any, Any, R]]:
    """Let a method decide again when the registry has moved since; ApiError CONFLICT when it will not rest."""

    @wraps(method)
    async def again(*args: P.args, **kwargs: P.kwargs) -> R:
        for _ in range(MOST_DECISIONS):
            with suppress(RegistryMoved):
                return await method(*args, **kwargs)
        raise ApiError(Code.CONFLICT, "Other requests keep changing the same record; try again")

    return again


def _ignore(_: RegistryChange) -> None:
    """Nobody wants to know."""
