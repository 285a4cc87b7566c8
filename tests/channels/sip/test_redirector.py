"""The redirect server: what each request is answered, what is decided once, and that nothing else comes back."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.channels.sip.answers import Answering
from engine.channels.sip.redirector import MOST_AMPLIFIED, Redirector, call_sid
from engine.channels.sip.styles import AnswerStyle, Trust
from engine.channels.sip.switches import Arrival, Peer
from engine.core.model.records import DebuggerEvent, Kind
from engine.core.ports.observing import SipProblem
from engine.core.routing.traffic import Decision, InboundEvent, LegReport, Outcome, Reason, ReportOutcome
from tests.channels.sip.messages import ALICE, PROXY, invite, offering
from tests.silent import SilentMeter

BOB, P2, INTERACTION = "+12125550122", "+14155550101", "KI" + "1" * 32
REFUSED = Decision(Outcome.REFUSED, Reason.NO_SESSION)
ROUTED = Decision(Outcome.ROUTED, Reason.IN_SESSION, to=BOB, caller_id=P2, interaction_sid=INTERACTION)
REJECT = "<Response><Reject/></Response>"
SOURCE = ("192.0.2.1", 5060)


class FakePlane:
    """Routes Alice, refuses everybody else; holds its answers back where it is told to."""

    def __init__(self) -> None:
        self.events: list[InboundEvent] = []
        self.held: list[Callable[[], None]] | None = None
        self.others = REFUSED
        self.owner: str | None = None

    def receive(self, event: InboundEvent, answer: Callable[[Decision], None]) -> None:
        """Take an event."""
        self.events.append(event)
        decision = ROUTED if event.sender == ALICE.decode() else self.others
        if self.held is None:
            answer(decision)
        else:
            self.held.append(lambda: answer(decision))

    def report(self, report: LegReport, answer: Callable[[ReportOutcome | None], None]) -> None:
        """Is not told of legs."""

    def signing_tokens(self, proxy: str) -> tuple[str, ...]:
        """Is not asked for any."""
        return ()

    def account_tokens(self, account_sid: str) -> tuple[str, ...]:
        """Is not asked for any."""
        return ()

    def owner_of(self, proxy: str) -> str | None:
        """Return whose the number is."""
        return self.owner


class FakeSipObserver:
    """Remembers what it is told, in order."""

    def __init__(self) -> None:
        self.told: list[tuple[object, ...]] = []
        self.problems: list[SipProblem] = []
        self.events: list[DebuggerEvent] = []

    def sip_requested(self, peer: str, method: str, times: int) -> None:
        """Remember requests."""
        self.told += [(peer, method)] * times

    def sip_repeated(self, peer: str) -> None:
        """Remember a repetition."""
        self.told.append((peer, "again"))

    def sip_answered(self, peer: str, status: int, times: int) -> None:
        """Remember answers."""
        self.told += [(peer, status)] * times

    def sip_decided(self, seconds: float, times: int) -> None:
        """Remember how long answers took."""
        self.told += [("decided", seconds)] * times

    def sip_dropped(self, problem: SipProblem) -> None:
        """Remember a problem."""
        self.problems.append(problem)

    def debugger(self, event: DebuggerEvent) -> None:
        """Remember what an account is told."""
        self.events.append(event)


class Rig:
    """A redirector, one peer, and what went back to it."""

    def __init__(self, *, most_waiting: int = 100, account_sid: str | None = None, trust: Trust | None = None) -> None:
        self.plane, self.observer, self.meter = FakePlane(), FakeSipObserver(), SilentMeter()
        self.now = 1_000.0
        self.is_ready = True
        self.sent: list[bytes] = []
        self.peer = Peer(
            name="carrier",
            style=AnswerStyle(contact_host="192.0.2.1"),
            trust=trust or Trust(),
            read_number=lambda text: text if text[1:].isdigit() else None,
            account_sid=account_sid,
        )
        self.redirector = Redirector(
            self.plane,
            answering=Answering(b"k" * 16),
            is_ready=lambda: self.is_ready,
            observer=self.observer,
            meter=self.meter,
            clock=lambda: 1_000_000.0,
            monotonic=lambda: self.now,
            deadline_seconds=2.0,
            most_waiting=most_waiting,
        )

    def ask(self, message: bytes, *, is_reliable: bool = False) -> list[bytes]:
        """Return what a message is answered by the time that it has been taken."""
        before = len(self.sent)
        arrival = Arrival(self.peer, SOURCE, is_reliable=is_reliable, reply=self.sent.append)
        self.redirector.take(message, arrival, now=self.now)
        self.redirector.tell()
        return self.sent[before:]

    def pass_time(self, seconds: float) -> list[bytes]:
        """Let the time pass from timer to timer; return what is sent meanwhile."""
        before, until = len(self.sent), self.now + seconds
        while (timer := self.redirector.next_timer()) is not None and timer <= until:
            self.now = max(self.now, timer)
            self.redirector.wake()
        self.now = until
        return self.sent[before:]


def statuses(answers: list[bytes]) -> list[int]:
    return [int(answer.split(b" ", 2)[1]) for answer in answers]


def request(method: bytes, *more: bytes, uri: bytes = b"sip:" + PROXY + b"@engine.example") -> bytes:
    return invite(b"CSeq: 314159 " + method, *more, start=method + b" " + uri + b" SIP/2.0")


def test_a_call_in_session_is_redirected() -> None:
    """To the partner, with the caller id beside it; the engine was asked for what the request says."""
    rig = Rig(account_sid="AC" + "1" * 32)

    (answer,) = rig.ask(invite())

    assert answer.startswith(b"SIP/2.0 302 Moved Temporarily\r\n")
    assert b"\r\nContact: <sip:+12125550122@192.0.2.1;user=phone>\r\n" in answer
    assert b"\r\nX-Maskline-Caller-Id: +14155550101\r\n" in answer
    assert rig.plane.events == [
        InboundEvent(
            Kind.VOICE,
            "+12125550111",
            "+14155550100",
            "a84b4c76e66710@pc33.carrier.example",
            account_sid="AC" + "1" * 32,
        )
    ]
    assert rig.redirector.waiting == 0


def test_a_stranger_is_refused() -> None:
    """With nothing of ours in the answer."""
    (answer,) = Rig().ask(invite(b"From: <sip:+12125550199@h>;tag=1"))

    assert answer.startswith(b"SIP/2.0 404 Not Found\r\n")
    assert b"Contact" not in answer
    assert b"Maskline" not in answer


@pytest.mark.parametrize(("document", "status"), [("<Response><Say>Hi</Say></Response>", 480), (REJECT, 603)])
def test_an_account_is_told_of_a_document_that_no_switch_can_play(document: str, status: int) -> None:
    """Once for a call, however often that is repeated; a lone refusal can be said."""
    rig = Rig()
    rig.plane.owner = "AC" + "1" * 32
    rig.plane.others = Decision(Outcome.ANSWERED, Reason.OUT_OF_SESSION, twiml=document)
    stranger = invite(b"From: <sip:+12125550199@h>;tag=1")

    answers = rig.ask(stranger) + rig.ask(stranger)

    assert statuses(answers) == [status] * 2
    told = [(one.code, one.account_sid, one.proxy) for one in rig.observer.events]
    assert told == ([(80913, rig.plane.owner, PROXY.decode())] if status == 480 else [])


def test_an_ack_is_read_only_where_an_answer_is_repeated_until_it_comes() -> None:
    """What waits for its decision alone needs none, nor do other calls: it is dropped without a look."""
    rig = Rig()
    rig.plane.held = []
    rig.ask(invite())

    rig.ask(b"ACK of something that cannot be read")
    assert rig.observer.problems == []

    rig.pass_time(1)
    rig.plane.held[0]()
    rig.ask(b"ACK of something that cannot be read")
    assert rig.observer.problems == [SipProblem.NO_SIP]
    rig.ask(b"ACK of something that cannot be read\r\nCall-ID: of another call\r\n")
    assert rig.observer.problems == [SipProblem.NO_SIP]

    rig.ask(request(b"ACK"))
    rig.ask(b"ACK of something that cannot be read")
    assert rig.observer.problems == [SipProblem.NO_SIP]


@pytest.mark.parametrize(
    "line", [b"Call-ID:a84b4c76e66710@pc33.carrier.example", b"Call-ID:\r\n a84b4c76e66710@pc33.carrier.example"]
)
def test_an_ack_ends_the_repetition_however_its_call_is_named(line: bytes) -> None:
    """Without a blank, on a line of its own, or under the header's short name."""
    for written in (line, line.replace(b"Call-ID", b"i")):
        rig = Rig()
        rig.plane.held = []
        rig.ask(offering())
        rig.pass_time(1)
        rig.plane.held[0]()

        rig.ask(request(b"ACK", b"-Call-ID", written))

        assert (rig.pass_time(60), rig.redirector.waiting) == ([], 0)


