"""An observer that remembers what hosts tell it."""

from engine.core.model.records import DebuggerEvent
from engine.core.ports.observing import OperationEnd, SessionOperation
from engine.core.routing.traffic import ReportOutcome
from tests.silent import SilentObserver


class Observed(SilentObserver):
    """An observer that remembers what it is told."""

    def __init__(self) -> None:
        self.events: list[DebuggerEvent] = []
        self.reports: list[ReportOutcome] = []
        self.operations: list[tuple[SessionOperation, OperationEnd, int | None]] = []
        self.expiry_lags: list[float] = []
        self.erasures: list[tuple[int, bool]] = []
        self.forwards: list[tuple[int, bool]] = []

    def codes(self) -> list[int]:
        """Return the codes of the debugger events so far, and forget these."""
        codes = [event.code for event in self.events]
        self.events.clear()
        return codes

    def reported(self, outcome: ReportOutcome) -> None:
        """Remember a leg report."""
        self.reports.append(outcome)

    def debugger(self, event: DebuggerEvent) -> None:
        """Remember an event."""
        self.events.append(event)

    def operated(self, operation: SessionOperation, end: OperationEnd, code: int | None = None) -> None:
        """Remember how an operation ended."""
        self.operations.append((operation, end, code))

    def expired(self, lag_seconds: float) -> None:
        """Remember how late a session was closed."""
        self.expiry_lags.append(lag_seconds)

    def retained(self, *, erased: int, is_up_to_date: bool) -> None:
        """Remember what retention did."""
        self.erasures.append((erased, is_up_to_date))

    def forwarded(self, events: int, *, is_answered: bool) -> None:
        """Remember events of other hosts."""
        self.forwards.append((events, is_answered))
