"""Which messages of a peer may come a second time: what is kept of those that came, and what a start makes of it."""

import msgspec
import pytest

from engine.channels.smpp.arrivals import Arrival
from engine.channels.smpp.kept_rows import row_decoder
from engine.channels.smpp.redeliveries import Redeliveries
from engine.core.model.errors import StoreUnavailable
from tests.channels.offered import MemoryNotes

pytestmark = pytest.mark.anyio

NOW = 1_750_000_000.0


def arrival(number: int, *, at: float = NOW) -> Arrival:
    return Arrival(number.to_bytes(16), f"smpp-{number:032x}", at)


def ignore(problem: StoreUnavailable | None) -> None:
    """Leave it."""


async def known(notes: MemoryNotes, *numbers: int) -> list[str | None]:
    """Return what messages with these contents are, to who starts on these notes."""
    redeliveries = Redeliveries(notes, "carrier")
    await redeliveries.load(NOW + 1)
    found = [redeliveries.find(number.to_bytes(16), NOW + 1) for number in numbers]
    return [None if one is None else one.sid for one in found]


async def test_what_came_at_once_is_kept_together_and_known_after_a_start() -> None:
    """Each message by itself, however many there were; another one is not."""
    notes = MemoryNotes()
    came = [arrival(number, at=NOW + number / 1000) for number in range(100)]

    Redeliveries(notes, "carrier").came(came)

    assert len(await notes.latest(b"", 1000)) == 4
    assert await known(notes, *range(101)) == [*(one.sid for one in came), None]


async def test_what_came_long_before_the_last_one_comes_no_more() -> None:
    """Its answer has arrived."""
    notes = MemoryNotes()
    redeliveries = Redeliveries(notes, "carrier")

    for number, at in ((1, NOW - 60), (2, NOW - 20), (3, NOW)):
        redeliveries.came([arrival(number, at=at)])

    assert await known(notes, 1, 2, 3) == [None, arrival(2).sid, arrival(3).sid]


async def test_what_the_version_before_kept_is_known() -> None:
    """A note for each message, under another name; beside those of this version."""
    notes = MemoryNotes()
    one = arrival(1, at=NOW - 5)
    key = b"arrival/carrier/" + int(one.at * 1000).to_bytes(8) + one.sid.encode()
    notes.put(key, msgspec.msgpack.encode(one), NOW + 900, ignore)
    alone = await known(notes, 1)

    Redeliveries(notes, "carrier").came([arrival(2)])

    assert (alone, await known(notes, 1, 2)) == ([one.sid], [one.sid, arrival(2).sid])


async def test_what_was_kept_by_name_is_known() -> None:
    """So compiled versions before this one wrote it."""
    notes = MemoryNotes()
    alone, *together = (arrival(number) for number in (1, 2, 3))
    notes.put(b"suspect/carrier/1", msgspec.msgpack.encode(msgspec.structs.asdict(alone)), NOW + 900, ignore)
    rows = msgspec.msgpack.encode([msgspec.structs.asdict(one) for one in together])
    notes.put(b"arrivals/carrier/2", rows, NOW + 900, ignore)

    assert await known(notes, 1, 2, 3) == [one.sid for one in (alone, *together)]


@pytest.mark.parametrize("row", [{}, {"digest": b"", "sid": 1, "at": 2.0}, [b"", "sid"], "sid"])
def test_what_is_no_row_is_refused(row: object) -> None:
    """However it was written."""
    with pytest.raises(msgspec.ValidationError):
        row_decoder(Arrival)(msgspec.msgpack.encode(row))