def test_an_asserted_caller_counts_where_the_peer_is_trusted() -> None:
    """Also behind an anonymous From."""
    message = invite(
        b'From: "Anonymous" <sip:anonymous@anonymous.invalid>;tag=1', b"P-Asserted-Identity: <tel:" + ALICE + b">"
    )

    assert statuses(Rig(trust=Trust(asserted=True)).ask(message)) == [302]
    rig = Rig()
    assert statuses(rig.ask(message)) == [404]
    assert rig.plane.events[0].sender == "anonymous"


@pytest.mark.parametrize(
    ("message", "status"),
    [
        (request(b"OPTIONS"), 200),
        (request(b"OPTIONS", b"Require: nothingSupportsThis"), 420),
        (request(b"OPTIONS", uri=b"nobodyKnowsThisScheme:totallyopaquecontent"), 416),
        (request(b"OPTIONS", uri=b"soap.beep://192.0.2.103:3002"), 416),
        (request(b"OPTIONS", b"Max-Forwards: 0"), 200),
        (invite(start=b"INVITE sip:+14155550100@h?Route=%3Csip:x%3E SIP/2.0"), 400),
        (invite(start=b"INVITE sip:alice@h SIP/2.0"), 404),
        (invite(b"To: <sip:a@b>;tag=in-a-dialog"), 481),
        (request(b"BYE"), 481),
        (request(b"UPDATE"), 481),
        (request(b"PRACK"), 481),
        (request(b"INFO"), 481),
        (request(b"CANCEL"), 481),
        (request(b"REGISTER"), 405),
        (request(b"MESSAGE"), 405),
        (request(b"SUBSCRIBE"), 405),
        (request(b"RE%47IST%45R"), 501),
        (request(b"invite"), 501),
        (invite(start=b"INVITE sip:a@b SIP/7.0"), 505),
        (invite(b"CSeq: 1 OPTIONS"), 400),
    ],
)
def test_each_request_has_its_answer(message: bytes, status: int) -> None:
    """RFC 3261, and RFC 4475 for what is odd; nothing of it is decided."""
    rig = Rig()

    assert statuses(rig.ask(message)) == [status]
    assert rig.plane.events == []


