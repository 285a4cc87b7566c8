"""Frames answered from cached routes, compiled and interpreted: the bytes are those of a full look-up."""

import re
from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.channels.feed.cached_answers import FrameAnswers, answer_frame
from engine.channels.feed.events import MAX_EVENTS, read_resolves
from engine.channels.feed.frames import FIELDS, completed, layout_of, shape_of
from engine.core.routing.decide import STRANGERS
from engine.core.routing.resolved import Route
from engine.core.routing.route_cache import RouteCache, invalidate, put_route
from engine.core.routing.traffic import Decision
from engine.core.sessions.expiry import NEVER
from tests.channels.feed.test_frames import garbage
from tests.core.pairings import ALICE, BOB, CAROL, MEXICAN, NOW, P1, P2, couple

encode, decode = msgspec.msgpack.encode, msgspec.msgpack.decode

ACCOUNT, OTHER = "AC" + "1" * 32, "AC" + "2" * 32
WANTS = ("outcome", "to", "caller_id")
PLAIN_NUMBER = re.compile(r"\+[1-9][0-9]{1,14}")
ROUTED, REFUSED = ["routed", BOB, P2], ["refused", "", ""]
PLAIN = tuple(name for name in FIELDS if name not in {"session", "inbound_participant", "outbound_participant"})

subjects = st.sampled_from(["call", "message"])
questions = st.tuples(
    st.just("resolve"),
    subjects,
    st.sampled_from([ALICE, BOB, CAROL, MEXICAN, "+5215512345678", "12345", "x" * 31, "é", "+" + "9" * 16]),
    st.sampled_from([P1, P2, "12345"]),
)
frames = st.lists(questions, max_size=20)


def known(*, until: int = NEVER) -> RouteCache:
    """Return cached routes of two numbers: Alice meets Bob on the first, someone in Mexico has an invalid one."""
    index = RouteCache().at(NOW)
    table = index.open(P1, ACCOUNT)
    assert table is not None
    put_route(table, ALICE, BOB, P2, until)
    invalidate(table, MEXICAN)
    index.open(P2, ACCOUNT)
    return index


def read(
    payload: bytes, index: RouteCache, *, wants: Sequence[str] = WANTS, account_sid: str | None = None
) -> FrameAnswers | None:
    layout = layout_of(tuple(wants))
    assert layout is not None
    return answer_frame(payload, index, index.account(account_sid), layout, MAX_EVENTS)


def answered(
    payload: bytes, index: RouteCache, *, wants: Sequence[str] = WANTS, account_sid: str | None = None
) -> FrameAnswers:
    answers = read(payload, index, wants=wants, account_sid=account_sid)
    assert answers is not None
    return answers


def question(sender: str = ALICE, proxy: str = P1, *, subject: str = "call") -> list[str]:
    return ["resolve", subject, sender, proxy]


def test_who_has_a_cached_route_is_routed_and_who_is_unknown_refused() -> None:
    """In their order, with nothing left to ask."""
    asked = [question(), question(CAROL), question(subject="message"), question(ALICE, P2, subject="message")]

    answers = answered(encode(asked), known())

    assert decode(completed(answers, ())) == [ROUTED, REFUSED, ROUTED, REFUSED]
    assert (answers.count, answers.strangers, answers.missing, answers.rest) == (4, 2, 0, b"")


@pytest.mark.parametrize("size", [0, 1, 15, 16, 255, 256, MAX_EVENTS])
def test_a_frame_of_any_size_is_answered(size: int) -> None:
    """Up to the most that a frame may hold, and not beyond."""
    index = known()

    answers = answered(encode([question()] * size), index)

    assert decode(completed(answers, ())) == [ROUTED] * size
    assert read(encode([question()] * (MAX_EVENTS + 1)), index) is None


@pytest.mark.parametrize(
    "missing",
    [
        question(MEXICAN),  # to be looked up in full
        question("+5215512345678"),  # may be the same, written as its carrier does
        question(CAROL, "+16465559999"),  # no number of this host's
        question("12345"),
        question(CAROL, "12345"),
        question("x" * 31),
    ],
)
def test_what_has_no_cached_route_is_left_to_be_asked(missing: list[str]) -> None:
    """Its answer goes where its question stood."""
    asked = [missing, question(), missing, missing, question(CAROL), missing]

    answers = answered(encode(asked), known())

    assert decode(answers.rest) == [missing] * 4
    said = completed(answers, ["not-ready", None, ("late",), "last"])
    assert decode(said) == ["not-ready", ROUTED, None, ["late"], REFUSED, "last"]


def test_a_cached_route_is_good_until_its_end() -> None:
    """And not in the second in which that falls."""
    index = known(until=int(NOW) + 5)

    missing = [answered(encode([question()]), index.at(NOW + later)).missing for later in (0, 4.9, 5, 5.5, 6)]

    assert missing == [0, 0, 1, 1, 1]


def test_numbers_of_other_accounts_are_left_to_be_asked() -> None:
    """Strangers too: whether a number is there is not said."""
    index, asked = known(), encode([question(), question(CAROL)])

    missing = [answered(asked, index, account_sid=one).missing for one in (None, ACCOUNT, OTHER)]

    assert missing == [0, 0, 2]


