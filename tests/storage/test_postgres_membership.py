"""Nodes and places in PostgreSQL: who takes part, who is refused, and that of several who act only one succeeds."""

import asyncio
import os
import re
from collections.abc import Callable
from contextlib import AsyncExitStack

import psycopg
import pytest

from engine.core.model.errors import Fenced
from engine.core.model.hosts import HostState
from engine.core.ports.membership import (
    HostsDiffer,
    HostTold,
    MembershipRefused,
    NodeNameTaken,
    PlaceRow,
    Tenure,
)
from storage.postgres import writer as postgres_writer
from storage.postgres.checks import findings
from storage.postgres.joining import Joining, join_cluster
from storage.postgres.ledger import PostgresLedger
from storage.postgres.places import PlaceElsewhere, PlaceTaken, attach_place, take_place
from tests import postgres
from tests.storage.material import Observed
from tests.storage.nodes import (
    FREE,
    HELD,
    HOSTS,
    LEASE,
    TAKEN,
    assigned,
    attached,
    change,
    joined,
    place,
    serving,
    unserved,
    until_told,
)
from tests.storage.words import PLACE, Rig, said, word

pytestmark = pytest.mark.anyio

READY = HostTold(state=HostState.READY, http="http://192.0.2.1:8080", certificate="ab" * 32)


