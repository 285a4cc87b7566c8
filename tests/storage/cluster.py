"""Clusters as their hosts leave them on disk: records written to the file of their owner, and read back from all."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import msgspec

from engine.core.model.changes import (
    AccountSaved,
    AlertRaised,
    BatchKeyUsed,
    Change,
    EntryAdded,
    InteractionRecorded,
    NoteKept,
    NumberSaved,
    RegistryAdvanced,
    ServiceSaved,
    SessionCreated,
)
from engine.core.model.outbox import OutboxAlert, OutboxCallback, OutboxEntry, OutboxHangUp, OutboxMessage
from engine.core.model.placement import owner_of
from engine.core.model.records import DebuggerEvent, Interaction, Kind, Participant, Session, SessionStatus
from engine.core.model.sids import SidKind, ordered_sid, pack, unpack
from engine.core.ports.lists import AlertFilter, OutboxFilter, PageCursor
from engine.core.ports.store import Registry
from engine.core.sessions.batch import ItemKey
from storage.sqlite import SqliteStore, claim, host_dir
from tests.storage.material import (
    ACCOUNT_SID,
    START,
    Observed,
    account,
    alert,
    interaction,
    interactions_since,
    new_sid,
    number,
    outbox_entry,
    participant,
    service,
    session,
)
from tests.storage.stores import with_tables

SERVICES = tuple(ordered_sid(SidKind.SERVICE, milliseconds=n, counter=0, random_bits=n) for n in range(1, 6))
PROXIES = ("+15105550001", "+15105550002", "+15105550003", "+525510000001", "51055")


class World(msgspec.Struct):
    """All records of a cluster, whoever owns them; each list in the order of its SIDs."""

    registry: Registry
    sessions: list[tuple[Session, tuple[Participant, ...]]]
    interactions: list[Interaction]
    entries: list[OutboxEntry]
    alerts: list[DebuggerEvent]
    keys: list[BatchKeyUsed]
    notes: list[NoteKept]
    activated: list[str] = []
    """SIDs of the active sessions in the order of activation."""


class Held(msgspec.Struct):
    """What one host's file holds."""

    version: int
    world: World


def owner_of_entry(entry: OutboxEntry, hosts: int) -> int:
    """Return where an entry belongs, as the documents say it."""
    match entry.content:
        case OutboxCallback(interaction=about):
            return owner_of(about.proxy, hosts)
        case OutboxMessage(sender=sender):
            return owner_of(sender, hosts)
        case OutboxHangUp():
            return owner_of(entry.service_sid or entry.account_sid, hosts)
        case _:
            return owner_of(entry.account_sid, hosts)


def shares(world: World, hosts: int) -> list[list[Change]]:
    """Return what each host commits in a cluster of so many; alerts lie wherever they were raised."""
    registry, shared = world.registry, list[Change]()
    shared += [AccountSaved(one) for one in registry.accounts]
    shared += [ServiceSaved(one) for one in registry.services]
    shared += [NumberSaved(one) for one in registry.numbers]
    found = [[*shared, RegistryAdvanced(len(shared))] for _ in range(hosts)]
    for made, people in world.sessions:
        found[owner_of(made.service_sid, hosts)].append(SessionCreated(made, people))
    for used in world.keys:
        found[owner_of(used.service_sid, hosts)].append(used)
    for passed in world.interactions:
        place = owner_of(passed.proxy, hosts)
        is_elsewhere = owner_of(passed.service_sid, hosts) != place
        found[place].append(InteractionRecorded(passed, is_elsewhere=is_elsewhere))
    for note in world.notes:
        found[owner_of(note.channel, hosts)].append(note)
    for entry in world.entries:
        found[owner_of_entry(entry, hosts)].append(EntryAdded(entry))
    for event, raised in enumerate(world.alerts):
        found[event % hosts].append(AlertRaised(raised))
    return found


async def write_cluster(data_dir: Path, world: World, hosts: int) -> None:
    """Make the files of a cluster of so many hosts, and stop it."""
    claim(data_dir, hosts)
    for place, changes in enumerate(shares(world, hosts)):
        directory = with_tables(host_dir(data_dir, place, hosts))
        store = SqliteStore.open(directory, synchronous="NORMAL", observer=Observed())
        await store.write(changes)
        await store.close()


async def read_cluster(data_dir: Path, hosts: int) -> list[Held]:
    """Read what each host of a stopped cluster holds."""
    claim(data_dir, hosts)
    return [await _read_host(host_dir(data_dir, place, hosts)) for place in range(hosts)]


def joined(held: Sequence[Held]) -> World:
    """Put the shares of all hosts together."""
    return World(
        registry=held[0].world.registry,
        sessions=sorted((one for each in held for one in each.world.sessions), key=lambda one: one[0].sid),
        interactions=sorted((one for each in held for one in each.world.interactions), key=lambda one: one.sid),
        entries=sorted((one for each in held for one in each.world.entries), key=lambda one: one.sid),
        alerts=sorted((one for each in held for one in each.world.alerts), key=lambda one: one.sid),
        keys=sorted((one for each in held for one in each.world.keys), key=lambda one: one.session_sid),
        notes=sorted((one for each in held for one in each.world.notes), key=lambda one: one.key),
    )


