"""The feed's connection: what is answered when, to whom, and in which order."""

import asyncio
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.channels.feed.connection import Admitted, FeedConnection, FeedParts
from engine.channels.feed.settings import FeedSettings
from engine.core.model.hosts import HostAddress, HostDirectory
from engine.core.model.records import Kind, LegStatus
from engine.core.ports.observing import FeedProblem
from engine.core.ports.store import Lease
from engine.core.routing.traffic import InboundEvent, ReportOutcome
from tests.channels.feed import feed_example
from tests.channels.feed.feed_example import FRAMES
from tests.channels.feed.feed_rig import (
    ACCOUNT,
    CARRIER,
    CARRIER_TOKEN,
    DIGITS,
    FAR,
    HELLO,
    HOOKED,
    KEY,
    PROXY,
    REGIONAL,
    ROUTED,
    SECRET,
    SENDER,
    STRANGER,
    TOLD,
    FakeObserver,
    FakePlane,
    call,
    connected,
    encode,
    feeding,
    greeted,
    resolve,
    until,
)
from tests.http.rig import FakeMeter

pytestmark = pytest.mark.anyio

STATUS = ["status", "call", "outbound", "CA1", "completed", PROXY, ROUTED.interaction_sid, 61]


# -- hello -----------------------------------------------------------------------------------------------------------


async def test_a_hello_is_answered_with_limits_fields_and_directory() -> None:
    """Whatever a client needs to go on."""
    async with feeding() as running, connected(running) as client:
        kind, frame, terms = await client.ask(HELLO)

    assert (kind, frame) == ("welcome", 0)
    assert (terms["version"], terms["account"], terms["fields"]) == (1, ACCOUNT, ["outcome", "to"])
    assert set(terms["limits"]) == {"frame_bytes", "frame_events", "window_frames", "window_bytes"}
    hosts = [{"name": "host-0", "address": "127.0.0.1:9090"}]
    assert terms["directory"] == {"epoch": 1, "me": 0, "hosts": hosts}


async def test_the_directory_tells_shards_where_there_are_any() -> None:
    """Beside what it always tells."""
    async with feeding() as running, connected(running) as client:
        running.directory = msgspec.structs.replace(running.directory, shards=1024)
        _, _, terms = await client.ask(HELLO)

    assert terms["directory"].keys() == {"epoch", "me", "hosts", "shards"}
    assert terms["directory"]["shards"] == 1024


async def test_a_carrier_of_the_operators_speaks_for_every_account() -> None:
    """Its events name no account; a wrong token is no way in."""
    async with feeding() as running:
        async with greeted(running, key=CARRIER, secret=CARRIER_TOKEN) as client:
            await client.ask([call(), STATUS])
        async with connected(running) as client:
            _, _, problem = await client.ask(HELLO | {"key": CARRIER, "secret": "guessed"})

    assert running.plane.events[0].account_sid is None
    assert running.plane.reports[0].account_sid is None
    assert problem["error"] == "bad-credentials"


async def test_a_carrier_that_serves_some_numbers_reaches_no_others() -> None:
    """Calls, messages, statuses and questions alike, alone and in bulk; nothing of them comes to the data plane."""
    far = "+16465550123"
    async with feeding() as running, greeted(running, key=REGIONAL, secret=CARRIER_TOKEN) as client:
        _, _, _, mixed = await client.ask(
            [["call", SENDER, far, "CA1"], ["message", SENDER, far, "SM1", "hi"], [*STATUS[:5], far], call()]
        )
        _, _, _, asked = await client.ask([["resolve", "call", SENDER, far], resolve()])

    assert [event.proxy for event in running.plane.events] == [PROXY]
    assert running.plane.reports == []
    assert mixed[:3] == [["unknown-number", ""], ["unknown-number", ""], "not-found"]
    assert asked == [["unknown-number", ""], TOLD[SENDER]]


@pytest.mark.parametrize(
    ("key", "secret", "numbers"),
    [(REGIONAL, CARRIER_TOKEN, ("+1415",)), (CARRIER, CARRIER_TOKEN, ()), (KEY, SECRET, ())],
)
async def test_a_status_says_which_numbers_are_its_carriers_own(
    key: str, secret: str, numbers: tuple[str, ...]
) -> None:
    """It may name the interaction of any: what it is of is held against them."""
    async with feeding() as running, greeted(running, key=key, secret=secret) as client:
        await client.ask([STATUS])

    assert [report.numbers for report in running.plane.reports] == [numbers]


