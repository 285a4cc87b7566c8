"""What can be observed of the engine: closed sets of names, and the port where an ingress tells what passes.

The ports of the other adapters, `Observer` and `EgressObserver`, are in `engine.core.ports`.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Protocol

import msgspec

from engine.core.records import Kind
from engine.core.traffic import Reason


class Ingress(StrEnum):
    """Where an event came in; closed."""

    HTTP = "http"
    FEED = "feed"
    RESOLVE = "resolve"
    """Asked on the feed for information only; nothing is recorded."""


class SessionOperation(StrEnum):
    """What was done to a session or its participants; closed."""

    CREATE = "create"
    UPDATE = "update"
    CLOSE = "close"
    """An update that asks for Status=closed."""
    REOPEN = "reopen"
    """An update that asks for Status=in-progress."""
    DELETE = "delete"
    EXPIRE = "expire"
    ADD_PARTICIPANT = "add-participant"
    UPDATE_PARTICIPANT = "update-participant"
    REMOVE_PARTICIPANT = "remove-participant"
    SEND_MESSAGE = "send-message"


class OperationEnd(StrEnum):
    """What an operation came to; closed."""

    DONE = "done"
    REFUSED = "refused"
    """By a rule; the request was at fault."""
    UNAVAILABLE = "unavailable"
    """The store, or another host, did not take it."""
    FAILED = "failed"
    """An error of ours."""


class ClusterView(msgspec.Struct, frozen=True):
    """The hosts of a cluster, as one of them sees them."""

    epoch: int
    """Grows with every change of an address."""
    hosts: Mapping[str, bool]
    """Whether each answers, by its name in `engine.core.placement`."""


class TrafficMeter(Protocol):
    """Where one ingress tells what passes; implemented by `engine.telemetry`, never raises, for one thread.

    Whoever decides many events in a loop may count them by `Reason.slot` in `calls` and `messages` instead of telling
    each by `decided`, and then tells `left` of them all. Durations are seconds of a monotonic clock.
    """

    @property
    def calls(self) -> list[int]:
        """Decisions about calls, by `Reason.slot`."""

    @property
    def messages(self) -> list[int]:
        """Decisions about messages, by `Reason.slot`."""

    def arrived(self, events: int = 1) -> None:
        """Events are about to be decided."""

    def left(self, events: int = 1) -> None:
        """Events that had arrived have their decision, or will get none."""

    def decided(self, kind: Kind, reason: Reason) -> None:
        """One event has left with a decision."""

    def deciding(self, seconds: float, events: int = 1) -> None:
        """Deciding these events took so long, all together."""

    def answered(self, seconds: float, answers: int = 1) -> None:
        """So many answers were written so long after the bytes were read that asked for them."""

    def burst(self, events: int) -> None:
        """So many events were read at once."""
