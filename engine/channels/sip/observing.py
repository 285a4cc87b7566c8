"""What can be counted of the SIP channel: a closed set, and the port where it is told."""

from enum import StrEnum
from typing import Protocol


class SipProblem(StrEnum):
    """Why a message or connection was dropped; closed."""

    STRANGER = "stranger"
    """It is of no peer."""
    TOO_MANY_REQUESTS = "too-many-requests"
    """Of that peer, in a second."""
    TOO_MANY_CONNECTIONS = "too-many-connections"
    UNFRAMED = "unframed"
    """Where it ends cannot be told."""
    INTERNAL_ERROR = "internal-error"
    """A bug of ours; its traceback is in the log."""


class SipObserver(Protocol):
    """Where the channel tells what is countable; never raises."""

    def sip_dropped(self, problem: SipProblem) -> None:
        """One message or connection was dropped."""