@pytest.mark.parametrize(
    "message", [request(b"ACK"), request(b"ACK", b"-From"), b"SIP/2.0 200 OK\r\n\r\n", b"\r\n\r\n", b"x"]
)
def test_what_may_not_be_answered_is_not(message: bytes) -> None:
    """An ACK, however wrong it is; responses; what is no SIP."""
    assert Rig().ask(message) == []


def test_no_answer_over_udp_is_twice_as_long_as_its_request() -> None:
    """Whoever forges the address of a peer floods it with no more than it sends; over a stream nobody can."""
    short = b"OPTIONS sip:a SIP/2.0\r\nv:SIP/2.0/UDP a\r\nf:sip:a\r\nt:sip:a\r\ni:1\r\nCSeq:1 OPTIONS\r\n\r\n"
    rig = Rig()

    assert rig.ask(short) == []
    assert rig.observer.problems == [SipProblem.TOO_SHORT]
    assert statuses(rig.ask(short.replace(b"i:1", b"i:" + b"1" * 100))) == [200]
    assert statuses(rig.ask(short, is_reliable=True)) == [200]


def test_a_server_that_is_not_ready_says_so() -> None:
    """To OPTIONS too, which dispatchers look at."""
    rig = Rig()
    rig.is_ready = False

    assert statuses(rig.ask(request(b"OPTIONS")) + rig.ask(invite())) == [503, 503]
    assert rig.plane.events == []