def test_numbers_whose_sessions_are_not_kept_up_are_left_to_be_asked() -> None:
    """Until whoever tells of them is heard again; others' are answered."""

    class Teller:
        is_ready = True

    index, teller = known(), Teller()
    table = index.open("+16465550003", ACCOUNT, teller)
    assert table is not None
    put_route(table, ALICE, BOB, P2, NEVER)
    asked, missing = encode([question(), question(ALICE, "+16465550003"), question(CAROL, "+16465550003")]), []

    for is_ready in (True, False, True):
        teller.is_ready = is_ready
        missing.append(answered(asked, index.at(NOW)).missing)

    assert missing == [0, 2, 0]


@pytest.mark.parametrize(
    "frame",
    [
        [question(), ["call", ALICE, P1, "CA1"]],
        [[*question(subject="message"), "STOP"]],
        [[*question(), ""]],
        [["resolve", "call", ALICE]],
        [["resolve", "fax", ALICE, P1]],
        [["resolve", "call", "x" * 32, P1]],
        [["resolve", "call", ALICE, 7]],
        [["resolve", "call", None, P1]],
        [["resolved", "call", ALICE, P1]],
        [7],
        7,
        {"version": 1},
    ],
)
def test_a_frame_of_anything_else_is_not_answered(frame: object) -> None:
    """Calls, texts, what is wrong: read where that is understood."""
    assert read(encode(frame), known()) is None


def test_a_frame_that_is_cut_or_goes_on_is_not_answered() -> None:
    """Wherever it ends."""
    index, whole = known(), encode([question(), question(CAROL)])

    found = [read(whole[:end], index) for end in range(len(whole))]

    assert found == [None] * len(whole)
    assert read(whole + b"\xc0", index) is None


@given(frames)
def test_no_question_is_lost_and_none_is_answered_twice(asked: list[tuple[str, ...]]) -> None:
    """Those that are left to be asked are those without an answer, in their order."""
    answers = answered(encode(asked), known())

    assert answers is not None
    said = decode(completed(answers, [f"missing {place}" for place in range(answers.missing)]))
    assert len(said) == answers.count == len(asked)
    rest = decode(answers.rest) if answers.missing else []
    missing = [list(one) for one, told in zip(asked, said, strict=True) if isinstance(told, str)]
    assert rest == missing
    for one, told in zip(asked, said, strict=True):
        if told == ROUTED:
            assert one[2:] == (ALICE, P1)
        elif told == REFUSED:
            assert one[2] in {ALICE, BOB, CAROL}
            assert one[2:] != (ALICE, P1)
    assert said.count(REFUSED) == answers.strangers


@given(
    garbage
    | st.tuples(frames.map(encode), st.integers(0, 2_000), st.binary(max_size=3)).map(
        lambda parts: (
            parts[0][: parts[1] % (len(parts[0]) + 1)]
            + parts[2]
            + parts[0][parts[1] % (len(parts[0]) + 1) + len(parts[2]) :]
        )
    )
)
def test_nothing_in_a_frame_can_do_harm(payload: bytes) -> None:
    """What is answered is a question, with its own answer; all else is left to be read like any other frame."""
    answers = read(payload, known())
    if answers is None:
        return

    events = decode(payload, type=list[msgspec.Raw])
    said = decode(completed(answers, ["left"] * answers.missing))
    left = decode(answers.rest, type=list[msgspec.Raw]) if answers.missing else []

    assert len(said) == len(events) == answers.count
    assert left == [event for event, told in zip(events, said, strict=True) if told == "left"]
    for event, told in zip(events, said, strict=True):
        if told != "left":
            (asked,) = read_resolves(b"\x91" + event)
            assert (asked.sender, asked.proxy) != (MEXICAN, P1)
            assert PLAIN_NUMBER.fullmatch(asked.sender)
            assert asked.proxy in {P1, P2}
            assert told == (ROUTED if (asked.sender, asked.proxy) == (ALICE, P1) else REFUSED)


@given(st.lists(st.sampled_from(PLAIN), min_size=1, max_size=15))
def test_answers_are_made_of_what_a_client_wants(wants: list[str]) -> None:
    """In its order, as decisions that were looked up are; more than twice a number is not laid out."""
    layout = layout_of(tuple(wants))
    if layout is None:
        assert wants.count("to") + wants.count("caller_id") > 2
        return

    answers = answered(encode([question(), question(CAROL), question(CAROL, subject="message")]), known(), wants=wants)

    shape = shape_of(tuple(wants))
    decisions: list[Decision | Route] = [Route(BOB, P2, couple()), *STRANGERS]
    assert bytes(completed(answers, ())) == encode(shape.all(decisions))


@pytest.mark.parametrize("wants", [None, ("to", "session"), ("inbound_participant",), ("outcome",) * 16])
def test_a_client_that_wants_more_has_no_layout(wants: tuple[str, ...] | None) -> None:
    """Sessions and participants are not in a cached route."""
    assert layout_of(wants) is None


def test_questions_are_cut_out_as_they_came() -> None:
    """Not written anew: where one begins, the one before it ends."""
    asked = [encode(question(MEXICAN)), encode(question()), encode(question("12345"))]
    payload = b"\x93" + b"".join(asked)

    answers = answered(payload, known())

    assert answers.rest == b"\x92" + asked[0] + asked[2]
