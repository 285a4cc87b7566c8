"""Receipts that wait for their messages: what is looked for, and how often."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

import msgspec
import pytest

from engine.channels.smpp.receipt_index import Ambiguous, ReceiptIndex
from engine.channels.smpp.receipts import Receipt
from engine.channels.smpp.sent_ids import PartOfLeg
from engine.core.model.errors import StoreUnavailable
from engine.core.model.records import LegStatus
from engine.core.ports.notes import NoteDone, NoteLate
from tests.at_once import at_once
from tests.channels.offered import MemoryNotes

NOW = 1_000.0

Result = TypeVar("Result")


class CountedNotes(MemoryNotes):
    """Notes that count how often they are read."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = 0

    async def latest(self, prefix: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        """Read and count."""
        self.reads += 1
        return await super().latest(prefix, limit)


class Index:
    """An index, and the receipts that have found their messages."""

    def __init__(self) -> None:
        self.notes = CountedNotes()
        self.matched: list[tuple[str, str]] = []
        self.problem: StoreUnavailable | None = None
        self.index = ReceiptIndex(self.notes, "them", matched=self._take)

    async def _take(self, part: PartOfLeg, receipt: Receipt, done: NoteDone) -> None:
        self.matched.append((part.interaction_sid, receipt.message_id))
        done(self.problem)

    def came(self, message_id: str, *, at: float = NOW) -> None:
        """Take a receipt whose message is not known."""
        self.index.keep_unmatched(Receipt(message_id, LegStatus.DELIVERED), at, ignore)

    def sent(self, message_id: str, interaction_sid: str = "KI1") -> None:
        """Take that the peer has given a message its id."""
        self.index.add(PartOfLeg(message_id, interaction_sid, message_id), NOW, ignore)


def ignore(problem: StoreUnavailable | None) -> None:
    assert problem is None


def test_receipts_that_mean_nothing_are_looked_for_once() -> None:
    """However often the time is told, and however many messages are sent meanwhile."""
    world = Index()
    for number in range(500):
        world.came(f"no-{number}")

    for second in range(10, 50, 5):
        at_once(world.index.match_early(NOW + second))
        world.sent(f"message-{second}")

    assert world.notes.reads == 500
    assert world.index.unmatched == 500


def test_a_receipt_finds_the_same_number_once_no_response_can_tell_better() -> None:
    """An id in decimals, while responses are awaited, may be that of one of them."""
    world = Index()
    world.sent("0000000a")
    world.index.awaited = 1
    world.came("10")

    at_once(world.index.match_early(NOW + 5))
    before = list(world.matched)
    at_once(world.index.match_early(NOW + 10))

    assert (before, world.matched) == ([], [("KI1", "10")])
    assert world.index.unmatched == 0


def test_an_id_that_was_kept_by_name_is_found() -> None:
    """So compiled versions before this one wrote it."""
    world = Index()
    part = PartOfLeg("77", "KI1", "77", 2, 3)
    world.notes.put(b"id/them/77\0one", msgspec.msgpack.encode(msgspec.structs.asdict(part)), NOW + 900, ignore)

    assert at_once(world.index.find("77")) == part


def test_what_could_not_be_kept_is_tried_again() -> None:
    """With the next look."""
    world = Index()
    world.problem = StoreUnavailable("the disk is full")
    world.came("77")
    world.sent("77")
    world.problem = None

    at_once(world.index.match_early(NOW + 15))

    assert world.matched == [("KI1", "77")] * 2
    assert world.index.unmatched == 0


def test_a_peer_that_uses_an_id_again_means_the_later_message() -> None:
    """Two messages whose ids are only the same number are not told apart."""
    world = Index()
    world.sent("77", "KI1")
    world.index.add(PartOfLeg("77", "KI2", "77"), NOW + 1, ignore)
    world.sent("0077", "KI3")

    found = at_once(world.index.find("77"))

    assert isinstance(found, PartOfLeg)
    assert found.interaction_sid == "KI2"
    assert at_once(world.index.find("00077")) == Ambiguous()


class SlowNotes(MemoryNotes):
    """Notes that are read when the test says so, as they are then, and committed when it says so."""

    def __init__(self, *, lands_at_once: bool = False) -> None:
        super().__init__()
        self.is_read = asyncio.Event()
        self.lands_at_once = lands_at_once
        self.landing: list[Callable[[], None]] = []

    async def get(self, key: bytes) -> bytes | None:
        """Read, and hand it over later."""
        found = await super().get(key)
        await self.is_read.wait()
        return found

    async def latest(self, prefix: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        """Read, and hand it over later."""
        found = await super().latest(prefix, limit)
        await self.is_read.wait()
        return found

    def commit(self, key: bytes, change: Callable[[], None], done: NoteDone, late: NoteLate | None) -> None:
        """Keep it later."""
        commit = super().commit
        self.landing.append(lambda: commit(key, change, done, late))
        if self.lands_at_once:
            self.land()

    def land(self) -> None:
        """Commit what was put."""
        landing, self.landing = self.landing, []
        for commit in landing:
            commit()


async def taken(part: PartOfLeg, receipt: Receipt, done: NoteDone) -> None:
    """Take whatever finds its message."""
    del part, receipt
    done(None)


async def after_turns(work: "asyncio.Task[Result]", turn: Callable[[], None], notes: SlowNotes) -> Result:
    """Let work begin to read, do something meanwhile, and let it read to its end."""
    await asyncio.sleep(0)
    turn()
    notes.is_read.set()
    return await asyncio.wait_for(work, 20)


@pytest.mark.anyio
@pytest.mark.parametrize("is_new", [False, True], ids=["its commit lands", "it is answered"])
async def test_a_message_is_found_whose_id_comes_to_disk_while_it_is_looked_for(*, is_new: bool) -> None:
    """What was read shows it no more than what is under way does afterwards."""
    notes = SlowNotes()
    index = ReceiptIndex(notes, "them", matched=taken)
    part = PartOfLeg("77", "KI1", "77")
    if not is_new:
        index.add(part, NOW, ignore)

    finding = asyncio.create_task(index.find("77"))
    found = await after_turns(finding, lambda: index.add(part, NOW, ignore) if is_new else notes.land(), notes)

    assert found == part


@pytest.mark.anyio
async def test_the_states_of_two_parts_that_come_together_are_both_kept() -> None:
    """What the second read is old by the time that it is read."""
    notes, states = SlowNotes(lands_at_once=True), list[LegStatus | None]()
    index = ReceiptIndex(notes, "them", matched=taken)
    parts = (PartOfLeg("1", "KI1", "1", 1, 2), PartOfLeg("2", "KI1", "1", 2, 2))
    reading = asyncio.gather(
        *(index.state_of(one, LegStatus.DELIVERED, NOW, lambda state, _: states.append(state)) for one in parts)
    )
    await asyncio.sleep(0)

    notes.is_read.set()
    await asyncio.wait_for(reading, 20)

    assert states == [None, LegStatus.DELIVERED]