@pytest.fixture
def conninfo(words_server: postgres.Server) -> str:
    """Say how to connect to a database on which nobody has served yet."""
    return unserved(words_server)


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again soon."""
    monkeypatch.setattr(postgres_writer, "RECONNECT_SECONDS", 0.01)


# -- taking part


async def test_the_first_node_says_of_how_many_hosts_the_cluster_is(conninfo: str) -> None:
    """Their places are free and nobody's; the secret is the database's, the same for everybody."""
    async with joined(conninfo, "a") as first, joined(conninfo, "b") as second:
        of_first, of_second = await first.beat({}), await second.beat({})

    assert of_first.places == tuple(PlaceRow(place=number) for number in range(HOSTS))
    assert [(node.name, node.address) for node in of_second.nodes] == [("a", "192.0.2.1"), ("b", "192.0.2.2")]
    assert len(of_first.secret) == 32
    assert of_first.secret == of_second.secret != bytes(32)


async def test_every_beat_shows(conninfo: str) -> None:
    """Each reads how far the others have come."""

    async def beats(ledger: PostgresLedger) -> list[int]:
        return [node.beat for node in (await ledger.beat({})).nodes]

    async with joined(conninfo, "a") as first, joined(conninfo, "b") as second:
        shown = [await beats(first), await beats(second), await beats(second), await beats(first)]

    assert shown == [[1, 0], [1, 1], [1, 2], [2, 2]]


@pytest.mark.parametrize("what", ["a node", "a host"])
async def test_another_number_of_hosts_is_refused_while_anything_lives(conninfo: str, what: str) -> None:
    """Both numbers are named, and nothing is changed."""
    async with joined(conninfo, "a") as first:
        await assigned(first, "a")
        async with serving(conninfo, "a") as rig:

            def renew(_: float) -> None:
                if what == "a host":
                    rig.transaction.look(is_failed=False)
                else:
                    change(conninfo, "UPDATE nodes SET beat = beat + 1")

            await rig.stop()
            with pytest.raises(HostsDiffer, match=r"is one of 4 hosts, .* started for 6; start it with --hosts 4"):
                join(conninfo, node="b", hosts=6, sleep=renew)
            rows = await first.beat({})

    assert (len(rows.places), [node.name for node in rows.nodes]) == (HOSTS, ["a"])
    assert said(conninfo) == {"first of a"}


@pytest.mark.parametrize("hosts", [2, 6])
async def test_at_a_full_stop_the_number_of_hosts_is_another_one(conninfo: str, hosts: int) -> None:
    """What was lost is fenced, should it come back; no epoch is ever used twice."""
    async with joined(conninfo, "a") as lost:
        before = await assigned(lost, "a")
        rig = attached(conninfo, "a")
        await rig.write(word("before"))
        await rig.stop()

        async with joined(conninfo, "b", hosts=hosts) as second:
            rows = await second.beat({})
            with pytest.raises(HostsDiffer, match=f"of a cluster of {hosts} hosts now, .* was started for 4"):
                await lost.beat({})
            with pytest.raises(Fenced):
                rig.transaction.look(is_failed=False)

    assert [(row.place, row.node, row.state) for row in rows.places] == [(one, None, FREE) for one in range(hosts)]
    assert [node.name for node in rows.nodes] == ["b"]
    assert change(conninfo, "SELECT epoch FROM hosts WHERE place = %s", PLACE) == [(before.epoch + 2,)]
    assert rig.has_ended.is_set()
    await rig.close()


async def test_a_node_that_is_started_anew_takes_its_own_row_at_once(conninfo: str) -> None:
    """What it had is still its own; the process before it learns that it is not the node any more."""
    async with joined(conninfo, "a") as first:
        await assigned(first, "a")
        change(conninfo, "UPDATE nodes SET beat = 9")

        async with joined(conninfo, "a") as second:
            rows = await second.beat({})
            with pytest.raises(NodeNameTaken, match=r"Another process, at 192.0.2.1, .* as a now"):
                await first.beat({})

    assert (rows.places[PLACE].node, rows.nodes[0].beat) == ("a", 1)


async def test_another_machine_of_the_same_name_is_refused_while_the_first_lives(conninfo: str) -> None:
    """Its places would be started twice; once it is silent, the other is it."""
    async with joined(conninfo, "a", machine="one"):
        with pytest.raises(NodeNameTaken, match=r"Another machine, at 192.0.2.1, .* give this one another node_name"):
            join(conninfo, node="a", sleep=lambda _: change(conninfo, "UPDATE nodes SET beat = beat + 1"))

    async with joined(conninfo, "a", machine="other") as second:
        assert len((await second.beat({})).nodes) == 1


async def test_nodes_that_start_at_once_agree_on_one_number(conninfo: str) -> None:
    """The other number is refused."""

    async def begin(node: str, hosts: int, stack: AsyncExitStack) -> str:
        try:
            ledger = await stack.enter_async_context(joined(conninfo, node, hosts=hosts))
        except HostsDiffer:
            return "refused"
        while True:
            try:
                await ledger.beat({})
            except HostsDiffer:  # the other one began before this one showed any life
                return "refused"
            if over.is_set():
                return node
            await asyncio.sleep(0.05)

    over = asyncio.Event()
    async with AsyncExitStack() as stack:
        ends = asyncio.gather(begin("a", 4, stack), begin("b", 6, stack))
        asyncio.get_running_loop().call_later(4 * LEASE, over.set)
        outcomes = await ends

    assert sorted(outcomes)[1] == "refused"
    assert outcomes.count("refused") == 1


async def test_a_node_that_leaves_is_gone_with_what_it_had(conninfo: str) -> None:
    """What its host has given back is free, what it has not stays as it was."""
    async with joined(conninfo, "a") as first, joined(conninfo, "b") as second:
        before = await assigned(first, "a")
        rig = attached(conninfo, "a")
        await rig.write(word("here"))
        await rig.close()
        await first.give_back(PLACE)
        given = await place(second)
        await second.give_back(PLACE)  # which is not its own
        assert await first.assign(0, epoch=0, node="a", state=FREE)
        await first.leave()
        rows = await second.beat({})
        with pytest.raises(MembershipRefused, match="forgotten it; start it anew"):
            await first.beat({})

    assert (given.node, given.state, given.epoch) == (None, FREE, before.epoch + 1)
    assert [node.name for node in rows.nodes] == ["b"]
    assert {row.node for row in rows.places} == {None}


# -- beside a server that is alone


async def test_a_server_alone_is_refused_while_a_cluster_lives(conninfo: str) -> None:
    """Its nodes are named; afterwards the server is the only one, and a node that wakes up is out."""
    with psycopg.connect(conninfo, autocommit=True) as connection:
        async with joined(conninfo, "a") as first:
            await assigned(first, "a")
            with pytest.raises(PlaceTaken, match=r"A cluster of 4 hosts serves on this database; stop .* on a first"):
                take_place(
                    connection,
                    0,
                    node="there",
                    lease_seconds=LEASE,
                    sleep=lambda _: change(conninfo, "UPDATE nodes SET beat = beat + 1"),
                )

            take_place(connection, 0, node="there", lease_seconds=LEASE)

            with pytest.raises(HostsDiffer, match="of a cluster of 1 hosts now"):
                await first.beat({})
    assert change(conninfo, "SELECT hosts FROM cluster") == [(1,)]
    assert change(conninfo, "SELECT place, node FROM hosts WHERE node IS NOT NULL") == [(0, "there")]
    assert change(conninfo, "SELECT FROM nodes") == []


@pytest.mark.parametrize("hosts", [1, 4])
async def test_a_cluster_is_refused_while_a_server_that_is_alone_lives(conninfo: str, hosts: int) -> None:
    """When it has stopped in order the cluster begins at once."""
    rig = Rig(conninfo, Observed())
    await rig.write(word("alone"))
    await rig.stop()

    with pytest.raises(PlaceTaken, match="A server that is alone, on here, serves on this database; stop that one"):
        join(conninfo, hosts=hosts, sleep=lambda _: rig.transaction.look(is_failed=False))
    rig.transaction.close()

    join(conninfo, hosts=hosts, sleep=_never)


def join(conninfo: str, *, hosts: int = HOSTS, node: str = "b", sleep: Callable[[float], object]) -> None:
    """Have another machine take part, or try to."""
    joining = Joining(node=node, address="192.0.2.9", machine="another", joined=os.urandom(16), hosts=hosts)
    with psycopg.connect(conninfo, autocommit=True) as connection:
        join_cluster(connection, joining, lease_seconds=4, sleep=sleep)


def _never(_: float) -> None:
    raise AssertionError


# -- assigning


async def test_of_two_who_assign_a_place_one_succeeds(conninfo: str) -> None:
    """Whoever it is, the row says so, and its epoch has grown by one."""
    async with joined(conninfo, "a") as first, joined(conninfo, "b") as second:
        for epoch in range(20):
            won = await asyncio.gather(
                first.assign(PLACE, epoch=epoch, node="a", state=TAKEN),
                second.assign(PLACE, epoch=epoch, node="b", state=TAKEN),
            )
            row = await place(first)

            assert sorted(won) == [False, True]
            assert (row.epoch, row.node, row.state) == (epoch + 1, "a" if won[0] else "b", TAKEN)


async def test_what_is_drained_or_not_free_any_more_is_not_assigned_as_if_it_were(conninfo: str) -> None:
    """Whoever decided has read that before."""
    async with joined(conninfo) as ledger:
        await ledger.set_drained(PLACE, is_drained=True)
        drained = await ledger.assign(PLACE, epoch=0, node="a", state=FREE)
        await ledger.set_drained(PLACE, is_drained=False)
        await assigned(ledger, "a")
        async with serving(conninfo, "a"):
            held = await place(ledger)
            as_free = await ledger.assign(PLACE, epoch=held.epoch, node="b", state=FREE)
        back = await place(ledger)

    assert (drained, as_free) == (False, False)
    assert (held.state, held.node, back.state) == (HELD, "a", FREE)


@pytest.mark.parametrize("stops", [True, False])
async def test_a_place_that_moves_is_the_other_nodes_when_it_is_given_back(
    conninfo: str,
    stops: bool,  # noqa: FBT001 - a column
) -> None:
    """Free where its host has stopped; one that was killed is fenced, should it live, and its lease waited for."""
    async with joined(conninfo, "a") as first, joined(conninfo, "b") as second:
        await assigned(first, "a")
        old = attached(conninfo, "a")
        await old.write(word("of the old one"))
        assert await second.move(PLACE, "a", "b")
        moving = await place(second)
        if stops:
            await old.close()
        await first.give_back(PLACE)
        moved = await place(second)
        if not stops:
            with pytest.raises(Fenced):
                old.transaction.look(is_failed=False)
            await old.close()

    assert (moving.node, moving.moves_to, moving.epoch) == ("a", "b", moved.epoch - 1)
    assert (moved.node, moved.moves_to, moved.state) == ("b", None, FREE if stops else TAKEN)


async def test_a_place_moves_from_the_node_that_has_it_and_only_until_it_is_to_stay(conninfo: str) -> None:
    """Who drains it, or takes it for lost, has not heard of the move."""
    async with joined(conninfo, "a") as ledger:
        await assigned(ledger, "a")
        from_another = await ledger.move(PLACE, "b", "c")
        assert await ledger.move(PLACE, "a", "b")
        await ledger.stay(PLACE, "c")
        still = await place(ledger)
        await ledger.stay(PLACE, "b")
        stays = await place(ledger)
        assert await ledger.move(PLACE, "a", "b")
        await ledger.set_drained(PLACE, is_drained=True)
        drained = await place(ledger)
        of_drained = await ledger.move(PLACE, "a", "b")
        await ledger.set_drained(PLACE, is_drained=False)
        assert await ledger.move(PLACE, "a", "b")
        taken = await assigned(ledger, "c", TAKEN)

    assert (from_another, of_drained) == (False, False)
    assert [row.moves_to for row in (still, stays, drained, taken)] == ["b", None, None, None]


async def test_a_place_that_is_taken_still_shows_its_owners_last_commit(conninfo: str) -> None:
    """Whoever has seen that before knows that the lease was not renewed since."""
    async with joined(conninfo, "a") as ledger:
        await assigned(ledger, "a")
        async with serving(conninfo, "a"):
            held = await place(ledger)
            taken = await assigned(ledger, "b", TAKEN)
        async with serving(conninfo, "b"):
            other = await place(ledger)

    assert (held.attached, held.group_no) == (taken.attached, taken.group_no)
    assert held.attached == other.attached == 1
    assert (other.group_no, other.epoch) == (held.group_no + 1, taken.epoch + 1)


async def test_what_a_node_tells_of_its_hosts_is_known_to_all_until_they_are_elsewhere(conninfo: str) -> None:
    """With a newer version of the map, each time; of what is another one's it tells nothing."""
    async with joined(conninfo, "a") as first, joined(conninfo, "b") as second:
        await assigned(first, "a")
        before = await second.beat({PLACE: HostTold(state=HostState.FAILED)})
        await first.beat({PLACE: READY})
        await until_told(second, READY)
        told = await second.beat({})
        await first.beat({PLACE: READY})  # which is known
        again = await second.beat({})
        await assigned(first, "b", TAKEN)
        after = await second.beat({})

    assert before.places[PLACE].told is None
    assert before.version < told.version == again.version < after.version
    assert after.places[PLACE].told is None