def test_a_retransmission_gets_the_same_bytes() -> None:
    """From the engine's own memory of what it answered."""
    rig = Rig()

    assert rig.ask(invite()) == rig.ask(invite())
    assert len(rig.plane.events) == 2


def test_a_call_whose_commit_is_under_way_is_asked_about_once() -> None:
    """However often it is repeated; its answer goes out once, when it is known."""
    rig = Rig()
    rig.plane.held = []

    assert rig.ask(invite()) + rig.ask(invite()) == []
    for answer in rig.plane.held:
        answer()

    assert statuses(rig.sent) == [302]
    assert (len(rig.plane.events), rig.redirector.waiting) == (1, 0)


def test_a_call_that_waits_is_told_so_and_answered_until_it_acknowledges() -> None:
    """At 0.2 s, and from its answer on as RFC 3261 17.2.1 says."""
    rig = Rig()
    rig.plane.held = []
    rig.ask(offering())

    assert statuses(rig.pass_time(0.2)) == [100]
    assert statuses(rig.ask(offering())) == [100]
    rig.plane.held[0]()
    assert statuses(rig.sent) == [100, 100, 302]
    assert statuses(rig.pass_time(1.5)) == [302, 302]
    assert rig.ask(request(b"ACK")) == []
    assert (rig.pass_time(60), rig.redirector.waiting) == ([], 0)


def test_a_call_that_waits_is_answered_no_more_often_than_there_is_room_for() -> None:
    """Who forges the address of a peer and hears nothing draws less than twice what it sends, repetitions included."""
    rig = Rig()
    rig.plane.held = []
    rig.ask(offering())
    rig.pass_time(1)
    rig.plane.held[0]()
    rig.pass_time(60)

    assert statuses(rig.sent) == [100, 302, 302]
    assert rig.redirector.waiting == 0
    assert rig.observer.problems == []


def test_a_question_with_no_room_for_repetitions_is_not_silenced_by_a_100() -> None:
    """Its client goes on asking: each question draws the answer once it is known, as of a stateless server."""
    rig = Rig()
    rig.plane.held = []
    rig.ask(invite())

    assert rig.pass_time(0.4) + rig.ask(invite()) == []
    rig.plane.held[0]()
    assert statuses(rig.sent) == [302]
    assert statuses(rig.ask(invite())) == [302]
    rig.ask(request(b"ACK"))
    assert (rig.pass_time(60), rig.redirector.waiting) == ([], 0)


FORGED = (
    *(invite(), offering(), offering(b"Call-ID: another"), offering(b"CSeq: 2 INVITE"), invite(b"CSeq: 3 INVITE")),
    *map(request, (b"CANCEL", b"ACK", b"OPTIONS", b"BYE", b"REGISTER")),
    *(request(b"OPTIONS", b"Require: " + b"x" * 90), invite(b"From: <sip:+12125550199@h>;tag=1"), invite(b"-To")),
    b"OPTIONS sip:a SIP/2.0\r\nv:SIP/2.0/UDP a\r\nf:sip:a\r\nt:sip:a\r\ni:1\r\nCSeq:1 OPTIONS\r\n\r\n",
)


@given(st.lists(st.one_of(st.sampled_from(FORGED), st.sampled_from([0.1, 0.4, 2.0, 40.0]), st.none()), max_size=30))
def test_whoever_forges_the_address_of_a_peer_draws_less_than_twice_what_it_sends(
    steps: list[bytes | float | None],
) -> None:
    """In all, at any time: whatever it sends, in whatever order, however long it waits and whenever we decide."""
    rig = Rig()
    rig.plane.held = []
    received = 0

    for step in [*steps, 70.0]:
        if step is None:
            held, rig.plane.held = rig.plane.held, []
            for answer in held:
                answer()
        elif isinstance(step, float):
            rig.pass_time(step)
        else:
            received += len(step)
            rig.ask(step)
        assert sum(map(len, rig.sent)) < MOST_AMPLIFIED * received or not rig.sent

    assert rig.redirector.waiting == 0


