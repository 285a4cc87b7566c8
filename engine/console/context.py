"""What all pages share: the ports, the limits, the templates, and who looks on."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from engine.console import pages
from engine.console.limits import FailedLogins
from engine.console.pages import Missing
from engine.console.rates import Rates, TrafficLine
from engine.console.settings import ConsoleSettings
from engine.core.model.errors import PeerUnavailable, StoreUnavailable, answer_to
from engine.core.model.logins import LoginSession
from engine.core.model.overview import ConsolePlane, HostStatus
from engine.core.numbers.masking import masked
from engine.core.ports.observing import ConsoleObserver
from engine.core.ports.operations import Clock, ControlPlane
from engine.core.rate import SlidingWindow

Result = TypeVar("Result")

FRESH_SECONDS = 1.0
"""For so long a reading of the hosts serves everybody who looks on."""


class Seen(msgspec.Struct, frozen=True):
    """A reading of all hosts."""

    at: float
    """Monotonic seconds."""
    hosts: tuple[HostStatus, ...]
    traffic: tuple[TrafficLine, ...]


class HostSnapshot:
    """Reads the hosts, once for all who ask at about the same time."""

    def __init__(self, plane: ConsolePlane, monotonic: Clock) -> None:
        """Read through a port."""
        self._plane = plane
        self._monotonic = monotonic
        self._rates = Rates()
        self._turn = asyncio.Lock()
        self._seen: Seen | None = None

    async def read(self) -> Seen:
        """Return how the hosts fare, as of a moment ago."""
        async with self._turn:
            if self._seen is None or self._monotonic() - self._seen.at >= FRESH_SECONDS:
                hosts = await self._plane.hosts()
                now = self._monotonic()  # a host that does not answer has taken its time
                self._seen = Seen(now, hosts, self._rates.lines(hosts, now=now))
            return self._seen


class ConsoleContext(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a page needs."""

    control: ControlPlane
    plane: ConsolePlane
    settings: ConsoleSettings
    observer: ConsoleObserver
    clock: Clock
    monotonic: Clock
    is_ready: Callable[[], bool]
    """Whether requests can be looked at."""
    snapshot: HostSnapshot
    failed_logins: FailedLogins
    limit: SlidingWindow
    """Of the requests of each login session."""

    def namer(self) -> Callable[[str], str]:
        """Return what tells the operator's name of an account; its SID where it has none."""
        names = {account.sid: masked(account.friendly_name) for account in self.control.accounts()}
        return lambda account_sid: names.get(account_sid) or account_sid

    def page(self, request: Request, name: str, login: LoginSession, **values: object) -> Response:
        """Answer with a page of somebody who is logged in."""
        namer = self.namer()
        who = "operator, all accounts" if login.account_sid is None else namer(login.account_sid)
        return pages.page(request, name, {"who": who, "name_of": namer, "now": self.clock()} | values, login=login)

    def may_see_hosts(self, login: LoginSession) -> bool:
        """Tell whether the totals of the hosts may be seen: one of several accounts would see its neighbours'."""
        return login.account_sid is None or len(self.control.accounts()) == 1

    def is_good(self, login: LoginSession) -> bool:
        """Tell whether what opened the login session would open another."""
        return login.account_sid is None or self.control.knows(login.credential, login.proof) is not None


async def available(asked: Awaitable[Result]) -> Result | Missing:
    """Wait for a part of a page; a host or disk that fails leaves the others to be shown."""
    try:
        return await asked
    except (PeerUnavailable, StoreUnavailable) as problem:
        return Missing(f"Not to be had now. {answer_to(problem).message}.")
