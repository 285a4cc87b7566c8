"""Whatever comes over a connection is a PDU or one defined error, and who does not read holds up nobody else."""

import asyncio

import pytest

from engine.channels.smpp.connection import Connection
from engine.channels.smpp.pdu import Command, frame, write_message
from engine.channels.smpp.session import Event, RequestCame, Role
from tests.channels.smpp.fuzz import Fuzz, bound
from tests.channels.smpp.rig import MESSAGE, serving, smsc

PDUS = 3_000


def test_a_mutated_pdu_is_a_pdu_or_one_error() -> None:
    """By hand a million: `python -m tests.channels.smpp.fuzz 1000000`."""
    fuzz = Fuzz(seed=34)

    for _ in range(PDUS):
        fuzz.pdu()

    assert fuzz.messages > PDUS / 10
    assert fuzz.errors > PDUS / 10


def test_a_proof_of_life_leaves_before_a_backlog_of_100_000() -> None:
    """However much was said before it was asked for."""
    session = bound(Role.SMSC)
    for sequence in range(1, 100_001):
        session.respond(RequestCame(Command.SUBMIT_SM, sequence, b""))

    assert session.receive(frame(Command.ENQUIRE_LINK, 7), now=1.0) == []

    assert session.data_to_send().startswith(frame(Command.ENQUIRE_LINK | 0x8000_0000, 7))


class Transport:
    """A connection to a side that reads nothing."""

    def __init__(self) -> None:
        self.is_reading = True

    def pause_reading(self) -> None:
        """Read no more."""
        self.is_reading = False

    def resume_reading(self) -> None:
        """Read again."""
        self.is_reading = True

    def is_closing(self) -> bool:
        """Stay open."""
        return False

    def write(self, data: bytes) -> None:
        """Take it."""

    def close(self) -> None:
        """End."""

    def get_extra_info(self, name: str) -> None:
        """Know nothing."""
        del name


class Owner:
    """Decides nothing, or at once."""

    def __init__(self) -> None:
        self.came: list[int] = []
        self.is_deciding = False

    def happened(self, connection: Connection, event: Event) -> None:
        """Take a request."""
        if isinstance(event, RequestCame):
            self.came.append(event.sequence)
            connection.await_answer(event, None)
            if self.is_deciding:
                connection.answer(event)


@pytest.mark.anyio
async def test_nothing_is_read_from_a_side_that_does_not_read() -> None:
    """So what is said to it cannot grow, and what it asks waits in its own buffers."""
    connection, transport = Connection(bound(Role.SMSC), Owner(), monotonic=lambda: 1.0), Transport()
    connection.connection_made(transport)  # type: ignore[arg-type] # as far as it is used

    connection.pause_writing()
    while_blocked = transport.is_reading
    connection.resume_writing()

    assert (while_blocked, transport.is_reading) == (False, True)
    connection.connection_lost(None)


def submits(first: int, count: int) -> bytes:
    body = write_message(MESSAGE)
    return b"".join(frame(Command.SUBMIT_SM, sequence, body) for sequence in range(first, first + count))


@pytest.mark.anyio
async def test_only_so_many_requests_wait_for_a_decision() -> None:
    """The others are held, each once, and are decided in the order in which they came."""
    transport, owner = Transport(), Owner()
    connection = Connection(bound(Role.SMSC), owner, monotonic=lambda: 1.0, most_undecided=3)
    connection.connection_made(transport)  # type: ignore[arg-type] # as far as it is used

    connection.data_received(submits(1, 250) + submits(200, 50))
    at_first = list(owner.came)
    while connection.undecided:
        connection.answer(RequestCame(Command.SUBMIT_SM, next(iter(connection.undecided)), b""))
        await asyncio.sleep(0)

    assert at_first == [1, 2, 3]
    assert owner.came == list(range(1, 251))
    assert connection.is_idle.is_set()
    connection.connection_lost(None)


@pytest.mark.anyio
async def test_only_so_many_octets_are_held() -> None:
    """Those behind them wait in TCP, until there is room."""
    transport = Transport()
    connection = Connection(bound(Role.SMSC), Owner(), monotonic=lambda: 1.0, most_undecided=3, most_held_bytes=1)
    connection.connection_made(transport)  # type: ignore[arg-type] # as far as it is used

    connection.data_received(submits(1, 3))
    with_none_held = transport.is_reading
    connection.data_received(submits(4, 1))
    when_full = transport.is_reading
    connection.answer(RequestCame(Command.SUBMIT_SM, 2, b""))
    await asyncio.sleep(0)

    assert (with_none_held, when_full, transport.is_reading) == (True, False, True)
    connection.connection_lost(None)


@pytest.mark.anyio
async def test_what_is_held_when_a_connection_ends_was_not_taken() -> None:
    """It has no answer, and nobody decides about it."""
    transport, owner = Transport(), Owner()
    connection = Connection(bound(Role.SMSC), owner, monotonic=lambda: 1.0, most_undecided=3)
    connection.connection_made(transport)  # type: ignore[arg-type] # as far as it is used

    connection.data_received(submits(1, 9))
    connection.answer(RequestCame(Command.SUBMIT_SM, 1, b""))
    connection.connection_lost(None)
    await asyncio.sleep(0)

    assert owner.came == [1, 2, 3]


@pytest.mark.anyio
async def test_held_requests_that_are_answered_at_once_leave_room_for_others_between_them() -> None:
    """What has come over other connections is read after each hundred."""
    transport, owner = Transport(), Owner()
    connection = Connection(bound(Role.SMSC), owner, monotonic=lambda: 1.0, most_undecided=1)
    connection.connection_made(transport)  # type: ignore[arg-type] # as far as it is used
    connection.data_received(submits(1, 251))
    owner.is_deciding = True

    connection.answer(RequestCame(Command.SUBMIT_SM, 1, b""))
    counts = []
    while not connection.is_idle.is_set():
        await asyncio.sleep(0)
        counts.append(len(owner.came))

    assert counts == [101, 201, 251]
    connection.connection_lost(None)


@pytest.mark.anyio
async def test_a_peer_that_does_not_read_holds_up_no_other() -> None:
    """Though it asks and asks."""
    async with serving(smsc()) as served:
        slow, other = await served.bound(), await served.bound()
        slow.read_nothing()
        for _ in range(20):
            slow.write(frame(Command.ENQUIRE_LINK, 9) * 1_000)

        answers = [await other.ask(MESSAGE, Command.SUBMIT_SM) for _ in range(20)]

    assert {answer.status for answer in answers} == {0}