async def test_a_carrier_may_write_numbers_without_plus_where_that_is_set() -> None:
    """Calls, messages, statuses and questions alike, alone and in bulk."""
    who, number = SENDER[1:], PROXY[1:]
    async with feeding() as running, greeted(running, key=DIGITS, secret=CARRIER_TOKEN) as client:
        _, _, _, mixed = await client.ask([["call", who, number, "CA1"], [*STATUS[:5], number], call()])
        _, _, _, asked = await client.ask([["resolve", "call", who, number]])

    assert [(event.sender, event.proxy) for event in running.plane.events] == [(SENDER, PROXY)] * 2
    assert [report.proxy for report in running.plane.reports] == [PROXY]
    assert (mixed[0], asked) == (TOLD[SENDER], [TOLD[SENDER]])


async def test_a_number_reached_without_plus_is_refused_where_that_is_not_set() -> None:
    """It may be a number as it is written at home; the refusal says what to do."""
    number = PROXY[1:]
    async with feeding() as running, greeted(running) as client:
        _, _, _, answers = await client.ask(
            [["call", SENDER, number, "CA1"], ["message", SENDER, number, "SM1"], [*STATUS[:5], number], call()]
        )

    assert [(answer["error"], answer["field"]) for answer in answers[:3]] == [("bad-field", "proxy")] * 3
    assert "writes_digits" in answers[0]["detail"]
    assert answers[3] == TOLD[SENDER]


async def test_the_events_of_an_account_name_it() -> None:
    """All four kinds: the data plane shows it no number of another account."""
    async with feeding() as running, greeted(running) as client:
        await client.ask([call(), STATUS, ["message", SENDER, PROXY, "SM1", "hi"]])
        await client.ask([resolve()])
        await client.ask([resolve(), call(STRANGER)])

    assert running.plane.events[:2] == [
        InboundEvent(Kind.VOICE, SENDER, PROXY, "CA1", account_sid=ACCOUNT),
        InboundEvent(Kind.MESSAGE, SENDER, PROXY, "SM1", "hi", account_sid=ACCOUNT),
    ]
    assert (running.plane.reports[0].account_sid, running.plane.reports[0].status) == (ACCOUNT, LegStatus.COMPLETED)
    assert running.plane.accounts == [ACCOUNT, ACCOUNT]


@pytest.mark.parametrize(
    ("first", "error"),
    [
        (HELLO | {"secret": "wrong"}, FeedProblem.BAD_CREDENTIALS),
        (HELLO | {"key": ACCOUNT}, FeedProblem.BAD_CREDENTIALS),
        (HELLO | {"wants": []}, FeedProblem.BAD_HELLO),
        ({"version": 1}, FeedProblem.BAD_HELLO),
        ([call()], FeedProblem.HELLO_EXPECTED),
        ([], FeedProblem.HELLO_EXPECTED),
        (HELLO | {"padding": "x" * 5_000}, FeedProblem.FRAME_TOO_LONG),
    ],
)
async def test_whoever_does_not_come_in_is_told_why_and_left(first: object, error: FeedProblem) -> None:
    """What follows in the same breath is not looked at."""
    async with feeding() as running, connected(running) as client:
        kind, frame, problem = await client.ask(first, HELLO, [call()])
        rest = await client.ended()

    assert (kind, frame, problem["error"], rest) == ("error", 0, error, b"")
    assert (running.observer.problems, running.plane.events) == ([error], [])


async def test_bytes_of_another_protocol_end_the_connection() -> None:
    """Their length is no length."""
    async with feeding() as running, connected(running) as client:
        client.writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        kind, _, problem = await client.read()
        rest = await client.ended()

    assert (kind, problem["error"], rest) == ("error", "frame-too-long", b"")


async def test_another_version_may_be_tried_on_the_same_connection() -> None:
    """The error names the one that is spoken."""
    async with feeding() as running, connected(running) as client:
        _, _, problem = await client.ask({"version": 7})
        welcome = await client.ask(HELLO)

    assert (problem["error"], problem["field"]) == ("unknown-version", "version")
    assert "version 1" in problem["detail"]
    assert welcome[:2] == ["welcome", 1]


