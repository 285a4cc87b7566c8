"""The feed's frames: how a stream is cut, what is read from them, and that nothing in them can do harm."""

import contextlib
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.channels.feed.events import (
    MAX_EVENTS,
    Call,
    Event,
    Message,
    Resolve,
    Side,
    Status,
    Subject,
    read_events,
    read_resolves,
)
from engine.channels.feed.frames import (
    FIELDS,
    READ_OVER,
    UNREADABLE,
    Hello,
    Payload,
    Refusal,
    Refused,
    Splitter,
    framed,
    is_hello,
    read_hello,
    read_server_frame,
    shape_of,
)
from engine.channels.feed.records import read_lines
from engine.core.model.records import Kind, LegStatus
from engine.core.ports.observing import FeedProblem
from engine.core.routing.decide import decision_of
from engine.core.routing.resolved import Route
from engine.core.routing.traffic import Decision, InboundEvent, LegReport, Outcome, Reason
from tests.channels.feed.feed_example import EVENTS, FRAMES, HELLO, ROUTED, dumps, hexes
from tests.core.pairings import couple

DOCUMENT = Path(__file__).parents[3] / "docs" / "feed.md"
ACCOUNT = "AC" + "1" * 32
CA, SM, KI = "CA" + "1" * 32, "SM" + "1" * 32, "KI" + "1" * 32
SENDER, PROXY = "+12125550111", "+14155550100"
LIMIT = 64
ALL_FIELDS = (
    *("outcome", "reason", "to", "caller_id", "sent_by_us", "body", "twiml", "session", "interaction"),
    *("inbound_participant", "outbound_participant", "code"),
)
"""The order in which clients that name no field find them."""
CALL = ["call", SENDER, PROXY, CA]
STATUS = ["status", "call", "outbound", CA, "completed", PROXY]

encode = msgspec.msgpack.encode

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
near_misses = st.builds(
    lambda event, place, value: [*event[:place], value, *event[place + 1 :]],
    st.sampled_from([*EVENTS, CALL, STATUS]),
    st.integers(0, 8),
    values,
)
garbage = st.binary(max_size=200) | values.map(encode) | st.lists(near_misses, max_size=4).map(encode)


def whole(stream: bytes, *, limit: int = LIMIT) -> list[bytes | Refusal]:
    return pieced([stream], limit=limit)


def pieced(chunks: Sequence[bytes], *, limit: int = LIMIT) -> list[bytes | Refusal]:
    """Return what a splitter yields; a last refusal for what has no frames."""
    splitter = Splitter(limit)
    found: list[bytes | Refusal] = []
    try:
        for chunk in chunks:
            for one in splitter.split(chunk):
                found.append(one if isinstance(one, Refusal) else bytes(one))  # noqa: PERF401 - it may raise on the way
    except Refused as problem:
        found.append(problem.refusal)
    return found


def read_one(event: object) -> Event | Refusal:
    (read,) = read_events(encode([event]))
    return read


# -- frames ----------------------------------------------------------------------------------------------------------


@given(
    frames=st.lists(st.integers(0, LIMIT * (READ_OVER + 1)).map(bytes) | st.binary(max_size=LIMIT), max_size=6),
    cuts=st.lists(st.integers(0, 2_000), max_size=12),
)
def test_a_stream_is_cut_the_same_way_however_it_arrives(frames: list[bytes], cuts: list[int]) -> None:
    """Byte by byte or all at once, with frames that are too long in it."""
    stream = b"".join(map(framed, frames))
    places = sorted({min(cut, len(stream)) for cut in cuts} | {0, len(stream)})

    found = pieced([stream[start:end] for start, end in pairwise(places)])

    assert found == whole(stream) == pieced([stream[at : at + 1] for at in range(len(stream))])
    if all(len(frame) <= LIMIT for frame in frames):
        assert found == frames