def astray(held: Sequence[Held]) -> list[object]:
    """Return what does not lie with its owner."""
    hosts = len(held)
    return [
        one
        for place, each in enumerate(held)
        for one, owner in [
            *((one, owner_of(one.service_sid, hosts)) for one, _ in each.world.sessions),
            *((one, owner_of(one.service_sid, hosts)) for one in each.world.keys),
            *((one, owner_of(one.channel, hosts)) for one in each.world.notes),
            *((one, owner_of(one.proxy, hosts)) for one in each.world.interactions),
            *((one, owner_of_entry(one, hosts)) for one in each.world.entries),
            *((one, owner_of(one.account_sid, hosts)) for one in each.world.alerts),
        ]
        if owner != place
    ]


def empty_world() -> World:
    """Return a world with a registry and no traffic."""
    services = [service(sid, unique_name=f"service {place}") for place, sid in enumerate(SERVICES)]
    numbers = [number(proxy, service_sid=None) for proxy in PROXIES if proxy.startswith("+")]
    return World(Registry((account(),), (), tuple(services), tuple(numbers)), [], [], [], [], [], [])


def small_world(sessions: int = 12) -> World:
    """Return a world with some of everything, each service and proxy number in turn."""
    world = empty_world()
    for turn in range(sessions):
        proxies = [PROXIES[turn % len(PROXIES)], PROXIES[(turn + 2) % len(PROXIES)]]
        add_session(world, SERVICES[turn % len(SERVICES)], proxies, at=START + turn % 7, is_closed=turn % 5 == 4)
    return world


def add_session(world: World, service_sid: str, proxies: Sequence[str], *, at: float, is_closed: bool = False) -> None:
    """Add a session with two participants, an interaction on each proxy number, and what is owed for them."""
    status = SessionStatus.CLOSED if is_closed else SessionStatus.OPEN
    made = session(at=at, service_sid=service_sid, status=status)
    alice, bob = participant(made, at=at), participant(made, identifier="whatsapp:+15005550002", at=at)
    world.sessions.append((made, (alice, bob)))
    key = ItemKey(digest=pack(made.sid)[::-1], fingerprint=b"f" * 16)
    world.keys.append(BatchKeyUsed(service_sid, key, made.sid, at))
    owner = ACCOUNT_SID if len(world.notes) % 2 else None
    world.notes.append(NoteKept(f"peer {len(world.notes) % 5}", pack(made.sid), b"part", at + 60, owner))
    for proxy in proxies:
        passed = interaction(made, kind=Kind.MESSAGE, sender=alice, receiver=bob, at=at)
        world.interactions.append(msgspec.structs.replace(passed, proxy=proxy))
        told = OutboxCallback(url="https://app.example/callback", interaction=world.interactions[-1])
        sent = OutboxMessage(carrier="main", interaction_sid=passed.sid, sender=proxy, to=alice.identifier, body="hi")
        world.entries += [outbox_entry(made, content=told, at=at), outbox_entry(made, content=sent, at=at)]
    event = alert(at=at)
    world.alerts.append(event)
    ended = OutboxHangUp(carrier="main", call_sid=new_sid(SidKind.CALL))
    world.entries += [
        outbox_entry(made, content=ended, at=at),
        outbox_entry(made, content=OutboxAlert(url="https://debug.example/", event=event), at=at),
    ]


async def _read_host(directory: Path) -> Held:
    store = SqliteStore.open(directory, synchronous="NORMAL", observer=Observed())
    every = PageCursor(limit=10_000)
    found = await store.held_registry()
    world = World(found.registry, [], interactions_since(store, 0.0), [], [], _keys_in(directory), _notes_in(directory))
    for one in world.registry.services:
        for made in (await store.sessions_page(one.sid, every)).records:
            world.sessions.append((made, await store.participants(made.sid)))
    world.entries += (await store.outbox_page(OutboxFilter(), every)).records
    world.alerts += (await store.alerts_page(ACCOUNT_SID, AlertFilter(), every)).records
    world.activated += [made.sid for made in store.active_sessions()]
    held = Held(found.version, world)
    await store.close()
    return held


def _keys_in(directory: Path) -> list[BatchKeyUsed]:
    text = "SELECT service_sid, digest, fingerprint, session_sid, at FROM batch_keys"
    with closing(sqlite3.connect(directory / "maskline.db")) as connection:
        return [
            BatchKeyUsed(unpack(SidKind.SERVICE, service), ItemKey(*key), unpack(SidKind.SESSION, made), at)
            for service, *key, made, at in connection.execute(text)
        ]


def _notes_in(directory: Path) -> list[NoteKept]:
    text = "SELECT channel, key, value, until, account_sid FROM channel_notes"
    with closing(sqlite3.connect(directory / "maskline.db")) as connection:
        return [
            NoteKept(channel, key, value, until, None if owner is None else unpack(SidKind.ACCOUNT, owner))
            for channel, key, value, until, owner in connection.execute(text)
        ]
