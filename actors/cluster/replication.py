"""How every host comes to hold the same registry: one registrar writes it, the others follow, version by version.

The registrar commits first, then has every host that it reaches commit too, and only then is a change answered. A host
that was not reached learns of it from the next message of any other host, and asks for all it missed.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from hashlib import sha256
from itertools import chain

import msgspec

from actors.cluster.rpc import HostRpc
from actors.kernel.gathering import reason_of
from actors.kernel.registry import Registry, RegistryChange, RegistryMoved
from engine.core.model.changes import (
    AccountErased,
    AccountSaved,
    ApiKeySaved,
    NumberReleased,
    NumberSaved,
    RegistryAdvanced,
    ServiceErased,
    ServiceSaved,
)
from engine.core.model.errors import ApiError, Code, PeerUnavailable, not_found
from engine.core.model.placement import REGISTRAR
from engine.core.numbers.e164 import mask_address
from engine.core.ports import store as ports
from engine.core.ports.operations import Clock
from engine.core.ports.store import Store

UNREACHED_SECONDS = 1.0
"""How long a change waits for a host that was not reached lately; it may just be back."""

Record = msgspec.Struct
_encode = msgspec.msgpack.Encoder().encode
_log = logging.getLogger("maskline.registry")


class Held(msgspec.Struct, frozen=True):
    """The registry in one version."""

    version: int
    registry: ports.Registry


class Registrar:
    """Writes the registry; served by the registrar's host."""

    def __init__(self, store: Store, registry: Registry, rpc: HostRpc, *, reached: Callable[[int], bool]) -> None:
        """Write to a store; `reached` tells which hosts answered lately."""
        self._store = store
        self._registry = registry
        self._rpc = rpc
        self._reached = reached
        self._turn = asyncio.Lock()

    async def write(self, changes: tuple[RegistryChange, ...], seen: tuple[str, ...]) -> int:
        """Commit changes that were decided upon the records `seen`; returns the version they lead to.

        Raises:
            RegistryMoved: a record has changed since.
            ApiError: NUMBER_NOT_AVAILABLE, SERVICE_NAME_TAKEN.
            StoreUnavailable: nothing was committed.
        """
        async with self._turn:
            for change, digest in zip(changes, seen, strict=True):
                self._check(change, digest)
            version = self._registry.version + 1
            await self._store.write((*changes, RegistryAdvanced(version)))
            self._registry.version = version
            self._registry.apply(changes)
            await self._tell(version, changes)
        return version

    async def held(self, version: int) -> Held | None:
        """Return the whole registry, None where the asker's version is the latest."""
        # Takes no turn: whoever holds it may be waiting for the asker. A version that is on disk already and not yet
        # counted is told again, and changes nothing then.
        if version == self._registry.version:
            return None
        return Held(self._registry.version, self._store.registry())

    async def _tell(self, version: int, changes: tuple[RegistryChange, ...]) -> None:
        asked = (
            asyncio.wait_for(
                self._rpc.ask_quickly(host, Follower.advance, version, changes),
                None if self._reached(host) else UNREACHED_SECONDS,
            )
            for host in self._rpc.others
        )
        for outcome in await asyncio.gather(*asked, return_exceptions=True):
            if isinstance(outcome, BaseException):
                _log.warning(
                    "A host did not take version %s of the registry and will ask for it: %s",
                    version,
                    reason_of(outcome),
                )

    def _check(self, change: RegistryChange, digest: str) -> None:
        if digest_of(record_before(self._registry, change)) != digest:
            raise RegistryMoved
        owner = _owner(change)
        if owner is not None and owner not in self._registry.accounts:
            raise not_found(f"/Accounts/{owner}")
        match change:
            case AccountErased(account_sid):
                if not self._registry.holdings_of(account_sid).is_nothing:
                    raise RegistryMoved
            case NumberSaved(number):
                other = self._registry.number_at(number.address)
                if other is not None and other.sid != number.sid:
                    raise ApiError(Code.NUMBER_NOT_AVAILABLE, f"{mask_address(number.address)} is owned already")
            case ServiceSaved(service):
                owner = self._registry.service_named(service.account_sid, service.unique_name)
                if owner not in {None, service.sid}:
                    raise ApiError(Code.SERVICE_NAME_TAKEN, "Another service of the account has this UniqueName")
            case _:
                pass


