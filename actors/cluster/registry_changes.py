"""Changes of the registry, as whoever writes them looks at them.

Upon which records they were decided, what forbids them by now, and which lead from one registry to another.
"""

from collections.abc import Iterator, Sequence
from hashlib import sha256

import msgspec

from actors.control.services import name_taken
from actors.kernel.registry import Registry, RegistryMoved
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
from engine.core.model.errors import not_found
from engine.core.ports import store as ports

Record = msgspec.Struct
_encode = msgspec.msgpack.Encoder().encode


def digests(registry: Registry, changes: Sequence[RegistryChange]) -> tuple[str, ...]:
    """Return what tells the records that changes replace from other versions of these; empty = there is none."""
    return tuple(_digest_of(_record_before(registry, change)) for change in changes)


def check(registry: Registry, changes: Sequence[RegistryChange], seen: Sequence[str]) -> None:
    """Check that changes can be made of a registry; `seen`: the digests when they were decided.

    Raises:
        RegistryMoved: a record has changed since, or another is in the way: decide again.
        ApiError: NOT_FOUND, SERVICE_NAME_TAKEN.
    """
    for change, digest in zip(changes, seen, strict=True):
        _check(registry, change, digest)


def difference(mine: Registry, theirs: ports.Registry, *, at: float) -> Iterator[RegistryChange]:
    """Walk the changes that lead from one registry to another, what goes before what comes."""
    services = {service.sid for service in theirs.services}
    numbers = {number.sid for number in theirs.numbers}
    accounts = {account.sid for account in theirs.accounts}
    yield from (ServiceErased(sid, at) for sid in mine.services if sid not in services)
    yield from (NumberReleased(sid) for sid in mine.numbers if sid not in numbers)
    yield from (AccountErased(sid) for sid in mine.accounts if sid not in accounts)
    yield from (AccountSaved(one) for one in theirs.accounts if mine.accounts.get(one.sid) != one)
    yield from (ApiKeySaved(one) for one in theirs.api_keys if mine.keys.get(one.sid) != one)
    yield from (ServiceSaved(one) for one in theirs.services if mine.services.get(one.sid) != one)
    yield from (NumberSaved(one) for one in theirs.numbers if mine.numbers.get(one.sid) != one)


def _check(registry: Registry, change: RegistryChange, digest: str) -> None:
    if _digest_of(_record_before(registry, change)) != digest:
        raise RegistryMoved
    owner = _owner(change)
    if owner is not None and owner not in registry.accounts:
        raise not_found(f"/Accounts/{owner}")
    match change:
        case AccountErased(account_sid):
            if not registry.holdings_of(account_sid).is_nothing:
                raise RegistryMoved
        case NumberSaved(number):
            other = registry.number_at(number.address)
            if other is not None and other.sid != number.sid:
                raise RegistryMoved
        case ServiceSaved(service):
            owner = registry.service_named(service.account_sid, service.unique_name)
            if owner not in {None, service.sid}:
                raise name_taken()
        case _:
            pass


def _owner(change: RegistryChange) -> str | None:
    """Return the account of a record that is about to be kept, None where it is an account itself or goes."""
    match change:
        case ApiKeySaved(record) | NumberSaved(record) | ServiceSaved(record):
            return record.account_sid
        case _:
            return None


def _record_before(registry: Registry, change: RegistryChange) -> Record | None:
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


def _digest_of(record: Record | None) -> str:
    return "" if record is None else sha256(_encode(record)).hexdigest()[:16]
