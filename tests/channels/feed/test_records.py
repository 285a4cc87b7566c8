"""Events in files: both forms read the same, and what is wrong is told by its place and field."""

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.channels.feed.events import Call, Message, Resolve, Side, Status, Subject
from engine.channels.feed.frames import Refusal
from engine.channels.feed.records import MAX_RECORD_BYTES, Record, read_lines, read_maps
from engine.core.model.records import LegStatus
from engine.core.ports.observing import FeedProblem

A, P = "+12125550111", "+14155550100"
KI = "KI" + "1" * 32
CALL = {"event": "call", "sender": A, "proxy": P, "sid": "CA1"}
EVENTS: list[tuple[dict[str, Any], object]] = [
    (CALL, Call(A, P, "CA1")),
    ({"event": "message", "sender": A, "proxy": P, "sid": "SM1"}, Message(A, P, "SM1")),
    (
        {"event": "message", "sender": A, "proxy": P, "sid": "SM1", "body": "☎" * 90, "media": ["https://m.example/1"]},
        Message(A, P, "SM1", "☎" * 90, ("https://m.example/1",)),
    ),
    (
        {
            "event": "status",
            "subject": "call",
            "leg": "outbound",
            "sid": "CA2",
            "status": "completed",
            "proxy": P,
            "interaction": KI,
            "duration": 61,
        },
        Status(Subject.CALL, Side.OUTBOUND, "CA2", LegStatus.COMPLETED, P, KI, 61),
    ),
    (
        {"event": "resolve", "subject": "message", "sender": A, "proxy": P, "body": "stop"},
        Resolve(Subject.MESSAGE, A, P, "stop"),
    ),
]

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(max_size=40), inner, max_size=20),
    max_leaves=30,
)


def in_lines(*records: object) -> Iterator[Record]:
    return read_lines(json.dumps(record).encode() + b"\n" for record in records)


def in_maps(*records: object, size: int = 10) -> Iterator[Record]:
    data = b"".join(map(msgspec.msgpack.encode, records))
    return read_maps(data[at : at + size] for at in range(0, len(data), size))


def test_both_forms_give_the_same_events() -> None:
    """With their places."""
    records = [record for record, _ in EVENTS]
    expected = [Record(place, event) for place, (_, event) in enumerate(EVENTS, 1)]  # type: ignore[arg-type] # of a table

    assert list(in_lines(*records)) == expected
    for size in (1, 7, 1_000):
        assert list(in_maps(*records, size=size)) == expected


@pytest.mark.parametrize(
    ("record", "error", "field"),
    [
        ({"event": "fax"}, FeedProblem.UNKNOWN_EVENT, "event"),
        ({"sender": A}, FeedProblem.MISSING_FIELD, "event"),
        ({"event": "call", "sender": A, "proxy": P}, FeedProblem.MISSING_FIELD, "sid"),
        (CALL | {"sender": 12125550111}, FeedProblem.BAD_FIELD, "sender"),
        (CALL | {"sid": "C A"}, FeedProblem.BAD_FIELD, "sid"),
        (CALL | {"seder": A}, FeedProblem.BAD_FIELD, "seder"),
        (EVENTS[3][0] | {"interaction": "KI"}, FeedProblem.BAD_FIELD, "interaction"),
        (EVENTS[2][0] | {"media": ["", "x"]}, FeedProblem.BAD_FIELD, "media"),
        ("call", FeedProblem.BAD_FIELD, ""),
    ],
)
def test_what_is_wrong_is_told_by_its_field(record: object, error: FeedProblem, field: str) -> None:
    """In either form; the records around it are read."""
    for read in (in_lines, in_maps):
        before, bad, after = read(CALL, record, CALL)

        assert (before, after) == (Record(1, EVENTS[0][1]), Record(3, EVENTS[0][1]))  # type: ignore[arg-type] # of a table
        assert isinstance(bad.event, Refusal)
        assert (bad.place, bad.event.error, bad.event.field) == (2, error, field)


def test_lines_without_anything_are_no_records_but_count() -> None:
    """And a line that is no JSON is one bad record."""
    call = json.dumps(CALL).encode()

    records = list(read_lines([b"\n", call + b"\n", b" \r\n", b"{nonsense\n", call]))

    assert [record.place for record in records] == [2, 4, 5]
    assert isinstance(records[1].event, Refusal)


def test_a_record_has_an_end() -> None:
    """One that is too long is none, in either form."""
    (line,) = read_lines([b"x" * (MAX_RECORD_BYTES + 1)])
    (chunk,) = read_maps([msgspec.msgpack.encode({"event": "x" * (MAX_RECORD_BYTES + 1)})[:-1]])

    for record in (line, chunk):
        assert isinstance(record.event, Refusal)
        assert "at most" in record.event.detail


@pytest.mark.parametrize("rest", [b"\xc1", b"\x81", msgspec.msgpack.encode(CALL)[:-1]])
def test_after_what_is_no_messagepack_nothing_is_read(rest: bytes) -> None:
    """Where it begins is told."""
    records = list(read_maps([msgspec.msgpack.encode(CALL), rest]))

    assert [record.place for record in records] == [1, 2]
    assert isinstance(records[1].event, Refusal)


@given(records=st.lists(values, min_size=1, max_size=4), size=st.integers(1, 50))
def test_every_value_of_messagepack_ends_where_the_next_begins(records: list[object], size: int) -> None:
    """Of any type and length, however the file is read."""
    assert [record.place for record in in_maps(*records, size=size)] == list(range(1, len(records) + 1))


@given(data=st.binary(max_size=300))
def test_no_file_is_too_strange_to_be_read(data: bytes) -> None:
    """Something is said of everything."""
    list(read_lines(data.splitlines(keepends=True)))
    list(read_maps([data]))