def test_a_frame_that_is_too_long_is_read_over() -> None:
    """The next one is found."""
    stream = framed(bytes(LIMIT + 1)) + framed(b"next")

    long, following = whole(stream)

    assert isinstance(long, Refusal)
    assert (long.error, following) == (FeedProblem.FRAME_TOO_LONG, b"next")


def test_what_is_far_too_long_is_no_frame() -> None:
    """Another protocol's greeting, say: nothing after it can be trusted."""
    (refusal,) = whole(b"GET / HTTP/1.1\r\n\r\n" + framed(b"next"))

    assert isinstance(refusal, Refusal)
    assert refusal.error is FeedProblem.FRAME_TOO_LONG


def test_a_limit_holds_from_the_next_frame_on() -> None:
    """Within the same burst: that is how a hello makes room."""
    splitter = Splitter(8)

    found: list[Payload | Refusal] = []
    for payload in splitter.split(framed(b"hello") + framed(bytes(20))):
        found.append(payload)
        splitter.allow(20)

    assert found == [b"hello", bytes(20)]


# -- hello -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hello", "error"),
    [
        ({"version": 2, "token": "of the future"}, FeedProblem.UNKNOWN_VERSION),
        ({"key": "SK", "secret": "s"}, FeedProblem.BAD_HELLO),
        ({"version": "1", "key": "SK", "secret": "s"}, FeedProblem.BAD_HELLO),
        ({"version": 1, "key": "SK"}, FeedProblem.BAD_HELLO),
        ({"version": 1, "key": "SK", "secret": "s", "wants": "to"}, FeedProblem.BAD_HELLO),
    ],
)
def test_a_hello_that_cannot_be_taken_says_why(hello: dict[str, object], error: FeedProblem) -> None:
    """The version is looked at first: all else may have changed with it."""
    with pytest.raises(Refused) as caught:
        read_hello(encode(hello))

    assert caught.value.refusal.error is error


def test_a_hello_does_not_show_its_secret() -> None:
    """Wherever it is printed."""
    assert HELLO.secret not in repr(HELLO)
    assert read_hello(encode(HELLO)) == HELLO


def test_a_decision_is_made_of_the_wanted_fields_in_the_wanted_order() -> None:
    """All of them where none are named; never of fields that there are not."""
    assert shape_of(("to", "code", "outcome")).decided(ROUTED) == (ROUTED.to, None, "routed")
    assert shape_of(("caller_id",)).decided(ROUTED) == (ROUTED.caller_id,)
    assert tuple(FIELDS) == ALL_FIELDS
    assert shape_of(None).decided(ROUTED) == shape_of(ALL_FIELDS).decided(ROUTED)
    assert len(ALL_FIELDS) == len(Decision.__struct_fields__)
    for wants in ((), ("to", "colour")):
        with pytest.raises(Refused) as caught:
            shape_of(wants)
        assert (caught.value.refusal.error, caught.value.refusal.field) == (FeedProblem.BAD_HELLO, "wants")


@given(wants=st.none() | st.lists(st.sampled_from(sorted(FIELDS)), min_size=1).map(tuple))
def test_a_route_says_what_its_decision_says(wants: tuple[str, ...] | None) -> None:
    """Whatever of it is wanted."""
    session = couple()
    route = Route(session.second, session.second_proxy, session)

    said = shape_of(wants).all([route, decision_of(route)])
    plain = shape_of(wants).all([route, route], is_plain=True)

    assert said[0] == said[1]
    assert plain == said
    assert msgspec.structs.replace(decision_of(route), to="") != Decision(Outcome.ROUTED, Reason.IN_SESSION)


# -- events ----------------------------------------------------------------------------------------------------------