async def test_what_a_newer_version_tells_is_not_understood_and_does_no_harm(conninfo: str) -> None:
    """Nodes are replaced one after another."""
    async with joined(conninfo) as ledger:
        change(conninfo, """UPDATE hosts SET addresses = '{"state": "elated", "http": "http://192.0.2.1"}'""")

        assert (await place(ledger)).told == HostTold(state=HostState.UNKNOWN)


# -- what becomes of an owner


async def test_a_host_attaches_to_what_is_assigned_to_its_node_only(conninfo: str) -> None:
    """Each process of it has an epoch of its own."""
    async with joined(conninfo) as ledger:
        with psycopg.connect(conninfo, autocommit=True) as connection:
            with pytest.raises(PlaceElsewhere, match="Place 3 is assigned to nobody, not to a"):
                attach_place(connection, PLACE, node="a")
            row = await assigned(ledger, "a")
            epochs = [attach_place(connection, PLACE, node="a").epoch for _ in range(2)]
            with pytest.raises(PlaceElsewhere, match="Place 3 is assigned to a, not to b"):
                attach_place(connection, PLACE, node="b")

    assert epochs == [row.epoch + 1, row.epoch + 2]


async def test_a_host_knows_when_it_may_answer_though_its_place_was_away_meanwhile(conninfo: str) -> None:
    """What its node knew at the launch tells nothing of an owner since, who may answer yet."""
    async with joined(conninfo) as ledger:
        row = await assigned(ledger, "a", TAKEN)
        launched = Tenure(row.epoch, 7.0)
        with psycopg.connect(conninfo, autocommit=True) as connection:

            def attach() -> float:
                return attach_place(
                    connection, PLACE, node="a", tenure=launched, lease_seconds=4.0, steady=lambda: 100.0
                ).not_before

            first, restarted = attach(), attach()
            change(conninfo, "UPDATE hosts SET state = 1 WHERE place = %s", PLACE)
            held = attach()
            await assigned(ledger, "b", TAKEN)
            await assigned(ledger, "a", TAKEN)
            back = attach()

    assert (first, restarted, held, back) == (7.0, 104.0, 7.0, 104.0)


