"""Long messages that never become whole, bounds, and what a start finds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.channels.smpp.long_messages import MOST_OF_SENDER, MOST_PARTS, Assembly, Full, LongMessages, Part
from engine.channels.smpp.segments import LongForm, Place
from engine.channels.smpp.texts import Reading
from engine.core.model.errors import StoreUnavailable
from tests.at_once import at_once
from tests.channels.offered import MemoryNotes

NOW = 1_000.0
SENDER, PROXY = "+14155550100", "+14155550199"


def part(number: int, total: int, text: str, *, reference: int = 1, sender: str = SENDER, proxy: str = PROXY) -> Part:
    return Part(
        message_sid=f"smpp-{reference}-{number}",
        began_at=NOW,
        sender=sender,
        proxy=proxy,
        place=Place(LongForm.UDH8, reference, total, number),
        data_coding=0,
        header_bytes=6,
        octets=text.encode("ascii"),
        digest=text.encode("ascii"),
    )


def kept(messages: LongMessages, one: Part) -> Assembly:
    """Take a part and have it on disk."""
    problems: list[StoreUnavailable | None] = []
    assembly = at_once(messages.place_of(one, is_again=False))
    assert assembly is not None
    messages.keep(assembly, one.place.number, problems.append)
    assert problems == [None]
    return assembly


def texts(assembly: Assembly) -> list[object]:
    return [piece.text for piece in assembly.pieces(reading=Reading())]


def test_what_is_there_goes_on_when_its_time_is_over() -> None:
    """In order, a message for each run of parts; not before."""
    messages = LongMessages(MemoryNotes(), "them")
    for number in (5, 1, 4, 2):
        kept(messages, part(number, 6, f"{number}"))

    assert list(messages.overdue(NOW + 119)) == []
    (over,) = messages.overdue(NOW + 120)
    assert texts(over) == ["12", "45"]
    assert len({piece.sid for piece in over.pieces(reading=Reading())}) == 2


def test_a_part_that_comes_after_that_goes_on_alone() -> None:
    """The others do not wait for it any more; a day later the reference is of another message."""
    messages = LongMessages(MemoryNotes(), "them")
    over = kept(messages, part(1, 2, "one"))
    messages.settled(over, NOW + 120)

    assert messages.is_late(part(2, 2, "two"), NOW + 130)
    assert not messages.is_late(part(2, 2, "two"), NOW + 86_400)


def test_nothing_is_kept_of_what_has_gone_on_but_that_it_was_here() -> None:
    """Notes of its parts are dropped."""
    notes = MemoryNotes()
    messages = LongMessages(notes, "them")
    kept(messages, part(1, 2, "one"))
    whole = kept(messages, part(2, 2, "two"))

    assert whole.is_whole
    messages.settled(whole, NOW)

    assert [key for key in notes.kept if key.startswith(b"part/")] == []
    assert messages.waiting == 0


def test_a_start_finds_what_was_there() -> None:
    """What is whole is due at once: nobody knows whether it was decided."""
    notes = MemoryNotes()
    before = LongMessages(notes, "them")
    for number in (2, 1):
        kept(before, part(number, 2, f"{number}"))
    kept(before, part(1, 2, "x", reference=2))

    after = LongMessages(notes, "them")
    at_once(after.load())

    assert after.waiting == 3
    (whole,) = after.overdue(NOW)
    assert (texts(whole), whole.sid) == (["12"], "smpp-1-2")


def test_one_sender_cannot_take_all_the_room() -> None:
    """Others still have theirs; one message may be as long as it says."""
    messages = LongMessages(MemoryNotes(), "them")
    for reference in range(MOST_OF_SENDER):
        kept(messages, part(1, 2, "x", reference=reference))

    with pytest.raises(Full):
        at_once(messages.place_of(part(1, 2, "x", reference=99), is_again=False))
    kept(messages, part(1, 2, "x", sender="+14155550101"))
    assert messages.waiting == MOST_OF_SENDER + 1


def test_one_account_cannot_take_all_the_room() -> None:
    """Strangers who send its numbers parts without end leave as much for others; a start knows it too."""
    notes = MemoryNotes()
    messages = LongMessages(notes, "them", owner_of=lambda proxy: "AC1" if proxy == PROXY else "AC2")
    for stranger in range(MOST_PARTS // 2):
        kept(messages, part(1, 2, "x", sender=f"+1415{stranger:07d}", reference=stranger))
    after = LongMessages(notes, "them", owner_of=lambda proxy: "AC1" if proxy == PROXY else "AC2")
    at_once(after.load())

    for one in (messages, after):
        with pytest.raises(Full):
            at_once(one.place_of(part(1, 2, "x", sender="+14165550100"), is_again=False))
        kept(one, part(1, 2, "x", sender="+14165550100", proxy="+14155550198", reference=-1))
        whole = kept(one, part(2, 2, "x", sender="+14165550100", proxy="+14155550198", reference=-1))
        assert whole.is_whole
        one.settled(whole, NOW)


@given(st.permutations(range(1, 8)), st.lists(st.integers(1, 7), max_size=5))
def test_any_order_and_any_repetition_is_one_message(order: list[int], again: list[int]) -> None:
    """The parts are put together by their numbers."""
    messages = LongMessages(MemoryNotes(), "them")
    numbers = (*order[:-1], *(one for one in again if one != order[-1]), order[-1])
    assembly = [kept(messages, part(number, 7, f"<{number}>")) for number in numbers][-1]

    assert assembly.is_whole
    assert texts(assembly) == ["<1><2><3><4><5><6><7>"]
