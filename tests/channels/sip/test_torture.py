"""The messages that were written to torture SIP: RFC 4475, and RFC 5118 for IPv6; over UDP and TCP, cut anywhere."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

from engine.channels.sip.message import read_message
from engine.channels.sip.requests import Request
from engine.core.ports.observing import SipProblem
from tests.channels.sip.messages import invite
from tests.channels.sip.test_redirector import statuses
from tests.channels.sip.wires import STRANGER_HOST, Wires

pytestmark = pytest.mark.anyio

FOLDER = Path(__file__).parent
NO_ANSWER: Final = 0
DECISION: Final = 404
"""Their numbers are names, which no pool has; that they were read far enough is counted."""

VALID: Final[Mapping[str, int]] = {
    "wsinv": 481,  # its To has a tag, so it is within a dialog
    "intmeth": 501,
    "esc01": DECISION,
    "escnull": 405,
    "esc02": 501,
    "lwsdisp": 200,
    "longreq": DECISION,
    "dblreq": 405,
    "semiuri": 200,
    "transports": 200,
    "mpart01": 405,
    "unreason": NO_ANSWER,
    "noreason": NO_ANSWER,
}
INVALID: Final[Mapping[str, int]] = {
    "badinv01": 400,
    "clerr": 400,
    "ncl": 400,
    "scalar02": 400,
    "scalarlg": NO_ANSWER,
    "quotbal": 400,
    "ltgtruri": 400,
    "lwsruri": 400,
    "lwsstart": 400,
    "trws": 400,
    "escruri": 400,
    "baddate": DECISION,
    "regbadct": 405,
    "badaspec": 400,
    "baddn": 400,  # no empty line ends it; the name itself is taken, as below
    "badvers": 505,
    "mismatch01": 400,
    "mismatch02": 400,
    "bigcode": NO_ANSWER,
}
TRANSACTIONS: Final[Mapping[str, int]] = {"badbranch": 200}
APPLICATIONS: Final[Mapping[str, int]] = {
    "insuf": 400,
    "unkscm": 416,
    "novelsc": 416,
    "unksm2": 405,
    "bext01": 420,
    "invut": DECISION,
    "regaut01": 405,
    "multi01": 400,
    "mcl01": 400,
    "bcast": NO_ANSWER,
    "zeromf": 200,
    "cparam01": 405,
    "cparam02": 405,
    "regescrt": 405,
    "sdp01": DECISION,
    "inv2543": DECISION,
    "test": NO_ANSWER,  # the archive has it, the text does not: a request without Via
}
RFC4475: Final = {**VALID, **INVALID, **TRANSACTIONS, **APPLICATIONS}
RFC5118: Final[Mapping[str, int]] = {
    "ipv6-good": 405,
    "ipv6-bad": 405,  # REGISTER is not taken, wherever it is sent
    "port-ambiguous": 405,
    "port-unambiguous": 405,
    "via-received-param-with-delim": 481,
    "via-received-param-no-delim": 200,
    "ipv6-in-sdp": 400,  # its Content-Length is 17 octets more than its body has
    "mult-ip-in-header": 481,
    "mult-ip-in-sdp": DECISION,
    "ipv4-mapped-ipv6": DECISION,
    "ipv6-bug-abnf-3-colons": 400,  # no empty line ends either; the addresses are taken, as below
    "ipv6-correct-abnf-2-colons": 400,
}
ENDLESS: Final = frozenset({"baddn", "ipv6-bug-abnf-3-colons", "ipv6-correct-abnf-2-colons"})
"""The empty line behind their headers is missing."""

UNFINISHED: Final = frozenset({"clerr", "ipv6-in-sdp"}) | ENDLESS
"""They have no end: a stream waits for it."""

UNFRAMED: Final[Mapping[str, int]] = {"ncl": 400, "mcl01": 400, "inv2543": 400}
"""They have no length, or several: a stream ends with them."""


OWN_LINES: Final = re.compile(
    rb"^(?:from|f|to|t|cseq|content-length|l)[ \t]*:[^\r\n]*(?:\r\n[ \t][^\r\n]*)*\r\n", re.IGNORECASE | re.MULTILINE
).sub
"""Takes away the headers that a test brings itself."""


SECOND_VIA: Final = (
    b"SIP  / 2.0  / TCP     spindle.example.com   ; branch  =   z9hG4bK9ikj8  ,"
    b" SIP  /    2.0   / UDP  192.168.255.111   ; branch= z9hG4bK30239"
)


def message(name: str) -> bytes:
    """Return a message as it is sent."""
    if name in RFC4475:
        return (FOLDER / "rfc4475" / f"{name}.dat").read_bytes()
    return (FOLDER / "rfc5118" / f"{name}.dat").read_bytes().replace(b"\n", b"\r\n")


EXPECTED: Final = {**RFC4475, **RFC5118}
TOLD: Final = {name: [status] if status else [] for name, status in EXPECTED.items()}


def values(data: bytes, *names: bytes) -> list[bytes]:
    """Return the values of some headers of an answer, in their order."""
    lines = [line.partition(b": ") for line in data.split(b"\r\n")]
    return [value for name, _, value in lines if name in names]


def test_every_message_of_the_archives_is_tried() -> None:
    """And none besides."""
    assert {one.stem for one in FOLDER.glob("rfc*/*.dat")} == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
async def test_each_has_its_answer_over_udp(name: str) -> None:
    """Nothing of it is decided, since it names no number; and the answer is less than twice as long."""
    wires = Wires()

    answers = wires.datagram(message(name))

    assert statuses(answers) == TOLD[name]
    assert wires.plane.events == []
    assert (SipProblem.UNCLEAR_NUMBER in wires.observer.problems) is (EXPECTED[name] == DECISION)
    assert sum(map(len, answers)) < 2 * len(message(name))
    assert wires.redirector.waiting == 0


@pytest.mark.parametrize("name", EXPECTED)
async def test_each_has_its_answer_over_tcp(name: str) -> None:
    """The same, unless its length is what is wrong with it."""
    wires = Wires()

    written, is_closed = wires.connection([message(name)])

    first = statuses(written.split(b"\r\n\r\n")[:-1])[:1]
    if name in UNFINISHED:
        assert (first, is_closed) == ([], False)
    else:
        assert first == ([UNFRAMED[name]] if name in UNFRAMED else TOLD[name])
        assert is_closed is (name in UNFRAMED or name == "dblreq")  # of which scraps are left
    assert wires.plane.events == []
    assert wires.server.streams == set()


@pytest.mark.parametrize("name", EXPECTED)
async def test_it_makes_no_difference_where_a_stream_is_cut(name: str) -> None:
    """At any octet, and at all of them."""
    whole = message(name)
    wires = Wires()
    expected = wires.connection([whole])

    assert wires.connection(whole[at : at + 1] for at in range(len(whole))) == expected
    assert [at for at in range(1, len(whole)) if wires.connection([whole[:at], whole[at:]]) != expected] == []


@pytest.mark.parametrize("name", EXPECTED)
async def test_a_datagram_that_was_cut_is_not_taken_for_a_whole_one(name: str) -> None:
    """Whatever its answer is, it is no decision: but where the length counts no octet of the body."""
    whole = message(name)
    ends = [at for at in range(len(whole)) if isinstance(read_message(whole[:at]), Request)]

    assert not ends or min(ends) >= whole.index(b"\r\n\r\n") + 4


@pytest.mark.parametrize("name", EXPECTED)
async def test_strangers_hear_nothing(name: str) -> None:
    """Over TCP they are shut out before a word."""
    wires = Wires()

    assert wires.connection([message(name)], host=STRANGER_HOST) == (b"", True)
    assert wires.observer.problems == [SipProblem.STRANGER]


async def test_what_an_answer_repeats_is_as_it_came() -> None:
    """Unfolded, with the address it came from, but neither unquoted nor put in order (3.1.1.1)."""
    (answer,) = Wires().datagram(message("wsinv"))

    assert values(answer, b"Via") == [
        b"SIP  /   2.0 /UDP 192.0.2.2;branch=390skdjuw;received=192.0.2.1",
        SECOND_VIA,
    ]
    assert values(answer, b"From") == [b'"J Rosenberg \\\\\\""       <sip:jdrosen@example.com> ; tag = 98asjd8']
    assert values(answer, b"To", b"Call-ID", b"CSeq") == [
        b"sip:vivekg@chair-dnrc.example.com ;   tag    = 1918181833n",
        b"wsinv.ndaksdj@192.0.2.1",
        b"0009 INVITE",
    ]


@pytest.mark.parametrize("name", ["wsinv", "intmeth", "esc01", "longreq", "inv2543", "mult-ip-in-sdp"])
async def test_what_tortures_does_not_keep_a_call_from_its_partner(name: str) -> None:
    """The same messages with numbers in them, out of any dialog, as INVITE: decided, whatever else they have."""
    lines = message(name).partition(b"\r\n\r\n")[0].partition(b"\r\n")[2] + b"\r\n"
    known = invite(b"-Via", b"-Call-ID", b"-Max-Forwards")[:-2]
    torturing = known + OWN_LINES(b"", lines) + b"\r\n"
    wires = Wires()

    answers = wires.datagram(torturing)

    assert statuses(answers) == [302]
    assert [(one.sender, one.proxy) for one in wires.plane.events] == [("+12125550111", "+14155550100")]


@pytest.mark.parametrize("name", sorted(ENDLESS))
async def test_what_lacks_its_end_is_taken_with_it(name: str) -> None:
    """A display name without quotes, and either spelling of an address that RFC 5118 4.10 is about."""
    assert statuses(Wires().datagram(message(name) + b"\r\n")) == [200]


@pytest.mark.parametrize("name", RFC5118)
async def test_lines_that_end_with_lf_alone_are_refused(name: str) -> None:
    """As the archive of RFC 5118 has them: over TCP their end is waited for."""
    unsent = (FOLDER / "rfc5118" / f"{name}.dat").read_bytes()
    wires = Wires()

    assert statuses(wires.datagram(unsent)) == [400]
    assert wires.connection([unsent]) == (b"", False)
