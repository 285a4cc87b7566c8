"""Receipts that wait for their messages: what is looked for, and how often."""

from engine.channels.smpp.receipt_index import Ambiguous, PartOfLeg, ReceiptIndex
from engine.channels.smpp.receipts import Receipt
from engine.core.model.errors import StoreUnavailable
from engine.core.model.records import LegStatus
from engine.core.ports.notes import NoteDone
from tests.channels.offered import MemoryNotes

NOW = 1_000.0


class CountedNotes(MemoryNotes):
    """Notes that count how often they are read."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = 0

    def latest(self, prefix: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        """Read and count."""
        self.reads += 1
        return super().latest(prefix, limit)


class Index:
    """An index, and the receipts that have found their messages."""

    def __init__(self) -> None:
        self.notes = CountedNotes()
        self.matched: list[tuple[str, str]] = []
        self.problem: StoreUnavailable | None = None
        self.index = ReceiptIndex(self.notes, "them", matched=self._take)

    def _take(self, part: PartOfLeg, receipt: Receipt, done: NoteDone) -> None:
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
        world.index.match_early(NOW + second)
        world.sent(f"message-{second}")

    assert world.notes.reads == 500
    assert world.index.unmatched == 500


def test_a_receipt_finds_the_same_number_once_no_response_can_tell_better() -> None:
    """An id in decimals, while responses are awaited, may be that of one of them."""
    world = Index()
    world.sent("0000000a")
    world.index.awaited = 1
    world.came("10")

    world.index.match_early(NOW + 5)
    before = list(world.matched)
    world.index.match_early(NOW + 10)

    assert (before, world.matched) == ([], [("KI1", "10")])
    assert world.index.unmatched == 0


def test_what_could_not_be_kept_is_tried_again() -> None:
    """With the next look."""
    world = Index()
    world.problem = StoreUnavailable("the disk is full")
    world.came("77")
    world.sent("77")
    world.problem = None

    world.index.match_early(NOW + 15)

    assert world.matched == [("KI1", "77")] * 2
    assert world.index.unmatched == 0


def test_a_peer_that_uses_an_id_again_means_the_later_message() -> None:
    """Two messages whose ids are only the same number are not told apart."""
    world = Index()
    world.sent("77", "KI1")
    world.index.add(PartOfLeg("77", "KI2", "77"), NOW + 1, ignore)
    world.sent("0077", "KI3")

    found = world.index.find("77")

    assert isinstance(found, PartOfLeg)
    assert found.interaction_sid == "KI2"
    assert world.index.find("00077") == Ambiguous()
