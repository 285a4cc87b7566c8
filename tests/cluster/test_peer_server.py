"""Who is let in at the port for other hosts, and what the rest can do: on loopback, with strangers played by hand."""

import asyncio
import ssl
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.cluster.peer_connection import MOST_WAITING_BYTES
from engine.cluster.peer_identity import PeerIdentity, asking_context
from engine.cluster.peer_server import MOST_ADMITTED, MOST_STRANGERS, Rejection
from engine.cluster.peer_wire import Frame, Kind, challenge_message, head, proof_message, read_challenge
from tests.cluster.peer_rig import SECRET, End, came_of, echo, site, until

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Run on both loops."""
    return "asyncio", {"use_uvloop": request.param}


async def test_a_host_without_the_secret_is_refused_and_counted() -> None:
    """It is told why; nothing that it asks is read."""
    async with site() as hosts:
        server = await hosts.host()
        peers = hosts.peers(secret=bytes(32))

        came = await came_of(peers.ask(1, b"hello"))

        refusal = "it does not accept that this host has the cluster's secret"
        assert came == f"host-1 is not reached ({refusal})"
        assert server.rejected == {Rejection.NO_SECRET: 1}
        assert not hosts.asked


async def test_a_host_that_shows_another_certificate_is_asked_nothing() -> None:
    """The directory says which one it has to be; it is not even told who asks."""
    async with site() as hosts:
        server = await hosts.host()
        hosts.is_at(1, str(server.bound), PeerIdentity.made().certificate)

        came = await came_of(hosts.peers().ask(1, b"hello"))

        assert came == "host-1 is not reached (it shows another certificate than the directory tells)"
        await until(lambda: server.rejected == {Rejection.NO_PEER: 1})
        assert not hosts.asked


async def test_an_ask_without_a_proof_is_not_read() -> None:
    """The connection is closed."""
    async with site() as hosts:
        server = await hosts.host()
        stranger = await hosts.stranger(server)
        await stranger.challenge()

        stranger.put(Kind.ASK, b"hello", number=1)

        assert await stranger.is_closed()
        assert server.rejected == {Rejection.NO_PEER: 1}
        assert not hosts.asked


async def test_a_proof_is_not_good_for_a_second_connection() -> None:
    """Whoever should have got to see one has gained nothing."""
    async with site() as hosts:
        server = await hosts.host()
        first, second = await hosts.stranger(server), await hosts.stranger(server)
        challenge = await first.challenge()
        proof = proof_message(SECRET, challenge, server.identity.digest, source=0, target=1)
        first.put(Kind.PROOF, proof)
        assert (await first.frame()).kind == Kind.ADMITTED
        await second.challenge()

        second.put(Kind.PROOF, proof)

        assert (await second.frame()).kind == Kind.REFUSED
        assert await second.is_closed()
        assert server.rejected == {Rejection.NO_SECRET: 1}


async def test_a_proof_cannot_be_passed_on() -> None:
    """One that plays a host to another, with a certificate of its own, gets a proof for that certificate alone."""
    async with site() as hosts:
        server = await hosts.host(1)
        stranger = await hosts.stranger(server)
        challenge = await stranger.challenge()
        passed_on = asyncio.Event()

        async def play(end: End) -> None:
            await end.shake_hands()
            end.put(Kind.CHALLENGE, challenge_message(challenge))
            stranger.put(Kind.PROOF, (await end.frame()).message)
            passed_on.set()

        await hosts.impostor(play, place=1)
        asked = asyncio.create_task(came_of(hosts.peers(timeout_seconds=1).ask(1, b"hello")))
        await passed_on.wait()

        assert (await stranger.frame()).kind == Kind.REFUSED
        assert server.rejected == {Rejection.NO_SECRET: 1}
        await asked


async def test_a_proof_for_one_host_is_none_for_another() -> None:
    """Though both have the same secret."""
    async with site() as hosts:
        server = await hosts.host(1)
        stranger = await hosts.stranger(server)

        assert (await stranger.prove(target=0)).kind == Kind.REFUSED


async def test_nobody_is_challenged_twice() -> None:
    """A host that asks for a second proof is left."""
    async with site() as hosts:
        frames: list[int] = []

        async def play(end: End) -> None:
            await end.shake_hands()
            end.put(Kind.CHALLENGE, challenge_message(bytes(32)))
            frames.append((await end.frame()).kind)
            end.put(Kind.CHALLENGE, challenge_message(bytes(32)))
            assert await end.is_closed()

        await hosts.impostor(play)

        assert (
            await came_of(hosts.peers().ask(1, b"hello")) == "host-1 is not reached (it greets with a frame of kind 0)"
        )
        assert frames == [Kind.PROOF]


@pytest.mark.parametrize("kind", [Kind.ANSWER, Kind.ASK, 200])
async def test_a_host_is_believed_nothing_before_it_has_admitted_this_one(kind: int) -> None:
    """Least of all an answer."""
    async with site() as hosts:

        async def play(end: End) -> None:
            await end.shake_hands()
            end.put(kind, b"hello", number=1)

        await hosts.impostor(play)

        came = await came_of(hosts.peers().ask(1, b"hello"))

        assert came == f"host-1 is not reached (it greets with a frame of kind {int(kind)})"


async def test_an_answer_that_is_none_ends_the_connection() -> None:
    """And with it the ask."""
    async with site() as hosts:

        async def play(end: End) -> None:
            await end.shake_hands()
            end.put(Kind.CHALLENGE, challenge_message(bytes(32)))
            await end.frame()
            end.put(Kind.ADMITTED, b"")
            end.put(Kind.PROOF, b"", number=(await end.frame()).number)

        await hosts.impostor(play)

        came = await came_of(hosts.peers().ask(1, b"hello"))

        assert came == "host-1 is not reached (it answers with a frame of kind 1)"


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        bytes(5_000),
        b"\x16\x03\x01\x02\x00\x01",
        b"",
    ],
    ids=["HTTP", "zeros", "half a hello", "nothing"],
)
async def test_what_is_not_tls_is_closed_and_counted(data: bytes) -> None:
    """Also what ends in the middle; hosts are served meanwhile."""
    async with site() as hosts:
        server = await hosts.host()
        stranger = await hosts.stranger(server)
        peers = hosts.peers()

        stranger.raw.write(data)
        stranger.say_no_more()

        await until(lambda: server.rejected == {Rejection.NO_PEER: 1})
        assert await peers.ask(1, b"hello") == b"to 0: hello"


async def test_an_older_tls_is_refused() -> None:
    """1.3 alone is spoken."""
    async with site() as hosts:
        server = await hosts.host()
        older = asking_context()
        older.minimum_version = older.maximum_version = ssl.TLSVersion.TLSv1_2
        assert server.bound is not None

        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.open_connection(*server.bound, ssl=older)

        await until(lambda: server.rejected == {Rejection.NO_PEER: 1})


@pytest.mark.parametrize(
    "data",
    [head(0, Kind.PROOF, 2**32 - 1), head(0, Kind.PROOF, 257), head(0, Kind.ADMITTED, 0), b"\xff" * 9],
)
async def test_a_stranger_may_say_little(data: bytes) -> None:
    """What announces more than a proof has is closed before it comes; so is what is none."""
    async with site() as hosts:
        server = await hosts.host()
        stranger = await hosts.stranger(server)
        await stranger.challenge()

        stranger.say(data)

        assert await stranger.is_closed()
        assert server.rejected == {Rejection.NO_PEER: 1}


async def test_a_stranger_has_little_time() -> None:
    """Whatever it does with it; whoever has proven who it is may be silent."""
    async with site() as hosts:
        server = await hosts.host(proof_seconds=0.5)
        host = await hosts.stranger(server)
        assert (await host.prove()).kind == Kind.ADMITTED
        silent, slow = await hosts.stranger(server), await hosts.stranger(server)
        await slow.challenge()

        closed = await asyncio.gather(silent.is_closed(), slow.is_closed())

        assert all(closed)
        assert server.rejected == {Rejection.TOO_LATE: 2}
        assert server.connections == 1


async def test_strangers_are_few_and_keep_no_host_out() -> None:
    """For one more than there may be, the one that came first is closed."""
    async with site() as hosts:
        server = await hosts.host()
        strangers = [await hosts.stranger(server) for _ in range(MOST_STRANGERS)]
        await asyncio.gather(*(one.challenge() for one in strangers))

        assert await hosts.peers().ask(1, b"hello") == b"to 0: hello"

        assert await strangers[0].is_closed()
        assert server.rejected == {Rejection.CROWDED: 1}


async def test_a_server_that_is_full_says_so() -> None:
    """Connections of hosts are bounded; when one goes there is room again."""
    async with site() as hosts:
        server = await hosts.host()
        admitted = []
        for _ in range(MOST_ADMITTED):
            admitted.append(await hosts.stranger(server))
            assert (await admitted[-1].prove()).kind == Kind.ADMITTED

        came = await came_of(hosts.peers().ask(1, b"hello"))
        admitted[0].raw.close()
        await until(lambda: server.connections < MOST_ADMITTED)

        assert came == "host-1 is not reached (it has too many connections)"
        assert server.rejected == {Rejection.FULL: 1}
        assert await hosts.peers().ask(1, b"hello") == b"to 0: hello"


@pytest.mark.parametrize(
    "data", [head(1, Kind.ASK, 2**32 - 1), head(1, Kind.PROOF, 0), head(1, 99, 0)], ids=["long", "proof", "unknown"]
)
async def test_a_host_that_writes_garbage_is_left(data: bytes) -> None:
    """Nothing is counted as a stranger's, and the others are served on."""
    async with site() as hosts:
        server = await hosts.host()
        peers = hosts.peers()
        await peers.ask(1, b"hello")
        host = await hosts.stranger(server)
        assert (await host.prove()).kind == Kind.ADMITTED

        host.say(data)

        assert await host.is_closed()
        assert not server.rejected
        assert await peers.ask(1, b"again") == b"to 0: again"


