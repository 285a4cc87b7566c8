"""Hosts that ask each other over sockets, on loopback: many at once, and with a host that breaks, moves or hangs."""

import asyncio
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from engine.cluster.peer_connection import MOST_WAITING_BYTES
from engine.cluster.peer_sockets import SocketPeers
from engine.cluster.peer_wire import MOST_MESSAGE_BYTES, Kind, challenge_message
from engine.core.model.hosts import HostDirectory
from tests.cluster import peer_rig
from tests.cluster.peer_rig import PATIENT_SECONDS, End, came_of, site, until
from tests.e2e.live import clean_environment

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Run on both loops."""
    return "asyncio", {"use_uvloop": request.param}


async def test_hosts_ask_each_other_both_ways() -> None:
    """Each answer says who asked; one connection each way carries all."""
    async with site() as hosts:
        zero, one = await hosts.host(0), await hosts.host(1)

        there, back = await asyncio.gather(hosts.peers(0).ask(1, b"hello"), hosts.peers(1).ask(0, b"hello"))

        assert (there, back) == (b"to 0: hello", b"to 1: hello")
        assert (zero.connections, one.connections) == (1, 1)


async def test_many_asks_at_once_come_back_each_to_its_own() -> None:
    """On one connection, in whatever order they are answered."""

    async def answer(source: int, message: bytes) -> bytes:
        await asyncio.sleep(0.01 * (int(message) % 3))
        return message

    async with site() as hosts:
        server = await hosts.host(answer=answer)
        peers = hosts.peers()

        came = await asyncio.gather(*(peers.ask(1, b"%d" % number) for number in range(1000)))

        assert came == [b"%d" % number for number in range(1000)]
        assert server.connections == 1


async def test_what_one_turn_asks_is_one_write() -> None:
    """Few calls of the system, and few records of TLS."""
    async with site() as hosts:
        await hosts.host()
        peers = hosts.peers()
        await peers.ask(1, b"hello")
        link = peers._links[1]
        assert link._transport is not None
        spied = link._transport = Spy(link._transport)  # type: ignore[assignment] # it has what is used

        await asyncio.gather(*(peers.ask(1, b"hello") for _ in range(100)))

        assert spied.writes == 1


class Spy:
    """Counts what is written."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.writes = 0
        self._transport = transport

    def write(self, data: bytes) -> None:
        """Write."""
        self.writes += 1
        self._transport.write(data)

    def abort(self) -> None:
        """End."""
        self._transport.abort()


async def test_large_messages_pass_with_small_ones_between() -> None:
    """Some megabytes each way."""
    async with site() as hosts:
        await hosts.host()
        peers = hosts.peers()

        came = await asyncio.gather(
            *(peers.ask(1, bytes([number]) * size) for number, size in enumerate((8_000_000, 1, 3_000_000, 0))),
        )

        assert [len(one) - len(b"to 0: ") for one in came] == [8_000_000, 1, 3_000_000, 0]
        assert came[2] == b"to 0: " + b"\2" * 3_000_000


async def test_what_is_too_large_for_a_frame_is_not_asked() -> None:
    """And the connection serves on."""
    async with site() as hosts:
        await hosts.host()
        peers = hosts.peers()

        came = await came_of(peers.ask(1, bytes(MOST_MESSAGE_BYTES + 1)))

        assert came == f"host-1 cannot be asked in {MOST_MESSAGE_BYTES + 1} bytes"
        assert await peers.ask(1, b"hello") == b"to 0: hello"


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        (b"refuse", "host-1 does not run"),
        (b"break", "host-1 is not reached (its answer failed; its log says why)"),
        (b"hang", "host-1 did not answer within 0.2 seconds"),
    ],
)
async def test_whatever_goes_wrong_there_is_told_as_one_error(message: bytes, problem: str) -> None:
    """It names the host and says what happened; the connection stays."""
    async with site() as hosts:
        server = await hosts.host()
        await hosts.peers(timeout_seconds=PATIENT_SECONDS).ask(1, b"hello")
        peers = hosts.peers(timeout_seconds=0.2 if message == b"hang" else PATIENT_SECONDS)

        assert await came_of(peers.ask(1, message)) == problem

        assert server.connections == 2


async def test_an_answer_that_comes_too_late_is_nobody_elses() -> None:
    """Nor one that nobody waits for any more."""
    may_answer = asyncio.Event()

    async def answer(source: int, message: bytes) -> bytes:
        if message == b"slow":
            await may_answer.wait()
        return message

    async with site() as hosts:
        await hosts.host(answer=answer)
        peers = hosts.peers()
        given_up = asyncio.create_task(peers.ask(1, b"slow"))
        await until(lambda: b"slow" in hosts.asked)
        given_up.cancel()

        may_answer.set()

        assert [await peers.ask(1, b"%d" % number) for number in range(3)] == [b"0", b"1", b"2"]


