"""Notes of channels: durable, by channel and key, until their time; visible once they are committed."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from actors.control.notes import NOTES_ERASED_AT_ONCE, erase_expired_notes
from actors.kernel.context import HostContext
from actors.kernel.settings import HostSettings
from engine.channels.notes import StoredNotes
from engine.core.model.changes import AccountErased, NoteDropped, NoteKept, NotesErased
from engine.core.model.errors import StoreUnavailable
from engine.core.model.sids import SidKind
from engine.core.ports.notes import Notes
from storage.sqlite import SqliteStore
from tests.storage.killed_writer import acknowledged_before_kill, numbers_by_kind
from tests.storage.material import ACCOUNT_SID, START, Observed, new_sid
from tests.storage.note_writer import CHANNEL, DROPPED_EVERY, key, value
from tests.storage.stores import AnyStore

pytestmark = pytest.mark.anyio


class Now:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.time = START

    def __call__(self) -> float:
        """Tell the time."""
        return self.time


def notes_of(store: AnyStore, now: Now, channel: str = CHANNEL) -> Notes:
    return StoredNotes(store, channel=channel, clock=now)


async def kept(notes: Notes, number: int, *, until: float = START + 60, what: bytes = b"") -> None:
    """Keep a note and wait for its commit."""
    committed: asyncio.Future[StoreUnavailable | None] = asyncio.get_running_loop().create_future()
    notes.put(key(number), what or value(number), until, committed.set_result)
    assert await committed is None


async def test_a_note_shows_from_its_commit_on(store: AnyStore) -> None:
    """Not before: what is not on disk yet may never be."""
    notes = notes_of(store, Now())
    committed: asyncio.Future[StoreUnavailable | None] = asyncio.get_running_loop().create_future()

    notes.put(key(1), b"a", START + 60, committed.set_result)
    before = await notes.get(key(1)) if isinstance(store, SqliteStore) else None  # elsewhere it lands meanwhile

    assert await committed is None
    assert (before, await notes.get(key(1))) == (None, b"a")


async def test_notes_are_found_by_how_their_keys_begin_the_last_first(store: AnyStore) -> None:
    """Those of this channel, that have not expired, and no more than are asked for."""
    now = Now()
    notes, others = notes_of(store, now), notes_of(store, now, "other")
    landed = asyncio.get_running_loop().create_future()
    for name in (b"a/1", b"a/2", b"a/\xff\xff", b"b/1"):
        notes.put(name, name, START + 60, lambda _: None)
    notes.put(b"a/3", b"", START - 1, lambda _: None)
    others.put(b"a/9", b"", START + 60, landed.set_result)
    await landed

    assert (await notes.latest(b"a/", 3))[1:] == [(b"a/2", b"a/2")]
    assert [found for found, _ in (await notes.latest(b"a/", 9))] == [b"a/\xff\xff", b"a/2", b"a/1"]


async def test_a_note_is_one_channels_and_the_last_one_stands(store: AnyStore) -> None:
    """Another channel's key is another key."""
    now = Now()
    notes, others = notes_of(store, now), notes_of(store, now, "other")

    await kept(notes, 1, what=b"a")
    await kept(notes, 1, what=b"b")

    assert (await notes.get(key(1)), await others.get(key(1)), await notes.get(key(2))) == (b"b", None, None)


async def test_a_note_expires(store: AnyStore) -> None:
    """Whether or not it has been erased; kept once more it lives on."""
    now = Now()
    notes = notes_of(store, now)
    await kept(notes, 1, until=START + 60)

    now.time = START + 59
    before = await notes.get(key(1))
    now.time = START + 60
    after = await notes.get(key(1))
    await kept(notes, 1, until=START + 120)

    assert (before, after, await notes.get(key(1))) == (value(1), None, value(1))


