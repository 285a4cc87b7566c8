"""How a batch is written: items, their refusals by place and field, and what makes a whole batch unreadable."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.api.batch_shapes import MAX_ITEM_BYTES, BatchForm, read_items
from engine.core.model.errors import ApiError
from engine.core.model.records import Mode, SessionStatus
from engine.core.model.requests import ParticipantRequest, SessionRequest, SessionUpdate
from engine.core.sessions.batch import MAX_ITEMS, BatchItem, CreateItem, UpdateItem

ARRAY, LINES = BatchForm.ARRAY, BatchForm.LINES

SID = "KC" + "1" * 32


def lines(*items: object) -> bytes:
    return "\n".join(json.dumps(item) for item in items).encode()


def read(body: bytes, form: BatchForm = LINES) -> list[BatchItem | ApiError]:
    return list(read_items(body, form))


def item(**fields: object) -> BatchItem:
    (found,) = read(lines(fields))
    assert not isinstance(found, ApiError), found
    return found


def refusal(fields: object) -> str:
    (found,) = read(lines(fields))
    assert isinstance(found, ApiError)
    assert (found.code, found.http_status) == (80701, 400)
    return found.message


def unreadable(body: bytes, form: BatchForm = LINES) -> str:
    with pytest.raises(ApiError) as caught:
        read(body, form)
    assert (caught.value.code, caught.value.http_status) == (80701, 400)
    return caught.value.message


# -- items -----------------------------------------------------------------------------------------------------------


def test_an_item_without_operation_makes_a_session() -> None:
    """With the fields of a request of its own."""
    found = item(
        UniqueName="ride",
        DateExpiry="2031-07-30T20:00:00Z",
        Ttl=60,
        Mode="voice-only",
        Status="open",
        FailOnParticipantConflict=True,
        Participants=[
            {
                "Identifier": "+14155550100",
                "FriendlyName": "Anna",
                "ProxyIdentifierSid": "PN" + "2" * 32,
                "FailOnParticipantConflict": True,
            },
            {"Identifier": "+14155550101", "ProxyIdentifier": "+12125550100"},
        ],
    )

    assert found == CreateItem(
        request=SessionRequest(
            unique_name="ride",
            date_expiry=1_943_208_000.0,
            ttl_seconds=60,
            mode=Mode.VOICE_ONLY,
            fail_on_participant_conflict=True,
            participants=(
                ParticipantRequest(
                    identifier="+14155550100",
                    friendly_name="Anna",
                    proxy_identifier_sid="PN" + "2" * 32,
                    fail_on_participant_conflict=True,
                ),
                ParticipantRequest(identifier="+14155550101", proxy_identifier="+12125550100"),
            ),
        )
    )
    assert item() == item(Operation="create") == CreateItem(request=SessionRequest())


def test_an_update_names_a_session_and_what_changes() -> None:
    """Fields that are not there stay, a DateExpiry of null is cleared."""
    cleared = item(Operation="update", Sid=SID, DateExpiry=None, Ttl=5)
    assert cleared == UpdateItem(session=SID, update=SessionUpdate(date_expiry=None, ttl_seconds=5))
    assert item(
        Operation="update",
        UniqueName="ride",
        Status="in-progress",
        DateExpiry="2031-07-30",
        FailOnParticipantConflict=True,
    ) == UpdateItem(
        session="ride",
        update=SessionUpdate(
            status=SessionStatus.IN_PROGRESS, date_expiry=1_943_136_000.0, fail_on_participant_conflict=True
        ),
    )


def test_a_close_needs_no_more_than_a_session() -> None:
    """By SID or by name."""
    assert item(Operation="close", Sid=SID) == UpdateItem(
        session=SID, update=SessionUpdate(status=SessionStatus.CLOSED)
    )


def test_a_key_is_kept_as_a_digest_with_a_fingerprint_of_its_item() -> None:
    """However the item is written; another item, or operation, has another fingerprint."""
    first = item(IdempotencyKey="k", Ttl=5, UniqueName="ride").key
    same = read(b'{ "UniqueName": "ri\\u0064e", "Ttl": 5, "Operation": "create", "IdempotencyKey": "k" }')[0]
    other = item(IdempotencyKey="k", Ttl=6, UniqueName="ride").key
    closing = item(IdempotencyKey="k", Operation="close", UniqueName="ride").key

    assert first is not None
    assert isinstance(same, CreateItem)
    assert same.key == first
    assert other is not None
    assert closing is not None
    assert first.digest == other.digest == closing.digest
    assert len({first.fingerprint, other.fingerprint, closing.fingerprint}) == 3
    assert item(Ttl=5).key is None


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"Ttl": "60"}, "Invalid parameter [0].Ttl: expected `int | null`, got `str`"),
        ({"Ttl": -1}, "Invalid parameter [0].Ttl: expected `int` >= 0"),
        ({"ttl": 60}, "Invalid parameter [0]: object contains unknown field `ttl`"),
        ({"Mode": "loud"}, "Invalid parameter [0].Mode: invalid enum value 'loud'"),
        (
            {"DateExpiry": "soon"},
            "Invalid parameter [0].DateExpiry: expected a UTC time such as 2031-07-30T20:00:00Z",
        ),
        (
            {"Participants": [{"Identifier": "+14155550100"}, {"Identifier": 5}]},
            "Invalid parameter [0].Participants[1].Identifier: expected `str`, got `int`",
        ),
        (
            {"Participants": [{}]},
            "Invalid parameter [0].Participants[0]: object missing required field `Identifier`",
        ),
        ({"Operation": "delete"}, "Invalid parameter [0].Operation: invalid enum value 'delete'"),
        ({"Operation": "close"}, "Invalid parameter [0].Sid: give either Sid or UniqueName"),
        ({"Operation": "update", "Sid": SID, "UniqueName": "a"}, "Invalid parameter [0].Sid: give either Sid or"),
        ({"Operation": "close", "Sid": "KC1"}, "Invalid parameter [0].Sid: expected `str` matching regex"),
        ({"Operation": "close", "Sid": SID, "Ttl": 1}, "Invalid parameter [0]: object contains unknown field `Ttl`"),
        ({"IdempotencyKey": ""}, "Invalid parameter [0].IdempotencyKey: expected `str` of length >= 1"),
        ({"IdempotencyKey": "k" * 256}, "Invalid parameter [0].IdempotencyKey: expected `str` of length <= 255"),
        ({"UniqueName": "KC" + "0" * 32}, "Invalid parameter [0].UniqueName: looks like a SID"),
        ({"UniqueName": "a/b"}, "Invalid parameter [0].UniqueName: cannot be part of a path"),
        ({"UniqueName": "a\0b"}, "Invalid parameter [0].UniqueName: holds the control character U+0000"),
        ({"UniqueName": "a\x7f"}, "Invalid parameter [0].UniqueName: holds the control character U+007F"),
        ({"UniqueName": "a\x85"}, "Invalid parameter [0].UniqueName: holds the control character U+0085"),
        ({"IdempotencyKey": "a\nb"}, "Invalid parameter [0].IdempotencyKey: holds the control character U+000A"),
        (
            {"Participants": [{"Identifier": "+14155550100"}, {"Identifier": "+14155550101", "FriendlyName": "\t"}]},
            "Invalid parameter [0].Participants[1].FriendlyName: holds the control character U+0009",
        ),
        (
            {"Operation": "update", "UniqueName": "\x1b", "Status": "closed"},
            "Invalid parameter [0].UniqueName: holds the control character U+001B",
        ),
        (["Ttl"], "Invalid parameter [0]: expected `object`, got `array`"),
        (5, "Invalid parameter [0]: expected `object`, got `int`"),
    ],
)
def test_a_wrong_item_is_refused_by_place_and_field(fields: object, message: str) -> None:
    """With 80701."""
    assert refusal(fields).startswith(message)


def test_a_wrong_item_is_refused_alone() -> None:
    """Its place is that in the batch."""
    first, second, third = read(lines({}, {"Ttl": []}, {}))

    assert isinstance(first, CreateItem)
    assert isinstance(second, ApiError)
    assert "[1].Ttl" in second.message
    assert isinstance(third, CreateItem)


# -- lines and arrays ------------------------------------------------------------------------------------------------


def test_lines_may_end_either_way_and_be_empty() -> None:
    """A body of nothing is a batch of nothing."""
    assert len(read(b'\r\n{}\r\n\n{"Ttl": 1}\n')) == 2
    assert read(b"") == []


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (b"{}\n\n{", "line 3 cannot be read: Input data was truncated"),
        (b"{}\n \n", "line 2 cannot be read"),
        (b"{}\r\n{} x", "line 2 cannot be read: JSON is malformed: trailing characters"),
        (b'{"Ttl": [], bad', "line 1 cannot be read: JSON is malformed"),
        (b'{"UniqueName": "\xff"}', "line 1 cannot be read"),
        (b'{"x": ' + b"[" * 10_000, "line 1 cannot be read"),
    ],
)
def test_a_line_that_is_no_json_is_named(body: bytes, place: str) -> None:
    """And the batch with it is unreadable."""
    assert unreadable(body).startswith(f"Invalid parameter body: {place}")


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "expected a JSON array of objects"),
        (b"{}", "expected a JSON array of objects"),
        (b"[{}", "the JSON array does not end after 1 items"),
        (b'[{}, {"Ttl', "the JSON array does not end after 1 items"),
        (b"[{}}", "the JSON array does not end after 1 items"),
        (b"[{}, ]", "the JSON array does not end after 1 items"),
        (b"[{}] x", "the JSON array does not end after 1 items"),
        (b"[{}{}]", "item 1 is no JSON object, or no comma stands before it"),
        (b"[, {}]", "item 0 is no JSON object, or no comma stands before it"),
        (b"[5, {}]", "item 0 is no JSON object, or no comma stands before it"),
        (b'["a", {}]', "item 0 is no JSON object, or no comma stands before it"),
        (b"[{}, {]]", "item 1 cannot be read: JSON is malformed"),
    ],
)
def test_an_array_that_is_none_is_unreadable(body: bytes, problem: str) -> None:
    """Naming the item at which it stops to be one."""
    assert unreadable(body, ARRAY).startswith(f"Invalid parameter body: {problem}")


def test_brackets_and_quotes_in_a_name_do_not_end_an_item() -> None:
    """Nor do escaped ones."""
    names = ['a]}"[{', "back\\", '\\"', "ü]"]

    found = read(json.dumps([{"UniqueName": name} for name in names]).encode(), ARRAY)

    assert [one.request.unique_name for one in found if isinstance(one, CreateItem)] == names


JSON_TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["UniqueName", "IdempotencyKey", "Wrong", '"[']),
            st.one_of(JSON_TEXT, st.lists(st.dictionaries(JSON_TEXT, JSON_TEXT, max_size=2), max_size=2)),
            max_size=3,
        ),
        max_size=5,
    ),
    st.booleans(),
    st.sampled_from([None, 2]),
)
def test_an_array_holds_what_its_lines_hold(
    items: list[dict[str, Any]],
    is_ascii: bool,  # noqa: FBT001 - drawn
    indent: int | None,
) -> None:
    """The same items, however it is set."""
    array = json.dumps(items, ensure_ascii=is_ascii, indent=indent).encode()
    by_line = b"\n".join(json.dumps(one, ensure_ascii=is_ascii).encode() for one in items)

    assert list(map(repr, read(array, ARRAY))) == list(map(repr, read(by_line)))


@given(st.binary(max_size=60), st.sampled_from(BatchForm))
def test_whatever_is_sent_is_read_or_refused(body: bytes, form: BatchForm) -> None:
    """Never anything else."""
    try:
        read(body, form)
    except ApiError as problem:
        assert problem.code == 80701  # noqa: PT017 - either way is right


@pytest.mark.parametrize(("form", "body"), [(LINES, b"{}\n" * 10_001), (ARRAY, b"[" + b"{}," * 5_000_000)])
def test_the_first_item_too_many_ends_the_reading(form: BatchForm, body: bytes) -> None:
    """However many come after it."""
    assert unreadable(body, form) == f"Invalid parameter body: more than {MAX_ITEMS} items"
    assert len(read(b"{}\n" * MAX_ITEMS)) == MAX_ITEMS


@pytest.mark.parametrize("body", [b'["' + b'\\"' * 8_000_000, b'["' + b'\\"' * 8_000_000 + b"\\"])
def test_a_body_of_quotes_is_read_once(body: bytes) -> None:
    """To look at the rest again for each of them would take hours, and the test its time-out."""
    assert "does not end after 0 items" in unreadable(body, ARRAY)


@pytest.mark.parametrize(
    ("form", "body", "place"),
    [
        (LINES, b'{}\n{"x": "' + b"a" * 40_000 + b'"}', "line 2"),
        (ARRAY, b'[{}, {"x": "' + b"a" * 40_000 + b'"}]', "item 1"),
        (ARRAY, b"[" * 8_000_000, "item 0"),
        (ARRAY, b'[{"' * 4_000_000, "item 0"),
    ],
)
def test_an_item_that_is_too_long_ends_the_reading(form: BatchForm, body: bytes, place: str) -> None:
    """Whether it ends or not."""
    problem = f"Invalid parameter body: {place} cannot be read: it is longer than {MAX_ITEM_BYTES} bytes"

    assert unreadable(body, form) == problem


def test_the_longest_item_is_short_enough() -> None:
    """Every field as long as it may be, every character escaped as a pair."""
    person = {"Identifier": "😀" * 191, "FriendlyName": "😀" * 255, "ProxyIdentifierSid": "PN" + "1" * 32}
    longest = {"UniqueName": "😀" * 191, "IdempotencyKey": "😀" * 255, "Participants": [person, person]}

    (found,) = read(lines({**longest, "DateExpiry": "2031-07-30T20:00:00Z", "Ttl": 2**31 - 2, "Mode": "voice-only"}))

    assert isinstance(found, CreateItem)