async def test_whoever_does_not_read_its_answers_is_read_no_further() -> None:
    """What waits to be sent is bounded; once it reads, all is answered."""
    asks, size = 400, 2**18

    async def answer(source: int, message: bytes) -> bytes:
        return message * size

    async with site() as hosts:
        server = await hosts.host(answer=answer)
        host = await hosts.stranger(server)
        assert (await host.prove()).kind == Kind.ADMITTED

        host.put(Kind.ASK, b"x", number=0)
        await host.frame()
        for number in range(1, asks):
            host.put(Kind.ASK, b"x", number=number)
            await asyncio.sleep(0)
        await _settled(hosts.asked)

        assert len(hosts.asked) < asks / 2
        answers = [await host.frame() for _ in range(1, asks)]
        assert sorted(frame.number for frame in answers) == list(range(1, asks))
        assert all(frame.kind == Kind.ANSWER and len(frame.message) == size for frame in answers)


async def test_asks_under_way_are_bounded() -> None:
    """Whoever asks more is read no further until some are answered."""
    may_answer = asyncio.Event()

    async def answer(source: int, message: bytes) -> bytes:
        await may_answer.wait()
        return b""

    async with site() as hosts:
        server = await hosts.host(answer=answer)
        host = await hosts.stranger(server)
        assert (await host.prove()).kind == Kind.ADMITTED
        most = MOST_WAITING_BYTES // 2**20

        for number in range(2 * most):
            host.put(Kind.ASK, bytes(2**20), number=number)
            await asyncio.sleep(0)
        await until(lambda: len(hosts.asked) > most)
        await _settled(hosts.asked)

        assert len(hosts.asked) < 1.5 * most
        may_answer.set()
        answers = [await host.frame() for _ in range(2 * most)]
        assert {frame.number for frame in answers} == set(range(2 * most))


