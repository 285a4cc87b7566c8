"""An observer and a meter that take everything and remember nothing: what a fake is made from."""

from engine.core.model.errors import Code
from engine.core.model.records import DebuggerEvent, Kind
from engine.core.ports.observing import OperationEnd, Rejection, SessionOperation, SipProblem
from engine.core.routing.resolved import Resolved
from engine.core.routing.traffic import Reason, ReportOutcome


class SilentObserver:
    """Satisfies the port `Observer`."""

    def reported(self, outcome: ReportOutcome) -> None:
        """Ignore it."""

    def rejected(self, problem: Rejection) -> None:
        """Ignore it."""

    def debugger(self, event: DebuggerEvent) -> None:
        """Ignore it."""

    def only_counted(self, code: Code, account_sid: str, *, number: str | None, caller: str | None, at: float) -> bool:
        """Hear of every event whole."""
        del code, account_sid, number, caller, at
        return False

    def committed(self, *, changes: int, seconds: float, sync_seconds: float, is_ok: bool) -> None:
        """Ignore it."""

    def requested(self, *, method: str, route: str, status: int, seconds: float) -> None:
        """Ignore it."""

    def operated(self, operation: SessionOperation, end: OperationEnd, code: int | None = None) -> None:
        """Ignore it."""

    def expired(self, lag_seconds: float) -> None:
        """Ignore it."""

    def retained(self, *, erased: int, is_up_to_date: bool) -> None:
        """Ignore it."""

    def forwarded(self, events: int, *, is_answered: bool) -> None:
        """Ignore it."""


class SilentSipObserver:
    """Satisfies the port `SipObserver`."""

    def sip_requested(self, peer: str, method: str, times: int) -> None:
        """Ignore it."""

    def sip_repeated(self, peer: str) -> None:
        """Ignore it."""

    def sip_answered(self, peer: str, status: int, times: int) -> None:
        """Ignore it."""

    def sip_decided(self, seconds: float, times: int) -> None:
        """Ignore it."""

    def sip_dropped(self, problem: SipProblem) -> None:
        """Ignore it."""

    def debugger(self, event: DebuggerEvent) -> None:
        """Ignore it."""


class SilentMeter:
    """Satisfies the port `TrafficMeter`."""

    def __init__(self) -> None:
        self.calls = [0] * len(Reason)
        self.messages = [0] * len(Reason)
        self.resolutions = [0] * len(Reason)

    def decided(self, kind: Kind, reason: Reason) -> None:
        """Ignore it."""

    def deciding(self, seconds: float, events: int = 1) -> None:
        """Ignore it."""

    def resolved(self, resolved: Resolved, seconds: float) -> None:
        """Ignore it."""

    def from_cache(self, events: int, strangers: int, seconds: float) -> None:
        """Ignore it."""

    def answered(self, seconds: float, events: int = 1) -> None:
        """Ignore it."""

    def lost(self, events: int) -> None:
        """Ignore it."""

    def burst(self, events: int) -> None:
        """Ignore it."""
