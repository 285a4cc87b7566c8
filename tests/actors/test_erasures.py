"""What a deletion owes other hosts, on a real store: through failures, the end of a process and a move to one host."""

from pathlib import Path

import msgspec
import pytest

from actors.control.erasures import Erasures
from actors.kernel.gathering import reason_of
from engine.core.model.changes import ErasurePlanned, InteractionRecorded
from engine.core.model.errors import PeerUnavailable
from engine.core.model.placement import Placement
from storage.sqlite import SqliteStore, claim, host_dir
from storage.sqlite.rebalance import rebalance
from tests.storage.material import Observed, interaction, interactions_since, session

pytestmark = pytest.mark.anyio


class Others:
    """Hosts that erase, or are away."""

    def __init__(self) -> None:
        """All are there."""
        self.away: set[int] = set()
        self.erased: list[tuple[int, tuple[str, ...]]] = []

    async def erase(self, host: int, session_sids: tuple[str, ...]) -> None:
        """Erase, or be away."""
        if host in self.away:
            raise PeerUnavailable("away")
        self.erased.append((host, session_sids))


def erasures(store: SqliteStore, others: Others) -> Erasures:
    return Erasures(store, {1: lambda sids: others.erase(1, sids), 2: lambda sids: others.erase(2, sids)})


def opened(directory: Path) -> SqliteStore:
    return SqliteStore.open(directory, synchronous="NORMAL", observer=Observed())


async def test_a_debt_is_struck_out_when_the_last_host_has_paid(tmp_path: Path) -> None:
    """Not before: after a restart both are asked again, which does no harm."""
    others, gone = Others(), session()
    store = opened(tmp_path)
    owed = erasures(store, others)
    await store.write(owed.planned(gone.sid, await owed.concerned(gone.sid)))
    others.away = {2}

    await owed.erase(gone.sid, (1, 2))
    await store.write(())
    half_paid = await store.planned_erasures()
    await store.close()
    store = opened(tmp_path)
    others.away = set()
    await erasures(store, others).pay()
    await store.write(())

    assert half_paid == (gone.sid,)
    assert others.erased == [(1, (gone.sid,)), (1, (gone.sid,)), (2, (gone.sid,))]
    assert await store.planned_erasures() == ()
    await store.close()


async def test_who_is_alone_owes_nothing(tmp_path: Path) -> None:
    """No row is written for nobody."""
    store = opened(tmp_path)

    assert await Erasures(store, {}).concerned(session().sid) == ()
    assert Erasures(store, {}).planned(session().sid, ()) == ()
    await store.close()


async def test_a_debt_moves_with_the_data_and_is_paid_by_whoever_has_them(tmp_path: Path) -> None:
    """Three hosts become one: what the others had not erased is in its own file now."""
    gone, kept = session(), session()
    claim(tmp_path, 3)
    for place in range(3):
        store = opened(host_dir(tmp_path, place, 3))
        passed = [msgspec.structs.replace(interaction(one), proxy=proxy_on(place)) for one in (gone, kept)]
        await store.write([InteractionRecorded(one, is_elsewhere=True) for one in passed])
        if place == 0:
            await store.write([ErasurePlanned(gone.sid)])
        await store.close()

    rebalance(tmp_path, 1, lambda *_: None)
    store = opened(tmp_path)
    await Erasures(store, {}).pay()
    await store.write(())

    assert [one.session_sid for one in interactions_since(store, 0.0)] == [kept.sid] * 3
    assert await store.planned_erasures() == ()
    await store.close()


def proxy_on(place: int) -> str:
    """Return a number that a host of three owns."""
    placement = Placement(3)
    return next(one for one in (f"+1415555{n:04d}" for n in range(100)) if placement(one) == place)


def test_a_host_that_gave_no_answer_is_logged_with_a_reason() -> None:
    """Python's own time-out has no words."""
    assert reason_of(TimeoutError()) == "no answer in time"
    assert reason_of(PeerUnavailable("host-1 is down")) == "host-1 is down"
    assert reason_of(ConnectionError()) == "ConnectionError"