def test_events_become_what_the_data_plane_takes() -> None:
    """In order, each with the account of its connection."""
    events = [
        CALL,
        ["message", SENDER, PROXY, SM],
        ["message", SENDER, PROXY, SM, "hello ☎", ["https://m.example/1"]],
        ["resolve", "message", SENDER, PROXY, "stop"],
    ]

    read = read_events(encode(events))

    assert [one.event(ACCOUNT) for one in read if isinstance(one, Call | Message | Resolve)] == [
        InboundEvent(Kind.VOICE, SENDER, PROXY, CA, account_sid=ACCOUNT),
        InboundEvent(Kind.MESSAGE, SENDER, PROXY, SM, account_sid=ACCOUNT),
        InboundEvent(Kind.MESSAGE, SENDER, PROXY, SM, "hello ☎", ("https://m.example/1",), account_sid=ACCOUNT),
        InboundEvent(Kind.MESSAGE, SENDER, PROXY, "", "stop", account_sid=ACCOUNT),
    ]


def test_the_first_ten_media_pass_and_the_rest_is_counted() -> None:
    """The data plane tells of the rest."""
    urls = tuple(f"https://m.example/{index}" for index in range(12))
    message = read_one(["message", SENDER, PROXY, SM, "", urls])

    assert isinstance(message, Message)
    event = message.event(None)
    assert (event.media, event.media_left_out) == (urls[:10], 2)


@pytest.mark.parametrize("event", [["call", "", PROXY, CA], ["message", "", PROXY, SM], ["resolve", "call", "", PROXY]])
def test_a_sender_whose_number_is_withheld_may_be_empty(event: list[object]) -> None:
    """It is nobody's number."""
    read = read_one(event)

    assert isinstance(read, Call | Message | Resolve)
    assert read.event(None).sender in {"", "anonymous"}


def test_a_leg_status_becomes_a_report() -> None:
    """With and without what may be left out; a number in the carrier's words is masked."""
    short = read_one(STATUS)
    full = read_one(["status", "message", "inbound", SM, "failed", PROXY, KI, 0, "no route to +12125550111"])

    assert isinstance(short, Status)
    assert isinstance(full, Status)
    assert short.report(None) == LegReport(
        kind=Kind.VOICE,
        account_sid=None,
        interaction_sid=None,
        is_outbound=True,
        resource_sid=CA,
        status=LegStatus.COMPLETED,
        proxy=PROXY,
    )
    assert full.report(ACCOUNT) == LegReport(
        kind=Kind.MESSAGE,
        account_sid=ACCOUNT,
        interaction_sid=KI,
        is_outbound=False,
        resource_sid=SM,
        status=LegStatus.FAILED,
        proxy=PROXY,
        duration_seconds=0,
        problem="no route to +1212555XXXX",
    )


@pytest.mark.parametrize(
    ("event", "error", "field"),
    [
        (None, FeedProblem.UNKNOWN_EVENT, ""),
        ([], FeedProblem.UNKNOWN_EVENT, ""),
        ({"call": 1}, FeedProblem.UNKNOWN_EVENT, ""),
        (["fax", SENDER, PROXY, CA], FeedProblem.UNKNOWN_EVENT, ""),
        ([7, SENDER, PROXY, CA], FeedProblem.UNKNOWN_EVENT, ""),
        (["call"], FeedProblem.MISSING_FIELD, "sender"),
        (["call", SENDER, None, CA], FeedProblem.MISSING_FIELD, "proxy"),
        (["call", SENDER, PROXY], FeedProblem.MISSING_FIELD, "sid"),
        (["call", SENDER, "", CA], FeedProblem.BAD_FIELD, "proxy"),
        (["call", 12125550111, PROXY, CA], FeedProblem.BAD_FIELD, "sender"),
        (["call", "1" * 256, PROXY, CA], FeedProblem.BAD_FIELD, "sender"),
        (["call", SENDER, PROXY, "C" * 65], FeedProblem.BAD_FIELD, "sid"),
        (["message", SENDER, PROXY, SM, None], FeedProblem.BAD_FIELD, "body"),
        (["message", SENDER, PROXY, SM, "", ["u"] * 101], FeedProblem.BAD_FIELD, "media"),
        (["message", SENDER, PROXY, SM, "", [""]], FeedProblem.BAD_FIELD, "media"),
        (["resolve", "fax", SENDER, PROXY], FeedProblem.BAD_FIELD, "subject"),
        (["resolve", "call", SENDER], FeedProblem.MISSING_FIELD, "proxy"),
        ([*STATUS[:2], "both", *STATUS[3:]], FeedProblem.BAD_FIELD, "leg"),
        ([*STATUS[:4], "", PROXY], FeedProblem.BAD_FIELD, "status"),
        ([*STATUS, None, -0.5], FeedProblem.BAD_FIELD, "duration"),
        ([*STATUS, None, float("nan")], FeedProblem.BAD_FIELD, "duration"),
        ([*STATUS, None, float("inf")], FeedProblem.BAD_FIELD, "duration"),
        (STATUS[:5], FeedProblem.MISSING_FIELD, "proxy"),
        ([*STATUS, KI, -1], FeedProblem.BAD_FIELD, "duration"),
    ],
)
def test_a_bad_event_is_told_by_its_field_and_spoils_no_other(event: object, error: FeedProblem, field: str) -> None:
    """The events around it are read."""
    before, bad, after = read_events(encode([CALL, event, STATUS]))

    assert isinstance(bad, Refusal)
    assert (bad.error, bad.field) == (error, field)
    assert (type(before), type(after)) == (Call, Status)