def test_an_answer_is_repeated_only_while_the_host_is_ready() -> None:
    """Whoever asks again is answered by the process that has its place by then."""
    rigs = Rig(), Rig()
    for rig in rigs:
        rig.plane.held = []
        rig.ask(offering())
        rig.pass_time(1)
        rig.plane.held[0]()
        rig.is_ready = False

    assert [statuses(rig.sent) for rig in rigs] == [[100, 302]] * 2
    assert rigs[0].pass_time(60) == []
    assert rigs[1].ask(offering()) == []
    assert (rigs[0].redirector.waiting, rigs[0].redirector.next_timer()) == (0, None)


def test_over_a_stream_an_answer_is_sent_once() -> None:
    """It arrives, or the connection is gone."""
    rig = Rig()
    rig.plane.held = []
    rig.ask(invite(), is_reliable=True)
    rig.pass_time(1)
    rig.plane.held[0]()

    assert statuses(rig.sent) == [100, 302]
    assert (rig.pass_time(60), rig.redirector.waiting) == ([], 0)


def test_a_caller_who_hangs_up_meanwhile_ends_it() -> None:
    """The CANCEL is answered, then the INVITE; the decision that comes later is for nobody."""
    rig = Rig()
    rig.plane.held = []
    rig.ask(offering())
    rig.pass_time(0.5)

    assert statuses(rig.ask(request(b"CANCEL"))) == [200, 487]
    rig.plane.held[0]()
    assert statuses(rig.ask(request(b"CANCEL"))) == [481]
    assert statuses(rig.pass_time(0.6)) == [487]
    rig.ask(request(b"ACK"))
    assert rig.redirector.waiting == 0


def test_a_call_that_is_not_decided_in_time_is_sent_elsewhere() -> None:
    """With 503; its decision is for the switch's next question."""
    rig = Rig()
    rig.plane.held = []
    rig.ask(invite(), is_reliable=True)

    assert statuses(rig.pass_time(2)) == [100, 503]
    rig.plane.held[0]()
    assert statuses(rig.sent) == [100, 503]
    assert rig.redirector.waiting == 0


def test_no_more_wait_than_may() -> None:
    """One more is sent elsewhere, unasked."""
    rig = Rig(most_waiting=1)
    rig.plane.held = []
    rig.ask(invite())

    assert statuses(rig.ask(invite(b"Call-ID: another"))) == [503]
    assert len(rig.plane.events) == 1


def test_a_long_call_id_is_known_by_its_hash() -> None:
    """As long as an engine's SID may be, it is used as it is."""
    assert call_sid(b"x" * 64) == "x" * 64
    assert call_sid(b"x" * 65) != call_sid(b"x" * 66)
    assert len(call_sid(b"x" * 500)) == 42


@given(st.data())
def test_no_answer_says_more_than_it_was_asked(data: st.DataObject) -> None:
    """Whatever comes: partner and caller id only in a redirection, and no answer to a message that may not have one."""
    message = bytearray(invite(b"Require: x", b"P-Asserted-Identity: <tel:" + ALICE + b">"))
    for _ in range(data.draw(st.integers(0, 6))):
        at = data.draw(st.integers(0, len(message) - 1))
        message[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    rig = Rig()

    answers = rig.ask(bytes(message))

    assert len(answers) <= 1
    for answer in answers:
        assert answer.startswith(b"SIP/2.0 ")
        is_redirected = answer.startswith(b"SIP/2.0 302 ")
        assert (BOB.encode() in answer) is is_redirected
        assert not is_redirected or b"X-Maskline-Caller-Id: +14155550101\r\n" in answer
    assert rig.redirector.waiting == 0