async def test_a_second_hello_brings_the_directory_anew_and_other_fields() -> None:
    """From the next frame on; every answer tells the epoch."""
    async with feeding() as running, greeted(running) as client:
        before = await client.ask([call(STRANGER)])
        running.directory = HostDirectory(5, 0, (HostAddress("host-0", "a:1"), HostAddress("host-1", "b:2")))
        after = await client.ask([call(STRANGER)])
        welcome = await client.ask(HELLO | {"wants": ["reason"]})
        last = await client.ask([resolve(STRANGER)])

    assert (before, after) == (["answers", 1, 1, [TOLD[STRANGER]]], ["answers", 2, 5, [TOLD[STRANGER]]])
    assert welcome[:2] == ["welcome", 3]
    assert [host["address"] for host in welcome[2]["directory"]["hosts"]] == ["a:1", "b:2"]
    assert last == ["answers", 4, 5, [["no-session"]]]


async def test_a_second_hello_with_bad_credentials_ends_the_connection() -> None:
    """One with a mistake in it does not."""
    async with feeding() as running, greeted(running) as client:
        mistaken = await client.ask(HELLO | {"wants": ["colour"]})
        forged = await client.ask(HELLO | {"secret": "wrong"})
        rest = await client.ended()

    assert (mistaken[2]["error"], forged[2]["error"], rest) == ("bad-hello", "bad-credentials", b"")


# -- answers ---------------------------------------------------------------------------------------------------------


async def test_every_event_is_answered_in_its_place() -> None:
    """Decisions are arrays, leg statuses strings, mistakes maps."""
    async with feeding() as running, greeted(running) as client:
        answers = await client.ask([call(), call(STRANGER), STATUS, resolve(), ["call", SENDER], resolve(STRANGER)])

    kind, frame, epoch, said = answers
    assert (kind, frame, epoch) == ("answers", 1, 1)
    assert said[:4] == [TOLD[SENDER], TOLD[STRANGER], "recorded", TOLD[SENDER]]
    assert (said[4]["error"], said[4]["field"]) == ("missing-field", "proxy")
    assert said[5] == TOLD[STRANGER]
    assert running.observer.problems == [FeedProblem.MISSING_FIELD]
    assert sum(running.meter.resolutions) == 2


async def test_questions_alone_are_answered_at_once() -> None:
    """Nothing is received, nothing waits for a commit."""
    async with feeding() as running, greeted(running) as client:
        running.plane.is_holding_commits = True
        answers = await client.ask([resolve(), resolve(STRANGER)])

    assert answers == ["answers", 1, 1, [TOLD[SENDER], TOLD[STRANGER]]]
    assert (running.plane.events, running.plane.uncommitted, sum(running.meter.resolutions)) == ([], [], 2)


async def test_an_array_of_nothing_is_answered_with_one() -> None:
    """A way to see whether the other side is alive."""
    async with feeding() as running, greeted(running) as client:
        assert await client.ask([]) == ["answers", 1, 1, []]
        assert await client.ask([call(STRANGER)]) == ["answers", 2, 1, [TOLD[STRANGER]]]
        assert await client.ask([]) == ["answers", 3, 1, []]


async def test_a_route_is_answered_after_its_commit_and_holds_the_order() -> None:
    """Neither the rest of its frame nor a later frame overtakes it."""
    async with feeding() as running, greeted(running) as client:
        running.plane.is_holding_commits = True
        client.write([call(STRANGER), call()], [resolve()], [])
        await until(lambda: len(running.plane.uncommitted) == 2)
        assert await client.hears_nothing()
        running.plane.commit(1)
        frames = [await client.read() for _ in range(3)]

    assert frames == [
        ["answers", 1, 1, [TOLD[STRANGER], TOLD[SENDER]]],
        ["answers", 2, 1, [TOLD[SENDER]]],
        ["answers", 3, 1, []],
    ]


async def test_a_report_that_cannot_be_kept_is_to_be_sent_again() -> None:
    """As a string, like every answer to a leg status."""
    async with feeding() as running, greeted(running) as client:
        running.plane.report_outcome = None
        lost = await client.ask([STATUS])
        running.plane.report_outcome = ReportOutcome.NOT_FOUND
        unknown = await client.ask([STATUS])

    assert (lost[3], unknown[3]) == (["not-ready"], ["not-found"])


# -- what waits ------------------------------------------------------------------------------------------------------


