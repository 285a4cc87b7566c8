"""The closed set of ways an event can end."""

import msgspec

from engine.core.routing.decide import (
    BUSY,
    CALL_OF_STRANGER,
    MESSAGE_OF_STRANGER,
    NOT_IN_POOL,
    REBUILDING,
    STOPPED,
    STORE_DOWN,
)
from engine.core.routing.traffic import ENDINGS, Decision, Outcome, Reason


def test_every_reason_belongs_to_one_outcome() -> None:
    """So that counting the reasons counts the outcomes."""
    reasons = [reason for outcome in Outcome for reason in ENDINGS[outcome]]

    assert sorted(reasons) == sorted(Reason)


def test_every_reason_has_a_place_of_its_own() -> None:
    """From 0 on, without gaps."""
    assert sorted(reason.slot for reason in Reason) == list(range(len(Reason)))


def test_ready_made_decisions_end_as_the_table_says() -> None:
    """The constants of routing."""
    rulings = (STOPPED, CALL_OF_STRANGER, MESSAGE_OF_STRANGER)
    decisions = (NOT_IN_POOL, REBUILDING, STORE_DOWN, BUSY, *(ruling.decision for ruling in rulings))

    assert [one for one in decisions if one.reason not in ENDINGS[one.outcome]] == []


def test_a_decision_between_hosts_says_only_what_it_has() -> None:
    """So that a field more costs nothing where it is not used."""
    encoded = msgspec.msgpack.encode(NOT_IN_POOL)

    assert msgspec.msgpack.decode(encoded) == {"outcome": NOT_IN_POOL.outcome, "reason": NOT_IN_POOL.reason}
    assert msgspec.msgpack.decode(encoded, type=Decision) == NOT_IN_POOL