async def test_a_place_stays_taken_until_its_host_may_answer(conninfo: str) -> None:
    """So whoever comes meanwhile waits as well, also after a stop in order."""
    now, states = [100.0], []

    async def states_of_one(*times: float) -> None:
        """Start a host, write at these times, and stop it in order; note what its place is seen to be."""
        with psycopg.connect(conninfo, autocommit=True) as connection:
            epoch = attach_place(connection, PLACE, node="a").epoch
        rig = Rig(conninfo, Observed(), epoch=epoch, not_before=104.0, steady=lambda: now[0])
        for now[0] in times:
            assert await rig.write(word(f"{epoch} {now[0]}")) == [None]
            await rig.stop()  # waits for what follows a group
            states.append((await place(ledger)).state)
        await rig.close()
        states.append((await place(ledger)).state)

    async with joined(conninfo) as ledger:
        await assigned(ledger, "a", TAKEN)
        await states_of_one(100.0)
        await states_of_one(103.9)
        await states_of_one(104.0)

    assert states == [TAKEN, TAKEN, TAKEN, TAKEN, HELD, FREE]


async def test_an_owner_whose_place_was_taken_commits_nothing_more(conninfo: str) -> None:
    """Its connection was ended with its place: it learns it when it connects anew."""
    async with joined(conninfo, "a") as first:
        await assigned(first, "a")
        old = attached(conninfo, "a")
        await old.write(word("of the old one"))

        await assigned(first, "b", TAKEN)
        async with serving(conninfo, "b") as new:
            old.writer.put(word("too late"), lambda _: None)

            assert await asyncio.to_thread(old.has_ended.wait, 10)
            assert await new.write(word("of the new one")) == [None]
        await old.close()

    assert said(conninfo) == {"of the old one", "first of b", "of the new one"}