async def test_a_hook_makes_only_its_own_event_wait() -> None:
    """The others of its frame and the frames behind it are answered; its answer comes by index when it is there."""
    async with feeding() as running, greeted(running) as client:
        first = await client.ask([call(), call(HOOKED), call(STRANGER), call(HOOKED, "CA2")])
        second = await client.ask([call(), call(HOOKED, "CA3")])
        third = await client.ask([resolve()])
        running.plane.answer_hooks()
        later = await client.read()

    assert first == ["answers", 1, 1, [TOLD[SENDER], None, TOLD[STRANGER], None]]
    assert second == ["answers", 2, 1, [TOLD[SENDER], None]]
    assert third == ["answers", 3, 1, [TOLD[SENDER]]]
    assert later == ["later", 1, [[1, 1, TOLD[HOOKED]], [1, 3, TOLD[HOOKED]], [2, 1, TOLD[HOOKED]]]]


async def test_a_hook_that_is_faster_than_the_commit_is_not_late() -> None:
    """Its answer is in its place."""
    async with feeding() as running, greeted(running) as client:
        running.plane.is_holding_commits = True
        client.write([call(HOOKED), call()])
        await until(lambda: len(running.plane.hooks) == 1)
        running.plane.answer_hooks()
        running.plane.commit()

        assert await client.read() == ["answers", 1, 1, [TOLD[HOOKED], TOLD[SENDER]]]


async def test_another_hosts_decision_may_come_later() -> None:
    """Also of a frame with nothing but questions."""
    async with feeding() as running, greeted(running) as client:
        answers = await client.ask([resolve(), resolve(FAR)])
        running.plane.answer_hooks()
        later = await client.read()

    assert answers == ["answers", 1, 1, [TOLD[SENDER], None]]
    assert later == ["later", 1, [[1, 1, TOLD[FAR]]]]
    assert sum(running.meter.resolutions) == 2


async def test_a_later_answer_has_the_fields_wanted_when_its_event_came() -> None:
    """A hello in between changes the events after it only."""
    async with feeding() as running, greeted(running) as client:
        await client.ask([call(HOOKED)])
        await client.ask(HELLO | {"wants": ["reason"]})
        running.plane.answer_hooks()

        assert await client.read() == ["later", 1, [[1, 0, TOLD[HOOKED]]]]


# -- mistakes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        (b"\xc1", FeedProblem.NOT_MSGPACK),
        (b"", FeedProblem.NOT_MSGPACK),
        (b"\x91" * 5_000, FeedProblem.NOT_MSGPACK),
        (encode("call"), FeedProblem.NOT_AN_ARRAY),
        (encode([call()] * 5_000), FeedProblem.TOO_MANY_EVENTS),
        (encode({"version": 1}), FeedProblem.BAD_HELLO),
        (encode({"version": 2}), FeedProblem.UNKNOWN_VERSION),
        (bytes(1_048_577), FeedProblem.FRAME_TOO_LONG),
    ],
)
async def test_a_bad_frame_is_answered_in_its_place_and_the_connection_goes_on(
    payload: bytes, error: FeedProblem
) -> None:
    """The frames around it are answered in order, the route before it after its commit."""
    async with feeding() as running, greeted(running) as client:
        client.write([call()])
        client.writer.write(len(payload).to_bytes(4) + payload)
        client.write([call(STRANGER)])
        before, problem, after = [await client.read() for _ in range(3)]

    assert before == ["answers", 1, 1, [TOLD[SENDER]]]
    assert (problem[:2], problem[2]["error"]) == (["error", 2], error)
    assert after == ["answers", 3, 1, [TOLD[STRANGER]]]
    assert running.observer.problems == [error]


async def test_a_length_that_is_none_ends_the_connection_after_what_was_taken() -> None:
    """The route before it is still answered."""
    async with feeding() as running, greeted(running) as client:
        client.write([call()])
        client.writer.write(b"\xff\xff\xff\xff" + b"more")
        answers, problem = await client.read(), await client.read()
        rest = await client.ended()

    assert answers == ["answers", 1, 1, [TOLD[SENDER]]]
    assert (problem[:2], problem[2]["error"], rest) == (["error", 2], "frame-too-long", b"")


async def test_a_bug_of_ours_is_answered_and_spoils_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    """One event in a mixed frame; a whole frame of questions; the next are answered."""
    async with feeding() as running, greeted(running) as client:
        running.plane.failure = RuntimeError("a bug")
        mixed = await client.ask([call(), STATUS])
        questions = await client.ask([resolve()])
        again = await client.ask([resolve()])
        running.plane.failure = None
        after = await client.ask([call()])

    assert (mixed[3][0]["error"], mixed[3][1]) == ("internal-error", "recorded")
    for frame, problem in ((2, questions), (3, again)):
        assert problem == ["error", frame, {"error": "internal-error"}]
    assert after[3] == [TOLD[SENDER]]
    assert "could not be answered" in caplog.text
    assert SENDER not in caplog.text