async def test_within_a_group_the_last_word_on_a_key_counts(store: AnyStore) -> None:
    """However kept and dropped follow one another; dropping what is not there is no error."""
    keep = NoteKept(CHANNEL, key(1), b"a", START + 60)
    keep_again = NoteKept(CHANNEL, key(2), b"b", START + 60)

    await store.write([keep, NoteDropped(CHANNEL, key(1)), NoteDropped(CHANNEL, key(2)), keep_again])
    await store.write([NoteDropped(CHANNEL, key(3))])

    assert await store.note(CHANNEL, key(1)) is None
    assert (found := await store.note(CHANNEL, key(2))) is not None
    assert found.value == b"b"


async def test_a_dropped_note_is_gone(store: AnyStore) -> None:
    """Once that is committed."""
    notes = notes_of(store, Now())
    await kept(notes, 1)
    committed: asyncio.Future[StoreUnavailable | None] = asyncio.get_running_loop().create_future()

    notes.drop(key(1), committed.set_result)

    assert await committed is None
    assert await notes.get(key(1)) is None


async def test_expired_notes_are_erased_the_oldest_first(store: AnyStore) -> None:
    """At most as many as were asked for, and none that has not expired."""
    await store.write([NoteKept(CHANNEL, key(number), b"", START + number) for number in range(4)])

    await store.write([NotesErased(START + 2, 2)])
    oldest = await store.oldest_note()
    await store.write([NotesErased(START + 2, 2)])

    assert oldest == START + 2
    assert [await store.note(CHANNEL, key(number)) is None for number in range(4)] == [True, True, True, False]
    assert await store.oldest_note() == START + 3


async def test_a_host_erases_all_that_has_expired(store: AnyStore, observer: Observed) -> None:
    """However many, a part at a time."""
    many = NOTES_ERASED_AT_ONCE + 5
    context = HostContext(store, Now(), new_sid, lambda _: 0, observer, HostSettings())
    await store.write([NoteKept(CHANNEL, key(number), b"", START - 1) for number in range(many)])
    await store.write([NoteKept(CHANNEL, b"later", b"", START + 1)])

    await erase_expired_notes(context)

    assert await store.oldest_note() == START + 1


async def test_notes_go_with_their_account(store: AnyStore) -> None:
    """Those of others, and of nobody, stay."""
    other = new_sid(SidKind.ACCOUNT)
    notes = [(1, ACCOUNT_SID), (2, other), (3, None)]
    await store.write([NoteKept(CHANNEL, key(number), b"", START + 60, owner) for number, owner in notes])

    await store.write([AccountErased(ACCOUNT_SID)])

    assert [await store.note(CHANNEL, key(number)) is None for number, _ in notes] == [True, False, False]


async def test_the_last_owner_of_a_note_is_whose_it_is(store: AnyStore) -> None:
    """Whether the one before is written with it or long since."""
    owners = [(1, ACCOUNT_SID, None), (2, None, ACCOUNT_SID)]
    first = [NoteKept(CHANNEL, key(number), b"", START + 60, owner) for number, owner, _ in owners]
    last = [NoteKept(CHANNEL, key(number), b"", START + 60, owner) for number, _, owner in owners]
    again = [msgspec.structs.replace(one, key=b"again" + one.key) for one in (*first, *last)]

    await store.write(first)
    await store.write([*last, *again])
    await store.write([AccountErased(ACCOUNT_SID)])

    kept = [await store.note(CHANNEL, one.key) is not None for one in (*last, *again[:2])]
    assert kept == [True, False, True, False]


async def test_notes_survive_a_kill(tmp_path: Path) -> None:
    """What was acknowledged is there after kill -9, and what was dropped stays away."""
    lines = await acknowledged_before_kill("note_writer", tmp_path, enough=300)
    acknowledged = numbers_by_kind(lines, "kept", "dropped")

    store = SqliteStore.open(tmp_path, observer=Observed())
    notes = notes_of(store, Now())
    found = {number: await notes.get(key(number)) for number in acknowledged["kept"]}
    await store.close()

    lost = {number for number, what in found.items() if what is None and number % DROPPED_EVERY}
    wrong = {number for number, what in found.items() if what not in {None, value(number)}}
    assert (lost, wrong) == (set(), set())
    assert all(found.get(number) is None for number in acknowledged["dropped"])
