"""Frames that are answered from shortcuts, compiled and interpreted: the same bytes as looking in full would write."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.core.routing import STRANGERS, Passage
from engine.core.traffic import Decision
from engine.wire.feed import FIELDS, UNREADABLE, completed, layout_of, shape_of
from engine.wire.feed_events import MAX_EVENTS, read_resolves
from tests.builds import Build, compiled, interpreted
from tests.core.pairings import ALICE, BOB, CAROL, MEXICAN, NOW, P1, P2, couple
from tests.wire.test_feed import garbage

encode, decode = msgspec.msgpack.encode, msgspec.msgpack.decode

ACCOUNT, OTHER = "AC" + "1" * 32, "AC" + "2" * 32
WANTS = ("outcome", "to", "caller_id")
ROUTED, REFUSED = ["routed", BOB, P2], ["refused", "", ""]
PLAIN = tuple(name for name in FIELDS if name not in {"session", "inbound_participant", "outbound_participant"})

ONE_BUILD = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
subjects = st.sampled_from(["call", "message"])
questions = st.tuples(
    st.just("resolve"),
    subjects,
    st.sampled_from([ALICE, BOB, CAROL, MEXICAN, "+5215512345678", "12345", "x" * 31, "é", "+" + "9" * 16]),
    st.sampled_from([P1, P2, "12345"]),
)
frames = st.lists(questions, max_size=20)


@pytest.fixture(params=[compiled, interpreted], ids=["compiled", "interpreted"], scope="module")
def build(request: pytest.FixtureRequest) -> Build:
    made: Build = request.param()
    return made


def known(build: Build, *, until: int = 1 << 60) -> Any:  # noqa: ANN401 - an index of the build
    """Return the shortcuts of two numbers: Alice meets Bob on the first, someone in Mexico is to be looked up there."""
    index = build.shortcuts.ShortcutIndex().at(NOW)
    table = index.open(P1, ACCOUNT)
    build.shortcuts.note(table, ALICE, BOB, P2, until)
    build.shortcuts.hold(table, MEXICAN)
    index.open(P2, ACCOUNT)
    return index


def answered(
    build: Build,
    payload: bytes,
    index: Any,  # noqa: ANN401 - of the build
    *,
    wants: Sequence[str] = WANTS,
    account_sid: str | None = None,
) -> Any:  # noqa: ANN401 - of the build
    layout = layout_of(tuple(wants))
    assert layout is not None
    own = build.feed_shortcuts.AnswerLayout(
        layout.head,
        layout.first,
        layout.between,
        layout.second,
        layout.tail,
        to_caller=layout.to_caller,
        to_sender=layout.to_sender,
    )
    return build.feed_shortcuts.answer_frame(payload, index, index.account(account_sid), own, MAX_EVENTS)


def question(sender: str = ALICE, proxy: str = P1, *, subject: str = "call") -> list[str]:
    return ["resolve", subject, sender, proxy]


def test_who_has_a_shortcut_is_routed_and_who_is_unknown_refused(build: Build) -> None:
    """In their order, with nothing left to ask."""
    asked = [question(), question(CAROL), question(subject="message"), question(ALICE, P2, subject="message")]

    answers = answered(build, encode(asked), known(build))

    assert decode(completed(answers, ())) == [ROUTED, REFUSED, ROUTED, REFUSED]
    assert (answers.count, answers.strangers, answers.missing, answers.rest) == (4, 2, 0, b"")


@pytest.mark.parametrize("size", [0, 1, 15, 16, 255, 256, MAX_EVENTS])
def test_a_frame_of_any_size_is_answered(build: Build, size: int) -> None:
    """Up to the most that a frame may hold, and not beyond."""
    index = known(build)

    answers = answered(build, encode([question()] * size), index)

    assert decode(completed(answers, ())) == [ROUTED] * size
    assert answered(build, encode([question()] * (MAX_EVENTS + 1)), index) is None


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
def test_what_has_no_shortcut_is_left_to_be_asked(build: Build, missing: list[str]) -> None:
    """Its answer goes where its question stood."""
    asked = [missing, question(), missing, missing, question(CAROL), missing]

    answers = answered(build, encode(asked), known(build))

    assert decode(answers.rest) == [missing] * 4
    said = completed(answers, ["not-ready", None, ("late",), "last"])
    assert decode(said) == ["not-ready", ROUTED, None, ["late"], REFUSED, "last"]


def test_a_shortcut_is_good_until_its_end(build: Build) -> None:
    """And not in the second in which that falls."""
    index = known(build, until=int(NOW) + 5)

    missing = [answered(build, encode([question()]), index.at(NOW + later)).missing for later in (0, 4.9, 5, 5.5, 6)]

    assert missing == [0, 0, 1, 1, 1]


def test_numbers_of_other_accounts_are_left_to_be_asked(build: Build) -> None:
    """Strangers too: whether a number is there is not said."""
    index, asked = known(build), encode([question(), question(CAROL)])

    missing = [answered(build, asked, index, account_sid=one).missing for one in (None, ACCOUNT, OTHER)]

    assert missing == [0, 0, 2]


def test_numbers_whose_sessions_are_not_kept_up_are_left_to_be_asked(build: Build) -> None:
    """Until whoever tells of them is heard again; others' are answered."""

    class Teller:
        is_ready = True

    index, teller = known(build), Teller()
    build.shortcuts.note(index.open("+16465550003", ACCOUNT, teller), ALICE, BOB, P2, 1 << 60)
    asked, missing = encode([question(), question(ALICE, "+16465550003"), question(CAROL, "+16465550003")]), []

    for is_ready in (True, False, True):
        teller.is_ready = is_ready
        missing.append(answered(build, asked, index.at(NOW)).missing)

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
def test_a_frame_of_anything_else_is_not_answered(build: Build, frame: object) -> None:
    """Calls, texts, what is wrong: read where that is understood."""
    assert answered(build, encode(frame), known(build)) is None


