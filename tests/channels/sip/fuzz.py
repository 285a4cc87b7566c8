"""Mutated SIP over UDP and TCP: `python -m tests.channels.sip.fuzz 1000000 [SEED]` tries as many datagrams by hand.

Nothing raises, nothing stays behind, no stranger is answered, no answer is twice as long as what it answers or has a
line that its request brought in, and where another reader reads the message too, it reads the same.
"""

import asyncio
import logging
import resource
import sys
from collections import Counter
from collections.abc import Sequence
from random import Random
from time import monotonic
from typing import Final

from engine.channels.sip.message import read_any
from engine.channels.sip.redirector import MOST_AMPLIFIED
from engine.channels.sip.requests import Request
from engine.channels.sip.usual import read_usual
from tests.channels.sip.messages import ALICE, invite, offering, parts
from tests.channels.sip.second_opinion import ours, theirs
from tests.channels.sip.test_redirector import BOB, INTERACTION, P2, request
from tests.channels.sip.test_torture import EXPECTED, message
from tests.channels.sip.wires import STRANGER_HOST, Wires

STREAM_EACH: Final = 20
"""A stream is tried for so many datagrams."""

HELD_EACH: Final = 50
"""So many datagrams from time to time wait for their decision, and the time passes."""

MOST_WAITING: Final = 5
GIVEN_UP_SECONDS: Final = 70.0
MOST_GROWN_KIB: Final = 64 * 1024
WARM_UP: Final = 100_000

SEEDS: Final = (
    *(message(name) for name in EXPECTED),
    invite(),
    offering(),
    invite(b"P-Asserted-Identity: <tel:" + ALICE + b">", b'From: "Anonymous" <sip:anonymous@anonymous.invalid>;tag=1'),
    invite(b"Via: SIP/2.0/UDP [2001:db8::1]:5060;rport;branch=z9hG4bK1", b"Require: 100rel"),
    offering(
        b"Via: SIP/2.0/UDP 192.0.2.1;rport;branch=z9\r\nVia: SIP/2.0/UDP [2001:db8::1];branch=z9, SIP/2.0/TCP a",
        b'From: "Trunk" <sip:' + ALICE + b"@carrier.example;user=phone>;tag=1",
        b"P-Asserted-Identity: <sip:" + ALICE + b"@carrier.example>",
        b"User-Agent: switch",
    ),
    invite(b"Content-Length: 5", body=b"v=0\r\n"),
    *(request(method) for method in (b"OPTIONS", b"CANCEL", b"ACK", b"BYE", b"REGISTER")),
)
PIECES: Final = (
    *(b"\r\n", b"\r", b"\n", b"\r\n\r\n", b"\r\n ", b"\0", b'"', b"<", b">", b";", b",", b":", b"=", b"@", b"\\", b" "),
    *(b"%", b"%2B", b"%00", b"\xff", b"[", b"]", b"?", b";tag=", b"tel:", b"sip:", b"SIP/2.0", b"0", b"-1", b"9" * 12),
    *(b"\r\nContact: <sip:+19005550100@h>\r\n", b"\nContact: <sip:+19005550100@h>\n", b"\r\nVia: SIP/2.0/UDP a\r\n"),
    *(
        b"\r\nContent-Length: 9\r\n",
        b"\r\nl: 0\r\n",
        b"\r\nFrom: <sip:+12125550111@h>;tag=1\r\n",
        b";rport",
        b"a" * 300,
    ),
)
ANSWERED: Final = frozenset(
    b"Via From To Call-ID CSeq Content-Length Contact Reason Retry-After Allow Accept Supported Unsupported "
    b"X-Maskline-Caller-Id X-Maskline-Interaction".split()
)
"""Headers that an answer may have."""


def mutated(random: Random) -> bytes:
    """Return a message with one to eight things wrong, or with none."""
    data = bytearray(random.choice(SEEDS))
    for _ in range(random.choice((0, 1, 1, 1, 2, 2, 4, 8))):
        at = random.randrange(len(data) + 1)
        end = min(len(data), at + random.choice((0, 0, 1, 1, 2, 8, 40)))
        match random.randrange(6):
            case 0:
                data[at:end] = random.choice(PIECES)
            case 1:
                data[at:end] = random.randbytes(random.choice((0, 1, 1, 2, 4)))
            case 2:
                data[at:at] = data[at:end] * random.choice((1, 2, 30))
            case 3:
                other = random.choice(SEEDS)
                start = random.randrange(len(other))
                data[at:end] = other[start : start + random.choice((4, 40, 400))]
            case 4:
                del data[at:end]
            case _:
                del data[at + random.randrange(400) :]
    return bytes(data)


