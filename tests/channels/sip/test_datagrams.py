"""Batches of datagrams: whole, in order, each with the address at its other end, and none waited for."""

import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from engine.channels.sip.datagrams import MAX_DATAGRAM_BYTES, MOST, Batches, source_of

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture(params=[(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")], ids=["v4", "v6"])
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    """Two sockets on the loopback."""
    family, host = request.param
    with (
        closing(socket.socket(family, socket.SOCK_DGRAM)) as one,
        closing(socket.socket(family, socket.SOCK_DGRAM)) as other,
    ):
        for bound in (one, other):
            try:
                bound.bind((host, 0))
            except OSError:
                pytest.skip(f"no {host} here")
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 1024 * 1024)
        yield one, other


def test_what_came_is_read_in_batches_and_goes_back(pair: Pair) -> None:
    """As it came, also the empty and the longest; each answer is sent to where its datagram is from."""
    here, there = pair
    batches = Batches(here)
    sent = [b"%d" % number * number for number in range(MOST + 5)] + [b"x" * 65_000]
    for data in sent:
        there.sendto(data, here.getsockname())

    came = batches.receive()
    came += batches.receive()
    assert [data for data, _ in came] == sent
    assert {source_of(name) for _, name in came} == {there.getsockname()[:2]}
    assert batches.receive() == []

    assert batches.send(came) == MOST
    assert batches.send(came[MOST:]) == len(came) - MOST
    there.settimeout(10)
    assert [there.recv(MAX_DATAGRAM_BYTES) for _ in came] == sent


def test_what_cannot_be_sent_stops_nothing(pair: Pair) -> None:
    """It is done with; what follows is sent."""
    here, there = pair
    batches = Batches(here)
    there.sendto(b"a", here.getsockname())
    ((data, name),) = batches.receive()

    unsent = [(b"x" * MAX_DATAGRAM_BYTES, name), (data, name)]
    while unsent:
        del unsent[: batches.send(unsent)]

    there.settimeout(10)
    assert there.recv(9) == b"a"