def test_a_frame_that_is_cut_or_goes_on_is_not_answered(build: Build) -> None:
    """Wherever it ends."""
    index, whole = known(build), encode([question(), question(CAROL)])

    found = [answered(build, whole[:end], index) for end in range(len(whole))]

    assert found == [None] * len(whole)
    assert answered(build, whole + b"\xc0", index) is None


@given(frames)
@ONE_BUILD
def test_no_question_is_lost_and_none_is_answered_twice(build: Build, asked: list[tuple[str, ...]]) -> None:
    """Those that are left to be asked are those without an answer, in their order."""
    answers = answered(build, encode(asked), known(build))

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
@ONE_BUILD
def test_nothing_in_a_frame_can_do_harm(build: Build, payload: bytes) -> None:
    """It is left alone, or what is left of it is read like any other frame."""
    answers = answered(build, payload, known(build))

    if answers is not None:
        try:
            read = read_resolves(payload)
        except UNREADABLE:
            assert answers.missing
        else:
            assert len(read) == answers.count
            assert len(decode(completed(answers, [None] * answers.missing))) == answers.count


@given(st.lists(st.sampled_from(PLAIN), min_size=1, max_size=15))
@ONE_BUILD
def test_answers_are_made_of_what_a_client_wants(build: Build, wants: list[str]) -> None:
    """In its order, as decisions that were looked up are; more than twice a number is not laid out."""
    layout = layout_of(tuple(wants))
    if layout is None:
        assert wants.count("to") + wants.count("caller_id") > 2
        return

    answers = answered(
        build, encode([question(), question(CAROL), question(CAROL, subject="message")]), known(build), wants=wants
    )

    shape = shape_of(tuple(wants))
    decisions: list[Decision | Passage] = [Passage(BOB, P2, couple()), *STRANGERS]
    assert bytes(completed(answers, ())) == encode(shape.all(decisions))


@pytest.mark.parametrize("wants", [None, ("to", "session"), ("inbound_participant",), ("outcome",) * 16])
def test_a_client_that_wants_more_has_no_layout(wants: tuple[str, ...] | None) -> None:
    """Sessions and participants are not in a shortcut."""
    assert layout_of(wants) is None


def test_questions_are_cut_out_as_they_came(build: Build) -> None:
    """Not written anew: where one begins, the one before it ends."""
    asked = [encode(question(MEXICAN)), encode(question()), encode(question("12345"))]
    payload = b"\x93" + b"".join(asked)

    answers = answered(build, payload, known(build))

    assert answers.rest == b"\x92" + asked[0] + asked[2]