async def test_the_word_that_a_host_is_down_holds_for_its_time() -> None:
    """Nobody is asked meanwhile, unless the host itself asked something since."""
    async with site() as hosts:
        await hosts.host()
        peers = hosts.peers()
        peers.expect_down((0, 1), seconds=60)

        assert await came_of(peers.ask(1, b"first")) == "host-1 is down"
        peers.heard(1)
        assert await came_of(peers.ask(1, b"second")) == "to 0: second"

        peers = hosts.peers()
        peers.expect_down((1,), seconds=0)
        assert await came_of(peers.ask(1, b"third")) == "to 0: third"
        assert hosts.asked == [b"second", b"third"]


async def test_a_host_that_nobody_has_told_of_is_not_reached() -> None:
    """Until the directory says where it is; then it is, at once."""
    async with site() as hosts:
        peers = hosts.peers()

        came = await came_of(peers.ask(1, b"hello"))
        await hosts.host()

        assert came == "host-1 is not reached (the directory does not tell where it is)"
        assert await peers.ask(1, b"hello") == b"to 0: hello"


async def test_a_host_that_does_not_listen_is_tried_again() -> None:
    """After a moment, in which the answer is the same."""
    async with site() as hosts:
        server = await hosts.host()
        at, shown = str(server.bound), server.identity.certificate
        await server.close()
        peers = hosts.peers()
        gone = [await came_of(peers.ask(1, b"hello")) for _ in range(3)]
        assert gone == ["host-1 is not reached (ConnectionRefusedError)"] * 3

        hosts.is_at(1, at, shown)  # as before
        await hosts.host()

        assert await peers.ask(1, b"hello") == b"to 0: hello"


async def test_a_host_that_was_tried_in_vain_is_tried_again_where_it_was() -> None:
    """The directory need not change for it."""
    async with site() as hosts:
        refusals = 2

        async def play(end: End) -> None:
            nonlocal refusals
            if refusals:
                refusals -= 1
                end.raw.close()
                return
            await end.shake_hands()
            end.put(Kind.CHALLENGE, challenge_message(bytes(32)))
            await end.frame()
            end.put(Kind.ADMITTED, b"")
            end.put(Kind.ANSWER, b"here", number=(await end.frame()).number)

        await hosts.impostor(play)
        peers = hosts.peers()

        came = ""
        async with asyncio.timeout(PATIENT_SECONDS):
            while came != "here":
                came = await came_of(peers.ask(1, b"hello"))
                await asyncio.sleep(0.01)

        assert refusals == 0


async def test_a_machine_that_takes_no_connection_is_given_up_soon() -> None:
    """However long an answer may take: it may be reached again, and an attempt that hangs would not find that out."""
    if sys.platform != "linux":
        pytest.skip("elsewhere connections are refused when too many wait")
    async with site() as hosts:
        with socket.create_server(("127.0.0.1", 0), backlog=0) as full, ExitStack() as waiting:
            for _ in range(4):
                connecting = waiting.enter_context(socket.socket())
                connecting.settimeout(0)
                connecting.connect_ex(full.getsockname())
            hosts.is_at(1, f"127.0.0.1:{full.getsockname()[1]}", "00")

            async with asyncio.timeout(PATIENT_SECONDS):
                came = await came_of(hosts.peers(timeout_seconds=3600).ask(1, b"hello"))

        assert came == "host-1 is not reached (TimeoutError)"


async def test_what_is_under_way_ends_when_the_connection_breaks() -> None:
    """At once, not after the time that an answer may take."""
    async with site() as hosts:
        server = await hosts.host()
        peers = hosts.peers(timeout_seconds=3600)
        asked = [asyncio.create_task(came_of(peers.ask(1, b"hang"))) for _ in range(3)]
        await until(lambda: len(hosts.asked) == 3)

        await server.close()

        async with asyncio.timeout(PATIENT_SECONDS):
            came = await asyncio.gather(*asked)
        assert all(one.startswith("host-1 is not reached (Connection") for one in came), came


async def test_what_is_under_way_ends_when_the_host_has_moved() -> None:
    """The directory tells of another process, though the old one still holds the connection; that one is left."""
    async with site() as hosts:
        old = await hosts.host()
        peers = hosts.peers(timeout_seconds=3600)
        asked = asyncio.create_task(came_of(peers.ask(1, b"hang")))
        await until(lambda: bool(hosts.asked))

        await hosts.host()

        async with asyncio.timeout(PATIENT_SECONDS):
            assert await asked == "host-1 is not reached (it has moved)"
        assert await peers.ask(1, b"hello") == b"to 0: hello"
        await until(lambda: old.connections == 0)


async def test_a_host_whose_other_addresses_change_keeps_its_connection() -> None:
    """Another port of the feed is no move."""
    async with site() as hosts:
        server = await hosts.host()
        peers = hosts.peers()
        await peers.ask(1, b"hello")

        hosts.hosts[1] = replace(hosts.hosts[1], feed="127.0.0.1:9090")
        await peers.ask(1, b"hello")

        assert server.connections == 1
        assert not server.rejected


