"""Messages that are kept in memory for their reports."""

import msgspec
import pytest

from actors.traffic.recent import MOST_RECENT, RecentMessages
from engine.core.model.records import Interaction, Kind, Leg, LegStatus

SENT = Interaction(
    sid="KI1",
    session_sid="KC1",
    service_sid="KS1",
    account_sid="AC1",
    kind=Kind.MESSAGE,
    proxy="+14155550001",
    inbound=Leg(participant_sid="KP1", resource_sid="SM1", status=LegStatus.RECEIVED),
    outbound=Leg(participant_sid="KP2", status=LegStatus.SENT),
    body="I am at the corner \N{ROUND PUSHPIN}",
    media=("https://media.example/1", "https://media.example/2"),
    date_created=1_750_000_000.123456,
    date_updated=1_750_000_000.5,
)


@pytest.mark.parametrize("reported", [SENT, msgspec.structs.replace(SENT, inbound=Leg(), body=None, media=())])
def test_a_message_that_was_reported_is_found_as_it_is(reported: Interaction) -> None:
    """In each field, however often it was; the other ones as they were."""
    recent = RecentMessages()
    other = msgspec.structs.replace(SENT, sid="KI2")
    recent.add(msgspec.structs.replace(reported, outbound=Leg(participant_sid="KP2")))
    recent.add(other)

    for _ in range(2):
        recent.report(reported)

    assert (recent.find("KI1"), recent.find("KI2"), recent.find("KI3")) == (reported, other, None)


def test_a_report_brings_nothing_back() -> None:
    """What was forgotten is read from the disk."""
    recent = RecentMessages()
    recent.add(SENT)

    recent.forget(SENT.sid)
    recent.forget(SENT.sid)
    recent.report(SENT)

    assert (len(recent), recent.find(SENT.sid)) == (0, None)


def test_the_oldest_make_room_whether_they_were_reported_or_not() -> None:
    """A report makes none younger, and there are never more than so many."""
    recent = RecentMessages()
    for number in range(MOST_RECENT):
        recent.add(msgspec.structs.replace(SENT, sid=f"KI{number}"))
    recent.report(msgspec.structs.replace(SENT, sid="KI0"))

    recent.add(msgspec.structs.replace(SENT, sid="latest"))

    assert len(recent) <= MOST_RECENT
    assert [recent.find(f"KI{number}") is not None for number in (0, 1, MOST_RECENT // 2)] == [False, False, True]
    assert recent.find("latest") is not None
