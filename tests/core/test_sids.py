"""SIDs: their form, their packing, and that they sort by the time they were made."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.model.sids import SidKind, first_sid_at, is_sid, ordered_sid, pack, unpack

KINDS = st.sampled_from(SidKind)
PACKED = st.binary(min_size=16, max_size=16)
MILLISECONDS = st.integers(min_value=0, max_value=2**48 - 1)
COUNTERS = st.integers(min_value=0, max_value=2**16 - 1)
RANDOM_BITS = st.integers(min_value=0, max_value=2**64 - 1)


@given(kind=KINDS, packed=PACKED)
def test_packing_undoes_unpacking(kind: SidKind, packed: bytes) -> None:
    """The 16 bytes on disk and the 34 characters on the wire are one SID."""
    sid = unpack(kind, packed)

    assert is_sid(sid, kind)
    assert len(sid) == 34
    assert pack(sid) == packed


@given(kind=KINDS, milliseconds=MILLISECONDS, counter=COUNTERS, random_bits=RANDOM_BITS)
def test_an_ordered_sid_has_the_form_of_its_kind(
    kind: SidKind, milliseconds: int, counter: int, random_bits: int
) -> None:
    """Whatever clock, counter and randomness say, clients see a SID like any other."""
    sid = ordered_sid(kind, milliseconds=milliseconds, counter=counter, random_bits=random_bits)

    assert is_sid(sid, kind)
    assert unpack(kind, pack(sid)) == sid


@given(
    earlier=st.tuples(MILLISECONDS, COUNTERS),
    later=st.tuples(MILLISECONDS, COUNTERS),
    bits=st.tuples(RANDOM_BITS, RANDOM_BITS),
)
def test_a_later_sid_sorts_after_an_earlier_one_whatever_its_random_bits(
    earlier: tuple[int, int], later: tuple[int, int], bits: tuple[int, int]
) -> None:
    """Clock first, then counter: the order of text and the order of packed bytes are the order of making."""
    earlier, later = sorted((earlier, later))
    first, second = (
        ordered_sid(SidKind.INTERACTION, milliseconds=milliseconds, counter=counter, random_bits=random_bits)
        for (milliseconds, counter), random_bits in zip((earlier, later), bits, strict=True)
    )

    assert earlier == later or first < second
    assert (first < second) == (pack(first) < pack(second))


@given(milliseconds=MILLISECONDS, counter=COUNTERS, random_bits=RANDOM_BITS)
def test_no_sid_minted_at_a_time_sorts_before_the_first_of_that_time(
    milliseconds: int, counter: int, random_bits: int
) -> None:
    """A range scan from `first_sid_at` misses nothing made since."""
    sid = ordered_sid(SidKind.INTERACTION, milliseconds=milliseconds, counter=counter, random_bits=random_bits)

    assert first_sid_at(SidKind.INTERACTION, at=milliseconds / 1000) <= sid


def test_a_sid_has_its_milliseconds_counter_and_random_bits_each_at_its_place() -> None:
    """48, 16 and 64 bits: a fuller counter must not run over into the time."""
    sid = ordered_sid(SidKind.SESSION, milliseconds=0x0123456789AB, counter=0xCDEF, random_bits=0xFEDCBA9876543210)

    assert sid == "KC0123456789abcdeffedcba9876543210"


def test_the_first_sid_of_a_time_is_of_its_very_millisecond() -> None:
    """Nor earlier: a range scan would read what was made before, too."""
    assert first_sid_at(SidKind.SESSION, at=1.5) == ordered_sid(
        SidKind.SESSION, milliseconds=1500, counter=0, random_bits=0
    )


def test_the_first_sid_before_the_epoch_is_the_lowest_of_all() -> None:
    """A time below zero (retention reaching far back) does not wrap round to the highest SID."""
    assert first_sid_at(SidKind.SESSION, at=-1.0) == "KC" + 32 * "0"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "KC",
        "KC" + 31 * "0",
        "KC" + 33 * "0",
        "kc" + 32 * "0",
        "KC" + 31 * "0" + "g",
        "KC" + 32 * "0" + "\n",
        "KC" + 32 * "٣",
        "K1" + 32 * "0",
    ],
)
def test_what_is_not_a_sid_is_told_apart(text: str) -> None:
    """Length, prefix and hex digits are exact; nothing around them is forgiven."""
    assert not is_sid(text)


def test_a_sid_of_another_kind_is_not_of_this_kind() -> None:
    """The prefix decides what a SID names."""
    sid = "KC" + 32 * "a"

    assert is_sid(sid)
    assert is_sid(sid, SidKind.SESSION)
    assert not is_sid(sid, SidKind.SERVICE)


def test_hex_digits_of_either_case_are_read() -> None:
    """Applications may write a SID's digits in capitals."""
    assert is_sid("AC" + 16 * "aF", SidKind.ACCOUNT)
