"""What is known of an entry of the outbox without a look at its content."""

from typing import get_args

import pytest

from engine.core.model.outbox import OutboxAlert, OutboxContent, OutboxEntry, OutboxHangUp, OutboxMessage
from engine.core.model.records import DebuggerEvent
from engine.core.ports.observing import OutboxKind

EVENT = DebuggerEvent(code=80902, account_sid="AC1", message="", at=0.0)
MESSAGE = OutboxMessage(carrier="main", interaction_sid="KI1", sender="+1", to="+2", body="")


def entry(content: OutboxContent) -> OutboxEntry:
    return OutboxEntry(sid="EF1", account_sid="AC1", content=content, date_created=0.0)


@pytest.mark.parametrize(
    ("url", "destination", "path"),
    [
        ("https://a.example", "https://a.example", "/"),
        ("https://a.example?x=/y", "https://a.example", "/"),
        ("https://a.example#/y", "https://a.example", "/"),
        ("https://user:pass@A.example:8443/told/a?x=1#y", "https://a.example:8443", "/told/a"),
        ("https://a.example/a\nb?x", "https://a.example", "/a\nb"),
    ],
)
def test_destination_and_path_of_a_url_are_without_what_may_be_secret(url: str, destination: str, path: str) -> None:
    """Neither has user, password or query."""
    made = entry(OutboxAlert(url=url, event=EVENT))

    assert (made.destination, made.path, made.interaction_sid) == (destination, path, None)


def test_every_kind_of_entry_is_counted_by_its_tag() -> None:
    """Whatever is delivered has a label of its own in the metrics."""
    assert {kind.__struct_config__.tag for kind in get_args(OutboxContent)} == set(OutboxKind)
    assert entry(MESSAGE).kind == OutboxKind.MESSAGE


def test_what_a_carrier_does_has_no_path() -> None:
    """A message is about its interaction."""
    message, hang_up = entry(MESSAGE), entry(OutboxHangUp(carrier="main", call_sid="CA1"))

    assert [(one.destination, one.path, one.interaction_sid) for one in (message, hang_up)] == [
        ("carrier:main", "", "KI1"),
        ("carrier:main", "", None),
    ]
