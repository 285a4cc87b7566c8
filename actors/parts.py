"""What the actors of one host share: its clock, mint, store and observer, handed in by the composition root."""

from collections.abc import Callable

import msgspec

from engine.core.errors import Code
from engine.core.ports import Clock, Observer, Store
from engine.core.records import DebuggerEvent
from engine.core.sids import Mint

SECONDS_PER_DAY = 86_400


class HostSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How a host behaves where an operator may choose."""

    redelivery_window_seconds: float = 600.0
    """How long a carrier's redelivery of the same CallSid / MessageSid is known again."""
    refusals_remembered: int = 50_000
    """Refused events that are known again when redelivered; the oldest are decided anew."""
    sweep_interval_seconds: float = 0.25
    """How often expired sessions are looked for."""
    retention_seconds: float = 90.0 * SECONDS_PER_DAY
    """How long a closed session is kept."""
    retention_interval_seconds: float = 60.0
    """How often sessions past retention are looked for."""
    every_number_is_ours: bool = True
    """A pool takes any `PhoneNumber=`; the account comes to own it then."""
    joins_us_and_canada: bool = False
    """Numbers of the US serve Canada and the other way round (behaviour 6.5)."""
    inserts_mexican_one: bool | None = None
    """New services insert the "1" after +52; None = those made before 2020-10-05 do (behaviour 14)."""


class Parts(msgspec.Struct, frozen=True):
    """The collaborators of every actor on a host."""

    store: Store
    clock: Clock
    mint: Mint
    pick: Callable[[int], int]
    """A random index below n."""
    observer: Observer
    settings: HostSettings

    def tell(
        self,
        code: Code,
        message: str,
        *,
        account_sid: str,
        service_sid: str | None = None,
        session_sid: str | None = None,
        resource_sid: str | None = None,
    ) -> None:
        """Raise a debugger event; `message` holds no whole phone number."""
        self.observer.debugger(
            DebuggerEvent(
                code=code,
                account_sid=account_sid,
                service_sid=service_sid,
                session_sid=session_sid,
                resource_sid=resource_sid,
                message=message,
                at=self.clock(),
            )
        )