class Follower:
    """Holds the registry as the registrar writes it; served by every host."""

    def __init__(self, store: Store, registry: Registry, rpc: HostRpc, *, clock: Clock) -> None:
        """Keep a registry in a store."""
        self._store = store
        self._registry = registry
        self._rpc = rpc
        self._clock = clock
        self._turn = asyncio.Lock()

    async def advance(self, version: int, changes: tuple[RegistryChange, ...]) -> None:
        """Take the next version over; whoever missed one asks for the whole."""
        async with self._turn:
            if version == self._registry.version + 1:
                await self._take_over(version, changes)
            elif version > self._registry.version:
                await self._pull()

    async def know(self, version: int) -> None:
        """Wait until the registry is held in that version or a later one."""
        if version > self._registry.version:
            async with self._turn:
                if version > self._registry.version:
                    await self._pull()

    async def synchronise(self) -> None:
        """Hold what the registrar holds; PeerUnavailable while it cannot be asked."""
        async with self._turn:
            await self._pull()

    async def _pull(self) -> None:
        if self._rpc.me == REGISTRAR:
            raise PeerUnavailable("Another host knows more of the registry than the registrar: was a backup put back?")
        held = await self._rpc.ask(REGISTRAR, Registrar.held, self._registry.version)
        if held is not None:
            await self._take_over(held.version, tuple(_difference(self._registry, held.registry, at=self._clock())))

    async def _take_over(self, version: int, changes: tuple[RegistryChange, ...]) -> None:
        await self._store.write((*changes, RegistryAdvanced(version)))
        self._registry.version = version
        self._registry.apply(changes)


class ReplicatedWriter:
    """Implements `RegistryWriter` in a cluster: hands changes to the registrar and waits to hold them too."""

    def __init__(self, registry: Registry, rpc: HostRpc, *, registrar: Registrar, follower: Follower) -> None:
        """Write by RPC, or directly where the registrar is here."""
        self._registry = registry
        self._rpc = rpc
        self._registrar = registrar
        self._follower = follower

    async def write(self, changes: Sequence[RegistryChange]) -> None:
        """Commit changes everywhere; StoreUnavailable, PeerUnavailable or ApiError when they are not."""
        some = tuple(changes)
        seen = tuple(digest_of(record_before(self._registry, change)) for change in some)
        if self._rpc.me == REGISTRAR:
            await self._registrar.write(some, seen)
            return
        try:
            version = await self._rpc.ask(REGISTRAR, Registrar.write, some, seen)
        except RegistryMoved:
            await self._follower.synchronise()
            raise
        await self._follower.know(version)


def _owner(change: RegistryChange) -> str | None:
    """Return the account of a record that is about to be kept, None where it is an account itself or goes."""
    match change:
        case ApiKeySaved(record) | NumberSaved(record) | ServiceSaved(record):
            return record.account_sid
        case _:
            return None


def record_before(registry: Registry, change: RegistryChange) -> Record | None:
    """Return the record that a change replaces, as it is held."""
    match change:
        case AccountSaved(account):
            return registry.accounts.get(account.sid)
        case AccountErased(account_sid):
            return registry.accounts.get(account_sid)
        case ApiKeySaved(key):
            return registry.keys.get(key.sid)
        case NumberSaved(number):
            return registry.numbers.get(number.sid)
        case NumberReleased(number_sid):
            return registry.numbers.get(number_sid)
        case ServiceSaved(service):
            return registry.services.get(service.sid)
        case ServiceErased(service_sid):
            return registry.services.get(service_sid)


def digest_of(record: Record | None) -> str:
    """Return what tells a record from another version of it; empty = there is none."""
    return "" if record is None else sha256(_encode(record)).hexdigest()[:16]


def _difference(mine: Registry, theirs: ports.Registry, *, at: float) -> chain[RegistryChange]:
    """Return the changes that lead from one registry to another, what goes before what comes."""
    services = {service.sid for service in theirs.services}
    numbers = {number.sid for number in theirs.numbers}
    accounts = {account.sid for account in theirs.accounts}
    return chain(
        (ServiceErased(sid, at) for sid in mine.services if sid not in services),
        (NumberReleased(sid) for sid in mine.numbers if sid not in numbers),
        (AccountErased(sid) for sid in mine.accounts if sid not in accounts),
        (AccountSaved(one) for one in theirs.accounts if mine.accounts.get(one.sid) != one),
        (ApiKeySaved(one) for one in theirs.api_keys if mine.keys.get(one.sid) != one),
        (ServiceSaved(one) for one in theirs.services if mine.services.get(one.sid) != one),
        (NumberSaved(one) for one in theirs.numbers if mine.numbers.get(one.sid) != one),
    )
