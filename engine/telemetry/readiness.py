"""Whether the engine may be sent traffic, and if not, what it lacks."""

from collections.abc import Callable, Mapping

from engine.telemetry.observer import Telemetry


class Latch:
    """Holds for good from when its condition first holds."""

    def __init__(self, holds: Callable[[], bool]) -> None:
        """Ask this until then."""
        self._holds = holds
        self._has_held = False

    def __call__(self) -> bool:
        """Tell whether it holds, or has held."""
        self._has_held = self._has_held or self._holds()
        return self._has_held


class Readiness:
    """The checks that must all hold; each is named by what holds then."""

    def __init__(self, checks: Mapping[str, Callable[[], bool]], *, limits: Callable[[], str] = lambda: "") -> None:
        """Ask these, in their order, whenever it is wanted; `limits` says what part of the traffic is not served now.

        Such a part keeps no other traffic away: a balancer that took the host out would lose that, too.
        """
        self._checks = checks
        self.limits = limits

    @property
    def is_ready(self) -> bool:
        """Whether all hold."""
        return all(holds() for holds in self._checks.values())

    def lacking(self) -> list[str]:
        """Name those that do not hold."""
        return [name for name, holds in self._checks.items() if not holds()]

    def show(self, telemetry: Telemetry) -> None:
        """Show the whole and each check as gauges."""
        telemetry.gauge("ready", "1 while the engine may be sent traffic", "", lambda: [((), self.is_ready)])
        telemetry.gauge(
            "ready_check",
            "1 while this condition of readiness holds",
            "check",
            lambda: [((name,), holds()) for name, holds in self._checks.items()],
        )