async def test_an_owner_that_kept_its_connection_is_refused_at_its_next_commit(conninfo: str) -> None:
    """As one on a primary that cannot be told to end it."""
    async with joined(conninfo, "a") as first:
        await assigned(first, "a")
        old = attached(conninfo, "a")
        await old.write(word("of the old one"))
        change(conninfo, "UPDATE hosts SET backend = NULL WHERE place = %s", PLACE)

        await assigned(first, "b", TAKEN)
        old.writer.put(word("too late"), lambda _: None)

        assert await asyncio.to_thread(old.has_ended.wait, 10)
        await old.close()

    assert said(conninfo) == {"of the old one"}


async def test_what_a_stopped_owner_keeps_locked_holds_nobody_up(conninfo: str) -> None:
    """It stands still inside of a transaction that has the row of its place."""
    async with joined(conninfo, "a") as first:
        row = await assigned(first, "a")
        with psycopg.connect(conninfo) as stopped:
            backend = stopped.info.backend_pid
            stopped.execute("UPDATE hosts SET backend = %s WHERE place = %s", (backend, PLACE))
            stopped.commit()
            stopped.execute("SELECT fence(%s, %s, 0, 1)", (PLACE, row.epoch))

            assert await first.assign(PLACE, epoch=row.epoch, node="b", state=TAKEN)
            with pytest.raises(psycopg.OperationalError):
                stopped.commit()


