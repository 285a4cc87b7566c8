"""What passes on as it came: octets that both sides read alike, and until when a message may be sent."""

import asyncio

import msgspec
import pytest

from engine.channels.base import OVERDUE
from engine.channels.smpp.pdu import Command, Status
from engine.channels.smpp.segments import LongForm, Place, header, user_data
from engine.channels.smpp.texts import Alphabet, Reading, as_it_came, raw_of
from engine.channels.smpp.times import absolute, relative, valid_until
from engine.core.model.records import RawText
from tests.channels.smpp.rig import MESSAGE, esme, out, sending, serving, smsc, smsc_listening
from tests.http.rig import NOW, ROUTED

pytestmark = pytest.mark.anyio

LATIN = b"caf\xe9"
"""Which is no text of septets, an octet each."""


@pytest.mark.parametrize(
    ("coding", "octets", "is_kept"),
    [(0, b"plain", False), (0, LATIN, True), (0, b"\x1b\x28", True), (8, b"\0a", True), (3, LATIN, True)],
)
async def test_what_would_be_written_otherwise_goes_on_as_it_came(coding: int, octets: bytes, is_kept: bool) -> None:  # noqa: FBT001 - a case
    """What would be the same, read and written again, needs no second copy."""
    async with serving(smsc()) as served:
        served.plane.decision = ROUTED
        wire = await served.bound()

        await wire.ask(msgspec.structs.replace(MESSAGE, data_coding=coding, octets=octets), Command.SUBMIT_SM)

        (event,) = served.plane.events
    assert event.raw == (RawText("gsm", coding, octets) if is_kept else None)


async def test_the_parts_of_a_long_message_go_on_as_they_came() -> None:
    """Put together, without their headers."""
    async with serving(smsc()) as served:
        served.plane.decision = ROUTED
        wire = await served.bound()
        for number, octets in ((2, b"\xe9 two"), (1, b"one ")):
            whole = header(Place(LongForm.UDH8, 7, 2, number)) + octets
            await wire.ask(msgspec.structs.replace(MESSAGE, octets=whole, esm_class=0x40), Command.SUBMIT_SM)

        (event,) = served.plane.events
    assert event.raw == RawText("gsm", 0, b"one \xe9 two")


@pytest.mark.parametrize(
    ("raw", "coding", "octets"),
    [
        (RawText("gsm", 0, LATIN), 0, LATIN),
        (RawText("gsm", 1, LATIN), 0, LATIN),
        (RawText("gsm", 3, LATIN), 3, LATIN),
        (RawText("gsm", 8, b"\0c\0a"), 8, b"\0c\0a"),
        (RawText("gsm", 5, b"\x83\x65"), 5, b"\x83\x65"),
        (RawText("latin1", 0, LATIN), 0, b"caf\x05"),
        (RawText("gsm", 8, b"\0c\0"), 0, b"caf\x05"),
        (RawText("gsm", 4, LATIN), 0, b"caf\x05"),
        (None, 0, b"caf\x05"),
    ],
)
async def test_who_reads_alike_gets_the_octets_as_they_came(raw: RawText | None, coding: int, octets: bytes) -> None:
    """So a wrong table damages nothing; who reads otherwise gets the text, written for it."""
    async with smsc_listening() as far, serving(esme(far.port)) as served:
        wire = await far.bound()
        async with sending(served, out("café", raw=raw)) as task:
            came = await wire.take("1")
            await task

    assert (came.data_coding, came.octets) == (coding, octets)


async def test_a_long_text_is_cut_anew_where_its_characters_may_be_cut() -> None:
    """Between two of UCS-2; what nobody knows how to cut is written anew."""
    octets = "ж".encode("utf-16-be") * 100
    async with smsc_listening() as far, serving(esme(far.port)) as served:
        wire = await far.bound()
        async with sending(served, out("ж" * 100, raw=RawText("gsm", 8, octets))) as task:
            parts = [await wire.take(one) for one in ("1", "2")]
            await task

    assert b"".join(user_data(part).octets for part in parts) == octets
    packed = Reading(Alphabet.GSM_PACKED)
    for raw, reading in ((RawText("gsm", 5, b"\x83\x65" * 71), Reading()), (raw_of(b"abc", 0, reading=packed), packed)):
        assert raw is not None
        assert as_it_came(raw, reading=reading) is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("000000010000000R", 3600),
        ("000002030405000R", 2 * 86_400 + 3 * 3600 + 4 * 60 + 5),
        ("", None),
        ("soon", None),
        ("991399000000000+", None),
    ],
)
def test_a_validity_is_relative_or_absolute(text: str, seconds: int | None) -> None:
    """What cannot be read is no bound."""
    assert valid_until(text, NOW) == (None if seconds is None else NOW + seconds)


def test_an_absolute_time_has_a_zone() -> None:
    """In quarters of an hour ahead of UTC, or behind it."""
    at = valid_until("261130120000000+", NOW)
    assert at is not None
    assert absolute(at) == "261130120000000+"
    assert valid_until("261130130000004+", NOW) == at
    assert valid_until("261130110000004-", NOW) == at
    assert valid_until(relative(3723), NOW) == NOW + 3723


async def test_a_message_says_until_when_it_may_be_sent() -> None:
    """To whatever carrier it leaves by."""
    async with serving(smsc()) as served:
        served.plane.decision = ROUTED
        wire = await served.bound()

        await wire.ask(msgspec.structs.replace(MESSAGE, validity="000000000030000R"), Command.SUBMIT_SM)

        (event,) = served.plane.events
    assert event.valid_until == NOW + 30


async def test_a_carrier_is_told_how_long_it_may_try() -> None:
    """Where that was agreed on."""
    async with smsc_listening() as far, serving(esme(far.port, validity_seconds=90_061)) as served:
        wire = await far.bound()
        async with sending(served, out("hello")) as task:
            came = await wire.take("1")
            await task

    assert came.validity == "000001010101000R"


async def test_a_wall_clock_that_has_jumped_ahead_gives_no_message_up() -> None:
    """Its time has not surely come."""
    ahead = NOW + 86_400
    async with (
        smsc_listening() as far,
        serving(esme(far.port), clock=lambda: ahead, sure_clock=lambda: NOW) as served,
    ):
        wire = await far.bound()
        async with sending(served, out("in time", valid_until=NOW + 60)) as task:
            await wire.take("1")
            sent = await task

    assert sent.is_done


async def test_a_message_past_its_time_is_not_sent() -> None:
    """Nor one whose time ends while the peer is away; one that is on its way has its answer awaited."""
    async with smsc_listening() as far, serving(esme(far.port)) as served:
        wire = await far.wire()
        past = await served.sender.send(out("past", valid_until=NOW))
        late = await served.sender.send(out("late", valid_until=NOW + 0.05))
        await wire.accept_bind()
        async with sending(served, out("in time", valid_until=NOW + 0.2)) as task:
            came = await wire.read()
            await asyncio.sleep(0.3)
            wire.send(came.command | 0x8000_0000, b"1\0", sequence=came.sequence, status=Status.OK)
            sent = await task

    assert (past.error, past.may_retry) == (late.error, late.may_retry) == (OVERDUE, False)
    assert sent.is_done
    assert b"in time" in came.body