@pytest.mark.parametrize("sid", ["CA\n1", "CÄ", "C A", "CA\x7f"])
def test_a_sid_is_printable_ascii(sid: str) -> None:
    """It stands in logs and lists."""
    event = read_one(["call", SENDER, PROXY, sid])

    assert isinstance(event, Call)
    with pytest.raises(Refused) as caught:
        event.event(None)
    assert (caught.value.refusal.error, caught.value.refusal.field) == (FeedProblem.BAD_FIELD, "sid")


@pytest.mark.parametrize(
    ("subject", "word"), [("call", "exploded"), ("call", "delivered"), ("message", "busy"), ("message", "unknown")]
)
def test_a_status_is_one_of_its_subject(subject: str, word: str) -> None:
    """A call is not delivered; the client says the words that the feed knows."""
    status = read_one(["status", subject, *STATUS[2:4], word, PROXY])

    assert isinstance(status, Status)
    with pytest.raises(Refused) as caught:
        status.report(None)
    assert (caught.value.refusal.error, caught.value.refusal.field) == (FeedProblem.BAD_FIELD, "status")


@pytest.mark.parametrize(("word", "duration"), [("COMPLETED", 17), ("Completed", 17.9), ("completed", 17.0)])
def test_a_status_may_be_in_any_case_and_a_duration_have_a_fraction(word: str, duration: float) -> None:
    """As switches count it; whole seconds are kept."""
    status = read_one([*STATUS[:4], word, PROXY, KI, duration])

    assert isinstance(status, Status)
    report = status.report(None)
    assert (report.status, report.duration_seconds) == (LegStatus.COMPLETED, 17)


def test_a_report_names_an_interaction_or_none() -> None:
    """Not a session."""
    status = Status(Subject.CALL, Side.INBOUND, CA, "ringing", PROXY, interaction="KC" + "1" * 32)

    with pytest.raises(Refused) as caught:
        status.report(None)

    assert caught.value.refusal.field == "interaction"