async def test_a_host_that_takes_nothing_is_asked_no_more_than_fits() -> None:
    """What waits for it is bounded, and ends in time; what was given up is not sent afterwards."""
    may_read = asyncio.Event()
    frames: list[int] = []

    async def play(end: End) -> None:
        await end.shake_hands()
        end.put(Kind.CHALLENGE, challenge_message(bytes(32)))
        await end.frame()
        end.put(Kind.ADMITTED, b"")
        await may_read.wait()
        while True:
            frame = await end.frame()
            frames.append(len(frame.message))
            end.put(Kind.ANSWER, b"", number=frame.number)

    async with site() as hosts:
        await hosts.impostor(play)
        peers = hosts.peers(timeout_seconds=3)
        size = 4_000_000
        waiting = [asyncio.create_task(came_of(peers.ask(1, bytes(size)))) for _ in range(60)]

        came = await asyncio.gather(*waiting)

        refused = [one for one in came if one == "host-1 is not reached (too much waits for it)"]
        assert (60 - len(refused)) * size < 2 * MOST_WAITING_BYTES
        assert {*came} - {*refused} <= {
            "host-1 did not answer within 3 seconds",
            "host-1 is not reached (ConnectionAbortedError)",
            "host-1 is not reached (ConnectionResetError)",
            "host-1 is not reached (TimeoutError)",
            "host-1 is not reached (OSError)",
        }


async def test_the_system_watches_both_ends() -> None:
    """A machine that is gone sends nothing: keepalive and a limit of unacknowledged data find that out."""
    if not hasattr(socket, "TCP_USER_TIMEOUT"):
        pytest.skip("the system has no such limit")
    async with site() as hosts:
        server = await hosts.host()
        peers = hosts.peers()
        await peers.ask(1, b"hello")

        ends = (peers._links[1]._transport, next(iter(server._admitted))._transport)

        for end in ends:
            assert end is not None
            watched = end.get_extra_info("socket")
            assert watched.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            assert watched.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == PATIENT_SECONDS
            assert watched.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == PATIENT_SECONDS * 1000


async def test_closed_peers_leave_nothing_behind() -> None:
    """What is under way fails, the other end learns of it."""
    async with site() as hosts:
        server = await hosts.host()
        peers = hosts.peers()
        asked = asyncio.create_task(came_of(peers.ask(1, b"hang")))
        await until(lambda: bool(hosts.asked))

        peers.close()

        assert await asked == "host-1 is not reached (ConnectionResetError)"
        await until(lambda: server.connections == 0)


async def test_a_process_that_is_killed_ends_what_it_was_asked() -> None:
    """One that hangs is given its time; killed, its asks end at once, and another in its place is found."""
    async with site() as hosts:
        async with asyncio.timeout(PATIENT_SECONDS):
            process, at, shown = await started()
        hosts.is_at(1, at, shown)
        try:
            peers = hosts.peers(timeout_seconds=3600)
            assert await peers.ask(1, b"hello") == b"to 0: hello"
            process.send_signal(signal.SIGSTOP)
            assert await came_of(hosts.peers(timeout_seconds=0.5).ask(1, b"hello")) in {
                "host-1 did not answer within 0.5 seconds",
                "host-1 is not reached (TimeoutError)",
            }
            asked = asyncio.create_task(came_of(peers.ask(1, b"hello")))
            await asyncio.sleep(0)

            process.kill()

            async with asyncio.timeout(PATIENT_SECONDS):
                assert (await asked).startswith("host-1 is not reached (Connection")
        finally:
            process.kill()
            await asyncio.to_thread(process.communicate)
        await hosts.host()
        assert await peers.ask(1, b"hello") == b"to 0: hello"


async def started() -> "tuple[subprocess.Popen[str], str, str]":
    """Run host 1 in another process; returns its address and certificate."""
    process = subprocess.Popen(  # noqa: ASYNC220, S603 - our own code
        [sys.executable, "-m", peer_rig.__name__], stdout=subprocess.PIPE, text=True, env=clean_environment()
    )
    assert process.stdout is not None
    at, shown = (await asyncio.to_thread(process.stdout.readline)).split()
    return process, at, shown


async def test_connections_that_come_and_go_cost_no_files() -> None:
    """Each end closes what it has opened."""
    async with site() as hosts:
        server = await hosts.host()
        before = open_files()

        for _ in range(100):
            peers = hosts.peers()
            await peers.ask(1, b"hello")
            peers.close()
        await until(lambda: server.connections == 0)

        assert open_files() <= before


def open_files() -> int:
    """Count what this process has open; 0 where the system does not say."""
    return len(tuple(Path("/proc/self/fd").iterdir())) if sys.platform == "linux" else 0


def test_a_host_refuses_to_ask_without_a_secret() -> None:
    """An empty one would let everybody in."""
    with pytest.raises(ValueError, match="secret of 0 bytes"):
        SocketPeers(0, secret=b"", directory=lambda: HostDirectory(1, 0, ()), timeout_seconds=1)
