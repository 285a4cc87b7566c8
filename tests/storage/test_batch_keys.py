"""Idempotency keys of batches: on disk with what they guard, per service, and gone in time."""

import pytest

from engine.core.model.changes import BatchKeysErased, BatchKeyUsed, ServiceErased, ServiceSaved, SessionCreated
from engine.core.model.errors import StoreUnavailable
from engine.core.model.sids import SidKind
from engine.core.sessions.batch import ItemKey, KeyUse
from tests.storage.material import SERVICE_SID, START, new_sid, service, session
from tests.storage.stores import AnyStore, Records

pytestmark = pytest.mark.anyio


def key(number: int) -> ItemKey:
    return ItemKey(digest=number.to_bytes(16, "big"), fingerprint=b"f" * 16)


def used(number: int, session_sid: str, *, at: float = START, service_sid: str = SERVICE_SID) -> BatchKeyUsed:
    return BatchKeyUsed(service_sid, key(number), session_sid, at)


async def test_a_key_is_there_with_the_session_it_was_used_for(records: Records) -> None:
    """After a restart as before; a key of another service is another key."""
    made, other_service = session(), new_sid(SidKind.SERVICE)
    store = records.open()
    await store.write([SessionCreated(made, ()), used(1, made.sid)])
    before = await store.batch_key(SERVICE_SID, key(1).digest)
    await store.close()

    again = records.open()

    assert await again.batch_key(SERVICE_SID, key(1).digest) == before == KeyUse(b"f" * 16, made.sid)
    assert await again.batch_key(SERVICE_SID, key(2).digest) is None
    assert await again.batch_key(other_service, key(1).digest) is None
    await again.close()


async def test_a_key_that_is_used_twice_takes_what_came_with_it_back(store: AnyStore) -> None:
    """Whatever went wrong above: what is guarded by a key is never there twice."""
    first, second = session(), session()
    await store.write([SessionCreated(first, ()), used(1, first.sid)])

    with pytest.raises(StoreUnavailable):
        await store.write([SessionCreated(second, ()), used(1, second.sid)])

    assert await store.session(second.sid) is None
    assert await store.batch_key(SERVICE_SID, key(1).digest) == KeyUse(b"f" * 16, first.sid)


async def test_the_oldest_keys_are_erased_first(store: AnyStore) -> None:
    """At most as many as were asked for, and none that is young enough."""
    made = session()
    await store.write([used(number, made.sid, at=START + number) for number in range(4)])

    await store.write([BatchKeysErased(START + 3, 2)])

    assert [await store.batch_key(SERVICE_SID, key(number).digest) is None for number in range(4)] == [
        True,
        True,
        False,
        False,
    ]
    assert await store.oldest_batch_key() == START + 2
    await store.write([BatchKeysErased(START + 3, 2)])
    assert await store.oldest_batch_key() == START + 3


async def test_keys_go_with_their_service(store: AnyStore) -> None:
    """Those of another stay; a store without keys has no oldest one."""
    other = new_sid(SidKind.SERVICE)
    nothing = await store.oldest_batch_key()
    await store.write([ServiceSaved(service()), used(1, session().sid), used(1, session().sid, service_sid=other)])

    await store.write([ServiceErased(SERVICE_SID, START)])

    assert nothing is None
    assert await store.batch_key(SERVICE_SID, key(1).digest) is None
    assert await store.batch_key(other, key(1).digest) is not None