async def test_the_connection_of_another_place_is_not_ended(conninfo: str) -> None:
    """Numbers of connections come again, on another primary too: the row of a lost host may have one that is in use."""
    async with joined(conninfo, "a") as first:
        await assigned(first, "a")
        async with serving(conninfo, "a") as rig:
            change(
                conninfo,
                "UPDATE hosts SET backend = (SELECT backend FROM hosts WHERE place = %s) WHERE place = 0",
                PLACE,
            )

            assert await first.assign(0, epoch=0, node="b", state=TAKEN)
            assert await rig.write(word("second")) == [None]

    assert rig.transaction.unknown_outcomes == 0
    assert rig.fenced == []


async def test_a_host_that_ends_without_a_word_leaves_its_place_held(conninfo: str) -> None:
    """Only what was given back may be served before the lease is over."""
    async with joined(conninfo) as ledger:
        await assigned(ledger, "a")
        async with serving(conninfo, "a") as rig:
            await rig.stop()
            change(conninfo, "SELECT pg_terminate_backend(backend) FROM hosts WHERE backend IS NOT NULL")
            held = await place(ledger)

    assert held.state is HELD


# -- what an operator sees


async def test_a_check_tells_who_has_what_and_what_is_silent(conninfo: str) -> None:
    """A line for each node and each place."""
    async with joined(conninfo, "a") as first, joined(conninfo, "lost"):
        await assigned(first, "a")
        await first.set_drained(1, is_drained=True)
        assert await first.assign(0, epoch=0, node="lost", state=TAKEN)
        async with serving(conninfo, "a") as rig:

            def live(_: float) -> None:
                change(conninfo, "UPDATE nodes SET beat = beat + 1 WHERE name = 'a'")
                change(conninfo, "UPDATE hosts SET group_no = group_no + 1 WHERE place = %s", PLACE)

            told = seen(conninfo, live)
            await rig.stop()
            silent = seen(conninfo, lambda _: None)

    assert told["node a"].startswith("ok lives; takes part since 20")
    assert told["node lost"].startswith("LACKS silent: it is lost, or cut off from the database; takes part since")
    assert told["host-0"].startswith("LACKS on lost, taken from its owner, not served yet, since 20")
    assert re.fullmatch(r"ok on no node, free, since .* UTC, drained", told["host-1"])
    assert re.fullmatch(r"ok on no node, free, since .* UTC", told["host-2"])
    assert re.fullmatch(r"ok on a, serves, since 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d UTC", told["host-3"])
    assert silent["host-3"].startswith("LACKS on a, silent, since")


async def test_a_check_tells_what_a_host_says_that_it_lacks(conninfo: str) -> None:
    """In its own words."""
    async with joined(conninfo, "a") as first:
        await assigned(first, "a")
        failed = HostTold(state=HostState.FAILED, problem="port 8080 is taken")
        await first.beat({PLACE: failed})
        await until_told(first, failed)

        told = seen(conninfo, lambda _: None)

    assert told["host-3"].startswith("LACKS on a, free, since")
    assert told["host-3"].endswith("UTC; port 8080 is taken")


def seen(conninfo: str, sleep: Callable[[float], object]) -> dict[str, str]:
    """Say what a check finds, by what it is about."""
    with psycopg.connect(conninfo) as connection:
        found = findings(connection, replicas=0, sleep=sleep)
        return {one.subject: f"{'ok' if one.is_well else 'LACKS'} {one.text}" for one in found}