async def test_one_connections_mistakes_are_no_other_connections() -> None:
    """Each is by itself."""
    async with feeding() as running, greeted(running) as good, greeted(running) as bad:
        bad.writer.write(b"\xff" * 100)
        await bad.read()
        await bad.ended()

        assert await good.ask([call()]) == ["answers", 1, 1, [TOLD[SENDER]]]


@given(
    frames=st.lists(
        st.lists(st.sampled_from([call(), call(STRANGER), resolve(), STATUS, ["call", SENDER], 7]), max_size=4).map(
            encode
        )
        | st.binary(max_size=12)
        | st.just(encode(HELLO)),
        max_size=8,
    ),
    cuts=st.lists(st.integers(0, 1_500), max_size=6),
)
def test_however_the_bytes_arrive_the_answers_are_the_same(frames: list[bytes], cuts: list[int]) -> None:
    """Good frames and bad ones, cut anywhere; no byte of the answers differs, and nothing is raised."""
    stream = b"".join(len(payload).to_bytes(4) + payload for payload in (encode(HELLO), *frames))
    places = sorted({min(cut, len(stream)) for cut in cuts} | {0, len(stream)})

    whole = asyncio.run(answered([stream]))
    cut = asyncio.run(answered([stream[start:end] for start, end in pairwise(places)]))

    assert whole == cut
    assert len(whole.split(b"\xa7welcome")) > 1


async def test_what_was_decided_under_the_lease_leaves_under_it_or_not_at_all() -> None:
    """The connection ends instead, and its client asks anew: of whoever has the place by then."""
    held = iter([True, True, True, False])

    written = await answered([_stream(HELLO), _stream([resolve(), call()])], lease=lambda: next(held))

    assert written == await answered([_stream(HELLO)]) + b"aborted"


async def test_what_was_decided_without_the_lease_leaves() -> None:
    """It says "not ready"."""
    stream = [_stream(HELLO), _stream([resolve()]), _stream([call()])]

    assert await answered(stream, lease=lambda: False) == await answered(stream)


def _stream(frame: object) -> bytes:
    payload = encode(frame)
    return len(payload).to_bytes(4) + payload


async def answered(chunks: list[bytes], *, lease: Lease | None = None) -> bytes:
    """Return all that a connection writes when these bytes arrive."""
    parts = FeedParts(
        FakePlane(),
        lambda hello: Admitted(ACCOUNT),
        lambda: HostDirectory(1, 0, ()),
        FakeObserver(),
        FakeMeter(),
        lambda: 0.0,
        FeedSettings(),
        lambda connection: True,
        lambda connection: None,
        lease,
    )
    connection, transport = FeedConnection(parts), FakeTransport()
    connection.connection_made(transport)
    for chunk in chunks:
        connection.data_received(chunk)
        await asyncio.sleep(0)
    for _ in range(60):
        await asyncio.sleep(0)
    connection.connection_lost(None)
    return transport.written


class FakeTransport(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Keep it."""
        self.written += data

    def can_write_eof(self) -> bool:
        """Say no: it has no other side."""
        return False

    def close(self) -> None:
        """Stay as it is."""

    def abort(self) -> None:
        """Note it."""
        self.written += b"aborted"

    def pause_reading(self) -> None:
        """Let the test go on."""

    def resume_reading(self) -> None:
        """Let the test go on."""


async def test_the_worked_example_goes_over_the_wire_byte_by_byte() -> None:
    """As docs/feed.md shows it, whatever the pieces in which it arrives."""
    sent = [FRAMES["→ hello"], FRAMES["→ events"]]
    expected = FRAMES["← welcome"] + FRAMES["← answers"] + FRAMES["← later"]
    for size in (1, 7, 4_096):
        async with feeding() as running, connected(running) as client:
            running.keys[feed_example.KEY] = feed_example.SECRET
            running.plane.decide = feed_example.decision
            running.plane.waits = {"+12125550122"}
            stream = b"".join(sent)
            for at in range(0, len(stream), size):
                client.writer.write(stream[at : at + size])
                await client.writer.drain()
                await asyncio.sleep(0)
            first = await client.reader.readexactly(len(expected) - len(FRAMES["← later"]))
            running.plane.answer_hooks()
            assert first + await client.reader.readexactly(len(FRAMES["← later"])) == expected
