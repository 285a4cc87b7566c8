"""What tells one call or message from every other."""

from itertools import product

import pytest

from engine.core.model.records import Kind
from engine.core.routing.event_keys import event_key, key_of
from engine.core.routing.traffic import InboundEvent

N1, N2 = "+16465550001", "+16465550002"
SID = "CA" + "1" * 32


def event(proxy: str, kind: Kind = Kind.VOICE, resource_sid: str = SID) -> InboundEvent:
    return InboundEvent(kind, "+14155550100", proxy, resource_sid)


def test_no_two_of_number_kind_and_sid_have_one_key() -> None:
    """Carriers count per number, or calls and messages apart, and their SIDs may begin like anything."""
    numbers = (N1, N2, "+1646555000", "whatsapp:" + N1, "54321")
    sids = (SID, "1", "c", "m", "c1", "m1", "1c1", "1m1", "")

    keys = [event_key(*each) for each in product(numbers, Kind, sids)]

    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    "written",
    [N1, "+1 646 555 0001", "001 (646) 555-0001", "tel:+16465550001", " 16465550001"],
)
def test_the_key_is_that_of_the_number_however_it_is_written(written: str) -> None:
    """A redelivery by another way of the carrier is the same event."""
    assert key_of(event(written)) == event_key(N1, Kind.VOICE, SID)


@pytest.mark.parametrize("kind", list(Kind))
def test_the_key_of_an_event_has_its_kind_and_sid(kind: Kind) -> None:
    """A call and a message of one SID are two."""
    assert key_of(event(N2, kind, "SM7")) == event_key(N2, kind, "SM7")


def test_keys_stay_as_they_are() -> None:
    """Applications get a digest of them as the idempotency token of a hook, also from the release before."""
    assert event_key(N1, Kind.VOICE, "CA1") == "+16465550001cCA1"
    assert event_key(N1, Kind.MESSAGE, "SM1") == "+16465550001mSM1"