class Fuzz:
    """One server under it."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)  # noqa: S311 - the same messages for the same seed
        self.answers: Counter[str] = Counter()
        self.datagrams = self.streams = self.compared = 0
        self._wires = Wires(most_waiting=MOST_WAITING)

    def datagram(self) -> None:
        """Try one; some have to wait."""
        random, wires = self._random, self._wires
        self.datagrams += 1
        wires.now += random.random() / 100
        data = mutated(random)
        sent = wires.datagram(data)
        self._judge(data, sent)
        assert len(sent) <= 1
        assert wires.redirector.waiting == 0
        found = read_any(data)
        usual = read_usual(data)
        assert usual is None or parts(usual) == parts(found), data
        if isinstance(found, Request) and (other := theirs(data)) is not None:
            self.compared += 1
            assert ours(found) == other, data
        self._forget()

    def wait(self) -> None:
        """Try some whose decisions are held back: all of them are over by the time that their client gives up."""
        wires = self._wires
        wires.plane.held = []
        asked = [(data, wires.datagram(data)) for data in (mutated(self._random) for _ in range(HELD_EACH))]
        assert wires.redirector.waiting <= MOST_WAITING
        for answer in wires.plane.held[::2]:
            answer()
        until = wires.now + GIVEN_UP_SECONDS
        while (timer := wires.redirector.next_timer()) is not None and timer <= until:
            wires.now = max(wires.now, timer)
            wires.redirector.wake()
        assert wires.redirector.waiting == 0
        wires.plane.held = None
        for data, sent in asked:
            self._judge(data, sent)
        drawn, given = (
            sum(map(len, some)) for some in ((one for _, sent in asked for one in sent), (data for data, _ in asked))
        )
        assert drawn < MOST_AMPLIFIED * given
        self._forget()

    def stream(self) -> None:
        """Try some messages behind one another: how their octets are parted makes no difference."""
        random, wires = self._random, self._wires
        self.streams += 1
        data = b"".join(mutated(random) for _ in range(random.randrange(1, 4)))
        whole = wires.connection([data])
        at = sorted(random.randrange(len(data) + 1) for _ in range(random.randrange(1, 6)))
        parted = wires.connection(data[a:b] for a, b in zip([0, *at], [*at, len(data)], strict=True))
        assert parted == whole, data
        assert wires.connection([data], host=STRANGER_HOST) == (b"", True)
        assert wires.server.streams == set()
        self._forget()

    def _judge(self, data: bytes, sent: Sequence[bytes]) -> None:
        for answer in sent:
            assert len(answer) < MOST_AMPLIFIED * len(data), data
            head, end, rest = answer.partition(b"\r\n\r\n")
            assert (end, rest) == (b"\r\n\r\n", b"")
            status, *lines = head.split(b"\r\n")
            assert not {*b"\r\n"} & {*b"".join((status, *lines))}, data
            self.answers[status[8:11].decode()] += 1
            assert {line.partition(b":")[0] for line in lines} <= ANSWERED, data
            contacts = [line for line in lines if line.startswith((b"Contact", b"X-"))]
            assert contacts == (OURS if status.startswith(b"SIP/2.0 302 ") else []), data

    def _forget(self) -> None:
        self._wires.plane.events.clear()
        self._wires.observer.told.clear()
        self._wires.observer.problems.clear()


OURS: Final = [
    f"Contact: <sip:{BOB}@192.0.2.1;user=phone>".encode(),
    f"X-Maskline-Caller-Id: {P2}".encode(),
    f"X-Maskline-Interaction: {INTERACTION}".encode(),
]


def grown_kib() -> int:
    """Return the most memory that this process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


async def main(datagrams: int, seed: int) -> None:
    """Try datagrams and streams, and say what came of it."""
    logging.disable()
    fuzz, began, before = Fuzz(seed), monotonic(), 0
    for count in range(datagrams):
        fuzz.datagram()
        if count % STREAM_EACH == 0:
            fuzz.stream()
        if count % (STREAM_EACH * HELD_EACH) == 0:
            fuzz.wait()
            await asyncio.sleep(0)  # what streams had called soon
        if count == WARM_UP:
            before = grown_kib()
    grown = grown_kib() - before if before else 0
    assert grown <= MOST_GROWN_KIB, f"{grown} KiB more than after {WARM_UP} datagrams"
    print(  # noqa: T201 - for who ran it
        f"seed {seed}: {fuzz.datagrams:,} datagrams and {fuzz.streams:,} streams in {monotonic() - began:.0f} s; "
        f"{fuzz.compared:,} read alike by two readers; answers {dict(sorted(fuzz.answers.items()))}; {grown} KiB more"
    )


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1))
