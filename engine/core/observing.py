"""What can be observed of the engine: closed sets of names, and the port where an ingress tells what passes.

The ports of the other adapters, `Observer` and `EgressObserver`, are in `engine.core.ports`.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Protocol

import msgspec

from engine.core.records import Kind
from engine.core.routing import Foreseen
from engine.core.traffic import Reason


class Ingress(StrEnum):
    """Where an event came in; closed."""

    HTTP = "http"
    FEED = "feed"


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

    An ingress in a hurry adds to `calls` and `messages` itself instead of calling `decided`. Durations are seconds of a
    monotonic clock.
    """

    @property
    def calls(self) -> list[int]:
        """Decisions about calls, by `Reason.slot`."""

    @property
    def messages(self) -> list[int]:
        """Decisions about messages, by `Reason.slot`."""

    def burst(self, events: int) -> None:
        """So many events were read at once; they are in flight until they are answered or lost."""

    def decided(self, kind: Kind, reason: Reason) -> None:
        """One event was decided."""

    def deciding(self, seconds: float, events: int = 1) -> None:
        """Deciding these events took so long, all together."""

    @property
    def resolutions(self) -> list[int]:
        """Decisions for information only, by `Reason.slot`; nothing is recorded of them."""

    def resolved(self, foreseen: Foreseen, seconds: float) -> None:
        """These were decided for information only, in so long a time all together."""

    def answered(self, seconds: float, events: int = 1) -> None:
        """So many events had their answers written so long after their bytes were read."""

    def lost(self, events: int) -> None:
        """Events in flight whose asker is gone: nobody is answered."""