async def _settled(asked: list[bytes]) -> None:
    """Wait until no more comes for a while."""
    seen = -1
    while seen != len(asked):
        seen = len(asked)
        await asyncio.sleep(0.3)


async def test_what_was_asked_is_carried_out_though_the_asker_goes() -> None:
    """It may be half done: it is not given up for that, only when the host ends."""
    may_go_on, done = asyncio.Event(), asyncio.Event()

    async def answer(source: int, message: bytes) -> bytes:
        await may_go_on.wait()
        done.set()
        return b""

    async with site() as hosts:
        server = await hosts.host(answer=answer)
        peers = hosts.peers()
        asked = asyncio.create_task(came_of(peers.ask(1, b"hello")))
        await until(lambda: bool(hosts.asked))
        peers.close()
        await until(lambda: server.connections == 0)
        await asked

        may_go_on.set()

        await asyncio.wait_for(done.wait(), 30)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=80)), max_size=6), st.booleans())
def test_no_stranger_is_ever_answered(frames: list[tuple[int, bytes]], has_tls: bool) -> None:  # noqa: FBT001 - drawn
    """Whatever it sends; and nothing that it sends is asked of the host."""

    async def run() -> None:
        async with site() as hosts:
            server = await hosts.host(answer=echo)
            stranger = await hosts.stranger(server)
            if has_tls:
                read_challenge((await stranger.frame()).message)
            for kind, message in frames:
                if has_tls:
                    stranger.put(kind, message)
                else:
                    stranger.raw.write(message)
            stranger.say_no_more()
            said: list[Frame] = []
            try:
                while True:
                    said.append(await stranger.frame())
            except (ConnectionError, ssl.SSLError):
                pass
            assert all(frame.kind == Kind.REFUSED for frame in said[:1]), said
            assert len(said) <= 1
            assert not hosts.asked
            await until(lambda: sum(server.rejected.values()) == 1)

    asyncio.run(run())