def test_what_a_later_version_adds_at_the_end_is_ignored() -> None:
    """Of any event."""
    assert read_one([*CALL, "new", {"x": 1}]) == read_one(CALL)


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        (b"", FeedProblem.NOT_MSGPACK),
        (b"\xc1", FeedProblem.NOT_MSGPACK),
        (b"\x90\x90", FeedProblem.NOT_MSGPACK),
        (b"\x91\x94\xa4call", FeedProblem.NOT_MSGPACK),
        (b"\x91" * 100_000, FeedProblem.NOT_MSGPACK),
        (b"\x07", FeedProblem.NOT_AN_ARRAY),
        (encode("call"), FeedProblem.NOT_AN_ARRAY),
        (b"\xdd\xff\xff\xff\xff", FeedProblem.TOO_MANY_EVENTS),
        (encode([CALL] * (MAX_EVENTS + 1)), FeedProblem.TOO_MANY_EVENTS),
    ],
)
def test_a_frame_that_is_no_array_of_events_says_what_it_is(payload: bytes, error: FeedProblem) -> None:
    """Without building what it claims to hold."""
    with pytest.raises(Refused) as caught:
        read_events(payload)

    assert caught.value.refusal.error is error


def test_text_that_is_no_utf_8_spoils_its_event_only() -> None:
    """Each text is looked at by itself."""
    good, bad = read_events(b"\x92" + encode(CALL) + b"\x94\xa4call\xa2\xff\xfe" + encode(PROXY) + encode(CA))

    assert isinstance(good, Call)
    assert isinstance(bad, Refusal)
    assert (bad.error, bad.field) == (FeedProblem.BAD_FIELD, "sender")


@given(payload=garbage)
def test_whatever_comes_is_read_or_refused(payload: bytes) -> None:
    """Never anything else, in any of the places where frames are read."""
    try:
        for event in read_events(payload):
            if isinstance(event, Status):
                event.report(None)
            elif not isinstance(event, Refusal):
                event.event(None)
    except Refused:
        pass
    for read, expected in ((read_hello, (Refused,)), (read_resolves, UNREADABLE), (read_server_frame, UNREADABLE)):
        with contextlib.suppress(*expected):
            read(payload)
    assert is_hello(payload) is (payload[:1] != b"" and (0x80 <= payload[0] <= 0x8F or payload[0] in {0xDE, 0xDF}))


@given(events=st.lists(st.sampled_from([*EVENTS, CALL, STATUS]) | near_misses, max_size=5))
def test_read_together_or_alone_an_event_is_the_same(events: list[list[object]]) -> None:
    """One pass, or one by one after a bad one."""
    assert read_events(encode(events)) == [read_one(event) for event in events]


# -- the worked example ----------------------------------------------------------------------------------------------


def test_the_document_shows_the_example_byte_by_byte() -> None:
    """Both as a dump and whole; `python -m tests.channels.feed.feed_example` writes them."""
    blocks = re.findall(r"```text\n(.*?)\n```", DOCUMENT.read_text("utf-8"), re.DOTALL)

    assert dumps() in blocks
    assert hexes() in blocks


def test_the_example_is_read_as_it_is_told() -> None:
    """Both directions."""
    payloads = [frame[4:] for frame in FRAMES.values()]

    assert is_hello(payloads[0])
    assert read_hello(payloads[0]) == HELLO
    assert [type(event).__name__ for event in read_events(payloads[2])] == ["Call", "Resolve", "Message", "Refusal"]
    for place in (1, 3, 4):
        assert encode(read_server_frame(payloads[place])) == payloads[place]


def test_the_document_shows_the_form_of_files() -> None:
    """Each line is a record, one of each kind."""
    (block,) = re.findall(r"```json\n(.*?)\n```", DOCUMENT.read_text("utf-8"), re.DOTALL)

    events = [record.event for record in read_lines(line.encode() for line in block.splitlines())]

    assert [type(event) for event in events] == [Call, Message, Status, Resolve]


def test_every_problem_and_field_is_documented() -> None:
    """So that a client can be complete."""
    text = DOCUMENT.read_text("utf-8")

    assert [problem for problem in FeedProblem if f"`{problem}`" not in text] == []
    assert [field for field in FIELDS if f"`{field}`" not in text] == []
    assert [
        name for shape in (Call, Message, Resolve, Status) for name in shape.__struct_fields__ if name not in text
    ] == []
    assert [name for name in Hello.__struct_fields__ if f"`{name}`" not in text] == []
